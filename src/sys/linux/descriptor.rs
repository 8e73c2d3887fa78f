//! Descriptors: ours, kept out of the application's way, and the
//! application's, which are only ever asked about.

use crate::errno::{Errno, Result};
use crate::sys::{Descriptor, DescriptorState};
use nix::fcntl::{FcntlArg, fcntl, readlink};
use nix::sys::resource::{Resource, getrlimit};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

/// Moves a descriptor of ours up, out of the application's way. If there is no
/// room above, it stays where it is.
pub(super) fn move_up(fd: OwnedFd) -> OwnedFd {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let floor = PRIVATE_FLOOR.min(limit / 2);
    let Ok(floor) = i32::try_from(floor) else { return fd };
    let high = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(floor)).map_err(Errno::from);
    high.and_then(own).unwrap_or(fd)
}

/// Is it where private descriptors belong?
pub(super) fn is_high(fd: &OwnedFd) -> bool {
    u64::try_from(fd.as_raw_fd()).is_ok_and(|number| number >= PRIVATE_FLOOR)
}

/// Is this number open at all?
pub(super) fn is_open(fd: Descriptor) -> bool {
    fcntl(lend(fd), FcntlArg::F_GETFD).is_ok()
}

/// Is this number an epoll descriptor, whoever made it?
pub(super) fn is_epoll(fd: Descriptor) -> bool {
    let mut path = [0u8; 32];
    let Some(path) = proc_path(&mut path, "/proc/self/fd/", fd) else { return false };
    readlink(path).is_ok_and(|target| target.as_encoded_bytes() == b"anon_inode:[eventpoll]")
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

/// Calls `each` with every open number.
pub(crate) fn own_descriptors(mut each: impl FnMut(Descriptor)) {
    let Ok(folder) = std::fs::read_dir("/proc/self/fd") else { return };
    for entry in folder.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        number.map(&mut each);
    }
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

/// Closes in a forked child: the number alone, whatever the parent shares.
pub(super) fn close_in_child(fd: OwnedFd) {
    // SAFETY: close() is async-signal-safe, and `fd` is forgotten below, so
    // the number is closed once.
    unsafe { libc::close(fd.as_raw_fd()) };
    std::mem::forget(fd);
}
