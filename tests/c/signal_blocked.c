/*
 * EVFILT_SIGNAL: signals that the waiting thread blocks. Nobody else can take
 * them: the waiter does, and counts them. Somebody can: they are his.
 */
#include "signals.h"

TEST(what_the_only_thread_blocks_is_counted)
{
	int kq = open_queue(), i;
	void (*const handlers[])(int) = {hit, SIG_IGN, SIG_DFL};
	for (i = 0; i < 3; i++) {
		handle(SIGUSR1, handlers[i], 0);
		SIG_ADD(kq, SIGUSR1, 0);
		block(SIGUSR1);
		send_me(SIGUSR1);
		EXPECT_ONLY(kq, SIGUSR1, 1);
		CHECK_EQ(raise(SIGUSR1), 0);
		EXPECT_ONLY(kq, SIGUSR1, 1);
		CHECK(is_blocked(SIGUSR1));
		SIG_CHANGE(kq, SIGUSR1, EV_DELETE);
		unblock(SIGUSR1);
	}
	CHECK_EQ(hits, 0);
	CHECK_EQ(close(kq), 0);
}

TEST(blocked_before_or_after_ev_add)
{
	int kq = open_queue();
	handle(SIGUSR1, hit, 0);
	block(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, 0);
	EXPECT_QUIET(kq);
	send_me(SIGUSR1);
	/* Who polls the queue sees it already. */
	CHECK(readable(kq));
	EXPECT_ONLY(kq, SIGUSR1, 1);
	unblock(SIGUSR1);
	CHECK_EQ(hits, 0);
	send_me(SIGUSR1);
	CHECK_EQ(hits, 1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	SIG_ADD(kq, SIGUSR2, 0);
	block(SIGUSR2);
	EXPECT_QUIET(kq);
	send_me(SIGUSR2);
	CHECK(readable(kq));
	EXPECT_ONLY(kq, SIGUSR2, 1);
	CHECK_EQ(close(kq), 0);
}

TEST(real_time_signals_that_are_blocked_are_all_counted)
{
	int kq = open_queue(), sig = SIGRTMIN + 4, i;
	block(sig);
	SIG_ADD(kq, sig, 0);
	for (i = 0; i < 10; i++)
		send_me(sig);
	EXPECT_ONLY(kq, sig, 10);
	CHECK(!is_pending(sig));
	CHECK_EQ(close(kq), 0);
}

TEST(a_blocked_signal_wakes_the_only_thread)
{
	int kq = open_queue(), i;
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	block(SIGUSR1);
	for (i = 0; i < 20; i++) {
		struct kevent got;
		pid_t pid = fork_child();
		if (pid == 0) {
			let_pass(MS(i % 4));
			CHECK_EQ(kill(getppid(), SIGUSR1), 0);
			_exit(0);
		}
		CHECK_EQ(kevent(kq, NULL, 0, &got, 1, NULL), 1);
		CHECK_EQ(got.data, 1);
		expect_exit(pid, 0);
		EXPECT_QUIET(kq);
	}
	CHECK_EQ(hits, 0);
	CHECK_EQ(close(kq), 0);
}

/* The pattern of most programs that wait for children by kevent(). */
TEST(a_blocked_sigchld_tells_of_children)
{
	int kq = open_queue();
	struct kevent got;
	pid_t pid;
	block(SIGCHLD);
	SIG_ADD(kq, SIGCHLD, 0);
	pid = fork_child();
	if (pid == 0)
		_exit(8);
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, NULL), 1);
	CHECK_EQ(got.ident, SIGCHLD);
	expect_exit(pid, 8);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(each_queue_is_told_of_a_blocked_signal)
{
	int one = open_queue(), two = open_queue();
	block(SIGUSR1);
	SIG_ADD(one, SIGUSR1, 0);
	SIG_ADD(two, SIGUSR1, EV_DISABLE);
	send_me(SIGUSR1);
	EXPECT_ONLY(one, SIGUSR1, 1);
	EXPECT_QUIET(two);
	SIG_CHANGE(two, SIGUSR1, EV_ENABLE);
	EXPECT_ONLY(two, SIGUSR1, 1);
	CHECK_EQ(close(one), 0);
	CHECK_EQ(close(two), 0);
}

TEST(what_is_not_watched_stays_pending)
{
	int kq = open_queue();
	handle(SIGUSR2, hit, 0);
	block(SIGUSR1);
	block(SIGUSR2);
	SIG_ADD(kq, SIGUSR1, 0);
	send_me(SIGUSR1);
	send_me(SIGUSR2);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK(is_pending(SIGUSR2));
	SIG_CHANGE(kq, SIGUSR1, EV_DELETE);
	send_me(SIGUSR1);
	EXPECT_QUIET(kq);
	CHECK(is_pending(SIGUSR1));
	unblock(SIGUSR2);
	CHECK_EQ(hits, 1);
	CHECK_EQ(close(kq), 0);
}

struct other {
	pthread_t thread;
	/* back: how many signals it had handled when it last went on. */
	atomic_int tid, done, taken, back;
};

/* A thread that blocks nothing, while its creator does. */
static void *
open_main(void *arg)
{
	struct other *o = arg;
	unblock(SIGUSR1);
	atomic_store(&o->tid, (int)syscall(SYS_gettid));
	while (!atomic_load(&o->done)) {
		let_pass(100000);
		atomic_store(&o->back, atomic_load(&hits));
	}
	return NULL;
}

TEST(another_threads_signal_is_not_taken_and_counted_once)
{
	int kq = open_queue(), i;
	struct other o = {.tid = 0};
	struct kevent got;
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	handle(SIGUSR1, hit, SA_RESTART);
	block(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK_EQ(pthread_create(&o.thread, NULL, open_main, &o), 0);
	WAIT_FOR(o.tid != 0);
	for (i = 1; i <= 500; i++) {
		/* To the process, or to that thread; it is that thread's. */
		if (i % 2)
			send_me(SIGUSR1);
		else
			CHECK_EQ(pthread_kill(o.thread, SIGUSR1), 0);
		CHECK_EQ(kevent(kq, NULL, 0, &got, 1, NULL), 1);
		CHECK_EQ(got.data, 1);
		/* As long as it returns from its handler it blocks it, too. */
		WAIT_FOR(o.back == i);
		expect_none(kq);
	}
	CHECK_EQ(raise(SIGUSR1), 0);
	/* This one only the waiter can take. */
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(hits, 500);
	atomic_store(&o.done, 1);
	CHECK_EQ(pthread_join(o.thread, NULL), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_parked_thread_leaves_another_threads_signal_to_it)
{
	int kq = open_queue(), i;
	struct other o = {.tid = 0};
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	handle(SIGUSR1, hit, SA_RESTART);
	block(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK_EQ(pthread_create(&o.thread, NULL, open_main, &o), 0);
	WAIT_FOR(o.tid != 0);
	for (i = 1; i <= 20; i++) {
		struct waiter w;
		waiter_start(&w, kq, NULL);
		send_me(SIGUSR1);
		CHECK_EQ(waiter_event(&w).data, 1);
		WAIT_FOR(o.back == i);
		expect_none(kq);
	}
	atomic_store(&o.done, 1);
	CHECK_EQ(pthread_join(o.thread, NULL), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(one_that_comes_while_another_thread_is_in_its_handler_is_that_threads)
{
	int kq = open_queue(), i;
	struct other o = {.tid = 0};
	struct kevent got;
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	handle(SIGUSR1, linger, SA_RESTART);
	block(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK_EQ(pthread_create(&o.thread, NULL, open_main, &o), 0);
	WAIT_FOR(o.tid != 0);
	for (i = 1; i <= 20; i++) {
		atomic_store(&lingers, 1);
		send_me(SIGUSR1);
		EXPECT_SIG(kq, SIGUSR1, 1);
		WAIT_FOR(hits == 2 * i - 1);
		/* The thread blocks it for the moment, as this one does. */
		send_me(SIGUSR1);
		EXPECT_QUIET(kq);
		CHECK(is_pending(SIGUSR1));
		atomic_store(&lingers, 0);
		CHECK_EQ(kevent(kq, NULL, 0, &got, 1, NULL), 1);
		CHECK_EQ(got.data, 1);
		WAIT_FOR(o.back == 2 * i);
	}
	atomic_store(&o.done, 1);
	CHECK_EQ(pthread_join(o.thread, NULL), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

static void *
outlives_main(void *arg)
{
	int kq = *(int *)arg, i;
	block(SIGUSR1);
	WAIT_FOR(state_of_first_thread() == 'Z');
	for (i = 0; i < 3; i++) {
		send_me(SIGUSR1);
		EXPECT_ONLY(kq, SIGUSR1, 1);
		CHECK(!is_pending(SIGUSR1));
	}
	_exit(0);
}

TEST(a_first_thread_that_has_ended_takes_no_signal)
{
	pid_t pid = fork_child();
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	if (pid == 0) {
		static int kq;
		pthread_t thread;
		kq = open_queue();
		handle(SIGUSR1, hit, 0);
		SIG_ADD(kq, SIGUSR1, 0);
		CHECK_EQ(pthread_create(&thread, NULL, outlives_main, &kq), 0);
		/* As it would be after pthread_exit(), which may block. */
		syscall(SYS_exit, 0);
	}
	expect_exit(pid, 0);
}

TEST(when_all_threads_block_it_is_taken_once)
{
	int one = open_queue(), two = open_queue(), i;
	block(SIGUSR1);
	SIG_ADD(one, SIGUSR1, 0);
	SIG_ADD(two, SIGUSR1, 0);
	for (i = 0; i < 50; i++) {
		struct waiter v, w;
		waiter_start(&v, one, NULL);
		waiter_start(&w, two, NULL);
		send_me(SIGUSR1);
		CHECK_EQ(waiter_event(&v).data, 1);
		CHECK_EQ(waiter_event(&w).data, 1);
		EXPECT_QUIET(one);
		EXPECT_QUIET(two);
	}
	CHECK_EQ(close(one), 0);
	CHECK_EQ(close(two), 0);
}

static void *
sigwait_main(void *arg)
{
	struct other *o = arg;
	sigset_t set = set_of(SIGUSR1);
	int sig;
	atomic_store(&o->tid, (int)syscall(SYS_gettid));
	while (!atomic_load(&o->done)) {
		CHECK_EQ(sigwait(&set, &sig), 0);
		CHECK_EQ(sig, SIGUSR1);
		atomic_fetch_add(&o->taken, 1);
	}
	return NULL;
}

TEST(what_a_thread_waits_for_by_sigwait_is_its_own)
{
	int kq = open_queue(), i;
	struct other o = {.tid = 0};
	struct waiter w;
	block(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, 0);
	add_user(kq, 1, EV_CLEAR);
	CHECK_EQ(pthread_create(&o.thread, NULL, sigwait_main, &o), 0);
	for (i = 1; i <= 20; i++) {
		wait_until_asleep(&o.tid);
		waiter_start(&w, kq, NULL);
		if (i == 20)
			atomic_store(&o.done, 1);
		send_me(SIGUSR1);
		WAIT_FOR(o.taken == i);
		trigger(kq, 1);
		CHECK_EQ(waiter_event(&w).filter, EVFILT_USER);
	}
	CHECK_EQ(pthread_join(o.thread, NULL), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(a_disabled_knote_counts_what_is_blocked)
{
	int kq = open_queue(), i;
	block(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, EV_DISABLE);
	for (i = 0; i < 3; i++) {
		send_me(SIGUSR1);
		EXPECT_QUIET(kq);
	}
	SIG_CHANGE(kq, SIGUSR1, EV_ENABLE);
	EXPECT_ONLY(kq, SIGUSR1, 3);
	CHECK_EQ(close(kq), 0);
}

TEST(a_blocked_signal_is_told_while_other_events_never_end)
{
	int kq = open_queue(), i, told = 0;
	handle(SIGUSR1, hit, 0);
	block(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, 0);
	add_user(kq, 1, 0);
	trigger(kq, 1);
	send_me(SIGUSR1);
	for (i = 0; i < 10; i++)
		told += next_event(kq).filter == EVFILT_SIGNAL;
	CHECK_EQ(told, 1);
	delete_user(kq, 1);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_thread_that_is_cancelled_takes_nothing_with_it)
{
	int kq = open_queue(), i;
	block(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, 0);
	for (i = 0; i < 50; i++) {
		struct waiter w;
		void *ended;
		struct kevent got;
		waiter_start(&w, kq, NULL);
		send_me(SIGUSR1);
		CHECK_EQ(pthread_cancel(w.thread), 0);
		CHECK_EQ(pthread_join(w.thread, &ended), 0);
		/* Either it got the event, or it is still there. */
		if (ended == PTHREAD_CANCELED) {
			EXPECT_ONLY(kq, SIGUSR1, 1);
		} else {
			CHECK_EQ(w.returned, 1);
			CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &no_wait), 0);
		}
	}
	CHECK_EQ(close(kq), 0);
}
