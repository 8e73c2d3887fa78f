//! EVFILT_WRITE: a descriptor can be written.

#![forbid(unsafe_code)]

use super::{Filter, Outcome, Report, Touch, descriptor};
use crate::errno::Result;
use crate::knote::Knote;
use crate::knote::table::Key;
use crate::sys::{Class, Platform, Readiness, Side, Token};
use core::ffi::c_short;

#[derive(Debug)]
pub(super) struct Write;

impl<P: Platform> Filter<P> for Write {
    fn key(&self, filter: c_short, ident: usize) -> Result<Key> {
        descriptor::key(filter, ident)
    }

    fn attach(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()> {
        descriptor::attach(knote, Side::Write, port, token)
    }

    fn detach(&self, knote: &Knote, port: &mut P, token: Token) -> Result<()> {
        descriptor::detach(knote, port, token)
    }

    fn touch(&self, knote: &mut Knote, why: Touch<'_>, port: &mut P, token: Token) -> Result<()> {
        descriptor::touch(knote, why, Side::Write, port, token)
    }

    fn rearm(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()> {
        descriptor::rearm(knote, Side::Write, port, token)
    }

    fn event(&self, knote: &mut Knote, port: &mut P, seen: Option<Readiness>) -> Result<Outcome> {
        let (sample, source) = descriptor::sample(knote, Side::Write, port, seen)?;
        if sample.silent {
            return Ok(Outcome::Gate(None));
        }
        let fire = Outcome::Fire(Report {
            fflags: match sample.error {
                Some(error) if sample.eof => error.0.unsigned_abs(),
                _ => 0,
            },
            data: sample.amount,
            eof: sample.eof,
            repeats: source.repeats && (sample.ready || sample.eof),
        });
        if sample.eof || sample.error.is_some() {
            return Ok(fire);
        }
        let mark = match sample.class {
            Class::Connection | Class::Datagram => descriptor::low_water(knote),
            _ => None,
        };
        Ok(match mark {
            Some(mark) if sample.amount >= mark => fire,
            // A buffer that never was full gives no sign while it drains, so
            // only the clock can tell when it has come down to the mark.
            Some(_) if sample.ready => {
                Outcome::Gate(descriptor::look_after::<P>(descriptor::DRAINING))
            }
            Some(_) => Outcome::Idle(None),
            None if sample.ready => fire,
            None => Outcome::Idle(None),
        })
    }

    fn asks_itself(&self, knote: &Knote) -> bool {
        descriptor::asks_itself(knote)
    }

    fn may_set_alarm(&self, knote: &Knote) -> bool {
        descriptor::low_water(knote).is_some()
    }
}
