/*
 * Several threads in one queue. What goes in comes out, once: every event of
 * EV_CLEAR, EV_ONESHOT and EV_DISPATCH reaches exactly one waiter, and none is
 * slept through.
 */
#include "holder.h"

#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define WAITERS 4
#define LANES 4

/* The level event that tells every waiter to go home. */
#define STOP ((uintptr_t)0x570)

static void
stop_add(int kq)
{
	CHANGE(kq, STOP, EVFILT_USER, EV_ADD, 0, 0, NULL);
}

static void
stop_trigger(int kq)
{
	CHANGE(kq, STOP, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
}

/* Afterwards nothing may be left. */
static void
stop_delete(int kq)
{
	CHANGE(kq, STOP, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK(!readable(kq));
}

static void
start(pthread_t *t, void *(*run)(void *), void *arg)
{
	CHECK_EQ(pthread_create(t, NULL, run, arg), 0);
}

static void
join(pthread_t t)
{
	CHECK_EQ(pthread_join(t, NULL), 0);
}

static void
wait_semaphore(sem_t *s, const char *what)
{
	struct timespec ts;
	CHECK_EQ(clock_gettime(CLOCK_REALTIME, &ts), 0);
	ts.tv_sec += GENEROUS_MS / 1000;
	while (sem_timedwait(s, &ts) != 0)
		if (errno != EINTR)
			FAIL("lost: %s", what);
}

/*
 * Relay: a changer makes one event happen, and makes the next only when a
 * waiter has had this one. An event delivered twice, or to two, finds nothing
 * outstanding; an event slept through is never acknowledged.
 */
enum kind { USER, SOCKET, PIPE, TIMER };

struct lane {
	enum kind kind;
	unsigned mode;
	int kq;
	int fds[2];
	uintptr_t ident;
	int rounds;
	atomic_int outstanding;
	atomic_int delivered;
	sem_t ack;
	pthread_t thread;
};

static int
lane_filter(const struct lane *l)
{
	switch (l->kind) {
	case USER:
		return EVFILT_USER;
	case TIMER:
		return EVFILT_TIMER;
	default:
		return EVFILT_READ;
	}
}

static void
lane_open(struct lane *l, int kq, enum kind kind, unsigned mode, int number,
    int rounds)
{
	memset(l, 0, sizeof *l);
	l->kind = kind;
	l->mode = mode;
	l->kq = kq;
	l->rounds = rounds;
	l->ident = (uintptr_t)number;
	CHECK_EQ(sem_init(&l->ack, 0, 0), 0);
	if (kind == SOCKET || kind == PIPE) {
		if (kind == SOCKET)
			unix_pair(l->fds);
		else
			pipe_pair(l->fds);
		set_nonblocking(l->fds[0]);
		l->ident = (uintptr_t)l->fds[0];
	}
	if (kind != TIMER && mode != EV_ONESHOT)
		CHANGE(kq, l->ident, lane_filter(l), EV_ADD | mode, 0, 0, l);
}

static void
lane_close(struct lane *l)
{
	if (l->kind != TIMER && l->mode != EV_ONESHOT)
		CHANGE(l->kq, l->ident, lane_filter(l), EV_DELETE, 0, 0, NULL);
	else
		CHECK_FAILS(change(l->kq, l->ident, lane_filter(l), EV_DELETE,
		    0, 0, NULL), ENOENT);
	if (l->kind == SOCKET || l->kind == PIPE)
		close_pair(l->fds);
	CHECK_EQ(sem_destroy(&l->ack), 0);
}

/* The cause: a trigger, a byte, a moment. */
static void
lane_cause(struct lane *l)
{
	if (l->kind == USER)
		CHANGE(l->kq, l->ident, EVFILT_USER, 0, NOTE_TRIGGER, 0, l);
	else if (l->kind != TIMER)
		put(l->fds[1], 1);
}

/* What the mode needs for the next event to come through. */
static void
lane_arm(struct lane *l)
{
	if (l->kind == TIMER)
		CHANGE(l->kq, l->ident, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
		    NOTE_USECONDS, 50, l);
	else if (l->mode == EV_ONESHOT)
		CHANGE(l->kq, l->ident, lane_filter(l), EV_ADD | EV_ONESHOT, 0,
		    0, l);
	else if (l->mode & EV_DISPATCH)
		CHANGE(l->kq, l->ident, lane_filter(l), EV_ENABLE, 0, 0, l);
}

static void *
changer_main(void *arg)
{
	struct lane *l = arg;
	int i;
	for (i = 0; i < l->rounds; i++) {
		/* A user event must exist before it can be triggered. */
		bool arm_first = i % 2 == 0 ||
		    (l->kind == USER && l->mode == EV_ONESHOT);
		CHECK_EQ(atomic_exchange(&l->outstanding, 1), 0);
		if (arm_first)
			lane_arm(l);
		lane_cause(l);
		if (!arm_first)
			lane_arm(l);
		wait_semaphore(&l->ack, "an event");
	}
	return NULL;
}

static void *
waiter_main(void *arg)
{
	int kq = *(int *)arg, i, n;
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	struct kevent ev[3];
	for (;;) {
		bool stop = false;
		n = kevent(kq, NULL, 0, ev, 3, &ts);
		CHECK(n > 0);
		for (i = 0; i < n; i++) {
			struct lane *l = ev[i].udata;
			char byte;
			if (ev[i].filter == EVFILT_USER &&
			    ev[i].ident == STOP) {
				stop = true;
				continue;
			}
			CHECK_EQ(ev[i].filter, lane_filter(l));
			CHECK_EQ(ev[i].ident, l->ident);
			CHECK_EQ(ev[i].flags & (EV_ERROR | EV_EOF), 0);
			if (l->kind == SOCKET || l->kind == PIPE) {
				CHECK_EQ(ev[i].data, 1);
				CHECK_EQ(read(l->fds[0], &byte, 1), 1);
			}
			if (atomic_exchange(&l->outstanding, 0) != 1)
				FAIL("event of ident %lu delivered twice",
				    (unsigned long)l->ident);
			atomic_fetch_add(&l->delivered, 1);
			CHECK_EQ(sem_post(&l->ack), 0);
		}
		if (stop)
			return NULL;
	}
}

static void
relay(enum kind kind, unsigned mode, int rounds)
{
	static struct lane lanes[LANES];
	pthread_t waiters[WAITERS];
	int i, kq = new_queue();
	stop_add(kq);
	for (i = 0; i < LANES; i++)
		lane_open(&lanes[i], kq, kind, mode, i, rounds);
	for (i = 0; i < WAITERS; i++)
		start(&waiters[i], waiter_main, &kq);
	for (i = 0; i < LANES; i++)
		start(&lanes[i].thread, changer_main, &lanes[i]);
	for (i = 0; i < LANES; i++)
		join(lanes[i].thread);
	stop_trigger(kq);
	for (i = 0; i < WAITERS; i++)
		join(waiters[i]);
	for (i = 0; i < LANES; i++) {
		CHECK_EQ(lanes[i].delivered, rounds);
		CHECK_EQ(lanes[i].outstanding, 0);
	}
	stop_delete(kq);
	for (i = 0; i < LANES; i++)
		lane_close(&lanes[i]);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(user_clear_comes_once_for_each_trigger)
{
	relay(USER, EV_CLEAR, 3000);
}

TEST(user_oneshot_comes_once_for_each_registration)
{
	relay(USER, EV_ONESHOT, 3000);
}

TEST(user_dispatch_comes_once_for_each_enable)
{
	relay(USER, EV_DISPATCH | EV_CLEAR, 3000);
}

TEST(socket_clear_comes_once_for_each_byte)
{
	relay(SOCKET, EV_CLEAR, 3000);
}

TEST(socket_oneshot_comes_once_for_each_registration)
{
	relay(SOCKET, EV_ONESHOT, 3000);
}

TEST(socket_dispatch_comes_once_for_each_enable)
{
	relay(SOCKET, EV_DISPATCH, 3000);
}

TEST(pipe_clear_comes_once_for_each_byte)
{
	relay(PIPE, EV_CLEAR, 3000);
}

TEST(pipe_dispatch_comes_once_for_each_enable)
{
	relay(PIPE, EV_DISPATCH, 3000);
}

TEST(timer_oneshot_comes_once_for_each_registration)
{
	relay(TIMER, EV_ONESHOT, 1000);
}

/*
 * Flood: writers do not wait for anybody. Every waiter empties what it is
 * told of; when the writers are done, all they wrote must have come out.
 */
#define FLOOD_WRITES 10000

struct flood {
	int kq;
	unsigned mode;
	int fds[LANES][2];
	atomic_int busy[LANES];
	atomic_long in, out;
	atomic_bool writers_done;
};

struct flood_part {
	struct flood *f;
	int lane;
};

static void *
flood_writer(void *arg)
{
	struct flood_part *p = arg;
	int i;
	for (i = 0; i < FLOOD_WRITES; i++) {
		size_t n = (size_t)(1 + i % 16);
		put(p->f->fds[p->lane][1], n);
		atomic_fetch_add(&p->f->in, (long)n);
		/* Now and then let the readers run dry and fall asleep. */
		if (i % 500 == 0)
			pause_briefly();
	}
	return NULL;
}

static void
flood_empty(struct flood *f, int fd, bool once)
{
	char buf[64];
	ssize_t n;
	do {
		n = read(fd, buf, sizeof buf);
		CHECK(n > 0 || (n < 0 && errno == EAGAIN));
		if (n > 0)
			atomic_fetch_add(&f->out, n);
	} while (n > 0 && !once);
}

static void *
flood_waiter(void *arg)
{
	struct flood *f = arg;
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	struct kevent ev[3];
	int i, n;
	for (;;) {
		bool stop = false;
		n = kevent(f->kq, NULL, 0, ev, 3, &ts);
		CHECK(n > 0);
		for (i = 0; i < n; i++) {
			atomic_int *busy = ev[i].udata;
			if (ev[i].filter == EVFILT_USER) {
				stop = true;
				continue;
			}
			CHECK_EQ(ev[i].filter, EVFILT_READ);
			if (f->mode == EV_DISPATCH || f->mode == EV_ONESHOT) {
				/* Nobody else may have it at this time. */
				CHECK_EQ(atomic_exchange(busy, 1), 0);
				flood_empty(f, (int)ev[i].ident, true);
				CHECK_EQ(atomic_exchange(busy, 0), 1);
				CHANGE(f->kq, ev[i].ident, EVFILT_READ,
				    f->mode == EV_ONESHOT ? EV_ADD | EV_ONESHOT
				    : EV_ENABLE, 0, 0, busy);
			} else
				flood_empty(f, (int)ev[i].ident,
				    f->mode == 0);
		}
		if (stop)
			return NULL;
	}
}

/* Turns its descriptor's knote off and on, deletes it and adds it again. */
static void *
flood_changer(void *arg)
{
	struct flood_part *p = arg;
	struct flood *f = p->f;
	uintptr_t fd = (uintptr_t)f->fds[p->lane][0];
	while (!atomic_load(&f->writers_done)) {
		CHANGE(f->kq, fd, EVFILT_READ, EV_DISABLE, 0, 0,
		    &f->busy[p->lane]);
		sched_yield();
		CHANGE(f->kq, fd, EVFILT_READ, EV_ENABLE, 0, 0,
		    &f->busy[p->lane]);
		CHANGE(f->kq, fd, EVFILT_READ, EV_DELETE, 0, 0, NULL);
		sched_yield();
		CHANGE(f->kq, fd, EVFILT_READ, EV_ADD | f->mode, 0, 0,
		    &f->busy[p->lane]);
		CHANGE(f->kq, fd, EVFILT_READ, EV_ADD | f->mode, 0, 0,
		    &f->busy[p->lane]);
		pause_briefly();
	}
	return NULL;
}

static void
flood(pair_fn make, unsigned mode, bool with_changers)
{
	static struct flood f;
	struct flood_part parts[LANES];
	pthread_t writers[LANES], waiters[WAITERS], changers[LANES];
	int i;
	memset(&f, 0, sizeof f);
	f.kq = new_queue();
	f.mode = mode;
	stop_add(f.kq);
	for (i = 0; i < LANES; i++) {
		make(f.fds[i]);
		set_nonblocking(f.fds[i][0]);
		parts[i] = (struct flood_part){&f, i};
		CHANGE(f.kq, (uintptr_t)f.fds[i][0], EVFILT_READ, EV_ADD | mode,
		    0, 0, &f.busy[i]);
	}
	for (i = 0; i < WAITERS; i++)
		start(&waiters[i], flood_waiter, &f);
	for (i = 0; i < LANES; i++) {
		start(&writers[i], flood_writer, &parts[i]);
		if (with_changers)
			start(&changers[i], flood_changer, &parts[i]);
	}
	for (i = 0; i < LANES; i++)
		join(writers[i]);
	atomic_store(&f.writers_done, true);
	if (with_changers)
		for (i = 0; i < LANES; i++)
			join(changers[i]);
	WAIT_FOR(atomic_load(&f.out) == atomic_load(&f.in));
	stop_trigger(f.kq);
	for (i = 0; i < WAITERS; i++)
		join(waiters[i]);
	stop_delete(f.kq);
	CHECK_EQ(f.out, f.in);
	for (i = 0; i < LANES; i++)
		close_pair(f.fds[i]);
	CHECK_EQ(close(f.kq), 0);
}

TEST(flood_level_loses_no_byte)
{
	flood(unix_pair, 0, false);
}

TEST(flood_clear_loses_no_byte)
{
	flood(unix_pair, EV_CLEAR, false);
}

TEST(flood_clear_on_tcp_loses_no_byte)
{
	flood(tcp_pair, EV_CLEAR, false);
}

TEST(flood_clear_on_pipes_loses_no_byte)
{
	flood(pipe_pair, EV_CLEAR, false);
}

TEST(flood_dispatch_has_one_owner_at_a_time)
{
	flood(unix_pair, EV_DISPATCH, false);
}

TEST(flood_oneshot_has_one_owner_at_a_time)
{
	flood(unix_pair, EV_ONESHOT, false);
}

TEST(flood_level_under_changes_loses_no_byte)
{
	flood(unix_pair, 0, true);
}

TEST(flood_clear_under_changes_loses_no_byte)
{
	flood(unix_pair, EV_CLEAR, true);
}

/* Sleepers: each takes one event and goes. */
#define SLEEPERS 6

struct crowd {
	struct sleeper s[SLEEPERS];
};

static void
crowd_sleeps(struct crowd *c, int kq)
{
	int i;
	for (i = 0; i < SLEEPERS; i++)
		sleeper_start(&c->s[i], kq);
}

/* How many of the crowd got an event of this filter and ident. */
static int
crowd_leaves(struct crowd *c, int filter, uintptr_t ident)
{
	int i, n = 0;
	for (i = 0; i < SLEEPERS; i++) {
		struct kevent k = sleeper_join(&c->s[i]);
		n += k.filter == filter && k.ident == ident;
	}
	return n;
}

/* The first of the crowd to have left, already joined, or -1. */
static int
crowd_first(struct crowd *c)
{
	int i;
	for (i = 0; i < SLEEPERS; i++)
		if (pthread_tryjoin_np(c->s[i].thread, NULL) == 0)
			return i;
	return -1;
}

/* As many events as sleepers: all leave, each with another one. */
static void
every_sleeper_gets_one(enum kind kind, bool in_one_call)
{
	struct kevent ch[SLEEPERS];
	static struct crowd c;
	int fds[SLEEPERS][2], i, kq = new_queue();
	bool seen[SLEEPERS] = {false};
	for (i = 0; i < SLEEPERS; i++) {
		if (kind == SOCKET) {
			unix_pair(fds[i]);
			CHANGE(kq, (uintptr_t)fds[i][0], EVFILT_READ,
			    EV_ADD | EV_CLEAR, 0, 0, UDATA(i));
		} else if (kind == USER)
			CHANGE(kq, (uintptr_t)i, EVFILT_USER,
			    EV_ADD | EV_CLEAR, 0, 0, UDATA(i));
	}
	crowd_sleeps(&c, kq);
	for (i = 0; i < SLEEPERS; i++) {
		if (kind == SOCKET) {
			put(fds[i][1], 1);
			continue;
		}
		if (kind == USER)
			ch[i] = kev((uintptr_t)i, EVFILT_USER, 0, NOTE_TRIGGER,
			    0, UDATA(i));
		else
			ch[i] = kev((uintptr_t)i, EVFILT_TIMER,
			    EV_ADD | EV_ONESHOT, 0, 1 + i / 2, UDATA(i));
		if (!in_one_call)
			CHECK_EQ(kevent(kq, &ch[i], 1, NULL, 0, NULL), 0);
	}
	if (in_one_call)
		CHECK_EQ(kevent(kq, ch, SLEEPERS, NULL, 0, NULL), 0);
	for (i = 0; i < SLEEPERS; i++) {
		struct kevent k = sleeper_join(&c.s[i]);
		size_t which = (size_t)(uintptr_t)k.udata;
		CHECK(which < SLEEPERS);
		CHECK(!seen[which]);
		seen[which] = true;
	}
	expect_none(kq);
	CHECK(!readable(kq));
	for (i = 0; i < SLEEPERS && kind == SOCKET; i++)
		close_pair(fds[i]);
	CHECK_EQ(close(kq), 0);
}

TEST(every_sleeper_gets_a_user_event)
{
	every_sleeper_gets_one(USER, false);
}

TEST(every_sleeper_gets_a_user_event_of_one_call)
{
	every_sleeper_gets_one(USER, true);
}

TEST(every_sleeper_gets_a_socket_event)
{
	every_sleeper_gets_one(SOCKET, false);
}

TEST(every_sleeper_gets_a_timer_event)
{
	every_sleeper_gets_one(TIMER, false);
}

TEST(every_sleeper_gets_a_timer_event_of_one_call)
{
	every_sleeper_gets_one(TIMER, true);
}

/* One event: one sleeper leaves with it, the others sleep on. */
static void
one_sleeper_gets_it(enum kind kind, unsigned mode)
{
	static struct crowd c;
	uintptr_t ident = 1;
	int fds[2] = {-1, -1}, filter = EVFILT_USER, round;
	for (round = 0; round < 20; round++) {
		int i, first, kq = new_queue();
		stop_add(kq);
		if (kind == SOCKET) {
			unix_pair(fds);
			ident = (uintptr_t)fds[0];
			filter = EVFILT_READ;
		} else if (kind == TIMER)
			filter = EVFILT_TIMER;
		if (kind != TIMER)
			CHANGE(kq, ident, filter, EV_ADD | mode, 0, 0, NULL);
		crowd_sleeps(&c, kq);
		if (kind == SOCKET)
			put(fds[1], 1);
		else if (kind == USER)
			CHANGE(kq, ident, filter, 0, NOTE_TRIGGER, 0, NULL);
		else
			CHANGE(kq, ident, filter, EV_ADD | mode, 0, 1, NULL);
		/* Somebody has it: from here on nobody else may get it. */
		WAIT_FOR((first = crowd_first(&c)) >= 0);
		CHECK_EQ(c.s[first].result, 1);
		CHECK_EQ(c.s[first].event.filter, filter);
		CHECK_EQ(c.s[first].event.ident, ident);
		stop_trigger(kq);
		for (i = 0; i < SLEEPERS; i++) {
			struct kevent k;
			if (i == first)
				continue;
			k = sleeper_join(&c.s[i]);
			CHECK_EQ(k.filter, EVFILT_USER);
			CHECK_EQ(k.ident, STOP);
		}
		stop_delete(kq);
		if (kind == SOCKET)
			close_pair(fds);
		CHECK_EQ(close(kq), 0);
	}
}

TEST(one_sleeper_gets_a_user_event_with_clear)
{
	one_sleeper_gets_it(USER, EV_CLEAR);
}

TEST(one_sleeper_gets_a_user_event_with_oneshot)
{
	one_sleeper_gets_it(USER, EV_ONESHOT);
}

TEST(one_sleeper_gets_a_user_event_with_dispatch)
{
	one_sleeper_gets_it(USER, EV_DISPATCH);
}

TEST(one_sleeper_gets_a_socket_event_with_clear)
{
	one_sleeper_gets_it(SOCKET, EV_CLEAR);
}

TEST(one_sleeper_gets_a_socket_event_with_oneshot)
{
	one_sleeper_gets_it(SOCKET, EV_ONESHOT);
}

TEST(one_sleeper_gets_a_socket_event_with_dispatch)
{
	one_sleeper_gets_it(SOCKET, EV_DISPATCH);
}

TEST(one_sleeper_gets_a_timer_event)
{
	one_sleeper_gets_it(TIMER, EV_ONESHOT);
}

TEST(level_event_reaches_every_sleeper)
{
	static struct crowd c;
	int kq = new_queue();
	stop_add(kq);
	crowd_sleeps(&c, kq);
	stop_trigger(kq);
	CHECK_EQ(crowd_leaves(&c, EVFILT_USER, STOP), SLEEPERS);
	stop_delete(kq);
	CHECK_EQ(close(kq), 0);
}

/* Changes made while another thread sleeps in the queue */

TEST(sleeper_is_woken_by_adding_what_is_ready)
{
	struct sleeper s;
	int fds[2], kq = new_queue(), fd = nameless_file(5);
	unix_pair(fds);
	put(fds[1], 2);
	sleeper_start(&s, kq);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD | EV_ONESHOT, 0, 0,
	    UDATA(1));
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fds[0], EVFILT_READ,
	    EV_ADD | EV_ONESHOT, 0, 2, UDATA(1));
	sleeper_start(&s, kq);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD | EV_ONESHOT, 0, 0,
	    UDATA(2));
	CHECK_EQ(sleeper_join(&s).filter, EVFILT_WRITE);
	sleeper_start(&s, kq);
	CHANGE(kq, (uintptr_t)fd, EVFILT_READ, EV_ADD | EV_ONESHOT, 0, 0,
	    UDATA(3));
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fd, EVFILT_READ,
	    EV_ADD | EV_ONESHOT, 0, 5, UDATA(3));
	expect_none(kq);
	close_pair(fds);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(sleeper_is_woken_by_enabling_what_is_ready)
{
	struct sleeper s;
	int fds[2], kq = new_queue();
	unix_pair(fds);
	put(fds[1], 2);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD | EV_DISABLE, 0, 0,
	    UDATA(1));
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_DISABLE | EV_CLEAR, 0, 0,
	    UDATA(1));
	CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, UDATA(1));
	sleeper_start(&s, kq);
	CHANGE(kq, 1, EVFILT_USER, EV_ENABLE, 0, 0, UDATA(1));
	CHECK_KEV(sleeper_join(&s), 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0,
	    UDATA(1));
	sleeper_start(&s, kq);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ENABLE, 0, 0, UDATA(1));
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0,
	    2, UDATA(1));
	take(fds[0], 2);
	expect_none(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(sleeper_is_woken_by_a_lower_mark)
{
	struct sleeper s;
	int fds[2], kq = new_queue();
	unix_pair(fds);
	put(fds[1], 5);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, NOTE_LOWAT, 10,
	    NULL);
	expect_none(kq);
	sleeper_start(&s, kq);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, NOTE_LOWAT, 5, NULL);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0,
	    5, NULL);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(sleeper_is_woken_by_a_new_earliest_timer)
{
	struct sleeper s;
	int64_t start_ns;
	int i, kq = new_queue();
	for (i = 0; i < 3; i++) {
		/* First there is none, then a far one, then a nearer one. */
		sleeper_start(&s, kq);
		start_ns = now_ns();
		CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 10, NULL);
		CHECK_EQ(sleeper_join(&s).ident, 1);
		CHECK(now_ns() - start_ns >= 10000000);
		CHANGE(kq, (uintptr_t)(10 + i), EVFILT_TIMER, EV_ADD, 0,
		    1000000 - 100000 * i, NULL);
	}
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(sleeper_is_not_kept_by_a_deleted_timer)
{
	struct sleeper s;
	int kq = new_queue();
	/* Late enough for the sleeper to be asleep before. */
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1000, NULL);
	CHANGE(kq, 2, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1200, NULL);
	sleeper_start(&s, kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	CHECK_EQ(sleeper_join(&s).ident, 2);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* Timers shared by several waiters */

#define TIMERS 500

struct clockwork {
	int kq;
	atomic_int fired[TIMERS];
	atomic_int total;
	atomic_long periods;
};

static void *
clock_waiter(void *arg)
{
	struct clockwork *c = arg;
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	struct kevent ev[4];
	int i, n;
	for (;;) {
		bool stop = false;
		n = kevent(c->kq, NULL, 0, ev, 4, &ts);
		CHECK(n > 0);
		for (i = 0; i < n; i++) {
			if (ev[i].filter == EVFILT_USER) {
				stop = true;
				continue;
			}
			CHECK_EQ(ev[i].filter, EVFILT_TIMER);
			if (ev[i].ident == TIMERS) {
				CHECK(ev[i].data >= 1);
				atomic_fetch_add(&c->periods, ev[i].data);
				continue;
			}
			CHECK(ev[i].ident < TIMERS);
			CHECK_EQ(ev[i].data, 1);
			CHECK_EQ(atomic_fetch_add(&c->fired[ev[i].ident], 1),
			    0);
			atomic_fetch_add(&c->total, 1);
		}
		if (stop)
			return NULL;
	}
}

TEST(timers_fire_once_each_among_several_waiters)
{
	static struct clockwork c;
	pthread_t waiters[WAITERS];
	int i;
	memset(&c, 0, sizeof c);
	c.kq = new_queue();
	stop_add(c.kq);
	for (i = 0; i < WAITERS; i++)
		start(&waiters[i], clock_waiter, &c);
	for (i = 0; i < TIMERS; i++)
		CHANGE(c.kq, (uintptr_t)i, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
		    NOTE_USECONDS, (i * 7919) % 20000, NULL);
	WAIT_FOR(atomic_load(&c.total) >= TIMERS);
	stop_trigger(c.kq);
	for (i = 0; i < WAITERS; i++)
		join(waiters[i]);
	CHECK_EQ(c.total, TIMERS);
	stop_delete(c.kq);
	CHECK_EQ(close(c.kq), 0);
}

/* The periods that passed are shared out among the waiters, each once. */
TEST(timer_periods_add_up_among_several_waiters)
{
	static struct clockwork c;
	pthread_t waiters[WAITERS];
	int64_t start_ns;
	int i;
	memset(&c, 0, sizeof c);
	c.kq = new_queue();
	stop_add(c.kq);
	for (i = 0; i < WAITERS; i++)
		start(&waiters[i], clock_waiter, &c);
	start_ns = now_ns();
	CHANGE(c.kq, TIMERS, EVFILT_TIMER, EV_ADD, 0, 1, NULL);
	while (atomic_load(&c.periods) < 300) {
		long seen = atomic_load(&c.periods);
		CHECK(seen <= (now_ns() - start_ns) / 1000000);
		CHECK(now_ns() - start_ns < GENEROUS_MS * 1000000LL);
		pause_briefly();
	}
	stop_trigger(c.kq);
	for (i = 0; i < WAITERS; i++)
		join(waiters[i]);
	CHECK(c.periods <= (now_ns() - start_ns) / 1000000);
	CHANGE(c.kq, TIMERS, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	stop_delete(c.kq);
	CHECK_EQ(close(c.kq), 0);
}

/* Two threads, a queue each, that wake one another in turn */

struct player {
	int own, other;
	int rounds;
	bool serves;
};

static void *
player_main(void *arg)
{
	struct player *p = arg;
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	struct kevent hit, k;
	int i;
	hit = kev(1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	if (p->serves)
		CHECK_EQ(kevent(p->other, &hit, 1, NULL, 0, NULL), 0);
	for (i = 0; i < p->rounds; i++) {
		CHECK_EQ(kevent(p->own, NULL, 0, &k, 1, &ts), 1);
		CHECK_EQ(k.filter, EVFILT_USER);
		if (!p->serves || i < p->rounds - 1)
			CHECK_EQ(kevent(p->other, &hit, 1, NULL, 0, NULL), 0);
	}
	return NULL;
}

TEST(two_queues_wake_each_other_without_loss)
{
	int a = new_queue(), b = new_queue();
	struct player one = {a, b, 20000, true}, two = {b, a, 20000, false};
	pthread_t t1, t2;
	CHANGE(a, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHANGE(b, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	start(&t1, player_main, &one);
	start(&t2, player_main, &two);
	join(t1);
	join(t2);
	expect_none(a);
	expect_none(b);
	CHECK_EQ(close(a), 0);
	CHECK_EQ(close(b), 0);
}

/* Triggers from many threads at once merge, but the last one is never lost. */
struct storm {
	int kq;
	atomic_long sent, seen;
	atomic_bool done;
};

static void *
storm_sender(void *arg)
{
	struct storm *s = arg;
	int i;
	for (i = 0; i < 20000; i++) {
		atomic_fetch_add(&s->sent, 1);
		CHANGE(s->kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	}
	return NULL;
}

static void *
storm_waiter(void *arg)
{
	struct storm *s = arg;
	struct kevent k;
	for (;;) {
		long now, old;
		/* Without a limit: the others may get everything for long. */
		CHECK_EQ(kevent(s->kq, NULL, 0, &k, 1, NULL), 1);
		if (k.ident == STOP)
			return NULL;
		/* All that was sent before this event has been told by it. */
		now = atomic_load(&s->sent);
		old = atomic_load(&s->seen);
		while (old < now &&
		    !atomic_compare_exchange_weak(&s->seen, &old, now))
			;
	}
}

TEST(storm_of_triggers_never_loses_the_last)
{
	static struct storm s;
	pthread_t senders[LANES], waiters[WAITERS];
	int i;
	memset(&s, 0, sizeof s);
	s.kq = new_queue();
	stop_add(s.kq);
	CHANGE(s.kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	for (i = 0; i < WAITERS; i++)
		start(&waiters[i], storm_waiter, &s);
	for (i = 0; i < LANES; i++)
		start(&senders[i], storm_sender, &s);
	for (i = 0; i < LANES; i++)
		join(senders[i]);
	WAIT_FOR(atomic_load(&s.seen) == atomic_load(&s.sent));
	stop_trigger(s.kq);
	for (i = 0; i < WAITERS; i++)
		join(waiters[i]);
	/* A trigger that came after its number was counted may be left. */
	CHANGE(s.kq, 1, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	stop_delete(s.kq);
	CHECK_EQ(close(s.kq), 0);
}

/* Many queues at once: numbers are handed around between the threads. */
static void *
housekeeper_main(void *arg)
{
	int i;
	(void)arg;
	for (i = 0; i < 1500; i++) {
		int fds[2], kq = new_queue();
		pipe_pair(fds);
		CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0,
		    0, UDATA(i));
		CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, UDATA(i));
		expect_none(kq);
		put(fds[1], 3);
		EXPECT(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD | EV_CLEAR,
		    0, 3, UDATA(i));
		CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, UDATA(i));
		EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, UDATA(i));
		expect_none(kq);
		if (i % 2 == 0)
			close_pair(fds);
		CHECK_EQ(close(kq), 0);
		if (i % 2 != 0)
			close_pair(fds);
	}
	return NULL;
}

TEST(queues_made_and_closed_by_many_threads_do_not_mix)
{
	pthread_t t[WAITERS];
	int i;
	for (i = 0; i < WAITERS; i++)
		start(&t[i], housekeeper_main, NULL);
	for (i = 0; i < WAITERS; i++)
		join(t[i]);
}

/* Threads that fight over one knote: every answer is one of the two. */
struct fight {
	int kq;
	uintptr_t fd;
};

static void *
fighter_main(void *arg)
{
	static const unsigned moves[] = {EV_ADD, EV_DISABLE, EV_ENABLE,
	    EV_DELETE, EV_ADD | EV_DISABLE, EV_DELETE};
	struct fight *f = arg;
	int i;
	for (i = 0; i < 6000; i++) {
		unsigned move = moves[(unsigned)i % 6];
		errno = 0;
		if (change(f->kq, f->fd, i % 4 < 2 ? EVFILT_READ :
		    EVFILT_WRITE, move, 0, 0, NULL) == 0)
			continue;
		CHECK_EQ(errno, ENOENT);
		CHECK((move & EV_ADD) == 0);
	}
	return NULL;
}

static void *
spectator_main(void *arg)
{
	struct fight *f = arg;
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	struct kevent ev[4];
	int i, n;
	for (;;) {
		n = kevent(f->kq, NULL, 0, ev, 4, &ts);
		CHECK(n > 0);
		for (i = 0; i < n; i++) {
			if (ev[i].filter == EVFILT_USER)
				return NULL;
			CHECK_EQ(ev[i].ident, f->fd);
			CHECK_EQ(ev[i].flags, EV_ADD);
			if (ev[i].filter == EVFILT_READ)
				CHECK_EQ(ev[i].data, 3);
		}
	}
}

TEST(changers_of_one_knote_leave_it_whole)
{
	static struct fight f;
	pthread_t fighters[LANES], spectator;
	struct kevent ev[4];
	int fds[2], i;
	memset(&f, 0, sizeof f);
	unix_pair(fds);
	put(fds[1], 3);
	f.kq = new_queue();
	f.fd = (uintptr_t)fds[0];
	stop_add(f.kq);
	start(&spectator, spectator_main, &f);
	for (i = 0; i < LANES; i++)
		start(&fighters[i], fighter_main, &f);
	for (i = 0; i < LANES; i++)
		join(fighters[i]);
	stop_trigger(f.kq);
	join(spectator);
	CHANGE(f.kq, STOP, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	CHANGE(f.kq, f.fd, EVFILT_READ, EV_ADD | EV_ENABLE, 0, 0, NULL);
	CHANGE(f.kq, f.fd, EVFILT_WRITE, EV_ADD | EV_ENABLE, 0, 0, NULL);
	CHECK_EQ(kevent(f.kq, NULL, 0, ev, 4, &no_wait), 2);
	CHECK(ev[0].filter != ev[1].filter);
	CHANGE(f.kq, f.fd, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	CHANGE(f.kq, f.fd, EVFILT_WRITE, EV_DELETE, 0, 0, NULL);
	expect_none(f.kq);
	close_pair(fds);
	CHECK_EQ(close(f.kq), 0);
}

/* Changes and waiting in one call, from several threads at once. */
static void *
mixed_main(void *arg)
{
	struct lane *l = arg;
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	int i;
	for (i = 0; i < l->rounds; i++) {
		struct kevent ch[2], k;
		struct lane *got;
		/* Every call puts one event in and takes one out: any one. */
		ch[0] = kev(l->ident + (uintptr_t)i * LANES, EVFILT_USER,
		    EV_ADD | EV_ONESHOT, 0, 0, l);
		ch[1] = kev(ch[0].ident, EVFILT_USER, 0, NOTE_TRIGGER, 0, l);
		CHECK_EQ(kevent(l->kq, ch, 2, &k, 1, &ts), 1);
		CHECK_EQ(k.filter, EVFILT_USER);
		got = k.udata;
		CHECK_EQ(k.ident % LANES, got->ident);
		atomic_fetch_add(&got->delivered, 1);
	}
	return NULL;
}

TEST(calls_that_change_and_wait_take_out_what_was_put_in)
{
	static struct lane lanes[LANES];
	int i, kq = new_queue();
	for (i = 0; i < LANES; i++) {
		memset(&lanes[i], 0, sizeof lanes[i]);
		lanes[i].kq = kq;
		lanes[i].ident = (uintptr_t)i;
		lanes[i].rounds = 3000;
		start(&lanes[i].thread, mixed_main, &lanes[i]);
	}
	for (i = 0; i < LANES; i++)
		join(lanes[i].thread);
	for (i = 0; i < LANES; i++)
		CHECK_EQ(lanes[i].delivered, 3000);
	expect_none(kq);
	CHECK(!readable(kq));
	CHECK_EQ(close(kq), 0);
}

/*
 * Each thread knows the queue by a number of its own, which it makes, uses and
 * closes all the time: one queue, and each event comes once.
 */
static void *
dup_main(void *arg)
{
	struct lane *l = arg;
	int i;
	for (i = 0; i < l->rounds; i++) {
		int own = fcntl(l->kq, F_DUPFD_CLOEXEC, 0);
		struct kevent k;
		struct lane *got;
		CHECK(own >= 0);
		CHECK_EQ(kevent(own, NULL, 0, NULL, 0, NULL), 0);
		CHANGE(own, l->ident + (uintptr_t)i * LANES, EVFILT_USER,
		    EV_ADD | EV_ONESHOT, 0, 0, l);
		CHANGE(own, l->ident + (uintptr_t)i * LANES, EVFILT_USER, 0,
		    NOTE_TRIGGER, 0, l);
		k = next_event(own);
		CHECK_EQ(k.filter, EVFILT_USER);
		got = k.udata;
		CHECK_EQ(k.ident % LANES, got->ident);
		atomic_fetch_add(&got->delivered, 1);
		CHECK_EQ(close(own), 0);
	}
	return NULL;
}

TEST(dups_of_one_queue_made_and_closed_by_many_threads_lose_nothing)
{
	static struct lane lanes[LANES];
	int i, kq = new_queue();
	for (i = 0; i < LANES; i++) {
		memset(&lanes[i], 0, sizeof lanes[i]);
		lanes[i].kq = kq;
		lanes[i].ident = (uintptr_t)i;
		lanes[i].rounds = 1000;
		start(&lanes[i].thread, dup_main, &lanes[i]);
	}
	for (i = 0; i < LANES; i++)
		join(lanes[i].thread);
	for (i = 0; i < LANES; i++)
		CHECK_EQ(lanes[i].delivered, 1000);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* The same for queues of one's own, whose numbers the others get next. */
static void *
own_dups_main(void *arg)
{
	int i;
	(void)arg;
	for (i = 0; i < 600; i++) {
		int kqs[3], count, fds[2], at;
		kqs[0] = new_queue();
		pipe_pair(fds);
		CHANGE(kqs[0], (uintptr_t)fds[0], EVFILT_READ,
		    EV_ADD | EV_CLEAR, 0, 0, kqs);
		CHANGE(kqs[0], 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, kqs);
		for (count = 1; count < 3; count++) {
			kqs[count] = fcntl(kqs[0], F_DUPFD_CLOEXEC, 0);
			CHECK(kqs[count] >= 0);
			CHECK_EQ(kevent(kqs[count], NULL, 0, NULL, 0, NULL),
			    0);
		}
		for (; count > 0; count--) {
			at = i % count;
			put(fds[1], 1);
			EXPECT(kqs[at], (uintptr_t)fds[0], EVFILT_READ,
			    EV_ADD | EV_CLEAR, 0, 1, kqs);
			take(fds[0], 1);
			CHANGE(kqs[at], 1, EVFILT_USER, 0, NOTE_TRIGGER, 0,
			    kqs);
			EXPECT(kqs[0], 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0,
			    0, kqs);
			expect_none(kqs[0]);
			CHECK_EQ(close(kqs[at]), 0);
			kqs[at] = kqs[count - 1];
		}
		close_pair(fds);
	}
	return NULL;
}

TEST(dups_of_many_queues_closed_one_by_one_do_not_mix)
{
	pthread_t t[WAITERS];
	int i;
	for (i = 0; i < WAITERS; i++)
		start(&t[i], own_dups_main, NULL);
	for (i = 0; i < WAITERS; i++)
		join(t[i]);
}

/* Fairness: what stays ready takes turns, however many threads come for it. */

#define READY 12
#define TURNS 1200

struct turns {
	int kq;
	atomic_uint told[READY];
};

static void *
turns_main(void *arg)
{
	struct turns *t = arg;
	int i;
	for (i = 0; i < TURNS; i++)
		atomic_fetch_add(&t->told[(uintptr_t)next_event(t->kq).udata],
		    1);
	return NULL;
}

TEST(level_events_take_turns_among_several_threads)
{
	static struct turns t;
	pthread_t threads[WAITERS];
	int fds[READY / 2][2], i;
	memset(&t, 0, sizeof t);
	t.kq = new_queue();
	for (i = 0; i < READY; i++) {
		if (i % 2 == 0) {
			CHANGE(t.kq, (uintptr_t)i, EVFILT_USER, EV_ADD, 0, 0,
			    UDATA(i));
			CHANGE(t.kq, (uintptr_t)i, EVFILT_USER, 0,
			    NOTE_TRIGGER, 0, UDATA(i));
			continue;
		}
		unix_pair(fds[i / 2]);
		put(fds[i / 2][1], 1);
		CHANGE(t.kq, (uintptr_t)fds[i / 2][0], EVFILT_READ, EV_ADD, 0,
		    0, UDATA(i));
	}
	for (i = 0; i < WAITERS; i++)
		start(&threads[i], turns_main, &t);
	for (i = 0; i < WAITERS; i++)
		join(threads[i]);
	/* A fair share is a twelfth of all. */
	for (i = 0; i < READY; i++)
		if (t.told[i] < WAITERS * TURNS / READY / 3)
			FAIL("knote %d was told %u times of %d", i, t.told[i],
			    WAITERS * TURNS);
	for (i = 0; i < READY / 2; i++)
		close_pair(fds[i]);
	CHECK_EQ(close(t.kq), 0);
}

/* Threads that all make their first queue at once, in a process with none */

#define FIRSTS 4

static pthread_barrier_t firsts;

static void *
first_queue(void *arg)
{
	int i, kq;
	(void)arg;
	pthread_barrier_wait(&firsts);
	kq = new_queue();
	for (i = 0; i < 3; i++) {
		CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
		CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
		expect_none(kq);
	}
	CHECK_EQ(close(kq), 0);
	return NULL;
}

/* In a forked child each time: only there is a first queue to be made again. */
TEST(first_queues_made_at_once_all_live)
{
	pthread_t threads[FIRSTS];
	int round, i, status;
	for (round = 0; round < 50; round++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid > 0) {
			CHECK_EQ(waitpid(pid, &status, 0), pid);
			CHECK_EQ(status, 0);
			continue;
		}
		CHECK_EQ(pthread_barrier_init(&firsts, NULL, FIRSTS), 0);
		for (i = 0; i < FIRSTS; i++)
			CHECK_EQ(pthread_create(&threads[i], NULL, first_queue,
			    NULL), 0);
		for (i = 0; i < FIRSTS; i++)
			CHECK_EQ(pthread_join(threads[i], NULL), 0);
		_exit(0);
	}
}

/*
 * A call that collects nothing is no cancellation point, whatever the library
 * must ask the system on the way, under its lock: none of these ends the
 * thread, and the lock is free afterwards.
 */
struct doomed {
	int kq, stream, counter, file, epoll, other, made;
};

static void
change_all(const struct doomed *d, unsigned flags)
{
	const struct {
		uintptr_t ident;
		int filter;
		unsigned fflags;
	} changes[] = {
	    {(uintptr_t)d->stream, EVFILT_READ, 0},
	    {(uintptr_t)d->stream, EVFILT_WRITE, NOTE_LOWAT},
	    {(uintptr_t)d->stream, EVFILT_EXCEPT, NOTE_OOB},
	    {(uintptr_t)d->counter, EVFILT_READ, 0},
	    {(uintptr_t)d->file, EVFILT_READ, 0},
	    {(uintptr_t)d->file, EVFILT_VNODE, NOTE_WRITE},
	    {(uintptr_t)d->epoll, EVFILT_READ, 0},
	    {SIGUSR1, EVFILT_SIGNAL, 0},
	    {(uintptr_t)getpid(), EVFILT_PROC, NOTE_EXIT},
	    {0, EVFILT_FS, 0},
	    {1, EVFILT_TIMER, 0},
	    {1, EVFILT_USER, 0},
	};
	size_t i;
	for (i = 0; i < sizeof changes / sizeof *changes; i++)
		CHANGE(d->kq, changes[i].ident, changes[i].filter, flags,
		    changes[i].fflags, changes[i].filter == EVFILT_TIMER ?
		    100000 : 0, NULL);
}

static void *
change_when_cancelled(void *arg)
{
	struct doomed *d = arg;
	CHECK_EQ(pthread_cancel(pthread_self()), 0);
	change_all(d, EV_ADD);
	change_all(d, EV_DISABLE);
	change_all(d, EV_ENABLE);
	change_all(d, EV_DELETE);
	change_all(d, EV_ADD | EV_CLEAR);
	d->other = new_queue();
	d->made = 1;
	pthread_testcancel();
	d->made = 2;
	return NULL;
}

TEST(a_cancelled_thread_makes_changes_of_every_filter)
{
	struct doomed d = {.kq = new_queue()};
	int sockets[2];
	pthread_t thread;
	void *result;
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	d.stream = sockets[0];
	d.counter = eventfd(3, 0);
	d.file = nameless_file(0);
	d.epoll = epoll_create1(EPOLL_CLOEXEC);
	CHECK(d.counter >= 0 && d.epoll >= 0);
	start(&thread, change_when_cancelled, &d);
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK(result == PTHREAD_CANCELED);
	CHECK_EQ(d.made, 1);
	expect_none(d.other);
	CHECK_EQ(close(d.other), 0);
	change_all(&d, EV_DELETE);
	expect_none(d.kq);
	CHECK_EQ(close(d.epoll), 0);
	CHECK_EQ(close(d.file), 0);
	CHECK_EQ(close(d.counter), 0);
	CHECK_EQ(close(sockets[0]), 0);
	CHECK_EQ(close(sockets[1]), 0);
	CHECK_EQ(close(d.kq), 0);
}

/*
 * A sleeper that is woken, and is cancelled or leaves by a handler's
 * siglongjmp() before it runs again, has taken nothing: the next one gets it,
 * asleep or not. One processor, so that all of it has happened by then; unless
 * the machine is busy, and the sleeper runs in between: its clock shows that.
 */
struct goner {
	pthread_t thread;
	int kq, got;
	_Atomic pid_t tid;
};

static sigjmp_buf way_out;

static void
take_the_way_out(int sig)
{
	siglongjmp(way_out, sig);
}

static void *
goner_main(void *arg)
{
	struct goner *g = arg;
	struct kevent event;
	if (sigsetjmp(way_out, 1) != 0)
		return NULL;
	atomic_store(&g->tid, (pid_t)syscall(SYS_gettid));
	g->got = kevent(g->kq, NULL, 0, &event, 1, NULL);
	return NULL;
}

static void
goner_goes(struct goner *g, bool by_longjmp)
{
	if (by_longjmp)
		CHECK_EQ(pthread_kill(g->thread, SIGUSR1), 0);
	else
		CHECK_EQ(pthread_cancel(g->thread), 0);
}

/* -1: it has ended. */
static int64_t
time_used_by(pthread_t thread)
{
	struct timespec used;
	clockid_t clock;
	if (pthread_getcpuclockid(thread, &clock) != 0 ||
	    clock_gettime(clock, &used) != 0)
		return -1;
	return used.tv_sec * INT64_C(1000000000) + used.tv_nsec;
}

static void
nothing_goes_with_a_goner(int filter, unsigned flags, bool by_longjmp)
{
	cpu_set_t one;
	int i, counted = 0;
	CPU_ZERO(&one);
	CHECK((i = sched_getcpu()) >= 0);
	CPU_SET(i, &one);
	CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
	CHECK(signal(SIGUSR1, take_the_way_out) != SIG_ERR);
	/* Some schedulers let who is woken run at once, again and again. */
	for (i = 0; i < 40 || (counted == 0 && i < 1000); i++) {
		int kq = new_queue(), sv[2];
		struct goner goner = {.kq = kq};
		struct sleeper heir;
		bool ran, sleeps = i % 2 != 0;
		int64_t used;
		uintptr_t ident;
		unix_pair(sv);
		ident = filter == EVFILT_USER ? 1 : (uintptr_t)sv[0];
		CHANGE(kq, ident, filter, EV_ADD | flags, 0, 0, NULL);
		/* The kernel wakes the one that came last. */
		if (sleeps)
			sleeper_start(&heir, kq);
		start(&goner.thread, goner_main, &goner);
		WAIT_FOR(is_asleep(atomic_load(&goner.tid)));
		/* Who has slept has time left, and is not soon interrupted. */
		pause_briefly();
		used = time_used_by(goner.thread);
		if (filter == EVFILT_USER)
			CHANGE(kq, ident, filter, 0, NOTE_TRIGGER, 0, NULL);
		else
			CHECK_EQ(write(sv[1], "x", 1), 1);
		ran = time_used_by(goner.thread) != used;
		goner_goes(&goner, by_longjmp);
		join(goner.thread);
		counted += !ran;
		if (goner.got == 0 && !ran) {
			struct kevent event;
			event = sleeps ? sleeper_join(&heir) : next_event(kq);
			CHECK_EQ(event.ident, ident);
		} else if (sleeps) {
			/* It ran first after all. */
			CHANGE(kq, 2, EVFILT_USER, EV_ADD | EV_ONESHOT, 0, 0,
			    NULL);
			CHANGE(kq, 2, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
			(void)sleeper_join(&heir);
		}
		if (ran) {
			struct kevent event;
			while (kevent(kq, NULL, 0, &event, 1, &no_wait) == 1)
				(void)recv(sv[0], &event, 1, MSG_DONTWAIT);
		}
		expect_none(kq);
		CHECK(!readable(kq));
		close_pair(sv);
		CHECK_EQ(close(kq), 0);
	}
	if (counted == 0)
		SKIP("the sleeper ran before it left, each time");
}

TEST(a_cancelled_sleeper_takes_no_user_event_with_it)
{
	nothing_goes_with_a_goner(EVFILT_USER, EV_CLEAR, false);
}

TEST(a_cancelled_sleeper_takes_no_clear_event_with_it)
{
	nothing_goes_with_a_goner(EVFILT_READ, EV_CLEAR, false);
}

TEST(a_cancelled_sleeper_takes_no_dispatch_event_with_it)
{
	nothing_goes_with_a_goner(EVFILT_READ, EV_DISPATCH, false);
}

TEST(a_cancelled_sleeper_takes_no_oneshot_event_with_it)
{
	nothing_goes_with_a_goner(EVFILT_READ, EV_ONESHOT, false);
}

TEST(a_sleeper_that_leaves_by_siglongjmp_takes_no_user_event_with_it)
{
	nothing_goes_with_a_goner(EVFILT_USER, EV_CLEAR, true);
}

TEST(a_sleeper_that_leaves_by_siglongjmp_takes_no_clear_event_with_it)
{
	nothing_goes_with_a_goner(EVFILT_READ, EV_CLEAR, true);
}

TEST(a_sleeper_that_leaves_by_siglongjmp_takes_no_dispatch_event_with_it)
{
	nothing_goes_with_a_goner(EVFILT_READ, EV_DISPATCH, true);
}

/* One thread stands still inside a queue, and the others have theirs. */
TEST(each_queue_has_a_lock_of_its_own)
{
	int fds[2], i, held = new_queue(), kq = new_queue();
	struct sleeper sleeper;
	NOT_UNDER_THREAD_CHECKER("it delays the handler");
	unix_pair(fds);
	holder_start(held);
	for (i = 0; i < 10; i++) {
		CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
		sleeper_start(&sleeper, kq);
		CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		CHECK_EQ(sleeper_join(&sleeper).ident, 1);
		CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD | EV_ONESHOT,
		    0, 0, NULL);
		CHECK_EQ(next_event(kq).filter, EVFILT_WRITE);
	}
	CHECK(!atomic_load(&holder.over));
	holder_end();
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(held), 0);
}

/* Small stacks */

/* What the library takes of a stack is less than this, in a debug build too: the
 * least that a thread can have, which is enough for a release build, and as much
 * again. */
static size_t
small_stack(void)
{
	long least = sysconf(_SC_THREAD_STACK_MIN);
	if (least < 16384)
		least = 16384;
	return (size_t)least + 16384;
}

static void *
on_a_small_stack(void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	void *result;
	NOT_UNDER_VALGRIND("it has its own idea of a stack");
	NOT_UNDER_THREAD_CHECKER("its frames are larger");
	CHECK_EQ(pthread_attr_init(&attr), 0);
	CHECK_EQ(pthread_attr_setstacksize(&attr, small_stack()), 0);
	CHECK_EQ(pthread_create(&thread, &attr, run, arg), 0);
	CHECK_EQ(pthread_attr_destroy(&attr), 0);
	CHECK_EQ(pthread_join(thread, &result), 0);
	return result;
}

static void *
makes_a_queue(void *arg)
{
	int kq = kqueue();
	CHECK(kq >= 0);
	CHECK_EQ(close(kq), 0);
	return arg;
}

static void *
makes_each_filter_work(void *arg)
{
	static const short filters[] = {EVFILT_READ, EVFILT_WRITE,
	    EVFILT_EXCEPT};
	struct timespec short_wait = {0, 100000};
	int kq, sv[2], copy, file, i, n;
	struct kevent k;
	pid_t child;
	kq = kqueue();
	CHECK(kq >= 0);
	unix_pair(sv);
	for (i = 0; i < 3; i++)
		CHANGE(kq, (uintptr_t)sv[0], filters[i], EV_ADD,
		    filters[i] == EVFILT_EXCEPT ? NOTE_OOB : 0, 0, NULL);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, 0, 1, NULL);
	CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
	CHANGE(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	CHANGE(kq, 0, EVFILT_FS, EV_ADD, 0, 0, NULL);
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		CHECK_FAILS(kevent(kq, NULL, 0, &k, 1, NULL), EBADF);
		CHECK_EQ(close(kqueue()), 0);
		_exit(0);
	}
	CHANGE(kq, (uintptr_t)child, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
	/* It may be refused. */
	(void)change(kq, (uintptr_t)getppid(), EVFILT_PROC, EV_ADD, NOTE_TRACK,
	    0, NULL);
	file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (file >= 0) {
		CHANGE(kq, (uintptr_t)file, EVFILT_VNODE, EV_ADD | EV_CLEAR,
		    NOTE_WRITE | NOTE_EXTEND, 0, NULL);
		CHECK_EQ(write(file, "x", 1), 1);
	}
	CHECK_EQ(raise(SIGUSR1), 0);
	CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	put(sv[1], 1);
	wait_child(child);
	for (i = 0; i < 50; i++) {
		struct kevent some[16];
		n = kevent(kq, NULL, 0, some, 16, &short_wait);
		CHECK(n >= 0);
	}
	/* A file that lives on without its number: the sets are made anew. */
	copy = dup(sv[0]);
	CHECK(copy >= 0);
	CHECK_EQ(close(sv[0]), 0);
	for (i = 0; i < 50; i++)
		CHECK(kevent(kq, NULL, 0, &k, 1, &short_wait) >= 0);
	CHECK_EQ(close(copy), 0);
	CHECK_EQ(close(sv[1]), 0);
	if (file >= 0)
		CHECK_EQ(close(file), 0);
	CHECK_EQ(close(kq), 0);
	libkqueue_drain_pending_close();
	return arg;
}

TEST(first_queue_is_made_on_a_small_stack)
{
	on_a_small_stack(makes_a_queue, NULL);
	on_a_small_stack(makes_a_queue, NULL);
}

TEST(later_queue_is_made_on_a_small_stack)
{
	CHECK_EQ(close(new_queue()), 0);
	on_a_small_stack(makes_a_queue, NULL);
}

TEST(each_filter_works_on_a_small_stack)
{
	on_a_small_stack(makes_each_filter_work, NULL);
}

/* The dynamic loader */

TEST(calls_leave_the_message_of_a_failed_dlopen)
{
	struct timespec short_wait = {0, 300000};
	struct kevent k;
	const char *said;
	int kq;
	CHECK(dlerror() == NULL);
	CHECK(dlopen("/nonexistent/library.so", RTLD_NOW) == NULL);
	kq = new_queue();
	CHECK_EQ(kevent(kq, NULL, 0, &k, 1, &short_wait), 0);
	said = dlerror();
	CHECK(said != NULL);
	CHECK(strstr(said, "/nonexistent/library.so") != NULL);
	CHECK(dlerror() == NULL);
	CHECK_EQ(close(kq), 0);
}
