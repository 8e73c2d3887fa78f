/*
 * Stands for libkqueue 2.x: its name and its symbols, for a program to be
 * linked to. It refuses everything, so a program that works was not run by it.
 */
#include "event.h"
#include <errno.h>

int
kqueue(void)
{
	errno = ENOSYS;
	return (-1);
}

int
kevent(int kq, const struct kevent *changes, int nchanges,
    struct kevent *events, int nevents, const struct timespec *timeout)
{
	(void)kq, (void)changes, (void)nchanges;
	(void)events, (void)nevents, (void)timeout;
	errno = ENOSYS;
	return (-1);
}

void
libkqueue_drain_pending_close(void)
{
}
