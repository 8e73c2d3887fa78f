/*
 * EVFILT_PROC: what becomes of a process. Its end with the exact status, of
 * children and of others, whoever reaps; its forks and execs, and its children
 * followed, over the process connector; and what is refused.
 */
#include <grp.h>
#include <poll.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "support.h"

extern char **environ;

#define WATCH (EV_ADD | EV_CLEAR)
#define ENDED (EV_ADD | EV_CLEAR | EV_EOF | EV_ONESHOT)
static void
add(int kq, pid_t pid, unsigned fflags)
{
	CHANGE(kq, (uintptr_t)pid, EVFILT_PROC, EV_ADD, fflags, 0, NULL);
}

/* Processes are looked at by the clock: the tests of that build say so. */
static int
by_clock(void)
{
	return getenv("KQUEUE_TEST_NO_PIDFD") != NULL;
}

/* Does the kernel tell the status of a process that has been reaped? */
static int
told_after_reaping(void)
{
	struct {
		uint64_t mask, cgroup;
		uint32_t ids[11];
		int32_t code;
	} info = {.mask = 8};
	pid_t pid;
	int fd, told;
	if (by_clock())
		return 0;
	pid = fork();
	if (pid == 0)
		_exit(3);
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	if (fd < 0)
		return 0;
	told = ioctl(fd, _IOWR(0xff, 11, info), &info) == 0 &&
	    (info.mask & 8) != 0;
	close(fd);
	return told;
}

/* Waits for the end of a child and leaves the zombie. */
static void
wait_for_zombie(pid_t pid)
{
	siginfo_t info;
	CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static int
reap(pid_t pid)
{
	int status;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

/* A child that does what it is told, a byte a time. */
struct child {
	pid_t pid;
	int orders, answers;
};

static void *
idle_thread(void *arg)
{
	return arg;
}

static void
spawn_and_reap(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(3);
	if (waitpid(pid, NULL, 0) != pid)
		_exit(99);
}

static void
serve(int orders, int answers)
{
	char order, done = 'd';
	pthread_t thread;
	pid_t pid;
	while (read(orders, &order, 1) == 1) {
		switch (order) {
		case 'f':
			spawn_and_reap();
			break;
		case 'F': /* ten at a time */
			for (int i = 0; i < 10; i++)
				spawn_and_reap();
			break;
		case 'v':
			pid = vfork();
			if (pid == 0)
				_exit(4);
			waitpid(pid, NULL, 0);
			break;
		case 't':
			pthread_create(&thread, NULL, idle_thread, NULL);
			pthread_join(thread, NULL);
			break;
		case 'g': /* a child that makes one itself */
			pid = fork();
			if (pid == 0) {
				spawn_and_reap();
				_exit(5);
			}
			waitpid(pid, NULL, 0);
			break;
		case 'e': /* lives on as cat, which ends at the end of input */
			dup2(orders, 0);
			dup2(answers, 1);
			write(answers, &done, 1);
			execl("/bin/cat", "cat", (char *)NULL);
			_exit(98);
		default:
			_exit(order);
		}
		write(answers, &done, 1);
	}
	_exit(97);
}

static struct child
start(void)
{
	struct child c;
	int orders[2], answers[2];
	CHECK_EQ(pipe2(orders, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(answers, O_CLOEXEC), 0);
	c.pid = fork();
	CHECK(c.pid >= 0);
	if (c.pid == 0) {
		close(orders[1]);
		close(answers[0]);
		serve(orders[0], answers[1]);
	}
	close(orders[0]);
	close(answers[1]);
	c.orders = orders[1];
	c.answers = answers[0];
	return c;
}

/* Gives an order and waits until it is done. */
static void
tell(struct child *c, char order)
{
	char done;
	CHECK_EQ(write(c->orders, &order, 1), 1);
	CHECK_EQ(read(c->answers, &done, 1), 1);
}

/* Tells it to end with this status and waits until it is a zombie. */
static void
finish(struct child *c, char status)
{
	if (status != 0)
		CHECK_EQ(write(c->orders, &status, 1), 1);
	close(c->orders);
	close(c->answers);
	wait_for_zombie(c->pid);
}

/* A queue that follows may be woken by strangers, so poll() only says no. */
static int
polls_readable(int kq)
{
	struct pollfd p = {kq, POLLIN, 0};
	return poll(&p, 1, 0) == 1;
}

static int
try_to_follow(int kq, pid_t pid, unsigned fflags)
{
	if (change(kq, (uintptr_t)pid, EVFILT_PROC, EV_ADD, fflags, 0, NULL) ==
	    0)
		return 0;
	return errno;
}

/* Ends the case here if this system does not tell what processes do. */
static void
need_connector(void)
{
	int kq = open_queue();
	int code = try_to_follow(kq, getpid(), NOTE_FORK);
	CHECK_EQ(close(kq), 0);
	libkqueue_drain_pending_close();
	if (code == EPERM)
		SKIP("the process connector wants a privilege here");
	if (code == ENOTSUP)
		SKIP("there is no process connector here");
	CHECK_EQ(code, 0);
}

/* --- the end ------------------------------------------------------------- */

/* It knows the system call only since 3.21. */
#define NO_PIDFD "valgrind has no pidfds"

TEST(the_status_of_a_child_is_that_of_wait)
{
	static const int codes[] = {0, 1, 42, 127, 128, 255};
	int kq = open_queue();
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
		struct child c = start();
		CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0,
		    UDATA(i));
		expect_none(kq);
		CHECK(!polls_readable(kq));
		if (codes[i] == 0)
			CHECK_EQ(kill(c.pid, SIGTERM), 0);
		finish(&c, (char)codes[i]);
		struct kevent k = next_event(kq);
		int status = reap(c.pid);
		CHECK_KEV(k, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT,
		    status, UDATA(i));
		CHECK_EQ(status, codes[i] == 0 ? SIGTERM : codes[i] << 8);
		expect_none(kq);
		CHECK(!polls_readable(kq));
		CHECK_ABSENT(kq, (uintptr_t)c.pid, EVFILT_PROC);
	}
	CHECK_EQ(close(kq), 0);
}

static void
by_signal(int signo, rlim_t core)
{
	char dir[] = "proc-core-XXXXXX", command[64];
	int kq = open_queue();
	pid_t pid;
	CHECK(mkdtemp(dir) != NULL);
	pid = fork();
	if (pid == 0) {
		struct rlimit limit = {core, core};
		setrlimit(RLIMIT_CORE, &limit);
		if (chdir(dir) == 0)
			pause();
		_exit(1);
	}
	add(kq, pid, NOTE_EXIT);
	/* It is in the directory when it pauses. */
	char path[64], where[256] = "", *cwd = realpath(dir, NULL);
	snprintf(path, sizeof path, "/proc/%d/cwd", (int)pid);
	WAIT_FOR(readlink(path, where, sizeof where - 1) > 0 &&
	    strcmp(where, cwd) == 0);
	free(cwd);
	CHECK_EQ(kill(pid, signo), 0);
	struct kevent k = next_event(kq);
	int status = reap(pid);
	CHECK_KEV(k, (uintptr_t)pid, EVFILT_PROC, ENDED, NOTE_EXIT, status,
	    NULL);
	CHECK_EQ(WTERMSIG(status), signo);
	if (core == 0)
		CHECK(!WCOREDUMP(status));
	expect_none(kq);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	CHECK_EQ(system(command), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(the_status_tells_the_signal_that_killed)
{
	NOT_UNDER_VALGRIND("valgrind ends processes in its own way");
	by_signal(SIGKILL, 0);
	by_signal(SIGTERM, 0);
	by_signal(SIGSEGV, 0);
}

/* Whether a core was dumped hangs on the system; wait() and we agree. */
TEST(the_status_tells_of_a_core)
{
	struct rlimit limit;
	CHECK_EQ(getrlimit(RLIMIT_CORE, &limit), 0);
	by_signal(SIGABRT, limit.rlim_max);
}

TEST(nothing_is_reaped)
{
	struct child c = start();
	int kq = open_queue();
	add(kq, c.pid, NOTE_EXIT);
	finish(&c, 9);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 9 << 8,
	    NULL);
	CHECK_EQ(reap(c.pid), 9 << 8);
	CHECK_EQ(close(kq), 0);
}

TEST(a_zombie_is_told_of_at_once)
{
	struct child c = start();
	int kq = open_queue();
	finish(&c, 7);
	struct kevent k = kev((uintptr_t)c.pid, EVFILT_PROC, EV_ADD, NOTE_EXIT,
	    0, UDATA(1)), got;
	CHECK_EQ(kevent(kq, &k, 1, &got, 1, &no_wait), 1);
	CHECK_KEV(got, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 7 << 8,
	    UDATA(1));
	expect_none(kq);
	/* As often as it is asked for; and it keeps what was seen then. */
	add(kq, c.pid, NOTE_EXIT);
	CHECK(polls_readable(kq));
	CHECK_EQ(reap(c.pid), 7 << 8);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 7 << 8,
	    NULL);
	expect_none(kq);
	CHECK(!polls_readable(kq));
	CHECK_EQ(close(kq), 0);
}

TEST(a_zombie_whose_end_nobody_wants_is_esrch)
{
	struct child c = start();
	int kq = open_queue();
	finish(&c, 7);
	CHECK_FAILS(change(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ADD, 0, 0,
	    NULL), ESRCH);
	CHECK_FAILS(change(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ADD,
	    NOTE_EXITSTATUS, 0, NULL), ESRCH);
	CHECK_ABSENT(kq, (uintptr_t)c.pid, EVFILT_PROC);
	reap(c.pid);
	CHECK_FAILS(change(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ADD, NOTE_EXIT,
	    0, NULL), ESRCH);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(what_is_no_process_is_esrch)
{
	static const uintptr_t idents[] = {0, 0x7fffffff, 0x80000000u,
	    (uintptr_t)-1, UINTPTR_MAX / 2 + 2};
	int kq = open_queue();
	for (size_t i = 0; i < sizeof idents / sizeof *idents; i++) {
		CHECK_FAILS(change(kq, idents[i], EVFILT_PROC, EV_ADD,
		    NOTE_EXIT, 0, NULL), ESRCH);
		CHECK_FAILS(change(kq, idents[i], EVFILT_PROC, EV_DELETE,
		    NOTE_EXIT, 0, NULL), ENOENT);
	}
	/* The low bits of this one are our own number. */
	if (sizeof(uintptr_t) > 4)
		CHECK_FAILS(change(kq, ((uintptr_t)1 << 16 << 16) +
		    (uintptr_t)getpid(), EVFILT_PROC, EV_ADD, NOTE_EXIT, 0,
		    NULL), ESRCH);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

static atomic_int thread_number, thread_may_end;

static void *
numbered_thread(void *arg)
{
	atomic_store(&thread_number, (int)syscall(SYS_gettid));
	while (!atomic_load(&thread_may_end))
		let_pass(100000);
	return arg;
}

TEST(a_thread_is_no_process)
{
	int kq = open_queue();
	pthread_t thread;
	CHECK_EQ(pthread_create(&thread, NULL, numbered_thread, NULL), 0);
	WAIT_FOR(atomic_load(&thread_number) != 0);
	CHECK_FAILS(change(kq, (uintptr_t)atomic_load(&thread_number),
	    EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL), ESRCH);
	atomic_store(&thread_may_end, 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(oneself_and_init_can_be_watched)
{
	int kq = open_queue();
	add(kq, getpid(), NOTE_EXIT);
	add(kq, 1, NOTE_EXIT);
	expect_none(kq);
	CHECK(!polls_readable(kq));
	CHANGE(kq, 1, EVFILT_PROC, EV_DELETE, 0, 0, NULL);
	CHANGE(kq, (uintptr_t)getpid(), EVFILT_PROC, EV_DELETE, 0, 0, NULL);
	CHECK_ABSENT(kq, 1, EVFILT_PROC);
	CHECK_EQ(close(kq), 0);
}

/* Makes a child that makes a grandchild, which waits for a byte. */
static pid_t
family(int gate[2], pid_t *grandchild, int orphan)
{
	int numbers[2];
	char byte;
	pid_t pid;
	CHECK_EQ(pipe2(numbers, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		pid_t made = fork();
		if (made == 0) {
			close(gate[1]);
			close(numbers[0]);
			close(numbers[1]);
			_exit(read(gate[0], &byte, 1) == 1 ? 21 : 22);
		}
		close(gate[1]);
		write(numbers[1], &made, sizeof made);
		while (!orphan)
			pause();
		_exit(0);
	}
	close(numbers[1]);
	CHECK_EQ(read(numbers[0], grandchild, sizeof *grandchild),
	    sizeof *grandchild);
	close(numbers[0]);
	return pid;
}

/* Its zombie waits for its own parent. */
TEST(the_status_of_a_grandchild)
{
	int kq = open_queue(), gate[2];
	pid_t grandchild, child;
	CHECK_EQ(pipe2(gate, O_CLOEXEC), 0);
	child = family(gate, &grandchild, 0);
	add(kq, grandchild, NOTE_EXIT);
	expect_none(kq);
	CHECK_EQ(write(gate[1], "x", 1), 1);
	struct kevent k = next_event(kq);
	CHECK_KEV(k, (uintptr_t)grandchild, EVFILT_PROC, ENDED, NOTE_EXIT,
	    21 << 8, NULL);
	expect_none(kq);
	close(gate[0]);
	close(gate[1]);
	CHECK_EQ(kill(child, SIGKILL), 0);
	reap(child);
	CHECK_EQ(close(kq), 0);
}

/* Whoever takes it in reaps it when he likes. */
TEST(the_end_of_a_stranger)
{
	int kq = open_queue(), gate[2], told = told_after_reaping();
	pid_t stranger;
	CHECK_EQ(pipe2(gate, O_CLOEXEC), 0);
	reap(family(gate, &stranger, 1));
	add(kq, stranger, NOTE_EXIT);
	expect_none(kq);
	CHECK_EQ(write(gate[1], "x", 1), 1);
	struct kevent k = next_event(kq);
	if (!told && k.data == 0)
		k.data = 21 << 8;
	CHECK_KEV(k, (uintptr_t)stranger, EVFILT_PROC, ENDED, NOTE_EXIT,
	    21 << 8, NULL);
	expect_none(kq);
	close(gate[0]);
	close(gate[1]);
	CHECK_EQ(close(kq), 0);
}

TEST(the_status_survives_the_reaping)
{
	int kq = open_queue(), told = told_after_reaping();
	struct child c = start();
	add(kq, c.pid, NOTE_EXIT);
	finish(&c, 33);
	CHECK_EQ(reap(c.pid), 33 << 8);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT,
	    told ? 33 << 8 : 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* Seen by one wait, which had no room for it, and reaped before the next. */
TEST(what_a_wait_has_seen_is_kept)
{
	NOT_UNDER_VALGRIND(NO_PIDFD);
	int kq = open_queue();
	struct child c = start(), d = start();
	struct kevent k[2];
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	add(kq, c.pid, NOTE_EXIT);
	add(kq, d.pid, NOTE_EXIT);
	CHANGE(kq, (uintptr_t)d.pid, EVFILT_PROC, EV_DISABLE, NOTE_EXIT, 0,
	    NULL);
	finish(&d, 44);
	finish(&c, 45);
	CHECK_EQ(kevent(kq, NULL, 0, k, 2, &ts), 1);
	CHECK_KEV(k[0], (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT,
	    45 << 8, NULL);
	expect_none(kq);
	reap(c.pid);
	/* Without pidfds it is SIGCHLD that led there, not the clock. */
	reap(d.pid);
	CHANGE(kq, (uintptr_t)d.pid, EVFILT_PROC, EV_ENABLE, NOTE_EXIT, 0,
	    NULL);
	EXPECT(kq, (uintptr_t)d.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 44 << 8,
	    NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* Is there a handler for the signal? */
static int
is_handled(int sig)
{
	struct sigaction there;
	CHECK_EQ(sigaction(sig, NULL, &there), 0);
	return there.sa_handler != SIG_DFL;
}

TEST(sigchld_is_heard_where_there_are_no_pidfds_and_no_longer_than_needed)
{
	NOT_UNDER_VALGRIND("valgrind has signals of its own kind");
	int kq = open_queue(), other = open_queue();
	struct child c = start(), d = start();
	struct sigaction mine = {.sa_handler = SIG_DFL};
	/* What is no child sends none. */
	add(kq, 1, NOTE_EXIT);
	CHECK_EQ(is_handled(SIGCHLD), 0);
	add(kq, c.pid, NOTE_EXIT);
	add(kq, d.pid, NOTE_EXIT);
	add(other, d.pid, NOTE_EXIT);
	CHECK_EQ(is_handled(SIGCHLD), by_clock());
	/* A forked child has what the program wanted. */
	pid_t pid = fork();
	if (pid == 0)
		_exit(is_handled(SIGCHLD));
	CHECK_EQ(reap(pid), 0);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_DELETE, 0, 0, NULL);
	CHANGE(other, (uintptr_t)d.pid, EVFILT_PROC, EV_DELETE, 0, 0, NULL);
	CHECK_EQ(is_handled(SIGCHLD), by_clock());
	finish(&d, 6);
	EXPECT(kq, (uintptr_t)d.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 6 << 8,
	    NULL);
	CHECK_EQ(is_handled(SIGCHLD), 0);
	/* A program that sets it aside is left to the clock. */
	add(kq, c.pid, NOTE_EXIT);
	CHECK_EQ(is_handled(SIGCHLD), by_clock());
	CHECK_EQ(sigaction(SIGCHLD, &mine, NULL), 0);
	finish(&c, 7);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 7 << 8,
	    NULL);
	CHECK_EQ(is_handled(SIGCHLD), 0);
	expect_none(kq);
	reap(c.pid);
	reap(d.pid);
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(other), 0);
}

TEST(children_that_nobody_reaps_because_sigchld_is_ignored)
{
	int kq = open_queue(), told = told_after_reaping();
	struct child c;
	signal(SIGCHLD, SIG_IGN);
	c = start();
	add(kq, c.pid, NOTE_EXIT);
	char status = 55;
	CHECK_EQ(write(c.orders, &status, 1), 1);
	struct kevent k = next_event(kq);
	if (!told && k.data == 0)
		k.data = 55 << 8;
	CHECK_KEV(k, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 55 << 8,
	    NULL);
	expect_none(kq);
	close(c.orders);
	close(c.answers);
	CHECK_FAILS(waitpid(c.pid, NULL, 0), ECHILD);
	CHECK_EQ(close(kq), 0);
}

TEST(a_thousand_short_lives_each_with_its_status)
{
	enum { COUNT = 1000 };
	static pid_t pids[COUNT];
	static char seen[COUNT];
	int kq = open_queue(), left = COUNT;
	struct kevent k[64];
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	for (int i = 0; i < COUNT; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(i & 0xff);
		CHECK(pids[i] > 0);
		CHANGE(kq, (uintptr_t)pids[i], EVFILT_PROC, EV_ADD, NOTE_EXIT,
		    0, UDATA(i));
	}
	while (left > 0) {
		int n = kevent(kq, NULL, 0, k, 64, &ts);
		CHECK(n > 0);
		for (int i = 0; i < n; i++) {
			int who = (int)(uintptr_t)k[i].udata;
			CHECK_KEV(k[i], (uintptr_t)pids[who], EVFILT_PROC,
			    ENDED, NOTE_EXIT, (who & 0xff) << 8, UDATA(who));
			CHECK_EQ(seen[who]++, 0);
			left--;
		}
	}
	expect_none(kq);
	for (int i = 0; i < COUNT; i++)
		CHECK_EQ(reap(pids[i]), (i & 0xff) << 8);
	CHECK_EQ(close(kq), 0);
}

/* Many at once, and they cost nothing while they run. */
TEST(hundreds_are_watched_at_once)
{
	NOT_UNDER_VALGRIND(NO_PIDFD);
	enum { COUNT = 400 };
	static pid_t pids[COUNT];
	int kq = open_queue(), gate[2], left = COUNT;
	struct kevent k[COUNT];
	struct timespec ts = ms_to_ts(300), long_ts = ms_to_ts(GENEROUS_MS);
	CHECK_EQ(pipe2(gate, O_CLOEXEC), 0);
	for (int i = 0; i < COUNT; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			char byte;
			close(gate[1]);
			read(gate[0], &byte, 1);
			_exit(i & 0xff);
		}
		CHECK(pids[i] > 0);
		CHANGE(kq, (uintptr_t)pids[i], EVFILT_PROC, EV_ADD, NOTE_EXIT,
		    0, UDATA(i));
	}
	int64_t before = cpu_ns();
	CHECK_EQ(kevent(kq, NULL, 0, k, COUNT, &ts), 0);
	if (!by_clock())
		CHECK(cpu_ns() - before < MS(50));
	close(gate[0]);
	close(gate[1]);
	while (left > 0) {
		int n = kevent(kq, NULL, 0, k, COUNT, &long_ts);
		CHECK(n > 0);
		for (int i = 0; i < n; i++) {
			int who = (int)(uintptr_t)k[i].udata;
			CHECK_KEV(k[i], (uintptr_t)pids[who], EVFILT_PROC,
			    ENDED, NOTE_EXIT, (who & 0xff) << 8, UDATA(who));
			left--;
		}
	}
	expect_none(kq);
	for (int i = 0; i < COUNT; i++)
		reap(pids[i]);
	CHECK_EQ(close(kq), 0);
}

TEST(without_a_descriptor_left_it_is_looked_at_by_the_clock)
{
	struct rlimit limit;
	int kq = open_queue(), fds[64], count = 0;
	struct child c = start();
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	/* The clock is there already. */
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_DISABLE, 0, 1000, NULL);
	struct rlimit low = {32, limit.rlim_max};
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
	while (count < 64 && (fds[count] = dup(0)) >= 0)
		count++;
	CHECK(count < 64);
	add(kq, c.pid, NOTE_EXIT);
	while (count > 0)
		close(fds[--count]);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	expect_none(kq);
	finish(&c, 12);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 12 << 8,
	    NULL);
	expect_none(kq);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(a_sleeping_thread_is_woken)
{
	int kq = open_queue();
	struct child c = start();
	struct waiter w;
	add(kq, c.pid, NOTE_EXIT);
	waiter_start(&w, kq, NULL);
	finish(&c, 3);
	CHECK_KEV(waiter_event(&w), (uintptr_t)c.pid, EVFILT_PROC, ENDED,
	    NOTE_EXIT, 3 << 8, NULL);
	expect_none(kq);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(every_queue_is_told_and_each_once)
{
	int one = open_queue(), two = open_queue();
	struct child c = start();
	add(one, c.pid, NOTE_EXIT);
	add(two, c.pid, NOTE_EXIT | NOTE_EXITSTATUS);
	finish(&c, 3);
	EXPECT(one, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 3 << 8,
	    NULL);
	EXPECT(two, (uintptr_t)c.pid, EVFILT_PROC, ENDED,
	    NOTE_EXIT | NOTE_EXITSTATUS, 3 << 8, NULL);
	expect_none(one);
	expect_none(two);
	reap(c.pid);
	CHECK_EQ(close(one), 0);
	CHECK_EQ(close(two), 0);
}

TEST(of_many_threads_one_gets_it)
{
	int kq = open_queue();
	struct child c = start();
	struct waiter w[4];
	struct timespec ts = ms_to_ts(1000);
	int got = 0;
	add(kq, c.pid, NOTE_EXIT);
	for (int i = 0; i < 4; i++)
		waiter_start(&w[i], kq, &ts);
	finish(&c, 3);
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(pthread_join(w[i].thread, NULL), 0);
		CHECK(w[i].returned == 0 || w[i].returned == 1);
		got += w[i].returned;
	}
	CHECK_EQ(got, 1);
	expect_none(kq);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(stop_continue_and_exec_are_not_the_end)
{
	int kq = open_queue(), status;
	struct child c = start();
	add(kq, c.pid, NOTE_EXIT);
	CHECK_EQ(kill(c.pid, SIGSTOP), 0);
	CHECK_EQ(waitpid(c.pid, &status, WUNTRACED), c.pid);
	expect_none(kq);
	CHECK_EQ(kill(c.pid, SIGCONT), 0);
	tell(&c, 'e');
	expect_none(kq);
	finish(&c, 0);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 0, NULL);
	expect_none(kq);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

static int survivor_gate;

static void *
survivor(void *arg)
{
	char byte;
	read(survivor_gate, &byte, 1);
	_exit(66);
	return arg;
}

TEST(a_first_thread_that_ends_early_is_not_the_end)
{
	NOT_UNDER_VALGRIND("valgrind wants the first thread to the end");
	int kq = open_queue(), gate[2];
	char path[64];
	CHECK_EQ(pipe2(gate, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		pthread_t thread;
		close(gate[1]);
		survivor_gate = gate[0];
		pthread_create(&thread, NULL, survivor, NULL);
		syscall(SYS_exit, 0);
	}
	close(gate[0]);
	add(kq, pid, NOTE_EXIT);
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	while (state_at(path) != 'Z')
		;
	expect_none(kq);
	close(gate[1]);
	EXPECT(kq, (uintptr_t)pid, EVFILT_PROC, ENDED, NOTE_EXIT, 66 << 8,
	    NULL);
	CHECK_EQ(reap(pid), 66 << 8);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* --- flags --------------------------------------------------------------- */

TEST(notes_that_are_returned_are_those_asked_for)
{
	int kq = open_queue();
	struct child c = start();
	add(kq, c.pid, NOTE_EXIT | NOTE_EXITSTATUS);
	finish(&c, 3);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED,
	    NOTE_EXIT | NOTE_EXITSTATUS, 3 << 8, NULL);
	expect_none(kq);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

/* The knote is gone, without an event. */
static void
expect_gone(int kq, pid_t pid)
{
	WAIT_FOR((expect_none(kq), change(kq, (uintptr_t)pid, EVFILT_PROC, 0, 0,
	    0, NULL) == -1));
	CHECK_EQ(errno, ENOENT);
}

TEST(an_end_that_nobody_wants_takes_the_knote_silently)
{
	int kq = open_queue();
	struct child c = start();
	add(kq, c.pid, 0);
	finish(&c, 3);
	expect_gone(kq, c.pid);
	reap(c.pid);
	c = start();
	add(kq, c.pid, NOTE_EXITSTATUS);
	finish(&c, 3);
	expect_gone(kq, c.pid);
	reap(c.pid);
	CHECK(!polls_readable(kq));
	CHECK_EQ(close(kq), 0);
}

TEST(each_change_says_anew_what_is_wanted)
{
	int kq = open_queue();
	struct child c = start();
	add(kq, c.pid, 0);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, 0, NOTE_EXIT, 0, UDATA(5));
	finish(&c, 3);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 3 << 8,
	    UDATA(5));
	expect_none(kq);
	reap(c.pid);
	c = start();
	add(kq, c.pid, NOTE_EXIT);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ENABLE, 0, 0, NULL);
	finish(&c, 3);
	expect_gone(kq, c.pid);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(the_modes_come_back_in_the_flags)
{
	static const unsigned modes[] = {EV_ONESHOT, EV_DISPATCH, EV_RECEIPT};
	int kq = open_queue();
	for (size_t i = 0; i < 3; i++) {
		struct child c = start();
		struct kevent k = kev((uintptr_t)c.pid, EVFILT_PROC,
		    EV_ADD | modes[i], NOTE_EXIT, 0, NULL), got;
		CHECK_EQ(kevent(kq, &k, 1, &got, 1, &no_wait),
		    modes[i] == EV_RECEIPT);
		finish(&c, 3);
		EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED | modes[i],
		    NOTE_EXIT, 3 << 8, NULL);
		expect_none(kq);
		CHECK_ABSENT(kq, (uintptr_t)c.pid, EVFILT_PROC);
		reap(c.pid);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(a_disabled_knote_remembers_the_end)
{
	int kq = open_queue();
	struct child c = start();
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ADD | EV_DISABLE,
	    NOTE_EXIT, 0, NULL);
	finish(&c, 3);
	for (int i = 0; i < 3; i++)
		expect_none(kq);
	CHECK(!polls_readable(kq));
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ENABLE, NOTE_EXIT, 0,
	    NULL);
	CHECK(by_clock() || polls_readable(kq));
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 3 << 8,
	    NULL);
	expect_none(kq);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(delete_takes_a_pending_end_with_it)
{
	int kq = open_queue();
	struct child c = start();
	add(kq, c.pid, NOTE_EXIT);
	finish(&c, 3);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK(!polls_readable(kq));
	CHECK_ABSENT(kq, (uintptr_t)c.pid, EVFILT_PROC);
	/* Also one that is known to the queue already. */
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ADD | EV_DISABLE,
	    NOTE_EXIT, 0, NULL);
	expect_none(kq);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ENABLE, NOTE_EXIT, 0,
	    NULL);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(forceoneshot_returns_a_living_one_once)
{
	int kq = open_queue();
	struct child c = start();
	add(kq, c.pid, NOTE_EXIT);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_FORCEONESHOT, NOTE_EXIT,
	    0, NULL);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, WATCH | EV_ONESHOT, 0, 0,
	    NULL);
	CHECK_ABSENT(kq, (uintptr_t)c.pid, EVFILT_PROC);
	finish(&c, 3);
	expect_none(kq);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(one_event_a_call_and_room_for_one)
{
	int kq = open_queue(), seen = 0;
	struct child c[5];
	for (int i = 0; i < 5; i++) {
		c[i] = start();
		CHANGE(kq, (uintptr_t)c[i].pid, EVFILT_PROC, EV_ADD, NOTE_EXIT,
		    0, UDATA(i));
	}
	for (int i = 0; i < 5; i++)
		finish(&c[i], (char)(i + 1));
	for (int i = 0; i < 5; i++) {
		struct kevent k = next_event(kq);
		int who = (int)(uintptr_t)k.udata;
		CHECK_EQ(k.data, (who + 1) << 8);
		seen |= 1 << who;
	}
	CHECK_EQ(seen, 31);
	expect_none(kq);
	for (int i = 0; i < 5; i++)
		reap(c[i].pid);
	CHECK_EQ(close(kq), 0);
}

/* A closed queue leaves nothing behind: the harness looks. */
TEST(a_queue_closed_while_it_watches)
{
	struct child c = start();
	for (int i = 0; i < 3; i++) {
		int kq = open_queue();
		add(kq, c.pid, NOTE_EXIT);
		add(kq, getpid(), NOTE_EXIT);
		try_to_follow(kq, getppid(), NOTE_FORK);
		CHECK_EQ(close(kq), 0);
	}
	finish(&c, 1);
	reap(c.pid);
}

/* --- forks and execs ------------------------------------------------------ */

TEST(forks_and_execs_are_told)
{
	NOT_UNDER_VALGRIND("valgrind makes processes in its own way");
	int kq;
	struct child c;
	need_connector();
	kq = open_queue();
	c = start();
	add(kq, c.pid, NOTE_EXIT | NOTE_FORK | NOTE_EXEC);
	expect_none(kq);
	tell(&c, 'f');
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, WATCH, NOTE_FORK, 0, NULL);
	expect_none(kq);
	/* Any number of them is one event; a vfork is a fork, a thread none. */
	tell(&c, 'f');
	tell(&c, 'f');
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, WATCH, NOTE_FORK, 0, NULL);
	expect_none(kq);
	tell(&c, 'v');
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, WATCH, NOTE_FORK, 0, NULL);
	tell(&c, 't');
	expect_none(kq);
	tell(&c, 'e');
	struct kevent k = next_event(kq);
	CHECK_KEV(k, (uintptr_t)c.pid, EVFILT_PROC, WATCH, NOTE_EXEC, 0, NULL);
	expect_none(kq);
	finish(&c, 0);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 0, NULL);
	expect_none(kq);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(a_fork_wakes_a_sleeping_thread)
{
	int kq;
	struct child c;
	struct waiter w;
	need_connector();
	kq = open_queue();
	c = start();
	add(kq, c.pid, NOTE_FORK);
	waiter_start(&w, kq, NULL);
	tell(&c, 'f');
	CHECK_KEV(waiter_event(&w), (uintptr_t)c.pid, EVFILT_PROC, WATCH,
	    NOTE_FORK, 0, NULL);
	expect_none(kq);
	finish(&c, 1);
	expect_gone(kq, c.pid);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(what_it_did_before_its_end_comes_with_it)
{
	int kq;
	need_connector();
	kq = open_queue();
	for (int i = 0; i < 20; i++) {
		struct child c = start();
		add(kq, c.pid, NOTE_EXIT | NOTE_FORK | NOTE_EXEC);
		tell(&c, 'f');
		tell(&c, 'e');
		finish(&c, 0);
		EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED,
		    NOTE_EXIT | NOTE_FORK | NOTE_EXEC, 0, NULL);
		expect_none(kq);
		CHECK_ABSENT(kq, (uintptr_t)c.pid, EVFILT_PROC);
		reap(c.pid);
	}
	CHECK_EQ(close(kq), 0);
}

/* The data is that of NOTE_EXIT. */
TEST(without_note_exit_the_end_comes_with_what_pends)
{
	int kq;
	struct child c;
	need_connector();
	kq = open_queue();
	c = start();
	add(kq, c.pid, NOTE_FORK);
	tell(&c, 'f');
	finish(&c, 9);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_FORK, 0, NULL);
	expect_none(kq);
	CHECK_ABSENT(kq, (uintptr_t)c.pid, EVFILT_PROC);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(ones_own_forks_are_told)
{
	int kq;
	need_connector();
	kq = open_queue();
	add(kq, getpid(), NOTE_FORK);
	expect_none(kq);
	spawn_and_reap();
	EXPECT(kq, (uintptr_t)getpid(), EVFILT_PROC, WATCH, NOTE_FORK, 0,
	    NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(what_others_do_and_what_was_before_is_not_told)
{
	int kq;
	struct child c, d;
	need_connector();
	kq = open_queue();
	c = start();
	d = start();
	add(kq, d.pid, NOTE_FORK);
	tell(&c, 'F');
	expect_none(kq);
	/* By now the queue listens, and has not been looked at since. */
	tell(&c, 'F');
	add(kq, c.pid, NOTE_FORK | NOTE_EXEC);
	expect_none(kq);
	tell(&d, 'f');
	EXPECT(kq, (uintptr_t)d.pid, EVFILT_PROC, WATCH, NOTE_FORK, 0, NULL);
	expect_none(kq);
	finish(&c, 1);
	finish(&d, 1);
	reap(c.pid);
	reap(d.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(what_is_wanted_can_change)
{
	static char before[65536], during[65536], after[65536];
	int kq;
	struct child c;
	need_connector();
	kq = open_queue();
	c = start();
	add(kq, c.pid, NOTE_EXIT);
	open_descriptors(before, sizeof before);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, 0, NOTE_FORK, 0, NULL);
	open_descriptors(during, sizeof during);
	CHECK_EQ(count_fields(during), count_fields(before) + 1);
	tell(&c, 'f');
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, WATCH, NOTE_FORK, 0, NULL);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, 0, NOTE_EXEC, 0, NULL);
	tell(&c, 'f');
	expect_none(kq);
	/* With the last one that wants it the socket goes. */
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, 0, NOTE_EXIT, 0, NULL);
	open_descriptors(after, sizeof after);
	CHECK_EQ(strcmp(before, after), 0);
	tell(&c, 'e');
	expect_none(kq);
	finish(&c, 0);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 0, NULL);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

/* It would go on filling, and make the system tell of every process. */
TEST(the_socket_of_a_closed_queue_goes_with_the_next_queue)
{
	static char before[65536], after[65536];
	int kq;
	need_connector();
	/* What the library keeps for the next queue is kept by now. */
	for (int i = 0; i < 2; i++) {
		kq = open_queue();
		add(kq, getppid(), NOTE_EXIT);
		CHECK_EQ(close(kq), 0);
	}
	kq = open_queue();
	open_descriptors(before, sizeof before);
	add(kq, getppid(), NOTE_FORK);
	CHECK_EQ(close(kq), 0);
	kq = open_queue();
	open_descriptors(after, sizeof after);
	CHECK(count_fields(after) <= count_fields(before));
	CHECK_EQ(close(kq), 0);
}

TEST(a_disabled_knote_remembers_what_was_done)
{
	int kq;
	struct child c;
	need_connector();
	kq = open_queue();
	c = start();
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ADD | EV_DISABLE,
	    NOTE_FORK | NOTE_EXIT, 0, NULL);
	tell(&c, 'f');
	expect_none(kq);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ENABLE,
	    NOTE_FORK | NOTE_EXIT, 0, NULL);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, WATCH, NOTE_FORK, 0, NULL);
	expect_none(kq);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_DISABLE,
	    NOTE_FORK | NOTE_EXIT, 0, NULL);
	tell(&c, 'f');
	finish(&c, 6);
	expect_none(kq);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ENABLE, NOTE_EXIT, 0,
	    NULL);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT | NOTE_FORK,
	    6 << 8, NULL);
	expect_none(kq);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(oneshot_and_dispatch_of_a_fork)
{
	int kq;
	struct child c;
	need_connector();
	kq = open_queue();
	c = start();
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ADD | EV_ONESHOT,
	    NOTE_FORK, 0, NULL);
	tell(&c, 'f');
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, WATCH | EV_ONESHOT,
	    NOTE_FORK, 0, NULL);
	CHECK_ABSENT(kq, (uintptr_t)c.pid, EVFILT_PROC);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ADD | EV_DISPATCH,
	    NOTE_FORK, 0, NULL);
	tell(&c, 'f');
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, WATCH | EV_DISPATCH,
	    NOTE_FORK, 0, NULL);
	tell(&c, 'f');
	expect_none(kq);
	CHANGE(kq, (uintptr_t)c.pid, EVFILT_PROC, EV_ENABLE, NOTE_FORK, 0,
	    NULL);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, WATCH | EV_DISPATCH,
	    NOTE_FORK, 0, NULL);
	expect_none(kq);
	finish(&c, 1);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(two_queues_are_told_of_a_fork)
{
	int one, two;
	struct child c;
	need_connector();
	one = open_queue();
	two = open_queue();
	c = start();
	add(one, c.pid, NOTE_FORK);
	add(two, c.pid, NOTE_FORK);
	tell(&c, 'f');
	EXPECT(one, (uintptr_t)c.pid, EVFILT_PROC, WATCH, NOTE_FORK, 0, NULL);
	CHANGE(one, (uintptr_t)c.pid, EVFILT_PROC, EV_DELETE, 0, 0, NULL);
	tell(&c, 'f');
	EXPECT(two, (uintptr_t)c.pid, EVFILT_PROC, WATCH, NOTE_FORK, 0, NULL);
	tell(&c, 'f');
	EXPECT(two, (uintptr_t)c.pid, EVFILT_PROC, WATCH, NOTE_FORK, 0, NULL);
	expect_none(one);
	expect_none(two);
	finish(&c, 1);
	reap(c.pid);
	CHECK_EQ(close(one), 0);
	CHECK_EQ(close(two), 0);
}

/* --- children followed ---------------------------------------------------- */

TEST(a_followed_child_says_whose_it_is_and_then_the_rest)
{
	int kq, gate[2];
	char byte;
	pid_t pid;
	need_connector();
	kq = open_queue();
	CHECK_EQ(pipe2(gate, O_CLOEXEC), 0);
	CHANGE(kq, (uintptr_t)getpid(), EVFILT_PROC, EV_ADD,
	    NOTE_EXIT | NOTE_FORK | NOTE_TRACK, 0, UDATA(7));
	pid = fork();
	if (pid == 0) {
		close(gate[1]);
		_exit(read(gate[0], &byte, 1) == 1 ? 8 : 9);
	}
	struct kevent k[4];
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	int n = 0;
	while (n < 2) {
		int more = kevent(kq, NULL, 0, k + n, 4 - n, &ts);
		CHECK(more > 0);
		n += more;
	}
	CHECK_EQ(n, 2);
	if (k[0].ident == (uintptr_t)getpid()) {
		struct kevent swap = k[0];
		k[0] = k[1];
		k[1] = swap;
	}
	CHECK_KEV(k[0], (uintptr_t)pid, EVFILT_PROC, WATCH | EV_ONESHOT,
	    NOTE_CHILD, getpid(), UDATA(7));
	CHECK_KEV(k[1], (uintptr_t)getpid(), EVFILT_PROC, WATCH, NOTE_FORK, 0,
	    UDATA(7));
	expect_none(kq);
	/* It is a knote like any other. */
	CHANGE(kq, (uintptr_t)pid, EVFILT_PROC, 0,
	    NOTE_EXIT | NOTE_FORK | NOTE_TRACK, 0, UDATA(8));
	expect_none(kq);
	CHECK_EQ(write(gate[1], "x", 1), 1);
	EXPECT(kq, (uintptr_t)pid, EVFILT_PROC, ENDED, NOTE_EXIT, 8 << 8,
	    UDATA(8));
	expect_none(kq);
	CHECK_ABSENT(kq, (uintptr_t)pid, EVFILT_PROC);
	reap(pid);
	close(gate[0]);
	close(gate[1]);
	CHECK_EQ(close(kq), 0);
}

/*
 * All that a tracked family does, in calls with room for `room`: NOTE_CHILD
 * first of each, the end last, each once. Returns how many came and ended.
 */
static int
collect_family(int kq, pid_t root, int room, int want, int (*is_right)(int))
{
	enum { MOST = 4194304 };
	/* 0: unknown; 1: said NOTE_CHILD; 2: ended. */
	static unsigned char state[MOST];
	struct kevent k[64];
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	int ended = 0, born = 0;
	memset(state, 0, sizeof state);
	state[root] = 1;
	while (ended < want) {
		int n = kevent(kq, NULL, 0, k, room, &ts);
		if (n <= 0)
			FAIL("%d born, %d ended of %d, then %d", born, ended,
			    want, n);
		for (int i = 0; i < n; i++) {
			pid_t pid = (pid_t)k[i].ident;
			CHECK(!(k[i].fflags & NOTE_TRACKERR));
			if (k[i].fflags & NOTE_CHILD) {
				CHECK_EQ(k[i].fflags, NOTE_CHILD);
				CHECK(state[pid] != 1);
				/* Its parent's knote was there before. */
				CHECK(state[k[i].data] != 0);
				state[pid] = 1;
				born++;
			}
			if (k[i].fflags & NOTE_EXIT) {
				CHECK_EQ(k[i].flags, ENDED);
				CHECK_EQ(state[pid], 1);
				state[pid] = 2;
				if (!is_right((int)k[i].data))
					FAIL("%d ended with %ld", (int)pid,
					    (long)k[i].data);
				ended++;
			}
		}
	}
	expect_none(kq);
	return born;
}

static int
three_or_five_or_ten(int status)
{
	return status == 3 << 8 || status == 5 << 8 || status == 10 << 8;
}

static void
follow_a_tree(int room, unsigned fflags)
{
	int kq;
	struct child c;
	need_connector();
	kq = open_queue();
	c = start();
	add(kq, c.pid, NOTE_EXIT | NOTE_TRACK | fflags);
	/* Each makes a child that makes one, and is waited for. */
	for (int i = 0; i < 10; i++)
		tell(&c, 'g');
	finish(&c, 10);
	CHECK_EQ(collect_family(kq, c.pid, room, 21, three_or_five_or_ten),
	    20);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}

TEST(grandchildren_that_are_long_gone_each_with_its_status)
{
	follow_a_tree(64, NOTE_FORK | NOTE_EXEC);
}

TEST(grandchildren_with_room_for_one_event)
{
	follow_a_tree(1, NOTE_FORK);
}

TEST(grandchildren_whose_parents_forks_nobody_wants)
{
	follow_a_tree(8, 0);
}

static int
is_seventeen(int status)
{
	return status == 17 << 8;
}

/* Hundreds at once, that make children faster than they are looked at. */
TEST(a_storm_of_forks)
{
	int kq;
	pid_t root;
	int gate[2];
	need_connector();
	kq = open_queue();
	CHECK_EQ(pipe2(gate, O_CLOEXEC), 0);
	root = fork();
	if (root == 0) {
		char byte;
		close(gate[1]);
		read(gate[0], &byte, 1);
		/* 2^8 processes, each waits for its own. */
		for (int i = 0; i < 8; i++)
			fork();
		while (wait(NULL) > 0)
			continue;
		_exit(17);
	}
	add(kq, root, NOTE_EXIT | NOTE_TRACK);
	close(gate[0]);
	CHECK_EQ(write(gate[1], "x", 1), 1);
	CHECK_EQ(collect_family(kq, root, 64, 256, is_seventeen), 255);
	reap(root);
	close(gate[1]);
	CHECK_EQ(close(kq), 0);
}

static int
is_right_for_spawn(int status)
{
	return status == 0 || status == 4 << 8 || status == 10 << 8;
}

TEST(vfork_and_posix_spawn_are_followed)
{
	int kq;
	struct child c;
	char *argv[] = {(char *)"true", NULL};
	pid_t pid;
	need_connector();
	kq = open_queue();
	c = start();
	add(kq, c.pid, NOTE_EXIT | NOTE_TRACK);
	tell(&c, 'v');
	finish(&c, 10);
	CHECK_EQ(collect_family(kq, c.pid, 4, 2, is_right_for_spawn), 1);
	reap(c.pid);
	add(kq, getpid(), NOTE_EXIT | NOTE_EXEC | NOTE_TRACK);
	CHECK_EQ(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ), 0);
	EXPECT(kq, (uintptr_t)pid, EVFILT_PROC, WATCH | EV_ONESHOT, NOTE_CHILD,
	    getpid(), NULL);
	wait_for_zombie(pid);
	EXPECT(kq, (uintptr_t)pid, EVFILT_PROC, ENDED, NOTE_EXEC | NOTE_EXIT, 0,
	    NULL);
	expect_none(kq);
	reap(pid);
	CHECK_EQ(close(kq), 0);
}

static void *
ends_all(void *arg)
{
	let_pass(MS(1));
	_exit(10);
	return arg;
}

/* Gone before it is looked at, its first thread before the one that counts. */
TEST(a_child_with_threads_that_is_gone)
{
	NOT_UNDER_VALGRIND("valgrind wants the first thread to the end");
	int kq;
	need_connector();
	kq = open_queue();
	add(kq, getpid(), NOTE_EXIT | NOTE_TRACK);
	for (int i = 0; i < 5; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			pthread_t thread;
			pthread_create(&thread, NULL, idle_thread, NULL);
			pthread_join(thread, NULL);
			pthread_create(&thread, NULL, ends_all, NULL);
			syscall(SYS_exit, 5);
		}
		CHECK_EQ(reap(pid), 10 << 8);
		EXPECT(kq, (uintptr_t)pid, EVFILT_PROC, WATCH | EV_ONESHOT,
		    NOTE_CHILD, getpid(), NULL);
		EXPECT(kq, (uintptr_t)pid, EVFILT_PROC, ENDED, NOTE_EXIT,
		    10 << 8, NULL);
		expect_none(kq);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(ones_own_knote_of_a_child_stays_as_it_is)
{
	int kq, gate[2];
	char byte;
	pid_t pid;
	need_connector();
	kq = open_queue();
	CHECK_EQ(pipe2(gate, O_CLOEXEC), 0);
	add(kq, getpid(), NOTE_TRACK | NOTE_FORK);
	pid = fork();
	if (pid == 0) {
		close(gate[1]);
		read(gate[0], &byte, 1);
		_exit(8);
	}
	CHANGE(kq, (uintptr_t)pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0,
	    UDATA(9));
	EXPECT(kq, (uintptr_t)getpid(), EVFILT_PROC, WATCH, NOTE_FORK, 0,
	    NULL);
	expect_none(kq);
	close(gate[0]);
	close(gate[1]);
	EXPECT(kq, (uintptr_t)pid, EVFILT_PROC, ENDED, NOTE_EXIT, 8 << 8,
	    UDATA(9));
	expect_none(kq);
	reap(pid);
	CHECK_EQ(close(kq), 0);
}

TEST(the_modes_of_a_follower_are_its_childrens)
{
	static const unsigned modes[] = {EV_DISPATCH, EV_ONESHOT,
	    EV_DISABLE};
	need_connector();
	for (size_t i = 0; i < 3; i++) {
		unsigned mode = modes[i] & ~(unsigned)EV_DISABLE;
		int kq = open_queue();
		pid_t pid;
		CHANGE(kq, (uintptr_t)getpid(), EVFILT_PROC, EV_ADD | modes[i],
		    NOTE_TRACK | NOTE_EXIT, 0, NULL);
		pid = fork();
		if (pid == 0)
			_exit(8);
		/* NOTE_CHILD neither disables nor deletes it. */
		EXPECT(kq, (uintptr_t)pid, EVFILT_PROC,
		    WATCH | EV_ONESHOT | mode, NOTE_CHILD, getpid(), NULL);
		EXPECT(kq, (uintptr_t)pid, EVFILT_PROC, ENDED | mode,
		    NOTE_EXIT, 8 << 8, NULL);
		expect_none(kq);
		reap(pid);
		CHECK_EQ(close(kq), 0);
	}
}

/* Deleting the parent's knote ends the making of new ones, and no more. */
TEST(followed_children_live_on_without_the_follower)
{
	int kq, gate[2];
	char byte;
	pid_t pid;
	need_connector();
	kq = open_queue();
	CHECK_EQ(pipe2(gate, O_CLOEXEC), 0);
	add(kq, getpid(), NOTE_TRACK | NOTE_EXIT);
	pid = fork();
	if (pid == 0) {
		close(gate[1]);
		read(gate[0], &byte, 1);
		_exit(8);
	}
	EXPECT(kq, (uintptr_t)pid, EVFILT_PROC, WATCH | EV_ONESHOT, NOTE_CHILD,
	    getpid(), NULL);
	CHANGE(kq, (uintptr_t)getpid(), EVFILT_PROC, EV_DELETE, 0, 0, NULL);
	spawn_and_reap();
	expect_none(kq);
	close(gate[0]);
	close(gate[1]);
	EXPECT(kq, (uintptr_t)pid, EVFILT_PROC, ENDED, NOTE_EXIT, 8 << 8,
	    NULL);
	expect_none(kq);
	reap(pid);
	CHECK_EQ(close(kq), 0);
}

/* --- who may ---------------------------------------------------------------- */

/* Runs a check in a child; 77: it cannot be made here. */
static void
in_child(int (*check)(void), const char *cannot)
{
	pid_t pid = fork();
	int status;
	if (pid == 0) {
		int code = check();
		/* Without the harness: the descriptors are the parent's. */
		_exit(code);
	}
	status = reap(pid);
	if (status == 77 << 8)
		SKIP(cannot);
	CHECK_EQ(status, 0);
}

/* NOTE_EXIT alone works whatever the rest does. */
static int
exit_works(int kq)
{
	struct kevent k;
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	pid_t pid = fork();
	if (pid == 0)
		_exit(6);
	add(kq, pid, NOTE_EXIT);
	if (kevent(kq, NULL, 0, &k, 1, &ts) != 1 || k.data != 6 << 8)
		return 1;
	reap(pid);
	return 0;
}

/* Refused alike whatever stands beside it, and no knote is left. */
static int
refused(int code)
{
	static const unsigned notes[] = {NOTE_FORK, NOTE_EXEC, NOTE_TRACK,
	    NOTE_FORK | NOTE_EXIT, NOTE_TRACK | NOTE_EXIT};
	int kq = open_queue();
	for (size_t i = 0; i < 5; i++) {
		CHECK_FAILS(change(kq, (uintptr_t)getpid(), EVFILT_PROC, EV_ADD,
		    notes[i], 0, NULL), code);
		CHECK_ABSENT(kq, (uintptr_t)getpid(), EVFILT_PROC);
	}
	/* One that is there stays as it was. */
	add(kq, getpid(), NOTE_EXIT);
	CHECK_FAILS(change(kq, (uintptr_t)getpid(), EVFILT_PROC, EV_ADD,
	    NOTE_FORK, 0, NULL), code);
	CHANGE(kq, (uintptr_t)getpid(), EVFILT_PROC, EV_DELETE, 0, 0, NULL);
	return exit_works(kq);
}

static int
as_nobody(void)
{
	int kq, code;
	if (getuid() == 0 &&
	    (setgroups(0, NULL) != 0 || setgid(65534) != 0 ||
	    setuid(65534) != 0))
		return 77;
	kq = open_queue();
	code = try_to_follow(kq, getpid(), NOTE_FORK);
	if (code == EPERM || code == ENOTSUP)
		return refused(code);
	CHECK_EQ(code, 0);
	spawn_and_reap();
	EXPECT(kq, (uintptr_t)getpid(), EVFILT_PROC, WATCH, NOTE_FORK, 0,
	    NULL);
	expect_none(kq);
	CHANGE(kq, (uintptr_t)getpid(), EVFILT_PROC, EV_DELETE, 0, 0, NULL);
	return exit_works(kq);
}

/* Since Linux 6.6 anybody may listen; before, a refusal says so. */
TEST(an_ordinary_user_follows_or_is_told_that_he_may_not)
{
	in_child(as_nobody, "the user cannot be changed here");
}

static int
in_a_user_namespace(void)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0)
		return 77;
	return refused(ENOTSUP);
}

TEST(in_a_user_namespace_following_is_enotsup)
{
	in_child(in_a_user_namespace, "no user namespace can be made here");
}

static int
in_a_network_namespace(void)
{
	if (unshare(CLONE_NEWNET) != 0)
		return 77;
	return refused(ENOTSUP);
}

TEST(in_a_network_namespace_following_is_enotsup)
{
	in_child(in_a_network_namespace,
	    "no network namespace can be made here");
}

/* Who may not see its status is told of its end all the same. */
static int
as_nobody_a_stranger(void)
{
	int gate[2], kq;
	pid_t pid, roots;
	struct kevent k;
	if (getuid() != 0)
		return 77;
	CHECK_EQ(pipe2(gate, O_CLOEXEC), 0);
	pid = family(gate, &roots, 0);
	if (setgid(65534) != 0 || seteuid(65534) != 0)
		return 77;
	kq = open_queue();
	add(kq, roots, NOTE_EXIT);
	expect_none(kq);
	CHECK_EQ(write(gate[1], "x", 1), 1);
	k = next_event(kq);
	CHECK_EQ(seteuid(0), 0);
	kill(pid, SIGKILL);
	reap(pid);
	/* Its zombie was still there, and keeps its status to itself. */
	return k.flags == ENDED && k.fflags == NOTE_EXIT &&
	    (k.data == 0 || k.data == 21 << 8) ? 0 : 1;
}

TEST(the_end_of_another_users_process)
{
	in_child(as_nobody_a_stranger, "the user cannot be changed here");
}

/* With a /proc that shows each user his own processes alone. */
static int
in_a_hiding_proc(void)
{
	char path[64];
	int gate[2], kq;
	pid_t pid, roots;
	struct kevent k;
	if (getuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("proc", "/proc", "proc", 0, "hidepid=2") != 0)
		return 77;
	CHECK_EQ(pipe2(gate, O_CLOEXEC), 0);
	pid = family(gate, &roots, 0);
	if (setgroups(0, NULL) != 0 || setgid(65534) != 0 ||
	    seteuid(65534) != 0)
		return 77;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)roots);
	CHECK_FAILS(open(path, O_RDONLY), ENOENT);
	kq = open_queue();
	add(kq, roots, NOTE_EXIT);
	expect_none(kq);
	CHECK_EQ(write(gate[1], "x", 1), 1);
	/* It stays a zombie, but who looks by the clock cannot see that. */
	if (by_clock()) {
		CHECK_EQ(seteuid(0), 0);
		CHECK_EQ(kill(pid, SIGKILL), 0);
	}
	k = next_event(kq);
	CHECK_EQ(seteuid(0), 0);
	kill(pid, SIGKILL);
	reap(pid);
	return k.flags == ENDED && k.fflags == NOTE_EXIT ? 0 : 1;
}

TEST(the_end_of_a_process_that_proc_hides)
{
	NOT_UNDER_VALGRIND(NO_PIDFD);
	in_child(in_a_hiding_proc, "/proc cannot be mounted here");
}

/* --- too much ----------------------------------------------------------------- */

/* Nobody looks while more is done than the system keeps. */
TEST(what_got_lost_is_said)
{
	NOT_UNDER_VALGRIND("40,000 children take valgrind too long");
	int kq, i;
	pid_t pid;
	struct child c;
	need_connector();
	kq = open_queue();
	c = start();
	add(kq, getpid(), NOTE_TRACK);
	add(kq, c.pid, NOTE_EXIT | NOTE_FORK);
	for (i = 0; i < 40000; i++) {
		pid = vfork();
		if (pid == 0)
			_exit(0);
		CHECK_EQ(waitpid(pid, NULL, 0), pid);
	}
	int mine = 0, others = 0;
	struct kevent k[64];
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	while (mine == 0 || others == 0) {
		int n = kevent(kq, NULL, 0, k, 64, &ts);
		CHECK(n > 0);
		for (i = 0; i < n; i++) {
			if (!(k[i].fflags & NOTE_TRACKERR))
				continue;
			mine += k[i].ident == (uintptr_t)getpid();
			others += k[i].ident == (uintptr_t)c.pid;
		}
	}
	CHECK_EQ(mine, 1);
	CHECK_EQ(others, 1);
	/* Whoever was followed by then has come to an end. */
	while (kevent(kq, NULL, 0, k, 64, &no_wait) > 0)
		continue;
	/* And on it goes. */
	tell(&c, 'f');
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, WATCH, NOTE_FORK, 0, NULL);
	pid = fork();
	if (pid == 0)
		_exit(0);
	EXPECT(kq, (uintptr_t)pid, EVFILT_PROC, WATCH | EV_ONESHOT, NOTE_CHILD,
	    getpid(), NULL);
	reap(pid);
	finish(&c, 2);
	EXPECT(kq, (uintptr_t)c.pid, EVFILT_PROC, ENDED, NOTE_EXIT, 2 << 8,
	    NULL);
	reap(c.pid);
	CHECK_EQ(close(kq), 0);
}
