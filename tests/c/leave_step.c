/*
 * A thread that leaves kevent() by longjmp, after one instruction of the call,
 * after two, and so on to its end: what leave.c leaves to chance.
 *
 * The processor's trap flag makes each instruction end in a SIGTRAP; the n-th
 * one's handler leaves. All points of a call cost the square of its length, so
 * a run takes every so many-th, from a first one that is another in each run.
 * KQUEUE_STEPS=0 takes all.
 */
#include "io.h"

#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>

#if defined(__x86_64__) && defined(__GLIBC__)
#define STEPPED ((void)0)
#define TRAP_FLAG 0x100L
#define STEP(begin_or_end)                                                    \
	__asm__ volatile("pushfq; " begin_or_end ",(%%rsp); popfq" ::: "cc",  \
	    "memory")
#define BEGIN "orq $0x100"
#define END "andq $~0x100"
static void
run_on(void *context)
{
	ucontext_t *c = context;
	c->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}
#else
#define STEPPED SKIP("steps are known of x86-64, and glibc tells of a longjmp")
#define STEP(begin_or_end) ((void)0)
static void
run_on(void *context)
{
	(void)context;
}
#endif

enum { USER = 1, OTHER = 2, COMES = 3, TIMER = 4, STEPS = 30000 };

static sigjmp_buf out;
static volatile long last, steps;
static volatile sig_atomic_t inside;

static void
step(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)info;
	if (!inside) {
		run_on(context);
		return;
	}
	if (++steps != last)
		return;
	inside = 0;
	siglongjmp(out, 1);
}

struct queue {
	int kq, in, out;
	/* Another thread, that triggers when it is told to. */
	pthread_t ringer;
	sem_t ring, rung;
	bool over;
};

static void *
ringer(void *arg)
{
	struct queue *q = arg;
	for (;;) {
		CHECK_EQ(sem_wait(&q->ring), 0);
		if (q->over)
			return NULL;
		CHANGE(q->kq, OTHER, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		CHECK_EQ(sem_post(&q->rung), 0);
	}
}

/* A call that may be left; its results are nobody's. */
typedef void call_fn(const struct queue *q);

static void
change_only(const struct queue *q, uintptr_t ident, short filter,
    unsigned short flags, unsigned fflags, intptr_t data)
{
	struct kevent c;
	EV_SET(&c, ident, filter, flags, fflags, data, NULL);
	kevent(q->kq, &c, 1, NULL, 0, NULL);
}

static void
trigger(const struct queue *q)
{
	change_only(q, USER, EVFILT_USER, 0, NOTE_TRIGGER, 0);
}

static void
trigger_and_collect(const struct queue *q)
{
	struct kevent c, k;
	EV_SET(&c, USER, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	kevent(q->kq, &c, 1, &k, 1, &no_wait);
}

static void
collect(const struct queue *q)
{
	struct kevent k[4];
	kevent(q->kq, NULL, 0, k, 4, &no_wait);
}

static void
short_wait(const struct queue *q)
{
	struct timespec soon = {0, 1000};
	struct kevent k[4];
	kevent(q->kq, NULL, 0, k, 4, &soon);
}

static void
toggle(const struct queue *q)
{
	struct kevent c[2];
	EV_SET(&c[0], (uintptr_t)q->in, EVFILT_READ, EV_DISABLE, 0, 0, NULL);
	EV_SET(&c[1], (uintptr_t)q->in, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	kevent(q->kq, c, 2, NULL, 0, NULL);
}

static void
set_timer(const struct queue *q)
{
	change_only(q, TIMER, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 50);
}

static void
add_and_delete(const struct queue *q)
{
	struct kevent c[2];
	EV_SET(&c[0], COMES, EVFILT_USER, EV_ADD, 0, 0, NULL);
	EV_SET(&c[1], COMES, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	kevent(q->kq, c, 2, NULL, 0, NULL);
}

/* Room for what comes and goes is made here: no call that is left allocates. */
static void
prepare(struct queue *q)
{
	int ends[2];
	memset(q, 0, sizeof *q);
	q->kq = new_queue();
	pipe_pair(ends);
	set_nonblocking(ends[0]);
	q->in = ends[0];
	q->out = ends[1];
	CHANGE(q->kq, USER, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHANGE(q->kq, OTHER, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHANGE(q->kq, TIMER, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 1000, NULL);
	READ_ADD(q->kq, q->in, 0);
	add_and_delete(q);
	CHECK_EQ(sem_init(&q->ring, 0, 0), 0);
	CHECK_EQ(sem_init(&q->rung, 0, 0), 0);
	CHECK_EQ(pthread_create(&q->ringer, NULL, ringer, q), 0);
}

static void
finish(struct queue *q)
{
	q->over = true;
	CHECK_EQ(sem_post(&q->ring), 0);
	CHECK_EQ(pthread_join(q->ringer, NULL), 0);
	CHECK_EQ(close(q->in), 0);
	CHECK_EQ(close(q->out), 0);
	CHECK_EQ(close(q->kq), 0);
}

/* What the call finds: the last ringer was another thread; what it rang for
 * has been collected, or has not. */
static void
lead_up(struct queue *q, bool collected, bool readable)
{
	CHECK_EQ(sem_post(&q->ring), 0);
	CHECK_EQ(sem_wait(&q->rung), 0);
	if (collected)
		CHECK_EQ(next_event(q->kq).ident, OTHER);
	if (readable)
		CHECK_EQ(write(q->out, "x", 1), 1);
}

static void
still_works(const struct queue *q)
{
	struct kevent k;
	char byte;
	CHECK(read(q->in, &byte, 1) == 1 || errno == EAGAIN);
	CHANGE(q->kq, TIMER, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 1000, NULL);
	CHANGE(q->kq, (uintptr_t)q->in, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	CHECK(change(q->kq, COMES, EVFILT_USER, EV_DELETE, 0, 0, NULL) == 0 ||
	    errno == ENOENT);
	/* What was pending is told now, once. */
	while (kevent(q->kq, NULL, 0, &k, 1, &no_wait) == 1)
		CHECK(k.filter == EVFILT_USER || k.filter == EVFILT_TIMER);
	CHECK(!readable(q->kq));
	CHANGE(q->kq, USER, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	CHECK(readable(q->kq));
	CHECK_EQ(next_event(q->kq).ident, USER);
	EXPECT_QUIET(q->kq);
}

/* Did it leave, after so many steps? */
static bool
leave_after(const struct queue *q, call_fn *call, long n)
{
	last = n;
	steps = 0;
	if (sigsetjmp(out, 1) != 0)
		return true;
	inside = 1;
	STEP(BEGIN);
	call(q);
	STEP(END);
	inside = 0;
	return false;
}

static void
leave_everywhere(call_fn *call)
{
	struct sigaction action, before;
	const char *wanted = getenv("KQUEUE_STEPS");
	long most = wanted != NULL ? atol(wanted) : STEPS;
	int state;
	STEPPED;
	NOT_UNDER_VALGRIND("it steps by its own instructions");
	NOT_UNDER_THREAD_CHECKER("it must not be left in the middle");
	memset(&action, 0, sizeof action);
	action.sa_sigaction = step;
	action.sa_flags = SA_SIGINFO;
	CHECK_EQ(sigaction(SIGTRAP, &action, &before), 0);
	for (state = 0; state < 4; state++) {
		struct queue q;
		struct timespec now;
		volatile long n, stride = 1;
		bool collected = state & 1, readable = state & 2;
		prepare(&q);
		lead_up(&q, collected, readable);
		CHECK(!leave_after(&q, call, 0));
		CHECK(steps > 100);
		still_works(&q);
		if (most > 0)
			stride += steps * steps / 2 * 4 / most;
		CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &now), 0);
		n = 1 + now.tv_nsec / 1000 % stride;
		for (;; n += stride) {
			bool left;
			lead_up(&q, collected, readable);
			left = leave_after(&q, call, n);
			printf("state %d, left after %ld: %d\n", state, n, left);
			still_works(&q);
			if (!left)
				break;
		}
		finish(&q);
	}
	CHECK_EQ(sigaction(SIGTRAP, &before, NULL), 0);
}

#define LEAVING(name)                                                         \
	TEST(a_##name##_anywhere)                                             \
	{                                                                     \
		leave_everywhere(name);                                       \
	}

LEAVING(trigger)
LEAVING(trigger_and_collect)
LEAVING(collect)
LEAVING(short_wait)
LEAVING(toggle)
LEAVING(set_timer)
LEAVING(add_and_delete)
