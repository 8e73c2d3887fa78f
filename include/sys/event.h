/*
 * <sys/event.h>: kqueue() and kevent(), the BSD interface for event
 * notification, on kernels that do not have it.
 *
 * A queue holds knotes. A knote says what is watched (`ident` and `filter`),
 * how (`flags`, `fflags`, `data`), and what to give back with its events
 * (`udata`). kevent() takes changes to the knotes and returns events, both as
 * `struct kevent`.
 *
 * Generated; do not edit. The text stands in src/event.rs and src/capi/mod.rs.
 */

#ifndef KQUEUE_SYS_EVENT_H
#define KQUEUE_SYS_EVENT_H

#include <sys/types.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct timespec;

/*
 * Fills in a struct kevent. Each argument is evaluated once, and may use any
 * name of the caller's.
 */
#define EV_SET(kev_, ident_, filter_, flags_, fflags_, data_, udata_) \
	kqueue_ev_set__((kev_), (uintptr_t)(ident_), (short)(filter_), \
	    (unsigned short)(flags_), (unsigned int)(fflags_), \
	    (intptr_t)(data_), (void *)(udata_))

/*
 * Says that this is libkqueue's interface and not a BSD kernel's own.
 */
#define LIBKQUEUE 1

/*
 * A file descriptor can be read without blocking.
 *
 * ident is the descriptor. On return data is what can be read: bytes, or
 * for a listening socket the connections that wait (1 where the system does
 * not tell), or for a file the distance from the offset to the end, negative
 * past it. EV_EOF is set when nothing more will come; fflags then holds the
 * socket's error, or 0. fflags NOTE_LOWAT and NOTE_FILE_POLL are understood.
 */
#define EVFILT_READ (-1)

/*
 * A file descriptor can be written without blocking.
 *
 * data is the room in bytes. EV_EOF is set when the other side is gone.
 * NOTE_LOWAT is understood for sockets.
 */
#define EVFILT_WRITE (-2)

/*
 * Completion of asynchronous input and output.
 *
 * Defined because BSD programs name it; kevent() answers ENXIO, as FreeBSD
 * does: aio requests are attached through struct sigevent there.
 */
#define EVFILT_AIO (-3)

/*
 * Something happens to a file or a directory.
 *
 * ident is a descriptor of it, fflags the notes wanted. If one of those
 * that an operation has is wanted, all of them are returned: NOTE_WRITE gets
 * NOTE_WRITE and NOTE_EXTEND of an append. They are collected in fflags until
 * they are returned with EV_CLEAR, and by a disabled knote too; without
 * EV_CLEAR they stay, and every call returns them. data is 0. It is the open
 * file that is watched, not its name. EINVAL: a socket, a pipe or a queue.
 */
#define EVFILT_VNODE (-4)

/*
 * A process.
 *
 * ident is the pid of any process that exists, fflags what to tell of it:
 * NOTE_EXIT, NOTE_FORK, NOTE_EXEC, NOTE_TRACK. EV_CLEAR is set by itself. Once
 * the process has ended the event has EV_EOF and EV_ONESHOT, and the knote is
 * gone; it goes silently if nothing wanted happened. EV_ADD fails with ESRCH
 * if there is no such process (a thread's id is none), or if it has ended and
 * NOTE_EXIT is not asked for; see NOTE_FORK for what else.
 */
#define EVFILT_PROC (-5)

/*
 * A signal is sent to the process, or to one of its threads.
 *
 * ident is the signal; one that does not exist is EINVAL. The signal does
 * what it would do otherwise: handlers run, default actions happen, and
 * ignored ones are counted too. On return data is how often it was sent
 * since it was last returned, fflags is 0. EV_CLEAR is set by itself. A
 * signal that every thread blocks is taken by the thread that waits.
 */
#define EVFILT_SIGNAL (-6)

/*
 * A timer.
 *
 * ident is any number the caller likes, data the period (or, with
 * NOTE_ABSTIME or NOTE_ABSOLUTE, the time of day) in the unit that fflags
 * names, milliseconds if none. Periodic unless EV_ONESHOT. On return data
 * is how often it has expired since it was last returned, fflags is 0.
 */
#define EVFILT_TIMER (-7)

/*
 * A file system was mounted or unmounted, as the thread that adds the knote
 * sees them.
 *
 * ident is any number. Returned with EV_CLEAR, asked or not. fflags is
 * VQ_MOUNT, VQ_UNMOUNT or both: what has happened since it was last returned,
 * whatever was asked for; data is 0. ENOTSUP where /proc is not mounted.
 */
#define EVFILT_FS (-9)

/*
 * An event that the program itself raises, with NOTE_TRIGGER.
 *
 * ident is any number. 24 bits of fflags and all of data are the
 * program's own, changed by the NOTE_FF operations and returned as they are.
 */
#define EVFILT_USER (-11)

/*
 * Questions to the library and settings of it, asked with EV_ADD and one of
 * the commands NOTE_VERSION to NOTE_DEBUG_FUNC in fflags.
 */
#define EVFILT_LIBKQUEUE (-12)

/*
 * Something out of the ordinary has come to a socket.
 *
 * ident is the socket; EINVAL for any other descriptor. With NOTE_OOB in
 * fflags it fires, and returns NOTE_OOB in fflags, while urgent data is
 * there that has not been read. EV_EOF is set, whatever was asked for, when
 * nothing more will come; fflags is then the socket's error, if it has one.
 * data is what a read would find: of TCP without SO_OOBINLINE the bytes
 * before the urgent one.
 */
#define EVFILT_EXCEPT (-15)

/*
 * A process, by a descriptor of it: what pidfd_open(2) returns.
 *
 * fflags NOTE_EXIT and NOTE_FORK are understood, and NOTE_EXITSTATUS; on
 * return data is the wait status, or without NOTE_EXIT the pid of the latest
 * child. All else is as for EVFILT_PROC. EV_ADD fails with EINVAL if the
 * descriptor is none of a process.
 */
#define EVFILT_PROCDESC (-16)

/*
 * How many filters there are: the bound for an array indexed by ~filter.
 */
#define EVFILT_SYSCOUNT 16

/*
 * Add the knote, or change the one that is there.
 *
 * What was there keeps its EV_CLEAR, EV_ONESHOT, EV_DISPATCH and whether it
 * is disabled; fflags, data and udata are replaced.
 */
#define EV_ADD 0x0001

/*
 * Remove the knote and what it had pending.
 */
#define EV_DELETE 0x0002

/*
 * Let the knote be returned again; looks afresh, so what holds now is
 * returned at once.
 */
#define EV_ENABLE 0x0004

/*
 * Keep the knote but do not return it.
 */
#define EV_DISABLE 0x0008

/*
 * Return the knote once, then delete it.
 */
#define EV_ONESHOT 0x0010

/*
 * Forget the state at each return: the next event is the next change.
 */
#define EV_CLEAR 0x0020

/*
 * Answer this change with an entry flagged EV_ERROR, data 0 on success,
 * and collect no events in this call.
 */
#define EV_RECEIPT 0x0040

/*
 * Disable the knote at each return, until EV_ENABLE.
 */
#define EV_DISPATCH 0x0080

/*
 * Return the knote now, once, whatever its condition, then delete it.
 */
#define EV_FORCEONESHOT 0x0100

/*
 * Leave the knote's udata as it is; not with EV_ADD.
 */
#define EV_KEEPUDATA 0x0200

/*
 * The bits that belong to the system; ignored on input.
 */
#define EV_SYSFLAGS 0xf000

/*
 * A filter's own flag; within EV_SYSFLAGS.
 */
#define EV_FLAG1 0x2000

/*
 * Returned: this entry answers a change, data is the errno or 0.
 */
#define EV_ERROR 0x4000

/*
 * Returned: the filter's end of file, see there.
 */
#define EV_EOF 0x8000

/*
 * READ and WRITE on a socket: fire only when data has at least this many
 * bytes. For this knote alone: the socket's own marks are not touched.
 */
#define NOTE_LOWAT 0x0001

/*
 * READ on a file: fire always, also at its end.
 */
#define NOTE_FILE_POLL 0x0002

/*
 * EXCEPT: urgent (out-of-band) data.
 */
#define NOTE_OOB 0x0004

/*
 * FS: a file system was mounted, or a mount was moved.
 */
#define VQ_MOUNT 8

/*
 * FS: a file system was unmounted, or a mount was moved.
 */
#define VQ_UNMOUNT 16

/*
 * VNODE: the last name of the file is gone, or the directory is.
 */
#define NOTE_DELETE 0x0001

/*
 * VNODE: it was written, or a directory's entries have changed.
 */
#define NOTE_WRITE 0x0002

/*
 * VNODE: it has become larger; of a directory, an entry was moved in or out.
 */
#define NOTE_EXTEND 0x0004

/*
 * VNODE: mode, owner, times or extended attributes were changed, or it was cut.
 */
#define NOTE_ATTRIB 0x0008

/*
 * VNODE: the number of its links has changed, and is not 0; of a directory,
 * that of its subdirectories.
 */
#define NOTE_LINK 0x0010

/*
 * VNODE: it was renamed.
 */
#define NOTE_RENAME 0x0020

/*
 * VNODE: its file system was taken away; the event has EV_EOF, wanted or not.
 * Linux does not do that to a file that is open.
 */
#define NOTE_REVOKE 0x0040

/*
 * VNODE: it was cut.
 */
#define NOTE_TRUNCATE 0x0080

/*
 * VNODE: a descriptor of it that could not write was closed.
 */
#define NOTE_CLOSE 0x0100

/*
 * VNODE: a descriptor of it that could write was closed.
 */
#define NOTE_CLOSE_WRITE 0x0200

/*
 * VNODE: it was read.
 */
#define NOTE_READ 0x0400

/*
 * VNODE: it was opened.
 */
#define NOTE_OPEN 0x0800

/*
 * PROC, PROCDESC: the process has ended. data is its status as wait(2) gives
 * it; 0 where the system does not tell the status of a process that is no
 * child.
 */
#define NOTE_EXIT 0x80000000

/*
 * PROC, PROCDESC: the process has made a child. (PROCDESC: its pid in data.)
 *
 * Like NOTE_EXEC and NOTE_TRACK it needs the system's process connector, and
 * without it the change fails: EPERM where the system wants a privilege for
 * it, ENOTSUP where it has none for this process, as in most containers.
 */
#define NOTE_FORK 0x40000000

/*
 * PROC: the process has begun to run another program.
 */
#define NOTE_EXEC 0x20000000

/*
 * PROC, PROCDESC: asked for and returned beside NOTE_EXIT, as on Darwin; the
 * status is in data with or without.
 */
#define NOTE_EXITSTATUS 0x4000000

/*
 * PROC: the bits that tell what happened.
 */
#define NOTE_PCTRLMASK 0xf0000000

/*
 * PROC: the bits beside those.
 */
#define NOTE_PDATAMASK 0xfffff

/*
 * PROC: follow the children too, and theirs. Each gets a knote like this one,
 * whose first event is NOTE_CHILD.
 */
#define NOTE_TRACK 0x0001

/*
 * PROC, returned: a child could not be followed, or the system has lost some
 * of what happened, forks and execs too.
 */
#define NOTE_TRACKERR 0x0002

/*
 * PROC, returned: this process is followed since it was made; its parent's pid
 * is in data.
 */
#define NOTE_CHILD 0x0004

/*
 * TIMER: data is in seconds.
 */
#define NOTE_SECONDS 0x0001

/*
 * TIMER: data is in microseconds.
 */
#define NOTE_USECONDS 0x0002

/*
 * TIMER: data is in nanoseconds.
 */
#define NOTE_NSECONDS 0x0004

/*
 * TIMER: data is in milliseconds, as it is without any unit.
 */
#define NOTE_MSECONDS 0x0000

/*
 * TIMER: data is a time of day, returned once (libkqueue's name).
 */
#define NOTE_ABSOLUTE 0x0008

/*
 * TIMER: data is a time of day, returned by every call until the knote is
 * changed, unless EV_CLEAR or EV_ONESHOT is given (FreeBSD's name).
 */
#define NOTE_ABSTIME 0x0010

/*
 * TIMER: Darwin's permission to be late; accepted, without effect.
 */
#define NOTE_LEEWAY 0x0200

/*
 * TIMER: Darwin's wish to be exact; accepted, without effect.
 */
#define NOTE_CRITICAL 0x0020

/*
 * TIMER: Darwin's leave to save power; accepted, without effect.
 */
#define NOTE_BACKGROUND 0x0040

/*
 * USER: leave the stored flags as they are.
 */
#define NOTE_FFNOP 0x0000

/*
 * USER: AND the stored flags with these.
 */
#define NOTE_FFAND 0x40000000

/*
 * USER: OR these into the stored flags.
 */
#define NOTE_FFOR 0x80000000

/*
 * USER: replace the stored flags by these.
 */
#define NOTE_FFCOPY 0xc0000000

/*
 * USER: the bits that name the operation.
 */
#define NOTE_FFCTRLMASK 0xc0000000

/*
 * USER: the bits that are the program's own.
 */
#define NOTE_FFLAGSMASK 0xffffff

/*
 * USER: raise the event. Not in the EV_ADD that makes the knote.
 */
#define NOTE_TRIGGER 0x1000000

/*
 * LIBKQUEUE: the version, in data: major, minor, patch and release, a byte
 * each from the top.
 */
#define NOTE_VERSION 0x0001

/*
 * LIBKQUEUE: the version, in udata: a string that lives for ever.
 */
#define NOTE_VERSION_STR 0x0002

/*
 * LIBKQUEUE: data > 0 for threads, else without. Recorded; the library is
 * always safe to use from threads.
 */
#define NOTE_THREAD_SAFE 0x0003

/*
 * LIBKQUEUE: data > 0 (the default) to close queues in a forked child.
 */
#define NOTE_FORK_CLEANUP 0x0004

/*
 * LIBKQUEUE: data > 0 to trace every call, else stop.
 */
#define NOTE_DEBUG 0x0005

/*
 * LIBKQUEUE: data is a string (copied, its first 31 bytes) to begin each
 * line of the trace with; 0 for the usual one.
 */
#define NOTE_DEBUG_PREFIX 0x0006

/*
 * LIBKQUEUE: data is a function to be given each line of the trace instead
 * of standard error; 0 for standard error again.
 *
 * It is called as a printf-like function with a format that holds the line
 * and no conversions (each per cent sign is doubled), so both
 * void f(const char *, ...) and void f(const char *, va_list) serve. It
 * must not call kevent(), and must leave errno as it was.
 */
#define NOTE_DEBUG_FUNC 0x0007

/*
 * LIBKQUEUE: how often files are polled where the system cannot watch them:
 * ENOSYS here, where it can.
 */
#define NOTE_FILE_POLL_INTERVAL 0x0008

/*
 * kqueuex: close the queue on exec. Always so, asked or not: a queue's state
 * lives in the process and cannot survive an exec.
 */
#define KQUEUE_CLOEXEC 1

/*
 * kevent64: do not wait.
 */
#define KEVENT_FLAG_IMMEDIATE 1

/*
 * kevent64: return entries that answer changes, and no events.
 */
#define KEVENT_FLAG_ERROR_EVENTS 2

/*
 * A change to a queue, or an event from it.
 */
struct kevent {
        /*
         * What is watched: a descriptor, or whatever the filter takes. With
         * filter it names the knote.
         */
        uintptr_t ident;
        /*
         * EVFILT_ something.
         */
        short filter;
        /*
         * EV_ actions and flags.
         */
        unsigned short flags;
        /*
         * NOTE_ bits, of the filter.
         */
        unsigned int fflags;
        /*
         * A number, of the filter.
         */
        intptr_t data;
        /*
         * The caller's, returned as it is.
         */
        void *udata;
};

/*
 * Darwin's wider event, for kevent64().
 */
struct kevent64_s {
        /*
         * As in struct kevent.
         */
        uint64_t ident;
        /*
         * As in struct kevent.
         */
        int16_t filter;
        /*
         * As in struct kevent.
         */
        uint16_t flags;
        /*
         * As in struct kevent.
         */
        uint32_t fflags;
        /*
         * As in struct kevent.
         */
        int64_t data;
        /*
         * As in struct kevent, as a number.
         */
        uint64_t udata;
        /*
         * Not used: ignored in changes, 0 in events.
         */
        uint64_t ext[2];
};

/*
 * Makes a queue and returns its descriptor, the lowest that is free.
 *
 * The descriptor can be waited on with kevent(), and also with poll(),
 * select(), epoll or another queue: it is readable while an event is pending.
 * It is closed by close(), and on exec. A forked child has no queues: there
 * the number is closed.
 *
 * Returns -1 and sets errno: EMFILE or ENFILE (no descriptor is free; one or
 * two are needed beside the one returned), ENOMEM.
 */
int kqueue(void);

/*
 * NetBSD's and OpenBSD's kqueue() with flags of open(): O_CLOEXEC and
 * O_NONBLOCK are accepted and change nothing, for a queue is always
 * close-on-exec.
 *
 * Returns as kqueue(); also EINVAL: another flag.
 */
int kqueue1(int flags);

/*
 * FreeBSD's kqueue() with flags: KQUEUE_CLOEXEC is accepted and changes
 * nothing, for a queue is always close-on-exec.
 *
 * Returns as kqueue(); also EINVAL: another flag.
 */
int kqueuex(unsigned int flags);

/*
 * Applies changes to a queue, then waits for events.
 *
 * The nchanges changes at changelist are applied in order. One that
 * fails, or is flagged EV_RECEIPT, is answered by an entry in eventlist:
 * flagged EV_ERROR, with the errno or 0 in data. If there are such entries
 * the call returns their number at once. With no room for one, the call stops
 * there and returns -1 with its errno, or 0 for a receipt.
 *
 * Otherwise at most nevents events are returned in eventlist, each knote
 * at most once. The call waits for the first as long as timeout says: for
 * ever if it is null, not at all if it is zero. With nevents 0 it returns at
 * once. Both lists may be the same memory.
 *
 * Returns the number of entries, 0 when the time is up, or -1 and sets errno:
 * EBADF (kq is not open), EINVAL (kq is not a queue; a negative count; a time
 * that is none), EFAULT (a null list with a count), EINTR (a signal handler
 * ran and no event was taken; the changes have been applied), EDEADLK (a signal
 * handler calls, and what it has interrupted is a call on the same queue that
 * was not waiting; nothing was done), or, without room to report it, the errno
 * of a change: EBADF, EINVAL, ENOENT, ENOMEM,
 * EMFILE, ENFILE, ENOSYS, ENXIO.
 */
int kevent(int kq,
           const struct kevent *changelist,
           int nchanges,
           struct kevent *eventlist,
           int nevents,
           const struct timespec *timeout);

/*
 * Darwin's kevent() with wider entries and flags: KEVENT_FLAG_IMMEDIATE does
 * not wait, KEVENT_FLAG_ERROR_EVENTS returns entries that answer changes and
 * no events. ext is ignored in changes and 0 in events.
 *
 * Returns as kevent(); also EINVAL: another flag.
 */
int kevent64(int kq,
             const struct kevent64_s *changelist,
             int nchanges,
             struct kevent64_s *eventlist,
             int nevents,
             unsigned int flags,
             const struct timespec *timeout);

/*
 * libkqueue's: prepares the library, for programs linked to the archive.
 * There is nothing to prepare. Returns 0.
 */
int libkqueue_init(void);

/*
 * libkqueue's: returns when queues closed before the call have been cleaned
 * up. Their descriptors and memory are given back here at the latest.
 */
void libkqueue_drain_pending_close(void);

/* EV_SET, as a function: so no name in it can meet one of the caller's. */
#if defined(__GNUC__)
__attribute__((__unused__))
#endif
static
#if defined(__cplusplus) || \
    (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 199901L)
inline
#elif defined(__GNUC__)
__inline__
#endif
void kqueue_ev_set__(struct kevent *kev_, uintptr_t ident_, short filter_,
                     unsigned short flags_, unsigned int fflags_,
                     intptr_t data_, void *udata_)
{
	kev_->ident = ident_;
	kev_->filter = filter_;
	kev_->flags = flags_;
	kev_->fflags = fflags_;
	kev_->data = data_;
	kev_->udata = udata_;
}

#ifdef __cplusplus
}
#endif

#endif /* KQUEUE_SYS_EVENT_H */
