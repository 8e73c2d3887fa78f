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

use super::contract::{
    Arm, Attended, Bell, Cancel, Class, Deed, Descriptor, Exit, FileNotes, Hint, Mounts, Platform,
    Readiness, Sample, Side, Source, Token, Watched,
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
    /// Urgent data is there.
    pub(crate) urgent: bool,
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
            urgent: false,
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

    /// Of urgent data can be asked where it can be watched.
    fn except(&self) -> Sample {
        Sample {
            class: self.class,
            amount: self.amount,
            ready: self.urgent,
            eof: self.eof,
            error: self.error.filter(|_| self.eof),
            silent: self.silent || self.error.is_some() && !self.eof && !self.urgent,
        }
    }

    fn sample(&self, side: Side) -> Sample {
        let able = self.ways.contains(&side);
        let (amount, ready) = match side {
            Side::Read => (self.amount, self.amount != 0),
            Side::Write => (self.room, self.room > 0 || self.class == Class::File),
            Side::Except => return self.except(),
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
            (side == Side::Except && sample.ready, Readiness::URGENT),
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
    WatchFile,
    WantFile,
    FileNotes,
    Bell,
    Ring,
    PrepareAlarm,
    Alarm,
    Wait,
    Attend,
    WatchSignal,
    NextHint,
    WatchProcess,
    ProcessExit,
    Follow,
    WatchMounts,
    Mounts,
    Renewal,
    Carry,
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

/// A file whose operations are collected. Unlike a watch it outlives its
/// number, and may give a hint after that.
#[derive(Copy, Clone, Debug)]
struct Collected {
    object: usize,
    token: Token,
    want: u32,
    found: FileNotes,
    /// Something was collected, and no wait has taken the hint.
    edge: bool,
}

/// A process: how it ended, if it has, and whether it is still to be found.
#[derive(Copy, Clone, Default, Debug)]
struct Process {
    status: Option<i32>,
    reaped: bool,
}

/// A process that a queue watches, or follows.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Interest {
    pid: i32,
    token: Token,
}

#[derive(Copy, Clone, Debug)]
enum Entry {
    Bell,
    Alarm,
    Watch(Watch),
    /// It hints once its process has ended.
    Process(Interest),
    /// There are deeds that nobody has asked for.
    Deeds,
    Signal(Signal),
    Mounts(Watcher),
    File(Collected),
}

#[derive(Copy, Clone, Debug)]
struct Signal {
    signal: i32,
    token: Token,
    on: bool,
    /// The count that was told, by a hint or an answer.
    told: u64,
}

/// Of mounts.
#[derive(Copy, Clone, Debug)]
struct Watcher {
    token: Token,
    /// A wait tells of it.
    stirs: bool,
    /// Attending tells of it.
    unseen: bool,
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
    followers: Vec<Interest>,
    deeds: VecDeque<(Token, Deed)>,
    /// A place is not used again.
    watched: Vec<Option<Interest>>,
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
    processes: BTreeMap<i32, Process>,
    /// Processes give no sign of their end.
    unwatched: bool,
    /// What was done, by whom: a child that is followed from its birth was
    /// perhaps done with it before anybody knew.
    past: VecDeque<(i32, Deed)>,
    calls: BTreeMap<Verb, usize>,
    failure: Option<(Verb, usize, Errno)>,
    asleep: VecDeque<Action>,
    awake: VecDeque<Action>,
    /// Descriptors of which no wait tells.
    unseen: Vec<Descriptor>,
    /// Nothing can be had that would wake a thread for those.
    deaf: bool,
    /// How often each signal came, and which came without anybody's knowing.
    signals: BTreeMap<i32, u64>,
    blocked: Vec<i32>,
    /// The next interruptions are by ignored signals alone.
    in_vain: usize,
    mounts: (u32, u32),
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

/// Closes a number whose object lives on elsewhere: it goes on being watched,
/// and nobody can put an end to that.
pub(crate) fn forsake(fd: Descriptor) {
    machine(|machine| machine.numbers.remove(&fd));
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

/// An operation on a file, that has this set of notes.
pub(crate) fn operate(fd: Descriptor, notes: u32) {
    collect(fd, |file| {
        if file.want & notes != 0 {
            file.found.notes |= notes;
            file.edge = true;
        }
    });
}

/// A file's file system is taken away.
pub(crate) fn revoke(fd: Descriptor) {
    collect(fd, |file| {
        file.found.revoked = true;
        file.edge = true;
    });
}

fn collect(fd: Descriptor, change: impl Fn(&mut Collected)) {
    machine(|machine| {
        let Some(&Thing::Object(object)) = machine.numbers.get(&fd) else {
            panic!("{fd} is no object")
        };
        for entry in machine.sets.iter_mut().flat_map(|set| &mut set.entries) {
            if let Entry::File(file) = entry
                && file.object == object
            {
                change(file);
            }
        }
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
    happens(fd, Side::Except, |_| {});
}

/// A process begins.
pub(crate) fn begin(pid: i32) {
    machine(|machine| machine.processes.insert(pid, Process::default()));
}

/// A process ends; whoever follows it hears of its one thread.
pub(crate) fn end(pid: i32, status: i32) {
    machine(|machine| machine.processes.get_mut(&pid).expect("a process").status = Some(status));
    does(pid, Deed::ThreadEnded(status));
}

/// Somebody reaps it: it cannot be watched any more.
pub(crate) fn reap(pid: i32) {
    machine(|machine| machine.processes.get_mut(&pid).expect("a process").reaped = true);
}

/// A process does something that is told to those who follow it by then, and
/// noted for those who will have begun when it is learnt.
pub(crate) fn does(pid: i32, deed: Deed) {
    machine(|machine| {
        for set in &mut machine.sets {
            let who = set.followers.iter().filter(|who| who.pid == pid);
            set.deeds.extend(who.map(|who| (who.token, deed)));
        }
        machine.past.push_back((pid, deed));
    });
}

/// From now on processes give no sign of their end.
pub(crate) fn hide_processes() {
    machine(|machine| machine.unwatched = true);
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

/// Attending finds nothing that would wake the thread; or does again.
pub(crate) fn is_deaf(deaf: bool) {
    machine(|machine| machine.deaf = deaf);
}

/// The process is sent a signal.
pub(crate) fn send(signal: i32) {
    machine(|machine| *machine.signals.entry(signal).or_default() += 1);
}

/// The process is sent a signal that it blocks: attending finds it.
pub(crate) fn send_blocked(signal: i32) {
    machine(|machine| machine.blocked.push(signal));
}

/// How many subscribers a signal has.
pub(crate) fn subscribers(signal: i32) -> usize {
    machine(|machine| {
        let entries = machine.sets.iter().flat_map(|set| &set.entries);
        let is_it = |entry: &&Entry| matches!(entry, Entry::Signal(it) if it.signal == signal);
        entries.filter(is_it).count()
    })
}

/// Mounts come, or go. `waits`: waits tell of it, and else attending alone,
/// because somebody has polled the queue.
pub(crate) fn mounts(mounted: u32, unmounted: u32, waits: bool) {
    machine(|machine| {
        machine.mounts.0 = machine.mounts.0.wrapping_add(mounted);
        machine.mounts.1 = machine.mounts.1.wrapping_add(unmounted);
        for entry in machine.sets.iter_mut().flat_map(|set| &mut set.entries) {
            if let Entry::Mounts(watcher) = entry {
                watcher.stirs = waits;
                watcher.unseen = true;
            }
        }
    });
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

    fn count_of(&self, signal: i32) -> u64 {
        self.signals.get(&signal).copied().unwrap_or(0)
    }

    fn signal(&mut self, set: usize, signal: i32, token: Token) -> Option<&mut Signal> {
        self.sets[set].entries.iter_mut().find_map(|entry| match entry {
            Entry::Signal(it) if it.signal == signal && it.token == token => Some(it),
            _ => None,
        })
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
            Entry::Mounts(watcher) => {
                watcher.stirs.then_some(Hint::Watched(watcher.token, Readiness::IN))
            }
            Entry::Process(who) => {
                let ended = self.processes.get(&who.pid).is_some_and(|it| it.status.is_some());
                ended.then_some(Hint::Watched(who.token, Readiness::IN))
            }
            // They are asked for after each wait; the hint itself leads nowhere.
            Entry::Deeds => {
                let nobody = Token { slot: Token::SLOTS - 1, generation: 0 };
                (!set.deeds.is_empty()).then_some(Hint::Watched(nobody, Readiness::default()))
            }
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
            Entry::File(file) => {
                let hints = file.edge && self.objects[file.object].wakes;
                hints.then_some(Hint::Watched(file.token, Readiness::IN))
            }
            Entry::Signal(Signal { signal, token, on, told }) => {
                let moved = on && self.count_of(signal) != told;
                moved.then_some(Hint::Watched(token, Readiness::IN))
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
            let counts = &self.signals;
            let set = &mut self.sets[set];
            set.entries.remove(at);
            set.entries.push_back(match entry {
                Entry::Signal(watched) => {
                    let told = counts.get(&watched.signal).copied().unwrap_or(0);
                    Entry::Signal(Signal { told, ..watched })
                }
                Entry::Bell => {
                    set.rung = false;
                    entry
                }
                Entry::Alarm | Entry::Process(_) | Entry::Deeds => entry,
                Entry::Mounts(watcher) => {
                    Entry::Mounts(Watcher { stirs: false, unseen: false, ..watcher })
                }
                Entry::Watch(watch) => {
                    let spent = watch.arm == Arm::Once && watch.repeats;
                    let arm = if spent { Arm::Off } else { watch.arm };
                    Entry::Watch(Watch { arm, edge: false, ..watch })
                }
                Entry::File(file) => Entry::File(Collected { edge: false, ..file }),
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

impl Machine {
    /// The file collected under this place, if its number still is that file.
    fn file(&mut self, set: usize, fd: Descriptor, place: u32) -> Result<usize> {
        let Some(thing) = self.numbers.get(&fd) else { return Err(Errno::EBADF) };
        let Thing::Object(object) = *thing else { return Err(Errno::ENOENT) };
        let at = self.place(set, place).ok_or(Errno::ENOENT)?;
        match self.sets[set].entries[at] {
            Entry::File(file) if file.object == object => Ok(at),
            _ => Err(Errno::ENOENT),
        }
    }

    /// The slot of its token is a file's place.
    fn place(&self, set: usize, place: u32) -> Option<usize> {
        let is_it = |entry: &Entry| matches!(entry, Entry::File(file) if file.token.slot == place);
        self.sets[set].entries.iter().position(is_it)
    }

    fn file_mut(&mut self, set: usize, at: usize) -> &mut Collected {
        match &mut self.sets[set].entries[at] {
            Entry::File(file) => file,
            other => panic!("{other:?} is no file"),
        }
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

/// What is to take a set's place.
pub(crate) struct Renewal(VecDeque<Entry>);

impl Platform for Fake {
    /// The number.
    type Waiter = Descriptor;
    type Ringer = Descriptor;
    type Found = Found;
    /// Nobody tells of a close here.
    type Outline = ();
    type Renewal = Renewal;

    /// Small, so that it is often full.
    const BATCH: usize = 4;
    const SIGNALS: i32 = 64;

    fn open(_spare: Option<Fake>) -> Result<(Fake, Descriptor)> {
        let (set, number) = machine(|machine| {
            machine.sets.push(Set {
                entries: VecDeque::from([Entry::Bell, Entry::Deeds]),
                bell: Bell::Rest,
                rung: false,
                prepared: false,
                alarm: None,
                followers: Vec::new(),
                deeds: VecDeque::new(),
                watched: Vec::new(),
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
            let class = machine.objects[object].class;
            if side == Side::Except && !matches!(class, Class::Connection | Class::Datagram) {
                return Err(Errno::EINVAL);
            }
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

    fn prepare_renewal(&mut self) -> Result<Renewal> {
        let set = self.set;
        machine(|machine| {
            machine.called(Verb::Renewal)?;
            let carried = |entry: &Entry| match entry {
                Entry::Watch(watch) => watch.repeats,
                Entry::Process(_) => true,
                _ => false,
            };
            let entries = machine.sets[set].entries.iter();
            Ok(Renewal(entries.filter(|entry| !carried(entry)).copied().collect()))
        })
    }

    fn carry(
        &mut self,
        into: &mut Renewal,
        fd: Descriptor,
        _side: Side,
        _source: &Source,
        arm: Arm,
        token: Token,
    ) -> Result<()> {
        let set = self.set;
        machine(|machine| {
            machine.called(Verb::Carry)?;
            let at = machine.entry(set, fd, token)?;
            if let Entry::Watch(watch) = machine.sets[set].entries[at] {
                into.0.push_back(Entry::Watch(Watch { arm, edge: true, ..watch }));
            }
            Ok(())
        })
    }

    fn carry_process(
        &mut self,
        into: &mut Renewal,
        watched: &Watched,
        _token: Token,
    ) -> Result<()> {
        let set = self.set;
        machine(|machine| {
            into.0.extend(machine.sets[set].watched[watched.place as usize].map(Entry::Process));
        });
        Ok(())
    }

    fn renew(&mut self, Renewal(entries): Renewal, _numbers: &[Descriptor]) -> Result<()> {
        let set = self.set;
        machine(|machine| {
            let set = &mut machine.sets[set];
            (set.entries, set.bell, set.rung) = (entries, Bell::Rest, false);
        });
        Ok(())
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

    fn attend(&mut self, found: &mut Found) -> Result<Attended> {
        let set = self.set;
        machine(|machine| {
            machine.called(Verb::Attend)?;
            found.set = set;
            found.hints.clear();
            for signal in core::mem::take(&mut machine.blocked) {
                *machine.signals.entry(signal).or_default() += 1;
            }
            let unseen = core::mem::take(&mut machine.unseen);
            for entry in &mut machine.sets[set].entries {
                match entry {
                    Entry::Watch(watch) if unseen.contains(&watch.fd) => {
                        found.hints.push_back(Hint::Watched(watch.token, Readiness::IN));
                    }
                    Entry::Mounts(watcher) if watcher.unseen => {
                        watcher.unseen = false;
                        found.hints.push_back(Hint::Watched(watcher.token, Readiness::IN));
                    }
                    _ => {}
                }
            }
            // The signals' are gathered by the next wait, as others' are.
            if found.hints.is_empty() {
                machine.gather(set, found, Fake::BATCH);
            }
            Ok(match found.hints.is_empty() {
                false => Attended::Hints,
                true if machine.deaf => Attended::Deaf,
                true => Attended::Quiet,
            })
        })
    }

    fn outline(&self, (): &()) {}

    fn take_out((): &(), _fd: Descriptor) {}

    fn rouse((): &(), _number: Descriptor) -> bool {
        false
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

    fn watch_signal(&mut self, signal: i32, token: Token, on: bool) -> Result<()> {
        self.ask(Verb::WatchSignal, |machine, set| {
            let told = machine.count_of(signal);
            let watched = Signal { signal, token, on, told };
            machine.sets[set].entries.push_back(Entry::Signal(watched));
            Ok(())
        })
    }

    fn arm_signal(&mut self, signal: i32, token: Token, on: bool) {
        machine(|machine| {
            let count = machine.count_of(signal);
            let watched = machine.signal(self.set, signal, token).expect("a watched signal");
            if on && !watched.on {
                watched.told = count;
            }
            watched.on = on;
        });
    }

    fn unwatch_signal(&mut self, signal: i32, token: Token) {
        machine(|machine| {
            machine.signal(self.set, signal, token).expect("a watched signal");
            machine.sets[self.set].entries.retain(
                |entry| !matches!(entry, Entry::Signal(it) if it.signal == signal && it.token == token),
            );
        });
    }

    fn count_signal(&mut self, signal: i32, token: Token) -> u64 {
        machine(|machine| {
            let count = machine.count_of(signal);
            machine.signal(self.set, signal, token).expect("a watched signal").told = count;
            count
        })
    }

    fn is_missed(&self) -> bool {
        false
    }

    fn watch_mounts(&mut self, token: Token) -> Result<Mounts> {
        self.ask(Verb::WatchMounts, |machine, set| {
            let watcher = Watcher { token, stirs: false, unseen: false };
            machine.sets[set].entries.push_back(Entry::Mounts(watcher));
            let (mounted, unmounted) = machine.mounts;
            Ok(Mounts { mounted, unmounted })
        })
    }

    fn unwatch_mounts(&mut self, token: Token) {
        let set = self.set;
        machine(|machine| {
            machine.sets[set]
                .entries
                .retain(|entry| !matches!(entry, Entry::Mounts(watcher) if watcher.token == token));
        });
    }

    fn mounts(&mut self) -> Result<Mounts> {
        machine(|machine| {
            machine.called(Verb::Mounts)?;
            let (mounted, unmounted) = machine.mounts;
            Ok(Mounts { mounted, unmounted })
        })
    }

    fn watch_file(&mut self, fd: Descriptor, want: u32, token: Token) -> Result<Source> {
        let set = self.set;
        machine(|machine| {
            machine.called(Verb::WatchFile)?;
            let object = match machine.numbers.get(&fd) {
                None => return Err(Errno::EBADF),
                Some(Thing::Set(_)) => return Err(Errno::EINVAL),
                Some(Thing::Object(object)) => *object,
            };
            if machine.objects[object].class != Class::File {
                return Err(Errno::EINVAL);
            }
            assert!(machine.place(set, token.slot).is_none(), "an entry was left behind");
            let found = FileNotes::default();
            let file = Collected { object, token, want, found, edge: false };
            machine.sets[set].entries.push_back(Entry::File(file));
            let wakes = machine.objects[object].wakes;
            Ok(Source { repeats: false, wakes, notes: 0, place: token.slot })
        })
    }

    fn want_file(&mut self, fd: Descriptor, source: &mut Source, want: u32) -> Result<()> {
        let set = self.set;
        machine(|machine| {
            machine.called(Verb::WantFile)?;
            let at = machine.file(set, fd, source.place);
            if at.is_err() {
                let gone = machine.place(set, source.place);
                gone.map(|at| machine.sets[set].entries.remove(at));
            }
            machine.file_mut(set, at?).want = want;
            Ok(())
        })
    }

    fn file_notes(&mut self, fd: Descriptor, source: &mut Source) -> Result<FileNotes> {
        let set = self.set;
        machine(|machine| {
            machine.called(Verb::FileNotes)?;
            let at = machine.file(set, fd, source.place)?;
            let file = *machine.file_mut(set, at);
            source.wakes = machine.objects[file.object].wakes;
            Ok(file.found)
        })
    }

    fn forget_file_notes(&mut self, source: &Source) {
        let set = self.set;
        machine(|machine| {
            if let Some(at) = machine.place(set, source.place) {
                machine.file_mut(set, at).found = FileNotes::default();
            }
        });
    }

    fn unwatch_file(&mut self, fd: Descriptor, source: Source) -> Result<()> {
        let set = self.set;
        machine(|machine| {
            let verified = machine.file(set, fd, source.place);
            let at = machine.place(set, source.place);
            at.map(|at| machine.sets[set].entries.remove(at));
            verified.map(|_| ())
        })
    }

    fn watch_process(&mut self, pid: i32, token: Token) -> Result<Watched> {
        self.ask(Verb::WatchProcess, |machine, set| {
            let there = machine.processes.get(&pid).is_some_and(|process| !process.reaped);
            if !there {
                return Err(Errno::ESRCH);
            }
            let (who, wakes) = (Interest { pid, token }, !machine.unwatched);
            let set = &mut machine.sets[set];
            set.watched.push(Some(who));
            if wakes {
                set.entries.push_back(Entry::Process(who));
            }
            Ok(Watched { place: set.watched.len() as u32 - 1, wakes })
        })
    }

    fn unwatch_process(&mut self, watched: Watched) {
        machine(|machine| {
            let set = &mut machine.sets[self.set];
            let who = set.watched[watched.place as usize].take().expect("watched once");
            set.entries.retain(|entry| !matches!(entry, Entry::Process(other) if *other == who));
        });
    }

    fn process_exit(&mut self, watched: &Watched) -> Result<Option<Exit>> {
        machine(|machine| {
            machine.called(Verb::ProcessExit)?;
            let who = machine.sets[self.set].watched[watched.place as usize].expect("watched");
            let process = machine.processes.get(&who.pid).copied().unwrap_or_default();
            Ok(process.status.map(
                |status| {
                    if process.reaped { Exit::Hidden } else { Exit::Status(status) }
                },
            ))
        })
    }

    fn watch_procdesc(
        &mut self,
        _fd: Descriptor,
        _arm: Arm,
        _token: Token,
    ) -> Result<(Source, i32)> {
        // No number stands for a process here.
        Err(Errno::EINVAL)
    }

    fn procdesc_exit(&mut self, _fd: Descriptor) -> Result<Option<Exit>> {
        Err(Errno::EBADF)
    }

    fn follow(&mut self, pid: i32, token: Token, born: bool) -> Result<()> {
        self.ask(Verb::Follow, |machine, set| {
            let past = machine.past.iter().filter(|(who, _)| born && *who == pid);
            let past: Vec<_> = past.map(|(_, deed)| (token, *deed)).collect();
            let set = &mut machine.sets[set];
            set.followers.push(Interest { pid, token });
            set.deeds.extend(past);
            Ok(())
        })
    }

    fn unfollow(&mut self, pid: i32, token: Token) {
        machine(|machine| {
            let who = Interest { pid, token };
            let set = &mut machine.sets[self.set];
            let at = set.followers.iter().position(|other| *other == who).expect("followed once");
            set.followers.remove(at);
        });
    }

    fn next_deed(&mut self) -> Option<(Token, Deed)> {
        machine(|machine| machine.sets[self.set].deeds.pop_front())
    }

    fn bell(&mut self, bell: Bell) -> Result<()> {
        self.ask(Verb::Bell, |machine, set| {
            machine.sets[set].bell = bell;
            machine.sets[set].rung = bell == Bell::Ring;
            Ok(())
        })
    }

    fn hold_bell_anew(&mut self) -> Result<()> {
        self.bell(Bell::Hold)
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
            let prepared = machine.sets[set].prepared;
            assert!(prepared || at.is_none(), "an alarm that was not prepared");
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

    fn has_sent(&self, found: &mut Found) -> bool {
        found.set == self.set
    }
}
