//! What a filter is.
//!
//! A filter gives a knote its meaning through four verbs, the kernel's own:
//! *attach* when the knote is made, *touch* when a change meets a knote that is
//! there or its event has been returned, *event* to ask whether the condition
//! holds now, *detach* when the knote goes. Filters know one knote and the
//! platform; the order of things, the lists and the flags common to all are
//! the queue's.
//!
//! To add a filter, write a file here and its line in [`list::find`].

#![forbid(unsafe_code)]

mod descriptor;
mod except;
mod fs;
pub(crate) mod list;
mod procdesc;
mod process;
mod read;
mod signal;
mod timer;
mod user;
mod vnode;
mod write;

use crate::clock::{Moment, Span};
use crate::errno::{Errno, Result};
use crate::event::Kevent;
use crate::knote::Knote;
use crate::knote::table::Key;
use crate::sys::{Deed, Descriptor, Platform, Readiness, Token};
use core::ffi::{c_short, c_uint};

/// Why a knote is touched.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Touch<'a> {
    /// A change names it. `udata` and the enable bits have been dealt with.
    Register(&'a Kevent),
    /// Its event was returned and it is EV_CLEAR or EV_DISPATCH.
    Process,
}

/// The answer to "does the condition hold?".
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// No. Ask again at this moment, if one is given, even if nothing changes.
    Idle(Option<Moment>),
    /// No, though the kernel calls it ready and will go on saying so.
    Gate(Option<Moment>),
    Fire(Report),
}

/// What an event says.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Report {
    pub(crate) fflags: c_uint,
    pub(crate) data: i64,
    pub(crate) eof: bool,
    /// As long as it holds the platform will say so. If not, the queue keeps
    /// it on its list.
    pub(crate) repeats: bool,
    pub(crate) then: Then,
}

/// What becomes of a knote when its event has been returned.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Then {
    /// What its flags say.
    #[default]
    AsFlagged,
    /// It was the last event there can be: EV_ONESHOT.
    Goes,
    /// Natively another knote's event, an EV_ONESHOT: it has no effect on this.
    Stays,
}

/// What a knote takes note of, of a process.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// The platform hints that it has ended.
    Hint,
    Deed(Deed),
}

/// What follows from news.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Noted {
    Nothing,
    /// There is an event to return.
    Fires,
    /// There never will be any more: the knote goes.
    Over,
}

pub(crate) trait Filter<P: Platform>: Sync {
    /// How a knote of this filter is found. EBADF: no descriptor can have this
    /// ident.
    fn key(&self, filter: c_short, ident: usize) -> Result<Key>;

    /// Begins. The knote is as the change asked; on error it will not be made.
    fn attach(&self, knote: &mut Knote, port: &mut P, token: Token) -> Result<()>;

    /// Ends. EBADF, ENOENT: the descriptor was closed, or is another by now.
    fn detach(&self, knote: &Knote, port: &mut P, token: Token) -> Result<()>;

    /// Meets a change, or forgets what was returned. On error the caller
    /// forgets this copy of the knote. EBADF, ENOENT: as for `detach`.
    fn touch(&self, knote: &mut Knote, why: Touch<'_>, port: &mut P, token: Token) -> Result<()>;

    /// Arms what is watched by the state that the knote has come to.
    fn rearm(&self, _knote: &mut Knote, _port: &mut P, _token: Token) -> Result<()> {
        // Of a filter without a descriptor nothing is armed.
        Ok(())
    }

    /// Puts what is watched by the poller into what takes its place.
    fn carry(
        &self,
        _knote: &Knote,
        _port: &mut P,
        _into: &mut P::Renewal,
        _token: Token,
    ) -> Result<()> {
        // Most filters watch nothing there.
        Ok(())
    }

    /// Takes note of what is told once, of a disabled knote too. Any error
    /// means that it is told again.
    fn note(&self, _knote: &mut Knote, _port: &mut P, _news: News) -> Result<Noted> {
        // Most filters are told again, or ask.
        Ok(Noted::Nothing)
    }

    /// Has the process ended that the knote follows, and has not noted its end?
    /// What it did before is to be noted first.
    fn has_just_ended(&self, _knote: &Knote, _port: &mut P) -> bool {
        // Most filters follow nothing.
        false
    }

    /// Lets go of what is held beside a descriptor's watch. The knote goes, or
    /// is not made after all.
    fn release(&self, _knote: &Knote, _port: &mut P, _token: Token) {
        // Most filters hold nothing.
    }

    /// Asks whether the condition holds. `seen` is what the platform's hint
    /// said. EBADF: the descriptor was closed.
    fn event(&self, knote: &mut Knote, port: &mut P, seen: Option<Readiness>) -> Result<Outcome>;

    /// Must the queue itself ask, because no hint will come for what may hold
    /// already?
    fn asks_itself(&self, knote: &Knote) -> bool;

    /// Can `event` ask for another look by the clock?
    fn may_set_alarm(&self, knote: &Knote) -> bool;

    /// Is there something about knotes of this filter that no wait tells of, so
    /// that the platform must attend to it before a thread sleeps?
    fn is_careful(&self) -> bool {
        false
    }
}

/// How soon to look again at what nothing tells of.
const UNWATCHED: Span = Span::millis(100);

/// The ident as a number for the platform; [`descriptor_key`] has checked it.
fn number(knote: &Knote) -> Descriptor {
    Descriptor::try_from(knote.ident).unwrap_or(-1)
}

/// The key of a knote whose ident is a descriptor.
fn descriptor_key(filter: c_short, ident: usize) -> Result<Key> {
    match Descriptor::try_from(ident) {
        Ok(_) => Ok(Key::Descriptor(filter, ident)),
        Err(_) => Err(Errno::EBADF),
    }
}

/// The key of a knote whose ident is any number.
fn free_key(filter: c_short, ident: usize) -> Result<Key> {
    Ok(Key::Other(filter, ident))
}
