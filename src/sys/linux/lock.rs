//! The raw lock under [`crate::sys::Mutex`]: a three-state futex.
//!
//! One word, no table, no allocation, nothing that a forked child could find
//! half-changed but the word itself.

use super::lock_word::LockWord;
use parking_lot::lock_api;

pub(crate) struct RawLock(LockWord);

// SAFETY: mutual exclusion holds because a thread owns the lock only after it
// changed the word from FREE to HELD or CONTENDED in one atomic step, and no
// other thread can do so until unlock() stores FREE.
unsafe impl lock_api::RawMutex for RawLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait asks for it")]
    const INIT: RawLock = RawLock(LockWord::new());

    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock(&self) {
        self.0.lock();
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.0.try_lock()
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.0.is_locked()
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.0.unlock();
    }
}
