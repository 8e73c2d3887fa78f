//! The atomics that the library uses; the one place that picks them, so that
//! a model checker's can take their place: `tests/loom` takes in the files of
//! the lock-free parts with a `sync` of its own. The mutex is `sys::Mutex`:
//! what a thread sleeps on is the platform's affair.

#![forbid(unsafe_code)]

pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
pub(crate) use std::sync::OnceLock;

/// Pointers that lead nowhere yet, as the value of a static.
pub(crate) const fn nulls<T, const N: usize>() -> [AtomicPtr<T>; N] {
    [const { AtomicPtr::new(core::ptr::null_mut()) }; N]
}

/// Statics of atomics. A model checker's begin anew with each run.
macro_rules! statics {
    ($($(#[$note:meta])* static $name:ident: $type:ty = $value:expr;)*) => {
        $($(#[$note])* static $name: $type = $value;)*
    };
}
pub(crate) use statics;

/// Makes a function `const`, as the values of statics need it. A model
/// checker's atomics are made at run time, and its macro leaves `const` out.
macro_rules! const_fn {
    ($(#[$note:meta])* $reach:vis fn $($rest:tt)*) => {
        $(#[$note])*
        $reach const fn $($rest)*
    };
}
pub(crate) use const_fn;
