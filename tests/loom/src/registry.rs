//! The table of descriptors.

#[path = "../../../src/registry/numbers.rs"]
#[allow(dead_code, reason = "for the rest of the library")]
mod numbers;

use crate::sync::{AtomicBool, Ordering};
use crate::{Model, check, spawn};
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use numbers::{Entry, Numbers};

pub(crate) fn models() -> Vec<Model> {
    vec![
        ("numbers::what_is_found_is_whole", what_is_found_is_whole),
        ("numbers::levels_grow_under_the_lock", levels_grow_under_the_lock),
        ("numbers::an_old_tenant_is_not_taken_for_the_new_one", an_old_tenant_is_told),
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
