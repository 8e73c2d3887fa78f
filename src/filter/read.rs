//! EVFILT_READ: a descriptor can be read.

#![forbid(unsafe_code)]

use super::{Filter, Outcome, Report, Touch, descriptor};
use crate::errno::Result;
use crate::event::NOTE_FILE_POLL;
use crate::knote::Knote;
use crate::knote::table::Key;
use crate::sys::{Class, Platform, Readiness, Side, Token};
use core::ffi::c_short;

#[derive(Debug)]
pub(super) struct Read;

impl<P: Platform> Filter<P> for Read {
    fn key(&self, filter: c_short, ident: usize) -> Result<Key> {
        descriptor::key(filter, ident)
    }

    fn attach(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()> {
        descriptor::attach(knote, Side::Read, port, token)
    }

    fn detach(&self, knote: &Knote, port: &mut P, token: Token) -> Result<()> {
        descriptor::detach(knote, port, token)
    }

    fn touch(&self, knote: &mut Knote, why: Touch<'_>, port: &mut P, token: Token) -> Result<()> {
        descriptor::touch(knote, why, Side::Read, port, token)
    }

    fn rearm(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()> {
        descriptor::rearm(knote, Side::Read, port, token)
    }

    fn event(&self, knote: &mut Knote, port: &mut P, seen: Option<Readiness>) -> Result<Outcome> {
        let (sample, source) = descriptor::sample(knote, Side::Read, port, seen)?;
        if sample.silent {
            return Ok(Outcome::Gate(None));
        }
        let fire = Outcome::Fire(Report {
            // Natively set with EV_EOF alone: an ICMP error on a datagram
            // socket fires with fflags 0.
            fflags: match sample.error {
                Some(error) if sample.eof => error.0.unsigned_abs(),
                _ => 0,
            },
            data: sample.amount,
            eof: sample.eof,
            repeats: source.repeats && (sample.ready || sample.eof || sample.error.is_some()),
        });
        if sample.eof || sample.error.is_some() {
            return Ok(fire);
        }
        let mark = match sample.class {
            Class::Connection | Class::Datagram => descriptor::low_water(knote),
            _ => None,
        };
        let holds = match (sample.class, mark) {
            (Class::Connection | Class::Datagram, Some(mark)) => sample.amount >= mark,
            (Class::File, _) => sample.amount != 0 || knote.fflags & NOTE_FILE_POLL != 0,
            // A pipe or a connection that another thread has emptied since.
            (Class::Pipe, _) => sample.amount > 0,
            _ => sample.ready,
        };
        Ok(match (holds, mark) {
            (true, _) => fire,
            // Below the mark: what is there would be reported without end.
            (false, Some(_)) if sample.ready => Outcome::Gate(None),
            (false, _) if !source.wakes => {
                Outcome::Idle(descriptor::look_after::<P>(descriptor::UNWATCHED))
            }
            (false, _) => Outcome::Idle(None),
        })
    }

    fn asks_itself(&self, knote: &Knote) -> bool {
        descriptor::asks_itself(knote)
    }

    fn may_set_alarm(&self, knote: &Knote) -> bool {
        descriptor::is_unwatched(knote)
    }
}
