//! The watches of a queue's inotify instance, and which entries each serves.
//!
//! An inode has one watch, whoever asks and through whatever descriptor, so
//! its mask is the union of what its entries want.

use super::entry::Entry;
use super::hook::{Hook, NONE, hook_id, hook_of};
use super::inotify::Role;
use crate::errno::{Errno, Result};

#[derive(Debug)]
struct Watch {
    number: i32,
    /// The kernel has been asked for these events.
    mask: u32,
    first: u32,
}

/// In order. The kernel counts upwards, so a new one goes to the end.
#[derive(Debug)]
pub(super) struct Watches {
    all: Vec<Watch>,
}

impl Watches {
    pub(super) const fn new() -> Watches {
        Watches { all: Vec::new() }
    }

    /// Makes room for one more.
    pub(super) fn reserve(&mut self) -> Result<()> {
        self.all.try_reserve(1).map_err(|_| Errno::ENOMEM)
    }

    fn find(&self, watch: i32) -> core::result::Result<usize, usize> {
        self.all.binary_search_by_key(&watch, |watch| watch.number)
    }

    fn get(&self, watch: i32) -> Option<&Watch> {
        self.find(watch).ok().and_then(|at| self.all.get(at))
    }

    fn get_mut(&mut self, watch: i32) -> Option<&mut Watch> {
        let at = self.find(watch).ok()?;
        self.all.get_mut(at)
    }

    pub(super) fn has(&self, watch: i32) -> bool {
        self.find(watch).is_ok()
    }

    /// The first hook on a watch, as a number for [`hook_of`].
    pub(super) fn first(&self, watch: i32) -> u32 {
        self.get(watch).map_or(NONE, |watch| watch.first)
    }

    /// What the kernel has been asked for.
    pub(super) fn mask(&self, watch: i32) -> u32 {
        self.get(watch).map_or(0, |watch| watch.mask)
    }

    /// It has been asked for these too.
    pub(super) fn ask(&mut self, watch: i32, mask: u32) {
        if let Some(watch) = self.get_mut(watch) {
            watch.mask |= mask;
        }
    }

    /// It has been asked for these, and no others.
    pub(super) fn asked(&mut self, watch: i32, mask: u32) {
        if let Some(watch) = self.get_mut(watch) {
            watch.mask = mask;
        }
    }

    /// Hangs an entry on a watch, for which there is room.
    pub(super) fn join(
        &mut self,
        entries: &mut [Entry],
        place: u32,
        role: Role,
        watch: i32,
        since: i32,
    ) {
        let Some(entry) = entries.get_mut(place as usize) else { return };
        let id = hook_id(place, role);
        let next = match self.find(watch) {
            Ok(at) => match self.all.get_mut(at) {
                Some(watch) => core::mem::replace(&mut watch.first, id),
                None => NONE,
            },
            Err(at) => {
                self.all.insert(at, Watch { number: watch, mask: 0, first: id });
                NONE
            }
        };
        *entry.hook_mut(role) = Hook { watch, next, since };
    }

    /// Takes an entry off the watch it hangs on, which goes with the last.
    pub(super) fn leave(&mut self, entries: &mut [Entry], place: u32, role: Role) -> Option<i32> {
        let hook = core::mem::replace(entries.get_mut(place as usize)?.hook_mut(role), Hook::NONE);
        let at = self.find(hook.watch).ok()?;
        let first = &mut self.all.get_mut(at)?.first;
        let id = hook_id(place, role);
        if *first == id {
            *first = hook.next;
            if hook.next == NONE {
                self.all.remove(at);
            }
            return Some(hook.watch);
        }
        let mut before = *first;
        while let Some((place, role)) = hook_of(before) {
            let other = entries.get_mut(place as usize)?.hook_mut(role);
            if other.next == id {
                other.next = hook.next;
                break;
            }
            before = other.next;
        }
        Some(hook.watch)
    }

    /// If a watch asks for more than its entries want: what they want, and one
    /// of their hooks.
    pub(super) fn excess(&self, entries: &[Entry], watch: i32) -> Option<(u32, (u32, Role))> {
        let watch = self.get(watch)?;
        let mut wanted = 0;
        let mut next = watch.first;
        while let Some((place, role)) = hook_of(next) {
            let entry = entries.get(place as usize)?;
            wanted |= entry.mask(role);
            // Most often the first one wants as much as all.
            if wanted == watch.mask {
                return None;
            }
            next = entry.hook(role).next;
        }
        Some((wanted, hook_of(watch.first)?))
    }
}
