//! The sets of a queue, and what stands in which.
//!
//! The first is the application's descriptor. A descriptor whose both sides are
//! watched has its second side in a second set, nested in the first; EXCEPT and
//! PROCDESC have a third. What others wake the queue by is nested too.

use super::descriptor::{self, Private};
use super::epoll::{self, BLOCKED, KNOCK, SECOND, SIGNALS, THIRD, pack_private};
use super::kept::{self, Mark};
use super::knocker::{Knock, Knocker};
use super::objects::Native;
use super::processes;
use super::signals::{Place, Signals};
use crate::errno::{Errno, Result};
use crate::sys::contract::{Descriptor, Side, Source};

/// Note: the entry is in the second set. (`probe` has the notes below.)
pub(super) const IN_SECOND: u32 = 0x1_0000;
/// Note: not in a set, but among the files, at `Source::place`.
pub(super) const IN_FILES: u32 = 0x2_0000;
/// Note: the entry is in the third set.
pub(super) const IN_THIRD: u32 = 0x4_0000;

impl Native {
    /// The first set. EBADF: the number is a stranger's by now, and nothing of
    /// it is to be changed.
    pub(super) fn set(&mut self) -> Result<Descriptor> {
        self.marked = self.marked || self.proved || kept::bears(self.number, Mark::Queue);
        if self.marked { Ok(self.number) } else { Err(Errno::EBADF) }
    }

    /// The second or third set, made at first need and watched by the first;
    /// made again, if the program has closed it: with it went what it held.
    pub(super) fn nested(&mut self, slot: u32) -> Result<Descriptor> {
        let data = self.private(slot);
        let first = self.set()?;
        let set = if slot == SECOND { &mut self.second } else { &mut self.third };
        descriptor::drop_strange(set);
        if let Some(set) = set {
            return Ok(set.number());
        }
        let made = epoll::create_private()?;
        epoll::add(first, made.number(), libc::EPOLLIN as u32, data)?;
        Ok(set.insert(made).number())
    }

    /// The set that holds a source. ENOENT: it is gone, and its entry too.
    pub(super) fn set_of(&mut self, source: &Source) -> Result<Descriptor> {
        let nested = match source.notes & (IN_SECOND | IN_THIRD) {
            0 => return self.set(),
            IN_SECOND => &self.second,
            _ => &self.third,
        };
        let nested = nested.as_ref().filter(|set| set.is_ours());
        nested.map(Private::number).ok_or(Errno::ENOENT)
    }

    /// Puts an entry into the set that belongs to the side: the first that has
    /// none for this descriptor, or the third.
    pub(super) fn enter(
        &mut self,
        fd: Descriptor,
        side: Side,
        events: u32,
        data: u64,
    ) -> Result<u32> {
        if side == Side::Except {
            let third = self.nested(THIRD)?;
            epoll::add_anew(third, fd, events, data)?;
            return Ok(IN_THIRD);
        }
        match epoll::add(self.set()?, fd, events, data) {
            Ok(()) => return Ok(0),
            Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
        let second = self.nested(SECOND)?;
        epoll::add_anew(second, fd, events, data)?;
        Ok(IN_SECOND)
    }

    /// By what others wake this queue, made at first need.
    pub(super) fn knock(&mut self) -> Result<Knock> {
        if let Some(knocker) = &self.knocker {
            return Ok(knocker.knock());
        }
        let set = self.set()?;
        let doorbell = self.doorbell.as_ref().ok_or(Errno::EBADF)?;
        let knocker = Knocker::new(set, self.private(KNOCK), doorbell)?;
        Ok(self.knocker.insert(knocker).knock())
    }

    /// Hears of the ends of children by SIGCHLD, if they have no pidfds.
    pub(super) fn listen_for_children(&mut self) {
        if self.processes.is_deaf()
            && let Ok(knock) = self.knock()
        {
            self.processes.listen(knock);
        }
    }

    /// Others have left something in the mailboxes, or a child has ended. Which
    /// ones to look at.
    pub(super) fn knocked(&mut self) -> processes::Walk {
        let Some(knocker) = &self.knocker else { return processes::Walk::DONE };
        // It fails only if the program has closed our numbers; then there is
        // nothing to silence.
        let _ = knocker.quench();
        self.files.take_mail();
        self.processes.knocked()
    }

    /// The signals, and where their descriptors go.
    pub(super) fn signals(&mut self) -> Result<(&mut Signals, Place<'_>)> {
        let place = Place {
            queue: self.number,
            doorbell: self.doorbell.as_ref().ok_or(Errno::EBADF)?,
            rung: pack_private(self.cookie, SIGNALS),
            blocked: pack_private(self.cookie, BLOCKED),
        };
        Ok((&mut self.signals, place))
    }

    pub(super) fn private(&self, slot: u32) -> u64 {
        pack_private(self.cookie, slot)
    }
}

/// Takes a private descriptor out of the first set. If that is gone, so is the
/// entry.
pub(super) fn leave(set: Result<Descriptor>, fd: &Private) {
    // A stranger's that got the number may be watched in the same set.
    if let Ok(set) = set
        && fd.is_ours()
    {
        let _ = epoll::remove(set, fd.number());
    }
}

/// What an entry's disappearance looks like. EPERM: the number has become a
/// file, which epoll does not even look up.
pub(super) fn replaced(error: Errno) -> Errno {
    if error == Errno::EPERM { Errno::ENOENT } else { error }
}
