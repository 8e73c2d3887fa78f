/*
 * Queues of a player's own: made, dup'd and closed; and threads that leave
 * kevent() by pthread_cancel() and by longjmp().
 */
#include "soak.h"

#include <setjmp.h>
#include <sys/syscall.h>

static const struct timespec no_wait;

/* One event, and no other. */
static void
expect(int kq, uintptr_t ident, int filter, void *udata, const char *what)
{
	struct kevent ev[2];
	struct timespec ts = {STUCK_MS / 1000, 0};
	int n;
	memset(ev, 0, sizeof ev);
	do
		n = kevent(kq, NULL, 0, ev, 2, &ts);
	while (n < 0 && errno == EINTR);
	if (n != 1 || ev[0].ident != ident || ev[0].filter != filter ||
	    ev[0].udata != udata)
		FAIL("kq %d: %d events (errno %d), of ident %lu filter %d "
		    "data %ld udata %p, ident %lu filter %d data %ld udata "
		    "%p; not one of ident %lu filter %d udata %p, %s", kq, n,
		    errno, (unsigned long)ev[0].ident, ev[0].filter,
		    (long)ev[0].data, ev[0].udata, (unsigned long)ev[1].ident,
		    ev[1].filter, (long)ev[1].data, ev[1].udata,
		    (unsigned long)ident, filter, udata, what);
}

static void
expect_none(int kq)
{
	struct kevent ev;
	int n = kevent(kq, NULL, 0, &ev, 1, &no_wait);
	if (n != 0)
		FAIL("kq %d: %d (errno %d), ident %lu filter %d", kq, n, errno,
		    (unsigned long)ev.ident, ev.filter);
}

void
queues_run(struct worker *me, void *unused)
{
	struct rng *r = &me->rng;
	(void)unused;
	while (!atomic_load(&now.stop)) {
		struct thing t;
		int kqs[3], count = 1, i;
		bool close_thing_first = one_in(r, 2);
		doing("makes a queue");
		kqs[0] = kqueue();
		CHECK(kqs[0] >= 0);
		expect_none(kqs[0]);
		t = thing_open(r, below(r, QUEUE));
		change(kqs[0], (uintptr_t)t.fd, EVFILT_READ, EV_ADD | EV_CLEAR,
		    0, 0, &t);
		change(kqs[0], 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, r);
		doing("uses a queue by its dups");
		while (count < 3 && one_in(r, 2)) {
			kqs[count] = fcntl(kqs[0], F_DUPFD_CLOEXEC, 0);
			CHECK(kqs[count] >= 0);
			/* Each is used: BEHAVIOUR.md D95. */
			CHECK(kevent(kqs[count], NULL, 0, NULL, 0, NULL) == 0);
			count++;
		}
		while (count > 0) {
			int with = kqs[below(r, (unsigned)count)];
			thing_put(&t, 1);
			expect(with, (uintptr_t)t.fd, EVFILT_READ, &t,
			    kind_names[t.kind]);
			thing_drain(&t);
			with = kqs[below(r, (unsigned)count)];
			change(with, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, r);
			with = kqs[below(r, (unsigned)count)];
			expect(with, 1, EVFILT_USER, r,
			    kind_names[t.kind]);
			expect_none(with);
			/* Often closed with an event pending. */
			if (one_in(r, 2))
				thing_put(&t, 1);
			if (count == 1 && close_thing_first)
				CHECK(close(t.fd) == 0);
			i = (int)below(r, (unsigned)count);
			CHECK(close(kqs[i]) == 0);
			kqs[i] = kqs[--count];
		}
		if (!close_thing_first)
			CHECK(close(t.fd) == 0);
		thing_close_peer(&t);
		COUNT(T_QUEUES, 1);
	}
}

/* Threads that are cancelled while they wait: the others go on. */

#define PARKED 4

struct lot {
	int kq;
	struct thing thing;
	sem_t came;
};

static void *
parked_main(void *arg)
{
	struct lot *lot = arg;
	/* Left on top of a handler of the library's, a signal would be lost. */
	relay_block_signals();
	for (;;) {
		struct timespec hour = {3600, 0};
		struct kevent ev;
		int state, n = kevent(lot->kq, NULL, 0, &ev, 1,
		    (uintptr_t)&ev % 64 == 0 ? NULL : &hour);
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
		CHECK(n == 1 || (n < 0 && errno == EINTR));
		if (n == 1 && ev.udata == NULL)
			return NULL;
		if (n == 1 && ev.filter == EVFILT_READ)
			CHECK(thing_drain(&lot->thing) == 1);
		if (n == 1)
			CHECK(sem_post(&lot->came) == 0);
		pthread_setcancelstate(state, &state);
	}
}

/* What the queue of a lot watches: nothing fires by itself. */
static void
lot_open(struct lot *lot, struct rng *r)
{
	lot->kq = kqueue();
	CHECK(lot->kq >= 0);
	lot->thing = thing_open(r, one_in(r, 2) ? SOCKET : PIPE);
	change(lot->kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	change(lot->kq, 2, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, lot);
	change(lot->kq, (uintptr_t)lot->thing.fd, EVFILT_READ,
	    EV_ADD | EV_CLEAR, 0, 0, lot);
	change(lot->kq, 3, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 3600, lot);
}

static void
lot_close(struct lot *lot)
{
	CHECK(close(lot->kq) == 0);
	CHECK(close(lot->thing.fd) == 0);
	thing_close_peer(&lot->thing);
}

void
cancel_run(struct worker *me, void *unused)
{
	struct rng *r = &me->rng;
	(void)unused;
	while (!atomic_load(&now.stop)) {
		pthread_t parked[PARKED];
		unsigned i, count = 2 + below(r, PARKED - 1);
		unsigned doomed = 1 + below(r, count - 1);
		struct lot lot;
		void *result;
		lot_open(&lot, r);
		CHECK(sem_init(&lot.came, 0, 0) == 0);
		doing("parks threads");
		for (i = 0; i < count; i++) {
			errno = pthread_create(&parked[i], NULL, parked_main,
			    &lot);
			CHECK(errno == 0);
		}
		pause_ns(below(r, 3000000));
		doing("cancels threads");
		for (i = 0; i < doomed; i++)
			CHECK(pthread_cancel(parked[i]) == 0);
		for (i = 0; i < doomed; i++) {
			CHECK(pthread_join(parked[i], &result) == 0);
			CHECK(result == PTHREAD_CANCELED);
		}
		doing("uses the queue after that");
		for (i = 0; i < 4; i++) {
			if (i % 2 == 0)
				change(lot.kq, 2, EVFILT_USER, 0,
				    NOTE_TRIGGER, 0, &lot);
			else
				thing_put(&lot.thing, 1);
			sem_take(&lot.came, "an event after a cancellation");
			CHECK(sem_trywait(&lot.came) == -1);
		}
		change(lot.kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		for (i = doomed; i < count; i++)
			CHECK(pthread_join(parked[i], &result) == 0 &&
			    result == NULL);
		CHECK(sem_destroy(&lot.came) == 0);
		lot_close(&lot);
		COUNT(T_CANCELLED, doomed);
	}
}

/* A handler that leaves the wait that it interrupts. */

struct jump {
	struct lot lot;
	sigjmp_buf home;
	pthread_t jumper;
	int tid;
	/* The jumper is in kevent(), or about to be. */
	atomic_bool armed;
	atomic_bool over;
};

static _Thread_local struct jump *jump;

static void
jump_home(int number)
{
	(void)number;
	if (jump != NULL && atomic_exchange(&jump->armed, false))
		siglongjmp(jump->home, 1);
}

/* Sleeps in a system call that is none of a lock. */
static bool
is_parked(int tid)
{
	char path[64], line[64];
	ssize_t n;
	long number;
	int fd;
	snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	n = read(fd, line, sizeof line - 1);
	CHECK(close(fd) == 0);
	if (n <= 0)
		return false;
	line[n] = '\0';
	number = strtol(line, NULL, 10);
#ifdef SYS_epoll_wait
	if (number == SYS_epoll_wait)
		return true;
#endif
	return number == SYS_epoll_pwait || number == 441;
}

static void *
kick_main(void *arg)
{
	struct jump *j = arg;
	while (!atomic_load(&j->over)) {
		if (atomic_load(&j->armed) && is_parked(j->tid))
			CHECK(pthread_kill(j->jumper, SIGUSR2) == 0);
		pause_ns(100000);
	}
	return NULL;
}

void
longjmp_run(struct worker *me, void *unused)
{
	struct sigaction sa = {.sa_handler = jump_home};
	/* What is changed after sigsetjmp() must not be in a register. */
	struct jump *volatile j = calloc(1, sizeof *j);
	struct rng *r = &me->rng;
	pthread_t kicker, parked;
	void *result;
	(void)unused;
	CHECK(j != NULL);
	CHECK(sigaction(SIGUSR2, &sa, NULL) == 0);
	/* As above. */
	relay_block_signals();
	lot_open(&j->lot, r);
	CHECK(sem_init(&j->lot.came, 0, 0) == 0);
	j->jumper = pthread_self();
	j->tid = me->tid;
	jump = j;
	errno = pthread_create(&kicker, NULL, kick_main, j);
	CHECK(errno == 0);
	while (!atomic_load(&now.stop)) {
		static const struct timespec hour = {3600, 0};
		struct kevent ev;
		int n;
		doing("waits for a handler that jumps");
		if (sigsetjmp(j->home, 1) == 0) {
			EV_SET(&ev, 2, EVFILT_USER, 0, NOTE_FFNOP, 0, &j->lot);
			atomic_store(&j->armed, true);
			n = kevent(j->lot.kq, &ev, (int)below(r, 2), &ev, 1,
			    one_in(r, 2) ? NULL : &hour);
			/* Another signal's handler may have come first. */
			if (atomic_exchange(&j->armed, false))
				CHECK(n == -1 && errno == EINTR);
			continue;
		}
		doing("uses the queue after a jump");
		change(j->lot.kq, 2, EVFILT_USER, 0, NOTE_TRIGGER, 0, j);
		expect(j->lot.kq, 2, EVFILT_USER, j, "after a jump");
		thing_put(&j->lot.thing, 1);
		expect(j->lot.kq, (uintptr_t)j->lot.thing.fd, EVFILT_READ,
		    &j->lot, "after a jump");
		CHECK(thing_drain(&j->lot.thing) == 1);
		expect_none(j->lot.kq);
		COUNT(T_JUMPED, 1);
	}
	atomic_store(&j->over, true);
	CHECK(pthread_join(kicker, NULL) == 0);
	jump = NULL;
	/* Other threads find the queue whole. */
	errno = pthread_create(&parked, NULL, parked_main, &j->lot);
	CHECK(errno == 0);
	change(j->lot.kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	CHECK(pthread_join(parked, &result) == 0);
	lot_close(&j->lot);
	free(j);
}
