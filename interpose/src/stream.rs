//! What closes a descriptor within the C library, where no call of close() is
//! seen from outside.

use crate::table::{self, Deed};
use crate::{fail, real};
use core::ffi::{c_char, c_int};

/// Tells of the descriptor that is about to be closed, if there is one.
fn tell(fd: c_int) {
    if table::is_known(fd) {
        table::tell(fd, Deed::Within);
    }
}

/// The descriptor of a stream, or -1.
///
/// # Safety
///
/// A stream.
unsafe fn descriptor(stream: *mut libc::FILE) -> c_int {
    let before = crate::errno();
    // SAFETY: as said.
    let fd = unsafe { libc::fileno(stream) };
    crate::set_errno(before);
    fd
}

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fclose(stream: *mut libc::FILE) -> c_int {
    // SAFETY: as the caller says.
    tell(unsafe { descriptor(stream) });
    match real::fclose() {
        // SAFETY: as the caller says.
        Some(fclose) => unsafe { fclose(stream) },
        None => fail(libc::ENOSYS),
    }
}

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pclose(stream: *mut libc::FILE) -> c_int {
    // SAFETY: as the caller says.
    tell(unsafe { descriptor(stream) });
    match real::pclose() {
        // SAFETY: as the caller says.
        Some(pclose) => unsafe { pclose(stream) },
        None => fail(libc::ENOSYS),
    }
}

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn freopen(
    path: *const c_char,
    mode: *const c_char,
    stream: *mut libc::FILE,
) -> *mut libc::FILE {
    // SAFETY: as the caller says.
    tell(unsafe { descriptor(stream) });
    match real::freopen() {
        // SAFETY: as the caller says.
        Some(freopen) => unsafe { freopen(path, mode, stream) },
        None => core::ptr::null_mut(),
    }
}

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn freopen64(
    path: *const c_char,
    mode: *const c_char,
    stream: *mut libc::FILE,
) -> *mut libc::FILE {
    // SAFETY: as the caller says.
    tell(unsafe { descriptor(stream) });
    match real::freopen64() {
        // SAFETY: as the caller says.
        Some(freopen) => unsafe { freopen(path, mode, stream) },
        None => core::ptr::null_mut(),
    }
}

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn closedir(folder: *mut libc::DIR) -> c_int {
    if !folder.is_null() {
        // SAFETY: as the caller says.
        tell(unsafe { libc::dirfd(folder) });
    }
    match real::closedir() {
        // SAFETY: as the caller says.
        Some(closedir) => unsafe { closedir(folder) },
        None => fail(libc::ENOSYS),
    }
}
