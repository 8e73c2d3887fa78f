//! The sets of a queue, and what stands in which.
//!
//! The first is the application's descriptor. A descriptor whose both sides are
//! watched has its second side in a second set, nested in the first; EXCEPT and
//! PROCDESC have a third. What others wake the queue by is nested too.

use super::Native;
use super::descriptor::Private;
use super::epoll::{self, BLOCKED, KNOCK, SECOND, SIGNALS, THIRD, pack_private};
use super::knocker::{Knock, Knocker};
use super::processes;
use super::signals::{Place, Signals};
use crate::errno::{Errno, Result};
use crate::sys::{Descriptor, Side, Source};

/// Note: the entry is in the second set. (`probe` has the notes below.)
pub(super) const IN_SECOND: u32 = 0x1_0000;
/// Note: not in a set, but among the files, at `Source::place`.
pub(super) const IN_FILES: u32 = 0x2_0000;
/// Note: the entry is in the third set.
pub(super) const IN_THIRD: u32 = 0x4_0000;

impl Native {
    /// The second or third set, made at first need and watched by the first.
    pub(super) fn nested(&mut self, slot: u32) -> Result<Descriptor> {
        let data = self.private(slot);
        let set = if slot == SECOND { &mut self.second } else { &mut self.third };
        if let Some(set) = set {
            return Ok(set.number());
        }
        let made = epoll::create_private()?;
        epoll::add(self.number, made.number(), libc::EPOLLIN as u32, data)?;
        Ok(set.insert(made).number())
    }

    /// The set that holds a source.
    pub(super) fn set_of(&self, source: &Source) -> Result<Descriptor> {
        let nested = match source.notes & (IN_SECOND | IN_THIRD) {
            0 => return Ok(self.number),
            IN_SECOND => &self.second,
            _ => &self.third,
        };
        nested.as_ref().map(Private::number).ok_or(Errno::ENOENT)
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
        match epoll::add(self.number, fd, events, data) {
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
        let doorbell = self.doorbell.as_ref().ok_or(Errno::EBADF)?;
        let knocker = Knocker::new(self.number, self.private(KNOCK), doorbell)?;
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

/// Takes a private descriptor out of a set. If the set is gone, so is the entry.
pub(super) fn leave(set: Descriptor, fd: Descriptor) {
    let _ = epoll::remove(set, fd);
}

/// What an entry's disappearance looks like. EPERM: the number has become a
/// file, which epoll does not even look up.
pub(super) fn replaced(error: Errno) -> Errno {
    if error == Errno::EPERM { Errno::ENOENT } else { error }
}
