//! sigaction() and what else sets a disposition.
//!
//! A signal that no library has hooked is the C library's affair. For the
//! others the old functions are what the C library makes of them: a call of
//! sigaction().

use crate::{errno, fail, real, set_errno, table};
use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering};
use libc::{sighandler_t, sigset_t};

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    if let Some(done) = table::action(signal, new, old) {
        return done;
    }
    match real::sigaction() {
        // SAFETY: as the caller says.
        Some(sigaction) => unsafe { sigaction(signal, new, old) },
        None => fail(libc::ENOSYS),
    }
}

/// What a program does with a signal, or nothing if no library has hooked it.
fn hooked(signal: c_int) -> Option<libc::sigaction> {
    let mut there = action(libc::SIG_DFL, 0);
    let before = errno();
    let asked = table::action(signal, core::ptr::null(), &raw mut there);
    set_errno(before);
    (asked == Some(0)).then_some(there)
}

fn action(handler: sighandler_t, flags: c_int) -> libc::sigaction {
    // SAFETY: integers, and a pointer that may be null.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    action
}

/// Sets a disposition of a hooked signal; the old handler.
fn set(signal: c_int, wanted: &libc::sigaction) -> sighandler_t {
    let mut old = action(libc::SIG_DFL, 0);
    // SAFETY: two actions.
    let set = unsafe { sigaction(signal, wanted, &raw mut old) };
    if set == -1 { libc::SIG_ERR } else { old.sa_sigaction }
}

/// The signals of siginterrupt(): after it, signal() lets them interrupt.
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

fn bit(signal: c_int) -> u64 {
    1u64.rotate_left((signal - 1).cast_unsigned())
}

/// signal() as BSD has it.
fn set_bsd(signal: c_int, handler: sighandler_t) -> sighandler_t {
    if handler == libc::SIG_ERR {
        set_errno(libc::EINVAL);
        return libc::SIG_ERR;
    }
    let interrupts = INTERRUPTS.load(Ordering::Relaxed) & bit(signal) != 0;
    let mut wanted = action(handler, if interrupts { 0 } else { libc::SA_RESTART });
    // SAFETY: a set, and a signal that is one.
    unsafe { libc::sigaddset(&raw mut wanted.sa_mask, signal) };
    set(signal, &wanted)
}

/// signal() as System V has it: for one signal, and it may interrupt itself.
fn set_sysv(signal: c_int, handler: sighandler_t) -> sighandler_t {
    if handler == libc::SIG_ERR {
        set_errno(libc::EINVAL);
        return libc::SIG_ERR;
    }
    set(signal, &action(handler, libc::SA_RESETHAND | libc::SA_NODEFER))
}

/// sigset(): also holds the signal, or lets it go.
fn set_held(signal: c_int, handler: sighandler_t, there: &libc::sigaction) -> sighandler_t {
    /// Not a handler: to block it.
    const SIG_HOLD: sighandler_t = 2;
    let mut of_one = action(libc::SIG_DFL, 0).sa_mask;
    let mut before = of_one;
    // SAFETY: a set, and a signal that is one.
    unsafe { libc::sigaddset(&raw mut of_one, signal) };
    let was =
        if handler == SIG_HOLD { there.sa_sigaction } else { set(signal, &action(handler, 0)) };
    if was == libc::SIG_ERR {
        return was;
    }
    let how = if handler == SIG_HOLD { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    // SAFETY: two sets.
    if unsafe { libc::sigprocmask(how, &raw const of_one, &raw mut before) } == -1 {
        return libc::SIG_ERR;
    }
    if is_member(&before, signal) { SIG_HOLD } else { was }
}

fn is_member(set: &sigset_t, signal: c_int) -> bool {
    // SAFETY: a set, and a signal that is one.
    unsafe { libc::sigismember(set, signal) == 1 }
}

/// Functions that set a handler and return the old one.
macro_rules! set_handler {
    ($($name:ident($signal:ident, $handler:ident, $there:ident) $hooked:expr;)*) => {$(
        /// # Safety
        ///
        /// As for the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($signal: c_int, $handler: sighandler_t) -> sighandler_t {
            if let Some($there) = hooked($signal) {
                let _ = &$there;
                return $hooked;
            }
            match real::$name() {
                // SAFETY: as the caller says.
                Some(real) => unsafe { real($signal, $handler) },
                None => {
                    set_errno(libc::ENOSYS);
                    libc::SIG_ERR
                }
            }
        }
    )*};
}

set_handler! {
    signal(signal, handler, _there) set_bsd(signal, handler);
    bsd_signal(signal, handler, _there) set_bsd(signal, handler);
    ssignal(signal, handler, _there) set_bsd(signal, handler);
    sysv_signal(signal, handler, _there) set_sysv(signal, handler);
    __sysv_signal(signal, handler, _there) set_sysv(signal, handler);
    sigset(signal, handler, there) set_held(signal, handler, &there);
}

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigignore(signal: c_int) -> c_int {
    if hooked(signal).is_some() {
        return if set(signal, &action(libc::SIG_IGN, 0)) == libc::SIG_ERR { -1 } else { 0 };
    }
    match real::sigignore() {
        // SAFETY: as the caller says.
        Some(sigignore) => unsafe { sigignore(signal) },
        None => fail(libc::ENOSYS),
    }
}

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siginterrupt(signal: c_int, on: c_int) -> c_int {
    let there = hooked(signal);
    let done = match real::siginterrupt() {
        // The hook, if there is one, stays where it is.
        // SAFETY: as the caller says.
        Some(siginterrupt) => unsafe { siginterrupt(signal, on) },
        None => fail(libc::ENOSYS),
    };
    if done == -1 {
        return done;
    }
    if on == 0 {
        INTERRUPTS.fetch_and(!bit(signal), Ordering::Relaxed);
    } else {
        INTERRUPTS.fetch_or(bit(signal), Ordering::Relaxed);
    }
    let Some(mut wanted) = there else { return done };
    wanted.sa_flags &= !libc::SA_RESTART;
    if on == 0 {
        wanted.sa_flags |= libc::SA_RESTART;
    }
    if set(signal, &wanted) == libc::SIG_ERR { -1 } else { 0 }
}
