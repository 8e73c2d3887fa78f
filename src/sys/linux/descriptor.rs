//! Descriptors: ours, kept out of the application's way, and the
//! application's, which are only ever asked about.

use super::kept::{self, Busy, Mark};
use super::preload;
use crate::errno::{Errno, Result};
use crate::sys::{Descriptor, DescriptorState};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{SFlag, fstat};
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

impl From<nix::Error> for Errno {
    fn from(error: nix::Error) -> Errno {
        Errno(error as i32)
    }
}

/// The calling thread's errno, as a value.
#[cold]
pub(super) fn last_error() -> Errno {
    Errno(nix::Error::last_raw())
}

/// What a libc function returned: -1 stands for errno.
#[inline]
pub(super) fn check(returned: libc::c_int) -> Result<libc::c_int> {
    if returned == -1 { Err(last_error()) } else { Ok(returned) }
}

/// Takes hold of a descriptor that a call just made.
pub(super) fn own(made: libc::c_int) -> Result<OwnedFd> {
    let fd = check(made)?;
    // SAFETY: the kernel just made this number for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lends a number of the application's to a call of nix.
pub(super) fn lend(fd: Descriptor) -> BorrowedFd<'static> {
    // -1 is the one number that the type forbids, and as bad as any other that
    // is not open.
    let fd = if fd == -1 { Descriptor::MAX } else { fd };
    // SAFETY:
    // - the number is not -1;
    // - nothing is concluded from its being open: every call made with it
    //   answers EBADF if it is not, and none of them closes it.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Private descriptors start here where the limit allows: above what programs
/// use that expect low numbers or close whole ranges of them, yet not so high
/// that the kernel's table grows large.
const PRIVATE_FLOOR: u64 = 256;

/// A descriptor that the library keeps for itself, close-on-exec.
///
/// It is closed only as long as it is what was made: see [`kept`].
#[derive(Debug)]
pub(super) struct Private {
    number: Descriptor,
    serial: u64,
}

impl Private {
    /// Takes what `make` makes into the library's keeping: moves it up, out of
    /// the application's way. If there is no room above, it stays where it is.
    pub(super) fn new(make: impl FnOnce() -> Result<OwnedFd>) -> Result<Private> {
        let _busy = Busy::new();
        let low = make()?.into_raw_fd();
        let kept = kept::mark(low, Mark::Private).and_then(|()| Private::keep(low));
        if !matches!(kept, Ok(Private { number, .. }) if number == low) {
            shut(low);
        }
        kept
    }

    fn keep(low: Descriptor) -> Result<Private> {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let floor = PRIVATE_FLOOR.min(limit / 2) as Descriptor;
        let number = fcntl(lend(low), FcntlArg::F_DUPFD_CLOEXEC(floor)).unwrap_or(low);
        match kept::hold(number) {
            Ok(serial) => {
                preload::begin_private(number);
                Ok(Private { number, serial })
            }
            Err(error) => {
                if number != low {
                    shut(number);
                }
                Err(error)
            }
        }
    }

    #[inline]
    pub(super) fn number(&self) -> Descriptor {
        self.number
    }

    /// Is the number still what was made?
    pub(super) fn is_ours(&self) -> bool {
        kept::is_held_by(self.number, self.serial)
    }

    /// The same open file under one number more.
    pub(super) fn another(&self) -> Result<Private> {
        Private::new(|| own(fcntl(lend(self.number), FcntlArg::F_DUPFD_CLOEXEC(0))?))
    }

    /// Is it where private descriptors belong?
    pub(super) fn is_high(&self) -> bool {
        u64::try_from(self.number).is_ok_and(|number| number >= PRIVATE_FLOOR)
    }
}

/// Async-signal-safe. In a forked child that has disowned what it inherited it
/// does nothing.
impl Drop for Private {
    fn drop(&mut self) {
        if !kept::release(self.number, self.serial) {
            return;
        }
        preload::end_private(self.number);
        if kept::bears(self.number, Mark::Private) {
            shut(self.number);
        }
    }
}

/// Forgets a number that is a stranger's by now. (Not by taking it out and
/// putting it back: a thread may leave by longjmp in between.)
pub(super) fn drop_strange(kept: &mut Option<Private>) {
    if kept.as_ref().is_some_and(|kept| !kept.is_ours()) {
        *kept = None;
    }
}

/// Closes a number of ours. (If the program has closed it already, the kernel
/// says so.) Through syscall(): close() is a cancellation point, and locks are
/// held here.
pub(super) fn shut(number: Descriptor) {
    // SAFETY: the number was made by this library, which closes it once.
    unsafe { libc::syscall(libc::SYS_close, number) };
}

/// May a number like this be given out, by the limit as it is now?
pub(super) fn is_allowed(number: Descriptor) -> bool {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    u64::try_from(number).is_ok_and(|number| number < limit)
}

/// Makes a queue's number, an open and allowed one, refer to the file that is to
/// be the queue; what it referred to is closed by that. Through syscall(): a
/// cancellation point, for some C libraries.
pub(super) fn put_under(file: Descriptor, number: Descriptor) {
    loop {
        // SAFETY: three integers. The caller has seen that the number is one
        // of a queue, which is the library's to replace.
        let put = unsafe { libc::syscall(libc::SYS_dup3, file, number, libc::O_CLOEXEC) };
        match check(put as libc::c_int) {
            // Another thread is just getting the number, or was.
            Err(Errno::EBUSY | Errno::EINTR) => {}
            _ => return,
        }
    }
}

/// Opens a file for reading. Through syscall(): open() is a cancellation point.
pub(super) fn open(path: &std::ffi::CStr) -> Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: a string that ends in NUL.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags) };
    own(fd as libc::c_int)
}

/// Asks poll() and does not wait. Through syscall(): poll() is a cancellation
/// point all the same, and locks are held here.
pub(super) fn poll_now(watched: &mut [libc::pollfd]) -> Result<()> {
    let mut none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        // SAFETY: as many pollfds as the slice has, one timespec, no mask.
        let polled = unsafe {
            libc::syscall(
                libc::SYS_ppoll,
                watched.as_mut_ptr(),
                watched.len(),
                &raw mut none,
                core::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        match check(polled as libc::c_int) {
            // Even one that does not wait is interrupted, if it finds nothing;
            // the handler has run by now.
            Err(Errno::EINTR) => {}
            polled => return polled.map(|_| ()),
        }
    }
}

/// Sends no bytes at all to a socket. Through syscall(): send() is a
/// cancellation point.
pub(super) fn send_nothing(fd: Descriptor) -> Result<()> {
    let nothing = core::ptr::null::<u8>();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: no bytes are read from the null buffer, and no address.
    let sent =
        unsafe { libc::syscall(libc::SYS_sendto, fd, nothing, 0usize, flags, nothing, 0usize) };
    check(sent as libc::c_int).map(|_| ())
}

/// Reads from a place in a file. Through syscall(), as above, and in pieces of
/// memory: so the place is passed alike on all machines.
pub(super) fn read_at(fd: Descriptor, room: &mut [u8], place: usize) -> Result<usize> {
    let piece = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    // SAFETY: one piece, of as many bytes as there is room.
    let count = unsafe { libc::syscall(libc::SYS_preadv, fd, &raw const piece, 1, place, 0usize) };
    usize::try_from(count).map_err(|_| last_error())
}

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

/// Is this number a socket?
pub(super) fn is_socket(fd: Descriptor) -> Result<bool> {
    let kind = SFlag::from_bits_truncate(fstat(lend(fd))?.st_mode) & SFlag::S_IFMT;
    Ok(kind == SFlag::S_IFSOCK)
}

/// Can the process have one more descriptor?
pub(super) fn is_one_left() -> bool {
    let _busy = Busy::new();
    // SAFETY: two integers in, a new descriptor out.
    let made = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if made != -1 {
        shut(made);
    }
    made != -1
}

/// Is this number open at all?
pub(super) fn is_open(fd: Descriptor) -> bool {
    fcntl(lend(fd), FcntlArg::F_GETFD).is_ok()
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

/// What a number of the application's refers to.
pub(crate) fn descriptor_state(fd: Descriptor) -> DescriptorState {
    if !is_open(fd) {
        DescriptorState::Closed
    } else if kept::bears(fd, Mark::Queue) {
        DescriptorState::Queue
    } else {
        DescriptorState::Other
    }
}

/// Calls `each` with every open number at least once, and perhaps with others.
/// It is asked when descriptors or memory have run out, so it does without
/// either: if the list cannot be had, every number is tried.
pub(crate) fn own_descriptors(mut each: impl FnMut(Descriptor)) {
    if list_own(&mut each).is_err() {
        // The hard limit: above a soft one that was lowered since, numbers may
        // be open still.
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard);
        (0..limit.min(MOST_DESCRIPTORS) as Descriptor).for_each(each);
    }
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

/// Asks an ioctl that answers with an int.
#[inline]
pub(super) fn ask_int(fd: Descriptor, request: libc::Ioctl) -> Result<i32> {
    let mut answer: libc::c_int = 0;
    // SAFETY: the requests used here (FIONREAD, SIOCOUTQ) write one int.
    check(unsafe { libc::ioctl(fd, request, &raw mut answer) })?;
    Ok(answer)
}

/// Reads a socket option into plain integers; how many bytes came.
#[inline]
pub(super) fn ask_option<const N: usize>(
    fd: Descriptor,
    level: libc::c_int,
    name: libc::c_int,
    answer: &mut [u32; N],
) -> Result<usize> {
    let mut length = size_of_val(answer) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, all of them in
    // `answer`, and any bytes make a u32.
    check(unsafe {
        libc::getsockopt(fd, level, name, answer.as_mut_ptr().cast(), &raw mut length)
    })?;
    Ok(length as usize)
}
