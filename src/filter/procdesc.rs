//! EVFILT_PROCDESC: what becomes of a process, by a descriptor of it.
//!
//! The descriptor is the application's, and its knote vanishes with it. As long
//! as it is open it tells that the process has ended, and mostly its status,
//! whoever reaps: so nothing need be taken down.

#![forbid(unsafe_code)]

use super::process::of_the_end;
use super::{Filter, News, Noted, Outcome, Report, Then, Touch, descriptor_key, number};
use crate::errno::{Errno, Result};
use crate::event::{EV_CLEAR, NOTE_EXIT, NOTE_FORK, NOTE_TRACKERR};
use crate::knote::table::Key;
use crate::knote::{Body, Knote, ProcessDescriptor};
use crate::sys::{Deed, Descriptor, Exit, Platform, Readiness, Side, Token};
use core::ffi::{c_short, c_uint};

#[derive(Debug)]
pub(super) struct Procdesc;

impl ProcessDescriptor {
    fn pending(&self) -> c_uint {
        let forked = if self.child != 0 { NOTE_FORK } else { 0 };
        if self.lost { forked | NOTE_TRACKERR } else { forked }
    }

    /// Follows the process if that is wanted, and only then.
    fn follow<P: Platform>(
        &mut self,
        fd: Descriptor,
        wanted: bool,
        port: &mut P,
        token: Token,
    ) -> Result<()> {
        match (self.followed, wanted) {
            (false, true) if self.pid != 0 => port.follow(self.pid, token, false)?,
            // It is reaped, or of no number here.
            (false, true) => {
                return port.procdesc_exit(fd)?.map(|_| ()).ok_or(Errno::ENOTSUP);
            }
            (true, false) => port.unfollow(self.pid, token),
            _ => {}
        }
        self.followed = wanted;
        Ok(())
    }
}

impl<P: Platform> Filter<P> for Procdesc {
    fn key(&self, filter: c_short, ident: usize) -> Result<Key> {
        descriptor_key(filter, ident)
    }

    fn attach(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()> {
        knote.flags |= EV_CLEAR;
        let fd = number(knote);
        let (source, pid) = port.watch_procdesc(fd, knote.arm(), token)?;
        let mut process =
            ProcessDescriptor { source, pid, child: 0, lost: false, ended: false, followed: false };
        if let Err(error) = process.follow(fd, knote.fflags & NOTE_FORK != 0, port, token) {
            // It was watched a moment ago.
            let _ = port.unwatch(fd, source, token);
            return Err(error);
        }
        knote.body = Body::ProcessDescriptor(process);
        Ok(())
    }

    fn detach(&self, knote: &Knote, port: &mut P, token: Token) -> Result<()> {
        let source = knote.body.source().ok_or(Errno::EBADF)?;
        port.unwatch(number(knote), source, token)
    }

    fn release(&self, knote: &Knote, port: &mut P, token: Token) {
        if let Body::ProcessDescriptor(process) = knote.body
            && process.followed
        {
            port.unfollow(process.pid, token);
        }
    }

    fn touch(&self, knote: &mut Knote, why: Touch<'_>, port: &mut P, token: Token) -> Result<()> {
        let fd = number(knote);
        let Body::ProcessDescriptor(process) = &mut knote.body else { return Err(Errno::EBADF) };
        let Touch::Register(change) = why else {
            process.child = 0;
            process.lost = false;
            return Ok(());
        };
        let was = process.followed;
        let wanted = change.fflags & NOTE_FORK != 0;
        if wanted {
            process.follow(fd, true, port, token)?;
        }
        knote.fflags = change.fflags;
        knote.data = change.data;
        let armed = self.rearm(knote, port, token);
        let Body::ProcessDescriptor(process) = &mut knote.body else { return Err(Errno::EBADF) };
        if armed.is_err() && !was {
            // The knote stays as it was, or goes.
            process.follow(fd, false, port, token)?;
        } else if armed.is_ok() && !wanted {
            process.follow(fd, false, port, token)?;
        }
        armed
    }

    fn rearm(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()> {
        let (fd, arm) = (number(knote), knote.arm());
        let Body::ProcessDescriptor(process) = &mut knote.body else { return Err(Errno::EBADF) };
        port.rearm(fd, Side::Read, &mut process.source, arm, token)?;
        knote.armed();
        Ok(())
    }

    fn carry(
        &self,
        knote: &Knote,
        port: &mut P,
        into: &mut P::Renewal,
        token: Token,
    ) -> Result<()> {
        let source = knote.body.source().ok_or(Errno::EBADF)?;
        port.carry(into, number(knote), Side::Read, &source, knote.arm(), token)
    }

    fn note(&self, knote: &mut Knote, _port: &mut P, news: News) -> Result<Noted> {
        let wanted = knote.fflags & NOTE_FORK != 0;
        let Body::ProcessDescriptor(process) = &mut knote.body else { return Ok(Noted::Nothing) };
        match news {
            News::Hint => process.ended = true,
            News::Deed(Deed::Forked(child)) if wanted => process.child = child,
            News::Deed(Deed::Lost) if wanted => process.lost = true,
            _ => return Ok(Noted::Nothing),
        }
        Ok(Noted::Fires)
    }

    fn has_just_ended(&self, knote: &Knote, port: &mut P) -> bool {
        let Body::ProcessDescriptor(process) = knote.body else { return false };
        process.followed
            && !process.ended
            && port.procdesc_exit(number(knote)).is_ok_and(|exit| exit.is_some())
    }

    fn event(&self, knote: &mut Knote, port: &mut P, _seen: Option<Readiness>) -> Result<Outcome> {
        let Body::ProcessDescriptor(process) = knote.body else { return Err(Errno::EBADF) };
        let child = i64::from(process.child);
        let exit = port.procdesc_exit(number(knote))?;
        let Some(exit) = exit else {
            return Ok(match process.pending() {
                0 => Outcome::Idle(None),
                fflags => Outcome::Fire(Report { fflags, data: child, ..Report::default() }),
            });
        };
        if process.followed && !process.ended {
            // In this moment: it is asked again when its deeds are noted.
            return Err(Errno::EINTR);
        }
        let fflags = process.pending() | of_the_end(knote.fflags);
        if fflags == 0 {
            return Err(Errno::ESRCH);
        }
        let data = match exit {
            _ if fflags & NOTE_EXIT == 0 => child,
            Exit::Status(status) => i64::from(status),
            Exit::Hidden => 0,
        };
        let then = Then::Goes;
        Ok(Outcome::Fire(Report { fflags, data, eof: true, repeats: true, then }))
    }

    fn asks_itself(&self, knote: &Knote) -> bool {
        matches!(knote.body, Body::ProcessDescriptor(process) if process.pending() != 0)
    }

    fn may_set_alarm(&self, _knote: &Knote) -> bool {
        false
    }
}
