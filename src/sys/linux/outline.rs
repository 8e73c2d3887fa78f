//! A queue's numbers, as close() finds them: it has no lock.
//!
//! Who writes: the holder of the queue's lock, or of its home's as a queue moves
//! in. Who reads: any thread that closes something, in whatever handler. Why no
//! lock is needed, and no order:
//!
//! - What was drawn before the close is seen, for then something has ordered the
//!   two: the program's own doing, which had the watch before it closed. What is
//!   drawn while a number is closed is seen or not, and both are right: it is as
//!   if the close had come before the watch. An entry that stays behind is found
//!   out later, as without the preload library: by its life.
//! - What is read together may be of two moments, or of two queues, and out of
//!   date the next moment. So each set is looked at for our mark, by whoever goes
//!   by the numbers, before anything is changed in it: a stranger's has none.
//!   Another queue's set loses a number that is being closed in this moment, and
//!   its knote is over; so would a stranger's that comes in between. (To ask
//!   whether it is this very set takes an entry that is put in and out again, and
//!   that without a lock might take out the set's own.)
//! - Whoever rings does so by the number that it was told of. If that is another
//!   queue by now, the doorbell is not in it.

use super::descriptor::Private;
use super::doorbell;
use super::epoll::{self, BELL};
use super::kept::{self, Mark};
use super::objects::Native;
use crate::sync::{AtomicI32, AtomicU64, Ordering};
use crate::sys::contract::{Bell, Descriptor};

#[derive(Debug)]
pub(crate) struct Outline {
    number: AtomicI32,
    doorbell: AtomicI32,
    second: AtomicI32,
    third: AtomicI32,
    /// What the doorbell is told as.
    data: AtomicU64,
}

const NONE: Descriptor = -1;

impl Default for Outline {
    fn default() -> Outline {
        let none = || AtomicI32::new(NONE);
        Outline {
            number: none(),
            doorbell: none(),
            second: none(),
            third: none(),
            data: AtomicU64::new(0),
        }
    }
}

impl Outline {
    /// Relaxed, here and below: see above.
    pub(super) fn draw(&self, native: &Native) {
        let number = |private: &Option<Private>| private.as_ref().map_or(NONE, Private::number);
        write(&self.number, native.number);
        write(&self.doorbell, number(&native.doorbell));
        write(&self.second, number(&native.second));
        write(&self.third, number(&native.third));
        let data = native.private(BELL);
        if self.data.load(Ordering::Relaxed) != data {
            self.data.store(data, Ordering::Relaxed);
        }
    }

    pub(super) fn take_out(&self, fd: Descriptor) {
        let number = self.number.load(Ordering::Relaxed);
        if number != NONE && kept::bears(number, Mark::Queue) {
            // It fails where the descriptor is not watched.
            let _ = epoll::remove(number, fd);
        }
        for nested in [&self.second, &self.third] {
            let nested = nested.load(Ordering::Relaxed);
            if nested != NONE && kept::is_kept(nested) {
                let _ = epoll::remove(nested, fd);
            }
        }
    }

    pub(super) fn rouse(&self, number: Descriptor) -> bool {
        let doorbell = self.doorbell.load(Ordering::Relaxed);
        let data = self.data.load(Ordering::Relaxed);
        // It fails if the number is another queue.
        kept::bears(number, Mark::Queue)
            && doorbell::set(number, doorbell, Bell::Hold, data).is_ok()
    }
}

/// A write would take the line from other threads' caches.
fn write(to: &AtomicI32, number: Descriptor) {
    if to.load(Ordering::Relaxed) != number {
        to.store(number, Ordering::Relaxed);
    }
}
