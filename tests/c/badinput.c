/*
 * Bad input: every errno of kevent() and its sisters, and that after each the
 * queue works on and holds what it held before. The queue of each case holds
 * one knote of every kind; `check_held` shows that they are all there, that
 * they still fire, and that nothing else does.
 */
#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "support.h"

/* A number that no test of this file opens. */
#define NEVER_OPEN 999999

struct held {
	int kq, sv[2];
};

static struct held
hold(void)
{
	struct held h;
	h.kq = open_queue();
	open_pair(h.sv);
	add_user(h.kq, 0xcafe, EV_CLEAR);
	CHANGE(h.kq, (uintptr_t)h.sv[0], EVFILT_READ, EV_ADD, 0, 0,
	    UDATA(0xbeef));
	CHANGE(h.kq, (uintptr_t)h.sv[1], EVFILT_WRITE, EV_ADD | EV_DISPATCH, 0,
	    0, UDATA(0xf00d));
	CHECK_EQ(next_event(h.kq).ident, h.sv[1]);
	CHANGE(h.kq, 0xcafe, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 3600,
	    UDATA(0xd0e));
	expect_none(h.kq);
	return h;
}

static void
check_held(const struct held *h)
{
	static intptr_t count;
	struct kevent k;
	expect_none(h->kq);
	count++;
	CHANGE(h->kq, 0xcafe, EVFILT_USER, 0, NOTE_TRIGGER, count, NULL);
	EXPECT(h->kq, 0xcafe, EVFILT_USER, EV_ADD | EV_CLEAR, 0, count, NULL);
	put(h->sv[1], 2);
	EXPECT(h->kq, (uintptr_t)h->sv[0], EVFILT_READ, EV_ADD, 0, 2,
	    UDATA(0xbeef));
	take(h->sv[0], 2);
	CHANGE(h->kq, (uintptr_t)h->sv[1], EVFILT_WRITE,
	    EV_ENABLE | EV_KEEPUDATA, 0, 0, NULL);
	k = next_event(h->kq);
	CHECK_EQ(k.ident, h->sv[1]);
	CHECK_EQ(k.flags, EV_ADD | EV_DISPATCH);
	CHECK(k.udata == UDATA(0xf00d));
	CHANGE(h->kq, 0xcafe, EVFILT_TIMER, EV_ENABLE | EV_KEEPUDATA, 0, 0,
	    NULL);
	expect_none(h->kq);
}

static void
release(struct held *h)
{
	check_held(h);
	CHANGE(h->kq, 0xcafe, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	delete_user(h->kq, 0xcafe);
	CHANGE(h->kq, (uintptr_t)h->sv[0], EVFILT_READ, EV_DELETE, 0, 0, NULL);
	CHANGE(h->kq, (uintptr_t)h->sv[1], EVFILT_WRITE, EV_DELETE, 0, 0,
	    NULL);
	expect_none(h->kq);
	close_pair(h->sv);
	CHECK_EQ(close(h->kq), 0);
}

/*
 * The change fails with code: as the call's error without room, and as an
 * entry with room. The queue holds what it held.
 */
static void
refused_at(int line, struct held *h, uintptr_t ident, int filter,
    unsigned flags, unsigned fflags, intptr_t data, int code)
{
	struct kevent got, k = kev(ident, filter, flags, fflags, data,
	    UDATA(0x1dea));
	int n;
	errno = 0;
	n = kevent(h->kq, &k, 1, NULL, 0, NULL);
	if (n != -1 || errno != code)
		FAIL("line %d: gave %d, errno %d (%s), not -1, %d (%s)", line,
		    n, errno, strerror(errno), code, strerror(code));
	memset(&got, 0xa5, sizeof got);
	n = kevent(h->kq, &k, 1, &got, 1, NULL);
	if (n != 1 || got.ident != ident || got.filter != filter ||
	    got.flags != (flags | EV_ERROR) || got.data != code ||
	    got.udata != UDATA(0x1dea))
		FAIL("line %d: gave %d, flags 0x%x, data %ld, not 1, %d (%s)",
		    line, n, got.flags, (long)got.data, code, strerror(code));
	check_held(h);
}
#define REFUSED(...) refused_at(__LINE__, __VA_ARGS__)

/* ---- The queue number ---- */

TEST(a_number_that_is_not_open_is_ebadf)
{
	static const int numbers[] = {-1, -2, INT_MIN, NEVER_OPEN, INT_MAX};
	struct held h = hold();
	struct kevent got, k = kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	size_t i;
	for (i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		CHECK_FAILS(kevent(numbers[i], NULL, 0, &got, 1, &no_wait),
		    EBADF);
		CHECK_FAILS(kevent(numbers[i], &k, 1, NULL, 0, NULL), EBADF);
		CHECK_FAILS(kevent(numbers[i], NULL, 0, NULL, 0, NULL), EBADF);
		CHECK_FAILS(kevent(numbers[i], NULL, 0, &got, 1, NULL), EBADF);
	}
	release(&h);
}

TEST(a_closed_queue_is_ebadf)
{
	struct held h = hold();
	struct kevent got, k = kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	int kq = open_queue();
	add_user(kq, 1, 0);
	trigger(kq, 1);
	CHECK_EQ(close(kq), 0);
	CHECK_FAILS(kevent(kq, NULL, 0, &got, 1, &no_wait), EBADF);
	CHECK_FAILS(kevent(kq, NULL, 0, &got, 1, NULL), EBADF);
	CHECK_FAILS(kevent(kq, &k, 1, NULL, 0, NULL), EBADF);
	CHECK_FAILS(kevent(kq, NULL, 0, NULL, 0, NULL), EBADF);
	release(&h);
}

TEST(a_descriptor_that_is_no_queue_is_einval)
{
	struct held h = hold();
	struct kevent got, k = kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	int fds[8], pipes[2], i, n = 0;
	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	fds[n++] = pipes[0];
	fds[n++] = pipes[1];
	fds[n++] = h.sv[0];
	fds[n++] = eventfd(1, EFD_CLOEXEC);
	fds[n++] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fds[n++] = open("/", O_RDONLY | O_CLOEXEC);
	fds[n++] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	fds[n++] = epoll_create1(EPOLL_CLOEXEC);
	for (i = 0; i < n; i++) {
		CHECK(fds[i] >= 0);
		CHECK_FAILS(kevent(fds[i], NULL, 0, &got, 1, &no_wait),
		    EINVAL);
		CHECK_FAILS(kevent(fds[i], NULL, 0, &got, 1, NULL), EINVAL);
		CHECK_FAILS(kevent(fds[i], &k, 1, NULL, 0, NULL), EINVAL);
		CHECK_FAILS(kevent(fds[i], NULL, 0, NULL, 0, NULL), EINVAL);
		check_held(&h);
	}
	for (i = 0; i < n; i++)
		if (fds[i] != h.sv[0])
			CHECK_EQ(close(fds[i]), 0);
	release(&h);
}

TEST(a_foreign_epoll_is_left_as_it_was)
{
	struct held h = hold();
	struct kevent got;
	struct epoll_event e = {EPOLLIN, {.u64 = 77}};
	int ep = epoll_create1(EPOLL_CLOEXEC), ready = eventfd(1, EFD_CLOEXEC);
	struct kevent k =
	    kev((uintptr_t)h.sv[1], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
	CHECK(ep >= 0 && ready >= 0);
	CHECK_FAILS(kevent(ep, &k, 1, &got, 1, &no_wait), EINVAL);
	/* Nothing of ours in it: a writable socket would show. */
	CHECK_EQ(epoll_wait(ep, &e, 1, 0), 0);
	e.events = EPOLLIN | EPOLLET;
	e.data.u64 = 77;
	CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, ready, &e), 0);
	CHECK_FAILS(kevent(ep, NULL, 0, &got, 1, &no_wait), EINVAL);
	/* Nor was its one edge eaten. */
	CHECK_EQ(epoll_wait(ep, &e, 1, 0), 1);
	CHECK(e.data.u64 == 77);
	CHECK_EQ(close(ready), 0);
	CHECK_EQ(close(ep), 0);
	release(&h);
}

TEST(the_number_of_a_closed_queue_taken_by_another_file_is_einval)
{
	struct held h = hold();
	struct kevent got, k = kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	int kq = open_queue(), ep, file;
	add_user(kq, 1, 0);
	trigger(kq, 1);
	CHECK_EQ(close(kq), 0);
	file = open("/dev/null", O_RDWR | O_CLOEXEC);
	CHECK_EQ(file, kq);
	CHECK_FAILS(kevent(kq, NULL, 0, &got, 1, &no_wait), EINVAL);
	CHECK_FAILS(kevent(kq, &k, 1, NULL, 0, NULL), EINVAL);
	CHECK_EQ(close(file), 0);
	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK_EQ(ep, kq);
	CHECK_FAILS(kevent(kq, NULL, 0, &got, 1, &no_wait), EINVAL);
	CHECK_FAILS(kevent(kq, &k, 1, NULL, 0, NULL), EINVAL);
	CHECK_EQ(close(ep), 0);
	/* A new queue on it begins empty. */
	ep = open_queue();
	CHECK_EQ(ep, kq);
	expect_none(kq);
	CHECK_ABSENT(kq, 1, EVFILT_USER);
	CHECK_EQ(close(kq), 0);
	release(&h);
}

/* ---- Counts, arrays, timeouts ---- */

TEST(a_negative_count_is_einval_and_nothing_is_applied)
{
	static const int counts[] = {-1, -1000, INT_MIN};
	struct held h = hold();
	struct kevent got[2], k = kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	int i;
	for (i = 0; i < 3; i++) {
		CHECK_FAILS(kevent(h.kq, &k, counts[i], NULL, 0, NULL),
		    EINVAL);
		CHECK_FAILS(kevent(h.kq, &k, counts[i], got, 2, &no_wait),
		    EINVAL);
		CHECK_FAILS(kevent(h.kq, NULL, counts[i], NULL, 0, NULL),
		    EINVAL);
		CHECK_FAILS(kevent(h.kq, &k, 1, got, counts[i], NULL), EINVAL);
		CHECK_FAILS(kevent(h.kq, &k, 1, NULL, counts[i], &no_wait),
		    EINVAL);
		CHECK_FAILS(kevent(h.kq, NULL, 0, got, counts[i], NULL),
		    EINVAL);
		CHECK_ABSENT(h.kq, 1, EVFILT_USER);
		check_held(&h);
	}
	release(&h);
}

TEST(a_null_array_with_a_count_is_efault_and_nothing_is_applied)
{
	struct held h = hold();
	struct kevent got[2], k = kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	/* The compiler may not see them: they are declared nonnull nowhere. */
	struct kevent *volatile none = NULL;
	CHECK_FAILS(kevent(h.kq, none, 1, NULL, 0, NULL), EFAULT);
	CHECK_FAILS(kevent(h.kq, none, INT_MAX, got, 2, NULL), EFAULT);
	CHECK_FAILS(kevent(h.kq, &k, 1, none, 1, NULL), EFAULT);
	CHECK_FAILS(kevent(h.kq, &k, 1, none, INT_MAX, &no_wait), EFAULT);
	CHECK_ABSENT(h.kq, 1, EVFILT_USER);
	CHECK_FAILS(kevent(h.kq, NULL, 0, none, 1, NULL), EFAULT);
	/* The event is not consumed by the call that could not store it. */
	trigger(h.kq, 0xcafe);
	CHECK_FAILS(kevent(h.kq, NULL, 0, none, 1, &no_wait), EFAULT);
	EXPECT(h.kq, 0xcafe, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	/* A pointer without a count is never looked at. */
	CHECK_EQ(kevent(h.kq, (struct kevent *)16, 0, (struct kevent *)16, 0,
		     NULL),
	    0);
	release(&h);
}

TEST(an_invalid_timeout_is_einval)
{
	static const struct timespec bad[] = {{-1, 0}, {0, -1},
	    {0, 1000000000}, {0, LONG_MAX}, {0, LONG_MIN}};
	struct held h = hold();
	struct kevent got;
	size_t i;
	for (i = 0; i < sizeof bad / sizeof *bad; i++) {
		CHECK_FAILS(kevent(h.kq, NULL, 0, &got, 1, &bad[i]), EINVAL);
		check_held(&h);
	}
	release(&h);
}

/* ---- Idents ---- */

static const unsigned actions[] = {EV_ADD, EV_DELETE, EV_ENABLE, EV_DISABLE, 0,
    EV_ADD | EV_DISABLE, EV_ADD | EV_DELETE, EV_FORCEONESHOT};
#define ACTIONS (sizeof actions / sizeof *actions)

TEST(an_ident_that_is_not_open_is_ebadf_for_every_action)
{
	struct held h = hold();
	int closed = dup(h.sv[0]);
	size_t i;
	CHECK(closed >= 0);
	CHECK_EQ(close(closed), 0);
	for (i = 0; i < ACTIONS; i++) {
		REFUSED(&h, NEVER_OPEN, EVFILT_READ, actions[i], 0, 0, EBADF);
		REFUSED(&h, (uintptr_t)closed, EVFILT_WRITE, actions[i], 0, 0,
		    EBADF);
		REFUSED(&h, INT_MAX, EVFILT_READ, actions[i], 0, 0, EBADF);
	}
	release(&h);
}

TEST(an_ident_beyond_int_max_is_ebadf_for_every_action)
{
	struct held h = hold();
	/* Cut to an int these would be -1, INT_MIN and a descriptor held. */
	uintptr_t idents[] = {UINTPTR_MAX, (uintptr_t)INT_MAX + 1,
	    (UINTPTR_MAX << 16 << 16) + (uintptr_t)h.sv[0],
	    ((uintptr_t)1 << 16 << 16) + (uintptr_t)h.sv[0],
	    (uintptr_t)(intptr_t)-5};
	size_t i, j;
	for (i = 0; i < ACTIONS; i++)
		for (j = 0; j < sizeof idents / sizeof *idents; j++) {
			if (idents[j] <= INT_MAX)
				continue;
			REFUSED(&h, idents[j], EVFILT_READ, actions[i], 0, 0,
			    EBADF);
			REFUSED(&h, idents[j], EVFILT_WRITE, actions[i], 0, 0,
			    EBADF);
		}
	release(&h);
}

TEST(a_change_after_the_descriptor_was_closed_is_ebadf)
{
	struct held h = hold();
	int sv[2], fd;
	size_t i;
	open_pair(sv);
	fd = sv[0];
	put(sv[1], 1);
	CHANGE(h.kq, (uintptr_t)fd, EVFILT_READ, EV_ADD, 0, 0, NULL);
	CHANGE(h.kq, (uintptr_t)fd, EVFILT_WRITE, EV_ADD | EV_DISABLE, 0, 0,
	    NULL);
	CHECK_EQ(close(fd), 0);
	for (i = 0; i < ACTIONS; i++) {
		REFUSED(&h, (uintptr_t)fd, EVFILT_READ, actions[i], 0, 0,
		    EBADF);
		REFUSED(&h, (uintptr_t)fd, EVFILT_WRITE, actions[i], 0, 0,
		    EBADF);
	}
	/* Another file on that number begins without knotes. */
	CHECK_EQ(dup(sv[1]), fd);
	REFUSED(&h, (uintptr_t)fd, EVFILT_READ, EV_DELETE, 0, 0, ENOENT);
	REFUSED(&h, (uintptr_t)fd, EVFILT_WRITE, EV_ENABLE, 0, 0, ENOENT);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(sv[1]), 0);
	release(&h);
}

TEST(what_is_not_there_is_enoent)
{
	static const unsigned changes[] = {EV_DELETE, EV_ENABLE, EV_DISABLE, 0,
	    EV_CLEAR, EV_KEEPUDATA, EV_FORCEONESHOT, EV_DELETE | EV_ENABLE};
	struct held h = hold();
	size_t i;
	for (i = 0; i < sizeof changes / sizeof *changes; i++) {
		REFUSED(&h, 1, EVFILT_USER, changes[i], NOTE_TRIGGER, 0,
		    ENOENT);
		REFUSED(&h, 1, EVFILT_TIMER, changes[i], 0, 10, ENOENT);
		REFUSED(&h, (uintptr_t)h.sv[0], EVFILT_WRITE, changes[i], 0, 0,
		    ENOENT);
		REFUSED(&h, (uintptr_t)h.sv[1], EVFILT_READ, changes[i], 0, 0,
		    ENOENT);
	}
	release(&h);
}

TEST(a_second_delete_is_enoent)
{
	struct held h = hold();
	add_user(h.kq, 1, 0);
	delete_user(h.kq, 1);
	REFUSED(&h, 1, EVFILT_USER, EV_DELETE, 0, 0, ENOENT);
	CHANGE(h.kq, 1, EVFILT_TIMER, EV_ADD, 0, 1, NULL);
	CHANGE(h.kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	REFUSED(&h, 1, EVFILT_TIMER, EV_DELETE, 0, 0, ENOENT);
	CHANGE(h.kq, (uintptr_t)h.sv[1], EVFILT_READ, EV_ADD, 0, 0, NULL);
	CHANGE(h.kq, (uintptr_t)h.sv[1], EVFILT_READ, EV_DELETE, 0, 0, NULL);
	REFUSED(&h, (uintptr_t)h.sv[1], EVFILT_READ, EV_DELETE, 0, 0, ENOENT);
	release(&h);
}

/* ---- Filters and flags ---- */

TEST(a_filter_out_of_range_is_einval)
{
	static const int filters[] = {1, 2, 127, SHRT_MAX, -17, -18, -100,
	    SHRT_MIN, -14};
	struct held h = hold();
	size_t i, j;
	for (i = 0; i < sizeof filters / sizeof *filters; i++)
		for (j = 0; j < ACTIONS; j++) {
			REFUSED(&h, 1, filters[i], actions[j], 0, 0, EINVAL);
			/* Found before the ident is looked at. */
			REFUSED(&h, UINTPTR_MAX, filters[i], actions[j], 0, 0,
			    EINVAL);
		}
	release(&h);
}

TEST(a_filter_that_is_known_but_absent_is_enosys)
{
	/* Those whose macro the header lacks, by number. */
	static const int filters[] = {
#ifndef EVFILT_SIGNAL
	    -6,
#endif
#ifndef EVFILT_NETDEV
	    -8,
#endif
#ifndef EVFILT_FS
	    -9,
#endif
#ifndef EVFILT_LIO
	    -10,
#endif
#ifndef EVFILT_EMPTY
	    -13,
#endif
#ifndef EVFILT_EXCEPT
	    -15,
#endif
	};
	struct held h = hold();
	size_t i;
	for (i = 0; i < sizeof filters / sizeof *filters; i++) {
		REFUSED(&h, (uintptr_t)h.sv[0], filters[i], EV_ADD, 1, 0,
		    ENOSYS);
		REFUSED(&h, (uintptr_t)h.sv[0], filters[i],
		    EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 0, ENOSYS);
	}
	release(&h);
}

TEST(aio_is_enxio)
{
	struct held h = hold();
	REFUSED(&h, (uintptr_t)h.sv[0], EVFILT_AIO, EV_ADD, 0, 0, ENXIO);
	REFUSED(&h, 0, EVFILT_AIO, EV_ADD | EV_ONESHOT, 0, 0, ENXIO);
	release(&h);
}

TEST(enable_with_disable_is_einval)
{
	static const int filters[] = {EVFILT_USER, EVFILT_TIMER, EVFILT_READ,
	    EVFILT_WRITE};
	static const unsigned others[] = {0, EV_ADD, EV_DELETE,
	    EV_ADD | EV_CLEAR, EV_ADD | EV_DELETE};
	struct held h = hold();
	size_t i, j;
	for (i = 0; i < 4; i++)
		for (j = 0; j < sizeof others / sizeof *others; j++) {
			unsigned flags = others[j] | EV_ENABLE | EV_DISABLE;
			/* Of knotes that are there and that are not, */
			REFUSED(&h, (uintptr_t)h.sv[0], filters[i], flags, 0,
			    1, EINVAL);
			REFUSED(&h, (uintptr_t)h.sv[1], filters[i], flags, 0,
			    1, EINVAL);
			REFUSED(&h, 0xcafe, filters[i], flags, 0, 1, EINVAL);
			/* and found before the descriptor is. */
			REFUSED(&h, NEVER_OPEN, filters[i], flags, 0, 1,
			    EINVAL);
		}
	CHECK_ABSENT(h.kq, (uintptr_t)h.sv[0], EVFILT_USER);
	CHECK_ABSENT(h.kq, (uintptr_t)h.sv[0], EVFILT_TIMER);
	CHECK_ABSENT(h.kq, (uintptr_t)h.sv[0], EVFILT_WRITE);
	release(&h);
}

TEST(add_with_keepudata_is_einval)
{
	static const int filters[] = {EVFILT_USER, EVFILT_TIMER, EVFILT_READ,
	    EVFILT_WRITE};
	struct held h = hold();
	size_t i;
	for (i = 0; i < 4; i++) {
		REFUSED(&h, (uintptr_t)h.sv[0], filters[i],
		    EV_ADD | EV_KEEPUDATA, 0, 1, EINVAL);
		REFUSED(&h, (uintptr_t)h.sv[1], filters[i],
		    EV_ADD | EV_KEEPUDATA | EV_ENABLE, 0, 1, EINVAL);
		REFUSED(&h, 0xcafe, filters[i], EV_ADD | EV_KEEPUDATA, 0, 1,
		    EINVAL);
	}
	CHECK_ABSENT(h.kq, (uintptr_t)h.sv[0], EVFILT_USER);
	CHECK_ABSENT(h.kq, (uintptr_t)h.sv[1], EVFILT_TIMER);
	CHECK_ABSENT(h.kq, (uintptr_t)h.sv[1], EVFILT_READ);
	release(&h);
}

TEST(timer_values_that_make_no_sense_are_einval)
{
	struct held h = hold();
	/* New ones, and the one that is held: it goes on as it was. */
	static const uintptr_t idents[] = {1, 0xcafe};
	int i;
	for (i = 0; i < 2; i++) {
		REFUSED(&h, idents[i], EVFILT_TIMER, EV_ADD, 0, -1, EINVAL);
		REFUSED(&h, idents[i], EVFILT_TIMER, EV_ADD, 0, INTPTR_MIN,
		    EINVAL);
		REFUSED(&h, idents[i], EVFILT_TIMER, EV_ADD | EV_ONESHOT,
		    NOTE_ABSTIME, -1, EINVAL);
		REFUSED(&h, idents[i], EVFILT_TIMER, EV_ADD,
		    NOTE_SECONDS | NOTE_USECONDS, 1, EINVAL);
		REFUSED(&h, idents[i], EVFILT_TIMER, EV_ADD,
		    NOTE_USECONDS | NOTE_NSECONDS, 1, EINVAL);
		REFUSED(&h, idents[i], EVFILT_TIMER, EV_ADD, 0x00010000, 1,
		    EINVAL);
		REFUSED(&h, idents[i], EVFILT_TIMER, EV_ADD, 0x80000000, 1,
		    EINVAL);
	}
	CHECK_ABSENT(h.kq, 1, EVFILT_TIMER);
	release(&h);
}

/* ---- Queues in queues ---- */

TEST(a_queue_cannot_watch_itself)
{
	struct held h = hold();
	int other = dup(h.kq);
	size_t i;
	CHECK(other >= 0);
	for (i = 0; i < ACTIONS; i++)
		REFUSED(&h, (uintptr_t)h.kq, EVFILT_READ, actions[i], 0, 0,
		    EINVAL);
	REFUSED(&h, (uintptr_t)h.kq, EVFILT_WRITE, EV_ADD, 0, 0, EINVAL);
	/* Nor by another of its numbers. */
	REFUSED(&h, (uintptr_t)other, EVFILT_READ, EV_ADD, 0, 0, EINVAL);
	CHECK_EQ(close(other), 0);
	release(&h);
}

TEST(a_queue_cannot_be_watched_for_writing)
{
	struct held h = hold();
	int inner = open_queue(), ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0);
	REFUSED(&h, (uintptr_t)inner, EVFILT_WRITE, EV_ADD, 0, 0, EINVAL);
	REFUSED(&h, (uintptr_t)ep, EVFILT_WRITE, EV_ADD, 0, 0, EINVAL);
	REFUSED(&h, (uintptr_t)inner, EVFILT_WRITE, EV_DELETE, 0, 0, ENOENT);
	CHECK_EQ(close(ep), 0);
	CHECK_EQ(close(inner), 0);
	release(&h);
}

TEST(a_circle_of_queues_is_einval)
{
	struct held h = hold();
	int other = open_queue();
	CHANGE(other, (uintptr_t)h.kq, EVFILT_READ, EV_ADD, 0, 0, NULL);
	REFUSED(&h, (uintptr_t)other, EVFILT_READ, EV_ADD, 0, 0, EINVAL);
	CHECK_ABSENT(h.kq, (uintptr_t)other, EVFILT_READ);
	CHECK_EQ(close(other), 0);
	release(&h);
}

TEST(queues_nested_too_deep_are_einval)
{
	enum { DEPTH = 12 };
	struct held h = hold();
	int kq[DEPTH], i, worked = 0;
	kq[0] = h.kq;
	for (i = 1; i < DEPTH; i++) {
		kq[i] = open_queue();
		if (change(kq[i], (uintptr_t)kq[i - 1], EVFILT_READ, EV_ADD, 0,
			0, NULL) == 0) {
			worked++;
			continue;
		}
		CHECK_EQ(errno, EINVAL);
		CHECK_ABSENT(kq[i], (uintptr_t)kq[i - 1], EVFILT_READ);
	}
	/* The system's limit lies somewhere between. */
	CHECK(worked >= 2);
	CHECK(worked < DEPTH - 1);
	for (i = DEPTH - 1; i > 0; i--)
		CHECK_EQ(close(kq[i]), 0);
	release(&h);
}

/* ---- Making queues ---- */

TEST(kqueue1_takes_the_two_open_flags_it_knows)
{
	static const int bad[] = {1, 2, O_APPEND, O_CREAT, O_CLOEXEC | 1, -1,
	    INT_MIN};
	static const int good[] = {0, O_CLOEXEC, O_NONBLOCK,
	    O_CLOEXEC | O_NONBLOCK};
	size_t i;
	for (i = 0; i < sizeof bad / sizeof *bad; i++)
		CHECK_FAILS(kqueue1(bad[i]), EINVAL);
	for (i = 0; i < sizeof good / sizeof *good; i++) {
		int kq = kqueue1(good[i]);
		CHECK(kq >= 0);
		CHECK_EQ(fcntl(kq, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		add_user(kq, 1, EV_CLEAR);
		trigger(kq, 1);
		EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
		expect_none(kq);
		CHECK_EQ(close(kq), 0);
	}
}

TEST(kqueuex_takes_the_flags_it_honours)
{
	static const unsigned bad[] = {2 /* KQUEUE_CPONFORK */,
	    2 | KQUEUE_CLOEXEC, 4, 0x80000000, UINT_MAX};
	static const unsigned good[] = {0, KQUEUE_CLOEXEC};
	size_t i;
	for (i = 0; i < sizeof bad / sizeof *bad; i++)
		CHECK_FAILS(kqueuex(bad[i]), EINVAL);
	for (i = 0; i < sizeof good / sizeof *good; i++) {
		int kq = kqueuex(good[i]);
		CHECK(kq >= 0);
		CHECK_EQ(fcntl(kq, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		add_user(kq, 1, EV_CLEAR);
		trigger(kq, 1);
		EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
		expect_none(kq);
		CHECK_EQ(close(kq), 0);
	}
}

/* ---- Exhaustion ---- */

enum { FEW = 64 };

struct exhausted {
	struct rlimit limit;
	int fds[FEW], count;
};

/* Uses up every descriptor number the process may have. */
static void
exhaust(struct exhausted *e)
{
	struct rlimit few;
	int fd;
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &e->limit), 0);
	few = e->limit;
	few.rlim_cur = FEW;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	e->count = 0;
	while ((fd = dup(0)) >= 0)
		e->fds[e->count++] = fd;
	CHECK_EQ(errno, EMFILE);
}

static void
relieve(struct exhausted *e)
{
	while (e->count > 0)
		CHECK_EQ(close(e->fds[--e->count]), 0);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &e->limit), 0);
}

TEST(no_descriptor_for_a_queue_is_emfile)
{
	struct held h = hold();
	struct exhausted e;
	int i, kq;
	exhaust(&e);
	for (i = 0; i < 50; i++) {
		CHECK_FAILS(kqueue(), EMFILE);
		CHECK_FAILS(kqueue1(O_CLOEXEC), EMFILE);
		CHECK_FAILS(kqueuex(KQUEUE_CLOEXEC), EMFILE);
	}
	/* A queue that exists needs none for what it has at hand. */
	check_held(&h);
	relieve(&e);
	kq = open_queue();
	add_user(kq, 1, EV_CLEAR);
	trigger(kq, 1);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
	release(&h);
}

/* With one, two, three free numbers: a whole queue or none, and no leak. */
TEST(too_few_descriptors_for_a_queue_make_none)
{
	struct held h = hold();
	int spare, round;
	for (spare = 1; spare <= 6; spare++)
		for (round = 0; round < 20; round++) {
			struct exhausted e;
			int kq, i;
			exhaust(&e);
			for (i = 0; i < spare; i++)
				CHECK_EQ(close(e.fds[--e.count]), 0);
			kq = kqueue();
			if (kq >= 0) {
				add_user(kq, 1, EV_CLEAR);
				trigger(kq, 1);
				EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR,
				    0, 0, NULL);
				expect_none(kq);
				CHECK_EQ(close(kq), 0);
			} else
				CHECK_EQ(errno, EMFILE);
			relieve(&e);
		}
	/* What closed queues left is given back here at the latest. */
	libkqueue_drain_pending_close();
	release(&h);
}

/*
 * Filters that take a descriptor when first used: the change works without,
 * or fails with EMFILE and leaves nothing half made.
 */
TEST(no_descriptor_for_a_first_timer_is_emfile)
{
	int kq = open_queue();
	struct exhausted e;
	struct kevent got, k = kev(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1,
	    UDATA(3));
	exhaust(&e);
	if (kevent(kq, &k, 1, NULL, 0, NULL) == -1) {
		CHECK_EQ(errno, EMFILE);
		CHECK_EQ(kevent(kq, &k, 1, &got, 1, NULL), 1);
		CHECK_EQ(got.flags, EV_ADD | EV_ONESHOT | EV_ERROR);
		CHECK_EQ(got.data, EMFILE);
		CHECK_ABSENT(kq, 1, EVFILT_TIMER);
		expect_none(kq);
	}
	relieve(&e);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, UDATA(4));
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 1,
	    UDATA(4));
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(no_descriptor_for_both_filters_of_one_socket_is_emfile)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	struct exhausted e;
	struct kevent k;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	CHANGE(kq, fd, EVFILT_READ, EV_ADD, 0, 0, UDATA(1));
	exhaust(&e);
	if (change(kq, fd, EVFILT_WRITE, EV_ADD, 0, 0, UDATA(2)) == -1) {
		CHECK_EQ(errno, EMFILE);
		CHECK_ABSENT(kq, fd, EVFILT_WRITE);
	} else
		CHANGE(kq, fd, EVFILT_WRITE, EV_DELETE, 0, 0, NULL);
	/* The filter that was there is as it was. */
	expect_none(kq);
	put(sv[1], 3);
	EXPECT(kq, fd, EVFILT_READ, EV_ADD, 0, 3, UDATA(1));
	take(sv[0], 3);
	relieve(&e);
	CHANGE(kq, fd, EVFILT_WRITE, EV_ADD | EV_ONESHOT, 0, 0, UDATA(2));
	k = next_event(kq);
	CHECK_EQ(k.filter, EVFILT_WRITE);
	CHECK(k.udata == UDATA(2));
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(no_descriptor_for_a_regular_file_is_emfile)
{
	int kq = open_queue(), file;
	struct exhausted e;
	file = memfd_create("badinput", MFD_CLOEXEC);
	CHECK(file >= 0);
	exhaust(&e);
	if (change(kq, (uintptr_t)file, EVFILT_READ, EV_ADD, 0, 0, NULL) ==
	    -1) {
		CHECK_EQ(errno, EMFILE);
		CHECK_ABSENT(kq, (uintptr_t)file, EVFILT_READ);
	} else
		CHANGE(kq, (uintptr_t)file, EVFILT_READ, EV_DELETE, 0, 0,
		    NULL);
	expect_none(kq);
	relieve(&e);
	CHANGE(kq, (uintptr_t)file, EVFILT_READ, EV_ADD, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(pwrite(file, "abc", 3, 0), 3);
	EXPECT(kq, (uintptr_t)file, EVFILT_READ, EV_ADD, 0, 3, NULL);
	CHECK_EQ(close(file), 0);
	CHECK_EQ(close(kq), 0);
}

/* So much more memory may be mapped before calls for it fail. */
#define SPARE_MEMORY (16l << 20)

TEST(no_memory_is_enomem)
{
	struct held h;
	struct rlimit limit, tight;
	long pages = 0;
	uintptr_t count = 0, i;
	int failures;
	FILE *statm;
	if (getenv("KQUEUE_VALGRIND") != NULL)
		SKIP("valgrind needs memory of its own");
	h = hold();
	statm = fopen("/proc/self/statm", "re");
	CHECK(statm != NULL);
	CHECK_EQ(fscanf(statm, "%ld", &pages), 1);
	CHECK_EQ(fclose(statm), 0);
	CHECK_EQ(getrlimit(RLIMIT_AS, &limit), 0);
	tight = limit;
	tight.rlim_cur = (rlim_t)(pages * sysconf(_SC_PAGESIZE) +
	    SPARE_MEMORY);
	CHECK_EQ(setrlimit(RLIMIT_AS, &tight), 0);
	/* A knote takes a byte at the very least: it must fail in time. */
	while (change(h.kq, 0x10000 + count, EVFILT_USER,
		   EV_ADD | EV_CLEAR, 0, 0, NULL) == 0) {
		count++;
		CHECK(count < (uintptr_t)SPARE_MEMORY);
	}
	CHECK_EQ(errno, ENOMEM);
	for (failures = 0; failures < 100; failures++)
		if (change(h.kq, 0x10000 + count, EVFILT_USER,
			EV_ADD | EV_CLEAR, 0, 0, NULL) == -1) {
			CHECK_EQ(errno, ENOMEM);
			CHECK_ABSENT(h.kq, 0x10000 + count, EVFILT_USER);
		} else
			count++;
	/* What is there works while memory is short, */
	CHECK(count > 0);
	for (i = 0; i < count; i += count / 5 + 1) {
		trigger(h.kq, 0x10000 + i);
		EXPECT(h.kq, 0x10000 + i, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0,
		    NULL);
	}
	check_held(&h);
	/* and the rest works when it is not. */
	CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
	add_user(h.kq, 0x10000 + count, EV_CLEAR);
	trigger(h.kq, 0x10000 + count);
	EXPECT(h.kq, 0x10000 + count, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0,
	    NULL);
	for (i = 0; i <= count; i++)
		delete_user(h.kq, 0x10000 + i);
	release(&h);
}
