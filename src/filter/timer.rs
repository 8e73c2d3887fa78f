//! EVFILT_TIMER: time passes.
//!
//! A timer that nobody is to be told of (disabled, or expired and not yet
//! returned) costs nothing: its expirations are counted by arithmetic when it
//! is next looked at. Deadlines are start + n * period, so nothing drifts.

#![forbid(unsafe_code)]

use super::{Filter, Outcome, Report, Touch, free_key};
use crate::clock::{Moment, Schedule, Span, schedule};
use crate::errno::{Errno, Result};
use crate::event::{EV_ADD, EV_CLEAR, EV_DISPATCH, EV_ONESHOT, Kevent};
use crate::knote::table::Key;
use crate::knote::{Body, Knote};
use crate::sys::{Platform, Readiness, Token};
use core::ffi::{c_short, c_ushort};

#[derive(Debug)]
pub(super) struct Timer;

/// What EV_ADD of a timer that is there may change: natively nothing; but
/// libkqueue and NetBSD take these, and a timer is re-armed to be another.
const RETAKEN: c_ushort = EV_ONESHOT | EV_DISPATCH;

/// Starts the timer afresh as the knote asks, or fails and leaves it.
fn start<P: Platform>(knote: &mut Knote) -> Result<()> {
    let (next, period, clears) = match schedule(knote.fflags, knote.data)? {
        // FreeBSD: a one-shot of nothing fires at once.
        Schedule::Every(_) if knote.is_oneshot() && knote.data == 0 => (P::now(), Span::ZERO, true),
        Schedule::Every(span) if knote.is_oneshot() => (P::now().after(span), Span::ZERO, true),
        Schedule::Every(span) => (P::now().after(span), span, true),
        // Turned into uptime once: later steps of the wall clock do not move
        // it (FreeBSD).
        Schedule::At { wall, level } => {
            let left = Span(wall.0.saturating_sub(P::wall().0));
            (P::now().after(left), Span::ZERO, !level)
        }
    };
    if clears {
        knote.flags |= EV_CLEAR;
    }
    knote.body = Body::Timer { next, period, count: 0 };
    Ok(())
}

fn restart<P: Platform>(knote: &mut Knote, change: &Kevent) -> Result<()> {
    knote.flags = knote.flags & !RETAKEN | change.flags & RETAKEN;
    if knote.is_forced() {
        knote.flags |= EV_ONESHOT;
    }
    knote.fflags = change.fflags;
    knote.data = change.data;
    start::<P>(knote)
}

impl<P: Platform> Filter<P> for Timer {
    fn key(&self, filter: c_short, ident: usize) -> Result<Key> {
        free_key(filter, ident)
    }

    fn attach(&self, knote: &mut Knote, port: &mut P, _token: Token) -> Result<()> {
        start::<P>(knote)?;
        port.prepare_alarm()
    }

    fn detach(&self, _knote: &Knote, _port: &mut P, _token: Token) -> Result<()> {
        // The queue cancels the alarm; the kernel knows nothing of this timer.
        Ok(())
    }

    fn touch(&self, knote: &mut Knote, why: Touch<'_>, _port: &mut P, _token: Token) -> Result<()> {
        match why {
            Touch::Register(change) if change.flags & EV_ADD != 0 => restart::<P>(knote, change),
            // EV_ENABLE and the like touch neither period nor count.
            Touch::Register(_) => Ok(()),
            Touch::Process => {
                // Without EV_CLEAR (an EV_DISPATCH of a time of day) it stays
                // expired.
                if let (true, Body::Timer { count, .. }) = (knote.is_clear(), &mut knote.body) {
                    *count = 0;
                }
                Ok(())
            }
        }
    }

    fn event(&self, knote: &mut Knote, _port: &mut P, _seen: Option<Readiness>) -> Result<Outcome> {
        let Body::Timer { next, period, count } = &mut knote.body else {
            return Err(Errno::EINVAL);
        };
        let now = P::now();
        if *next <= now {
            let missed = now.since(*next).0.checked_div(period.0);
            match missed {
                // Once: never again.
                None => {
                    *count = 1;
                    *next = Moment::NEVER;
                }
                Some(missed) => {
                    let times = missed.saturating_add(1);
                    let times32 = u32::try_from(times).unwrap_or(u32::MAX);
                    *count = count.saturating_add(times32);
                    *next = next.after(Span(period.0.saturating_mul(times)));
                }
            }
        }
        Ok(match *count {
            0 => Outcome::Idle(Some(*next)),
            count => Outcome::Fire(Report { data: i64::from(count), ..Report::default() }),
        })
    }

    fn asks_itself(&self, _knote: &Knote) -> bool {
        true
    }

    fn may_set_alarm(&self, _knote: &Knote) -> bool {
        true
    }
}
