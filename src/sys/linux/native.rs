//! The contract, over one queue's kernel objects.

use super::descriptor::{self, Private};
use super::epoll::{self, ALARM, BELL, DEEDS, MOUNTS, SECOND, mask, pack, pack_private, unpack};
use super::files::{self, Files};
use super::hints::Found;
use super::kept::{self, Mark};
use super::mounts::MountTable;
use super::objects::Native;
use super::outline::Outline;
use super::probe::{self, Kind};
use super::processes::connector::Connector;
use super::processes::{self, Processes};
use super::renewal::Renewal;
use super::sets::{IN_FILES, IN_SECOND, IN_THIRD, leave, replaced};
use super::signals::{self, Signals};
use super::syscall::{self, clock};
use super::{doorbell, leaving, timerfd, words};
use crate::clock::{Moment, Patience, Span};
use crate::errno::{Errno, Result};
use crate::sync::{AtomicU32, Ordering};
use crate::sys::contract::{
    Arm, Attended, Bell, Cancel, Deed, Descriptor, Exit, FileNotes, Hint, LeftBehind, Mounts,
    Platform, Readiness, Sample, Side, Source, Token, Watched,
};
use core::ffi::c_uint;

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
    /// The number bears the mark of a queue.
    checked: bool,
}

impl Platform for Native {
    type Waiter = Waiter;
    type Ringer = Ringer;
    type Found = Found;
    type Outline = Outline;
    type Renewal = Renewal;

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
        if let Err(error) =
            doorbell::hang(number, &doorbell, Bell::Rest, pack_private(cookie, BELL))
        {
            Native::close(number);
            return Err(error);
        }
        let native = Native {
            number,
            proved: true,
            marked: true,
            cookie,
            doorbell: Some(doorbell),
            alarm: None,
            second: None,
            third: None,
            spoilt_farewell: None,
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
        syscall::shut(number);
    }

    fn answers_to(&self, number: Descriptor) -> bool {
        let Some(doorbell) = &self.doorbell else { return false };
        // The doorbell of one can be left in the set of another by a question
        // during which that was closed: see `epoll::Asked`.
        let is_another = || {
            number != self.number
                && epoll::contains(self.number, doorbell)
                && syscall::is_same_file(number, self.number) == Some(false)
        };
        epoll::contains(number, doorbell) && !is_another()
    }

    fn reach(&mut self, number: Descriptor) {
        self.number = number;
        self.proved = false;
        self.marked = false;
    }

    fn outline(&self, outline: &Outline) {
        if words::is_told() {
            outline.draw(self);
        }
    }

    fn take_out(outline: &Outline, fd: Descriptor) {
        outline.take_out(fd);
    }

    fn rouse(outline: &Outline, number: Descriptor) -> bool {
        outline.rouse(number)
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
        self.processes.retire();
        self.knocker = None;
        self.mounts = MountTable::new();
        self.connector.retire();
        self.signals.retire();
        // One that found no place above is in the application's way.
        self.doorbell = self.doorbell.take().filter(Private::is_high);
    }

    fn disown(&mut self) {
        self.files.disown();
    }

    fn watch(&mut self, fd: Descriptor, side: Side, arm: Arm, token: Token) -> Result<Source> {
        match side {
            Side::Write if Kind::is_queue(fd)? => return Err(Errno::EINVAL),
            Side::Except if !syscall::is_socket(fd)? => return Err(Errno::EINVAL),
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

    fn prepare_renewal(&mut self) -> Result<Renewal> {
        self.new_sets()
    }

    fn carry(
        &mut self,
        into: &mut Renewal,
        fd: Descriptor,
        side: Side,
        source: &Source,
        arm: Arm,
        token: Token,
    ) -> Result<()> {
        self.verify(fd, source)?;
        let set = into.set_of(source)?;
        epoll::add(set, fd, mask(side, arm), pack(self.cookie, token)).map_err(replaced)?;
        // Once more, for another thread may have made the number another file
        // in between, and that must not be watched for this knote.
        self.verify(fd, source).inspect_err(|_| {
            // Should it be a third file by now, the second is left as a ghost.
            let _ = epoll::remove(set, fd);
        })
    }

    fn carry_process(&mut self, into: &mut Renewal, watched: &Watched, token: Token) -> Result<()> {
        let Some(pidfd) = self.processes.pidfd(watched.place) else { return Ok(()) };
        let data = pack(self.cookie, token);
        // Should the program have closed it, its end is told by nothing: as
        // before.
        let _ = epoll::add(into.first(), pidfd, libc::EPOLLIN as u32, data);
        Ok(())
    }

    fn renew(&mut self, renewal: Renewal, numbers: &[Descriptor]) -> Result<()> {
        self.replace_sets(renewal, numbers)
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
        let mut may_send = true;
        // Another file may have the number by now, which would be sent to.
        if probe::is_asked_by_sending(source, side)
            && let Err(error) = self.verify(fd, source)
        {
            if self.prove() {
                return Err(error);
            }
            may_send = false;
        }
        let sample = probe::sample(fd, side, source, seen, may_send)?;
        // A hint is of the file that was registered, and what was asked is the
        // number's: the one may live on elsewhere while the other is another file
        // by now.
        if seen.is_some() {
            match self.verify(fd, source) {
                // Or it is the queue's own number that has been closed, and a
                // thread that waits there is still given what comes.
                Err(error) if self.prove() => return Err(error),
                _ => {}
            }
        }
        Ok(sample)
    }

    fn watch_mounts(&mut self, token: Token) -> Result<Mounts> {
        // The wakers must not end up in a stranger's set.
        if !self.prove() {
            return Err(Errno::EBADF);
        }
        self.mend_mounts()?;
        let data = self.private(MOUNTS);
        self.mounts.watch(token, self.number, data)
    }

    fn unwatch_mounts(&mut self, token: Token) {
        self.mounts.unwatch(token);
    }

    fn mounts(&mut self) -> Result<Mounts> {
        self.mend_mounts()?;
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
        // The application misses its signals, and the system what the connector
        // makes it write down.
        !self.signals.is_empty() || self.processes.listens() || self.connector.number().is_some()
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
        let enter = |pidfd| epoll::add(set, pidfd, libc::EPOLLIN as u32, data);
        let watched = self.processes.watch(pid, token, enter)?;
        if !watched.wakes {
            self.listen_for_children();
        }
        Ok(watched)
    }

    fn unwatch_process(&mut self, watched: Watched) {
        let set = self.set();
        self.processes.unwatch(watched.place, |pidfd| leave(set, pidfd));
    }

    fn process_exit(&mut self, watched: &Watched) -> Result<Option<Exit>> {
        self.processes.exit(watched.place)
    }

    fn watch_procdesc(&mut self, fd: Descriptor, arm: Arm, token: Token) -> Result<(Source, i32)> {
        let pid = processes::process_of(fd)?.unwrap_or(0);
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
        processes::exit_of(fd)
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
        let set = self.set();
        self.connector.unfollow(pid, token, |socket| leave(set, socket));
    }

    fn next_deed(&mut self) -> Option<(Token, Deed)> {
        self.connector.next()
    }

    fn bell(&mut self, bell: Bell) -> Result<()> {
        let set = self.set()?;
        let Some(doorbell) = &self.doorbell else { return Err(Errno::EBADF) };
        doorbell::set(set, doorbell.number(), bell, self.private(BELL))?;
        self.proved = true;
        if bell == Bell::Rest {
            // It may stand on the set's list of what is ready still, and then
            // the next ring would be no news to whoever watches the queue by
            // edges. To be polled takes it off.
            let _ = probe::poll_now(self.number);
        }
        Ok(())
    }

    fn prepare_alarm(&mut self) -> Result<()> {
        if self.alarm.is_some() {
            return Ok(());
        }
        let set = self.set()?;
        let alarm = timerfd::create()?;
        let data = self.private(ALARM);
        epoll::add(set, alarm.number(), libc::EPOLLIN as u32, data)?;
        self.proved = true;
        self.alarm = Some(alarm);
        Ok(())
    }

    fn alarm(&mut self, at: Option<Moment>) -> Result<()> {
        // A stranger's timer must not be set. One that the program has closed
        // is made again.
        descriptor::drop_strange(&mut self.alarm);
        if at.is_some() {
            self.prepare_alarm()?;
        }
        self.alarm.as_ref().map_or(Ok(()), |alarm| timerfd::set(alarm, at))
    }

    fn hold_bell_anew(&mut self) -> Result<()> {
        let set = self.set()?;
        let Some(doorbell) = self.doorbell.as_ref().filter(|bell| bell.is_ours()) else {
            return Err(Errno::EBADF);
        };
        // An entry that is on the set's list of what is ready makes no edge by
        // a change of its mask. At rest it leaves the list when the set is
        // polled.
        let number = doorbell.number();
        doorbell::set(set, number, Bell::Rest, self.private(BELL))?;
        probe::poll_now(set)?;
        doorbell::set(set, number, Bell::Hold, self.private(BELL))
    }

    fn ringer(&self) -> Ringer {
        let doorbell = self.doorbell.as_ref().map_or(-1, Private::number);
        let checked = self.marked || self.proved;
        Ringer { number: self.number, doorbell, data: self.private(BELL), checked }
    }

    fn ring(ringer: Ringer) -> Result<()> {
        if !ringer.checked && !kept::bears(ringer.number, Mark::Queue) {
            return Err(Errno::EBADF);
        }
        doorbell::set(ringer.number, ringer.doorbell, Bell::Ring, ringer.data)
    }

    #[inline]
    fn now() -> Moment {
        syscall::now()
    }

    fn wall() -> Span {
        Span(clock(libc::CLOCK_REALTIME))
    }

    fn is_open(&self, fd: Descriptor) -> bool {
        syscall::is_open(fd)
    }

    fn waiter(number: Descriptor) -> Waiter {
        Waiter { number }
    }

    fn found() -> Found {
        Found::new()
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
    fn wait_unless_left<T>(
        waiter: Waiter,
        found: &mut Found,
        most: usize,
        (patience, cancel): (Patience, Cancel),
        (context, left): (&T, LeftBehind<T, Found>),
    ) -> Result<usize> {
        found.first.blank(most);
        leaving::unless_left(
            &mut (found, context, left),
            |(found, context, left)| {
                found.first.keep_written();
                let count = found.first.left();
                left(context, found, count);
            },
            |(found, ..)| Native::wait(waiter, found, most, patience, cancel),
        )
    }

    #[inline]
    fn unless_left<S, R>(state: &mut S, left: fn(&mut S), stay: impl FnOnce(&mut S) -> R) -> R {
        leaving::unless_left(state, left, stay)
    }

    fn reclaim_own() {
        files::reclaim();
        signals::reclaim();
    }

    #[inline]
    fn about_to_wait() {
        signals::about_to_wait();
    }

    fn interrupted_in_vain() -> bool {
        signals::interrupted_in_vain()
    }

    fn attend(&mut self, found: &mut Found) -> Result<Attended> {
        self.look_around(found)
    }

    #[inline]
    fn cancellation_point() {
        epoll::cancellation_point();
    }

    #[inline]
    fn next_hint(&mut self, found: &mut Found) -> Result<Option<Hint>> {
        self.hint(found)
    }

    fn has_sent(&self, found: &mut Found) -> bool {
        found.first.next().is_some_and(|event| {
            found.first.put_back();
            unpack(event.u64).0 == self.cookie
        })
    }
}
