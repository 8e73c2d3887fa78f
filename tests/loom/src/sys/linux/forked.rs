//! Values of one process, with a fork: the wiped words are wiped while there is
//! one thread, and then there are several.

#[path = "../../../../../src/sys/linux/per_process.rs"]
#[allow(dead_code, reason = "for the rest of the library")]
mod per_process;

/// The words that the kernel wipes in a child.
pub(crate) mod wiped {
    use crate::errno::Result;
    use crate::sync::{AtomicPtr, Ordering};
    use std::ptr::null_mut;
    use std::sync::Mutex;

    static WORDS: Mutex<Vec<Box<dyn Fn() + Send>>> = Mutex::new(Vec::new());

    pub(super) fn make<T: 'static>() -> Result<&'static AtomicPtr<T>> {
        let word: &AtomicPtr<T> = Box::leak(Box::new(AtomicPtr::new(null_mut())));
        let wipe = || word.store(null_mut(), Ordering::Relaxed);
        WORDS.lock().unwrap().push(Box::new(wipe));
        Ok(word)
    }

    pub(super) unsafe fn unmake<T>(_: *mut AtomicPtr<T>) {}

    /// A run begins.
    pub(crate) fn begin() {
        WORDS.lock().unwrap().clear();
    }

    /// From now on this is the child.
    pub(crate) fn fork() {
        let words = std::mem::take(&mut *WORDS.lock().unwrap());
        words.iter().for_each(|wipe| wipe());
        *WORDS.lock().unwrap() = words;
    }
}

use crate::{Model, check, spawn};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread::JoinHandle;
pub(crate) use per_process::PerProcess;

pub(crate) fn models() -> Vec<Model> {
    vec![
        ("per_process::all_threads_start_one_value", all_start_one),
        ("per_process::one_thread_renews_what_is_inherited", one_renews),
        ("per_process::a_live_value_is_never_renewed", a_live_value_is_never_renewed),
        ("per_process::a_grandchild_finds_what_its_parent_had", a_grandchild),
    ]
}

/// How often it was renewed. A write that races with a read of another thread's
/// is what would happen to a live registry.
struct Value(UnsafeCell<u32>);

// SAFETY: that is what the models check.
unsafe impl Sync for Value {}

impl Value {
    fn new() -> Value {
        Value(UnsafeCell::new(0))
    }

    fn renew(&self) -> bool {
        // SAFETY: loom checks it.
        self.0.with_mut(|times| unsafe { *times += 1 });
        true
    }

    fn times(&self) -> u32 {
        // SAFETY: loom checks it.
        self.0.with(|times| unsafe { *times })
    }
}

type Values = Arc<PerProcess<Value>>;

fn begin() -> Values {
    wiped::begin();
    Arc::new(PerProcess::new())
}

/// As a call that needs the value: it may be used, and is no parent's.
fn start(values: &Values) -> (*const Value, u32) {
    let value = values.start(Value::renew, Value::new).unwrap();
    let times = value.times();
    assert!(std::ptr::eq(value, values.get().unwrap()));
    assert!(values.inherited().is_none());
    (value, times)
}

fn in_thread(values: &Values) -> JoinHandle<(usize, u32)> {
    let values = Arc::clone(values);
    spawn(move || {
        let (value, times) = start(&values);
        (value.addr(), times)
    })
}

fn all_start_one() {
    check(3, || {
        let values = begin();
        let others = [in_thread(&values), in_thread(&values)];
        if let Some(early) = values.get() {
            assert_eq!(early.times(), 0);
        }
        let (mine, _) = start(&values);
        for other in others {
            assert_eq!(other.join().unwrap(), (mine.addr(), 0));
        }
    });
}

fn one_renews() {
    check(4, || {
        let values = begin();
        let (parents, _) = start(&values);
        wiped::fork();
        assert!(values.get().is_none());
        assert!(values.inherited().is_some());
        let other = in_thread(&values);
        let (mine, times) = start(&values);
        assert_eq!(other.join().unwrap(), (mine.addr(), times));
        // It is the parent's, renewed once, or a new one.
        assert_eq!(times, u32::from(std::ptr::eq(mine, parents)));
    });
}

fn a_live_value_is_never_renewed() {
    check(3, || {
        let values = begin();
        start(&values);
        wiped::fork();
        let others = [in_thread(&values), in_thread(&values)];
        let (mine, times) = start(&values);
        for other in others {
            assert_eq!(other.join().unwrap(), (mine.addr(), times));
        }
        assert!(times <= 1);
    });
}

/// Whoever is forked when no thread is about to start finds its parent's value.
fn a_grandchild() {
    check(4, || {
        let values = begin();
        start(&values);
        wiped::fork();
        let other = in_thread(&values);
        let (mine, _) = start(&values);
        other.join().unwrap();
        wiped::fork();
        assert!(std::ptr::eq(values.inherited().unwrap(), mine));
    });
}
