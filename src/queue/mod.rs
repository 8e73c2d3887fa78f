//! The queue: knotes, the lists they stand on, and the life of a call.
//!
//! A call ([`kevent`]) applies its changes ([`apply`]), then collects events
//! ([`collect`]).
//! One lock guards a queue; it is held for a batch of changes, and for handing
//! over what a wait has found, never while a thread is parked.
//!
//! Two sources feed a call: the platform's poller, which by itself repeats
//! what stays ready, and the ready list, which holds what user space knows.
//! The bell joins them: whenever the lock is free and the list is not empty,
//! the bell is rung or held, so whoever waits, and whoever polls the queue's
//! descriptor, sees it. So a call need not look at the list before it waits,
//! and makes one wait.

#![forbid(unsafe_code)]

mod apply;
mod bell;
mod calls;
mod collect;
pub(crate) mod kevent;
mod mend;
mod renew;
#[cfg(test)]
mod tests;
mod track;

use crate::clock::{Moment, Patience};
use crate::errno::{Errno, Result};
use crate::event::Kevent;
use crate::knote::Slot;
use crate::knote::alarms::Alarms;
use crate::knote::ready::Ready;
use crate::knote::table::Table;
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{self, Bell, Descriptor, Mutex, Platform};
use bell::{Ringing, Step, Wake};
use calls::Calls;
use parking_lot::lock_api::MappedMutexGuard;
use renew::Haunts;

/// What the C caller handed over, and gets.
pub(crate) trait Caller {
    /// The next few changes, copied; `None` when there are no more. Both lists
    /// may be the same memory, so a change is read before the entry that
    /// answers it, or one before it, is written.
    fn next_change(&mut self) -> Option<Kevent>;

    /// How many more entries the caller has room for.
    fn room(&self) -> usize;

    /// Writes an entry; there must be room.
    fn push(&mut self, entry: Kevent);

    /// Should events be collected, if the changes wrote no entries?
    fn collects(&self) -> bool;

    /// Has any change been taken?
    fn has_changed(&self) -> bool;

    /// How long to wait, reckoned from the first time this is asked. EINVAL:
    /// not a time.
    fn patience(&mut self) -> Result<Patience>;

    /// Answers a question to the library itself (EVFILT_LIBKQUEUE).
    fn command(&mut self, change: &Kevent) -> Result<Option<Kevent>>;
}

/// Why a call ended without success.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// The number is not this queue any more: it was closed.
    Gone,
    /// Descriptors closed elsewhere wake it for nothing, again and again: it
    /// is to be renewed. The call has nothing to return yet and goes on then.
    Haunted,
    Failed(Errno),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Stop {
        Stop::Failed(errno)
    }
}

#[derive(Debug)]
pub(crate) struct Queue<P: Platform> {
    table: Table,
    ready: Ready,
    alarms: Alarms,
    port: P,
    /// The home that it lives in.
    home: u32,
    ringing: Ringing,
    /// What the platform's alarm is set to.
    alarm: Option<Moment>,
    /// The number of the present scan: at most one event a knote in each.
    scan: u32,
    /// It is, or was, known by more than one number: then one of them may be
    /// another queue's by now while this one lives.
    has_dups: bool,
    /// How many knotes the platform must attend to before a thread sleeps.
    careful: u32,
    /// Its waiters are being woken because a number of it goes: the bell is
    /// held, whatever the list says.
    roused: bool,
    /// How many knotes have gone; wraps.
    gone: u32,
    haunts: Haunts,
}

/// How often a closing queue's lock is looked at, before it is not waited for.
const SPINS: u32 = 1000;

impl<P: Platform> Queue<P> {
    pub(crate) fn new(port: P, home: u32) -> Queue<P> {
        Queue {
            table: Table::new(),
            ready: Ready::new(),
            alarms: Alarms::new(),
            port,
            home,
            ringing: Ringing::new(),
            alarm: None,
            scan: 0,
            has_dups: false,
            careful: 0,
            roused: false,
            gone: 0,
            haunts: Haunts::new(),
        }
    }

    pub(crate) fn port(&self) -> &P {
        &self.port
    }

    /// What of a dead queue the next one can use.
    pub(crate) fn into_spare(mut self) -> P {
        self.port.retire();
        self.port
    }

    /// Makes bell and alarm agree with the lists, before the lock is let go.
    /// `true`: the caller must ring, and do it without the lock, or the thread
    /// that it wakes would find the lock taken: see [`ring`].
    fn settle(&mut self, wake: Wake) -> core::result::Result<bool, Stop> {
        self.set_bell_and_alarm(wake).map_err(|error| match error {
            // What is set there is this queue's alone: the number is another
            // one's, if only for a moment.
            Errno::EBADF | Errno::ENOENT => Stop::Gone,
            error => Stop::Failed(error),
        })
    }

    fn set_bell_and_alarm(&mut self, wake: Wake) -> Result<bool> {
        let first = self.alarms.first();
        if first != self.alarm {
            self.port.alarm(first)?;
            self.alarm = first;
        }
        if self.roused {
            // The bell is held, and so tells every wait; but whoever watches the
            // queue by edges has had that of the waking.
            if wake != Wake::Myself && !self.ready.is_empty() && !self.ringing.is_out() {
                self.port.hold_bell_anew()?;
            }
            return Ok(false);
        }
        match self.ringing.step(self.ready.is_empty(), wake, sys::thread_mark()) {
            Step::Nothing => Ok(false),
            Step::GoOut => Ok(true),
            Step::Set(bell) => {
                self.port.bell(bell)?;
                self.ringing.is_set(bell);
                Ok(false)
            }
        }
    }

    /// The ringer is back. If it could not ring, the next call with a good
    /// number will.
    fn rung(&mut self, done: bool) -> core::result::Result<(), Stop> {
        self.ringing.is_back(done);
        if !done {
            return Ok(());
        }
        // What came onto the list since, or stayed there because the one who
        // took the hint had no room, is announced to everybody.
        self.settle(Wake::All).map(|_| ())
    }

    /// It has been found under one more number.
    pub(crate) fn note_dup(&mut self) {
        self.has_dups = true;
    }

    /// One of its numbers has gone, and with it what was to be done by that: it
    /// goes on by this one.
    pub(crate) fn go_on_by(&mut self, number: Descriptor) {
        self.port.reach(number);
        // Should it fail, that one has gone too, and whoever finds out comes by.
        let _ = self.settle(Wake::All);
    }

    /// Its waiters have been woken: the bell is what the list says again.
    fn calm(&mut self) {
        let bell = if self.ready.is_empty() { Bell::Rest } else { Bell::Hold };
        let set = match bell {
            // Whoever watches the queue by edges has had that of the waking, and
            // needs another for what came onto the list since.
            Bell::Hold if !self.ringing.is_out() => self.port.hold_bell_anew(),
            _ => self.port.bell(bell),
        };
        // Should it fail, the number is no longer the queue, and the next call by
        // a good one sets it.
        match set {
            Ok(()) => self.ringing.is_set(bell),
            Err(_) => self.ringing.doubt(),
        }
    }

    /// A number has been closed: its knotes of that life are gone.
    fn lose(&mut self, number: Descriptor) {
        let Ok(ident) = usize::try_from(number) else { return };
        let mut next = self.table.first_of(ident);
        while let Some(slot) = next {
            next = self.table.next_of(slot);
            self.bury(slot);
        }
    }

    /// Many numbers have been closed.
    fn lose_all(&mut self) {
        for slot in self.table.slots() {
            self.bury(slot);
        }
    }

    /// Drops a knote whose descriptor was closed, if it is one. Its watch by
    /// the poller went before the close, see [`Platform::take_out`].
    fn bury(&mut self, slot: Slot) {
        let Some(knote) = self.table.get(slot).filter(|knote| knote.is_past()) else { return };
        if knote.body.source().is_some_and(|source| source.repeats) {
            self.forget(slot);
        } else {
            // It cannot fail in a way that would keep it.
            let _ = self.delete(slot);
        }
    }

    /// Has the queue's number become something else? Asked when a call failed
    /// in a way that this would explain, or made no call that would tell.
    fn is_gone(&mut self) -> bool {
        !self.port.prove()
    }
}

/// Where a queue lives: memory that is never given back, so that a thread may
/// come back from a wait and find another queue there, or none, but never a
/// dangling pointer; and holds no reference that a cancelled thread would leak.
#[derive(Debug)]
pub(crate) struct Home<P: Platform> {
    room: Mutex<Room<P>>,
    /// Has the tenant careful knotes? Read before a wait, without the lock: a
    /// thread that misses a change of it looked at the queue before the change,
    /// and is woken as any thread that waits already.
    careful: AtomicBool,
    /// What close() has to say, and may do by itself.
    calls: Calls,
    outline: P::Outline,
}

#[derive(Debug)]
pub(crate) struct Room<P: Platform> {
    /// Changes whenever a queue leaves.
    tenant: u32,
    queue: Option<Queue<P>>,
}

impl<P: Platform> Home<P> {
    pub(crate) fn new() -> Home<P> {
        Home {
            room: Mutex::new(Room { tenant: 0, queue: None }),
            careful: AtomicBool::new(false),
            calls: Calls::new(),
            outline: P::Outline::default(),
        }
    }

    /// A queue moves in; the number by which it will be known here.
    pub(crate) fn settle_in(&self, queue: Queue<P>) -> u32 {
        let mut room = self.room.lock();
        // Threads that wait in the last one may be counted still.
        self.calls.calm();
        self.note(&queue);
        room.queue = Some(queue);
        room.tenant
    }

    /// The tenant leaves, unless some thread is out ringing its bell, or this one
    /// is in here.
    pub(crate) fn clear(&self) -> Option<Queue<P>> {
        if self.is_mine() {
            return None;
        }
        let mut room = self.room.lock();
        let leaves = room.queue.as_ref().is_some_and(|queue| !queue.ringing.is_out());
        if !leaves {
            return None;
        }
        room.tenant = room.tenant.wrapping_add(1);
        room.queue.take()
    }

    /// In a forked child: drops the tenant without touching what the parent
    /// shares. `false`: a thread that does not exist here holds the lock.
    pub(crate) fn evict(&self) -> bool {
        let Some(mut room) = self.room.try_lock() else { return false };
        room.tenant = room.tenant.wrapping_add(1);
        self.calls.forget();
        if let Some(mut queue) = room.queue.take() {
            queue.port.disown();
        }
        true
    }

    /// Is the calling thread in here, in a call below a signal handler? Then the
    /// lock is not to be waited for, nor what it guards to be looked at.
    #[inline]
    pub(crate) fn is_mine(&self) -> bool {
        sys::is_mine(&self.room)
    }

    /// Looks in on whoever lives here. `None`: nobody, or this thread is in here.
    pub(crate) fn visit<R>(&self, look: impl FnOnce(&mut Queue<P>) -> R) -> Option<R> {
        if self.is_mine() {
            return None;
        }
        let mut room = self.room.lock();
        let queue = room.queue.as_mut()?;
        let seen = look(queue);
        self.note(queue);
        Some(seen)
    }

    /// Notes what must be known of a queue without its lock. The lock is held.
    fn note(&self, queue: &Queue<P>) {
        self.careful.store(queue.careful > 0, Ordering::Relaxed);
        queue.port.outline(&self.outline);
    }

    /// A number is about to be closed that a queue watches, perhaps this one.
    /// Async-signal-safe: see [`calls`].
    pub(crate) fn lose(&self, number: Descriptor) {
        P::take_out(&self.outline, number);
        self.calls.lose(number);
    }

    /// This number of the queue's is about to be closed: every thread that
    /// waits by it is to return. Async-signal-safe.
    pub(crate) fn close(&self, number: Descriptor) {
        if !self.calls.close(P::now()) {
            return;
        }
        P::rouse(&self.outline, number);
        // A thread that took the lock before the call was written down may put
        // the bell to rest after it; once the lock is free none does. It is not
        // to be waited for in a signal handler, so not for long.
        for _ in 0..SPINS {
            if !self.room.is_locked() {
                break;
            }
            core::hint::spin_loop();
        }
        P::rouse(&self.outline, number);
        self.calls.rouse(P::now());
    }

    /// Looks after what close() has left. With the lock.
    #[cold]
    fn answer(&self, queue: &mut Queue<P>) {
        if self.calls.take_lost(|number| queue.lose(number)) {
            queue.lose_all();
        }
        if !self.calls.is_roused() {
            return;
        }
        queue.roused = !self.calls.is_over(P::now());
        if !queue.roused {
            // In this order: who holds the bell once more says so after it.
            self.calls.calm();
            queue.calm();
        }
    }

    /// This call may have set the bell while its waiters were being woken; then
    /// it wakes them again: with the lock, or the bell could be put to rest in
    /// between.
    fn keep_roused(&self, tenant: u32, number: Descriptor) {
        if self.calls.is_roused()
            && let Ok(queue) = self.enter(tenant, number)
            && queue.roused
        {
            P::rouse(&self.outline, number);
        }
    }

    /// The queue that a call means, locked, and reached by the call's own number
    /// whenever it comes back to it: the one that another call has left behind
    /// may have been closed since.
    fn enter(&self, tenant: u32, number: Descriptor) -> core::result::Result<Entered<'_, P>, Stop> {
        let room = self.room.lock();
        if room.tenant != tenant {
            return Err(Stop::Gone);
        }
        let mut queue =
            parking_lot::lock_api::MutexGuard::try_map(room, |room| room.queue.as_mut())
                .map_err(|_| Stop::Gone)?;
        queue.port.reach(number);
        if self.calls.any() {
            self.answer(&mut queue);
        }
        Ok(queue)
    }
}

type Entered<'a, P> = MappedMutexGuard<'a, crate::sys::RawLock, Queue<P>>;

/// Wakes one waiter for what is on the list.
///
/// The lock is let go first: the woken thread wants it, and on a busy machine
/// runs before this one goes on.
fn ring<P: Platform>(
    home: &Home<P>,
    tenant: u32,
    number: Descriptor,
    queue: Entered<'_, P>,
) -> core::result::Result<(), Stop> {
    let ringer = queue.port.ringer();
    drop(queue);
    let rung = P::ring(ringer);
    let mut queue = home.enter(tenant, number)?;
    queue.rung(rung.is_ok())?;
    // It fails if the number is no longer the queue.
    rung.map_err(|_| Stop::Gone)
}

/// What to do when the number of a call turns out to be no more its queue's, with
/// what a wait by it has found, if it is another queue's by now, and how much it
/// was.
pub(crate) type Astray<P> = fn((&Home<P>, u32), Descriptor, &mut <P as Platform>::Found, usize);
