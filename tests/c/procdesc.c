/*
 * EVFILT_PROCDESC: what becomes of a process, by a descriptor of it, which is
 * the program's own: its knote lives and dies as that descriptor does.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "support.h"

#define WATCH (EV_ADD | EV_CLEAR)
#define ENDED (EV_ADD | EV_CLEAR | EV_EOF | EV_ONESHOT)

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* A child that ends with the byte that it is sent, or makes a child at 'f'. */
struct child {
	pid_t pid;
	int fd, orders, answers;
};

static struct child
start(void)
{
	struct child c;
	int orders[2], answers[2];
	char order;
	CHECK_EQ(pipe2(orders, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(answers, O_CLOEXEC), 0);
	c.pid = fork();
	CHECK(c.pid >= 0);
	if (c.pid == 0) {
		close(orders[1]);
		while (read(orders[0], &order, 1) == 1 && order == 'f') {
			pid_t made = fork();
			if (made == 0)
				_exit(0);
			waitpid(made, NULL, 0);
			write(answers[1], &made, sizeof made);
		}
		_exit(order);
	}
	close(orders[0]);
	close(answers[1]);
	c.orders = orders[1];
	c.answers = answers[0];
	c.fd = (int)syscall(SYS_pidfd_open, c.pid, 0);
	if (c.fd < 0 && errno == ENOSYS)
		SKIP("this kernel has no pidfd_open()");
	CHECK(c.fd >= 0);
	return c;
}

/* Has it make a child: the number of that. */
static pid_t
make_child(struct child *c)
{
	pid_t made;
	CHECK_EQ(write(c->orders, "f", 1), 1);
	CHECK_EQ(read(c->answers, &made, sizeof made), sizeof made);
	return made;
}

static void
finish(struct child *c, char status)
{
	siginfo_t info;
	CHECK_EQ(write(c->orders, &status, 1), 1);
	close(c->orders);
	close(c->answers);
	CHECK_EQ(waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOWAIT), 0);
}

static void
clean(struct child *c)
{
	waitpid(c->pid, NULL, 0);
	CHECK_EQ(close(c->fd), 0);
}

static void
add(int kq, int fd, unsigned flags, unsigned fflags)
{
	CHANGE(kq, (uintptr_t)fd, EVFILT_PROCDESC, EV_ADD | flags, fflags, 0,
	    NULL);
}

static int
polls_readable(int kq)
{
	struct pollfd p = {kq, POLLIN, 0};
	return poll(&p, 1, 0) == 1;
}

static void
need_connector(void)
{
	int kq = open_queue();
	int rv = change(kq, (uintptr_t)getpid(), EVFILT_PROC, EV_ADD,
	    NOTE_FORK, 0, NULL);
	int code = errno;
	CHECK_EQ(close(kq), 0);
	libkqueue_drain_pending_close();
	if (rv != 0 && (code == EPERM || code == ENOTSUP))
		SKIP("the process connector cannot be had here");
	CHECK_EQ(rv, 0);
}

/* Does the kernel tell the status of a process that has been reaped? */
static int
told_after_reaping(int fd)
{
	struct {
		uint64_t mask, cgroup;
		uint32_t ids[11];
		int32_t code;
	} info = {.mask = 8};
	return ioctl(fd, _IOWR(0xff, 11, info), &info) == 0 &&
	    (info.mask & 8) != 0;
}

TEST(the_end_comes_with_the_status)
{
	static const int codes[] = {0, 1, 77, 255};
	int kq = open_queue();
	for (size_t i = 0; i < 4; i++) {
		struct child c = start();
		CHANGE(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, EV_ADD, NOTE_EXIT,
		    0, UDATA(i));
		expect_none(kq);
		CHECK(!polls_readable(kq));
		finish(&c, (char)codes[i]);
		CHECK(polls_readable(kq));
		EXPECT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, ENDED, NOTE_EXIT,
		    codes[i] << 8, UDATA(i));
		expect_none(kq);
		CHECK(!polls_readable(kq));
		CHECK_ABSENT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC);
		clean(&c);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(the_status_tells_the_signal)
{
	int kq = open_queue();
	struct child c = start();
	add(kq, c.fd, 0, NOTE_EXIT | NOTE_EXITSTATUS);
	CHECK_EQ(kill(c.pid, SIGKILL), 0);
	EXPECT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, ENDED,
	    NOTE_EXIT | NOTE_EXITSTATUS, SIGKILL, NULL);
	expect_none(kq);
	close(c.orders);
	close(c.answers);
	clean(&c);
	CHECK_EQ(close(kq), 0);
}

TEST(a_zombie_and_one_that_is_reaped_are_told_of_at_once)
{
	int kq = open_queue();
	struct child c = start();
	finish(&c, 5);
	add(kq, c.fd, 0, NOTE_EXIT);
	EXPECT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, ENDED, NOTE_EXIT, 5 << 8,
	    NULL);
	expect_none(kq);
	CHECK_EQ(waitpid(c.pid, NULL, 0), c.pid);
	add(kq, c.fd, 0, NOTE_EXIT);
	EXPECT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, ENDED, NOTE_EXIT,
	    told_after_reaping(c.fd) ? 5 << 8 : 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(c.fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(the_status_survives_the_reaping)
{
	int kq = open_queue();
	struct child c = start();
	add(kq, c.fd, 0, NOTE_EXIT);
	finish(&c, 6);
	CHECK_EQ(waitpid(c.pid, NULL, 0), c.pid);
	EXPECT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, ENDED, NOTE_EXIT,
	    told_after_reaping(c.fd) ? 6 << 8 : 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(c.fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(an_end_that_nobody_wants_takes_the_knote_silently)
{
	int kq = open_queue();
	struct child c = start();
	add(kq, c.fd, 0, 0);
	finish(&c, 6);
	expect_none(kq);
	CHECK_ABSENT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC);
	/* Here it does not matter that it has ended already. */
	add(kq, c.fd, 0, 0);
	expect_none(kq);
	CHECK_ABSENT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC);
	clean(&c);
	CHECK_EQ(close(kq), 0);
}

TEST(what_is_no_process_is_einval)
{
	int kq = open_queue(), fds[2], i;
	int others[] = {open("/dev/null", O_RDONLY | O_CLOEXEC),
	    open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
	    eventfd(1, EFD_CLOEXEC), epoll_create1(EPOLL_CLOEXEC),
	    open("/proc/self/stat", O_RDONLY | O_CLOEXEC), open_queue()};
	CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
	for (i = 0; i < 6; i++) {
		CHECK(others[i] >= 0);
		CHECK_FAILS(change(kq, (uintptr_t)others[i], EVFILT_PROCDESC,
		    EV_ADD, NOTE_EXIT, 0, NULL), EINVAL);
		CHECK_ABSENT(kq, (uintptr_t)others[i], EVFILT_PROCDESC);
		CHECK_EQ(close(others[i]), 0);
	}
	CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_PROCDESC, EV_ADD,
	    NOTE_EXIT, 0, NULL), EINVAL);
	CHECK_FAILS(change(kq, (uintptr_t)kq, EVFILT_PROCDESC, EV_ADD,
	    NOTE_EXIT, 0, NULL), EINVAL);
	close(fds[0]);
	close(fds[1]);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_number_that_is_not_open_is_ebadf)
{
	static const uintptr_t idents[] = {999, 0x7fffffff, 0x80000000u,
	    (uintptr_t)-1};
	int kq = open_queue();
	for (size_t i = 0; i < 4; i++) {
		CHECK_FAILS(change(kq, idents[i], EVFILT_PROCDESC, EV_ADD,
		    NOTE_EXIT, 0, NULL), EBADF);
		CHECK_FAILS(change(kq, idents[i], EVFILT_PROCDESC, EV_DELETE,
		    NOTE_EXIT, 0, NULL), EBADF);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(a_descriptor_of_a_thread_is_einval)
{
	int kq = open_queue();
	/* PIDFD_THREAD, since 6.9. */
	int fd = (int)syscall(SYS_pidfd_open, syscall(SYS_gettid), O_EXCL);
	if (fd < 0)
		SKIP("this kernel has no descriptors of threads");
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_PROCDESC, EV_ADD,
	    NOTE_EXIT, 0, NULL), EINVAL);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(a_closed_descriptor_takes_its_knote)
{
	int kq = open_queue();
	struct child c = start();
	add(kq, c.fd, 0, NOTE_EXIT);
	finish(&c, 6);
	clean(&c);
	expect_none(kq);
	CHECK(!polls_readable(kq));
	CHECK_FAILS(change(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, EV_DELETE, 0,
	    0, NULL), EBADF);
	/* Its number may be another process's. */
	struct child d = start();
	if (d.fd != c.fd) {
		CHECK_EQ(dup2(d.fd, c.fd), c.fd);
		CHECK_EQ(close(d.fd), 0);
		d.fd = c.fd;
	}
	CHECK_ABSENT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC);
	add(kq, c.fd, 0, NOTE_EXIT);
	finish(&d, 7);
	EXPECT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, ENDED, NOTE_EXIT, 7 << 8,
	    NULL);
	expect_none(kq);
	clean(&d);
	CHECK_EQ(close(kq), 0);
}

TEST(disable_enable_oneshot_dispatch_delete)
{
	static const unsigned modes[] = {0, EV_ONESHOT, EV_DISPATCH};
	int kq = open_queue();
	for (size_t i = 0; i < 3; i++) {
		struct child c = start();
		add(kq, c.fd, modes[i] | EV_DISABLE, NOTE_EXIT);
		finish(&c, 6);
		expect_none(kq);
		CHANGE(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, EV_ENABLE,
		    NOTE_EXIT, 0, NULL);
		CHANGE(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, EV_DISABLE,
		    NOTE_EXIT, 0, NULL);
		expect_none(kq);
		CHANGE(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, EV_ENABLE,
		    NOTE_EXIT, 0, UDATA(4));
		EXPECT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, ENDED | modes[i],
		    NOTE_EXIT, 6 << 8, UDATA(4));
		expect_none(kq);
		CHECK_ABSENT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC);
		add(kq, c.fd, modes[i], NOTE_EXIT);
		CHANGE(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, EV_DELETE, 0, 0,
		    NULL);
		expect_none(kq);
		clean(&c);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(other_filters_on_the_same_descriptor)
{
	int kq = open_queue(), seen = 0;
	struct child c = start();
	struct kevent k[4];
	CHANGE(kq, (uintptr_t)c.fd, EVFILT_READ, EV_ADD, 0, 0, NULL);
	add(kq, c.fd, 0, NOTE_EXIT);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
	expect_none(kq);
	finish(&c, 6);
	/* READ is told by every call. */
	for (int64_t until = now_ns() + MS(GENEROUS_MS);
	    seen != 7 && now_ns() < until;) {
		int n = kevent(kq, NULL, 0, k, 4, &no_wait);
		CHECK(n > 0);
		while (n-- > 0) {
			seen |= k[n].filter == EVFILT_READ ? 1
			    : k[n].filter == EVFILT_PROC   ? 2
							   : 4;
			if (k[n].filter != EVFILT_READ)
				CHECK_EQ(k[n].data, 6 << 8);
		}
	}
	CHECK_EQ(seen, 7);
	CHANGE(kq, (uintptr_t)c.fd, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	clean(&c);
	CHECK_EQ(close(kq), 0);
}

TEST(two_descriptors_and_two_queues)
{
	int one = open_queue(), two = open_queue();
	struct child c = start();
	int copy = dup(c.fd);
	add(one, c.fd, 0, NOTE_EXIT);
	add(one, copy, 0, NOTE_EXIT);
	add(two, c.fd, 0, NOTE_EXIT);
	finish(&c, 6);
	struct kevent k = next_event(one);
	CHECK(k.ident == (uintptr_t)c.fd || k.ident == (uintptr_t)copy);
	EXPECT(one, (uintptr_t)(c.fd + copy) - k.ident, EVFILT_PROCDESC, ENDED,
	    NOTE_EXIT, 6 << 8, NULL);
	EXPECT(two, (uintptr_t)c.fd, EVFILT_PROCDESC, ENDED, NOTE_EXIT, 6 << 8,
	    NULL);
	expect_none(one);
	expect_none(two);
	close(copy);
	clean(&c);
	CHECK_EQ(close(one), 0);
	CHECK_EQ(close(two), 0);
}

TEST(a_sleeping_thread_is_woken)
{
	int kq = open_queue();
	struct child c = start();
	struct waiter w;
	add(kq, c.fd, 0, NOTE_EXIT);
	waiter_start(&w, kq, NULL);
	finish(&c, 6);
	CHECK_KEV(waiter_event(&w), (uintptr_t)c.fd, EVFILT_PROCDESC, ENDED,
	    NOTE_EXIT, 6 << 8, NULL);
	expect_none(kq);
	clean(&c);
	CHECK_EQ(close(kq), 0);
}

/* --- forks ---------------------------------------------------------------- */

TEST(a_fork_tells_the_latest_child)
{
	int kq;
	struct child c;
	pid_t made;
	need_connector();
	kq = open_queue();
	c = start();
	add(kq, c.fd, 0, NOTE_FORK | NOTE_EXIT);
	expect_none(kq);
	made = make_child(&c);
	EXPECT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, WATCH, NOTE_FORK, made,
	    NULL);
	expect_none(kq);
	make_child(&c);
	made = make_child(&c);
	EXPECT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, WATCH, NOTE_FORK, made,
	    NULL);
	expect_none(kq);
	/* The status takes its place. */
	make_child(&c);
	finish(&c, 6);
	EXPECT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, ENDED,
	    NOTE_FORK | NOTE_EXIT, 6 << 8, NULL);
	expect_none(kq);
	CHECK_ABSENT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC);
	clean(&c);
	CHECK_EQ(close(kq), 0);
}

TEST(forks_without_the_end_and_while_disabled)
{
	int kq;
	struct child c;
	pid_t made;
	need_connector();
	kq = open_queue();
	c = start();
	add(kq, c.fd, EV_DISABLE, NOTE_FORK);
	made = make_child(&c);
	expect_none(kq);
	CHANGE(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, EV_ENABLE, NOTE_FORK, 0,
	    NULL);
	EXPECT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, WATCH, NOTE_FORK, made,
	    NULL);
	expect_none(kq);
	CHANGE(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, 0, 0, 0, NULL);
	make_child(&c);
	expect_none(kq);
	CHANGE(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, 0, NOTE_FORK, 0, NULL);
	made = make_child(&c);
	finish(&c, 6);
	EXPECT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, ENDED, NOTE_FORK, made,
	    NULL);
	expect_none(kq);
	CHECK_ABSENT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC);
	clean(&c);
	CHECK_EQ(close(kq), 0);
}

/* By three knotes at once, and one of them closed under it. */
TEST(all_who_follow_one_process_are_told)
{
	int kq, copy, seen = 0;
	struct child c;
	struct kevent k[4];
	pid_t made;
	need_connector();
	kq = open_queue();
	c = start();
	copy = dup(c.fd);
	add(kq, c.fd, 0, NOTE_FORK);
	add(kq, copy, 0, NOTE_FORK);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ADD, NOTE_FORK, 0, NULL);
	made = make_child(&c);
	while (seen != 7) {
		struct timespec ts = ms_to_ts(GENEROUS_MS);
		int n = kevent(kq, NULL, 0, k, 4, &ts);
		CHECK(n > 0);
		while (n-- > 0) {
			CHECK_EQ(k[n].fflags, NOTE_FORK);
			CHECK_EQ(k[n].data,
			    k[n].filter == EVFILT_PROC ? 0 : made);
			seen |= k[n].filter == EVFILT_PROC ? 1
			    : k[n].ident == (uintptr_t)copy ? 2
							    : 4;
		}
	}
	expect_none(kq);
	CHECK_EQ(close(copy), 0);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_DELETE, 0, 0, NULL);
	made = make_child(&c);
	EXPECT(kq, (uintptr_t)c.fd, EVFILT_PROCDESC, WATCH, NOTE_FORK, made,
	    NULL);
	expect_none(kq);
	finish(&c, 6);
	expect_none(kq);
	clean(&c);
	CHECK_EQ(close(kq), 0);
}
