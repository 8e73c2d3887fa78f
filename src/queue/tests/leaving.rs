//! Threads that do not come back from a call, at the moments that matter: what
//! they had begun is made whole, and what they had taken is told to others.

#![forbid(unsafe_code)]

use super::{Rig, read, user};
use crate::clock::Patience;
use crate::event::{EV_ADD, EV_CLEAR, EV_DISABLE, EV_DISPATCH, EV_ONESHOT, NOTE_TRIGGER};
use crate::queue::bell::{Step, Wake};
use crate::sys::fake::{self, Fake, Object};
use crate::sys::{Arm, Cancel, Platform, Side};

/// Marks of threads.
const RINGER: u32 = 2;
const LEAVER: u32 = 4;

impl Rig {
    /// A thread takes what a wait finds, and leaves with it.
    fn wait_and_leave(&self) {
        let mut found = Fake::found();
        let waited = Fake::wait(self.number, &mut found, 4, Patience::Poll, Cancel::Deferred);
        assert_eq!(waited, Ok(1));
        self.home.left(self.tenant, self.number, true);
    }

    #[track_caller]
    fn falls_silent(&self) {
        while !self.call(&[], 4, Patience::Poll).unwrap().is_empty() {}
        assert!(!fake::is_readable(self.number));
    }
}

#[test]
fn a_bell_that_another_one_rings_does_not_ring_for_ever() {
    for rings_first in [true, false] {
        let rig = Rig::new();
        rig.change(&[user(1, EV_ADD | EV_CLEAR, 0)]).unwrap();
        rig.home.visit(|queue| {
            queue.ready.push(0);
            assert_eq!(queue.ringing.step(false, Wake::One, RINGER), Step::GoOut);
        });
        if rings_first {
            Fake::ring(rig.number).unwrap();
        }
        rig.home.visit(|queue| queue.mend(LEAVER));
        if !rings_first {
            Fake::ring(rig.number).unwrap();
        }
        rig.home.visit(|queue| queue.rung(true)).unwrap().unwrap();
        rig.assert_bell();
        rig.falls_silent();
        rig.change(&[user(1, 0, NOTE_TRIGGER)]).unwrap();
        assert_eq!(rig.call(&[], 4, Patience::Poll).unwrap().len(), 1);
        rig.falls_silent();
    }
}

#[test]
fn a_trigger_whose_hint_was_taken_along_is_told() {
    let rig = Rig::new();
    rig.change(&[user(1, EV_ADD | EV_CLEAR, 0)]).unwrap();
    rig.change(&[user(1, 0, NOTE_TRIGGER)]).unwrap();
    rig.wait_and_leave();
    assert_eq!(rig.call(&[], 4, Patience::Poll).unwrap().len(), 1);
    rig.falls_silent();
}

#[test]
fn what_was_to_be_looked_at_next_is_told() {
    let rig = Rig::new();
    rig.change(&[user(1, EV_ADD | EV_CLEAR, 0)]).unwrap();
    rig.home.visit(|queue| {
        queue.register(&user(1, 0, NOTE_TRIGGER), rig.number).unwrap();
        assert_eq!(queue.settle(Wake::Myself), Ok(false));
    });
    rig.home.left(rig.tenant, rig.number, false);
    rig.assert_bell();
    assert_eq!(rig.call(&[], 4, Patience::Poll).unwrap().len(), 1);
    rig.falls_silent();
}

#[test]
fn a_descriptor_whose_hint_was_taken_along_is_told() {
    for flags in [0, EV_CLEAR, EV_DISPATCH, EV_ONESHOT] {
        let rig = Rig::new();
        fake::open(3, Object { amount: 5, ..Object::socket() });
        rig.change(&[read(3, EV_ADD | flags)]).unwrap();
        rig.wait_and_leave();
        assert_eq!(rig.call(&[], 4, Patience::Poll).unwrap().len(), 1, "{flags:#x}");
    }
}

/// The platform told of it once and disarmed it; then another one reads it empty.
#[test]
fn one_that_was_armed_for_one_hint_is_armed_again() {
    for flags in [EV_DISPATCH, EV_ONESHOT] {
        let rig = Rig::new();
        fake::open(3, Object { amount: 5, ..Object::socket() });
        rig.change(&[read(3, EV_ADD | flags)]).unwrap();
        rig.wait_and_leave();
        fake::take(3, 5);
        rig.falls_silent();
        fake::put(3, 5);
        assert_eq!(rig.call(&[], 4, Patience::Poll).unwrap().len(), 1, "{flags:#x}");
    }
}

/// EV_ENABLE has reached the platform, and not the knote.
#[test]
fn one_that_is_disabled_is_disarmed() {
    let rig = Rig::new();
    fake::open(3, Object { amount: 5, ..Object::socket() });
    rig.change(&[read(3, EV_ADD | EV_DISABLE)]).unwrap();
    rig.home.visit(|queue| {
        let token = queue.table.token(0);
        let mut source = queue.table.get(0).unwrap().body.source().unwrap();
        queue.port.rearm(3, Side::Read, &mut source, Arm::Level, token).unwrap();
        queue.mend(LEAVER);
    });
    rig.falls_silent();
}

/// A thread comes to leave a queue whose home is another's by now.
#[test]
fn who_leaves_an_earlier_queue_lets_this_one_be() {
    for laden in [true, false] {
        let rig = Rig::new();
        rig.change(&[user(1, EV_ADD | EV_CLEAR, 0)]).unwrap();
        let earlier = rig.tenant.wrapping_sub(1);
        rig.home.left(earlier, rig.number + 1, laden);
        rig.home.visit(|queue| {
            queue.ready.push(0);
            assert_eq!(queue.settle(Wake::All), Ok(false), "by its own number");
        });
        rig.assert_bell();
    }
}
