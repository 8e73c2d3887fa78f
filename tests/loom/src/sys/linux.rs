//! The platform's lock-free files, and what stands in for the rest.

pub(crate) mod closes;
pub(crate) mod descriptor;
pub(crate) mod epoll;
pub(crate) mod files;
pub(crate) mod forked;
mod futex;
pub(crate) mod keeping;
pub(crate) mod kept;
#[path = "../../../../src/sys/linux/knocker.rs"]
#[allow(dead_code, reason = "for the rest of the library")]
pub(crate) mod knocker;
pub(crate) mod lock;
#[path = "../../../../src/sys/linux/lock_word.rs"]
#[allow(dead_code, reason = "for the rest of the library")]
mod lock_word;
pub(crate) mod outlines;
pub(crate) mod per_process;
pub(crate) mod signals;

use crate::{Model, check, spawn};
use lock_word::LockWord;
use loom::cell::UnsafeCell;
use loom::sync::Arc;

pub(crate) fn lock_models() -> Vec<Model> {
    vec![
        ("lock::one_owner_at_a_time_and_nobody_sleeps_for_ever", one_owner),
        ("lock::whoever_does_not_wait_owns_it_or_not", whoever_does_not_wait),
    ]
}

struct Guarded {
    word: LockWord,
    count: UnsafeCell<u32>,
}

// SAFETY: that is what the models check.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn new() -> Arc<Guarded> {
        Arc::new(Guarded { word: LockWord::new(), count: UnsafeCell::new(0) })
    }

    fn add_as_owner(&self) {
        // SAFETY: loom checks it.
        self.count.with_mut(|count| unsafe { *count += 1 });
        self.word.unlock();
    }
}

fn one_owner() {
    check(4, || {
        let guarded = Guarded::new();
        let threads = [(); 2].map(|()| {
            let guarded = Arc::clone(&guarded);
            spawn(move || {
                guarded.word.lock();
                guarded.add_as_owner();
            })
        });
        guarded.word.lock();
        guarded.add_as_owner();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        guarded.word.lock();
        // SAFETY: loom checks it.
        assert_eq!(guarded.count.with(|count| unsafe { *count }), 3);
    });
}

fn whoever_does_not_wait() {
    check(4, || {
        let guarded = Guarded::new();
        let other = {
            let guarded = Arc::clone(&guarded);
            spawn(move || {
                let owns = guarded.word.try_lock();
                if owns {
                    guarded.add_as_owner();
                }
                owns
            })
        };
        guarded.word.lock();
        guarded.add_as_owner();
        let count = 1 + u32::from(other.join().unwrap());
        guarded.word.lock();
        // SAFETY: loom checks it.
        assert_eq!(guarded.count.with(|there| unsafe { *there }), count);
    });
}
