//! EVFILT_EXCEPT on the scripted platform.

#![forbid(unsafe_code)]

use super::{Rig, ev, read, write};
use crate::clock::Patience;
use crate::errno::Errno;
use crate::event::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_DISPATCH, EV_ENABLE, EV_EOF, EV_ONESHOT, EVFILT_EXCEPT, Kevent,
    NOTE_OOB,
};
use crate::queue::Stop;
use crate::sys::fake::{self, Object, Verb};
use crate::sys::{Class, Side};

fn except(flags: u16, fflags: u32) -> Kevent {
    ev(EVFILT_EXCEPT, 3, flags, fflags, 0)
}

/// A queue that watches a socket so.
fn watching(flags: u16, fflags: u32) -> Rig {
    let rig = Rig::new();
    fake::open(3, Object::socket());
    rig.change(&[except(EV_ADD | flags, fflags)]).unwrap();
    rig.nothing();
    rig
}

fn urgent(is: bool) {
    fake::happens(3, Side::Except, |object| object.urgent = is);
}

#[track_caller]
fn told(rig: &Rig) -> (u16, u32, isize) {
    let event = rig.only();
    assert_eq!((event.filter, event.ident), (EVFILT_EXCEPT, 3));
    (event.flags, event.fflags, event.data)
}

#[test]
fn urgent_data_is_told_while_it_is_there() {
    let rig = watching(0, NOTE_OOB);
    fake::put(3, 5);
    rig.nothing();
    urgent(true);
    assert_eq!(told(&rig), (EV_ADD, NOTE_OOB, 5));
    fake::take(3, 5);
    assert_eq!(told(&rig), (EV_ADD, NOTE_OOB, 0));
    urgent(false);
    rig.nothing();
    assert!(!fake::is_readable(rig.number));
}

#[test]
fn each_mode_is_honoured() {
    let rig = watching(EV_CLEAR, NOTE_OOB);
    urgent(true);
    assert_eq!(told(&rig).0, EV_ADD | EV_CLEAR);
    rig.nothing();
    urgent(true);
    assert_eq!(told(&rig).0, EV_ADD | EV_CLEAR);

    let rig = watching(EV_ONESHOT, NOTE_OOB);
    urgent(true);
    assert_eq!(told(&rig).0, EV_ADD | EV_ONESHOT);
    assert_eq!(rig.change(&[except(EV_DELETE, 0)]), Err(Stop::Failed(Errno::ENOENT)));

    let rig = watching(EV_DISPATCH, NOTE_OOB);
    urgent(true);
    assert_eq!(told(&rig).0, EV_ADD | EV_DISPATCH);
    rig.nothing();
    rig.change(&[except(EV_ENABLE, NOTE_OOB)]).unwrap();
    assert_eq!(told(&rig).0, EV_ADD | EV_DISPATCH);
}

/// The kernel calls it ready: nobody is to be woken for it again and again.
#[test]
fn what_nobody_asked_for_is_hinted_at_once() {
    let rig = watching(0, !NOTE_OOB);
    urgent(true);
    rig.nothing();
    assert!(!fake::is_readable(rig.number));
    rig.change(&[except(EV_ADD, NOTE_OOB)]).unwrap();
    assert_eq!(told(&rig), (EV_ADD, NOTE_OOB, 0));
}

#[test]
fn the_end_is_told_asked_for_or_not_and_an_error_alone_is_not() {
    let rig = watching(0, 0);
    fake::happens(3, Side::Except, |object| object.error = Some(Errno::ECONNRESET));
    rig.nothing();
    assert!(!fake::is_readable(rig.number));
    fake::hang_up(3);
    let reset = libc::ECONNRESET.cast_unsigned();
    assert_eq!(told(&rig), (EV_ADD | EV_EOF, reset, 0));
    // The error goes before what was asked for.
    urgent(true);
    rig.change(&[except(EV_ADD, NOTE_OOB)]).unwrap();
    assert_eq!(told(&rig), (EV_ADD | EV_EOF, reset, 0));
    fake::quietly(3, |object| object.error = None);
    assert_eq!(told(&rig), (EV_ADD | EV_EOF, NOTE_OOB, 0));
}

#[test]
fn three_filters_of_one_socket_are_three_events() {
    let rig = watching(EV_CLEAR, NOTE_OOB);
    rig.change(&[read(3, EV_ADD), write(3, EV_ADD | EV_CLEAR)]).unwrap();
    fake::put(3, 1);
    urgent(true);
    assert_eq!(rig.poll(5).len(), 3);
    assert_eq!(rig.poll(5).len(), 1);
    rig.change(&[read(3, EV_DELETE)]).unwrap();
    urgent(true);
    assert_eq!(told(&rig).1, NOTE_OOB);
}

#[test]
fn what_has_no_urgent_data_is_refused_and_leaves_nothing() {
    let rig = Rig::new();
    let refused = Err(Stop::Failed(Errno::EINVAL));
    for object in [Object::pipe(), Object::file(), Object::new(Class::Always)] {
        fake::open(3, object);
        assert_eq!(rig.change(&[except(EV_ADD, NOTE_OOB)]), refused);
    }
    fake::open(3, Object::socket());
    fake::fail(Verb::Watch, 1, Errno::EMFILE);
    let failed = rig.call(&[except(EV_ADD, NOTE_OOB)], 0, Patience::Poll);
    assert_eq!(failed, Err(Stop::Failed(Errno::EMFILE)));
    assert_eq!(rig.change(&[except(EV_DELETE, 0)]), Err(Stop::Failed(Errno::ENOENT)));
}
