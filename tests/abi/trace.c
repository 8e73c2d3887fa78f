/*
 * Calls for the trace to show. Prints what the test cannot know: the process,
 * its thread, and where the lists are.
 */
#define _GNU_SOURCE
#include <sys/event.h>
#include <stdio.h>
#include <unistd.h>

static const struct timespec no_wait = {0, 0}, odd = {1, 5};

int
main(void)
{
	struct kevent in[3], out[4];
	struct kevent64_s wide[1];
	int kq, fds[2], rv = 0;

	if (pipe(fds) != 0)
		return (1);
	/* Numbers that the expected lines can name. */
	if (dup2(fds[0], 100) != 100 || dup2(fds[1], 101) != 101)
		return (1);
	close(fds[0]);
	close(fds[1]);
	printf("pid %ld\ntid %ld\nin %p\nout %p\nwide %p\n", (long)getpid(),
	    (long)gettid(), (void *)in, (void *)out, (void *)wide);
	fflush(stdout);

	kq = kqueue();
	if (kq == -1 || dup2(kq, 102) != 102)
		return (1);
	close(kq);

	/* Each kind of knote, each set of names. */
	EV_SET(&in[0], 100, EVFILT_READ, EV_ADD | EV_CLEAR, NOTE_LOWAT, 3,
	    NULL);
	EV_SET(&in[1], 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_SECONDS,
	    1000, (void *)7);
	EV_SET(&in[2], 9, EVFILT_USER, EV_ADD | EV_DISPATCH,
	    NOTE_FFCOPY | 0x12, 0, NULL);
	rv |= kevent(102, in, 3, NULL, 0, NULL) != 0;
	/* An event. */
	EV_SET(&in[0], 9, EVFILT_USER, 0, NOTE_TRIGGER, -4, (void *)0x10);
	rv |= kevent(102, in, 1, out, 4, &odd) != 1;
	/* Time is up. */
	rv |= kevent(102, NULL, 0, out, 4, &no_wait) != 0;
	/* Answers to changes. */
	EV_SET(&in[0], 2, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	EV_SET(&in[1], 9, EVFILT_USER, EV_DISABLE | EV_RECEIPT, NOTE_FFAND, 0,
	    NULL);
	EV_SET(&in[2], 3, -10, EV_ADD | 0x0400, 0x30, 0, NULL);
	rv |= kevent(102, in, 3, out, 4, NULL) != 3;
	/* Failures of the call itself. */
	rv |= kevent(102, in, 1, NULL, 0, NULL) != -1;
	rv |= kevent(103, NULL, 0, out, 4, &no_wait) != -1;
	rv |= kevent(102, in, -1, out, 4, &no_wait) != -1;
	rv |= kevent(102, NULL, 1, out, 4, &no_wait) != -1;
	rv |= kqueue1(-1) != -1;
	rv |= kqueuex(2) != -1;
	/* The wide form. */
	wide[0].ident = 9;
	wide[0].filter = EVFILT_USER;
	wide[0].flags = EV_ENABLE;
	wide[0].fflags = 0;
	wide[0].data = 5;
	wide[0].udata = 0x20;
	rv |= kevent64(102, wide, 1, NULL, 0, 0, NULL) != 0;
	rv |= kevent64(102, wide, 1, NULL, 0, 0x80, NULL) != -1;

	close(100);
	close(101);
	close(102);
	return (rv);
}
