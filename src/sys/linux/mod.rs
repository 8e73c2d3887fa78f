//! Linux: a queue is an epoll set.
//!
//! | file | kernel object |
//! |---|---|
//! | `epoll` | the sets, and waiting |
//! | `doorbell` | the eventfd that says "user space holds something" |
//! | `knocker` | the small set by which others wake a queue |
//! | `timerfd` | the alarm of all timers |
//! | `files` | what epoll refuses and what VNODE watches: which file it is, what became of it |
//! | `inotify`, `watches`, `instance`, `shared` | telling of changes: the instance, its watches, one for many queues |
//! | `notes` | from inotify's events to VNODE's notes |
//! | `mounts` | mountinfo, and what has changed in it |
//! | `signals` | signals, by a hook over the application's disposition |
//! | `pidfd`, `exit` | processes, and with what status they end |
//! | `connector` | the netlink socket that tells what processes do |
//! | `probe` | asking a descriptor about itself |
//! | `descriptor` | numbers: ours and the application's |
//! | `process` | what a forked child must not see; the fork handler |
//! | `lock` | the futex under the mutex |

mod connector;
mod descriptor;
mod doorbell;
mod epoll;
mod exit;
mod files;
mod inotify;
mod instance;
mod knocker;
mod lock;
mod mounts;
mod notes;
mod pidfd;
mod probe;
mod process;
mod shared;
mod signals;
mod timerfd;
mod watches;

pub(crate) use descriptor::{descriptor_state, own_descriptors};
pub(crate) use lock::RawLock;
pub(crate) use process::{PerProcess, at_fork_in_child};
pub(crate) use signals::in_forked_child;

use crate::clock::{Moment, Patience, Span};
use crate::errno::{Errno, Result};
use crate::sync::{AtomicU32, Ordering};
use crate::sys::{
    Arm, Bell, Cancel, Class, Deed, Descriptor, Exit, FileNotes, Hint, Mounts, Platform, Readiness,
    Sample, Side, Source, Token, Watched,
};
use connector::Connector;
use core::ffi::c_uint;
use descriptor::Private;
use epoll::{
    ALARM, BELL, BLOCKED, Batch, DEEDS, FILES, KNOCK, MOUNTS, SECOND, SIGNALS, THIRD, mask, pack,
    pack_private, unpack,
};
use files::Files;
use knocker::{Knock, Knocker};
use mounts::{MountTable, Telling};
use pidfd::Processes;
use probe::{Kind, poll_now};
use signals::{Place, Signals, Walk};

/// Note: the entry is in the second set. (`probe` has the notes below.)
const IN_SECOND: u32 = 0x1_0000;
/// Note: not in a set, but among the files, at `Source::place`.
const IN_FILES: u32 = 0x2_0000;
/// Note: the entry is in the third set.
const IN_THIRD: u32 = 0x4_0000;

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
    third: Option<Private>,
    /// Before the knocker: whoever may knock must know that it goes.
    files: Files,
    knocker: Option<Knocker>,
    mounts: MountTable,
    processes: Processes,
    connector: Connector,
    signals: Signals,
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
    nested: Batch,
    telling: Telling,
    signals: Walk,
}

impl Native {
    /// The second or third set, made at first need and watched by the first.
    fn nested(&mut self, slot: u32) -> Result<Descriptor> {
        let data = self.private(slot);
        let set = if slot == SECOND { &mut self.second } else { &mut self.third };
        if let Some(set) = set {
            return Ok(set.number());
        }
        let made = epoll::create_private()?;
        epoll::add(self.number, made.number(), libc::EPOLLIN as u32, data)?;
        Ok(set.insert(made).number())
    }

    /// The set that holds a source.
    fn set_of(&self, source: &Source) -> Result<Descriptor> {
        let nested = match source.notes & (IN_SECOND | IN_THIRD) {
            0 => return Ok(self.number),
            IN_SECOND => &self.second,
            _ => &self.third,
        };
        nested.as_ref().map(Private::number).ok_or(Errno::ENOENT)
    }

    /// Puts an entry into the set that belongs to the side: the first that has
    /// none for this descriptor, or the third.
    fn enter(&mut self, fd: Descriptor, side: Side, events: u32, data: u64) -> Result<u32> {
        if side == Side::Except {
            let third = self.nested(THIRD)?;
            epoll::add_anew(third, fd, events, data)?;
            return Ok(IN_THIRD);
        }
        match epoll::add(self.number, fd, events, data) {
            Ok(()) => return Ok(0),
            Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
        let second = self.nested(SECOND)?;
        epoll::add_anew(second, fd, events, data)?;
        Ok(IN_SECOND)
    }

    /// By what others wake this queue, made at first need.
    fn knock(&mut self) -> Result<Knock> {
        if let Some(knocker) = &self.knocker {
            return Ok(knocker.knock());
        }
        let doorbell = self.doorbell.as_ref().ok_or(Errno::EBADF)?;
        let knocker = Knocker::new(self.number, self.private(KNOCK), doorbell)?;
        Ok(self.knocker.insert(knocker).knock())
    }

    /// Others have left something in the mailboxes.
    fn knocked(&mut self) {
        let Some(knocker) = &self.knocker else { return };
        // It fails only if the program has closed our numbers; then there is
        // nothing to silence.
        let _ = knocker.quench();
        self.files.take_mail();
    }

    /// The signals, and where their descriptors go.
    fn signals(&mut self) -> Result<(&mut Signals, Place<'_>)> {
        let place = Place {
            queue: self.number,
            doorbell: self.doorbell.as_ref().ok_or(Errno::EBADF)?,
            rung: pack_private(self.cookie, SIGNALS),
            blocked: pack_private(self.cookie, BLOCKED),
        };
        Ok((&mut self.signals, place))
    }

    fn private(&self, slot: u32) -> u64 {
        pack_private(self.cookie, slot)
    }

    /// Makes sure that files can be watched, this one too. A queue has an
    /// inotify instance of its own, unless the user has no more of them.
    fn instance(&mut self, fd: Descriptor) -> Result<()> {
        if files::is_unheard(fd) {
            return Err(Errno::ENOSYS);
        }
        if self.files.has_instance() {
            return Ok(());
        }
        let data = self.private(FILES);
        match self.files.open_own(self.number, data) {
            // The same errno says that the process has no descriptors left.
            Err(Errno::EMFILE) if descriptor::is_one_left() => {
                let knock = self.knock()?;
                self.files.open_shared(self.number, data, knock)
            }
            opened => opened,
        }
    }

    /// Makes changes of a file give hints. If they cannot, the core looks by
    /// the clock.
    fn hear(&mut self, fd: Descriptor, source: &mut Source) {
        let place = source.place;
        source.wakes = self.instance(fd).and_then(|()| self.files.watch(place)).is_ok();
    }

    /// A file gives hints once it has fallen silent, and at every change if
    /// edges are asked for.
    fn arm_file(&mut self, fd: Descriptor, side: Side, source: &mut Source, arm: Arm) {
        let file = self.files.class(source.place) == Class::File;
        if arm == Arm::Edge && side == Side::Read && file {
            self.hear(fd, source);
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
                self.hear(fd, source);
                amount = probe::distance_to_end(fd)?;
            }
        }
        let ready = class == Class::Always || side == Side::Write || amount != 0;
        Ok(Sample { class, amount, ready, eof: false, error: None, silent: false })
    }
}

impl Native {
    /// Is the number still this file? If not, its entry goes.
    fn verify_file(&mut self, fd: Descriptor, place: u32) -> Result<()> {
        let verified = self.files.verify(fd, place);
        if let Err(Errno::EBADF | Errno::ENOENT) = verified {
            self.files.remove(place);
        }
        verified
    }
}

/// Takes a private descriptor out of a set. If the set is gone, so is the entry.
fn leave(set: Descriptor, fd: Descriptor) {
    let _ = epoll::remove(set, fd);
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
    const SIGNALS: i32 = signals::LAST;

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
            third: None,
            knocker: None,
            files: Files::new(),
            mounts: MountTable::new(),
            processes: Processes::new(),
            connector: Connector::new(),
            signals: Signals::new(),
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
        let private = [&self.doorbell, &self.alarm, &self.second, &self.third];
        private.into_iter().flatten().any(|fd| fd.number() == number)
            || self.knocker.as_ref().is_some_and(|knocker| knocker.number() == number)
            || self.files.number() == Some(number)
            || self.mounts.owns(number)
            || self.connector.number() == Some(number)
            || self.processes.owns(number)
            || self.signals.owns(number)
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
        self.third = None;
        self.files = Files::new();
        self.knocker = None;
        self.mounts = MountTable::new();
        self.processes = Processes::new();
        self.connector.retire();
        self.signals.retire();
        // One that found no place above is in the application's way.
        self.doorbell = self.doorbell.take().filter(Private::is_high);
    }

    fn disown(&mut self) {
        self.doorbell = None;
        self.alarm = None;
        self.second = None;
        self.third = None;
        self.knocker = None;
        self.files.disown();
        self.mounts.disown();
        self.processes.disown();
        self.connector.disown();
        self.signals.disown();
    }

    fn watch(&mut self, fd: Descriptor, side: Side, arm: Arm, token: Token) -> Result<Source> {
        match side {
            Side::Write if Kind::is_queue(fd)? => return Err(Errno::EINVAL),
            Side::Except if !descriptor::is_socket(fd)? => return Err(Errno::EINVAL),
            _ => {}
        }
        let mut source = Source { repeats: true, wakes: true, notes: 0, place: 0 };
        match self.enter(fd, side, mask(side, arm), pack(self.cookie, token)) {
            Ok(set) => {
                source.notes = set;
                self.proved = true;
                Ok(source)
            }
            Err(Errno::EPERM) => {
                source.repeats = false;
                source.notes = IN_FILES;
                source.place = self.files.insert(fd, token)?;
                self.arm_file(fd, side, &mut source, arm);
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
            self.verify_file(fd, source.place)?;
            self.arm_file(fd, side, source, arm);
            return Ok(());
        }
        let set = self.set_of(source)?;
        epoll::modify(set, fd, mask(side, arm), pack(self.cookie, token)).map_err(replaced)?;
        self.proved |= source.notes & (IN_SECOND | IN_THIRD) == 0;
        Ok(())
    }

    fn unwatch(&mut self, fd: Descriptor, source: Source, _token: Token) -> Result<()> {
        if source.notes & IN_FILES != 0 {
            return self.unwatch_file(fd, source);
        }
        epoll::remove(self.set_of(&source)?, fd).map_err(replaced)?;
        self.proved |= source.notes & (IN_SECOND | IN_THIRD) == 0;
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
        let set = IN_SECOND | IN_THIRD | IN_FILES;
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

    fn watch_mounts(&mut self, token: Token) -> Result<Mounts> {
        // The wakers must not end up in a stranger's set.
        if !self.prove() {
            return Err(Errno::EBADF);
        }
        let data = self.private(MOUNTS);
        self.mounts.watch(token, self.number, data)
    }

    fn unwatch_mounts(&mut self, token: Token) {
        self.mounts.unwatch(token);
    }

    fn mounts(&mut self) -> Result<Mounts> {
        self.mounts.counts()
    }

    fn watch_file(&mut self, fd: Descriptor, want: c_uint, token: Token) -> Result<Source> {
        let place = self.files.insert_noted(fd, want, token)?;
        // Without an instance the entry is looked at by the clock.
        if self.instance(fd).is_ok() {
            self.files.listen(place);
        }
        Ok(Source { repeats: false, wakes: self.files.hears(place), notes: IN_FILES, place })
    }

    fn want_file(&mut self, fd: Descriptor, source: &mut Source, want: c_uint) -> Result<()> {
        self.verify_file(fd, source.place)?;
        self.files.want(source.place, want);
        source.wakes = self.files.hears(source.place);
        Ok(())
    }

    fn file_notes(&mut self, fd: Descriptor, source: &mut Source) -> Result<FileNotes> {
        source.wakes = self.files.hears(source.place);
        self.files.collected(fd, source.place)
    }

    fn forget_file_notes(&mut self, source: &Source) {
        self.files.forget_collected(source.place);
    }

    fn unwatch_file(&mut self, fd: Descriptor, source: Source) -> Result<()> {
        let verified = self.files.verify(fd, source.place);
        self.files.remove(source.place);
        match verified {
            Err(Errno::EBADF | Errno::ENOENT) => verified,
            // Not knowing does not keep it from going.
            _ => Ok(()),
        }
    }

    fn watch_signal(&mut self, signal: i32, token: Token, on: bool) -> Result<()> {
        // The descriptors must not go into a stranger's set.
        if !self.prove() {
            return Err(Errno::EBADF);
        }
        let (signals, place) = self.signals()?;
        signals.watch(signal, token, on, place)
    }

    fn arm_signal(&mut self, signal: i32, token: Token, on: bool) {
        self.signals.arm(signal, token, on);
    }

    fn unwatch_signal(&mut self, signal: i32, token: Token) {
        self.signals.unwatch(signal, token);
    }

    fn count_signal(&mut self, signal: i32, token: Token) -> u64 {
        self.signals.count(signal, token)
    }

    fn is_missed(&self) -> bool {
        !self.signals.is_empty()
    }

    fn watch_process(&mut self, pid: i32, token: Token) -> Result<Watched> {
        // To add is what would also succeed on a stranger's set.
        if !self.prove() {
            return Err(Errno::EBADF);
        }
        if self.connector.is_anothers(pid) {
            return Err(Errno::ESRCH);
        }
        let (set, data) = (self.number, pack(self.cookie, token));
        self.processes.watch(pid, |pidfd| epoll::add(set, pidfd, libc::EPOLLIN as u32, data))
    }

    fn unwatch_process(&mut self, watched: Watched) {
        let set = self.number;
        self.processes.unwatch(watched.place, |pidfd| leave(set, pidfd));
    }

    fn process_exit(&mut self, watched: &Watched) -> Result<Option<Exit>> {
        self.processes.exit(watched.place)
    }

    fn watch_procdesc(&mut self, fd: Descriptor, arm: Arm, token: Token) -> Result<(Source, i32)> {
        let pid = pidfd::process_of(fd)?.unwrap_or(0);
        // The third set: EXCEPT takes no such descriptor, READ and WRITE do.
        let events = mask(Side::Read, arm);
        let set = self.enter(fd, Side::Except, events, pack(self.cookie, token));
        // A directory of /proc passes for a process too, with some calls.
        let notes =
            set.map_err(|error| if error == Errno::EPERM { Errno::EINVAL } else { error })?;
        self.proved = true;
        Ok((Source { repeats: true, wakes: true, notes, place: 0 }, pid))
    }

    fn procdesc_exit(&mut self, fd: Descriptor) -> Result<Option<Exit>> {
        if !poll_now(fd)?.has(Readiness::IN) {
            return Ok(None);
        }
        let pid = pidfd::process_of(fd)?;
        Ok(Some(exit::by_pidfd(fd, pid)))
    }

    fn follow(&mut self, pid: i32, token: Token, born: bool) -> Result<()> {
        if !self.prove() {
            return Err(Errno::EBADF);
        }
        let (set, data) = (self.number, self.private(DEEDS));
        let enter = |socket| epoll::add(set, socket, libc::EPOLLIN as u32, data);
        self.connector.follow(pid, token, born, enter)
    }

    fn unfollow(&mut self, pid: i32, token: Token) {
        let set = self.number;
        self.connector.unfollow(pid, token, |socket| leave(set, socket));
    }

    fn next_deed(&mut self) -> Option<(Token, Deed)> {
        self.connector.next()
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
        Found {
            first: Batch::new(),
            nested: Batch::new(),
            telling: Telling::NOTHING,
            signals: Walk::DONE,
        }
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
        signals::about_to_wait();
    }

    fn interrupted_in_vain() -> bool {
        signals::interrupted_in_vain()
    }

    fn attend(&mut self, found: &mut Found) -> Result<bool> {
        let mut hints = false;
        if !self.signals.is_empty() {
            let (signals, place) = self.signals()?;
            let walk = signals.attend(place)?;
            found.signals = walk.unwrap_or(Walk::DONE);
            hints = walk.is_some();
        }
        // What has been found is handed over first; the rest is still there.
        match self.mounts.look() {
            Err(error) if !hints => return Err(error),
            _ => {}
        }
        Ok(self.mounts.tell(&mut found.telling) || hints)
    }

    #[inline]
    fn cancellation_point() {
        epoll::cancellation_point();
    }

    #[inline]
    fn next_hint(&mut self, found: &mut Found) -> Result<Option<Hint>> {
        loop {
            if let Some(event) = found.nested.next() {
                let (_, token) = unpack(event.u64);
                return Ok(Some(Hint::Watched(token, epoll::readiness(event.events))));
            }
            if let Some(token) = self.files.next() {
                return Ok(Some(Hint::Watched(token, Readiness::IN)));
            }
            if let Some(token) = self.signals.next(&mut found.signals) {
                return Ok(Some(Hint::Watched(token, Readiness::IN)));
            }
            if let Some(token) = self.mounts.next(&mut found.telling) {
                return Ok(Some(Hint::Watched(token, Readiness::IN)));
            }
            let Some(event) = found.first.next() else { return Ok(None) };
            let (cookie, token) = unpack(event.u64);
            if cookie != self.cookie {
                return Err(Errno::EBADF);
            }
            match token.slot {
                BELL => {
                    self.files.glance();
                    return Ok(Some(Hint::Bell));
                }
                ALARM => return Ok(Some(Hint::Alarm)),
                slot @ (SECOND | THIRD) => {
                    // Nothing there is normal: another thread has had it. All
                    // there is is taken, room or not, for this one entry of
                    // the first set stands for as many knotes.
                    let set = if slot == SECOND { &self.second } else { &self.third };
                    let Some(set) = set.as_ref().map(Private::number) else { continue };
                    // Nor does failing lose anything: the set is level in the
                    // first, and what came beside it must still be handed over.
                    let _ = found.nested.fill(|events| epoll::poll(set, events, epoll::BATCH));
                }
                FILES => self.files.read(),
                // What is there is asked for after each wait.
                DEEDS => {}
                KNOCK => self.knocked(),
                SIGNALS => found.signals = self.signals.rung(),
                BLOCKED => {
                    self.signals.take_blocked();
                    found.signals = self.signals.rung();
                }
                MOUNTS => {
                    // If it cannot be read now, the next call attends to it.
                    let _ = self.mounts.look();
                    self.mounts.tell(&mut found.telling);
                }
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
