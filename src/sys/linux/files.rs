//! Descriptors that epoll refuses: files, directories, /dev/null and its kin.
//!
//! They are always "ready" to the kernel, so the core keeps those that have
//! something on its own list and this table keeps the rest of what is needed:
//! which file a number stood for (to know a reused number), and, once a file
//! has been read to its end, an inotify watch that tells when it changes. One
//! inotify descriptor serves the queue, made when the first file falls silent.
//!
//! The watch goes through /proc/self/fd/N and so follows the open file, also
//! when it is renamed or unlinked. Two descriptors of one inode share a watch.

use super::descriptor::{Private, check, file_name, own, proc_path};
use super::epoll;
use crate::errno::{Errno, Result};
use crate::sys::{Class, Descriptor, Token};
use core::mem::MaybeUninit;
use nix::sys::stat::{FileStat, SFlag, fstat};

/// No entry, and no watch.
const NONE: u32 = u32::MAX;
const NO_WATCH: i32 = -1;

/// What wakes a silent file. Truncation and every kind of writing is MODIFY;
/// a directory's size changes with its entries.
const CHANGES: u32 = libc::IN_MODIFY | libc::IN_CREATE | libc::IN_DELETE | libc::IN_MOVE;

#[derive(Debug)]
struct Entry {
    device: u64,
    inode: u64,
    class: Class,
    token: Token,
    /// The inotify watch, shared by the entries of one inode.
    watch: i32,
    /// The next entry of that watch; of a free entry, the next free one.
    next: u32,
}

#[derive(Debug)]
pub(super) struct Files {
    entries: Vec<Entry>,
    free: u32,
    inotify: Option<Private>,
    /// Watches, in order, each with the first of its entries. The kernel
    /// counts upwards, so a new one goes to the end.
    watches: Vec<(i32, u32)>,
}

impl Files {
    pub(super) const fn new() -> Files {
        Files { entries: Vec::new(), free: NONE, inotify: None, watches: Vec::new() }
    }

    /// Takes in a descriptor that epoll refused.
    pub(super) fn insert(&mut self, fd: Descriptor, token: Token) -> Result<u32> {
        let stat = fstat(super::descriptor::lend(fd))?;
        let entry = Entry {
            device: device_of(&stat),
            inode: inode_of(&stat),
            class: class_of(&stat),
            token,
            watch: NO_WATCH,
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
        let stat = fstat(super::descriptor::lend(fd))?;
        match self.entries.get(place as usize) {
            Some(entry) if entry.device == device_of(&stat) && entry.inode == inode_of(&stat) => {
                Ok(())
            }
            _ => Err(Errno::ENOENT),
        }
    }

    pub(super) fn remove(&mut self, place: u32) {
        self.unlink(place);
        if let Some(entry) = self.entries.get_mut(place as usize) {
            entry.next = self.free;
            self.free = place;
        }
    }

    /// Takes an entry out of its watch, and ends a watch that has no other.
    fn unlink(&mut self, place: u32) {
        let Some(entry) = self.entries.get_mut(place as usize) else { return };
        let (watch, next) = (core::mem::replace(&mut entry.watch, NO_WATCH), entry.next);
        let Ok(index) = self.find(watch) else { return };
        let Some((_, first)) = self.watches.get_mut(index) else { return };
        if *first != place {
            let mut before = *first;
            while let Some(entry) = self.entries.get_mut(before as usize) {
                if entry.next == place {
                    entry.next = next;
                    return;
                }
                before = entry.next;
            }
        } else if next != NONE {
            *first = next;
        } else {
            self.watches.remove(index);
            if let Some(inotify) = &self.inotify {
                // SAFETY: two integers. It fails only if the kernel dropped
                // the watch already, with the inode.
                unsafe { libc::inotify_rm_watch(inotify.number(), watch) };
            }
        }
    }

    /// Makes changes of this file give hints.
    pub(super) fn watch(
        &mut self,
        fd: Descriptor,
        place: u32,
        set: Descriptor,
        data: u64,
    ) -> Result<()> {
        let Some(entry) = self.entries.get_mut(place as usize) else { return Err(Errno::ENOENT) };
        if entry.watch != NO_WATCH {
            return Ok(());
        }
        // inotify takes a memfd and then says nothing of what is written
        // through it (seen on 6.18).
        let mut name = [0u8; 32];
        if file_name(&mut name, fd)?.starts_with(b"/memfd:") {
            return Err(Errno::ENOSYS);
        }
        self.watches.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let inotify = match &self.inotify {
            Some(inotify) => inotify,
            None => {
                let made = create()?;
                epoll::add(set, made.number(), libc::EPOLLIN as u32, data)?;
                self.inotify.insert(made)
            }
        };
        let mut path = [0u8; 32];
        let path = proc_path(&mut path, "/proc/self/fd/", fd).ok_or(Errno::EINVAL)?;
        // SAFETY: a string that ends in NUL.
        let watch =
            check(unsafe { libc::inotify_add_watch(inotify.number(), path.as_ptr(), CHANGES) })?;
        entry.watch = watch;
        entry.next = match self.watches.binary_search_by_key(&watch, |(watch, _)| *watch) {
            Ok(index) => match self.watches.get_mut(index) {
                Some((_, first)) => core::mem::replace(first, place),
                None => NONE,
            },
            Err(index) => {
                self.watches.insert(index, (watch, place));
                NONE
            }
        };
        Ok(())
    }

    /// Where a watch stands, or would.
    fn find(&self, watch: i32) -> core::result::Result<usize, usize> {
        self.watches.binary_search_by_key(&watch, |(watch, _)| *watch)
    }

    /// The next token in `news`.
    pub(super) fn next(&self, news: &mut News) -> Option<Token> {
        loop {
            if let Some(entry) = self.entries.get(news.entry as usize) {
                let all = news.watch == OVERFLOW;
                news.entry = if all { news.entry + 1 } else { entry.next };
                if entry.watch != NO_WATCH {
                    return Some(entry.token);
                }
                continue;
            }
            news.watch = news.next_watch()?;
            news.entry = match news.watch {
                OVERFLOW => 0,
                watch => {
                    let known = self.find(watch).ok().and_then(|index| self.watches.get(index));
                    known.map_or(NONE, |(_, first)| *first)
                }
            };
        }
    }

    /// Reads what has changed, if anything.
    pub(super) fn read(&self, news: &mut News) {
        news.clear();
        if let Some(inotify) = &self.inotify {
            // SAFETY: the kernel writes at most as many bytes as there is room.
            let count =
                unsafe { libc::read(inotify.number(), news.bytes.as_mut_ptr().cast(), News::ROOM) };
            news.filled = usize::try_from(count).unwrap_or(0);
        }
    }

    /// In a forked child: closes the number and nothing else.
    pub(super) fn disown(&mut self) {
        self.inotify = None;
    }
}

fn create() -> Result<Private> {
    // SAFETY: an integer in, a new descriptor out.
    let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
    Ok(Private::new(own(fd)?, b"anon_inode:inotify"))
}

/// The kernel's queue overflowed: everything may have changed.
const OVERFLOW: i32 = i32::MIN;

/// A read from inotify, walked event by event and, for each, entry by entry.
pub(super) struct News {
    bytes: [MaybeUninit<u8>; News::ROOM],
    filled: usize,
    at: usize,
    watch: i32,
    entry: u32,
}

impl News {
    /// Room for at least three events with the longest name; what does not fit
    /// stays readable and hints again.
    const ROOM: usize = 1024;
    const HEAD: usize = size_of::<libc::inotify_event>();

    pub(super) const fn new() -> News {
        News {
            bytes: [const { MaybeUninit::uninit() }; News::ROOM],
            filled: 0,
            at: 0,
            watch: NO_WATCH,
            entry: NONE,
        }
    }

    fn clear(&mut self) {
        self.filled = 0;
        self.at = 0;
        self.entry = NONE;
    }

    fn next_watch(&mut self) -> Option<i32> {
        let end = self.at + News::HEAD;
        if end > self.filled {
            return None;
        }
        let head = self.bytes.get(self.at..end)?;
        // SAFETY: the kernel filled these bytes with the head of an event, and
        // any bytes make one; the buffer need not be aligned.
        let head = unsafe { head.as_ptr().cast::<libc::inotify_event>().read_unaligned() };
        self.at = end + head.len as usize;
        Some(if head.mask & libc::IN_Q_OVERFLOW != 0 { OVERFLOW } else { head.wd })
    }
}

fn class_of(stat: &FileStat) -> Class {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG | SFlag::S_IFDIR => Class::File,
        _ => Class::Always,
    }
}

#[allow(clippy::unnecessary_cast, reason = "the types differ between targets")]
fn device_of(stat: &FileStat) -> u64 {
    stat.st_dev as u64
}

#[allow(clippy::unnecessary_cast, reason = "the types differ between targets")]
fn inode_of(stat: &FileStat) -> u64 {
    stat.st_ino as u64
}
