/*
 * What the tests of EVFILT_SIGNAL share: dispositions, knotes, and processes
 * that end by a signal.
 */
#ifndef TESTS_SIGNALS_H
#define TESTS_SIGNALS_H

#include <setjmp.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "support.h"

#define SIG_ADD(kq, sig, flags)                                               \
	CHANGE(kq, (uintptr_t)(sig), EVFILT_SIGNAL, EV_ADD | (flags), 0, 0,   \
	    UDATA(sig))
#define SIG_CHANGE(kq, sig, flags)                                            \
	CHANGE(kq, (uintptr_t)(sig), EVFILT_SIGNAL, flags, 0, 0, UDATA(sig))

/* The next event: this signal, so many times. */
#define EXPECT_SIG(kq, sig, times)                                            \
	EXPECT(kq, (uintptr_t)(sig), EVFILT_SIGNAL, EV_ADD | EV_CLEAR, 0,     \
	    times, UDATA(sig))

#define EXPECT_ONLY(kq, sig, times)                                           \
	do {                                                                  \
		EXPECT_SIG(kq, sig, times);                                   \
		EXPECT_QUIET(kq);                                             \
	} while (0)

__attribute__((unused)) static void
handle(int sig, void (*handler)(int), int flags)
{
	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = handler;
	sa.sa_flags = flags;
	CHECK_EQ(sigaction(sig, &sa, NULL), 0);
}

__attribute__((unused)) static void
handle_info(int sig, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	sa.sa_sigaction = handler;
	sa.sa_flags = flags | SA_SIGINFO;
	CHECK_EQ(sigaction(sig, &sa, NULL), 0);
}

__attribute__((unused)) static void (*handler_of(int sig))(int)
{
	struct sigaction sa;
	CHECK_EQ(sigaction(sig, NULL, &sa), 0);
	return sa.sa_handler;
}

/* The same as the kernel has it: the preload library stands before libc's. */
__attribute__((unused)) static void (*kernel_handler_of(int sig))(int)
{
	struct {
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} action;
	CHECK_EQ(syscall(SYS_rt_sigaction, sig, NULL, &action, 8), 0);
	return action.handler;
}

__attribute__((unused)) static atomic_int hits;

__attribute__((unused)) static void
hit(int sig)
{
	(void)sig;
	atomic_fetch_add(&hits, 1);
}

/* A handler that does not return as long as this is set. */
__attribute__((unused)) static atomic_int lingers;

__attribute__((unused)) static void
linger(int sig)
{
	struct timespec ts = {0, 100000};
	hit(sig);
	while (atomic_load(&lingers))
		nanosleep(&ts, NULL);
}

__attribute__((unused)) static void
send_me(int sig)
{
	CHECK_EQ(kill(getpid(), sig), 0);
}

__attribute__((unused)) static sigset_t
set_of(int sig)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, sig);
	return set;
}

__attribute__((unused)) static void
block(int sig)
{
	sigset_t set = set_of(sig);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
}

__attribute__((unused)) static void
unblock(int sig)
{
	sigset_t set = set_of(sig);
	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
}

__attribute__((unused)) static int
is_blocked(int sig)
{
	sigset_t set;
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &set), 0);
	return sigismember(&set, sig);
}

__attribute__((unused)) static int
is_pending(int sig)
{
	sigset_t set;
	CHECK_EQ(sigpending(&set), 0);
	return sigismember(&set, sig);
}

/*
 * valgrind delivers signals itself: late, without stopping anybody, with all of
 * them blocked as /proc has it, and it needs one for its own use.
 */
#define OWN_SIGNALS "valgrind has signals of its own kind"

/* A child, which leaves no core file and does not hang for ever. */
__attribute__((unused)) static pid_t
fork_child(void)
{
	pid_t pid;
	fflush(NULL);
	pid = fork();
	CHECK(pid != -1);
	if (pid == 0) {
		struct rlimit none = {0, 0};
		CHECK_EQ(setrlimit(RLIMIT_CORE, &none), 0);
		alarm(60);
	}
	return pid;
}

__attribute__((unused)) static int
status_of(pid_t pid)
{
	int status;
	pid_t got;
	while ((got = waitpid(pid, &status, 0)) == -1)
		CHECK_EQ(errno, EINTR);
	CHECK_EQ(got, pid);
	return status;
}

__attribute__((unused)) static void
expect_exit(pid_t pid, int code)
{
	int status = status_of(pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
		FAIL("the child's status is 0x%x, not exit %d", status, code);
}

__attribute__((unused)) static void
expect_killed(pid_t pid, int sig)
{
	int status = status_of(pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != sig)
		FAIL("the child's status is 0x%x, not signal %d", status, sig);
}

/* In a child: returns when the parent's first thread sleeps. */
__attribute__((unused)) static void
wait_until_parent_sleeps(void)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)getppid());
	wait_until_asleep_at(path);
}

/* 'Z': it has ended, and is listed until the process ends. */
__attribute__((unused)) static char
state_of_first_thread(void)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)getpid());
	return state_at(path);
}

/* Runs `statements` in a child, which must exit with 0. */
#define IN_CHILD(statements)                                                  \
	do {                                                                  \
		pid_t pid_ = fork_child();                                    \
		if (pid_ == 0) {                                              \
			statements;                                           \
			_exit(0);                                             \
		}                                                             \
		expect_exit(pid_, 0);                                         \
	} while (0)

#endif
