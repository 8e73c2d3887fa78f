//! EVFILT_VNODE on the scripted platform.

#![forbid(unsafe_code)]

use super::{Rig, ev};
use crate::clock::{Patience, Span};
use crate::errno::Errno;
use crate::event::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_DISABLE, EV_DISPATCH, EV_ENABLE, EV_EOF, EV_FORCEONESHOT,
    EV_ONESHOT, EVFILT_VNODE, Kevent, NOTE_ATTRIB, NOTE_EXTEND, NOTE_RENAME, NOTE_WRITE,
};
use crate::queue::Stop;
use crate::sys::Class;
use crate::sys::fake::{self, Object, Verb};

const GREW: u32 = NOTE_WRITE | NOTE_EXTEND;

fn vnode(flags: u16, want: u32) -> Kevent {
    ev(EVFILT_VNODE, 3, flags, want, 0)
}

/// A queue with a knote of file 3.
fn watching(flags: u16, want: u32) -> Rig {
    let rig = Rig::new();
    fake::open(3, Object::file());
    rig.change(&[vnode(EV_ADD | flags, want)]).unwrap();
    rig.nothing();
    rig
}

#[test]
fn the_notes_of_an_operation_come_together_and_stay_without_clear() {
    let rig = watching(0, NOTE_WRITE);
    fake::operate(3, NOTE_ATTRIB);
    rig.nothing();
    fake::operate(3, GREW);
    assert_eq!(rig.wait(1)[0].fflags, GREW);
    assert_eq!(rig.only().fflags, GREW);
    fake::operate(3, NOTE_WRITE | NOTE_RENAME);
    assert_eq!(rig.only().fflags, GREW | NOTE_RENAME);
    rig.change(&[vnode(EV_DELETE, 0)]).unwrap();
    rig.nothing();
}

#[test]
fn clear_forgets_what_was_returned() {
    let rig = watching(EV_CLEAR, GREW);
    fake::operate(3, NOTE_WRITE);
    fake::operate(3, GREW);
    assert_eq!(rig.only().fflags, GREW);
    rig.nothing();
    fake::operate(3, NOTE_WRITE);
    assert_eq!(rig.only().fflags, NOTE_WRITE);
    rig.nothing();
}

#[test]
fn a_disabled_knote_collects_and_is_silent() {
    let rig = watching(EV_CLEAR | EV_DISABLE, GREW);
    fake::operate(3, GREW);
    rig.nothing();
    rig.change(&[vnode(EV_ENABLE, GREW)]).unwrap();
    assert_eq!(rig.only().fflags, GREW);
    rig.nothing();
    fake::operate(3, GREW);
    rig.change(&[vnode(EV_DISABLE, GREW)]).unwrap();
    rig.nothing();
    rig.change(&[vnode(EV_ENABLE, GREW)]).unwrap();
    assert_eq!(rig.only().fflags, GREW);
}

#[test]
fn dispatch_keeps_the_notes_unless_clear_is_there_too() {
    for (flags, again) in [(EV_DISPATCH, true), (EV_DISPATCH | EV_CLEAR, false)] {
        let rig = watching(flags, GREW);
        fake::operate(3, GREW);
        assert_eq!(rig.only().fflags, GREW);
        fake::operate(3, NOTE_RENAME | NOTE_WRITE);
        rig.nothing();
        rig.change(&[vnode(EV_ENABLE, GREW)]).unwrap();
        let before = if again { GREW } else { 0 };
        assert_eq!(rig.only().fflags, before | NOTE_RENAME | NOTE_WRITE);
        rig.nothing();
    }
}

#[test]
fn oneshot_and_forceoneshot_end_it() {
    let rig = watching(EV_ONESHOT, GREW);
    fake::operate(3, GREW);
    assert_eq!(rig.only().fflags, GREW);
    assert_eq!(rig.change(&[vnode(EV_DELETE, 0)]), Err(Stop::Failed(Errno::ENOENT)));
    rig.change(&[vnode(EV_ADD, GREW)]).unwrap();
    rig.change(&[vnode(EV_FORCEONESHOT, GREW)]).unwrap();
    assert_eq!(rig.only().fflags, 0);
    rig.nothing();
}

#[test]
fn a_change_wants_anew_and_keeps_what_is_collected() {
    let rig = watching(EV_CLEAR, GREW);
    fake::operate(3, GREW);
    rig.change(&[vnode(EV_ADD, NOTE_RENAME)]).unwrap();
    assert_eq!(rig.only().fflags, GREW);
    fake::operate(3, GREW);
    rig.nothing();
    fake::operate(3, NOTE_RENAME);
    assert_eq!(rig.only().fflags, NOTE_RENAME);
    fake::fail(Verb::WantFile, 1, Errno::ENOMEM);
    assert_eq!(rig.change(&[vnode(EV_ADD, GREW)]), Err(Stop::Failed(Errno::ENOMEM)));
    fake::operate(3, GREW);
    rig.nothing();
}

#[test]
fn a_closed_file_has_no_knote_and_its_number_starts_clean() {
    let rig = watching(0, GREW);
    fake::operate(3, GREW);
    assert_eq!(rig.only().fflags, GREW);
    fake::close(3);
    rig.nothing();
    for action in [EV_ADD, EV_DELETE, EV_ENABLE] {
        assert_eq!(rig.change(&[vnode(action, GREW)]), Err(Stop::Failed(Errno::EBADF)));
    }
    fake::open(3, Object::file());
    assert_eq!(rig.change(&[vnode(EV_DELETE, 0)]), Err(Stop::Failed(Errno::ENOENT)));
    rig.change(&[vnode(EV_ADD, GREW)]).unwrap();
    fake::operate(3, GREW);
    fake::open(3, Object::file());
    // Another file by now: what pends is the old one's.
    rig.change(&[vnode(EV_ADD | EV_CLEAR, GREW)]).unwrap();
    rig.nothing();
    fake::operate(3, GREW);
    assert_eq!(rig.only().fflags, GREW);
    rig.nothing();
}

#[test]
fn what_is_no_file_is_refused() {
    let rig = Rig::new();
    fake::open(3, Object::pipe());
    assert_eq!(rig.change(&[vnode(EV_ADD, GREW)]), Err(Stop::Failed(Errno::EINVAL)));
    fake::open(3, Object::new(Class::Connection));
    assert_eq!(rig.change(&[vnode(EV_ADD, GREW)]), Err(Stop::Failed(Errno::EINVAL)));
    rig.nothing();
}

#[test]
fn revocation_is_end_of_file_whatever_is_wanted() {
    let rig = watching(EV_CLEAR, GREW);
    fake::revoke(3);
    let event = rig.only();
    assert_eq!((event.flags & EV_EOF, event.fflags), (EV_EOF, 0));
    rig.nothing();
}

#[test]
fn what_nobody_watches_is_looked_at_by_the_clock() {
    let rig = Rig::new();
    fake::open(3, Object { wakes: false, ..Object::file() });
    rig.change(&[vnode(EV_ADD | EV_CLEAR, GREW)]).unwrap();
    for _ in 0..2 {
        rig.nothing();
        fake::operate(3, GREW);
        rig.nothing();
        fake::pass(Span::millis(100));
        assert_eq!(rig.only().fflags, GREW);
    }
    // A thread that sleeps is woken for it.
    fake::during_sleep(|| fake::operate(3, GREW));
    assert_eq!(rig.call(&[], 1, Patience::Forever).unwrap()[0].fflags, GREW);
}

#[test]
fn what_loses_its_watch_is_looked_at_by_the_clock_from_then_on() {
    let rig = watching(EV_CLEAR, GREW);
    fake::operate(3, GREW);
    // Nothing has been prepared for an alarm yet.
    assert_eq!(fake::calls(Verb::PrepareAlarm), 0);
    fake::quietly(3, |object| object.wakes = false);
    rig.change(&[vnode(EV_ENABLE, GREW)]).unwrap();
    assert_eq!(rig.only().fflags, GREW);
    fake::operate(3, NOTE_WRITE);
    rig.nothing();
    fake::pass(Span::millis(100));
    assert_eq!(rig.only().fflags, NOTE_WRITE);
}
