//! A word that the kernel wipes in a forked child (MADV_WIPEONFORK, since 4.14).

use super::syscall::{check, map, unmap};
use crate::errno::{Errno, Result};
use crate::sync::AtomicPtr;

/// What is wiped: the kernel rounds a mapping up to pages.
const PAGE: usize = 4096;
/// As many words as make one; the first is used.
const WORDS: usize = PAGE / size_of::<AtomicPtr<()>>();

/// Makes one, which is null. It stays, but for [`unmake`].
pub(super) fn make<T>() -> Result<&'static AtomicPtr<T>> {
    let fresh = map::<AtomicPtr<T>>(WORDS)?;
    // SAFETY: the mapping is ours and as long as said.
    let wiped = check(unsafe { libc::madvise(fresh.cast(), PAGE, libc::MADV_WIPEONFORK) });
    // EINVAL: a kernel before 4.14, which is below what this library asks
    // for. Else memory is short, and a child would have the parent's value.
    if wiped.is_err_and(|error| error != Errno::EINVAL) {
        // SAFETY: ours, and nobody else has seen it.
        unsafe { unmap(fresh, WORDS) };
        return Err(Errno::ENOMEM);
    }
    // SAFETY: aligned, and mapped as long as anybody knows it. Zeros, as the
    // kernel makes it and leaves it in a child, are a null AtomicPtr.
    Ok(unsafe { &*fresh })
}

/// Gives one back.
///
/// # Safety
///
/// Nobody else has seen it, and the caller looks at it no more.
pub(super) unsafe fn unmake<T>(word: *mut AtomicPtr<T>) {
    // SAFETY: the mapping that `make` made, and nobody's, as the caller says.
    unsafe { unmap(word, WORDS) };
}
