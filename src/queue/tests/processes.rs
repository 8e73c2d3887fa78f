//! PROC on the scripted platform: what is noted when, and in which order told.

#![forbid(unsafe_code)]

use super::*;
use crate::event::{
    EVFILT_PROC, NOTE_CHILD, NOTE_EXEC, NOTE_EXIT, NOTE_EXITSTATUS, NOTE_FORK, NOTE_TRACK,
    NOTE_TRACKERR,
};
use crate::sys::Deed;

fn proc(pid: usize, flags: u16, fflags: u32) -> Kevent {
    ev(EVFILT_PROC, pid, flags, fflags, 0)
}

/// Ident, flags but for EV_ADD and EV_CLEAR, fflags and data.
fn told(events: &[Kevent]) -> Vec<(usize, u16, u32, isize)> {
    let flags = |event: &Kevent| event.flags & !(EV_ADD | EV_CLEAR);
    events.iter().map(|event| (event.ident, flags(event), event.fflags, event.data)).collect()
}

const OVER: u16 = EV_EOF | EV_ONESHOT;

/// A queue and process 7.
fn rig() -> Rig {
    let rig = Rig::new();
    fake::begin(7);
    rig
}

#[test]
fn the_end_is_told_once_and_the_knote_goes() {
    let rig = rig();
    rig.change(&[proc(7, EV_ADD, NOTE_EXIT | NOTE_EXITSTATUS)]).unwrap();
    rig.nothing();
    fake::during_sleep(|| fake::end(7, 5));
    assert_eq!(told(&rig.wait(1)), [(7, OVER, NOTE_EXIT | NOTE_EXITSTATUS, 5)]);
    rig.nothing();
    assert_eq!(rig.change(&[proc(7, EV_DELETE, 0)]), Err(Stop::Failed(Errno::ENOENT)));
}

#[test]
fn one_that_has_ended_is_told_of_at_once_or_refused() {
    let rig = rig();
    fake::end(7, 5);
    assert_eq!(rig.change(&[proc(7, EV_ADD, 0)]), Err(Stop::Failed(Errno::ESRCH)));
    rig.change(&[proc(7, EV_ADD, NOTE_EXIT)]).unwrap();
    assert_eq!(told(&[rig.only()]), [(7, OVER, NOTE_EXIT, 5)]);
    fake::reap(7);
    for ident in [7, 0, usize::MAX] {
        let change = proc(ident, EV_ADD, NOTE_EXIT);
        assert_eq!(rig.change(&[change]), Err(Stop::Failed(Errno::ESRCH)));
    }
    rig.nothing();
}

#[test]
fn what_was_done_comes_with_the_end_though_there_is_room_for_one() {
    let rig = rig();
    let all = NOTE_EXIT | NOTE_FORK | NOTE_EXEC;
    rig.change(&[proc(7, EV_ADD, all)]).unwrap();
    fake::does(7, Deed::Forked(8));
    assert_eq!(told(&rig.wait(1)), [(7, 0, NOTE_FORK, 0)]);
    fake::does(7, Deed::Forked(9));
    fake::does(7, Deed::Execed);
    fake::end(7, 5);
    assert_eq!(told(&rig.wait(1)), [(7, OVER, all, 5)]);
    rig.nothing();
}

/// Its last deed and its end come when its event is about to be returned.
#[test]
fn what_happens_at_the_last_moment_is_told_whole() {
    let rig = rig();
    rig.change(&[proc(7, EV_ADD, NOTE_EXIT | NOTE_FORK | NOTE_EXEC)]).unwrap();
    fake::does(7, Deed::Forked(8));
    fake::before_hand_over(|| {
        fake::does(7, Deed::Execed);
        fake::end(7, 5);
    });
    assert_eq!(told(&rig.wait(1)), [(7, OVER, NOTE_EXIT | NOTE_FORK | NOTE_EXEC, 5)]);
    rig.nothing();
}

#[test]
fn an_end_that_nobody_wants_takes_the_knote_silently() {
    let rig = rig();
    rig.change(&[proc(7, EV_ADD, 0)]).unwrap();
    fake::end(7, 5);
    rig.nothing();
    assert_eq!(rig.change(&[proc(7, EV_DELETE, 0)]), Err(Stop::Failed(Errno::ENOENT)));
    fake::begin(7);
    rig.change(&[proc(7, EV_ADD, NOTE_FORK)]).unwrap();
    fake::does(7, Deed::Forked(8));
    fake::end(7, 5);
    assert_eq!(told(&rig.wait(1)), [(7, OVER, NOTE_FORK, 0)]);
    rig.nothing();
}

#[test]
fn a_disabled_knote_takes_note_of_all() {
    let rig = rig();
    rig.change(&[proc(7, EV_ADD | EV_DISABLE, NOTE_EXIT | NOTE_FORK)]).unwrap();
    fake::does(7, Deed::Forked(8));
    rig.nothing();
    fake::end(7, 5);
    rig.nothing();
    assert!(!fake::is_readable(rig.number));
    rig.change(&[proc(7, EV_ENABLE, 0)]).unwrap();
    assert_eq!(told(&[rig.only()]), [(7, OVER, NOTE_EXIT | NOTE_FORK, 5)]);
}

#[test]
fn one_that_gives_no_sign_is_looked_at_by_the_clock() {
    let rig = rig();
    fake::hide_processes();
    fake::begin(8);
    rig.change(&[proc(7, EV_ADD, NOTE_EXIT), proc(8, EV_ADD, 0)]).unwrap();
    rig.nothing();
    let start = Fake::now().0;
    fake::during_sleep(|| fake::end(7, 5));
    assert_eq!(told(&rig.wait(1)), [(7, OVER, NOTE_EXIT, 5)]);
    assert!(Fake::now().0 <= start + 100 * MS);
    fake::end(8, 5);
    fake::pass(Span::millis(200));
    rig.nothing();
    assert_eq!(rig.change(&[proc(8, EV_DELETE, 0)]), Err(Stop::Failed(Errno::ENOENT)));
    // One that is followed notes its deeds first.
    fake::begin(9);
    rig.change(&[proc(9, EV_ADD, NOTE_EXIT | NOTE_FORK)]).unwrap();
    fake::during_sleep(|| {
        fake::does(9, Deed::Forked(10));
        fake::end(9, 5);
    });
    assert_eq!(told(&rig.wait(1)), [(9, OVER, NOTE_EXIT | NOTE_FORK, 5)]);
}

// Children that are followed.

#[test]
fn a_child_says_whose_it_is_then_what_it_does_then_its_end() {
    let rig = rig();
    let wanted = NOTE_EXIT | NOTE_FORK | NOTE_TRACK;
    rig.change(&[Kevent {
        udata: core::ptr::without_provenance_mut(3),
        ..proc(7, EV_ADD, wanted)
    }])
    .unwrap();
    fake::begin(8);
    fake::does(7, Deed::Forked(8));
    let first = rig.poll(8);
    assert_eq!(told(&first), [(8, EV_ONESHOT, NOTE_CHILD, 7), (7, 0, NOTE_FORK, 0)]);
    assert!(first.iter().all(|event| event.udata.addr() == 3));
    rig.nothing();
    // A grandchild, of whom nobody hears before it is gone.
    fake::does(8, Deed::Forked(9));
    fake::does(9, Deed::ThreadEnded(6));
    fake::end(8, 5);
    let mut later = told(&rig.poll(8));
    later.sort();
    assert_eq!(
        later,
        [(8, OVER, NOTE_FORK | NOTE_EXIT, 5), (9, EV_ONESHOT, NOTE_CHILD, 8)],
        "at most one a call"
    );
    assert_eq!(told(&rig.poll(8)), [(9, OVER, NOTE_EXIT, 6)]);
    rig.nothing();
}

#[test]
fn the_last_thread_of_a_child_that_is_gone_has_its_status() {
    let rig = rig();
    rig.change(&[proc(7, EV_ADD, NOTE_EXIT | NOTE_TRACK)]).unwrap();
    fake::does(7, Deed::Forked(9));
    fake::does(9, Deed::ThreadBorn);
    fake::does(9, Deed::ThreadEnded(0));
    assert_eq!(told(&rig.poll(8)), [(9, EV_ONESHOT, NOTE_CHILD, 7)]);
    rig.nothing();
    fake::does(9, Deed::ThreadEnded(6));
    assert_eq!(told(&rig.poll(8)), [(9, OVER, NOTE_EXIT, 6)]);
    rig.nothing();
}

#[test]
fn note_child_ends_and_disables_nothing() {
    for mode in [EV_ONESHOT, EV_DISPATCH] {
        let rig = rig();
        rig.change(&[proc(7, EV_ADD | mode, NOTE_EXIT | NOTE_TRACK)]).unwrap();
        fake::begin(8);
        fake::does(7, Deed::Forked(8));
        fake::end(8, 5);
        assert_eq!(told(&rig.wait(1)), [(8, EV_ONESHOT | mode, NOTE_CHILD, 7)]);
        assert_eq!(told(&rig.wait(1)), [(8, OVER | mode, NOTE_EXIT, 5)]);
        rig.nothing();
    }
}

#[test]
fn a_child_that_cannot_be_followed_is_told_to_the_parent() {
    for (verb, nth) in [(Verb::Follow, 1), (Verb::WatchProcess, 1)] {
        let rig = rig();
        rig.change(&[proc(7, EV_ADD, NOTE_EXIT | NOTE_TRACK)]).unwrap();
        fake::begin(8);
        fake::does(7, Deed::Forked(8));
        fake::fail(verb, nth, Errno::ENOMEM);
        assert_eq!(told(&[rig.only()]), [(7, 0, NOTE_TRACKERR, 0)]);
        assert_eq!(rig.change(&[proc(8, EV_DELETE, 0)]), Err(Stop::Failed(Errno::ENOENT)));
        fake::begin(9);
        fake::does(7, Deed::Forked(9));
        assert_eq!(told(&[rig.only()]), [(9, EV_ONESHOT, NOTE_CHILD, 7)]);
    }
}

#[test]
fn what_got_lost_is_told_and_ends_those_that_were_gone() {
    let rig = rig();
    rig.change(&[proc(7, EV_ADD, NOTE_EXIT | NOTE_TRACK)]).unwrap();
    fake::does(7, Deed::Forked(9));
    fake::does(7, Deed::Lost);
    let mut first = told(&rig.poll(8));
    first.sort();
    assert_eq!(first, [(7, 0, NOTE_TRACKERR, 0), (9, EV_ONESHOT, NOTE_CHILD, 7)]);
    fake::does(9, Deed::Lost);
    assert_eq!(told(&[rig.only()]), [(9, OVER, NOTE_TRACKERR | NOTE_EXIT, 0)]);
}

/// Whoever may not see the status hears it from the last thread.
#[test]
fn a_hidden_status_is_that_of_the_last_thread() {
    let rig = rig();
    rig.change(&[proc(7, EV_ADD, NOTE_EXIT | NOTE_FORK)]).unwrap();
    fake::end(7, 5);
    fake::reap(7);
    assert_eq!(told(&[rig.only()]), [(7, OVER, NOTE_EXIT, 5)]);
    fake::begin(7);
    rig.change(&[proc(7, EV_ADD, NOTE_EXIT)]).unwrap();
    fake::end(7, 5);
    fake::reap(7);
    assert_eq!(told(&[rig.only()]), [(7, OVER, NOTE_EXIT, 0)]);
}

#[test]
fn a_knote_of_the_programs_own_stays() {
    let rig = rig();
    rig.change(&[proc(7, EV_ADD, NOTE_FORK | NOTE_TRACK)]).unwrap();
    fake::begin(8);
    fake::does(7, Deed::Forked(8));
    rig.change(&[proc(8, EV_ADD, NOTE_EXIT)]).unwrap();
    assert_eq!(told(&[rig.only()]), [(7, 0, NOTE_FORK, 0)]);
    fake::end(8, 5);
    assert_eq!(told(&[rig.only()]), [(8, OVER, NOTE_EXIT, 5)]);
}

/// The number of a child that has ended is given out again before its events
/// are collected.
#[test]
fn a_child_whose_number_is_still_anothers_is_told_to_the_parent() {
    let rig = rig();
    let wanted = NOTE_EXIT | NOTE_TRACK;
    rig.change(&[proc(7, EV_ADD, wanted)]).unwrap();
    fake::begin(8);
    fake::does(7, Deed::Forked(8));
    assert_eq!(told(&[rig.only()]), [(8, EV_ONESHOT, NOTE_CHILD, 7)]);
    rig.change(&[proc(8, EV_DISABLE, wanted)]).unwrap();
    fake::end(8, 5);
    rig.nothing();
    fake::reap(8);
    fake::begin(8);
    fake::does(7, Deed::Forked(8));
    assert_eq!(told(&[rig.only()]), [(7, 0, NOTE_TRACKERR, 0)]);
    rig.change(&[proc(8, EV_ENABLE, wanted)]).unwrap();
    assert_eq!(told(&[rig.only()]), [(8, OVER, NOTE_EXIT, 5)]);
}

// Failures of the platform.

#[test]
fn a_change_that_is_refused_leaves_the_knote_as_it_was() {
    for verb in [Verb::Follow, Verb::WatchProcess, Verb::ProcessExit] {
        let rig = rig();
        fake::fail(verb, 1, Errno::EPERM);
        let refused = rig.change(&[proc(7, EV_ADD, NOTE_EXIT | NOTE_FORK)]);
        assert_eq!(refused, Err(Stop::Failed(Errno::EPERM)));
        assert_eq!(rig.change(&[proc(7, EV_ENABLE, 0)]), Err(Stop::Failed(Errno::ENOENT)));
        fake::does(7, Deed::Forked(8));
        rig.nothing();
        rig.change(&[proc(7, EV_ADD, NOTE_EXIT)]).unwrap();
        fake::fail(Verb::Follow, 1, Errno::EPERM);
        let refused = rig.change(&[proc(7, EV_ADD | EV_DISABLE, NOTE_FORK)]);
        assert_eq!(refused, Err(Stop::Failed(Errno::EPERM)));
        fake::end(7, 5);
        assert_eq!(told(&[rig.only()]), [(7, OVER, NOTE_EXIT, 5)]);
    }
}

#[test]
fn an_end_that_could_not_be_asked_for_is_told_later() {
    let rig = rig();
    rig.change(&[proc(7, EV_ADD, NOTE_EXIT)]).unwrap();
    fake::end(7, 5);
    fake::fail(Verb::ProcessExit, 1, Errno::ENOMEM);
    assert_eq!(told(&rig.wait(1)), [(7, OVER, NOTE_EXIT, 5)]);
    rig.nothing();
}
