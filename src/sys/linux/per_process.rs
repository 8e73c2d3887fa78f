//! Values that belong to one process and not to the children it forks.
//!
//! The pointer to such a value lives in a page that the kernel wipes in a
//! forked child (MADV_WIPEONFORK, since 4.14). So a child finds null where its
//! parent has the value, however it was forked: fork, _Fork, raw clone; a
//! vfork child shares memory and sees the parent's, as it must. Reading costs
//! two loads and no getpid.

use super::descriptor::check;
use super::kept;
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

    /// This process's value. If there is none yet: the one that the process
    /// inherited, if `renew` can make it fit to be used again, or else a new
    /// one.
    pub(crate) fn start(
        &self,
        renew: impl FnOnce(&'static T) -> bool,
        make: impl FnOnce() -> T,
    ) -> Result<&'static T> {
        let cell = match self.cell() {
            Some(cell) => cell,
            None => self.make_page()?,
        };
        if let Some(value) = self.get() {
            return Ok(value);
        }
        // One thread takes what was inherited; another that comes meanwhile
        // makes a new value, and whoever is first at the cell wins.
        let mine = match self.take_inherited().filter(|inherited| renew(inherited)) {
            Some(renewed) => ptr::from_ref(renewed).cast_mut(),
            None => leak(make())?,
        };
        let won = cell.compare_exchange(ptr::null_mut(), mine, Ordering::AcqRel, Ordering::Acquire);
        let value = won.map_or_else(|winner| winner, |_| mine);
        self.last.store(value, Ordering::Release);
        // SAFETY: leaked, by this call or the winner's, and only ever shared.
        Ok(unsafe { &*value })
    }

    /// Takes what this process inherited, for one thread to renew.
    ///
    /// The caller saw no value of this process's own, but another thread may
    /// have started one since, and then `last` is that one, in use. Whoever
    /// reads it there sees it in the cell as well: it was published first, and
    /// the Acquire of the swap pairs with the Release of `start`'s store.
    fn take_inherited(&self) -> Option<&'static T> {
        let last = self.last.swap(ptr::null_mut(), Ordering::AcqRel);
        if let Some(value) = self.get() {
            self.last.store(ptr::from_ref(value).cast_mut(), Ordering::Release);
            return None;
        }
        // SAFETY: null or a leaked value; a fork copies it with everything.
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
        // SAFETY: the mapping is ours and as long as said.
        let wiped = check(unsafe { libc::madvise(fresh, PAGE, libc::MADV_WIPEONFORK) });
        // EINVAL: a kernel before 4.14, which is below what this library asks
        // for. Else memory is short, and a child would have the parent's value.
        if wiped.is_err_and(|error| error != Errno::EINVAL) {
            // SAFETY: ours, and nobody else has seen it.
            unsafe { libc::munmap(fresh, PAGE) };
            return Err(Errno::ENOMEM);
        }
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
/// there, and what it needs to know noted before the fork. It must be
/// async-signal-safe.
pub(crate) fn at_fork_in_child(handler: extern "C" fn()) -> Result<()> {
    let before = call(kept::before_fork);
    // SAFETY: plain functions that live as long as the library, which is linked
    // nodelete.
    let rc = unsafe { libc::pthread_atfork(Some(before), None, Some(call(handler))) };
    if rc == 0 { Ok(()) } else { Err(Errno(rc)) }
}

/// libc's binding wants an unsafe function; a safe one is one.
fn call(handler: extern "C" fn()) -> unsafe extern "C" fn() {
    handler
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_comes_late_does_not_take_the_live_value_for_an_inherited_one() {
        static VALUE: PerProcess<u32> = PerProcess::new();
        let first = VALUE.start(|_| panic!("nothing is inherited"), || 1).unwrap();
        // As a thread does that looked before the value was there.
        assert_eq!(VALUE.take_inherited(), None);
        let again = VALUE.start(|_| panic!("the live value is renewed"), || 2).unwrap();
        assert!(ptr::eq(first, again));
        // It is still what a child would inherit.
        assert!(ptr::eq(VALUE.last.load(Ordering::Acquire), first));
    }
}
