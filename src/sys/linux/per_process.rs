//! Values that belong to one process and not to the children it forks.
//!
//! The pointer to such a value lives in a page that the kernel wipes in a
//! forked child (MADV_WIPEONFORK, since 4.14). So a child finds null where its
//! parent has the value, however it was forked: fork, _Fork, raw clone; a
//! vfork child shares memory and sees the parent's, as it must. Reading costs
//! two loads and no getpid.
//!
//! Who writes: any thread that finds no value, in [`PerProcess::start`]; and the
//! kernel, in a child, which has one thread then. Who reads: any thread at any
//! time, signal handlers and the fork handler. Why no lock is needed:
//!
//! - The page's address, and the value's, become something once in a process,
//!   by a compare-and-swap that one thread wins, and whose winner all others
//!   take. Release there and Acquire in every load: what is found is whole.
//! - Nothing that was found is ever freed. A value that lost stays unused.
//! - `last` is where a child finds its parent's value. It is written after the
//!   cell, so whoever reads a live value there finds it in the cell too, and
//!   does not take it for inherited; see `take_inherited`.
//! - A child that is forked while a thread is between taking `last` and storing
//!   it again finds nothing of its parent's, and begins with nothing.

use super::wiped;
use crate::errno::{Errno, Result};
use crate::sync::{AtomicPtr, Ordering, const_fn};
use core::ptr;

pub(crate) struct PerProcess<T: Sync + 'static> {
    /// The wiped page, made once; its first word is the current value.
    page: AtomicPtr<AtomicPtr<T>>,
    /// The last value made, in memory that a child inherits.
    last: AtomicPtr<T>,
}

impl<T: Sync + 'static> PerProcess<T> {
    const_fn! {
        pub(crate) fn new() -> Self {
            let (page, last) = (ptr::null_mut(), ptr::null_mut());
            PerProcess { page: AtomicPtr::new(page), last: AtomicPtr::new(last) }
        }
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
        let fresh = wiped::make()?;
        let mine = ptr::from_ref(fresh).cast_mut();
        let won =
            self.page.compare_exchange(ptr::null_mut(), mine, Ordering::AcqRel, Ordering::Acquire);
        let Err(winner) = won else { return Ok(fresh) };
        // SAFETY: another thread's was first, so nobody has seen this one.
        unsafe { wiped::unmake(mine) };
        // SAFETY: as in `cell`.
        Ok(unsafe { &*winner })
    }
}

fn leak<T>(value: T) -> Result<*mut T> {
    let mut home = Vec::new();
    home.try_reserve_exact(1).map_err(|_| Errno::ENOMEM)?;
    home.push(value);
    Ok(home.leak().as_mut_ptr())
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
