/* Timers: made, set again and deleted by the thousand; few of many due. */
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "case.h"

/* Far enough never to come due while a case runs. */
#define FAR_MS 200000
/* Spread over as much again, without order, so that none sorts for free. */
static long
far_ms(long i)
{
	return FAR_MS + (long)((uint32_t)i * 2654435761u % FAR_MS);
}

static int bare_ep, lib_kq;
static int *fds;
static long bare_timers;

static void
bare_set_ms(int fd, long ms)
{
	struct itimerspec when = {
	    {0, 0}, {ms / 1000, ms % 1000 * 1000000}};
	MUST(timerfd_settime(fd, 0, &when, NULL) == 0);
}

static int
bare_arm(uint64_t token, long ms)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	MUST(fd >= 0);
	bare_set_ms(fd, ms);
	bare_ctl(bare_ep, EPOLL_CTL_ADD, fd, EPOLLIN, token);
	return fd;
}

/* One timer pulled near, one pushed away, one left: two come, in order. */
static void
bare_check(void)
{
	const uint64_t token = 1u << 20;
	int64_t begin = now_ns();
	uint64_t count;
	int pulled = bare_arm(token, FAR_MS);
	int pushed = bare_arm(token + 1, 2);
	int left = bare_arm(token + 2, 6);
	bare_set_ms(pulled, 2);
	bare_set_ms(pushed, FAR_MS);
	bare_next(bare_ep, token);
	MUST(now_ns() - begin >= 2000000);
	MUST(read(pulled, &count, 8) == 8 && count == 1);
	bare_next(bare_ep, token + 2);
	MUST(now_ns() - begin >= 6000000);
	close(pulled);
	close(pushed);
	close(left);
	bare_none(bare_ep);
}

static void
lib_arm(uintptr_t ident, long ms)
{
	lib_change(lib_kq, ident, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, ms,
	    ident);
}

static void
lib_gone(uintptr_t ident)
{
	struct kevent k;
	kev_set(&k, ident, EVFILT_TIMER, EV_DELETE, 0, 0, 0);
	if (lib.kevent(lib_kq, &k, 1, NULL, 0, NULL) != -1 ||
	    errno != ENOENT)
		FAIL("timer %lu is still there", (unsigned long)ident);
}

static void
lib_check(void)
{
	const uintptr_t pulled = 1u << 20, pushed = pulled + 1,
	    left = pulled + 2;
	int64_t begin = now_ns();
	lib_arm(pulled, FAR_MS);
	lib_arm(pushed, 2);
	lib_arm(left, 6);
	lib_arm(pulled, 2);
	lib_arm(pushed, FAR_MS);
	lib_next(lib_kq, pulled, EVFILT_TIMER, 1, pulled);
	MUST(now_ns() - begin >= 2000000);
	lib_next(lib_kq, left, EVFILT_TIMER, 1, left);
	MUST(now_ns() - begin >= 6000000);
	lib_gone(pulled);
	lib_gone(left);
	lib_change(lib_kq, pushed, EVFILT_TIMER, EV_DELETE, 0, 0, 0);
	lib_gone(pushed);
	lib_none(lib_kq);
}

/* 4,000 timers: all armed, all set again, all deleted. */
#define TIMERS 4000

static void
bare_open(void)
{
	bare_ep = bare_set();
	MUST((fds = calloc(TIMERS, sizeof *fds)) != NULL);
}

static void
lib_open(void)
{
	lib_kq = lib_queue();
}

static int64_t
bare_run(long ops)
{
	int64_t begin = now_ns();
	for (long done = 0; done < ops; done += 3 * TIMERS) {
		for (long i = 0; i < TIMERS; i++)
			fds[i] = bare_arm((uint64_t)i, far_ms(i));
		for (long i = 0; i < TIMERS; i++)
			bare_set_ms(fds[i], far_ms(i + TIMERS));
		/* The last close takes the entry out of the set as well. */
		for (long i = 0; i < TIMERS; i++)
			MUST(close(fds[i]) == 0);
	}
	return now_ns() - begin;
}

/* The same change for all timers, 64 a call; each call must succeed. */
static void
lib_all(unsigned flags, long salt)
{
	struct kevent changes[BATCH];
	for (long i = 0; i < TIMERS;) {
		int n = 0;
		for (; n < BATCH && i < TIMERS; n++, i++)
			kev_set(&changes[n], (uintptr_t)i, EVFILT_TIMER, flags,
			    0, far_ms(i + salt), (uintptr_t)i);
		MUST(lib.kevent(lib_kq, changes, n, NULL, 0, NULL) == 0);
	}
}

static int64_t
lib_run(long ops)
{
	int64_t begin = now_ns(), ns;
	for (long done = 0; done < ops; done += 3 * TIMERS) {
		lib_all(EV_ADD | EV_ONESHOT, 0);
		lib_all(EV_ADD | EV_ONESHOT, TIMERS);
		lib_all(EV_DELETE, 0);
	}
	ns = now_ns() - begin;
	/* That a deletion found its timer was proved by its success. */
	for (long i = 0; i < TIMERS; i += 97)
		lib_gone((uintptr_t)i);
	return ns;
}

const struct bench bench_timers = {
    .name = "timers",
    .what = "arm, re-arm, delete 4,000 timers, an operation",
    .unit = "ns",
    .budget = 0.10,
    .recorded = 6.5,
    .step = 3 * TIMERS,
    .cpus = 1,
    .bare = {bare_open, bare_run, bare_check},
    .lib = {lib_open, lib_run, lib_check},
};

/* Many timers stand; one after the other is set again, 64 a call. */
static long next_bare, next_lib;
static int bare_due_fd;

static void
bare_scale_open(void)
{
	bare_ep = bare_set();
	bare_timers = descriptors_left();
	if (bare_timers > bench->scale)
		bare_timers = bench->scale;
	else if (bare_timers < bench->scale)
		remark("the bare side has %ld timers: the limit on open files",
		    bare_timers);
	MUST((fds = calloc((size_t)bench->scale, sizeof *fds)) != NULL);
	for (long i = 0; i < bare_timers; i++)
		fds[i] = bare_arm((uint64_t)i, far_ms(i));
	MUST((bare_due_fd = timerfd_create(CLOCK_MONOTONIC,
		  TFD_NONBLOCK | TFD_CLOEXEC)) >= 0);
	bare_ctl(bare_ep, EPOLL_CTL_ADD, bare_due_fd, EPOLLIN, 1u << 21);
}

static void
lib_scale_open(void)
{
	lib_kq = lib_queue();
	for (long i = 0; i < bench->scale; i++)
		lib_arm((uintptr_t)i, far_ms(i));
}

/* Strides through all of them, in no order of theirs. */
static long
stride(long i, long count)
{
	return (long)((uint64_t)i * 7919 % (uint64_t)count);
}

static int64_t
bare_rearm(long ops)
{
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++, next_bare++)
		bare_set_ms(fds[stride(next_bare, bare_timers)],
		    far_ms(next_bare));
	return now_ns() - begin;
}

static int64_t
lib_rearm(long ops)
{
	struct kevent changes[BATCH];
	int64_t begin = now_ns();
	for (long done = 0; done < ops; done += BATCH) {
		for (int i = 0; i < BATCH; i++, next_lib++) {
			uintptr_t ident =
			    (uintptr_t)stride(next_lib, bench->scale);
			kev_set(&changes[i], ident, EVFILT_TIMER,
			    EV_ADD | EV_ONESHOT, 0, far_ms(next_lib), ident);
		}
		MUST(lib.kevent(lib_kq, changes, BATCH, NULL, 0, NULL) ==
		    0);
	}
	return now_ns() - begin;
}

#define REARM_SIDES                                                           \
	.unit = "ns", .budget = 0.10, .step = BATCH, .cpus = 1,            \
	.bare = {bare_scale_open, bare_rearm, bare_check},                    \
	.lib = {lib_scale_open, lib_rearm, lib_check}

const struct bench bench_rearm_1k = {
    .name = "rearm-1k",
    .what = "re-arm one of 1,000 timers, 64 a call",
    .scale = 1000,
    REARM_SIDES,
};

const struct bench bench_rearm_100k = {
    .name = "rearm-100k",
    .what = "re-arm one of 100,000 timers, 64 a call",
    .scale = 100000,
    REARM_SIDES,
};

/* Beside the far ones, one that is due at once is armed and collected. */
static int64_t
bare_due(long ops)
{
	struct epoll_event events[BATCH];
	static const struct itimerspec soon = {{0, 0}, {0, 1}};
	int64_t begin = now_ns();
	uint64_t count;
	for (long i = 0; i < ops; i++) {
		MUST(timerfd_settime(bare_due_fd, 0, &soon, NULL) == 0);
		MUST(epoll_wait(bare_ep, events, BATCH, -1) == 1);
		MUST(events[0].data.u64 == 1u << 21);
		MUST(read(bare_due_fd, &count, 8) == 8 && count == 1);
	}
	return now_ns() - begin;
}

static int64_t
lib_due(long ops)
{
	struct kevent change, events[BATCH];
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++) {
		uintptr_t ident = (1u << 21) + (uintptr_t)i;
		kev_set(&change, ident, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
		    NOTE_NSECONDS, 1, ident);
		MUST(lib.kevent(lib_kq, &change, 1, events, BATCH, NULL) ==
		    1);
		MUST(events[0].ident == ident && events[0].data == 1);
		MUST(events[0].filter == EVFILT_TIMER);
		MUST((events[0].flags & EV_ERROR) == 0);
	}
	return now_ns() - begin;
}

#define DUE_SIDES                                                             \
	.unit = "ns", .step = 1, .cpus = 1,                                \
	.bare = {bare_scale_open, bare_due, bare_check},                      \
	.lib = {lib_scale_open, lib_due, lib_check}

const struct bench bench_due_1k = {
    .name = "due-1k",
    .what = "arm and collect a due timer beside 1,000",
    .scale = 1000,
    DUE_SIDES,
};

const struct bench bench_due_100k = {
    .name = "due-100k",
    .what = "arm and collect a due timer beside 100,000",
    .scale = 100000,
    DUE_SIDES,
};
