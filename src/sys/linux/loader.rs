//! What is asked of the dynamic loader: functions that may not be there, and
//! that this library stays.
//!
//! dlsym() and dlopen() take the loader's lock, which a dlopen() in another
//! thread holds as long as constructors run: one that waits for a thread in
//! kqueue() would wait for ever. They also leave a message for dlerror(). So all
//! is asked when the library is loaded, in a constructor, and no call takes that
//! lock. What is called before that, by the constructors of others, looks then.
//!
//! A look that fails leaves its message in memory that the next one frees. The
//! program may have a free() of its own, which looks for the C library's first,
//! and would never come to an end. So only what is there is looked for.

use crate::sync::{AtomicPtr, Ordering};
use core::ffi::{CStr, c_void};
use core::ptr;

/// A function that may not be there.
#[derive(Debug)]
pub(super) struct Name {
    name: &'static CStr,
    is_there: fn() -> bool,
    found: AtomicPtr<c_void>,
}

/// Looked for and not there.
const NOWHERE: *mut c_void = ptr::without_provenance_mut(1);

impl Name {
    const fn new(name: &'static CStr, is_there: fn() -> bool) -> Name {
        Name { name, is_there, found: AtomicPtr::new(ptr::null_mut()) }
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
        let mut found = ptr::null_mut();
        if (self.is_there)() {
            // SAFETY: a name that ends in NUL.
            found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, self.name.as_ptr()) };
            if found.is_null() {
                forget_error();
            }
        }
        self.found.store(if found.is_null() { NOWHERE } else { found }, Ordering::Relaxed);
        found
    }
}

/// The C library's, where it has one.
pub(super) static EPOLL_PWAIT2: Name = Name::new(c"epoll_pwait2", has_exact_wait);

/// The preload library's.
pub(super) static PRELOAD_ATTACH: Name = Name::new(c"libkqueue_preload_attach", is_preloaded);

/// glibc has it since 2.35.
#[cfg(target_env = "gnu")]
fn has_exact_wait() -> bool {
    // SAFETY: it has no arguments.
    let version = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: a string that stays.
    let version = unsafe { CStr::from_ptr(version) }.to_str().unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(2), Some(35))
}

/// musl has none.
#[cfg(not(target_env = "gnu"))]
fn has_exact_wait() -> bool {
    false
}

/// Is the preload library there, by the name of its file?
fn is_preloaded() -> bool {
    extern "C" fn look(
        object: *mut libc::dl_phdr_info,
        _size: usize,
        _data: *mut c_void,
    ) -> core::ffi::c_int {
        // SAFETY: the loader's description of an object, alive for this call.
        let name = unsafe { (*object).dlpi_name };
        if name.is_null() {
            return 0;
        }
        // SAFETY: a string of the loader's.
        let path = unsafe { CStr::from_ptr(name) }.to_bytes();
        let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let known = [b"libkqueue-preload".as_slice(), b"libkqueue_preload"];
        core::ffi::c_int::from(known.iter().any(|known| file.starts_with(known)))
    }
    // SAFETY: a function of the right type, which keeps nothing.
    unsafe { libc::dl_iterate_phdr(Some(look), ptr::null_mut()) != 0 }
}

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
