//! The C interface: the only exported symbols, and all that is unsafe about
//! being called from C.
//!
//! Pointers and counts are checked here, changes are copied in and events out
//! one by one, and errno is set, on failure alone. No behaviour lives here.
//!
//! The functions are plain `extern "C"` and own nothing while they wait: the
//! thread may be cancelled in there, or leave by longjmp, and no destructor
//! would run.

mod caller;
mod library;
mod log;
mod trace;

use crate::clock::Patience;
use crate::errno::{Errno, Result};
use crate::event::{
    KEVENT_FLAG_ERROR_EVENTS, KEVENT_FLAG_IMMEDIATE, KQUEUE_CLOEXEC, Kevent, Kevent64,
};
use crate::queue::{self, Caller, Stop};
use crate::{registry, sys};
use caller::{Lists, Timeout, Wire};
use core::ffi::{c_int, c_uint};

/// Makes a queue and returns its descriptor, the lowest that is free.
///
/// The descriptor can be waited on with kevent(), and also with poll(),
/// select(), epoll or another queue: it is readable while an event is pending.
/// It is closed by close(), and on exec. A forked child has no queues: there
/// the number is closed.
///
/// Returns -1 and sets errno: EMFILE or ENFILE (no descriptor is free; one or
/// two are needed beside the one returned), ENOMEM.
#[unsafe(no_mangle)]
pub extern "C" fn kqueue() -> c_int {
    from_c(|| trace::call_plain("kqueue", None, registry::create))
}

/// NetBSD's and OpenBSD's kqueue() with flags of open(): O_CLOEXEC and
/// O_NONBLOCK are accepted and change nothing, for a queue is always
/// close-on-exec.
///
/// Returns as kqueue(); also EINVAL: another flag.
#[unsafe(no_mangle)]
pub extern "C" fn kqueue1(flags: c_int) -> c_int {
    let known = (libc::O_CLOEXEC | libc::O_NONBLOCK).cast_unsigned();
    create_with("kqueue1", flags.cast_unsigned(), known)
}

/// FreeBSD's kqueue() with flags: KQUEUE_CLOEXEC is accepted and changes
/// nothing, for a queue is always close-on-exec.
///
/// Returns as kqueue(); also EINVAL: another flag.
#[unsafe(no_mangle)]
pub extern "C" fn kqueuex(flags: c_uint) -> c_int {
    create_with("kqueuex", flags, KQUEUE_CLOEXEC)
}

/// Applies changes to a queue, then waits for events.
///
/// The `nchanges` changes at `changelist` are applied in order. One that
/// fails, or is flagged EV_RECEIPT, is answered by an entry in `eventlist`:
/// flagged EV_ERROR, with the errno or 0 in `data`. If there are such entries
/// the call returns their number at once. With no room for one, the call stops
/// there and returns -1 with its errno, or 0 for a receipt.
///
/// Otherwise at most `nevents` events are returned in `eventlist`, each knote
/// at most once. The call waits for the first as long as `timeout` says: for
/// ever if it is null, not at all if it is zero. With `nevents` 0 it returns at
/// once. Both lists may be the same memory.
///
/// Returns the number of entries, 0 when the time is up, or -1 and sets errno:
/// EBADF (kq is not open), EINVAL (kq is not a queue; a negative count; a time
/// that is none), EFAULT (a null list with a count), EINTR (a signal handler
/// ran and no event was taken; the changes have been applied), EDEADLK (a signal
/// handler calls, and what it has interrupted is a call on the same queue that
/// was not waiting; nothing was done), or, without room to report it, the errno
/// of a change: EBADF, EINVAL, ENOENT, ENOMEM,
/// EMFILE, ENFILE, ENOSYS, ENXIO.
///
/// # Safety
///
/// `changelist` and `eventlist` must hold as many entries as the counts say,
/// and `timeout` must be null or point to a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kevent(
    kq: c_int,
    changelist: *const Kevent,
    nchanges: c_int,
    eventlist: *mut Kevent,
    nevents: c_int,
    timeout: *const libc::timespec,
) -> c_int {
    // SAFETY: the caller's duty, as said above.
    let lists = unsafe { Lists::new(changelist, nchanges, eventlist, nevents) };
    // SAFETY: the same.
    let timeout = unsafe { read_timeout(timeout) };
    from_c(|| match lists {
        Ok(lists) => call(kq, "kevent", lists.waiting(timeout)),
        Err(error) => {
            trace::refused("kevent", kq, (changelist, nchanges), (eventlist, nevents), error)
        }
    })
}

/// Darwin's kevent() with wider entries and flags: KEVENT_FLAG_IMMEDIATE does
/// not wait, KEVENT_FLAG_ERROR_EVENTS returns entries that answer changes and
/// no events. `ext` is ignored in changes and 0 in events.
///
/// Returns as kevent(); also EINVAL: another flag.
///
/// # Safety
///
/// As for kevent().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kevent64(
    kq: c_int,
    changelist: *const Kevent64,
    nchanges: c_int,
    eventlist: *mut Kevent64,
    nevents: c_int,
    flags: c_uint,
    timeout: *const libc::timespec,
) -> c_int {
    let lists = if flags & !(KEVENT_FLAG_IMMEDIATE | KEVENT_FLAG_ERROR_EVENTS) != 0 {
        Err(Errno::EINVAL)
    } else {
        // SAFETY: the caller's duty, as said above.
        unsafe { Lists::new(changelist, nchanges, eventlist, nevents) }
    };
    let timeout = if flags & KEVENT_FLAG_IMMEDIATE != 0 {
        Timeout::Of { sec: 0, nsec: 0 }
    } else {
        // SAFETY: the same.
        unsafe { read_timeout(timeout) }
    };
    let answers_only = flags & KEVENT_FLAG_ERROR_EVENTS != 0;
    from_c(|| match lists {
        Ok(lists) => {
            let lists = lists.waiting(timeout);
            call(kq, "kevent64", if answers_only { lists.answers_only() } else { lists })
        }
        Err(error) => {
            trace::refused("kevent64", kq, (changelist, nchanges), (eventlist, nevents), error)
        }
    })
}

/// libkqueue's: prepares the library, for programs linked to the archive.
/// There is nothing to prepare. Returns 0.
#[unsafe(no_mangle)]
pub extern "C" fn libkqueue_init() -> c_int {
    0
}

/// libkqueue's: returns when queues closed before the call have been cleaned
/// up. Their descriptors and memory are given back here at the latest.
#[unsafe(no_mangle)]
pub extern "C" fn libkqueue_drain_pending_close() {
    from_c(|| {
        registry::sweep_all();
        Ok(0)
    });
}

/// Makes a queue if no flag is unknown.
fn create_with(name: &'static str, flags: c_uint, known: c_uint) -> c_int {
    from_c(|| {
        trace::call_plain(name, Some(flags), || {
            if flags & !known != 0 { Err(Errno::EINVAL) } else { registry::create() }
        })
    })
}

/// Runs a call of the kevent family.
fn call<E: Wire>(kq: c_int, name: &'static str, mut lists: Lists<E>) -> Result<c_int> {
    trace::call(name, kq, &mut lists, |lists| {
        let life = sys::life(kq);
        let mut found = registry::find(kq)?;
        loop {
            match queue::kevent::call(found.home, found.tenant, kq, lists, registry::astray) {
                // As many as there is room for, which was counted by an int.
                Ok(entries) => return Ok(c_int::try_from(entries).unwrap_or(c_int::MAX)),
                Err(Stop::Failed(error)) => return Err(error),
                // The call goes on where it was. If it cannot be done now, the
                // ghosts are borne a while longer, but by nobody who must not
                // wait.
                Err(Stop::Haunted) => {
                    if registry::renew(&found).is_err() && lists.patience() == Ok(Patience::Poll) {
                        return Ok(0);
                    }
                    continue;
                }
                // Unless the number is another of our queues by now, that is
                // the end. Changes that went to the old one went with it.
                Err(Stop::Gone) if sys::life(kq) == life => {
                    found = registry::find_another(kq, &found)?;
                }
                // It was closed, whatever it is by now.
                Err(Stop::Gone) => return Err(Errno::EBADF),
            }
            if !lists.rewind() {
                return Err(Errno::EBADF);
            }
        }
    })
}

/// # Safety
///
/// `timeout` is null or points to a time.
unsafe fn read_timeout(timeout: *const libc::timespec) -> Timeout {
    // SAFETY: as said.
    match unsafe { timeout.as_ref() } {
        None => Timeout::Never,
        #[allow(clippy::useless_conversion, reason = "32-bit systems have narrower fields")]
        Some(time) => Timeout::Of { sec: time.tv_sec.into(), nsec: time.tv_nsec.into() },
    }
}

/// The one way in from C, and out: errno is set on failure, and on success is
/// what it was, whatever was tried in between.
#[inline]
fn from_c(run: impl FnOnce() -> Result<c_int>) -> c_int {
    let errno = sys::errno();
    match run() {
        Ok(value) => {
            sys::set_errno(errno);
            value
        }
        Err(error) => {
            sys::set_errno(error);
            -1
        }
    }
}
