/*
 * What programs built against libkqueue 2.x have in them: the layout and the
 * numbers, as they were then. Frozen; it has nothing from this library.
 */
#ifndef OLD_EVENT_H
#define OLD_EVENT_H

#include <stdint.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_TIMER (-7)
#define EVFILT_USER (-11)
#define EVFILT_LIBKQUEUE (-12)

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_RECEIPT 0x0040
#define EV_DISPATCH 0x0080
#define EV_ERROR 0x4000
#define EV_EOF 0x8000

#define NOTE_FFCOPY 0xc0000000
#define NOTE_TRIGGER 0x01000000
#define NOTE_USECONDS 0x00000002
#define NOTE_VERSION 0x0001

struct kevent {
	uintptr_t ident;
	short filter;
	unsigned short flags;
	unsigned int fflags;
	intptr_t data;
	void *udata;
};

int kqueue(void);
int kevent(int, const struct kevent *, int, struct kevent *, int,
    const struct timespec *);
void libkqueue_drain_pending_close(void);

#endif
