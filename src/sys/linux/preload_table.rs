//! What the preload library is given. It compiles this very file, so the two
//! cannot disagree; of two that were not built together `size` tells which one
//! knows more.

use core::ffi::c_int;
use core::sync::atomic::AtomicU64;

/// Fields are only ever added, at the end.
#[derive(Debug)]
#[repr(C)]
pub struct Table {
    pub(crate) size: usize,
    /// A number whose word has a bit of `mask` must be asked about.
    pub(crate) words: *const AtomicU64,
    pub(crate) count: usize,
    pub(crate) mask: u64,
    pub(crate) closing: extern "C" fn(c_int, c_int, c_int) -> c_int,
    pub(crate) closed: extern "C" fn(c_int),
    pub(crate) next: extern "C" fn(c_int) -> c_int,
    pub(crate) action: extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int,
    pub(crate) leave: extern "C" fn(c_int) -> u64,
    pub(crate) stay: extern "C" fn(u64, c_int),
}

// SAFETY: the pointer leads to atomics that are there for good, and nothing in
// the table is changed.
unsafe impl Sync for Table {}
// SAFETY: as above.
unsafe impl Send for Table {}
