/*
 * A descriptor is closed here while its file lives on elsewhere: under a dup,
 * or in a child. Its knote goes, as natively. Linux goes on reporting the file,
 * and nothing can name it any more; so the queue is made anew under its number,
 * and nobody who uses it, waits in it, or watches it, is to notice.
 */
#include "io.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* What is there now; filter 0 stands for nothing. */
static struct kevent
poll_event(int kq)
{
	struct kevent k;
	memset(&k, 0, sizeof k);
	CHECK(kevent(kq, NULL, 0, &k, 1, &no_wait) >= 0);
	return k;
}

struct ghost {
	int fd, other, peer;
};

/* A level knote; its file is ready; its number is closed. */
static struct ghost
leave_ghost(int kq, short filter)
{
	struct ghost g;
	int fds[2];
	unix_pair(fds);
	g.fd = fds[0];
	g.peer = fds[1];
	g.other = fcntl(g.fd, F_DUPFD_CLOEXEC, 200);
	CHECK(g.other >= 0);
	CHANGE(kq, (uintptr_t)g.fd, filter, EV_ADD, 0, 0, NULL);
	if (filter == EVFILT_EXCEPT)
		CHECK_EQ(shutdown(g.peer, SHUT_WR), 0);
	else
		put(g.peer, 1);
	/* Past the preload library, with which there would be no ghost. */
	CHECK_EQ(syscall(SYS_close, g.fd), 0);
	return g;
}

static void
lay_ghost(struct ghost g)
{
	CHECK_EQ(close(g.other), 0);
	CHECK_EQ(close(g.peer), 0);
}

/* One long wait is enough, for what other threads may have in hand. */
static void
wait_a_little(int kq)
{
	struct timespec ts = ms_to_ts(30);
	struct kevent k;
	int64_t start = now_ns();
	CHECK_EQ(kevent(kq, NULL, 0, &k, 1, &ts), 0);
	CHECK(now_ns() - start >= 30000000);
}

/* Such a wait has time for hundreds of looks, and ten are enough. But it may be
 * over before, where it hardly gets a processor, or runs under valgrind. */
static void
wait_until_laid(int kq)
{
	int64_t enough = getenv("KQUEUE_VALGRIND") == NULL ? 20000000
	                                                   : 10000000000;
	int64_t begun = thread_cpu_ns();
	do
		wait_a_little(kq);
	while (readable(kq) && thread_cpu_ns() - begun < enough);
	CHECK(!readable(kq));
}

static void
is_laid(short filter)
{
	int kq = new_queue();
	struct ghost g = leave_ghost(kq, filter);
	CHECK(readable(kq));
	wait_until_laid(kq);
	CHECK_FAILS(change(kq, (uintptr_t)g.fd, filter, EV_DELETE, 0, 0, NULL),
	    EBADF);
	if (filter != EVFILT_EXCEPT) {
		put(g.peer, 1);
		EXPECT_QUIET(kq);
	}
	lay_ghost(g);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(of_read_is_laid_by_one_wait)
{
	is_laid(EVFILT_READ);
}

TEST(of_write_is_laid_by_one_wait)
{
	is_laid(EVFILT_WRITE);
}

TEST(of_except_is_laid_by_one_wait)
{
	is_laid(EVFILT_EXCEPT);
}

TEST(is_laid_by_looking_too)
{
	int kq = new_queue();
	struct ghost g = leave_ghost(kq, EVFILT_READ);
	EXPECT_QUIET(kq);
	lay_ghost(g);
	CHECK_EQ(close(kq), 0);
}

TEST(in_the_second_set_is_laid)
{
	int fds[2], other, kq = new_queue();
	unix_pair(fds);
	other = dup(fds[0]);
	CHECK(other >= 0);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
	CHECK_EQ(close(fds[0]), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(fds[1]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(of_a_file_in_a_child_is_laid)
{
	int fds[2], gate[2], kq = new_queue();
	pid_t pid;
	unix_pair(fds);
	pipe_pair(gate);
	READ_ADD(kq, fds[0], 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		char byte;
		close(gate[1]);
		_exit(read(gate[0], &byte, 1) == 0 ? 0 : 1);
	}
	CHECK_EQ(close(fds[0]), 0);
	put(fds[1], 1);
	wait_until_laid(kq);
	CHECK_EQ(close(gate[1]), 0);
	wait_child(pid);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(gate[0]), 0);
	CHECK_EQ(close(fds[1]), 0);
	CHECK_EQ(close(kq), 0);
}

/* A wait that spins would burn all of it. */
TEST(does_not_make_a_wait_burn_time)
{
	struct timespec ts = ms_to_ts(1000);
	struct kevent k;
	int64_t used;
	int i, kq = new_queue();
	struct ghost g[20];
	for (i = 0; i < 20; i++)
		g[i] = leave_ghost(kq, EVFILT_READ);
	used = cpu_ns();
	CHECK_EQ(kevent(kq, NULL, 0, &k, 1, &ts), 0);
	CHECK(cpu_ns() - used < 500 * 1000000LL);
	for (i = 0; i < 20; i++)
		lay_ghost(g[i]);
	CHECK_EQ(close(kq), 0);
}

TEST(an_event_beside_many_is_found_by_a_look)
{
	enum { GHOSTS = 150 };
	struct ghost g[GHOSTS];
	int live[2], i, kq = new_queue();
	for (i = 0; i < GHOSTS; i++)
		g[i] = leave_ghost(kq, EVFILT_READ);
	unix_pair(live);
	READ_ADD(kq, live[0], 0);
	put(live[1], 1);
	/* The kernel takes them in turn, and a look has its end: a later one. */
	for (i = 0; i < GHOSTS && poll_event(kq).filter != EVFILT_READ; i++)
		;
	CHECK(i < GHOSTS);
	take(live[0], 1);
	EXPECT_QUIET(kq);
	for (i = 0; i < GHOSTS; i++)
		lay_ghost(g[i]);
	close_pair(live);
	CHECK_EQ(close(kq), 0);
}

/* The number is another file by now, which nobody asked to watch. */
TEST(on_a_reused_number_gives_no_event_and_the_number_starts_clean)
{
	int next[2], kq = new_queue();
	struct ghost g = leave_ghost(kq, EVFILT_READ);
	unix_pair(next);
	CHECK_EQ(next[0], g.fd);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)g.fd, EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	READ_ADD(kq, g.fd, 0);
	EXPECT_QUIET(kq);
	put(next[1], 5);
	EXPECT_READ(kq, g.fd, 0, 0, 5);
	take(g.fd, 5);
	EXPECT_QUIET(kq);
	lay_ghost(g);
	close_pair(next);
	CHECK_EQ(close(kq), 0);
}

TEST(on_a_reused_number_that_is_watched_at_once_gives_no_event)
{
	int next[2], kq = new_queue();
	struct ghost g = leave_ghost(kq, EVFILT_READ);
	unix_pair(next);
	CHECK_EQ(next[0], g.fd);
	READ_ADD(kq, g.fd, EV_CLEAR);
	EXPECT_QUIET(kq);
	put(next[1], 5);
	EXPECT_READ(kq, g.fd, EV_CLEAR, 0, 5);
	EXPECT_QUIET(kq);
	lay_ghost(g);
	close_pair(next);
	CHECK_EQ(close(kq), 0);
}

/*
 * What only a stream bears is not asked of the next file: it would be sent an
 * empty datagram, or lose its error.
 */
TEST(of_a_stream_leaves_the_next_file_on_the_number_alone)
{
	int datagrams[2], fds[2], other[2], i, kq = new_queue();
	int refused = socket(AF_INET, SOCK_STREAM, 0);
	char byte;
	CHECK(refused >= 0);
	begin_refused_connect(refused);
	wait_poll(refused, POLLERR);
	unix_dgram_pair(datagrams);
	set_nonblocking(datagrams[1]);
	for (i = 0; i < 2; i++) {
		unix_pair(fds);
		other[i] = fcntl(fds[0], F_DUPFD_CLOEXEC, 200);
		CHECK(other[i] >= 0);
		CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
		CHECK_EQ(poll_event(kq).filter, EVFILT_WRITE);
		/* Past the preload library, as above. */
		CHECK_EQ(syscall(SYS_dup3, i == 0 ? datagrams[0] : refused,
		    fds[0], O_CLOEXEC), fds[0]);
		expect_none(kq);
		CHECK_EQ(close(fds[1]), 0);
		CHECK_EQ(close(fds[0]), 0);
	}
	CHECK_FAILS(recv(datagrams[1], &byte, 1, 0), EAGAIN);
	CHECK_EQ(so_error(refused), ECONNREFUSED);
	close_pair(other);
	close_pair(datagrams);
	CHECK_EQ(close(refused), 0);
	CHECK_EQ(close(kq), 0);
}

/* Everything a queue can hold goes on. */

TEST(leaves_every_filter_as_it_was)
{
	char file_path[SCRATCH_PATH], bytes[4096];
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	struct kevent k;
	int level[2], clear[2], once[2], both[2], oob[2];
	int i, seen = 0, file, procdesc, gate[2], kq = new_queue();
	struct ghost g;
	pid_t pid;
	NOT_UNDER_VALGRIND("its timer is too short there");
	unix_pair(level);
	unix_pair(clear);
	unix_pair(once);
	unix_pair(both);
	pipe_pair(gate);
	tcp_pair(oob);
	fill(both[0]);
	file = scratch_file(file_path, 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		char byte;
		close(gate[1]);
		_exit(read(gate[0], &byte, 1) == 0 ? 7 : 1);
	}
	CHECK_EQ(close(gate[0]), 0);
	READ_ADD(kq, level[0], 0);
	READ_ADD(kq, clear[0], EV_CLEAR);
	READ_ADD(kq, once[0], EV_ONESHOT);
	READ_ADD(kq, both[0], 0);
	CHANGE(kq, (uintptr_t)both[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
	CHANGE(kq, (uintptr_t)oob[0], EVFILT_EXCEPT, EV_ADD | EV_CLEAR,
	    NOTE_OOB, 0, NULL);
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHANGE(kq, 2, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 300, NULL);
	CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
	CHANGE(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	CHANGE(kq, (uintptr_t)file, EVFILT_VNODE, EV_ADD | EV_CLEAR,
	    NOTE_WRITE, 0, NULL);
	CHANGE(kq, (uintptr_t)pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
	procdesc = (int)syscall(SYS_pidfd_open, pid, 0);
	if (procdesc >= 0)
		CHANGE(kq, (uintptr_t)procdesc, EVFILT_PROCDESC, EV_ADD,
		    NOTE_EXIT, 0, NULL);

	g = leave_ghost(kq, EVFILT_READ);
	EXPECT_QUIET(kq);
	lay_ghost(g);

	put(level[1], 1);
	put(clear[1], 2);
	put(once[1], 3);
	put(both[1], 4);
	CHECK_EQ(send(oob[1], "!", 1, MSG_OOB), 1);
	CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	CHECK_EQ(raise(SIGUSR1), 0);
	put(file, 5);
	CHECK_EQ(close(gate[1]), 0);
	while (seen != 0x3ff) {
		int bit;
		CHECK_EQ(kevent(kq, NULL, 0, &k, 1, &ts), 1);
		switch (k.filter) {
		case EVFILT_READ:
			bit = (int)k.ident == level[0] ? 0
			    : (int)k.ident == clear[0] ? 1
			    : (int)k.ident == once[0] ? 2 : 3;
			CHECK_EQ(k.data, bit + 1);
			if (bit == 0 || bit == 3)
				take((int)k.ident, (size_t)k.data);
			break;
		case EVFILT_EXCEPT: bit = 4; break;
		case EVFILT_USER: bit = 5; break;
		case EVFILT_TIMER: bit = 6; break;
		case EVFILT_SIGNAL: bit = 7; break;
		case EVFILT_VNODE: bit = 8; break;
		case EVFILT_PROC: bit = 9; break;
		case EVFILT_PROCDESC:
			CHECK_EQ(k.data, W_EXITCODE(7, 0));
			CHECK_EQ(close(procdesc), 0);
			procdesc = -1;
			continue;
		default: FAIL("filter %d", k.filter);
		}
		if (seen & 1 << bit)
			FAIL("filter %d twice", k.filter);
		seen |= 1 << bit;
	}
	if (procdesc >= 0) {
		CHECK_EQ(kevent(kq, NULL, 0, &k, 1, &ts), 1);
		CHECK_EQ(k.filter, EVFILT_PROCDESC);
	}
	/* And the write side, where room comes. */
	expect_none(kq);
	while (recv(both[1], bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
	CHECK_EQ(next_event(kq).filter, EVFILT_WRITE);
	CHECK_EQ(waitpid(pid, &i, 0), pid);
	close_pair(level);
	close_pair(clear);
	close_pair(once);
	close_pair(both);
	close_pair(oob);
	CHECK_EQ(close(file), 0);
	CHECK_EQ(unlink(file_path), 0);
	CHECK_EQ(close(kq), 0);
}

/* Threads that wait all the while */

enum { PARKED = 4 };

TEST(leaves_no_parked_thread_behind)
{
	struct sleeper s[PARKED];
	int i, round, fds[2], kq = new_queue();
	for (round = 0; round < 20; round++) {
		struct ghost g;
		CHANGE(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
		for (i = 0; i < PARKED; i++)
			sleeper_start(&s[i], kq);
		/* The sleepers themselves find it. */
		unix_pair(fds);
		g.other = fcntl(fds[0], F_DUPFD_CLOEXEC, 200);
		CHECK(g.other >= 0);
		g.peer = fds[1];
		CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
		CHECK_EQ(close(fds[0]), 0);
		put(g.peer, 1);
		WAIT_FOR(!readable(kq));
		CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		for (i = 0; i < PARKED; i++)
			CHECK_EQ(sleeper_join(&s[i]).filter, EVFILT_USER);
		CHANGE(kq, 1, EVFILT_USER, EV_DELETE, 0, 0, NULL);
		lay_ghost(g);
		EXPECT_QUIET(kq);
	}
	CHECK_EQ(close(kq), 0);
}

/* Numbers of the queue */

TEST(is_laid_under_every_number_of_the_queue)
{
	int live[2], kq = new_queue(), known = dup(kq), unknown = dup(kq);
	struct ghost g;
	CHECK(known >= 0 && unknown >= 0);
	expect_none(known);
	unix_pair(live);
	READ_ADD(known, live[0], 0);
	g = leave_ghost(kq, EVFILT_READ);
	EXPECT_QUIET(known);
	CHECK(!readable(kq));
	CHECK(!readable(unknown));
	put(live[1], 2);
	EXPECT_READ(kq, live[0], 0, 0, 2);
	EXPECT_READ(known, live[0], 0, 0, 2);
	EXPECT_READ(unknown, live[0], 0, 0, 2);
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(known), 0);
	EXPECT_READ(unknown, live[0], 0, 0, 2);
	CHECK_EQ(fcntl(unknown, F_GETFD), FD_CLOEXEC);
	lay_ghost(g);
	close_pair(live);
	EXPECT_QUIET(unknown);
	CHECK_EQ(close(unknown), 0);
}

TEST(queues_that_watch_the_queue_go_on)
{
	int live[2], inner = new_queue(), outer = new_queue();
	int edge = new_queue(), round;
	unix_pair(live);
	READ_ADD(inner, live[0], 0);
	READ_ADD(outer, inner, 0);
	READ_ADD(edge, inner, EV_CLEAR);
	for (round = 0; round < 3; round++) {
		struct ghost g = leave_ghost(inner, EVFILT_READ);
		EXPECT_QUIET(inner);
		/* The edge that the ghost made was one. */
		while (poll_event(edge).filter != 0)
			;
		EXPECT_QUIET(outer);
		lay_ghost(g);
		put(live[1], 1);
		EXPECT_READ(outer, inner, 0, 0, 1);
		EXPECT_READ(edge, inner, EV_CLEAR, 0, 1);
		EXPECT_READ(inner, live[0], 0, 0, 1);
		take(live[0], 1);
		EXPECT_QUIET(outer);
		EXPECT_QUIET(edge);
	}
	CHANGE(outer, (uintptr_t)inner, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	close_pair(live);
	CHECK_EQ(close(inner), 0);
	CHECK_EQ(close(outer), 0);
	CHECK_EQ(close(edge), 0);
}

TEST(a_thread_asleep_in_the_watching_queue_goes_on)
{
	int live[2], inner = new_queue(), outer = new_queue();
	struct sleeper s;
	struct ghost g;
	unix_pair(live);
	READ_ADD(inner, live[0], 0);
	g = leave_ghost(inner, EVFILT_READ);
	READ_ADD(outer, inner, EV_CLEAR);
	EXPECT_READ(outer, inner, EV_CLEAR, 0, 1);
	sleeper_start(&s, outer);
	EXPECT_QUIET(inner);
	put(live[1], 1);
	CHECK_EQ(sleeper_join(&s).ident, inner);
	lay_ghost(g);
	close_pair(live);
	CHECK_EQ(close(inner), 0);
	CHECK_EQ(close(outer), 0);
}

/* poll() asks each time anew. */
TEST(who_polls_the_queue_goes_on)
{
	int live[2], kq = new_queue();
	struct ghost g;
	unix_pair(live);
	READ_ADD(kq, live[0], 0);
	g = leave_ghost(kq, EVFILT_READ);
	EXPECT_QUIET(kq);
	put(live[1], 1);
	wait_poll(kq, POLLIN);
	EXPECT_READ(kq, live[0], 0, 0, 1);
	lay_ghost(g);
	close_pair(live);
	CHECK_EQ(close(kq), 0);
}

/* No descriptor is left from it, and what is needed is few. */
TEST(costs_no_descriptor)
{
	static char before[65536], after[65536];
	int i, kq = new_queue();
	for (i = 0; i < 50; i++) {
		struct ghost g;
		open_descriptors(before, sizeof before);
		g = leave_ghost(kq, EVFILT_READ);
		EXPECT_QUIET(kq);
		lay_ghost(g);
		open_descriptors(after, sizeof after);
		if (strcmp(before, after) != 0)
			FAIL("before: %s; after: %s", before, after);
	}
	CHECK_EQ(close(kq), 0);
}

/* Without a descriptor for it the ghost stays until there is one. */
TEST(is_borne_while_no_descriptor_is_free)
{
	struct rlimit limit;
	int live[2], kq = new_queue(), full[1024], n = 0;
	struct ghost g;
	unix_pair(live);
	READ_ADD(kq, live[0], 0);
	g = leave_ghost(kq, EVFILT_READ);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 400;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	while (n < 1024 && (full[n] = eventfd(0, EFD_CLOEXEC)) >= 0)
		n++;
	CHECK_EQ(errno, EMFILE);
	wait_a_little(kq);
	expect_none(kq);
	put(live[1], 1);
	EXPECT_READ(kq, live[0], 0, 0, 1);
	take(live[0], 1);
	while (n > 0)
		CHECK_EQ(close(full[--n]), 0);
	EXPECT_QUIET(kq);
	lay_ghost(g);
	close_pair(live);
	CHECK_EQ(close(kq), 0);
}

/* A queue of its size: what a knote costs then is bounded. */
TEST(among_thousands_of_knotes_is_laid)
{
	enum { MANY = 3000 };
	struct rlimit limit;
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	static int fd[MANY];
	int64_t used;
	struct kevent k;
	int i, kq = new_queue();
	struct ghost g;
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_max < MANY + 500)
		SKIP("not so many descriptors are allowed");
	limit.rlim_cur = MANY + 500;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (i = 0; i < MANY; i++) {
		fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		CHECK(fd[i] >= 0);
		READ_ADD(kq, fd[i], i % 2 ? EV_CLEAR : 0);
	}
	g = leave_ghost(kq, EVFILT_READ);
	used = cpu_ns();
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 2000, NULL);
	CHECK_EQ(kevent(kq, NULL, 0, &k, 1, &ts), 1);
	CHECK_EQ(k.filter, EVFILT_TIMER);
	CHECK(cpu_ns() - used < 1000 * 1000000LL);
	EXPECT_QUIET(kq);
	for (i = 0; i < MANY; i++) {
		uint64_t one = 1;
		CHECK_EQ(write(fd[i], &one, sizeof one), sizeof one);
		CHECK_EQ(next_event(kq).ident, fd[i]);
		CHECK_EQ(read(fd[i], &one, sizeof one), sizeof one);
	}
	EXPECT_QUIET(kq);
	for (i = 0; i < MANY; i++)
		CHECK_EQ(close(fd[i]), 0);
	lay_ghost(g);
	CHECK_EQ(close(kq), 0);
}

static void
add_user(int kq, uintptr_t ident, unsigned flags)
{
	CHANGE(kq, ident, EVFILT_USER, EV_ADD | flags, 0, 0, NULL);
}

static void
trigger(int kq, uintptr_t ident)
{
	CHANGE(kq, ident, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
}

/* Renews the queue: it bears no more than a few of such. */
static void
renew(int kq)
{
	struct ghost g = leave_ghost(kq, EVFILT_READ);
	wait_until_laid(kq);
	lay_ghost(g);
}

/* Its number is taken by another file, which nobody asked to watch, and which
 * has something to say. */
static void
next_file_is_not_told_of(unsigned flags, bool told_before)
{
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	int fds[2], next[2], other, kq = new_queue();
	struct kevent k;
	unix_pair(fds);
	other = fcntl(fds[0], F_DUPFD_CLOEXEC, 300);
	CHECK(other >= 0);
	READ_ADD(kq, fds[0], flags);
	if (told_before) {
		put(fds[1], 1);
		CHECK_EQ(kevent(kq, NULL, 0, &k, 1, &ts), 1);
		if (flags & EV_DISPATCH)
			CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ENABLE, 0, 0,
			    NULL);
	}
	CHECK_EQ(syscall(SYS_close, fds[0]), 0);
	put(fds[1], 1);
	unix_pair(next);
	CHECK_EQ(next[0], fds[0]);
	put(next[1], 5);
	EXPECT_QUIET(kq);
	put(fds[1], 1);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	READ_ADD(kq, next[0], 0);
	EXPECT_READ(kq, next[0], 0, 0, 5);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(fds[1]), 0);
	close_pair(next);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(says_nothing_of_the_next_file_on_the_number)
{
	static const unsigned modes[] = {0, EV_CLEAR, EV_DISPATCH, EV_ONESHOT};
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		next_file_is_not_told_of(modes[i], false);
		if (modes[i] != EV_ONESHOT)
			next_file_is_not_told_of(modes[i], true);
	}
}

/* Whose data FIONREAD would tell as if they were the socket's. */
TEST(says_nothing_of_a_regular_file_on_the_number)
{
	int fds[2], other, file, kq = new_queue();
	FILE *f = tmpfile();
	CHECK(f != NULL);
	unix_pair(fds);
	other = fcntl(fds[0], F_DUPFD_CLOEXEC, 300);
	CHECK(other >= 0);
	READ_ADD(kq, fds[0], 0);
	put(fds[1], 1);
	EXPECT_READ(kq, fds[0], 0, 0, 1);
	CHECK_EQ(syscall(SYS_close, fds[0]), 0);
	CHECK_EQ(fputs("text", f), 1);
	CHECK_EQ(fflush(f), 0);
	rewind(f);
	file = dup(fileno(f));
	CHECK_EQ(file, fds[0]);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(file), 0);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(fds[1]), 0);
	fclose(f);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

/* A call with room for one, that must not sleep, still comes to what is ready. */
TEST(among_many_hides_no_event_from_a_look)
{
	enum { GHOSTS = 150, IDLE = 500 };
	static int idle[IDLE];
	struct ghost g[GHOSTS];
	int live[2], base[2], i, kq = new_queue();
	unix_pair(base);
	for (i = 0; i < IDLE; i++) {
		idle[i] = dup(base[0]);
		CHECK(idle[i] >= 0);
		READ_ADD(kq, idle[i], 0);
	}
	unix_pair(live);
	READ_ADD(kq, live[0], 0);
	for (i = 0; i < GHOSTS; i++)
		g[i] = leave_ghost(kq, EVFILT_READ);
	put(live[1], 1);
	for (i = 0; i < 20; i++) {
		struct kevent k = poll_event(kq);
		CHECK_EQ(k.filter, EVFILT_READ);
		CHECK_EQ(k.ident, live[0]);
	}
	for (i = 0; i < GHOSTS; i++)
		lay_ghost(g[i]);
	for (i = 0; i < IDLE; i++)
		CHECK_EQ(close(idle[i]), 0);
	close_pair(live);
	close_pair(base);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

/* Then it cannot be laid, and a call that must not sleep gives up. */
TEST(without_a_descriptor_may_hide_an_event_from_a_look)
{
	enum { GHOSTS = 150 };
	struct ghost g[GHOSTS];
	struct rlimit limit, usual;
	int live[2], kq = new_queue(), full[1024], n = 0, i;
	struct kevent k;
	unix_pair(live);
	for (i = 0; i < GHOSTS; i++)
		g[i] = leave_ghost(kq, EVFILT_READ);
	READ_ADD(kq, live[0], 0);
	put(live[1], 1);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &usual), 0);
	limit = usual;
	limit.rlim_cur = 800;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	while (n < 1024 && (full[n] = eventfd(0, EFD_CLOEXEC)) >= 0)
		n++;
	CHECK_EQ(errno, EMFILE);
	CHECK_EQ(kevent(kq, NULL, 0, &k, 1, &no_wait), 0);
	/* A call that may wait finds it. */
	EXPECT_READ(kq, live[0], 0, 0, 1);
	while (n > 0)
		CHECK_EQ(close(full[--n]), 0);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &usual), 0);
	for (i = 0; i < GHOSTS; i++)
		lay_ghost(g[i]);
	close_pair(live);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

/* --- a queue that watched this one, and does not any more ---------------- */

static int
queue_around(int inner)
{
	int outer = new_queue();
	READ_ADD(outer, inner, 0);
	return outer;
}

TEST(leaves_an_epoll_alone_that_has_the_number_of_a_queue_around)
{
	struct epoll_event want = {.events = EPOLLIN, .data.u64 = 77}, got;
	int inner = new_queue(), outer = queue_around(inner), set, counter;
	add_user(inner, 1, EV_CLEAR);
	CHECK_EQ(syscall(SYS_close, outer), 0);
	set = epoll_create1(EPOLL_CLOEXEC);
	CHECK_EQ(set, outer);
	counter = eventfd(0, EFD_CLOEXEC);
	CHECK(counter >= 0);
	CHECK_EQ(epoll_ctl(set, EPOLL_CTL_ADD, counter, &want), 0);
	renew(inner);
	trigger(inner, 1);
	CHECK(readable(inner));
	CHECK_EQ(epoll_wait(set, &got, 1, 0), 0);
	CHECK_EQ(eventfd_write(counter, 1), 0);
	CHECK_EQ(epoll_wait(set, &got, 1, 0), 1);
	CHECK_EQ(got.data.u64, 77);
	/* Nothing of the library's stands there. */
	CHECK_EQ(epoll_ctl(set, EPOLL_CTL_ADD, inner, &want), 0);
	CHECK_EQ(close(set), 0);
	CHECK_EQ(close(counter), 0);
	CHECK_EQ(close(inner), 0);
}

TEST(leaves_a_queue_alone_that_has_the_number_of_a_queue_around)
{
	int inner = new_queue(), outer = queue_around(inner), next;
	add_user(inner, 1, 0);
	CHECK_EQ(syscall(SYS_close, outer), 0);
	next = new_queue();
	CHECK_EQ(next, outer);
	add_user(next, 2, EV_CLEAR);
	renew(inner);
	trigger(inner, 1);
	CHECK(readable(inner));
	EXPECT_QUIET(next);
	trigger(next, 2);
	CHECK_EQ(poll_event(next).ident, 2);
	READ_ADD(next, inner, 0);
	CHECK_EQ(poll_event(next).ident, inner);
	CHECK_EQ(close(next), 0);
	CHECK_EQ(close(inner), 0);
}

/* The queue around lives on by a dup that no call has used, or that the last
 * call has used and that is closed. */
TEST(queue_around_that_lives_on_by_a_dup_goes_on)
{
	for (int mode = 0; mode < 3; mode++) {
		int inner = new_queue(), outer = queue_around(inner), set = -1;
		int copy = dup(outer);
		CHECK(copy >= 0);
		add_user(inner, 1, 0);
		if (mode == 0) {
			CHECK_EQ(syscall(SYS_close, outer), 0);
			outer = copy;
		} else {
			expect_none(copy);
			CHECK_EQ(syscall(SYS_close, copy), 0);
		}
		if (mode == 2) {
			set = epoll_create1(EPOLL_CLOEXEC);
			CHECK_EQ(set, copy);
		}
		renew(inner);
		trigger(inner, 1);
		CHECK_EQ(poll_event(outer).ident, inner);
		CHANGE(outer, (uintptr_t)inner, EVFILT_READ, EV_ENABLE, 0, 0,
		    NULL);
		if (set != -1)
			CHECK_EQ(close(set), 0);
		CHECK_EQ(close(outer), 0);
		CHECK_EQ(close(inner), 0);
	}
}

/* --- while another thread makes and closes numbers of it ------------------ */

static atomic_bool enough;

struct duper {
	int kq;
	atomic_int lost;
};

static void *
dup_and_use(void *arg)
{
	struct duper *d = arg;
	struct kevent k;
	while (!atomic_load(&enough)) {
		int copy = fcntl(d->kq, F_DUPFD_CLOEXEC, 400);
		CHECK(copy >= 0);
		/* It is a number of the queue as long as it is open. */
		if (kevent(copy, NULL, 0, &k, 1, &no_wait) == -1)
			atomic_fetch_add(&d->lost, 1);
		CHECK_EQ(close(copy), 0);
	}
	return NULL;
}

TEST(dups_made_and_closed_beside_its_laying_lose_nothing)
{
	struct duper d = {.kq = new_queue()};
	int64_t until = now_ns() + 1000 * 1000000LL;
	int pipes[20][2], i;
	pthread_t thread;
	for (i = 0; i < 20; i++) {
		CHECK_EQ(pipe(pipes[i]), 0);
		READ_ADD(d.kq, pipes[i][0], EV_DISPATCH);
	}
	atomic_store(&enough, false);
	CHECK_EQ(pthread_create(&thread, NULL, dup_and_use, &d), 0);
	while (now_ns() < until) {
		struct ghost g = leave_ghost(d.kq, EVFILT_READ);
		struct timespec ts = ms_to_ts(2);
		struct kevent k;
		CHECK_EQ(kevent(d.kq, NULL, 0, &k, 1, &ts), 0);
		lay_ghost(g);
	}
	atomic_store(&enough, true);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(atomic_load(&d.lost), 0);
	/* All that it watched it watches. */
	for (i = 0; i < 20; i++) {
		put(pipes[i][1], 1);
		EXPECT_READ(d.kq, pipes[i][0], EV_DISPATCH, 0, 1);
		EXPECT_QUIET(d.kq);
		close_pair(pipes[i]);
	}
	CHECK_EQ(close(d.kq), 0);
}
