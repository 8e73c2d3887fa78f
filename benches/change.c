/* Changes of READ knotes: add, delete, disable, enable. */
#include "case.h"

#define SOCKETS 64

struct sockets {
	int queue;
	int in[SOCKETS], out[SOCKETS];
};
static struct sockets bare, ours;

static void
bare_open(void)
{
	bare.queue = bare_set();
	for (int i = 0; i < SOCKETS; i++)
		socket_pair(&bare.in[i], &bare.out[i]);
}

static void
lib_open(void)
{
	ours.queue = lib_queue();
	for (int i = 0; i < SOCKETS; i++)
		socket_pair(&ours.in[i], &ours.out[i]);
}

/* EV_ADD, then EV_DELETE, each in a call of its own. */
static int64_t
bare_add_delete(long ops)
{
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++) {
		struct epoll_event ev = {EPOLLIN, {.u64 = 0}};
		int fd = bare.in[i % SOCKETS];
		ev.data.u64 = (uint64_t)i;
		MUST(epoll_ctl(bare.queue, EPOLL_CTL_ADD, fd, &ev) == 0);
		MUST(epoll_ctl(bare.queue, EPOLL_CTL_DEL, fd, NULL) == 0);
	}
	return now_ns() - begin;
}

static int64_t
lib_add_delete(long ops)
{
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++) {
		struct kevent k;
		uintptr_t fd = (uintptr_t)ours.in[i % SOCKETS];
		kev_set(&k, fd, EVFILT_READ, EV_ADD, 0, 0, (uintptr_t)i);
		MUST(lib.kevent(ours.queue, &k, 1, NULL, 0, NULL) == 0);
		kev_set(&k, fd, EVFILT_READ, EV_DELETE, 0, 0, 0);
		MUST(lib.kevent(ours.queue, &k, 1, NULL, 0, NULL) == 0);
	}
	return now_ns() - begin;
}

static void
bare_add_delete_check(void)
{
	put_bytes(bare.out[5], 3);
	bare_none(bare.queue);
	bare_ctl(bare.queue, EPOLL_CTL_ADD, bare.in[5], EPOLLIN, 5);
	bare_next(bare.queue, 5);
	bare_ctl(bare.queue, EPOLL_CTL_DEL, bare.in[5], 0, 0);
	bare_none(bare.queue);
	take_bytes(bare.in[5], 3);
}

static void
lib_add_delete_check(void)
{
	uintptr_t fd = (uintptr_t)ours.in[5];
	put_bytes(ours.out[5], 3);
	lib_none(ours.queue);
	lib_change(ours.queue, fd, EVFILT_READ, EV_ADD, 0, 0, 5);
	lib_next(ours.queue, fd, EVFILT_READ, 3, 5);
	lib_change(ours.queue, fd, EVFILT_READ, EV_DELETE, 0, 0, 0);
	lib_none(ours.queue);
	take_bytes(ours.in[5], 3);
}

const struct bench bench_add_delete = {
    .name = "add-delete",
    .what = "EV_ADD + EV_DELETE, one a call, the pair",
    .unit = "ns",
    .budget = 1.15,
    .recorded = 2.2,
    .step = 1,
    .cpus = 1,
    .bare = {bare_open, bare_add_delete, bare_add_delete_check},
    .lib = {lib_open, lib_add_delete, lib_add_delete_check},
};

/*
 * The toggles. Bare, a disabled entry is one with the mask EPOLLONESHOT
 * alone: a mask of 0 would still report errors and hang-ups.
 */
#define ARMED ((uint32_t)EPOLLIN)
#define DISARMED ((uint32_t)EPOLLONESHOT)

static void
bare_toggle_open(void)
{
	bare_open();
	for (int i = 0; i < SOCKETS; i++)
		bare_ctl(bare.queue, EPOLL_CTL_ADD, bare.in[i], ARMED,
		    (uint64_t)i);
}

static void
lib_toggle_open(void)
{
	lib_open();
	for (int i = 0; i < SOCKETS; i++)
		lib_change(ours.queue, (uintptr_t)ours.in[i], EVFILT_READ,
		    EV_ADD, 0, 0, (uintptr_t)i);
}

static inline void
bare_mask(int i, uint32_t mask)
{
	struct epoll_event ev = {mask, {.u64 = (uint64_t)i}};
	MUST(epoll_ctl(bare.queue, EPOLL_CTL_MOD, bare.in[i], &ev) == 0);
}

static inline void
toggle(struct kevent *k, int i, unsigned flags)
{
	kev_set(k, (uintptr_t)ours.in[i], EVFILT_READ, flags, 0, 0,
	    (uintptr_t)i);
}

static int64_t
bare_undo(long ops)
{
	int64_t begin = now_ns();
	for (long done = 0; done < ops; done += BATCH)
		for (int i = 0; i < BATCH / 2; i++) {
			bare_mask(i, DISARMED);
			bare_mask(i, ARMED);
		}
	return now_ns() - begin;
}

static int64_t
lib_undo(long ops)
{
	struct kevent changes[BATCH];
	int64_t begin = now_ns();
	for (long done = 0; done < ops; done += BATCH) {
		for (int i = 0; i < BATCH / 2; i++) {
			toggle(&changes[2 * i], i, EV_DISABLE);
			toggle(&changes[2 * i + 1], i, EV_ENABLE);
		}
		MUST(lib.kevent(ours.queue, changes, BATCH, NULL, 0, NULL) ==
		    0);
	}
	return now_ns() - begin;
}

static int64_t
bare_apart(long ops)
{
	int64_t begin = now_ns();
	for (long done = 0; done < ops; done += 2 * BATCH) {
		for (int i = 0; i < BATCH; i++)
			bare_mask(i, DISARMED);
		for (int i = 0; i < BATCH; i++)
			bare_mask(i, ARMED);
	}
	return now_ns() - begin;
}

static int64_t
lib_apart(long ops)
{
	struct kevent changes[BATCH];
	int64_t begin = now_ns();
	for (long done = 0; done < ops; done += 2 * BATCH) {
		for (int i = 0; i < BATCH; i++)
			toggle(&changes[i], i, EV_DISABLE);
		MUST(lib.kevent(ours.queue, changes, BATCH, NULL, 0, NULL) ==
		    0);
		for (int i = 0; i < BATCH; i++)
			toggle(&changes[i], i, EV_ENABLE);
		MUST(lib.kevent(ours.queue, changes, BATCH, NULL, 0, NULL) ==
		    0);
	}
	return now_ns() - begin;
}

static void
bare_toggle_check(void)
{
	bare_none(bare.queue);
	put_bytes(bare.out[7], 9);
	bare_next(bare.queue, 7);
	bare_mask(7, DISARMED);
	bare_none(bare.queue);
	bare_mask(7, ARMED);
	bare_next(bare.queue, 7);
	take_bytes(bare.in[7], 9);
	bare_none(bare.queue);
}

/* The last of two changes in one call must decide. */
static void
lib_toggle_check(void)
{
	uintptr_t fd = (uintptr_t)ours.in[7];
	struct kevent two[2];
	lib_none(ours.queue);
	put_bytes(ours.out[7], 9);
	lib_next(ours.queue, fd, EVFILT_READ, 9, 7);
	lib_change(ours.queue, fd, EVFILT_READ, EV_DISABLE, 0, 0, 7);
	lib_none(ours.queue);
	lib_change(ours.queue, fd, EVFILT_READ, EV_ENABLE, 0, 0, 7);
	lib_next(ours.queue, fd, EVFILT_READ, 9, 7);
	toggle(&two[0], 7, EV_ENABLE);
	toggle(&two[1], 7, EV_DISABLE);
	MUST(lib.kevent(ours.queue, two, 2, NULL, 0, NULL) == 0);
	lib_none(ours.queue);
	toggle(&two[0], 7, EV_DISABLE);
	toggle(&two[1], 7, EV_ENABLE);
	MUST(lib.kevent(ours.queue, two, 2, NULL, 0, NULL) == 0);
	lib_next(ours.queue, fd, EVFILT_READ, 9, 7);
	take_bytes(ours.in[7], 9);
	lib_none(ours.queue);
}

const struct bench bench_toggle_undo = {
    .name = "toggle-undo",
    .what = "32 EV_DISABLE + EV_ENABLE in one call, a change",
    .unit = "ns",
    .budget = 0.25,
    .recorded = 2.6,
    .step = BATCH,
    .cpus = 1,
    .bare = {bare_toggle_open, bare_undo, bare_toggle_check},
    .lib = {lib_toggle_open, lib_undo, lib_toggle_check},
};

const struct bench bench_toggle_apart = {
    .name = "toggle-apart",
    .what = "64 EV_DISABLE in a call, 64 EV_ENABLE in the next",
    .unit = "ns",
    .budget = 0.25,
    .recorded = 2.6,
    .step = 2 * BATCH,
    .cpus = 1,
    .bare = {bare_toggle_open, bare_apart, bare_toggle_check},
    .lib = {lib_toggle_open, lib_apart, lib_toggle_check},
};
