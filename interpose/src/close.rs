//! close() and its relatives.
//!
//! A number that nobody knows costs a word's look and is the C library's. One
//! that is known is told of before it goes. It goes by the C library's function,
//! as the others do: there may be another library between that wants to know.

use crate::going::tell_around;
use crate::table::{self, Deed, Fate};
use crate::{fail, pthread_testcancel, real};
use core::ffi::{c_int, c_long, c_uint};
use core::mem::MaybeUninit;

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    if !table::is_known(fd) {
        return close_untold(fd);
    }
    // A thread that is cancelled must have closed nothing.
    // SAFETY: nothing on this stack wants dropping.
    unsafe { pthread_testcancel() };
    shut(fd)
}

#[inline]
fn close_untold(fd: c_int) -> c_int {
    match real::close() {
        // SAFETY: the number is the caller's to close.
        Some(close) => unsafe { close(fd) },
        None => call(libc::SYS_close, [fd, 0, 0]),
    }
}

/// The rest of it.
fn shut(fd: c_int) -> c_int {
    tell_around(fd, Deed::Close, |fate| match fate {
        Fate::Goes => close_untold(fd),
        // It is not open, as far as the application can know.
        Fate::Stays => fail(libc::EBADF),
    })
}

fn call(number: c_long, [first, second, third]: [c_int; 3]) -> c_int {
    // SAFETY: calls that take integers.
    (unsafe { libc::syscall(number, first, second, third) }) as c_int
}

fn is_open(fd: c_int) -> bool {
    // SAFETY: it changes nothing.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// May something be put under this number? Not beyond the limit, even if it is
/// open there.
fn is_allowed(number: c_int) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: room for the two numbers.
    let asked = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    asked == 0 && libc::rlim_t::try_from(number).is_ok_and(|number| number < limit.rlim_cur)
}

/// Puts one number in another's place; what is there goes.
fn replace(old: c_int, new: c_int, put: impl FnOnce() -> c_int) -> c_int {
    if old == new || !table::is_known(new) {
        return put();
    }
    let before = crate::errno();
    let goes = is_open(old) && is_allowed(new);
    crate::set_errno(before);
    if goes { tell_around(new, Deed::Replace, |_| put()) } else { put() }
}

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(old: c_int, new: c_int) -> c_int {
    replace(old, new, || match real::dup2() {
        // SAFETY: as the caller says.
        Some(dup2) => unsafe { dup2(old, new) },
        None if old != new => call(libc::SYS_dup3, [old, new, 0]),
        None if is_open(old) => old,
        None => -1,
    })
}

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    let put = || match real::dup3() {
        // SAFETY: as the caller says.
        Some(dup3) => unsafe { dup3(old, new, flags) },
        None => call(libc::SYS_dup3, [old, new, flags]),
    };
    // With another flag it fails.
    if flags & !libc::O_CLOEXEC == 0 { replace(old, new, put) } else { put() }
}

fn range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    match real::close_range() {
        // SAFETY: it takes integers. What it closes is the caller's to know.
        Some(range) => unsafe { range(first, last, flags) },
        None => call(libc::SYS_close_range, [first.cast_signed(), last.cast_signed(), flags]),
    }
}

/// Closes what is known in a range one by one, and what lies between by the
/// range; our libraries' own numbers stay. `between` takes first and last.
fn close_known(first: c_uint, last: c_uint, mut between: impl FnMut(c_uint, c_uint) -> c_int) {
    let mut from = first;
    while let Ok(start) = c_int::try_from(from)
        && let Some(known) = table::next_known(start)
        && known.cast_unsigned() <= last
    {
        if known > start {
            between(from, known.cast_unsigned() - 1);
        }
        shut(known);
        from = known.cast_unsigned() + 1;
    }
    if from <= last {
        between(from, last);
    }
}

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    let before = crate::errno();
    let nothing_known = c_int::try_from(first).map_or(true, |first| {
        table::next_known(first).is_none_or(|known| known.cast_unsigned() > last)
    });
    if first > last || nothing_known || !closes(flags) {
        crate::set_errno(before);
        return range(first, last, flags);
    }
    // What is to fail must fail before anything is closed; and what is to be
    // this process's own is so from here on.
    if range(c_uint::MAX, c_uint::MAX, flags) == -1 {
        return -1;
    }
    close_known(first, last, |first, last| range(first, last, 0));
    crate::set_errno(before);
    0
}

/// Does close_range() close for the whole process, by these flags? With CLOEXEC
/// nothing is closed, and with UNSHARE for the calling thread alone: so if that
/// is the only one there is. It may change errno.
fn closes(flags: c_int) -> bool {
    match flags.cast_unsigned() {
        0 => true,
        libc::CLOSE_RANGE_UNSHARE => is_alone(),
        _ => false,
    }
}

/// Has the process one thread? The folder of the threads has a link for each,
/// beside two. Without /proc nobody knows.
fn is_alone() -> bool {
    let mut folder = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: a string that ends in NUL, and room for the answer.
    let asked = unsafe { libc::stat(c"/proc/self/task".as_ptr(), folder.as_mut_ptr()) };
    // SAFETY: it was zeroed, which makes one, and then written.
    asked == 0 && unsafe { folder.assume_init_ref() }.st_nlink == 3
}

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn closefrom(first: c_int) {
    let before = crate::errno();
    let first = first.max(0);
    close_known(first.cast_unsigned(), c_uint::MAX, |first, last| {
        if range(first, last, 0) == 0 {
            return 0;
        }
        match (real::closefrom(), c_int::try_from(first)) {
            (Some(closefrom), Ok(first)) if last == c_uint::MAX => {
                // SAFETY: what it closes is the caller's to know.
                unsafe { closefrom(first) };
            }
            _ => close_each(first, last),
        }
        0
    });
    crate::set_errno(before);
}

/// Where the kernel has no close_range().
fn close_each(first: c_uint, last: c_uint) {
    // SAFETY: it has no arguments that are pointers.
    let most = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    let most = c_uint::try_from(most).unwrap_or(1 << 20);
    for number in first..=last.min(most) {
        call(libc::SYS_close, [number.cast_signed(), 0, 0]);
    }
}
