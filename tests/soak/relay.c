/*
 * Relays: a player makes one event happen, and makes the next only when a
 * waiter has had this one. An event that is delivered twice finds nothing
 * outstanding; one that is lost is never acknowledged.
 */
#include "soak.h"

#include <sys/stat.h>

#define LANES 6
#define SIGNALS 12

enum what { USER, THING, TIMER, SIGNAL, VNODE, WHATS };

struct lane {
	enum what what;
	unsigned mode;
	struct arena *arena;
	struct watch *watch;
	sem_t *ready;
	struct thing thing;
	uintptr_t ident;
	/* What must come in, and has. Of all but signals 1 at most. */
	atomic_int outstanding;
	unsigned note, signal;
	/* Nothing has come since it was made: to arm it twice would allow for
	 * two events. */
	bool fresh;
};

/* For the one who looks what is stuck. */
static struct lane *_Atomic all_lanes[WATCHES];

/* The signals that handlers of ours have seen. */
static atomic_uint handled[SIGNALS];
static atomic_uint next_signal;

static int
signal_number(unsigned n)
{
	return SIGRTMIN + 2 + (int)n;
}

static void
on_signal(int number)
{
	atomic_fetch_add(&handled[number - signal_number(0)], 1);
}

void
relay_signals(void)
{
	unsigned i;
	for (i = 0; i < SIGNALS; i++) {
		struct sigaction sa = {.sa_flags = SA_RESTART};
		sa.sa_handler = i % 2 == 0 ? on_signal : SIG_IGN;
		CHECK(sigaction(signal_number(i), &sa, NULL) == 0);
	}
}

void
relay_block_signals(void)
{
	sigset_t set;
	unsigned i;
	sigemptyset(&set);
	for (i = 0; i < SIGNALS; i++)
		sigaddset(&set, signal_number(i));
	CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
}

void
relay_reset(void)
{
	atomic_store(&next_signal, 0);
}

void
relay_dump(void)
{
	static const char *const names[WHATS] = {"user", "thing", "timer",
	    "signal", "vnode"};
	unsigned i;
	for (i = 0; i < WATCHES; i++) {
		const struct lane *l = all_lanes[i];
		if (l == NULL || atomic_load(&l->outstanding) == 0)
			continue;
		fprintf(stderr, "  owed: %d of %s %s, ident %lu, arena %d, "
		    "mode 0x%x, watch %u generation %u\n",
		    atomic_load(&l->outstanding), names[l->what],
		    l->what == THING ? kind_names[l->thing.kind] : "",
		    (unsigned long)l->ident, l->arena->number, l->mode,
		    l->watch->number, l->watch->generation);
	}
}

static int
filter_of(const struct lane *l)
{
	static const int filters[WHATS] = {EVFILT_USER, EVFILT_READ,
	    EVFILT_TIMER, EVFILT_SIGNAL, EVFILT_VNODE};
	return filters[l->what];
}

/*
 * More than one event for one cause: only where the set of a queue that was made
 * anew reports again what is not yet read (BEHAVIOUR.md D20). That can be in any
 * round: a thread that is in a call on the file, and gets no processor, keeps it
 * open behind a close() for as long.
 */
static void
told_again(struct lane *l, const struct kevent *ev)
{
	if (!exact && l->what == THING && l->mode == EV_CLEAR) {
		COUNT(T_TOLD_AGAIN, 1);
		return;
	}
	FAIL("event delivered twice, or with nothing behind it: ident %lu "
	    "filter %d flags 0x%x fflags 0x%x data %ld %s, outstanding %d",
	    (unsigned long)ev->ident, ev->filter, ev->flags, ev->fflags,
	    (long)ev->data, l->what == THING ? kind_names[l->thing.kind] : "",
	    atomic_load(&l->outstanding));
}

static void
lane_event(struct watch *w, struct arena *a, const struct kevent *ev,
    uint64_t began)
{
	struct lane *l = w->more;
	int got = 1;
	(void)began;
	if (ev->filter != filter_of(l) || ev->ident != l->ident ||
	    a != l->arena || ev->flags & EV_EOF)
		FAIL("event of another: arena %d ident %lu filter %d flags "
		    "0x%x, not %d %lu %d", a->number, (unsigned long)ev->ident,
		    ev->filter, ev->flags, l->arena->number,
		    (unsigned long)l->ident, filter_of(l));
	if (l->what == THING) {
		size_t n = thing_drain(&l->thing);
		if (n == 0) {
			told_again(l, ev);
			return;
		}
		CHECK(n == 1);
	}
	if (l->what == SIGNAL || l->what == TIMER)
		got = (int)ev->data;
	if (l->what == VNODE && (ev->fflags & l->note) == 0)
		told_again(l, ev);
	got = atomic_fetch_sub(&l->outstanding, got) - got;
	if (got < 0)
		told_again(l, ev);
	if (got == 0) {
		COUNT(T_RELAYED, 1);
		CHECK(sem_post(l->ready) == 0);
	}
}

static unsigned
wanted(const struct lane *l)
{
	return l->what == VNODE ? NOTE_WRITE | NOTE_ATTRIB : 0;
}

/* Before the first event, and whatever the mode needs before the next. */
static void
arm(struct lane *l, bool anew)
{
	void *udata = watch_udata(l->watch);
	if (l->what == TIMER)
		change(l->arena->kq, l->ident, EVFILT_TIMER, EV_ADD |
		    EV_ONESHOT, NOTE_USECONDS, 50, udata);
	else if (anew || l->mode == EV_ONESHOT)
		change(l->arena->kq, l->ident, filter_of(l), EV_ADD | l->mode,
		    wanted(l), 0, udata);
	else if (l->mode & EV_DISPATCH)
		change(l->arena->kq, l->ident, filter_of(l), EV_ENABLE,
		    wanted(l), 0, udata);
}

static void
lane_open(struct lane *l, struct rng *r)
{
	l->ident = l->watch->number;
	switch (l->what) {
	case THING:
		l->thing = thing_open(r, below(r, KINDS));
		l->ident = (uintptr_t)l->thing.fd;
		break;
	case VNODE:
		l->thing = thing_open(r, FILE_);
		l->ident = (uintptr_t)l->thing.fd;
		break;
	case SIGNAL:
		l->ident = (uintptr_t)signal_number(l->signal);
		break;
	default:
		break;
	}
	watch_begin(l->watch);
	l->fresh = l->what != TIMER;
	if (l->fresh)
		arm(l, true);
}

/* The lock is held, nothing is outstanding. */
static void
lane_close(struct lane *l, struct rng *r)
{
	bool has_fd = l->what == THING || l->what == VNODE;
	enum ending how = has_fd && one_in(r, 2) ? CLOSED : DELETED;
	if (how == DELETED) {
		bool gone = l->what == TIMER || l->mode == EV_ONESHOT;
		change_or(l->arena->kq, l->ident, filter_of(l), EV_DELETE, 0,
		    0, NULL, gone ? ENOENT : 0);
	}
	if (has_fd) {
		CHECK(close(l->thing.fd) == 0);
		thing_close_peer(&l->thing);
	}
	watch_end(l->watch, how, "lane");
}

static void
cause(struct lane *l, int count)
{
	union sigval value = {.sival_int = 0};
	switch (l->what) {
	case USER:
		change(l->arena->kq, l->ident, EVFILT_USER, 0, NOTE_TRIGGER,
		    0, watch_udata(l->watch));
		break;
	case THING:
		CHECK(thing_put(&l->thing, 1) == 1);
		break;
	case SIGNAL:
		while (count-- > 0)
			while (sigqueue(getpid(), (int)l->ident, value) != 0) {
				CHECK(errno == EAGAIN);
				pause_ns(100000);
			}
		break;
	case VNODE:
		if (l->note == NOTE_WRITE)
			CHECK(thing_put(&l->thing, 1) == 1);
		else
			CHECK(fchmod(l->thing.peer, 0600) == 0);
		break;
	default:
		break;
	}
}

static void
lane_cause(struct lane *l, struct rng *r)
{
	/* A user event must exist before it is triggered, a file and a signal
	 * before they are heard. */
	bool arm_first = one_in(r, 2) || l->fresh ||
	    (l->mode == EV_ONESHOT && l->what != THING);
	int count = l->what == SIGNAL && l->mode == EV_CLEAR ?
	    1 + (int)below(r, 5) : 1;
	l->note = one_in(r, 2) ? NOTE_WRITE : NOTE_ATTRIB;
	if (atomic_exchange(&l->outstanding, count) != 0)
		FAIL("more events than causes: ident %lu filter %d",
		    (unsigned long)l->ident, filter_of(l));
	if (arm_first && !l->fresh)
		arm(l, false);
	l->fresh = false;
	cause(l, count);
	/* What is disabled with an event pending has it when enabled. */
	if (l->what == USER && l->mode != EV_ONESHOT && one_in(r, 4)) {
		change(l->arena->kq, l->ident, EVFILT_USER, EV_DISABLE, 0, 0,
		    watch_udata(l->watch));
		change(l->arena->kq, l->ident, EVFILT_USER, EV_ENABLE, 0, 0,
		    watch_udata(l->watch));
	} else if (!arm_first) {
		arm(l, false);
	}
}

void
relay_run(struct worker *me, void *unused)
{
	static const unsigned modes[] = {EV_CLEAR, EV_ONESHOT,
	    EV_DISPATCH | EV_CLEAR, EV_DISPATCH};
	struct lane *lanes = calloc(LANES, sizeof *lanes);
	struct rng *r = &me->rng;
	unsigned i, count = 1 + below(r, LANES), owed = 0;
	sem_t ready;
	(void)unused;
	CHECK(lanes != NULL);
	CHECK(sem_init(&ready, 0, 0) == 0);
	for (i = 0; i < count; i++) {
		struct lane *l = &lanes[i];
		l->what = below(r, WHATS);
		l->mode = modes[below(r, l->what == THING ? 4 : 3)];
		l->arena = &arenas[below(r, now.arenas)];
		l->watch = watch_new(lane_event, l);
		l->ready = &ready;
		all_lanes[l->watch->number] = l;
		/* Two lanes must not share a signal. */
		if (l->what == SIGNAL)
			l->signal = atomic_fetch_add(&next_signal, 1);
		if (l->what == SIGNAL && l->signal >= SIGNALS)
			l->what = USER;
		pthread_mutex_lock(&l->watch->lock);
		lane_open(l, r);
		pthread_mutex_unlock(&l->watch->lock);
	}
	while (!atomic_load(&now.stop)) {
		for (i = 0; i < count; i++) {
			struct lane *l = &lanes[i];
			if (atomic_load(&l->outstanding) != 0)
				continue;
			if (one_in(r, 40)) {
				doing("closes and opens a lane");
				pthread_mutex_lock(&l->watch->lock);
				lane_close(l, r);
				lane_open(l, r);
				pthread_mutex_unlock(&l->watch->lock);
			}
			doing("causes an event");
			lane_cause(l, r);
			owed++;
		}
		doing("waits for an event");
		while (owed > 0) {
			sem_take(&ready, "an event that was caused");
			owed--;
			if (sem_trywait(&ready) != 0)
				break;
			CHECK(sem_post(&ready) == 0);
		}
	}
	doing("waits for the last events");
	while (owed-- > 0)
		sem_take(&ready, "an event that was caused");
	for (i = 0; i < count; i++) {
		pthread_mutex_lock(&lanes[i].watch->lock);
		CHECK(atomic_load(&lanes[i].outstanding) == 0);
		lane_close(&lanes[i], r);
		all_lanes[lanes[i].watch->number] = NULL;
		pthread_mutex_unlock(&lanes[i].watch->lock);
	}
	CHECK(sem_destroy(&ready) == 0);
	free(lanes);
}

/* Timers that repeat: never early, so never more often than time allows. */

#define TIMERS 8

struct ticker {
	int64_t began, period;
	int64_t ticks;
	struct arena *arena;
	struct watch *watch;
};

static void
ticker_event(struct watch *w, struct arena *a, const struct kevent *ev,
    uint64_t began)
{
	struct ticker *t = w->more;
	(void)began;
	CHECK(a == t->arena && ev->filter == EVFILT_TIMER &&
	    ev->ident == w->number && ev->data > 0);
	t->ticks += ev->data;
	if (t->ticks * t->period > now_ns() - t->began)
		FAIL("a timer of %lld ns is early: %lld times in %lld ns",
		    (long long)t->period, (long long)t->ticks,
		    (long long)(now_ns() - t->began));
}

void
timers_run(struct worker *me, void *unused)
{
	struct ticker *tickers = calloc(TIMERS, sizeof *tickers);
	struct rng *r = &me->rng;
	unsigned i;
	(void)unused;
	CHECK(tickers != NULL);
	for (i = 0; i < TIMERS; i++) {
		tickers[i].arena = &arenas[below(r, now.arenas)];
		tickers[i].watch = watch_new(ticker_event, &tickers[i]);
	}
	while (!atomic_load(&now.stop)) {
		struct ticker *t = &tickers[below(r, TIMERS)];
		struct watch *w = t->watch;
		doing("changes a timer");
		pthread_mutex_lock(&w->lock);
		if (w->live) {
			change(t->arena->kq, w->number, EVFILT_TIMER,
			    EV_DELETE, 0, 0, NULL);
			watch_end(w, DELETED, "timer");
		} else {
			watch_begin(w);
			t->period = 100000 + below(r, 20000000);
			t->ticks = 0;
			t->began = now_ns();
			change(t->arena->kq, w->number, EVFILT_TIMER, EV_ADD |
			    (one_in(r, 2) ? EV_RECEIPT : 0), NOTE_NSECONDS,
			    (intptr_t)t->period, watch_udata(w));
		}
		pthread_mutex_unlock(&w->lock);
		pause_ns(below(r, 30000000));
	}
	for (i = 0; i < TIMERS; i++) {
		struct ticker *t = &tickers[i];
		doing("waits for a tick");
		if (t->watch->live)
			WAIT_FOR(t->ticks > 0, "a timer never came");
		pthread_mutex_lock(&t->watch->lock);
		if (t->watch->live) {
			change(t->arena->kq, t->watch->number, EVFILT_TIMER,
			    EV_DELETE, 0, 0, NULL);
			watch_end(t->watch, DELETED, "timer");
		}
		pthread_mutex_unlock(&t->watch->lock);
	}
	free(tickers);
}
