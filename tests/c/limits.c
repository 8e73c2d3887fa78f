/*
 * Where Linux cannot follow BSD, or this version does not yet: the cases pin
 * down what happens instead, as BEHAVIOUR.md tells it. One that fails because
 * the limit is gone takes its row with it.
 */
#include "io.h"
#include "mounts.h"

#include <signal.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define WRITE_ADD(kq, fd, flags)                                              \
	CHANGE(kq, (uintptr_t)(fd), EVFILT_WRITE, EV_ADD | (flags), 0, 0,     \
	    UDATA(3))

/* Pointers */

/* A kernel would answer EFAULT; a library reads and writes as the caller. */
TEST(a_list_that_is_no_memory_ends_the_process)
{
	int which, status, kq;
	NOT_UNDER_THREAD_CHECKER("it ends processes in its own way");
	kq = new_queue();
	CHANGE(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	for (which = 0; which < 2; which++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			struct rlimit none = {0, 0};
			struct kevent *nowhere = mmap(NULL, 4096, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			CHECK(nowhere != MAP_FAILED);
			CHECK_EQ(setrlimit(RLIMIT_CORE, &none), 0);
			/* The parent's is none here. */
			kq = new_queue();
			CHANGE(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
			CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
			if (which == 0)
				kevent(kq, nowhere, 1, NULL, 0, NULL);
			else
				kevent(kq, NULL, 0, nowhere, 1, NULL);
			_exit(0);
		}
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK(WIFSIGNALED(status));
		CHECK_EQ(WTERMSIG(status), SIGSEGV);
	}
	CHECK_EQ(close(kq), 0);
}

/* What Linux does not tell of a socket */

/* A window that stays shut for too long: ETIMEDOUT, told as a reset. */
TEST(a_time_out_is_told_as_a_reset)
{
	int fds[2], kq = new_queue();
	small_tcp_pair(fds);
	READ_ADD(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	(void)fill(fds[0]);
	set_option(fds[0], IPPROTO_TCP, TCP_USER_TIMEOUT, 100);
	wait_poll(fds[0], POLLERR);
	EXPECT(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD | EV_EOF, ECONNRESET,
	    0, UDATA(3));
	/* The program is told the truth by the socket itself. */
	CHECK_EQ(so_error(fds[0]), ETIMEDOUT);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(seqpacket_own_shutdown_of_writing_is_not_told)
{
	int fds[2], kq = new_queue();
	struct kevent k;
	seqpacket_pair(fds);
	WRITE_ADD(kq, fds[0], 0);
	CHECK_EQ(shutdown(fds[0], SHUT_WR), 0);
	k = next_event(kq);
	CHECK_EQ(k.filter, EVFILT_WRITE);
	CHECK_EQ(k.flags, EV_ADD);
	CHECK(k.data > 0);
	CHECK_EQ(send(fds[0], "", 1, MSG_NOSIGNAL), -1);
	CHECK_EQ(errno, EPIPE);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* Linux calls it writable while at most a quarter of the buffer is taken. */
TEST(unix_stream_with_room_left_may_be_silent)
{
	int fds[2], kq = new_queue(), taken = 0;
	struct kevent k;
	unix_pair(fds);
	set_nonblocking(fds[0]);
	WRITE_ADD(kq, fds[0], 0);
	while (kevent(kq, NULL, 0, &k, 1, &no_wait) == 1) {
		put(fds[0], 1024);
		taken += 1024;
	}
	CHECK(k.data > taken);
	CHECK(k.data >= get_option(fds[0], SOL_SOCKET, SO_SNDBUF) / 4 * 3);
	EXPECT_QUIET(kq);
	/* And still takes more. */
	put(fds[0], 1024);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(room_is_1_where_linux_does_not_tell_it)
{
	int fds[2], ev = eventfd(0, EFD_CLOEXEC), kq = new_queue();
	CHECK(ev >= 0);
	pty_pair(fds, TTY_RAW);
	WRITE_ADD(kq, ev, EV_ONESHOT);
	EXPECT(kq, (uintptr_t)ev, EVFILT_WRITE, EV_ADD | EV_ONESHOT, 0, 1,
	    UDATA(3));
	WRITE_ADD(kq, fds[0], EV_ONESHOT);
	EXPECT(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD | EV_ONESHOT, 0, 1,
	    UDATA(3));
	EXPECT_QUIET(kq);
	CHECK_EQ(close(ev), 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* Readable, and nothing to collect */

/* poll() cannot be told to leave out a hang-up; it is left out once seen. */
TEST(hang_up_of_a_disabled_descriptor_makes_the_queue_readable_once)
{
	static const int filters[] = {EVFILT_READ, EVFILT_WRITE};
	int fds[2], i, kq = new_queue();
	for (i = 0; i < 2; i++) {
		unix_pair(fds);
		CHANGE(kq, (uintptr_t)fds[0], filters[i], EV_ADD | EV_DISABLE,
		    0, 0, UDATA(3));
		CHECK(!readable(kq));
		CHECK_EQ(close(fds[1]), 0);
		CHECK(readable(kq));
		EXPECT_QUIET(kq);
		EXPECT_QUIET(kq);
		CHECK_EQ(close(fds[0]), 0);
		EXPECT_QUIET(kq);
	}
	CHECK_EQ(close(kq), 0);
}

/* Every write wakes the queue; only one that moves the end is an event. */
TEST(write_within_a_silent_file_makes_the_queue_readable_once)
{
	int kq = new_queue(), fd = nameless_file(10);
	take(fd, 10);
	READ_ADD(kq, fd, 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(pwrite(fd, "x", 1, 3), 1);
	CHECK(readable(kq));
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

static void
looked_at_again(int kq, int64_t period)
{
	int64_t start, before;
	int i;
	expect_none(kq);
	before = now_ns();
	for (i = 0; i < 3; i++) {
		start = now_ns();
		wait_poll(kq, POLLIN);
		expect_none(kq);
	}
	/* From the second on they are a whole period apart. */
	CHECK(start >= before + period);
}

TEST(send_buffer_above_its_mark_makes_the_queue_readable_at_times)
{
	int fds[2], kq = new_queue();
	unix_pair(fds);
	put(fds[0], 1000);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD, NOTE_LOWAT,
	    get_option(fds[0], SOL_SOCKET, SO_SNDBUF), UDATA(3));
	looked_at_again(kq, 10000000);
	take(fds[1], 1000);
	CHECK_EQ(next_event(kq).filter, EVFILT_WRITE);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(memfd_at_its_end_makes_the_queue_readable_at_times)
{
	int kq = new_queue(), fd = memfd_create("test", MFD_CLOEXEC);
	CHECK(fd >= 0);
	READ_ADD(kq, fd, 0);
	looked_at_again(kq, 100000000);
	CHECK_EQ(pwrite(fd, "abc", 3, 0), 3);
	EXPECT_READ(kq, fd, 0, 0, 3);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

/* EVFILT_VNODE */

#define VNODE_ADD(kq, fd, flags, want)                                        \
	CHANGE(kq, (uintptr_t)(fd), EVFILT_VNODE, EV_ADD | (flags), want, 0,  \
	    UDATA(3))
#define EXPECT_NOTES(kq, fd, flags, notes)                                    \
	EXPECT(kq, (uintptr_t)(fd), EVFILT_VNODE, EV_ADD | (flags), notes, 0, \
	    UDATA(3))
#define ALL_NOTES 0x0fffu

TEST(vnode_keeps_its_file_system_and_is_never_revoked)
{
	char dir[SCRATCH_PATH], path[SCRATCH_PATH + 8];
	int kq, fd;
	scratch_directory(dir);
	snprintf(path, sizeof path, "%s/f", dir);
	IN_CHILD({
		if (unshare(CLONE_NEWNS) != 0 ||
		    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
		    mount("none", dir, "tmpfs", 0, NULL) != 0)
			SKIP("no mount namespace is allowed here");
		fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
		CHECK(fd >= 0);
		kq = new_queue();
		VNODE_ADD(kq, fd, EV_CLEAR, NOTE_REVOKE | NOTE_WRITE);
		CHECK_FAILS(umount2(dir, 0), EBUSY);
		CHECK_EQ(umount2(dir, MNT_DETACH), 0);
		EXPECT_QUIET(kq);
		put(fd, 1);
		EXPECT_NOTES(kq, fd, EV_CLEAR, NOTE_WRITE | NOTE_EXTEND);
		EXPECT_QUIET(kq);
	});
	CHECK_EQ(rmdir(dir), 0);
}

TEST(vnode_operations_between_two_looks_are_told_as_their_sum)
{
	char path[SCRATCH_PATH], other[SCRATCH_PATH + 8];
	int kq = new_queue(), fd = scratch_file(path, 10);
	snprintf(other, sizeof other, "%s-2", path);
	VNODE_ADD(kq, fd, EV_CLEAR, ALL_NOTES);
	/* Cut, and as large as before again. */
	CHECK_EQ(ftruncate(fd, 0), 0);
	CHECK_EQ(pwrite(fd, "0123456789", 10, 0), 10);
	EXPECT_NOTES(kq, fd, EV_CLEAR, NOTE_WRITE);
	/* As many links as before. */
	CHECK_EQ(link(path, other), 0);
	CHECK_EQ(unlink(other), 0);
	EXPECT_NOTES(kq, fd, EV_CLEAR, NOTE_ATTRIB);
	/* Growth is growth, written or not. */
	CHECK_EQ(ftruncate(fd, 20), 0);
	EXPECT_NOTES(kq, fd, EV_CLEAR, NOTE_WRITE | NOTE_EXTEND);
	EXPECT_QUIET(kq);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(vnode_of_a_disabled_knote_makes_the_queue_readable_once)
{
	char path[SCRATCH_PATH];
	int kq = new_queue(), fd = scratch_file(path, 10);
	VNODE_ADD(kq, fd, EV_CLEAR | EV_DISABLE, ALL_NOTES);
	put(fd, 1);
	CHECK(readable(kq));
	EXPECT_QUIET(kq);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(vnode_of_a_directory_hears_its_children_for_nothing)
{
	char dir[SCRATCH_PATH], path[SCRATCH_PATH + 8];
	int kq = new_queue(), fd, at;
	scratch_directory(dir);
	snprintf(path, sizeof path, "%s/f", dir);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0 && at >= 0);
	VNODE_ADD(kq, at, EV_CLEAR, NOTE_ATTRIB);
	CHECK_EQ(fchmod(fd, 0640), 0);
	CHECK(readable(kq));
	EXPECT_QUIET(kq);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(rmdir(dir), 0);
	CHECK_EQ(close(at), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(vnode_that_was_closed_makes_the_queue_readable_once)
{
	char path[SCRATCH_PATH];
	int kq = new_queue(), fd = scratch_file(path, 10), other = dup(fd);
	VNODE_ADD(kq, fd, 0, ALL_NOTES);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	put(other, 1);
	CHECK(readable(kq));
	EXPECT_QUIET(kq);
	put(other, 1);
	EXPECT_QUIET(kq);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(vnode_that_is_looked_at_tells_what_a_look_shows)
{
	char path[SCRATCH_PATH], other[SCRATCH_PATH + 8], byte;
	int kq, fd = scratch_file(path, 10);
	snprintf(other, sizeof other, "%s-2", path);
	if (!limit_inotify("instances", 0))
		SKIP("inotify's limits cannot be lowered here");
	kq = new_queue();
	VNODE_ADD(kq, fd, EV_CLEAR, ALL_NOTES);
	/* Late, but then at once. */
	put(fd, 1);
	CHECK(!readable(kq));
	wait_poll(kq, POLLIN);
	EXPECT_NOTES(kq, fd, EV_CLEAR, NOTE_WRITE);
	/* A rename shows as a change of something. */
	CHECK_EQ(rename(path, other), 0);
	EXPECT_NOTES(kq, fd, EV_CLEAR, NOTE_ATTRIB);
	/* Opening, reading and closing leave no trace. */
	CHECK_EQ(close(open(other, O_RDONLY | O_CLOEXEC)), 0);
	CHECK_EQ(pread(fd, &byte, 1, 0), 1);
	looked_at_again(kq, 100000000);
	CHECK_EQ(unlink(other), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(vnode_events_beyond_the_kernels_room_lose_their_detail)
{
	char path[SCRATCH_PATH], other[SCRATCH_PATH + 8];
	int i, kq = new_queue(), fd = scratch_file(path, 10);
	int noise = nameless_file(1);
	snprintf(other, sizeof other, "%s-2", path);
	VNODE_ADD(kq, noise, EV_CLEAR, ALL_NOTES);
	VNODE_ADD(kq, fd, EV_CLEAR, ALL_NOTES);
	CHANGE(kq, (uintptr_t)noise, EVFILT_VNODE, EV_DISABLE, ALL_NOTES, 0,
	    NULL);
	for (i = 0; i < 20000; i++) {
		CHECK_EQ(pwrite(noise, "x", 1, 0), 1);
		CHECK_EQ(fchmod(noise, 0640), 0);
	}
	CHECK_EQ(rename(path, other), 0);
	CHECK_EQ(close(open(other, O_RDONLY | O_CLOEXEC)), 0);
	EXPECT_NOTES(kq, fd, EV_CLEAR, NOTE_ATTRIB);
	EXPECT_QUIET(kq);
	CHECK_EQ(unlink(other), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(noise), 0);
	CHECK_EQ(close(kq), 0);
}

/* What wakes a queue that shares an instance stands between, as a set. */
TEST(vnode_that_shares_an_instance_costs_one_level_of_nesting)
{
	int i, kq[3], outer[4], fd = nameless_file(1);
	/* Two of their own, and the one to be shared. */
	if (!limit_inotify("instances", 3))
		SKIP("inotify's limits cannot be lowered here");
	for (i = 0; i < 3; i++) {
		kq[i] = new_queue();
		VNODE_ADD(kq[i], fd, EV_CLEAR, ALL_NOTES);
	}
	put(fd, 1);
	for (i = 0; i < 3; i++) {
		EXPECT_NOTES(kq[i], fd, EV_CLEAR, NOTE_WRITE);
		EXPECT_QUIET(kq[i]);
	}
	for (i = 0; i < 4; i++) {
		int below = i == 0 ? kq[2] : outer[i - 1];
		outer[i] = new_queue();
		if (i < 3)
			READ_ADD(outer[i], below, 0);
		else
			CHECK_FAILS(change(outer[i], (uintptr_t)below,
			    EVFILT_READ, EV_ADD, 0, 0, NULL), EINVAL);
	}
	put(fd, 1);
	EXPECT_READ(outer[2], outer[1], 0, 0, 1);
	for (i = 0; i < 4; i++)
		CHECK_EQ(close(outer[i]), 0);
	for (i = 0; i < 3; i++)
		CHECK_EQ(close(kq[i]), 0);
	CHECK_EQ(close(fd), 0);
}

/* What the signal wakes the queue by stands between, as a set. */
TEST(four_queues_can_stand_in_a_row_around_a_signal)
{
	int kq[5], i;
	CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
	kq[0] = new_queue();
	CHANGE(kq[0], SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	for (i = 1; i < 4; i++) {
		kq[i] = new_queue();
		READ_ADD(kq[i], kq[i - 1], 0);
	}
	kq[4] = new_queue();
	CHECK_FAILS(change(kq[4], (uintptr_t)kq[3], EVFILT_READ, EV_ADD, 0, 0,
	    NULL), EINVAL);
	CHECK_EQ(raise(SIGUSR1), 0);
	EXPECT_READ(kq[3], kq[2], 0, 0, 1);
	for (i = 0; i < 5; i++)
		CHECK_EQ(close(kq[i]), 0);
}

/* A descriptor closed while its file lives on elsewhere */

/* fds[0] is readable, closed, and open as *other; kq watches it. */
static void
leave_a_ghost(int kq, unsigned flags, int fds[2], int *other)
{
	unix_pair(fds);
	*other = fcntl(fds[0], F_DUPFD_CLOEXEC, 300);
	CHECK(*other >= 0);
	READ_ADD(kq, fds[0], flags);
	put(fds[1], 1);
	CHECK_EQ(close(fds[0]), 0);
}

static void
lay_the_ghost(int fds[2], int other)
{
	CHECK_EQ(close(fds[1]), 0);
	CHECK_EQ(close(other), 0);
}

/* The kernel disarms these, or tells of changes alone. */
TEST(closed_with_a_dup_alive_wakes_clear_oneshot_and_dispatch_in_passing)
{
	static const unsigned modes[] = {EV_CLEAR, EV_ONESHOT, EV_DISPATCH};
	size_t i;
	NOT_WITH_PRELOAD();
	for (i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		int fds[2], other, kq = new_queue();
		leave_a_ghost(kq, modes[i], fds, &other);
		CHECK(readable(kq));
		EXPECT_QUIET(kq);
		put(fds[1], 1);
		CHECK_EQ(readable(kq), modes[i] == EV_CLEAR);
		EXPECT_QUIET(kq);
		lay_the_ghost(fds, other);
		CHECK_EQ(close(kq), 0);
	}
}

/* To be rid of it the queue is made anew, and the kernel knows nothing of what
 * was told. */
TEST(closed_with_a_dup_alive_tells_once_more_what_is_not_read)
{
	int fds[2], live[2], other, kq = new_queue();
	NOT_WITH_PRELOAD();
	unix_pair(live);
	READ_ADD(kq, live[0], EV_CLEAR);
	put(live[1], 1);
	EXPECT_READ(kq, live[0], EV_CLEAR, 0, 1);
	EXPECT_QUIET(kq);
	leave_a_ghost(kq, 0, fds, &other);
	EXPECT_READ(kq, live[0], EV_CLEAR, 0, 1);
	EXPECT_QUIET(kq);
	lay_the_ghost(fds, other);
	close_pair(live);
	CHECK_EQ(close(kq), 0);
}

/* Only the library's own queues can be told that it is another object now. */
TEST(closed_with_a_dup_alive_takes_the_queue_out_of_a_foreign_epoll)
{
	struct epoll_event want = {.events = EPOLLIN}, got;
	int fds[2], live[2], other, kq = new_queue(), outer;
	NOT_WITH_PRELOAD();
	unix_pair(live);
	READ_ADD(kq, live[0], 0);
	outer = epoll_create1(EPOLL_CLOEXEC);
	CHECK(outer >= 0);
	CHECK_EQ(epoll_ctl(outer, EPOLL_CTL_ADD, kq, &want), 0);
	leave_a_ghost(kq, 0, fds, &other);
	EXPECT_QUIET(kq);
	put(live[1], 1);
	CHECK(readable(kq));
	CHECK_EQ(epoll_wait(outer, &got, 1, 0), 0);
	CHECK_FAILS(epoll_ctl(outer, EPOLL_CTL_MOD, kq, &want), ENOENT);
	CHECK_EQ(epoll_ctl(outer, EPOLL_CTL_ADD, kq, &want), 0);
	CHECK_EQ(epoll_wait(outer, &got, 1, 0), 1);
	lay_the_ghost(fds, other);
	close_pair(live);
	CHECK_EQ(close(outer), 0);
	CHECK_EQ(close(kq), 0);
}

/* A file that comes back to its number */

/* Linux knows it by number and open file, and forgets neither. */
TEST(socket_back_on_its_number_has_its_old_knote)
{
	int fds[2], other, kq = new_queue();
	NOT_WITH_PRELOAD();
	unix_pair(fds);
	READ_ADD(kq, fds[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	other = dup(fds[0]);
	CHECK(other >= 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(dup2(other, fds[0]), fds[0]);
	put(fds[1], 2);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 2);
	/* An update, where it would be the making of a new one. */
	READ_ADD(kq, fds[0], 0);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 2);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(other), 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* Of regular files the library knows the inode alone. */
TEST(file_opened_again_on_its_number_has_its_old_knote)
{
	char path[SCRATCH_PATH];
	int kq, fd;
	NOT_WITH_PRELOAD();
	kq = new_queue();
	fd = scratch_file(path, 10);
	READ_ADD(kq, fd, EV_CLEAR);
	EXPECT_READ(kq, fd, EV_CLEAR, 0, 10);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(open(path, O_RDWR | O_CLOEXEC), fd);
	CHECK_EQ(pwrite(fd, "abc", 3, 10), 3);
	EXPECT_READ(kq, fd, EV_CLEAR, 0, 13);
	READ_ADD(kq, fd, 0);
	EXPECT_READ(kq, fd, EV_CLEAR, 0, 13);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(close(kq), 0);
}

/* A queue closed under a waiter */

TEST(closing_the_queue_wakes_no_sleeper)
{
	struct sleeper s;
	int fds[2], kq = new_queue();
	NOT_WITH_PRELOAD();
	unix_pair(fds);
	READ_ADD(kq, fds[0], EV_CLEAR);
	sleeper_start(&s, kq);
	CHECK_EQ(close(kq), 0);
	/* It sleeps on, and is given what comes. */
	put(fds[1], 2);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fds[0], EVFILT_READ,
	    EV_ADD | EV_CLEAR, 0, 2, UDATA(3));
	close_pair(fds);
}

struct closer {
	int kq;
	struct timespec ts;
	int result;
	int error;
	_Atomic(pid_t) tid;
};

static void *
closer_main(void *arg)
{
	struct closer *c = arg;
	struct kevent k;
	atomic_store(&c->tid, (pid_t)syscall(SYS_gettid));
	c->result = kevent(c->kq, NULL, 0, &k, 1, &c->ts);
	c->error = errno;
	return NULL;
}

/* Without a handler to run: the kernel keeps it for the thread that it is sent
 * to, as that one blocks it, and wakes another one to take it. */
TEST(ignored_signal_that_the_first_thread_blocks_interrupts_another_ones_wait)
{
	int kq = new_queue();
	struct sleeper s;
	sigset_t set;
	CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
	CHANGE(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	sleeper_start(&s, kq);
	CHECK_EQ(kill(getpid(), SIGUSR1), 0);
	CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	CHECK_EQ(sleeper_join(&s).ident, 1);
	CHANGE(kq, 1, EVFILT_USER, EV_CLEAR, 0, 0, NULL);
	sleeper_start(&s, kq);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	CHECK_EQ(kill(getpid(), SIGUSR1), 0);
	CHECK_EQ(pthread_join(s.thread, NULL), 0);
	CHECK_EQ(s.result, -1);
	CHECK_EQ(s.error, EINTR);
	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
	CHECK(signal(SIGUSR1, SIG_DFL) != SIG_ERR);
	/* And SIGCHLD, which nobody has set to be ignored. */
	sleeper_start(&s, kq);
	sigaddset(&set, SIGCHLD);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	IN_CHILD();
	CHECK_EQ(pthread_join(s.thread, NULL), 0);
	CHECK_EQ(s.result, -1);
	CHECK_EQ(s.error, EINTR);
	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(closing_the_queue_under_a_timed_wait_is_ebadf_at_its_end)
{
	struct closer c = {.kq = new_queue(), .ts = ms_to_ts(300)};
	pthread_t thread;
	int64_t start = now_ns();
	NOT_WITH_PRELOAD();
	CHECK_EQ(pthread_create(&thread, NULL, closer_main, &c), 0);
	WAIT_FOR(is_asleep(atomic_load(&c.tid)));
	CHECK_EQ(close(c.kq), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK(now_ns() - start >= 300000000);
	CHECK_EQ(c.result, -1);
	CHECK_EQ(c.error, EBADF);
}

/* Until it is found out, a wait on the number is a wait on the stranger. */
TEST(waiting_on_a_number_that_is_a_strangers_epoll_is_einval_when_time_is_up)
{
	struct timespec ts = ms_to_ts(30);
	struct kevent k;
	int ep, kq = new_queue();
	int64_t start;
	NOT_WITH_PRELOAD();
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK_EQ(ep, kq);
	start = now_ns();
	CHECK_FAILS(kevent(ep, NULL, 0, &k, 1, &ts), EINVAL);
	CHECK(now_ns() - start >= 30000000);
	/* It has been found out. */
	CHECK_FAILS(kevent(ep, NULL, 0, &k, 1, NULL), EINVAL);
	CHECK_EQ(close(ep), 0);
}

/* What it has ready finds the wait out, and an edge is gone with that. */
TEST(waiting_on_a_number_that_is_a_strangers_epoll_may_take_its_edge)
{
	struct epoll_event ee = {.events = EPOLLIN | EPOLLET};
	struct kevent k;
	int ep, fds[2], kq = new_queue();
	NOT_WITH_PRELOAD();
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK_EQ(ep, kq);
	pipe_pair(fds);
	CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &ee), 0);
	put(fds[1], 1);
	CHECK_FAILS(kevent(ep, NULL, 0, &k, 1, NULL), EINVAL);
	CHECK_EQ(epoll_wait(ep, &ee, 1, 0), 0);
	close_pair(fds);
	CHECK_EQ(close(ep), 0);
}

/* D95: nobody has told of the dup, nor of the close. */
TEST(a_change_by_a_number_that_became_a_dup_may_fall_on_both_queues)
{
	int first = new_queue(), kq = new_queue(), other = dup(first);
	struct kevent k;
	CHANGE(first, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, UDATA(1));
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, UDATA(2));
	CHECK_EQ(close(first), 0);
	CHECK_EQ(fcntl(kq, F_DUPFD_CLOEXEC, first), first);
	CHANGE(first, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, UDATA(2));
	EXPECT(first, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, UDATA(2));
	/* It may, and need not. */
	CHECK(kevent(other, NULL, 0, &k, 1, &no_wait) >= 0);
	expect_none(other);
	/* From now on it is known. */
	CHANGE(first, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, UDATA(2));
	expect_none(other);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, UDATA(2));
	CHECK_EQ(close(first), 0);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(kq), 0);
}

/* The queue as a file */

TEST(queue_is_an_epoll_to_read_write_and_fstat)
{
	struct stat st;
	char byte = 0;
	int kq = new_queue();
	CHECK_FAILS(read(kq, &byte, 1), EINVAL);
	CHECK_FAILS(write(kq, &byte, 1), EINVAL);
	CHECK_EQ(fstat(kq, &st), 0);
	CHECK(!S_ISFIFO(st.st_mode));
	CHECK_EQ(close(kq), 0);
}

/* Queues in queues */

enum { MANY = 8 };

/* How many of q[] can stand in a row, each watched by the next. */
static int
chain(int q[MANY])
{
	int i;
	for (i = 1; i < MANY; i++)
		if (change(q[i], (uintptr_t)q[i - 1], EVFILT_READ, EV_ADD, 0,
		    0, UDATA(3)) == -1)
			break;
	CHECK(i < MANY);
	CHECK_EQ(errno, EINVAL);
	return i;
}

TEST(five_queues_can_stand_in_a_row)
{
	struct epoll_event ee = {.events = EPOLLIN};
	int q[MANY], fds[2], i, ep;
	unix_pair(fds);
	for (i = 0; i < MANY; i++)
		q[i] = new_queue();
	CHECK_EQ(chain(q), 5);
	/* Nothing is left for the innermost's second filter of a socket, */
	READ_ADD(q[0], fds[0], 0);
	CHECK_FAILS(change(q[0], (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD, 0, 0,
	    NULL), EINVAL);
	/* nor for an epoll around them; poll() does not count. */
	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0);
	CHECK_FAILS(epoll_ctl(ep, EPOLL_CTL_ADD, q[4], &ee), ELOOP);
	put(fds[1], 1);
	CHECK(readable(q[4]));
	EXPECT_READ(q[4], q[3], 0, 0, 1);
	CHECK_EQ(close(ep), 0);
	for (i = 0; i < MANY; i++)
		CHECK_EQ(close(q[i]), 0);
	close_pair(fds);
}

TEST(four_queues_can_stand_in_a_row_around_both_filters_of_a_socket)
{
	int q[MANY], fds[2], i;
	unix_pair(fds);
	for (i = 0; i < MANY; i++)
		q[i] = new_queue();
	READ_ADD(q[0], fds[0], 0);
	WRITE_ADD(q[0], fds[0], EV_CLEAR);
	CHECK_EQ(chain(q), 4);
	CHECK_EQ(next_event(q[0]).filter, EVFILT_WRITE);
	EXPECT_QUIET(q[3]);
	for (i = 0; i < MANY; i++)
		CHECK_EQ(close(q[i]), 0);
	close_pair(fds);
}

/*
 * The system tells of every process at once, so a queue that follows one is
 * readable for a moment when a stranger forks; there is nothing in it.
 */
TEST(following_shows_readable_when_strangers_fork)
{
	int kq = kqueue();
	struct kevent k;
	struct pollfd p = {kq, POLLIN, 0};
	pid_t idle = fork(), pid;
	if (idle == 0)
		for (;;)
			pause();
	CHECK(kq >= 0);
	EV_SET(&k, idle, EVFILT_PROC, EV_ADD, NOTE_FORK, 0, NULL);
	if (kevent(kq, &k, 1, NULL, 0, NULL) == -1) {
		CHECK(errno == EPERM || errno == ENOTSUP);
		CHECK_EQ(kill(idle, SIGKILL), 0);
		SKIP("the process connector cannot be had here");
	}
	pid = fork();
	if (pid == 0)
		_exit(0);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	CHECK_EQ(poll(&p, 1, GENEROUS_MS), 1);
	struct kevent got;
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &no_wait), 0);
	CHECK_EQ(kill(idle, SIGKILL), 0);
	CHECK_EQ(waitpid(idle, NULL, 0), idle);
	CHECK_EQ(close(kq), 0);
}

TEST(four_queues_can_stand_in_a_row_around_except_of_a_socket)
{
	int q[MANY], fds[2], i;
	tcp_pair(fds);
	for (i = 0; i < MANY; i++)
		q[i] = new_queue();
	CHANGE(q[0], (uintptr_t)fds[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB, 0,
	    UDATA(3));
	CHECK_EQ(chain(q), 4);
	CHECK_EQ(send(fds[1], "!", 1, MSG_OOB), 1);
	wait_poll(q[3], POLLIN);
	EXPECT(q[0], (uintptr_t)fds[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB, 0,
	    UDATA(3));
	for (i = 0; i < MANY; i++)
		CHECK_EQ(close(q[i]), 0);
	close_pair(fds);
}

/* Urgent data */

/* poll() itself calls it so, and a read would block. */
TEST(unix_stream_with_an_urgent_byte_alone_fires_for_read)
{
	int fds[2], kq = new_queue();
	char c;
	unix_pair(fds);
	READ_ADD(kq, fds[0], 0);
	if (send(fds[1], "!", 1, MSG_OOB) == -1) {
		CHECK_EQ(errno, EOPNOTSUPP);
		SKIP("no urgent data on UNIX sockets here");
	}
	CHECK(readable(fds[0]));
	CHECK_FAILS(recv(fds[0], &c, 1, MSG_PEEK | MSG_DONTWAIT), EAGAIN);
	EXPECT_READ(kq, fds[0], 0, 0, 1);
	CHECK_EQ(recv(fds[0], &c, 1, MSG_OOB), 1);
	/* Until something ordinary has been read behind it, on most kernels. */
	if (readable(fds[0]))
		EXPECT_READ(kq, fds[0], 0, 0, 1);
	put(fds[1], 1);
	take(fds[0], 1);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* Mounts */

#define FS_ADD(kq) CHANGE(kq, 1, EVFILT_FS, EV_ADD, 0, 0, UDATA(3))
#define EXPECT_FS(kq, fflags)                                                 \
	EXPECT(kq, 1, EVFILT_FS, EV_ADD | EV_CLEAR, fflags, 0, UDATA(3))

TEST(mount_that_is_undone_before_anyone_looks_is_not_told)
{
	struct place p;
	int kq = new_queue();
	begin(&p);
	FS_ADD(kq);
	mount_at(p.at[0]);
	unmount(p.at[0]);
	expect_none(kq);
	EXPECT_QUIET(kq);
	mount_at(p.at[0]);
	EXPECT_FS(kq, VQ_MOUNT);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(mount_that_others_looked_for_may_not_show_and_is_collected_all_the_same)
{
	struct place p;
	int kq = new_queue(), looks;
	begin(&p);
	FS_ADD(kq);
	mount_at(p.at[0]);
	for (looks = 0; looks < 20 && readable(kq); looks++)
		;
	CHECK(looks >= 1 && looks < 20);
	EXPECT_FS(kq, VQ_MOUNT);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(remount_makes_the_queue_readable_in_passing)
{
	struct place p;
	int kq = new_queue();
	begin(&p);
	mount_at(p.at[0]);
	FS_ADD(kq);
	CHECK_EQ(mount("none", p.at[0], "none", MS_REMOUNT | MS_RDONLY, NULL), 0);
	CHECK(readable(kq));
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(mounts_are_those_of_the_namespace_at_ev_add)
{
	struct place p;
	int kq = new_queue(), other = new_queue();
	begin(&p);
	FS_ADD(kq);
	CHECK_EQ(unshare(CLONE_NEWNS), 0);
	/* Also of a knote that is added now: the queue looks where it did. */
	CHANGE(kq, 2, EVFILT_FS, EV_ADD, 0, 0, UDATA(3));
	FS_ADD(other);
	mount_at(p.at[0]);
	EXPECT_FS(other, VQ_MOUNT);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(other), 0);
	end(&p);
}

/* At the next change of any mount, for a rename itself changes none. */
TEST(rename_above_a_mount_is_told_as_a_move)
{
	char there[SCRATCH_PATH + 32], moved[SCRATCH_PATH + 32];
	struct place p;
	int kq = new_queue();
	begin(&p);
	snprintf(there, sizeof there, "%s/inner", p.at[0]);
	snprintf(moved, sizeof moved, "%s/moved", p.root);
	CHECK_EQ(mkdir(there, 0700), 0);
	mount_at(there);
	FS_ADD(kq);
	CHECK_EQ(rename(p.at[0], moved), 0);
	EXPECT_QUIET(kq);
	mount_at(p.at[1]);
	EXPECT_FS(kq, VQ_MOUNT | VQ_UNMOUNT);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}
