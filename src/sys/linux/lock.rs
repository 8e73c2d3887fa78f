//! The raw lock under [`Mutex`]: a futex that knows its owner.
//!
//! One word, no table, no allocation, nothing that a forked child could find
//! half-changed but the word itself.

use super::futex;
use super::lock_word::LockWord;
use parking_lot::lock_api;

/// A mutex without poisoning over the platform's raw lock.
///
/// parking_lot supplies the mutex and its guard. Its own sleeping table is not
/// used where the kernel has a futex: that table is one for the process, is
/// inherited half-changed by a forked child, and grows by allocations that
/// abort when memory is short.
pub(crate) type Mutex<T> = lock_api::Mutex<RawLock, T>;

pub(crate) struct RawLock(LockWord);

// SAFETY: mutual exclusion holds because a thread owns the lock only after it
// changed the word from FREE to its mark in one atomic step, and no other thread
// can do so until unlock() stores FREE.
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

/// The calling thread's mark; no other living thread has it.
#[inline]
pub(crate) fn thread_mark() -> u32 {
    futex::mark()
}

/// Has the calling thread locked it, in a call that it has not left?
pub(crate) fn is_mine<T>(mutex: &Mutex<T>) -> bool {
    // SAFETY: the raw lock is only asked.
    unsafe { mutex.raw() }.0.is_mine()
}

/// Gives back a lock that the calling thread has taken in a call that it is
/// leaving for good, by cancellation or by longjmp: what it was doing there will
/// never be done. `false`: it has not.
pub(crate) fn reclaim<T>(mutex: &Mutex<T>, mend: impl FnOnce(&mut T)) -> bool {
    // SAFETY: the raw lock is only asked.
    let raw = unsafe { mutex.raw() };
    if !raw.0.is_mine() {
        // It may have slept for it, and been the one that was woken.
        raw.0.wake_another();
        return false;
    }
    // SAFETY: this thread has the lock, and the frame that borrowed the data is
    // one that never runs again.
    mend(unsafe { &mut *mutex.data_ptr() });
    // SAFETY: as above; the guard is never dropped.
    unsafe { mutex.force_unlock() };
    true
}
