//! The table of descriptors, and what a forked child does with its parent's
//! registry: the lines are those of `Registry::renew`, `create` and `own`.

#[path = "../../../src/registry/numbers.rs"]
#[allow(dead_code, reason = "for the rest of the library")]
mod numbers;

use crate::sync::{AtomicBool, AtomicU32, Ordering};
use crate::sys;
use crate::sys::linux::closes::{self, words};
use crate::sys::linux::forked::{PerProcess, wiped};
use crate::{Model, check, spawn};
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use numbers::{Entry, Numbers};

pub(crate) fn models() -> Vec<Model> {
    vec![
        ("numbers::what_is_found_is_whole", what_is_found_is_whole),
        ("numbers::levels_grow_under_the_lock", levels_grow_under_the_lock),
        ("numbers::an_old_tenant_is_not_taken_for_the_new_one", an_old_tenant_is_told),
        ("numbers::one_that_is_being_closed_is_let_close", one_is_let_close),
        ("reclaim::nothing_of_the_parents_is_found", nothing_of_the_parents),
        ("reclaim::what_a_missing_thread_was_changing_is_let_be", what_was_changing),
    ]
}

/// Homes are filled before they are entered, and not locked by a reader that
/// only looks them up.
fn what_is_found_is_whole() {
    check(4, || {
        let numbers = Arc::new((Numbers::new(), UnsafeCell::new(0)));
        let maker = {
            let numbers = Arc::clone(&numbers);
            spawn(move || {
                let (numbers, home) = &*numbers;
                // SAFETY: nobody reads it before it is entered.
                home.with_mut(|home| unsafe { *home = 7 });
                numbers.prepare(3).unwrap();
                numbers.set(3, Some(Entry { home: 0, tenant: 1 }));
            })
        };
        let (table, home) = &*numbers;
        if let Some(entry) = table.get(3) {
            assert_eq!(entry, Entry { home: 0, tenant: 1 });
            // SAFETY: loom checks it.
            assert_eq!(home.with(|home| unsafe { *home }), 7);
        }
        maker.join().unwrap();
        assert!(table.get(3).is_some());
    });
}

/// Two numbers of one leaf and one of another, while a reader goes by.
fn levels_grow_under_the_lock() {
    check(3, || {
        let numbers = Arc::new((Numbers::new(), Mutex::new(())));
        let makers = [(5i8, 0u32), (6, 1), (40, 2)].map(|(number, home)| {
            let numbers = Arc::clone(&numbers);
            move || {
                let _lock = numbers.1.lock().unwrap();
                numbers.0.prepare(number).unwrap();
                numbers.0.set(number, Some(Entry { home, tenant: 0 }));
            }
        });
        let [first, second, third] = makers;
        let threads = [spawn(first), spawn(second)];
        third();
        let _ = numbers.0.get(5).map(|entry| assert_eq!(entry.home, 0));
        for thread in threads {
            thread.join().unwrap();
        }
        let mut seen = Vec::new();
        numbers.0.for_each(|number, entry| seen.push((number, entry.home)));
        assert_eq!(seen, [(5, 0), (6, 1), (40, 2)]);
    });
}

/// A queue leaves, another moves into its home and gets its number. A reader
/// that found the old entry learns under the home's lock that it is old; one
/// that found the new one finds the new queue.
fn an_old_tenant_is_told() {
    check(4, || {
        struct Shared {
            numbers: Numbers,
            home: Mutex<u32>,
            second_is_in: AtomicBool,
        }
        let shared = Arc::new(Shared {
            numbers: Numbers::new(),
            home: Mutex::new(0),
            second_is_in: AtomicBool::new(false),
        });
        shared.numbers.prepare(3).unwrap();
        shared.numbers.set(3, Some(Entry { home: 0, tenant: 0 }));
        let mover = {
            let shared = Arc::clone(&shared);
            spawn(move || {
                // As `ask_after`, `Home::clear` and `move_in`.
                shared.numbers.set(3, None);
                *shared.home.lock().unwrap() += 1;
                shared.second_is_in.store(true, Ordering::Relaxed);
                shared.numbers.set(3, Some(Entry { home: 0, tenant: 1 }));
            })
        };
        if let Some(entry) = shared.numbers.get(3) {
            let tenant = *shared.home.lock().unwrap();
            if entry.tenant == 1 {
                assert_eq!(tenant, 1);
                assert!(shared.second_is_in.load(Ordering::Relaxed));
            }
        }
        mover.join().unwrap();
    });
}

/// A thread closes a queue's number, and another one does not find the entry.
/// Once it has waited, the number is closed. The lines are those of
/// `Registry::closing`, `closed` and `let_close`; the mutex is the kernel.
fn one_is_let_close() {
    check(4, || {
        let shared = Arc::new((Numbers::new(), Mutex::new(true)));
        let entry = Entry { home: 0, tenant: 0 };
        closes::begin();
        shared.0.prepare(3).unwrap();
        shared.0.set(3, Some(entry));
        words::begin_queue(3);
        let closer = {
            let shared = Arc::clone(&shared);
            spawn(move || {
                words::end_life(3);
                words::begin_closing(3);
                shared.0.remove(3, entry);
                words::end_queue(3);
                *shared.1.lock().unwrap() = false;
                words::end_closing(3);
            })
        };
        if shared.0.get(3).is_none() {
            while words::is_closing(3) {
                loom::thread::yield_now();
            }
            let is_open = *shared.1.lock().unwrap();
            assert!(!is_open);
        }
        closer.join().unwrap();
    });
}

const PARENT: u32 = 1;
const CHILD: u32 = 2;

/// A registry of one queue, under one number.
struct Registry {
    owner: AtomicU32,
    numbers: Numbers,
    roster: sys::Mutex<()>,
    /// Whose queue lives there.
    home: UnsafeCell<u32>,
}

// SAFETY: that is what the models check.
unsafe impl Sync for Registry {}

impl Registry {
    fn new(owner: u32) -> Registry {
        Registry {
            owner: AtomicU32::new(owner),
            numbers: Numbers::new(),
            roster: sys::Mutex::new(()),
            home: UnsafeCell::new(0),
        }
    }

    fn create(&self, process: u32) {
        let _roster = self.roster.lock();
        if self.numbers.get(3).is_none() {
            self.move_in(process);
            self.numbers.prepare(3).unwrap();
            self.numbers.set(3, Some(Entry { home: 0, tenant: process }));
        }
    }

    fn move_in(&self, process: u32) {
        // SAFETY: loom checks it.
        self.home.with_mut(|home| unsafe { *home = process });
    }

    fn renew(&self) -> bool {
        let Some(_roster) = self.roster.try_lock() else { return false };
        self.owner.store(CHILD, Ordering::Relaxed);
        self.numbers.for_each(|number, _| self.numbers.set(number, None));
        self.move_in(0);
        true
    }

    /// As a close does, and any call by a number.
    fn look(&self) {
        assert_eq!(self.owner.load(Ordering::Relaxed), CHILD);
        if let Some(entry) = self.numbers.get(3) {
            assert_eq!(entry.tenant, CHILD);
            // SAFETY: loom checks it.
            assert_eq!(self.home.with(|home| unsafe { *home }), CHILD);
        }
    }
}

/// What the parent's only thread leaves to the child.
fn left_to_child(leave: impl FnOnce(&'static Registry)) -> Arc<PerProcess<Registry>> {
    wiped::begin();
    let registry = Arc::new(PerProcess::new());
    let parents = registry.start(Registry::renew, || Registry::new(PARENT)).unwrap();
    parents.create(PARENT);
    leave(parents);
    wiped::fork();
    registry
}

/// Two threads of a child come with a first call, and a third one closes
/// something.
fn nothing_of_the_parents() {
    check(3, || {
        let registry = left_to_child(|_| ());
        let start = |registry: &PerProcess<Registry>| {
            let mine = registry.start(Registry::renew, || Registry::new(CHILD)).unwrap();
            mine.create(CHILD);
            mine.look();
        };
        let [other, closer] = [(); 2].map(|()| Arc::clone(&registry));
        let threads = [
            spawn(move || start(&other)),
            spawn(move || {
                closer.get().into_iter().for_each(Registry::look);
            }),
        ];
        start(&registry);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// A thread that the child does not have was inside.
fn what_was_changing() {
    check(3, || {
        let registry = left_to_child(|parents| {
            std::mem::forget(parents.roster.lock());
            parents.move_in(7);
        });
        let parents: *const Registry = registry.inherited().unwrap();
        let other = {
            let registry = Arc::clone(&registry);
            spawn(move || {
                registry.start(Registry::renew, || Registry::new(CHILD)).unwrap().create(CHILD);
            })
        };
        let mine = registry.start(Registry::renew, || Registry::new(CHILD)).unwrap();
        mine.create(CHILD);
        mine.look();
        assert!(!std::ptr::eq(mine, parents));
        other.join().unwrap();
    });
}
