/*
 * EVFILT_SIGNAL: what the application notices of its own signals while they
 * are watched, which is nothing. Its handlers run in the right thread, with
 * their masks, flags and stacks; what it ignores stays ignored; defaults
 * happen; it may change its mind at any time, and gets everything back.
 */
#include "signals.h"

#include <spawn.h>
#include <ucontext.h>

static atomic_int handler_tid, handler_mask[65], handler_on_stack, order[8],
    order_count;
static siginfo_t handler_info;
static char alt_stack[65536];

static void
note_order(int who)
{
	atomic_store(&order[atomic_fetch_add(&order_count, 1) % 8], who);
}

static void
look_around(int sig, siginfo_t *info, void *context)
{
	char here;
	sigset_t mask;
	int i;
	(void)sig;
	if (pthread_sigmask(SIG_BLOCK, NULL, &mask) != 0)
		abort();
	for (i = 1; i <= 64; i++)
		atomic_store(&handler_mask[i], sigismember(&mask, i));
	atomic_store(&handler_on_stack,
	    &here >= alt_stack && &here < alt_stack + sizeof alt_stack);
	handler_info = *info;
	if (context == NULL || ((ucontext_t *)context)->uc_link != NULL)
		abort();
	atomic_store(&handler_tid, (int)syscall(SYS_gettid));
	atomic_fetch_add(&hits, 1);
}

struct target {
	pthread_t thread;
	atomic_int tid, done;
};

static void *
target_main(void *arg)
{
	struct target *t = arg;
	stack_t stack = {.ss_sp = alt_stack, .ss_size = sizeof alt_stack};
	CHECK_EQ(sigaltstack(&stack, NULL), 0);
	block(SIGURG);
	atomic_store(&t->tid, (int)syscall(SYS_gettid));
	while (!atomic_load(&t->done))
		let_pass(100000);
	return NULL;
}

TEST(a_handler_runs_in_its_thread_with_its_mask_and_flags)
{
	static const int flags[] = {0, SA_NODEFER, SA_ONSTACK,
	    SA_ONSTACK | SA_NODEFER | SA_RESTART};
	struct target t = {.tid = 0};
	int kq = open_queue(), sig;
	size_t i;
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK_EQ(pthread_create(&t.thread, NULL, target_main, &t), 0);
	WAIT_FOR(t.tid != 0);
	for (i = 0; i < sizeof flags / sizeof *flags; i++) {
		struct sigaction sa;
		memset(&sa, 0, sizeof sa);
		sa.sa_sigaction = look_around;
		sa.sa_flags = SA_SIGINFO | flags[i];
		sigaddset(&sa.sa_mask, SIGHUP);
		sigaddset(&sa.sa_mask, SIGRTMAX);
		CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
		expect_none(kq);
		CHECK_EQ(pthread_kill(t.thread, SIGUSR1), 0);
		WAIT_FOR(hits == (int)i + 1);
		CHECK_EQ(handler_tid, t.tid);
		CHECK_EQ(handler_on_stack, (flags[i] & SA_ONSTACK) != 0);
		CHECK_EQ(handler_info.si_signo, SIGUSR1);
		CHECK_EQ(handler_info.si_pid, getpid());
		CHECK_EQ(handler_info.si_code, SI_TKILL);
		for (sig = 1; sig <= 64; sig++)
			CHECK_EQ(handler_mask[sig],
			    sig == SIGHUP || sig == SIGRTMAX || sig == SIGURG ||
				(sig == SIGUSR1 && !(flags[i] & SA_NODEFER)));
		EXPECT_ONLY(kq, SIGUSR1, 1);
	}
	atomic_store(&t.done, 1);
	CHECK_EQ(pthread_join(t.thread, NULL), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(a_handler_gets_the_senders_value)
{
	int kq = open_queue(), sig = SIGRTMIN + 1;
	union sigval value = {.sival_ptr = &hits};
	handle_info(sig, look_around, 0);
	SIG_ADD(kq, sig, 0);
	CHECK_EQ(sigqueue(getpid(), sig, value), 0);
	WAIT_FOR(hits == 1);
	CHECK_EQ(handler_info.si_code, SI_QUEUE);
	CHECK(handler_info.si_value.sival_ptr == &hits);
	EXPECT_ONLY(kq, sig, 1);
	CHECK_EQ(close(kq), 0);
}

TEST(sa_restart_is_kept)
{
	int kq = open_queue(), ends[2], flags;
	char byte;
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	for (flags = 0; flags < 2; flags++) {
		pid_t pid;
		handle(SIGUSR1, hit, flags ? SA_RESTART : 0);
		expect_none(kq);
		pid = fork_child();
		if (pid == 0) {
			wait_until_parent_sleeps();
			CHECK_EQ(kill(getppid(), SIGUSR1), 0);
			wait_until_parent_sleeps();
			put(ends[1], 1);
			_exit(0);
		}
		if (flags) {
			CHECK_EQ(read(ends[0], &byte, 1), 1);
		} else {
			CHECK_FAILS(read(ends[0], &byte, 1), EINTR);
			CHECK_EQ(read(ends[0], &byte, 1), 1);
		}
		expect_exit(pid, 0);
		EXPECT_ONLY(kq, SIGUSR1, 1);
	}
	close(ends[0]);
	close(ends[1]);
	CHECK_EQ(close(kq), 0);
}

/* Ignored, or doing nothing by default: read() goes on. */
TEST(what_is_ignored_interrupts_no_read)
{
	static const int signals[] = {SIGUSR1, SIGWINCH};
	int kq = open_queue(), ends[2];
	char byte;
	size_t i;
	handle(SIGUSR1, SIG_IGN, 0);
	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	for (i = 0; i < 2; i++) {
		pid_t pid;
		SIG_ADD(kq, signals[i], 0);
		pid = fork_child();
		if (pid == 0) {
			wait_until_parent_sleeps();
			CHECK_EQ(kill(getppid(), signals[i]), 0);
			wait_until_parent_sleeps();
			put(ends[1], 1);
			_exit(0);
		}
		CHECK_EQ(read(ends[0], &byte, 1), 1);
		expect_exit(pid, 0);
		EXPECT_ONLY(kq, signals[i], 1);
	}
	close(ends[0]);
	close(ends[1]);
	CHECK_EQ(close(kq), 0);
}

TEST(sa_resethand_runs_once_then_the_default)
{
	pid_t pid = fork_child();
	if (pid == 0) {
		int kq = open_queue(), i;
		SIG_ADD(kq, SIGUSR1, 0);
		for (i = 1; i <= 50; i++) {
			/* Set again and again, as of old. */
			handle(SIGUSR1, hit, SA_RESETHAND);
			expect_none(kq);
			send_me(SIGUSR1);
			CHECK_EQ(hits, i);
			EXPECT_ONLY(kq, SIGUSR1, 1);
		}
		SIG_CHANGE(kq, SIGUSR1, EV_DELETE);
		CHECK(handler_of(SIGUSR1) == SIG_DFL);
		handle(SIGUSR1, hit, SA_RESETHAND);
		SIG_ADD(kq, SIGUSR1, 0);
		send_me(SIGUSR1);
		CHECK_EQ(hits, 51);
		send_me(SIGUSR1);
		_exit(0);
	}
	expect_killed(pid, SIGUSR1);
}

static volatile int *volatile nowhere;
static volatile int zero;

static void
fault_segv(void)
{
	*nowhere = 1;
}

static void
fault_ill(void)
{
	__builtin_trap();
}

static void
do_abort(void)
{
	abort();
}

static int sent_signal;

static void
send_signal(void)
{
	CHECK_EQ(kill(getpid(), sent_signal), 0);
}

static void
send_thread_signal(void)
{
	CHECK_EQ(raise(sent_signal), 0);
}

/* By what a child ends that watches the signal and then does this. */
static void
ends_by(int sig, void (*end)(void), int ignored)
{
	pid_t pid = fork_child();
	if (pid == 0) {
		int kq = open_queue();
		if (ignored)
			handle(sig, SIG_IGN, 0);
		SIG_ADD(kq, sig, 0);
		expect_none(kq);
		end();
		_exit(0);
	}
	expect_killed(pid, sig);
}

TEST(default_actions_end_the_process_by_the_true_signal)
{
	static const int signals[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT,
	    SIGUSR1, SIGALRM, SIGPIPE, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP,
	    SIGSYS, SIGABRT, SIGXCPU, SIGIO};
	size_t i;
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	for (i = 0; i < sizeof signals / sizeof *signals; i++) {
		sent_signal = signals[i];
		/* Whoever runs the tests may ignore some: nohup(1) does. */
		CHECK(signal(sent_signal, SIG_DFL) != SIG_ERR);
		ends_by(sent_signal, send_signal, 0);
		ends_by(sent_signal, send_thread_signal, 0);
	}
	sent_signal = SIGRTMIN + 5;
	ends_by(sent_signal, send_signal, 0);
}

TEST(faults_and_abort_end_the_process)
{
	int ignored;
	for (ignored = 0; ignored < 2; ignored++) {
		ends_by(SIGSEGV, fault_segv, ignored);
		ends_by(SIGILL, fault_ill, ignored);
		ends_by(SIGABRT, do_abort, ignored);
	}
}

TEST(a_fault_is_the_applications_to_handle)
{
	int kq = open_queue();
	handle_info(SIGSEGV, look_around, SA_RESETHAND | SA_ONSTACK);
	SIG_ADD(kq, SIGSEGV, 0);
	if (fork() == 0) {
		struct rlimit none = {0, 0};
		kq = open_queue();
		SIG_ADD(kq, SIGSEGV, 0);
		setrlimit(RLIMIT_CORE, &none);
		/* The handler returns, it faults again, and that is the end. */
		fault_segv();
		_exit(0);
	}
	CHECK_EQ(hits, 0);
	{
		int status;
		CHECK(wait(&status) > 0);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	}
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(sent_faults_that_are_ignored_are_ignored)
{
	int kq = open_queue();
	handle(SIGSEGV, SIG_IGN, 0);
	handle(SIGTRAP, SIG_IGN, 0);
	SIG_ADD(kq, SIGSEGV, 0);
	SIG_ADD(kq, SIGTRAP, 0);
	send_me(SIGSEGV);
	EXPECT_ONLY(kq, SIGSEGV, 1);
	CHECK_EQ(raise(SIGTRAP), 0);
	EXPECT_ONLY(kq, SIGTRAP, 1);
	CHECK_EQ(close(kq), 0);
}

TEST(a_stop_stops_and_goes_on_and_is_counted_once)
{
	static const int signals[] = {SIGTSTP, SIGTTIN, SIGTTOU};
	size_t i;
	int round, status;
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	for (i = 0; i < 3; i++) {
		int sig = signals[i];
		pid_t pid = fork_child();
		if (pid == 0) {
			int kq = open_queue();
			/* In a group of its own, which has a parent outside. */
			CHECK_EQ(setpgid(0, 0), 0);
			SIG_ADD(kq, sig, 0);
			for (round = 0; round < 3; round++) {
				send_me(sig);
				EXPECT_ONLY(kq, sig, 1);
				CHECK(!is_blocked(SIGTERM));
				CHECK(!is_blocked(sig));
			}
			_exit(0);
		}
		for (round = 0; round < 3; round++) {
			CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
			CHECK(WIFSTOPPED(status));
			CHECK_EQ(WSTOPSIG(status), sig);
			CHECK_EQ(kill(pid, SIGCONT), 0);
		}
		expect_exit(pid, 0);
	}
}

TEST(a_handler_set_before_ev_add_runs)
{
	int kq = open_queue();
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	send_me(SIGUSR1);
	CHECK_EQ(hits, 1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(close(kq), 0);
}

TEST(a_disposition_set_later_is_found_at_the_next_wait)
{
	void (*const handlers[])(int) = {SIG_IGN, hit, SIG_IGN, hit};
	int kq = open_queue(), i;
	SIG_ADD(kq, SIGUSR1, 0);
	for (i = 0; i < 4; i++) {
		/* By either call. */
		if (i % 2)
			handle(SIGUSR1, handlers[i], 0);
		else
			CHECK(signal(SIGUSR1, handlers[i]) != SIG_ERR);
		EXPECT_QUIET(kq);
		send_me(SIGUSR1);
		send_me(SIGUSR1);
		EXPECT_ONLY(kq, SIGUSR1, 2);
		CHECK_EQ(hits, i / 2 * 2 + (i % 2) * 2);
	}
	/* Any change of the knote looks, too. */
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	send_me(SIGUSR1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(close(kq), 0);
}

TEST(a_disposition_set_while_another_thread_waits)
{
	int kq = open_queue();
	struct waiter w;
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	waiter_start(&w, kq, NULL);
	handle(SIGUSR1, hit, 0);
	expect_none(kq);
	send_me(SIGUSR1);
	CHECK_EQ(waiter_event(&w).data, 1);
	CHECK_EQ(hits, 1);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

static struct sigaction old_action, older_action;

/* The application's own dispositions come back, and are counted. */
TEST(an_old_disposition_can_be_put_back)
{
	struct sigaction ignore;
	int kq = open_queue(), i;
	memset(&ignore, 0, sizeof ignore);
	ignore.sa_handler = SIG_IGN;
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	for (i = 0; i < 40; i++) {
		CHECK_EQ(sigaction(SIGUSR1, &ignore, &old_action), 0);
		if (i % 2)
			EXPECT_QUIET(kq);
		send_me(SIGUSR1);
		CHECK_EQ(hits, i);
		CHECK_EQ(sigaction(SIGUSR1, &old_action, NULL), 0);
		send_me(SIGUSR1);
		CHECK_EQ(hits, i + 1);
		/* Alone, the first of the two came before anybody looked. */
		EXPECT_ONLY(kq, SIGUSR1, i % 2 || has_preload() ? 2 : 1);
	}
	SIG_CHANGE(kq, SIGUSR1, EV_DELETE);
	CHECK(handler_of(SIGUSR1) == hit);
	CHECK_EQ(close(kq), 0);
}

TEST(two_old_dispositions_can_be_put_back_in_turn)
{
	struct sigaction sa;
	int kq = open_queue();
	memset(&sa, 0, sizeof sa);
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	sa.sa_handler = SIG_IGN;
	CHECK_EQ(sigaction(SIGUSR1, &sa, &older_action), 0);
	expect_none(kq);
	sa.sa_handler = SIG_DFL;
	CHECK_EQ(sigaction(SIGUSR1, &sa, &old_action), 0);
	expect_none(kq);
	CHECK_EQ(sigaction(SIGUSR1, &old_action, NULL), 0);
	send_me(SIGUSR1);
	CHECK_EQ(hits, 0);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(sigaction(SIGUSR1, &older_action, NULL), 0);
	send_me(SIGUSR1);
	CHECK_EQ(hits, 1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(close(kq), 0);
}

static void
first_plain(int sig)
{
	(void)sig;
	note_order(1);
}

static void
second_plain(int sig)
{
	note_order(2);
	if (old_action.sa_handler != SIG_DFL &&
	    old_action.sa_handler != SIG_IGN)
		old_action.sa_handler(sig);
	note_order(3);
}

static void
first_info(int sig, siginfo_t *info, void *context)
{
	if (info->si_signo != sig || context == NULL)
		abort();
	note_order(1);
}

static void
second_info(int sig, siginfo_t *info, void *context)
{
	note_order(2);
	if (old_action.sa_flags & SA_SIGINFO)
		old_action.sa_sigaction(sig, info, context);
	else if (old_action.sa_handler != SIG_DFL &&
	    old_action.sa_handler != SIG_IGN)
		old_action.sa_handler(sig);
	note_order(3);
}

static void
third_info(int sig, siginfo_t *info, void *context)
{
	note_order(4);
	older_action.sa_sigaction(sig, info, context);
	note_order(5);
}

static void
expect_order(const char *want)
{
	char got[16] = "";
	int i;
	for (i = 0; i < order_count; i++)
		got[i] = (char)('0' + order[i]);
	if (strcmp(got, want) != 0)
		FAIL("the handlers ran as %s, not %s", got, want);
	atomic_store(&order_count, 0);
}

TEST(a_handler_that_calls_the_old_one_is_counted_once)
{
	int kq = open_queue(), i;
	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	handle(SIGUSR1, first_plain, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	sa.sa_handler = second_plain;
	CHECK_EQ(sigaction(SIGUSR1, &sa, &old_action), 0);
	/* Nobody has looked yet. */
	send_me(SIGUSR1);
	expect_order("213");
	EXPECT_ONLY(kq, SIGUSR1, 1);
	for (i = 0; i < 3; i++) {
		send_me(SIGUSR1);
		expect_order("213");
		EXPECT_ONLY(kq, SIGUSR1, 1);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(a_chain_of_handlers_with_siginfo_is_counted_once)
{
	int kq = open_queue(), i;
	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	sa.sa_flags = SA_SIGINFO;
	handle_info(SIGUSR1, first_info, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	sa.sa_sigaction = second_info;
	CHECK_EQ(sigaction(SIGUSR1, &sa, &old_action), 0);
	expect_none(kq);
	sa.sa_sigaction = third_info;
	CHECK_EQ(sigaction(SIGUSR1, &sa, &older_action), 0);
	for (i = 0; i < 3; i++) {
		send_me(SIGUSR1);
		expect_order("42135");
		EXPECT_ONLY(kq, SIGUSR1, 1);
	}
	/* The chain is taken down again, link by link. */
	CHECK_EQ(sigaction(SIGUSR1, &older_action, NULL), 0);
	send_me(SIGUSR1);
	expect_order("213");
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(sigaction(SIGUSR1, &old_action, NULL), 0);
	send_me(SIGUSR1);
	expect_order("1");
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(close(kq), 0);
}

/* What a program would not call it does not mean to happen. */
TEST(a_handler_over_the_default_may_call_what_it_was_given)
{
	void (*const below[])(int) = {SIG_DFL, SIG_IGN};
	int i;
	for (i = 0; i < 2; i++) {
		struct sigaction sa;
		int kq = open_queue();
		memset(&sa, 0, sizeof sa);
		handle(SIGTERM, below[i], 0);
		SIG_ADD(kq, SIGTERM, 0);
		if (i == 0) {
			sa.sa_handler = second_plain;
		} else {
			sa.sa_sigaction = second_info;
			sa.sa_flags = SA_SIGINFO;
		}
		CHECK_EQ(sigaction(SIGTERM, &sa, &old_action), 0);
		send_me(SIGTERM);
		expect_order("23");
		EXPECT_ONLY(kq, SIGTERM, 1);
		send_me(SIGTERM);
		expect_order("23");
		EXPECT_ONLY(kq, SIGTERM, 1);
		CHECK_EQ(close(kq), 0);
	}
}

static sigjmp_buf out;

static void
chain_and_leave(int sig, siginfo_t *info, void *context)
{
	old_action.sa_sigaction(sig, info, context);
	siglongjmp(out, 1);
}

TEST(a_chain_may_end_by_siglongjmp)
{
	struct sigaction sa;
	volatile int i;
	int kq = open_queue();
	memset(&sa, 0, sizeof sa);
	handle_info(SIGUSR1, first_info, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	sa.sa_sigaction = chain_and_leave;
	sa.sa_flags = SA_SIGINFO;
	CHECK_EQ(sigaction(SIGUSR1, &sa, &old_action), 0);
	for (i = 0; i < 5; i++) {
		if (sigsetjmp(out, 1) == 0) {
			send_me(SIGUSR1);
			FAIL("the handler did not leave");
		}
		expect_order("1");
		EXPECT_ONLY(kq, SIGUSR1, 1);
	}
	CHECK_EQ(close(kq), 0);
}

static void
end_thread(int sig)
{
	(void)sig;
	pthread_exit(&hits);
}

static void *
raise_it(void *arg)
{
	raise(SIGUSR1);
	return arg;
}

TEST(a_handler_may_end_its_thread)
{
	int kq = open_queue();
	pthread_t thread;
	void *value;
	handle(SIGUSR1, end_thread, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK_EQ(pthread_create(&thread, NULL, raise_it, NULL), 0);
	CHECK_EQ(pthread_join(thread, &value), 0);
	CHECK(value == &hits);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(close(kq), 0);
}

static void
spoil_errno(int sig)
{
	(void)sig;
	errno = 55;
}

TEST(errno_is_the_applications)
{
	int kq = open_queue();
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	SIG_ADD(kq, SIGURG, 0);
	errno = 77;
	raise(SIGUSR1);
	CHECK_EQ(errno, 77);
	raise(SIGURG);
	CHECK_EQ(errno, 77);
	CHECK_EQ(next_event(kq).data + next_event(kq).data, 2);
	EXPECT_QUIET(kq);
	handle(SIGUSR1, spoil_errno, 0);
	expect_none(kq);
	raise(SIGUSR1);
	CHECK_EQ(errno, 55);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(close(kq), 0);
}

static void
expect_action(int sig, const struct sigaction *want)
{
	struct sigaction sa;
	int i;
	CHECK_EQ(sigaction(sig, NULL, &sa), 0);
	CHECK(sa.sa_handler == want->sa_handler);
	CHECK_EQ(sa.sa_flags & 0x7fffffff & ~0x04000000, want->sa_flags);
	for (i = 1; i <= 64; i++)
		CHECK_EQ(sigismember(&sa.sa_mask, i),
		    sigismember(&want->sa_mask, i));
}

TEST(the_last_delete_gives_everything_back)
{
	struct sigaction sa;
	int one = open_queue(), two = open_queue(), i;
	void (*const handlers[])(int) = {SIG_DFL, SIG_IGN, hit};
	for (i = 0; i < 3; i++) {
		memset(&sa, 0, sizeof sa);
		sa.sa_handler = handlers[i];
		sa.sa_flags = SA_RESTART | SA_ONSTACK;
		sigaddset(&sa.sa_mask, SIGHUP);
		CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
		SIG_ADD(one, SIGUSR1, 0);
		SIG_ADD(two, SIGUSR1, EV_DISABLE);
		SIG_CHANGE(one, SIGUSR1, EV_DELETE);
		CHECK(kernel_handler_of(SIGUSR1) != handlers[i]);
		SIG_CHANGE(two, SIGUSR1, EV_DELETE);
		expect_action(SIGUSR1, &sa);
	}
	CHECK_EQ(close(one), 0);
	CHECK_EQ(close(two), 0);
}

TEST(a_delete_leaves_what_the_application_set_meanwhile)
{
	int kq = open_queue();
	SIG_ADD(kq, SIGUSR1, 0);
	handle(SIGUSR1, hit, 0);
	SIG_CHANGE(kq, SIGUSR1, EV_DELETE);
	CHECK(handler_of(SIGUSR1) == hit);
	send_me(SIGUSR1);
	CHECK_EQ(hits, 1);
	CHECK_EQ(close(kq), 0);
}

TEST(close_gives_everything_back_at_the_next_look)
{
	int kq = open_queue(), other;
	handle(SIGUSR1, hit, 0);
	handle(SIGUSR2, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	SIG_ADD(kq, SIGUSR2, EV_DISABLE);
	CHECK_EQ(close(kq), 0);
	libkqueue_drain_pending_close();
	CHECK(handler_of(SIGUSR1) == hit);
	CHECK(handler_of(SIGUSR2) == SIG_IGN);
	/* Another queue is a look, too. */
	kq = open_queue();
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK(kernel_handler_of(SIGUSR1) != hit);
	CHECK_EQ(close(kq), 0);
	kq = open_queue();
	other = open_queue();
	CHECK(handler_of(SIGUSR1) == hit);
	send_me(SIGUSR1);
	CHECK_EQ(hits, 1);
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(other), 0);
}

/* What a program finds that a process watching both signals has started. */
static void
expect_inherited(const char *line, int usr1, int usr2)
{
	unsigned long long set = strtoull(line + 8, NULL, 16);
	CHECK(strncmp(line, "SigIgn:\t", 8) == 0);
	CHECK_EQ(set >> (SIGUSR1 - 1) & 1, usr1);
	CHECK_EQ(set >> (SIGUSR2 - 1) & 1, usr2);
}

TEST(a_forked_child_has_the_applications_dispositions_and_can_exec)
{
	int kq = open_queue(), ends[2], cleanup;
	for (cleanup = 1; cleanup >= 0; cleanup--) {
		char line[64] = "";
		pid_t pid;
		CHECK_EQ(change(kq, 0, EVFILT_LIBKQUEUE, EV_ADD,
		    NOTE_FORK_CLEANUP, cleanup, NULL), 0);
		handle(SIGUSR1, SIG_IGN, 0);
		handle(SIGUSR2, hit, 0);
		SIG_ADD(kq, SIGUSR1, 0);
		SIG_ADD(kq, SIGUSR2, 0);
		CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
		pid = fork_child();
		if (pid == 0) {
			CHECK(handler_of(SIGUSR1) == SIG_IGN);
			CHECK(handler_of(SIGUSR2) == hit);
			CHECK_EQ(dup2(ends[1], 1), 1);
			execlp("grep", "grep", "SigIgn:", "/proc/self/status",
			    (char *)NULL);
			_exit(9);
		}
		expect_exit(pid, 0);
		CHECK(read(ends[0], line, sizeof line - 1) > 8);
		expect_inherited(line, 1, 0);
		close(ends[0]);
		close(ends[1]);
		/* The parent's stay hooked. */
		send_me(SIGUSR1);
		EXPECT_ONLY(kq, SIGUSR1, 1);
	}
	CHECK_EQ(change(kq, 0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_FORK_CLEANUP, 1,
	    NULL), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(a_forked_child_counts_nothing_for_its_parent)
{
	int kq = open_queue();
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	IN_CHILD({
		send_me(SIGUSR1);
		CHECK_EQ(hits, 1);
	});
	EXPECT_QUIET(kq);
	CHECK_EQ(hits, 0);
	CHECK_EQ(close(kq), 0);
}

TEST(a_forked_child_has_queues_and_counts_of_its_own)
{
	int kq = open_queue();
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	send_me(SIGUSR1);
	IN_CHILD({
		int own = open_queue();
		SIG_ADD(own, SIGUSR1, 0);
		EXPECT_QUIET(own);
		send_me(SIGUSR1);
		send_me(SIGUSR1);
		EXPECT_ONLY(own, SIGUSR1, 2);
		CHECK_EQ(hits, 3);
		SIG_CHANGE(own, SIGUSR1, EV_DELETE);
		CHECK(handler_of(SIGUSR1) == hit);
		/* And one of its own, in turn. */
		SIG_ADD(own, SIGUSR1, 0);
		IN_CHILD({
			int third = open_queue();
			SIG_ADD(third, SIGUSR1, 0);
			send_me(SIGUSR1);
			EXPECT_ONLY(third, SIGUSR1, 1);
		});
		EXPECT_QUIET(own);
	});
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(hits, 1);
	CHECK_EQ(close(kq), 0);
}

/* A child of whom no handler is told. */
static pid_t
raw_fork(void)
{
	fflush(NULL);
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

TEST(a_child_forked_past_the_library_behaves)
{
	int kq = open_queue();
	pid_t pid;
	handle(SIGUSR1, hit, 0);
	handle(SIGUSR2, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	SIG_ADD(kq, SIGUSR2, 0);
	SIG_ADD(kq, SIGTERM, 0);
	pid = raw_fork();
	CHECK(pid != -1);
	if (pid == 0) {
		pid_t me = (pid_t)syscall(SYS_getpid);
		int own;
		syscall(SYS_kill, me, SIGUSR1);
		if (hits != 1)
			_exit(1);
		syscall(SYS_kill, me, SIGUSR2);
		/* It can begin anew, with the hooks that it has inherited. */
		own = kqueue();
		if (own < 0)
			_exit(2);
		SIG_ADD(own, SIGUSR1, 0);
		SIG_ADD(own, SIGUSR2, 0);
		syscall(SYS_kill, me, SIGUSR1);
		syscall(SYS_kill, me, SIGUSR2);
		if (hits != 2 || next_event(own).data != 1 ||
		    next_event(own).data != 1)
			_exit(3);
		EXPECT_QUIET(own);
		SIG_CHANGE(own, SIGUSR1, EV_DELETE);
		if (handler_of(SIGUSR1) != hit)
			_exit(4);
		syscall(SYS_kill, me, SIGTERM);
		_exit(5);
	}
	expect_killed(pid, SIGTERM);
	EXPECT_QUIET(kq);
	CHECK_EQ(hits, 0);
	send_me(SIGUSR1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(close(kq), 0);
}

static void
vfork_and_signal(int sig)
{
	pid_t pid = vfork();
	CHECK(pid != -1);
	if (pid == 0) {
		syscall(SYS_kill, (pid_t)syscall(SYS_getpid), sig);
		_exit(7);
	}
	expect_exit(pid, 7);
}

TEST(a_vfork_child_counts_nothing_for_its_parent)
{
	int kq = open_queue();
	pid_t pid;
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	handle(SIGUSR1, hit, 0);
	handle(SIGUSR2, SIG_IGN, 0);
	handle(SIGHUP, hit, SA_RESETHAND);
	SIG_ADD(kq, SIGUSR1, 0);
	SIG_ADD(kq, SIGUSR2, 0);
	SIG_ADD(kq, SIGHUP, 0);
	SIG_ADD(kq, SIGTERM, 0);
	vfork_and_signal(SIGUSR1);
	vfork_and_signal(SIGUSR2);
	vfork_and_signal(SIGHUP);
	/* The handler did run, in the memory that is shared. */
	CHECK_EQ(hits, 2);
	pid = vfork();
	CHECK(pid != -1);
	if (pid == 0) {
		syscall(SYS_kill, (pid_t)syscall(SYS_getpid), SIGTERM);
		_exit(7);
	}
	expect_killed(pid, SIGTERM);
	EXPECT_QUIET(kq);
	/* The parent's handler for one signal has had none yet. */
	send_me(SIGHUP);
	CHECK_EQ(hits, 3);
	EXPECT_ONLY(kq, SIGHUP, 1);
	CHECK_EQ(close(kq), 0);
}

extern char **environ;

TEST(spawn_and_system_work_around_watched_signals)
{
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)"exit 6", NULL};
	int kq = open_queue(), i, status;
	pid_t pid;
	SIG_ADD(kq, SIGCHLD, 0);
	SIG_ADD(kq, SIGINT, 0);
	SIG_ADD(kq, SIGQUIT, 0);
	handle(SIGINT, hit, 0);
	expect_none(kq);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(posix_spawnp(&pid, "sh", NULL, NULL, argv, environ), 0);
		expect_exit(pid, 6);
		EXPECT_ONLY(kq, SIGCHLD, 1);
		/*
		 * It ignores SIGINT and SIGQUIT for a while and blocks
		 * SIGCHLD, then sets back what it found.
		 */
		status = system("exit 5");
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
		EXPECT_ONLY(kq, SIGCHLD, 1);
		send_me(SIGINT);
		CHECK_EQ(hits, i + 1);
		EXPECT_ONLY(kq, SIGINT, 1);
	}
	for (i = 0; i < 3; i++) {
		status = system("kill -INT $$");
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
		EXPECT_ONLY(kq, SIGCHLD, 1);
	}
	CHECK_EQ(close(kq), 0);
}

/* One thread changes dispositions, others send, one waits: nothing breaks. */
static atomic_int done;

static void *
change_mind(void *arg)
{
	void (*const handlers[])(int) = {SIG_IGN, hit};
	int i;
	for (i = 0; i < 20000; i++)
		handle(SIGUSR1, handlers[i % 2], i % 3 ? SA_RESTART : 0);
	atomic_store(&done, 1);
	return arg;
}

static void *
send_on(void *arg)
{
	while (!atomic_load(&done))
		CHECK_EQ(kill(getpid(), SIGUSR1), 0);
	return arg;
}

TEST(dispositions_may_change_under_fire)
{
	pthread_t changer, sender;
	int kq = open_queue(), before;
	struct kevent got;
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK_EQ(pthread_create(&changer, NULL, change_mind, NULL), 0);
	CHECK_EQ(pthread_create(&sender, NULL, send_on, NULL), 0);
	while (!atomic_load(&done)) {
		struct timespec ts = ms_to_ts(1);
		if (kevent(kq, NULL, 0, &got, 1, &ts) == -1)
			CHECK_EQ(errno, EINTR);
	}
	CHECK_EQ(pthread_join(changer, NULL), 0);
	CHECK_EQ(pthread_join(sender, NULL), 0);
	while (kevent(kq, NULL, 0, &got, 1, &no_wait) == 1)
		;
	EXPECT_QUIET(kq);
	before = hits;
	send_me(SIGUSR1);
	CHECK_EQ(hits, before + 1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	SIG_CHANGE(kq, SIGUSR1, EV_DELETE);
	CHECK(handler_of(SIGUSR1) == hit);
	CHECK_EQ(close(kq), 0);
}

/* Forks while other threads hook and unhook: every child is as it should be. */
static void *
hook_on(void *arg)
{
	int kq = open_queue();
	while (!atomic_load(&done)) {
		SIG_ADD(kq, SIGUSR2, 0);
		SIG_CHANGE(kq, SIGUSR2, EV_DELETE);
	}
	CHECK_EQ(close(kq), 0);
	return arg;
}

TEST(a_fork_in_the_middle_leaves_the_child_as_it_should_be)
{
	pthread_t thread;
	int i;
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	handle(SIGUSR2, hit, 0);
	CHECK_EQ(pthread_create(&thread, NULL, hook_on, NULL), 0);
	for (i = 0; i < 300; i++)
		IN_CHILD({
			CHECK(handler_of(SIGUSR2) == hit);
			int kq = open_queue();
			SIG_ADD(kq, SIGUSR2, 0);
			send_me(SIGUSR2);
			EXPECT_ONLY(kq, SIGUSR2, 1);
		});
	atomic_store(&done, 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK(handler_of(SIGUSR2) == hit);
}
