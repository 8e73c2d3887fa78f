//! Descriptors that were closed while their files live on elsewhere.

#![forbid(unsafe_code)]

use super::{Rig, brief, idents, read, user, write};
use crate::clock::{Patience, Span};
use crate::errno::Errno;
use crate::event::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_DISPATCH, EV_ONESHOT, EVFILT_READ, EVFILT_USER, Kevent,
    NOTE_TRIGGER,
};
use crate::queue::Stop;
use crate::queue::bell::Wake;
use crate::sys::fake::{self, Fake, Object, Verb};
use crate::sys::{Descriptor, Platform, Side};
use std::rc::Rc;

const MS: u64 = 1_000_000;

/// A file with something to read that is closed under its number, and open
/// elsewhere.
fn ghost(rig: &Rig, fd: Descriptor, flags: u16) {
    fake::open(fd, Object { amount: 5, ..Object::socket() });
    rig.change(&[read(fd, EV_ADD | flags)]).unwrap();
    fake::forsake(fd);
}

fn soon() -> Patience {
    Patience::Until(Fake::now().after(Span::millis(20)))
}

#[test]
fn a_wait_with_a_ghost_lasts_as_long_as_it_should_and_ends_the_ghost() {
    let rig = Rig::new();
    ghost(&rig, 3, 0);
    let begun = Fake::now();
    assert_eq!(rig.call(&[], 4, soon()), Ok(Vec::new()));
    assert_eq!(Fake::now().since(begun), Span(20 * MS));
    assert_eq!(fake::calls(Verb::Renewal), 1);
    assert!(!fake::is_readable(rig.number));
    // Nothing is left that would need another.
    let waits = fake::calls(Verb::Wait);
    rig.nothing();
    assert_eq!(fake::calls(Verb::Wait), waits + 1);
}

#[test]
fn a_look_ends_a_ghost_too() {
    let rig = Rig::new();
    ghost(&rig, 3, 0);
    rig.nothing();
    assert!(!fake::is_readable(rig.number));
    assert_eq!(fake::calls(Verb::Renewal), 1);
}

#[test]
fn what_is_watched_goes_on_as_it_was() {
    let rig = Rig::new();
    for fd in [4, 5, 6, 7] {
        fake::open(fd, Object::socket());
    }
    let clear = read(5, EV_ADD | EV_CLEAR);
    let once = read(6, EV_ADD | EV_ONESHOT);
    rig.change(&[read(4, EV_ADD), clear, once, write(7, EV_ADD | EV_CLEAR)]).unwrap();
    assert_eq!(idents(&rig.poll(8)), [7]);
    rig.change(&[user(1, EV_ADD | EV_CLEAR, 0), read(4, EV_DELETE), read(4, EV_ADD)]).unwrap();
    ghost(&rig, 3, 0);
    // An edge that is in the kernel only may be told again.
    assert_eq!(idents(&rig.poll(8)), [7]);
    assert_eq!(fake::calls(Verb::Renewal), 1);
    for fd in [4, 5, 6] {
        fake::happens(fd, Side::Read, |object| object.amount = 1);
    }
    let mut events = idents(&rig.poll(8));
    events.sort_unstable();
    assert_eq!(events, [4, 5, 6]);
    assert_eq!(idents(&rig.poll(8)), [4]);
    rig.change(&[user(1, 0, NOTE_TRIGGER)]).unwrap();
    let mut events = brief(&rig.poll(8));
    events.sort_unstable();
    assert_eq!(events, [(EVFILT_USER, 1, 0), (EVFILT_READ, 4, 1)]);
    rig.change(&[read(5, EV_DELETE), read(4, EV_DELETE), write(7, EV_DELETE)]).unwrap();
    assert_eq!(rig.change(&[read(6, EV_DELETE)]), Err(Stop::Failed(Errno::ENOENT)));
    rig.nothing();
}

#[test]
fn a_held_bell_is_held_on() {
    let rig = Rig::new();
    rig.change(&[user(1, EV_ADD, 0), user(1, 0, NOTE_TRIGGER)]).unwrap();
    ghost(&rig, 3, 0);
    // Every call returns something, so there is no hurry.
    for _ in 0..100 {
        assert_eq!(idents(&rig.poll(8)), [1]);
    }
    rig.change(&[user(1, EV_DELETE, 0)]).unwrap();
    rig.nothing();
    rig.change(&[user(1, EV_ADD, 0), user(1, 0, NOTE_TRIGGER)]).unwrap();
    assert_eq!(idents(&rig.wait(8)), [1]);
}

#[test]
fn a_hint_that_was_on_its_way_is_no_ghost() {
    let rig = Rc::new(Rig::new());
    for _ in 0..200 {
        fake::open(3, Object { amount: 5, ..Object::socket() });
        rig.change(&[read(3, EV_ADD)]).unwrap();
        // Another thread is quicker than the one that has it in hand.
        let other = Rc::clone(&rig);
        fake::before_hand_over(move || other.change(&[read(3, EV_DELETE)]).unwrap());
        assert_eq!(rig.call(&[], 4, soon()), Ok(Vec::new()));
    }
    assert_eq!(fake::calls(Verb::Renewal), 0);
}

#[test]
fn a_file_on_a_ghosts_number_is_not_told_under_the_old_knote() {
    let rig = Rig::new();
    ghost(&rig, 3, 0);
    fake::open(3, Object::socket());
    rig.nothing();
    let deleted = rig.change(&[read(3, EV_DELETE)]);
    assert_eq!(deleted, Err(Stop::Failed(Errno::ENOENT)));
    rig.change(&[Kevent { udata: core::ptr::without_provenance_mut(7), ..read(3, EV_ADD) }])
        .unwrap();
    rig.nothing();
    fake::happens(3, Side::Read, |object| object.amount = 2);
    assert_eq!(rig.only().udata.addr(), 7);
}

#[test]
fn many_ghosts_cost_a_renewal_for_as_many_idle_wakes_as_there_are_knotes() {
    let rig = Rig::new();
    for fd in 100..300 {
        fake::open(fd, Object::socket());
        rig.change(&[read(fd, EV_ADD)]).unwrap();
    }
    for fd in 3..23 {
        ghost(&rig, fd, 0);
        rig.nothing();
    }
    let renewals = fake::calls(Verb::Renewal);
    assert!((1..=20 * 64 * 4 / 200).contains(&renewals), "{renewals}");
    assert_eq!(rig.call(&[], 4, soon()), Ok(Vec::new()));
    assert!(!fake::is_readable(rig.number));
}

#[test]
fn a_renewal_that_cannot_be_had_leaves_all_as_it_was() {
    for verb in [Verb::Renewal, Verb::Carry] {
        let rig = Rig::new();
        fake::open(4, Object::socket());
        rig.change(&[read(4, EV_ADD)]).unwrap();
        ghost(&rig, 3, 0);
        fake::fail(verb, 1, Errno::EMFILE);
        rig.nothing();
        fake::happens(4, Side::Read, |object| object.amount = 2);
        assert_eq!(brief(&[rig.wait(8)[0]]), [(EVFILT_READ, 4, 2)]);
        fake::quietly(4, |object| object.amount = 0);
        assert_eq!(rig.call(&[], 4, soon()), Ok(Vec::new()));
        assert!(!fake::is_readable(rig.number));
    }
}

#[test]
fn no_renewal_comes_between_a_ringer_and_its_bell() {
    let rig = Rig::new();
    ghost(&rig, 3, 0);
    rig.home.visit(|queue| queue.ringing.step(false, Wake::One, 1));
    assert_eq!(rig.home.visit(|queue| queue.renew(&[rig.number], 0)), Some(Err(Errno::EAGAIN)));
    rig.home.visit(|queue| queue.ringing.is_back(false));
    assert_eq!(rig.home.visit(|queue| queue.renew(&[rig.number], 0)), Some(Ok(())));
}

#[test]
fn one_that_goes_as_its_event_is_returned_takes_its_knote_along() {
    for object in [Object::socket(), Object::file()] {
        let rig = Rig::new();
        fake::open(3, Object { amount: 5, ..object });
        rig.change(&[read(3, EV_ADD | EV_DISPATCH)]).unwrap();
        // Closed after it was asked, and before it is disarmed.
        fake::fail(Verb::Rearm, 1, Errno::ENOENT);
        assert_eq!(brief(&rig.poll(4)), [(EVFILT_READ, 3, 5)]);
        let again = rig.change(&[read(3, EV_DELETE)]);
        let disarmed = fake::calls(Verb::Rearm) > 0;
        assert_eq!(again.is_err(), disarmed);
    }
}
