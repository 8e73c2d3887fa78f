/*
 * Who waits in a queue leaves it otherwise than by its return: cancelled, with
 * its thread, with the process. What stays behind is whole.
 */
#include "io.h"

#include <dlfcn.h>
#include <signal.h>

#define SLEEPERS 6

static void
add_user(int kq, uintptr_t ident, unsigned flags)
{
	CHANGE(kq, ident, EVFILT_USER, EV_ADD | flags, 0, 0, NULL);
}

static void
trigger(int kq, uintptr_t ident)
{
	CHANGE(kq, ident, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
}

TEST(of_cancelled_and_others_each_of_the_others_is_served)
{
	struct sleeper sleepers[SLEEPERS];
	int i, round, kq = new_queue();
	void *result;
	for (i = 0; i < SLEEPERS; i++)
		add_user(kq, (uintptr_t)i, EV_CLEAR);
	for (round = 0; round < 10; round++) {
		for (i = 0; i < SLEEPERS; i++)
			sleeper_start(&sleepers[i], kq);
		/* Every other one, also those that the kernel wakes first. */
		for (i = round % 2; i < SLEEPERS; i += 2)
			CHECK_EQ(pthread_cancel(sleepers[i].thread), 0);
		for (i = round % 2; i < SLEEPERS; i += 2) {
			CHECK_EQ(pthread_join(sleepers[i].thread, &result), 0);
			CHECK(result == PTHREAD_CANCELED);
		}
		for (i = 0; i < SLEEPERS / 2; i++)
			trigger(kq, (uintptr_t)i);
		for (i = 1 - round % 2; i < SLEEPERS; i += 2)
			CHECK_EQ(sleeper_join(&sleepers[i]).filter,
			    EVFILT_USER);
		expect_none(kq);
		CHECK(!readable(kq));
	}
	CHECK_EQ(close(kq), 0);
}

/* Cancelled at any moment, on the way in or out: the event is for one of the
 * others, or for the one who comes next. */
TEST(cancelled_at_any_moment_no_event_is_lost)
{
	struct sleeper s;
	int round, fds[2], kq = new_queue();
	void *result;
	NOT_UNDER_VALGRIND("a thread is cancelled where it pleases");
	unix_pair(fds);
	add_user(kq, 1, EV_CLEAR);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0,
	    NULL);
	for (round = 0; round < 300; round++) {
		struct timespec later = {0, round % 60 * 1000};
		int filter = round % 2 == 0 ? EVFILT_USER : EVFILT_READ;
		struct kevent got;
		memset(&s, 0, sizeof s);
		s.kq = kq;
		CHECK_EQ(pthread_create(&s.thread, NULL, sleeper_main, &s), 0);
		if (round % 3 != 0)
			WAIT_FOR(is_asleep(atomic_load(&s.tid)));
		if (filter == EVFILT_USER)
			trigger(kq, 1);
		else
			put(fds[1], 1);
		nanosleep(&later, NULL);
		CHECK_EQ(pthread_cancel(s.thread), 0);
		CHECK_EQ(pthread_join(s.thread, &result), 0);
		if (result == PTHREAD_CANCELED)
			got = next_event(kq);
		else
			got = s.event;
		CHECK_EQ(got.filter, filter);
		if (filter == EVFILT_READ)
			take(fds[0], 1);
		expect_none(kq);
	}
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

static void *
wait_and_exit(void *arg)
{
	struct kevent k = next_event(*(int *)arg);
	/* Not back to the caller of the thread's function. */
	pthread_exit((void *)k.ident);
}

TEST(a_thread_that_ends_leaves_the_others_their_events)
{
	struct sleeper sleepers[SLEEPERS];
	pthread_t ending;
	int i, kq = new_queue();
	void *ident;
	add_user(kq, 5, EV_CLEAR);
	CHECK_EQ(pthread_create(&ending, NULL, wait_and_exit, &kq), 0);
	trigger(kq, 5);
	CHECK_EQ(pthread_join(ending, &ident), 0);
	CHECK_EQ((uintptr_t)ident, 5);
	for (i = 0; i < SLEEPERS; i++) {
		add_user(kq, (uintptr_t)i, EV_CLEAR);
		sleeper_start(&sleepers[i], kq);
	}
	for (i = 0; i < SLEEPERS; i++)
		trigger(kq, (uintptr_t)i);
	for (i = 0; i < SLEEPERS; i++)
		sleeper_join(&sleepers[i]);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* The process ends while threads wait, change and trigger. */

static int exit_queue;

static void *
stir(void *arg)
{
	uintptr_t i;
	(void)arg;
	for (i = 0;; i++) {
		add_user(exit_queue, i % 8, EV_CLEAR);
		trigger(exit_queue, i % 8);
	}
	return NULL;
}

/* In the middle of exit() the queue still works. */
static void
use_at_exit(void)
{
	int kq = new_queue();
	add_user(exit_queue, 99, EV_ONESHOT);
	trigger(exit_queue, 99);
	add_user(kq, 1, EV_CLEAR);
	trigger(kq, 1);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
}

static void
start_for_exit(struct sleeper sleepers[2])
{
	pthread_t stirring;
	int i, parked = new_queue();
	exit_queue = new_queue();
	for (i = 0; i < 2; i++)
		sleeper_start(&sleepers[i], parked);
	CHECK_EQ(pthread_create(&stirring, NULL, stir, NULL), 0);
	CHECK_EQ(next_event(exit_queue).filter, EVFILT_USER);
}

TEST(exit_ends_the_process_while_threads_wait)
{
	int i;
	NOT_UNDER_VALGRIND("threads that wait at the end count as lost");
	for (i = 0; i < 30; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			static struct sleeper sleepers[2];
			start_for_exit(sleepers);
			CHECK_EQ(atexit(use_at_exit), 0);
			if (i % 3 == 0)
				_exit(0);
			exit(0);
		}
		wait_child(pid);
	}
}

static void *
outlive_main(void *arg)
{
	CHECK_EQ(pthread_join(*(pthread_t *)arg, NULL), 0);
	use_at_exit();
	exit(0);
	return NULL;
}

TEST(the_first_thread_may_end_before_the_others)
{
	pid_t pid;
	NOT_UNDER_VALGRIND("threads that wait at the end count as lost");
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		static struct sleeper sleepers[2];
		static pthread_t first;
		pthread_t other;
		first = pthread_self();
		start_for_exit(sleepers);
		CHECK_EQ(pthread_create(&other, NULL, outlive_main, &first),
		    0);
		pthread_exit(NULL);
	}
	wait_child(pid);
}

/* Threads and handlers point into the library: it stays. */
TEST(dlclose_with_queues_open_leaves_them_be)
{
	struct sleeper sleeper;
	int i, kq = new_queue();
	void *library = dlopen("libkqueue.so.0", RTLD_NOW | RTLD_NOLOAD);
	if (library == NULL)
		SKIP("the library is not a shared one here");
	add_user(kq, 1, EV_CLEAR);
	sleeper_start(&sleeper, kq);
	for (i = 0; i < 3; i++)
		CHECK_EQ(i == 0 ? dlclose(library) : dlclose(dlopen(
		    "libkqueue.so.0", RTLD_NOW)), 0);
	trigger(kq, 1);
	CHECK_EQ(sleeper_join(&sleeper).ident, 1);
	CHECK_EQ(close(kq), 0);
}
