//! EVFILT_FS: a file system was mounted or unmounted.
//!
//! A knote compares the platform's counts with those it has told. `ident` is
//! but a key, and what is wanted is not asked (FreeBSD).

#![forbid(unsafe_code)]

use super::{Filter, Outcome, Report, Touch, free_key};
use crate::errno::{Errno, Result};
use crate::event::{EV_CLEAR, VQ_MOUNT, VQ_UNMOUNT};
use crate::knote::table::Key;
use crate::knote::{Body, Knote};
use crate::sys::{Platform, Readiness, Token};
use core::ffi::c_short;

#[derive(Debug)]
pub(super) struct Fs;

impl<P: Platform> Filter<P> for Fs {
    fn key(&self, filter: c_short, ident: usize) -> Result<Key> {
        free_key(filter, ident)
    }

    fn attach(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()> {
        let now = port.watch_mounts(token)?;
        knote.flags |= EV_CLEAR;
        knote.body = Body::Mounts { told: now, seen: now };
        Ok(())
    }

    fn detach(&self, _knote: &Knote, port: &mut P, token: Token) -> Result<()> {
        port.unwatch_mounts(token);
        Ok(())
    }

    fn touch(&self, knote: &mut Knote, why: Touch<'_>, _port: &mut P, _token: Token) -> Result<()> {
        match why {
            Touch::Register(change) => {
                knote.fflags = change.fflags;
                knote.data = change.data;
            }
            Touch::Process => {
                if let Body::Mounts { told, seen } = &mut knote.body {
                    *told = *seen;
                }
            }
        }
        Ok(())
    }

    fn event(&self, knote: &mut Knote, port: &mut P, _seen: Option<Readiness>) -> Result<Outcome> {
        let Body::Mounts { told, seen } = &mut knote.body else { return Err(Errno::EINVAL) };
        *seen = port.mounts()?;
        let mut fflags = 0;
        if seen.mounted != told.mounted {
            fflags |= VQ_MOUNT;
        }
        if seen.unmounted != told.unmounted {
            fflags |= VQ_UNMOUNT;
        }
        Ok(match fflags {
            0 => Outcome::Idle(None),
            _ => Outcome::Fire(Report { fflags, ..Report::default() }),
        })
    }

    fn asks_itself(&self, _knote: &Knote) -> bool {
        true
    }

    fn may_set_alarm(&self, _knote: &Knote) -> bool {
        false
    }

    fn is_careful(&self) -> bool {
        // Whoever polls the queue's descriptor may take the waiter's news.
        true
    }
}
