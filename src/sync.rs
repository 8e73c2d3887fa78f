//! The atomics that the library uses; the one place that picks them, so that
//! a model checker's can take their place. The mutex is `sys::Mutex`: what a
//! thread sleeps on is the platform's affair.

#![forbid(unsafe_code)]

pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
