//! EVFILT_SIGNAL on the scripted platform.

#![forbid(unsafe_code)]

use super::*;
use crate::event::EVFILT_SIGNAL;

const HUP: usize = 1;
const USR1: usize = 10;

fn signal(ident: usize, flags: u16) -> Kevent {
    Kevent {
        ident,
        filter: EVFILT_SIGNAL,
        flags,
        fflags: 0,
        data: 0,
        udata: core::ptr::without_provenance_mut(7),
    }
}

#[track_caller]
fn expect(rig: &Rig, ident: usize, times: isize) {
    let event = rig.only();
    assert_eq!((event.ident, event.filter, event.data), (ident, EVFILT_SIGNAL, times));
    assert_eq!((event.fflags, event.udata.addr()), (0, 7));
    quiet(rig);
}

#[track_caller]
fn quiet(rig: &Rig) {
    rig.nothing();
    assert!(!fake::is_readable(rig.number));
}

#[test]
fn a_signal_is_counted_from_its_ev_add_on_and_told_once() {
    let rig = Rig::new();
    fake::send(10);
    rig.change(&[signal(USR1, EV_ADD)]).unwrap();
    quiet(&rig);
    (0..3).for_each(|_| fake::send(10));
    fake::send(1);
    assert!(fake::is_readable(rig.number));
    expect(&rig, USR1, 3);
    fake::send(10);
    // A change looks again and loses nothing.
    rig.change(&[signal(USR1, EV_ADD)]).unwrap();
    expect(&rig, USR1, 1);
    fake::during_sleep(|| fake::send(10));
    assert_eq!(rig.wait(5).len(), 1);
    quiet(&rig);
}

#[test]
fn ev_clear_is_in_the_flags_and_stays() {
    let rig = Rig::new();
    rig.change(&[signal(USR1, EV_ADD)]).unwrap();
    fake::send(10);
    assert_eq!(rig.only().flags, EV_ADD | EV_CLEAR);
    quiet(&rig);
}

#[test]
fn a_disabled_knote_counts_on_and_shows_nothing() {
    let rig = Rig::new();
    rig.change(&[signal(USR1, EV_ADD | EV_DISABLE)]).unwrap();
    fake::send(10);
    quiet(&rig);
    rig.change(&[signal(USR1, EV_ENABLE)]).unwrap();
    expect(&rig, USR1, 1);
    fake::send(10);
    rig.change(&[signal(USR1, EV_DISABLE)]).unwrap();
    quiet(&rig);
    fake::send(10);
    rig.change(&[signal(USR1, EV_ENABLE)]).unwrap();
    expect(&rig, USR1, 2);
}

#[test]
fn oneshot_and_dispatch_tell_the_count_once() {
    let rig = Rig::new();
    rig.change(&[signal(USR1, EV_ADD | EV_ONESHOT), signal(HUP, EV_ADD | EV_DISPATCH)]).unwrap();
    fake::send(10);
    fake::send(10);
    fake::send(1);
    assert_eq!(rig.poll(5).iter().map(|event| event.data).sum::<isize>(), 3);
    quiet(&rig);
    assert_eq!(fake::subscribers(10), 0);
    fake::send(1);
    quiet(&rig);
    rig.change(&[signal(HUP, EV_ENABLE)]).unwrap();
    expect(&rig, HUP, 1);
    assert_eq!(rig.change(&[signal(USR1, EV_DELETE)]), Err(Stop::Failed(Errno::ENOENT)));
}

#[test]
fn what_finds_no_room_comes_later_with_the_whole_count() {
    let rig = Rig::new();
    rig.change(&[signal(USR1, EV_ADD), signal(HUP, EV_ADD)]).unwrap();
    fake::send(10);
    fake::send(1);
    let first = rig.poll(1);
    fake::send(10);
    fake::send(1);
    let second = rig.poll(1);
    assert_ne!(first[0].ident, second[0].ident);
    assert_eq!((first[0].data, second[0].data), (1, 2));
    expect(&rig, first[0].ident, 1);
}

#[test]
fn two_queues_count_for_themselves() {
    let (one, two) = (Rig::new(), Rig::another());
    one.change(&[signal(USR1, EV_ADD)]).unwrap();
    fake::send(10);
    two.change(&[signal(USR1, EV_ADD)]).unwrap();
    fake::send(10);
    expect(&one, USR1, 2);
    expect(&two, USR1, 1);
}

#[test]
fn a_blocked_signal_is_found_before_the_thread_sleeps() {
    let rig = Rig::new();
    rig.change(&[signal(USR1, EV_ADD)]).unwrap();
    fake::send_blocked(10);
    assert_eq!(idents(&rig.wait(5)), [USR1]);
    fake::send_blocked(10);
    expect(&rig, USR1, 1);
}

#[test]
fn numbers_that_are_no_signals_are_einval_for_every_action() {
    let rig = Rig::new();
    for ident in [0, 65, 1 << 31, usize::MAX, usize::MAX - 10] {
        for flags in [EV_ADD, EV_DELETE, EV_ENABLE, 0] {
            let refused = rig.change(&[signal(ident, flags)]);
            assert_eq!(refused, Err(Stop::Failed(Errno::EINVAL)), "{ident} {flags:#x}");
        }
    }
    rig.change(&[signal(1, EV_ADD), signal(64, EV_ADD)]).unwrap();
}

#[test]
fn a_signal_that_cannot_be_watched_makes_no_knote() {
    let rig = Rig::new();
    fake::fail(Verb::WatchSignal, 1, Errno::EMFILE);
    assert_eq!(rig.change(&[signal(USR1, EV_ADD)]), Err(Stop::Failed(Errno::EMFILE)));
    assert_eq!(rig.change(&[signal(USR1, 0)]), Err(Stop::Failed(Errno::ENOENT)));
    rig.change(&[signal(USR1, EV_ADD)]).unwrap();
    fake::send(10);
    expect(&rig, USR1, 1);
    rig.change(&[signal(USR1, EV_DELETE)]).unwrap();
    fake::send(10);
    quiet(&rig);
}

#[test]
fn force_tells_what_is_counted_or_nothing() {
    let rig = Rig::new();
    rig.change(&[signal(USR1, EV_ADD), signal(HUP, EV_ADD)]).unwrap();
    fake::send(10);
    rig.change(&[signal(USR1, EV_FORCEONESHOT), signal(HUP, EV_FORCEONESHOT)]).unwrap();
    let mut told: Vec<_> = rig.poll(5).iter().map(|event| (event.ident, event.data)).collect();
    told.sort_unstable();
    assert_eq!(told, [(HUP, 0), (USR1, 1)]);
    assert_eq!((fake::subscribers(10), fake::subscribers(1)), (0, 0));
    quiet(&rig);
}
