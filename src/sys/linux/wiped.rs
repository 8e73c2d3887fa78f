//! A word that the kernel wipes in a forked child (MADV_WIPEONFORK, since 4.14).

use super::syscall::check;
use crate::errno::{Errno, Result};
use crate::sync::AtomicPtr;
use core::ptr;

/// The size of the wiped mapping; the kernel rounds it up to a page.
const PAGE: usize = 4096;

/// Makes one, which is null. It stays, but for [`unmake`].
pub(super) fn make<T>() -> Result<&'static AtomicPtr<T>> {
    // SAFETY: a new anonymous mapping at no particular address.
    let fresh = unsafe {
        libc::mmap(
            ptr::null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if fresh == libc::MAP_FAILED {
        return Err(Errno::ENOMEM);
    }
    // SAFETY: the mapping is ours and as long as said.
    let wiped = check(unsafe { libc::madvise(fresh, PAGE, libc::MADV_WIPEONFORK) });
    // EINVAL: a kernel before 4.14, which is below what this library asks
    // for. Else memory is short, and a child would have the parent's value.
    if wiped.is_err_and(|error| error != Errno::EINVAL) {
        // SAFETY: ours, and nobody else has seen it.
        unsafe { libc::munmap(fresh, PAGE) };
        return Err(Errno::ENOMEM);
    }
    // SAFETY: aligned, and mapped as long as anybody knows it. Zeros, as the
    // kernel makes it and leaves it in a child, are a null AtomicPtr.
    Ok(unsafe { &*fresh.cast::<AtomicPtr<T>>() })
}

/// Gives one back.
///
/// # Safety
///
/// Nobody else has seen it, and the caller looks at it no more.
pub(super) unsafe fn unmake<T>(word: *mut AtomicPtr<T>) {
    // SAFETY: the mapping that `make` made, and nobody's, as the caller says.
    unsafe { libc::munmap(word.cast(), PAGE) };
}
