//! Ghosts, and how a queue is rid of them.
//!
//! A descriptor is closed here while its file lives on elsewhere: under a dup,
//! or in a child. Natively its knote goes, and here too, but the platform may
//! go on watching the file, which has no number any more by which it could be
//! told to stop. As long as the file is ready every wait then ends for nothing.
//!
//! The cure is to make the objects that waits go through anew, with all that is
//! still watched, under the same number. It costs about as much for each knote
//! as one idle wake does. So a queue bears as many of these as it has knotes:
//! then neither the ghosts nor the cures, however many come, cost more than
//! about twice what is needed.
//!
//! Other queues may watch this one by its number: they must let go of the old
//! objects and take hold of the new ones, with no call of theirs in between, or
//! it would find that the number has become another file. The registry, which
//! knows all queues, sees to that.

#![forbid(unsafe_code)]

use super::Queue;
use crate::errno::{Errno, Result};
use crate::event::EVFILT_READ;
use crate::filter;
use crate::knote::Slot;
use crate::knote::table::Key;
use crate::sys::{Bell, Descriptor, Platform};

/// So many idle wakes any queue bears.
const BEARABLE: usize = 8;

impl<P: Platform> Queue<P> {
    /// A hint has come for a knote that is not there. A thread that held it
    /// already when the knote went is no sign of anything; but if no knote has
    /// gone since before the wait began, something watches that nobody can
    /// stop.
    pub(super) fn stray(&mut self, gone_before: Option<u32>) {
        if gone_before == Some(self.gone) {
            self.haunts += 1;
        }
    }

    /// Is it time to be rid of the ghosts?
    pub(super) fn is_haunted(&self) -> bool {
        self.haunts > BEARABLE + self.table.slots().len()
    }

    /// Has this queue a watch on another one, by one of these numbers?
    pub(crate) fn watches(&self, numbers: &[Descriptor]) -> bool {
        numbers.iter().any(|number| self.watch_on(*number).is_some())
    }

    /// Only READ takes a queue.
    fn watch_on(&self, number: Descriptor) -> Option<Slot> {
        self.table.find(Key::Descriptor(EVFILT_READ, usize::try_from(number).ok()?))
    }

    /// Ends the watches on another queue, which is about to be renewed. Their
    /// knotes stay.
    pub(crate) fn let_go(&mut self, numbers: &[Descriptor]) {
        for number in numbers {
            let Some(slot) = self.watch_on(*number) else { continue };
            let token = self.table.token(slot);
            let Some(source) = self.table.get(slot).and_then(|knote| knote.body.source()) else {
                continue;
            };
            // If it fails there is none to end.
            let _ = self.port.unwatch(*number, source, token);
        }
    }

    /// Watches the other queue, which has been renewed, as before. `is_it`: does
    /// the number still refer to it?
    pub(crate) fn take_hold(&mut self, numbers: &[Descriptor], is_it: impl Fn(Descriptor) -> bool) {
        for number in numbers {
            let Some(slot) = self.watch_on(*number) else { continue };
            let token = self.table.token(slot);
            let Some(knote) = self.table.get_mut(slot) else { continue };
            let Some(source) = knote.body.source() else { continue };
            let Ok(filter) = filter::list::find::<P>(knote.filter) else { continue };
            if self.port.verify(*number, &source) == Err(Errno::ENOENT) {
                // There was room for it a moment ago. If there is none now, the
                // next change of the knote finds that it has gone.
                let _ = filter.attach(knote, &mut self.port, token);
            }
            // Looked at last: the program may close it at any moment, and the
            // next file on the number is not this knote's.
            if !is_it(*number) {
                let _ = self.delete(slot);
            }
        }
    }

    /// Makes what waits go through anew, under these numbers, without the
    /// ghosts. On error everything is as before.
    pub(crate) fn renew(&mut self, numbers: &[Descriptor]) -> Result<()> {
        // Not at once again, whatever comes of it.
        self.haunts = 0;
        if self.ringing.is_out() {
            // A thread is on its way to the old bell.
            return Err(Errno::EAGAIN);
        }
        let mut renewal = self.port.prepare_renewal()?;
        for slot in self.table.slots() {
            let token = self.table.token(slot);
            let Some(knote) = self.table.get(slot) else { continue };
            let carried = filter::list::find::<P>(knote.filter)
                .and_then(|filter| filter.carry(knote, &mut self.port, &mut renewal, token));
            match carried {
                Ok(()) => {}
                // Closed as well, and natively its knote went with it.
                Err(Errno::EBADF | Errno::ENOENT) => {
                    let _ = self.delete(slot);
                }
                Err(error) => return Err(error),
            }
        }
        self.port.renew(renewal, numbers)?;
        if self.ringing.bell() != Bell::Rest {
            self.port.bell(self.ringing.bell())?;
        }
        Ok(())
    }
}
