//! The raw lock under [`crate::sys::Mutex`]: a three-state futex.
//!
//! One word, no table, no allocation, nothing that a forked child could find
//! half-changed but the word itself. The states are those of Ulrich Drepper's
//! "Futexes Are Tricky": a thread that had to sleep takes the lock as
//! `CONTENDED`, because it cannot know whether others sleep still.

use crate::sync::{AtomicU32, Ordering};
use parking_lot::lock_api;

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// How often to look again before sleeping. A critical section is about one
/// system call long, so a short spin often sees its end.
const SPINS: u32 = 100;

pub(crate) struct RawLock {
    state: AtomicU32,
}

impl RawLock {
    #[cold]
    fn lock_slow(&self) {
        for _ in 0..SPINS {
            if self.state.load(Ordering::Relaxed) == FREE && self.try_take(HELD) {
                return;
            }
            core::hint::spin_loop();
        }
        // Acquire: pairs with the Release in unlock, whoever unlocked.
        while self.state.swap(CONTENDED, Ordering::Acquire) != FREE {
            futex_wait(&self.state, CONTENDED);
        }
    }

    fn try_take(&self, as_state: u32) -> bool {
        self.state.compare_exchange(FREE, as_state, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

// SAFETY: mutual exclusion holds because a thread owns the lock only after it
// changed the word from FREE to HELD or CONTENDED in one atomic step, and no
// other thread can do so until unlock() stores FREE.
unsafe impl lock_api::RawMutex for RawLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait asks for it")]
    const INIT: RawLock = RawLock { state: AtomicU32::new(FREE) };

    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock(&self) {
        if !self.try_take(HELD) {
            self.lock_slow();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.try_take(HELD)
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.state.load(Ordering::Relaxed) != FREE
    }

    #[inline]
    unsafe fn unlock(&self) {
        // Release: what the owner wrote is seen by the next one's Acquire.
        if self.state.swap(FREE, Ordering::Release) == CONTENDED {
            futex_wake_one(&self.state);
        }
    }
}

/// Sleeps while the word is `expected`; may return without reason. Through
/// syscall(), which is no cancellation point: a thread that waits for a lock
/// must come out owning it.
fn futex_wait(word: &AtomicU32, expected: u32) {
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

fn futex_wake_one(word: &AtomicU32) {
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
