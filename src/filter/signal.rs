//! EVFILT_SIGNAL: signals that the process is sent.
//!
//! The platform counts each signal; a knote keeps the count that its last
//! event told, and an event tells the difference. So every knote has its own,
//! and one that is disabled goes on counting.

#![forbid(unsafe_code)]

use super::{Filter, Outcome, Report, Touch};
use crate::errno::{Errno, Result};
use crate::event::EV_CLEAR;
use crate::knote::table::Key;
use crate::knote::{Body, Knote};
use crate::sys::{Platform, Readiness, Token};
use core::ffi::c_short;

#[derive(Debug)]
pub(super) struct Signal;

/// The signal that an ident names. EINVAL: none.
fn number<P: Platform>(ident: usize) -> Result<i32> {
    let number = i32::try_from(ident).map_err(|_| Errno::EINVAL)?;
    if (1..=P::SIGNALS).contains(&number) { Ok(number) } else { Err(Errno::EINVAL) }
}

impl<P: Platform> Filter<P> for Signal {
    fn key(&self, filter: c_short, ident: usize) -> Result<Key> {
        number::<P>(ident)?;
        Ok(Key::Other(filter, ident))
    }

    fn attach(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()> {
        let signal = number::<P>(knote.ident)?;
        port.watch_signal(signal, token, !knote.is_disabled())?;
        // What came before is not counted.
        let told = port.count_signal(signal, token);
        knote.body = Body::Signal { token, told, count: told };
        knote.flags |= EV_CLEAR;
        Ok(())
    }

    fn detach(&self, knote: &Knote, port: &mut P, token: Token) -> Result<()> {
        port.unwatch_signal(number::<P>(knote.ident)?, token);
        Ok(())
    }

    fn touch(&self, knote: &mut Knote, why: Touch<'_>, port: &mut P, token: Token) -> Result<()> {
        match why {
            Touch::Register(change) => {
                knote.fflags = change.fflags;
                knote.data = change.data;
                self.rearm(knote, port, token)
            }
            Touch::Process => {
                if let Body::Signal { told, count, .. } = &mut knote.body {
                    *told = *count;
                }
                Ok(())
            }
        }
    }

    fn rearm(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()> {
        port.arm_signal(number::<P>(knote.ident)?, token, !knote.is_disabled());
        Ok(())
    }

    fn event(&self, knote: &mut Knote, port: &mut P, _seen: Option<Readiness>) -> Result<Outcome> {
        let signal = number::<P>(knote.ident)?;
        let Body::Signal { token, told, count } = &mut knote.body else {
            return Err(Errno::EINVAL);
        };
        *count = port.count_signal(signal, *token);
        Ok(match count.wrapping_sub(*told) {
            0 => Outcome::Idle(None),
            times => {
                let data = i64::try_from(times).unwrap_or(i64::MAX);
                Outcome::Fire(Report { data, ..Report::default() })
            }
        })
    }

    fn asks_itself(&self, _knote: &Knote) -> bool {
        true
    }

    fn may_set_alarm(&self, _knote: &Knote) -> bool {
        false
    }

    fn is_careful(&self) -> bool {
        // Hooks can be set aside, and no hook tells of a signal that the
        // waiting thread blocks.
        true
    }
}
