//! The knote: one registration, named by (ident, filter) within one queue.
//!
//! A knote keeps the request (`fflags`, `data`, `udata` as last given), its
//! behaviour (`flags`, fixed when it is made) and its status:
//!
//! | DISABLED | FORCED | GATED | SPENT | meaning |
//! |---|---|---|---|---|
//! | 0 | 0 | 0 | 0 | enabled; armed as its behaviour says |
//! | 0 | 0 | 1 | 0 | enabled; the kernel calls it ready and the filter does not, so it is armed for edges only, lest every wait find it |
//! | 0 | 0 | 0 | 1 | enabled; its one hint has come and it stands on the list, or must be armed again |
//! | 0 | 1 | any | any | to be returned now, whatever its condition, and deleted |
//! | 1 | any | 0 | any | disabled; armed off, silent |
//!
//! Natively a knote also has bits ACTIVE and QUEUED. Here QUEUED is being on
//! the [`ready`] list, and ACTIVE needs no bit: whoever enables a knote has it
//! looked at afresh.

#![forbid(unsafe_code)]

pub(crate) mod alarms;
pub(crate) mod ready;
pub(crate) mod table;

use crate::clock::{Moment, Span};
use crate::event::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_DISABLE, EV_DISPATCH, EV_ENABLE, EV_FORCEONESHOT, EV_ONESHOT,
    EV_SYSFLAGS, Kevent,
};
use crate::sys::{self, Arm, Descriptor, Mounts, Source, Token, Watched};
use core::ffi::{c_short, c_uint, c_ushort};
use core::num::NonZeroI32;

/// A place in a queue's table of knotes.
pub(crate) type Slot = u32;

/// What a filter keeps with a knote.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Body {
    /// Not attached yet.
    None,
    /// READ, WRITE, EXCEPT.
    Descriptor(Source),
    Timer {
        /// When it expires next.
        next: Moment,
        /// Nothing for one that expires once.
        period: Span,
        /// Expirations not yet returned.
        count: u32,
    },
    User {
        triggered: bool,
    },
    Signal {
        /// By which the platform knows it.
        token: Token,
        /// The platform's count at the last event,
        told: u64,
        /// and when it was last asked.
        count: u64,
    },
    /// FS: the counts at its last event, and as last seen.
    Mounts {
        told: Mounts,
        seen: Mounts,
    },
    /// VNODE. What is collected stands with the platform.
    Vnode(Source),
    Process(Process),
    ProcessDescriptor(ProcessDescriptor),
}

impl Body {
    /// Is the ident a descriptor?
    pub(crate) fn is_by_descriptor(&self) -> bool {
        self.source().is_some() || matches!(self, Body::Vnode(_))
    }

    /// The watch by the poller of a descriptor of the application's.
    pub(crate) fn source(&self) -> Option<Source> {
        match self {
            Body::Descriptor(source) => Some(*source),
            Body::ProcessDescriptor(process) => Some(process.source),
            _ => None,
        }
    }

    pub(crate) fn is_process(&self) -> bool {
        matches!(self, Body::Process(_) | Body::ProcessDescriptor(_))
    }
}

/// PROC.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Process {
    pub(crate) life: Life,
    /// Notes not yet returned.
    pub(crate) pending: c_uint,
    /// The wait status, once it has ended; before, that of the thread that was
    /// last heard to end.
    pub(crate) status: i32,
    /// Of a child that a NOTE_TRACK brought: its parent, until that is told.
    pub(crate) parent: Option<NonZeroI32>,
    /// It is such a child.
    pub(crate) tracked: bool,
    /// The platform follows what it does.
    pub(crate) followed: bool,
}

#[derive(Copy, Clone, Debug)]
pub(crate) enum Life {
    Watched(Watched),
    /// It was gone before it could be watched, and once had so many threads
    /// that have not been heard to end.
    Gone(u32),
    /// It has ended.
    Ended,
}

/// PROCDESC.
#[derive(Copy, Clone, Debug)]
pub(crate) struct ProcessDescriptor {
    pub(crate) source: Source,
    /// Its number; 0 if it is unknown.
    pub(crate) pid: i32,
    /// The latest child not yet told, or 0.
    pub(crate) child: i32,
    /// Some of what it did is not known.
    pub(crate) lost: bool,
    /// All that it did is noted, and it has ended.
    pub(crate) ended: bool,
    pub(crate) followed: bool,
}

#[derive(Copy, Clone, Debug)]
pub(crate) struct Knote {
    pub(crate) ident: usize,
    pub(crate) udata: usize,
    pub(crate) data: isize,
    pub(crate) body: Body,
    pub(crate) fflags: c_uint,
    /// Of a descriptor: the life of its number in which the knote was made.
    pub(crate) life: u32,
    /// The last scan that returned it: at most one event a call.
    pub(crate) scan: u32,
    pub(crate) filter: c_short,
    /// As returned: the behaviour bits and EV_ADD.
    pub(crate) flags: c_ushort,
    disabled: bool,
    forced: bool,
    gated: bool,
    spent: bool,
}

/// The actions, which are not part of a knote's behaviour. EV_ADD stays in the
/// flags returned, as everywhere but on FreeBSD.
const ACTIONS: c_ushort = EV_DELETE | EV_ENABLE | EV_DISABLE | EV_FORCEONESHOT;

impl Knote {
    /// The knote that a change asks for, not attached to anything yet.
    pub(crate) fn new(change: &Kevent) -> Knote {
        Knote {
            ident: change.ident,
            udata: change.udata.addr(),
            data: change.data,
            body: Body::None,
            fflags: change.fflags,
            life: 0,
            scan: 0,
            filter: change.filter,
            flags: change.flags & !(ACTIONS | EV_SYSFLAGS) | EV_ADD,
            disabled: change.flags & EV_DISABLE != 0,
            forced: false,
            gated: false,
            spent: false,
        }
    }

    /// Was its descriptor closed? Known only where the preload library tells.
    pub(crate) fn is_past(&self) -> bool {
        let by_descriptor = self.body.is_by_descriptor();
        let number = Descriptor::try_from(self.ident);
        by_descriptor && number.is_ok_and(|number| sys::life(number) != self.life)
    }

    pub(crate) fn is_disabled(&self) -> bool {
        self.disabled
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.forced
    }

    pub(crate) fn is_gated(&self) -> bool {
        self.gated
    }

    /// A hint has come: one that was armed for one has had it.
    pub(crate) fn hinted(&mut self) {
        self.spent = self.arm() == Arm::Once;
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.spent
    }

    /// The platform has armed it as [`Knote::arm`] says.
    pub(crate) fn armed(&mut self) {
        self.spent = false;
    }

    pub(crate) fn is_oneshot(&self) -> bool {
        self.flags & EV_ONESHOT != 0
    }

    pub(crate) fn is_dispatch(&self) -> bool {
        self.flags & EV_DISPATCH != 0
    }

    pub(crate) fn is_clear(&self) -> bool {
        self.flags & EV_CLEAR != 0
    }

    /// Does the system keep reporting it as long as it holds?
    pub(crate) fn is_level(&self) -> bool {
        !(self.is_oneshot() || self.is_dispatch() || self.is_clear())
    }

    pub(crate) fn enable(&mut self) {
        self.disabled = false;
    }

    pub(crate) fn disable(&mut self) {
        self.disabled = true;
        self.gated = false;
    }

    /// EV_FORCEONESHOT.
    pub(crate) fn force(&mut self) {
        self.forced = true;
        self.flags |= EV_ONESHOT;
    }

    pub(crate) fn gate(&mut self, shut: bool) {
        self.gated = shut;
    }

    /// How a watched descriptor is to be armed now.
    pub(crate) fn arm(&self) -> Arm {
        if self.disabled {
            Arm::Off
        } else if self.gated {
            Arm::Edge
        } else if self.is_oneshot() || self.is_dispatch() {
            // The kernel disarms it as it hands it over, so it reaches one of
            // many waiting threads.
            Arm::Once
        } else if self.is_clear() {
            Arm::Edge
        } else {
            Arm::Level
        }
    }
}
