/* READ events: one ready socket, many, idle ones beside it, two threads. */
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "case.h"

/*
 * A queue and one socket: write, wait, ask how much there is, read. kevent()
 * promises the byte count, so the bare side asks for it too.
 */
struct loop {
	int queue, in, out;
	long ops;
	uint64_t stamp;
};

static void
loop_open(struct loop *loop)
{
	socket_pair(&loop->in, &loop->out);
	loop->stamp = 0;
}

static void
bare_loop_open(struct loop *loop)
{
	long count;
	const int *idle = idle_descriptors(bench->scale, &count);
	loop_open(loop);
	loop->queue = bare_set();
	for (long i = 0; i < count; i++)
		bare_ctl(loop->queue, EPOLL_CTL_ADD, idle[i], EPOLLIN, 0);
	bare_ctl(loop->queue, EPOLL_CTL_ADD, loop->in, EPOLLIN,
	    (uintptr_t)loop);
}

static void
lib_loop_open(struct loop *loop)
{
	long count;
	const int *idle = idle_descriptors(bench->scale, &count);
	loop_open(loop);
	loop->queue = lib_queue();
	for (long i = 0; i < count; i++)
		lib_change(loop->queue, (uintptr_t)idle[i], EVFILT_READ,
		    EV_ADD, 0, 0, 0);
	lib_change(loop->queue, (uintptr_t)loop->in, EVFILT_READ, EV_ADD, 0, 0,
	    (uintptr_t)loop);
}

static void
bare_loop(void *arg)
{
	struct loop *loop = arg;
	struct epoll_event events[BATCH];
	uint64_t got;
	int bytes;
	for (long i = 0; i < loop->ops; i++) {
		loop->stamp++;
		MUST(write(loop->out, &loop->stamp, 8) == 8);
		MUST(epoll_wait(loop->queue, events, BATCH, -1) == 1);
		MUST(events[0].data.u64 == (uintptr_t)loop);
		MUST(ioctl(loop->in, FIONREAD, &bytes) == 0 && bytes == 8);
		MUST(read(loop->in, &got, 8) == 8 && got == loop->stamp);
	}
}

static void
lib_loop(void *arg)
{
	struct loop *loop = arg;
	struct kevent events[BATCH];
	uint64_t got;
	for (long i = 0; i < loop->ops; i++) {
		loop->stamp++;
		MUST(write(loop->out, &loop->stamp, 8) == 8);
		MUST(lib.kevent(loop->queue, NULL, 0, events, BATCH, NULL) ==
		    1);
		MUST(events[0].udata == loop);
		MUST(events[0].ident == (uintptr_t)loop->in);
		MUST(events[0].filter == EVFILT_READ);
		MUST(events[0].data == 8);
		MUST(read(loop->in, &got, 8) == 8 && got == loop->stamp);
	}
}

/* The events came or run() had failed; what is left is that no more come. */
static struct loop bare_one, lib_one;

static void
bare_one_open(void)
{
	bare_loop_open(&bare_one);
}

static void
lib_one_open(void)
{
	lib_loop_open(&lib_one);
}

static int64_t
bare_one_run(long ops)
{
	int64_t begin = now_ns();
	bare_one.ops = ops;
	bare_loop(&bare_one);
	return now_ns() - begin;
}

static int64_t
lib_one_run(long ops)
{
	int64_t begin = now_ns();
	lib_one.ops = ops;
	lib_loop(&lib_one);
	return now_ns() - begin;
}

static void
bare_one_check(void)
{
	bare_none(bare_one.queue);
}

static void
lib_one_check(void)
{
	lib_none(lib_one.queue);
}

#define ONE_SIDES                                                             \
	.unit = "ns", .step = 1, .cpus = 1,                                \
	.bare = {bare_one_open, bare_one_run, bare_one_check},                \
	.lib = {lib_one_open, lib_one_run, lib_one_check}

const struct bench bench_ready = {
    .name = "ready",
    .what = "one ready socket: write, wait, read",
    .budget = 1.08,
    .recorded = 1.27,
    ONE_SIDES,
};

const struct bench bench_idle_100 = {
    .name = "idle-100",
    .what = "one ready socket beside 100 idle knotes",
    .budget = 1.08,
    .scale = 100,
    ONE_SIDES,
};

const struct bench bench_idle_10k = {
    .name = "idle-10k",
    .what = "one ready socket beside 10,000 idle knotes",
    .budget = 1.08,
    .scale = 10000,
    ONE_SIDES,
};

/* The same loop in two threads that share nothing. */
static struct loop bare_pair[2], lib_pair[2];

static void
bare_pair_open(void)
{
	bare_loop_open(&bare_pair[0]);
	bare_loop_open(&bare_pair[1]);
}

static void
lib_pair_open(void)
{
	lib_loop_open(&lib_pair[0]);
	lib_loop_open(&lib_pair[1]);
}

static int64_t
pair_run(void (*body)(void *), struct loop loops[2], long ops)
{
	int64_t ns[2];
	loops[0].ops = loops[1].ops = ops;
	two_threads(body, &loops[0], body, &loops[1], ns);
	return (ns[0] + ns[1]) / 2;
}

static int64_t
bare_pair_run(long ops)
{
	return pair_run(bare_loop, bare_pair, ops);
}

static int64_t
lib_pair_run(long ops)
{
	return pair_run(lib_loop, lib_pair, ops);
}

static void
bare_pair_check(void)
{
	bare_none(bare_pair[0].queue);
	bare_none(bare_pair[1].queue);
}

static void
lib_pair_check(void)
{
	lib_none(lib_pair[0].queue);
	lib_none(lib_pair[1].queue);
}

const struct bench bench_two_queues = {
    .name = "two-queues",
    .what = "two threads, a queue each: write, wait, read",
    .unit = "ns",
    .budget = 1.05,
    .recorded = 1.18,
    .step = 1,
    .cpus = 2,
    .bare = {bare_pair_open, bare_pair_run, bare_pair_check},
    .lib = {lib_pair_open, lib_pair_run, lib_pair_check},
};

/*
 * 2,000 watched, of which 100 hold unread bytes for good: level-triggered, so
 * they come again and again, and must take turns.
 */
#define WATCHED 2000
#define READY 100

struct many {
	int queue;
	int in[READY];
	long seen[READY];
};
static struct many bare_many, lib_many;

/* Each socket holds its own amount, so that a wrong count shows. */
static int
amount(uint64_t i)
{
	return (int)(i % 13) + 1;
}

static void
many_sockets(struct many *many)
{
	for (int i = 0; i < READY; i++) {
		int out;
		socket_pair(&many->in[i], &out);
		put_bytes(out, amount((uint64_t)i));
	}
}

static void
bare_many_open(void)
{
	long count;
	const int *idle = idle_descriptors(WATCHED - READY, &count);
	many_sockets(&bare_many);
	bare_many.queue = bare_set();
	for (long i = 0; i < count; i++)
		bare_ctl(bare_many.queue, EPOLL_CTL_ADD, idle[i], EPOLLIN,
		    READY);
	for (int i = 0; i < READY; i++)
		bare_ctl(bare_many.queue, EPOLL_CTL_ADD, bare_many.in[i],
		    EPOLLIN, (uint64_t)i);
}

static void
lib_many_open(void)
{
	long count;
	const int *idle = idle_descriptors(WATCHED - READY, &count);
	many_sockets(&lib_many);
	lib_many.queue = lib_queue();
	for (long i = 0; i < count; i++)
		lib_change(lib_many.queue, (uintptr_t)idle[i], EVFILT_READ,
		    EV_ADD, 0, 0, READY);
	for (int i = 0; i < READY; i++)
		lib_change(lib_many.queue, (uintptr_t)lib_many.in[i],
		    EVFILT_READ, EV_ADD, 0, 0, (uintptr_t)i);
}

/* Half of a fair share is enough; starving is not. */
static void
many_fair(const struct many *many, long ops)
{
	for (int i = 0; i < READY; i++)
		if (many->seen[i] < ops / READY / 2)
			FAIL("socket %d of %d came %ld times in %ld events", i,
			    READY, many->seen[i], ops);
}

static int64_t
bare_many_run(long ops)
{
	struct epoll_event events[BATCH];
	int64_t begin, ns;
	memset(bare_many.seen, 0, sizeof bare_many.seen);
	begin = now_ns();
	for (long done = 0; done < ops;) {
		int room = ops - done < BATCH ? (int)(ops - done) : BATCH;
		int n = epoll_wait(bare_many.queue, events, room, -1);
		MUST(n > 0 && n <= room);
		for (int i = 0; i < n; i++) {
			uint64_t who = events[i].data.u64;
			int bytes;
			MUST(who < READY);
			MUST(ioctl(bare_many.in[who], FIONREAD, &bytes) == 0);
			MUST(bytes == amount(who));
			bare_many.seen[who]++;
		}
		done += n;
	}
	ns = now_ns() - begin;
	many_fair(&bare_many, ops);
	return ns;
}

static int64_t
lib_many_run(long ops)
{
	struct kevent events[BATCH];
	int64_t begin, ns;
	memset(lib_many.seen, 0, sizeof lib_many.seen);
	begin = now_ns();
	for (long done = 0; done < ops;) {
		int room = ops - done < BATCH ? (int)(ops - done) : BATCH;
		int n = lib.kevent(lib_many.queue, NULL, 0, events, room,
		    NULL);
		MUST(n > 0 && n <= room);
		for (int i = 0; i < n; i++) {
			uint64_t who = (uintptr_t)events[i].udata;
			MUST(who < READY);
			MUST(events[i].ident == (uintptr_t)lib_many.in[who]);
			MUST(events[i].data == amount(who));
			lib_many.seen[who]++;
		}
		done += n;
	}
	ns = now_ns() - begin;
	many_fair(&lib_many, ops);
	return ns;
}

/* With room for all, each ready one comes exactly once. */
static void
bare_many_check(void)
{
	struct epoll_event events[2 * READY];
	MUST(epoll_wait(bare_many.queue, events, 2 * READY, 0) == READY);
}

static void
lib_many_check(void)
{
	static const struct timespec zero = {0, 0};
	struct kevent events[2 * READY];
	char seen[READY] = {0};
	MUST(lib.kevent(lib_many.queue, NULL, 0, events, 2 * READY, &zero) ==
	    READY);
	for (int i = 0; i < READY; i++) {
		uintptr_t who = (uintptr_t)events[i].udata;
		MUST(who < READY && !seen[who]);
		seen[who] = 1;
	}
}

const struct bench bench_many = {
    .name = "many",
    .what = "100 ready of 2,000, 64 a call, an event",
    .unit = "ns",
    .budget = 1.10,
    .recorded = 1.25,
    .step = BATCH,
    .cpus = 1,
    .bare = {bare_many_open, bare_many_run, bare_many_check},
    .lib = {lib_many_open, lib_many_run, lib_many_check},
};
