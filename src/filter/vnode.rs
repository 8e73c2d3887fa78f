//! EVFILT_VNODE: something happens to a file or a directory.
//!
//! The platform collects: it alone knows which operation stands behind what
//! the system tells, and it goes on while nobody asks, for a disabled knote
//! too. So there is little here: the event is what has been collected, and it
//! lasts until EV_CLEAR has it forgotten.

#![forbid(unsafe_code)]

use super::{Filter, Outcome, Report, Touch, UNWATCHED, descriptor_key, number};
use crate::errno::{Errno, Result};
use crate::knote::table::Key;
use crate::knote::{Body, Knote};
use crate::sys::{FileNotes, Platform, Readiness, Source, Token};
use core::ffi::c_short;

#[derive(Debug)]
pub(super) struct Vnode;

fn source(knote: &Knote) -> Result<Source> {
    match knote.body {
        Body::Vnode(source) => Ok(source),
        _ => Err(Errno::EBADF),
    }
}

impl<P: Platform> Filter<P> for Vnode {
    fn key(&self, filter: c_short, ident: usize) -> Result<Key> {
        descriptor_key(filter, ident)
    }

    fn attach(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()> {
        let source = port.watch_file(number(knote), knote.fflags, token)?;
        knote.body = Body::Vnode(source);
        Ok(())
    }

    fn detach(&self, knote: &Knote, port: &mut P, _token: Token) -> Result<()> {
        port.unwatch_file(number(knote), source(knote)?)
    }

    fn touch(&self, knote: &mut Knote, why: Touch<'_>, port: &mut P, _token: Token) -> Result<()> {
        let mut source = source(knote)?;
        match why {
            // Natively every change replaces what was wanted, a bare EV_ENABLE
            // too. What was collected under the old wish stays.
            Touch::Register(change) => {
                port.want_file(number(knote), &mut source, change.fflags)?;
                knote.fflags = change.fflags;
                knote.data = change.data;
                knote.body = Body::Vnode(source);
            }
            // EV_DISPATCH alone keeps what was returned.
            Touch::Process if knote.is_clear() => port.forget_file_notes(&source),
            Touch::Process => {}
        }
        Ok(())
    }

    fn event(&self, knote: &mut Knote, port: &mut P, _seen: Option<Readiness>) -> Result<Outcome> {
        let mut source = source(knote)?;
        let found = port.file_notes(number(knote), &mut source)?;
        knote.body = Body::Vnode(source);
        Ok(match found {
            FileNotes { notes: 0, revoked: false } if source.wakes => Outcome::Idle(None),
            FileNotes { notes: 0, revoked: false } => {
                Outcome::Idle(Some(P::now().after(UNWATCHED)))
            }
            FileNotes { notes, revoked } => {
                Outcome::Fire(Report { fflags: notes, eof: revoked, ..Report::default() })
            }
        })
    }

    fn asks_itself(&self, _knote: &Knote) -> bool {
        // What was collected while it was disabled is not hinted at again.
        true
    }

    fn may_set_alarm(&self, knote: &Knote) -> bool {
        matches!(knote.body, Body::Vnode(source) if !source.wakes)
    }
}
