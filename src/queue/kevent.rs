//! The life of a call of kevent().

#![forbid(unsafe_code)]

use super::{Astray, Caller, Home, Stop, Wake, apply, collect};
use crate::errno::Errno;
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{Descriptor, Platform};

/// A call on the queue that lives here as `tenant` and is known to the caller
/// by `number`. A thread may leave it wherever it is, by a longjmp out of a
/// signal handler: the queue is mended then.
///
/// EDEADLK: this call is made by a handler, and interrupts one on the same queue
/// that has its lock. That is asked once, and first: what a call locks itself,
/// it lets go of before it locks again. The answer costs a look at the lock's
/// word, which the call is about to take anyway.
pub(crate) fn call<P: Platform, C: Caller>(
    home: &Home<P>,
    tenant: u32,
    number: Descriptor,
    caller: &mut C,
    astray: Astray<P>,
) -> core::result::Result<usize, Stop> {
    if home.is_mine() {
        return Err(Stop::Failed(Errno::EDEADLK));
    }
    P::unless_left(
        &mut (home, (tenant, number), AtomicBool::new(false), caller),
        |(home, (tenant, number), laden, _)| {
            home.left(*tenant, *number, laden.load(Ordering::Relaxed));
        },
        |(home, _, laden, caller)| {
            let done = apply_and_collect(home, tenant, number, *caller, astray, laden);
            home.keep_roused(tenant, number);
            done
        },
    )
}

fn apply_and_collect<P: Platform, C: Caller>(
    home: &Home<P>,
    tenant: u32,
    number: Descriptor,
    caller: &mut C,
    astray: Astray<P>,
    laden: &AtomicBool,
) -> core::result::Result<usize, Stop> {
    // The common call has no changes, and makes straight for the wait.
    let changed = match caller.next_change() {
        None if caller.collects() => None,
        first => {
            if caller.collects() {
                P::cancellation_point();
            }
            match apply::all(home, tenant, number, caller, first)? {
                apply::Next::Return(entries) => return Ok(entries),
                apply::Next::Collect(applied) => Some(applied),
            }
        }
    };
    let collected = collect::events(home, tenant, number, caller, astray, laden, changed);
    if collected.is_err() && changed.is_some_and(|applied| applied.expedite) {
        // This call was to look at the list next, so nobody was told of it.
        home.enter(tenant, number)?.settle(Wake::All)?;
    }
    collected
}
