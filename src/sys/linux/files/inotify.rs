//! An inotify instance: adding watches, and turning what it says into changes.
//!
//! A watch goes through /proc/self/fd/N and so follows the open file, also
//! when it is renamed or unlinked. Two descriptors of one inode share a watch.

use super::super::descriptor::Private;
use super::super::proc::{OWN_DESCRIPTORS, PATH, proc_path, proc_path_to};
use super::super::syscall::{ask_int, check, own};
use super::notes::Change;
use crate::errno::{Errno, Result};
use crate::sys::contract::Descriptor;
use core::mem::MaybeUninit;

/// Whose inode a watch is on: a descriptor's own, or that of the directory
/// that it, a directory, stands in. inotify says nothing of the rmdir() of one
/// that is open, but its parent has an entry less.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Own,
    Parent,
}

/// A change, and the watch that it came by.
pub(super) type Letter = (i32, Change);

/// How many letters one read can make: each event is at most two.
pub(super) const LETTERS: usize = 2 * BUFFER / HEAD + 2;
const BUFFER: usize = 2048;
/// With its NUL, rounded up.
const LONGEST_NAME: usize = 272;
const HEAD: usize = size_of::<libc::inotify_event>();

#[derive(Debug)]
pub(super) struct Inotify {
    fd: Private,
    /// The last entry that was moved out of a directory, until it is known
    /// where to: the watch, whether it is a directory, and the cookie that the
    /// other half will have.
    moving: Option<(i32, bool, u32)>,
}

impl Inotify {
    pub(super) fn new() -> Result<Inotify> {
        let flags = libc::IN_CLOEXEC | libc::IN_NONBLOCK;
        // SAFETY: an integer in, a new descriptor out.
        let fd = Private::new(|| own(unsafe { libc::inotify_init1(flags) }))?;
        Ok(Inotify { fd, moving: None })
    }

    /// Its number. EBADF: a stranger's by now, which must not be touched; least
    /// of all read, for it may block.
    pub(super) fn number(&self) -> Result<Descriptor> {
        if self.fd.is_ours() { Ok(self.fd.number()) } else { Err(Errno::EBADF) }
    }

    /// Watches a descriptor's inode for these events and any asked for before.
    pub(super) fn add(&self, fd: Descriptor, role: Role, mask: u32) -> Result<i32> {
        self.set(fd, role, mask | libc::IN_MASK_ADD)
    }

    /// Watches a descriptor's inode for these events and no others.
    pub(super) fn set(&self, fd: Descriptor, role: Role, mask: u32) -> Result<i32> {
        let mut path = [0u8; PATH];
        let path = match role {
            Role::Own => proc_path(&mut path, OWN_DESCRIPTORS, fd),
            Role::Parent => proc_path_to(&mut path, OWN_DESCRIPTORS, fd, "/.."),
        };
        let (path, number) = (path.ok_or(Errno::EINVAL)?, self.number()?);
        // SAFETY: a string that ends in NUL.
        check(unsafe { libc::inotify_add_watch(number, path.as_ptr(), mask) })
    }

    pub(super) fn remove(&self, watch: i32) {
        let Ok(number) = self.number() else { return };
        // SAFETY: two integers. It fails only if the kernel dropped the watch
        // already, with the inode.
        unsafe { libc::inotify_rm_watch(number, watch) };
    }

    /// Is there something to be read?
    pub(super) fn is_behind(&self) -> Result<bool> {
        ask_int(self.number()?, libc::FIONREAD).map(|bytes| bytes > 0)
    }

    /// Puts a mark at the end of what is to be read: the number of a watch
    /// that will be said to be dropped. (The inode is that of all descriptors
    /// without one, which nobody else watches.)
    pub(super) fn mark(&self) -> Result<i32> {
        let mark = self.add(self.number()?, Role::Own, libc::IN_DELETE_SELF)?;
        self.remove(mark);
        Ok(mark)
    }

    /// Reads what there is, as much as one buffer takes. `true`: there may be
    /// more.
    pub(super) fn read(&mut self, mut each: impl FnMut(Letter)) -> bool {
        let Ok(number) = self.number() else { return false };
        let mut bytes = [const { MaybeUninit::<u8>::uninit() }; BUFFER];
        let at = bytes.as_mut_ptr();
        // Not read(), which is a cancellation point: a lock is held here.
        // SAFETY: the kernel writes at most as many bytes as there is room.
        let count = unsafe { libc::syscall(libc::SYS_read, number, at, BUFFER) };
        let count = usize::try_from(count).unwrap_or(0);
        let mut rest = bytes.get(..count).unwrap_or_default();
        while let Some(head) = rest.get(..HEAD) {
            // SAFETY: the kernel filled these bytes with the head of an event,
            // and any bytes make one; the buffer need not be aligned.
            let head = unsafe { head.as_ptr().cast::<libc::inotify_event>().read_unaligned() };
            rest = rest.get(HEAD + head.len as usize..).unwrap_or_default();
            self.digest(&head, &mut each);
        }
        // The next one would have fitted in, however long its name.
        let all = count + HEAD + LONGEST_NAME <= BUFFER;
        // The other half of a move comes at once, or not at all.
        if all || !self.is_behind().unwrap_or(false) {
            self.moved_away(&mut each);
        }
        !all
    }

    fn digest(&mut self, head: &libc::inotify_event, each: &mut impl FnMut(Letter)) {
        let directory = head.mask & libc::IN_ISDIR != 0;
        if head.mask & libc::IN_MOVED_FROM != 0 {
            self.moved_away(each);
            self.moving = Some((head.wd, directory, head.cookie));
        } else if head.mask & libc::IN_MOVED_TO != 0 {
            match self.moving {
                Some((from, _, cookie)) if cookie == head.cookie && from == head.wd => {
                    self.moving = None;
                    each((head.wd, Change::Within(directory)));
                }
                _ => each((head.wd, Change::In(directory))),
            }
        } else if let Some(change) = change(head) {
            each((head.wd, change));
        }
    }

    fn moved_away(&mut self, each: &mut impl FnMut(Letter)) {
        if let Some((watch, directory, _)) = self.moving.take() {
            each((watch, Change::Out(directory)));
        }
    }
}

fn change(head: &libc::inotify_event) -> Option<Change> {
    let directory = head.mask & libc::IN_ISDIR != 0;
    // With a name it is a directory's, and these are then what its children
    // do, which natively is nothing to it.
    let own = head.len == 0;
    Some(match head.mask & !libc::IN_ISDIR {
        libc::IN_MODIFY if own => Change::Written,
        libc::IN_ATTRIB if own => Change::Attributes,
        libc::IN_OPEN if own => Change::Opened,
        libc::IN_CLOSE_NOWRITE if own => Change::Closed,
        libc::IN_CLOSE_WRITE if own => Change::ClosedWritten,
        libc::IN_ACCESS if own => Change::Read,
        libc::IN_CREATE => Change::Made(directory),
        libc::IN_DELETE => Change::Removed(directory),
        libc::IN_MOVE_SELF => Change::Renamed,
        libc::IN_DELETE_SELF => Change::Deleted,
        libc::IN_UNMOUNT => Change::Unmounted,
        libc::IN_IGNORED => Change::Dropped,
        libc::IN_Q_OVERFLOW => Change::Overflow,
        _ => return None,
    })
}
