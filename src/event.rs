//! `struct kevent` and every number of the interface.
//!
//! The public C header is generated from this file: documentation written here
//! is what a C programmer reads. The layout and the values are those of
//! libkqueue, frozen; names it lacks have FreeBSD's value where that is free
//! and another where it is taken. A constant is `pub` (and so reaches the
//! header) only when it works.

#![forbid(unsafe_code)]

use core::ffi::{c_int, c_short, c_uint, c_ushort, c_void};

/// Says that this is libkqueue's interface and not a BSD kernel's own.
pub const LIBKQUEUE: c_int = 1;

/// A file descriptor can be read without blocking.
///
/// `ident` is the descriptor. On return `data` is what can be read: bytes, or
/// for a listening socket the connections that wait (1 where the system does
/// not tell), or for a file the distance from the offset to the end, negative
/// past it. EV_EOF is set when nothing more will come; `fflags` then holds the
/// socket's error, or 0. `fflags` NOTE_LOWAT and NOTE_FILE_POLL are understood.
pub const EVFILT_READ: c_short = -1;
/// A file descriptor can be written without blocking.
///
/// `data` is the room in bytes. EV_EOF is set when the other side is gone.
/// NOTE_LOWAT is understood for sockets.
pub const EVFILT_WRITE: c_short = -2;
/// Completion of asynchronous input and output.
///
/// Defined because BSD programs name it; kevent() answers ENXIO, as FreeBSD
/// does: aio requests are attached through struct sigevent there.
pub const EVFILT_AIO: c_short = -3;
/// Something happens to a file or a directory.
///
/// `ident` is a descriptor of it, `fflags` the notes wanted. If one of those
/// that an operation has is wanted, all of them are returned: NOTE_WRITE gets
/// NOTE_WRITE and NOTE_EXTEND of an append. They are collected in `fflags` until
/// they are returned with EV_CLEAR, and by a disabled knote too; without
/// EV_CLEAR they stay, and every call returns them. `data` is 0. It is the open
/// file that is watched, not its name. EINVAL: a socket, a pipe or a queue.
pub const EVFILT_VNODE: c_short = -4;
/// A process.
///
/// `ident` is the pid of any process that exists, `fflags` what to tell of it:
/// NOTE_EXIT, NOTE_FORK, NOTE_EXEC, NOTE_TRACK. EV_CLEAR is set by itself. Once
/// the process has ended the event has EV_EOF and EV_ONESHOT, and the knote is
/// gone; it goes silently if nothing wanted happened. EV_ADD fails with ESRCH
/// if there is no such process (a thread's id is none), or if it has ended and
/// NOTE_EXIT is not asked for; see NOTE_FORK for what else.
pub const EVFILT_PROC: c_short = -5;
/// A signal is sent to the process, or to one of its threads.
///
/// `ident` is the signal; one that does not exist is EINVAL. The signal does
/// what it would do otherwise: handlers run, default actions happen, and
/// ignored ones are counted too. On return `data` is how often it was sent
/// since it was last returned, `fflags` is 0. EV_CLEAR is set by itself. A
/// signal that every thread blocks is taken by the thread that waits.
pub const EVFILT_SIGNAL: c_short = -6;
/// A timer.
///
/// `ident` is any number the caller likes, `data` the period (or, with
/// NOTE_ABSTIME or NOTE_ABSOLUTE, the time of day) in the unit that `fflags`
/// names, milliseconds if none. Periodic unless EV_ONESHOT. On return `data`
/// is how often it has expired since it was last returned, `fflags` is 0.
pub const EVFILT_TIMER: c_short = -7;
pub(crate) const EVFILT_NETDEV: c_short = -8;
/// A file system was mounted or unmounted, as the thread that adds the knote
/// sees them.
///
/// `ident` is any number. Returned with EV_CLEAR, asked or not. `fflags` is
/// VQ_MOUNT, VQ_UNMOUNT or both: what has happened since it was last returned,
/// whatever was asked for; `data` is 0. ENOTSUP where /proc is not mounted.
pub const EVFILT_FS: c_short = -9;
pub(crate) const EVFILT_LIO: c_short = -10;
/// An event that the program itself raises, with NOTE_TRIGGER.
///
/// `ident` is any number. 24 bits of `fflags` and all of `data` are the
/// program's own, changed by the NOTE_FF operations and returned as they are.
pub const EVFILT_USER: c_short = -11;
/// Questions to the library and settings of it, asked with EV_ADD and one of
/// the commands NOTE_VERSION to NOTE_DEBUG_FUNC in `fflags`.
pub const EVFILT_LIBKQUEUE: c_short = -12;
pub(crate) const EVFILT_EMPTY: c_short = -13;
/// Something out of the ordinary has come to a socket.
///
/// `ident` is the socket; EINVAL for any other descriptor. With NOTE_OOB in
/// `fflags` it fires, and returns NOTE_OOB in `fflags`, while urgent data is
/// there that has not been read. EV_EOF is set, whatever was asked for, when
/// nothing more will come; `fflags` is then the socket's error, if it has one.
/// `data` is what a read would find: of TCP without SO_OOBINLINE the bytes
/// before the urgent one.
pub const EVFILT_EXCEPT: c_short = -15;
/// A process, by a descriptor of it: what pidfd_open(2) returns.
///
/// `fflags` NOTE_EXIT and NOTE_FORK are understood, and NOTE_EXITSTATUS; on
/// return `data` is the wait status, or without NOTE_EXIT the pid of the latest
/// child. All else is as for EVFILT_PROC. EV_ADD fails with EINVAL if the
/// descriptor is none of a process.
pub const EVFILT_PROCDESC: c_short = -16;
/// How many filters there are: the bound for an array indexed by ~filter.
pub const EVFILT_SYSCOUNT: c_int = 16;

/// Add the knote, or change the one that is there.
///
/// What was there keeps its EV_CLEAR, EV_ONESHOT, EV_DISPATCH and whether it
/// is disabled; `fflags`, `data` and `udata` are replaced.
pub const EV_ADD: c_ushort = 0x0001;
/// Remove the knote and what it had pending.
pub const EV_DELETE: c_ushort = 0x0002;
/// Let the knote be returned again; looks afresh, so what holds now is
/// returned at once.
pub const EV_ENABLE: c_ushort = 0x0004;
/// Keep the knote but do not return it.
pub const EV_DISABLE: c_ushort = 0x0008;
/// Return the knote once, then delete it.
pub const EV_ONESHOT: c_ushort = 0x0010;
/// Forget the state at each return: the next event is the next change.
pub const EV_CLEAR: c_ushort = 0x0020;
/// Answer this change with an entry flagged EV_ERROR, `data` 0 on success,
/// and collect no events in this call.
pub const EV_RECEIPT: c_ushort = 0x0040;
/// Disable the knote at each return, until EV_ENABLE.
pub const EV_DISPATCH: c_ushort = 0x0080;
/// Return the knote now, once, whatever its condition, then delete it.
pub const EV_FORCEONESHOT: c_ushort = 0x0100;
/// Leave the knote's `udata` as it is; not with EV_ADD.
pub const EV_KEEPUDATA: c_ushort = 0x0200;
/// The bits that belong to the system; ignored on input.
pub const EV_SYSFLAGS: c_ushort = 0xf000;
/// A filter's own flag; within EV_SYSFLAGS.
pub const EV_FLAG1: c_ushort = 0x2000;
/// Returned: this entry answers a change, `data` is the errno or 0.
pub const EV_ERROR: c_ushort = 0x4000;
/// Returned: the filter's end of file, see there.
pub const EV_EOF: c_ushort = 0x8000;

/// READ and WRITE on a socket: fire only when `data` has at least this many
/// bytes. For this knote alone: the socket's own marks are not touched.
pub const NOTE_LOWAT: c_uint = 0x0001;
/// READ on a file: fire always, also at its end.
pub const NOTE_FILE_POLL: c_uint = 0x0002;

/// EXCEPT: urgent (out-of-band) data.
pub const NOTE_OOB: c_uint = 0x0004;

/// FS: a file system was mounted, or a mount was moved.
pub const VQ_MOUNT: c_uint = 0x0008;
/// FS: a file system was unmounted, or a mount was moved.
pub const VQ_UNMOUNT: c_uint = 0x0010;

/// VNODE: the last name of the file is gone, or the directory is.
pub const NOTE_DELETE: c_uint = 0x0001;
/// VNODE: it was written, or a directory's entries have changed.
pub const NOTE_WRITE: c_uint = 0x0002;
/// VNODE: it has become larger; of a directory, an entry was moved in or out.
pub const NOTE_EXTEND: c_uint = 0x0004;
/// VNODE: mode, owner, times or extended attributes were changed, or it was cut.
pub const NOTE_ATTRIB: c_uint = 0x0008;
/// VNODE: the number of its links has changed, and is not 0; of a directory,
/// that of its subdirectories.
pub const NOTE_LINK: c_uint = 0x0010;
/// VNODE: it was renamed.
pub const NOTE_RENAME: c_uint = 0x0020;
/// VNODE: its file system was taken away; the event has EV_EOF, wanted or not.
/// Linux does not do that to a file that is open.
pub const NOTE_REVOKE: c_uint = 0x0040;
/// VNODE: it was cut.
pub const NOTE_TRUNCATE: c_uint = 0x0080;
/// VNODE: a descriptor of it that could not write was closed.
pub const NOTE_CLOSE: c_uint = 0x0100;
/// VNODE: a descriptor of it that could write was closed.
pub const NOTE_CLOSE_WRITE: c_uint = 0x0200;
/// VNODE: it was read.
pub const NOTE_READ: c_uint = 0x0400;
/// VNODE: it was opened.
pub const NOTE_OPEN: c_uint = 0x0800;

/// PROC, PROCDESC: the process has ended. `data` is its status as wait(2) gives
/// it; 0 where the system does not tell the status of a process that is no
/// child.
pub const NOTE_EXIT: c_uint = 0x8000_0000;
/// PROC, PROCDESC: the process has made a child. (PROCDESC: its pid in `data`.)
///
/// Like NOTE_EXEC and NOTE_TRACK it needs the system's process connector, and
/// without it the change fails: EPERM where the system wants a privilege for
/// it, ENOTSUP where it has none for this process, as in most containers.
pub const NOTE_FORK: c_uint = 0x4000_0000;
/// PROC: the process has begun to run another program.
pub const NOTE_EXEC: c_uint = 0x2000_0000;
/// PROC, PROCDESC: asked for and returned beside NOTE_EXIT, as on Darwin; the
/// status is in `data` with or without.
pub const NOTE_EXITSTATUS: c_uint = 0x0400_0000;
/// PROC: the bits that tell what happened.
pub const NOTE_PCTRLMASK: c_uint = 0xf000_0000;
/// PROC: the bits beside those.
pub const NOTE_PDATAMASK: c_uint = 0x000f_ffff;
/// PROC: follow the children too, and theirs. Each gets a knote like this one,
/// whose first event is NOTE_CHILD.
pub const NOTE_TRACK: c_uint = 0x0001;
/// PROC, returned: a child could not be followed, or the system has lost some
/// of what happened, forks and execs too.
pub const NOTE_TRACKERR: c_uint = 0x0002;
/// PROC, returned: this process is followed since it was made; its parent's pid
/// is in `data`.
pub const NOTE_CHILD: c_uint = 0x0004;

/// TIMER: `data` is in seconds.
pub const NOTE_SECONDS: c_uint = 0x0001;
/// TIMER: `data` is in microseconds.
pub const NOTE_USECONDS: c_uint = 0x0002;
/// TIMER: `data` is in nanoseconds.
pub const NOTE_NSECONDS: c_uint = 0x0004;
/// TIMER: `data` is in milliseconds, as it is without any unit.
pub const NOTE_MSECONDS: c_uint = 0x0000;
/// TIMER: `data` is a time of day, returned once (libkqueue's name).
pub const NOTE_ABSOLUTE: c_uint = 0x0008;
/// TIMER: `data` is a time of day, returned by every call until the knote is
/// changed, unless EV_CLEAR or EV_ONESHOT is given (FreeBSD's name).
pub const NOTE_ABSTIME: c_uint = 0x0010;
/// TIMER: Darwin's permission to be late; accepted, without effect.
pub const NOTE_LEEWAY: c_uint = 0x0200;
/// TIMER: Darwin's wish to be exact; accepted, without effect.
pub const NOTE_CRITICAL: c_uint = 0x0020;
/// TIMER: Darwin's leave to save power; accepted, without effect.
pub const NOTE_BACKGROUND: c_uint = 0x0040;

/// USER: leave the stored flags as they are.
pub const NOTE_FFNOP: c_uint = 0x0000_0000;
/// USER: AND the stored flags with these.
pub const NOTE_FFAND: c_uint = 0x4000_0000;
/// USER: OR these into the stored flags.
pub const NOTE_FFOR: c_uint = 0x8000_0000;
/// USER: replace the stored flags by these.
pub const NOTE_FFCOPY: c_uint = 0xc000_0000;
/// USER: the bits that name the operation.
pub const NOTE_FFCTRLMASK: c_uint = 0xc000_0000;
/// USER: the bits that are the program's own.
pub const NOTE_FFLAGSMASK: c_uint = 0x00ff_ffff;
/// USER: raise the event. Not in the EV_ADD that makes the knote.
pub const NOTE_TRIGGER: c_uint = 0x0100_0000;

/// LIBKQUEUE: the version, in `data`: major, minor, patch and release, a byte
/// each from the top.
pub const NOTE_VERSION: c_uint = 0x0001;
/// LIBKQUEUE: the version, in `udata`: a string that lives for ever.
pub const NOTE_VERSION_STR: c_uint = 0x0002;
/// LIBKQUEUE: `data` > 0 for threads, else without. Recorded; the library is
/// always safe to use from threads.
pub const NOTE_THREAD_SAFE: c_uint = 0x0003;
/// LIBKQUEUE: `data` > 0 (the default) to close queues in a forked child.
pub const NOTE_FORK_CLEANUP: c_uint = 0x0004;
/// LIBKQUEUE: `data` > 0 to trace every call, else stop.
pub const NOTE_DEBUG: c_uint = 0x0005;
/// LIBKQUEUE: `data` is a string (copied, its first 31 bytes) to begin each
/// line of the trace with; 0 for the usual one.
pub const NOTE_DEBUG_PREFIX: c_uint = 0x0006;
/// LIBKQUEUE: `data` is a function to be given each line of the trace instead
/// of standard error; 0 for standard error again.
///
/// It is called as a printf-like function with a format that holds the line
/// and no conversions (each per cent sign is doubled), so both
/// `void f(const char *, ...)` and `void f(const char *, va_list)` serve. It
/// must not call kevent(), and must leave errno as it was.
pub const NOTE_DEBUG_FUNC: c_uint = 0x0007;
/// LIBKQUEUE: how often files are polled where the system cannot watch them:
/// ENOSYS here, where it can.
pub const NOTE_FILE_POLL_INTERVAL: c_uint = 0x0008;

/// kqueuex: close the queue on exec. Always so, asked or not: a queue's state
/// lives in the process and cannot survive an exec.
pub const KQUEUE_CLOEXEC: c_uint = 0x0001;

/// kevent64: do not wait.
pub const KEVENT_FLAG_IMMEDIATE: c_uint = 0x0001;
/// kevent64: return entries that answer changes, and no events.
pub const KEVENT_FLAG_ERROR_EVENTS: c_uint = 0x0002;

/// A change to a queue, or an event from it.
#[repr(C)]
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Kevent {
    /// What is watched: a descriptor, or whatever the filter takes. With
    /// `filter` it names the knote.
    pub ident: usize,
    /// EVFILT_ something.
    pub filter: c_short,
    /// EV_ actions and flags.
    pub flags: c_ushort,
    /// NOTE_ bits, of the filter.
    pub fflags: c_uint,
    /// A number, of the filter.
    pub data: isize,
    /// The caller's, returned as it is.
    pub udata: *mut c_void,
}

/// Darwin's wider event, for kevent64().
#[repr(C)]
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Kevent64 {
    /// As in `struct kevent`.
    pub ident: u64,
    /// As in `struct kevent`.
    pub filter: i16,
    /// As in `struct kevent`.
    pub flags: u16,
    /// As in `struct kevent`.
    pub fflags: u32,
    /// As in `struct kevent`.
    pub data: i64,
    /// As in `struct kevent`, as a number.
    pub udata: u64,
    /// Not used: ignored in changes, 0 in events.
    pub ext: [u64; 2],
}

const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    const WORD: usize = size_of::<usize>();
    assert!(offset_of!(Kevent, ident) == 0);
    assert!(offset_of!(Kevent, filter) == WORD);
    assert!(offset_of!(Kevent, flags) == WORD + 2);
    assert!(offset_of!(Kevent, fflags) == WORD + 4);
    assert!(offset_of!(Kevent, data) == WORD + 8);
    assert!(offset_of!(Kevent, udata) == 2 * WORD + 8);
    assert!(size_of::<Kevent>() == 3 * WORD + 8);
    assert!(align_of::<Kevent>() == WORD);
    assert!(size_of::<Kevent64>() == 48);
    assert!(offset_of!(Kevent64, data) == 16);
    assert!(offset_of!(Kevent64, ext) == 32);
};

impl Kevent {
    /// The entry that answers this change: what was given, flagged EV_ERROR,
    /// with the errno (0 for success) in `data`.
    pub(crate) fn answer(&self, errno: c_int) -> Kevent {
        Kevent { flags: self.flags | EV_ERROR, data: errno as isize, ..*self }
    }
}
