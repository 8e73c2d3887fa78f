/*
 * The interface in numbers. Binaries in the field have them built in, so a
 * line here is never edited, only added. The program is compiled, not run:
 * SAME refuses a wrong number and a name that is missing. The test that
 * compiles it also compares the names here with those that the header defines.
 */
#include <sys/event.h>

#define SAME(name, number) _Static_assert((name) == (number), #name)
#define AT(type, field, offset, size)                                         \
	_Static_assert(offsetof(struct type, field) == (offset) &&            \
	    sizeof(((struct type *)0)->field) == (size), #type "." #field)
#define HAS_TYPE(type, field, as)                                             \
	_Static_assert(_Generic(((struct type *)0)->field, as: 1,             \
	    default: 0), #type "." #field)

SAME(LIBKQUEUE, 1);

SAME(EVFILT_READ, -1);
SAME(EVFILT_WRITE, -2);
SAME(EVFILT_AIO, -3);
SAME(EVFILT_VNODE, -4);
SAME(EVFILT_SIGNAL, -6);
SAME(EVFILT_PROC, -5);
SAME(EVFILT_PROCDESC, -16);
SAME(EVFILT_TIMER, -7);
SAME(EVFILT_USER, -11);
SAME(EVFILT_LIBKQUEUE, -12);
SAME(EVFILT_FS, -9);
SAME(EVFILT_EXCEPT, -15);
SAME(EVFILT_SYSCOUNT, 16);

SAME(EV_ADD, 0x0001);
SAME(EV_DELETE, 0x0002);
SAME(EV_ENABLE, 0x0004);
SAME(EV_DISABLE, 0x0008);
SAME(EV_ONESHOT, 0x0010);
SAME(EV_CLEAR, 0x0020);
SAME(EV_RECEIPT, 0x0040);
SAME(EV_DISPATCH, 0x0080);
SAME(EV_FORCEONESHOT, 0x0100);
SAME(EV_KEEPUDATA, 0x0200);
SAME(EV_SYSFLAGS, 0xf000);
SAME(EV_FLAG1, 0x2000);
SAME(EV_ERROR, 0x4000);
SAME(EV_EOF, 0x8000);

SAME(NOTE_LOWAT, 0x0001);
SAME(NOTE_FILE_POLL, 0x0002);
SAME(NOTE_OOB, 0x0004);

SAME(VQ_MOUNT, 0x0008);
SAME(VQ_UNMOUNT, 0x0010);

SAME(NOTE_DELETE, 0x0001);
SAME(NOTE_WRITE, 0x0002);
SAME(NOTE_EXTEND, 0x0004);
SAME(NOTE_ATTRIB, 0x0008);
SAME(NOTE_LINK, 0x0010);
SAME(NOTE_RENAME, 0x0020);
SAME(NOTE_REVOKE, 0x0040);
SAME(NOTE_TRUNCATE, 0x0080);
SAME(NOTE_CLOSE, 0x0100);
SAME(NOTE_CLOSE_WRITE, 0x0200);
SAME(NOTE_READ, 0x0400);
SAME(NOTE_OPEN, 0x0800);

SAME(NOTE_EXIT, 0x80000000);
SAME(NOTE_FORK, 0x40000000);
SAME(NOTE_EXEC, 0x20000000);
SAME(NOTE_EXITSTATUS, 0x04000000);
SAME(NOTE_PCTRLMASK, 0xf0000000);
SAME(NOTE_PDATAMASK, 0x000fffff);
SAME(NOTE_TRACK, 1);
SAME(NOTE_TRACKERR, 2);
SAME(NOTE_CHILD, 4);

SAME(NOTE_MSECONDS, 0);
SAME(NOTE_SECONDS, 1);
SAME(NOTE_USECONDS, 2);
SAME(NOTE_NSECONDS, 4);
SAME(NOTE_ABSOLUTE, 8);
SAME(NOTE_ABSTIME, 0x10);
SAME(NOTE_CRITICAL, 0x20);
SAME(NOTE_BACKGROUND, 0x40);
SAME(NOTE_LEEWAY, 0x200);

SAME(NOTE_FFNOP, 0);
SAME(NOTE_FFAND, 0x40000000);
SAME(NOTE_FFOR, 0x80000000);
SAME(NOTE_FFCOPY, 0xc0000000);
SAME(NOTE_FFCTRLMASK, 0xc0000000);
SAME(NOTE_FFLAGSMASK, 0x00ffffff);
SAME(NOTE_TRIGGER, 0x01000000);

SAME(NOTE_VERSION, 1);
SAME(NOTE_VERSION_STR, 2);
SAME(NOTE_THREAD_SAFE, 3);
SAME(NOTE_FORK_CLEANUP, 4);
SAME(NOTE_DEBUG, 5);
SAME(NOTE_DEBUG_PREFIX, 6);
SAME(NOTE_DEBUG_FUNC, 7);
SAME(NOTE_FILE_POLL_INTERVAL, 8);

SAME(KQUEUE_CLOEXEC, 1);
SAME(KEVENT_FLAG_IMMEDIATE, 1);
SAME(KEVENT_FLAG_ERROR_EVENTS, 2);

/* They serve in #if too, where a cast would not. */
#if EVFILT_READ != -1 || EV_EOF != 0x8000 || NOTE_FFCOPY != 0xc0000000
#error "a constant means another number to the preprocessor"
#endif

/*
 * A name is the feature test for what it names: what does not work yet, or
 * never will, has none.
 */
#if defined(EVFILT_NETDEV) || defined(EVFILT_LIO) ||                          \
    defined(EVFILT_EMPTY) ||                      \
    defined(EVFILT_SENDFILE) ||                                               \
    defined(EVFILT_JAIL) || defined(EVFILT_JAILDESC) ||                       \
    defined(EVFILT_DEVICE) || defined(EVFILT_MACHPORT) || defined(EVFILT_VM)
#error "the name of a filter that does not work is defined"
#endif
#if defined(EV_UDATA_SPECIFIC) || defined(EV_DISPATCH2) ||                    \
    defined(EV_VANISHED) || defined(EV_DROP) || defined(EV_FLAG0) ||          \
    defined(EV_FLAG2) || defined(EV_POLL) || defined(EV_OOBAND) ||            \
    defined(KQUEUE_CPONFORK)
#error "the name of a flag that does not work is defined"
#endif
#if defined(NOTE_EOF)
#error "the name of a READ note that does not work is defined"
#endif
#if defined(NOTE_REAP) || defined(NOTE_SIGNAL) ||                             \
    defined(NOTE_EXIT_DETAIL) || defined(NOTE_PDSIGCHLD)
#error "the name of a PROC note that does not work is defined"
#endif
#if defined(NOTE_LINKUP) || defined(NOTE_LINKDOWN) || defined(NOTE_LINKINV)
#error "the name of a NETDEV note is defined, and NETDEV does not work"
#endif
#if defined(VQ_NOTRESP) || defined(VQ_NEEDAUTH) || defined(VQ_LOWDISK) ||     \
    defined(VQ_DEAD) || defined(VQ_ASSIST) ||                                 \
    defined(VQ_NOTRESPLOCK)
#error "the name of an FS note that does not work is defined"
#endif
#if defined(NOTE_MACHTIME) || defined(NOTE_MACH_CONTINUOUS_TIME)
#error "the name of a clock that TIMER does not have is defined"
#endif

#if UINTPTR_MAX > 0xffffffff
AT(kevent, ident, 0, 8);
AT(kevent, filter, 8, 2);
AT(kevent, flags, 10, 2);
AT(kevent, fflags, 12, 4);
AT(kevent, data, 16, 8);
AT(kevent, udata, 24, 8);
_Static_assert(sizeof(struct kevent) == 32, "size");
_Static_assert(_Alignof(struct kevent) == 8, "alignment");
#else
AT(kevent, ident, 0, 4);
AT(kevent, filter, 4, 2);
AT(kevent, flags, 6, 2);
AT(kevent, fflags, 8, 4);
AT(kevent, data, 12, 4);
AT(kevent, udata, 16, 4);
_Static_assert(sizeof(struct kevent) == 20, "size");
_Static_assert(_Alignof(struct kevent) == 4, "alignment");
#endif
HAS_TYPE(kevent, ident, uintptr_t);
HAS_TYPE(kevent, filter, short);
HAS_TYPE(kevent, flags, unsigned short);
HAS_TYPE(kevent, fflags, unsigned int);
HAS_TYPE(kevent, data, intptr_t);
HAS_TYPE(kevent, udata, void *);

AT(kevent64_s, ident, 0, 8);
AT(kevent64_s, filter, 8, 2);
AT(kevent64_s, flags, 10, 2);
AT(kevent64_s, fflags, 12, 4);
AT(kevent64_s, data, 16, 8);
AT(kevent64_s, udata, 24, 8);
AT(kevent64_s, ext, 32, 16);
_Static_assert(sizeof(struct kevent64_s) == 48, "size");
HAS_TYPE(kevent64_s, ident, uint64_t);
HAS_TYPE(kevent64_s, filter, int16_t);
HAS_TYPE(kevent64_s, flags, uint16_t);
HAS_TYPE(kevent64_s, fflags, uint32_t);
HAS_TYPE(kevent64_s, data, int64_t);
HAS_TYPE(kevent64_s, udata, uint64_t);

/* The functions: a pointer to another type is an error here. */
typedef int (*kqueue_type)(void);
typedef int (*kqueue1_type)(int);
typedef int (*kqueuex_type)(unsigned int);
typedef int (*kevent_type)(int, const struct kevent *, int, struct kevent *,
    int, const struct timespec *);
typedef int (*kevent64_type)(int, const struct kevent64_s *, int,
    struct kevent64_s *, int, unsigned int, const struct timespec *);
typedef int (*init_type)(void);
typedef void (*drain_type)(void);

_Static_assert(_Generic(&kqueue, kqueue_type: 1, default: 0), "kqueue");
_Static_assert(_Generic(&kqueue1, kqueue1_type: 1, default: 0), "kqueue1");
_Static_assert(_Generic(&kqueuex, kqueuex_type: 1, default: 0), "kqueuex");
_Static_assert(_Generic(&kevent, kevent_type: 1, default: 0), "kevent");
_Static_assert(_Generic(&kevent64, kevent64_type: 1, default: 0), "kevent64");
_Static_assert(_Generic(&libkqueue_init, init_type: 1, default: 0), "init");
_Static_assert(_Generic(&libkqueue_drain_pending_close, drain_type: 1,
    default: 0), "drain");
