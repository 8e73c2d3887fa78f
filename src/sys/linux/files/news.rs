//! News of files: what the instance says, given to the entries that it is
//! about, and their hints.

use super::Files;
use super::entry::Entry;
use super::hook::{NONE, hook_of};
use super::inotify::Role;
use super::notes::Change;
use crate::sys::contract::Token;

/// The kernel's queue, of 16,384 events by default, is read within one call, so
/// that an event has all that happened before it; but not without end, as long
/// as somebody writes.
const MOST_READS: u32 = 160;

impl Files {
    /// Begins to read what has changed, if anything; [`Files::next`] goes on.
    pub(in crate::sys::linux) fn read(&mut self) {
        self.reads = MOST_READS;
    }

    /// As `read`, if notes are collected here: what is about to be returned
    /// should be all that has happened.
    pub(in crate::sys::linux) fn glance(&mut self) {
        if self.noted > 0 {
            self.read();
        }
    }

    /// What others have read for this queue is told next.
    pub(in crate::sys::linux) fn take_mail(&mut self) {
        self.mail = true;
    }

    /// Gets more letters to open, from whoever has any.
    #[cold]
    fn fetch(&mut self) {
        self.letters.clear();
        self.opened = 0;
        self.fetch += 1;
        let lost = if core::mem::replace(&mut self.mail, false) {
            self.instance.take(&mut self.letters)
        } else {
            let got = self.instance.read(&mut self.letters);
            self.reads = if got.more { self.reads.saturating_sub(1) } else { 0 };
            got.lost
        };
        if lost {
            self.overflowed();
        }
    }

    /// The next token to look at.
    #[inline]
    pub(in crate::sys::linux) fn next(&mut self) -> Option<Token> {
        loop {
            if self.stirred.0 != NONE {
                return self.pop();
            }
            let Some(&(watch, change)) = self.letters.get(self.opened) else {
                if self.reads == 0 && !self.mail {
                    return None;
                }
                self.fetch();
                continue;
            };
            self.opened += 1;
            match change {
                Change::Overflow => self.overflowed(),
                Change::Dropped => self.dropped(watch),
                _ => self.changed(watch, change),
            }
        }
    }

    fn changed(&mut self, watch: i32, change: Change) {
        let mut next = self.watches.first(watch);
        while let Some((place, role)) = hook_of(next) {
            let Some(entry) = self.entries.get_mut(place as usize) else { return };
            let hook = entry.hook(role);
            next = hook.next;
            if hook.since > self.met {
                continue;
            }
            let heard = match role {
                Role::Own => entry.feed(change, self.fetch),
                Role::Parent => change == Change::Removed(true) && entry.is_removed(self.fetch),
            };
            if heard {
                self.stir(place);
            }
            if change == Change::Renamed && role == Role::Own {
                self.moved(place);
            }
        }
    }

    /// A directory may have another parent now, and may have gone from it.
    fn moved(&mut self, place: u32) {
        let Some(entry) = self.entries.get_mut(place as usize) else { return };
        if !entry.notes().is_some_and(|notes| notes.wants_removal()) {
            return;
        }
        self.listen_to_parent(place);
        let Some(entry) = self.entries.get_mut(place as usize) else { return };
        // What was seen before the watch stood may have gone before it, too.
        // Where there is none now, the core must know to look by the clock.
        if entry.is_gone() || !entry.hears() {
            self.stir(place);
        }
    }

    /// The kernel has dropped a watch: the mark, or one whose inode has lost its
    /// last link. If a descriptor keeps the file it can be watched again.
    fn dropped(&mut self, watch: i32) {
        if !self.watches.has(watch) {
            self.met = self.met.max(watch);
            return;
        }
        while let Some((place, role)) = hook_of(self.watches.first(watch)) {
            self.watches.leave(&mut self.entries, place, role);
            self.renew(place, role);
        }
    }

    /// Watches again, and looks at what happened in between.
    fn renew(&mut self, place: u32, role: Role) {
        let Some(entry) = self.entries.get_mut(place as usize) else { return };
        let gone = entry.look(entry.fd()).is_err();
        let revoked = entry.notes().is_some_and(|notes| notes.revoked);
        if !gone && !revoked {
            match (role, entry.notes()) {
                (Role::Parent, _) => self.listen_to_parent(place),
                (Role::Own, Some(_)) => self.listen(place),
                // One that fails is looked at by the clock from then on.
                (Role::Own, None) => {
                    let _ = self.hook(place, role);
                }
            }
        }
        if let Some(entry) = self.entries.get_mut(place as usize) {
            entry.compare();
            self.stir(place);
        }
    }

    /// Events were lost: every file is looked at.
    fn overflowed(&mut self) {
        // Marks may be among what was lost.
        self.met = self.met.max(self.marked);
        for place in 0..self.entries.len() as u32 {
            let Some(entry) = self.entries.get_mut(place as usize) else { return };
            if entry.is_free() || entry.hook(Role::Own).is_free() {
                continue;
            }
            // So may be the word of a move,
            self.moved(place);
            let Some(entry) = self.entries.get_mut(place as usize) else { return };
            if entry.compare() {
                self.stir(place);
            }
            // or that the kernel has dropped the watch.
            let removed = self.entries.get_mut(place as usize).and_then(Entry::notes);
            if removed.is_none_or(|notes| notes.state.is_removed()) {
                let _ = self.hook(place, Role::Own);
            }
        }
    }

    fn stir(&mut self, place: u32) {
        let (first, last) = self.stirred;
        let Some(entry) = self.entries.get_mut(place as usize) else { return };
        if core::mem::replace(&mut entry.stirred, true) {
            return;
        }
        entry.next = NONE;
        match self.entries.get_mut(last as usize) {
            Some(entry) => {
                entry.next = place;
                self.stirred = (first, place);
            }
            None => self.stirred = (place, place),
        }
    }

    fn pop(&mut self) -> Option<Token> {
        let (first, last) = self.stirred;
        let entry = self.entries.get_mut(first as usize)?;
        entry.stirred = false;
        self.stirred = if first == last { (NONE, NONE) } else { (entry.next, last) };
        Some(entry.token())
    }

    /// Takes back a hint, of an entry that goes. They are few, as each call
    /// gives all there are.
    pub(super) fn calm(&mut self, place: u32) {
        if !self.entries.get(place as usize).is_some_and(|entry| entry.stirred) {
            return;
        }
        let mut keep = core::mem::replace(&mut self.stirred, (NONE, NONE)).0;
        while let Some(entry) = self.entries.get_mut(keep as usize) {
            let next = entry.next;
            entry.stirred = false;
            if keep != place {
                self.stir(keep);
            }
            keep = next;
        }
    }
}
