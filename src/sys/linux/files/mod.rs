//! Files: what epoll refuses (files, directories, /dev/null and its kin), and
//! what EVFILT_VNODE watches.
//!
//! To READ and WRITE they are always "ready", so the core keeps those that
//! have something on its own list and this table keeps the rest of what is
//! needed: which file a number stood for (to know a reused number), and, once
//! a file has been read to its end, a watch that tells when it changes. For
//! VNODE it keeps the file's state as last seen and the notes collected since.
//!
//! One inotify instance serves the queue, made at first need. Two entries of
//! one inode share a watch there ([`Watches`]). An entry is told only of what
//! happened after it joined: if events wait to be read then, it ignores all
//! until the mark that it put behind them.

mod entry;
mod hook;
mod inotify;
mod instance;
mod news;
mod notes;
mod shared;
mod watches;

pub(super) use entry::is_unheard;
pub(super) use shared::reclaim;

use super::knocker::Knock;
use crate::errno::{Errno, Result};
use crate::sys::contract::{Class, Descriptor, FileNotes, Token};

use entry::{Entry, Notes};
use hook::NONE;
use inotify::{Letter, Role};
use instance::Instance;
use watches::Watches;

#[derive(Debug)]
pub(super) struct Files {
    entries: Vec<Entry>,
    free: u32,
    instance: Instance,
    watches: Watches,
    /// What was read and not yet looked into, from `opened` on.
    letters: Vec<Letter>,
    opened: usize,
    /// Counts the times that letters were fetched.
    fetch: u64,
    /// How many more reads may follow.
    reads: u32,
    /// Others have read for this queue.
    mail: bool,
    /// How many entries collect notes.
    noted: u32,
    /// The last mark put, and the last one met.
    marked: i32,
    met: i32,
    /// Entries with hints, first and last.
    stirred: (u32, u32),
}

impl Files {
    pub(super) const fn new() -> Files {
        Files {
            entries: Vec::new(),
            free: NONE,
            instance: Instance::None,
            watches: Watches::new(),
            letters: Vec::new(),
            opened: 0,
            fetch: 0,
            reads: 0,
            mail: false,
            noted: 0,
            marked: 0,
            met: 0,
            stirred: (NONE, NONE),
        }
    }

    /// Takes in a descriptor that epoll refused.
    pub(super) fn insert(&mut self, fd: Descriptor, token: Token) -> Result<u32> {
        self.place(Entry::refused(fd, token)?)
    }

    /// Takes in a file to collect notes of. EINVAL: it is no file.
    pub(super) fn insert_noted(&mut self, fd: Descriptor, want: u32, token: Token) -> Result<u32> {
        let place = self.place(Entry::noted(fd, want, token)?)?;
        self.noted += 1;
        Ok(place)
    }

    fn place(&mut self, entry: Entry) -> Result<u32> {
        if let Some(place) = self.entries.get_mut(self.free as usize) {
            let index = self.free;
            self.free = place.next;
            *place = entry;
            return Ok(index);
        }
        self.entries.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.entries.push(entry);
        Ok(self.entries.len() as u32 - 1)
    }

    fn notes(&mut self, place: u32) -> Option<&mut Notes> {
        self.entries.get_mut(place as usize)?.notes()
    }

    pub(super) fn class(&self, place: u32) -> Class {
        self.entries.get(place as usize).map_or(Class::Always, Entry::class)
    }

    /// Does the number still stand for the file that was taken in? EBADF: it
    /// is closed; ENOENT: it is another file.
    pub(super) fn verify(&self, fd: Descriptor, place: u32) -> Result<()> {
        let entry = self.entries.get(place as usize).ok_or(Errno::ENOENT)?;
        entry.look(fd).map(|_| ())
    }

    pub(super) fn remove(&mut self, place: u32) {
        for role in [Role::Own, Role::Parent] {
            self.unhook(place, role);
        }
        self.calm(place);
        if let Some(entry) = self.entries.get_mut(place as usize) {
            self.noted -= u32::from(entry.notes().is_some());
            entry.free();
            entry.next = self.free;
            self.free = place;
        }
    }

    pub(super) fn has_instance(&self) -> bool {
        self.instance.is_some()
    }

    /// The instance that is in the queue's set.
    pub(super) fn hung(&self) -> Option<Descriptor> {
        self.instance.hung()
    }

    /// Makes the queue an instance of its own. EMFILE: there is none left, or
    /// no descriptor.
    pub(super) fn open_own(&mut self, set: Descriptor, data: u64) -> Result<()> {
        self.instance = Instance::own(set, data, &mut self.letters)?;
        Ok(())
    }

    /// Joins those that share one.
    pub(super) fn open_shared(&mut self, set: Descriptor, data: u64, knock: Knock) -> Result<()> {
        self.instance = Instance::shared(set, data, knock)?;
        Ok(())
    }

    /// Makes changes of a file give hints, READ's. There must be an instance.
    pub(super) fn watch(&mut self, place: u32) -> Result<()> {
        match self.entries.get(place as usize) {
            Some(entry) if entry.hook(Role::Own).is_free() => self.hook(place, Role::Own),
            _ => Ok(()),
        }
    }

    /// Makes events tell of what is wanted, as far as they can. There must be
    /// an instance.
    pub(super) fn listen(&mut self, place: u32) {
        let hears = self.hook(place, Role::Own).is_ok();
        let Some(entry) = self.entries.get_mut(place as usize) else { return };
        let Some(notes) = entry.notes() else { return };
        if !hears {
            // The events of a smaller wish may still come; now the looks tell.
            notes.deaf = true;
            return self.unhook(place, Role::Own);
        }
        if core::mem::replace(&mut notes.deaf, false) {
            // First the watch, then another look, to begin from: what happens
            // in between may be told twice, but not never.
            entry.compare();
        }
        self.listen_to_parent(place);
    }

    /// Watches a directory's parent, if its removal is wanted.
    fn listen_to_parent(&mut self, place: u32) {
        let Some(notes) = self.notes(place) else { return };
        let wanted = notes.wants_removal();
        let hears = wanted && self.hook(place, Role::Parent).is_ok();
        if !hears {
            self.unhook(place, Role::Parent);
        }
        if let Some(notes) = self.notes(place) {
            notes.orphan = wanted && !hears;
        }
    }

    /// Other notes are wanted from now on; what is collected stays.
    pub(super) fn want(&mut self, place: u32, want: u32) {
        let Some(notes) = self.notes(place) else { return };
        let same = core::mem::replace(&mut notes.want, want) == want;
        if same || notes.deaf {
            return;
        }
        self.listen(place);
        self.lower(place, Role::Own);
    }

    /// Do events tell of all that is wanted?
    pub(super) fn hears(&self, place: u32) -> bool {
        self.entries.get(place as usize).is_some_and(Entry::hears)
    }

    /// What has been collected. EBADF, ENOENT: as for `verify`.
    pub(super) fn collected(&mut self, fd: Descriptor, place: u32) -> Result<FileNotes> {
        self.entries.get_mut(place as usize).ok_or(Errno::ENOENT)?.collected(fd)
    }

    pub(super) fn forget_collected(&mut self, place: u32) {
        if let Some(notes) = self.notes(place) {
            notes.forget();
        }
    }

    /// Puts an entry on the watch of its inode, made if need be, and asks for
    /// its events.
    fn hook(&mut self, place: u32, role: Role) -> Result<()> {
        let entry = self.entries.get(place as usize).ok_or(Errno::ENOENT)?;
        let (fd, mask, was) = (entry.fd(), entry.mask(role), entry.hook(role).watch);
        self.watches.reserve()?;
        let (watch, shared) = self.instance.add(fd, role, mask)?;
        if watch == was {
            self.watches.ask(watch, mask);
            return Ok(());
        }
        let known = shared || self.watches.has(watch);
        let unread = self.opened < self.letters.len();
        // Of a new watch nothing can wait to be read.
        let since = if known && (unread || self.instance.is_behind().unwrap_or(true)) {
            self.marked = self.instance.mark()?;
            self.marked
        } else {
            self.met
        };
        self.unhook(place, role);
        self.watches.join(&mut self.entries, place, role, watch, since);
        self.watches.ask(watch, mask);
        Ok(())
    }

    /// Takes an entry off a watch, and ends a watch that has no other.
    fn unhook(&mut self, place: u32, role: Role) {
        let Some(watch) = self.watches.leave(&mut self.entries, place, role) else { return };
        if self.watches.has(watch) {
            self.lower_watch(watch);
        } else {
            self.instance.remove(watch);
        }
    }

    fn lower(&mut self, place: u32, role: Role) {
        if let Some(entry) = self.entries.get(place as usize)
            && !entry.hook(role).is_free()
        {
            self.lower_watch(entry.hook(role).watch);
        }
    }

    /// Asks a watch for no more than its entries want.
    fn lower_watch(&mut self, watch: i32) {
        let Some((mask, hook)) = self.watches.excess(&self.entries, watch) else { return };
        let Some(entry) = self.entries.get(hook.0 as usize) else { return };
        if entry.look(entry.fd()).is_err() {
            // Closed: the watch stays as it is, and tells too much.
            return;
        }
        match self.instance.lower(entry.fd(), hook.1, mask) {
            Some(set) if set == watch => self.watches.asked(watch, mask),
            // The number has become another file in this moment.
            Some(other) if !self.watches.has(other) => self.instance.remove(other),
            Some(other) => {
                let all = self.watches.mask(other);
                self.watches.asked(other, all);
                let _ = self.instance.add(entry.fd(), hook.1, all);
            }
            None => {}
        }
    }

    /// In a forked child.
    pub(super) fn disown(&mut self) {
        self.instance.disown();
    }
}
