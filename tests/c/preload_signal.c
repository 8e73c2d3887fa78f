/*
 * What the preload library makes exact for EVFILT_SIGNAL: the application's
 * dispositions lie over the hook and never in its place, are what is shown, and
 * are what other programs inherit.
 */
#include "signals.h"

#include <spawn.h>
#include <sys/stat.h>
#include <sys/time.h>

/* sigset() and its like are old, and there. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

extern char **environ;

/* glibc has them; no header declares them any more. */
typedef void (*handler)(int);
typedef handler set_handler(int, handler);

static set_handler *
old_function(const char *name)
{
	set_handler *found;
	*(void **)&found = dlsym(RTLD_DEFAULT, name);
	return found;
}

static void
other_hit(int sig)
{
	(void)sig;
	atomic_fetch_add(&hits, 100);
}

TEST(whoever_asks_is_shown_what_was_set)
{
	static void (*const handlers[])(int) = {SIG_DFL, SIG_IGN, hit};
	struct sigaction sa, old, got;
	int kq = open_queue(), i, j;
	NEEDS_PRELOAD();
	for (i = 0; i < 3; i++) {
		handle(SIGUSR1, handlers[i], SA_NODEFER);
		SIG_ADD(kq, SIGUSR1, 0);
		CHECK(handler_of(SIGUSR1) == handlers[i]);
		CHECK(kernel_handler_of(SIGUSR1) != handlers[i]);
		for (j = 0; j < 3; j++) {
			memset(&sa, 0, sizeof sa);
			sa.sa_handler = handlers[j];
			sa.sa_flags = SA_ONSTACK | SA_RESTART;
			sigaddset(&sa.sa_mask, SIGHUP);
			CHECK_EQ(sigaction(SIGUSR1, &sa, &old), 0);
			CHECK(old.sa_handler == handlers[j ? j - 1 : i]);
			CHECK_EQ(sigaction(SIGUSR1, NULL, &got), 0);
			CHECK(got.sa_handler == handlers[j]);
			CHECK_EQ(got.sa_flags & ~0x04000000,
			    SA_ONSTACK | SA_RESTART);
			CHECK_EQ(sigismember(&got.sa_mask, SIGHUP), 1);
			CHECK_EQ(sigismember(&got.sa_mask, SIGINT), 0);
			CHECK(kernel_handler_of(SIGUSR1) != handlers[j]);
		}
		SIG_CHANGE(kq, SIGUSR1, EV_DELETE);
		CHECK(kernel_handler_of(SIGUSR1) == hit);
	}
	CHECK_FAILS(sigaction(SIGKILL, &sa, NULL), EINVAL);
	CHECK_FAILS(sigaction(0, NULL, &sa), EINVAL);
	CHECK_FAILS(sigaction(65, NULL, &sa), EINVAL);
	CHECK_EQ(close(kq), 0);
}

TEST(a_disposition_set_later_is_counted_from_the_first_signal)
{
	int kq = open_queue();
	struct waiter w;
	NEEDS_PRELOAD();
	SIG_ADD(kq, SIGUSR1, 0);
	handle(SIGUSR1, hit, 0);
	send_me(SIGUSR1);
	CHECK_EQ(hits, 1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	handle(SIGUSR1, SIG_IGN, 0);
	send_me(SIGUSR1);
	send_me(SIGUSR1);
	EXPECT_ONLY(kq, SIGUSR1, 2);
	/* And it wakes a thread that waits already. */
	waiter_start(&w, kq, NULL);
	handle(SIGUSR1, other_hit, 0);
	send_me(SIGUSR1);
	CHECK_EQ(waiter_event(&w).ident, SIGUSR1);
	CHECK_EQ(hits, 101);
	CHECK_EQ(close(kq), 0);
}

TEST(every_function_that_sets_a_handler_leaves_the_hook)
{
	int kq = open_queue(), i;
	NEEDS_PRELOAD();
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK(signal(SIGUSR1, hit) == SIG_DFL);
	CHECK(sigset(SIGUSR1, other_hit) == hit);
	CHECK(sysv_signal(SIGUSR1, hit) == other_hit);
	/* For one signal: after it the default, which is not tried here. */
	send_me(SIGUSR1);
	CHECK_EQ(hits, 1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK(handler_of(SIGUSR1) == SIG_DFL);
	CHECK(ssignal(SIGUSR1, other_hit) == SIG_DFL);
	CHECK_EQ(siginterrupt(SIGUSR1, 1), 0);
	CHECK(handler_of(SIGUSR1) == other_hit);
	CHECK(signal(SIGUSR1, hit) == other_hit);
	for (i = 0; i < 2; i++) {
		struct sigaction sa;
		CHECK_EQ(sigaction(SIGUSR1, NULL, &sa), 0);
		CHECK_EQ((sa.sa_flags & SA_RESTART) != 0, i);
		send_me(SIGUSR1);
		EXPECT_ONLY(kq, SIGUSR1, 1);
		CHECK_EQ(siginterrupt(SIGUSR1, 0), 0);
	}
	CHECK_EQ(hits, 3);
	CHECK_EQ(sigignore(SIGUSR1), 0);
	send_me(SIGUSR1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK(sigset(SIGUSR1, SIG_HOLD) == SIG_IGN);
	CHECK(is_blocked(SIGUSR1));
	CHECK(sigset(SIGUSR1, hit) == SIG_HOLD);
	CHECK(!is_blocked(SIGUSR1));
	CHECK(signal(SIGUSR1, SIG_ERR) == SIG_ERR);
	CHECK(handler_of(SIGUSR1) == hit);
	CHECK_EQ(close(kq), 0);
}

TEST(old_names_of_these_leave_the_hook)
{
	set_handler *bsd = old_function("bsd_signal");
	set_handler *sysv = old_function("__sysv_signal");
	struct sigaction sa;
	int kq = open_queue();
	NEEDS_PRELOAD();
	CHECK(bsd != NULL && sysv != NULL);
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK(bsd(SIGUSR1, hit) == SIG_DFL);
	CHECK_EQ(sigaction(SIGUSR1, NULL, &sa), 0);
	CHECK((sa.sa_flags & SA_RESTART) != 0);
	send_me(SIGUSR1);
	send_me(SIGUSR1);
	CHECK_EQ(hits, 2);
	EXPECT_ONLY(kq, SIGUSR1, 2);
	CHECK(sysv(SIGUSR1, other_hit) == hit);
	send_me(SIGUSR1);
	CHECK_EQ(hits, 102);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK(handler_of(SIGUSR1) == SIG_DFL);
	CHECK_EQ(close(kq), 0);
}

/* errno as it was; that of what failed, if it failed. */
#define LEAVES_ERRNO(what)                                                    \
	do {                                                                  \
		errno = 99;                                                   \
		CHECK(what);                                                  \
		CHECK_EQ(errno, 99);                                          \
	} while (0)

TEST(errno_is_left_alone_by_what_succeeds)
{
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)"exit 0", NULL};
	struct sigaction sa;
	int kq = open_queue();
	pid_t pid;
	NEEDS_PRELOAD();
	handle(SIGUSR2, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	SIG_ADD(kq, SIGUSR2, 0);
	LEAVES_ERRNO(sigaction(SIGUSR1, NULL, &sa) == 0);
	LEAVES_ERRNO(sigaction(SIGUSR1, &sa, NULL) == 0);
	LEAVES_ERRNO(signal(SIGUSR1, hit) == SIG_DFL);
	LEAVES_ERRNO(ssignal(SIGUSR1, hit) == hit);
	LEAVES_ERRNO(sysv_signal(SIGUSR1, hit) == hit);
	LEAVES_ERRNO(sigset(SIGUSR1, SIG_HOLD) == hit);
	LEAVES_ERRNO(sigset(SIGUSR1, hit) == SIG_HOLD);
	LEAVES_ERRNO(siginterrupt(SIGUSR1, 1) == 0);
	LEAVES_ERRNO(sigignore(SIGUSR1) == 0);
	/* Where it is at its first try: the C library shares it with the child. */
	LEAVES_ERRNO(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) ==
	    0);
	expect_exit(pid, 0);
	CHECK_FAILS(sigaction(SIGKILL, &sa, NULL), EINVAL);
	CHECK_FAILS(signal(SIGUSR1, SIG_ERR) == SIG_ERR ? -1 : 0, EINVAL);
	CHECK_FAILS(execv("/nowhere", argv), ENOENT);
	CHECK_FAILS(execve("/", argv, environ), EACCES);
	CHECK_FAILS(execlp("no such program", "x", (char *)NULL), ENOENT);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

/* Under a storm from another process every signal that is handled counts. */
TEST(no_signal_goes_uncounted_while_dispositions_change)
{
	enum { SIGNALS = 3000 };
	int kq = open_queue(), told = 0;
	pid_t pid;
	struct kevent k;
	NEEDS_PRELOAD();
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	pid = fork_child();
	if (pid == 0) {
		int i;
		for (i = 0; i < SIGNALS; i++) {
			CHECK_EQ(kill(getppid(), SIGUSR1), 0);
			sched_yield();
		}
		_exit(0);
	}
	while (waitpid(pid, NULL, WNOHANG) == 0) {
		handle(SIGUSR1, hit, SA_NODEFER);
		handle(SIGUSR1, hit, 0);
	}
	while (kevent(kq, NULL, 0, &k, 1, &no_wait) == 1)
		told += (int)k.data;
	CHECK(hits > 0);
	CHECK_EQ(told, hits);
	CHECK_EQ(close(kq), 0);
}

static atomic_bool set_enough;

static void
hit_too(int sig)
{
	hit(sig);
}

static void *
set_handlers(void *arg)
{
	while (!atomic_load(&set_enough)) {
		handle(SIGUSR1, hit_too, 0);
		sched_yield();
		handle(SIGUSR1, hit, 0);
		sched_yield();
	}
	return arg;
}

/* One that another thread replaces in the moment in which it is called. */
TEST(no_signal_goes_uncounted_while_another_thread_sets_handlers)
{
	enum { SIGNALS = 40000 };
	int kq = open_queue(), told = 0, i;
	pthread_t setter;
	struct kevent k;
	NEEDS_PRELOAD();
	NOT_UNDER_VALGRIND("it does not lay out a handler's frame as Linux");
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	block(SIGUSR1);
	CHECK_EQ(pthread_create(&setter, NULL, set_handlers, NULL), 0);
	unblock(SIGUSR1);
	for (i = 1; i <= SIGNALS; i++) {
		CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
		CHECK_EQ(hits, i);
		while (kevent(kq, NULL, 0, &k, 1, &no_wait) == 1)
			told += (int)k.data;
		CHECK_EQ(told, hits);
	}
	atomic_store(&set_enough, true);
	CHECK_EQ(pthread_join(setter, NULL), 0);
	CHECK_EQ(close(kq), 0);
}

/* Both sides of a spawn set dispositions of the one process or the other. */
TEST(a_vfork_child_sets_its_own_dispositions)
{
	int kq = open_queue();
	pid_t pid;
	NEEDS_PRELOAD();
	handle(SIGUSR1, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	pid = vfork();
	if (pid == 0) {
		if (handler_of(SIGUSR1) != hit)
			_exit(1);
		signal(SIGUSR1, SIG_DFL);
		_exit(handler_of(SIGUSR1) == SIG_DFL ? 0 : 2);
	}
	expect_exit(pid, 0);
	CHECK(handler_of(SIGUSR1) == hit);
	send_me(SIGUSR1);
	CHECK_EQ(hits, 1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(close(kq), 0);
}

/* What is inherited: SIGUSR1 is ignored and watched, SIGUSR2 is handled. */

#define SCRIPT "exec grep -h SigIgn: /proc/self/status"

static void
expect_ignored(const char *line)
{
	const char *mask = strstr(line, "SigIgn:");
	unsigned long long set;
	CHECK(mask != NULL);
	set = strtoull(mask + 7, NULL, 16);
	CHECK_EQ(set >> (SIGUSR1 - 1) & 1, 1);
	CHECK_EQ(set >> (SIGUSR2 - 1) & 1, 0);
}

static int ends[2];

static void
read_line(pid_t pid)
{
	char line[256];
	ssize_t n;
	expect_exit(pid, 0);
	n = read(ends[0], line, sizeof line - 1);
	CHECK(n > 0);
	line[n] = '\0';
	expect_ignored(line);
}

static int
watch_what_is_ignored(void)
{
	int kq = open_queue();
	handle(SIGUSR1, SIG_IGN, 0);
	handle(SIGUSR2, hit, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	SIG_ADD(kq, SIGUSR2, 0);
	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	return kq;
}

static void
end_watch(int kq)
{
	CHECK(kernel_handler_of(SIGUSR1) != SIG_IGN);
	CHECK(handler_of(SIGUSR1) == SIG_IGN);
	send_me(SIGUSR1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(close(ends[0]), 0);
	CHECK_EQ(close(ends[1]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(what_is_spawned_inherits_an_ignored_signal)
{
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)SCRIPT, NULL};
	posix_spawn_file_actions_t actions;
	int kq;
	pid_t pid;
	NEEDS_PRELOAD();
	kq = watch_what_is_ignored();
	CHECK_EQ(posix_spawn_file_actions_init(&actions), 0);
	CHECK_EQ(posix_spawn_file_actions_adddup2(&actions, ends[1], 1), 0);
	CHECK_EQ(posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, environ), 0);
	read_line(pid);
	CHECK_EQ(posix_spawnp(&pid, "sh", &actions, NULL, argv, environ), 0);
	read_line(pid);
	CHECK_EQ(posix_spawn(&pid, "/nowhere", &actions, NULL, argv, environ),
	    ENOENT);
	CHECK_EQ(posix_spawn_file_actions_destroy(&actions), 0);
	end_watch(kq);
}

TEST(what_popen_and_system_run_inherits_an_ignored_signal)
{
	char line[256], command[128];
	FILE *f;
	int kq;
	ssize_t n;
	NEEDS_PRELOAD();
	/* A shell's background job has it ignored. */
	handle(SIGINT, SIG_DFL, 0);
	kq = watch_what_is_ignored();
	f = popen(SCRIPT, "r");
	CHECK(f != NULL);
	CHECK(fgets(line, sizeof line, f) != NULL);
	CHECK_EQ(pclose(f), 0);
	expect_ignored(line);
	CHECK_EQ(fcntl(ends[1], F_SETFD, 0), 0);
	snprintf(command, sizeof command, SCRIPT " >&%d", ends[1]);
	CHECK_EQ(system(command), 0);
	n = read(ends[0], line, sizeof line - 1);
	CHECK(n > 0);
	line[n] = '\0';
	expect_ignored(line);
	CHECK_EQ(system("exit 3"), 3 << 8);
	CHECK_EQ(system("kill -TERM $$"), SIGTERM);
	CHECK(system(NULL) != 0);
	CHECK(!is_blocked(SIGCHLD));
	CHECK(handler_of(SIGINT) == SIG_DFL);
	end_watch(kq);
}

/*
 * A command that says when it runs, does the rest when it is told to, says that
 * it has done it, and ends when it is told to. So a signal that it sends, to
 * whatever thread, has been taken before system() returns.
 */
struct command {
	pthread_t thread;
	int runs[2], go[2], status;
	const char *then;
};

static void *
command_main(void *arg)
{
	struct command *c = arg;
	char text[256];
	snprintf(text, sizeof text,
	    "wait_for() { echo >/dev/fd/%d; read x </dev/fd/%d; }; "
	    "wait_for; %s; s=$?; wait_for; exit $s",
	    c->runs[1], c->go[0], c->then);
	c->status = system(text);
	return NULL;
}

static void
command_start(struct command *c, const char *then)
{
	char byte;
	c->then = then;
	CHECK_EQ(pipe(c->runs), 0);
	CHECK_EQ(pipe(c->go), 0);
	CHECK_EQ(pthread_create(&c->thread, NULL, command_main, c), 0);
	CHECK_EQ(read(c->runs[0], &byte, 1), 1);
}

static void
command_end(struct command *c, int status)
{
	char byte;
	CHECK_EQ(write(c->go[1], "\n", 1), 1);
	while (read(c->runs[0], &byte, 1) != 1)
		CHECK_EQ(errno, EINTR);
	CHECK_EQ(write(c->go[1], "\n", 1), 1);
	CHECK_EQ(pthread_join(c->thread, NULL), 0);
	CHECK_EQ(c->status, status);
	close_pair(c->runs);
	close_pair(c->go);
}

/* system() gives SIGINT and SIGQUIT to its command alone, hooked or not. */
TEST(system_holds_the_signals_of_the_terminal)
{
	struct command c;
	int kq = open_queue();
	NEEDS_PRELOAD();
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	handle(SIGINT, hit, 0);
	CHECK_EQ(system("kill -INT $PPID"), 0);
	CHECK_EQ(hits, 0);
	CHECK_EQ(system("kill -INT $$"), SIGINT);
	SIG_ADD(kq, SIGINT, 0);
	command_start(&c, "kill -INT $PPID");
	/* What is ignored meanwhile counts, once it has been spawned. */
	WAIT_FOR(kernel_handler_of(SIGINT) != SIG_IGN);
	CHECK(handler_of(SIGINT) == SIG_IGN);
	command_end(&c, 0);
	CHECK_EQ(hits, 0);
	EXPECT_ONLY(kq, SIGINT, 1);
	send_me(SIGINT);
	CHECK_EQ(hits, 1);
	EXPECT_ONLY(kq, SIGINT, 1);
	CHECK_EQ(close(kq), 0);
}

static void
run_four(const int order[4])
{
	struct command c[4];
	int kq, i;
	handle(SIGINT, hit, 0);
	handle(SIGQUIT, SIG_DFL, 0);
	handle(SIGUSR1, SIG_IGN, 0);
	command_start(&c[0], "(exit 0)");
	command_start(&c[1], "(exit 1)");
	kq = open_queue();
	SIG_ADD(kq, SIGUSR1, 0);
	command_start(&c[2], "(exit 2)");
	command_start(&c[3], "(exit 3)");
	for (i = 0; i < 4; i++) {
		CHECK(handler_of(SIGINT) == SIG_IGN);
		CHECK(handler_of(SIGQUIT) == SIG_IGN);
		command_end(&c[order[i]], order[i] << 8);
	}
	CHECK(handler_of(SIGINT) == hit);
	CHECK(handler_of(SIGQUIT) == SIG_DFL);
}

/* The C library's runs before there is a queue, and counts its own commands. */
TEST(system_leaves_what_it_found_whose_ever_command_it_is)
{
	static const int orders[][4] = {{0, 1, 2, 3}, {0, 2, 1, 3}, {2, 0, 1, 3},
	    {2, 1, 0, 3}, {2, 3, 1, 0}, {1, 2, 3, 0}};
	size_t i;
	NEEDS_PRELOAD();
	for (i = 0; i < sizeof orders / sizeof orders[0]; i++)
		IN_CHILD(run_four(orders[i]));
}

static int says[2];

static void *
cancelled_main(void *arg)
{
	char text[64];
	snprintf(text, sizeof text, "echo $$ >/dev/fd/%d; exec sleep 1000",
	    says[1]);
	system(text);
	return arg;
}

/* It is a cancellation point, and its command does not outlive it. */
TEST(system_that_is_cancelled_leaves_what_it_found)
{
	char line[32];
	pthread_t thread;
	void *result;
	ssize_t n;
	int kq = -1, round;
	NEEDS_PRELOAD();
#ifndef __GLIBC__
	SKIP("for glibc");
#endif
	CHECK_EQ(pipe(says), 0);
	handle(SIGINT, hit, 0);
	for (round = 0; round < 2; round++) {
		CHECK_EQ(pthread_create(&thread, NULL, cancelled_main, NULL), 0);
		n = read(says[0], line, sizeof line - 1);
		CHECK(n > 0);
		line[n] = '\0';
		CHECK(handler_of(SIGINT) == SIG_IGN);
		CHECK_EQ(pthread_cancel(thread), 0);
		CHECK_EQ(pthread_join(thread, &result), 0);
		CHECK(result == PTHREAD_CANCELED);
		CHECK_FAILS(kill(atoi(line), 0), ESRCH);
		CHECK(handler_of(SIGINT) == hit);
		/* Once by the C library's, once with a queue. */
		if (round == 0) {
			kq = open_queue();
			SIG_ADD(kq, SIGINT, 0);
		}
	}
	CHECK_EQ(system("exit 4"), 4 << 8);
	CHECK(handler_of(SIGINT) == hit);
	close_pair(says);
	CHECK_EQ(close(kq), 0);
}

static void
exec_by(int which)
{
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)SCRIPT, NULL};
	int fd;
	switch (which) {
	case 0: execv("/bin/sh", argv); break;
	case 1: execvp("sh", argv); break;
	case 2: execve("/bin/sh", argv, environ); break;
	case 3: execvpe("sh", argv, environ); break;
	case 4: execl("/bin/sh", "sh", "-c", SCRIPT, (char *)NULL); break;
	case 5: execlp("sh", "sh", "-c", SCRIPT, (char *)NULL); break;
	case 6: execle("/bin/sh", "sh", "-c", SCRIPT, (char *)NULL, environ);
		break;
	case 7:
		/* More arguments than there are registers for them. */
		execl("/bin/sh", "sh", "-c", "shift 7; test $1 = h && " SCRIPT,
		    "-", "a", "b", "c", "d", "e", "f", "g", "h", (char *)NULL);
		break;
	case 8:
		fd = open("/bin/sh", O_RDONLY | O_CLOEXEC);
		fexecve(fd, argv, environ);
		break;
	case 9:
		execveat(AT_FDCWD, "/bin/sh", argv, environ, 0);
		break;
	}
}

TEST(what_is_run_after_vfork_inherits_an_ignored_signal)
{
	int kq, which;
	NEEDS_PRELOAD();
	kq = watch_what_is_ignored();
	for (which = 0; which < 10; which++) {
		pid_t pid = vfork();
		if (pid == 0) {
			dup2(ends[1], 1);
			exec_by(which);
			_exit(9);
		}
		read_line(pid);
		CHECK(kernel_handler_of(SIGUSR1) != SIG_IGN);
	}
	end_watch(kq);
}

TEST(an_exec_that_fails_leaves_the_signals_watched)
{
	char *argv[] = {(char *)"x", NULL};
	int kq;
	NEEDS_PRELOAD();
	kq = watch_what_is_ignored();
	CHECK_FAILS(execv("/nowhere", argv), ENOENT);
	CHECK_FAILS(execvp("no such program", argv), ENOENT);
	CHECK_FAILS(execve("/", argv, environ), EACCES);
	end_watch(kq);
	/* One with a list is found out by the next wait. */
	kq = watch_what_is_ignored();
	CHECK_FAILS(execl("/nowhere", "x", (char *)NULL), ENOENT);
	CHECK(kernel_handler_of(SIGUSR1) == SIG_IGN);
	send_me(SIGUSR1);
	EXPECT_QUIET(kq);
	end_watch(kq);
}

/* The C library's functions, which the kernel makes forget what is pending. */

static char *true_argv[] = {(char *)"true", NULL};

static void
run_by(int which)
{
	FILE *f;
	pid_t pid;
	switch (which) {
	case 0:
		CHECK_EQ(posix_spawnp(&pid, "true", NULL, NULL, true_argv,
		    environ), 0);
		expect_exit(pid, 0);
		break;
	case 1:
		CHECK((f = popen("exit 0", "r")) != NULL);
		CHECK_EQ(pclose(f), 0);
		break;
	case 2: CHECK_EQ(system("exit 0"), 0); break;
	case 3: CHECK_FAILS(execv("/nowhere", true_argv), ENOENT); break;
	case 4: CHECK_FAILS(execl("/nowhere", "x", (char *)NULL), ENOENT); break;
	}
}

TEST(what_is_pending_when_a_program_is_run_is_counted)
{
	int kq = open_queue(), which, i, queued = SIGRTMIN + 3;
	NEEDS_PRELOAD();
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	handle(SIGUSR1, SIG_IGN, 0);
	handle(queued, SIG_IGN, 0);
	block(SIGUSR1);
	block(queued);
	SIG_ADD(kq, SIGUSR1, 0);
	SIG_ADD(kq, queued, 0);
	for (which = 0; which < 5; which++) {
		send_me(SIGUSR1);
		CHECK_EQ(pthread_kill(pthread_self(), SIGUSR1), 0);
		for (i = 0; i < 5; i++)
			send_me(queued);
		run_by(which);
		EXPECT_SIG(kq, SIGUSR1, 2);
		EXPECT_ONLY(kq, queued, 5);
	}
	/* One that a child of vfork() has is its own. */
	if (vfork() == 0) {
		kill(getpid(), SIGUSR1);
		execv("/nowhere", true_argv);
		_exit(0);
	}
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

struct blocker {
	pthread_t thread;
	int kq;
	atomic_bool blocks, may_look;
};

static void *
blocker_main(void *arg)
{
	struct blocker *b = arg;
	block(SIGUSR1);
	atomic_store(&b->blocks, true);
	WAIT_FOR(atomic_load(&b->may_look));
	EXPECT_QUIET(b->kq);
	return NULL;
}

static char fifo[256];

static void *
slow_spawn_main(void *arg)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	CHECK_EQ(posix_spawn_file_actions_init(&actions), 0);
	/* It opens when somebody reads. */
	CHECK_EQ(posix_spawn_file_actions_addopen(&actions, 1, fifo, O_WRONLY,
	    0), 0);
	CHECK_EQ(posix_spawnp(&pid, "true", &actions, NULL, true_argv, environ),
	    0);
	expect_exit(pid, 0);
	CHECK_EQ(posix_spawn_file_actions_destroy(&actions), 0);
	return arg;
}

TEST(what_comes_while_a_program_is_being_spawned_is_not_counted)
{
	char dir[] = "/tmp/kqueue-test-XXXXXX";
	struct blocker b = {.kq = open_queue()};
	pthread_t thread;
	int fd;
	NEEDS_PRELOAD();
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	CHECK(mkdtemp(dir) != NULL);
	snprintf(fifo, sizeof fifo, "%s/fifo", dir);
	CHECK_EQ(mkfifo(fifo, 0600), 0);
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(b.kq, SIGUSR1, 0);
	CHECK_EQ(pthread_create(&thread, NULL, slow_spawn_main, NULL), 0);
	WAIT_FOR(kernel_handler_of(SIGUSR1) == SIG_IGN);
	send_me(SIGUSR1);
	EXPECT_QUIET(b.kq);
	CHECK((fd = open(fifo, O_RDONLY | O_CLOEXEC)) >= 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	EXPECT_QUIET(b.kq);
	send_me(SIGUSR1);
	EXPECT_ONLY(b.kq, SIGUSR1, 1);
	/* What waited for another thread alone is gone, too. */
	CHECK_EQ(pthread_create(&b.thread, NULL, blocker_main, &b), 0);
	WAIT_FOR(atomic_load(&b.blocks));
	CHECK_EQ(pthread_kill(b.thread, SIGUSR1), 0);
	run_by(0);
	atomic_store(&b.may_look, true);
	CHECK_EQ(pthread_join(b.thread, NULL), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(unlink(fifo), 0);
	CHECK_EQ(rmdir(dir), 0);
	CHECK_EQ(close(b.kq), 0);
}

static void
begin_to_count_while_a_program_is_spawned(void)
{
	pthread_t thread;
	pid_t pid;
	int kq, fd;
	CHECK_EQ(pthread_create(&thread, NULL, slow_spawn_main, NULL), 0);
	WAIT_FOR(kernel_handler_of(SIGUSR1) == SIG_IGN);
	kq = open_queue();
	SIG_ADD(kq, SIGUSR1, 0);
	CHECK((fd = open(fifo, O_RDONLY | O_CLOEXEC)) >= 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(close(fd), 0);
	/* The next one is the only one there is. */
	CHECK_EQ(posix_spawnp(&pid, "true", NULL, NULL, true_argv, environ), 0);
	expect_exit(pid, 0);
	CHECK(kernel_handler_of(SIGUSR1) != SIG_IGN);
	send_me(SIGUSR1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK_EQ(close(kq), 0);
}

/* It has its parent's hooks and no queue when it spawns. */
TEST(a_child_that_begins_to_count_while_it_spawns_goes_on_counting)
{
	char dir[] = "/tmp/kqueue-test-XXXXXX";
	pid_t (*quiet_fork)(void), pid;
	int kq = open_queue();
	NEEDS_PRELOAD();
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	*(void **)&quiet_fork = dlsym(RTLD_DEFAULT, "_Fork");
	if (quiet_fork == NULL)
		SKIP("the C library has no fork without handlers");
	CHECK(mkdtemp(dir) != NULL);
	snprintf(fifo, sizeof fifo, "%s/fifo", dir);
	CHECK_EQ(mkfifo(fifo, 0600), 0);
	handle(SIGUSR1, SIG_IGN, 0);
	SIG_ADD(kq, SIGUSR1, 0);
	pid = quiet_fork();
	if (pid == 0) {
		begin_to_count_while_a_program_is_spawned();
		_exit(0);
	}
	expect_exit(pid, 0);
	CHECK_EQ(unlink(fifo), 0);
	CHECK_EQ(rmdir(dir), 0);
	CHECK_EQ(close(kq), 0);
}

static atomic_int spawned;

static void
spawn_in_handler(int sig)
{
	int before = errno;
	pid_t pid;
	(void)sig;
	if (posix_spawn(&pid, "/nowhere", NULL, NULL, true_argv, environ) == 0)
		waitpid(pid, NULL, 0);
	atomic_fetch_add(&spawned, 1);
	errno = before;
}

/* On top of whatever the library is about. */
TEST(a_handler_may_spawn_while_a_watch_begins_or_ends)
{
	unsigned i;
	int kq = open_queue(), was;
	NEEDS_PRELOAD();
	NOT_UNDER_VALGRIND(OWN_SIGNALS);
	handle(SIGUSR1, SIG_IGN, 0);
	handle(SIGALRM, spawn_in_handler, SA_RESTART);
	for (i = 0; i < 500; i++) {
		struct itimerval soon = {{0, 0}, {0, 1 + i * 7 % 100}};
		was = atomic_load(&spawned);
		CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
		while (atomic_load(&spawned) == was) {
			SIG_ADD(kq, SIGUSR1, 0);
			SIG_CHANGE(kq, SIGUSR1, EV_DELETE);
		}
	}
	SIG_ADD(kq, SIGUSR1, 0);
	send_me(SIGUSR1);
	EXPECT_ONLY(kq, SIGUSR1, 1);
	CHECK(!is_blocked(SIGUSR1));
	CHECK(!is_blocked(SIGALRM));
	CHECK_EQ(close(kq), 0);
}

struct spawner {
	pthread_t thread;
	int rounds;
};

static void *
spawner_main(void *arg)
{
	char *argv[] = {(char *)"sh", (char *)"-c",
	    (char *)"grep -q 'SigIgn:.*[2367abef]..$' /proc/self/status", NULL};
	struct spawner *s = arg;
	int i;
	for (i = 0; i < s->rounds; i++) {
		pid_t pid;
		CHECK_EQ(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ),
		    0);
		expect_exit(pid, 0);
	}
	return NULL;
}

TEST(threads_may_spawn_at_once)
{
	enum { THREADS = 4 };
	struct spawner s[THREADS];
	int kq, i;
	NEEDS_PRELOAD();
	kq = watch_what_is_ignored();
	for (i = 0; i < THREADS; i++) {
		s[i].rounds = 25;
		CHECK_EQ(pthread_create(&s[i].thread, NULL, spawner_main, &s[i]),
		    0);
	}
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(s[i].thread, NULL), 0);
	end_watch(kq);
}
