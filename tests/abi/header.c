/*
 * The header before any other, as C of every standard and as C++. Compiled,
 * not run. With -DTWICE it is included again, with -DOTHERS_FIRST last.
 */
#ifdef OTHERS_FIRST
#include <stdio.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#endif
#include <sys/event.h>
#ifdef TWICE
#include <sys/event.h>
#endif

/* All that the header must bring along by itself. */
struct names {
	struct kevent kev;
	struct kevent64_s wide;
	const struct timespec *timeout;
	uintptr_t ident;
	intptr_t data;
	size_t size;
};

int use(struct names *names, int fd, long count, short filter);

int
use(struct names *names, int fd, long count, short filter)
{
	struct kevent *kev = &names->kev;

	EV_SET(kev, fd, filter, EV_ADD | EV_CLEAR, NOTE_LOWAT, count, NULL);
	EV_SET(kev, fd, EVFILT_USER, EV_DISPATCH,
	    NOTE_FFCOPY | NOTE_TRIGGER | (NOTE_FFLAGSMASK & 7), count, names);
	names->wide.ident = names->ident;
	if (kev->flags & EV_ERROR)
		return (kqueue1(0) + kqueuex(KQUEUE_CLOEXEC));
	libkqueue_drain_pending_close();
	return (kevent64(fd, &names->wide, 1, NULL, 0,
	    KEVENT_FLAG_IMMEDIATE, NULL) +
	    kevent(kqueue(), kev, 1, kev, 1, names->timeout) +
	    libkqueue_init());
}
