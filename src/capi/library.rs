//! EVFILT_LIBKQUEUE: questions to the library, and its settings.
//!
//! They are the process's, not a queue's, and some carry pointers in `data`;
//! so they are answered here, at the edge, and never reach a queue.

use super::log;
use crate::errno::{Errno, Result};
use crate::event::{
    EV_ADD, EV_RECEIPT, Kevent, NOTE_DEBUG, NOTE_DEBUG_FUNC, NOTE_DEBUG_PREFIX,
    NOTE_FILE_POLL_INTERVAL, NOTE_FORK_CLEANUP, NOTE_THREAD_SAFE, NOTE_VERSION, NOTE_VERSION_STR,
};
use crate::registry;
use crate::sync::{AtomicBool, Ordering};
use core::ffi::{CStr, c_char};

/// NOTE_THREAD_SAFE as last set. Recorded only: there is no other way here.
static THREAD_SAFE: AtomicBool = AtomicBool::new(true);

/// Answers one change. An entry for the caller, if there is something to say.
pub(super) fn command(change: &Kevent) -> Result<Option<Kevent>> {
    if change.flags & EV_ADD == 0 {
        // There is no knote that could be deleted, enabled or disabled.
        return Ok(None);
    }
    let reply = Kevent { flags: EV_ADD | EV_RECEIPT, ..*change };
    let on = change.data > 0;
    let was = match change.fflags {
        NOTE_VERSION => return Ok(Some(Kevent { data: version(), ..reply })),
        NOTE_VERSION_STR => {
            let udata = VERSION.as_ptr().cast_mut().cast();
            return Ok(Some(Kevent { udata, ..reply }));
        }
        NOTE_THREAD_SAFE => THREAD_SAFE.swap(on, Ordering::Relaxed),
        NOTE_FORK_CLEANUP => registry::close_in_children(on),
        NOTE_DEBUG => log::switch(on),
        NOTE_DEBUG_PREFIX => {
            log::set_prefix(prefix(change.data));
            false
        }
        NOTE_DEBUG_FUNC => {
            log::set_function(change.data.cast_unsigned());
            false
        }
        NOTE_FILE_POLL_INTERVAL => return Err(Errno::ENOSYS),
        _ => return Err(Errno::EINVAL),
    };
    let asked = change.flags & EV_RECEIPT != 0;
    Ok(asked.then_some(Kevent { data: isize::from(was), ..reply }))
}

/// Major, minor, patch and release, a byte each.
fn version() -> isize {
    let mut parts = env!("CARGO_PKG_VERSION").split('.').map(|part| part.parse().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    part() << 24 | part() << 16 | part() << 8
}

/// The version as a C string.
static VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => c"",
    };

/// The string that NOTE_DEBUG_PREFIX points to.
fn prefix(data: isize) -> Option<&'static CStr> {
    let text: *const c_char = core::ptr::with_exposed_provenance(data.cast_unsigned());
    if text.is_null() {
        return None;
    }
    // SAFETY: the interface says that `data` is a string, or 0. It is copied
    // before the call returns.
    Some(unsafe { CStr::from_ptr(text) })
}
