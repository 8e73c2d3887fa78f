//! What runs around a fork() of the C library's.

use super::kept::{self, Holders, Mark};
use super::proc::{list_numbers, list_own};
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
/// and its queues. `None`: the child has made a call before, in a handler that
/// runs before ours, which closed what was written down; what is there by now is
/// its own. `has_begun`: has it by now? Async-signal-safe.
pub(crate) fn disown_in_handler(parents: Option<Holders>, has_begun: fn() -> bool) {
    if let Some(parents) = parents {
        kept::disown(parents, true);
    }
    if kept::was_quiet() || !is_alone() {
        return;
    }
    kept::nobody_is_busy();
    // A thread that such a handler started may have begun since, and be gone.
    if parents.is_some() && !has_begun() {
        kept::disown_all();
    }
    // If the list cannot be had, what another thread was making stays open
    // until exec.
    let _ = list_own(&mut |number| {
        let is_left = kept::bears(number, Mark::Private) || kept::bears(number, Mark::Queue);
        if is_left && !kept::is_written_down(number) {
            shut(number);
        }
    });
}

/// Has the process one thread? (A fork handler may have started another.)
/// Async-signal-safe.
fn is_alone() -> bool {
    let mut threads = 0;
    list_numbers(c"/proc/self/task", &mut |_| threads += 1).is_ok() && threads == 1
}
