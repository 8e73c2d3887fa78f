//! The application's own calls about dispositions, where the preload library
//! hands them to us.
//!
//! A disposition that is set over a hook is written down first, and the kernel
//! gets the hook that stands for it: so there is no moment in which the signal
//! is not counted. Whoever asks is shown what the application set.
//!
//! sigaction() is async-signal-safe, and so is this: no lock is taken. Two
//! threads, or a handler on top of one, that set a disposition at once write
//! down one each (see [`super::table`]), and the kernel says whose was last.

use super::super::syscall::set_errno;
use super::hook;
use super::kernel::{self, Action, bit, each};
use super::ledger::{self, is_left_alone, unhook};
use super::table::{COUNTED, HOOKED, LEAVING, owner, slot};
use crate::errno::{Errno, Result};
use crate::sync::Ordering;
use core::ffi::c_int;

/// sigaction(): 0, or -1 with errno, or 1 if the signal is none of ours.
pub(in crate::sys::linux) extern "C" fn action(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    let is_ours =
        (1..=kernel::LAST).contains(&signal) && HOOKED.load(Ordering::Acquire) & bit(signal) != 0;
    if !is_ours {
        return 1;
    }
    // SAFETY: null, or an action of the caller's.
    let wanted = unsafe { new.as_ref() }.map(Action::of_libc);
    match exchange(signal, wanted) {
        Ok(was) => {
            if !old.is_null() {
                // SAFETY: room for an action of the caller's, who may have
                // given one for both.
                unsafe { old.write(was.to_libc()) };
            }
            0
        }
        Err(error) => {
            set_errno(error);
            -1
        }
    }
}

/// Sets what the application wants, if it wants anything; what it wanted.
fn exchange(signal: i32, wanted: Option<Action>) -> Result<Action> {
    let slot = slot(signal).ok_or(Errno::EINVAL)?;
    let was = match wanted {
        None => kernel::action(signal)?,
        Some(wanted) => match over(signal, &wanted) {
            Some((number, over)) => {
                slot.current.store(number, Ordering::Release);
                let was = kernel::set_action(signal, &over)?;
                // Given back in this moment: nobody would take the hook away.
                if !is_counted(signal) {
                    unhook(signal);
                }
                was
            }
            None => kernel::set_action(signal, &wanted)?,
        },
    };
    Ok(hook::number(was.handler).map_or(was, |number| slot.wanted_now(number)))
}

/// The hook for a disposition of a signal that is counted here. `None`: it is
/// set as it is. In a child that vfork() made nothing is counted, and what is
/// written down is its parent's.
fn over(signal: i32, wanted: &Action) -> Option<(usize, Action)> {
    let counts = is_counted(signal) && owner() == kernel::process_id();
    if !counts || is_left_alone(signal, wanted) || hook::number(wanted.handler).is_some() {
        return None;
    }
    let number = slot(signal)?.hook_for(wanted)?;
    Some((number, hook::over(wanted, number)?))
}

fn is_counted(signal: i32) -> bool {
    COUNTED.load(Ordering::Acquire) & bit(signal) != 0
}

/// Another program is about to be run: really ignores what the application
/// ignores, for it inherits that. The signals that this was done for.
///
/// Until the program runs, or [`stay`], they are not counted. `spawns`: it is
/// run in a child, while other threads here go on and may do the same.
pub(in crate::sys::linux) extern "C" fn leave(spawns: c_int) -> u64 {
    let hooked = HOOKED.load(Ordering::Acquire);
    if hooked == 0 {
        return 0;
    }
    let leave = || each(hooked).fold(0, |set, signal| set | ignore(signal));
    if spawns == 0 {
        return leave();
    }
    ledger::with_lock(|| {
        let set = leave();
        // Another thread may have done it for all.
        if set == 0 && LEAVING.load(Ordering::Acquire) == 0 {
            return 0;
        }
        LEAVING.fetch_add(1, Ordering::AcqRel);
        // Not 0, so that it is said when it is done.
        set | RAISED
    })
    .unwrap_or_else(leave)
}

/// In what [`leave`] returns: it is one of those in LEAVING. No signal of a set
/// says that by chance, for nobody ignores this one.
const RAISED: u64 = 1 << (libc::SIGKILL - 1);

/// Ignores a signal really, if it lies under a hook and is ignored.
fn ignore(signal: i32) -> u64 {
    let ignored = |there: Action| {
        let number = hook::number(there.handler)?;
        let wanted = slot(signal)?.wanted_now(number);
        (wanted.handler == libc::SIG_IGN).then_some(wanted)
    };
    let Some(wanted) = kernel::action(signal).ok().and_then(ignored) else { return 0 };
    count_pending(signal);
    kernel::set_action(signal, &wanted).map_or(0, |_| bit(signal))
}

/// The kernel throws away what is pending of a signal when it is ignored. So
/// what the calling thread blocks, sent to it or to the process, is taken and
/// counted before; what waits for another thread alone is out of reach.
///
/// In a child that vfork() made nothing is counted. What is pending there was
/// sent to it, and goes as it would natively.
fn count_pending(signal: i32) {
    /// More than may be pending, as a rule. It does not go on for ever.
    const MOST: u32 = 1 << 20;
    if !is_counted(signal) || owner() != kernel::process_id() {
        return;
    }
    let Some(slot) = slot(signal) else { return };
    for _ in 0..MOST {
        if !kernel::take(signal) {
            return;
        }
        slot.count_one(None);
    }
}

/// The other program has not been run here, or has been in a child.
pub(in crate::sys::linux) extern "C" fn stay(set: u64, spawned: c_int) {
    // A child that has become an owner only since has raised nothing.
    if spawned == 0 || set & RAISED == 0 {
        each(set).for_each(hook_again);
        return;
    }
    let hooked = HOOKED.load(Ordering::Acquire);
    let _ = ledger::with_lock(|| {
        let one_less = |leaving: u32| leaving.checked_sub(1);
        let was = LEAVING.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
        // A handler may have forked below, and an owner begins at 0.
        if matches!(was, Ok(1) | Err(_)) {
            each(hooked).for_each(hook_again);
        }
    });
}

fn hook_again(signal: i32) {
    let Ok(there) = kernel::action(signal) else { return };
    if there.handler != libc::SIG_IGN {
        return;
    }
    if let Some((number, over)) = over(signal, &there)
        && let Some(slot) = slot(signal)
    {
        slot.current.store(number, Ordering::Release);
        let _ = kernel::set_action(signal, &over);
    }
}
