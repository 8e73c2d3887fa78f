//! From what inotify says of a file to the notes of EVFILT_VNODE.
//!
//! inotify names the kind of an event, kqueue the operation; between the two
//! stands a look at the file: a write that left it larger was an extension, a
//! change of its attributes that left it with other links was link() or
//! unlink(). The look comes later than the event, when the queue is collected,
//! so of several operations in between the sum is told, each bit once.
//!
//! Where there is no watch, or events were lost, two looks are all there is.

use crate::event::{
    NOTE_ATTRIB, NOTE_CLOSE, NOTE_CLOSE_WRITE, NOTE_DELETE, NOTE_EXTEND, NOTE_LINK, NOTE_OPEN,
    NOTE_READ, NOTE_RENAME, NOTE_TRUNCATE, NOTE_WRITE,
};
use nix::sys::stat::{FileStat, SFlag};

/// An event of inotify, without names and cookies.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Change {
    Written,
    Attributes,
    Renamed,
    Opened,
    Closed,
    ClosedWritten,
    Read,
    /// In a directory an entry was made or removed; that of a directory?
    Made(bool),
    Removed(bool),
    /// An entry was renamed in it, moved out of it, into it.
    Within(bool),
    Out(bool),
    In(bool),
    /// The last link is gone, and the kernel's last use of the name.
    Deleted,
    Unmounted,
    /// The kernel has dropped the watch.
    Dropped,
    /// Events were lost.
    Overflow,
}

impl Change {
    /// Does it change the number of a directory's subdirectories?
    pub(super) fn is_counted(self) -> bool {
        matches!(
            self,
            Change::Made(true) | Change::Removed(true) | Change::Out(true) | Change::In(true)
        )
    }
}

/// What a look at a file shows.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct State {
    directory: bool,
    size: i64,
    links: u64,
    /// Mode, user, group.
    rights: (u32, u32, u32),
    modified: (i64, i64),
    changed: (i64, i64),
}

pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// A directory on a file system that counts subdirectories has two links at
/// least; on others it has one, which tells nothing.
const COUNTING: u64 = 2;

impl State {
    #[allow(clippy::unnecessary_cast, reason = "the types differ between targets")]
    pub(super) fn of(stat: &FileStat) -> State {
        State {
            directory: kind(stat) == SFlag::S_IFDIR,
            size: stat.st_size as i64,
            links: stat.st_nlink as u64,
            rights: (stat.st_mode, stat.st_uid, stat.st_gid),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.directory
    }

    pub(super) fn is_removed(&self) -> bool {
        self.links == 0
    }

    /// Tells the operations behind a change, each as the set of its notes, and
    /// takes over what they account for; the rest belongs to events to come.
    pub(super) fn advance(&mut self, change: Change, now: &State, mut tell: impl FnMut(u32)) {
        match change {
            Change::Written => {
                tell(self.contents(now));
                self.size = now.size;
            }
            Change::Attributes | Change::Deleted => {
                self.attributes(change, now, tell);
                self.rights = now.rights;
                if !self.directory || now.is_removed() {
                    self.links = now.links;
                }
            }
            _ => {
                if let Some(notes) = self.entries(change, now) {
                    tell(notes);
                }
            }
        }
        self.modified = now.modified;
        self.changed = now.changed;
    }

    fn contents(&self, now: &State) -> u32 {
        match now.size.cmp(&self.size) {
            core::cmp::Ordering::Greater => NOTE_WRITE | NOTE_EXTEND,
            // Only truncation does this.
            core::cmp::Ordering::Less => NOTE_WRITE | NOTE_ATTRIB | NOTE_TRUNCATE,
            core::cmp::Ordering::Equal => NOTE_WRITE,
        }
    }

    fn attributes(&self, change: Change, now: &State, mut tell: impl FnMut(u32)) {
        let linked = self.links(now);
        if linked != 0 {
            tell(linked);
        }
        // Two events alike are one if nothing came between: beside a new link
        // count there may be a new mode.
        let alone = linked == 0 && change == Change::Attributes;
        if alone || self.rights != now.rights {
            tell(NOTE_ATTRIB);
        }
    }

    /// What has become of the links: of a directory, only its last.
    fn links(&self, now: &State) -> u32 {
        match now.links {
            links if links == self.links => 0,
            0 => NOTE_DELETE,
            _ if self.directory => 0,
            _ => NOTE_LINK,
        }
    }

    /// What happened among a directory's entries. Its links are counted on, as
    /// `now` may be further than this change: the look shows by how many less
    /// they are than they should be if directories were replaced.
    fn entries(&mut self, change: Change, now: &State) -> Option<u32> {
        let counts = now.links >= COUNTING;
        let notes = match change {
            Change::Made(true) => {
                self.links += 1;
                NOTE_WRITE | NOTE_LINK
            }
            Change::Removed(true) => {
                self.links = self.links.saturating_sub(1);
                NOTE_WRITE | NOTE_LINK
            }
            Change::Within(true) if counts && now.links < self.links => {
                self.links = now.links;
                NOTE_WRITE | NOTE_LINK
            }
            Change::In(true) if counts && now.links <= self.links => NOTE_WRITE | NOTE_EXTEND,
            Change::In(true) => {
                self.links += 1;
                NOTE_WRITE | NOTE_EXTEND | NOTE_LINK
            }
            Change::Out(true) => {
                self.links = self.links.saturating_sub(1);
                NOTE_WRITE | NOTE_EXTEND | NOTE_LINK
            }
            Change::In(false) | Change::Out(false) => NOTE_WRITE | NOTE_EXTEND,
            Change::Made(false) | Change::Removed(false) | Change::Within(_) => NOTE_WRITE,
            _ => return None,
        };
        if !counts && !now.is_removed() {
            self.links = now.links;
        }
        Some(notes)
    }

    /// Tells what two looks show, when that is all there is.
    pub(super) fn compare(&mut self, now: &State, mut tell: impl FnMut(u32)) {
        let mut told = 0;
        let mut say = |notes: u32| {
            if notes != 0 {
                told |= notes;
                tell(notes);
            }
        };
        let linked = self.links(now);
        say(linked);
        if self.directory {
            let subdirectories = now.links != self.links && now.links >= COUNTING;
            if subdirectories {
                say(NOTE_WRITE | NOTE_LINK);
            } else if now.modified != self.modified && linked == 0 {
                say(NOTE_WRITE);
            }
        } else if now.size != self.size || now.modified != self.modified {
            say(self.contents(now));
        }
        if self.rights != now.rights {
            say(NOTE_ATTRIB);
        }
        // It was changed, in a way that left no other trace.
        if told == 0 && now.changed != self.changed {
            tell(NOTE_ATTRIB);
        }
        *self = *now;
    }
}

/// The notes of changes that need no look at the file.
pub(super) fn plain(change: Change) -> Option<u32> {
    match change {
        Change::Renamed => Some(NOTE_RENAME),
        Change::Opened => Some(NOTE_OPEN),
        Change::Closed => Some(NOTE_CLOSE),
        Change::ClosedWritten => Some(NOTE_CLOSE_WRITE),
        Change::Read => Some(NOTE_READ),
        _ => None,
    }
}

/// What wakes a file that is silent at its end. Truncation and every kind of
/// writing is MODIFY; a directory's size changes with its entries.
pub(super) const GROWTH: u32 = libc::IN_MODIFY | ENTRIES;
const ENTRIES: u32 = libc::IN_CREATE | libc::IN_DELETE | libc::IN_MOVE;

pub(super) fn is_growth(change: Change) -> bool {
    matches!(
        change,
        Change::Written
            | Change::Made(_)
            | Change::Removed(_)
            | Change::Within(_)
            | Change::Out(_)
            | Change::In(_)
    )
}

/// The events to ask for, that any operation be told whose set has a wanted
/// note in it.
pub(super) fn mask(want: u32, directory: bool) -> u32 {
    // One that costs nothing: the kernel takes no empty mask.
    let mut mask = libc::IN_DELETE_SELF;
    let mut add = |notes: u32, events: u32| {
        if want & notes != 0 {
            mask |= events;
        }
    };
    if directory {
        add(NOTE_WRITE | NOTE_EXTEND | NOTE_LINK, ENTRIES);
        add(NOTE_ATTRIB | NOTE_DELETE, libc::IN_ATTRIB);
        // Its parent is watched for it, and may become another.
        add(NOTE_DELETE, libc::IN_MOVE_SELF);
    } else {
        add(NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB | NOTE_TRUNCATE, libc::IN_MODIFY);
        add(NOTE_ATTRIB | NOTE_LINK | NOTE_DELETE, libc::IN_ATTRIB);
    }
    add(NOTE_RENAME, libc::IN_MOVE_SELF);
    add(NOTE_OPEN, libc::IN_OPEN);
    add(NOTE_CLOSE, libc::IN_CLOSE_NOWRITE);
    add(NOTE_CLOSE_WRITE, libc::IN_CLOSE_WRITE);
    add(NOTE_READ, libc::IN_ACCESS);
    mask
}
