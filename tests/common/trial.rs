//! Random histories of a queue, played to the model and to a world side by
//! side.
//!
//! With room for more events than can pend, a call must return exactly those
//! of the model, in any order. With less room it must return some of them,
//! none twice. poll() must call the queue readable whenever an event pends; it
//! may be wrong the other way until a call has looked (what is ready in the
//! kernel's eyes is not yet an event), but not after one that had room.

#![forbid(unsafe_code)]

use super::model::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

/// Descriptors of a history.
pub const NUMBERS: usize = 5;
/// More than can pend: each number has two knotes, and each other filter as
/// many as there are small idents; the bell and the like take places too.
pub const AMPLE: usize = 4 * NUMBERS + 10;

/// What the model is compared with.
pub trait World {
    /// The ident of the descriptor called `number` here.
    fn ident(&self, number: usize) -> usize;
    fn open(&mut self, number: usize, kind: Kind);
    fn close(&mut self, number: usize);
    fn put(&mut self, number: usize, bytes: usize);
    fn take(&mut self, number: usize, bytes: usize);
    fn hang_up(&mut self, number: usize);
    /// A call that does not wait. `shared`: both lists are the same memory.
    fn kevent(&mut self, changes: &[Kevent], room: usize, shared: bool)
    -> Result<Vec<Kevent>, i32>;
    /// Does poll() call the queue readable?
    fn is_readable(&mut self) -> bool;
}

#[derive(Clone)]
pub enum Step {
    Open(usize, Kind),
    Close(usize),
    Put(usize, usize),
    Take(usize, usize),
    Drain(usize),
    HangUp(usize),
    /// Idents of descriptor filters are numbers still.
    Call {
        changes: Vec<Kevent>,
        room: usize,
        shared: bool,
    },
}

/// On one line, also in the long form of a list.
impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Open(number, kind) => write!(f, "Open({number}, {kind:?})"),
            Step::Close(number) => write!(f, "Close({number})"),
            Step::Put(number, bytes) => write!(f, "Put({number}, {bytes})"),
            Step::Take(number, bytes) => write!(f, "Take({number}, {bytes})"),
            Step::Drain(number) => write!(f, "Drain({number})"),
            Step::HangUp(number) => write!(f, "HangUp({number})"),
            Step::Call { changes, room, shared } => {
                write!(f, "Call {{ changes: {changes:?}, room: {room}, shared: {shared} }}")
            }
        }
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Pipe),
        1 => Just(Kind::PipeWriter),
        3 => Just(Kind::Socket),
        1 => Just(Kind::File),
    ]
}

/// Mostly what programs say, sometimes anything.
fn flags() -> impl Strategy<Value = u16> {
    let action = prop_oneof![
        8 => Just(EV_ADD),
        2 => Just(EV_ADD | EV_DISABLE),
        2 => Just(EV_ADD | EV_ENABLE),
        2 => Just(EV_DELETE),
        3 => Just(EV_ENABLE),
        3 => Just(EV_DISABLE),
        2 => Just(0),
        1 => Just(EV_KEEPUDATA),
        1 => Just(EV_ENABLE | EV_KEEPUDATA),
        1 => Just(EV_FORCEONESHOT),
        1 => Just(EV_ADD | EV_DELETE),
        1 => Just(EV_ENABLE | EV_FORCEONESHOT),
        1 => Just(EV_ADD | EV_FORCEONESHOT),
        1 => any::<u16>().prop_map(|flags| flags & 0x3ff),
    ];
    let behaviour = prop_oneof![
        5 => Just(0),
        3 => Just(EV_CLEAR),
        2 => Just(EV_ONESHOT),
        2 => Just(EV_DISPATCH),
        1 => Just(EV_CLEAR | EV_DISPATCH),
        1 => Just(EV_ONESHOT | EV_CLEAR | EV_DISPATCH),
        1 => Just(EV_UNKNOWN),
        1 => any::<u16>().prop_map(|flags| flags & EV_SYSFLAGS),
    ];
    let receipt = prop_oneof![12 => Just(0), 1 => Just(EV_RECEIPT)];
    (action, behaviour, receipt)
        .prop_map(|(action, behaviour, receipt)| action | behaviour | receipt)
}

/// A filter, and the `fflags` and `data` that it may be given.
fn request() -> impl Strategy<Value = (i16, u32, i64)> {
    let mark = || (any::<bool>(), prop_oneof![Just(-1i64), Just(0), 1..12i64]);
    let read = (0..4u32, mark()).prop_map(|(note, (marked, mark))| {
        let note = if marked { note } else { note & !NOTE_LOWAT };
        (EVFILT_READ, note, mark)
    });
    let write = mark().prop_map(|(marked, mark)| (EVFILT_WRITE, u32::from(marked), mark));
    let operation = prop_oneof![Just(0), Just(NOTE_FFAND), Just(NOTE_FFOR), Just(NOTE_FFCOPY)];
    let trigger = prop_oneof![Just(0), Just(NOTE_TRIGGER)];
    let user =
        (operation, trigger, 0..8u32, 0..4i64).prop_map(|(operation, trigger, bits, data)| {
            (EVFILT_USER, operation | trigger | bits, data)
        });
    let timer = prop_oneof![
        3 => Just((NOTE_ABSTIME | NOTE_SECONDS, 1)),
        2 => Just((NOTE_ABSOLUTE | NOTE_NSECONDS, 1)),
        1 => Just((NOTE_ABSTIME | NOTE_ABSOLUTE, 0)),
        2 => Just((NOTE_SECONDS, 3600)),
        1 => Just((NOTE_SECONDS | NOTE_USECONDS, 3600)),
        1 => Just((NOTE_SECONDS, -1)),
        1 => Just((1 << 20, 3600)),
    ]
    .prop_map(|(fflags, data)| (EVFILT_TIMER, fflags, data));
    let other = prop_oneof![
        2 => Just(0),
        1 => Just(EVFILT_AIO),
        1 => Just(EVFILT_NETDEV),
        1 => Just(-14i16),
        1 => Just(-17i16),
        1 => Just(1i16),
        1 => Just(i16::MIN),
    ]
    .prop_map(|filter| (filter, 0, 0));
    prop_oneof![10 => read, 5 => write, 6 => user, 3 => timer, 1 => other]
}

/// An ident beyond every descriptor.
const NO_NUMBER: usize = usize::MAX;

fn change() -> impl Strategy<Value = Kevent> {
    let ident = prop_oneof![30 => 0..NUMBERS, 1 => Just(NO_NUMBER)];
    (ident, request(), flags(), 0..4usize).prop_map(
        |(ident, (filter, fflags, data), flags, udata)| Kevent {
            ident,
            filter,
            flags,
            fflags,
            data,
            udata,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0..NUMBERS;
    let room = prop_oneof![2 => Just(0), 6 => 1..4usize, 12 => Just(AMPLE)];
    prop_oneof![
        2 => (number(), kind()).prop_map(|(number, kind)| Step::Open(number, kind)),
        1 => number().prop_map(Step::Close),
        4 => (number(), 1..6usize).prop_map(|(number, bytes)| Step::Put(number, bytes)),
        2 => (number(), 1..6usize).prop_map(|(number, bytes)| Step::Take(number, bytes)),
        1 => number().prop_map(Step::Drain),
        1 => number().prop_map(Step::HangUp),
        12 => (prop::collection::vec(change(), 0..4), room, any::<bool>())
            .prop_map(|(changes, room, shared)| Step::Call { changes, room, shared }),
    ]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let open = prop::collection::vec(kind(), NUMBERS - 1).prop_map(|kinds| {
        let opened = kinds.into_iter().enumerate();
        opened.map(|(number, kind)| Step::Open(number, kind)).collect::<Vec<_>>()
    });
    (open, prop::collection::vec(step(), 1..40)).prop_map(|(mut open, mut steps)| {
        open.append(&mut steps);
        open
    })
}

/// Plays histories, each in a world of its own. The same ones each time, but
/// PROPTEST_CASES asks for more and PROPTEST_RNG_SEED for others.
pub fn play<W: World>(cases: u32, world: impl Fn() -> W) {
    let given = Config::default();
    let config = Config {
        failure_persistence: None,
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { given.cases } else { cases },
        rng_seed: match given.rng_seed {
            RngSeed::Random => RngSeed::Fixed(0x6b71),
            fixed => fixed,
        },
        ..given
    };
    let played = TestRunner::new(config).run(&history(), |steps| {
        let mut world = world();
        let mut model = Model::default();
        for (index, step) in steps.iter().enumerate() {
            one(&mut model, &mut world, step)
                .map_err(|what| TestCaseError::fail(format!("step {index}: {what}")))?;
        }
        Ok(())
    });
    if let Err(failure) = played {
        panic!("{failure}");
    }
}

/// Plays the histories that once came out wrong, by name.
pub fn play_known<W: World>(world: impl Fn() -> W) {
    for (name, steps) in known() {
        let mut world = world();
        let mut model = Model::default();
        for (index, step) in steps.iter().enumerate() {
            if let Err(what) = one(&mut model, &mut world, step) {
                panic!("{name}: step {index}: {what}");
            }
        }
    }
}

fn known() -> Vec<(&'static str, Vec<Step>)> {
    let ev =
        |filter, flags, fflags, data| Kevent { ident: 0, filter, flags, fflags, data, udata: 0 };
    let read = |flags| ev(EVFILT_READ, flags, 0, 0);
    let write = |flags| ev(EVFILT_WRITE, flags, 0, 0);
    let apply = |change| Step::Call { changes: vec![change], room: 0, shared: false };
    let collect = || Step::Call { changes: Vec::new(), room: AMPLE, shared: false };
    let open = |kind| Step::Open(0, kind);
    let one_of_them = || Step::Call { changes: Vec::new(), room: 1, shared: false };
    use Kind::{File, Pipe, Socket};
    vec![
        (
            "a file's event came after its number had become a pipe",
            vec![open(File), apply(write(EV_ADD)), open(Pipe), collect()],
        ),
        (
            "EV_ADD failed on a number that had become a file",
            vec![open(Pipe), apply(read(EV_ADD)), open(File), apply(read(EV_ADD)), collect()],
        ),
        (
            "EV_DELETE failed on a number that had become a file",
            vec![open(Pipe), apply(read(EV_ADD)), open(File), apply(read(EV_DELETE))],
        ),
        (
            "EV_ADD with EV_DELETE met the knote of an earlier file",
            vec![
                open(Pipe),
                apply(read(EV_ADD)),
                open(Pipe),
                apply(read(EV_ADD | EV_DELETE)),
                Step::Put(0, 1),
                collect(),
            ],
        ),
        (
            "EV_DELETE of a knote of an earlier file ended a new one's watch",
            vec![
                open(Socket),
                apply(write(EV_ADD)),
                open(Socket),
                apply(read(EV_ADD)),
                apply(write(EV_DELETE)),
                Step::Put(0, 1),
                collect(),
            ],
        ),
        (
            "EV_ENABLE of a knote of an earlier file took a new one's watch",
            vec![
                open(Socket),
                apply(write(EV_ADD | EV_DISABLE)),
                open(Socket),
                apply(read(EV_ADD)),
                apply(write(EV_ENABLE)),
                collect(),
            ],
        ),
        (
            "an EV_FORCEONESHOT event came though its descriptor was closed",
            vec![
                open(Pipe),
                apply(read(EV_ADD)),
                apply(read(EV_FORCEONESHOT)),
                open(Pipe),
                collect(),
            ],
        ),
        (
            "an EV_FORCEONESHOT user event had lost what is stored",
            vec![
                apply(ev(EVFILT_USER, EV_ADD, 5, 7)),
                apply(ev(EVFILT_USER, EV_FORCEONESHOT, 0, 8)),
                collect(),
            ],
        ),
        (
            "a timer begun anew with EV_FORCEONESHOT fired for ever",
            vec![
                apply(ev(EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 3600)),
                apply(ev(EVFILT_TIMER, EV_ADD | EV_FORCEONESHOT, NOTE_SECONDS, 3600)),
                collect(),
                collect(),
            ],
        ),
        (
            "EV_DISPATCH used up what NOTE_ABSTIME keeps",
            vec![
                apply(ev(EVFILT_TIMER, EV_ADD | EV_DISPATCH, NOTE_ABSTIME, 1)),
                collect(),
                apply(ev(EVFILT_TIMER, EV_ENABLE, 0, 0)),
                collect(),
            ],
        ),
        (
            "an EV_CLEAR event with a mark of 0 came twice",
            vec![
                open(Pipe),
                Step::Put(0, 3),
                apply(ev(EVFILT_READ, EV_ADD | EV_CLEAR, NOTE_LOWAT, 0)),
                collect(),
                collect(),
            ],
        ),
        (
            "what waited for room came after its number had become another file",
            vec![
                open(Socket),
                apply(ev(EVFILT_USER, EV_ADD, 0, 0)),
                apply(write(EV_ADD)),
                apply(ev(EVFILT_USER, 0, NOTE_TRIGGER, 0)),
                one_of_them(),
                open(Kind::PipeWriter),
                collect(),
            ],
        ),
    ]
}

fn one<W: World>(model: &mut Model, world: &mut W, step: &Step) -> Result<(), String> {
    match *step {
        Step::Open(number, kind) => {
            model.open(world.ident(number), kind);
            world.open(number, kind);
        }
        Step::Close(number) if model.kind(world.ident(number)).is_some() => {
            model.close(world.ident(number));
            world.close(number);
        }
        Step::Put(number, bytes) if model.takes_input(world.ident(number)) => {
            model.put(world.ident(number), bytes as i64);
            world.put(number, bytes);
        }
        Step::Take(number, bytes) => take(model, world, number, bytes),
        Step::Drain(number) => take(model, world, number, usize::MAX),
        Step::HangUp(number) if model.has_peer(world.ident(number)) => {
            model.hang_up(world.ident(number));
            world.hang_up(number);
        }
        Step::Call { ref changes, room, shared } => {
            let changes = changes.iter().map(|change| Kevent {
                ident: match change.filter {
                    EVFILT_READ | EVFILT_WRITE if change.ident < NUMBERS => {
                        world.ident(change.ident)
                    }
                    _ => change.ident,
                },
                ..*change
            });
            call(model, world, &changes.collect::<Vec<_>>(), room, shared)?;
        }
        // There is nothing that it could be done to.
        Step::Close(_) | Step::Put(..) | Step::HangUp(_) => {}
    }
    let pending = certain(model, model.pending());
    if pending.is_empty() || world.is_readable() {
        return Ok(());
    }
    Err(format!("poll() sees nothing, but there pends {pending:?}"))
}

/// Without the events that may or may not come.
fn certain(model: &Model, mut events: Vec<Kevent>) -> Vec<Kevent> {
    events.retain(|event| !model.is_vague(event));
    events.sort();
    events
}

fn take<W: World>(model: &mut Model, world: &mut W, number: usize, bytes: usize) {
    let there = usize::try_from(model.bytes(world.ident(number))).unwrap_or(0);
    let bytes = bytes.min(there);
    if bytes > 0 {
        model.take(world.ident(number), bytes as i64);
        world.take(number, bytes);
    }
}

fn call<W: World>(
    model: &mut Model,
    world: &mut W,
    changes: &[Kevent],
    room: usize,
    shared: bool,
) -> Result<(), String> {
    let answer = model.apply(changes, room);
    let got = world.kevent(changes, room, shared);
    let expected = match answer {
        Answer::Fails(errno) => Err(errno),
        Answer::Returns(entries) => Ok(entries),
        Answer::Collects => return collected(model, world, room, got),
    };
    if got == expected {
        return Ok(());
    }
    Err(format!("{changes:?}\nmust return {expected:?}\nand returned {got:?}"))
}

fn collected<W: World>(
    model: &mut Model,
    world: &mut W,
    room: usize,
    got: Result<Vec<Kevent>, i32>,
) -> Result<(), String> {
    let mut got = got.map_err(|errno| format!("failed with {errno}"))?;
    for event in &mut got {
        if event.filter == EVFILT_WRITE {
            event.data = 0;
        }
    }
    got.sort();
    let pending = certain(model, model.pending());
    let told = certain(model, got.clone());
    let distinct = got.windows(2).all(|pair| pair[0] != pair[1]);
    let ample = room >= AMPLE;
    let right = if ample {
        told == pending
    } else {
        let some = !got.is_empty() || pending.is_empty();
        some && got.len() <= room && told.iter().all(|event| pending.contains(event))
    };
    let right = right && distinct;
    if !right {
        return Err(format!("there pends {pending:?}\nand with room {room} came {got:?}"));
    }
    for event in &got {
        model.returned(event);
    }
    if ample {
        model.looked_at_all();
    }
    if !ample || !model.pending().is_empty() || !world.is_readable() {
        return Ok(());
    }
    let heard = model.is_doubtful() && world.kevent(&[], room, false) == Ok(Vec::new());
    if heard && !world.is_readable() {
        return Ok(());
    }
    Err(String::from("nothing pends, all was looked at, and poll() sees something"))
}
