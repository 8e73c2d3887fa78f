/*
 * errno: a call that succeeds leaves it alone, whatever failed inside; a call
 * that fails sets it. Run without the trace and with it.
 */
#include "common.h"

#include <sys/socket.h>

/* No errno of this system, and not what a library would set by chance. */
#define MARK 31415

#define KEEPS(expr, want)                                                     \
	do {                                                                  \
		long long rv_;                                                \
		int err_;                                                     \
		errno = MARK;                                                 \
		rv_ = (long long)(expr);                                      \
		err_ = errno;                                                 \
		if (rv_ != (want))                                            \
			FAIL("%s gave %lld (%s)", #expr, rv_,                 \
			    strerror(err_));                                  \
		if (err_ != MARK)                                             \
			FAIL("%s set errno to %d (%s)", #expr, err_,          \
			    strerror(err_));                                  \
	} while (0)

#define KEEPS_FD(fd, expr)                                                    \
	do {                                                                  \
		int err_;                                                     \
		errno = MARK;                                                 \
		(fd) = (expr);                                                \
		err_ = errno;                                                 \
		CHECK((fd) >= 0);                                             \
		CHECK_EQ(err_, MARK);                                         \
	} while (0)

TEST(kept_by_the_making_of_queues)
{
	int kq[40], i;

	for (i = 0; i < 40; i += 4) {
		KEEPS_FD(kq[i], kqueue());
		KEEPS_FD(kq[i + 1], kqueue1(0));
		KEEPS_FD(kq[i + 2], kqueue1(O_CLOEXEC | O_NONBLOCK));
		KEEPS_FD(kq[i + 3], kqueuex(KQUEUE_CLOEXEC));
	}
	/* Closed ones are swept by calls that succeed. */
	for (i = 0; i < 40; i++)
		CHECK(close(kq[i]) == 0);
	KEEPS_FD(kq[0], kqueue());
	CHECK(close(kq[0]) == 0);
	errno = MARK;
	libkqueue_drain_pending_close();
	CHECK_EQ(errno, MARK);
	KEEPS(libkqueue_init(), 0);
}

TEST(kept_by_changes_and_events)
{
	int kq = kqueue(), fds[2];
	struct kevent k[2], got[4];
	struct timespec soon = ms_to_ts(1), long_time = ms_to_ts(GENEROUS_MS);

	CHECK(kq >= 0 && pipe(fds) == 0);
	KEEPS(change(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL),
	    0);
	/* A number that the kernel knows already. */
	KEEPS(change(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL),
	    0);
	KEEPS(kevent(kq, NULL, 0, got, 4, &no_wait), 0);
	KEEPS(kevent(kq, NULL, 0, got, 4, &soon), 0);
	CHECK(write(fds[1], "x", 1) == 1);
	KEEPS(kevent(kq, NULL, 0, got, 4, &long_time), 1);
	KEEPS(change(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, NULL), 0);
	KEEPS(change(kq, (uintptr_t)fds[0], EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), 0);
	KEEPS(kevent(kq, NULL, 0, got, 4, &long_time), 1);
	CHECK_EQ(got[0].filter, EVFILT_TIMER);
	k[0] = kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	k[1] = kev(1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	KEEPS(kevent(kq, k, 2, got, 4, &long_time), 1);
	k[0] = kev(0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_VERSION, 0, NULL);
	KEEPS(kevent(kq, k, 1, got, 4, NULL), 1);
	CHECK(close(fds[0]) == 0 && close(fds[1]) == 0 && close(kq) == 0);
}

TEST(kept_by_entries_that_carry_an_errno)
{
	int kq = kqueue();
	struct kevent k[3], got[3];

	CHECK(kq >= 0);
	k[0] = kev(1000000, EVFILT_READ, EV_ADD, 0, 0, NULL);
	k[1] = kev(1, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	k[2] = kev(1, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL);
	KEEPS(kevent(kq, k, 3, got, 3, NULL), 3);
	CHECK_EQ(got[0].data, EBADF);
	CHECK_EQ(got[1].data, ENOENT);
	CHECK_EQ(got[2].data, 0);
	/* A receipt without room stops the call, and is no failure. */
	KEEPS(kevent(kq, k + 2, 1, NULL, 0, NULL), 0);
	CHECK(close(kq) == 0);
}

/* What the kernel refuses to watch, and what it is asked in vain. */
TEST(kept_where_the_kernel_says_no)
{
	int kq = kqueue(), file = open("/proc/self/exe", O_RDONLY);
	int null = open("/dev/null", O_RDWR), dir = open("/", O_RDONLY);
	int sock = socket(AF_INET, SOCK_STREAM, 0), fds[2];
	int all[4], i;
	struct kevent got[8];

	CHECK(kq >= 0 && file >= 0 && null >= 0 && dir >= 0 && sock >= 0);
	all[0] = file, all[1] = null, all[2] = dir, all[3] = sock;
	for (i = 0; i < 4; i++)
		KEEPS(change(kq, (uintptr_t)all[i], EVFILT_READ, EV_ADD, 0, 0,
		    NULL), 0);
	KEEPS(change(kq, (uintptr_t)null, EVFILT_WRITE, EV_ADD, 0, 0, NULL),
	    0);
	errno = MARK;
	CHECK(kevent(kq, NULL, 0, got, 8, &no_wait) >= 2);
	CHECK_EQ(errno, MARK);

	for (i = 0; i < 4; i++)
		KEEPS(change(kq, (uintptr_t)all[i], EVFILT_READ, EV_DELETE, 0,
		    0, NULL), 0);
	KEEPS(change(kq, (uintptr_t)null, EVFILT_WRITE, EV_DELETE, 0, 0,
	    NULL), 0);

	/* Closed while watched: found out at a later call. */
	CHECK(pipe(fds) == 0);
	KEEPS(change(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL),
	    0);
	KEEPS(change(kq, (uintptr_t)file, EVFILT_READ, EV_ADD, 0, 0, NULL),
	    0);
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(close(fds[0]) == 0 && close(fds[1]) == 0);
	for (i = 0; i < 4; i++)
		CHECK(close(all[i]) == 0);
	KEEPS(kevent(kq, NULL, 0, got, 8, &no_wait), 0);
	CHECK(close(kq) == 0);
}

/* With the trace on, each line is a write() that fails. */
TEST(kept_when_standard_error_is_closed)
{
	int saved = dup(2), kq;
	struct kevent got[2];
	int wrong = 0, rv;

	CHECK(saved >= 0 && close(2) == 0);
	errno = MARK;
	kq = kqueue();
	wrong |= errno != MARK;
	/* The queue itself took the number, and is in the way of CHECK. */
	if (kq == 2) {
		kq = dup(kq);
		wrong |= kq < 0 || close(2) != 0;
	}
	errno = MARK;
	rv = kevent(kq, NULL, 0, got, 2, &no_wait);
	wrong |= rv != 0 || errno != MARK;
	errno = MARK;
	rv = change(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	wrong |= rv != 0 || errno != MARK;
	wrong |= dup2(saved, 2) != 2;
	CHECK(!wrong);
	CHECK(close(saved) == 0 && close(kq) == 0);
}

TEST(set_by_what_fails)
{
	int kq = kqueue();
	struct kevent k = kev(1, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	struct timespec wrong = {0, 1000000000};

	CHECK(kq >= 0);
	CHECK_FAILS(kevent(kq, &k, 1, NULL, 0, NULL), ENOENT);
	CHECK_FAILS(kevent(kq, NULL, 0, &k, 1, &wrong), EINVAL);
	CHECK_FAILS(kevent(kq, NULL, 0, &k, -1, &no_wait), EINVAL);
	CHECK_FAILS(kevent(kq, NULL, 1, &k, 1, &no_wait), EFAULT);
	CHECK_FAILS(kevent(0, NULL, 0, &k, 1, &no_wait), EINVAL);
	CHECK_FAILS(kevent(-1, NULL, 0, &k, 1, &no_wait), EBADF);
	CHECK_FAILS(kqueue1(O_APPEND), EINVAL);
	CHECK_FAILS(kqueuex(2), EINVAL);
	CHECK(close(kq) == 0);
	CHECK_FAILS(kevent(kq, NULL, 0, &k, 1, &no_wait), EBADF);
}
