/*
 * EVFILT_SIGNAL: where Linux cannot follow BSD. The cases pin down what happens
 * instead, as BEHAVIOUR.md tells it.
 */
#include "signals.h"

#include <spawn.h>
#include <sys/signalfd.h>

extern char **environ;

/* A process that sends a signal to this one when it sleeps. */
static pid_t
send_soon(int sig)
{
	pid_t pid = fork_child();
	if (pid == 0) {
		wait_until_parent_sleeps();
		CHECK_EQ(kill(getppid(), sig), 0);
		_exit(0);
	}
	return pid;
}

TEST(an_ignored_signal_interrupts_poll_and_sleep)
{
	int kq = open_queue(), ends[2], i;
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	struct pollfd p;
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	p = (struct pollfd){ends[0], POLLIN, 0};
	for (i = 0; i < 2; i++) {
		pid_t pid = send_soon(SIGUSR1);
		if (i == 0)
			CHECK_FAILS(poll(&p, 1, GENEROUS_MS), EINTR);
		else
			CHECK_FAILS(nanosleep(&ts, NULL), EINTR);
		expect_exit(pid, 0);
		EXPECT_ONLY(kq, SIGUSR1, 1);
	}
	close(ends[0]);
	close(ends[1]);
	CHECK_EQ(close(kq), 0);
}

TEST(whoever_asks_is_shown_the_hook)
{
	struct sigaction sa;
	int kq = open_queue();
	void (*old)(int);
	NOT_WITH_PRELOAD();
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK_EQ(sigaction(SIGUSR1, NULL, &sa), 0);
	CHECK(sa.sa_handler != hit);
	CHECK(sa.sa_flags & SA_SIGINFO);
	old = signal(SIGUSR1, SIG_DFL);
	CHECK(old != hit);
	/* It does what hit() does, wherever it is put. */
	old(SIGUSR1);
	CHECK_EQ(hits, 1);
	CHECK(signal(SIGUSR1, old) == SIG_DFL);
	send_me(SIGUSR1);
	CHECK_EQ(hits, 2);
	SIG_CHANGE(kq, SIGUSR1, EV_DELETE);
	CHECK(handler_of(SIGUSR1) == hit);
	CHECK_EQ(close(kq), 0);
}

TEST(what_merges_while_it_is_pending_counts_once)
{
	int kq = open_queue(), i;
	block(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, 0);
	for (i = 0; i < 5; i++)
		send_me(SIGUSR1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	send_me(SIGUSR1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(close(kq), 0);
}

TEST(what_is_spawned_past_fork_does_not_inherit_an_ignored_signal)
{
	char *argv[] = {(char *)"grep", (char *)"SigIgn:",
	    (char *)"/proc/self/status", NULL};
	posix_spawn_file_actions_t actions;
	int kq = open_queue(), ends[2], watched;
	NOT_WITH_PRELOAD();
	handle(SIGUSR1, SIG_IGN, 0);
	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	CHECK_EQ(posix_spawn_file_actions_init(&actions), 0);
	CHECK_EQ(posix_spawn_file_actions_adddup2(&actions, ends[1], 1), 0);
	for (watched = 0; watched < 2; watched++) {
		char line[64] = "";
		pid_t pid;
		if (watched)
			SIG_ADD(kq, SIGUSR1, 0);
		CHECK_EQ(posix_spawnp(&pid, "grep", &actions, NULL, argv,
		    environ), 0);
		expect_exit(pid, 0);
		CHECK(read(ends[0], line, sizeof line - 1) > 8);
		CHECK_EQ(strtoull(line + 8, NULL, 16) >> (SIGUSR1 - 1) & 1,
		    !watched);
	}
	/* A child of which the library is not told keeps the hooks, too. */
	if ((watched = (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) == 0)
		_exit(handler_of(SIGUSR1) != SIG_IGN ? 0 : 1);
	expect_exit(watched, 0);
	CHECK_EQ(posix_spawn_file_actions_destroy(&actions), 0);
	close(ends[0]);
	close(ends[1]);
	CHECK_EQ(close(kq), 0);
}

TEST(a_closed_queue_keeps_its_hooks_until_the_next_look)
{
	int kq = open_queue();
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK_EQ(close(kq), 0);
	CHECK(kernel_handler_of(SIGUSR1) != hit);
	send_me(SIGUSR1);
	CHECK_EQ(hits, 1);
	libkqueue_drain_pending_close();
	CHECK(handler_of(SIGUSR1) == hit);
}

/* The thread sleeps on, until a user event comes. */
static void
signal_is_not_told(struct waiter *w)
{
	wait_until_asleep(&w->tid);
	trigger(w->kq, 1);
	CHECK_EQ(waiter_event(w).filter, EVFILT_USER);
}

struct deaf {
	int kq;
	atomic_int tid, go, done, told;
};

/* A thread that blocks the signal, sleeps, and waits in the queue at last. */
static void *
deaf_main(void *arg)
{
	struct deaf *d = arg;
	struct kevent got;
	atomic_store(&d->tid, (int)syscall(SYS_gettid));
	while (!atomic_load(&d->go))
		let_pass(100000);
	CHECK_EQ(kevent(d->kq, NULL, 0, &got, 1, &no_wait), 1);
	atomic_store(&d->told, (int)got.data);
	return NULL;
}

TEST(a_signal_to_a_thread_that_blocks_it_is_told_when_that_thread_waits)
{
	struct deaf d = {.kq = open_queue()};
	struct waiter w;
	pthread_t thread;
	add_user(d.kq, 1, EV_CLEAR);
	SIG_ADD(d.kq, SIGUSR1, 0);
	block(SIGUSR1);
	CHECK_EQ(pthread_create(&thread, NULL, deaf_main, &d), 0);
	WAIT_FOR(d.tid != 0);
	waiter_start(&w, d.kq, NULL);
	CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
	signal_is_not_told(&w);
	EXPECT_QUIET(d.kq);
	atomic_store(&d.go, 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(d.told, 1);
	EXPECT_QUIET(d.kq);
	CHECK_EQ(close(d.kq), 0);
}

TEST(a_blocked_signal_that_was_told_is_no_longer_pending)
{
	int kq = open_queue(), fd;
	sigset_t set = set_of(SIGUSR1);
	struct signalfd_siginfo info;
	handle(SIGUSR1, hit, 0);
	block(SIGUSR1);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	CHECK(fd != -1);
	SIG_ADD(kq, SIGUSR1, 0);
	send_me(SIGUSR1);
	CHECK(is_pending(SIGUSR1));
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK(!is_pending(SIGUSR1));
	CHECK_FAILS(read(fd, &info, sizeof info), EAGAIN);
	unblock(SIGUSR1);
	CHECK_EQ(hits, 0);
	close(fd);
	CHECK_EQ(close(kq), 0);
}

static void *
takes_signals(void *tid)
{
	unblock(SIGUSR1);
	atomic_store((atomic_int *)tid, (int)syscall(SYS_gettid));
	WAIT_FOR(hits == 1 && !lingers);
	return NULL;
}

TEST(one_is_not_left_for_long_to_a_thread_that_handles_one)
{
	int kq = open_queue();
	atomic_int tid = 0;
	pthread_t thread;
	struct kevent got;
	int64_t start;
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	handle(SIGUSR1, linger, 0);
	block(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, 0);
	atomic_store(&lingers, 1);
	CHECK_EQ(pthread_create(&thread, NULL, takes_signals, &tid), 0);
	WAIT_FOR(tid != 0);
	send_me(SIGUSR1);
	EXPECT_SIG(kq, SIGUSR1, 1);
	WAIT_FOR(hits == 1);
	send_me(SIGUSR1);
	start = now_ns();
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, NULL), 1);
	CHECK_EQ(got.data, 1);
	CHECK(now_ns() - start >= MS(900));
	/* What comes now is told at once. */
	send_me(SIGUSR1);
	CHECK(readable(kq));
	EXPECT_ONLY(kq, SIGUSR1, 1);
	atomic_store(&lingers, 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(hits, 1);
	CHECK_EQ(close(kq), 0);
}

TEST(what_the_application_takes_first_is_not_told)
{
	int kq = open_queue(), sig;
	sigset_t set = set_of(SIGUSR1);
	block(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, 0);
	send_me(SIGUSR1);
	CHECK_EQ(sigwait(&set, &sig), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(what_is_pending_at_ev_add_is_told)
{
	int kq = open_queue();
	block(SIGUSR1);
	send_me(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, 0);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(close(kq), 0);
}

TEST(a_disposition_over_the_hook_is_not_counted_until_the_next_look)
{
	int kq = open_queue();
	struct waiter w;
	NOT_WITH_PRELOAD();
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	SIG_ADD(kq, SIGUSR1, 0);
	add_user(kq, 1, EV_CLEAR);
	handle(SIGUSR1, hit, 0);
	send_me(SIGUSR1);
	CHECK_EQ(hits, 1);
	EXPECT_QUIET(kq);
	send_me(SIGUSR1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	/* Nor does it wake a thread that waits already. */
	waiter_start(&w, kq, NULL);
	handle(SIGUSR1, SIG_IGN, 0);
	send_me(SIGUSR1);
	signal_is_not_told(&w);
	CHECK_EQ(close(kq), 0);
}

TEST(the_33rd_disposition_of_a_signal_is_not_counted)
{
	int kq = open_queue(), i, bit;
	SIG_ADD(kq, SIGUSR1, 0);
	for (i = 1; i < 40; i++) {
		struct sigaction sa;
		memset(&sa, 0, sizeof sa);
		sa.sa_handler = hit;
		for (bit = 0; bit < 6; bit++)
			if (i >> bit & 1)
				sigaddset(&sa.sa_mask, SIGRTMIN + 1 + bit);
		CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
		expect_none(kq);
		send_me(SIGUSR1);
		CHECK_EQ(hits, i);
		/* The default was the first. */
		if (i < 32)
			EXPECT_ONLY(kq, SIGUSR1, 1);
		else
			EXPECT_QUIET(kq);
	}
	/* One of those that were there is known. */
	handle(SIGUSR1, SIG_DFL, 0);
	expect_none(kq);
	CHECK(kernel_handler_of(SIGUSR1) != SIG_DFL);
	CHECK_EQ(close(kq), 0);
}

TEST(an_ignored_sigttin_or_sigttou_is_not_counted)
{
	static const int signals[] = {SIGTTIN, SIGTTOU};
	int kq = open_queue(), i;
	for (i = 0; i < 2; i++) {
		handle(signals[i], SIG_IGN, 0);
		SIG_ADD(kq, signals[i], 0);
		send_me(signals[i]);
		EXPECT_QUIET(kq);
		handle(signals[i], hit, 0);
		EXPECT_QUIET(kq);
		send_me(signals[i]);
		EXPECT_ONLY(kq, signals[i], 1);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(a_blocked_signal_of_a_disabled_knote_makes_the_queue_readable_once)
{
	int kq = open_queue();
	block(SIGUSR1);
	SIG_ADD(kq, SIGUSR1, EV_DISABLE);
	send_me(SIGUSR1);
	CHECK(readable(kq));
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

/*
 * Both arrive while the process is stopped, so both interrupt the one wait; the
 * handler runs first, and the other is what the library sees.
 */
TEST(a_handler_beside_an_ignored_signal_may_not_end_the_wait)
{
	int status;
	pid_t pid;
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	pid = fork_child();
	if (pid == 0) {
		struct timespec ts = ms_to_ts(1000);
		struct kevent got;
		int kq = open_queue(), other = open_queue();
		handle(SIGUSR1, SIG_IGN, 0);
		handle(SIGUSR2, hit, 0);
		SIG_ADD(kq, SIGUSR1, 0);
		raise(SIGSTOP);
		if (kevent(other, NULL, 0, &got, 1, &ts) == -1)
			CHECK_EQ(errno, EINTR);
		CHECK_EQ(hits, 1);
		EXPECT_ONLY(kq, SIGUSR1, 1);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK_EQ(kill(pid, SIGCONT), 0);
	let_pass(MS(200));
	CHECK_EQ(kill(pid, SIGSTOP), 0);
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK_EQ(kill(pid, SIGUSR1), 0);
	CHECK_EQ(kill(pid, SIGUSR2), 0);
	CHECK_EQ(kill(pid, SIGCONT), 0);
	/* Handled and told, though the wait may have gone on to its end. */
	expect_exit(pid, 0);
}

TEST(without_a_descriptor_a_blocked_signal_is_looked_for_by_the_clock)
{
	struct rlimit usual, none;
	struct timespec soon = ms_to_ts(250);
	struct kevent got;
	int64_t before;
	pid_t pid;
	int kq = open_queue();
	SIG_ADD(kq, SIGUSR1, 0);
	block(SIGUSR1);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &usual), 0);
	none = usual;
	/* poll() takes as many entries. */
	none.rlim_cur = 1;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	expect_none(kq);
	before = now_ns();
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &soon), 0);
	CHECK(now_ns() - before >= MS(250));
	pid = fork_child();
	if (pid == 0) {
		CHECK_EQ(setrlimit(RLIMIT_NOFILE, &usual), 0);
		wait_until_parent_sleeps();
		CHECK_EQ(kill(getppid(), SIGUSR1), 0);
		_exit(0);
	}
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, NULL), 1);
	CHECK_EQ(got.ident, SIGUSR1);
	CHECK_EQ(got.data, 1);
	expect_exit(pid, 0);
	/* Whoever polls the queue does not see it. */
	send_me(SIGUSR1);
	CHECK(!readable(kq));
	EXPECT_SIG(kq, SIGUSR1, 1);
	expect_none(kq);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &usual), 0);
	expect_none(kq);
	send_me(SIGUSR1);
	CHECK(readable(kq));
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(close(kq), 0);
}

/* A handler that uses the queue on which it may have interrupted a call. */
static int used;
static pthread_t user;
static atomic_int done, refused;
static atomic_bool sent_enough;

static void
trigger_in_handler(int sig)
{
	int saved = errno, kq;
	struct kevent change;
	(void)sig;
	EV_SET(&change, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	errno = 0;
	if (kevent(used, &change, 1, NULL, 0, NULL) == 0)
		atomic_fetch_add(&done, 1);
	else if (errno == EDEADLK)
		atomic_fetch_add(&refused, 1);
	else
		abort();
	/* To make one is always possible. */
	if ((kq = kqueue()) == -1 || close(kq) == -1)
		abort();
	errno = saved;
}

static void *
interrupt_user(void *arg)
{
	while (!atomic_load(&sent_enough)) {
		int handled = atomic_load(&done) + atomic_load(&refused);
		CHECK_EQ(pthread_kill(user, SIGUSR1), 0);
		while (atomic_load(&done) + atomic_load(&refused) == handled &&
		    !atomic_load(&sent_enough))
			sched_yield();
	}
	return arg;
}

TEST(a_handler_on_top_of_a_call_on_the_same_queue_cannot_use_it)
{
	pthread_t interrupter;
	struct kevent k;
	int told = 0;
	NOT_UNDER_THREAD_CHECKER("it delays handlers until a call is over");
	NOT_UNDER_VALGRIND("it runs handlers where a thread's turn ends");
	used = open_queue();
	user = pthread_self();
	CHANGE(used, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	handle(SIGUSR1, trigger_in_handler, SA_RESTART);
	CHECK_EQ(pthread_create(&interrupter, NULL, interrupt_user, NULL), 0);
	while (atomic_load(&refused) < 20 || atomic_load(&done) < 20) {
		int kq = open_queue(), n;
		n = kevent(used, NULL, 0, &k, 1, &no_wait);
		CHECK(n >= 0);
		told += n;
		CHECK_EQ(close(kq), 0);
	}
	atomic_store(&sent_enough, true);
	CHECK_EQ(pthread_join(interrupter, NULL), 0);
	while (kevent(used, NULL, 0, &k, 1, &no_wait) == 1)
		told++;
	/* Those that were done are told. */
	CHECK(told > 0);
	CHANGE(used, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	CHECK_EQ(next_event(used).ident, 1);
	CHECK_EQ(close(used), 0);
}
