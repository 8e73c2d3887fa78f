//! Functions of others that may not be there, looked for by name. The preload
//! library compiles this very file.
//!
//! A look that fails leaves its message in memory that the next one frees. The
//! program may have a free() of its own, which looks for the C library's first,
//! and would never come to an end. So only what is there is looked for.

use core::ffi::{CStr, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Where to look.
#[allow(dead_code, reason = "each of the two libraries looks in one place")]
#[derive(Copy, Clone, Debug)]
pub(crate) enum Place {
    /// Everywhere.
    Program,
    /// In what the loader asks after this library.
    Behind,
}

/// A function that may not be there.
#[derive(Debug)]
pub(crate) struct Name {
    name: &'static CStr,
    place: Place,
    is_there: fn() -> bool,
    found: AtomicPtr<c_void>,
}

/// Looked for and not there.
const NOWHERE: *mut c_void = ptr::without_provenance_mut(1);

impl Name {
    pub(crate) const fn new(name: &'static CStr, place: Place, is_there: fn() -> bool) -> Name {
        Name { name, place, is_there, found: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Null: there is none.
    #[inline]
    pub(crate) fn address(&self) -> *mut c_void {
        match self.found.load(Ordering::Relaxed) {
            NOWHERE => ptr::null_mut(),
            found if found.is_null() => self.look(),
            found => found,
        }
    }

    #[cold]
    fn look(&self) -> *mut c_void {
        let place = match self.place {
            Place::Program => libc::RTLD_DEFAULT,
            Place::Behind => libc::RTLD_NEXT,
        };
        let mut found = ptr::null_mut();
        if (self.is_there)() {
            // SAFETY: a name that ends in NUL.
            found = unsafe { libc::dlsym(place, self.name.as_ptr()) };
            if found.is_null() {
                forget_error();
            }
        }
        self.found.store(if found.is_null() { NOWHERE } else { found }, Ordering::Relaxed);
        found
    }
}

/// That something is not there is no error of the program's.
pub(crate) fn forget_error() {
    // SAFETY: no arguments; the text is not looked at.
    unsafe { libc::dlerror() };
}

/// Is the C library glibc, of this version or a later one?
#[cfg(target_env = "gnu")]
pub(crate) fn is_glibc_since(major: u32, minor: u32) -> bool {
    // SAFETY: it has no arguments.
    let version = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: a string that stays.
    let version = unsafe { CStr::from_ptr(version) }.to_str().unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(major), Some(minor))
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn is_glibc_since(_major: u32, _minor: u32) -> bool {
    false
}
