//! The preload library (`interpose`), if the process has it.
//!
//! It stands before the C library's close() and its like, and asks us about
//! each number that goes: see [`words`]. This library announces itself to it,
//! and not the other way round: when it is loaded it looks for one symbol (see
//! [`loader`]), and at the first kqueue() of a process, if that is there, calls
//! it with a table of functions. So the archive and a library that dlopen()
//! brought are served as well as one that the program is linked to, and without
//! the preload library nothing is paid.

use super::loader;
use super::preload_table::Table;
use super::signals;
use super::syscall::{map, unmap};
use super::words::{self, KNOWN, NUMBERS};
use crate::sync::{AtomicPtr, AtomicU64, Ordering};
use crate::sys::contract::Descriptor;
use core::ffi::{c_int, c_void};
use core::ptr;

/// What the core gives for the preload library to call.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Closing {
    /// The number is about to be closed, or replaced if that is said. If it is
    /// `paired`, `closed` will be called. Not 0: it is none of the
    /// application's, and stays.
    pub(crate) closing: extern "C" fn(Descriptor, replaced: c_int, paired: c_int) -> c_int,
    /// It has been.
    pub(crate) closed: extern "C" fn(Descriptor),
    /// The next number, this one included, that it must be told of. Negative:
    /// there is none, or this is a child that vfork() made.
    pub(crate) next: extern "C" fn(Descriptor) -> Descriptor,
}

type Attach = unsafe extern "C" fn(*const Table) -> *mut c_void;

/// Introduces the two libraries to each other, if the preload library is there.
pub(crate) fn attach(core: Closing) {
    let found = loader::PRELOAD_ATTACH.address();
    if found.is_null() {
        return;
    }
    let Some(words) = words::make() else { return };
    let Some(table) = table(core, words) else { return };
    // SAFETY: the preload library's function of that name has this type.
    let attach = unsafe { core::mem::transmute::<*mut c_void, Attach>(found) };
    // SAFETY: a table that is there for good.
    let sigaction = unsafe { attach(table) };
    // What the C library calls sigaction(): ours must not be taken for the
    // application's.
    signals::set_sigaction(sigaction);
}

/// The table, made if it is not there. `None`: there is no memory for it. Whoever
/// is first wins, and nobody waits: a forked child may find the maker missing.
fn table(core: Closing, words: *const AtomicU64) -> Option<*const Table> {
    static TABLE: AtomicPtr<Table> = AtomicPtr::new(ptr::null_mut());
    let there = TABLE.load(Ordering::Acquire);
    if !there.is_null() {
        return Some(there);
    }
    let made = map::<Table>(1).ok()?;
    let table = Table {
        size: size_of::<Table>(),
        words,
        count: NUMBERS,
        mask: KNOWN,
        closing: core.closing,
        closed: core.closed,
        next: core.next,
        action: signals::action,
        leave: signals::leave,
        stay: signals::stay,
    };
    // SAFETY: room for one, at the beginning of a page, that nobody else has seen.
    unsafe { made.write(table) };
    // AcqRel: pairs with the Acquire above; what is found is whole.
    match TABLE.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Some(made),
        Err(winner) => {
            // SAFETY: ours, and nobody else has seen it.
            unsafe { unmap(made, 1) };
            Some(winner)
        }
    }
}
