//! What is said of each number, for whoever closes one.

#[path = "../../../../../src/sys/linux/words.rs"]
#[allow(dead_code, reason = "for the rest of the library")]
pub(crate) mod words;

/// Memory for as many numbers as the models have.
mod syscall {
    use crate::errno::Result;
    use crate::sync::AtomicU64;

    pub(super) fn map<T>(_: usize) -> Result<*mut AtomicU64> {
        let words: Vec<_> = (0..8).map(|_| AtomicU64::new(0)).collect();
        Ok(words.leak().as_mut_ptr())
    }

    pub(super) unsafe fn unmap(_: *mut AtomicU64, _: usize) {}
}

use crate::sys::contract::{Descriptor, Watchers};
use crate::{Model, check, spawn};

pub(crate) fn models() -> Vec<Model> {
    vec![
        ("words::an_array_that_is_found_is_whole", an_array_is_whole),
        ("words::a_close_tells_whoever_began_to_watch_before_it", a_close_tells),
        ("words::one_that_ends_a_watch_leaves_the_other", one_that_ends_a_watch),
        ("words::of_two_closes_each_ends_a_life", each_ends_a_life),
    ]
}

const NUMBER: Descriptor = 3;

/// The preload library has been found.
pub(crate) fn begin() {
    words::make().unwrap();
}

/// Two threads make it, and a third one looks.
fn an_array_is_whole() {
    check(4, || {
        let others = [4, 6].map(|number| {
            spawn(move || {
                words::make().unwrap();
                words::begin_queue(number);
            })
        });
        if words::is_told() {
            assert_eq!(words::life(4), 0);
        }
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(words::next_known(0), Some(4));
        assert_eq!(words::next_known(5), Some(6));
        assert_eq!(words::next_known(7), None);
    });
}

fn is_told(watchers: Watchers, home: u32) -> bool {
    watchers == Watchers::Any || watchers == Watchers::One(home)
}

/// Two queues begin to watch a number that is being closed. Whoever began in
/// its last life is told.
fn a_close_tells() {
    check(4, || {
        begin();
        let others = [0, 1].map(|home| spawn(move || (home, words::begin_watch(NUMBER, home))));
        let told = words::end_life(NUMBER);
        for other in others {
            let (home, life) = other.join().unwrap();
            assert!(life == words::life(NUMBER) || is_told(told, home));
        }
        assert_eq!(words::life(NUMBER), 1);
    });
}

fn one_that_ends_a_watch() {
    check(4, || {
        begin();
        words::begin_watch(NUMBER, 0);
        let other = spawn(|| words::begin_watch(NUMBER, 1));
        words::end_watch(NUMBER, 0);
        other.join().unwrap();
        assert!(is_told(words::end_life(NUMBER), 1));
    });
}

/// As when a file is closed, another one gets the number, and is closed too. The
/// one watcher there was is told once.
fn each_ends_a_life() {
    check(4, || {
        begin();
        assert_eq!(words::begin_watch(NUMBER, 0), 0);
        let other = spawn(|| words::end_life(NUMBER));
        let told = [words::end_life(NUMBER), other.join().unwrap()];
        assert_eq!(told.iter().filter(|told| is_told(**told, 0)).count(), 1);
        assert_eq!(words::life(NUMBER), 2);
    });
}
