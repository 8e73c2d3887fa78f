/*
 * USER events, in one thread and between two.
 *
 * Bare: an eventfd watched edge-triggered, so that it need not be read.
 * The library's trigger carries a stamp in fflags, which must come back.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "case.h"

#define IDENT 7

static const uint64_t one = 1;

struct bell {
	int queue, fd;
	long rung;
};
static struct bell bare_bells[2], lib_bells[2];

static void
bare_bell_open(struct bell *bell)
{
	bell->queue = bare_set();
	bell->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	bell->rung = 0;
	MUST(bell->fd >= 0);
	bare_ctl(bell->queue, EPOLL_CTL_ADD, bell->fd, EPOLLIN | EPOLLET,
	    (uintptr_t)bell);
}

static void
lib_bell_open(struct bell *bell)
{
	bell->queue = lib_queue();
	lib_change(bell->queue, IDENT, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0,
	    (uintptr_t)bell);
}

static inline void
bare_ring(struct bell *bell)
{
	bell->rung++;
	MUST(write(bell->fd, &one, 8) == 8);
}

static inline void
bare_hear(struct bell *bell)
{
	struct epoll_event events[BATCH];
	MUST(epoll_wait(bell->queue, events, BATCH, -1) == 1);
	MUST(events[0].data.u64 == (uintptr_t)bell);
}

static inline void
trigger(struct kevent *k, struct bell *bell, long stamp)
{
	kev_set(k, IDENT, EVFILT_USER, 0,
	    NOTE_TRIGGER | NOTE_FFCOPY | ((unsigned)stamp & NOTE_FFLAGSMASK), 0,
	    (uintptr_t)bell);
}

static inline void
lib_heard(const struct kevent *k, struct bell *bell, long stamp)
{
	MUST(k->ident == IDENT && k->filter == EVFILT_USER);
	MUST(k->udata == bell && (k->flags & EV_ERROR) == 0);
	MUST((k->fflags & NOTE_FFLAGSMASK) ==
	    ((unsigned)stamp & NOTE_FFLAGSMASK));
}

static inline void
lib_ring(struct bell *bell, long stamp)
{
	struct kevent k;
	trigger(&k, bell, stamp);
	MUST(lib.kevent(bell->queue, &k, 1, NULL, 0, NULL) == 0);
}

static inline void
lib_hear(struct bell *bell, long stamp)
{
	struct kevent events[BATCH];
	MUST(lib.kevent(bell->queue, NULL, 0, events, BATCH, NULL) == 1);
	lib_heard(&events[0], bell, stamp);
}

static void
bare_bell_check(struct bell *bell)
{
	uint64_t count;
	bare_none(bell->queue);
	MUST(read(bell->fd, &count, 8) == 8);
	MUST(count == (uint64_t)bell->rung);
	bell->rung = 0;
}

static void
bare_open(void)
{
	bare_bell_open(&bare_bells[0]);
}

static void
lib_open(void)
{
	lib_bell_open(&lib_bells[0]);
}

static int64_t
bare_run(long ops)
{
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++) {
		bare_ring(&bare_bells[0]);
		bare_hear(&bare_bells[0]);
	}
	return now_ns() - begin;
}

static int64_t
lib_run(long ops)
{
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++) {
		lib_ring(&lib_bells[0], i);
		lib_hear(&lib_bells[0], i);
	}
	return now_ns() - begin;
}

static int64_t
lib_run_one_call(long ops)
{
	struct bell *bell = &lib_bells[0];
	struct kevent change, events[BATCH];
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++) {
		trigger(&change, bell, i);
		MUST(lib.kevent(bell->queue, &change, 1, events, BATCH,
			 NULL) == 1);
		lib_heard(&events[0], bell, i);
	}
	return now_ns() - begin;
}

static void
bare_check(void)
{
	bare_bell_check(&bare_bells[0]);
}

static void
lib_check(void)
{
	lib_none(lib_bells[0].queue);
}

const struct bench bench_user = {
    .name = "user",
    .what = "trigger a user event, then collect it",
    .unit = "ns",
    .budget = 1.0,
    .recorded = 2.3,
    .step = 1,
    .cpus = 1,
    .bare = {bare_open, bare_run, bare_check},
    .lib = {lib_open, lib_run, lib_check},
};

const struct bench bench_user_one_call = {
    .name = "user-one-call",
    .what = "trigger and collect a user event in one call",
    .unit = "ns",
    .budget = 1.0,
    .step = 1,
    .cpus = 1,
    .bare = {bare_open, bare_run, bare_check},
    .lib = {lib_open, lib_run_one_call, lib_check},
};

/*
 * Two threads, each with its queue: the first rings the second's bell and
 * waits for its own, the second answers. An operation is one such round trip.
 */
static long turns;

static void
bare_first(void *unused)
{
	(void)unused;
	for (long i = 0; i < turns; i++) {
		bare_ring(&bare_bells[1]);
		bare_hear(&bare_bells[0]);
	}
}

static void
bare_second(void *unused)
{
	(void)unused;
	for (long i = 0; i < turns; i++) {
		bare_hear(&bare_bells[1]);
		bare_ring(&bare_bells[0]);
	}
}

static void
lib_first(void *unused)
{
	(void)unused;
	for (long i = 0; i < turns; i++) {
		lib_ring(&lib_bells[1], i);
		lib_hear(&lib_bells[0], i + 1);
	}
}

static void
lib_second(void *unused)
{
	(void)unused;
	for (long i = 0; i < turns; i++) {
		lib_hear(&lib_bells[1], i);
		lib_ring(&lib_bells[0], i + 1);
	}
}

static void
bare_wake_open(void)
{
	bare_bell_open(&bare_bells[0]);
	bare_bell_open(&bare_bells[1]);
}

static void
lib_wake_open(void)
{
	lib_bell_open(&lib_bells[0]);
	lib_bell_open(&lib_bells[1]);
}

static int64_t
bare_wake(long ops)
{
	int64_t ns[2];
	turns = ops;
	two_threads(bare_first, NULL, bare_second, NULL, ns);
	return ns[0];
}

static int64_t
lib_wake(long ops)
{
	int64_t ns[2];
	turns = ops;
	two_threads(lib_first, NULL, lib_second, NULL, ns);
	return ns[0];
}

static void
bare_wake_check(void)
{
	bare_bell_check(&bare_bells[0]);
	bare_bell_check(&bare_bells[1]);
}

static void
lib_wake_check(void)
{
	lib_none(lib_bells[0].queue);
	lib_none(lib_bells[1].queue);
}

#define WAKE_SIDES                                                            \
	.unit = "ns", .budget = 1.0, .recorded = 1.2, .step = 1,              \
	.bare = {bare_wake_open, bare_wake, bare_wake_check},                 \
	.lib = {lib_wake_open, lib_wake, lib_wake_check}

/* Mostly the kernel waking an idle CPU; the next case leaves that out. */
const struct bench bench_wake = {
    .name = "wake",
    .what = "two threads wake each other, a round trip",
    .cpus = 2,
    WAKE_SIDES,
};

const struct bench bench_wake_one_cpu = {
    .name = "wake-one-cpu",
    .what = "the same with both threads on one CPU",
    .cpus = 1,
    WAKE_SIDES,
};
