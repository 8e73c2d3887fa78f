//! What READ, WRITE and EXCEPT have in common: a knote whose body is a watched
//! descriptor. They differ in the side they watch, and in when what is there is
//! enough: that is their own files' part, a [`Verdict`] on a sample.
//!
//! Every change of such a knote makes one call to the platform that names the
//! descriptor. It re-arms, looks again, and finds out whether the number still
//! is what was registered.

#![forbid(unsafe_code)]

use super::{Filter, Outcome, Report, Touch, UNWATCHED, descriptor_key, number};
use crate::clock::Span;
use crate::errno::{Errno, Result};
use crate::event::NOTE_LOWAT;
use crate::knote::table::Key;
use crate::knote::{Body, Knote};
use crate::sys::{Class, Platform, Readiness, Sample, Side, Source, Token};
use core::ffi::{c_short, c_uint};

/// How soon to look again at a send buffer that drains towards its mark, of
/// which nothing tells.
const DRAINING: Span = Span::millis(10);

/// Is what a sample shows enough to fire?
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Fires,
    Waits,
    /// There is something, but less than the knote's low-water mark, or not
    /// what it asks for.
    BelowMark,
}

/// A filter over one side of descriptors.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) side: Side,
    /// For a sample without end or error, of something that is not silent.
    pub(super) verdict: fn(&Knote, &Sample) -> Verdict,
    /// The `fflags` of an event that the verdict made.
    pub(super) note: c_uint,
}

impl<P: Platform> Filter<P> for Watching {
    fn key(&self, filter: c_short, ident: usize) -> Result<Key> {
        descriptor_key(filter, ident)
    }

    fn attach(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()> {
        let source = port.watch(number(knote), self.side, knote.arm(), token)?;
        knote.body = Body::Descriptor(source);
        Ok(())
    }

    fn detach(&self, knote: &Knote, port: &mut P, token: Token) -> Result<()> {
        port.unwatch(number(knote), source(knote)?, token)
    }

    fn touch(&self, knote: &mut Knote, why: Touch<'_>, port: &mut P, token: Token) -> Result<()> {
        let Touch::Register(change) = why else {
            // An edge taken is an edge forgotten; the platform disarmed the
            // rest.
            return Ok(());
        };
        // Natively every change replaces what was wanted, a bare EV_ENABLE too.
        knote.fflags = change.fflags;
        knote.data = change.data;
        knote.gate(false);
        self.rearm(knote, port, token)
    }

    fn rearm(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()> {
        let mut source = source(knote)?;
        port.rearm(number(knote), self.side, &mut source, knote.arm(), token)?;
        knote.armed();
        knote.body = Body::Descriptor(source);
        Ok(())
    }

    fn carry(
        &self,
        knote: &Knote,
        port: &mut P,
        into: &mut P::Renewal,
        token: Token,
    ) -> Result<()> {
        let source = source(knote)?;
        if !source.repeats {
            return Ok(());
        }
        port.carry(into, number(knote), self.side, &source, knote.arm(), token)
    }

    fn event(&self, knote: &mut Knote, port: &mut P, seen: Option<Readiness>) -> Result<Outcome> {
        let mut source = source(knote)?;
        let sample = port.sample(number(knote), self.side, &mut source, seen)?;
        knote.body = Body::Descriptor(source);
        if sample.silent {
            return Ok(Outcome::Gate(None));
        }
        let over = sample.eof || sample.error.is_some();
        let asked = (self.verdict)(knote, &sample);
        let verdict = if over { Verdict::Fires } else { asked };
        let later = |span| Some(P::now().after(span));
        Ok(match verdict {
            Verdict::Fires => Outcome::Fire(Report {
                // Natively set with EV_EOF alone: an ICMP error on a datagram
                // socket fires with fflags 0.
                fflags: match sample.error {
                    Some(error) if sample.eof => error.0.unsigned_abs(),
                    _ if asked == Verdict::Fires => self.note,
                    _ => 0,
                },
                data: sample.amount,
                eof: sample.eof,
                repeats: source.repeats && (sample.ready || over),
                ..Report::default()
            }),
            // It would be reported without end. A buffer that never was full
            // gives no sign while it drains, so only the clock can tell when it
            // has come down to the mark; what arrives is told of.
            Verdict::BelowMark if sample.ready => match self.side {
                Side::Read | Side::Except => Outcome::Gate(None),
                Side::Write => Outcome::Gate(later(DRAINING)),
            },
            _ if source.wakes => Outcome::Idle(None),
            _ => Outcome::Idle(later(UNWATCHED)),
        })
    }

    fn asks_itself(&self, knote: &Knote) -> bool {
        // No kernel reports a mark of 0 bytes as reached; and what the platform
        // cannot watch it cannot hint at. Urgent data has no mark.
        let marked = self.side != Side::Except;
        marked && low_water(knote).is_some_and(|mark| mark <= 0) || is_unwatched(knote)
    }

    fn may_set_alarm(&self, knote: &Knote) -> bool {
        match self.side {
            Side::Read => is_unwatched(knote),
            Side::Write => low_water(knote).is_some(),
            Side::Except => false,
        }
    }
}

fn source(knote: &Knote) -> Result<Source> {
    match knote.body {
        Body::Descriptor(source) => Ok(source),
        _ => Err(Errno::EBADF),
    }
}

/// Is it a file, or something else that the platform's poller does not take?
fn is_unwatched(knote: &Knote) -> bool {
    matches!(knote.body, Body::Descriptor(source) if !source.repeats)
}

fn low_water(knote: &Knote) -> Option<i64> {
    (knote.fflags & NOTE_LOWAT != 0).then_some(knote.data as i64)
}

/// The verdict by the knote's low-water mark, if it has one and this is
/// something that natively has marks.
pub(super) fn by_mark(knote: &Knote, sample: &Sample) -> Option<Verdict> {
    if !matches!(sample.class, Class::Connection | Class::Datagram) {
        return None;
    }
    let mark = low_water(knote)?;
    Some(if sample.amount >= mark { Verdict::Fires } else { Verdict::BelowMark })
}
