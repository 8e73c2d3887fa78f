/*
 * EVFILT_SIGNAL: what is counted, by whom, and what an event tells. What the
 * application notices of its own signals is in signal_hook.c, signals that the
 * waiting thread blocks in signal_blocked.c.
 */
#include "signals.h"

#include <sys/socket.h>
#include <sys/time.h>

TEST(signals_to_the_process_are_counted)
{
	int kq = open_queue(), i;
	handle(SIGUSR1, hit, SA_RESTART);
	SIG_ADD(kq, SIGUSR1, 0);
	EXPECT_QUIET(kq);
	for (i = 0; i < 5; i++)
		send_me(SIGUSR1);
	CHECK(readable(kq));
	EXPECT_ONLY(kq, SIGUSR1, 5);
	send_me(SIGUSR1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(hits, 6);
	CHECK_EQ(close(kq), 0);
}

static void *
sleep_until(void *arg)
{
	while (!atomic_load((atomic_int *)arg))
		let_pass(100000);
	return NULL;
}

TEST(signals_to_a_thread_are_counted)
{
	int kq = open_queue(), i;
	atomic_int done = 0;
	pthread_t thread;
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK_EQ(pthread_create(&thread, NULL, sleep_until, &done), 0);
	for (i = 1; i <= 3; i++) {
		CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
		WAIT_FOR(hits == i);
	}
	CHECK_EQ(raise(SIGUSR1), 0);
	EXPECT_ONLY(kq, SIGUSR1, 4);
	atomic_store(&done, 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(close(kq), 0);
}

static int values[8];
static atomic_int value_count;

static void
note_value(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	values[atomic_fetch_add(&value_count, 1) % 8] = info->si_value.sival_int;
}

/* Even real-time ones. */
#define MERGED "ThreadSanitizer passes several signals on as one"

TEST(real_time_signals_are_counted_and_their_values_passed_on)
{
	int kq = open_queue(), sig = SIGRTMIN + 3, i;
	NOT_UNDER_THREAD_CHECKER(MERGED);
	handle_info(sig, note_value, 0);
	SIG_ADD(kq, sig, 0);
	SIG_ADD(kq, SIGRTMIN, 0);
	SIG_ADD(kq, SIGRTMIN + 1, 0);
	SIG_ADD(kq, SIGRTMAX, 0);
	for (i = 0; i < 3; i++) {
		union sigval value = {.sival_int = 100 + i};
		CHECK_EQ(sigqueue(getpid(), sig, value), 0);
	}
	EXPECT_ONLY(kq, sig, 3);
	CHECK_EQ(value_count, 3);
	for (i = 0; i < 3; i++)
		CHECK_EQ(values[i], 100 + i);
	CHECK_EQ(close(kq), 0);
}

TEST(ignored_signals_are_counted)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR2,
	    SIGPIPE, SIGSEGV, SIGTSTP, SIGCONT};
	int kq = open_queue();
	size_t i;
	for (i = 0; i < sizeof signals / sizeof *signals; i++) {
		handle(signals[i], SIG_IGN, 0);
		SIG_ADD(kq, signals[i], 0);
		send_me(signals[i]);
		send_me(signals[i]);
		EXPECT_ONLY(kq, signals[i], 2);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(signals_that_do_nothing_by_default_are_counted)
{
	static const int signals[] = {SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
	int kq = open_queue();
	size_t i;
	for (i = 0; i < sizeof signals / sizeof *signals; i++) {
		SIG_ADD(kq, signals[i], 0);
		send_me(signals[i]);
		EXPECT_ONLY(kq, signals[i], 1);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(what_came_before_ev_add_is_not_counted)
{
	int kq = open_queue();
	handle(SIGUSR1, hit, 0);
	send_me(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, 0);
	EXPECT_QUIET(kq);
	send_me(SIGUSR1);
	SIG_CHANGE(kq, SIGUSR1, EV_DELETE);
	send_me(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, 0);
	EXPECT_QUIET(kq);
	send_me(SIGUSR1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(hits, 4);
	CHECK_EQ(close(kq), 0);
}

TEST(every_signal_can_be_watched)
{
	int kq = open_queue(), sig;
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	for (sig = 1; sig <= 64; sig++)
		SIG_ADD(kq, sig, 0);
	EXPECT_QUIET(kq);
	send_me(SIGURG);
	EXPECT_ONLY(kq, SIGURG, 1);
	for (sig = 1; sig <= 64; sig++)
		SIG_CHANGE(kq, sig, EV_DELETE);
	for (sig = 1; sig <= 64; sig++)
		CHECK_ABSENT(kq, (uintptr_t)sig, EVFILT_SIGNAL);
	CHECK_EQ(close(kq), 0);
}

TEST(sigkill_and_sigstop_are_accepted_and_never_told)
{
	int kq = open_queue(), status;
	pid_t pid;
	SIG_ADD(kq, SIGKILL, 0);
	SIG_ADD(kq, SIGSTOP, EV_ONESHOT);
	EXPECT_QUIET(kq);
	SIG_CHANGE(kq, SIGKILL, EV_DISABLE);
	SIG_CHANGE(kq, SIGKILL, EV_ENABLE);
	SIG_CHANGE(kq, SIGKILL, EV_DELETE);
	SIG_CHANGE(kq, SIGSTOP, EV_DELETE);
	pid = fork_child();
	if (pid == 0) {
		kq = open_queue();
		SIG_ADD(kq, SIGKILL, 0);
		SIG_ADD(kq, SIGSTOP, 0);
		send_me(SIGSTOP);
		EXPECT_QUIET(kq);
		send_me(SIGKILL);
	}
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK(WIFSTOPPED(status));
	CHECK_EQ(WSTOPSIG(status), SIGSTOP);
	CHECK_EQ(kill(pid, SIGCONT), 0);
	expect_killed(pid, SIGKILL);
	CHECK_EQ(close(kq), 0);
}

TEST(a_number_that_is_no_signal_is_einval)
{
	static const uintptr_t idents[] = {0, 65, 66, 127, 128, 1000,
	    0x7fffffff, 0x80000000u, 0xffffffffu, UINTPTR_MAX,
	    UINTPTR_MAX - 63, UINTPTR_MAX / 2 + 1,
#if UINTPTR_MAX > 0xffffffff
	    /* A signal, if cut to 32 bits. */
	    0x10000000au,
#endif
	};
	static const unsigned actions[] = {EV_ADD, EV_ADD | EV_ONESHOT,
	    EV_DELETE, EV_ENABLE, EV_DISABLE, 0};
	int kq = open_queue();
	size_t i, j;
	for (i = 0; i < sizeof idents / sizeof *idents; i++)
		for (j = 0; j < sizeof actions / sizeof *actions; j++)
			CHECK_FAILS(change(kq, idents[i], EVFILT_SIGNAL,
			    actions[j], 0, 0, NULL), EINVAL);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(each_queue_has_its_own_count)
{
	int one = open_queue(), two = open_queue();
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(one, SIGUSR1, 0);
	send_me(SIGUSR1);
	SIG_ADD(two, SIGUSR1, 0);
	send_me(SIGUSR1);
	EXPECT_ONLY(one, SIGUSR1, 2);
	send_me(SIGUSR1);
	EXPECT_ONLY(two, SIGUSR1, 2);
	EXPECT_ONLY(one, SIGUSR1, 1);
	SIG_CHANGE(one, SIGUSR1, EV_DELETE);
	send_me(SIGUSR1);
	EXPECT_QUIET(one);
	EXPECT_ONLY(two, SIGUSR1, 1);
	CHECK_EQ(close(one), 0);
	CHECK_EQ(close(two), 0);
}

TEST(signals_do_not_mix)
{
	int kq = open_queue(), i, n;
	struct kevent got[8];
	handle(SIGUSR1, SIG_IGN, 0);
	handle(SIGUSR2, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	SIG_ADD(kq, SIGUSR2, 0);
	SIG_ADD(kq, SIGURG, 0);
	send_me(SIGUSR1);
	send_me(SIGUSR2);
	send_me(SIGUSR2);
	n = kevent(kq, NULL, 0, got, 8, &no_wait);
	CHECK_EQ(n, 2);
	for (i = 0; i < n; i++)
		CHECK_KEV(got[i], got[i].ident, EVFILT_SIGNAL,
		    EV_ADD | EV_CLEAR, 0, got[i].ident == SIGUSR1 ? 1 : 2,
		    UDATA(got[i].ident));
	CHECK(got[0].ident != got[1].ident);
	EXPECT_QUIET(kq);
	/* With room for one, the other comes in the next call. */
	send_me(SIGUSR1);
	send_me(SIGUSR2);
	CHECK_EQ(next_event(kq).data, 1);
	CHECK_EQ(next_event(kq).data, 1);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_disabled_knote_counts_on)
{
	int kq = open_queue();
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, EV_DISABLE);
	send_me(SIGUSR1);
	EXPECT_QUIET(kq);
	SIG_CHANGE(kq, SIGUSR1, EV_ENABLE);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	/* One that is pending waits, and shows nothing. */
	send_me(SIGUSR1);
	SIG_CHANGE(kq, SIGUSR1, EV_DISABLE);
	CHECK(!readable(kq));
	EXPECT_QUIET(kq);
	send_me(SIGUSR1);
	CHECK(!readable(kq));
	EXPECT_QUIET(kq);
	SIG_CHANGE(kq, SIGUSR1, EV_ENABLE);
	CHECK(readable(kq));
	EXPECT_ONLY(kq, SIGUSR1, 2);
	CHECK_EQ(close(kq), 0);
}

TEST(oneshot_comes_once)
{
	int kq = open_queue();
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, EV_ONESHOT);
	send_me(SIGUSR1);
	send_me(SIGUSR1);
	EXPECT(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD | EV_ONESHOT | EV_CLEAR, 0, 2,
	    UDATA(SIGUSR1));
	EXPECT_QUIET(kq);
	send_me(SIGUSR1);
	EXPECT_QUIET(kq);
	CHECK_ABSENT(kq, SIGUSR1, EVFILT_SIGNAL);
	CHECK(handler_of(SIGUSR1) == SIG_IGN);
	CHECK_EQ(close(kq), 0);
}

TEST(dispatch_waits_for_enable_and_counts_on)
{
	int kq = open_queue();
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, EV_DISPATCH);
	send_me(SIGUSR1);
	EXPECT(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD | EV_DISPATCH | EV_CLEAR, 0, 1,
	    UDATA(SIGUSR1));
	send_me(SIGUSR1);
	send_me(SIGUSR1);
	EXPECT_QUIET(kq);
	SIG_CHANGE(kq, SIGUSR1, EV_ENABLE);
	EXPECT(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD | EV_DISPATCH | EV_CLEAR, 0, 2,
	    UDATA(SIGUSR1));
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_second_add_keeps_the_count)
{
	int kq = open_queue();
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, EV_CLEAR);
	send_me(SIGUSR1);
	CHANGE(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, UDATA(77));
	EXPECT(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD | EV_CLEAR, 0, 1, UDATA(77));
	EXPECT_QUIET(kq);
	send_me(SIGUSR1);
	CHANGE(kq, SIGUSR1, EVFILT_SIGNAL, EV_KEEPUDATA, 0, 0, NULL);
	EXPECT(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD | EV_CLEAR, 0, 1, UDATA(77));
	/* fflags and data of a change mean nothing. */
	CHANGE(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0xffffffff, 99, NULL);
	EXPECT_QUIET(kq);
	send_me(SIGUSR1);
	EXPECT(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD | EV_CLEAR, 0, 1, NULL);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(delete_drops_what_is_pending)
{
	int kq = open_queue();
	handle(SIGUSR1, SIG_IGN, 0);
	handle(SIGUSR2, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	SIG_ADD(kq, SIGUSR2, 0);
	send_me(SIGUSR1);
	SIG_CHANGE(kq, SIGUSR1, EV_DELETE);
	EXPECT_QUIET(kq);
	/* What another signal has pending stays. */
	SIG_ADD(kq, SIGUSR1, 0);
	send_me(SIGUSR1);
	send_me(SIGUSR2);
	SIG_CHANGE(kq, SIGUSR1, EV_DELETE);
	CHECK(readable(kq));
	EXPECT_ONLY(kq, SIGUSR2, 1);
	CHECK_EQ(close(kq), 0);
}

TEST(one_call_adds_and_collects)
{
	int kq = open_queue();
	struct kevent changes[2], got[4];
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, EV_DISABLE);
	send_me(SIGUSR1);
	changes[0] = kev(SIGUSR1, EVFILT_SIGNAL, EV_ENABLE, 0, 0, NULL);
	changes[1] = kev(SIGURG, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	CHECK_EQ(kevent(kq, changes, 2, got, 4, NULL), 1);
	CHECK_KEV(got[0], SIGUSR1, EVFILT_SIGNAL, EV_ADD | EV_CLEAR, 0, 1, NULL);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_thread_that_waits_is_woken)
{
	int kq = open_queue();
	struct waiter w;
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	waiter_start(&w, kq, NULL);
	send_me(SIGUSR1);
	CHECK_KEV(waiter_event(&w), SIGUSR1, EVFILT_SIGNAL, EV_ADD | EV_CLEAR,
	    0, 1, UDATA(SIGUSR1));
	waiter_start(&w, kq, NULL);
	CHECK_EQ(pthread_kill(w.thread, SIGUSR1), 0);
	CHECK_KEV(waiter_event(&w), SIGUSR1, EVFILT_SIGNAL, EV_ADD | EV_CLEAR,
	    0, 1, UDATA(SIGUSR1));
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(another_process_wakes_the_only_thread)
{
	int kq = open_queue(), i;
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
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
	CHECK_EQ(close(kq), 0);
}

/* Waits until the thread has been signalled while it slept, and sleeps. */
static void
signal_sleeper(struct waiter *w, int sig)
{
	CHECK_EQ(pthread_kill(w->thread, sig), 0);
	wait_until_asleep(&w->tid);
}

TEST(an_ignored_signal_gives_the_event_and_not_eintr)
{
	int kq = open_queue();
	struct waiter w;
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	waiter_start(&w, kq, NULL);
	CHECK_EQ(pthread_kill(w.thread, SIGUSR1), 0);
	CHECK_EQ(waiter_event(&w).data, 1);
	CHECK_EQ(close(kq), 0);
}

TEST(an_ignored_signal_does_not_end_the_wait_in_another_queue)
{
	int kq = open_queue(), other = open_queue();
	struct timespec ts = ms_to_ts(300);
	int64_t start = now_ns();
	struct waiter w;
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	add_user(other, 1, EV_CLEAR);
	waiter_start(&w, other, &ts);
	signal_sleeper(&w, SIGUSR1);
	signal_sleeper(&w, SIGUSR1);
	CHECK_EQ(pthread_join(w.thread, NULL), 0);
	CHECK_EQ(w.returned, 0);
	CHECK(now_ns() - start >= MS(300));
	/* Without an end, and with an event at last; the same of a disabled
	 * knote, and of a signal that does nothing by default. */
	SIG_ADD(kq, SIGURG, EV_DISABLE);
	waiter_start(&w, other, NULL);
	signal_sleeper(&w, SIGUSR1);
	signal_sleeper(&w, SIGURG);
	trigger(other, 1);
	CHECK_EQ(waiter_event(&w).filter, EVFILT_USER);
	EXPECT_ONLY(kq, SIGUSR1, 3);
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(other), 0);
}

TEST(a_handler_that_is_hooked_ends_the_wait_in_another_queue)
{
	int kq = open_queue(), other = open_queue(), flags;
	struct waiter w;
	SIG_ADD(kq, SIGUSR1, 0);
	for (flags = 0; flags < 2; flags++) {
		handle(SIGUSR1, hit, flags ? SA_RESTART : 0);
		expect_none(kq);
		waiter_start(&w, other, NULL);
		CHECK_EQ(pthread_kill(w.thread, SIGUSR1), 0);
		CHECK_EQ(pthread_join(w.thread, NULL), 0);
		CHECK_EQ(w.returned, -1);
		CHECK_EQ(w.error, EINTR);
		EXPECT_ONLY(kq, SIGUSR1, 1);
	}
	CHECK_EQ(hits, 2);
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(other), 0);
}

TEST(a_handler_that_is_not_hooked_ends_the_wait)
{
	int kq = open_queue();
	struct waiter w;
	handle(SIGUSR1, SIG_IGN, 0);
	handle(SIGUSR2, hit, SA_RESTART);
	SIG_ADD(kq, SIGUSR1, EV_DISABLE);
	waiter_start(&w, kq, NULL);
	signal_sleeper(&w, SIGUSR1);
	CHECK_EQ(pthread_kill(w.thread, SIGUSR2), 0);
	CHECK_EQ(pthread_join(w.thread, NULL), 0);
	CHECK_EQ(w.returned, -1);
	CHECK_EQ(w.error, EINTR);
	CHECK_EQ(close(kq), 0);
}

TEST(a_handler_and_the_event_of_one_signal_give_the_event)
{
	int kq = open_queue();
	struct waiter w;
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	waiter_start(&w, kq, NULL);
	CHECK_EQ(pthread_kill(w.thread, SIGUSR1), 0);
	CHECK_EQ(waiter_event(&w).data, 1);
	CHECK_EQ(hits, 1);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

#define MILLION 1000000

TEST(a_million_to_oneself_are_all_counted)
{
	int kq = open_queue(), i;
	long long told = 0;
	struct kevent got;
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	for (i = 0; i < MILLION; i++) {
		raise(SIGUSR1);
		if (i % 1000 == 0 && kevent(kq, NULL, 0, &got, 1, &no_wait) == 1)
			told += got.data;
	}
	while (kevent(kq, NULL, 0, &got, 1, &no_wait) == 1)
		told += got.data;
	CHECK_EQ(told, MILLION);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_storm_from_another_process_never_loses_the_last)
{
	int kq = open_queue(), round;
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	for (round = 0; round < 200; round++) {
		int ends[2], sent = 1 + round * 7, go;
		long long told = 0;
		struct kevent got;
		pid_t pid;
		CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
		pid = fork_child();
		if (pid == 0) {
			/* The parent has seen all but the last. */
			for (go = 0; go < sent; go++)
				CHECK_EQ(kill(getppid(), SIGUSR1), 0);
			CHECK_EQ(read(ends[0], &go, 1), 1);
			CHECK_EQ(kill(getppid(), SIGUSR1), 0);
			_exit(0);
		}
		do {
			CHECK_EQ(kevent(kq, NULL, 0, &got, 1, NULL), 1);
			told += got.data;
			/* Whatever is merged, the last of a burst is told. */
		} while (told < 1);
		while (kevent(kq, NULL, 0, &got, 1, &no_wait) == 1)
			told += got.data;
		put(ends[1], 1);
		CHECK_EQ(kevent(kq, NULL, 0, &got, 1, NULL), 1);
		told += got.data;
		expect_exit(pid, 0);
		while (kevent(kq, NULL, 0, &got, 1, &no_wait) == 1)
			told += got.data;
		CHECK(told >= 2 && told <= sent + 1);
		EXPECT_QUIET(kq);
		close(ends[0]);
		close(ends[1]);
	}
	CHECK_EQ(close(kq), 0);
}

static int
count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	int count = 0;
	CHECK(dir != NULL);
	while ((entry = readdir(dir)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

TEST(no_mask_is_changed_and_no_thread_started)
{
	sigset_t before, after;
	int kq, sig;
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	block(SIGUSR2);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &before), 0);
	CHECK_EQ(count_threads(), 1);
	kq = open_queue();
	handle(SIGUSR1, hit, 0);
	handle(SIGUSR2, hit, 0);
	for (sig = 1; sig <= 64; sig++)
		SIG_ADD(kq, sig, 0);
	send_me(SIGUSR1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	send_me(SIGUSR2);
	EXPECT_ONLY(kq, SIGUSR2, 1);
	CHECK_EQ(count_threads(), 1);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &after), 0);
	for (sig = 1; sig <= 64; sig++)
		CHECK_EQ(sigismember(&before, sig), sigismember(&after, sig));
	CHECK_EQ(hits, 1);
	CHECK_EQ(close(kq), 0);
}

TEST(a_thread_that_waits_can_be_cancelled)
{
	int kq = open_queue(), i;
	void *ended;
	struct waiter w;
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	for (i = 0; i < 10; i++) {
		waiter_start(&w, kq, NULL);
		CHECK_EQ(pthread_cancel(w.thread), 0);
		CHECK_EQ(pthread_join(w.thread, &ended), 0);
		CHECK(ended == PTHREAD_CANCELED);
		send_me(SIGUSR1);
		EXPECT_ONLY(kq, SIGUSR1, 1);
	}
	CHECK_EQ(close(kq), 0);
}

static sigjmp_buf out;

static void
leave(int sig)
{
	siglongjmp(out, sig);
}

TEST(a_handler_may_leave_the_wait_by_siglongjmp)
{
	int kq = open_queue();
	volatile int i;
	handle(SIGUSR1, leave, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	for (i = 0; i < 20; i++) {
		pid_t pid = fork_child();
		if (pid == 0) {
			wait_until_parent_sleeps();
			CHECK_EQ(kill(getppid(), SIGUSR1), 0);
			_exit(0);
		}
		if (sigsetjmp(out, 1) == 0) {
			struct kevent got;
			kevent(kq, NULL, 0, &got, 1, NULL);
			FAIL("the handler did not leave");
		}
		expect_exit(pid, 0);
		EXPECT_ONLY(kq, SIGUSR1, 1);
	}
	CHECK(!is_blocked(SIGUSR1));
	CHECK_EQ(close(kq), 0);
}

TEST(a_signal_reaches_the_outer_queue)
{
	int inner = open_queue(), outer = open_queue();
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(inner, SIGUSR1, 0);
	CHANGE(outer, (uintptr_t)inner, EVFILT_READ, EV_ADD, 0, 0, NULL);
	expect_none(outer);
	send_me(SIGUSR1);
	EXPECT(outer, (uintptr_t)inner, EVFILT_READ, EV_ADD, 0, 1, NULL);
	EXPECT_ONLY(inner, SIGUSR1, 1);
	expect_none(outer);
	CHECK_EQ(close(inner), 0);
	CHECK_EQ(close(outer), 0);
}

TEST(by_a_dup_the_queue_is_the_same)
{
	int kq = open_queue(), copy;
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	copy = fcntl(kq, F_DUPFD_CLOEXEC, 0);
	CHECK(copy != -1);
	CHECK_EQ(close(kq), 0);
	send_me(SIGUSR1);
	EXPECT_ONLY(copy, SIGUSR1, 1);
	/* Others coming and going do not make it look dead. */
	kq = open_queue();
	CHECK_EQ(close(kq), 0);
	kq = open_queue();
	CHECK_EQ(close(kq), 0);
	send_me(SIGUSR1);
	CHECK(readable(copy));
	EXPECT_ONLY(copy, SIGUSR1, 1);
	CHECK_EQ(close(copy), 0);
}

TEST(sigpipe_is_counted_and_the_write_fails_as_ever)
{
	int kq = open_queue(), ends[2];
	void (*const handlers[])(int) = {SIG_IGN, hit};
	int i;
	for (i = 0; i < 2; i++) {
		handle(SIGPIPE, handlers[i], 0);
		if (i == 0)
			SIG_ADD(kq, SIGPIPE, 0);
		else
			expect_none(kq);
		CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
		close(ends[0]);
		CHECK_FAILS(write(ends[1], "x", 1), EPIPE);
		close(ends[1]);
		EXPECT_ONLY(kq, SIGPIPE, 1);
		CHECK_EQ(hits, i);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(a_child_that_ends_is_counted_and_stays_to_be_waited_for)
{
	int kq = open_queue(), i;
	void (*const handlers[])(int) = {SIG_DFL, hit};
	for (i = 0; i < 2; i++) {
		siginfo_t info;
		pid_t pid;
		handle(SIGCHLD, handlers[i], 0);
		if (i == 0)
			SIG_ADD(kq, SIGCHLD, 0);
		else
			expect_none(kq);
		pid = fork_child();
		if (pid == 0)
			_exit(42);
		EXPECT_ONLY(kq, SIGCHLD, 1);
		CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
		CHECK_EQ(info.si_status, 42);
		expect_exit(pid, 42);
		CHECK_EQ(hits, i);
	}
	CHECK_EQ(close(kq), 0);
}

/* A child that nobody need wait for. */
static void
end_a_child(void)
{
	int status;
	pid_t pid = fork_child();
	if (pid == 0)
		_exit(0);
	/* It waits for the end of all, and finds none. */
	CHECK_EQ(waitpid(pid, &status, 0), -1);
	CHECK_EQ(errno, ECHILD);
}

TEST(children_are_reaped_by_themselves_as_ever_when_sigchld_is_ignored)
{
	int kq = open_queue();
	pid_t pid;
	handle(SIGCHLD, SIG_IGN, 0);
	SIG_ADD(kq, SIGCHLD, 0);
	end_a_child();
	/* Natively it is not even sent. */
	EXPECT_QUIET(kq);
	handle(SIGCHLD, SIG_DFL, SA_NOCLDWAIT);
	expect_none(kq);
	end_a_child();
	EXPECT_QUIET(kq);
	handle(SIGCHLD, SIG_DFL, 0);
	expect_none(kq);
	pid = fork_child();
	if (pid == 0)
		_exit(3);
	EXPECT_ONLY(kq, SIGCHLD, 1);
	expect_exit(pid, 3);
	handle(SIGCHLD, SIG_IGN, 0);
	expect_none(kq);
	end_a_child();
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(sa_nocldstop_is_kept)
{
	int kq = open_queue(), status, stops;
	SIG_ADD(kq, SIGCHLD, 0);
	for (stops = 0; stops < 2; stops++) {
		pid_t pid;
		handle(SIGCHLD, SIG_DFL, stops ? 0 : SA_NOCLDSTOP);
		expect_none(kq);
		pid = fork_child();
		if (pid == 0) {
			raise(SIGSTOP);
			_exit(0);
		}
		CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
		CHECK(WIFSTOPPED(status));
		if (stops)
			EXPECT_SIG(kq, SIGCHLD, 1);
		EXPECT_QUIET(kq);
		CHECK_EQ(kill(pid, SIGKILL), 0);
		expect_killed(pid, SIGKILL);
		EXPECT_SIG(kq, SIGCHLD, 1);
		EXPECT_QUIET(kq);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(timers_that_signal_are_counted)
{
	struct itimerval soon = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
	int kq = open_queue();
	long long told = 0;
	handle(SIGALRM, hit, SA_RESTART);
	SIG_ADD(kq, SIGALRM, 0);
	CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
	while (told < 5) {
		struct kevent k = next_event(kq);
		CHECK_EQ(k.ident, SIGALRM);
		told += k.data;
	}
	CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
	let_pass(MS(5));
	for (;;) {
		struct kevent k;
		if (kevent(kq, NULL, 0, &k, 1, &no_wait) != 1)
			break;
		told += k.data;
	}
	CHECK_EQ(told, hits);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(many_queues_hear_of_one_signal)
{
	enum { QUEUES = 100 };
	int kq[QUEUES], i, round;
	handle(SIGUSR1, SIG_IGN, 0);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < QUEUES; i++) {
			kq[i] = open_queue();
			SIG_ADD(kq[i], SIGUSR1, 0);
		}
		send_me(SIGUSR1);
		send_me(SIGUSR1);
		for (i = 0; i < QUEUES; i++)
			EXPECT_ONLY(kq[i], SIGUSR1, 2);
		for (i = 0; i < QUEUES; i++)
			CHECK_EQ(close(kq[i]), 0);
	}
}

/*
 * Threads that send real-time signals, which are not merged, to each other and
 * to the process, while they block and unblock them, and while one thread
 * collects: what went in comes out, and every handler has run.
 */
enum { SENDERS = 4, EACH = 4000 };
static atomic_int in, collected, ready_count, stop;
static pthread_t senders[SENDERS];

static void *
sender_main(void *arg)
{
	int sig = SIGRTMIN + 2, me = (int)(intptr_t)arg, i;
	atomic_fetch_add(&ready_count, 1);
	while (atomic_load(&ready_count) <= SENDERS)
		sched_yield();
	for (i = 0; i < EACH; i++) {
		/* The kernel keeps so many and no more; and of those that this
		 * thread blocks nobody is told. */
		while (atomic_load(&in) - atomic_load(&collected) > 500) {
			unblock(sig);
			sched_yield();
		}
		if (i % 7 == 0)
			block(sig);
		atomic_fetch_add(&in, 1);
		if (i % 3 == 0)
			CHECK_EQ(kill(getpid(), sig), 0);
		else
			CHECK_EQ(pthread_kill(senders[(me + i) % SENDERS], sig),
			    0);
		if (i % 7 == 3)
			unblock(sig);
	}
	unblock(sig);
	while (!atomic_load(&stop))
		let_pass(100000);
	return NULL;
}

static void
counts_in_equal_counts_out(int waiter_blocks)
{
	int sig = SIGRTMIN + 2, kq = open_queue(), i;
	struct kevent got;
	handle(sig, hit, SA_RESTART);
	SIG_ADD(kq, sig, 0);
	for (i = 0; i < SENDERS; i++)
		CHECK_EQ(pthread_create(&senders[i], NULL, sender_main,
		    (void *)(intptr_t)i), 0);
	if (waiter_blocks)
		block(sig);
	atomic_fetch_add(&ready_count, 1);
	while (atomic_load(&collected) < SENDERS * EACH) {
		struct timespec ts = ms_to_ts(GENEROUS_MS);
		int n = kevent(kq, NULL, 0, &got, 1, &ts);
		if (n == -1 && errno == EINTR)
			continue;
		if (n != 1)
			FAIL("%d of %d collected, %d handled", collected, in,
			    hits);
		atomic_fetch_add(&collected, (int)got.data);
	}
	CHECK_EQ(collected, in);
	EXPECT_QUIET(kq);
	/* While all the others blocked it, the waiter has taken some. */
	if (!waiter_blocks)
		WAIT_FOR(hits == in);
	else
		CHECK(hits <= in && hits > 0);
	atomic_store(&stop, 1);
	for (i = 0; i < SENDERS; i++)
		CHECK_EQ(pthread_join(senders[i], NULL), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(threads_that_receive_block_and_handle_lose_none)
{
	NOT_UNDER_THREAD_CHECKER(MERGED);
	counts_in_equal_counts_out(0);
}

TEST(threads_that_receive_block_and_handle_lose_none_to_a_waiter_that_blocks)
{
	NOT_UNDER_THREAD_CHECKER(MERGED);
	counts_in_equal_counts_out(1);
}

static void *
dups_after_main(void *arg)
{
	int kq = open_queue(), copy, others[3], i;
	(void)arg;
	WAIT_FOR(state_of_first_thread() == 'Z');
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK((copy = dup(kq)) >= 0);
	CHECK_EQ(close(kq), 0);
	/* Each looks for queues that are gone. */
	for (i = 0; i < 3; i++)
		others[i] = open_queue();
	CHECK_EQ(raise(SIGUSR1), 0);
	EXPECT_ONLY(copy, SIGUSR1, 1);
	for (i = 0; i < 3; i++)
		EXPECT_QUIET(others[i]);
	_exit(0);
}

TEST(by_a_dup_the_queue_is_the_same_when_the_first_thread_has_ended)
{
	pid_t pid = fork_child();
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	if (pid == 0) {
		pthread_t thread;
		CHECK_EQ(pthread_create(&thread, NULL, dups_after_main, NULL), 0);
		syscall(SYS_exit, 0);
	}
	expect_exit(pid, 0);
}

/* The first process of a namespace, whose child is the first one of another. */
static void
be_first_twice(void)
{
	int kq = open_queue();
	CHECK_EQ(getpid(), 1);
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK_EQ(unshare(CLONE_NEWPID), 0);
	IN_CHILD({
		int own;
		CHECK_EQ(getpid(), 1);
		own = open_queue();
		SIG_ADD(own, SIGUSR1, 0);
		CHECK_EQ(raise(SIGUSR1), 0);
		EXPECT_ONLY(own, SIGUSR1, 1);
		CHECK(kernel_handler_of(SIGUSR1) != hit);
		SIG_CHANGE(own, SIGUSR1, EV_DELETE);
		CHECK(kernel_handler_of(SIGUSR1) == hit);
	});
	EXPECT_QUIET(kq);
	CHECK_EQ(raise(SIGUSR1), 0);
	EXPECT_ONLY(kq, SIGUSR1, 1);
}

TEST(a_child_with_its_parents_number_has_nothing_of_its_parents)
{
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	NOT_UNDER_THREAD_CHECKER("the handlers that the kernel has are its own");
	if (unshare(CLONE_NEWPID) != 0 &&
	    unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0)
		SKIP("no namespaces here");
	IN_CHILD(be_first_twice());
}
