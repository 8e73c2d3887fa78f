/* Children: forked in all the ways there are, with threads at work or not. */
#include "holder.h"

#include <dlfcn.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/time.h>
#include <sys/wait.h>

extern char **environ;

#define USER_ADD(kq, id, flags)                                               \
	CHANGE(kq, id, EVFILT_USER, EV_ADD | (flags), 0, 0, NULL)
#define TRIGGER(kq, id) CHANGE(kq, id, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL)

/* One knote of every kind that takes a descriptor of the library's. */
struct family {
	int kq;
	int fds[2];
	int file;
	pid_t watched;
};

static void
family_start(struct family *f)
{
	NOT_UNDER_VALGRIND("it has descriptors of its own up there");
	f->watched = fork();
	CHECK(f->watched >= 0);
	if (f->watched == 0) {
		pause();
		_exit(0);
	}
	CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
	f->kq = new_queue();
	tcp_pair(f->fds);
	f->file = nameless_file(0);
	CHANGE(f->kq, (uintptr_t)f->fds[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0,
	    0, NULL);
	CHANGE(f->kq, (uintptr_t)f->fds[0], EVFILT_WRITE, EV_ADD | EV_ONESHOT,
	    0, 0, NULL);
	CHECK_EQ(next_event(f->kq).filter, EVFILT_WRITE);
	CHANGE(f->kq, (uintptr_t)f->fds[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB, 0,
	    NULL);
	CHANGE(f->kq, (uintptr_t)f->file, EVFILT_VNODE, EV_ADD | EV_CLEAR,
	    NOTE_EXTEND, 0, NULL);
	CHANGE(f->kq, (uintptr_t)f->watched, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0,
	    NULL);
	CHANGE(f->kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	CHANGE(f->kq, 0, EVFILT_FS, EV_ADD, 0, 0, NULL);
	CHANGE(f->kq, 1, EVFILT_TIMER, EV_ADD, 0, 100000, NULL);
	USER_ADD(f->kq, 1, EV_CLEAR);
	expect_none(f->kq);
}

/* The parent's queue holds what it held, and tells of it. */
static void
family_end(struct family *f)
{
	expect_none(f->kq);
	TRIGGER(f->kq, 1);
	CHECK_EQ(next_event(f->kq).filter, EVFILT_USER);
	put(f->fds[1], 5);
	EXPECT(f->kq, (uintptr_t)f->fds[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0,
	    5, NULL);
	CHECK_EQ(ftruncate(f->file, 8), 0);
	CHECK_EQ(next_event(f->kq).filter, EVFILT_VNODE);
	CHECK_EQ(raise(SIGUSR1), 0);
	CHECK_EQ(next_event(f->kq).filter, EVFILT_SIGNAL);
	CHECK_EQ(kill(f->watched, SIGKILL), 0);
	CHECK_EQ(next_event(f->kq).filter, EVFILT_PROC);
	CHECK_EQ(waitpid(f->watched, NULL, 0), f->watched);
	CHANGE(f->kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, NULL);
	CHECK_EQ(next_event(f->kq).filter, EVFILT_TIMER);
	expect_none(f->kq);
	close_pair(f->fds);
	CHECK_EQ(close(f->file), 0);
	CHECK_EQ(close(f->kq), 0);
}

static void
has_no_queue(int kq)
{
	struct kevent k;
	CHECK_FAILS(kevent(kq, NULL, 0, &k, 1, NULL), EBADF);
	CHECK_FAILS(change(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	    EBADF);
	CHECK_FAILS(fcntl(kq, F_GETFD), EBADF);
	CHECK_EQ(private_numbers(NULL, 0), 0);
}

static void
makes_queues(void)
{
	int fds[2], kq = new_queue(), outer = new_queue();
	unix_pair(fds);
	CHANGE(outer, (uintptr_t)kq, EVFILT_READ, EV_ADD, 0, 0, NULL);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	expect_none(outer);
	put(fds[1], 4);
	EXPECT(outer, (uintptr_t)kq, EVFILT_READ, EV_ADD, 0, 1, NULL);
	EXPECT(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 4, NULL);
	USER_ADD(outer, 9, EV_CLEAR | EV_ONESHOT);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, NULL);
	take(fds[0], 4);
	CHECK_EQ(next_event(kq).filter, EVFILT_TIMER);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(outer), 0);
	libkqueue_drain_pending_close();
	CHECK_EQ(private_numbers(NULL, 0), 0);
}

/* Ways to fork: the child's pid, 0 in the child, -1 if it cannot be had. */

static pid_t
by_fork(void)
{
	return fork();
}

static pid_t
by_fork_without_handlers(void)
{
	pid_t (*quiet)(void);
	*(void **)&quiet = dlsym(RTLD_DEFAULT, "_Fork");
	return quiet == NULL ? -1 : quiet();
}

static pid_t
by_clone(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

typedef pid_t fork_fn(void);

#define EACH_WAY(test)                                                        \
	TEST(fork_##test) { test(by_fork); }                                  \
	TEST(quiet_fork_##test) { test(by_fork_without_handlers); }           \
	TEST(clone_##test) { test(by_clone); }

#define IN_CHILD_BY(way, ...)                                                 \
	do {                                                                  \
		pid_t pid_ = way();                                           \
		if (pid_ == 0) {                                              \
			__VA_ARGS__;                                          \
			_exit(0);                                             \
		}                                                             \
		if (pid_ < 0)                                                 \
			SKIP("there is no such call");                        \
		wait_child(pid_);                                             \
	} while (0)

static void
child_has_nothing_of_its_parent(fork_fn *way)
{
	struct family f;
	family_start(&f);
	IN_CHILD_BY(way, has_no_queue(f.kq); makes_queues());
	IN_CHILD_BY(way, {
		makes_queues();
		has_no_queue(f.kq);
	});
	/* One that does not call leaves its parent alone as well. */
	IN_CHILD_BY(way, _exit(0));
	family_end(&f);
}
EACH_WAY(child_has_nothing_of_its_parent)

static void
grandchild_has_nothing_of_either(fork_fn *way)
{
	struct family f;
	family_start(&f);
	IN_CHILD_BY(way, {
		int own = new_queue();
		USER_ADD(own, 1, EV_CLEAR);
		CHANGE(own, 1, EVFILT_TIMER, EV_ADD, 0, 100000, NULL);
		IN_CHILD_BY(way, {
			has_no_queue(own);
			makes_queues();
		});
		TRIGGER(own, 1);
		CHECK_EQ(next_event(own).filter, EVFILT_USER);
		CHECK_EQ(close(own), 0);
	});
	family_end(&f);
}
EACH_WAY(grandchild_has_nothing_of_either)

/* What its own files are by then is left alone. */
static void
child_may_take_the_numbers_first(fork_fn *way)
{
	struct family f;
	family_start(&f);
	IN_CHILD_BY(way, {
		int file = nameless_file(3), fd;
		struct kevent k;
		for (fd = PRIVATE_FLOOR; fd < PRIVATE_FLOOR + 20; fd++)
			CHECK_EQ(dup2(file, fd), fd);
		CHECK_EQ(dup2(file, f.kq), f.kq);
		CHECK_FAILS(kevent(f.kq, NULL, 0, &k, 1, NULL), EINVAL);
		CHECK_EQ(close(new_queue()), 0);
		libkqueue_drain_pending_close();
		for (fd = PRIVATE_FLOOR; fd < PRIVATE_FLOOR + 20; fd++)
			CHECK_EQ(unread(fd), 3);
		CHECK_EQ(unread(f.kq), 3);
	});
	family_end(&f);
}
EACH_WAY(child_may_take_the_numbers_first)

/* A queue that the library never met by this number. */
TEST(dup_that_was_never_used_is_no_queue_in_a_child)
{
	struct family f;
	int copy;
	family_start(&f);
	copy = dup(f.kq);
	CHECK(copy >= 0);
	IN_CHILD_BY(by_fork, {
		struct kevent k;
		CHECK_FAILS(kevent(copy, NULL, 0, &k, 1, NULL), EBADF);
		makes_queues();
		CHECK_FAILS(kevent(copy, NULL, 0, &k, 1, NULL), EBADF);
	});
	CHECK_EQ(close(copy), 0);
	family_end(&f);
}

/* Memory */

#ifdef __GLIBC__
static size_t
memory_in_use(void)
{
#if __GLIBC_PREREQ(2, 33)
	return mallinfo2().uordblks;
#else
	return (size_t)mallinfo().uordblks;
#endif
}

enum { QUEUES = 50, KNOTES = 1000 };

/* Many queues with much in them; how much. */
static size_t
fill_queues(int kqs[QUEUES])
{
	size_t before = memory_in_use(), held;
	int i, j;
	NOT_UNDER_VALGRIND("valgrind's allocator does not count");
	NOT_UNDER_THREAD_CHECKER("its allocator does not count");
	for (i = 0; i < QUEUES; i++) {
		kqs[i] = new_queue();
		for (j = 0; j < KNOTES; j++)
			USER_ADD(kqs[i], (uintptr_t)j, EV_CLEAR);
	}
	held = memory_in_use() - before;
	/* At the least its ident, and what the caller wants back. */
	CHECK(held > QUEUES * KNOTES * 16);
	return held;
}

static void
close_queues(int kqs[QUEUES])
{
	int i;
	for (i = 0; i < QUEUES; i++)
		CHECK_EQ(close(kqs[i]), 0);
}

static void
new_queue_works(void)
{
	int kq = new_queue();
	USER_ADD(kq, 1, EV_CLEAR);
	TRIGGER(kq, 1);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
}

static void
gets_memory_back(fork_fn *way, bool by_kqueue)
{
	size_t before = memory_in_use(), held;
	int kqs[QUEUES];
	held = fill_queues(kqs);
	IN_CHILD_BY(way, {
		struct kevent k;
		int own = -1;
		if (by_kqueue)
			own = new_queue();
		else
			CHECK_FAILS(kevent(kqs[0], NULL, 0, &k, 1, NULL),
			    EBADF);
		CHECK(memory_in_use() - before < held / 10);
		CHECK_EQ(private_numbers(NULL, 0), by_kqueue ? 1 : 0);
		if (by_kqueue)
			CHECK_EQ(close(own), 0);
		new_queue_works();
	});
	close_queues(kqs);
}

TEST(first_call_of_a_child_gives_memory_back)
{
	gets_memory_back(by_fork, false);
}

TEST(first_queue_of_a_child_gives_memory_back)
{
	gets_memory_back(by_fork, true);
}

TEST(first_queue_of_a_cloned_child_gives_memory_back)
{
	gets_memory_back(by_clone, true);
}

/* Its descriptors it gives back at once, and the memory where memory is asked
 * for anyway. */
TEST(cloned_child_keeps_the_memory_until_it_makes_a_queue)
{
	size_t before = memory_in_use(), held;
	int kqs[QUEUES];
	held = fill_queues(kqs);
	IN_CHILD_BY(by_clone, {
		struct kevent k;
		CHECK_FAILS(kevent(kqs[0], NULL, 0, &k, 1, NULL), EBADF);
		CHECK_EQ(private_numbers(NULL, 0), 0);
		CHECK(memory_in_use() - before > held / 10 * 9);
		new_queue_works();
		CHECK(memory_in_use() - before < held / 10);
	});
	close_queues(kqs);
}

/* What a child still has of that memory after its first call, which it tells
 * by a pipe. */
static size_t
left_in_a_child(size_t before, int kq)
{
	size_t left;
	int fds[2];
	pipe_pair(fds);
	IN_CHILD_BY(by_fork, {
		struct kevent k;
		CHECK_FAILS(kevent(kq, NULL, 0, &k, 1, NULL), EBADF);
		left = memory_in_use() - before;
		CHECK_EQ(write(fds[1], &left, sizeof left), sizeof left);
		CHECK_EQ(private_numbers(NULL, 0), 0);
		new_queue_works();
	});
	CHECK_EQ(read(fds[0], &left, sizeof left), sizeof left);
	close_pair(fds);
	return left;
}

TEST(child_keeps_the_memory_of_a_queue_that_was_locked)
{
	size_t before = memory_in_use(), held, least, left;
	int kqs[QUEUES];
	held = fill_queues(kqs);
	least = left_in_a_child(before, kqs[0]);
	CHECK(least < held / 10);
	holder_start(kqs[0]);
	left = left_in_a_child(before, kqs[0]);
	CHECK(left > least + held / QUEUES / 2);
	CHECK(left < least + held / QUEUES * 2);
	holder_end();
	close_queues(kqs);
}

static struct {
	_Atomic(pid_t) tid;
	int kqs[QUEUES];
} maker;

static void *
maker_main(void *arg)
{
	int i;
	(void)arg;
	atomic_store(&maker.tid, (pid_t)syscall(SYS_gettid));
	/* Each looks after a few queues, and comes to the one that is held. */
	for (i = 0; i < QUEUES; i++)
		maker.kqs[i] = new_queue();
	return NULL;
}

TEST(child_keeps_all_memory_if_a_thread_was_inside_kqueue)
{
	size_t before = memory_in_use(), held;
	pthread_t thread;
	int kqs[QUEUES], looks;
	held = fill_queues(kqs);
	holder_start(kqs[0]);
	CHECK_EQ(pthread_create(&thread, NULL, maker_main, NULL), 0);
	for (looks = 0; looks < 5; looks++)
		WAIT_FOR(is_asleep(atomic_load(&maker.tid)));
	CHECK_EQ(maker.kqs[QUEUES - 1], 0);
	CHECK(left_in_a_child(before, kqs[1]) > held / 10 * 9);
	holder_end();
	CHECK_EQ(pthread_join(thread, NULL), 0);
	close_queues(maker.kqs);
	close_queues(kqs);
}
#endif

/* Many threads */

enum { PARKED = 2, WAITERS = 3, CHANGERS = 2, MAKERS = 2, NUMBERS = 1024 };

struct crowd {
	pthread_t parked[PARKED], threads[WAITERS + CHANGERS + MAKERS];
	int kq;
	/* Where nothing happens until the end. */
	int still;
	int fds[2];
	/* What was open before the library had anything. */
	bool had[NUMBERS];
	_Atomic bool over;
	/* Those who wait for their events until these are told. */
	_Atomic int changing;
	_Atomic long in, out;
};

/* Waits without a time, and is disturbed by nothing. (But for EINTR, where
 * posix_spawn() has SIGCHLD blocked when a child ends: limits.c.) */
static void *
crowd_parked(void *arg)
{
	struct crowd *c = arg;
	struct kevent k;
	while (kevent(c->still, NULL, 0, &k, 1, NULL) != 1)
		CHECK_EQ(errno, EINTR);
	CHECK_KEV(k, 7, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHECK(atomic_load(&c->over));
	return NULL;
}

static void *
crowd_waiter(void *arg)
{
	struct crowd *c = arg;
	struct timespec ts = {0, 2000000};
	while (!atomic_load(&c->over) || atomic_load(&c->changing) > 0) {
		struct kevent k[4];
		int i, n = kevent(c->kq, NULL, 0, k, 4, &ts);
		CHECK(n >= 0 || errno == EINTR);
		for (i = 0; i < n; i++)
			if (k[i].filter == EVFILT_USER)
				atomic_fetch_add(&c->out, 1);
	}
	return NULL;
}

/* Each trigger is an event before the next one comes. */
static void *
crowd_changer(void *arg)
{
	static _Atomic int next = 100;
	struct crowd *c = arg;
	uintptr_t id = (uintptr_t)atomic_fetch_add(&next, 1);
	while (!atomic_load(&c->over)) {
		USER_ADD(c->kq, id, EV_ONESHOT);
		TRIGGER(c->kq, id);
		atomic_fetch_add(&c->in, 1);
		while (change(c->kq, id, EVFILT_USER, EV_ENABLE, 0, 0, NULL) ==
		    0)
			sched_yield();
		CHECK_EQ(errno, ENOENT);
		CHANGE(c->kq, (uintptr_t)c->fds[0], EVFILT_READ,
		    EV_ADD | EV_DISABLE, 0, 0, NULL);
	}
	atomic_fetch_sub(&c->changing, 1);
	return NULL;
}

/* Makes and closes queues, with descriptors of the library's. */
static void *
crowd_maker(void *arg)
{
	struct crowd *c = arg;
	while (!atomic_load(&c->over)) {
		int kq = kqueue();
		CHECK(kq >= 0);
		CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, 0, 100000, NULL);
		CHANGE(kq, (uintptr_t)c->fds[0], EVFILT_READ, EV_ADD, 0, 0,
		    NULL);
		CHANGE(kq, (uintptr_t)c->fds[0], EVFILT_WRITE, EV_ADD, 0, 0,
		    NULL);
		CHECK_EQ(close(kq), 0);
	}
	return NULL;
}

static void
crowd_start(struct crowd *c, bool makers)
{
	int i, n = 0;
	NOT_UNDER_VALGRIND("it has descriptors of its own up there");
	memset(c, 0, sizeof *c);
	unix_pair(c->fds);
	/* A spawned program is to have nothing of the crowd's. */
	CHECK_EQ(fcntl(c->fds[0], F_SETFD, FD_CLOEXEC), 0);
	CHECK_EQ(fcntl(c->fds[1], F_SETFD, FD_CLOEXEC), 0);
	for (i = 0; i < NUMBERS; i++)
		c->had[i] = fcntl(i, F_GETFD) != -1;
	c->kq = new_queue();
	c->still = new_queue();
	USER_ADD(c->still, 7, 0);
	atomic_store(&c->changing, CHANGERS);
	for (i = 0; i < PARKED; i++)
		CHECK_EQ(pthread_create(&c->parked[i], NULL, crowd_parked, c),
		    0);
	for (i = 0; i < WAITERS; i++)
		CHECK_EQ(pthread_create(&c->threads[n++], NULL, crowd_waiter,
		    c), 0);
	for (i = 0; i < CHANGERS; i++)
		CHECK_EQ(pthread_create(&c->threads[n++], NULL, crowd_changer,
		    c), 0);
	for (i = 0; i < MAKERS; i++)
		CHECK_EQ(pthread_create(&c->threads[n++], NULL,
		    makers ? crowd_maker : crowd_waiter, c), 0);
}

static void
crowd_end(struct crowd *c)
{
	size_t i;
	atomic_store(&c->over, true);
	for (i = 0; i < sizeof c->threads / sizeof c->threads[0]; i++)
		CHECK_EQ(pthread_join(c->threads[i], NULL), 0);
	TRIGGER(c->still, 7);
	for (i = 0; i < PARKED; i++)
		CHECK_EQ(pthread_join(c->parked[i], NULL), 0);
	CHECK(atomic_load(&c->out) > 0);
	CHECK_EQ(atomic_load(&c->in), atomic_load(&c->out));
	close_pair(c->fds);
	CHECK_EQ(close(c->still), 0);
	CHECK_EQ(close(c->kq), 0);
}

/* In a child: how many descriptors of the library's it has; -1: one that would
 * outlive an exec. Async-signal-safe, for not every child may do more. */
static int
left_open(const struct crowd *c)
{
	int fd, left = 0;
	for (fd = 0; fd < NUMBERS; fd++) {
		char path[64], name[11];
		int flags = fcntl(fd, F_GETFD);
		if (flags == -1 || c->had[fd])
			continue;
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		/* The thread checker has pipes of its own. */
		if (readlink(path, name, sizeof name) != sizeof name ||
		    memcmp(name, "anon_inode:", sizeof name) != 0)
			continue;
		if ((flags & FD_CLOEXEC) == 0)
			return -1;
		left++;
	}
	return left;
}

/* At the fork, each of the makers may have been given one by the kernel that it
 * had not looked at yet. */
static void
has_no_more_than_what_was_being_made(const struct crowd *c)
{
	int left = left_open(c);
	CHECK(left >= 0 && left <= MAKERS);
}

TEST(children_of_a_busy_parent_have_nothing_of_it)
{
	struct crowd c;
	int i, rounds = 300;
	crowd_start(&c, true);
	for (i = 0; i < rounds; i++)
		IN_CHILD_BY(by_fork, {
			struct kevent k;
			int own;
			has_no_more_than_what_was_being_made(&c);
			CHECK_FAILS(kevent(c.kq, NULL, 0, &k, 1, NULL), EBADF);
			CHECK_FAILS(kevent(c.still, NULL, 0, &k, 1, NULL),
			    EBADF);
			own = new_queue();
			USER_ADD(own, 1, EV_CLEAR);
			TRIGGER(own, 1);
			CHECK_EQ(next_event(own).filter, EVFILT_USER);
			CHECK_EQ(close(own), 0);
		});
	crowd_end(&c);
}

/* libc is not told, so malloc() may be as another thread left it: no more is
 * asked of a child than what POSIX lets it call. 0, or what is wrong. */
static int
wrong_in_quiet_child(const struct crowd *c, int most)
{
	struct kevent k;
	int left;
	if (kevent(c->kq, NULL, 0, &k, 1, NULL) != -1 || errno != EBADF)
		return 2;
	if (change(c->still, 7, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL) != -1 ||
	    errno != EBADF)
		return 3;
	if (fcntl(c->kq, F_GETFD) != -1 || fcntl(c->still, F_GETFD) != -1)
		return 4;
	left = left_open(c);
	return left < 0 ? 5 : left > most ? 6 : 0;
}

static void
quiet_children_of_a_busy_parent(fork_fn *way, bool makers, int most)
{
	struct crowd c;
	int i, rounds = 300;
	crowd_start(&c, makers);
	for (i = 0; i < rounds; i++) {
		pid_t pid = way();
		if (pid == 0)
			_exit(wrong_in_quiet_child(&c, most));
		if (pid < 0)
			SKIP("there is no such call");
		wait_child(pid);
	}
	crowd_end(&c);
}

TEST(cloned_children_of_a_busy_parent_have_no_queue)
{
	quiet_children_of_a_busy_parent(by_clone, false, 0);
}

TEST(quiet_children_of_a_busy_parent_have_no_queue)
{
	quiet_children_of_a_busy_parent(by_fork_without_handlers, false, 0);
}

/* What a maker was making is left: under the number that the kernel gave it,
 * and where it belongs. */
TEST(cloned_children_of_makers_have_no_more_than_what_was_being_made)
{
	quiet_children_of_a_busy_parent(by_clone, true, 2 * MAKERS);
}

TEST(quiet_children_of_makers_have_no_more_than_what_was_being_made)
{
	quiet_children_of_a_busy_parent(by_fork_without_handlers, true,
	    2 * MAKERS);
}

/* While all other threads are asleep in kevent(), whatever kind of child may do
 * what it likes. */
static void
child_of_sleepers_makes_queues(fork_fn *way)
{
	struct sleeper sleepers[4];
	struct family f;
	int i, still;
	family_start(&f);
	still = new_queue();
	USER_ADD(still, 7, 0);
	for (i = 0; i < 4; i++)
		sleeper_start(&sleepers[i], still);
	IN_CHILD_BY(way, {
		has_no_queue(f.kq);
		has_no_queue(still);
		makes_queues();
	});
	IN_CHILD_BY(way, {
		makes_queues();
		has_no_queue(still);
	});
	for (i = 0; i < 4; i++)
		CHECK(is_asleep(atomic_load(&sleepers[i].tid)));
	TRIGGER(still, 7);
	for (i = 0; i < 4; i++)
		CHECK_EQ(sleeper_join(&sleepers[i]).ident, 7);
	CHECK_EQ(close(still), 0);
	family_end(&f);
}
EACH_WAY(child_of_sleepers_makes_queues)

/* Threads of one process fork at the same time. */
static void *
forker(void *arg)
{
	struct crowd *c = arg;
	int i, rounds = 60;
	for (i = 0; i < rounds; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct kevent k;
			has_no_more_than_what_was_being_made(c);
			CHECK_FAILS(kevent(c->kq, NULL, 0, &k, 1, NULL), EBADF);
			CHECK_EQ(close(new_queue()), 0);
			_exit(0);
		}
		wait_child(pid);
	}
	return NULL;
}

TEST(threads_that_fork_at_once)
{
	pthread_t threads[4];
	struct crowd c;
	size_t i;
	crowd_start(&c, true);
	for (i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, forker, &c), 0);
	for (i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	crowd_end(&c);
}

/* Children that share the memory, or go at once to another program. */

/* The numbers open in a spawned program, as text. */
static void
spawned_sees(char *text, size_t size)
{
	char *const argv[] = {"ls", "/proc/self/fd", NULL};
	posix_spawn_file_actions_t actions;
	size_t used = 0;
	ssize_t n;
	int fds[2];
	pid_t pid;
	CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
	CHECK_EQ(posix_spawn_file_actions_init(&actions), 0);
	CHECK_EQ(posix_spawn_file_actions_adddup2(&actions, fds[1], 1), 0);
	CHECK_EQ(posix_spawnp(&pid, "ls", &actions, NULL, argv, environ), 0);
	CHECK_EQ(posix_spawn_file_actions_destroy(&actions), 0);
	CHECK_EQ(close(fds[1]), 0);
	while ((n = read(fds[0], text + used, size - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	CHECK_EQ(close(fds[0]), 0);
	wait_child(pid);
}

TEST(spawned_program_has_nothing_of_ours)
{
	char before[4096], after[4096];
	struct family f;
	spawned_sees(before, sizeof before);
	family_start(&f);
	/* The program's own are not close-on-exec. */
	CHECK_EQ(fcntl(f.fds[0], F_SETFD, FD_CLOEXEC), 0);
	CHECK_EQ(fcntl(f.fds[1], F_SETFD, FD_CLOEXEC), 0);
	CHECK_EQ(fcntl(f.file, F_SETFD, FD_CLOEXEC), 0);
	spawned_sees(after, sizeof after);
	if (strcmp(before, after) != 0)
		FAIL("before:\n%safter:\n%s", before, after);
	family_end(&f);
}

/* The same by a child that becomes the program: 0 for fork(), and so on. false:
 * there is no such call. */
static bool
executed_sees(int way, char *text, size_t size)
{
	size_t used = 0;
	ssize_t n;
	int fds[2];
	pid_t pid;
	CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
	pid = way == 0 ? fork()
	    : way == 1 ? by_fork_without_handlers()
	    : way == 2 ? by_clone()
		       : vfork();
	if (pid == 0) {
		if (dup2(fds[1], 1) == 1)
			execl("/bin/ls", "ls", "/proc/self/fd", (char *)NULL);
		_exit(4);
	}
	CHECK_EQ(close(fds[1]), 0);
	while ((n = read(fds[0], text + used, size - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	CHECK_EQ(close(fds[0]), 0);
	if (pid > 0)
		wait_child(pid);
	return pid > 0;
}

TEST(programs_that_a_busy_parent_starts_have_nothing_of_ours)
{
	char before[4096], after[4096];
	struct crowd c;
	int i, rounds = 40;
	spawned_sees(before, sizeof before);
	crowd_start(&c, true);
	for (i = 0; i < 5 * rounds; i++) {
		if (i % 5 == 4)
			spawned_sees(after, sizeof after);
		else if (!executed_sees(i % 5, after, sizeof after))
			continue;
		if (strcmp(before, after) != 0)
			FAIL("way %d: before:\n%safter:\n%s", i % 5, before,
			    after);
	}
	crowd_end(&c);
}

/* It shares the memory that the other threads work in meanwhile. */
TEST(vfork_children_of_a_busy_parent_change_nothing)
{
	struct crowd c;
	int i;
	crowd_start(&c, true);
	for (i = 0; i < 300; i++) {
		pid_t pid = vfork();
		if (pid == 0)
			_exit(0);
		wait_child(pid);
	}
	crowd_end(&c);
}

TEST(program_that_a_child_becomes_has_nothing_of_ours)
{
	struct family f;
	int way, most;
	family_start(&f);
	CHECK_EQ(fcntl(f.fds[0], F_SETFD, FD_CLOEXEC), 0);
	CHECK_EQ(fcntl(f.fds[1], F_SETFD, FD_CLOEXEC), 0);
	CHECK_EQ(fcntl(f.file, F_SETFD, FD_CLOEXEC), 0);
	most = f.kq;
	for (way = 0; way < 3; way++) {
		char command[128];
		pid_t pid;
		snprintf(command, sizeof command,
		    "for n in %d $(seq %d %d); do "
		    "[ ! -e /proc/self/fd/$n ] || exit 3; done", most,
		    PRIVATE_FLOOR, PRIVATE_FLOOR + 30);
		pid = way == 0 ? fork() : way == 1 ? by_clone() : vfork();
		if (pid == 0) {
			execl("/bin/sh", "sh", "-c", command, (char *)NULL);
			_exit(4);
		}
		wait_child(pid);
	}
	family_end(&f);
}

TEST(vfork_child_changes_nothing)
{
	static char before[65536], after[65536];
	struct family f;
	int i;
	family_start(&f);
	open_descriptors(before, sizeof before);
	for (i = 0; i < 50; i++) {
		pid_t pid = vfork();
		if (pid == 0) {
			/* What it closes and replaces is its own; ours, too. */
			int fd;
			dup2(f.fds[1], f.fds[0]);
			for (fd = 3; fd < PRIVATE_FLOOR + 100; fd++)
				close(fd);
			signal(SIGUSR1, SIG_DFL);
			if (i % 2 == 0)
				execl("/bin/true", "true", (char *)NULL);
			_exit(0);
		}
		wait_child(pid);
	}
	open_descriptors(after, sizeof after);
	CHECK_EQ(strcmp(before, after), 0);
	family_end(&f);
}

/* NOTE_FORK_CLEANUP 0: what the child inherits stays open, and is no queue. */
TEST(without_clean_up_a_child_keeps_what_it_inherits)
{
	struct family f;
	int count;
	family_start(&f);
	count = private_numbers(NULL, 0);
	CHANGE(f.kq, 0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_FORK_CLEANUP, 0, NULL);
	IN_CHILD_BY(by_fork, {
		struct kevent k;
		CHECK(fcntl(f.kq, F_GETFD) >= 0);
		CHECK_EQ(private_numbers(NULL, 0), count);
		CHECK_FAILS(kevent(f.kq, NULL, 0, &k, 1, NULL), EBADF);
		CHECK(fcntl(f.kq, F_GETFD) >= 0);
		makes_queues();
		CHECK(fcntl(f.kq, F_GETFD) >= 0);
	});
	CHANGE(f.kq, 0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_FORK_CLEANUP, 1, NULL);
	IN_CHILD_BY(by_fork, has_no_queue(f.kq));
	family_end(&f);
}

/* Ends */

static void *
parked(void *arg)
{
	struct kevent k;
	(void)kevent(*(int *)arg, NULL, 0, &k, 1, NULL);
	return NULL;
}

TEST(exit_with_queues_open_and_threads_parked)
{
	int round;
	NOT_UNDER_VALGRIND("the stacks of parked threads are lost to it");
	for (round = 0; round < 10; round++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct family f;
			pthread_t thread;
			int i;
			family_start(&f);
			for (i = 0; i < 4; i++)
				CHECK_EQ(pthread_create(&thread, NULL, parked,
				    &f.kq), 0);
			CHECK_EQ(kill(f.watched, SIGKILL), 0);
			/* exit() runs what is registered, _exit() does not. */
			if (round % 2 == 0)
				exit(0);
			_exit(0);
		}
		wait_child(pid);
	}
}

static void *
waits_for_the_timer(void *arg)
{
	struct kevent k;
	CHECK_EQ(kevent(*(int *)arg, NULL, 0, &k, 1, NULL), 1);
	CHECK_EQ(k.filter, EVFILT_TIMER);
	return NULL;
}

/* The first thread leaves; the process ends with the last one. */
TEST(first_thread_ends_while_another_one_waits)
{
	pid_t pid;
	NOT_UNDER_VALGRIND("the stacks of parked threads are lost to it");
	pid = fork();
	if (pid == 0) {
		static int kq;
		pthread_t thread;
		kq = new_queue();
		CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 20, NULL);
		CHECK_EQ(pthread_create(&thread, NULL, waits_for_the_timer,
		    &kq), 0);
		pthread_exit(NULL);
	}
	wait_child(pid);
}

/* Fork handlers of the program that run before the library's: in the child they
 * run in the order in which they were registered, and the library registers its
 * own at the first kqueue(). */

static void (*early)(void);
static int early_kq, parents_kq;

static void
run_early(void)
{
	if (early != NULL)
		early();
}

static void
makes_early(void)
{
	CHECK(signal(SIGUSR2, SIG_IGN) != SIG_ERR);
	early_kq = new_queue();
	USER_ADD(early_kq, 5, EV_CLEAR);
	CHANGE(early_kq, 1, EVFILT_TIMER, EV_ADD, 0, 100000, NULL);
	CHANGE(early_kq, SIGUSR2, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	TRIGGER(early_kq, 5);
}

static void *
makes_early_thread(void *arg)
{
	makes_early();
	return arg;
}

static pthread_t early_thread;
static bool early_waits;

/* The thread is through before the library's handler runs, or not. */
static void
starts_early(void)
{
	CHECK_EQ(pthread_create(&early_thread, NULL, makes_early_thread, NULL),
	    0);
	if (early_waits)
		CHECK_EQ(pthread_join(early_thread, NULL), 0);
}

static void
asks_early(void)
{
	struct kevent k;
	CHECK_FAILS(kevent(parents_kq, NULL, 0, &k, 1, NULL), EBADF);
}

static void
family_handles_early(struct family *f, void (*handler)(void))
{
	CHECK_EQ(pthread_atfork(NULL, NULL, run_early), 0);
	family_start(f);
	parents_kq = f->kq;
	early = handler;
}

static void
family_end_early(struct family *f)
{
	early = NULL;
	family_end(f);
}

/* What it made is its own, and nothing of its parent's is left. */
static void
has_its_early_queue(const struct family *f)
{
	struct kevent k;
	int own[16], i, count;
	CHECK_EQ(next_event(early_kq).filter, EVFILT_USER);
	expect_none(early_kq);
	CHECK_EQ(raise(SIGUSR2), 0);
	EXPECT(early_kq, SIGUSR2, EVFILT_SIGNAL, EV_ADD | EV_CLEAR, 0, 1, NULL);
	CHECK_EQ(raise(SIGUSR2), 0);
	EXPECT(early_kq, SIGUSR2, EVFILT_SIGNAL, EV_ADD | EV_CLEAR, 0, 1, NULL);
	if (early_kq != f->kq)
		CHECK_FAILS(kevent(f->kq, NULL, 0, &k, 1, NULL), EBADF);
	CHANGE(early_kq, (uintptr_t)f->fds[0], EVFILT_READ, EV_ADD, 0, 0,
	    NULL);
	CHECK_EQ(close(early_kq), 0);
	libkqueue_drain_pending_close();
	count = private_numbers(own, 16);
	for (i = 0; i < count && i < 16; i++)
		fprintf(stderr, "%d is left\n", own[i]);
	CHECK_EQ(count, 0);
	makes_queues();
}

TEST(queue_made_in_an_earlier_fork_handler_is_the_childs_own)
{
	struct family f;
	family_handles_early(&f, makes_early);
	IN_CHILD_BY(by_fork, has_its_early_queue(&f));
	family_end_early(&f);
}

TEST(queue_made_by_a_thread_of_an_earlier_fork_handler_is_the_childs_own)
{
	struct family f;
	int i, rounds = 50;
	family_handles_early(&f, starts_early);
	for (i = 0; i < rounds; i++) {
		early_waits = i % 2 == 0;
		IN_CHILD_BY(by_fork, {
			if (!early_waits)
				CHECK_EQ(pthread_join(early_thread, NULL), 0);
			has_its_early_queue(&f);
		});
	}
	family_end_early(&f);
}

TEST(call_by_the_parents_queue_in_an_earlier_fork_handler_is_ebadf)
{
	struct family f;
	family_handles_early(&f, asks_early);
	IN_CHILD_BY(by_fork, {
		has_no_queue(f.kq);
		makes_queues();
		has_no_queue(f.kq);
		early = NULL;
		IN_CHILD_BY(by_fork, makes_queues());
	});
	family_end_early(&f);
}

/* The parent's threads are making queues at the fork. */
TEST(queues_made_in_earlier_fork_handlers_of_a_busy_parent)
{
	struct crowd c;
	int i, rounds = 200;
	CHECK_EQ(pthread_atfork(NULL, NULL, run_early), 0);
	crowd_start(&c, true);
	early = makes_early;
	for (i = 0; i < rounds; i++)
		IN_CHILD_BY(by_fork, {
			CHECK_EQ(next_event(early_kq).filter, EVFILT_USER);
			expect_none(early_kq);
			CHECK_EQ(close(early_kq), 0);
			libkqueue_drain_pending_close();
			has_no_more_than_what_was_being_made(&c);
		});
	early = NULL;
	crowd_end(&c);
}

/* A signal that the parent watches is the child's again, the handler's are not
 * taken from it. */
TEST(earlier_fork_handler_leaves_no_hook_of_the_parents)
{
	struct family f;
	family_handles_early(&f, makes_early);
	IN_CHILD_BY(by_fork, {
		execl("/bin/sh", "sh", "-c",
		    "grep -q '^SigIgn:.*[2367abef]..$' /proc/self/status || exit 3",
		    (char *)NULL);
		_exit(4);
	});
	family_end_early(&f);
}

/* A child with memory of its own, and its parent's very descriptors. */
static pid_t
by_clone_with_files(void)
{
	enum { WITH_FILES = 2 };
	if (syscall(SYS_kcmp, getpid(), getpid(), WITH_FILES, 0, 0) != 0)
		return -1;
	return (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL,
	    NULL, NULL);
}

static void
is_no_queue_here(int kq)
{
	struct kevent k;
	CHECK_FAILS(kevent(kq, NULL, 0, &k, 1, NULL), EBADF);
	CHECK_FAILS(change(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	    EBADF);
	CHECK(fcntl(kq, F_GETFD) >= 0);
}

static void
makes_a_queue_beside(const struct family *f)
{
	int own = new_queue();
	CHECK(own != f->kq);
	USER_ADD(own, 1, EV_CLEAR);
	CHANGE(own, 1, EVFILT_TIMER, EV_ADD, 0, 100000, NULL);
	CHANGE(own, (uintptr_t)f->file, EVFILT_VNODE, EV_ADD | EV_CLEAR,
	    NOTE_EXTEND, 0, NULL);
	CHANGE(own, SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	TRIGGER(own, 1);
	CHECK_EQ(next_event(own).filter, EVFILT_USER);
	CHECK_EQ(close(own), 0);
	libkqueue_drain_pending_close();
}

TEST(child_that_shares_descriptors_closes_none_of_its_parents)
{
	struct family f;
	int count;
	family_start(&f);
	count = private_numbers(NULL, 0);
	IN_CHILD_BY(by_clone_with_files, is_no_queue_here(f.kq));
	CHECK_EQ(private_numbers(NULL, 0), count);
	IN_CHILD_BY(by_clone_with_files, {
		is_no_queue_here(f.kq);
		makes_a_queue_beside(&f);
		is_no_queue_here(f.kq);
	});
	CHECK_EQ(private_numbers(NULL, 0), count);
	IN_CHILD_BY(by_clone_with_files, {
		makes_a_queue_beside(&f);
		is_no_queue_here(f.kq);
	});
	CHECK_EQ(private_numbers(NULL, 0), count);
	family_end(&f);
}

/* A signal handler forks in the middle of a call. The child makes a queue there,
 * which could have the parent's number, and comes back into the call. */

static struct {
	pid_t child;
	bool here;
	int own;
} below;

static void
forks_below(int signal)
{
	int error = errno;
	(void)signal;
	if (below.child != 0)
		return;
	below.child = fork();
	if (below.child == 0) {
		below.here = true;
		below.own = kqueue();
	}
	errno = error;
}

/* The child's queue is whole, whatever the call was about. (If it was only about
 * to begin, its changes are the child's.) */
static void
has_a_whole_queue(void)
{
	struct kevent k;
	CHECK(below.own >= 0);
	CHECK(kevent(below.own, NULL, 0, &k, 1, &no_wait) >= 0);
	USER_ADD(below.own, 7, EV_CLEAR);
	TRIGGER(below.own, 7);
	do
		k = next_event(below.own);
	while (k.filter != EVFILT_USER || k.ident != 7);
	CHANGE(below.own, 2, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, NULL);
	do
		k = next_event(below.own);
	while (k.filter != EVFILT_TIMER || k.ident != 2);
	CHECK_EQ(close(below.own), 0);
}

TEST(queue_made_by_a_handler_below_the_call_of_a_parent_is_whole)
{
	const struct itimerval off = {{0, 0}, {0, 0}};
	struct sigaction action;
	int round, rounds = 500, fds[2], kq = new_queue();
	NOT_UNDER_VALGRIND("it runs handlers between system calls alone");
	NOT_UNDER_THREAD_CHECKER("it runs handlers when it likes");
	memset(&action, 0, sizeof action);
	action.sa_handler = forks_below;
	CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
	unix_pair(fds);
	put(fds[1], 1);
	for (round = 0; round < rounds; round++) {
		struct itimerval soon = {{0, 0}, {0, 20 + round * 37 % 150}};
		struct kevent in[6], out[6];
		/* The first call makes all that is made, without a handler. */
		below.child = 0;
		if (round > 0)
			CHECK_EQ(setitimer(ITIMER_REAL, &soon, NULL), 0);
		do {
			in[0] = kev((uintptr_t)fds[0], EVFILT_READ,
			    EV_ADD | EV_CLEAR, 0, 0, NULL);
			in[1] = kev((uintptr_t)fds[0], EVFILT_WRITE,
			    EV_ADD | EV_CLEAR, 0, 0, NULL);
			in[2] = kev(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0,
			    NULL);
			in[3] = kev(1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
			in[4] = kev(1, EVFILT_TIMER, EV_ADD, 0, 100000, NULL);
			in[5] = kev((uintptr_t)fds[0], EVFILT_WRITE, EV_DELETE,
			    0, 0, NULL);
			(void)kevent(kq, in, 6, out, 6, &no_wait);
		} while (round > 0 && below.child == 0 && !below.here);
		if (below.here) {
			CHECK_EQ(setitimer(ITIMER_REAL, &off, NULL), 0);
			has_a_whole_queue();
			_exit(0);
		}
		CHECK_EQ(setitimer(ITIMER_REAL, &off, NULL), 0);
		if (round > 0)
			wait_child(below.child);
	}
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
