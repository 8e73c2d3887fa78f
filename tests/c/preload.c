/*
 * What the preload library makes exact: a closed descriptor takes its knotes
 * along at once, whoever keeps its file open; a closed queue lets nobody sleep.
 */
#include "io.h"

#include <dirent.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <mqueue.h>
#include <setjmp.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>

#define READ_DELETE(kq, fd)                                                   \
	change(kq, (uintptr_t)(fd), EVFILT_READ, EV_DELETE, 0, 0, NULL)

/* A readable socket, watched in kq; `other` keeps its file open. */
static void
watch_a_copied_socket(int kq, unsigned flags, int fds[2], int *other)
{
	unix_pair(fds);
	*other = fcntl(fds[0], F_DUPFD_CLOEXEC, 100);
	CHECK(*other >= 100);
	READ_ADD(kq, fds[0], flags);
	put(fds[1], 1);
	CHECK(readable(kq));
}

static void
end_copy(int fds[2], int other)
{
	CHECK_EQ(close(fds[1]), 0);
	CHECK_EQ(close(other), 0);
}

/* Closes fd, without reading what is in it. */
typedef void closing_fn(int fd);

static void
by_close(int fd)
{
	CHECK_EQ(close(fd), 0);
}

static void
by_close_range(int fd)
{
	CHECK_EQ(close_range((unsigned)fd, (unsigned)fd, 0), 0);
}

static void
by_dup2(int fd)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK(null >= 0);
	CHECK_EQ(dup2(null, fd), fd);
	CHECK_EQ(close(null), 0);
	CHECK_EQ(close(fd), 0);
}

static void
by_dup3(int fd)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK(null >= 0);
	CHECK_EQ(dup3(null, fd, O_CLOEXEC), fd);
	CHECK_EQ(close(null), 0);
	CHECK_EQ(close(fd), 0);
}

static void
by_fclose(int fd)
{
	FILE *f = fdopen(fd, "r");
	CHECK(f != NULL);
	CHECK_EQ(fclose(f), 0);
}

static void
by_freopen(int fd)
{
	FILE *f = fdopen(fd, "r");
	CHECK(f != NULL);
	CHECK(freopen("/dev/null", "r", f) != NULL);
	CHECK_EQ(fclose(f), 0);
}

static void
by_freopen64(int fd)
{
	FILE *f = fdopen(fd, "r");
	CHECK(f != NULL);
	CHECK(freopen64("/dev/null", "r", f) != NULL);
	CHECK_EQ(fclose(f), 0);
}

static void
by_unshared_range(int fd)
{
	CHECK_EQ(close_range((unsigned)fd, (unsigned)fd, CLOSE_RANGE_UNSHARE),
	    0);
}

static closing_fn *const ways[] = {by_close, by_close_range, by_dup2, by_dup3,
    by_fclose, by_freopen, by_freopen64, by_unshared_range};
#define WAYS (sizeof ways / sizeof ways[0])

TEST(closed_though_a_dup_lives_is_silent_in_every_queue_whatever_closes_it)
{
	static const unsigned modes[] = {0, EV_CLEAR, EV_ONESHOT, EV_DISPATCH};
	size_t i, j;
	NEEDS_PRELOAD();
	for (i = 0; i < WAYS; i++)
		for (j = 0; j < 4; j++) {
			int fds[2], other, kq = new_queue(), kq2 = new_queue();
			watch_a_copied_socket(kq, modes[j], fds, &other);
			READ_ADD(kq2, fds[0], modes[j]);
			ways[i](fds[0]);
			/* At once, before any call of the library. */
			CHECK(!readable(kq));
			CHECK(!readable(kq2));
			EXPECT_QUIET(kq);
			EXPECT_QUIET(kq2);
			put(fds[1], 1);
			EXPECT_QUIET(kq);
			CHECK_FAILS(READ_DELETE(kq, fds[0]), EBADF);
			end_copy(fds, other);
			CHECK_EQ(close(kq), 0);
			CHECK_EQ(close(kq2), 0);
		}
}

TEST(closed_with_a_copy_in_a_child_is_silent)
{
	int fds[2], gate[2], kq = new_queue();
	pid_t pid;
	NEEDS_PRELOAD();
	unix_pair(fds);
	pipe_pair(gate);
	READ_ADD(kq, fds[0], 0);
	put(fds[1], 1);
	pid = fork();
	if (pid == 0) {
		char c;
		CHECK_EQ(close(gate[1]), 0);
		CHECK_EQ(read(gate[0], &c, 1), 0);
		_exit(0);
	}
	CHECK_EQ(close(fds[0]), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(gate[1]), 0);
	wait_child(pid);
	CHECK_EQ(close(gate[0]), 0);
	CHECK_EQ(close(fds[1]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(closed_takes_every_filter_along)
{
	int fds[2], other, fd, kq = new_queue();
	uintptr_t ident;
	NEEDS_PRELOAD();
	tcp_pair(fds);
	ident = (uintptr_t)fds[0];
	other = dup(fds[0]);
	READ_ADD(kq, fds[0], 0);
	CHANGE(kq, ident, EVFILT_WRITE, EV_ADD, 0, 0, NULL);
	CHANGE(kq, ident, EVFILT_EXCEPT, EV_ADD, NOTE_OOB, 0, NULL);
	CHECK_EQ(send(fds[1], "!", 1, MSG_OOB), 1);
	CHECK(readable(kq));
	CHECK_EQ(close(fds[0]), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(dup2(other, fds[0]), fds[0]);
	CHECK_FAILS(change(kq, ident, EVFILT_WRITE, EV_DELETE, 0, 0, NULL),
	    ENOENT);
	CHECK_FAILS(change(kq, ident, EVFILT_EXCEPT, EV_DELETE, 0, 0, NULL),
	    ENOENT);
	CHECK_FAILS(READ_DELETE(kq, fds[0]), ENOENT);
	CHECK_EQ(close(other), 0);
	close_pair(fds);

	fd = nameless_file(10);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ADD, NOTE_ATTRIB, 0, NULL);
	READ_ADD(kq, fd, 0);
	CHECK_EQ(fchmod(fd, 0600), 0);
	CHECK((other = dup(fd)) >= 0);
	CHECK_EQ(close(fd), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(dup2(other, fd), fd);
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	CHECK_FAILS(READ_DELETE(kq, fd), ENOENT);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(fd), 0);

	fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (fd >= 0) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			pause();
			_exit(0);
		}
		CHECK_EQ(close(fd), 0);
		fd = (int)syscall(SYS_pidfd_open, pid, 0);
		CHECK((other = dup(fd)) >= 0);
		CHANGE(kq, (uintptr_t)fd, EVFILT_PROCDESC, EV_ADD, NOTE_EXIT, 0,
		    NULL);
		CHECK_EQ(close(fd), 0);
		CHECK_EQ(kill(pid, SIGKILL), 0);
		CHECK_EQ(waitpid(pid, NULL, 0), pid);
		EXPECT_QUIET(kq);
		CHECK_EQ(dup2(other, fd), fd);
		CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_PROCDESC,
		    EV_DELETE, 0, 0, NULL), ENOENT);
		CHECK_EQ(close(other), 0);
		CHECK_EQ(close(fd), 0);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(file_that_comes_back_to_its_number_has_no_knote)
{
	char path[SCRATCH_PATH];
	int fds[2], other, fd, kq = new_queue();
	NEEDS_PRELOAD();
	unix_pair(fds);
	READ_ADD(kq, fds[0], EV_CLEAR);
	other = dup(fds[0]);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(dup2(other, fds[0]), fds[0]);
	put(fds[1], 2);
	EXPECT_QUIET(kq);
	CHECK_FAILS(READ_DELETE(kq, fds[0]), ENOENT);
	/* A new one, with a mode of its own. */
	READ_ADD(kq, fds[0], 0);
	EXPECT_READ(kq, fds[0], 0, 0, 2);
	EXPECT_READ(kq, fds[0], 0, 0, 2);
	CHECK_EQ(close(other), 0);
	close_pair(fds);
	EXPECT_QUIET(kq);

	fd = scratch_file(path, 10);
	READ_ADD(kq, fd, EV_CLEAR);
	EXPECT_READ(kq, fd, EV_CLEAR, 0, 10);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(open(path, O_RDWR | O_CLOEXEC), fd);
	CHECK_EQ(pwrite(fd, "abc", 3, 10), 3);
	expect_none(kq);
	CHECK_FAILS(READ_DELETE(kq, fd), ENOENT);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(next_file_on_the_number_is_not_told_of)
{
	int fds[2], next[2], other, kq = new_queue();
	NEEDS_PRELOAD();
	watch_a_copied_socket(kq, 0, fds, &other);
	CHECK_EQ(close(fds[0]), 0);
	unix_pair(next);
	CHECK_EQ(next[0], fds[0]);
	put(next[1], 5);
	EXPECT_QUIET(kq);
	end_copy(fds, other);
	close_pair(next);
	CHECK_EQ(close(kq), 0);
}

/* More than a queue has room to write down before it looks. */
TEST(thousands_closed_between_two_looks_hide_nothing)
{
	enum { MANY = 2000 };
	static int fds[MANY][2], other[MANY];
	struct rlimit limit;
	int live[2], i, kq = new_queue();
	NEEDS_PRELOAD();
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (i = 0; i < MANY; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]) == -1)
			SKIP("too few descriptors");
		CHECK((other[i] = dup(fds[i][0])) >= 0);
		READ_ADD(kq, fds[i][0], 0);
		CHANGE(kq, (uintptr_t)fds[i][0], EVFILT_WRITE, EV_ADD, 0, 0,
		    NULL);
		put(fds[i][1], 1);
	}
	unix_pair(live);
	READ_ADD(kq, live[0], 0);
	put(live[1], 1);
	for (i = 0; i < MANY; i++)
		CHECK_EQ(close(fds[i][0]), 0);
	EXPECT_READ(kq, live[0], 0, 0, 1);
	take(live[0], 1);
	EXPECT_QUIET(kq);
	/* Each number starts clean, the last as the first. */
	for (i = 0; i < MANY; i++) {
		CHECK_EQ(dup2(other[i], fds[i][0]), fds[i][0]);
		CHECK_FAILS(READ_DELETE(kq, fds[i][0]), ENOENT);
		CHECK_EQ(close(fds[i][0]), 0);
		end_copy(fds[i], other[i]);
	}
	close_pair(live);
	CHECK_EQ(close(kq), 0);
}

TEST(folder_and_pipe_streams_that_are_closed_take_their_knotes_along)
{
	struct kevent k;
	DIR *dir = opendir("/proc/self");
	FILE *f = popen("exec sleep 1000 & echo $!; exit 0", "r");
	int fd, kq = new_queue(), pid, other;
	NEEDS_PRELOAD();
	CHECK(dir != NULL && f != NULL);
	CHECK_EQ(fscanf(f, "%d", &pid), 1);
	fd = fileno(f);
	other = dup(fd);
	READ_ADD(kq, fd, 0);
	CHECK_EQ(pclose(f), 0);
	EXPECT_QUIET(kq);
	/* Now it would be at its end. */
	CHECK_EQ(kill(pid, SIGKILL), 0);
	wait_poll(other, POLLHUP);
	EXPECT_QUIET(kq);
	CHECK_FAILS(READ_DELETE(kq, fd), EBADF);
	CHECK_EQ(close(other), 0);
	fd = dirfd(dir);
	EV_SET(&k, fd, EVFILT_VNODE, EV_ADD, NOTE_ATTRIB, 0, NULL);
	CHECK_EQ(kevent(kq, &k, 1, NULL, 0, NULL), 0);
	CHECK_EQ(closedir(dir), 0);
	CHECK_EQ(open("/proc/self", O_RDONLY | O_CLOEXEC), fd);
	k.flags = EV_DELETE;
	CHECK_FAILS(kevent(kq, &k, 1, NULL, 0, NULL), ENOENT);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

/* Closed queues */

struct ended {
	pthread_t thread;
	_Atomic(pid_t) tid;
	int kq, result, error;
	const struct timespec *timeout;
};

static void *
ended_main(void *arg)
{
	struct ended *e = arg;
	struct kevent k;
	atomic_store(&e->tid, (pid_t)syscall(SYS_gettid));
	e->result = kevent(e->kq, NULL, 0, &k, 1, e->timeout);
	e->error = errno;
	return NULL;
}

static void
ended_start(struct ended *e, int kq, const struct timespec *timeout)
{
	memset(e, 0, sizeof *e);
	e->kq = kq;
	e->timeout = timeout;
	CHECK_EQ(pthread_create(&e->thread, NULL, ended_main, e), 0);
	WAIT_FOR(is_asleep(atomic_load(&e->tid)));
}

static void
ended_join(struct ended *e)
{
	CHECK_EQ(pthread_join(e->thread, NULL), 0);
	CHECK_EQ(e->result, -1);
	CHECK_EQ(e->error, EBADF);
}

static closing_fn *const queue_ways[] = {by_close, by_close_range, by_dup2,
    by_dup3};

TEST(closing_a_queue_ends_every_wait_with_ebadf)
{
	enum { SLEEPERS = 8 };
	struct timespec hour = {3600, 0};
	size_t way;
	NEEDS_PRELOAD();
	for (way = 0; way < 4; way++) {
		struct ended e[SLEEPERS];
		int i, fds[2], kq = new_queue();
		unix_pair(fds);
		READ_ADD(kq, fds[0], EV_CLEAR);
		CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, 0, 3600000, NULL);
		for (i = 0; i < SLEEPERS; i++)
			ended_start(&e[i], kq, i % 2 ? &hour : NULL);
		queue_ways[way](kq);
		for (i = 0; i < SLEEPERS; i++)
			ended_join(&e[i]);
		CHECK_FAILS(kevent(kq, NULL, 0, NULL, 0, NULL), EBADF);
		close_pair(fds);
	}
}

/* While its threads come and go, and events with them. */
TEST(closing_a_busy_queue_ends_every_wait_with_ebadf)
{
	enum { SLEEPERS = 4, ROUNDS = 300 };
	int round;
	NEEDS_PRELOAD();
	for (round = 0; round < ROUNDS; round++) {
		struct ended e[SLEEPERS];
		int i, kq = new_queue();
		memset(e, 0, sizeof e);
		for (i = 0; i < SLEEPERS; i++) {
			e[i].kq = kq;
			CHECK_EQ(pthread_create(&e[i].thread, NULL, ended_main,
			    &e[i]), 0);
		}
		for (i = 0; i < SLEEPERS; i++)
			WAIT_FOR(atomic_load(&e[i].tid) != 0);
		if (round % 3 == 0)
			WAIT_FOR(is_asleep(atomic_load(&e[0].tid)));
		CHECK_EQ(close(kq), 0);
		for (i = 0; i < SLEEPERS; i++)
			ended_join(&e[i]);
	}
}

TEST(queue_that_lives_on_by_a_dup_loses_nothing)
{
	struct ended gone[2];
	struct sleeper stays;
	int fds[2], pending[2], copy, round, kq;
	NEEDS_PRELOAD();
	for (round = 0; round < 20; round++) {
		kq = new_queue();
		copy = dup(kq);
		unix_pair(fds);
		unix_pair(pending);
		READ_ADD(kq, fds[0], EV_CLEAR);
		ended_start(&gone[0], kq, NULL);
		ended_start(&gone[1], kq, NULL);
		sleeper_start(&stays, copy);
		CHECK_EQ(close(kq), 0);
		ended_join(&gone[0]);
		ended_join(&gone[1]);
		/* Who waits by the dup waits on, and gets the next event. */
		put(fds[1], 2);
		CHECK_KEV(sleeper_join(&stays), (uintptr_t)fds[0], EVFILT_READ,
		    EV_ADD | EV_CLEAR, 0, 2, UDATA(3));
		EXPECT_QUIET(copy);
		READ_ADD(copy, pending[0], EV_CLEAR);
		put(pending[1], 1);
		EXPECT_READ(copy, pending[0], EV_CLEAR, 0, 1);
		EXPECT_QUIET(copy);
		CHECK_EQ(close(copy), 0);
		close_pair(fds);
		close_pair(pending);
	}
}

static atomic_bool may_go_on;

static void
stay_in_handler(int sig)
{
	(void)sig;
	WAIT_FOR(atomic_load(&may_go_on));
}

/* The next look makes it quiet, once no thread is on its way any more. */
static bool
is_quiet(int kq)
{
	expect_none(kq);
	return !readable(kq);
}

TEST(queue_that_lives_on_by_a_dup_is_quiet_again)
{
	struct ended gone, late;
	struct sigaction sa;
	int copy, kq = new_queue();
	NEEDS_PRELOAD();
	CHECK((copy = dup(kq)) >= 0);
	ended_start(&gone, kq, NULL);
	CHECK_EQ(close(kq), 0);
	ended_join(&gone);
	CHECK(is_quiet(copy));
	/* One that stays away is not waited for. */
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = stay_in_handler;
	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	kq = dup(copy);
	ended_start(&late, kq, NULL);
	CHECK_EQ(pthread_kill(late.thread, SIGUSR1), 0);
	CHECK_EQ(close(kq), 0);
	WAIT_FOR(is_quiet(copy));
	CHECK(!atomic_load(&may_go_on));
	atomic_store(&may_go_on, true);
	CHECK_EQ(pthread_join(late.thread, NULL), 0);
	CHECK_EQ(late.result, -1);
	CHECK(late.error == EBADF || late.error == EINTR);
	EXPECT_QUIET(copy);
	CHECK_EQ(close(copy), 0);
}

TEST(number_of_a_closed_queue_is_at_once_what_it_is_now)
{
	struct epoll_event ee = {.events = EPOLLIN | EPOLLET};
	struct kevent k;
	int ep, fds[2], kq = new_queue();
	NEEDS_PRELOAD();
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK_EQ(ep, kq);
	unix_pair(fds);
	put(fds[1], 1);
	CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &ee), 0);
	CHECK_FAILS(kevent(ep, NULL, 0, &k, 1, NULL), EINVAL);
	/* Its edge has not been taken. */
	CHECK_EQ(epoll_wait(ep, &ee, 1, 0), 1);
	CHECK_EQ(close(ep), 0);
	close_pair(fds);
}

TEST(closed_queue_leaves_the_queue_around_it)
{
	int inner = new_queue(), outer = new_queue(), copy = dup(inner);
	NEEDS_PRELOAD();
	CHANGE(inner, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	READ_ADD(outer, inner, 0);
	CHANGE(inner, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT_READ(outer, inner, 0, 0, 1);
	CHECK_EQ(close(inner), 0);
	EXPECT_QUIET(outer);
	CHECK(readable(copy));
	CHECK_EQ(close(copy), 0);
	CHECK_EQ(close(outer), 0);
}

/* The library's own descriptors */

TEST(private_descriptors_are_no_numbers_of_the_program)
{
	int fds[2], kq = new_queue(), fd, file;
	struct kevent k;
	NEEDS_PRELOAD();
	unix_pair(fds);
	READ_ADD(kq, fds[0], 0);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD | EV_CLEAR, 0, 0,
	    UDATA(4));
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	for (fd = PRIVATE_FLOOR; fd < 1024; fd++)
		CHECK_FAILS(close(fd), EBADF);
	CHECK_EQ(close_range(PRIVATE_FLOOR, 1024, 0), 0);
	CHECK_EQ(close_range(PRIVATE_FLOOR, ~0U, 0), 0);
	/* Some other file, which goes. */
	file = fcntl(fds[1], F_DUPFD_CLOEXEC, 2000);
	if (file != -1) {
		CHECK_EQ(close_range(PRIVATE_FLOOR, ~0U, 0), 0);
		CHECK_FAILS(fcntl(file, F_GETFD), EBADF);
	}
	CHECK_EQ(next_event(kq).udata, UDATA(4));
	put(fds[1], 1);
	EXPECT_READ(kq, fds[0], 0, 0, 1);
	take(fds[0], 1);
	CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	CHECK_EQ(kevent(kq, NULL, 0, &k, 1, NULL), 1);
	CHECK_EQ(k.filter, EVFILT_USER);
	close_pair(fds);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

/* The library does without what it loses, and leaves the file alone. */
TEST(private_number_that_is_taken_is_the_programs)
{
	int fds[2], kq, fd, file, round;
	NEEDS_PRELOAD();
	file = open("/dev/null", O_RDWR | O_CLOEXEC);
	CHECK(file >= 0);
	for (round = 0; round < 3; round++) {
		kq = new_queue();
		unix_pair(fds);
		READ_ADD(kq, fds[0], 0);
		CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
		for (fd = PRIVATE_FLOOR; fd < PRIVATE_FLOOR + 16; fd++)
			CHECK_EQ(dup2(file, fd), fd);
		close_pair(fds);
		CHECK_EQ(close(kq), 0);
		libkqueue_drain_pending_close();
		for (fd = PRIVATE_FLOOR; fd < PRIVATE_FLOOR + 16; fd++)
			CHECK_EQ(close(fd), 0);
	}
	kq = new_queue();
	unix_pair(fds);
	READ_ADD(kq, fds[0], 0);
	put(fds[1], 1);
	EXPECT_READ(kq, fds[0], 0, 0, 1);
	close_pair(fds);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(file), 0);
}

/* By system calls: then the next touch of the number tells. */
TEST(what_is_closed_past_the_library_is_found_out_as_ever)
{
	int fds[2], other, kq = new_queue(), inner = new_queue();
	NEEDS_PRELOAD();
	watch_a_copied_socket(kq, EV_CLEAR, fds, &other);
	CHECK_EQ(syscall(SYS_close, fds[0]), 0);
	expect_none(kq);
	CHECK_FAILS(READ_DELETE(kq, fds[0]), EBADF);
	CHECK_EQ(dup2(fds[1], fds[0]), fds[0]);
	READ_ADD(kq, fds[0], 0);
	CHECK_EQ(close(fds[0]), 0);
	end_copy(fds, other);
	EXPECT_QUIET(kq);
	CHECK_EQ(syscall(SYS_close, inner), 0);
	CHECK_FAILS(kevent(inner, NULL, 0, NULL, 0, NULL), EBADF);
	CHECK_EQ(open("/dev/null", O_RDONLY | O_CLOEXEC), inner);
	CHECK_FAILS(kevent(inner, NULL, 0, NULL, 0, NULL), EINVAL);
	CHECK_EQ(close(inner), 0);
	CHECK_EQ(close(kq), 0);
}

static void *
close_in_a_table_of_ones_own(void *fd)
{
	if (unshare(CLONE_FILES) != 0)
		return NULL;
	CHECK_EQ(close(*(int *)fd), 0);
	return fd;
}

static void *
close_in_a_table_made_for_it(void *fd)
{
	unsigned number = (unsigned)*(int *)fd;
	CHECK_EQ(close_range(number, number, CLOSE_RANGE_UNSHARE), 0);
	return fd;
}

TEST(table_of_ones_own_is_not_told_apart)
{
	struct mq_attr few = {.mq_maxmsg = 1, .mq_msgsize = 8};
	pthread_t thread;
	void *done;
	int fds[2], kq = new_queue(), other;
	mqd_t mq;
	NEEDS_PRELOAD();
	unix_pair(fds);
	put(fds[1], 1);
	READ_ADD(kq, fds[0], 0);
	/* Of several threads, one alone has closed it, and nobody hears. */
	CHECK_EQ(pthread_create(&thread, NULL, close_in_a_table_made_for_it,
	    &fds[0]), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	EXPECT_READ(kq, fds[0], 0, 0, 1);
	/* That one is heard, and believed. */
	CHECK_EQ(pthread_create(&thread, NULL, close_in_a_table_of_ones_own,
	    &fds[0]), 0);
	CHECK_EQ(pthread_join(thread, &done), 0);
	if (done != NULL) {
		EXPECT_QUIET(kq);
		CHECK_FAILS(READ_DELETE(kq, fds[0]), ENOENT);
	}
	close_pair(fds);
	EXPECT_QUIET(kq);
	/* Closed within the C library. */
	mq = mq_open("/kqueue-test", O_RDWR | O_CREAT | O_CLOEXEC, 0600, &few);
	if (mq != (mqd_t)-1) {
		CHECK_EQ(mq_unlink("/kqueue-test"), 0);
		CHECK((other = dup(mq)) >= 0);
		CHANGE(kq, (uintptr_t)mq, EVFILT_WRITE, EV_ADD, 0, 0, NULL);
		CHECK(readable(kq));
		CHECK_EQ(mq_close(mq), 0);
		CHECK(readable(kq));
		EXPECT_QUIET(kq);
		CHECK_EQ(close(other), 0);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(closing_all_from_a_number_on_closes_all_but_these)
{
	NEEDS_PRELOAD();
	IN_CHILD({
		int fds[2], more[2], low, kept, kq;
		/* It stays open, below all that goes. */
		CHECK((low = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
		kq = new_queue();
		unix_pair(fds);
		unix_pair(more);
		kept = dup2(more[0], low);
		READ_ADD(kq, fds[0], 0);
		READ_ADD(kq, more[0], 0);
		put(fds[1], 1);
		put(more[1], 1);
		errno = 99;
		closefrom(more[0]);
		CHECK_EQ(errno, 99);
		CHECK_FAILS(fcntl(more[0], F_GETFD), EBADF);
		CHECK_FAILS(fcntl(more[1], F_GETFD), EBADF);
		EXPECT_READ(kq, fds[0], 0, 0, 1);
		take(fds[0], 1);
		wait_poll(kept, POLLIN);
		EXPECT_QUIET(kq);
	});
}

/* As the C library has it */

TEST(results_and_errno_are_the_c_librarys)
{
	int fds[2], kq = new_queue(), other;
	DIR *dir;
	FILE *f;
	NEEDS_PRELOAD();
	unix_pair(fds);
	READ_ADD(kq, fds[0], 0);
	put(fds[1], 1);
	CHECK_FAILS(close(-1), EBADF);
	CHECK_FAILS(close(1 << 30), EBADF);
	CHECK_FAILS(close_range(5, 4, 0), EINVAL);
	CHECK_FAILS(close_range(0, ~0U, 1 << 20), EINVAL);
	/* What fails closes nothing. */
	CHECK_FAILS(dup2(-1, fds[0]), EBADF);
	CHECK_FAILS(dup2(1 << 20, fds[0]), EBADF);
	CHECK_FAILS(dup3(fds[0], fds[0], 0), EINVAL);
	CHECK_FAILS(dup3(fds[1], fds[0], 1), EINVAL);
	CHECK_EQ(dup2(fds[0], fds[0]), fds[0]);
	CHECK_EQ(close_range((unsigned)fds[0], (unsigned)fds[0],
	    CLOSE_RANGE_CLOEXEC), 0);
	EXPECT_READ(kq, fds[0], 0, 0, 1);
	/* What succeeds leaves errno alone. */
	other = dup(fds[0]);
	errno = 99;
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(errno, 99);
	CHECK_EQ(dup2(other, fds[0]), fds[0]);
	READ_ADD(kq, fds[0], 0);
	errno = 99;
	CHECK_EQ(dup2(other, fds[0]), fds[0]);
	CHECK_EQ(errno, 99);
	READ_ADD(kq, fds[0], 0);
	CHECK_EQ(close_range((unsigned)fds[0], (unsigned)fds[0], 0), 0);
	CHECK_EQ(errno, 99);
	CHECK_FAILS(close(fds[0]), EBADF);
	EXPECT_QUIET(kq);
	CHECK_EQ(dup2(other, fds[0]), fds[0]);
	READ_ADD(kq, fds[0], 0);
	errno = 99;
	CHECK_EQ(close_range((unsigned)fds[0], (unsigned)fds[0],
	    CLOSE_RANGE_UNSHARE), 0);
	CHECK_EQ(errno, 99);
	CHECK_EQ(dup2(other, fds[0]), fds[0]);
	READ_ADD(kq, fds[0], 0);
	CHECK((f = fdopen(fds[0], "r")) != NULL);
	errno = 99;
	CHECK_EQ(fclose(f), 0);
	CHECK_EQ(errno, 99);
	CHECK((dir = opendir("/proc/self")) != NULL);
	CHANGE(kq, (uintptr_t)dirfd(dir), EVFILT_VNODE, EV_ADD, NOTE_ATTRIB, 0,
	    NULL);
	errno = 99;
	CHECK_EQ(closedir(dir), 0);
	CHECK_EQ(errno, 99);
	end_copy(fds, other);
	errno = 99;
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(errno, 99);
}

TEST(what_is_beyond_the_limit_is_not_replaced)
{
	struct rlimit limit, low;
	int fds[2], kq = new_queue(), high;
	NEEDS_PRELOAD();
	unix_pair(fds);
	CHECK((high = fcntl(fds[0], F_DUPFD_CLOEXEC, 50)) >= 50);
	READ_ADD(kq, high, 0);
	put(fds[1], 1);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = (rlim_t)high;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
	CHECK_FAILS(dup2(fds[1], high), EBADF);
	CHECK_FAILS(dup3(fds[1], high, O_CLOEXEC), EBADF);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	EXPECT_READ(kq, high, 0, 0, 1);
	CHECK_EQ(close(high), 0);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

struct cancelled {
	int fd;
};

static void *
cancelled_main(void *arg)
{
	struct cancelled *c = arg;
	CHECK_EQ(pthread_cancel(pthread_self()), 0);
	close(c->fd);
	return NULL;
}

TEST(close_that_is_cancelled_has_closed_nothing)
{
	struct cancelled c;
	int fds[2], kq = new_queue();
	pthread_t thread;
	void *result;
	NEEDS_PRELOAD();
	unix_pair(fds);
	READ_ADD(kq, fds[0], 0);
	put(fds[1], 1);
	c.fd = fds[0];
	CHECK_EQ(pthread_create(&thread, NULL, cancelled_main, &c), 0);
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK(result == PTHREAD_CANCELED);
	EXPECT_READ(kq, fds[0], 0, 0, 1);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

struct closer {
	int fd;
	atomic_bool runs, is_through;
};

static void *
closer_main(void *arg)
{
	struct closer *c = arg;
	atomic_store(&c->runs, true);
	close(c->fd);
	atomic_store(&c->is_through, true);
	while (arg != NULL)
		pthread_testcancel();
	return arg;
}

/* Wherever the thread is by then, it has closed all of it or nothing. */
TEST(close_that_has_begun_is_not_cancelled)
{
	int fds[2], kq = new_queue(), round;
	NEEDS_PRELOAD();
	unix_pair(fds);
	put(fds[1], 1);
	for (round = 0; round < 1000; round++) {
		struct closer c = {.fd = dup(fds[0])};
		pthread_t thread;
		void *result;
		int spin;
		READ_ADD(kq, c.fd, 0);
		CHECK_EQ(pthread_create(&thread, NULL, closer_main, &c), 0);
		while (!atomic_load(&c.runs))
			sched_yield();
		for (spin = 0; spin < round * 5; spin++)
			atomic_load(&c.runs);
		CHECK_EQ(pthread_cancel(thread), 0);
		CHECK_EQ(pthread_join(thread, &result), 0);
		CHECK(result == PTHREAD_CANCELED);
		if (!atomic_load(&c.is_through)) {
			EXPECT_READ(kq, c.fd, 0, 0, 1);
			CHECK_EQ(close(c.fd), 0);
		}
		CHECK_FAILS(fcntl(c.fd, F_GETFD), EBADF);
		EXPECT_QUIET(kq);
	}
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* Children */

TEST(vfork_child_that_closes_takes_nothing_from_its_parent)
{
	struct sleeper s;
	int fds[2], kq = new_queue(), status;
	pid_t pid;
	NEEDS_PRELOAD();
	unix_pair(fds);
	READ_ADD(kq, fds[0], EV_CLEAR);
	sleeper_start(&s, kq);
	pid = vfork();
	if (pid == 0) {
		int fd;
		dup2(fds[1], fds[0]);
		for (fd = 3; fd < 400; fd++)
			close(fd);
		close_range(3, ~0U, 0);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	put(fds[1], 2);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fds[0], EVFILT_READ,
	    EV_ADD | EV_CLEAR, 0, 2, UDATA(3));
	put(fds[1], 1);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 3);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* The calling task, and no other, is killed when it closes this number. */
static int
die_at_close_of(int fd)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
	        offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close, 0, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
	        offsetof(struct seccomp_data, args) +
	        (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)fd, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof code / sizeof *code, code};
	return syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
}

static int __attribute__((noinline))
child_killed_in_close(int fd)
{
	int status;
	pid_t pid;
	/* Older kernels end all who share the memory that is dumped. */
	CHECK_EQ(prctl(PR_SET_DUMPABLE, 0), 0);
	pid = vfork();
	if (pid == 0) {
		if (!die_at_close_of(fd))
			_exit(77);
		close(fd);
		_exit(1);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(prctl(PR_SET_DUMPABLE, 1), 0);
	return status;
}

static void *
have_a_child_killed(void *fd)
{
	volatile char over_what_it_left[8192];
	int state, status = child_killed_in_close(*(int *)fd);
	memset((char *)over_what_it_left, 0x41, sizeof over_what_it_left);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no filter of system calls can be had");
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state), 0);
	CHECK_EQ(state, PTHREAD_CANCEL_ENABLE);
	/* What is left to be done when a thread ends would be done here. */
	pthread_exit(NULL);
}

/* It runs on its parent's thread, as the C library sees it. */
TEST(vfork_child_that_is_killed_in_a_close_leaves_its_parents_thread_as_it_was)
{
	pthread_t thread;
	int fds[2], kq = new_queue();
	NEEDS_PRELOAD();
	NOT_UNDER_VALGRIND("it forks instead");
	unix_pair(fds);
	READ_ADD(kq, fds[0], 0);
	CHECK_EQ(pthread_create(&thread, NULL, have_a_child_killed, &fds[0]), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	put(fds[1], 1);
	EXPECT_READ(kq, fds[0], 0, 0, 1);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(forked_child_that_closes_takes_nothing_from_its_parent)
{
	pid_t (*quiet_fork)(void);
	int fds[2], kq = new_queue(), i;
	NEEDS_PRELOAD();
	unix_pair(fds);
	READ_ADD(kq, fds[0], 0);
	put(fds[1], 1);
	IN_CHILD({
		int other, own = new_queue();
		/* It has words of its own by now. */
		READ_ADD(own, fds[0], 0);
		other = dup(fds[0]);
		CHECK_EQ(close(fds[0]), 0);
		EXPECT_QUIET(own);
		CHECK_EQ(close(other), 0);
		CHECK_EQ(close(own), 0);
	});
	IN_CHILD(CHECK_EQ(close(fds[0]), 0));
	EXPECT_READ(kq, fds[0], 0, 0, 1);
	EXPECT_READ(kq, fds[0], 0, 0, 1);
	/* By forks that no handler hears of. */
	*(void **)&quiet_fork = dlsym(RTLD_DEFAULT, "_Fork");
	for (i = 0; i < 2; i++) {
		pid_t pid;
		if (i == 1 && quiet_fork == NULL)
			break;
		pid = i == 0 ? (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL,
		    NULL, NULL) : quiet_fork();
		if (pid == 0) {
			close(fds[0]);
			close(kq);
			close_range(3, ~0U, 0);
			_exit(0);
		}
		wait_child(pid);
		EXPECT_READ(kq, fds[0], 0, 0, 1);
	}
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

static atomic_bool closed_enough;

static void *
close_dups(void *kq)
{
	while (!atomic_load(&closed_enough)) {
		int copy = fcntl(*(int *)kq, F_DUPFD_CLOEXEC, 100);
		CHECK(copy >= 0);
		CHECK_EQ(kevent(copy, NULL, 0, NULL, 0, NULL), 0);
		CHECK_EQ(close(copy), 0);
	}
	return NULL;
}

/* What another thread of the parent was closing at the fork is nobody's. */
TEST(children_forked_in_the_middle_of_a_close_use_the_number)
{
	pthread_t thread;
	int i, kq = new_queue();
	NEEDS_PRELOAD();
	NOT_UNDER_VALGRIND("it is a matter of time");
	CHECK_EQ(pthread_create(&thread, NULL, close_dups, &kq), 0);
	for (i = 0; i < 300; i++) {
		IN_CHILD({
			int copy, own = new_queue();
			copy = fcntl(own, F_DUPFD_CLOEXEC, 100);
			CHECK(copy >= 100);
			CHANGE(copy, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
		});
	}
	atomic_store(&closed_enough, true);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(close(kq), 0);
}

/* A handler that closes on top of whatever the library is about. */

static int handler_fds[2], handler_other;
static atomic_int handled;

static void
close_in_handler(int sig)
{
	(void)sig;
	/* The file lives on, and is put back under its number. */
	if (close(handler_fds[0]) == 0 &&
	    dup2(handler_other, handler_fds[0]) == handler_fds[0])
		atomic_fetch_add(&handled, 1);
}

TEST(handlers_may_close_in_the_middle_of_any_call)
{
	enum { CLOSED = 2000 };
	struct sigaction sa;
	struct itimerval soon = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};
	struct kevent k[2], got[4];
	int kq = new_queue(), n;
	NEEDS_PRELOAD();
	unix_pair(handler_fds);
	CHECK((handler_other = dup(handler_fds[0])) >= 0);
	put(handler_fds[1], 1);
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = close_in_handler;
	sa.sa_flags = SA_RESTART;
	CHECK_EQ(sigaction(SIGALRM, &sa, NULL), 0);
	CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
	while (atomic_load(&handled) < CLOSED) {
		EV_SET(&k[0], handler_fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
		EV_SET(&k[1], handler_fds[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
		/* Just closed, and not yet back: EBADF. */
		n = kevent(kq, k, 2, got, 4, &no_wait);
		CHECK(n >= 0 || errno == EINTR || errno == EBADF);
		n = kevent(kq, NULL, 0, got, 4, &no_wait);
		CHECK(n >= 0 || errno == EINTR);
		CHECK(n <= 2);
	}
	CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
	CHECK_EQ(close(handler_fds[0]), 0);
	EXPECT_QUIET(kq);
	CHECK_FAILS(READ_DELETE(kq, handler_fds[0]), EBADF);
	end_copy(handler_fds, handler_other);
	CHECK_EQ(close(kq), 0);
}

static int handler_queue, handler_copy;
static atomic_int copies_closed;

/* Natively it is there or it is not. */
static void
close_queue_in_handler(int sig)
{
	int before = errno;
	(void)sig;
	CHECK_EQ(close(handler_copy), 0);
	CHECK_EQ(fcntl(handler_queue, F_DUPFD_CLOEXEC, handler_copy),
	    handler_copy);
	atomic_fetch_add(&copies_closed, 1);
	errno = before;
}

TEST(handlers_may_close_a_queue_in_the_middle_of_any_call)
{
	enum { CLOSED = 2000 };
	struct itimerval soon = {{0, 70}, {0, 70}}, never = {{0, 0}, {0, 0}};
	struct sigaction sa;
	struct kevent k, got[2];
	int fds[2], n;
	NEEDS_PRELOAD();
	unix_pair(fds);
	put(fds[1], 1);
	handler_queue = new_queue();
	CHECK((handler_copy = fcntl(handler_queue, F_DUPFD_CLOEXEC, 100)) > 0);
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = close_queue_in_handler;
	sa.sa_flags = SA_RESTART;
	CHECK_EQ(sigaction(SIGALRM, &sa, NULL), 0);
	CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
	while (atomic_load(&copies_closed) < CLOSED) {
		EV_SET(&k, fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
		n = kevent(handler_copy, &k, 1, got, 2, &no_wait);
		CHECK((n == 1 && (got[0].flags & EV_ERROR) == 0) ||
		    (n == -1 && errno == EBADF));
		/* If it was closed too early, there is none. */
		k.flags = EV_DELETE;
		n = kevent(handler_queue, &k, 1, got, 2, &no_wait);
		CHECK(n == 0 || (n == 1 && (got[0].flags & EV_ERROR) != 0 &&
		    got[0].data == ENOENT));
	}
	CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
	READ_ADD(handler_copy, fds[0], 0);
	EXPECT_READ(handler_queue, fds[0], 0, 0, 1);
	CHECK_EQ(close(handler_copy), 0);
	CHECK_EQ(close(handler_queue), 0);
	close_pair(fds);
}

static volatile int half_closed = -1;
static atomic_int looked;
static _Atomic int64_t longest;

static void
call_in_handler(int sig)
{
	struct kevent k;
	int before = errno, r;
	int64_t begun = thread_cpu_ns(), took;
	(void)sig;
	EV_SET(&k, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	r = kevent(half_closed, &k, 1, NULL, 0, NULL);
	CHECK(r == 0 || errno == EBADF || errno == EINTR);
	took = thread_cpu_ns() - begun;
	if (took > atomic_load(&longest))
		atomic_store(&longest, took);
	atomic_fetch_add(&looked, 1);
	errno = before;
}

/* Nobody would end that wait. */
TEST(a_call_on_top_of_a_close_does_not_wait_for_it)
{
	enum { CALLS = 3000 };
	struct sigaction sa;
	sigset_t alarm_only, before;
	int kq = new_queue();
	NEEDS_PRELOAD();
	NOT_UNDER_VALGRIND("it is a matter of time");
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = call_in_handler;
	sa.sa_flags = SA_RESTART;
	CHECK_EQ(sigaction(SIGALRM, &sa, NULL), 0);
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	while (atomic_load(&looked) < CALLS) {
		int was = atomic_load(&looked);
		struct itimerval soon = {{0, 0}, {0, 20 + was % 60}};
		CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
		while (atomic_load(&looked) == was) {
			int copy;
			sigprocmask(SIG_BLOCK, &alarm_only, &before);
			CHECK((copy = dup(kq)) >= 0);
			CHECK_EQ(kevent(copy, NULL, 0, NULL, 0, NULL), 0);
			half_closed = copy;
			sigprocmask(SIG_SETMASK, &before, NULL);
			CHECK_EQ(close(copy), 0);
		}
		/* By the processor's time, which others' load does not add to. */
		CHECK(atomic_load(&longest) < 200000000);
	}
	CHECK_EQ(close(kq), 0);
}

static sigjmp_buf out_of_close;

static void
jump_in_handler(int sig)
{
	(void)sig;
	siglongjmp(out_of_close, 1);
}

TEST(what_is_left_by_longjmp_is_over)
{
	enum { JUMPS = 3000 };
	static volatile int kq, copy, jumps;
	struct sigaction sa;
	sigset_t alarm_only, before;
	NEEDS_PRELOAD();
	NOT_UNDER_VALGRIND("it is a matter of time");
#ifndef __GLIBC__
	SKIP("for glibc");
#endif
	kq = new_queue();
	CHANGE(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = jump_in_handler;
	CHECK_EQ(sigaction(SIGALRM, &sa, NULL), 0);
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &alarm_only, &before), 0);
	while (jumps < JUMPS) {
		struct itimerval soon = {{0, 0}, {0, 20 + jumps % 60}};
		int state;
		CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
		/* It comes back with the mask as it is here. */
		if (sigsetjmp(out_of_close, 1) == 0)
			for (;;) {
				CHECK((copy = dup(kq)) >= 0);
				/* However the last one on the number ended. */
				CHECK_EQ(kevent(copy, NULL, 0, NULL, 0, NULL),
				    0);
				sigprocmask(SIG_SETMASK, &before, NULL);
				close(copy);
				sigprocmask(SIG_BLOCK, &alarm_only, NULL);
			}
		jumps++;
		syscall(SYS_close, copy);
		CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state),
		    0);
		CHECK_EQ(state, PTHREAD_CANCEL_ENABLE);
	}
	CHECK_EQ(close(kq), 0);
}

/* Threads that open, watch and close, all on the same few numbers. */

struct churn {
	pthread_t thread;
	int kq;
	atomic_int *stop;
};

static void *
churn_main(void *arg)
{
	struct churn *c = arg;
	struct kevent k, got[8];
	while (!atomic_load(c->stop)) {
		int fds[2], copy, n;
		CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
		copy = dup(fds[0]);
		CHECK(copy >= 0);
		CHECK_EQ(write(fds[1], "", 1), 1);
		EV_SET(&k, fds[0], EVFILT_READ, EV_ADD, 0, 0, UDATA(fds[0]));
		CHECK_EQ(kevent(c->kq, &k, 1, NULL, 0, NULL), 0);
		n = kevent(c->kq, NULL, 0, got, 8, &no_wait);
		CHECK(n >= 0);
		CHECK_EQ(close(fds[0]), 0);
		/* Its number may be another thread's by now. */
		CHECK_EQ(close(copy), 0);
		CHECK_EQ(close(fds[1]), 0);
	}
	return NULL;
}

TEST(threads_that_watch_and_close_leave_nothing)
{
	enum { THREADS = 4 };
	struct churn c[THREADS];
	atomic_int stop = 0;
	int queues[2] = {new_queue(), new_queue()}, i;
	NEEDS_PRELOAD();
	for (i = 0; i < THREADS; i++) {
		c[i].kq = queues[i % 2];
		c[i].stop = &stop;
		CHECK_EQ(pthread_create(&c[i].thread, NULL, churn_main, &c[i]),
		    0);
	}
	usleep(500000);
	atomic_store(&stop, 1);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(c[i].thread, NULL), 0);
	for (i = 0; i < 2; i++) {
		EXPECT_QUIET(queues[i]);
		CHECK_EQ(close(queues[i]), 0);
	}
}
