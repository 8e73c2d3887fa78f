//! EVFILT_FS on the scripted platform.

#![forbid(unsafe_code)]

use super::{Rig, ev, idents, user};
use crate::clock::Patience;
use crate::errno::Errno;
use crate::event::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_DISABLE, EV_DISPATCH, EV_ENABLE, EV_ONESHOT, EVFILT_FS, Kevent,
    NOTE_TRIGGER, VQ_MOUNT, VQ_UNMOUNT,
};
use crate::queue::Stop;
use crate::sys::fake::{self, Verb};

fn fs(ident: usize, flags: u16) -> Kevent {
    ev(EVFILT_FS, ident, flags, 0, 0)
}

fn watching(flags: u16) -> Rig {
    let rig = Rig::new();
    // What was before does not count.
    fake::mounts(7, 3, true);
    rig.change(&[fs(1, EV_ADD | flags)]).unwrap();
    rig.nothing();
    rig
}

#[track_caller]
fn told(rig: &Rig) -> u32 {
    let event = rig.only();
    assert_eq!((event.filter, event.ident, event.data), (EVFILT_FS, 1, 0));
    assert_ne!(event.flags & EV_CLEAR, 0);
    rig.nothing();
    event.fflags
}

#[test]
fn changes_since_the_last_event_are_one_event() {
    let rig = watching(0);
    fake::mounts(1, 0, true);
    assert_eq!(told(&rig), VQ_MOUNT);
    fake::mounts(0, 2, true);
    assert_eq!(told(&rig), VQ_UNMOUNT);
    fake::mounts(1, 0, true);
    fake::mounts(1, 1, true);
    assert_eq!(told(&rig), VQ_MOUNT | VQ_UNMOUNT);
    // Something else has changed.
    fake::mounts(0, 0, true);
    rig.nothing();
}

#[test]
fn what_waits_do_not_tell_is_attended_to() {
    let rig = watching(0);
    fake::mounts(1, 0, false);
    assert_eq!(told(&rig), VQ_MOUNT);
    fake::mounts(0, 1, false);
    assert_eq!(idents(&rig.wait(1)), [1]);
    // Asleep already: the wait itself tells.
    fake::during_sleep(|| fake::mounts(1, 0, true));
    assert_eq!(idents(&rig.wait(1)), [1]);
    rig.nothing();
}

#[test]
fn disabled_and_dispatched_knotes_remember() {
    let rig = watching(EV_DISABLE);
    fake::mounts(1, 0, true);
    rig.nothing();
    rig.change(&[fs(1, EV_ENABLE)]).unwrap();
    assert_eq!(told(&rig), VQ_MOUNT);

    let rig = watching(EV_DISPATCH);
    fake::mounts(1, 0, true);
    assert_eq!(told(&rig), VQ_MOUNT);
    fake::mounts(0, 1, false);
    rig.nothing();
    rig.change(&[fs(1, EV_ENABLE)]).unwrap();
    assert_eq!(told(&rig), VQ_UNMOUNT);
    rig.change(&[fs(1, EV_ENABLE)]).unwrap();
    rig.nothing();
}

#[test]
fn each_knote_has_its_own_account() {
    let rig = watching(EV_ONESHOT);
    fake::mounts(1, 0, true);
    rig.change(&[fs(2, EV_ADD)]).unwrap();
    assert_eq!(idents(&rig.poll(5)), [1]);
    assert_eq!(rig.change(&[fs(1, EV_DELETE)]), Err(Stop::Failed(Errno::ENOENT)));
    rig.nothing();
    fake::mounts(0, 1, true);
    let events = rig.poll(5);
    assert_eq!(idents(&events), [2]);
    assert_eq!(events[0].fflags, VQ_UNMOUNT);
}

#[test]
fn with_room_for_one_all_are_told_in_the_end() {
    let rig = watching(0);
    rig.change(&[fs(2, EV_ADD), fs(3, EV_ADD), user(9, EV_ADD, 0)]).unwrap();
    rig.change(&[user(9, 0, NOTE_TRIGGER)]).unwrap();
    fake::mounts(1, 1, true);
    let mut came: Vec<_> = (0..8).flat_map(|_| idents(&rig.poll(1))).collect();
    assert_eq!(came.len(), 8);
    came.retain(|ident| *ident != 9);
    came.sort_unstable();
    assert_eq!(came, [1, 2, 3]);
}

#[test]
fn a_platform_that_cannot_is_told_of_and_leaves_nothing() {
    let rig = Rig::new();
    fake::fail(Verb::WatchMounts, 1, Errno::ENOTSUP);
    assert_eq!(rig.change(&[fs(1, EV_ADD)]), Err(Stop::Failed(Errno::ENOTSUP)));
    assert_eq!(rig.change(&[fs(1, EV_DELETE)]), Err(Stop::Failed(Errno::ENOENT)));
    rig.nothing();
    // Nothing of it has made the queue careful.
    assert_eq!(fake::calls(Verb::Attend), 0);
}

/// For want of memory it cannot be said what has changed: it is said later.
#[test]
fn what_cannot_be_read_now_is_told_later() {
    for verb in [Verb::Mounts, Verb::Attend] {
        let rig = watching(0);
        fake::mounts(1, 0, verb == Verb::Mounts);
        fake::fail(verb, 1, Errno::ENOMEM);
        let first = rig.try_call(&[], 5, Ok(Patience::Poll));
        let come = first.map_or(0, |events| events.len());
        assert!(!fake::spare());
        assert_eq!(come + rig.poll(5).len(), 1);
        rig.nothing();
    }
}
