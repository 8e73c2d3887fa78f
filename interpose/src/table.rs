//! The libraries that have attached themselves, and what they are asked.

use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::{errno, real, set_errno};

/// What a library attaches; `src/sys/linux/preload.rs` says what it means.
#[path = "../../src/sys/linux/preload_table.rs"]
mod layout;

pub use layout::Table;

/// One library as a rule; more where plugins bring an archive each. Those that
/// find no place do without.
const PLACES: usize = 16;

static TABLES: [AtomicPtr<Table>; PLACES] = [const { AtomicPtr::new(ptr::null_mut()) }; PLACES];

/// The one symbol that libkqueue looks for. Returns the C library's
/// sigaction(), or null if the library is not served.
///
/// # Safety
///
/// `table` is a table, and stays for good: who attaches sees to it that it is
/// not unmapped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libkqueue_preload_attach(table: *const Table) -> *mut c_void {
    // SAFETY: every table begins with its size.
    let size = unsafe { (*table).size };
    let sigaction = real::sigaction_address();
    // A table that is longer begins with what is known here.
    if size < size_of::<Table>() || sigaction.is_null() {
        return ptr::null_mut();
    }
    for place in &TABLES {
        let none = ptr::null_mut();
        // Release: with it goes what the table leads to.
        let taken =
            place.compare_exchange(none, table.cast_mut(), Ordering::AcqRel, Ordering::Acquire);
        if taken.is_ok() || taken == Err(table.cast_mut()) {
            return sigaction;
        }
    }
    ptr::null_mut()
}

fn tables() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().map_while(|place| {
        // SAFETY: null or a table, which stays for good.
        unsafe { place.load(Ordering::Acquire).as_ref() }
    })
}

/// Has any library attached itself?
pub(crate) fn is_any() -> bool {
    tables().next().is_some()
}

impl Table {
    /// Must the library be told of this number?
    #[inline]
    fn knows(&self, number: c_int) -> bool {
        match usize::try_from(number) {
            Ok(number) if number < self.count => {
                // SAFETY: there are so many words,
                let word = unsafe { self.words.add(number) };
                // SAFETY: for good.
                let word = unsafe { &*word };
                // Acquire: pairs with what the library did before it set a bit.
                word.load(Ordering::Acquire) & self.mask != 0
            }
            _ => false,
        }
    }
}

/// Must any library be told of this number?
#[inline]
pub(crate) fn is_known(number: c_int) -> bool {
    tables().any(|table| table.knows(number))
}

/// Is this the process of a library that must be told of this number? In a child
/// that vfork() made, no library knows any.
pub(crate) fn is_told(number: c_int) -> bool {
    let before = errno();
    let is_told = tables().any(|table| table.knows(number) && (table.next)(number) == number);
    set_errno(before);
    is_told
}

/// What becomes of a number.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Goes,
    /// It is a library's own, and none of the application's.
    Stays,
}

/// What is about to be done to a number.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    /// It is closed, and [`told`] is called then.
    Close,
    /// It is made another file, and [`told`] is called then.
    Replace,
    /// It is closed by the C library, somehow.
    Within,
}

/// Tells that a number is about to go.
pub(crate) fn tell(number: c_int, deed: Deed) -> Fate {
    let before = errno();
    let mut fate = Fate::Goes;
    for table in tables().filter(|table| table.knows(number)) {
        let replaced = c_int::from(deed == Deed::Replace);
        let paired = c_int::from(deed != Deed::Within);
        if (table.closing)(number, replaced, paired) != 0 {
            fate = Fate::Stays;
        }
    }
    set_errno(before);
    fate
}

/// It has gone.
pub(crate) fn told(number: c_int) {
    let before = errno();
    for table in tables().filter(|table| table.knows(number)) {
        (table.closed)(number);
    }
    set_errno(before);
}

/// The lowest number from this one on that a library must be told of.
pub(crate) fn next_known(number: c_int) -> Option<c_int> {
    let before = errno();
    let next = tables().map(|table| (table.next)(number)).filter(|next| *next >= number).min();
    set_errno(before);
    next
}

/// A disposition is asked for or set. `None`: no library has to do with it.
pub(crate) fn action(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> Option<c_int> {
    // Of several libraries the first one that hooked it has it.
    tables().find_map(|table| {
        let before = errno();
        match (table.action)(signal, new, old) {
            1 => None,
            0 => {
                set_errno(before);
                Some(0)
            }
            failed => Some(failed),
        }
    })
}

/// What the libraries let go for the sake of another program.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Left([u64; PLACES]);

/// Another program is about to be run; if `spawns`, in a child.
pub(crate) fn leave(spawns: bool) -> Left {
    let before = errno();
    let mut left = Left([0; PLACES]);
    for (table, left) in tables().zip(&mut left.0) {
        *left = (table.leave)(c_int::from(spawns));
    }
    set_errno(before);
    left
}

impl Left {
    /// It has not been run here, or has been in a child.
    pub(crate) fn stay(self, spawned: bool) {
        let before = errno();
        for (table, left) in tables().zip(self.0) {
            if left != 0 {
                (table.stay)(left, c_int::from(spawned));
            }
        }
        set_errno(before);
    }
}
