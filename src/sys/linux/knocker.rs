//! What wakes a queue from outside its lock: another queue's thread, or a
//! signal handler, that has left something in the queue's mailbox.
//!
//! Neither may use the number by which the application knows the queue: it can
//! change, and mean a stranger's file a moment later. So the queue has a small
//! set of its own, nested in the application's set as a level, with the
//! doorbell's eventfd (which is always readable) as its one member. The
//! member's mask in there is the signal, as in [`super::doorbell`]: all numbers
//! are private, and should a program have closed them, what bears no mark of ours
//! is let be.
//!
//! Order: whoever knocks fills the mailbox first and rings then; the queue
//! quenches first and empties the mailbox then. So nothing stays in a mailbox
//! that nobody looks at; at worst a wait ends for a mailbox that is empty.

use super::descriptor::Private;
use super::epoll;
use super::kept::{self, Mark};
use crate::errno::{Errno, Result};
use crate::sys::contract::Descriptor;

/// The one mask that reports nothing: an eventfd has neither ERR nor HUP.
const SILENT: u32 = libc::EPOLLET as u32;
const RINGING: u32 = libc::EPOLLIN as u32;

/// The receiving end, which the queue keeps.
#[derive(Debug)]
pub(super) struct Knocker {
    set: Private,
    bell: Descriptor,
}

/// The sending end: plain data, good from any thread. Whoever keeps one must
/// know when its queue goes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Knock {
    set: Descriptor,
    bell: Descriptor,
}

impl Knocker {
    /// Hangs it into a queue's set, silent. A knock is told to a wait as `data`.
    pub(super) fn new(queue: Descriptor, data: u64, doorbell: &Private) -> Result<Knocker> {
        let set = epoll::create_private()?;
        let bell = doorbell.number();
        epoll::add(set.number(), bell, SILENT, 0)?;
        epoll::add(queue, set.number(), libc::EPOLLIN as u32, data)?;
        Ok(Knocker { set, bell })
    }

    /// What is in the queue's set.
    pub(super) fn number(&self) -> Descriptor {
        self.set.number()
    }

    pub(super) fn knock(&self) -> Knock {
        Knock { set: self.set.number(), bell: self.bell }
    }

    /// Makes it silent. The mailbox is emptied after this, not before.
    pub(super) fn quench(&self) -> Result<()> {
        if !self.set.is_ours() {
            return Err(Errno::EBADF);
        }
        epoll::modify(self.set.number(), self.bell, SILENT, 0)
    }
}

impl Knock {
    /// As one number, for a word that signal handlers read. It is not u64::MAX:
    /// a descriptor is not negative.
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.set.cast_unsigned()) << 32 | u64::from(self.bell.cast_unsigned())
    }

    pub(super) fn from_bits(bits: u64) -> Knock {
        Knock { set: (bits >> 32) as Descriptor, bell: bits as Descriptor }
    }

    /// Wakes the queue's waiters in turn, and shows it readable, until one of
    /// them quenches.
    ///
    /// Async-signal-safe: two system calls, no lock and no allocation. (Its lock
    /// in the kernel is not held while a handler runs.) It may change errno.
    pub(super) fn ring(self) -> Result<()> {
        if !kept::bears(self.set, Mark::Private) {
            return Err(Errno::EBADF);
        }
        epoll::modify(self.set, self.bell, RINGING, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::doorbell;
    use super::super::epoll::Batch;
    use super::super::syscall::shut;
    use super::*;

    /// What a wait on the set finds, without waiting.
    fn found(set: Descriptor) -> Vec<u64> {
        let mut batch = Batch::new();
        batch.fill(|events| epoll::poll(set, events, 8)).unwrap();
        std::iter::from_fn(|| batch.next()).map(|event| event.u64).collect()
    }

    #[test]
    fn a_knock_is_told_to_every_wait_until_it_is_quenched() {
        let bell = doorbell::create().unwrap();
        let queue = epoll::create().unwrap();
        let knocker = Knocker::new(queue, 7, &bell).unwrap();
        assert_eq!(found(queue), []);
        for _ in 0..2 {
            knocker.knock().ring().unwrap();
            knocker.knock().ring().unwrap();
            assert_eq!(found(queue), [7]);
            assert_eq!(found(queue), [7]);
            knocker.quench().unwrap();
            assert_eq!(found(queue), []);
        }
        shut(queue);
    }

    #[test]
    fn a_knock_outlives_the_number_that_the_queue_had() {
        let bell = doorbell::create().unwrap();
        let queue = epoll::create().unwrap();
        let knocker = Knocker::new(queue, 7, &bell).unwrap();
        let other = epoll::create().unwrap();
        // SAFETY: both numbers are the test's own.
        let copy = unsafe { libc::dup(queue) };
        // SAFETY: as above; the queue's old number is now another set.
        unsafe { libc::dup2(other, queue) };
        knocker.knock().ring().unwrap();
        assert_eq!(found(queue), []);
        assert_eq!(found(copy), [7]);
        for number in [queue, other, copy] {
            shut(number);
        }
    }
}
