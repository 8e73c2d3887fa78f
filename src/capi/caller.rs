//! The caller's lists, behind a safe face.
//!
//! Both lists may be the same memory, so no slice of either ever exists:
//! entries are read and written one at a time through the raw pointers, and a
//! change is read before any entry that could lie over it is written.

use crate::clock::{Patience, Span};
use crate::errno::{Errno, Result};
use crate::event::{Kevent, Kevent64};
use crate::queue::Caller;
use crate::sys::{Native, Platform};
use core::ffi::c_int;

/// The form that entries have in the caller's memory.
pub(super) trait Wire: Copy {
    /// EINVAL, later: it cannot be said in `struct kevent`.
    fn to_kevent(self) -> Kevent;
    fn from_kevent(event: Kevent) -> Self;
}

impl Wire for Kevent {
    #[inline]
    fn to_kevent(self) -> Kevent {
        self
    }

    #[inline]
    fn from_kevent(event: Kevent) -> Kevent {
        event
    }
}

impl Wire for Kevent64 {
    #[allow(clippy::cast_possible_truncation, reason = "32-bit systems have no wider idents")]
    fn to_kevent(self) -> Kevent {
        Kevent {
            ident: self.ident as usize,
            filter: self.filter,
            flags: self.flags,
            fflags: self.fflags,
            data: self.data as isize,
            udata: core::ptr::without_provenance_mut(self.udata as usize),
        }
    }

    fn from_kevent(event: Kevent) -> Kevent64 {
        Kevent64 {
            ident: event.ident as u64,
            filter: event.filter,
            flags: event.flags,
            fflags: event.fflags,
            data: event.data as i64,
            udata: event.udata.addr() as u64,
            ext: [0; 2],
        }
    }
}

/// A timeout as given.
#[derive(Copy, Clone, Debug)]
pub(super) enum Timeout {
    Never,
    Of { sec: i64, nsec: i64 },
}

/// The lists of one call. Plain data: nothing to drop if the thread does not
/// come back.
#[derive(Debug)]
pub(super) struct Lists<E: Wire> {
    changes: *const E,
    changes_len: usize,
    changes_read: usize,
    events: *mut E,
    events_len: usize,
    events_written: usize,
    timeout: Timeout,
    /// The timeout as a moment, once it has begun to run.
    patience: Option<Patience>,
    collects: bool,
}

impl<E: Wire> Lists<E> {
    /// EINVAL: a negative count. EFAULT: no memory behind a positive one.
    ///
    /// # Safety
    ///
    /// Pointers that are not null hold as many entries as counted, for as long
    /// as the value is used.
    #[inline]
    pub(super) unsafe fn new(
        changes: *const E,
        nchanges: c_int,
        events: *mut E,
        nevents: c_int,
    ) -> Result<Lists<E>> {
        let count = |count| usize::try_from(count).map_err(|_| Errno::EINVAL);
        let (changes_len, events_len) = (count(nchanges)?, count(nevents)?);
        if changes_len > 0 && changes.is_null() || events_len > 0 && events.is_null() {
            return Err(Errno::EFAULT);
        }
        Ok(Lists {
            changes,
            changes_len,
            changes_read: 0,
            events,
            events_len,
            events_written: 0,
            timeout: Timeout::Never,
            patience: None,
            collects: events_len > 0,
        })
    }

    pub(super) fn waiting(self, timeout: Timeout) -> Lists<E> {
        Lists { timeout, ..self }
    }

    pub(super) fn answers_only(self) -> Lists<E> {
        Lists { collects: false, ..self }
    }

    /// Begins anew, for the call goes to another queue; `false` if an entry
    /// has been written, perhaps over a change.
    pub(super) fn rewind(&mut self) -> bool {
        self.changes_read = 0;
        self.events_written == 0
    }

    pub(super) fn timeout(&self) -> Timeout {
        self.timeout
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.changes_len, self.events_len)
    }

    pub(super) fn pointers(&self) -> (*const E, *mut E) {
        (self.changes, self.events)
    }

    /// A change by its place in the list, for the trace.
    pub(super) fn change(&self, index: usize) -> Option<Kevent> {
        (index < self.changes_len).then(|| {
            // SAFETY: `new` was promised that many entries. They are read
            // whole; the caller may have aligned them for less.
            let change = unsafe { self.changes.wrapping_add(index).read_unaligned() };
            change.to_kevent()
        })
    }

    /// An entry that was written, for the trace.
    pub(super) fn entry(&self, index: usize) -> Option<Kevent> {
        (index < self.events_written).then(|| {
            // SAFETY: as in `push`, which wrote it.
            let entry = unsafe { self.events.wrapping_add(index).read_unaligned() };
            entry.to_kevent()
        })
    }
}

impl<E: Wire> Caller for Lists<E> {
    #[inline]
    fn next_change(&mut self) -> Option<Kevent> {
        let change = self.change(self.changes_read)?;
        self.changes_read += 1;
        Some(change)
    }

    #[inline]
    fn room(&self) -> usize {
        self.events_len - self.events_written
    }

    #[inline]
    fn push(&mut self, entry: Kevent) {
        if self.room() == 0 {
            return;
        }
        // SAFETY: there is room, so the place is within what `new` was
        // promised. It may lie over a change, which has been read: entries are
        // written one a change at most, after it.
        unsafe {
            self.events.wrapping_add(self.events_written).write_unaligned(E::from_kevent(entry))
        };
        self.events_written += 1;
    }

    #[inline]
    fn collects(&self) -> bool {
        self.collects
    }

    #[inline]
    fn has_changed(&self) -> bool {
        self.changes_read > 0
    }

    #[inline]
    fn patience(&mut self) -> Result<Patience> {
        match self.patience {
            Some(patience) => Ok(patience),
            None => Ok(*self.patience.insert(patience(self.timeout)?)),
        }
    }

    fn command(&mut self, change: &Kevent) -> Result<Option<Kevent>> {
        super::library::command(change)
    }
}

/// A timeout as a moment from now.
fn patience(timeout: Timeout) -> Result<Patience> {
    let Timeout::Of { sec, nsec } = timeout else { return Ok(Patience::Forever) };
    Ok(match Span::from_timespec(sec, nsec)? {
        None => Patience::Forever,
        Some(Span::ZERO) => Patience::Poll,
        Some(span) => Patience::Until(Native::now().after(span)),
    })
}
