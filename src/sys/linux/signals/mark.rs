//! Was a wait interrupted in vain?
//!
//! Natively a signal that the application ignores interrupts nothing. Here it
//! is hooked, and the kernel ends the wait for it. So the handler leaves a mark
//! for the thread that it ran on, and the thread looks at it when its wait was
//! interrupted.
//!
//! The marks are a few words, found by a hash of the thread's address: no
//! thread-local memory, which may be allocated at its first use, is touched in
//! a handler. Two threads of one hash overwrite each other's mark, and then a
//! wait ends with EINTR for nothing, which programs must bear anyway. A thread
//! that never comes back from its wait leaves nothing that would harm.

use crate::sync::{AtomicUsize, Ordering};

const MARKS: usize = 256;

static MAILBOXES: [AtomicUsize; MARKS] = [const { AtomicUsize::new(0) }; MARKS];

/// Beside the thread's address, which is even: a handler of the application's
/// has run as well, so the wait must end.
const HANDLED: usize = 1;

/// The calling thread's address, which is in a register of its own.
fn myself() -> usize {
    // SAFETY: no arguments, cannot fail.
    (unsafe { libc::pthread_self() }) as usize & !HANDLED
}

fn mailbox(thread: usize) -> &'static AtomicUsize {
    // Threads' stacks, and so their addresses, are pages apart; the first
    // thread's is anywhere.
    let hash = thread >> 6 ^ thread >> 12 ^ thread >> 20;
    // The index is always good.
    MAILBOXES.get(hash % MARKS).unwrap_or(&MAILBOXES[0])
}

/// In the handler: an ignored signal has interrupted this thread.
///
/// Relaxed here and below: a mark is read by the thread whose handler wrote it.
pub(super) fn ignored() {
    let thread = myself();
    let mailbox = mailbox(thread);
    if mailbox.load(Ordering::Relaxed) != thread | HANDLED {
        mailbox.store(thread, Ordering::Relaxed);
    }
}

/// In the handler: the application's own handler runs on this thread.
pub(super) fn handled() {
    let thread = myself();
    mailbox(thread).store(thread | HANDLED, Ordering::Relaxed);
}

/// The calling thread is about to wait: what was before does not count.
pub(super) fn clear() {
    let thread = myself();
    let mailbox = mailbox(thread);
    if mailbox.load(Ordering::Relaxed) & !HANDLED == thread {
        mailbox.store(0, Ordering::Relaxed);
    }
}

/// Was this thread interrupted by ignored signals alone?
pub(super) fn is_in_vain() -> bool {
    let thread = myself();
    mailbox(thread).load(Ordering::Relaxed) == thread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_of_the_applications_counts_more_than_what_is_ignored() {
        clear();
        assert!(!is_in_vain());
        ignored();
        assert!(is_in_vain());
        handled();
        assert!(!is_in_vain());
        ignored();
        assert!(!is_in_vain());
        clear();
        ignored();
        assert!(is_in_vain());
        clear();
    }
}
