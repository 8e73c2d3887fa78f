/*
 * What the tests of kevent() itself and of the filters without a descriptor
 * share: user events, socket pairs, threads parked in kevent().
 *
 * A thread is parked here by asking the kernel about it, never by sleeping
 * and hoping. No check hangs on that: it only makes the interesting order of
 * events the usual one.
 */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "common.h"

#define MS(n) ((int64_t)(n) * 1000000)

/* Lets time pass; used for that alone, never to wait for another thread. */
__attribute__((unused)) static void
let_pass(int64_t ns)
{
	struct timespec left = {ns / 1000000000, ns % 1000000000};
	while (nanosleep(&left, &left) == -1)
		CHECK_EQ(errno, EINTR);
}

/* Spins politely until cond holds; fails after GENEROUS_MS. */
#define WAIT_FOR(cond)                                                        \
	do {                                                                  \
		int64_t until_ = now_ns() + MS(GENEROUS_MS);                  \
		while (!(cond)) {                                             \
			if (now_ns() > until_)                                \
				FAIL("never came true: %s", #cond);           \
			let_pass(20000);                                      \
		}                                                             \
	} while (0)

__attribute__((unused)) static int
open_queue(void)
{
	int kq = kqueue();
	CHECK(kq >= 0);
	return kq;
}

/* Both ends of a connected stream. */
__attribute__((unused)) static void
open_pair(int sv[2])
{
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
}

__attribute__((unused)) static void
close_pair(int sv[2])
{
	CHECK_EQ(close(sv[0]), 0);
	CHECK_EQ(close(sv[1]), 0);
}

__attribute__((unused)) static void
put(int fd, size_t count)
{
	static const char bytes[4096];
	CHECK(count <= sizeof bytes);
	CHECK_EQ(write(fd, bytes, count), count);
}

__attribute__((unused)) static void
take(int fd, size_t count)
{
	char bytes[4096];
	CHECK(count <= sizeof bytes);
	CHECK_EQ(read(fd, bytes, count), count);
}

__attribute__((unused)) static void
add_user(int kq, uintptr_t ident, unsigned flags)
{
	CHANGE(kq, ident, EVFILT_USER, EV_ADD | flags, 0, 0, NULL);
}

__attribute__((unused)) static void
trigger(int kq, uintptr_t ident)
{
	CHANGE(kq, ident, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
}

__attribute__((unused)) static void
delete_user(int kq, uintptr_t ident)
{
	CHANGE(kq, ident, EVFILT_USER, EV_DELETE, 0, 0, NULL);
}

/* There is no such knote: EV_DELETE says so without a side effect. */
#define CHECK_ABSENT(kq, ident, filter)                                       \
	CHECK_FAILS(change(kq, ident, filter, EV_DELETE, 0, 0, NULL), ENOENT)

/* The time the process has spent running, all threads. */
__attribute__((unused)) static int64_t
cpu_ns(void)
{
	struct timespec ts;
	CHECK_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts), 0);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* One thread in one call of kevent(). */
struct waiter {
	int kq;
	const struct kevent *changes;
	int nchanges;
	const struct timespec *timeout;
	pthread_t thread;
	atomic_int tid;
	int returned, error;
	struct kevent event;
};

__attribute__((unused)) static void *
waiter_main(void *arg)
{
	struct waiter *w = arg;
	atomic_store(&w->tid, (int)syscall(SYS_gettid));
	w->returned = kevent(w->kq, w->changes, w->nchanges, &w->event, 1,
	    w->timeout);
	w->error = errno;
	return NULL;
}

/* The state of a process or thread, by its stat file: 'S' sleeps, 'Z' ended. */
__attribute__((unused)) static char
state_at(const char *path)
{
	char line[512], *state;
	FILE *f = fopen(path, "re");
	CHECK(f != NULL);
	CHECK(fgets(line, sizeof line, f) != NULL);
	fclose(f);
	/* The name before it may hold anything, ')' included. */
	state = strrchr(line, ')');
	CHECK(state != NULL);
	return state[2];
}

/* Returns when it sleeps; that it sleeps in a certain call is likely. */
__attribute__((unused)) static void
wait_until_asleep_at(const char *path)
{
	int64_t until = now_ns() + MS(GENEROUS_MS);
	int asleep = 0;
	while (asleep < 5) {
		asleep = state_at(path) == 'S' ? asleep + 1 : 0;
		if (now_ns() > until)
			FAIL("%s: it never slept", path);
		let_pass(500000);
	}
}

__attribute__((unused)) static void
wait_until_asleep(atomic_int *tid)
{
	char path[64];
	WAIT_FOR(atomic_load(tid) != 0);
	snprintf(path, sizeof path, "/proc/self/task/%d/stat",
	    atomic_load(tid));
	wait_until_asleep_at(path);
}

__attribute__((unused)) static void
waiter_start(struct waiter *w, int kq, const struct timespec *timeout)
{
	memset(w, 0, sizeof *w);
	w->kq = kq;
	w->timeout = timeout;
	CHECK_EQ(pthread_create(&w->thread, NULL, waiter_main, w), 0);
	wait_until_asleep(&w->tid);
}

/* The event that ended the wait, which an event must have done. */
__attribute__((unused)) static struct kevent
waiter_event(struct waiter *w)
{
	CHECK_EQ(pthread_join(w->thread, NULL), 0);
	CHECK_EQ(w->returned, 1);
	return w->event;
}

#endif
