//! The sets of a queue made anew, to be rid of entries that cannot be removed.
//!
//! An entry is known by (open file, number). Once the number is closed, or is
//! another file, nothing names an entry whose file lives on elsewhere, and only
//! the end of the set ends it.
//!
//! The order of the replacement:
//!
//! 1. New sets are filled, while the old ones go on.
//! 2. The old first set gets a farewell, which is ready for ever, and loses the
//!    doorbell. So every thread parked there wakes, and the next, and whoever
//!    enters it in this moment does not park; and it does not answer any more
//!    when the library asks whether some number is this queue.
//! 3. dup3() puts the new one under the queue's numbers. A thread that woke
//!    finds the lock taken until this is done, and waits on its number again.
//!
//! A mere dup3() would wake nobody: a parked thread holds the old file. An
//! epoll of the application's that watches the queue loses its entry, for the
//! same reason; no one can tell it.

use super::descriptor::Private;
use super::doorbell;
use super::epoll::{
    self, ALARM, Asked, BELL, BLOCKED, DEEDS, FAREWELL, FILES, KNOCK, MOUNTS, SECOND, SIGNALS,
    THIRD,
};
use super::kept::{self, Busy};
use super::objects::Native;
use super::proc::own_descriptors;
use super::sets::{IN_SECOND, IN_THIRD};
use super::syscall;
use crate::errno::{Errno, Result};
use crate::sys::contract::{Bell, Descriptor, Source};

const IN: u32 = libc::EPOLLIN as u32;
const EDGE: u32 = (libc::EPOLLIN | libc::EPOLLET) as u32;
const URGENT: u32 = libc::EPOLLPRI as u32;

/// Sets that are to take the place of a queue's.
#[derive(Debug)]
pub(crate) struct Renewal {
    first: First,
    second: Option<Private>,
    third: Option<Private>,
    /// The last to go: a queue is being made, as a forked child must know.
    _busy: Busy,
}

/// What is to be the queue, under a number that it has for the moment.
#[derive(Debug)]
struct First(Descriptor);

impl Drop for First {
    fn drop(&mut self) {
        syscall::shut(self.0);
    }
}

impl Renewal {
    pub(super) fn first(&self) -> Descriptor {
        self.first.0
    }

    /// The set for what is in the old one of the same rank.
    pub(super) fn set_of(&self, source: &Source) -> Result<Descriptor> {
        let nested = match source.notes & (IN_SECOND | IN_THIRD) {
            0 => return Ok(self.first()),
            IN_SECOND => &self.second,
            _ => &self.third,
        };
        nested.as_ref().map(Private::number).ok_or(Errno::ENOENT)
    }

    /// A nested set, if the queue has it.
    fn nested(&self, old: Option<&Private>, data: u64) -> Result<Option<Private>> {
        if !old.is_some_and(Private::is_ours) {
            return Ok(None);
        }
        let made = epoll::create_private()?;
        epoll::add(self.first(), made.number(), IN, data)?;
        Ok(Some(made))
    }
}

/// Puts the new first set under a number, if that is the old one's by the
/// farewell. Was it, and is it replaced? `spoilt`: the farewell may be in another
/// queue's set too.
fn replace(number: Descriptor, farewell: &Private, new: &Renewal, spoilt: &mut bool) -> bool {
    let asked = epoll::ask(number, farewell);
    *spoilt |= asked == Asked::Spoilt;
    asked == Asked::Is && syscall::put_under(new.first(), number)
}

impl Native {
    /// New sets, with all that is private in them.
    pub(super) fn new_sets(&mut self) -> Result<Renewal> {
        let doorbell = self.doorbell.as_ref().ok_or(Errno::EBADF)?;
        let busy = Busy::new();
        let first = First(epoll::create()?);
        let mut new = Renewal { first, second: None, third: None, _busy: busy };
        doorbell::hang(new.first(), doorbell, Bell::Rest, self.private(BELL))?;
        new.second = new.nested(self.second.as_ref(), self.private(SECOND))?;
        new.third = new.nested(self.third.as_ref(), self.private(THIRD))?;
        let [waker, other_waker] = self.mounts.wakers();
        let [rung, blocked] = self.signals.numbers();
        for (number, events, slot) in [
            (self.alarm.as_ref().map(Private::number), IN, ALARM),
            (self.knocker.as_ref().map(|knocker| knocker.number()), IN, KNOCK),
            (self.files.hung(), IN, FILES),
            (waker, URGENT, MOUNTS),
            (other_waker, URGENT, MOUNTS),
            (self.connector.number(), IN, DEEDS),
            (rung, IN, SIGNALS),
            (blocked, EDGE, BLOCKED),
        ] {
            // What the program has closed may be a stranger's by now.
            if let Some(number) = number.filter(|number| kept::is_kept(*number)) {
                epoll::add(new.first(), number, events, self.private(slot))?;
            }
        }
        Ok(new)
    }

    pub(super) fn replace_sets(&mut self, new: Renewal, numbers: &[Descriptor]) -> Result<()> {
        let old = self.set()?;
        let doorbell = self.doorbell.as_ref().ok_or(Errno::EBADF)?;
        // The one reason for which no number can be replaced below.
        if !numbers.iter().all(|number| syscall::is_allowed(*number)) {
            return Err(Errno::EMFILE);
        }
        // The farewell is an entry of the doorbell's file under a number that is
        // closed at once: a ghost, to end with the set.
        let farewell = doorbell.another()?;
        epoll::add(old, farewell.number(), IN, self.private(FAREWELL))?;
        if let Err(error) = epoll::remove(old, doorbell.number()) {
            // Then it has become a stranger's, a moment ago.
            let _ = epoll::remove(old, farewell.number());
            return Err(error);
        }
        let mut spoilt = false;
        for number in numbers {
            // Should the program close it right here, in another thread, and
            // get it again, it loses that file: no call replaces a number only
            // if it still is what it was.
            replace(*number, &farewell, &new, &mut spoilt);
        }
        // A dup that was made since they were looked for is one of the old set's
        // still, and as long as there is one, another may be made of it.
        // But by a farewell that is in another's set, that would be replaced.
        let mut more = true;
        while core::mem::take(&mut more) {
            own_descriptors(|number| {
                more |= !spoilt && replace(number, &farewell, &new, &mut spoilt);
            });
        }
        if spoilt {
            // Nor may the next renewal take its number.
            self.spoilt_farewell = Some(farewell);
        }
        self.second = new.second;
        self.third = new.third;
        self.proved = false;
        Ok(())
    }
}
