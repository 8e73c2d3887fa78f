//! Signals, counted without taking any from the application.
//!
//! | file | holds |
//! |---|---|
//! | `hook` | the handler, and what it does in the kernel's place |
//! | `table` | what the process knows of each signal |
//! | `count` | how often it came, and whom to ring |
//! | `wanted` | a disposition that a hook stands for |
//! | `ledger` | who counts what; laying hooks over dispositions, and taking them back |
//! | `blocked` | signals that the waiting thread blocks |
//! | `mark` | waits that were interrupted in vain |
//! | `ear` | a signal that the library itself listens for |
//! | `application` | the application's own calls, by way of the preload library |
//! | `quiet` | a moment without any handler |
//! | `kernel` | the system calls |
//!
//! This file is one queue's side. A queue subscribes to a signal once for each
//! of its knotes; the hook rings the queue's knocker, and the queue then looks
//! which of its signals' counts have moved. The difference of two counts is
//! what an event tells, so nothing is kept for a knote but where it began.

mod application;
mod blocked;
mod count;
mod ear;
mod hook;
mod kernel;
mod ledger;
mod mark;
mod quiet;
mod table;
mod wanted;

use super::descriptor::Private;
use super::epoll;
use super::knocker::{Knock, Knocker};
use super::syscall;
use crate::clock::{Moment, Span};
use crate::errno::{Errno, Result};
use crate::sys::contract::{Attended, Descriptor, Token};
use count::Node;
use kernel::bit;

pub(super) use application::{action, leave, stay};
pub(super) use ear::Ear;
pub(crate) use kernel::process_id;
pub(super) use kernel::{LAST, set_sigaction};
pub(crate) use quiet::Quiet;

/// Where the queue's private descriptors hang, and what tells them.
#[derive(Copy, Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) queue: Descriptor,
    pub(super) doorbell: &'a Private,
    /// A signal was counted.
    pub(super) rung: u64,
    /// A signal may be pending that the waiting thread blocks.
    pub(super) blocked: u64,
}

#[derive(Copy, Clone, Debug)]
struct Entry {
    signal: i32,
    token: Token,
    /// Gives hints; if not, it is only counted.
    on: bool,
    /// The count when it last gave a hint, or was asked for.
    told: u64,
    node: &'static Node,
}

impl Entry {
    fn count(&self) -> u64 {
        table::slot(self.signal).map_or(0, table::Slot::count)
    }

    fn has_moved(&self) -> bool {
        self.on && self.count() != self.told
    }
}

/// One queue's signals.
#[derive(Debug)]
pub(super) struct Signals {
    entries: Vec<Entry>,
    knocker: Option<Knocker>,
    /// A signalfd, which only wakes: it is never read. Made when a waiting
    /// thread first blocks a signal that is watched; with the signals it is
    /// for.
    blocked: Option<(Private, u64)>,
    awaited: Awaited,
}

/// Signals that are left to the threads that handle one of them. (No Option of
/// the rest: the compiler may look at that before it knows whether it is there,
/// which valgrind takes for an error.)
#[derive(Debug)]
struct Awaited {
    /// There are some.
    any: bool,
    since: Moment,
    /// How many had been counted then.
    counted: u64,
}

impl Awaited {
    const NONE: Awaited = Awaited { any: false, since: Moment(0), counted: 0 };
}

/// So long is waited for a handler to return. It may have been left by longjmp.
const LINGERS: Span = Span::millis(1000);

/// How far the entries have been gone through for hints.
#[derive(Copy, Clone, Debug)]
pub(super) struct Walk(usize);

impl Walk {
    pub(super) const DONE: Walk = Walk(usize::MAX);
    const BEGIN: Walk = Walk(0);
}

impl Signals {
    pub(super) const fn new() -> Signals {
        Signals { entries: Vec::new(), knocker: None, blocked: None, awaited: Awaited::NONE }
    }

    /// Begins to watch a signal, which gives hints if `on`.
    pub(super) fn watch(
        &mut self,
        signal: i32,
        token: Token,
        on: bool,
        place: Place<'_>,
    ) -> Result<()> {
        self.entries.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        if self.knocker.is_none() {
            self.knocker = Some(Knocker::new(place.queue, place.rung, place.doorbell)?);
        }
        let node = ledger::subscribe(signal)?;
        node.lead_to(self.knock().filter(|_| on));
        let mut entry = Entry { signal, token, on, told: 0, node };
        entry.told = entry.count();
        self.entries.push(entry);
        // Whoever adds it is likely to block it where it waits, too.
        let ready = self.prepare_for_blocked(kernel::mask(), place);
        if ready.is_err() {
            self.unwatch(signal, token);
        }
        ready
    }

    fn knock(&self) -> Option<Knock> {
        self.knocker.as_ref().map(Knocker::knock)
    }

    fn find(&mut self, signal: i32, token: Token) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.signal == signal && entry.token == token)
    }

    /// Lets it give hints, or not. A change of the knote is a time to look
    /// after its hook as well; should that fail, the next wait does it.
    pub(super) fn arm(&mut self, signal: i32, token: Token, on: bool) {
        let _ = ledger::look_after(signal);
        let knock = self.knock();
        let Some(entry) = self.find(signal, token) else { return };
        let rang = entry.has_moved();
        if entry.on != on {
            entry.on = on;
            entry.node.lead_to(knock.filter(|_| on));
        }
        if rang && !on {
            self.settle();
        }
    }

    pub(super) fn unwatch(&mut self, signal: i32, token: Token) {
        let found = self.entries.iter().position(|e| e.signal == signal && e.token == token);
        let Some(index) = found else { return };
        let entry = self.entries.swap_remove(index);
        let rang = entry.has_moved();
        ledger::unsubscribe(signal, entry.node);
        if rang {
            self.settle();
        }
        // It must not go on showing the queue readable.
        self.set_blocked(self.watched());
    }

    /// How often the signal has come, ever. Whoever asks needs no hint of what
    /// came before.
    pub(super) fn count(&mut self, signal: i32, token: Token) -> u64 {
        let Some(entry) = self.find(signal, token) else { return 0 };
        let count = entry.count();
        let rang = entry.on && count != entry.told;
        entry.told = count;
        if rang {
            self.settle();
        }
        count
    }

    /// Lets the knocker ring for what nobody has been told of, and for nothing
    /// else. Silent first: what is counted after that rings by itself.
    fn settle(&self) {
        let Some(knocker) = &self.knocker else { return };
        // Either call fails only if the program has closed our numbers.
        let _ = knocker.quench();
        if self.entries.iter().any(Entry::has_moved) {
            let _ = knocker.knock().ring();
        }
    }

    /// The knocker rang. Silent first, as above: then the walk.
    pub(super) fn rung(&self) -> Walk {
        if let Some(knocker) = &self.knocker {
            let _ = knocker.quench();
        }
        Walk::BEGIN
    }

    /// The next one to look at.
    pub(super) fn next(&mut self, walk: &mut Walk) -> Option<Token> {
        while let Some(entry) = self.entries.get_mut(walk.0) {
            walk.0 += 1;
            let count = entry.count();
            if entry.on && count != entry.told {
                entry.told = count;
                return Some(entry.token);
            }
        }
        *walk = Walk::DONE;
        None
    }

    /// Before a thread sleeps: hooks that the application has set aside, and
    /// signals that this thread blocks.
    pub(super) fn attend(&mut self, place: Place<'_>, walk: &mut Walk) -> Result<Attended> {
        for entry in &self.entries {
            ledger::look_after(entry.signal)?;
        }
        // First the descriptor that wakes, then the look: what comes between
        // the two is seen by one of them.
        let ready = self.prepare_for_blocked(kernel::mask(), place);
        self.take_blocked();
        if self.entries.iter().any(Entry::has_moved) {
            *walk = self.rung();
            return Ok(Attended::Hints);
        }
        match ready {
            // The thread that handles one takes the next, and that wakes this
            // one; unless it is not coming back.
            Ok(()) if self.awaited.any => Ok(Attended::Deaf),
            Ok(()) => Ok(Attended::Quiet),
            Err(Errno::EBADF) => Err(Errno::EBADF),
            // There is no descriptor, or no memory, for what would wake it.
            Err(_) => Ok(Attended::Deaf),
        }
    }

    fn watched(&self) -> u64 {
        self.entries.iter().fold(0, |set, entry| set | bit(entry.signal))
    }

    /// If the calling thread blocks a watched signal, makes sure that it wakes
    /// when one comes.
    fn prepare_for_blocked(&mut self, mask: u64, place: Place<'_>) -> Result<()> {
        let watched = self.watched();
        let ready = self.blocked.as_ref().map_or(0, |(_, set)| *set);
        if mask & watched & !ready == 0 {
            return Ok(());
        }
        if self.set_blocked(watched) {
            return Ok(());
        }
        // Whoever waits may have been given a number that is a stranger's now.
        if !epoll::contains(place.queue, place.doorbell) {
            return Err(Errno::EBADF);
        }
        let fd = Private::new(|| kernel::descriptor(watched))?;
        // An edge: it is for waking, and pending signals that are another
        // thread's to take must not keep this one awake.
        let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
        epoll::add(place.queue, fd.number(), events, place.blocked)?;
        self.blocked = Some((fd, watched));
        Ok(())
    }

    /// Lets the descriptor be for these signals. `false`: there is none.
    fn set_blocked(&mut self, watched: u64) -> bool {
        let Some((fd, set)) = &mut self.blocked else { return false };
        if *set == watched {
            return true;
        }
        // A stranger that got the number must not be changed.
        if fd.is_ours() && kernel::set_descriptor(fd.number(), watched).is_ok() {
            *set = watched;
            return true;
        }
        self.blocked = None;
        false
    }

    /// Takes and counts the pending signals that nobody else can take. Whoever
    /// asks goes through the entries next.
    pub(super) fn take_blocked(&mut self) {
        let blocked = kernel::mask() & self.watched();
        let pending = if blocked == 0 { 0 } else { kernel::pending() & blocked };
        if pending == 0 {
            self.awaited = Awaited::NONE;
            return;
        }
        let now = syscall::now();
        // Whatever was counted since, a handler has returned.
        if !self.awaited.any || self.awaited.counted != self.counted() {
            self.awaited.since = now;
        }
        if now.since(self.awaited.since) >= LINGERS {
            blocked::wait_for_nobody(pending);
        }
        let left = blocked::take(pending, |signal| {
            let mine = self.entries.iter().find(|entry| entry.signal == signal);
            if let Some(slot) = table::slot(signal) {
                slot.count_one(mine.map(|entry| entry.node));
            }
        });
        self.awaited.any = left != 0;
        self.awaited.counted = self.counted();
    }

    /// How often all of them have come.
    fn counted(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| sum.wrapping_add(entry.count()))
    }

    /// Gives everything back.
    pub(super) fn retire(&mut self) {
        for entry in core::mem::take(&mut self.entries) {
            ledger::unsubscribe(entry.signal, entry.node);
        }
        self.knocker = None;
        self.blocked = None;
    }

    /// What is in the queue's set: what rings, and what wakes for blocked ones.
    pub(super) fn numbers(&self) -> [Option<Descriptor>; 2] {
        let rung = self.knocker.as_ref().map(Knocker::number);
        [rung, self.blocked.as_ref().map(|(fd, _)| fd.number())]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The calling thread is about to sleep.
#[inline]
pub(super) fn about_to_wait() {
    if table::is_any_hooked() {
        mark::clear();
    }
}

/// Was its wait interrupted by ignored signals alone?
pub(super) fn interrupted_in_vain() -> bool {
    mark::is_in_vain()
}

/// The calling thread leaves its call for good.
pub(super) fn reclaim() {
    ledger::reclaim();
}

/// A forked child gets the application's own dispositions back.
/// Async-signal-safe.
pub(crate) fn in_forked_child() {
    ledger::in_forked_child();
}
