//! One disposition of the application's, which a hook stands for.
//!
//! Who writes: the holder of the ledger's lock, once, before the hook is set; so
//! whoever finds the hook over a signal, be it in a forked child, finds the
//! whole. Who reads: the handler, at any moment. `is_there` is stored last with
//! Release and loaded first with Acquire, and after that nothing changes but
//! `is_spent`, which is a word of its own.

use super::kernel::Action;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, const_fn};

#[derive(Debug)]
pub(super) struct Wanted {
    /// The rest is written, and will not change.
    is_there: AtomicBool,
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
                is_there: AtomicBool::new(false),
                is_spent: AtomicBool::new(false),
                handler: AtomicUsize::new(0),
                flags: AtomicU32::new(0),
                mask: AtomicU64::new(0),
            }
        }
    }

    pub(super) fn get(&self) -> Option<Action> {
        // Acquire: pairs with the Release in `set`.
        self.is_there.load(Ordering::Acquire).then(|| Action {
            handler: self.handler.load(Ordering::Relaxed),
            flags: self.flags.load(Ordering::Relaxed).cast_signed(),
            mask: self.mask.load(Ordering::Relaxed),
        })
    }

    pub(super) fn set(&self, action: &Action) {
        self.handler.store(action.handler, Ordering::Relaxed);
        self.flags.store(action.flags.cast_unsigned(), Ordering::Relaxed);
        self.mask.store(action.mask, Ordering::Relaxed);
        self.is_there.store(true, Ordering::Release);
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
