//! Ghosts, and how a queue is rid of them.
//!
//! A descriptor is closed here while its file lives on elsewhere: under a dup,
//! or in a child. Natively its knote goes, and here too, but the platform may
//! go on watching the file, which has no number any more by which it could be
//! told to stop. As long as the file is ready every wait then ends for nothing.
//!
//! The cure is to make the objects that waits go through anew, with all that is
//! still watched, under the same number. It costs about as much for each knote
//! that the poller watches as one idle wake does, and for each of the process's
//! descriptors, which are looked through for the queue's dups. So a queue bears as
//! many idle wakes: then neither the ghosts nor the cures, however many come, cost
//! more than about twice what is needed.
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

/// How much a queue is haunted.
#[derive(Debug)]
pub(super) struct Haunts {
    /// How many hints came for knotes that had gone before the wait began.
    count: usize,
    bearable: usize,
    /// How many descriptors were looked through for the last renewal.
    looked_through: usize,
}

impl Haunts {
    pub(super) const fn new() -> Haunts {
        Haunts { count: 0, bearable: BEARABLE, looked_through: 0 }
    }

    /// Is it time to be rid of the ghosts?
    pub(super) fn are_too_many(&self) -> bool {
        self.count > self.bearable
    }
}

impl<P: Platform> Queue<P> {
    /// A hint has come for a knote that is not there. A thread that held it
    /// already when the knote went is no sign of anything; but if no knote has
    /// gone since before the wait began, something watches that nobody can
    /// stop.
    pub(super) fn stray(&mut self, gone_before: Option<u32>) {
        if gone_before != Some(self.gone) {
            return;
        }
        self.haunts.count += 1;
        // Reckoned seldom, for to count the knotes takes its time too.
        if self.haunts.count >= BEARABLE && self.haunts.count.is_power_of_two() {
            let carried = self.table.slots().filter(|slot| {
                let knote = self.table.get(*slot);
                knote.and_then(|knote| knote.body.source()).is_some_and(|source| source.repeats)
            });
            self.haunts.bearable = BEARABLE + carried.count() + self.haunts.looked_through;
        }
    }

    /// It is about to be renewed: not at once again, whatever comes of it.
    pub(crate) fn bear(&mut self) {
        self.haunts.count = 0;
    }

    /// Has this queue a watch on another one, by one of these numbers?
    pub(crate) fn watches(&self, numbers: &[Descriptor]) -> bool {
        numbers.iter().any(|number| self.watch_on(*number).is_some())
    }

    /// Only READ takes a queue.
    fn watch_on(&self, number: Descriptor) -> Option<Slot> {
        self.table.find(Key::Descriptor(EVFILT_READ, usize::try_from(number).ok()?))
    }

    /// Reaches the queue by one of the numbers that are known to be its own. The
    /// one by which a call came last may be a stranger's. `None`: none is left.
    fn reach_any(&mut self, own: &[Descriptor]) -> Option<Descriptor> {
        own.iter().copied().find(|number| {
            self.port.reach(*number);
            self.port.prove()
        })
    }

    /// Ends the watches on another queue, which is about to be renewed. Their
    /// knotes stay. `own`: the numbers of this queue, here and below.
    pub(crate) fn let_go(&mut self, own: &[Descriptor], numbers: &[Descriptor]) {
        if self.reach_any(own).is_none() {
            return;
        }
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
    pub(crate) fn take_hold(
        &mut self,
        own: &[Descriptor],
        numbers: &[Descriptor],
        is_it: impl Fn(Descriptor) -> bool,
    ) {
        if self.reach_any(own).is_none() {
            return;
        }
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

    /// Makes what waits go through anew, under these numbers, all its own,
    /// without the ghosts. On error everything is as before. `looked_through`:
    /// among how many descriptors they were found.
    pub(crate) fn renew(&mut self, own: &[Descriptor], looked_through: usize) -> Result<()> {
        self.haunts.looked_through = looked_through;
        if self.ringing.is_out() {
            // A thread is on its way to the old bell.
            return Err(Errno::EAGAIN);
        }
        let mut number = self.reach_any(own).ok_or(Errno::EBADF)?;
        let mut renewal = self.port.prepare_renewal()?;
        for slot in self.table.slots() {
            while let Err(error) = self.carry(slot, &mut renewal) {
                if !matches!(error, Errno::EBADF | Errno::ENOENT) {
                    return Err(error);
                }
                // Closed as well, and natively its knote went with it; or the
                // number by which that was asked has been closed meanwhile.
                self.port.reach(number);
                if self.port.prove() {
                    let _ = self.delete(slot);
                    break;
                }
                number = self.reach_any(own).ok_or(Errno::EBADF)?;
            }
        }
        // Nothing goes into a stranger's set that has got the number since.
        self.reach_any(own).ok_or(Errno::EBADF)?;
        self.port.renew(renewal, own)?;
        if self.ringing.bell() != Bell::Rest && self.port.bell(self.ringing.bell()).is_err() {
            // The next call by a good number does it.
            self.ringing.doubt();
        }
        Ok(())
    }

    /// Puts what stands for a knote with the platform into the new sets too.
    fn carry(&mut self, slot: Slot, renewal: &mut P::Renewal) -> Result<()> {
        let token = self.table.token(slot);
        let Some(knote) = self.table.get(slot) else { return Ok(()) };
        filter::list::find::<P>(knote.filter)?.carry(knote, &mut self.port, renewal, token)
    }
}
