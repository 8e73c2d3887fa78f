//! A number that goes, from when the libraries are told until it has gone.
//!
//! The thread cannot be cancelled meanwhile, or it would be in the C library's
//! close() with the libraries told of what has not happened. And should a
//! handler leave this by longjmp, or end the thread, the libraries hear that it
//! is over all the same: glibc says so (see `leaving`).
//!
//! Both are written down in the thread. A child that vfork() made runs on its
//! parent's, and may be killed at any moment, so nothing of it is done there.

use crate::leaving::unless_left;
use crate::table::{self, Deed, Fate};
use core::ffi::c_int;

unsafe extern "C" {
    /// Writes the old state before it sets the new one.
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

/// The same number for every C library.
const PTHREAD_CANCEL_DISABLE: c_int = 1;

struct Going {
    number: c_int,
    /// Could the thread be cancelled? Negative: it still can.
    was: c_int,
}

/// Tells of a number, has it go as its fate is, and tells that it has gone.
/// Async-signal-safe, if `go` is; errno is as `go` leaves it.
pub(crate) fn tell_around(number: c_int, deed: Deed, go: impl FnOnce(Fate) -> c_int) -> c_int {
    if !table::is_told(number) {
        return go(Fate::Goes);
    }
    let mut going = Going { number, was: -1 };
    unless_left(&mut going, Going::end, |going| {
        // SAFETY: room for an integer. It fails for no state that there is.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut going.was) };
        let done = go(table::tell(number, deed));
        going.end();
        done
    })
}

impl Going {
    /// Once more, if it is left here itself.
    fn end(&mut self) {
        if self.number >= 0 {
            table::told(self.number);
            // It may be another thread's to close by now.
            self.number = -1;
        }
        if self.was >= 0 {
            // SAFETY: the state that was; the old one is not asked for.
            unsafe { pthread_setcancelstate(self.was, core::ptr::null_mut()) };
        }
    }
}
