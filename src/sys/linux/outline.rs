//! A queue's numbers, as close() finds them: it has no lock.
//!
//! They are written down with the lock, and may be out of date a moment later.
//! So each set is asked whether it still holds what it should, by whoever goes
//! by them, before anything is changed in it: a number that has become a
//! stranger's set says no.

use super::descriptor::Private;
use super::doorbell;
use super::epoll::{self, BELL};
use super::kept::{self, Mark};
use super::objects::Native;
use crate::sync::{AtomicI32, AtomicU64, Ordering};
use crate::sys::{Bell, Descriptor};

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
    /// Relaxed, here and below: what is read together need not be of one
    /// moment, since the kernel is asked.
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
        let doorbell = self.doorbell.load(Ordering::Relaxed);
        if number == NONE || !epoll::has_member(number, doorbell) {
            return;
        }
        // It fails where the descriptor is not watched.
        let _ = epoll::remove(number, fd);
        for nested in [&self.second, &self.third] {
            let nested = nested.load(Ordering::Relaxed);
            if nested != NONE && epoll::has_member(number, nested) {
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
