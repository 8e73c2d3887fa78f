//! When the bell is rung, and by whom. The state is guarded by the queue's lock;
//! the bell itself is the kernel's, and is rung without the lock: see
//! [`super::ring`].
//!
//! Whenever the lock is free and the list is not empty, one of these is so:
//!
//! - The bell is held, or rung and its hint not yet taken. The kernel wakes a
//!   waiter, or the next wait finds it, and whoever has it looks at the list.
//! - Its hint has been taken, by a thread that is on its way to the lock. If it
//!   does not come, the platform hands on what it took (`collect::left`).
//! - A thread is out to ring. Nobody else touches the bell until it is back, so
//!   what it rings cannot undo what another one set. What changed meanwhile it
//!   settles when it comes back; that the hint was taken meanwhile is noted.
//! - The thread that put something there looks at the list next ([`Wake::Myself`]).
//!
//! The state may say less than the kernel: a hint of an earlier ring that is
//! taken late counts as the present one's. Then the bell is held where it was
//! rung, or ends a wait for nothing. It never says more: a ring counts from when
//! the kernel has been told, and is over with the first hint.
//!
//! But a thread may leave with the lock taken, or not come back from ringing; and
//! close() sets the bell by itself, while another may be out to ring it. Then
//! nobody knows which the kernel was told last, nor whether its hint was taken:
//! the state is in doubt, and the bell is set anew at the next step. A thread that
//! is out is waited for first, as always: it may ring at any moment.

#![forbid(unsafe_code)]

use crate::sys::Bell;

/// How whoever waits is to be woken.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Wake {
    /// Something came onto the list: one waiter takes it.
    One,
    /// Something stays on the list: it concerns every waiter.
    All,
    /// This very call looks at the list next.
    Myself,
}

/// What is to be done before the lock is let go.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Nothing,
    /// Set the bell, and say so by [`Ringing::is_set`].
    Set(Bell),
    /// Let go of the lock and ring; then [`Ringing::is_back`].
    GoOut,
}

/// No thread's mark.
const NOBODY: u32 = 0;

#[derive(Debug)]
pub(super) struct Ringing {
    /// The bell as last set, and not yet taken by a wait.
    bell: Bell,
    /// The thread that has let go of the lock to ring, by its mark, or `NOBODY`.
    /// One word: a thread may leave with the lock between any two stores, and
    /// half of this would name one that never comes back.
    out: u32,
    /// A wait has taken the bell's hint while it was out.
    taken: bool,
    /// The kernel's bell may be another, either way.
    doubted: bool,
}

impl Ringing {
    pub(super) const fn new() -> Ringing {
        Ringing { bell: Bell::Rest, out: NOBODY, taken: false, doubted: false }
    }

    pub(super) fn is_out(&self) -> bool {
        self.out != NOBODY
    }

    /// Is it this thread that is out?
    pub(super) fn is_out_for(&self, thread: u32) -> bool {
        self.out == thread
    }

    pub(super) fn bell(&self) -> Bell {
        self.bell
    }

    /// The thread of this mark has left, wherever it was with the bell.
    pub(super) fn left(&mut self, thread: u32) {
        if self.is_out_for(thread) {
            self.out = NOBODY;
            self.taken = false;
        }
        self.doubt();
    }

    /// Setting it has failed, perhaps half way.
    pub(super) fn doubt(&mut self) {
        self.doubted = true;
    }

    /// For a thread of this mark.
    pub(super) fn step(&mut self, list_is_empty: bool, wake: Wake, thread: u32) -> Step {
        if self.is_out() {
            return Step::Nothing;
        }
        if self.doubted {
            return Step::Set(if list_is_empty { Bell::Rest } else { Bell::Hold });
        }
        match (list_is_empty, self.bell, wake) {
            (true, Bell::Rest, _) => Step::Nothing,
            (true, ..) => Step::Set(Bell::Rest),
            // Rung and not yet taken: a waiter is on its way, or the next one
            // will find it. Held: every one does.
            (false, Bell::Ring | Bell::Hold, _) => Step::Nothing,
            (false, Bell::Rest, Wake::One) => {
                self.out = thread;
                Step::GoOut
            }
            (false, Bell::Rest, Wake::All) => Step::Set(Bell::Hold),
            (false, Bell::Rest, Wake::Myself) => Step::Nothing,
        }
    }

    pub(super) fn is_set(&mut self, bell: Bell) {
        self.bell = bell;
        // One that is out rings before this or after it.
        self.doubted = self.is_out();
    }

    /// The ringer is back. Did it ring?
    pub(super) fn is_back(&mut self, rang: bool) {
        self.out = NOBODY;
        let taken = core::mem::replace(&mut self.taken, false);
        if rang && !taken {
            self.bell = Bell::Ring;
        }
    }

    /// A wait has taken the bell's hint. A ring is over with that; a hold goes
    /// on.
    pub(super) fn hint_taken(&mut self) {
        if self.is_out() {
            self.taken = true;
        } else if self.bell == Bell::Ring {
            self.bell = Bell::Rest;
        }
    }
}
