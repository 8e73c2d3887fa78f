//! `KQUEUE_DEBUG=1`: each call, as BSD's kdump prints it.
//!
//! A line a fact: CALL, the structures that went in, RET or the structures
//! that came out. Each begins with the prefix, process and thread, and the
//! monotonic clock to the microsecond. Off, all this is one load and a branch.

use super::caller::{Lists, Timeout, Wire};
use super::log::{is_on, say};
use crate::errno::{Errno, Result};
use crate::event::{self, Kevent};
use core::ffi::{c_int, c_uint};
use core::fmt::{self, Write};

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
static EXCEPT_NOTES: [(u32, &str); 1] = named![NOTE_OOB];
static FS_NOTES: [(u32, &str); 2] = named![VQ_MOUNT, VQ_UNMOUNT];
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
static PROC_NOTES: [(u32, &str); 7] = named![
    NOTE_EXIT,
    NOTE_FORK,
    NOTE_EXEC,
    NOTE_EXITSTATUS,
    NOTE_TRACK,
    NOTE_TRACKERR,
    NOTE_CHILD,
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
        event::EVFILT_PROC | event::EVFILT_PROCDESC => &PROC_NOTES,
        event::EVFILT_EXCEPT => &EXCEPT_NOTES,
        event::EVFILT_FS => &FS_NOTES,
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
