//! A file that a queue knows: which one it is, what it is known for, and what
//! has become of it.

use super::super::proc::file_name;
use super::super::syscall::lend;
use super::hook::{Hook, NONE};
use super::inotify::Role;
use super::notes::{self, Change, State};
use crate::errno::{Errno, Result};
use crate::event::{NOTE_DELETE, NOTE_REVOKE};
use crate::sys::contract::{Class, Descriptor, FileNotes, Token};
use nix::sys::stat::{FileStat, SFlag, fstat};

/// Which file a number stands for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    #[allow(clippy::unnecessary_cast, reason = "the types differ between targets")]
    fn of(stat: &FileStat) -> Identity {
        Identity { device: stat.st_dev as u64, inode: stat.st_ino as u64 }
    }
}

/// Looks at an open file.
fn look(fd: Descriptor) -> Result<FileStat> {
    Ok(fstat(lend(fd))?)
}

/// Letters are fetched with higher numbers.
const NO_FETCH: u64 = 0;

#[derive(Debug)]
pub(in crate::sys::linux) struct Entry {
    fd: Descriptor,
    identity: Identity,
    class: Class,
    token: Token,
    /// On the inode's watch, and on that of its parent.
    hooks: [Hook; 2],
    purpose: Purpose,
    /// It has a hint to give.
    pub(super) stirred: bool,
    /// The next entry with a hint; of a free entry, the next free one.
    pub(super) next: u32,
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
pub(super) struct Notes {
    pub(super) want: u32,
    collected: u32,
    pub(super) revoked: bool,
    /// What has been told accounts for this.
    pub(super) state: State,
    /// The look that serves all letters of one fetch, and which fetch that is.
    seen: Option<(u64, State)>,
    /// Nothing tells of changes: whoever asks must look.
    pub(super) deaf: bool,
    /// Nothing tells of its removal, a directory's.
    pub(super) orphan: bool,
    /// Something was told, and the look that should have followed failed.
    doubt: bool,
}

impl Entry {
    fn new(fd: Descriptor, token: Token, stat: &FileStat, purpose: Purpose) -> Entry {
        Entry {
            fd,
            identity: Identity::of(stat),
            class: class_of(stat),
            token,
            hooks: [Hook::NONE; 2],
            purpose,
            stirred: false,
            next: NONE,
        }
    }

    /// Of a descriptor that epoll refused.
    pub(super) fn refused(fd: Descriptor, token: Token) -> Result<Entry> {
        Ok(Entry::new(fd, token, &look(fd)?, Purpose::Growth))
    }

    /// Of a file to collect notes of. EINVAL: it is no file.
    pub(super) fn noted(fd: Descriptor, want: u32, token: Token) -> Result<Entry> {
        let stat = look(fd)?;
        if !is_vnode(fd, &stat) {
            return Err(Errno::EINVAL);
        }
        let notes = Notes {
            want,
            collected: 0,
            revoked: false,
            state: State::of(&stat),
            seen: None,
            deaf: true,
            orphan: false,
            doubt: false,
        };
        Ok(Entry::new(fd, token, &stat, Purpose::Notes(notes)))
    }

    pub(super) fn free(&mut self) {
        self.purpose = Purpose::Free;
    }

    pub(super) fn is_free(&self) -> bool {
        matches!(self.purpose, Purpose::Free)
    }

    pub(super) fn class(&self) -> Class {
        self.class
    }

    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// Do events tell of all that is wanted?
    pub(super) fn hears(&self) -> bool {
        matches!(&self.purpose, Purpose::Notes(notes) if !notes.deaf && !notes.orphan)
    }

    /// What has been collected. Fails as `look` does.
    pub(super) fn collected(&mut self, fd: Descriptor) -> Result<FileNotes> {
        let now = State::of(&self.look(fd)?);
        let notes = self.notes().ok_or(Errno::ENOENT)?;
        if notes.deaf || notes.doubt {
            notes.doubt = false;
            notes.compare(&now);
        } else if notes.orphan {
            notes.removed(&now);
            notes.seen = None;
        }
        Ok(FileNotes { notes: notes.collected, revoked: notes.revoked })
    }

    /// The events that this entry asks of its watch.
    pub(in crate::sys::linux) fn mask(&self, role: Role) -> u32 {
        match &self.purpose {
            _ if role == Role::Parent => libc::IN_DELETE,
            Purpose::Free => 0,
            Purpose::Growth => notes::GROWTH,
            Purpose::Notes(notes) => notes::mask(notes.want, notes.state.is_directory()),
        }
    }

    pub(in crate::sys::linux) fn fd(&self) -> Descriptor {
        self.fd
    }

    /// Does its number still stand for the file that was taken in? EBADF: it
    /// is closed; ENOENT: it is another file.
    pub(in crate::sys::linux) fn look(&self, fd: Descriptor) -> Result<FileStat> {
        let stat = look(fd)?;
        if Identity::of(&stat) == self.identity { Ok(stat) } else { Err(Errno::ENOENT) }
    }

    pub(in crate::sys::linux) fn hook(&self, role: Role) -> &Hook {
        let [own, parent] = &self.hooks;
        if role == Role::Own { own } else { parent }
    }

    pub(in crate::sys::linux) fn hook_mut(&mut self, role: Role) -> &mut Hook {
        let [own, parent] = &mut self.hooks;
        if role == Role::Own { own } else { parent }
    }

    pub(super) fn notes(&mut self) -> Option<&mut Notes> {
        match &mut self.purpose {
            Purpose::Notes(notes) => Some(notes),
            _ => None,
        }
    }

    /// Takes in a change of its inode, that came with this fetch. Does it want
    /// to be heard?
    pub(super) fn feed(&mut self, change: Change, fetch: u64) -> bool {
        let notes = match &mut self.purpose {
            Purpose::Free => return false,
            Purpose::Growth => return notes::is_growth(change),
            Purpose::Notes(notes) => notes,
        };
        if let Some(set) = notes::plain(change) {
            return notes.collect(set);
        }
        if change == Change::Unmounted {
            notes.revoke();
            return true;
        }
        self.seen(fetch, |notes, now| notes.advance(change, now))
    }

    /// Works on the state that the file had after all that this fetch brought.
    /// One look does: what has come since has a letter of its own, yet to be
    /// fetched. Does it want to be heard?
    fn seen(&mut self, fetch: u64, work: impl FnOnce(&mut Notes, &State) -> bool) -> bool {
        let Some(notes) = self.notes() else { return false };
        if let Some((of, now)) = notes.seen
            && of == fetch
        {
            return work(notes, &now);
        }
        let looked = self.look(self.fd);
        let Some(notes) = self.notes() else { return false };
        match looked {
            Ok(stat) => {
                let now = State::of(&stat);
                notes.seen = Some((fetch, now));
                work(notes, &now)
            }
            // Closed, or there is no answer now: whoever asks finds out.
            Err(_) => {
                notes.doubt = true;
                true
            }
        }
    }

    /// Looks for what no event has told. Does it want to be heard?
    pub(super) fn compare(&mut self) -> bool {
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

    /// A directory went from its parent, by a letter of this fetch: this one?
    /// Does it want to be heard?
    pub(super) fn is_removed(&mut self, fetch: u64) -> bool {
        // It is final, and with many in one directory most go for others.
        self.notes().is_some_and(|notes| !notes.state.is_removed())
            && self.seen(fetch, Notes::removed)
    }

    /// A directory has moved: is it removed by now? Does it want to be heard?
    pub(super) fn is_gone(&mut self) -> bool {
        if let Some(notes) = self.notes() {
            notes.seen = None;
        }
        self.seen(NO_FETCH, Notes::removed)
    }
}

impl Notes {
    pub(super) fn forget(&mut self) {
        self.collected = 0;
        self.revoked = false;
    }

    /// Is it a directory whose removal is wanted?
    pub(super) fn wants_removal(&self) -> bool {
        self.state.is_directory() && self.want & NOTE_DELETE != 0
    }

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

    fn advance(&mut self, change: Change, now: &State) -> bool {
        let mut heard = false;
        let mut state = self.state;
        state.advance(change, now, |set| heard |= self.collect(set));
        self.state = state;
        heard
    }

    fn compare(&mut self, now: &State) -> bool {
        let mut heard = false;
        let mut state = self.state;
        state.compare(now, |set| heard |= self.collect(set));
        self.state = state;
        // An earlier look must not follow a later one: it would tell of the
        // way back.
        self.seen = None;
        heard
    }

    /// Tells of the removal of a directory, and of nothing else.
    fn removed(&mut self, now: &State) -> bool {
        now.is_removed() && self.advance(Change::Deleted, now)
    }
}

/// inotify takes a memfd and then says nothing of what is written through it
/// (seen on 6.18). Without a name from /proc there is no watch either.
pub(in crate::sys::linux) fn is_unheard(fd: Descriptor) -> bool {
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
