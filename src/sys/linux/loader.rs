//! What is asked of the dynamic loader: functions that may not be there, and
//! that this library stays.
//!
//! dlsym() and dlopen() take the loader's lock, which a dlopen() in another
//! thread holds as long as constructors run: one that waits for a thread in
//! kqueue() would wait for ever. They also leave a message for dlerror(). So all
//! is asked when the library is loaded, in a constructor, and no call takes that
//! lock. What is called before that, by the constructors of others, looks then.

use super::name::{Name, Place, forget_error, is_glibc_since};
use core::ffi::{CStr, c_void};
use core::ptr;

/// The C library's, where it has one.
pub(super) static EPOLL_PWAIT2: Name =
    Name::new(c"epoll_pwait2", Place::Program, || is_glibc_since(2, 35));

/// The preload library's.
pub(super) static PRELOAD_ATTACH: Name =
    Name::new(c"libkqueue_preload_attach", Place::Program, is_preloaded);

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
