//! `KQUEUE_DEBUG=1`: each call, as BSD's kdump prints it.
//!
//! A line a fact: CALL, the structures that went in, RET or the structures
//! that came out. Each begins with the prefix, process and thread, and the
//! monotonic clock to the microsecond. A line is built on the stack and
//! written at once; off, all this is one load and a branch.

use super::caller::{Lists, Timeout, Wire};
use crate::errno::{Errno, Result};
use crate::event::{self, Kevent};
use crate::sync::{AtomicU8, AtomicUsize, Ordering};
use crate::sys::{self, Mutex, Native, Platform};
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::fmt::{self, Write};

/// Not asked yet: the environment decides.
const ASK: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(ASK);
/// What lines begin with; `None`: the usual.
static PREFIX: Mutex<Option<Prefix>> = Mutex::new(None);
/// NOTE_DEBUG_FUNC, or 0.
static FUNCTION: AtomicUsize = AtomicUsize::new(0);

#[derive(Copy, Clone)]
struct Prefix {
    bytes: [u8; 31],
    len: usize,
}

impl Prefix {
    fn of(text: &[u8]) -> Prefix {
        let mut bytes = [0; 31];
        let len = text.len().min(bytes.len());
        for (place, byte) in bytes.iter_mut().zip(text) {
            *place = *byte;
        }
        Prefix { bytes, len }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[inline]
fn is_on() -> bool {
    match STATE.load(Ordering::Relaxed) {
        OFF => false,
        ASK => ask_environment(),
        _ => true,
    }
}

#[cold]
fn ask_environment() -> bool {
    let on =
        std::env::var_os("KQUEUE_DEBUG").is_some_and(|value| value != "0" && !value.is_empty());
    // NOTE_DEBUG may have come first, and then stands.
    let decided = if on { ON } else { OFF };
    let _ = STATE.compare_exchange(ASK, decided, Ordering::Relaxed, Ordering::Relaxed);
    STATE.load(Ordering::Relaxed) == ON
}

/// Turns the trace on or off; what it was.
pub(super) fn switch(on: bool) -> bool {
    let was = is_on();
    STATE.store(if on { ON } else { OFF }, Ordering::Relaxed);
    was
}

/// Begins lines with this; `None`: with the usual.
pub(super) fn set_prefix(text: Option<&CStr>) {
    *PREFIX.lock() = text.map(|text| Prefix::of(text.to_bytes()));
}

/// Hands lines to this function; 0: writes them to standard error.
pub(super) fn set_function(function: usize) {
    FUNCTION.store(function, Ordering::Release);
}

/// Traces a call without lists around `run`.
#[inline]
pub(super) fn call_plain(
    name: &'static str,
    flags: Option<c_uint>,
    run: impl FnOnce() -> Result<c_int>,
) -> Result<c_int> {
    if !is_on() {
        return run();
    }
    match flags {
        Some(flags) => say(format_args!("CALL  {name}({flags:#x})")),
        None => say(format_args!("CALL  {name}()")),
    }
    let result = run();
    returned(name, result);
    result
}

/// Traces a call of the kevent family around `run`.
#[inline]
pub(super) fn call<E: Wire>(
    name: &'static str,
    kq: c_int,
    lists: &mut Lists<E>,
    run: impl FnOnce(&mut Lists<E>) -> Result<c_int>,
) -> Result<c_int> {
    if !is_on() {
        return run(lists);
    }
    called(name, kq, lists);
    let result = run(lists);
    for index in 0.. {
        let Some(entry) = lists.entry(index) else { break };
        structure(&entry);
    }
    returned(name, result);
    result
}

/// Traces a call whose arguments are refused: there are no lists to look into.
#[cold]
pub(super) fn refused<E>(
    name: &'static str,
    kq: c_int,
    changes: (*const E, c_int),
    events: (*mut E, c_int),
    error: Errno,
) -> Result<c_int> {
    if is_on() {
        call_line(name, kq, changes, events);
        returned(name, Err(error));
    }
    Err(error)
}

fn call_line<E, N: fmt::Display>(
    name: &str,
    kq: c_int,
    (changes, nchanges): (*const E, N),
    (events, nevents): (*mut E, N),
) {
    say(format_args!("CALL  {name}({kq},{changes:p},{nchanges},{events:p},{nevents})"));
}

#[cold]
fn called<E: Wire>(name: &str, kq: c_int, lists: &Lists<E>) {
    let (changes, events) = lists.pointers();
    let (nchanges, nevents) = lists.counts();
    call_line(name, kq, (changes, nchanges), (events, nevents));
    for index in 0..nchanges {
        if let Some(change) = lists.change(index) {
            structure(&change);
        }
    }
    if let Timeout::Of { sec, nsec } = lists.timeout() {
        say(format_args!("STRU  struct timespec {{ {sec}.{nsec:09} }}"));
    }
}

#[cold]
fn returned(name: &str, result: Result<c_int>) {
    match result {
        Ok(value) => say(format_args!("RET   {name} {value}")),
        Err(error) => say(format_args!("RET   {name} -1 errno {} {error:?}", error.0)),
    }
}

fn structure(event: &Kevent) {
    say(format_args!(
        "STRU  struct kevent {{ ident={}, filter={}, flags={:#x}{}, fflags={:#x}{}, data={}{}, udata={:p} }}",
        event.ident,
        FilterName(event.filter),
        event.flags,
        Bits(&FLAGS, u32::from(event.flags)),
        event.fflags,
        Bits(notes(event.filter), event.fflags),
        event.data,
        ErrorName(event),
        event.udata,
    ));
}

/// Writes one line. errno is the caller's business: it is put back.
#[cold]
fn say(what: fmt::Arguments<'_>) {
    let errno = sys::errno();
    let mut line = Line::new();
    let prefix = *PREFIX.lock();
    let micros = Native::now().0 / 1000;
    line.put(prefix.as_ref().map_or(b"KQ", Prefix::text));
    // Neither can fail: a line that is full drops the rest.
    let _ = write!(
        line,
        " {}/{} {}.{:06} ",
        std::process::id(),
        sys::thread_id(),
        micros / 1_000_000,
        micros % 1_000_000
    );
    let _ = line.write_fmt(what);
    match FUNCTION.load(Ordering::Acquire) {
        0 => {
            line.put(b"\n");
            sys::print(line.text());
        }
        function => hand_to(function, line),
    }
    sys::set_errno(errno);
}

/// What a printf-like function is called as. The second argument is there for
/// those that take a va_list, which is passed as a pointer to one (or fits
/// where a pointer goes); as the format has no conversions nobody reads it.
type Printer = unsafe extern "C" fn(*const c_char, ...);

fn hand_to(function: usize, line: Line) {
    let mut format = Line::new();
    for byte in line.text() {
        format.put(if *byte == b'%' { b"%%" } else { core::slice::from_ref(byte) });
    }
    let function: *const c_void = core::ptr::with_exposed_provenance(function);
    // SAFETY: the interface says that NOTE_DEBUG_FUNC is given such a function.
    let function = unsafe { core::mem::transmute::<*const c_void, Printer>(function) };
    let mut arguments = [0u64; 8];
    // SAFETY: the format ends in NUL and lives across the call; so does the
    // memory that stands for an empty argument list.
    unsafe { function(format.text_with_nul().as_ptr().cast(), arguments.as_mut_ptr()) };
}

const ROOM: usize = 512;

/// A line of bounded length.
struct Line {
    bytes: [u8; ROOM],
    len: usize,
}

impl Line {
    fn new() -> Line {
        Line { bytes: [0; ROOM], len: 0 }
    }

    /// Appends; what does not fit, the last byte being kept for a NUL or a
    /// line's end, is dropped.
    fn put(&mut self, text: &[u8]) {
        for byte in text {
            let last = ROOM - if *byte == b'\n' { 1 } else { 2 };
            if let Some(place) = self.bytes.get_mut(self.len).filter(|_| self.len < last) {
                *place = *byte;
                self.len += 1;
            }
        }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn text_with_nul(&self) -> &[u8] {
        self.bytes.get(..=self.len).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

macro_rules! named {
    ($($name:ident),* $(,)?) => { [$((event::$name as u32, stringify!($name))),*] };
}

static FLAGS: [(u32, &str); 12] = named![
    EV_ADD,
    EV_DELETE,
    EV_ENABLE,
    EV_DISABLE,
    EV_ONESHOT,
    EV_CLEAR,
    EV_RECEIPT,
    EV_DISPATCH,
    EV_FORCEONESHOT,
    EV_KEEPUDATA,
    EV_ERROR,
    EV_EOF,
];
static FILE_NOTES: [(u32, &str); 2] = named![NOTE_LOWAT, NOTE_FILE_POLL];
static TIMER_NOTES: [(u32, &str); 8] = named![
    NOTE_SECONDS,
    NOTE_USECONDS,
    NOTE_NSECONDS,
    NOTE_ABSOLUTE,
    NOTE_ABSTIME,
    NOTE_LEEWAY,
    NOTE_CRITICAL,
    NOTE_BACKGROUND,
];
/// NOTE_FFCOPY before its parts.
static USER_NOTES: [(u32, &str); 4] = named![NOTE_FFCOPY, NOTE_FFAND, NOTE_FFOR, NOTE_TRIGGER];
/// Numbers, not bits: found whole.
static COMMANDS: [(u32, &str); 8] = named![
    NOTE_VERSION,
    NOTE_VERSION_STR,
    NOTE_THREAD_SAFE,
    NOTE_FORK_CLEANUP,
    NOTE_DEBUG,
    NOTE_DEBUG_PREFIX,
    NOTE_DEBUG_FUNC,
    NOTE_FILE_POLL_INTERVAL,
];
/// By distance from 0: the filter with number -n stands at n.
static FILTERS: [&str; 17] = [
    "0",
    "EVFILT_READ",
    "EVFILT_WRITE",
    "EVFILT_AIO",
    "EVFILT_VNODE",
    "EVFILT_PROC",
    "EVFILT_SIGNAL",
    "EVFILT_TIMER",
    "EVFILT_NETDEV",
    "EVFILT_FS",
    "EVFILT_LIO",
    "EVFILT_USER",
    "EVFILT_LIBKQUEUE",
    "EVFILT_EMPTY",
    "-14",
    "EVFILT_EXCEPT",
    "EVFILT_PROCDESC",
];

fn notes(filter: i16) -> &'static [(u32, &'static str)] {
    match filter {
        event::EVFILT_READ | event::EVFILT_WRITE => &FILE_NOTES,
        event::EVFILT_TIMER => &TIMER_NOTES,
        event::EVFILT_USER => &USER_NOTES,
        event::EVFILT_LIBKQUEUE => &COMMANDS,
        _ => &[],
    }
}

struct FilterName(i16);

impl fmt::Display for FilterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.checked_neg().and_then(|index| usize::try_from(index).ok());
        match name.and_then(|index| FILTERS.get(index)) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// `<NAME|NAME>` for the bits that have names; nothing if none does.
struct Bits<'a>(&'a [(u32, &'static str)], u32);

impl fmt::Display for Bits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.1;
        let mut before = '<';
        if let Some((_, name)) = self.0.iter().find(|(bits, _)| *bits == left && left != 0) {
            return write!(f, "<{name}>");
        }
        for (bits, name) in self.0 {
            if *bits != 0 && left & bits == *bits {
                write!(f, "{before}{name}")?;
                before = '|';
                left &= !bits;
            }
        }
        if before == '|' { f.write_char('>') } else { Ok(()) }
    }
}

/// The errno that an EV_ERROR entry carries, by name.
struct ErrorName<'a>(&'a Kevent);

impl fmt::Display for ErrorName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = c_int::try_from(self.0.data).ok().map(Errno);
        match errno.and_then(Errno::name) {
            Some(name) if self.0.flags & event::EV_ERROR != 0 => write!(f, "<{name}>"),
            _ => Ok(()),
        }
    }
}
