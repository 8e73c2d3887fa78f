//! Linux: a queue is an epoll set.
//!
//! | file | kernel object |
//! |---|---|
//! | `epoll` | the sets, and waiting |
//! | `doorbell` | the eventfd that says "user space holds something" |
//! | `timerfd` | the alarm of all timers |
//! | `files` | what epoll refuses, and inotify |
//! | `probe` | asking a descriptor about itself |
//! | `descriptor` | numbers: ours and the application's |
//! | `process` | what a forked child must not see; the fork handler |
//! | `lock` | the futex under the mutex |

mod descriptor;
mod doorbell;
mod epoll;
mod files;
mod lock;
mod probe;
mod process;
mod timerfd;

pub(crate) use descriptor::{descriptor_state, own_descriptors};
pub(crate) use lock::RawLock;
pub(crate) use process::{PerProcess, at_fork_in_child};

use crate::clock::{Moment, Patience, Span};
use crate::errno::{Errno, Result};
use crate::sync::{AtomicU32, Ordering};
use crate::sys::{
    Arm, Bell, Cancel, Class, Descriptor, Hint, Platform, Readiness, Sample, Side, Source, Token,
};
use descriptor::Private;
use epoll::{ALARM, BELL, Batch, FILES, SECOND, mask, pack, pack_private, unpack};
use files::{Files, News};
use probe::Kind;

/// Note: the entry is in the second set. (`probe` has the notes below.)
const IN_SECOND: u32 = 0x1_0000;
/// Note: not in a set, but among the files, at `Source::place`.
const IN_FILES: u32 = 0x2_0000;

/// One queue's kernel objects.
#[derive(Debug)]
pub(crate) struct Native {
    /// The application's number for the set. Not ours to close.
    number: Descriptor,
    proved: bool,
    cookie: u16,
    doorbell: Option<Private>,
    alarm: Option<Private>,
    second: Option<Private>,
    files: Files,
}

/// Where a thread waits.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Waiter {
    number: Descriptor,
}

/// What it takes to ring.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Ringer {
    number: Descriptor,
    doorbell: Descriptor,
    data: u64,
}

/// What a wait found, and where it leads.
pub(crate) struct Found {
    first: Batch,
    second: Batch,
    news: News,
}

impl Native {
    /// The second set, made at first need and watched by the first.
    fn second(&mut self) -> Result<Descriptor> {
        if let Some(second) = &self.second {
            return Ok(second.number());
        }
        let second = epoll::create_private()?;
        let data = pack_private(self.cookie, SECOND);
        epoll::add(self.number, second.number(), libc::EPOLLIN as u32, data)?;
        Ok(self.second.insert(second).number())
    }

    /// The set that holds a source.
    fn set_of(&self, source: &Source) -> Result<Descriptor> {
        if source.notes & IN_SECOND == 0 {
            return Ok(self.number);
        }
        self.second.as_ref().map(Private::number).ok_or(Errno::ENOENT)
    }

    /// Puts an entry into the first set that has none for this descriptor.
    fn enter(&mut self, fd: Descriptor, events: u32, data: u64) -> Result<u32> {
        match epoll::add(self.number, fd, events, data) {
            Ok(()) => return Ok(0),
            Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
        let second = self.second()?;
        match epoll::add(second, fd, events, data) {
            // Left over from a knote that vanished with an earlier life of the
            // number, whose file has come back to it.
            Err(Errno::EEXIST) => epoll::modify(second, fd, events, data)?,
            other => other?,
        }
        Ok(IN_SECOND)
    }

    fn private(&self, slot: u32) -> u64 {
        pack_private(self.cookie, slot)
    }

    /// A file gives hints once it has fallen silent, and at every change if
    /// edges are asked for.
    fn watch_file(&mut self, fd: Descriptor, side: Side, source: &mut Source, arm: Arm) {
        let file = self.files.class(source.place) == Class::File;
        if arm == Arm::Edge && side == Side::Read && file {
            let data = self.private(FILES);
            source.wakes = self.files.watch(fd, source.place, self.number, data).is_ok();
        }
    }

    fn sample_file(&mut self, fd: Descriptor, side: Side, source: &mut Source) -> Result<Sample> {
        let class = self.files.class(source.place);
        let mut amount = 0;
        self.files.verify(fd, source.place)?;
        if side == Side::Read && class == Class::File {
            amount = probe::distance_to_end(fd)?;
            if amount == 0 {
                // First the watch, then another look: what is written between
                // the two is seen by one of them.
                let data = self.private(FILES);
                let watched = self.files.watch(fd, source.place, self.number, data);
                source.wakes = watched.is_ok();
                amount = probe::distance_to_end(fd)?;
            }
        }
        let ready = class == Class::Always || side == Side::Write || amount != 0;
        Ok(Sample { class, amount, ready, eof: false, error: None, silent: false })
    }
}

/// What an entry's disappearance looks like. EPERM: the number has become a
/// file, which epoll does not even look up.
fn replaced(error: Errno) -> Errno {
    if error == Errno::EPERM { Errno::ENOENT } else { error }
}

impl Platform for Native {
    type Waiter = Waiter;
    type Ringer = Ringer;
    type Found = Found;

    const BATCH: usize = epoll::BATCH;

    fn open(spare: Option<Native>) -> Result<(Native, Descriptor)> {
        // The private descriptor first: kqueue() returns the lowest number.
        let kept = spare.and_then(|spare| spare.doorbell);
        let doorbell = match kept.filter(Private::is_ours) {
            Some(doorbell) => doorbell,
            None => doorbell::create()?,
        };
        static COOKIES: AtomicU32 = AtomicU32::new(1);
        let cookie = COOKIES.fetch_add(1, Ordering::Relaxed) as u16;
        let number = epoll::create()?;
        if let Err(error) = doorbell::hang(number, &doorbell, pack_private(cookie, BELL)) {
            Native::close(number);
            return Err(error);
        }
        let native = Native {
            number,
            proved: true,
            cookie,
            doorbell: Some(doorbell),
            alarm: None,
            second: None,
            files: Files::new(),
        };
        Ok((native, number))
    }

    fn close(number: Descriptor) {
        // SAFETY: the caller says that the number is a queue of ours, which
        // nobody holds as an owned descriptor.
        unsafe { libc::close(number) };
    }

    fn answers_to(&self, number: Descriptor) -> bool {
        self.doorbell.as_ref().is_some_and(|doorbell| epoll::contains(number, doorbell))
    }

    fn owns(&self, number: Descriptor) -> bool {
        let private = [&self.doorbell, &self.alarm, &self.second];
        private.into_iter().flatten().any(|fd| fd.number() == number)
    }

    fn reach(&mut self, number: Descriptor) {
        self.number = number;
        self.proved = false;
    }

    fn prove(&mut self) -> bool {
        self.proved = self.proved || self.answers_to(self.number);
        self.proved
    }

    fn retire(&mut self) {
        self.alarm = None;
        self.second = None;
        self.files = Files::new();
        // One that found no place above is in the application's way.
        self.doorbell = self.doorbell.take().filter(Private::is_high);
    }

    fn disown(&mut self) {
        self.doorbell = None;
        self.alarm = None;
        self.second = None;
        self.files.disown();
    }

    fn watch(&mut self, fd: Descriptor, side: Side, arm: Arm, token: Token) -> Result<Source> {
        if side == Side::Write && Kind::is_queue(fd)? {
            return Err(Errno::EINVAL);
        }
        let mut source = Source { repeats: true, wakes: true, notes: 0, place: 0 };
        match self.enter(fd, mask(side, arm), pack(self.cookie, token)) {
            Ok(set) => {
                source.notes = set;
                self.proved = true;
                Ok(source)
            }
            Err(Errno::EPERM) => {
                source.repeats = false;
                source.notes = IN_FILES;
                source.place = self.files.insert(fd, token)?;
                self.watch_file(fd, side, &mut source, arm);
                Ok(source)
            }
            // A nest deeper than the kernel allows, or a loop.
            Err(Errno::ELOOP) => Err(Errno::EINVAL),
            Err(error) => Err(error),
        }
    }

    fn rearm(
        &mut self,
        fd: Descriptor,
        side: Side,
        source: &mut Source,
        arm: Arm,
        token: Token,
    ) -> Result<()> {
        if source.notes & IN_FILES != 0 {
            match self.files.verify(fd, source.place) {
                Err(error @ (Errno::EBADF | Errno::ENOENT)) => {
                    self.files.remove(source.place);
                    return Err(error);
                }
                verified => verified?,
            }
            self.watch_file(fd, side, source, arm);
            return Ok(());
        }
        let set = self.set_of(source)?;
        epoll::modify(set, fd, mask(side, arm), pack(self.cookie, token)).map_err(replaced)?;
        self.proved |= source.notes & IN_SECOND == 0;
        Ok(())
    }

    fn unwatch(&mut self, fd: Descriptor, source: Source, _token: Token) -> Result<()> {
        if source.notes & IN_FILES != 0 {
            let verified = self.files.verify(fd, source.place);
            self.files.remove(source.place);
            return match verified {
                Err(Errno::EBADF | Errno::ENOENT) => verified,
                // Not knowing does not keep it from going.
                _ => Ok(()),
            };
        }
        epoll::remove(self.set_of(&source)?, fd).map_err(replaced)?;
        self.proved |= source.notes & IN_SECOND == 0;
        Ok(())
    }

    fn verify(&mut self, fd: Descriptor, source: &Source) -> Result<()> {
        // To look for an entry without touching it, ask to make it. Should that
        // succeed, and somebody find it, it leads to nothing.
        let set = self.set_of(source)?;
        match epoll::add(set, fd, mask(Side::Read, Arm::Off), self.private(SECOND)) {
            Err(Errno::EEXIST) => Ok(()),
            Err(error) => Err(replaced(error)),
            Ok(()) => {
                epoll::remove(set, fd)?;
                Err(Errno::ENOENT)
            }
        }
    }

    fn supplants(&self, new: &Source, old: &Source) -> bool {
        // A set takes a number in once, unless it is another file by now. In
        // different sets, or among the files, they cannot meet.
        let set = IN_SECOND | IN_FILES;
        new.notes & IN_FILES == 0 && new.notes & set == old.notes & set
    }

    fn sample(
        &mut self,
        fd: Descriptor,
        side: Side,
        source: &mut Source,
        seen: Option<Readiness>,
    ) -> Result<Sample> {
        if source.notes & IN_FILES != 0 {
            return self.sample_file(fd, side, source);
        }
        probe::sample(fd, side, source, seen)
    }

    fn bell(&mut self, bell: Bell) -> Result<()> {
        let Some(doorbell) = &self.doorbell else { return Err(Errno::EBADF) };
        doorbell::set(self.number, doorbell.number(), bell, self.private(BELL))?;
        self.proved = true;
        Ok(())
    }

    fn prepare_alarm(&mut self) -> Result<()> {
        if self.alarm.is_some() {
            return Ok(());
        }
        let alarm = timerfd::create()?;
        let data = self.private(ALARM);
        epoll::add(self.number, alarm.number(), libc::EPOLLIN as u32, data)?;
        self.proved = true;
        self.alarm = Some(alarm);
        Ok(())
    }

    fn alarm(&mut self, at: Option<Moment>) -> Result<()> {
        self.prepare_alarm()?;
        self.alarm.as_ref().map_or(Ok(()), |alarm| timerfd::set(alarm, at))
    }

    fn ringer(&self) -> Ringer {
        let doorbell = self.doorbell.as_ref().map_or(-1, Private::number);
        Ringer { number: self.number, doorbell, data: self.private(BELL) }
    }

    fn ring(ringer: Ringer) -> Result<()> {
        doorbell::set(ringer.number, ringer.doorbell, Bell::Ring, ringer.data)
    }

    #[inline]
    fn now() -> Moment {
        Moment(clock(libc::CLOCK_MONOTONIC))
    }

    fn wall() -> Span {
        Span(clock(libc::CLOCK_REALTIME))
    }

    fn is_open(&self, fd: Descriptor) -> bool {
        descriptor::is_open(fd)
    }

    fn waiter(number: Descriptor) -> Waiter {
        Waiter { number }
    }

    fn found() -> Found {
        Found { first: Batch::new(), second: Batch::new(), news: News::new() }
    }

    #[inline]
    fn wait(
        waiter: Waiter,
        found: &mut Found,
        most: usize,
        patience: Patience,
        cancel: Cancel,
    ) -> Result<usize> {
        let Waiter { number } = waiter;
        let waited = found.first.fill(|events| epoll::wait(number, events, most, patience, cancel));
        match waited {
            Ok(()) => Ok(found.first.left()),
            // The number is something else by now.
            Err(Errno::EINVAL) => Err(Errno::EBADF),
            Err(error) => Err(error),
        }
    }

    #[inline]
    fn about_to_wait() {
        // No signal is hooked.
    }

    fn interrupted_in_vain() -> bool {
        false
    }

    fn attend(&mut self, _found: &mut Found) -> Result<bool> {
        Ok(false)
    }

    #[inline]
    fn cancellation_point() {
        epoll::cancellation_point();
    }

    #[inline]
    fn next_hint(&mut self, found: &mut Found) -> Result<Option<Hint>> {
        loop {
            if let Some(event) = found.second.next() {
                let (_, token) = unpack(event.u64);
                return Ok(Some(Hint::Watched(token, epoll::readiness(event.events))));
            }
            if let Some(token) = self.files.next(&mut found.news) {
                return Ok(Some(Hint::Watched(token, Readiness::IN)));
            }
            let Some(event) = found.first.next() else { return Ok(None) };
            let (cookie, token) = unpack(event.u64);
            if cookie != self.cookie {
                return Err(Errno::EBADF);
            }
            match token.slot {
                BELL => return Ok(Some(Hint::Bell)),
                ALARM => return Ok(Some(Hint::Alarm)),
                SECOND => {
                    // Nothing there is normal: another thread has had it. All
                    // there is is taken, room or not, for this one entry of
                    // the first set stands for as many knotes.
                    let Some(set) = &self.second else { continue };
                    let set = set.number();
                    // Nor does failing lose anything: the set is level in the
                    // first, and what came beside it must still be handed over.
                    let _ = found.second.fill(|events| epoll::poll(set, events, epoll::BATCH));
                }
                FILES => self.files.read(&mut found.news),
                _ => return Ok(Some(Hint::Watched(token, epoll::readiness(event.events)))),
            }
        }
    }
}

fn clock(which: libc::clockid_t) -> u64 {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec. Both clocks exist everywhere, so
    // it cannot fail.
    unsafe { libc::clock_gettime(which, &raw mut spec) };
    let seconds = u64::try_from(spec.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(spec.tv_nsec as u64)
}

/// The kernel's number for the calling thread.
pub(crate) fn thread_id() -> i32 {
    // SAFETY: no arguments, cannot fail.
    (unsafe { libc::syscall(libc::SYS_gettid) }) as i32
}

/// Sets the calling thread's errno.
pub(crate) fn set_errno(errno: Errno) {
    nix::Error::set_raw(errno.0);
}

/// The calling thread's errno, which may be any number that the caller put
/// there: it never passes through nix's list of those that exist.
#[inline]
pub(crate) fn errno() -> Errno {
    Errno(nix::Error::last_raw())
}

/// Writes a line to standard error, as one write.
pub(crate) fn print(line: &[u8]) {
    // SAFETY: as many bytes as the slice has.
    unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
}
