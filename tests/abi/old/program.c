/*
 * A program of libkqueue 2.x's time. Prints what went well, a line each; ends
 * with 1 and a word on standard error if something did not.
 */
#include "event.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
need(int is_so, const char *what)
{
	if (!is_so) {
		fprintf(stderr, "%s (%s)\n", what, strerror(errno));
		exit(1);
	}
}

static struct kevent
make(uintptr_t ident, short filter, unsigned short flags, unsigned int fflags,
    intptr_t data, void *udata)
{
	struct kevent k;

	k.ident = ident;
	k.filter = filter;
	k.flags = flags;
	k.fflags = fflags;
	k.data = data;
	k.udata = udata;
	return (k);
}

int
main(void)
{
	const struct timespec generous = {20, 0}, no_wait = {0, 0};
	struct kevent in[2], got[4];
	int kq, fds[2], mark;

	kq = kqueue();
	need(kq >= 0, "kqueue");
	need(pipe(fds) == 0, "pipe");

	in[0] = make((uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 0, &mark);
	need(kevent(kq, in, 1, NULL, 0, NULL) == 0, "EV_ADD of READ");
	need(kevent(kq, NULL, 0, got, 4, &no_wait) == 0, "event too soon");
	need(write(fds[1], "four", 4) == 4, "write");
	memset(got, 0xa5, sizeof(got));
	need(kevent(kq, NULL, 0, got, 4, &generous) == 1, "no READ event");
	need(got[0].ident == (uintptr_t)fds[0] && got[0].data == 4 &&
	    got[0].filter == EVFILT_READ && got[0].flags == EV_ADD &&
	    got[0].fflags == 0 && got[0].udata == &mark, "READ event");
	in[0].flags = EV_DELETE;
	need(kevent(kq, in, 1, NULL, 0, NULL) == 0, "EV_DELETE of READ");
	puts("read");

	in[0] = make(5, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS,
	    2000, &mark);
	need(kevent(kq, in, 1, got, 4, &generous) == 1, "no TIMER event");
	need(got[0].ident == 5 && got[0].filter == EVFILT_TIMER &&
	    got[0].flags == (EV_ADD | EV_ONESHOT | EV_CLEAR) &&
	    got[0].data == 1 && got[0].udata == &mark, "TIMER event");
	puts("timer");

	/* Two at a time: each 32 bytes (20 where pointers have 4). */
	in[0] = make(6, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_FFCOPY | 3, 0,
	    &mark);
	in[1] = make(7, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_FFCOPY | 4, 0,
	    in);
	need(kevent(kq, in, 2, NULL, 0, NULL) == 0, "EV_ADD of USER");
	in[0] = make(6, EVFILT_USER, 0, NOTE_TRIGGER, 0, &mark);
	in[1] = make(7, EVFILT_USER, 0, NOTE_TRIGGER, 0, in);
	need(kevent(kq, in, 2, got, 4, &generous) == 2, "no USER events");
	need(got[0].ident == 6 && got[0].filter == EVFILT_USER &&
	    got[0].flags == (EV_ADD | EV_CLEAR) && got[0].fflags == 3 &&
	    got[0].udata == &mark, "first USER event");
	need(got[1].ident == 7 && got[1].filter == EVFILT_USER &&
	    got[1].flags == (EV_ADD | EV_CLEAR) && got[1].fflags == 4 &&
	    got[1].udata == in, "second USER event");
	need(kevent(kq, NULL, 0, got, 4, &no_wait) == 0, "event left");
	puts("user");

	in[0] = make(8, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	need(kevent(kq, in, 1, got, 4, NULL) == 1, "no EV_ERROR entry");
	need(got[0].ident == 8 && got[0].flags == (EV_DELETE | EV_ERROR) &&
	    got[0].data == ENOENT, "EV_ERROR entry");
	in[0] = make(0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_VERSION, 0, NULL);
	need(kevent(kq, in, 1, got, 4, NULL) == 1, "no NOTE_VERSION");
	need(got[0].flags == (EV_ADD | EV_RECEIPT) && got[0].data >> 24 >= 2,
	    "NOTE_VERSION");
	puts("answers");

	need(close(kq) == 0 && close(fds[0]) == 0 && close(fds[1]) == 0,
	    "close");
	libkqueue_drain_pending_close();
	need(kevent(kq, NULL, 0, got, 4, &no_wait) == -1 && errno == EBADF,
	    "a closed queue answers");
	puts("closed");
	return (0);
}
