//! One disposition of the application's, which a hook stands for.
//!
//! Who writes: the holder of the ledger's lock, or whoever calls sigaction()
//! through the preload library, which takes no lock; once, before the hook is
//! set; so whoever finds the hook over a signal, be it in a forked child, finds
//! the whole. Of two writers one takes the place, by a compare-and-swap, and the
//! other looks for another. Who reads: the handler, at any moment. `state` is
//! stored last with Release and loaded first with Acquire, and after that
//! nothing changes but `is_spent`, which is a word of its own.

use super::kernel::Action;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, const_fn};

const EMPTY: u8 = 0;
/// Somebody is writing it. Should that be a thread that a forked child does
/// not have, it is not used any more.
const TAKEN: u8 = 1;
const THERE: u8 = 2;

#[derive(Debug)]
pub(super) struct Wanted {
    /// [`EMPTY`], [`TAKEN`], or [`THERE`]: the rest is written, and will not
    /// change.
    state: AtomicU8,
    /// SA_RESETHAND: its one signal has come.
    is_spent: AtomicBool,
    handler: AtomicUsize,
    flags: AtomicU32,
    mask: AtomicU64,
}

impl Wanted {
    const_fn! {
        pub(super) fn new() -> Wanted {
            Wanted {
                state: AtomicU8::new(EMPTY),
                is_spent: AtomicBool::new(false),
                handler: AtomicUsize::new(0),
                flags: AtomicU32::new(0),
                mask: AtomicU64::new(0),
            }
        }
    }

    pub(super) fn get(&self) -> Option<Action> {
        // Acquire: pairs with the Release in `take`.
        (self.state.load(Ordering::Acquire) == THERE).then(|| Action {
            handler: self.handler.load(Ordering::Relaxed),
            flags: self.flags.load(Ordering::Relaxed).cast_signed(),
            mask: self.mask.load(Ordering::Relaxed),
        })
    }

    /// Writes it down here, if nothing is.
    pub(super) fn take(&self, action: &Action) -> bool {
        let taken = self.state.compare_exchange(EMPTY, TAKEN, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_err() {
            return false;
        }
        self.handler.store(action.handler, Ordering::Relaxed);
        self.flags.store(action.flags.cast_unsigned(), Ordering::Relaxed);
        self.mask.store(action.mask, Ordering::Relaxed);
        self.state.store(THERE, Ordering::Release);
        true
    }

    pub(super) fn is_spent(&self) -> bool {
        self.is_spent.load(Ordering::Acquire)
    }

    /// Its one signal has come. Of two threads at once, one is the first.
    pub(super) fn spend(&self) -> bool {
        !self.is_spent.swap(true, Ordering::AcqRel)
    }

    /// The application has set it (again).
    pub(super) fn renew(&self) {
        self.is_spent.store(false, Ordering::Release);
    }
}
