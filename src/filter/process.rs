//! EVFILT_PROC: what becomes of a process.
//!
//! Notes come as news, once each, and are kept until they are returned, so a
//! disabled knote misses none. The end is told by the platform at every wait
//! until the knote has taken the status down and let go of the process; so the
//! status stays right whoever reaps. What a process did before its end is noted
//! before the end is.
//!
//! A NOTE_TRACK makes a knote for each child (the queue does it). Natively that
//! is two: one that says NOTE_CHILD, and one that goes on. Here it is one, and
//! NOTE_CHILD is its first event.

#![forbid(unsafe_code)]

use super::{Filter, News, Noted, Outcome, Report, Then, Touch, UNWATCHED, free_key};
use crate::errno::{Errno, Result};
use crate::event::{
    EV_CLEAR, NOTE_CHILD, NOTE_EXEC, NOTE_EXIT, NOTE_EXITSTATUS, NOTE_FORK, NOTE_TRACK,
    NOTE_TRACKERR,
};
use crate::knote::table::Key;
use crate::knote::{Body, Knote, Life, Process};
use crate::sys::{Deed, Exit, Platform, Readiness, Token};
use core::ffi::{c_short, c_uint};

#[derive(Debug)]
pub(super) struct Proc;

/// What a process must be followed for.
const DEEDS: c_uint = NOTE_FORK | NOTE_EXEC | NOTE_TRACK;

/// What is returned at the end, of what is wanted.
pub(super) fn of_the_end(wanted: c_uint) -> c_uint {
    if wanted & NOTE_EXIT != 0 { wanted & (NOTE_EXIT | NOTE_EXITSTATUS) } else { 0 }
}

fn pid(knote: &Knote) -> Result<i32> {
    i32::try_from(knote.ident).ok().filter(|pid| *pid > 0).ok_or(Errno::ESRCH)
}

impl Process {
    /// A child that a NOTE_TRACK brought, not yet watched.
    pub(crate) fn child_of(parent: i32) -> Process {
        let parent = core::num::NonZeroI32::new(parent);
        Process {
            life: Life::Gone(1),
            pending: 0,
            status: 0,
            parent,
            tracked: true,
            followed: false,
        }
    }

    /// Takes the end down. (What is held of the process goes with the knote,
    /// or right now, if many of them are to be had: the watch.)
    fn end<P: Platform>(&mut self, wanted: c_uint, exit: Exit, port: &mut P) -> Noted {
        if let Life::Watched(watched) = self.life {
            port.unwatch_process(watched);
        }
        self.life = Life::Ended;
        self.pending |= of_the_end(wanted);
        if let Exit::Status(status) = exit {
            self.status = status;
        }
        if self.pending == 0 && self.parent.is_none() { Noted::Over } else { Noted::Fires }
    }

    fn add(&mut self, note: c_uint) -> Noted {
        self.pending |= note;
        if note == 0 { Noted::Nothing } else { Noted::Fires }
    }

    /// Something got lost, or could not be had.
    pub(crate) fn lose(&mut self) {
        self.pending |= NOTE_TRACKERR;
    }

    fn learn<P: Platform>(&mut self, wanted: c_uint, deed: Deed, port: &mut P) -> Noted {
        let exit = match (deed, self.life) {
            (_, Life::Ended) => return Noted::Nothing,
            (Deed::Forked(_), _) => return self.add(wanted & NOTE_FORK),
            (Deed::Execed, _) => return self.add(wanted & NOTE_EXEC),
            // Of what is watched the watch tells the end: a first thread can
            // end before the others. But it may not tell the status.
            (Deed::ThreadEnded(status), Life::Watched(_)) => {
                self.status = status;
                return Noted::Nothing;
            }
            (Deed::ThreadBorn, Life::Watched(_)) => return Noted::Nothing,
            (Deed::ThreadBorn, Life::Gone(threads)) => {
                self.life = Life::Gone(threads + 1);
                return Noted::Nothing;
            }
            (Deed::ThreadEnded(_), Life::Gone(threads @ 2..)) => {
                self.life = Life::Gone(threads - 1);
                return Noted::Nothing;
            }
            (Deed::ThreadEnded(status), Life::Gone(_)) => Exit::Status(status),
            (Deed::Lost, Life::Watched(_)) => return self.add(NOTE_TRACKERR),
            // Its end may be what got lost.
            (Deed::Lost, Life::Gone(_)) => {
                self.lose();
                Exit::Hidden
            }
        };
        self.end(wanted, exit, port)
    }

    /// Does only the clock tell when to look?
    pub(crate) fn is_unwatched(&self) -> bool {
        matches!(self.life, Life::Watched(watched) if !watched.wakes)
    }
}

/// Begins to watch. Its end, if the process has ended already.
fn begin<P: Platform>(knote: &Knote, port: &mut P, token: Token) -> Result<(Life, Option<Exit>)> {
    let tracked = matches!(knote.body, Body::Process(_));
    let watched = match port.watch_process(pid(knote)?, token) {
        // It was quick. What it did is told all the same.
        Err(Errno::ESRCH) if tracked => return Ok((Life::Gone(1), None)),
        watched => watched?,
    };
    if tracked {
        // What it did before its end is still to come.
        return Ok((Life::Watched(watched), None));
    }
    let exit = port.process_exit(&watched);
    if exit != Ok(None) {
        port.unwatch_process(watched);
    }
    match exit? {
        None => Ok((Life::Watched(watched), None)),
        Some(_) if knote.fflags & NOTE_EXIT == 0 => Err(Errno::ESRCH),
        exit => Ok((Life::Ended, exit)),
    }
}

impl<P: Platform> Filter<P> for Proc {
    fn key(&self, filter: c_short, ident: usize) -> Result<Key> {
        free_key(filter, ident)
    }

    fn attach(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()> {
        let pid = pid(knote)?;
        let parent = match knote.body {
            Body::Process(process) => process.parent,
            _ => None,
        };
        knote.flags |= EV_CLEAR;
        // First this, so that nothing is missed in between.
        let followed = knote.fflags & DEEDS != 0;
        if followed {
            port.follow(pid, token, parent.is_some())?;
        }
        let begun = begin(knote, port, token);
        let (life, ended) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                if followed {
                    port.unfollow(pid, token);
                }
                return Err(error);
            }
        };
        let mut process =
            Process { life, pending: 0, status: 0, parent, tracked: parent.is_some(), followed };
        if let Some(exit) = ended {
            process.end(knote.fflags, exit, port);
        }
        knote.body = Body::Process(process);
        Ok(())
    }

    fn detach(&self, _knote: &Knote, _port: &mut P, _token: Token) -> Result<()> {
        // There is no descriptor of the application's.
        Ok(())
    }

    fn release(&self, knote: &Knote, port: &mut P, token: Token) {
        let (Body::Process(process), Ok(pid)) = (knote.body, pid(knote)) else { return };
        if process.followed {
            port.unfollow(pid, token);
        }
        if let Life::Watched(watched) = process.life {
            port.unwatch_process(watched);
        }
    }

    fn touch(&self, knote: &mut Knote, why: Touch<'_>, port: &mut P, token: Token) -> Result<()> {
        let pid = pid(knote)?;
        let Body::Process(process) = &mut knote.body else { return Err(Errno::ESRCH) };
        let Touch::Register(change) = why else {
            // What was returned; NOTE_CHILD is returned alone.
            if process.parent.take().is_none() {
                process.pending = 0;
            }
            return Ok(());
        };
        let follow = match process.life {
            Life::Watched(_) => change.fflags & DEEDS != 0,
            // Only so its end is learnt.
            Life::Gone(_) => true,
            Life::Ended => process.followed,
        };
        if follow && !process.followed {
            port.follow(pid, token, false)?;
        } else if !follow && process.followed {
            port.unfollow(pid, token);
        }
        process.followed = follow;
        // Natively every change replaces what was wanted, a bare EV_ENABLE too.
        knote.fflags = change.fflags;
        knote.data = change.data;
        Ok(())
    }

    fn carry(
        &self,
        knote: &Knote,
        port: &mut P,
        into: &mut P::Renewal,
        token: Token,
    ) -> Result<()> {
        match knote.body {
            Body::Process(Process { life: Life::Watched(watched), .. }) => {
                port.carry_process(into, &watched, token)
            }
            _ => Ok(()),
        }
    }

    fn note(&self, knote: &mut Knote, port: &mut P, news: News) -> Result<Noted> {
        let wanted = knote.fflags;
        let Body::Process(process) = &mut knote.body else { return Ok(Noted::Nothing) };
        let deed = match news {
            News::Deed(deed) => deed,
            News::Hint => {
                // The platform has told what came before.
                let Life::Watched(watched) = process.life else { return Ok(Noted::Nothing) };
                let exit = port.process_exit(&watched)?;
                return Ok(exit.map_or(Noted::Nothing, |exit| process.end(wanted, exit, port)));
            }
        };
        Ok(process.learn(wanted, deed, port))
    }

    fn has_just_ended(&self, knote: &Knote, port: &mut P) -> bool {
        matches!(knote.body, Body::Process(Process { life: Life::Watched(watched), followed: true, .. })
            if port.process_exit(&watched).is_ok_and(|exit| exit.is_some()))
    }

    fn event(&self, knote: &mut Knote, port: &mut P, _seen: Option<Readiness>) -> Result<Outcome> {
        let wanted = knote.fflags;
        let Body::Process(process) = &mut knote.body else { return Err(Errno::ESRCH) };
        if let Some(parent) = process.parent {
            let data = i64::from(parent.get());
            let then = Then::Stays;
            return Ok(Outcome::Fire(Report {
                fflags: NOTE_CHILD,
                data,
                then,
                ..Report::default()
            }));
        }
        // Of one that is followed the end is noted: not before its deeds are.
        if process.is_unwatched()
            && !process.followed
            && let Life::Watched(watched) = process.life
            && let Some(exit) = port.process_exit(&watched)?
        {
            process.end(wanted, exit, port);
        }
        let ended = matches!(process.life, Life::Ended);
        if process.pending == 0 {
            return match process.life {
                Life::Ended => Err(Errno::ESRCH),
                _ if process.is_unwatched() => Ok(Outcome::Idle(Some(P::now().after(UNWATCHED)))),
                _ => Ok(Outcome::Idle(None)),
            };
        }
        let data = if process.pending & NOTE_EXIT != 0 { i64::from(process.status) } else { 0 };
        let then = if ended { Then::Goes } else { Then::AsFlagged };
        let fflags = process.pending;
        Ok(Outcome::Fire(Report { fflags, data, eof: ended, repeats: false, then }))
    }

    fn asks_itself(&self, knote: &Knote) -> bool {
        let Body::Process(process) = knote.body else { return false };
        let tells = process.pending != 0 || process.parent.is_some();
        tells || process.is_unwatched() || matches!(process.life, Life::Ended)
    }

    fn may_set_alarm(&self, knote: &Knote) -> bool {
        matches!(knote.body, Body::Process(process) if process.is_unwatched())
    }
}
