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

use super::descriptor::file_name;
use super::inotify::{Letter, Role};
use super::instance::Instance;
use super::knocker::Knock;
use super::notes::{self, Change, Identity, State};
use super::watches::{Hook, Watches, hook_of};
use crate::errno::{Errno, Result};
use crate::event::{NOTE_DELETE, NOTE_REVOKE};
use crate::sys::{Class, Descriptor, FileNotes, Token};
use nix::sys::stat::{FileStat, SFlag};

/// The kernel's queue, of 16,384 events by default, is read within one call, so
/// that an event has all that happened before it; but not without end, as long
/// as somebody writes.
const MOST_READS: u32 = 160;

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Entry {
    fd: Descriptor,
    identity: Identity,
    class: Class,
    token: Token,
    /// On the inode's watch, and on that of its parent.
    pub(super) hooks: [Hook; 2],
    purpose: Purpose,
    /// It has a hint to give.
    stirred: bool,
    /// The next entry with a hint; of a free entry, the next free one.
    next: u32,
}

#[derive(Debug)]
enum Purpose {
    Free,
    /// Any change is to be hinted at.
    Growth,
    Notes(Notes),
}

/// What VNODE collects.
#[derive(Debug)]
struct Notes {
    want: u32,
    collected: u32,
    revoked: bool,
    /// As last seen.
    state: State,
    /// Nothing tells of changes: whoever asks must look.
    deaf: bool,
    /// Nothing tells of its removal, a directory's.
    orphan: bool,
    /// Something was told, and the look that should have followed failed.
    doubt: bool,
}

#[derive(Debug)]
pub(super) struct Files {
    entries: Vec<Entry>,
    free: u32,
    instance: Instance,
    watches: Watches,
    /// What was read and not yet looked into, from `opened` on.
    letters: Vec<Letter>,
    opened: usize,
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

impl Entry {
    /// The events that this entry asks of its watch.
    pub(super) fn mask(&self, role: Role) -> u32 {
        match &self.purpose {
            _ if role == Role::Parent => libc::IN_DELETE,
            Purpose::Free => 0,
            Purpose::Growth => notes::GROWTH,
            Purpose::Notes(notes) => notes::mask(notes.want, notes.state.is_directory()),
        }
    }

    pub(super) fn fd(&self) -> Descriptor {
        self.fd
    }

    /// Does its number still stand for the file that was taken in? EBADF: it
    /// is closed; ENOENT: it is another file.
    pub(super) fn look(&self, fd: Descriptor) -> Result<FileStat> {
        let stat = notes::look(fd)?;
        if Identity::of(&stat) == self.identity { Ok(stat) } else { Err(Errno::ENOENT) }
    }

    pub(super) fn hook(&self, role: Role) -> &Hook {
        let [own, parent] = &self.hooks;
        if role == Role::Own { own } else { parent }
    }

    pub(super) fn hook_mut(&mut self, role: Role) -> &mut Hook {
        let [own, parent] = &mut self.hooks;
        if role == Role::Own { own } else { parent }
    }

    fn notes(&mut self) -> Option<&mut Notes> {
        match &mut self.purpose {
            Purpose::Notes(notes) => Some(notes),
            _ => None,
        }
    }

    /// Takes in a change of its inode. Does it want to be heard?
    fn feed(&mut self, change: Change) -> bool {
        let fd = self.fd;
        match &mut self.purpose {
            Purpose::Free => false,
            Purpose::Growth => notes::is_growth(change),
            Purpose::Notes(notes) => {
                if let Some(set) = notes::plain(change) {
                    return notes.collect(set);
                }
                if change == Change::Unmounted {
                    notes.revoke();
                    return true;
                }
                match notes::look(fd) {
                    Ok(stat) if Identity::of(&stat) == self.identity => {
                        let now = State::of(&stat);
                        let mut heard = false;
                        let mut state = notes.state;
                        state.advance(change, &now, |set| heard |= notes.collect(set));
                        notes.state = state;
                        heard
                    }
                    // Closed, or there is no answer now: whoever asks finds out.
                    _ => {
                        notes.doubt = true;
                        true
                    }
                }
            }
        }
    }

    /// Looks for what no event has told. Does it want to be heard?
    fn compare(&mut self) -> bool {
        let looked = self.look(self.fd);
        let Some(notes) = self.notes() else { return true };
        match looked {
            Ok(stat) => notes.compare(&State::of(&stat)),
            Err(_) => {
                notes.doubt = true;
                true
            }
        }
    }

    /// A directory went from its parent: this one? Does it want to be heard?
    fn is_removed(&mut self) -> bool {
        let looked = self.look(self.fd);
        let Some(notes) = self.notes() else { return false };
        match looked {
            Ok(stat) => notes.removed(&State::of(&stat)),
            Err(_) => {
                notes.doubt = true;
                true
            }
        }
    }
}

impl Notes {
    fn collect(&mut self, set: u32) -> bool {
        let wanted = set & self.want != 0;
        if wanted {
            self.collected |= set;
        }
        wanted
    }

    fn revoke(&mut self) {
        self.revoked = true;
        self.collected |= NOTE_REVOKE & self.want;
    }

    fn compare(&mut self, now: &State) -> bool {
        let mut heard = false;
        let mut state = self.state;
        state.compare(now, |set| heard |= self.collect(set));
        self.state = state;
        heard
    }

    /// Tells of the removal of a directory, and of nothing else.
    fn removed(&mut self, now: &State) -> bool {
        if !now.is_removed() {
            return false;
        }
        let mut heard = false;
        let mut state = self.state;
        state.advance(Change::Deleted, now, |set| heard |= self.collect(set));
        self.state = state;
        heard
    }
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
        let stat = notes::look(fd)?;
        self.place(fd, token, &stat, Purpose::Growth)
    }

    /// Takes in a file to collect notes of. EINVAL: it is no file.
    pub(super) fn insert_noted(&mut self, fd: Descriptor, want: u32, token: Token) -> Result<u32> {
        let stat = notes::look(fd)?;
        if !is_vnode(fd, &stat) {
            return Err(Errno::EINVAL);
        }
        let state = State::of(&stat);
        let notes = Notes {
            want,
            collected: 0,
            revoked: false,
            state,
            deaf: true,
            orphan: false,
            doubt: false,
        };
        let place = self.place(fd, token, &stat, Purpose::Notes(notes))?;
        self.noted += 1;
        Ok(place)
    }

    fn place(
        &mut self,
        fd: Descriptor,
        token: Token,
        stat: &FileStat,
        purpose: Purpose,
    ) -> Result<u32> {
        let entry = Entry {
            fd,
            identity: Identity::of(stat),
            class: class_of(stat),
            token,
            hooks: [Hook::NONE; 2],
            purpose,
            stirred: false,
            next: NONE,
        };
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

    pub(super) fn class(&self, place: u32) -> Class {
        self.entries.get(place as usize).map_or(Class::Always, |entry| entry.class)
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
            self.noted -= u32::from(matches!(entry.purpose, Purpose::Notes(_)));
            entry.purpose = Purpose::Free;
            entry.next = self.free;
            self.free = place;
        }
    }

    pub(super) fn has_instance(&self) -> bool {
        self.instance.is_some()
    }

    /// The number of the queue's own instance.
    pub(super) fn number(&self) -> Option<Descriptor> {
        self.instance.number()
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
        let Some(entry) = self.entries.get_mut(place as usize) else { return };
        let Some(notes) = entry.notes() else { return };
        let wanted = notes.state.is_directory() && notes.want & NOTE_DELETE != 0;
        let hears = wanted && self.hook(place, Role::Parent).is_ok();
        if !hears {
            self.unhook(place, Role::Parent);
        }
        if let Some(notes) = self.entries.get_mut(place as usize).and_then(Entry::notes) {
            notes.orphan = wanted && !hears;
        }
    }

    /// Other notes are wanted from now on; what is collected stays.
    pub(super) fn want(&mut self, place: u32, want: u32) {
        let Some(notes) = self.entries.get_mut(place as usize).and_then(Entry::notes) else {
            return;
        };
        let same = core::mem::replace(&mut notes.want, want) == want;
        if same || notes.deaf {
            return;
        }
        self.listen(place);
        self.lower(place, Role::Own);
    }

    /// Do events tell of all that is wanted?
    pub(super) fn hears(&self, place: u32) -> bool {
        match self.entries.get(place as usize).map(|entry| &entry.purpose) {
            Some(Purpose::Notes(notes)) => !notes.deaf && !notes.orphan,
            _ => false,
        }
    }

    /// What has been collected. EBADF, ENOENT: as for `verify`.
    pub(super) fn collected(&mut self, fd: Descriptor, place: u32) -> Result<FileNotes> {
        let entry = self.entries.get_mut(place as usize).ok_or(Errno::ENOENT)?;
        let now = State::of(&entry.look(fd)?);
        let Some(notes) = entry.notes() else { return Err(Errno::ENOENT) };
        if notes.deaf || notes.doubt {
            notes.doubt = false;
            notes.compare(&now);
        } else if notes.orphan {
            notes.removed(&now);
        }
        Ok(FileNotes { notes: notes.collected, revoked: notes.revoked })
    }

    pub(super) fn forget_collected(&mut self, place: u32) {
        if let Some(notes) = self.entries.get_mut(place as usize).and_then(Entry::notes) {
            notes.collected = 0;
            notes.revoked = false;
        }
    }

    /// Puts an entry on the watch of its inode, made if need be, and asks for
    /// its events.
    fn hook(&mut self, place: u32, role: Role) -> Result<()> {
        let entry = self.entries.get(place as usize).ok_or(Errno::ENOENT)?;
        let (fd, mask, was) = (entry.fd, entry.mask(role), entry.hook(role).watch());
        self.watches.reserve()?;
        let watch = self.instance.add(fd, role, mask)?;
        if watch == was {
            self.watches.ask(watch, mask);
            return Ok(());
        }
        let known = self.watches.has(watch);
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
            self.lower_watch(entry.hook(role).watch());
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

    /// Begins to read what has changed, if anything; [`Files::next`] goes on.
    pub(super) fn read(&mut self) {
        self.reads = MOST_READS;
    }

    /// As `read`, if notes are collected here: what is about to be returned
    /// should be all that has happened.
    pub(super) fn glance(&mut self) {
        if self.noted > 0 {
            self.read();
        }
    }

    /// What others have read for this queue is told next.
    pub(super) fn take_mail(&mut self) {
        self.mail = true;
    }

    /// Gets more letters to open, from whoever has any.
    #[cold]
    fn fetch(&mut self) {
        self.letters.clear();
        self.opened = 0;
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
    pub(super) fn next(&mut self) -> Option<Token> {
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
            next = hook.next();
            if hook.since() > self.met {
                continue;
            }
            let heard = match role {
                Role::Own => entry.feed(change),
                Role::Parent => change == Change::Removed(true) && entry.is_removed(),
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
        let Some(entry) = self.entries.get(place as usize) else { return };
        if entry.hook(Role::Parent).is_free() {
            return;
        }
        self.listen_to_parent(place);
        if self.entries.get_mut(place as usize).is_some_and(Entry::is_removed) {
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
        let gone = entry.look(entry.fd).is_err();
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
            if matches!(entry.purpose, Purpose::Free) || entry.hook(Role::Own).is_free() {
                continue;
            }
            if entry.compare() {
                self.stir(place);
            }
            // So may be the word that the kernel has dropped the watch.
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
        Some(entry.token)
    }

    /// Takes back a hint, of an entry that goes. They are few, as each call
    /// gives all there are.
    fn calm(&mut self, place: u32) {
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

    /// In a forked child: closes numbers and nothing else.
    pub(super) fn disown(&mut self) {
        self.instance.disown();
    }
}

/// inotify takes a memfd and then says nothing of what is written through it
/// (seen on 6.18). Without a name from /proc there is no watch either.
pub(super) fn is_unheard(fd: Descriptor) -> bool {
    let mut name = [0u8; 32];
    file_name(&mut name, fd).map_or(true, |name| name.starts_with(b"/memfd:"))
}

/// Is it something that a file system holds? Not a socket, nor a pipe without
/// a name, nor any of the kernel's objects, which have no type at all.
fn is_vnode(fd: Descriptor, stat: &FileStat) -> bool {
    match notes::kind(stat) {
        SFlag::S_IFSOCK => false,
        SFlag::S_IFIFO => !is_pipe(fd),
        kind => !kind.is_empty(),
    }
}

fn is_pipe(fd: Descriptor) -> bool {
    const PIPEFS: i64 = 0x5049_5045;
    let mut stat = core::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the kernel writes one statfs.
    if unsafe { libc::fstatfs(fd, stat.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call succeeded, so it is written.
    let stat = unsafe { stat.assume_init() };
    #[allow(clippy::unnecessary_cast, reason = "the types differ between targets")]
    let kind = stat.f_type as i64;
    kind == PIPEFS
}

fn class_of(stat: &FileStat) -> Class {
    match notes::kind(stat) {
        SFlag::S_IFREG | SFlag::S_IFDIR => Class::File,
        _ => Class::Always,
    }
}
