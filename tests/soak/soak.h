/*
 * What the parts of the soak share.
 *
 * A round has a few shared queues, the arenas, with waiters that collect from
 * them, and players that make things happen there. Each player is a thread
 * with its own random numbers, drawn from the seed of the round: what it plans
 * is the same each time, only the scheduler differs.
 *
 * A knote of an arena carries in its udata a watch and a generation of it. The
 * generation ends when the knote is deleted, or its descriptor closed, and a
 * stamp is taken of that. A call that began after the stamp and returns the
 * generation all the same has returned a stale event.
 */
#ifndef SOAK_H
#define SOAK_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/event.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

#define ARENAS 4
#define WATCHES 1024
#define WORKERS 96
#define ENDINGS 256

/* How long what must come may take before it counts as lost. */
#define STUCK_MS 20000

#define MS(n) ((int64_t)(n) * 1000000)

struct rng {
	uint64_t state;
};

uint64_t rng_next(struct rng *r);
unsigned below(struct rng *r, unsigned n);

static inline bool
one_in(struct rng *r, unsigned n)
{
	return below(r, n) == 0;
}

/* One thread of the soak. */
struct worker {
	pthread_t thread;
	const char *role;
	struct rng rng;
	void (*run)(struct worker *, void *);
	void *arg;
	int number;
	int tid;
	/* A waiter may sleep as long as nobody needs it. */
	bool may_idle;
	atomic_bool done;
	atomic_ulong steps;
	_Atomic(const char *) doing;
};

extern _Thread_local struct worker *self;

/* Notes for the watchdog that this thread gets on, and what it does next. */
void doing(const char *what);

struct arena {
	int kq;
	int number;
};

struct round {
	uint64_t seed;
	unsigned number;
	unsigned arenas;
	/* Files live on in dups after their descriptor is closed, */
	bool ghosts;
	/* or in children. */
	bool forks;
	atomic_bool stop;
};

extern struct round now;
extern struct arena arenas[ARENAS];
/* No documented limit is borne: what interposes close() is there. */
extern bool exact;
extern char own_path[4096];
extern char scratch[256];

/* One watched thing. */
struct watch {
	pthread_mutex_t lock;
	unsigned number;
	unsigned generation;
	bool live;
	/* The lock is held, and the generation is the present one. `began`: the
	 * stamp of when the call began that returned the event. */
	void (*event)(struct watch *, struct arena *, const struct kevent *,
	    uint64_t began);
	void *more;
	/* When the last generations ended, and if by EV_DELETE. */
	struct {
		uint64_t stamp;
		bool deleted;
		const char *what;
		int64_t at;
	} endings[ENDINGS];
};

enum ending { CLOSED, DELETED };

struct watch *watch_new(void (*event)(struct watch *, struct arena *,
    const struct kevent *, uint64_t), void *more);
void *watch_udata(const struct watch *w);
/* Begins and ends a generation. The lock is held. */
void watch_begin(struct watch *w);
void watch_end(struct watch *w, enum ending how, const char *what);

/* The number of this moment. */
uint64_t stamp(void);

void worker_start(const char *role, void (*run)(struct worker *, void *),
    void *arg, bool may_idle);
void waiter_run(struct worker *me, void *arena);
/* Hands one event to its watch. */
void dispatch(struct arena *a, const struct kevent *ev, uint64_t began);

/* The changes must succeed. */
void change(int kq, uintptr_t ident, int filter, unsigned flags,
    unsigned fflags, intptr_t data, void *udata);
/* The same, or it must fail with that errno: what was answered. */
int change_or(int kq, uintptr_t ident, int filter, unsigned flags,
    unsigned fflags, intptr_t data, void *udata, int error);

int64_t now_ns(void);
void pause_ns(int64_t ns);
void sem_take(sem_t *s, const char *what);

__attribute__((noreturn, format(printf, 3, 4))) void fail_at(const char *file,
    int line, const char *format, ...);
#define FAIL(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(cond)                                                           \
	do {                                                                  \
		if (!(cond))                                                  \
			FAIL("not true: %s (errno %d, %s)", #cond, errno,     \
			    strerror(errno));                                 \
	} while (0)

/* Waits until it holds; the watchdog is not told of progress meanwhile. */
#define WAIT_FOR(cond, ...)                                                   \
	do {                                                                  \
		int64_t until_ = now_ns() + MS(STUCK_MS);                     \
		while (!(cond)) {                                             \
			if (now_ns() > until_)                                \
				FAIL(__VA_ARGS__);                            \
			pause_ns(50000);                                      \
		}                                                             \
	} while (0)

/* What was done, for the line of the round. */
enum tally {
	T_EVENTS,
	T_RELAYED,
	T_LATE,
	T_CHURNED,
	T_BYTES,
	T_CHILDREN,
	T_QUEUES,
	T_CANCELLED,
	T_JUMPED,
	T_GHOST_TOLD,
	T_TOLD_AGAIN,
	T_COUNT
};
extern atomic_ulong tally[T_COUNT];
#define COUNT(what, n) atomic_fetch_add(&tally[what], (unsigned long)(n))

/* The players. */
void relay_run(struct worker *me, void *unused);
void churn_run(struct worker *me, void *unused);
void family_run(struct worker *me, void *unused);
void queues_run(struct worker *me, void *unused);
void cancel_run(struct worker *me, void *unused);
void longjmp_run(struct worker *me, void *unused);
void timers_run(struct worker *me, void *unused);

/* Before the threads start: of the process, and of a round. */
void relay_signals(void);
void relay_reset(void);
/* Of the calling thread. */
void relay_block_signals(void);
/* Which events are owed. */
void relay_dump(void);

/* Programs of their own, started by family_run(). */
int main_after_exec(const char *status);
int main_exits(const char *seed);

/* Things that can be watched. */
enum kind { SOCKET, PIPE, EVENTFD, PTY, TCP, FILE_, QUEUE, KINDS };
struct thing {
	enum kind kind;
	int fd, peer;
};
extern const char *const kind_names[KINDS];
struct thing thing_open(struct rng *r, enum kind kind);
void thing_close_peer(struct thing *t);
/* Makes it readable: how many bytes went in; of a queue, the number given. */
size_t thing_put(struct thing *t, size_t n);
/* Empties it: how many bytes came out; of a queue, the last number. */
size_t thing_drain(struct thing *t);

#endif
