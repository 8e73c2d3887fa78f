//! What runs around a fork() of the C library's.

use super::kept::{self, Mark};
use super::proc::list_own;
use super::syscall::shut;
use crate::errno::{Errno, Result};

/// Has `handler` called in every child that fork() makes, before fork returns
/// there, and what it needs to know noted before the fork. It must be
/// async-signal-safe.
pub(crate) fn at_fork_in_child(handler: extern "C" fn()) -> Result<()> {
    let before = call(kept::before_fork);
    // SAFETY: plain functions that live as long as the library, which is linked
    // nodelete.
    let rc = unsafe { libc::pthread_atfork(Some(before), None, Some(call(handler))) };
    if rc == 0 { Ok(()) } else { Err(Errno(rc)) }
}

/// libc's binding wants an unsafe function; a safe one is one.
fn call(handler: extern "C" fn()) -> unsafe extern "C" fn() {
    handler
}

/// In a forked child, in the handler: closes everything that the parent keeps,
/// and its queues. Async-signal-safe.
pub(crate) fn disown_in_handler() {
    if kept::disown_all() {
        return;
    }
    // If the list cannot be had, what another thread was making stays open
    // until exec.
    let _ = list_own(&mut |number| {
        if kept::bears(number, Mark::Private) || kept::bears(number, Mark::Queue) {
            shut(number);
        }
    });
}
