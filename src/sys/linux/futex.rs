//! Sleeping on a word until somebody wakes whoever does.

use crate::sync::AtomicU32;

/// How often to look again before sleeping for a lock. A critical section is
/// about one system call long, so a short spin often sees its end.
pub(super) const SPINS: u32 = 100;

/// The calling thread's mark: even, not 0, and no other living thread's. It is
/// where the C library keeps the thread, which takes 64 bytes at least; two of
/// them would have to lie 128 GiB apart to share one.
#[inline]
pub(super) fn mark() -> u32 {
    // SAFETY: no arguments, cannot fail; async-signal-safe in all C libraries.
    let thread = unsafe { libc::pthread_self() } as usize;
    (((thread >> 6) as u32) << 1).max(2)
}

/// Sleeps while the word is `expected`; may return without reason. To whoever
/// calls [`wake_one`], the look and the falling asleep are one step. Through
/// syscall(), which is no cancellation point: a thread that waits for a lock
/// must come out owning it.
pub(super) fn wait(word: &AtomicU32, expected: u32) {
    // SAFETY: the word outlives the call, and the kernel only compares it.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            core::ptr::null::<libc::timespec>(),
        )
    };
}

pub(super) fn wake_one(word: &AtomicU32) {
    // SAFETY: FUTEX_WAKE uses the address as a key and does not read it.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            1,
        )
    };
}
