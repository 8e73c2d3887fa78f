//! EVFILT_USER: what the program itself raises.

#![forbid(unsafe_code)]

use super::{Filter, Outcome, Report, Touch, free_key};
use crate::errno::{Errno, Result};
use crate::event::{
    EV_CLEAR, Kevent, NOTE_FFAND, NOTE_FFCOPY, NOTE_FFCTRLMASK, NOTE_FFLAGSMASK, NOTE_FFOR,
    NOTE_TRIGGER,
};
use crate::knote::table::Key;
use crate::knote::{Body, Knote};
use crate::sys::{Platform, Readiness, Token};
use core::ffi::{c_short, c_uint};

#[derive(Debug)]
pub(super) struct User;

/// The stored flags after one of the NOTE_FF operations.
fn combine(stored: c_uint, change: c_uint) -> c_uint {
    let given = change & NOTE_FFLAGSMASK;
    match change & NOTE_FFCTRLMASK {
        NOTE_FFAND => stored & given,
        NOTE_FFOR => stored | given,
        NOTE_FFCOPY => given,
        // NOTE_FFNOP
        _ => stored,
    }
}

fn update(knote: &mut Knote, change: &Kevent) {
    knote.fflags = combine(knote.fflags, change.fflags);
    knote.data = change.data;
    let Body::User { triggered } = &mut knote.body else { return };
    if change.fflags & NOTE_TRIGGER != 0 {
        *triggered = true;
    } else if change.flags & EV_CLEAR != 0 {
        // Without a trigger beside it, EV_CLEAR takes one back.
        *triggered = false;
    }
}

impl<P: Platform> Filter<P> for User {
    fn key(&self, filter: c_short, ident: usize) -> Result<Key> {
        free_key(filter, ident)
    }

    fn attach(&self, knote: &mut Knote, _port: &mut P, _token: Token) -> Result<()> {
        // The first change stores the flags as they are: no operation, and
        // NOTE_TRIGGER does not trigger (FreeBSD).
        knote.fflags &= NOTE_FFLAGSMASK;
        knote.body = Body::User { triggered: false };
        Ok(())
    }

    fn detach(&self, _knote: &Knote, _port: &mut P, _token: Token) -> Result<()> {
        // Nothing outside the knote belongs to it.
        Ok(())
    }

    fn touch(&self, knote: &mut Knote, why: Touch<'_>, _port: &mut P, _token: Token) -> Result<()> {
        match why {
            Touch::Register(change) => update(knote, change),
            Touch::Process => {
                // EV_DISPATCH alone keeps the trigger: EV_ENABLE fires again.
                if knote.is_clear() {
                    knote.body = Body::User { triggered: false };
                }
            }
        }
        Ok(())
    }

    fn event(&self, knote: &mut Knote, _port: &mut P, _seen: Option<Readiness>) -> Result<Outcome> {
        let Body::User { triggered } = knote.body else { return Err(Errno::EINVAL) };
        // What is stored is returned for EV_FORCEONESHOT too.
        Ok(if triggered || knote.is_forced() {
            let (fflags, data) = (knote.fflags, knote.data as i64);
            Outcome::Fire(Report { fflags, data, ..Report::default() })
        } else {
            Outcome::Idle(None)
        })
    }

    fn asks_itself(&self, _knote: &Knote) -> bool {
        true
    }

    fn may_set_alarm(&self, _knote: &Knote) -> bool {
        false
    }
}
