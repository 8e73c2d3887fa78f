/*
 * A thread that leaves kevent() by a longjmp out of a signal handler, wherever
 * in the call it is: on BSD it is in the kernel then, and nothing comes of it.
 */
#include "io.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>

#ifndef __GLIBC__
#define GLIBC_ONLY SKIP("only glibc tells of a longjmp")
#else
#define GLIBC_ONLY ((void)0)
#endif

enum { JUMPS = 2000, USERS = 8, TIMER = 100 };

static sigjmp_buf out;
static volatile sig_atomic_t inside;
static atomic_int jumps;
static pthread_t jumper;
static atomic_bool over;

static void
jump(int sig)
{
	(void)sig;
	if (!inside)
		return;
	inside = 0;
	atomic_fetch_add(&jumps, 1);
	siglongjmp(out, 1);
}

static void *
pester(void *arg)
{
	unsigned spin = 1;
	(void)arg;
	while (!atomic_load(&over)) {
		volatile unsigned i;
		CHECK_EQ(pthread_kill(jumper, SIGUSR1), 0);
		spin = spin * 1103515245 + 12345;
		for (i = spin >> 16 & 0xfff; i > 0; i--)
			;
	}
	return NULL;
}

struct work {
	int kq, in, out;
};

/* One call, which a jump may end anywhere. */
static void
work(const struct work *w, unsigned turn)
{
	struct kevent k[USERS + 4], c[2];
	uintptr_t user = 1 + turn % USERS;
	char byte;
	inside = 1;
	switch (turn % 7) {
	case 0:
		EV_SET(&c[0], user, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		kevent(w->kq, c, 1, NULL, 0, NULL);
		break;
	case 1:
		EV_SET(&c[0], user, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		kevent(w->kq, c, 1, k, 1, &no_wait);
		break;
	case 2:
		EV_SET(&c[0], (uintptr_t)w->in, EVFILT_READ, EV_DISABLE, 0, 0,
		    NULL);
		EV_SET(&c[1], (uintptr_t)w->in, EVFILT_READ, EV_ENABLE, 0, 0,
		    NULL);
		kevent(w->kq, c, 2, NULL, 0, NULL);
		break;
	case 3:
		EV_SET(&c[0], TIMER, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 50,
		    NULL);
		kevent(w->kq, c, 1, NULL, 0, NULL);
		break;
	case 4:
		EV_SET(&c[0], user + 50, EVFILT_USER, EV_ADD, 0, 0, NULL);
		EV_SET(&c[1], user + 50, EVFILT_USER, EV_DELETE, 0, 0, NULL);
		kevent(w->kq, c, 2, NULL, 0, NULL);
		break;
	default:
		kevent(w->kq, NULL, 0, k, USERS + 4, &no_wait);
	}
	inside = 0;
	while (turn % 16 == 0 && read(w->in, &byte, 1) == 1)
		;
	/* valgrind lets a signal interrupt what does not sleep, too. */
	if (turn % 16 == 8 && write(w->out, "x", 1) == -1)
		CHECK(errno == EAGAIN || (errno == EINTR &&
		    getenv("KQUEUE_VALGRIND") != NULL));
}

/* Everything works as if nobody had ever left. */
static void
still_works(const struct work *w)
{
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	struct kevent k;
	char bytes[64];
	int i;
	while (read(w->in, bytes, sizeof bytes) > 0)
		;
	CHANGE(w->kq, TIMER, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 1000, NULL);
	CHANGE(w->kq, (uintptr_t)w->in, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	for (i = 0; i < USERS; i++)
		CHECK(change(w->kq, 51 + (uintptr_t)i, EVFILT_USER, EV_DELETE,
		    0, 0, NULL) == 0 || errno == ENOENT);
	/* What was pending is told now, once. */
	while (kevent(w->kq, NULL, 0, &k, 1, &no_wait) == 1)
		CHECK(k.filter == EVFILT_USER || k.filter == EVFILT_TIMER);
	expect_none(w->kq);
	CHECK(!readable(w->kq));
	for (i = 0; i < USERS; i++) {
		CHANGE(w->kq, 1 + (uintptr_t)i, EVFILT_USER, 0, NOTE_TRIGGER, 0,
		    NULL);
		CHECK(readable(w->kq));
		CHECK_EQ(kevent(w->kq, NULL, 0, &k, 1, &ts), 1);
		CHECK_EQ(k.filter, EVFILT_USER);
		CHECK_EQ(k.ident, 1 + i);
		expect_none(w->kq);
	}
	CHECK_EQ(write(w->out, "abc", 3), 3);
	CHECK_EQ(kevent(w->kq, NULL, 0, &k, 1, &ts), 1);
	CHECK_EQ(k.filter, EVFILT_READ);
	CHECK_EQ(k.data, 3);
	CHECK_EQ(read(w->in, bytes, sizeof bytes), 3);
	CHANGE(w->kq, TIMER, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 5, NULL);
	CHECK_EQ(kevent(w->kq, NULL, 0, &k, 1, &ts), 1);
	CHECK_EQ(k.filter, EVFILT_TIMER);
	expect_none(w->kq);
}

static void
prepare(struct work *w)
{
	int ends[2], i;
	w->kq = new_queue();
	pipe_pair(ends);
	set_nonblocking(ends[0]);
	set_nonblocking(ends[1]);
	w->in = ends[0];
	w->out = ends[1];
	READ_ADD(w->kq, w->in, 0);
	CHANGE(w->kq, TIMER, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 1000, NULL);
	for (i = 1; i <= USERS; i++)
		CHANGE(w->kq, (uintptr_t)i, EVFILT_USER, EV_ADD | EV_CLEAR, 0,
		    0, NULL);
	/* Room for those that come and go: no call that is left allocates. */
	for (i = 1; i <= 2 * USERS; i++)
		CHANGE(w->kq, 50 + (uintptr_t)i, EVFILT_USER, EV_ADD, 0, 0,
		    NULL);
	for (i = 1; i <= 2 * USERS; i++)
		CHANGE(w->kq, 50 + (uintptr_t)i, EVFILT_USER, EV_DELETE, 0, 0,
		    NULL);
}

static void
finish(const struct work *w)
{
	CHECK_EQ(close(w->in), 0);
	CHECK_EQ(close(w->out), 0);
	CHECK_EQ(close(w->kq), 0);
}

static void
jump_out_of(const struct work *w)
{
	struct sigaction action;
	volatile unsigned turn = 0;
	pthread_t pesterer;
	memset(&action, 0, sizeof action);
	action.sa_handler = jump;
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	jumper = pthread_self();
	CHECK_EQ(pthread_create(&pesterer, NULL, pester, NULL), 0);
	sigsetjmp(out, 1);
	while (atomic_load(&jumps) < JUMPS)
		work(w, ++turn);
	atomic_store(&over, true);
	CHECK_EQ(pthread_join(pesterer, NULL), 0);
}

TEST(anywhere_in_a_call_leaves_the_queue_usable)
{
	struct work w;
	GLIBC_ONLY;
	prepare(&w);
	jump_out_of(&w);
	still_works(&w);
	finish(&w);
}

/* Threads that share the queue neither hang nor miss a trigger. */
static void *
share(void *arg)
{
	const struct work *w = arg;
	while (!atomic_load(&over)) {
		struct timespec ts = ms_to_ts(1);
		struct kevent k[4];
		CHECK(kevent(w->kq, NULL, 0, k, 4, &ts) >= 0);
		CHANGE(w->kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	}
	return NULL;
}

TEST(anywhere_in_a_call_does_not_stop_the_other_threads)
{
	struct work w;
	pthread_t sharer[2];
	sigset_t set;
	int i;
	GLIBC_ONLY;
	prepare(&w);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	for (i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&sharer[i], NULL, share, &w), 0);
	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
	jump_out_of(&w);
	for (i = 0; i < 2; i++)
		CHECK_EQ(pthread_join(sharer[i], NULL), 0);
	still_works(&w);
	finish(&w);
}

/* Between rounds nobody is in a call. */
static atomic_bool halt;
static atomic_int halted;

static void *
ring(void *arg)
{
	const struct work *w = arg;
	while (!atomic_load(&over)) {
		struct kevent k[4];
		CHANGE(w->kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		CHECK(kevent(w->kq, NULL, 0, k, 4, &no_wait) >= 0);
		if (!atomic_load(&halt))
			continue;
		atomic_fetch_add(&halted, 1);
		while (atomic_load(&halt))
			sched_yield();
		atomic_fetch_sub(&halted, 1);
	}
	return NULL;
}

static void
collect_all(const struct work *w)
{
	struct kevent k;
	while (kevent(w->kq, NULL, 0, &k, 1, &no_wait) == 1)
		CHECK_EQ(k.filter, EVFILT_USER);
	expect_none(w->kq);
	CHECK(!readable(w->kq));
	CHANGE(w->kq, 2, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	CHECK(readable(w->kq));
	CHECK_EQ(next_event(w->kq).ident, 2);
}

enum { RINGERS = 2, ROUNDS = 150 };

TEST(while_another_one_rings_leaves_no_bell_that_rings_for_ever)
{
	struct work w;
	struct sigaction action;
	pthread_t pesterer, ringer[RINGERS];
	sigset_t set;
	volatile int round = 0;
	int i;
	GLIBC_ONLY;
	prepare(&w);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	memset(&action, 0, sizeof action);
	action.sa_handler = jump;
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	jumper = pthread_self();
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	for (i = 0; i < RINGERS; i++)
		CHECK_EQ(pthread_create(&ringer[i], NULL, ring, &w), 0);
	CHECK_EQ(pthread_create(&pesterer, NULL, pester, NULL), 0);
	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
	sigsetjmp(out, 1);
	while (round < ROUNDS) {
		struct kevent c;
		if (atomic_load(&jumps) > 0) {
			atomic_store(&halt, true);
			while (atomic_load(&halted) < RINGERS)
				sched_yield();
			CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
			collect_all(&w);
			CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
			atomic_store(&jumps, 0);
			atomic_store(&halt, false);
			while (atomic_load(&halted) > 0)
				sched_yield();
			round++;
		}
		inside = 1;
		EV_SET(&c, 3, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		kevent(w.kq, &c, 1, NULL, 0, NULL);
		inside = 0;
	}
	atomic_store(&over, true);
	CHECK_EQ(pthread_join(pesterer, NULL), 0);
	for (i = 0; i < RINGERS; i++)
		CHECK_EQ(pthread_join(ringer[i], NULL), 0);
	finish(&w);
}

/* What a call does now and then: it looks for the queue that a dup is, and makes
 * a haunted one anew, whose closed descriptor's file lives on elsewhere. */
enum { RARE_JUMPS = 300 };

TEST(anywhere_in_a_rare_call_leaves_all_queues_usable)
{
	struct work w, other;
	struct sigaction action;
	pthread_t pesterer;
	sigset_t set;
	GLIBC_ONLY;
	prepare(&w);
	prepare(&other);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	memset(&action, 0, sizeof action);
	action.sa_handler = jump;
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	jumper = pthread_self();
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	CHECK_EQ(pthread_create(&pesterer, NULL, pester, NULL), 0);
	while (atomic_load(&jumps) < RARE_JUMPS) {
		int ghost[2], alive, copy = dup(w.kq);
		struct timespec ms = ms_to_ts(1);
		struct kevent k;
		volatile int i;
		CHECK(copy >= 0);
		pipe_pair(ghost);
		CHECK_EQ(write(ghost[1], "x", 1), 1);
		READ_ADD(w.kq, ghost[0], 0);
		CHECK((alive = dup(ghost[0])) >= 0);
		/* Past the preload library, with which there is no ghost. */
		CHECK_EQ(syscall(SYS_close, ghost[0]), 0);
		if (sigsetjmp(out, 1) == 0) {
			CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
			for (i = 0; i < 10; i++) {
				inside = 1;
				kevent(i % 2 ? copy : w.kq, NULL, 0, &k, 1,
				    &ms);
				inside = 0;
			}
		}
		CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
		CHECK_EQ(close(alive), 0);
		CHECK_EQ(close(ghost[1]), 0);
		CHECK_EQ(close(copy), 0);
		still_works(&other);
	}
	atomic_store(&over, true);
	CHECK_EQ(pthread_join(pesterer, NULL), 0);
	/* The last ghost may be there for another moment. */
	while (readable(w.kq)) {
		struct timespec ms = ms_to_ts(30);
		struct kevent k;
		CHECK(kevent(w.kq, NULL, 0, &k, 1, &ms) >= 0);
	}
	still_works(&w);
	finish(&w);
	finish(&other);
}
