//! The platform contract in its plainest form: a machine in memory, moved by
//! the test that uses it. No system call is made and no time passes but by the
//! test's word, or by a wait that sleeps.
//!
//! There is one machine a thread, because the contract's waits and clocks have
//! no receiver; a test begins with [`reset`]. An entry of a queue's set is
//! either the bell, the alarm or a watched descriptor; a wait takes what is
//! ready from the head and puts it behind the others.
//!
//! What the contract leaves open is settled in the way that is hardest on the
//! core: batches are small, an edge not yet taken is forgotten when the entry
//! is disarmed, and a wait that nothing can end is a failure of the test.

#![forbid(unsafe_code)]

use super::{
    Arm, Bell, Cancel, Class, Descriptor, Hint, Platform, Readiness, Sample, Side, Source, Token,
};
use crate::clock::{Moment, Patience, Span};
use crate::errno::{Errno, Result};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

/// What a number of the application's stands for, as the test set it up.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) class: Class,
    /// What can be read: bytes, or the distance to the end of a file.
    pub(crate) amount: i64,
    /// Room for output.
    pub(crate) room: i64,
    /// What can be watched; the other way is [`Class::Mute`].
    pub(crate) ways: &'static [Side],
    /// The other side is gone.
    pub(crate) eof: bool,
    pub(crate) error: Option<Errno>,
    /// As [`Sample::silent`]: the kernel calls it ready all the same.
    pub(crate) silent: bool,
    /// As [`Source::wakes`].
    pub(crate) wakes: bool,
}

impl Object {
    pub(crate) fn new(class: Class) -> Object {
        Object {
            class,
            amount: 0,
            room: 0,
            ways: &[Side::Read, Side::Write],
            eof: false,
            error: None,
            silent: false,
            wakes: true,
        }
    }

    /// The reading end of a pipe.
    pub(crate) fn pipe() -> Object {
        Object { ways: &[Side::Read], ..Object::new(Class::Pipe) }
    }

    /// The writing end of a pipe.
    pub(crate) fn pipe_writer() -> Object {
        Object { ways: &[Side::Write], room: 4096, ..Object::new(Class::Pipe) }
    }

    /// A connected stream socket with room to send.
    pub(crate) fn socket() -> Object {
        Object { room: 1000, ..Object::new(Class::Connection) }
    }

    /// A regular file, at whose end the offset stands.
    pub(crate) fn file() -> Object {
        Object::new(Class::File)
    }

    fn repeats(&self) -> bool {
        !matches!(self.class, Class::File | Class::Always)
    }

    fn sample(&self, side: Side) -> Sample {
        let able = self.ways.contains(&side);
        let (amount, ready) = match side {
            Side::Read => (self.amount, self.amount != 0),
            Side::Write => (self.room, self.room > 0 || self.class == Class::File),
        };
        let ready = ready || self.eof || self.error.is_some() || self.class == Class::Always;
        Sample {
            class: if able { self.class } else { Class::Mute },
            amount,
            ready: able && ready,
            eof: able && self.eof,
            error: self.error,
            silent: self.silent || !able,
        }
    }

    /// What the kernel makes of it: it knows nothing of silence.
    fn readiness(&self, side: Side) -> Readiness {
        let sample = self.sample(side);
        let mut seen = Readiness::default();
        for (said, bit) in [
            (side == Side::Read && sample.ready, Readiness::IN),
            (side == Side::Write && sample.ready, Readiness::OUT),
            (self.eof || self.silent, Readiness::HANGUP),
            (self.error.is_some(), Readiness::ERROR),
        ] {
            if said {
                seen = seen.with(bit);
            }
        }
        seen
    }
}

/// The calls that a test can make fail.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Verb {
    Watch,
    Rearm,
    Unwatch,
    Sample,
    Bell,
    Ring,
    PrepareAlarm,
    Alarm,
    Wait,
    Attend,
    NextHint,
}

#[derive(Copy, Clone, Debug)]
struct Watch {
    fd: Descriptor,
    object: usize,
    side: Side,
    arm: Arm,
    token: Token,
    repeats: bool,
    /// Armed, or changed, and not yet taken by a wait.
    edge: bool,
}

#[derive(Copy, Clone, Debug)]
enum Entry {
    Bell,
    Alarm,
    Watch(Watch),
}

#[derive(Debug)]
struct Set {
    /// In the order in which a wait looks at them.
    entries: VecDeque<Entry>,
    bell: Bell,
    /// A ring that no wait has taken.
    rung: bool,
    prepared: bool,
    alarm: Option<Moment>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Thing {
    Object(usize),
    Set(usize),
}

type Action = Box<dyn FnOnce()>;

#[derive(Default)]
struct Machine {
    now: u64,
    wall: u64,
    numbers: BTreeMap<Descriptor, Thing>,
    /// Places are not used again, so that a place is an identity.
    objects: Vec<Object>,
    sets: Vec<Set>,
    calls: BTreeMap<Verb, usize>,
    failure: Option<(Verb, usize, Errno)>,
    asleep: VecDeque<Action>,
    awake: VecDeque<Action>,
    /// Descriptors of which no wait tells.
    unseen: Vec<Descriptor>,
    /// The next interruptions are by ignored signals alone.
    in_vain: usize,
}

thread_local! {
    static MACHINE: RefCell<Machine> = RefCell::default();
}

fn machine<R>(work: impl FnOnce(&mut Machine) -> R) -> R {
    MACHINE.with_borrow_mut(work)
}

/// A new machine, with nothing in it, on a clock that is past zero.
pub(crate) fn reset() {
    machine(|machine| {
        *machine = Machine { now: 1_000_000, wall: 1_000_000_000_000, ..Machine::default() };
    });
}

/// Makes a number stand for something new; what it stood for is closed.
pub(crate) fn open(fd: Descriptor, object: Object) {
    close(fd);
    machine(|machine| {
        machine.objects.push(object);
        machine.numbers.insert(fd, Thing::Object(machine.objects.len() - 1));
    });
}

/// Closes a number. Whatever watched it forgets it.
pub(crate) fn close(fd: Descriptor) {
    machine(|machine| {
        machine.numbers.remove(&fd);
        for set in &mut machine.sets {
            set.entries.retain(|entry| !matches!(entry, Entry::Watch(watch) if watch.fd == fd));
        }
    });
}

/// Something happens to a descriptor's object that its watchers are told of.
pub(crate) fn happens(fd: Descriptor, side: Side, change: impl FnOnce(&mut Object)) {
    quietly(fd, change);
    machine(|machine| {
        let Some(&Thing::Object(object)) = machine.numbers.get(&fd) else { return };
        for entry in machine.sets.iter_mut().flat_map(|set| &mut set.entries) {
            if let Entry::Watch(watch) = entry
                && watch.object == object
                && watch.side == side
                && watch.arm != Arm::Off
            {
                watch.edge = true;
            }
        }
    });
}

/// Changes a descriptor's object without anybody being told: the program read
/// from it, say.
pub(crate) fn quietly(fd: Descriptor, change: impl FnOnce(&mut Object)) {
    machine(|machine| match machine.numbers.get(&fd) {
        Some(&Thing::Object(object)) => change(&mut machine.objects[object]),
        _ => panic!("{fd} is no object"),
    });
}

/// Bytes arrive.
pub(crate) fn put(fd: Descriptor, bytes: i64) {
    happens(fd, Side::Read, |object| object.amount += bytes);
}

/// The program reads bytes, or moves a file's offset.
pub(crate) fn take(fd: Descriptor, bytes: i64) {
    quietly(fd, |object| object.amount -= bytes);
}

/// The other side goes away.
pub(crate) fn hang_up(fd: Descriptor) {
    happens(fd, Side::Read, |object| object.eof = true);
    happens(fd, Side::Write, |_| {});
}

/// Time passes, on both clocks.
pub(crate) fn pass(span: Span) {
    machine(|machine| machine.pass_to(machine.now + span.0));
}

/// The `nth` call of this verb from now fails, once, and does nothing.
pub(crate) fn fail(verb: Verb, nth: usize, errno: Errno) {
    assert!(nth > 0);
    machine(|machine| machine.failure = Some((verb, nth, errno)));
}

/// Takes back what [`fail`] asked for; was it still to come?
pub(crate) fn spare() -> bool {
    machine(|machine| machine.failure.take().is_some())
}

/// How often a verb has been called.
pub(crate) fn calls(verb: Verb) -> usize {
    machine(|machine| machine.calls.get(&verb).copied().unwrap_or(0))
}

/// Does this when a wait next goes to sleep; then the wait looks again.
pub(crate) fn during_sleep(action: impl FnOnce() + 'static) {
    machine(|machine| machine.asleep.push_back(Box::new(action)));
}

/// Does this when a wait next has found something, before its caller has the
/// lock: as a thread would that is quicker.
pub(crate) fn before_hand_over(action: impl FnOnce() + 'static) {
    machine(|machine| machine.awake.push_back(Box::new(action)));
}

/// Whoever watches this descriptor is told by attending alone, once.
pub(crate) fn wants_attention(fd: Descriptor) {
    machine(|machine| machine.unseen.push(fd));
}

/// The next so many interruptions are by signals that the program ignores.
pub(crate) fn interrupts_in_vain(times: usize) {
    machine(|machine| machine.in_vain = times);
}

/// Would poll() call this queue readable?
pub(crate) fn is_readable(number: Descriptor) -> bool {
    machine(|machine| {
        let Ok(set) = machine.set_of(number) else { return false };
        let entries = machine.sets[set].entries.iter();
        entries.copied().any(|entry| machine.hint(set, entry).is_some())
    })
}

/// Would a wait on this queue find the bell?
pub(crate) fn is_ringing(number: Descriptor) -> bool {
    machine(|machine| {
        let set = machine.set_of(number).expect("a queue");
        machine.hint(set, Entry::Bell).is_some()
    })
}

impl Machine {
    fn called(&mut self, verb: Verb) -> Result<()> {
        *self.calls.entry(verb).or_default() += 1;
        match &mut self.failure {
            Some((failing, nth, errno)) if *failing == verb => {
                *nth -= 1;
                if *nth > 0 {
                    return Ok(());
                }
                let errno = *errno;
                self.failure = None;
                Err(errno)
            }
            _ => Ok(()),
        }
    }

    fn pass_to(&mut self, now: u64) {
        let span = now.saturating_sub(self.now);
        self.now += span;
        self.wall += span;
    }

    fn set_of(&self, number: Descriptor) -> Result<usize> {
        match self.numbers.get(&number) {
            Some(Thing::Set(set)) => Ok(*set),
            _ => Err(Errno::EBADF),
        }
    }

    /// What this entry would tell a wait now.
    fn hint(&self, set: usize, entry: Entry) -> Option<Hint> {
        let set = &self.sets[set];
        match entry {
            Entry::Bell => match set.bell {
                Bell::Rest => false,
                Bell::Ring => set.rung,
                Bell::Hold => true,
            }
            .then_some(Hint::Bell),
            Entry::Alarm => set.alarm.is_some_and(|at| at.0 <= self.now).then_some(Hint::Alarm),
            Entry::Watch(watch) => {
                let object = &self.objects[watch.object];
                let seen = object.readiness(watch.side);
                let ready = seen != Readiness::default();
                let hints = match watch.arm {
                    Arm::Off => false,
                    // Its changes are what it hints at, ready or not.
                    _ if !watch.repeats => watch.edge && object.wakes,
                    Arm::Level | Arm::Once => ready,
                    Arm::Edge => ready && watch.edge,
                };
                hints.then_some(Hint::Watched(watch.token, seen))
            }
        }
    }

    /// Takes at most `most` hints, head first, and puts their entries behind.
    fn gather(&mut self, set: usize, found: &mut Found, most: usize) -> usize {
        found.set = set;
        found.hints.clear();
        let mut at = 0;
        for _ in 0..self.sets[set].entries.len() {
            if found.hints.len() == most.clamp(1, Fake::BATCH) {
                break;
            }
            let entry = self.sets[set].entries[at];
            let Some(hint) = self.hint(set, entry) else {
                at += 1;
                continue;
            };
            found.hints.push_back(hint);
            let set = &mut self.sets[set];
            set.entries.remove(at);
            set.entries.push_back(match entry {
                Entry::Bell => {
                    set.rung = false;
                    entry
                }
                Entry::Alarm => entry,
                Entry::Watch(watch) => {
                    let spent = watch.arm == Arm::Once && watch.repeats;
                    let arm = if spent { Arm::Off } else { watch.arm };
                    Entry::Watch(Watch { arm, edge: false, ..watch })
                }
            });
        }
        found.hints.len()
    }

    /// The entry of a watch, if its number still is what it was.
    fn entry(&mut self, set: usize, fd: Descriptor, token: Token) -> Result<usize> {
        let Some(thing) = self.numbers.get(&fd) else { return Err(Errno::EBADF) };
        let is_it = |entry: &Entry| {
            matches!(entry, Entry::Watch(watch)
                if watch.token == token && Thing::Object(watch.object) == *thing)
        };
        self.sets[set].entries.iter().position(is_it).ok_or(Errno::ENOENT)
    }
}

/// One queue.
#[derive(Debug)]
pub(crate) struct Fake {
    set: usize,
    number: Descriptor,
    proved: bool,
}

/// What a wait has found.
pub(crate) struct Found {
    set: usize,
    hints: VecDeque<Hint>,
}

impl Fake {
    /// Makes one of the calls that talk to the queue's set by its number.
    fn ask<R>(
        &mut self,
        verb: Verb,
        work: impl FnOnce(&mut Machine, usize) -> Result<R>,
    ) -> Result<R> {
        let (set, number) = (self.set, self.number);
        let result = machine(|machine| {
            machine.called(verb)?;
            match machine.set_of(number) {
                Ok(found) if found == set => work(machine, set),
                _ => Err(Errno::EBADF),
            }
        });
        self.proved |= result.is_ok();
        result
    }
}

impl Platform for Fake {
    /// The number.
    type Waiter = Descriptor;
    type Ringer = Descriptor;
    type Found = Found;

    /// Small, so that it is often full.
    const BATCH: usize = 4;

    fn open(_spare: Option<Fake>) -> Result<(Fake, Descriptor)> {
        let (set, number) = machine(|machine| {
            machine.sets.push(Set {
                entries: VecDeque::from([Entry::Bell]),
                bell: Bell::Rest,
                rung: false,
                prepared: false,
                alarm: None,
            });
            let set = machine.sets.len() - 1;
            // Out of the way of the numbers that tests pick.
            let number = 1000 + set as Descriptor;
            machine.numbers.insert(number, Thing::Set(set));
            (set, number)
        });
        Ok((Fake { set, number, proved: true }, number))
    }

    fn close(number: Descriptor) {
        close(number);
    }

    fn answers_to(&self, number: Descriptor) -> bool {
        machine(|machine| machine.set_of(number) == Ok(self.set))
    }

    fn owns(&self, _number: Descriptor) -> bool {
        // Nothing of it has a number.
        false
    }

    fn reach(&mut self, number: Descriptor) {
        self.number = number;
        self.proved = false;
    }

    fn retire(&mut self) {
        // Nothing is kept from one life to the next.
    }

    fn disown(&mut self) {
        // No process is forked here.
    }

    fn watch(&mut self, fd: Descriptor, side: Side, arm: Arm, token: Token) -> Result<Source> {
        self.ask(Verb::Watch, |machine, set| {
            let object = match machine.numbers.get(&fd) {
                None => return Err(Errno::EBADF),
                // Every nest is too deep here.
                Some(Thing::Set(_)) => return Err(Errno::EINVAL),
                Some(Thing::Object(object)) => *object,
            };
            let (repeats, wakes) =
                (machine.objects[object].repeats(), machine.objects[object].wakes);
            let watch = Watch { fd, object, side, arm, token, repeats, edge: repeats };
            machine.sets[set].entries.push_back(Entry::Watch(watch));
            Ok(Source { repeats, wakes, notes: 0, place: object as u32 })
        })
    }

    fn rearm(
        &mut self,
        fd: Descriptor,
        _side: Side,
        _source: &mut Source,
        arm: Arm,
        token: Token,
    ) -> Result<()> {
        self.ask(Verb::Rearm, |machine, set| {
            let at = machine.entry(set, fd, token)?;
            if let Some(Entry::Watch(watch)) = machine.sets[set].entries.get_mut(at) {
                watch.arm = arm;
                watch.edge = watch.repeats;
            }
            Ok(())
        })
    }

    fn unwatch(&mut self, fd: Descriptor, _source: Source, token: Token) -> Result<()> {
        self.ask(Verb::Unwatch, |machine, set| {
            let at = machine.entry(set, fd, token)?;
            machine.sets[set].entries.remove(at);
            Ok(())
        })
    }

    fn verify(&mut self, fd: Descriptor, source: &Source) -> Result<()> {
        match machine(|machine| machine.numbers.get(&fd).copied()) {
            None => Err(Errno::EBADF),
            Some(Thing::Object(object)) if object == source.place as usize => Ok(()),
            Some(_) => Err(Errno::ENOENT),
        }
    }

    fn about_to_wait() {
        // The script says what is in vain.
    }

    fn interrupted_in_vain() -> bool {
        machine(|machine| {
            let in_vain = machine.in_vain > 0;
            machine.in_vain = machine.in_vain.saturating_sub(1);
            in_vain
        })
    }

    fn attend(&mut self, found: &mut Found) -> Result<bool> {
        let set = self.set;
        machine(|machine| {
            machine.called(Verb::Attend)?;
            found.set = set;
            found.hints.clear();
            let unseen = core::mem::take(&mut machine.unseen);
            for entry in &machine.sets[set].entries {
                if let Entry::Watch(watch) = entry
                    && unseen.contains(&watch.fd)
                {
                    found.hints.push_back(Hint::Watched(watch.token, Readiness::IN));
                }
            }
            Ok(!found.hints.is_empty())
        })
    }

    fn prove(&mut self) -> bool {
        self.proved |= self.answers_to(self.number);
        self.proved
    }

    fn cancellation_point() {
        // No thread is cancelled here.
    }

    fn supplants(&self, new: &Source, old: &Source) -> bool {
        new.place != old.place
    }

    fn sample(
        &mut self,
        fd: Descriptor,
        side: Side,
        source: &mut Source,
        _seen: Option<Readiness>,
    ) -> Result<Sample> {
        machine(|machine| {
            machine.called(Verb::Sample)?;
            match machine.numbers.get(&fd) {
                // What repeats is asked by its number alone.
                Some(Thing::Object(object)) if source.repeats => {
                    Ok(machine.objects[*object].sample(side))
                }
                Some(Thing::Object(object)) if *object == source.place as usize => {
                    Ok(machine.objects[*object].sample(side))
                }
                _ => Err(Errno::EBADF),
            }
        })
    }

    fn bell(&mut self, bell: Bell) -> Result<()> {
        self.ask(Verb::Bell, |machine, set| {
            machine.sets[set].bell = bell;
            machine.sets[set].rung = bell == Bell::Ring;
            Ok(())
        })
    }

    fn ringer(&self) -> Descriptor {
        self.number
    }

    fn ring(number: Descriptor) -> Result<()> {
        machine(|machine| {
            machine.called(Verb::Ring)?;
            let set = machine.set_of(number)?;
            machine.sets[set].bell = Bell::Ring;
            machine.sets[set].rung = true;
            Ok(())
        })
    }

    fn prepare_alarm(&mut self) -> Result<()> {
        self.ask(Verb::PrepareAlarm, |machine, set| {
            let set = &mut machine.sets[set];
            if !core::mem::replace(&mut set.prepared, true) {
                set.entries.push_back(Entry::Alarm);
            }
            Ok(())
        })
    }

    fn alarm(&mut self, at: Option<Moment>) -> Result<()> {
        self.ask(Verb::Alarm, |machine, set| {
            assert!(machine.sets[set].prepared, "an alarm that was not prepared");
            machine.sets[set].alarm = at;
            Ok(())
        })
    }

    fn now() -> Moment {
        machine(|machine| Moment(machine.now))
    }

    fn wall() -> Span {
        machine(|machine| Span(machine.wall))
    }

    fn is_open(&self, fd: Descriptor) -> bool {
        machine(|machine| machine.numbers.contains_key(&fd))
    }

    fn waiter(number: Descriptor) -> Descriptor {
        number
    }

    fn found() -> Found {
        Found { set: usize::MAX, hints: VecDeque::new() }
    }

    fn wait(
        number: Descriptor,
        found: &mut Found,
        most: usize,
        patience: Patience,
        _cancel: Cancel,
    ) -> Result<usize> {
        machine(|machine| machine.called(Verb::Wait))?;
        loop {
            let (count, alarm, now) = machine(|machine| -> Result<_> {
                let set = machine.set_of(number)?;
                let count = machine.gather(set, found, most);
                Ok((count, machine.sets[set].alarm, machine.now))
            })?;
            if count > 0 {
                // The machine is free meanwhile: the action may move it.
                if let Some(action) = machine(|machine| machine.awake.pop_front()) {
                    action();
                }
                return Ok(count);
            }
            let end = match patience {
                Patience::Poll => return Ok(0),
                Patience::Until(end) if end.0 <= now => return Ok(0),
                Patience::Until(end) => Some(end),
                Patience::Forever => None,
            };
            if let Some(action) = machine(|machine| machine.asleep.pop_front()) {
                action();
                continue;
            }
            let next = [end, alarm].into_iter().flatten().min();
            let Some(next) = next else { panic!("a wait that nothing can end: an event is lost") };
            machine(|machine| machine.pass_to(next.0));
        }
    }

    fn next_hint(&mut self, found: &mut Found) -> Result<Option<Hint>> {
        let set = self.set;
        machine(|machine| machine.called(Verb::NextHint))?;
        if found.set != set && !found.hints.is_empty() {
            return Err(Errno::EBADF);
        }
        Ok(found.hints.pop_front())
    }
}
