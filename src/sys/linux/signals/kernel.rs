//! The system calls about signals, and a signal set as one number.
//!
//! All are async-signal-safe: the handler and the fork handler make them. They
//! may change errno.

use super::super::syscall::{check, own, thread_id};
use crate::errno::Result;
use crate::sync::{AtomicPtr, Ordering};
use core::ffi::{c_ulong, c_void};
use core::mem::MaybeUninit;
use std::os::fd::OwnedFd;

/// Signals are numbered from 1.
pub(in crate::sys::linux) const LAST: i32 = 64;

/// A set of signals: signal n is bit n - 1.
pub(super) fn bit(signal: i32) -> u64 {
    1u64.rotate_left((signal - 1) as u32)
}

/// The signals of a set, lowest first.
pub(super) fn each(mut set: u64) -> impl Iterator<Item = i32> {
    core::iter::from_fn(move || {
        let lowest = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (lowest < 64).then_some(lowest as i32 + 1)
    })
}

/// A set as the kernel has it: its first word holds the lowest signals, on
/// machines of either byte order.
type Words = [c_ulong; 64 / c_ulong::BITS as usize];

fn words(set: u64) -> Words {
    let mut words = Words::default();
    for (word, shift) in words.iter_mut().zip((0..).step_by(c_ulong::BITS as usize)) {
        *word = (set >> shift) as c_ulong;
    }
    words
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "32-bit words differ")]
fn set_of(words: Words) -> u64 {
    let shifts = (0..).step_by(c_ulong::BITS as usize);
    words.into_iter().zip(shifts).fold(0, |set, (word, shift)| set | u64::from(word) << shift)
}

/// What a process does with a signal.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Action {
    /// A function, or SIG_DFL or SIG_IGN.
    pub(super) handler: usize,
    pub(super) flags: i32,
    pub(super) mask: u64,
}

pub(super) const DEFAULT: Action = Action { handler: libc::SIG_DFL, flags: 0, mask: 0 };

/// A flag that the C library sets for itself.
const SA_RESTORER: i32 = 0x0400_0000;

impl Action {
    pub(super) fn to_libc(self) -> libc::sigaction {
        // SAFETY: integers, and a pointer that may be null.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = self.handler;
        action.sa_flags = self.flags;
        let words = words(self.mask);
        let mask = (&raw mut action.sa_mask).cast::<c_ulong>();
        // SAFETY: the C library's set begins with the kernel's, and is longer.
        unsafe { mask.copy_from_nonoverlapping(words.as_ptr(), words.len()) };
        action
    }

    pub(super) fn of_libc(action: &libc::sigaction) -> Action {
        // SAFETY: as above.
        let words = unsafe { (&raw const action.sa_mask).cast::<Words>().read_unaligned() };
        let flags = action.sa_flags & !SA_RESTORER;
        Action { handler: action.sa_sigaction, flags, mask: set_of(words) }
    }
}

type Sigaction =
    unsafe extern "C" fn(libc::c_int, *const libc::sigaction, *mut libc::sigaction) -> libc::c_int;

/// The C library's sigaction(), where the preload library stands before it.
static SIGACTION: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Null: there is nothing before it.
pub(in crate::sys::linux) fn set_sigaction(sigaction: *mut c_void) {
    SIGACTION.store(sigaction, Ordering::Release);
}

fn real_sigaction() -> Option<Sigaction> {
    let found = SIGACTION.load(Ordering::Acquire);
    if found.is_null() {
        return None;
    }
    // SAFETY: the C library's function of that name has this type.
    Some(unsafe { core::mem::transmute::<*mut c_void, Sigaction>(found) })
}

/// What the process does with a signal now. EINVAL: the C library keeps it.
pub(super) fn action(signal: i32) -> Result<Action> {
    exchange(signal, core::ptr::null())
}

/// Sets that; what it was.
pub(super) fn set_action(signal: i32, action: &Action) -> Result<Action> {
    let new = action.to_libc();
    exchange(signal, &raw const new)
}

fn exchange(signal: i32, new: *const libc::sigaction) -> Result<Action> {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    let sigaction = real_sigaction().unwrap_or(libc::sigaction);
    // SAFETY: `new` is null or an action; the old one is written.
    check(unsafe { sigaction(signal, new, old.as_mut_ptr()) })?;
    // SAFETY: it was zeroed, which makes an action, and then written.
    Ok(Action::of_libc(unsafe { old.assume_init_ref() }))
}

/// Replaces the calling thread's mask; what it was. Not by way of the C
/// library, which leaves its own signals out: those too must wait.
pub(super) fn set_mask(mask: u64) -> u64 {
    let new = words(mask);
    mask_call(libc::SIG_SETMASK, new.as_ptr())
}

/// Adds to the calling thread's mask; what it was.
pub(super) fn block(set: u64) -> u64 {
    let new = words(set);
    mask_call(libc::SIG_BLOCK, new.as_ptr())
}

/// The signals that the calling thread blocks.
pub(super) fn mask() -> u64 {
    mask_call(libc::SIG_SETMASK, core::ptr::null())
}

fn mask_call(how: libc::c_int, new: *const c_ulong) -> u64 {
    let mut old = Words::default();
    // SAFETY: `new` is null or a set, `old` is one; of the size given. It
    // cannot fail.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, how, new, old.as_mut_ptr(), size_of::<Words>())
    };
    set_of(old)
}

/// The signals that wait for the calling thread, or for any thread, because
/// the calling thread blocks them.
pub(super) fn pending() -> u64 {
    let mut set = Words::default();
    // SAFETY: the kernel writes a set of the size given. It cannot fail.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, set.as_mut_ptr(), size_of::<Words>()) };
    set_of(set)
}

/// Takes one pending signal that the calling thread blocks. `false`: somebody
/// else has had it.
pub(super) fn take(signal: i32) -> bool {
    let set = words(bit(signal));
    let no_time = [0 as libc::c_long; 2];
    let no_info = core::ptr::null_mut::<libc::siginfo_t>();
    // SAFETY: a set of the size given and a time, both alive; no info is
    // wanted.
    let taken = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            set.as_ptr(),
            no_info,
            no_time.as_ptr(),
            size_of::<Words>(),
        )
    };
    taken == libc::c_long::from(signal)
}

/// The process, as the kernel has it and not as anybody remembers it.
#[inline]
pub(crate) fn process_id() -> i32 {
    // SAFETY: no arguments, cannot fail.
    (unsafe { libc::syscall(libc::SYS_getpid) }) as i32
}

/// Sends a signal to the calling thread.
pub(super) fn send_to_myself(signal: i32) {
    let thread = thread_id();
    // SAFETY: integers. The thread exists.
    unsafe { libc::syscall(libc::SYS_tgkill, process_id(), thread, signal) };
}

/// A new descriptor that is readable while one of these signals is pending for
/// whoever asks.
pub(super) fn descriptor(set: u64) -> Result<OwnedFd> {
    own(descriptor_call(-1, set))
}

/// Lets it be for other signals.
pub(super) fn set_descriptor(fd: libc::c_int, set: u64) -> Result<()> {
    check(descriptor_call(fd, set)).map(|_| ())
}

fn descriptor_call(fd: libc::c_int, set: u64) -> libc::c_int {
    let set = words(set);
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: a set of the size given; nothing is kept.
    let made =
        unsafe { libc::syscall(libc::SYS_signalfd4, fd, set.as_ptr(), size_of::<Words>(), flags) };
    made as libc::c_int
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_go_to_the_kernels_words_and_back() {
        for set in [0, 1, bit(31) | bit(33), bit(64), u64::MAX, 0x1234_5678_9abc_def0] {
            assert_eq!(set_of(words(set)), set);
        }
        assert_eq!(each(bit(1) | bit(33) | bit(64)).collect::<Vec<_>>(), [1, 33, 64]);
        assert_eq!(each(0).next(), None);
    }

    #[test]
    fn actions_go_to_libc_and_back() {
        let action = Action { handler: 4096, flags: libc::SA_RESTART, mask: bit(2) | bit(40) };
        assert_eq!(Action::of_libc(&action.to_libc()), action);
    }
}
