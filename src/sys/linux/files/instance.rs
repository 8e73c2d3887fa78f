//! The inotify instance that a queue uses: its own, or the shared one.

use super::super::epoll;
use super::super::knocker::Knock;
use super::inotify::{Inotify, LETTERS, Letter, Role};
use super::shared::{Member, Owner};
use crate::errno::{Errno, Result};
use crate::sys::contract::Descriptor;

#[derive(Debug)]
pub(super) enum Instance {
    /// Nothing has been watched yet.
    None,
    /// The count goes after the instance: when the last has gone, the shared
    /// one goes too.
    Own(Inotify, Owner),
    Shared(Member),
}

/// How a read went.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Got {
    /// There may be more to be read.
    pub(super) more: bool,
    /// Some was lost.
    pub(super) lost: bool,
}

impl Instance {
    pub(super) fn is_some(&self) -> bool {
        !matches!(self, Instance::None)
    }

    /// The instance that is in the queue's set.
    pub(super) fn hung(&self) -> Option<Descriptor> {
        match self {
            Instance::None => None,
            Instance::Own(inotify, _) => inotify.number().ok(),
            Instance::Shared(member) => member.number(),
        }
    }

    /// Makes one for this queue and puts it into the set. EMFILE: the user has
    /// no more, or the process no descriptor.
    pub(super) fn own(set: Descriptor, data: u64, letters: &mut Vec<Letter>) -> Result<Instance> {
        letters.try_reserve(LETTERS).map_err(|_| Errno::ENOMEM)?;
        let inotify = Inotify::new()?;
        epoll::add(set, inotify.number()?, libc::EPOLLIN as u32, data)?;
        Ok(Instance::Own(inotify, Owner::new()?))
    }

    pub(super) fn shared(set: Descriptor, data: u64, knock: Knock) -> Result<Instance> {
        Ok(Instance::Shared(Member::join(set, data, knock)?))
    }

    /// Watches a descriptor's inode for these events and any asked for before:
    /// by which watch, and did another queue have it before.
    pub(super) fn add(&self, fd: Descriptor, role: Role, mask: u32) -> Result<(i32, bool)> {
        match self {
            Instance::None => Err(Errno::ENOENT),
            Instance::Own(inotify, _) => Ok((inotify.add(fd, role, mask)?, false)),
            Instance::Shared(member) => member.add(fd, role, mask),
        }
    }

    /// Watches a descriptor's inode for these events and no others; by which
    /// watch. Of the shared one others may want more, and what comes unwanted
    /// is passed over.
    pub(super) fn lower(&self, fd: Descriptor, role: Role, mask: u32) -> Option<i32> {
        match self {
            Instance::Own(inotify, _) => inotify.set(fd, role, mask).ok(),
            _ => None,
        }
    }

    pub(super) fn remove(&self, watch: i32) {
        match self {
            Instance::None => {}
            Instance::Own(inotify, _) => inotify.remove(watch),
            Instance::Shared(member) => member.remove(watch),
        }
    }

    /// Is there something to be read that this queue has not seen?
    pub(super) fn is_behind(&self) -> Result<bool> {
        match self {
            Instance::None => Ok(false),
            Instance::Own(inotify, _) => inotify.is_behind(),
            Instance::Shared(member) => member.is_behind(),
        }
    }

    /// Puts a mark at the end of what is to be read.
    pub(super) fn mark(&self) -> Result<i32> {
        match self {
            Instance::None => Err(Errno::ENOENT),
            Instance::Own(inotify, _) => inotify.mark(),
            Instance::Shared(member) => member.mark(),
        }
    }

    /// Reads into an empty list.
    pub(super) fn read(&mut self, letters: &mut Vec<Letter>) -> Got {
        match self {
            Instance::None => Got::default(),
            Instance::Own(inotify, _) => {
                // There is room for all that one read brings.
                let more = inotify.read(|letter| letters.push(letter));
                Got { more, lost: false }
            }
            Instance::Shared(member) => {
                let more = member.read();
                Got { more, lost: member.take(letters) }
            }
        }
    }

    /// Takes what others have read for this queue.
    pub(super) fn take(&self, letters: &mut Vec<Letter>) -> bool {
        match self {
            Instance::Shared(member) => member.take(letters),
            _ => false,
        }
    }

    /// In a forked child: forgets what is counted, or written down, for the
    /// parent's queues.
    pub(super) fn disown(&mut self) {
        match core::mem::replace(self, Instance::None) {
            Instance::None => {}
            Instance::Own(inotify, owner) => {
                drop(inotify);
                core::mem::forget(owner);
            }
            Instance::Shared(member) => core::mem::forget(member),
        }
    }
}
