//! Applying changes: the kernel's `kqueue_register`, in steps.

#![forbid(unsafe_code)]

use super::{Caller, Entered, Home, Queue, Stop, Wake, ring};
use crate::errno::{Errno, Result};
use crate::event::{
    EV_ADD, EV_DELETE, EV_DISABLE, EV_ENABLE, EV_FORCEONESHOT, EV_KEEPUDATA, EV_RECEIPT,
    EV_SYSFLAGS, EVFILT_LIBKQUEUE, Kevent,
};
use crate::filter::{self, Filter, Outcome, Touch};
use crate::knote::table::Key;
use crate::knote::{Knote, Slot};
use crate::sys::{self, Arm, Descriptor, Platform};

/// What a call does after its changes.
pub(super) enum Next {
    Return(usize),
    Collect(Applied),
}

/// What the changes of a call have led to.
#[derive(Copy, Clone, Debug)]
pub(super) struct Applied {
    /// The ready list holds something: do not sleep.
    pub(super) expedite: bool,
}

/// How many changes are applied before other threads get a turn at the lock.
const TURN: usize = 64;

/// Applies a call's changes in order, answers them, and proves that the number
/// is still the queue if nothing later in the call would.
pub(super) fn all<P: Platform, C: Caller>(
    home: &Home<P>,
    tenant: u32,
    number: Descriptor,
    caller: &mut C,
    first: Option<Kevent>,
) -> core::result::Result<Next, Stop> {
    let mut next = first;
    let mut answered = 0;
    loop {
        let mut queue = home.enter(tenant, number)?;
        // Elsewhere it does no harm to find out late: the queue is dead then.
        if queue.has_dups && queue.is_gone() {
            return Err(Stop::Gone);
        }
        let mut turn = 0;
        while let Some(change) = next {
            match one(&mut queue, number, caller, change)? {
                Answer::None => {}
                Answer::Written => answered += 1,
                Answer::Stop(result) => {
                    home.note(&queue);
                    finish(home, tenant, number, queue)?;
                    return result.map(Next::Return).map_err(Stop::Failed);
                }
            }
            next = caller.next_change();
            turn += 1;
            if turn == TURN {
                break;
            }
        }
        home.note(&queue);
        let collects = next.is_none() && answered == 0 && caller.collects();
        if collects {
            queue.settle(Wake::Myself)?;
            let expedite = !queue.ready.is_empty();
            return Ok(Next::Collect(Applied { expedite }));
        }
        finish(home, tenant, number, queue)?;
        if next.is_none() {
            return Ok(Next::Return(answered));
        }
    }
}

/// Lets others see what was applied. A call that does not wait must find out
/// here whether its queue is still there.
fn finish<P: Platform>(
    home: &Home<P>,
    tenant: u32,
    number: Descriptor,
    mut queue: Entered<'_, P>,
) -> core::result::Result<(), Stop> {
    let settled = queue.settle(Wake::One);
    if settled == Ok(true) {
        return ring(home, tenant, number, queue);
    }
    if queue.is_gone() {
        return Err(Stop::Gone);
    }
    settled.map(|_| ())
}

enum Answer {
    None,
    Written,
    /// No room for the answer: the call ends with this.
    Stop(Result<usize>),
}

fn one<P: Platform, C: Caller>(
    queue: &mut Entered<'_, P>,
    number: Descriptor,
    caller: &mut C,
    change: Kevent,
) -> core::result::Result<Answer, Stop> {
    let result = match change.filter {
        // FreeBSD passes over an entry without a filter.
        0 => return Ok(Answer::None),
        EVFILT_LIBKQUEUE => match caller.command(&change) {
            Ok(Some(reply)) if caller.room() > 0 => {
                caller.push(reply);
                return Ok(Answer::Written);
            }
            Ok(Some(_)) => return Ok(Answer::Stop(Err(Errno::EFAULT))),
            other => other.map(|_| ()),
        },
        _ => queue.register(&change, number),
    };
    if result.is_err() && queue.is_gone() {
        return Err(Stop::Gone);
    }
    if result.is_ok() && change.flags & EV_RECEIPT == 0 {
        return Ok(Answer::None);
    }
    if caller.room() == 0 {
        return Ok(Answer::Stop(result.map(|()| 0)));
    }
    caller.push(change.answer(result.map_or_else(|errno| errno.0, |()| 0)));
    Ok(Answer::Written)
}

impl<P: Platform> Queue<P> {
    /// Applies one change. On error the queue is as it was, but for knotes
    /// whose descriptor turns out to be gone, which go with it.
    pub(super) fn register(&mut self, change: &Kevent, number: Descriptor) -> Result<()> {
        let change = &Kevent { flags: change.flags & !EV_SYSFLAGS, ..*change };
        let has = |bits| change.flags & bits == bits;
        if has(EV_ENABLE | EV_DISABLE) {
            return Err(Errno::EINVAL);
        }
        let filter = filter::list::find::<P>(change.filter)?;
        if has(EV_ADD | EV_KEEPUDATA) {
            return Err(Errno::EINVAL);
        }
        let key = filter.key(change.filter, change.ident)?;
        if matches!(key, Key::Descriptor(_, ident) if Descriptor::try_from(ident) == Ok(number)) {
            // A queue cannot watch itself.
            return Err(Errno::EINVAL);
        }
        let mut found = self.table.find(key);
        // Closed since this call took the lock.
        if let Some(slot) = found
            && self.table.get(slot).is_some_and(Knote::is_past)
        {
            self.bury(slot);
            found = self.table.find(key);
        }
        match found {
            None if has(EV_ADD) => self.create(filter, key, change),
            None => Err(self.absent(key)),
            Some(slot) => {
                let done = if has(EV_DELETE) {
                    self.delete(slot)
                } else {
                    self.update(filter, slot, change)
                };
                match done {
                    // Its descriptor was closed, and the knote with it; the
                    // number is another file by now, and starts clean.
                    Err(Errno::ENOENT) if has(EV_ADD) => self.create(filter, key, change),
                    other => other,
                }
            }
        }
    }

    /// Why there is no such knote: natively the descriptor is looked at first.
    fn absent(&self, key: Key) -> Errno {
        match key {
            Key::Descriptor(_, ident)
                if !Descriptor::try_from(ident).is_ok_and(|fd| self.port.is_open(fd)) =>
            {
                Errno::EBADF
            }
            _ => Errno::ENOENT,
        }
    }

    fn create(&mut self, filter: &dyn Filter<P>, key: Key, change: &Kevent) -> Result<()> {
        // To add is the one thing that would also succeed on a stranger's set,
        // so the number is asked about first, once a call. The caller sees
        // that the queue is gone.
        if matches!(key, Key::Descriptor(..)) && !self.port.prove() {
            return Err(Errno::EBADF);
        }
        // A number that is not open must not make the index as long as itself.
        if self.table.is_beyond(key) && self.absent(key) == Errno::EBADF {
            return Err(Errno::EBADF);
        }
        let mut knote = Knote::new(change);
        if let Some(number) = descriptor(key) {
            knote.life = sys::begin_watch(number, self.home);
        }
        let slot = self.table.insert(key, knote)?;
        let made = self.furnish(filter, slot);
        if made.is_err() {
            self.leave(key, slot);
        } else {
            self.careful += u32::from(filter.is_careful());
            self.supplant(slot);
            self.check(filter, slot);
        }
        made
    }

    /// Forgets knotes of the same number that the new one shows to be of an
    /// earlier file: a change of theirs would fall on the new one's watch.
    fn supplant(&mut self, slot: Slot) {
        let source = |queue: &Self, slot| queue.table.get(slot)?.body.source();
        let Some(new) = source(self, slot) else { return };
        let mut next = self.table.next_of(slot);
        while let Some(other) = next {
            next = self.table.next_of(other);
            if source(self, other).is_some_and(|old| self.port.supplants(&new, &old)) {
                self.forget(other);
            }
        }
    }

    /// Attaches a new knote and makes the room it may need later.
    pub(super) fn furnish(&mut self, filter: &dyn Filter<P>, slot: Slot) -> Result<()> {
        self.ready.reserve(self.table.slots().len())?;
        let token = self.table.token(slot);
        let Some(knote) = self.table.get_mut(slot) else { return Err(Errno::ENOENT) };
        filter.attach(knote, &mut self.port, token)?;
        let result = reserve_alarm(filter, knote, &mut self.alarms, &mut self.port, slot);
        if result.is_err() {
            // What was attached a moment ago can be detached.
            let _ = filter.detach(knote, &mut self.port, token);
            filter.release(knote, &mut self.port, token);
        }
        result
    }

    fn update(&mut self, filter: &dyn Filter<P>, slot: Slot, change: &Kevent) -> Result<()> {
        let token = self.table.token(slot);
        let Some(knote) = self.table.get_mut(slot) else { return Err(Errno::ENOENT) };
        // The change is worked out on a copy: if it fails, the knote stays.
        let mut changed = *knote;
        if change.flags & EV_FORCEONESHOT != 0 {
            changed.force();
        }
        if change.flags & EV_ENABLE != 0 {
            changed.enable();
        }
        if change.flags & EV_DISABLE != 0 {
            changed.disable();
        }
        if change.flags & EV_KEEPUDATA == 0 {
            changed.udata = change.udata.addr();
        }
        // First the room, for which nothing need be undone: what is armed anew
        // for a knote that then stays as it was would be at odds with it.
        let mut asked = changed;
        asked.fflags = change.fflags;
        reserve_alarm(filter, &asked, &mut self.alarms, &mut self.port, slot)?;
        let touched = filter.touch(&mut changed, Touch::Register(change), &mut self.port, token);
        match touched {
            Ok(()) => {
                *knote = changed;
                self.check(filter, slot);
                Ok(())
            }
            Err(error @ (Errno::EBADF | Errno::ENOENT)) => {
                self.lost(slot);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a knote away with all it had pending. The error tells that its
    /// descriptor was closed before.
    pub(super) fn delete(&mut self, slot: Slot) -> Result<()> {
        let token = self.table.token(slot);
        let Some(knote) = self.table.get(slot) else { return Err(Errno::ENOENT) };
        let detached = filter::list::find::<P>(knote.filter)
            .and_then(|filter| filter.detach(knote, &mut self.port, token));
        match detached {
            Ok(()) => self.forget(slot),
            Err(_) => self.lost(slot),
        }
        detached
    }

    /// Drops a knote whose descriptor is gone; unless it is the queue's own
    /// number that is: by another the queue may live on, with the knote's watch.
    /// Then whoever comes by that one looks at what this one could not.
    pub(super) fn lost(&mut self, slot: Slot) {
        let watched = self.table.get(slot).and_then(|knote| knote.body.source());
        let by_poller = watched.is_some_and(|source| source.repeats);
        if !by_poller || self.port.prove() {
            self.forget(slot);
        } else {
            self.ready.push(slot);
        }
    }

    /// Drops a knote that is detached.
    pub(super) fn forget(&mut self, slot: Slot) {
        let token = self.table.token(slot);
        let Some(knote) = self.table.get(slot) else { return };
        let Ok(filter) = filter::list::find::<P>(knote.filter) else { return };
        filter.release(knote, &mut self.port, token);
        self.careful -= u32::from(filter.is_careful());
        self.gone = self.gone.wrapping_add(1);
        self.ready.remove(slot);
        self.alarms.cancel(slot);
        if let Ok(key) = filter.key(knote.filter, knote.ident) {
            self.leave(key, slot);
        }
    }

    /// Takes a knote out of the table. With the last one of a number the queue
    /// watches it no more.
    fn leave(&mut self, key: Key, slot: Slot) {
        self.table.remove(key, slot);
        if let Key::Descriptor(_, ident) = key
            && let Some(number) = descriptor(key)
            && self.table.first_of(ident).is_none()
        {
            sys::end_watch(number, self.home);
        }
    }

    /// Decides, after a change, whether a knote belongs on the ready list.
    pub(super) fn check(&mut self, filter: &dyn Filter<P>, slot: Slot) {
        let Some(knote) = self.table.get_mut(slot) else { return };
        if knote.is_forced() && !knote.is_disabled() {
            self.ready.push(slot);
            return;
        }
        let outcome = if knote.is_disabled() || !filter.asks_itself(knote) {
            // Silent, or the platform hints at what holds already.
            Outcome::Idle(None)
        } else {
            match filter.event(knote, &mut self.port, None) {
                Ok(outcome) => outcome,
                // Closed in this moment, or there is no answer just now. It is
                // asked again when it is about to be returned.
                Err(_) => {
                    self.ready.push(slot);
                    return;
                }
            }
        };
        let again = match outcome {
            // It has just been armed, so an edge comes; it is told once.
            Outcome::Fire(report) if report.repeats && knote.arm() == Arm::Edge => None,
            Outcome::Fire(_) => {
                self.ready.push(slot);
                self.alarms.cancel(slot);
                return;
            }
            Outcome::Idle(again) | Outcome::Gate(again) => again,
        };
        self.ready.remove(slot);
        match again {
            Some(at) => self.look_again(slot, at),
            None => self.alarms.cancel(slot),
        }
    }
}

/// The descriptor that a key names.
fn descriptor(key: Key) -> Option<Descriptor> {
    match key {
        Key::Descriptor(_, ident) => Descriptor::try_from(ident).ok(),
        Key::Other(..) => None,
    }
}

/// Nothing that is done for a knote later may fail for want of memory or of a
/// descriptor: what its alarm will need is made when the knote is.
fn reserve_alarm<P: Platform>(
    filter: &dyn Filter<P>,
    knote: &Knote,
    alarms: &mut crate::knote::alarms::Alarms,
    port: &mut P,
    slot: Slot,
) -> Result<()> {
    if !filter.may_set_alarm(knote) {
        return Ok(());
    }
    alarms.reserve(slot)?;
    port.prepare_alarm()
}
