//! System calls, and errno: below all else here.
//!
//! A number is only ever passed on; whose it is, the caller knows. Libc's own
//! function is not called where that is a cancellation point, for locks are
//! held.

use crate::clock::Moment;
use crate::errno::{Errno, Result};
use crate::sys::contract::Descriptor;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{SFlag, fstat};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

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

/// Closes a number of ours. (If the program has closed it already, the kernel
/// says so.) Through syscall(): close() is a cancellation point, and locks are
/// held here.
pub(super) fn shut(number: Descriptor) {
    // SAFETY: the number was made by this library, which closes it once.
    unsafe { libc::syscall(libc::SYS_close, number) };
}

/// fcntl(2); the libc crate does not have them.
const F_SETSIG: libc::c_int = 10;
const F_GETSIG: libc::c_int = 11;

/// Sets the signal that an open file would send for I/O.
pub(super) fn set_signal(fd: Descriptor, signal: libc::c_int) -> Result<()> {
    // SAFETY: integers.
    check(unsafe { libc::fcntl(fd, F_SETSIG, signal) }).map(|_| ())
}

/// What it is; -1 if the number is not open. Async-signal-safe.
#[inline]
pub(super) fn signal(fd: Descriptor) -> libc::c_int {
    // SAFETY: integers. Nothing is changed.
    unsafe { libc::fcntl(fd, F_GETSIG) }
}

/// May a number like this be given out, by the limit as it is now?
pub(super) fn is_allowed(number: Descriptor) -> bool {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    u64::try_from(number).is_ok_and(|number| number < limit)
}

/// Makes a queue's number, an open and allowed one, refer to the file that is to
/// be the queue; what it referred to is closed by that. Through syscall(): a
/// cancellation point, for some C libraries. Has it been done?
pub(super) fn put_under(file: Descriptor, number: Descriptor) -> bool {
    loop {
        // SAFETY: three integers. The caller has seen that the number is one
        // of a queue, which is the library's to replace.
        let put = unsafe { libc::syscall(libc::SYS_dup3, file, number, libc::O_CLOEXEC) };
        match check(put as libc::c_int) {
            // Another thread is just getting the number, or was.
            Err(Errno::EBUSY | Errno::EINTR) => {}
            put => return put.is_ok(),
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

/// Is this number a socket?
pub(super) fn is_socket(fd: Descriptor) -> Result<bool> {
    let kind = SFlag::from_bits_truncate(fstat(lend(fd))?.st_mode) & SFlag::S_IFMT;
    Ok(kind == SFlag::S_IFSOCK)
}

/// Is this number open at all?
pub(super) fn is_open(fd: Descriptor) -> bool {
    fcntl(lend(fd), FcntlArg::F_GETFD).is_ok()
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

/// What a clock says, in nanoseconds.
pub(super) fn clock(which: libc::clockid_t) -> u64 {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec. Both clocks exist everywhere, so
    // it cannot fail.
    unsafe { libc::clock_gettime(which, &raw mut spec) };
    let seconds = u64::try_from(spec.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(spec.tv_nsec as u64)
}

/// The monotonic clock.
#[inline]
pub(super) fn now() -> Moment {
    Moment(clock(libc::CLOCK_MONOTONIC))
}

/// So many of a thing that zeros stand for, in a new mapping at no particular
/// address. Only the pages that are used take memory.
pub(super) fn map<T>(count: usize) -> Result<*mut T> {
    // SAFETY: nothing that is there is replaced.
    let made = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            count * size_of::<T>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if made == libc::MAP_FAILED { Err(Errno::ENOMEM) } else { Ok(made.cast()) }
}

/// Gives back what [`map`] made.
///
/// # Safety
///
/// Nobody else has seen it, and the caller looks at it no more.
pub(super) unsafe fn unmap<T>(made: *mut T, count: usize) {
    // SAFETY: the mapping that `map` made, and nobody's, as the caller says.
    unsafe { libc::munmap(made.cast(), count * size_of::<T>()) };
}

/// Does another process have the same table of descriptors as this one? `false`
/// also where that cannot be told: few have, and few kernels do not tell.
/// Async-signal-safe.
pub(crate) fn shares_descriptors(with: i32) -> bool {
    const KCMP_FILES: libc::c_int = 2;
    // SAFETY: no arguments, cannot fail.
    let process = unsafe { libc::getpid() };
    // The same number: it is from another pid namespace, and means nothing here.
    // SAFETY: integers. Nothing is changed.
    process != with
        && unsafe { libc::syscall(libc::SYS_kcmp, process, with, KCMP_FILES, 0usize, 0usize) } == 0
}

/// Do two numbers refer to the same open file? `None`: one is closed, or the
/// kernel does not tell.
pub(super) fn is_same_file(one: Descriptor, other: Descriptor) -> Option<bool> {
    const KCMP_FILE: libc::c_int = 0;
    // Not the process, for its first thread may have ended, and has no files.
    let thread = thread_id();
    // SAFETY: integers. Nothing is changed.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, thread, thread, KCMP_FILE, one, other) };
    (order >= 0).then_some(order == 0)
}

/// The kernel's number for the calling thread.
pub(crate) fn thread_id() -> i32 {
    // SAFETY: no arguments, cannot fail.
    (unsafe { libc::syscall(libc::SYS_gettid) }) as i32
}

/// Sets the calling thread's errno.
pub(crate) fn set_errno(errno: Errno) {
    nix::Error::set_raw(errno.0);
}

/// The calling thread's errno, which may be any number that the caller put
/// there: it never passes through nix's list of those that exist.
#[inline]
pub(crate) fn errno() -> Errno {
    Errno(nix::Error::last_raw())
}

/// Writes a line to standard error, as one write.
pub(crate) fn print(line: &[u8]) {
    // Through syscall(): write() is a cancellation point.
    // SAFETY: as many bytes as the slice has.
    unsafe { libc::syscall(libc::SYS_write, libc::STDERR_FILENO, line.as_ptr(), line.len()) };
}
