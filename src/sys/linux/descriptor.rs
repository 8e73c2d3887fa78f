//! Descriptors: ours, kept out of the application's way, and the
//! application's, which are only ever asked about.

use super::preload;
use crate::errno::{Errno, Result};
use crate::sys::{Descriptor, DescriptorState};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{SFlag, fstat};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

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

/// A descriptor that the library keeps for itself.
///
/// A program may close every number it sees, ours too, and the kernel gives
/// them out again. So a number is closed only as long as it is what was made:
/// one that /proc calls otherwise by now is somebody else's.
#[derive(Debug)]
pub(super) struct Private {
    number: Descriptor,
    identity: Identity,
}

/// By what a private descriptor is known again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Identity {
    /// What /proc calls it.
    Name(&'static [u8]),
    /// Of a file, whose name tells of the process.
    File { device: libc::dev_t, inode: libc::ino_t },
}

impl Identity {
    fn of_file(fd: Descriptor) -> Result<Identity> {
        let stat = fstat(lend(fd))?;
        Ok(Identity::File { device: stat.st_dev, inode: stat.st_ino })
    }
}

impl Private {
    /// Takes a new descriptor into the library's keeping: moves it up, out of
    /// the application's way. If there is no room above, it stays where it is.
    pub(super) fn new(fd: OwnedFd, name: &'static [u8]) -> Private {
        Private::keep(fd, Identity::Name(name))
    }

    /// The same of an open file.
    pub(super) fn of_file(fd: OwnedFd) -> Result<Private> {
        match Identity::of_file(fd.as_raw_fd()) {
            Ok(identity) => Ok(Private::keep(fd, identity)),
            Err(error) => {
                shut(fd.into_raw_fd());
                Err(error)
            }
        }
    }

    fn keep(fd: OwnedFd, identity: Identity) -> Private {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let floor = PRIVATE_FLOOR.min(limit / 2) as Descriptor;
        let high = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(floor)).map_err(Errno::from);
        let low = fd.into_raw_fd();
        let number = match high {
            Ok(high) => {
                shut(low);
                high
            }
            Err(_) => low,
        };
        preload::begin_private(number);
        Private { number, identity }
    }

    /// Takes back into keeping a number that was kept by hand.
    pub(super) fn again(number: Descriptor, name: &'static [u8]) -> Private {
        preload::begin_private(number);
        Private { number, identity: Identity::Name(name) }
    }

    #[inline]
    pub(super) fn number(&self) -> Descriptor {
        self.number
    }

    /// Is the number still what was made, as far as can be told?
    pub(super) fn is_ours(&self) -> bool {
        let mut name = [0u8; 32];
        // Without an answer it is taken for what it was.
        match self.identity {
            Identity::Name(ours) => {
                file_name(&mut name, self.number).map_or(true, |name| name == ours)
            }
            file @ Identity::File { .. } => {
                Identity::of_file(self.number).map_or(true, |found| found == file)
            }
        }
    }

    /// Closes it if the kernel calls it ours by a quicker way than /proc.
    pub(super) fn close_if(self, is_ours: impl FnOnce(Descriptor) -> bool) {
        let kept = core::mem::ManuallyDrop::new(self);
        preload::end_private(kept.number);
        if is_ours(kept.number) {
            shut(kept.number);
        }
    }

    /// Is it where private descriptors belong?
    pub(super) fn is_high(&self) -> bool {
        u64::try_from(self.number).is_ok_and(|number| number >= PRIVATE_FLOOR)
    }
}

/// Async-signal-safe: it is dropped in the fork handler too, where the number
/// alone is closed, and what the parent shares is not touched.
impl Drop for Private {
    fn drop(&mut self) {
        preload::end_private(self.number);
        if self.is_ours() {
            shut(self.number);
        }
    }
}

/// Closes a number of ours. (If the program has closed it already, the kernel
/// says so.) Through syscall(): close() is a cancellation point, and locks are
/// held here.
pub(super) fn shut(number: Descriptor) {
    // SAFETY: the number was made by this library, which closes it once.
    unsafe { libc::syscall(libc::SYS_close, number) };
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
/// cancellation point.
pub(super) struct Reading(Descriptor);

impl Reading {
    pub(super) fn open(path: &std::ffi::CStr) -> Result<Reading> {
        open(path).map(|fd| Reading(fd.into_raw_fd()))
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

/// May this number be an epoll descriptor, whoever made it? Without an answer
/// from /proc it may: it is for the next call that is made with it to find out.
pub(super) fn is_epoll(fd: Descriptor) -> bool {
    let mut name = [0u8; 32];
    file_name(&mut name, fd).map_or(true, |name| name == EPOLL_NAME)
}

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
    } else if is_epoll(fd) {
        DescriptorState::Queue
    } else {
        DescriptorState::Other
    }
}

/// Calls `each` with every open number at least once, and perhaps with others.
/// It is asked when descriptors or memory have run out, so it does without
/// either: if the list cannot be had, every number is tried.
pub(crate) fn own_descriptors(mut each: impl FnMut(Descriptor)) {
    if list_numbers(c"/proc/thread-self/fd", &mut each).is_err() {
        // The hard limit: above a soft one that was lowered since, numbers may
        // be open still.
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard);
        (0..limit.min(MOST_DESCRIPTORS) as Descriptor).for_each(each);
    }
}

/// More than this no process has, unless the system was told otherwise
/// (fs.nr_open).
const MOST_DESCRIPTORS: u64 = 1 << 20;

/// Calls `each` with every name in a folder that is a number.
pub(super) fn list_numbers(folder: &std::ffi::CStr, each: &mut impl FnMut(i32)) -> Result<()> {
    let folder = Reading::open(folder)?;
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
