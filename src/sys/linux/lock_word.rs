//! The word of a lock, and its three states: those of Ulrich Drepper's "Futexes
//! Are Tricky".
//!
//! One owner at a time: only a step from `FREE` makes an owner, and it is one
//! atomic step. An owner sees what the last one wrote: that one left `FREE` with
//! Release, and every step from `FREE` has Acquire.
//!
//! Nobody sleeps for ever: a thread sleeps only while the word is `CONTENDED`,
//! which the kernel checks as it puts it to sleep, and whoever leaves that
//! behind wakes one sleeper. A thread that has slept, or was about to, cannot
//! know whether others sleep still, so it takes the lock as `CONTENDED`, and
//! wakes the next one when it leaves. If it comes too late to get the lock, it
//! has made the word `CONTENDED` again, so the new owner wakes one.

use super::futex::{self, SPINS};
use crate::sync::{AtomicU32, Ordering, const_fn};

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

pub(super) struct LockWord(AtomicU32);

impl LockWord {
    const_fn! {
        pub(super) fn new() -> LockWord {
            LockWord(AtomicU32::new(FREE))
        }
    }

    #[inline]
    pub(super) fn lock(&self) {
        if !self.try_lock() {
            self.lock_slow();
        }
    }

    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Does anybody own it at this moment?
    #[inline]
    pub(super) fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != FREE
    }

    /// The caller owns it.
    #[inline]
    pub(super) fn unlock(&self) {
        // Release: what the owner wrote is seen by the next one's Acquire.
        if self.0.swap(FREE, Ordering::Release) == CONTENDED {
            futex::wake_one(&self.0);
        }
    }

    #[cold]
    fn lock_slow(&self) {
        for _ in 0..SPINS {
            if self.0.load(Ordering::Relaxed) == FREE && self.try_lock() {
                return;
            }
            core::hint::spin_loop();
        }
        // Acquire: pairs with the Release in `unlock`, whoever unlocked.
        while self.0.swap(CONTENDED, Ordering::Acquire) != FREE {
            futex::wait(&self.0, CONTENDED);
        }
    }
}
