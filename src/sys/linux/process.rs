//! Values that belong to one process and not to the children it forks.
//!
//! The pointer to such a value lives in a page that the kernel wipes in a
//! forked child (MADV_WIPEONFORK, since 4.14). So a child finds null where its
//! parent has the value, however it was forked: fork, _Fork, raw clone; a
//! vfork child shares memory and sees the parent's, as it must. Reading costs
//! two loads and no getpid.

use crate::errno::{Errno, Result};
use crate::sync::{AtomicPtr, Ordering};
use core::ptr;

/// The size of the wiped mapping; the kernel rounds it up to a page.
const PAGE: usize = 4096;

pub(crate) struct PerProcess<T: Sync + 'static> {
    /// The wiped page, made once; its first word is the current value.
    page: AtomicPtr<AtomicPtr<T>>,
    /// The last value made, in memory that a child inherits.
    last: AtomicPtr<T>,
}

impl<T: Sync + 'static> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        PerProcess { page: AtomicPtr::new(ptr::null_mut()), last: AtomicPtr::new(ptr::null_mut()) }
    }

    /// This process's value, if it has one.
    #[inline]
    pub(crate) fn get(&self) -> Option<&'static T> {
        let cell = self.cell()?;
        // Acquire: pairs with the Release in `start` that published the value.
        let value = cell.load(Ordering::Acquire);
        // SAFETY: the word is null or holds a value leaked by `start`.
        unsafe { value.as_ref() }
    }

    /// The value of the process that forked this one, as long as this one has
    /// none of its own.
    pub(crate) fn inherited(&self) -> Option<&'static T> {
        if self.get().is_some() {
            return None;
        }
        // SAFETY: as above; a fork copies the value with everything else.
        unsafe { self.last.load(Ordering::Acquire).as_ref() }
    }

    /// This process's value, made now if need be. `true`: this call made it.
    pub(crate) fn start(&self, make: impl FnOnce() -> T) -> Result<(&'static T, bool)> {
        let cell = match self.cell() {
            Some(cell) => cell,
            None => self.make_page()?,
        };
        if let Some(value) = self.get() {
            return Ok((value, false));
        }
        let fresh = leak(make())?;
        match cell.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                // SAFETY: just leaked, and from here on only shared.
                Ok((unsafe { &*fresh }, true))
            }
            // Another thread was first. Ours is never used; it happens at most
            // once a thread, and is small.
            // SAFETY: the word is not null, so it holds a leaked value.
            Err(winner) => Ok((unsafe { &*winner }, false)),
        }
    }

    /// Notes a value just started as the one that children inherit; what this
    /// process itself had inherited is returned, once.
    pub(crate) fn replaced(&self, by: &'static T) -> Option<&'static T> {
        let last = self.last.swap(ptr::from_ref(by).cast_mut(), Ordering::AcqRel);
        // SAFETY: null or a leaked value, as in `inherited`.
        unsafe { last.as_ref() }
    }

    fn cell(&self) -> Option<&'static AtomicPtr<T>> {
        // SAFETY: null, or a mapping that is never unmapped, zeroed or holding
        // a pointer, either of which is a valid AtomicPtr.
        unsafe { self.page.load(Ordering::Acquire).as_ref() }
    }

    fn make_page(&self) -> Result<&'static AtomicPtr<T>> {
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
        // Fails before 4.14 only, which is below what this library asks for.
        // SAFETY: the mapping is ours and as long as said.
        unsafe { libc::madvise(fresh, PAGE, libc::MADV_WIPEONFORK) };
        let fresh = fresh.cast::<AtomicPtr<T>>();
        let won =
            self.page.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
        if let Err(winner) = won {
            // SAFETY: ours, and nobody else has seen it.
            unsafe { libc::munmap(fresh.cast(), PAGE) };
            // SAFETY: as in `cell`.
            return Ok(unsafe { &*winner });
        }
        // SAFETY: as in `cell`.
        Ok(unsafe { &*fresh })
    }
}

fn leak<T>(value: T) -> Result<*mut T> {
    let mut home = Vec::new();
    home.try_reserve_exact(1).map_err(|_| Errno::ENOMEM)?;
    home.push(value);
    Ok(home.leak().as_mut_ptr())
}

/// Has `handler` called in every child that fork() makes, before fork returns
/// there. It must be async-signal-safe.
pub(crate) fn at_fork_in_child(handler: extern "C" fn()) -> Result<()> {
    // SAFETY: a plain function that lives as long as the library, which is
    // linked nodelete.
    let rc = unsafe { libc::pthread_atfork(None, None, Some(call(handler))) };
    if rc == 0 { Ok(()) } else { Err(Errno(rc)) }
}

/// libc's binding wants an unsafe function; a safe one is one.
fn call(handler: extern "C" fn()) -> unsafe extern "C" fn() {
    handler
}
