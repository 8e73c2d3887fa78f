//! What /proc tells of descriptors, and reading there.

use super::kept::{self, Busy, Mark};
use super::syscall::{last_error, open, shut};
use crate::errno::{Errno, Result};
use crate::sys::contract::Descriptor;
use nix::sys::resource::{Resource, getrlimit};
use std::os::fd::IntoRawFd;

/// A file that is open for a moment, to be read; no call made with it is a
/// cancellation point. It bears our mark, for a child that is forked in that
/// moment.
pub(super) struct Reading(Descriptor, #[allow(dead_code, reason = "it is there")] Busy);

impl Reading {
    pub(super) fn open(path: &std::ffi::CStr) -> Result<Reading> {
        let busy = Busy::new();
        let fd = open(path)?.into_raw_fd();
        // Without memory for it, the child has one descriptor more.
        let _ = kept::mark(fd, Mark::Private);
        Ok(Reading(fd, busy))
    }

    /// What comes next; nothing at the end.
    pub(super) fn read<'a>(&self, room: &'a mut [u8]) -> Result<&'a [u8]> {
        self.fill(libc::SYS_read, room)
    }

    /// Of a folder, the next `struct linux_dirent64`s.
    fn entries<'a>(&self, room: &'a mut [u8]) -> Result<&'a [u8]> {
        self.fill(libc::SYS_getdents64, room)
    }

    fn fill<'a>(&self, call: libc::c_long, room: &'a mut [u8]) -> Result<&'a [u8]> {
        // SAFETY: the kernel writes at most as many bytes as there is room.
        let count = unsafe { libc::syscall(call, self.0, room.as_mut_ptr(), room.len()) };
        let count = usize::try_from(count).map_err(|_| last_error())?;
        Ok(room.get(..count).unwrap_or_default())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        shut(self.0);
    }
}

pub(super) const EPOLL_NAME: &[u8] = b"anon_inode:[eventpoll]";

/// What /proc calls an open file, as far as there is room. Without allocating:
/// it is asked when memory may be short.
pub(super) fn file_name(room: &mut [u8; 32], fd: Descriptor) -> Result<&[u8]> {
    let mut path = [0u8; PATH];
    let path = proc_path(&mut path, OWN_DESCRIPTORS, fd).ok_or(Errno::EBADF)?;
    // SAFETY: a string that ends in NUL, and as many bytes as the array has.
    let length = unsafe { libc::readlink(path.as_ptr(), room.as_mut_ptr().cast(), room.len()) };
    let length = usize::try_from(length).map_err(|_| last_error())?;
    Ok(room.get(..length).unwrap_or_default())
}

/// Where the kernel names the descriptors. The thread's own folder: that of the
/// process is the first thread's, and shows none once it has ended.
pub(super) const OWN_DESCRIPTORS: &str = "/proc/thread-self/fd/";
/// Room for the longest such path, with "/.." behind the number.
pub(super) const PATH: usize = 48;

/// "/proc/thread-self/.../N", without allocating.
pub(super) fn proc_path<'a>(
    buffer: &'a mut [u8; PATH],
    folder: &str,
    fd: Descriptor,
) -> Option<&'a std::ffi::CStr> {
    proc_path_to(buffer, folder, fd, "")
}

/// The same, with something after the number.
pub(super) fn proc_path_to<'a>(
    buffer: &'a mut [u8; PATH],
    folder: &str,
    fd: Descriptor,
    rest: &str,
) -> Option<&'a std::ffi::CStr> {
    use std::io::Write;
    let mut room: &mut [u8] = buffer;
    write!(room, "{folder}{fd}{rest}\0").ok()?;
    std::ffi::CStr::from_bytes_until_nul(buffer).ok()
}

/// What /proc knows of a descriptor beside its name.
pub(super) fn fdinfo(text: &mut [u8; 512], fd: Descriptor) -> Option<&str> {
    let mut path = [0u8; PATH];
    let path = proc_path(&mut path, "/proc/thread-self/fdinfo/", fd)?;
    let text = Reading::open(path).and_then(|file| file.read(text)).ok()?;
    core::str::from_utf8(text).ok()
}

/// Calls `each` with every open number at least once, and perhaps with others.
/// It is asked when descriptors or memory have run out, so it does without
/// either: if the list cannot be had, every number is tried.
pub(crate) fn own_descriptors(mut each: impl FnMut(Descriptor)) {
    if list_own(&mut each).is_err() {
        every_descriptor(each);
    }
}

/// The same for whoever can come later: EMFILE, ENFILE or ENOMEM if the list
/// cannot be had now.
pub(crate) fn own_descriptors_if_listed(mut each: impl FnMut(Descriptor)) -> Result<()> {
    match list_own(&mut each) {
        Err(error @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => Err(error),
        Err(_) => {
            every_descriptor(each);
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn every_descriptor(each: impl FnMut(Descriptor)) {
    // The hard limit: above a soft one that was lowered since, numbers may be
    // open still.
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard);
    (0..limit.min(MOST_DESCRIPTORS) as Descriptor).for_each(each);
}

/// More than this no process has, unless the system was told otherwise
/// (fs.nr_open).
const MOST_DESCRIPTORS: u64 = 1 << 20;

/// Calls `each` with every open number, as far as /proc tells.
pub(super) fn list_own(each: &mut impl FnMut(Descriptor)) -> Result<()> {
    let folder = Reading::open(c"/proc/thread-self/fd")?;
    list(&folder, &mut |number| {
        if number != folder.0 {
            each(number);
        }
    })
}

/// Calls `each` with every name in a folder that is a number.
pub(super) fn list_numbers(folder: &std::ffi::CStr, each: &mut impl FnMut(i32)) -> Result<()> {
    list(&Reading::open(folder)?, each)
}

fn list(folder: &Reading, each: &mut impl FnMut(i32)) -> Result<()> {
    let mut entries = [0u8; 1024];
    loop {
        let mut rest = folder.entries(&mut entries)?;
        if rest.is_empty() {
            return Ok(());
        }
        while let Some((name, next)) = entry(rest) {
            let number = core::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            number.map(&mut *each);
            rest = next;
        }
    }
}

/// The name in the first `struct linux_dirent64`, and the entries after it.
fn entry(entries: &[u8]) -> Option<(&[u8], &[u8])> {
    // Inode and offset, 8 bytes each; the entry's length, 2; the type, 1.
    let length = usize::from(u16::from_ne_bytes(entries.get(16..18)?.try_into().ok()?));
    let name = entries.get(19..length)?.split(|byte| *byte == 0).next()?;
    Some((name, entries.get(length..)?))
}
