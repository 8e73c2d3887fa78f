//! Descriptors: ours, kept out of the application's way, and the
//! application's, which are only ever asked about.

use crate::errno::{Errno, Result};
use crate::sys::{Descriptor, DescriptorState};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::fstat;
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

/// How a number is known to be still what was made.
#[derive(Debug)]
enum Identity {
    /// What /proc calls it.
    Name(&'static [u8]),
    /// /proc calls each socket by its inode.
    Socket(libc::ino_t),
}

impl Private {
    /// Takes a new descriptor into the library's keeping: moves it up, out of
    /// the application's way. If there is no room above, it stays where it is.
    pub(super) fn new(fd: OwnedFd, name: &'static [u8]) -> Private {
        Private::keep(fd, Identity::Name(name))
    }

    /// The same of a socket.
    pub(super) fn socket(fd: OwnedFd) -> Result<Private> {
        let inode = fstat(&fd)?.st_ino;
        Ok(Private::keep(fd, Identity::Socket(inode)))
    }

    fn keep(fd: OwnedFd, identity: Identity) -> Private {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let floor = PRIVATE_FLOOR.min(limit / 2) as Descriptor;
        let high = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(floor)).map_err(Errno::from);
        let kept = high.and_then(own).unwrap_or(fd);
        Private { number: kept.into_raw_fd(), identity }
    }

    #[inline]
    pub(super) fn number(&self) -> Descriptor {
        self.number
    }

    /// Is the number still what was made, as far as /proc can tell?
    pub(super) fn is_ours(&self) -> bool {
        let mut name = [0u8; 32];
        match self.identity {
            // Without an answer it is taken for what it was.
            Identity::Name(was) => file_name(&mut name, self.number).map_or(true, |is| is == was),
            Identity::Socket(inode) => fstat(lend(self.number)).map_or(true, |stat| {
                stat.st_ino == inode && stat.st_mode & libc::S_IFMT == libc::S_IFSOCK
            }),
        }
    }

    /// Closes it if the kernel calls it ours by a quicker way than /proc.
    pub(super) fn close_if(self, is_ours: impl FnOnce(Descriptor) -> bool) {
        let kept = core::mem::ManuallyDrop::new(self);
        if is_ours(kept.number) {
            // SAFETY: the number was made for this value, which is not dropped.
            unsafe { libc::close(kept.number) };
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
        if self.is_ours() {
            // SAFETY: the number was made for this value, and is closed once.
            // (If the program has closed it already, the kernel says so.)
            unsafe { libc::close(self.number) };
        }
    }
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
    let mut path = [0u8; 32];
    let path = proc_path(&mut path, "/proc/self/fd/", fd).ok_or(Errno::EBADF)?;
    // SAFETY: a string that ends in NUL, and as many bytes as the array has.
    let length = unsafe { libc::readlink(path.as_ptr(), room.as_mut_ptr().cast(), room.len()) };
    let length = usize::try_from(length).map_err(|_| last_error())?;
    Ok(room.get(..length).unwrap_or_default())
}

/// "/proc/self/.../N", without allocating.
pub(super) fn proc_path<'a>(
    buffer: &'a mut [u8; 32],
    folder: &str,
    fd: Descriptor,
) -> Option<&'a std::ffi::CStr> {
    use std::io::Write;
    let mut rest: &mut [u8] = buffer;
    write!(rest, "{folder}{fd}\0").ok()?;
    std::ffi::CStr::from_bytes_until_nul(buffer).ok()
}

/// What /proc knows of a descriptor beside its name.
pub(super) fn fdinfo(text: &mut [u8; 512], fd: Descriptor) -> Option<&str> {
    let mut path = [0u8; 32];
    let path = proc_path(&mut path, "/proc/self/fdinfo/", fd)?;
    // SAFETY: a string that ends in NUL.
    let info = own(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) }).ok()?;
    let length = nix::unistd::read(&info, text).ok()?;
    core::str::from_utf8(text.get(..length)?).ok()
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
    if list_descriptors(&mut each).is_err() {
        // The hard limit: above a soft one that was lowered since, numbers may
        // be open still.
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard);
        (0..limit.min(MOST_DESCRIPTORS) as Descriptor).for_each(each);
    }
}

/// More than this no process has, unless the system was told otherwise
/// (fs.nr_open).
const MOST_DESCRIPTORS: u64 = 1 << 20;

fn list_descriptors(each: &mut impl FnMut(Descriptor)) -> Result<()> {
    // SAFETY: a string that ends in NUL.
    let folder = own(unsafe {
        libc::open(c"/proc/self/fd".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC)
    })?;
    let mut entries = [0u8; 1024];
    loop {
        // SAFETY: the kernel writes at most as many bytes as the array has.
        let count = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                folder.as_raw_fd(),
                entries.as_mut_ptr(),
                entries.len(),
            )
        };
        let count = usize::try_from(count).map_err(|_| last_error())?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = entries.get(..count).unwrap_or_default();
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
