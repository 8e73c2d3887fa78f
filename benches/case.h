/*
 * What the files of the benchmark share.
 *
 * The library is loaded by path, so that one program can measure any library
 * with this ABI. That is why nothing here includes <sys/event.h>: the layout
 * and the numbers below are frozen, and belong to no particular library.
 */
#ifndef BENCHES_CASE_H
#define BENCHES_CASE_H

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>

struct kevent {
	uintptr_t ident;
	short filter;
	unsigned short flags;
	unsigned int fflags;
	intptr_t data;
	void *udata;
};
_Static_assert(sizeof(struct kevent) == (sizeof(void *) == 8 ? 32 : 20),
    "struct kevent is not the frozen one");

#define EVFILT_READ (-1)
#define EVFILT_VNODE (-4)
#define EVFILT_PROC (-5)
#define EVFILT_SIGNAL (-6)
#define EVFILT_TIMER (-7)
#define EVFILT_USER (-11)

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_ERROR 0x4000

#define NOTE_WRITE 0x0002
#define NOTE_EXIT 0x80000000
#define NOTE_NSECONDS 0x0004
#define NOTE_TRIGGER 0x01000000
#define NOTE_FFCOPY 0xc0000000
#define NOTE_FFLAGSMASK 0x00ffffff

/* The library under measurement in this process. */
struct library {
	int (*kqueue)(void);
	int (*kevent)(int, const struct kevent *, int, struct kevent *, int,
	    const struct timespec *);
};
extern struct library lib;

/* One way to do the work of a case. */
struct side {
	/* Makes what the rounds use; called once. */
	void (*open)(void);
	/* Does this many operations; returns the nanoseconds they took. */
	int64_t (*run)(long ops);
	/* Untimed proof that the objects still do what they are for. */
	void (*check)(void);
};

struct bench {
	const char *name;
	const char *what;
	/* "ns" an operation, or what count() counts. */
	const char *unit;
	/* The goal, a ratio or a count; 0 when the design names none. */
	double budget;
	/* What libkqueue 2.7 was measured at; 0 when it was not. */
	double recorded;
	/* run() is asked for a multiple of this many operations. */
	long step;
	/* How many idle knotes or timers stand by, where a case scales. */
	long scale;
	/* 1: on one CPU, whatever its threads; 2: a CPU for each of two. */
	int cpus;
	struct side bare, lib;
	/* Instead of the two sides: a figure that is counted, not timed. */
	double (*count)(void);
};

/* The case that this process runs. */
extern const struct bench *bench;

extern const struct bench bench_ready, bench_many, bench_add_delete,
    bench_toggle_undo, bench_toggle_apart, bench_user, bench_user_one_call,
    bench_wake, bench_wake_one_cpu, bench_timers, bench_two_queues,
    bench_make_close, bench_memory, bench_descriptors, bench_idle_100, bench_idle_10k,
    bench_rearm_1k, bench_rearm_100k, bench_due_1k, bench_due_100k,
    bench_signal, bench_signal_blocked, bench_process, bench_vnode;

/* Each case runs in a child process: a failure reports and ends it. */
_Noreturn void fail_at(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define FAIL(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define MUST(cond)                                                            \
	do {                                                                  \
		if (__builtin_expect(!(cond), 0))                             \
			FAIL("not true: %s (errno %d)", #cond, errno);        \
	} while (0)

/* A word for the reader under the table, such as a number made smaller. */
void remark(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* support.c */

/* At most this many events are asked for in one call, on both sides. */
#define BATCH 64

static inline int64_t
now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static inline void
kev_set(struct kevent *k, uintptr_t ident, int filter, unsigned flags,
    unsigned fflags, intptr_t data, uintptr_t udata)
{
	k->ident = ident;
	k->filter = (short)filter;
	k->flags = (unsigned short)flags;
	k->fflags = fflags;
	k->data = data;
	k->udata = (void *)udata;
}

/* A queue or an epoll set, which must come. */
int lib_queue(void);
int bare_set(void);

/* One change that must succeed. */
void lib_change(int kq, uintptr_t ident, int filter, unsigned flags,
    unsigned fflags, intptr_t data, uintptr_t udata);
void bare_ctl(int ep, int op, int fd, uint32_t events, uint64_t token);

/* Nothing may be pending. */
void lib_none(int kq);
void bare_none(int ep);

/* The next event, which must come and must be this one. */
void lib_next(int kq, uintptr_t ident, int filter, intptr_t data,
    uintptr_t udata);
void bare_next(int ep, uint64_t token);

/* A connected pair of non-blocking stream sockets. */
void socket_pair(int *in, int *out);
void put_bytes(int fd, long count);
void take_bytes(int fd, long count);

/*
 * `want` descriptors that never become ready, fewer where the limit is lower.
 * Both sides may watch the same ones: what is idle costs neither a thing.
 */
const int *idle_descriptors(long want, long *got);
/* How many more descriptors this process may open, less a reserve. */
long descriptors_left(void);

/* Runs on the k-th of the CPUs that this process was given. */
void pin(int k);
/* Both at once, on as many CPUs as the case has; the time that each took. */
void two_threads(void (*first)(void *), void *first_arg,
    void (*second)(void *), void *second_arg, int64_t ns[2]);

#endif
