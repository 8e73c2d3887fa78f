//! What kevent() does, as a program that can be run: to be read as the
//! specification of the changelist, of the events, and of the filters USER,
//! READ, WRITE and TIMER as far as the tests move them.
//!
//! It is written without the library, on plain types of its own, and keeps
//! things simple at any cost: a queue is a map of knotes, and whether a knote
//! fires is worked out when it is asked.
//!
//! The order of events is not modelled: what the kernel holds and what the
//! library holds are two lists, and only each list has an order.
//!
//! These rules are those of the library on Linux and not FreeBSD's:
//!
//! - An EV_ONESHOT event is asked again when it is retrieved, and does not come
//!   if its cause has gone.
//! - Entries with EV_ERROR carry the change's flags too, and EV_ADD stays in
//!   the flags of events.
//! - The timers' EV_ONESHOT and EV_DISPATCH are those of the last
//!   EV_ADD.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

pub const EVFILT_READ: i16 = -1;
pub const EVFILT_WRITE: i16 = -2;
pub const EVFILT_AIO: i16 = -3;
pub const EVFILT_NETDEV: i16 = -8;
pub const EVFILT_TIMER: i16 = -7;
pub const EVFILT_USER: i16 = -11;

pub const EV_ADD: u16 = 0x0001;
pub const EV_DELETE: u16 = 0x0002;
pub const EV_ENABLE: u16 = 0x0004;
pub const EV_DISABLE: u16 = 0x0008;
pub const EV_ONESHOT: u16 = 0x0010;
pub const EV_CLEAR: u16 = 0x0020;
pub const EV_RECEIPT: u16 = 0x0040;
pub const EV_DISPATCH: u16 = 0x0080;
pub const EV_FORCEONESHOT: u16 = 0x0100;
pub const EV_KEEPUDATA: u16 = 0x0200;
/// Bits that mean nothing to kevent() and come back with events.
pub const EV_UNKNOWN: u16 = 0x0c00;
pub const EV_SYSFLAGS: u16 = 0xf000;
pub const EV_ERROR: u16 = 0x4000;
pub const EV_EOF: u16 = 0x8000;

pub const NOTE_LOWAT: u32 = 1;
pub const NOTE_FILE_POLL: u32 = 2;

pub const NOTE_SECONDS: u32 = 1;
pub const NOTE_USECONDS: u32 = 2;
pub const NOTE_NSECONDS: u32 = 4;
pub const NOTE_ABSOLUTE: u32 = 8;
pub const NOTE_ABSTIME: u32 = 0x10;

pub const NOTE_TRIGGER: u32 = 0x0100_0000;
pub const NOTE_FFAND: u32 = 0x4000_0000;
pub const NOTE_FFOR: u32 = 0x8000_0000;
pub const NOTE_FFCOPY: u32 = 0xc000_0000;
pub const NOTE_FFCTRLMASK: u32 = 0xc000_0000;
pub const NOTE_FFLAGSMASK: u32 = 0x00ff_ffff;

pub const ENOENT: i32 = 2;
pub const ENXIO: i32 = 6;
pub const EBADF: i32 = 9;
pub const EINVAL: i32 = 22;
pub const ENOSYS: i32 = 38;

/// `struct kevent`.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kevent {
    pub ident: usize,
    pub filter: i16,
    pub flags: u16,
    pub fflags: u32,
    pub data: i64,
    pub udata: usize,
}

/// On one line, also in the long form of a list.
impl std::fmt::Debug for Kevent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Kevent { ident, filter, flags, fflags, data, udata } = self;
        write!(f, "({ident}, {filter}, {flags:#x}, {fflags:#x}, {data}, {udata})")
    }
}

/// What a descriptor can name.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The reading end of a pipe.
    Pipe,
    /// The writing end of one, into which nobody writes.
    PipeWriter,
    /// One end of a pair of stream sockets; nobody writes into this end.
    Socket,
    /// A regular file, open for reading, that others make longer.
    File,
}

#[derive(Copy, Clone, Debug)]
struct Object {
    kind: Kind,
    /// What can be read.
    bytes: i64,
    /// The other end is open.
    peer: bool,
}

/// What a filter keeps with a knote.
#[derive(Copy, Clone, Debug)]
enum Own {
    Nothing,
    User { triggered: bool },
    Timer { expired: bool },
}

/// One registration.
#[derive(Copy, Clone, Debug)]
struct Knote {
    /// The flags that return with its events.
    flags: u16,
    udata: usize,
    /// `fflags` and `data` as last given.
    want: u32,
    arg: i64,
    own: Own,
    disabled: bool,
    /// EV_FORCEONESHOT: returned next, whatever its condition.
    forced: bool,
    /// Since it was last returned, its condition was found to hold: by a
    /// change that named it while it was enabled, or as its object changed.
    /// It matters to EV_CLEAR.
    active: bool,
    /// It was returned by a call with little room, so its file's last change
    /// may still be on its way.
    echoes: bool,
}

/// What is true of a knote whose condition holds.
#[derive(Copy, Clone, Default, Debug)]
struct Out {
    fflags: u32,
    data: i64,
    eof: bool,
}

/// What a call does after it has applied its changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It fails, without room to say so in an entry.
    Fails(i32),
    /// It returns these, or 0 and nothing, and collects no events.
    Returns(Vec<Kevent>),
    /// It goes on to collect.
    Collects,
}

/// A queue, and the world that it watches.
#[derive(Clone, Default, Debug)]
pub struct Model {
    objects: BTreeMap<usize, Object>,
    files: bool,
    knotes: BTreeMap<(i16, usize), Knote>,
}

fn is_descriptor_filter(filter: i16) -> bool {
    filter == EVFILT_READ || filter == EVFILT_WRITE
}

/// A number that is no filter is EINVAL, a filter that is not there ENOSYS;
/// but AIO is refused as BSD refuses it.
fn find_filter(filter: i16) -> Result<(), i32> {
    match filter {
        EVFILT_READ | EVFILT_WRITE | EVFILT_TIMER | EVFILT_USER => Ok(()),
        EVFILT_AIO => Err(ENXIO),
        -14 => Err(EINVAL),
        -16..=-1 => Err(ENOSYS),
        _ => Err(EINVAL),
    }
}

// The world.

impl Model {
    /// A number comes to stand for something new. Its old knotes are gone.
    pub fn open(&mut self, number: usize, kind: Kind) {
        self.close(number);
        self.files |= kind == Kind::File;
        self.objects.insert(number, Object { kind, bytes: 0, peer: true });
    }

    /// The knotes of a number go with it, pending events included.
    pub fn close(&mut self, number: usize) {
        self.objects.remove(&number);
        self.knotes.retain(|(filter, ident), _| !is_descriptor_filter(*filter) || *ident != number);
    }

    pub fn kind(&self, number: usize) -> Option<Kind> {
        self.objects.get(&number).map(|object| object.kind)
    }

    /// May the kernel call something ready that is no event, and say so once
    /// more after a call has looked? A watch on a file says that it ends; a
    /// descriptor below its mark, or hung up though it cannot do what is
    /// watched, or though disabled, is armed anew for what comes next.
    pub fn is_doubtful(&self) -> bool {
        let doubtful = |(filter, ident): &(i16, usize), knote: &Knote| {
            let hung_up = self.objects.get(ident).is_some_and(|object| !object.peer);
            is_descriptor_filter(*filter) && (hung_up || knote.want & NOTE_LOWAT != 0)
        };
        self.files || self.knotes.iter().any(|(key, knote)| doubtful(key, knote))
    }

    /// How much can be read there.
    pub fn bytes(&self, number: usize) -> i64 {
        self.objects.get(&number).map_or(0, |object| object.bytes)
    }

    /// Can something be sent to it?
    pub fn takes_input(&self, number: usize) -> bool {
        let object = self.objects.get(&number);
        object.is_some_and(|object| object.peer && object.kind != Kind::PipeWriter)
    }

    /// Has it another end, which can be closed?
    pub fn has_peer(&self, number: usize) -> bool {
        let object = self.objects.get(&number);
        object.is_some_and(|object| object.peer && object.kind != Kind::File)
    }

    /// Bytes arrive; the file grows.
    pub fn put(&mut self, number: usize, bytes: i64) {
        if let Some(object) = self.objects.get_mut(&number) {
            object.bytes += bytes;
        }
        self.changed(EVFILT_READ, number);
    }

    /// The program reads. This tells no knote anything; but what has become
    /// untrue is not returned.
    pub fn take(&mut self, number: usize, bytes: i64) {
        if let Some(object) = self.objects.get_mut(&number) {
            object.bytes -= bytes;
        }
    }

    /// The other end is closed.
    pub fn hang_up(&mut self, number: usize) {
        if let Some(object) = self.objects.get_mut(&number) {
            object.peer = false;
        }
        self.changed(EVFILT_READ, number);
        self.changed(EVFILT_WRITE, number);
    }

    /// A change of an object is remembered by disabled knotes too.
    fn changed(&mut self, filter: i16, ident: usize) {
        let holds = self.holds(filter, ident).is_some();
        if let Some(knote) = self.knotes.get_mut(&(filter, ident)) {
            knote.active |= holds;
        }
    }
}

// The filters.

impl Model {
    /// Does the condition of a knote hold, and what is there to say?
    fn holds(&self, filter: i16, ident: usize) -> Option<Out> {
        let knote = self.knotes.get(&(filter, ident))?;
        match knote.own {
            Own::Nothing => {
                let object = self.objects.get(&ident)?;
                if filter == EVFILT_READ { read(knote, object) } else { write(knote, object) }
            }
            Own::User { triggered } => triggered.then_some(user_out(knote)),
            // Each of our timers expires at once or not in our lifetime.
            Own::Timer { expired } => expired.then_some(Out { data: 1, ..Out::default() }),
        }
    }
}

fn read(knote: &Knote, object: &Object) -> Option<Out> {
    let eof = !object.peer;
    let fires = match object.kind {
        Kind::Pipe => eof || object.bytes > 0,
        // Below a mark too, the end is told.
        Kind::Socket if knote.want & NOTE_LOWAT != 0 => eof || object.bytes >= knote.arg,
        Kind::Socket => eof || object.bytes > 0,
        Kind::File => object.bytes != 0 || knote.want & NOTE_FILE_POLL != 0,
        // The wrong way: accepted, silent.
        Kind::PipeWriter => false,
    };
    fires.then_some(Out { data: object.bytes, eof, fflags: 0 })
}

/// Nobody writes, so there always is room: more than any mark here. How much
/// is not modelled.
fn write(_knote: &Knote, object: &Object) -> Option<Out> {
    match object.kind {
        Kind::Pipe => None,
        Kind::PipeWriter | Kind::Socket => Some(Out { eof: !object.peer, ..Out::default() }),
        Kind::File => Some(Out::default()),
    }
}

fn user_out(knote: &Knote) -> Out {
    Out { fflags: knote.want, data: knote.arg, eof: false }
}

/// A USER knote that is there meets a change.
fn update_user(knote: &mut Knote, change: &Kevent) {
    let given = change.fflags & NOTE_FFLAGSMASK;
    match change.fflags & NOTE_FFCTRLMASK {
        NOTE_FFAND => knote.want &= given,
        NOTE_FFOR => knote.want |= given,
        NOTE_FFCOPY => knote.want = given,
        _ => {}
    }
    knote.arg = change.data;
    if change.fflags & NOTE_TRIGGER != 0 {
        knote.own = Own::User { triggered: true };
    } else if change.flags & EV_CLEAR != 0 {
        knote.own = Own::User { triggered: false };
    }
}

/// Starts a timer by `want` and `arg`, whatever it was before.
fn start_timer(knote: &mut Knote) -> Result<(), i32> {
    let units = knote.want & (NOTE_SECONDS | NOTE_USECONDS | NOTE_NSECONDS);
    let moments = NOTE_ABSOLUTE | NOTE_ABSTIME;
    if knote.want & !(units | moments) != 0 || units.count_ones() > 1 || knote.arg < 0 {
        return Err(EINVAL);
    }
    // NOTE_ABSTIME stays reported, all others are told once.
    if knote.want & NOTE_ABSTIME == 0 {
        knote.flags |= EV_CLEAR;
    }
    // The tests know two times: an hour from now, and 1970.
    let expired = knote.want & moments != 0;
    assert!(expired || knote.arg >= 3600 && units == NOTE_SECONDS, "not a timer of these tests");
    knote.own = Own::Timer { expired };
    // An expiration that was not told yet is told no more.
    knote.active = false;
    Ok(())
}

// Changes.

impl Model {
    /// A call begins: its changes are applied in order.
    pub fn apply(&mut self, changes: &[Kevent], room: usize) -> Answer {
        let mut entries = Vec::new();
        for change in changes {
            if change.filter == 0 {
                continue;
            }
            let result = self.register(change);
            if result.is_ok() && change.flags & EV_RECEIPT == 0 {
                continue;
            }
            if entries.len() == room {
                // A failure is the call's own; a receipt just ends it.
                return match result {
                    Err(errno) => Answer::Fails(errno),
                    Ok(()) => Answer::Returns(Vec::new()),
                };
            }
            entries.push(Kevent {
                flags: change.flags | EV_ERROR,
                data: i64::from(result.err().unwrap_or(0)),
                ..*change
            });
        }
        if !entries.is_empty() || room == 0 {
            return Answer::Returns(entries);
        }
        Answer::Collects
    }

    fn register(&mut self, change: &Kevent) -> Result<(), i32> {
        let change = &Kevent { flags: change.flags & !EV_SYSFLAGS, ..*change };
        let has = |bits| change.flags & bits == bits;
        if has(EV_ENABLE | EV_DISABLE) {
            return Err(EINVAL);
        }
        find_filter(change.filter)?;
        if has(EV_ADD | EV_KEEPUDATA) {
            return Err(EINVAL);
        }
        // The descriptor is looked at first, whatever is asked.
        if is_descriptor_filter(change.filter) && !self.objects.contains_key(&change.ident) {
            return Err(EBADF);
        }
        let key = (change.filter, change.ident);
        let knote = match self.knotes.get(&key) {
            None if !has(EV_ADD) => return Err(ENOENT),
            None => Knote::new(change)?,
            Some(_) if has(EV_DELETE) => {
                self.knotes.remove(&key);
                return Ok(());
            }
            Some(knote) => {
                let mut knote = *knote;
                knote.update(change)?;
                knote
            }
        };
        self.knotes.insert(key, knote);
        if !knote.disabled {
            self.changed(change.filter, change.ident);
        }
        Ok(())
    }
}

impl Knote {
    fn new(change: &Kevent) -> Result<Knote, i32> {
        let mut knote = Knote {
            flags: behaviour(change.flags) | EV_ADD,
            udata: change.udata,
            want: change.fflags,
            arg: change.data,
            own: Own::Nothing,
            disabled: change.flags & EV_DISABLE != 0,
            // It is for knotes that are there.
            forced: false,
            active: false,
            echoes: false,
        };
        match change.filter {
            EVFILT_USER => {
                // No operation, and NOTE_TRIGGER does not trigger.
                knote.want &= NOTE_FFLAGSMASK;
                knote.own = Own::User { triggered: false };
            }
            EVFILT_TIMER => start_timer(&mut knote)?,
            _ => {}
        }
        Ok(knote)
    }

    fn update(&mut self, change: &Kevent) -> Result<(), i32> {
        let has = |bit| change.flags & bit != 0;
        match change.filter {
            EVFILT_USER => update_user(self, change),
            EVFILT_TIMER => {
                // Nothing but EV_ADD touches the time; that begins it anew.
                if has(EV_ADD) {
                    let retaken = EV_ONESHOT | EV_DISPATCH;
                    self.flags = self.flags & !retaken | change.flags & retaken;
                    self.want = change.fflags;
                    self.arg = change.data;
                    start_timer(self)?;
                }
            }
            _ => {
                self.want = change.fflags;
                self.arg = change.data;
            }
        }
        if has(EV_ENABLE) {
            self.disabled = false;
        }
        if has(EV_DISABLE) {
            self.disabled = true;
        }
        if !has(EV_KEEPUDATA) {
            self.udata = change.udata;
        }
        self.forced |= has(EV_FORCEONESHOT);
        if self.forced {
            self.flags |= EV_ONESHOT;
        }
        Ok(())
    }

    fn is(&self, behaviour: u16) -> bool {
        self.flags & behaviour != 0
    }
}

/// What of a change's flags a knote keeps for life.
fn behaviour(flags: u16) -> u16 {
    flags & !(EV_ADD | EV_DELETE | EV_ENABLE | EV_DISABLE | EV_FORCEONESHOT | EV_KEEPUDATA)
}

// Events.

impl Model {
    /// Every event that a call with room enough returns now.
    pub fn pending(&self) -> Vec<Kevent> {
        self.knotes.keys().filter_map(|key| self.event(*key)).collect()
    }

    fn event(&self, key: (i16, usize)) -> Option<Kevent> {
        let (filter, ident) = key;
        let knote = self.knotes.get(&key)?;
        if knote.disabled {
            return None;
        }
        let out = match self.holds(filter, ident) {
            _ if knote.is(EV_CLEAR) && !knote.is(EV_ONESHOT) && !knote.active => return None,
            Some(out) => out,
            None if !knote.forced => return None,
            None if filter == EVFILT_USER => user_out(knote),
            None => Out::default(),
        };
        Some(Kevent {
            ident,
            filter,
            flags: if out.eof { knote.flags | EV_EOF } else { knote.flags },
            fflags: out.fflags,
            data: out.data,
            udata: knote.udata,
        })
    }

    /// Is it left open whether this EV_CLEAR knote's event comes?
    ///
    /// No kernel reports a mark of nothing as reached. For a level that is made
    /// up for; but an arrival that was read again before anybody looked leaves
    /// no edge. And what is told of a file's change and what is seen at once
    /// travel apart: with little room one change may be told in two calls.
    pub fn is_vague(&self, event: &Kevent) -> bool {
        let knote = self.knotes.get(&(event.filter, event.ident));
        knote.is_some_and(|knote| {
            let vague = match self.kind(event.ident) {
                Some(Kind::Socket) => knote.want & NOTE_LOWAT != 0 && knote.arg <= 0,
                Some(Kind::File) => knote.echoes && !knote.active,
                _ => false,
            };
            !knote.disabled && event.filter == EVFILT_READ && knote.is(EV_CLEAR) && vague
        })
    }

    /// A call had room for all there was.
    pub fn looked_at_all(&mut self) {
        for knote in self.knotes.values_mut() {
            knote.echoes = false;
        }
    }

    /// An event was returned: at most once a call, and with these effects.
    pub fn returned(&mut self, event: &Kevent) {
        let key = (event.filter, event.ident);
        let Some(knote) = self.knotes.get_mut(&key) else { panic!("no knote for {event:?}") };
        if knote.is(EV_ONESHOT) {
            self.knotes.remove(&key);
            return;
        }
        knote.active = false;
        knote.echoes = true;
        if knote.is(EV_CLEAR) {
            knote.own = match knote.own {
                Own::Nothing => Own::Nothing,
                Own::User { .. } => Own::User { triggered: false },
                Own::Timer { .. } => Own::Timer { expired: false },
            };
        }
        if knote.is(EV_DISPATCH) {
            knote.disabled = true;
        }
    }
}
