//! Which threads are closing which queue's number, so that a handler knows when
//! it is on top of its own thread's close.

#![forbid(unsafe_code)]

use crate::sync::{AtomicU64, Ordering};
use crate::sys::{self, Descriptor};

/// An entry is the number and the thread's mark, or 0.
///
/// Who writes: any thread, its own entries alone: it takes one that is 0 by a
/// compare-and-swap, and makes it 0 again. Who reads: any thread, for entries of
/// its own, so nothing need be ordered. Whoever finds no place is taken for
/// another thread. A close that was left by longjmp is over, says the C library
/// (glibc); what is left behind where it does not say so keeps the thread from
/// waiting for itself, and no more.
static CLOSERS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

fn own_entry(number: Descriptor) -> u64 {
    u64::from(number.cast_unsigned()) << 32 | u64::from(sys::thread_mark())
}

pub(super) fn begin_own(number: Descriptor) {
    let mine = own_entry(number);
    let _ = CLOSERS.iter().find(|entry| {
        entry.compare_exchange(0, mine, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    });
}

pub(super) fn end_own(number: Descriptor) {
    let mine = own_entry(number);
    CLOSERS.iter().filter(|entry| entry.load(Ordering::Relaxed) == mine).for_each(|entry| {
        entry.store(0, Ordering::Relaxed);
    });
}

/// Is the calling thread, a handler on top of it, closing this number itself?
pub(super) fn is_own(number: Descriptor) -> bool {
    let mine = own_entry(number);
    CLOSERS.iter().any(|entry| entry.load(Ordering::Relaxed) == mine)
}

/// In a forked child: whoever was closing is not there to end it.
pub(super) fn end_all() {
    CLOSERS.iter().for_each(|entry| entry.store(0, Ordering::Relaxed));
    sys::end_all_closing();
}
