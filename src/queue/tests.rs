//! The core on the scripted platform: what kevent() promises, whatever the
//! kernel below.
//!
//! [`Rig::call`] checks after every call that the bell agrees with the ready
//! list: rung or held while something stands there, silent otherwise.

#![forbid(unsafe_code)]

mod against_model;
mod except;
mod fs;
mod ghosts;
mod leaving;
mod processes;
mod signals;
mod vnode;

use super::{Caller, Home, Queue, Stop, kevent};
use crate::clock::{Moment, Patience, Span};
use crate::errno::{Errno, Result};
use crate::event::{
    EV_ADD, EV_CLEAR, EV_DELETE, EV_DISABLE, EV_DISPATCH, EV_ENABLE, EV_EOF, EV_ERROR,
    EV_FORCEONESHOT, EV_ONESHOT, EV_RECEIPT, EVFILT_READ, EVFILT_TIMER, EVFILT_USER, EVFILT_WRITE,
    Kevent, NOTE_ABSTIME, NOTE_FFCOPY, NOTE_LOWAT, NOTE_NSECONDS, NOTE_TRIGGER,
};
use crate::sys::fake::{self, Fake, Object, Verb};
use crate::sys::{Class, Descriptor, Platform, Side};
use std::collections::VecDeque;
use std::rc::Rc;

/// What a caller hands over.
struct Call {
    changes: VecDeque<Kevent>,
    room: usize,
    entries: Vec<Kevent>,
    changed: bool,
    patience: Result<Patience>,
}

impl Caller for Call {
    fn next_change(&mut self) -> Option<Kevent> {
        let change = self.changes.pop_front();
        self.changed |= change.is_some();
        change
    }

    fn room(&self) -> usize {
        self.room - self.entries.len()
    }

    fn push(&mut self, entry: Kevent) {
        assert!(self.room() > 0, "an entry without room");
        self.entries.push(entry);
    }

    fn collects(&self) -> bool {
        self.room > 0
    }

    fn has_changed(&self) -> bool {
        self.changed
    }

    fn patience(&mut self) -> Result<Patience> {
        self.patience
    }

    fn command(&mut self, _change: &Kevent) -> Result<Option<Kevent>> {
        Err(Errno::EINVAL)
    }
}

/// A queue on the fake, used as by a program.
struct Rig {
    home: Home<Fake>,
    tenant: u32,
    number: Descriptor,
}

impl Rig {
    /// The only queue of a new machine.
    fn new() -> Rig {
        fake::reset();
        Rig::another()
    }

    /// One more queue of the same machine.
    fn another() -> Rig {
        let (port, number) = Fake::open(None).unwrap();
        let home = Home::new();
        let tenant = home.settle_in(Queue::new(port, 0));
        Rig { home, tenant, number }
    }

    fn try_call(
        &self,
        changes: &[Kevent],
        room: usize,
        patience: Result<Patience>,
    ) -> core::result::Result<Vec<Kevent>, Stop> {
        let changes = changes.iter().copied().collect();
        let mut call = Call { changes, room, entries: Vec::new(), changed: false, patience };
        let mut result =
            kevent::call(&self.home, self.tenant, self.number, &mut call, |_, _, _, _| ());
        while result == Err(Stop::Haunted) {
            // As the interface does it.
            self.home.visit(Queue::bear);
            let renewed = self.home.visit(|queue| queue.renew(&[self.number], 0)).unwrap();
            if renewed.is_err() && patience == Ok(Patience::Poll) {
                return Ok(Vec::new());
            }
            result = kevent::call(&self.home, self.tenant, self.number, &mut call, |_, _, _, _| ());
        }
        result.map(|count| {
            call.entries.truncate(count);
            call.entries
        })
    }

    #[track_caller]
    fn call(
        &self,
        changes: &[Kevent],
        room: usize,
        patience: Patience,
    ) -> core::result::Result<Vec<Kevent>, Stop> {
        let result = self.try_call(changes, room, Ok(patience));
        self.assert_bell();
        result
    }

    #[track_caller]
    fn assert_bell(&self) {
        let something = self.home.visit(|queue| !queue.ready.is_empty()).unwrap();
        assert_eq!(fake::is_ringing(self.number), something, "the bell and the ready list");
    }

    /// Applies changes without room: a failure is the call's.
    #[track_caller]
    fn change(&self, changes: &[Kevent]) -> core::result::Result<(), Stop> {
        self.call(changes, 0, Patience::Poll).map(|entries| assert_eq!(entries.len(), 0))
    }

    #[track_caller]
    fn poll(&self, room: usize) -> Vec<Kevent> {
        self.call(&[], room, Patience::Poll).unwrap()
    }

    #[track_caller]
    fn wait(&self, room: usize) -> Vec<Kevent> {
        self.call(&[], room, Patience::Forever).unwrap()
    }

    /// The one event that pends, and what it says; nothing else pends.
    #[track_caller]
    fn only(&self) -> Kevent {
        let events = self.poll(10);
        assert_eq!(events.len(), 1, "{:?}", brief(&events));
        events[0]
    }

    #[track_caller]
    fn nothing(&self) {
        let events = self.poll(10);
        assert_eq!(events.len(), 0, "{:?}", brief(&events));
    }
}

fn ev(filter: i16, ident: usize, flags: u16, fflags: u32, data: isize) -> Kevent {
    Kevent { ident, filter, flags, fflags, data, udata: core::ptr::null_mut() }
}

fn read(fd: Descriptor, flags: u16) -> Kevent {
    ev(EVFILT_READ, fd as usize, flags, 0, 0)
}

fn write(fd: Descriptor, flags: u16) -> Kevent {
    ev(EVFILT_WRITE, fd as usize, flags, 0, 0)
}

fn user(ident: usize, flags: u16, fflags: u32) -> Kevent {
    ev(EVFILT_USER, ident, flags, fflags, 0)
}

fn timer(ident: usize, flags: u16, ms: isize) -> Kevent {
    ev(EVFILT_TIMER, ident, flags, 0, ms)
}

/// Events by filter, ident and data.
fn brief(events: &[Kevent]) -> Vec<(i16, usize, isize)> {
    events.iter().map(|event| (event.filter, event.ident, event.data)).collect()
}

fn idents(events: &[Kevent]) -> Vec<usize> {
    events.iter().map(|event| event.ident).collect()
}

const MS: u64 = 1_000_000;

// Receipts, room, the order of work.

#[test]
fn entries_answer_changes_in_order_and_keep_events_out() {
    let rig = Rig::new();
    fake::open(3, Object::pipe());
    fake::put(3, 7);
    let changes = [
        read(3, EV_ADD | EV_RECEIPT),
        read(9, EV_ADD),
        user(1, EV_ADD, 0),
        user(2, EV_DELETE, 0),
        user(1, EV_ENABLE | EV_DISABLE, 0),
    ];
    let entries = rig.call(&changes, 10, Patience::Forever).unwrap();
    let told: Vec<_> = entries.iter().map(|entry| (entry.ident, entry.data as i32)).collect();
    let expected = [(3, 0), (9, libc::EBADF), (2, libc::ENOENT), (1, libc::EINVAL)];
    assert_eq!(told, expected);
    let flags: Vec<_> = entries.iter().map(|entry| entry.flags).collect();
    let given = [EV_ADD | EV_RECEIPT, EV_ADD, EV_DELETE, EV_ENABLE | EV_DISABLE];
    assert_eq!(flags, given.map(|flags| flags | EV_ERROR));
    assert_eq!(rig.only().data, 7);
}

#[test]
fn without_room_a_failure_ends_the_call_and_so_does_a_receipt() {
    let rig = Rig::new();
    let failing = [user(1, EV_ADD, 0), user(9, EV_DELETE, 0), user(2, EV_ADD, 0)];
    assert_eq!(rig.call(&failing, 0, Patience::Poll), Err(Stop::Failed(Errno::ENOENT)));
    assert_eq!(rig.change(&[user(1, 0, 0)]), Ok(()), "applied before the failure");
    let absent = Err(Stop::Failed(Errno::ENOENT));
    assert_eq!(rig.change(&[user(2, 0, 0)]), absent, "not applied after it");

    let receipts = [user(3, EV_ADD | EV_RECEIPT, 0), user(4, EV_ADD | EV_RECEIPT, 0)];
    let last = user(5, EV_ADD, 0);
    let all = [receipts[0], receipts[1], last];
    assert_eq!(rig.call(&all, 1, Patience::Poll).map(|entries| entries.len()), Ok(0));
    assert_eq!(rig.change(&[user(4, 0, 0)]), Ok(()), "the receipt's own change is applied");
    assert_eq!(rig.change(&[user(5, 0, 0)]), absent);
    assert_eq!(rig.call(&receipts, 2, Patience::Poll).map(|entries| entries.len()), Ok(2));
}

#[test]
fn a_change_without_a_filter_is_passed_over() {
    let rig = Rig::new();
    assert_eq!(rig.change(&[ev(0, 1, EV_ADD | EV_RECEIPT, 0, 0), user(1, EV_ADD, 0)]), Ok(()));
    assert_eq!(rig.change(&[user(1, EV_DELETE, 0)]), Ok(()));
}

/// The changes of a call with a bad timeout are applied. What they activate
/// stood on the list with the bell at rest: the next wait slept over it.
#[test]
fn an_event_of_a_call_that_fails_before_it_waits_is_not_lost() {
    let rig = Rig::new();
    rig.change(&[user(1, EV_ADD, 0)]).unwrap();
    let trigger = [user(1, 0, NOTE_TRIGGER)];
    let failed = rig.try_call(&trigger, 1, Err(Errno::EINVAL));
    assert_eq!(failed, Err(Stop::Failed(Errno::EINVAL)));
    rig.assert_bell();
    assert_eq!(idents(&rig.wait(1)), [1]);

    fake::fail(Verb::Wait, 1, Errno::ENOMEM);
    let failed = rig.try_call(&trigger, 1, Ok(Patience::Forever));
    assert_eq!(failed, Err(Stop::Failed(Errno::ENOMEM)));
    rig.assert_bell();
    assert_eq!(idents(&rig.wait(1)), [1]);
}

// Signals, and what no wait tells of.

#[test]
fn an_interrupted_wait_returns_what_is_there_and_else_eintr() {
    let rig = Rig::new();
    fake::open(3, Object::pipe());
    rig.change(&[read(3, EV_ADD)]).unwrap();
    fake::fail(Verb::Wait, 1, Errno::EINTR);
    let failed = rig.try_call(&[], 1, Ok(Patience::Forever));
    assert_eq!(failed, Err(Stop::Failed(Errno::EINTR)));
    fake::put(3, 1);
    fake::fail(Verb::Wait, 1, Errno::EINTR);
    assert_eq!(idents(&rig.wait(1)), [3]);
}

#[test]
fn a_wait_that_is_interrupted_in_vain_goes_on_for_the_rest_of_its_time() {
    let rig = Rig::new();
    let end = Moment(Fake::now().0 + 1000);
    fake::interrupts_in_vain(1);
    fake::fail(Verb::Wait, 1, Errno::EINTR);
    assert_eq!(rig.call(&[], 1, Patience::Until(end)), Ok(vec![]));
    assert_eq!(Fake::now(), end);
    // The first, the look, and the rest.
    assert_eq!(fake::calls(Verb::Wait), 3);
}

/// A queue whose platform must attend to it, with a descriptor of which only
/// attending tells.
fn careful() -> Rig {
    let rig = Rig::new();
    fake::open(3, Object::pipe());
    rig.home.visit(|queue| queue.careful = 1).unwrap();
    rig.change(&[read(3, EV_ADD | EV_CLEAR)]).unwrap();
    // It has an edge to begin with.
    fake::put(3, 1);
    assert_eq!(rig.only().ident, 3);
    fake::wants_attention(3);
    rig
}

#[test]
fn a_careful_queue_is_attended_to_before_a_thread_sleeps() {
    let rig = careful();
    assert_eq!(idents(&rig.wait(1)), [3]);
    let rig = careful();
    assert_eq!(idents(&rig.poll(1)), [3]);
    rig.nothing();
    let end = Moment(Fake::now().0 + 1000);
    assert_eq!(rig.call(&[], 1, Patience::Until(end)), Ok(vec![]));
    assert_eq!(Fake::now(), end);
}

#[test]
fn a_thread_that_nothing_may_wake_looks_again_by_the_clock() {
    let rig = careful();
    assert_eq!(idents(&rig.poll(1)), [3]);
    fake::is_deaf(true);
    rig.nothing();
    let attended = fake::calls(Verb::Attend);
    fake::during_sleep(|| fake::wants_attention(3));
    assert_eq!(idents(&rig.wait(1)), [3]);
    assert_eq!(fake::calls(Verb::Attend), attended + 2);
    // It sleeps no longer than it was told to.
    for nanos in [1000, 250_000_000] {
        let end = Moment(Fake::now().0 + nanos);
        assert_eq!(rig.call(&[], 1, Patience::Until(end)), Ok(vec![]));
        assert_eq!(Fake::now(), end);
    }
    fake::is_deaf(false);
}

#[test]
fn attending_costs_nothing_while_there_are_events() {
    let rig = careful();
    let before = fake::calls(Verb::Attend);
    rig.change(&[user(1, EV_ADD, 0), user(1, 0, NOTE_TRIGGER)]).unwrap();
    assert_eq!(idents(&rig.wait(5)), [1]);
    assert_eq!(fake::calls(Verb::Attend), before);
}

// The behaviour flags.

#[test]
fn clear_is_told_once_a_change() {
    let rig = Rig::new();
    fake::open(3, Object::pipe());
    fake::put(3, 2);
    rig.change(&[read(3, EV_ADD | EV_CLEAR)]).unwrap();
    assert_eq!(rig.only().data, 2);
    rig.nothing();
    fake::put(3, 3);
    fake::put(3, 1);
    assert_eq!(rig.only().data, 6);
    fake::take(3, 1);
    rig.nothing();
    rig.change(&[read(3, EV_ENABLE)]).unwrap();
    assert_eq!(rig.only().data, 5);
    fake::put(3, 1);
    fake::take(3, 6);
    rig.nothing();
}

#[test]
fn oneshot_goes_with_its_event_and_dispatch_sleeps_until_enabled() {
    let rig = Rig::new();
    fake::open(3, Object::pipe());
    fake::put(3, 2);
    rig.change(&[read(3, EV_ADD | EV_ONESHOT)]).unwrap();
    assert_eq!(rig.only().flags, EV_ADD | EV_ONESHOT);
    assert_eq!(rig.change(&[read(3, EV_DELETE)]), Err(Stop::Failed(Errno::ENOENT)));

    rig.change(&[read(3, EV_ADD | EV_DISPATCH)]).unwrap();
    rig.only();
    fake::put(3, 1);
    rig.nothing();
    rig.change(&[read(3, EV_ADD)]).unwrap();
    rig.nothing();
    rig.change(&[read(3, EV_ENABLE)]).unwrap();
    assert_eq!(rig.only().data, 3);
    rig.nothing();
}

/// The platform disarmed it as it gave the hint.
#[test]
fn a_hint_that_led_to_nothing_does_not_use_up_oneshot_and_dispatch() {
    let rig = Rig::new();
    for flags in [EV_ONESHOT, EV_DISPATCH] {
        fake::open(3, Object::pipe());
        fake::put(3, 2);
        rig.change(&[read(3, EV_ADD | flags)]).unwrap();
        fake::before_hand_over(|| fake::take(3, 2));
        rig.nothing();
        fake::put(3, 1);
        assert_eq!(rig.only().data, 1);
        rig.nothing();
    }
}

#[test]
fn disabled_knotes_are_silent_and_forget_nothing() {
    let rig = Rig::new();
    fake::open(3, Object::pipe());
    rig.change(&[read(3, EV_ADD | EV_DISABLE | EV_CLEAR), user(1, EV_ADD | EV_CLEAR, 0)]).unwrap();
    rig.change(&[user(1, EV_DISABLE, 0)]).unwrap();
    fake::put(3, 4);
    rig.change(&[user(1, 0, NOTE_TRIGGER)]).unwrap();
    rig.nothing();
    assert!(!fake::is_readable(rig.number));
    rig.change(&[read(3, EV_ENABLE), user(1, EV_ENABLE, 0)]).unwrap();
    let mut events = brief(&rig.poll(10));
    events.sort();
    assert_eq!(events, [(EVFILT_USER, 1, 0), (EVFILT_READ, 3, 4)]);
    rig.nothing();
    rig.change(&[user(1, 0, NOTE_TRIGGER)]).unwrap();
    rig.change(&[user(1, EV_DISABLE, 0)]).unwrap();
    assert!(!fake::is_readable(rig.number));
    rig.nothing();
    rig.change(&[user(1, EV_ENABLE, 0)]).unwrap();
    assert_eq!(rig.only().ident, 1);
}

#[test]
fn forced_events_come_once_with_what_is_stored() {
    let rig = Rig::new();
    fake::open(3, Object::pipe());
    let stored = Kevent { data: 5, ..user(1, EV_ADD, NOTE_FFCOPY | 6) };
    rig.change(&[read(3, EV_ADD), stored, timer(1, EV_ADD, 1000)]).unwrap();
    let force = |change: Kevent| Kevent { flags: change.flags | EV_FORCEONESHOT, ..change };
    rig.change(&[force(read(3, EV_DISABLE)), force(Kevent { flags: 0, fflags: 0, ..stored })])
        .unwrap();
    // A timer that is forced and begun anew, in one change.
    rig.change(&[force(timer(1, EV_ADD, 1000))]).unwrap();
    let events = rig.poll(10);
    assert_eq!(brief(&events), [(EVFILT_USER, 1, 5), (EVFILT_TIMER, 1, 0)]);
    assert_eq!(events[0].fflags, 6);
    assert!(events.iter().all(|event| event.flags & EV_ONESHOT != 0));
    rig.change(&[read(3, EV_ENABLE)]).unwrap();
    assert_eq!(brief(&[rig.only()]), [(EVFILT_READ, 3, 0)]);
    for gone in [read(3, EV_DELETE), user(1, EV_DELETE, 0), timer(1, EV_DELETE, 0)] {
        assert_eq!(rig.change(&[gone]), Err(Stop::Failed(Errno::ENOENT)));
    }
}

// What the kernel calls ready and the filter does not.

#[test]
fn a_silent_descriptor_is_hinted_at_once_and_not_again() {
    let rig = Rig::new();
    fake::open(3, Object { silent: true, ..Object::socket() });
    rig.change(&[read(3, EV_ADD)]).unwrap();
    rig.nothing();
    assert!(!fake::is_readable(rig.number), "it would be found for ever");
    let waits = fake::calls(Verb::Wait);
    let end = Patience::Until(Moment(Fake::now().0 + 5 * MS));
    assert_eq!(rig.call(&[], 1, end).map(|events| events.len()), Ok(0));
    assert_eq!(fake::calls(Verb::Wait) - waits, 1, "it slept through");
    fake::happens(3, Side::Read, |object| {
        object.silent = false;
        object.amount = 9;
    });
    for _ in 0..3 {
        assert_eq!(rig.only().data, 9);
    }
}

#[test]
fn a_low_water_mark_is_silent_below_and_level_at_it() {
    let rig = Rig::new();
    fake::open(3, Object::socket());
    let mark = |flags, mark| ev(EVFILT_READ, 3, flags, NOTE_LOWAT, mark);
    rig.change(&[mark(EV_ADD, 10)]).unwrap();
    fake::put(3, 9);
    rig.nothing();
    assert!(!fake::is_readable(rig.number));
    fake::put(3, 1);
    for _ in 0..3 {
        assert_eq!(rig.only().data, 10);
    }
    fake::take(3, 1);
    rig.nothing();
    assert!(!fake::is_readable(rig.number));
    rig.change(&[mark(0, 9)]).unwrap();
    assert_eq!(rig.only().data, 9);
    fake::hang_up(3);
    rig.change(&[mark(0, 1000)]).unwrap();
    assert_eq!(rig.only().flags, EV_ADD | EV_EOF);
}

/// The list and the poller both knew of it: two calls, two events.
#[test]
fn a_mark_of_nothing_is_told_as_often_as_any() {
    let rig = Rig::new();
    fake::open(3, Object::socket());
    fake::put(3, 5);
    rig.change(&[ev(EVFILT_READ, 3, EV_ADD | EV_CLEAR, NOTE_LOWAT, 0)]).unwrap();
    assert_eq!(rig.only().data, 5);
    rig.nothing();
    rig.change(&[read(3, EV_DELETE)]).unwrap();
    rig.change(&[ev(EVFILT_READ, 3, EV_ADD, NOTE_LOWAT, 0)]).unwrap();
    fake::take(3, 5);
    for _ in 0..3 {
        assert_eq!(rig.only().data, 0);
    }
    rig.change(&[ev(EVFILT_READ, 3, EV_DISABLE | EV_ENABLE, NOTE_LOWAT, 0)]).unwrap_err();
    rig.change(&[ev(EVFILT_READ, 3, 0, NOTE_LOWAT, 1)]).unwrap();
    rig.nothing();
}

// What does not fit.

#[test]
fn what_finds_no_room_is_kept_and_announced() {
    let rig = Rig::new();
    rig.change(&[user(1, EV_ADD | EV_CLEAR, 0), user(2, EV_ADD | EV_CLEAR, 0)]).unwrap();
    rig.change(&[user(1, 0, NOTE_TRIGGER), user(2, 0, NOTE_TRIGGER)]).unwrap();
    assert_eq!(idents(&rig.wait(1)), [1]);
    assert!(fake::is_readable(rig.number));
    assert_eq!(idents(&rig.wait(1)), [2]);
    assert!(!fake::is_readable(rig.number));
    rig.nothing();
}

/// More than one batch that the poller repeats, and room for still more: the
/// call went round and round.
#[test]
fn more_level_events_than_a_batch_and_room_for_more_end_the_call() {
    let rig = Rig::new();
    let many = 2 * Fake::BATCH as Descriptor + 1;
    for fd in 0..many {
        fake::open(fd, Object::pipe());
        fake::put(fd, 1);
        rig.change(&[read(fd, EV_ADD)]).unwrap();
    }
    for _ in 0..3 {
        let mut got = idents(&rig.poll(100));
        got.sort();
        assert_eq!(got, (0..many as usize).collect::<Vec<_>>());
    }
}

#[test]
fn a_trigger_wakes_the_thread_that_waits() {
    let rig = Rc::new(Rig::new());
    rig.change(&[user(1, EV_ADD | EV_CLEAR, 0)]).unwrap();
    let other = Rc::clone(&rig);
    fake::during_sleep(move || other.change(&[user(1, 0, NOTE_TRIGGER)]).unwrap());
    assert_eq!(idents(&rig.wait(1)), [1]);
    rig.nothing();

    // One that another thread takes back lets it sleep on.
    let other = Rc::clone(&rig);
    fake::during_sleep(move || other.change(&[user(1, 0, NOTE_TRIGGER)]).unwrap());
    let other = Rc::clone(&rig);
    fake::before_hand_over(move || other.change(&[user(1, EV_CLEAR, 0)]).unwrap());
    let end = Moment(Fake::now().0 + 3 * MS);
    assert_eq!(rig.call(&[], 1, Patience::Until(end)).map(|events| events.len()), Ok(0));
    assert_eq!(Fake::now(), end, "for the rest of its time");
}

// Timers.

#[test]
fn a_periodic_timer_does_not_drift_and_counts_what_was_missed() {
    let rig = Rig::new();
    let start = Fake::now().0;
    rig.change(&[timer(1, EV_ADD, 10)]).unwrap();
    for n in 1..=5 {
        assert_eq!(brief(&rig.wait(1)), [(EVFILT_TIMER, 1, 1)]);
        assert_eq!(Fake::now().0, start + n * 10 * MS);
        // Whatever the program does meanwhile.
        fake::pass(Span(n * MS));
    }
    fake::pass(Span::millis(30));
    assert_eq!(rig.only().data, 3);
    rig.nothing();
    assert_eq!(brief(&rig.wait(1)), [(EVFILT_TIMER, 1, 1)]);
    assert_eq!(Fake::now().0, start + 90 * MS);
}

#[test]
fn a_disabled_timer_counts_and_a_dispatched_one_too() {
    let rig = Rig::new();
    rig.change(&[timer(1, EV_ADD | EV_DISABLE, 10), timer(2, EV_ADD | EV_DISPATCH, 10)]).unwrap();
    assert_eq!(brief(&rig.wait(10)), [(EVFILT_TIMER, 2, 1)]);
    fake::pass(Span::millis(25));
    rig.nothing();
    assert!(!fake::is_readable(rig.number));
    rig.change(&[timer(1, EV_ENABLE, 0), timer(2, EV_ENABLE, 0)]).unwrap();
    let mut events = brief(&rig.poll(10));
    events.sort();
    assert_eq!(events, [(EVFILT_TIMER, 1, 3), (EVFILT_TIMER, 2, 2)]);
    // Beginning anew discards what was not told.
    fake::pass(Span::millis(10));
    rig.change(&[timer(1, EV_ADD, 50), timer(2, EV_DELETE, 0)]).unwrap();
    rig.nothing();
    let start = Fake::now().0;
    assert_eq!(brief(&rig.wait(10)), [(EVFILT_TIMER, 1, 1)]);
    assert_eq!(Fake::now().0, start + 50 * MS);
}

#[test]
fn a_moment_is_told_at_every_call_and_dispatch_keeps_it() {
    let rig = Rig::new();
    let at = (Fake::wall().0 + 20 * MS) as isize;
    let moment = |ident, flags| ev(EVFILT_TIMER, ident, flags, NOTE_ABSTIME | NOTE_NSECONDS, at);
    rig.change(&[moment(1, EV_ADD), moment(2, EV_ADD | EV_CLEAR), moment(3, EV_ADD | EV_DISPATCH)])
        .unwrap();
    let start = Fake::now().0;
    rig.wait(1);
    assert_eq!(Fake::now().0, start + 20 * MS);
    let mut rest = Vec::new();
    for _ in 0..5 {
        rest.extend(brief(&rig.poll(1)));
    }
    assert!(rest.iter().filter(|event| event.1 == 1).count() >= 2);
    assert_eq!(rig.only().ident, 1);
    rig.change(&[moment(1, EV_DELETE)]).unwrap();
    rig.nothing();
    rig.change(&[ev(EVFILT_TIMER, 3, EV_ENABLE, 0, 0)]).unwrap();
    assert_eq!(brief(&[rig.only()]), [(EVFILT_TIMER, 3, 1)]);
}

#[test]
fn a_bad_change_leaves_the_timer_running() {
    let rig = Rig::new();
    rig.change(&[timer(1, EV_ADD, 10)]).unwrap();
    assert_eq!(rig.change(&[timer(1, EV_ADD, -1)]), Err(Stop::Failed(Errno::EINVAL)));
    let start = Fake::now().0;
    assert_eq!(brief(&rig.wait(1)), [(EVFILT_TIMER, 1, 1)]);
    assert_eq!(Fake::now().0, start + 10 * MS);
}

// Fairness.

/// With room for one, everything that is ready gets its turn. The list as a
/// whole takes one turn among the descriptors.
#[test]
fn nothing_starves_with_room_for_one() {
    let rig = Rig::new();
    let polled = 3..8;
    for fd in polled.clone() {
        fake::open(fd, Object::pipe());
        fake::put(fd, 1);
        rig.change(&[read(fd, EV_ADD)]).unwrap();
    }
    fake::open(8, Object::file());
    fake::put(8, 1);
    rig.change(&[read(8, EV_ADD), user(100, EV_ADD, 0), user(101, EV_ADD, 0)]).unwrap();
    rig.change(&[user(100, 0, NOTE_TRIGGER), user(101, 0, NOTE_TRIGGER)]).unwrap();
    rig.change(&[ev(EVFILT_TIMER, 102, EV_ADD, NOTE_ABSTIME, 0)]).unwrap();
    let listed = [8, 100, 101, 102];
    let longest = (polled.len() + 1) * listed.len();
    let mut last: std::collections::BTreeMap<_, _> =
        polled.map(|fd| fd as usize).chain(listed).map(|ident| (ident, 0)).collect();
    for turn in 1..=20 * longest {
        let events = rig.wait(1);
        assert_eq!(events.len(), 1);
        last.insert(events[0].ident, turn);
        assert!(last.values().all(|at| turn - at <= longest), "{last:?} after {turn}");
    }
    assert_eq!(last.len(), 9);
}

// Files.

#[test]
fn a_file_is_level_until_its_end_and_wakes_when_it_grows() {
    let rig = Rig::new();
    fake::open(3, Object::file());
    rig.change(&[read(3, EV_ADD)]).unwrap();
    rig.nothing();
    fake::during_sleep(|| fake::put(3, 5));
    assert_eq!(brief(&rig.wait(1)), [(EVFILT_READ, 3, 5)]);
    for _ in 0..3 {
        assert_eq!(rig.only().data, 5);
    }
    fake::take(3, 8);
    assert_eq!(rig.only().data, -3, "past the end");
    fake::put(3, 3);
    rig.nothing();
    assert!(!fake::is_readable(rig.number));
    fake::during_sleep(|| fake::put(3, 1));
    assert_eq!(brief(&rig.wait(1)), [(EVFILT_READ, 3, 1)]);
    rig.change(&[read(3, EV_DELETE)]).unwrap();
    rig.nothing();
}

/// A file that gives no sign is looked at by the clock.
#[test]
fn a_file_that_cannot_tell_is_asked_again() {
    let rig = Rig::new();
    fake::open(3, Object { wakes: false, ..Object::file() });
    rig.change(&[read(3, EV_ADD)]).unwrap();
    fake::during_sleep(|| fake::put(3, 5));
    assert_eq!(brief(&rig.wait(1)), [(EVFILT_READ, 3, 5)]);
}

// Descriptors that are closed.

#[test]
fn a_closed_descriptor_gives_no_event_whatever_list_it_stood_on() {
    let rig = Rig::new();
    let objects = [Object::pipe(), Object::socket(), Object::file(), Object::new(Class::Always)];
    for object in objects {
        for reused in [false, true] {
            for flags in [0, EV_CLEAR, EV_ONESHOT, EV_DISPATCH] {
                fake::open(3, object.clone());
                fake::put(3, 1);
                let mark = ev(EVFILT_READ, 3, EV_ADD | flags, NOTE_LOWAT, 0);
                rig.change(&[mark, Kevent { flags: EV_FORCEONESHOT, ..write(3, 0) }]).unwrap_err();
                rig.change(&[write(3, EV_ADD | flags)]).unwrap();
                rig.change(&[write(3, EV_FORCEONESHOT)]).unwrap();
                if reused {
                    fake::open(3, Object { amount: 1, ..object.clone() });
                } else {
                    fake::close(3);
                }
                rig.nothing();
                let error = if reused { Errno::ENOENT } else { Errno::EBADF };
                for change in [read(3, EV_DELETE), write(3, EV_ENABLE)] {
                    assert_eq!(rig.change(&[change]), Err(Stop::Failed(error)));
                }
                fake::close(3);
            }
        }
    }
}

#[test]
fn a_reused_number_starts_clean() {
    let rig = Rig::new();
    for change in [EV_ADD, EV_ADD | EV_DELETE] {
        fake::open(3, Object::pipe());
        rig.change(&[read(3, EV_ADD | EV_CLEAR | EV_DISABLE)]).unwrap();
        fake::open(3, Object::pipe());
        fake::put(3, 4);
        rig.change(&[read(3, change)]).unwrap();
        for _ in 0..2 {
            let event = rig.only();
            assert_eq!((event.flags, event.data), (EV_ADD, 4));
        }
        rig.change(&[read(3, EV_DELETE)]).unwrap();
    }
}

/// The old WRITE knote's next change fell on the new READ knote's watch.
#[test]
fn an_old_knote_goes_when_a_new_one_shows_that_the_number_was_reused() {
    let rig = Rig::new();
    fake::open(3, Object::socket());
    rig.change(&[write(3, EV_ADD | EV_DISABLE)]).unwrap();
    fake::open(3, Object::socket());
    rig.change(&[read(3, EV_ADD)]).unwrap();
    assert_eq!(rig.change(&[write(3, EV_DELETE)]), Err(Stop::Failed(Errno::ENOENT)));
    fake::put(3, 1);
    assert_eq!(rig.only().data, 1);
}

#[test]
fn a_late_hint_of_a_deleted_knote_is_dropped() {
    let rig = Rc::new(Rig::new());
    fake::open(3, Object::pipe());
    fake::put(3, 1);
    rig.change(&[read(3, EV_ADD)]).unwrap();
    let other = Rc::clone(&rig);
    fake::before_hand_over(move || {
        // The slot has another tenant when the hint comes.
        other.change(&[read(3, EV_DELETE), user(1, EV_ADD, 0)]).unwrap();
    });
    rig.nothing();
}

#[test]
fn a_closed_queue_says_so() {
    let rig = Rig::new();
    fake::open(3, Object::pipe());
    rig.change(&[read(3, EV_ADD), user(1, EV_ADD, 0)]).unwrap();
    Fake::close(rig.number);
    for change in [&[read(3, EV_ENABLE)], &[user(1, 0, NOTE_TRIGGER)], &[user(9, 0, 0)]] {
        assert_eq!(rig.try_call(change, 0, Ok(Patience::Poll)), Err(Stop::Gone));
    }
    assert_eq!(rig.try_call(&[], 1, Ok(Patience::Forever)), Err(Stop::Gone));
    assert_eq!(rig.try_call(&[], 0, Ok(Patience::Forever)), Err(Stop::Gone));
}

// Failures of the platform.

/// Entries by filter, ident, flags and data; and what poll() says after them.
type Look = (Vec<(i16, usize, u16, isize)>, bool);

/// Everything of a queue that a program can see: what pends now and is left
/// behind, call by call, and then which knotes there are.
fn observe(rig: &Rig) -> Vec<Look> {
    let told = |events: Vec<Kevent>| {
        let mut told: Vec<_> = events
            .iter()
            .map(|event| (event.filter, event.ident, event.flags, event.data))
            .collect();
        told.sort();
        (told, fake::is_readable(rig.number))
    };
    let mut seen = Vec::new();
    for fd in 3..7 {
        if fd != 5 {
            fake::happens(fd, Side::Read, |_| {});
        }
    }
    for _ in 0..3 {
        seen.push(told(rig.call(&[], 40, Patience::Poll).unwrap()));
        fake::pass(Span::millis(20));
    }
    let mut receipts = Vec::new();
    for ident in 0..10 {
        for filter in [EVFILT_READ, EVFILT_WRITE, EVFILT_TIMER, EVFILT_USER] {
            receipts.push(ev(filter, ident, EV_ENABLE | EV_RECEIPT, 0, 0));
        }
    }
    seen.push(told(rig.call(&receipts, 40, Patience::Poll).unwrap()));
    seen.push(told(rig.call(&[], 40, Patience::Poll).unwrap()));
    seen
}

/// A queue with something of each sort; its world.
fn furnished() -> Rig {
    let rig = Rig::new();
    fake::open(3, Object::pipe());
    fake::open(4, Object::socket());
    fake::open(5, Object::file());
    fake::open(6, Object::socket());
    fake::put(4, 5);
    rig.change(&[
        read(3, EV_ADD),
        read(4, EV_ADD | EV_DISABLE),
        write(4, EV_ADD | EV_DISPATCH),
        ev(EVFILT_WRITE, 6, EV_ADD | EV_DISABLE, 0, 0),
        user(1, EV_ADD | EV_CLEAR, 0),
    ])
    .unwrap();
    rig
}

/// Changes each of which needs the platform, one way or the other.
fn needy() -> Vec<Kevent> {
    let mark = |flags| ev(EVFILT_WRITE, 6, flags, NOTE_LOWAT, 100_000);
    vec![
        read(3, EV_DELETE),
        read(3, EV_DISABLE),
        read(3, EV_ADD),
        read(4, EV_ENABLE),
        read(4, EV_FORCEONESHOT | EV_ENABLE),
        write(4, EV_DISABLE),
        write(3, EV_ADD),
        read(5, EV_ADD),
        read(6, EV_ADD | EV_CLEAR),
        mark(EV_ENABLE),
        mark(EV_ADD),
        timer(1, EV_ADD, 10),
        user(1, 0, NOTE_TRIGGER),
        user(2, EV_ADD, 0),
    ]
}

/// Each call to the platform that a change makes fails in turn, for want of
/// memory. If the call failed the queue is as it was, and else as it should
/// be: as a queue is, at any rate, to which nothing of the sort happened.
#[test]
fn a_change_that_the_platform_refuses_changes_nothing() {
    let without = {
        let rig = furnished();
        let seen = observe(&rig);
        assert!(!seen[0].0.is_empty() && seen[3].0.iter().any(|entry| entry.3 == 0));
        seen
    };
    let mut failed = std::collections::BTreeMap::new();
    for change in needy() {
        let with = {
            let rig = furnished();
            rig.change(&[change]).unwrap();
            observe(&rig)
        };
        for verb in [Verb::Watch, Verb::Rearm, Verb::Sample, Verb::PrepareAlarm] {
            for nth in 1..4 {
                let rig = furnished();
                fake::fail(verb, nth, Errno::ENOMEM);
                let result = rig.try_call(&[change], 0, Ok(Patience::Poll));
                if fake::spare() {
                    break;
                }
                rig.assert_bell();
                let seen = observe(&rig);
                match result {
                    Ok(_) => assert_eq!(seen, with, "{verb:?} {nth} of {change:?} passed over"),
                    Err(error) => {
                        assert_eq!(error, Stop::Failed(Errno::ENOMEM));
                        assert_eq!(seen, without, "{verb:?} {nth} of {change:?} failed");
                        *failed.entry(verb).or_insert(0) += 1;
                    }
                }
            }
        }
    }
    let verbs: Vec<_> = failed.into_keys().collect();
    assert_eq!(verbs, [Verb::Watch, Verb::Rearm, Verb::PrepareAlarm]);
}
