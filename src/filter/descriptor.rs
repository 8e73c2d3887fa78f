//! What READ and WRITE have in common: a knote whose body is a watched
//! descriptor.
//!
//! Every change of such a knote makes one call to the platform that names the
//! descriptor. It re-arms, looks again, and finds out whether the number still
//! is what was registered.

#![forbid(unsafe_code)]

use super::Touch;
use crate::clock::{Moment, Span};
use crate::errno::{Errno, Result};
use crate::event::{Kevent, NOTE_LOWAT};
use crate::knote::table::Key;
use crate::knote::{Body, Knote};
use crate::sys::{Descriptor, Platform, Readiness, Sample, Side, Source, Token};
use core::ffi::c_short;

/// How soon to look again where nothing tells of the change: at a send buffer
/// that drains towards its mark, and at a file that nobody can watch.
pub(super) const DRAINING: Span = Span::millis(10);
pub(super) const UNWATCHED: Span = Span::millis(100);

pub(super) fn key(filter: c_short, ident: usize) -> Result<Key> {
    match Descriptor::try_from(ident) {
        Ok(_) => Ok(Key::Descriptor(filter, ident)),
        Err(_) => Err(Errno::EBADF),
    }
}

/// The ident as a number for the platform; `key` has checked it.
fn number(knote: &Knote) -> Descriptor {
    Descriptor::try_from(knote.ident).unwrap_or(-1)
}

fn source(knote: &Knote) -> Result<Source> {
    match knote.body {
        Body::Descriptor(source) => Ok(source),
        _ => Err(Errno::EBADF),
    }
}

pub(super) fn attach<P: Platform>(
    knote: &mut Knote,
    side: Side,
    port: &mut P,
    token: Token,
) -> Result<()> {
    knote.body = Body::Descriptor(port.watch(number(knote), side, knote.arm(), token)?);
    Ok(())
}

pub(super) fn detach<P: Platform>(knote: &Knote, port: &mut P, token: Token) -> Result<()> {
    port.unwatch(number(knote), source(knote)?, token)
}

pub(super) fn touch<P: Platform>(
    knote: &mut Knote,
    why: Touch<'_>,
    side: Side,
    port: &mut P,
    token: Token,
) -> Result<()> {
    let Touch::Register(change) = why else {
        // An edge taken is an edge forgotten; the platform disarmed the rest.
        return Ok(());
    };
    remember(knote, change);
    knote.gate(false);
    rearm(knote, side, port, token)
}

/// Natively every change replaces what was wanted, even a bare EV_ENABLE.
fn remember(knote: &mut Knote, change: &Kevent) {
    knote.fflags = change.fflags;
    knote.data = change.data;
}

/// Arms the descriptor as the knote's state asks.
pub(super) fn rearm<P: Platform>(
    knote: &mut Knote,
    side: Side,
    port: &mut P,
    token: Token,
) -> Result<()> {
    let mut source = source(knote)?;
    port.rearm(number(knote), side, &mut source, knote.arm(), token)?;
    knote.armed();
    knote.body = Body::Descriptor(source);
    Ok(())
}

pub(super) fn sample<P: Platform>(
    knote: &mut Knote,
    side: Side,
    port: &mut P,
    seen: Option<Readiness>,
) -> Result<(Sample, Source)> {
    let mut source = source(knote)?;
    let sample = port.sample(number(knote), side, &mut source, seen)?;
    knote.body = Body::Descriptor(source);
    Ok((sample, source))
}

/// The low-water mark that this knote asks for.
pub(super) fn low_water(knote: &Knote) -> Option<i64> {
    (knote.fflags & NOTE_LOWAT != 0).then_some(knote.data as i64)
}

/// No kernel reports a mark of 0 bytes as reached; and what the platform
/// cannot watch it cannot hint at.
pub(super) fn asks_itself(knote: &Knote) -> bool {
    low_water(knote).is_some_and(|mark| mark <= 0) || is_unwatched(knote)
}

/// Is it a file, or something else that the platform's poller does not take?
pub(super) fn is_unwatched(knote: &Knote) -> bool {
    matches!(knote.body, Body::Descriptor(source) if !source.repeats)
}

/// When to look again.
pub(super) fn look_after<P: Platform>(span: Span) -> Option<Moment> {
    Some(P::now().after(span))
}
