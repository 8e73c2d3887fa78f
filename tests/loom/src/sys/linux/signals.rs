//! Signals: counted, and told.
//!
//! The lines around the count are those of `Signals` in `signals/mod.rs`:
//! `watch`, `rung` and `next`; and of `Ledger::node`.

#[path = "../../../../../src/sys/linux/signals/count.rs"]
#[allow(dead_code, reason = "for the rest of the library")]
mod count;
#[path = "../../../../../src/sys/linux/signals/wanted.rs"]
mod wanted;

/// A disposition, as the library's.
mod kernel {
    #[derive(Copy, Clone, PartialEq, Eq, Debug)]
    pub(super) struct Action {
        pub(super) handler: usize,
        pub(super) flags: i32,
        pub(super) mask: u64,
    }
}

use super::descriptor::Private;
use super::epoll;
use super::knocker::Knocker;
use crate::sync::{AtomicUsize, Ordering};
use crate::{Model, check, spawn};
use count::{Count, Node};
use kernel::Action;
use loom::sync::Arc;
use loom::thread::JoinHandle;
use wanted::Wanted;

pub(crate) fn models() -> Vec<Model> {
    vec![
        ("signals::one_that_crosses_a_new_watch_is_not_missed", one_that_crosses),
        ("signals::one_that_crosses_a_node_used_again_is_not_missed", one_that_crosses_again),
        ("signals::each_is_counted_and_told", each_is_told),
        ("signals::a_hook_that_is_seen_finds_its_disposition", a_hook_that_is_seen),
        ("signals::a_handler_for_one_signal_runs_once", runs_once),
    ]
}

const RUNG: u64 = 7;

struct Queue {
    set: crate::sys::Descriptor,
    knocker: Knocker,
}

impl Queue {
    fn new() -> Queue {
        let set = epoll::create_private().unwrap().number();
        let knocker = Knocker::new(set, RUNG, &Private::new(epoll::BELL)).unwrap();
        Queue { set, knocker }
    }

    /// Waits until the count is no longer what it was; what it is.
    fn wait_for_more(&self, count: &Count, told: u64) -> u64 {
        loop {
            assert_eq!(epoll::wait(self.set), [RUNG]);
            self.knocker.quench().unwrap();
            let now = count.total();
            if now != told {
                return now;
            }
        }
    }
}

fn new_node(count: &Count) -> &'static Node {
    let node = Box::leak(Box::new(Node::new()));
    count.put_first(node);
    node
}

fn arrive(count: &Arc<Count>) -> JoinHandle<()> {
    let count = Arc::clone(count);
    spawn(move || count.one_more(None))
}

/// It is in the count that the knote starts from, or the queue is rung for it.
fn one_that_crosses() {
    check(4, || {
        let count = Arc::new(Count::new());
        let queue = Queue::new();
        let signal = arrive(&count);
        let node = new_node(&count);
        node.lead_to(Some(queue.knocker.knock()));
        let told = count.total();
        if told == 0 {
            assert_eq!(queue.wait_for_more(&count, told), 1);
        }
        signal.join().unwrap();
    });
}

/// The same with a node that another queue had before.
fn one_that_crosses_again() {
    check(4, || {
        let count = Arc::new(Count::new());
        let queue = Queue::new();
        let node = new_node(&count);
        let signal = arrive(&count);
        let watcher = {
            let count = Arc::clone(&count);
            spawn(move || {
                node.lead_to(Some(queue.knocker.knock()));
                let told = count.total();
                if told == 0 {
                    assert_eq!(queue.wait_for_more(&count, told), 1);
                }
            })
        };
        signal.join().unwrap();
        watcher.join().unwrap();
    });
}

fn each_is_told() {
    check(3, || {
        let count = Arc::new(Count::new());
        let queue = Queue::new();
        // Ours stands behind one that leads to nobody.
        new_node(&count).lead_to(Some(queue.knocker.knock()));
        new_node(&count);
        let signals = [arrive(&count), arrive(&count)];
        let mut told = 0;
        while told < 2 {
            told = queue.wait_for_more(&count, told);
        }
        signals.into_iter().for_each(|signal| signal.join().unwrap());
        assert_eq!(count.total(), 2);
    });
}

const ACTION: Action = Action { handler: 5, flags: 6, mask: 7 };

/// The kernel calls a hook only after it has been set, which is after its
/// disposition was written; the number stands for that.
fn a_hook_that_is_seen() {
    check(4, || {
        let shared = Arc::new((Wanted::new(), AtomicUsize::new(0)));
        let setter = {
            let shared = Arc::clone(&shared);
            spawn(move || {
                shared.0.take(&ACTION);
                shared.1.store(1, Ordering::Release);
            })
        };
        // One that looks without being called sees all of it or nothing.
        assert!(shared.0.get().is_none_or(|found| found == ACTION));
        if shared.1.load(Ordering::Acquire) == 1 {
            assert_eq!(shared.0.get(), Some(ACTION));
        }
        setter.join().unwrap();
    });
}

fn runs_once() {
    check(4, || {
        let wanted = Arc::new(Wanted::new());
        assert!(wanted.take(&ACTION));
        wanted.renew();
        let other = {
            let wanted = Arc::clone(&wanted);
            spawn(move || u32::from(wanted.spend()))
        };
        let runs = u32::from(wanted.spend());
        assert_eq!(runs + other.join().unwrap(), 1);
        assert!(wanted.is_spent());
    });
}
