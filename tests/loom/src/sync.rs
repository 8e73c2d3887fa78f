//! The library's `sync`, with loom's atomics.
//!
//! loom takes a SeqCst load or store for an AcqRel one, but knows fences. So a
//! fence stands here between any two SeqCst accesses of a thread, which is what
//! they promise each other as long as all accesses of their words are SeqCst. (It
//! is more than that where a weaker access stands between two of them: that one
//! should be SeqCst is not noticed.)

pub(crate) use loom::sync::atomic::Ordering;
use loom::sync::atomic::fence;
use std::cell::Cell;

loom::thread_local! {
    /// This thread has made a SeqCst access.
    static HAS_PROMISED: Cell<bool> = Cell::new(false);
}

fn ordered<R>(order: Ordering, access: impl FnOnce() -> R) -> R {
    if order == Ordering::SeqCst && HAS_PROMISED.with(|has| has.replace(true)) {
        fence(order);
    }
    access()
}

macro_rules! atomic {
    ($name:ident $(<$item:ident>)?, $inner:ident, $value:ty) => {
        #[derive(Debug)]
        pub(crate) struct $name $(<$item>)? (loom::sync::atomic::$inner $(<$item>)?);

        #[allow(dead_code, reason = "not every model uses all")]
        impl $(<$item>)? $name $(<$item>)? {
            pub(crate) fn new(value: $value) -> Self {
                $name(loom::sync::atomic::$inner::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                ordered(order, || self.0.load(order))
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                ordered(order, || self.0.store(value, order));
            }

            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                ordered(order, || self.0.swap(value, order))
            }

            pub(crate) fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                done: Ordering,
                failed: Ordering,
            ) -> Result<$value, $value> {
                ordered(done, || self.0.compare_exchange(from, to, done, failed))
            }

            pub(crate) fn fetch_update(
                &self,
                done: Ordering,
                failed: Ordering,
                change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                ordered(done, || self.0.fetch_update(done, failed, change))
            }
        }
    };
}

macro_rules! adding {
    ($($name:ident $value:ty),*) => {
        $(#[allow(dead_code, reason = "not every model uses all")]
        impl $name {
            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                ordered(order, || self.0.fetch_add(value, order))
            }

            pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                ordered(order, || self.0.fetch_sub(value, order))
            }

            pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                ordered(order, || self.0.fetch_or(value, order))
            }

            pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                ordered(order, || self.0.fetch_and(value, order))
            }

            pub(crate) fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                ordered(order, || self.0.fetch_max(value, order))
            }
        })*
    };
}

atomic!(AtomicBool, AtomicBool, bool);
// It holds descriptors, which are small here: see `sys`.
atomic!(AtomicI32, AtomicI8, i8);
atomic!(AtomicU8, AtomicU8, u8);
atomic!(AtomicU32, AtomicU32, u32);
atomic!(AtomicU64, AtomicU64, u64);
atomic!(AtomicUsize, AtomicUsize, usize);
atomic!(AtomicPtr<T>, AtomicPtr, *mut T);
adding!(AtomicI32 i8, AtomicU32 u32, AtomicU64 u64, AtomicUsize usize);

/// std's, with the orderings that it promises.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    is_set: AtomicBool,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> OnceLock<T> {
        OnceLock { is_set: AtomicBool::new(false), value: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let value = self.value.get_or_init(make);
        self.is_set.store(true, Ordering::Release);
        value
    }
}

pub(crate) fn nulls<T, const N: usize>() -> [AtomicPtr<T>; N] {
    std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut()))
}

/// Each run of a model has its own; a fork looks at them from outside.
macro_rules! statics {
    ($($(#[$note:meta])* static $name:ident: $type:ty = $value:expr;)*) => {
        loom::lazy_static! { $($(#[$note])* pub(crate) static ref $name: $type = $value;)* }
    };
}
pub(crate) use statics;

macro_rules! const_fn {
    ($(#[$note:meta])* $reach:vis fn $($rest:tt)*) => {
        $(#[$note])*
        $reach fn $($rest)*
    };
}
pub(crate) use const_fn;
