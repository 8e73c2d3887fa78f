//! What is asked of the dynamic loader: functions that may not be there, and
//! that this library stays.
//!
//! dlsym() and dlopen() take the loader's lock, which a dlopen() in another
//! thread holds as long as constructors run: one that waits for a thread in
//! kqueue() would wait for ever. They also leave a message for dlerror(). So all
//! is asked when the library is loaded, in a constructor, and no call takes that
//! lock. What is called before that, by the constructors of others, looks then.

use crate::sync::{AtomicPtr, Ordering};
use core::ffi::{CStr, c_void};
use core::ptr;

/// A function that may not be there.
#[derive(Debug)]
pub(super) struct Name {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

/// Looked for and not there.
const NOWHERE: *mut c_void = ptr::without_provenance_mut(1);

impl Name {
    const fn new(name: &'static CStr) -> Name {
        Name { name, found: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Null: there is none.
    #[inline]
    pub(super) fn address(&self) -> *mut c_void {
        match self.found.load(Ordering::Relaxed) {
            NOWHERE => ptr::null_mut(),
            found if found.is_null() => self.look(),
            found => found,
        }
    }

    #[cold]
    fn look(&self) -> *mut c_void {
        // SAFETY: a name that ends in NUL.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, self.name.as_ptr()) };
        if found.is_null() {
            forget_error();
        }
        self.found.store(if found.is_null() { NOWHERE } else { found }, Ordering::Relaxed);
        found
    }
}

/// The C library's, where it has one (glibc since 2.35).
pub(super) static EPOLL_PWAIT2: Name = Name::new(c"epoll_pwait2");

/// The preload library's.
pub(super) static PRELOAD_ATTACH: Name = Name::new(c"libkqueue_preload_attach");

/// Runs when the library is loaded; in a program or a plugin that the archive is
/// linked into, before their own constructors, which have no number. It is taken
/// out of the archive along with the names, to which every wait refers.
#[used]
#[unsafe(link_section = ".init_array.00101")]
static AT_START: extern "C" fn() = ask;

extern "C" fn ask() {
    EPOLL_PWAIT2.address();
    if !PRELOAD_ATTACH.address().is_null() {
        pin();
    }
}

/// Keeps what this library is part of from being unmapped: a plugin that the
/// archive was linked into may be closed, and the preload library calls its
/// functions later.
fn pin() {
    // SAFETY: pointers, which may be null.
    let mut part: libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: any address, and room for the answer.
    let found = unsafe { libc::dladdr((&raw const AT_START).cast(), &raw mut part) };
    if found != 0 && !part.dli_fname.is_null() {
        let how = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // The program itself is not found by this name, and stays anyway.
        // SAFETY: a string of the loader's. Nothing new is loaded.
        if unsafe { libc::dlopen(part.dli_fname, how) }.is_null() {
            forget_error();
        }
    }
}

/// That something is not there is no error of the program's.
fn forget_error() {
    // SAFETY: no arguments; the text is not looked at.
    unsafe { libc::dlerror() };
}
