//! The kernel's futex: a look and falling asleep in one step.

use crate::sync::{AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};

/// One look before sleeping shows what a hundred would.
pub(super) const SPINS: u32 = 1;

loom::lazy_static! {
    static ref SLEEPERS: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
}

/// Marks of threads of one run and of others need not differ.
static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);

loom::thread_local! {
    static MARK: u32 = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) << 1;
}

pub(super) fn mark() -> u32 {
    MARK.with(|mark| *mark)
}

pub(super) fn wait(word: &AtomicU32, expected: u32) {
    let asleep = SLEEPERS.0.lock().unwrap();
    if word.load(Ordering::Relaxed) == expected {
        drop(SLEEPERS.1.wait(asleep).unwrap());
    }
}

pub(super) fn wake_one(_: &AtomicU32) {
    let _asleep = SLEEPERS.0.lock().unwrap();
    SLEEPERS.1.notify_one();
}
