/*
 * A thread that stands still with a queue's lock: the second of its changes
 * lies in memory that faults when the library comes to it, and the handler of
 * that lasts as long as the case wants.
 */
#ifndef TESTS_HOLDER_H
#define TESTS_HOLDER_H

#include "io.h"

#include <signal.h>
#include <sys/mman.h>

/* Of the user event that it makes. */
#define HELD_IDENT 100000

UNUSED static struct {
	int kq;
	char *pages;
	size_t size;
	_Atomic bool inside, over;
	pthread_t thread;
} holder;

static void
hold(int signal)
{
	(void)signal;
	atomic_store(&holder.inside, true);
	while (!atomic_load(&holder.over))
		pause_briefly();
	if (mprotect(holder.pages, 2 * holder.size, PROT_READ | PROT_WRITE) != 0)
		abort();
}

static void *
holder_main(void *arg)
{
	struct kevent *changes = (struct kevent *)(void *)(holder.pages +
	    holder.size) - 1;
	(void)arg;
	CHECK_EQ(kevent(holder.kq, changes, 2, NULL, 0, NULL), 0);
	return NULL;
}

UNUSED static void
holder_start(int kq)
{
	struct kevent *changes;
	NOT_UNDER_VALGRIND("it reports the read that faults");
	holder.kq = kq;
	holder.size = (size_t)sysconf(_SC_PAGESIZE);
	holder.pages = mmap(NULL, 2 * holder.size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(holder.pages != MAP_FAILED);
	changes = (struct kevent *)(void *)(holder.pages + holder.size) - 1;
	changes[0] = kev(HELD_IDENT, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	changes[1] = kev(HELD_IDENT, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	CHECK_EQ(mprotect(holder.pages + holder.size, holder.size, PROT_NONE),
	    0);
	CHECK(signal(SIGSEGV, hold) != SIG_ERR);
	CHECK_EQ(pthread_create(&holder.thread, NULL, holder_main, NULL), 0);
	WAIT_FOR(atomic_load(&holder.inside));
}

/* It goes on as if nothing had been. */
UNUSED static void
holder_end(void)
{
	atomic_store(&holder.over, true);
	CHECK_EQ(pthread_join(holder.thread, NULL), 0);
	CHECK(signal(SIGSEGV, SIG_DFL) != SIG_ERR);
	CHECK_EQ(munmap(holder.pages, 2 * holder.size), 0);
	EXPECT(holder.kq, HELD_IDENT, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
}

#endif
