//! Collecting events: the kernel's `kqueue_scan`, in steps.

#![forbid(unsafe_code)]

use super::apply::Applied;
use super::{Astray, Caller, Home, Queue, Stop, Wake};
use crate::clock::{Moment, Patience, Span};
use crate::errno::Errno;
use crate::event::{EV_EOF, EV_ONESHOT, Kevent};
use crate::filter::{self, Filter, News, Outcome, Report, Then, Touch};
use crate::knote::{Body, Knote, Slot};
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{self, Arm, Attended, Cancel, Descriptor, Hint, Platform, Readiness, Token};
use core::cell::Cell;

/// How often a call that must not sleep looks again after hints that led to
/// nothing: something that is ready may stand behind them.
const STRAYS: usize = 64;

/// How often a thread looks again that nothing may wake.
const DEAF: Span = Span::millis(100);

/// Waits for events and hands them over. From here down to the platform's wait
/// nothing is owned and no lock is held: the thread may not come back.
///
/// `changed`: what the changes applied just now have led to. After changes the
/// wait is no cancellation point: the caller must learn that they were applied.
pub(super) fn events<P: Platform, C: Caller>(
    home: &Home<P>,
    tenant: u32,
    number: Descriptor,
    caller: &mut C,
    astray: Astray<P>,
    laden: &AtomicBool,
    changed: Option<Applied>,
) -> core::result::Result<usize, Stop> {
    let patience = caller.patience()?;
    let cancel = if caller.has_changed() { Cancel::Deferred } else { Cancel::Allowed };
    let mut expedite = changed.is_some_and(|applied| applied.expedite);
    let place = Place { home, tenant, number, astray, laden, sleeps: Cell::new(None) };
    let mut found = P::found();
    let mut strays = 0;
    // How many knotes had gone when this call last had the lock.
    let mut gone = None;
    loop {
        let careful = home.careful.load(Ordering::Relaxed);
        let now = if expedite || careful { Patience::Poll } else { patience };
        // Hints that lead to nothing are not to stand before those that do.
        let most = if strays == 0 { caller.room() } else { P::BATCH };
        let mut count = wait(&place, &mut found, most, now, cancel)?;
        if count == 0 && careful && !expedite {
            // Only now, so that nothing is paid while there are events.
            laden.store(true, Ordering::Relaxed);
            let attended = home.enter(tenant, number)?.attend(&mut found)?;
            laden.store(attended == Attended::Hints, Ordering::Relaxed);
            let until = if attended == Attended::Deaf { nap::<P>(patience) } else { patience };
            count = match attended {
                Attended::Hints => 1,
                _ if patience == Patience::Poll => 0,
                _ => wait(&place, &mut found, most, until, cancel)?,
            };
            if count == 0 && until != patience {
                continue;
            }
        }
        // Nothing came, so the list is empty too: the bell would have told.
        if count == 0 && !expedite {
            return time_is_up(home, tenant, number);
        }
        if sys::is_closed_queue(number) {
            // What was found is for those who know the queue by another.
            left(&place, &mut found, count);
            return Err(Stop::Failed(Errno::EBADF));
        }
        let served = serve(&place, &mut found, (count, gone), caller);
        home.keep_roused(tenant, number);
        match served {
            Err(Stop::Gone) => astray((home, tenant), number, &mut found, count),
            // All that was found has been seen to; what is to be told others
            // could not be, by this number.
            Ok(Served { unsettled: true, .. }) => astray((home, tenant), number, &mut found, 0),
            _ => {}
        }
        let served = served?;
        gone = Some(served.gone);
        match served.delivered {
            0 if served.haunted => return Err(Stop::Haunted),
            0 => {}
            delivered => return Ok(delivered),
        }
        expedite = false;
        strays += 1;
        let over = match patience {
            Patience::Poll => strays == STRAYS,
            // The wait itself looks at the time only if nothing comes.
            Patience::Until(moment) => P::now() >= moment,
            Patience::Forever => false,
        };
        if over {
            return Ok(0);
        }
    }
}

/// What came of handing over.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Served {
    delivered: usize,
    /// The bell and the alarm are not as they should be: the number has gone.
    unsettled: bool,
    gone: u32,
    haunted: bool,
}

/// Hands over what a wait has found: see [`Queue::hand_over`].
fn serve<P: Platform, C: Caller>(
    place: &Place<'_, P>,
    found: &mut P::Found,
    count: (usize, Option<u32>),
    caller: &mut C,
) -> core::result::Result<Served, Stop> {
    let mut queue = place.home.enter(place.tenant, place.number)?;
    // From here on who leaves has the lock, and all is looked at.
    place.laden.store(false, Ordering::Relaxed);
    let delivered = queue.hand_over(place.number, found, count, caller);
    place.home.note(&queue);
    let (gone, haunted) = (queue.gone, queue.haunts.are_too_many());
    let (delivered, unsettled) = delivered?;
    Ok(Served { delivered, unsettled, gone, haunted })
}

/// For as long as that, but not longer than a thread may that nothing may wake.
fn nap<P: Platform>(patience: Patience) -> Patience {
    let soon = P::now().after(DEAF);
    match patience {
        Patience::Poll => Patience::Poll,
        Patience::Until(moment) => Patience::Until(moment.min(soon)),
        Patience::Forever => Patience::Until(soon),
    }
}

/// Where a thread waits.
struct Place<'a, P: Platform> {
    home: &'a Home<P>,
    tenant: u32,
    number: Descriptor,
    astray: Astray<P>,
    /// The thread has, or may have, hints that nobody else can get: see `left`
    /// of `mend`. Read where it leaves, in the same thread, so all that matters
    /// is that it is written before what it tells of.
    laden: &'a AtomicBool,
    /// The thread is counted among those who sleep, in this epoch.
    sleeps: Cell<Option<u32>>,
}

impl<P: Platform> Place<'_, P> {
    /// The thread is about to sleep. `false`: its number has been closed.
    fn sleep(&self) -> bool {
        self.sleeps.set(self.home.calls.sleep(|| sys::is_closed_queue(self.number)));
        self.sleeps.get().is_some()
    }

    fn wake(&self) {
        if let Some(epoch) = self.sleeps.take() {
            self.home.calls.wake(epoch);
        }
    }
}

/// A caller who takes nothing.
struct Nobody;

impl Caller for Nobody {
    fn next_change(&mut self) -> Option<Kevent> {
        None
    }

    fn room(&self) -> usize {
        0
    }

    fn push(&mut self, _: Kevent) {}

    fn collects(&self) -> bool {
        false
    }

    fn has_changed(&self) -> bool {
        false
    }

    fn patience(&mut self) -> core::result::Result<Patience, Errno> {
        Ok(Patience::Poll)
    }

    fn command(&mut self, _: &Kevent) -> core::result::Result<Option<Kevent>, Errno> {
        Ok(None)
    }
}

/// A thread has found something and does not come back with it. So others get
/// it, as from a call without room: what the platform tells once goes onto the
/// list, the bell is taken, and whoever waits is told.
fn left<P: Platform>(place: &Place<'_, P>, found: &mut P::Found, count: usize) {
    place.wake();
    if count == 0 {
        place.laden.store(false, Ordering::Relaxed);
    } else if serve(place, found, (count, None), &mut Nobody) == Err(Stop::Gone) {
        (place.astray)((place.home, place.tenant), place.number, found, count);
    }
}

impl<P: Platform> Home<P> {
    /// A thread took this for another queue, by a number that now is this one's,
    /// and has found what is this one's: as if it had left.
    pub(crate) fn take_in(
        &self,
        tenant: u32,
        number: Descriptor,
        found: &mut P::Found,
        count: usize,
    ) {
        let (laden, sleeps) = (&AtomicBool::new(true), Cell::new(None));
        let place = Place { home: self, tenant, number, astray: |_, _, _, _| (), laden, sleeps };
        left(&place, found, count);
    }
}

/// Waits on the platform, through what natively interrupts no wait.
fn wait<P: Platform>(
    place: &Place<'_, P>,
    found: &mut P::Found,
    most: usize,
    patience: Patience,
    cancel: Cancel,
) -> core::result::Result<usize, Stop> {
    let waiter = P::waiter(place.number);
    let mut waits = |patience| {
        // Before it has any, for there is no moment between.
        place.laden.store(true, Ordering::Relaxed);
        let waited =
            P::wait_unless_left(waiter, found, most, (patience, cancel), (place, left::<P>));
        let has_some = waited.is_ok_and(|count| count > 0);
        place.laden.store(has_some, Ordering::Relaxed);
        waited
    };
    loop {
        if patience != Patience::Poll {
            P::about_to_wait();
        }
        // Counted only where close() asks.
        let told = patience != Patience::Poll && sys::is_told();
        if told && !place.sleep() {
            return Err(Stop::Failed(Errno::EBADF));
        }
        let waited = waits(patience);
        if told {
            place.wake();
        }
        let count = match waited {
            // Natively the signal's own event comes first, and ends the wait
            // as any event does.
            Err(Errno::EINTR) => match waits(Patience::Poll) {
                Ok(0) | Err(Errno::EINTR) if P::interrupted_in_vain() => continue,
                Ok(0) => Err(Errno::EINTR),
                looked => looked,
            },
            waited => waited,
        };
        return count.map_err(|error| match error {
            Errno::EBADF => Stop::Gone,
            error => Stop::Failed(error),
        });
    }
}

/// No event in time. The set that was waited on so long in vain may be a
/// stranger's, which has got the number.
fn time_is_up<P: Platform>(
    home: &Home<P>,
    tenant: u32,
    number: Descriptor,
) -> core::result::Result<usize, Stop> {
    let mut queue = home.enter(tenant, number)?;
    if queue.is_gone() { Err(Stop::Gone) } else { Ok(0) }
}

impl<P: Platform> Queue<P> {
    /// Lets the platform look after what no wait tells of.
    fn attend(&mut self, found: &mut P::Found) -> core::result::Result<Attended, Stop> {
        self.port.attend(found).map_err(|error| match error {
            Errno::EBADF => Stop::Gone,
            error => Stop::Failed(error),
        })
    }

    /// Turns what a wait has found, and what is on the list, into events.
    /// Beside how much was found: how many knotes had gone before the wait, if
    /// the caller knows. Beside how many events: is the rest not settled?
    fn hand_over<C: Caller>(
        &mut self,
        number: Descriptor,
        found: &mut P::Found,
        (mut count, mut gone): (usize, Option<u32>),
        caller: &mut C,
    ) -> core::result::Result<(usize, bool), Stop> {
        self.scan = self.scan.wrapping_add(1).max(1);
        let room = caller.room();
        let waiter = P::waiter(number);
        loop {
            let before = caller.room();
            let taken = self.take_hints(found, (count, gone), caller)?;
            self.take_ready(caller);
            gone = None;
            // A caller with much room gets what one wait cannot bring. Nothing
            // new means that the kernel has been round them all.
            if count.max(taken) < P::BATCH || caller.room() == 0 || caller.room() == before {
                break;
            }
            // It cannot fail now that it has not before, and if it did, what
            // was handed over counts.
            let more = P::wait(waiter, found, caller.room(), Patience::Poll, Cancel::Deferred);
            count = more.unwrap_or(0);
            if count == 0 {
                break;
            }
        }
        let settled = self.settle(Wake::All);
        match room - caller.room() {
            0 => settled.map(|_| (0, false)),
            // What was taken is returned; other trouble meets the next call.
            delivered => Ok((delivered, settled == Err(Stop::Gone))),
        }
    }

    /// Serves hints at once, or, when there are more candidates than room,
    /// sends them to the end of the list: then all take turns, and neither
    /// those that the kernel holds nor those that user space holds starve. Says
    /// how many hints there were: one thing found can stand for as many as a
    /// whole wait brings.
    fn take_hints<C: Caller>(
        &mut self,
        found: &mut P::Found,
        (count, gone): (usize, Option<u32>),
        caller: &mut C,
    ) -> core::result::Result<usize, Stop> {
        let mut taken = 0;
        // Before the hint that a process has ended, what it did until then.
        self.learn_deeds();
        let crowded = !self.ready.is_empty() && count + self.ready.len() > caller.room();
        loop {
            match self.port.next_hint(found) {
                Ok(None) => return Ok(taken),
                Ok(Some(Hint::Watched(token, seen))) => match self.table.meant_by(token) {
                    Some(slot) => self.hinted(slot, seen, crowded, caller),
                    None => self.stray(gone),
                },
                Ok(Some(Hint::Bell)) => self.ringing.hint_taken(),
                Ok(Some(Hint::Alarm)) => self.expire(),
                Err(Errno::EBADF) => return Err(Stop::Gone),
                Err(error) => return Err(Stop::Failed(error)),
            }
            taken += 1;
        }
    }

    /// Puts on the list what its alarm has called.
    fn expire(&mut self) {
        let now = P::now();
        while let Some(slot) = self.alarms.pop_due(now) {
            self.ready.push(slot);
        }
        // It went off, and stays so until it is set again.
        self.alarm = Some(Moment(0));
    }

    fn hinted<C: Caller>(&mut self, slot: Slot, seen: Readiness, crowded: bool, caller: &mut C) {
        let token = self.table.token(slot);
        let Some(knote) = self.table.get_mut(slot) else { return };
        if let Body::Process(process) = knote.body {
            // A hint that comes of a guess may have been made before the end
            // that is found now: then there may be deeds to learn first.
            if process.followed && process.is_unwatched() {
                return self.catch_up(token);
            }
            return self.noted(token, News::Hint);
        }
        if knote.is_disabled() {
            return;
        }
        knote.hinted();
        let repeats = knote.body.source().is_some_and(|source| source.repeats);
        if repeats && !crowded && caller.room() > 0 {
            self.deliver(slot, Some(seen), caller);
        } else {
            self.ready.push(slot);
        }
    }

    /// Walks the list once, from the head to what was its tail.
    fn take_ready<C: Caller>(&mut self, caller: &mut C) {
        for _ in 0..self.ready.len() {
            if caller.room() == 0 {
                return;
            }
            let Some(slot) = self.ready.pop() else { return };
            if self.table.get(slot).is_some_and(|knote| knote.scan == self.scan) {
                // Returned in this call already.
                self.ready.push(slot);
            } else {
                self.deliver(slot, None, caller);
            }
        }
    }

    /// Asks a knote once more and, if it fires, returns its event and lets
    /// EV_ONESHOT, EV_CLEAR and EV_DISPATCH take effect, all under one lock:
    /// of many threads one gets it.
    fn deliver<C: Caller>(&mut self, slot: Slot, seen: Option<Readiness>, caller: &mut C) {
        let token = self.table.token(slot);
        if self.table.get(slot).is_some_and(|knote| knote.body.is_process()) {
            self.catch_up(token);
            // It may have gone by that, and its place may be another's.
            if self.table.meant_by(token).is_none() {
                return;
            }
        }
        let Some(knote) = self.table.get_mut(slot) else { return };
        if knote.is_disabled() || knote.scan == self.scan {
            return;
        }
        let Ok(filter) = filter::list::find::<P>(knote.filter) else { return };
        let report = match filter.event(knote, &mut self.port, seen) {
            Ok(Outcome::Fire(report)) => report,
            Ok(_) if knote.is_forced() => Report::default(),
            Ok(Outcome::Idle(again)) => {
                // The hint and the descriptor are at odds. Another thread may
                // have been quicker; or the number is another file by now, and
                // the old one, open elsewhere, is what is ready.
                if seen.is_some() && !is_same(knote, &mut self.port) {
                    let _ = self.delete(slot);
                    return;
                }
                if knote.is_spent() && !self.rearm(filter, slot) {
                    return;
                }
                if let Some(at) = again {
                    self.look_again(slot, at);
                }
                return;
            }
            Ok(Outcome::Gate(again)) => {
                if !knote.is_gated() {
                    knote.gate(true);
                    if !self.rearm(filter, slot) {
                        return;
                    }
                }
                if let Some(at) = again {
                    self.look_again(slot, at);
                }
                return;
            }
            Err(error) if error.passes() => {
                // No answer just now. What made us ask must not be lost; only
                // a level is told again by itself.
                if seen.is_none() || knote.arm() != Arm::Level {
                    self.ready.push(slot);
                }
                return;
            }
            Err(_) => {
                // The descriptor was closed: natively its knote went with it.
                let _ = self.delete(slot);
                return;
            }
        };
        let entry = event(knote, &report);
        let goes = match report.then {
            Then::AsFlagged => knote.is_oneshot(),
            Then::Goes => true,
            Then::Stays => false,
        };
        if goes {
            // The knote goes in any case; its event only if the number still
            // is what it was.
            let mut told = self.delete(slot).is_ok();
            if !told && !self.has_dups && self.table.meant_by(token).is_some() {
                // It is the queue's own number that was closed, and it is known
                // by no other: nobody but this thread can be told.
                self.forget(slot);
                told = true;
            }
            if told {
                caller.push(entry);
            }
            return;
        }
        // A hint that came with this wait tells that the number is the same, if
        // there is something to show for it.
        let in_doubt = seen.is_none() || (report.data <= 0 && !report.eof);
        if in_doubt && !is_same(knote, &mut self.port) {
            let _ = self.delete(slot);
            return;
        }
        knote.scan = self.scan;
        caller.push(entry);
        if report.then == Then::Stays {
            let _ = filter.touch(knote, Touch::Process, &mut self.port, token);
            self.check(filter, slot);
        } else if knote.is_level() {
            self.keep(filter, slot, &report);
        } else {
            self.process(filter, slot, token);
        }
    }

    /// Sets a knote's alarm. The room was made with the knote, unless what
    /// watched it was lost since; should there be none, nothing can be done
    /// until something else leads here again.
    pub(super) fn look_again(&mut self, slot: Slot, at: Moment) {
        let has_room = self.alarms.has_room(slot)
            || self.alarms.reserve(slot).and_then(|()| self.port.prepare_alarm()).is_ok();
        if has_room {
            self.alarms.set(slot, at);
        }
    }

    /// A level event goes behind the others; the platform does that for what
    /// it repeats.
    fn keep(&mut self, filter: &dyn Filter<P>, slot: Slot, report: &Report) {
        let Some(knote) = self.table.get_mut(slot) else { return };
        if !report.repeats || filter.asks_itself(knote) {
            self.ready.push(slot);
        } else if knote.is_gated() {
            knote.gate(false);
            self.rearm(filter, slot);
        }
    }

    /// Arms a knote's descriptor by the state it has come to. `false`: it was
    /// closed in this moment, and the knote went with it: what stood for it with
    /// the platform is gone, and may be another's next.
    pub(super) fn rearm(&mut self, filter: &dyn Filter<P>, slot: Slot) -> bool {
        let token = self.table.token(slot);
        let Some(knote) = self.table.get_mut(slot) else { return false };
        let gone =
            matches!(filter.rearm(knote, &mut self.port, token), Err(Errno::EBADF | Errno::ENOENT));
        if gone {
            self.lost(slot);
        }
        !gone
    }

    /// EV_CLEAR forgets the state, EV_DISPATCH disables.
    fn process(&mut self, filter: &dyn Filter<P>, slot: Slot, token: Token) {
        let Some(knote) = self.table.get_mut(slot) else { return };
        // Neither filter fails here: nothing outside the knote is touched.
        let _ = filter.touch(knote, Touch::Process, &mut self.port, token);
        if knote.is_dispatch() {
            knote.disable();
            if !knote.is_spent() && !self.rearm(filter, slot) {
                return;
            }
        } else {
            knote.gate(false);
        }
        // If a hint brought it, it may stand on the list all the same.
        self.ready.remove(slot);
        let by_descriptor = |knote: &Knote| matches!(knote.body, Body::Descriptor(_));
        if !self.table.get(slot).is_none_or(by_descriptor) {
            // A timer has its next expiry, if it is not disabled.
            self.check(filter, slot);
        }
    }
}

/// Does the number of a knote that stood on the list still mean what it did? Of
/// what the poller does not take, the sample has found out.
fn is_same<P: Platform>(knote: &Knote, port: &mut P) -> bool {
    match (knote.body.source(), Descriptor::try_from(knote.ident)) {
        (Some(source), Ok(fd)) if source.repeats => port.verify(fd, &source).is_ok(),
        _ => true,
    }
}

fn event(knote: &Knote, report: &Report) -> Kevent {
    let end = if report.eof { EV_EOF } else { 0 };
    let once = if report.then == Then::AsFlagged { 0 } else { EV_ONESHOT };
    Kevent {
        ident: knote.ident,
        filter: knote.filter,
        flags: knote.flags | end | once,
        fflags: report.fflags,
        // 32-bit systems have a 32-bit field.
        data: isize::try_from(report.data).unwrap_or(if report.data < 0 {
            isize::MIN
        } else {
            isize::MAX
        }),
        udata: core::ptr::without_provenance_mut(knote.udata),
    }
}
