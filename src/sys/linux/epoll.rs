//! The epoll sets of a queue, and waiting on them.
//!
//! The descriptor that the application holds *is* an epoll descriptor, so
//! poll, select, other epolls and other queues can watch it. A descriptor is
//! known to a set by (open file, number): when both sides of one descriptor
//! are watched, the second goes into a second set, nested in the first, so
//! that each side has its own mode and no write edge comes with every read.
//! What is watched of a descriptor beside these two goes into a third set, so
//! that the three never contend for a place.

use super::descriptor::Private;
use super::kept::{self, Mark};
use super::loader;
use super::syscall::{self, check, shut};
use crate::clock::{Moment, Patience, Span};
use crate::errno::{Errno, Result};
use crate::sync::{AtomicBool, Ordering};
use crate::sys::contract::{Arm, Cancel, Descriptor, Readiness, Side, Token};
use core::mem::MaybeUninit;
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use std::os::fd::IntoRawFd;

pub(super) type Event = libc::epoll_event;

/// How many events one system call can bring. More would only make the stack
/// larger: a caller with more room costs one more call for each so many.
pub(super) const BATCH: usize = 128;

pub(super) type Events = [MaybeUninit<Event>; BATCH];

/// The tokens of a queue's private descriptors: the last slots, which no knote
/// can have.
pub(super) const BELL: u32 = Token::SLOTS;
pub(super) const ALARM: u32 = Token::SLOTS + 1;
pub(super) const SECOND: u32 = Token::SLOTS + 2;
pub(super) const FILES: u32 = Token::SLOTS + 3;
pub(super) const KNOCK: u32 = Token::SLOTS + 4;
pub(super) const THIRD: u32 = Token::SLOTS + 5;
pub(super) const MOUNTS: u32 = Token::SLOTS + 6;
pub(super) const SIGNALS: u32 = Token::SLOTS + 7;
pub(super) const BLOCKED: u32 = Token::SLOTS + 8;
pub(super) const DEEDS: u32 = Token::SLOTS + 9;
pub(super) const FAREWELL: u32 = Token::SLOTS + 10;

/// A token with the queue's cookie: 16 bits that tell its events from those of
/// a strange epoll that came to have the same number.
pub(super) fn pack(cookie: u16, token: Token) -> u64 {
    u64::from(cookie) << (Token::SLOT_BITS + Token::GENERATION_BITS)
        | u64::from(token.generation) << Token::SLOT_BITS
        | u64::from(token.slot)
}

pub(super) fn pack_private(cookie: u16, slot: u32) -> u64 {
    pack(cookie, Token { slot, generation: 0 })
}

pub(super) fn unpack(data: u64) -> (u16, Token) {
    let slot = data & ((1 << Token::SLOT_BITS) - 1);
    let generation = (data >> Token::SLOT_BITS) & u64::from(Token::GENERATIONS - 1);
    let cookie = data >> (Token::SLOT_BITS + Token::GENERATION_BITS);
    (cookie as u16, Token { slot: slot as u32, generation: generation as u32 })
}

/// The event mask for one side. ERR and HUP come unasked. A disarmed entry has
/// EPOLLONESHOT alone: a mask of 0 would report those two for ever, this one
/// at most once.
pub(super) fn mask(side: Side, arm: Arm) -> u32 {
    let interest = match side {
        Side::Read => libc::EPOLLIN | libc::EPOLLRDHUP,
        // Not EPOLLRDHUP: a peer that stops sending says nothing of writing.
        Side::Write => libc::EPOLLOUT,
        Side::Except => libc::EPOLLPRI | libc::EPOLLRDHUP,
    };
    let bits = match arm {
        Arm::Off => libc::EPOLLONESHOT,
        Arm::Level => interest,
        Arm::Edge => interest | libc::EPOLLET,
        Arm::Once => interest | libc::EPOLLONESHOT,
    };
    bits as u32
}

/// What poll and epoll report, in the contract's words: their bits agree.
pub(super) fn readiness(bits: u32) -> Readiness {
    let mut seen = Readiness::default();
    for (bit, meaning) in [
        (libc::EPOLLIN, Readiness::IN),
        (libc::EPOLLPRI, Readiness::URGENT),
        (libc::EPOLLOUT, Readiness::OUT),
        (libc::EPOLLRDHUP, Readiness::PEER_SHUT),
        (libc::EPOLLHUP, Readiness::HANGUP),
        (libc::EPOLLERR, Readiness::ERROR),
    ] {
        if bits & bit as u32 != 0 {
            seen = seen.with(meaning);
        }
    }
    seen
}

/// The application's descriptor: the lowest free number, as kqueue() gives.
pub(super) fn create() -> Result<Descriptor> {
    let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?.0.into_raw_fd();
    match kept::mark(set, Mark::Queue) {
        Ok(()) => Ok(set),
        Err(error) => {
            shut(set);
            Err(error)
        }
    }
}

/// A set of our own, to be nested in the first.
pub(super) fn create_private() -> Result<Private> {
    Private::new(|| Ok(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?.0))
}

pub(super) fn add(set: Descriptor, fd: Descriptor, events: u32, data: u64) -> Result<()> {
    match control(set, libc::EPOLL_CTL_ADD, fd, events, data) {
        // The user's share of watches, which is memory.
        Err(Errno::ENOSPC) => Err(Errno::ENOMEM),
        added => added,
    }
}

/// As `add`, into a nested set, which may hold an entry for the descriptor that
/// no knote has any more: left over from one that vanished with an earlier life
/// of the number, whose file has come back to it.
pub(super) fn add_anew(set: Descriptor, fd: Descriptor, events: u32, data: u64) -> Result<()> {
    match add(set, fd, events, data) {
        Err(Errno::EEXIST) => modify(set, fd, events, data),
        added => added,
    }
}

pub(super) fn modify(set: Descriptor, fd: Descriptor, events: u32, data: u64) -> Result<()> {
    control(set, libc::EPOLL_CTL_MOD, fd, events, data)
}

pub(super) fn remove(set: Descriptor, fd: Descriptor) -> Result<()> {
    control(set, libc::EPOLL_CTL_DEL, fd, 0, 0)
}

fn control(set: Descriptor, op: i32, fd: Descriptor, events: u32, data: u64) -> Result<()> {
    let mut event = Event { events, u64: data };
    // SAFETY: the kernel reads one event, and nothing is kept.
    check(unsafe { libc::epoll_ctl(set, op, fd, &raw mut event) })?;
    Ok(())
}

/// Whether something is in a set.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    Is,
    IsNot,
    /// It was not, and now it may be in that one for good: the number was closed
    /// under the question, and the set lives on by another, where the same
    /// question would be answered wrongly.
    Spoilt,
}

/// Is `member` in the queue's set that `number` refers to? A stranger's epoll
/// is not asked. The question is an ADD that finds it there: a MOD would make a
/// member of an edge hint anew. In another queue's set the member goes in and
/// out again with a mask that reports nothing.
pub(super) fn ask(number: Descriptor, member: &Private) -> Asked {
    if !kept::bears(number, Mark::Queue) {
        return Asked::IsNot;
    }
    match add(number, member.number(), libc::EPOLLONESHOT as u32, 0) {
        Err(Errno::EEXIST) => Asked::Is,
        Err(_) => Asked::IsNot,
        // It fails where the number has been closed since. Should it be this
        // very queue's by now, its own entry goes (BEHAVIOUR.md has that):
        // nothing takes one back only if it is the one that was put in, and
        // KCMP_EPOLL_TFD, which asks without a touch, takes ten times as long.
        Ok(()) => match remove(number, member.number()) {
            Ok(()) => Asked::IsNot,
            Err(_) => Asked::Spoilt,
        },
    }
}

/// As [`ask`], for who asks about a number that was this queue's, or looks at the
/// answer once more: a spoilt question may have made a later yes a wrong one.
pub(super) fn contains(number: Descriptor, member: &Private) -> bool {
    ask(number, member) == Asked::Is
}

/// Takes what a set has ready now. No cancellation point: what is taken must
/// arrive.
pub(super) fn poll(set: Descriptor, events: &mut Events, most: usize) -> Result<usize> {
    sleep_millis(set, events, most, 0, Cancel::Deferred)
}

/// Waits. Nothing here or above it, up to the C caller, owns anything: the
/// thread may be cancelled in the calls below, or leave them by longjmp.
pub(super) fn wait(
    set: Descriptor,
    events: &mut Events,
    most: usize,
    patience: Patience,
    cancel: Cancel,
) -> Result<usize> {
    let until = match patience {
        Patience::Poll => return sleep_millis(set, events, most, 0, cancel),
        Patience::Forever => return sleep_millis(set, events, most, -1, cancel),
        Patience::Until(moment) => moment,
    };
    loop {
        let left = until.since(syscall::now());
        if left == Span::ZERO {
            return poll(set, events, most);
        }
        // Awake without events: the time is up, or the kernel counted by a
        // coarser clock, or the wait is longer than one call can be.
        let count = sleep(set, events, most, left, cancel)?;
        if count > 0 {
            return Ok(count);
        }
    }
}

const MILLI: u64 = 1_000_000;

fn sleep(
    set: Descriptor,
    events: &mut Events,
    most: usize,
    span: Span,
    cancel: Cancel,
) -> Result<usize> {
    let mut timeout = timespec(span);
    if !NO_EXACT_WAIT.load(Ordering::Relaxed) {
        match sleep_exact(set, events, most, &timeout, cancel) {
            Err(Errno::ENOSYS | Errno::EPERM) => NO_EXACT_WAIT.store(true, Ordering::Relaxed),
            other => return other,
        }
    }
    // Without it: whole milliseconds first, then ppoll() for what is left, so
    // that the sum is exact.
    let millis = (span.0 / MILLI).min(i32::MAX as u64);
    if millis > 0 {
        return sleep_millis(set, events, most, millis as i32, cancel);
    }
    let mut watched = libc::pollfd { fd: set, events: libc::POLLIN, revents: 0 };
    let no_mask = core::ptr::null::<libc::sigset_t>();
    #[allow(clippy::disallowed_methods, reason = "here a thread may be cancelled")]
    let polled = match cancel {
        // SAFETY: one pollfd and one timespec, both alive.
        Cancel::Allowed => unsafe { libc::ppoll(&raw mut watched, 1, &raw const timeout, no_mask) },
        // SAFETY: the same; the kernel may write the time left into our copy.
        Cancel::Deferred => unsafe {
            libc::syscall(
                libc::SYS_ppoll,
                &raw mut watched,
                1usize,
                &raw mut timeout,
                no_mask,
                0usize,
            ) as libc::c_int
        },
    };
    check(polled)?;
    poll(set, events, most)
}

/// epoll_wait(), or the same through syscall(), which is no cancellation
/// point.
fn sleep_millis(
    set: Descriptor,
    events: &mut Events,
    most: usize,
    millis: i32,
    cancel: Cancel,
) -> Result<usize> {
    let most = most.clamp(1, BATCH) as libc::c_int;
    let events = events.as_mut_ptr();
    let no_mask = core::ptr::null::<libc::sigset_t>();
    #[allow(clippy::disallowed_methods, reason = "here a thread may be cancelled")]
    let count = match cancel {
        // SAFETY: the kernel writes at most `most` events, and the array has
        // room for BATCH.
        Cancel::Allowed => unsafe { libc::epoll_wait(set, events.cast(), most, millis) },
        // SAFETY: the same.
        Cancel::Deferred => unsafe {
            libc::syscall(libc::SYS_epoll_pwait, set, events, most, millis, no_mask, 0usize)
                as libc::c_int
        },
    };
    check(count).map(|count| count as usize)
}

/// epoll_pwait2() (since 5.11), which takes a time to the nanosecond. ENOSYS:
/// there is none, or none that is a cancellation point.
fn sleep_exact(
    set: Descriptor,
    events: &mut Events,
    most: usize,
    timeout: &libc::timespec,
    cancel: Cancel,
) -> Result<usize> {
    let most = most.clamp(1, BATCH) as libc::c_int;
    let events = events.as_mut_ptr();
    let timeout = core::ptr::from_ref(timeout);
    let no_mask = core::ptr::null::<libc::sigset_t>();
    let count = match cancel {
        Cancel::Allowed => {
            let wait = exact_wait().ok_or(Errno::ENOSYS)?;
            // SAFETY: as in `sleep_millis`; one timespec, alive.
            unsafe { wait(set, events.cast(), most, timeout, no_mask) }
        }
        // SAFETY: the same.
        Cancel::Deferred => unsafe {
            libc::syscall(libc::SYS_epoll_pwait2, set, events, most, timeout, no_mask, 0usize)
                as libc::c_int
        },
    };
    check(count).map(|count| count as usize)
}

unsafe extern "C" {
    /// Ends the thread if it has been cancelled; see pthread_testcancel(3).
    fn pthread_testcancel();
}

pub(super) fn cancellation_point() {
    // SAFETY: no arguments. If the thread ends here, nothing on its stack
    // wants dropping.
    unsafe { pthread_testcancel() };
}

fn timespec(span: Span) -> libc::timespec {
    let (seconds, nanos) = (span.0 / 1_000_000_000, span.0 % 1_000_000_000);
    // SAFETY: integers alone; zero is a value of each (some platforms pad).
    let mut spec: libc::timespec = unsafe { core::mem::zeroed() };
    spec.tv_sec = libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX);
    spec.tv_nsec = nanos as _;
    spec
}

type ExactWait = unsafe extern "C" fn(
    libc::c_int,
    *mut Event,
    libc::c_int,
    *const libc::timespec,
    *const libc::sigset_t,
) -> libc::c_int;

/// The kernel (since 5.11) does not know the call, or a filter forbids it.
static NO_EXACT_WAIT: AtomicBool = AtomicBool::new(cfg!(kqueue_no_epoll_pwait2));

/// The C library's epoll_pwait2(), where it has one (glibc since 2.35).
#[inline]
fn exact_wait() -> Option<ExactWait> {
    let found = loader::EPOLL_PWAIT2.address();
    // SAFETY: null, or the C library's function of that name, which has this
    // type.
    unsafe { core::mem::transmute::<*mut libc::c_void, Option<ExactWait>>(found) }
}

/// The events that a wait brought, read one by one.
pub(super) struct Batch {
    events: Events,
    count: usize,
    next: usize,
    /// So many are written, by `blank` if not by the kernel.
    blank: usize,
}

impl Batch {
    pub(super) const fn new() -> Batch {
        Batch { events: [const { MaybeUninit::uninit() }; BATCH], count: 0, next: 0, blank: 0 }
    }

    /// Fills it by a call that returns how many events it wrote.
    pub(super) fn fill(&mut self, call: impl FnOnce(&mut Events) -> Result<usize>) -> Result<()> {
        self.count = 0;
        self.next = 0;
        self.count = call(&mut self.events)?.min(BATCH);
        Ok(())
    }

    /// Marks the places of the next events, if none are left, so that
    /// `keep_written` can tell what a call has written that did not come back.
    #[inline]
    pub(super) fn blank(&mut self, most: usize) {
        for place in self.events.iter_mut().take(most.max(1)) {
            // An event that the kernel tells of has some bit.
            place.write(Event { events: 0, u64: 0 });
        }
        self.count = 0;
        self.next = 0;
        self.blank = most.clamp(1, BATCH);
    }

    /// What was written since `blank` is what there is.
    pub(super) fn keep_written(&mut self) {
        self.next = 0;
        let blanks = self.events.iter().take(self.blank);
        // SAFETY: as many were written by `blank`, and some by the kernel since.
        let is_written = |place: &&MaybeUninit<Event>| unsafe { place.assume_init() }.events != 0;
        self.count = blanks.take_while(is_written).count();
    }

    pub(super) fn next(&mut self) -> Option<Event> {
        if self.next == self.count {
            return None;
        }
        let slot = self.events.get(self.next)?;
        self.next += 1;
        // SAFETY: the kernel wrote the first `count` events.
        Some(unsafe { slot.assume_init() })
    }

    /// The event just read is still to be read.
    pub(super) fn put_back(&mut self) {
        self.next -= 1;
    }

    /// How many are still to be read.
    pub(super) fn left(&self) -> usize {
        self.count - self.next
    }
}

/// The moment as timerfd and the wait take it.
pub(super) fn moment_timespec(moment: Moment) -> libc::timespec {
    timespec(Span(moment.0))
}
