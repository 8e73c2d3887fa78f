//! The word of a lock: whose it is, and whether others sleep. As the three
//! states of Ulrich Drepper's "Futexes Are Tricky", but that an owner leaves its
//! mark, so that a thread which does not come back from a call can be asked
//! whether it has left the lock behind.
//!
//! One owner at a time: only a step from `FREE` makes an owner, and it is one
//! atomic step, its mark included. An owner sees what the last one wrote: that
//! one left `FREE` with Release, and every step from `FREE` has Acquire.
//!
//! Nobody sleeps for ever: a thread sleeps only while the word has `CONTENDED`,
//! which the kernel checks as it puts it to sleep, and whoever leaves that
//! behind wakes one sleeper. A thread that has slept, or was about to, cannot
//! know whether others sleep still, so it takes the lock as `CONTENDED`, and
//! wakes the next one when it leaves. If it comes too late to get the lock, it
//! makes the word `CONTENDED` again, so the new owner wakes one.

use super::futex::{self, SPINS};
use crate::sync::{AtomicU32, Ordering, const_fn};

const FREE: u32 = 0;
/// A bit beside the owner's mark, which leaves it free.
const CONTENDED: u32 = 1;

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
        let mine = futex::mark();
        self.0.compare_exchange(FREE, mine, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Has the calling thread taken it, and not let go of it?
    pub(super) fn is_mine(&self) -> bool {
        self.0.load(Ordering::Relaxed) & !CONTENDED == futex::mark()
    }

    pub(super) fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != FREE
    }

    /// The caller owns it.
    #[inline]
    pub(super) fn unlock(&self) {
        // Release: what the owner wrote is seen by the next one's Acquire.
        if self.0.swap(FREE, Ordering::Release) & CONTENDED != 0 {
            futex::wake_one(&self.0);
        }
    }

    /// The calling thread does not take the lock, though it may have been woken
    /// for that: another one that sleeps looks instead.
    pub(super) fn wake_another(&self) {
        futex::wake_one(&self.0);
    }

    #[cold]
    fn lock_slow(&self) {
        for _ in 0..SPINS {
            if self.0.load(Ordering::Relaxed) == FREE && self.try_lock() {
                return;
            }
            core::hint::spin_loop();
        }
        let mine = futex::mark() | CONTENDED;
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let next = if seen == FREE { mine } else { seen | CONTENDED };
            // Acquire: pairs with the Release in `unlock`, whoever unlocked.
            let step = self.0.compare_exchange(seen, next, Ordering::Acquire, Ordering::Relaxed);
            seen = match step {
                Ok(FREE) => return,
                Ok(_) => {
                    futex::wait(&self.0, next);
                    self.0.load(Ordering::Relaxed)
                }
                Err(other) => other,
            };
        }
    }
}
