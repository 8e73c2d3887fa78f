//! One inotify instance for the queues of a process that find none left.
//!
//! A user has 128 instances by default, so queues beyond that share one. It is
//! in the set of each; whichever thread finds it readable first reads it, puts
//! what concerns other queues into their mailboxes, and knocks: the kernel has
//! woken them too, but what they were woken for has been read.
//!
//! When the limit is met it is too late to make an instance to be shared. So it
//! is made ahead, with the second instance of the process, and closed when no
//! queue has any.
//!
//! The lock here is a leaf: it is taken under any queue's lock, and nothing is
//! taken under it. A mailbox does not grow without bounds: a queue that does
//! not look for long has lost the detail, as when the kernel's queue overflows.

use super::super::epoll;
use super::super::knocker::Knock;
use super::super::lock::{self, Mutex};
use super::super::per_process::PerProcess;
use super::inotify::{Inotify, Letter, Role};
use super::notes::Change;
use crate::errno::{Errno, Result};
use crate::sys::contract::Descriptor;

static HUB: PerProcess<Hub> = PerProcess::new();

#[derive(Debug)]
struct Hub {
    state: Mutex<State>,
}

/// A part each for the instance and for those who share it: who works on both
/// need not take the instance out, and leave without it.
#[derive(Debug)]
struct State {
    inotify: Option<Inotify>,
    /// Queues with an instance of their own.
    owners: u32,
    members: Members,
}

#[derive(Debug)]
struct Members {
    boxes: Vec<Option<Mailbox>>,
    /// Who watches what, in order.
    shares: Vec<Share>,
}

#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Share {
    watch: i32,
    member: u32,
}

#[derive(Debug)]
struct Mailbox {
    knock: Knock,
    letters: Vec<Letter>,
    lost: bool,
}

/// How many letters a mailbox takes before the detail is lost.
const MOST_LETTERS: usize = 4096;

fn hub() -> Result<&'static Hub> {
    let make = || Hub {
        state: Mutex::new(State {
            inotify: None,
            owners: 0,
            members: Members { boxes: Vec::new(), shares: Vec::new() },
        }),
    };
    HUB.start(Hub::renew, make)
}

/// Gives back the hub, if the calling thread has it and leaves its call.
pub(in crate::sys::linux) fn reclaim() {
    if let Some(hub) = HUB.get() {
        lock::reclaim(&hub.state, |_| ());
    }
}

impl Hub {
    /// Makes an inherited hub an empty one: its watches are the parent's.
    /// `false`: the lock is held by a thread that is not there.
    fn renew(&self) -> bool {
        let Some(mut state) = self.state.try_lock() else { return false };
        state.inotify = None;
        state.owners = 0;
        state.members.boxes.clear();
        state.members.shares.clear();
        true
    }

    fn open(state: &mut State) -> Result<Descriptor> {
        if let Some(inotify) = &state.inotify {
            return inotify.number();
        }
        state.inotify.insert(Inotify::new()?).number()
    }

    fn close_if_idle(state: &mut State) {
        if state.owners < 2 && state.members.boxes.iter().all(Option::is_none) {
            state.inotify = None;
            state.members.shares = Vec::new();
        }
    }
}

impl Members {
    fn post(&mut self, letter: Letter, reader: u32) {
        let (watch, change) = letter;
        if change == Change::Overflow {
            for (member, mailbox) in self.boxes.iter_mut().enumerate() {
                if let Some(mailbox) = mailbox {
                    mailbox.lose(member as u32 != reader);
                }
            }
            return;
        }
        let first = self.shares.partition_point(|share| share.watch < watch);
        let mut end = first;
        while let Some(share) = self.shares.get(end).filter(|share| share.watch == watch) {
            if let Some(Some(mailbox)) = self.boxes.get_mut(share.member as usize) {
                mailbox.put(letter, share.member != reader);
            }
            end += 1;
        }
        if change == Change::Dropped {
            self.shares.drain(first..end);
        }
    }
}

impl Mailbox {
    fn put(&mut self, letter: Letter, knock: bool) {
        // The same once more says nothing new; but directories are counted.
        let again = self.letters.last() == Some(&letter) && !letter.1.is_counted();
        if again || self.lost {
            return;
        }
        if self.letters.len() == MOST_LETTERS || self.letters.try_reserve(1).is_err() {
            return self.lose(knock);
        }
        if self.letters.is_empty() && knock {
            // It fails only if the program has closed our numbers.
            let _ = self.knock.ring();
        }
        self.letters.push(letter);
    }

    fn lose(&mut self, knock: bool) {
        self.letters.clear();
        self.lost = true;
        if knock {
            let _ = self.knock.ring();
        }
    }
}

/// An instance of its own, counted.
#[derive(Debug)]
pub(super) struct Owner(());

impl Owner {
    pub(super) fn new() -> Result<Owner> {
        let hub = hub()?;
        let mut state = hub.state.lock();
        state.owners += 1;
        if state.owners > 1 {
            // Whether there is one left now shows when it is needed.
            let _ = Hub::open(&mut state);
        }
        Ok(Owner(()))
    }
}

/// Not in a forked child before `disown` has forgotten it: see there.
impl Drop for Owner {
    fn drop(&mut self) {
        let Some(hub) = HUB.get() else { return };
        let mut state = hub.state.lock();
        state.owners = state.owners.saturating_sub(1);
        Hub::close_if_idle(&mut state);
    }
}

/// A queue's part in the shared instance.
#[derive(Debug)]
pub(super) struct Member(u32);

impl Member {
    /// Joins, and puts the instance into the queue's set.
    pub(super) fn join(set: Descriptor, data: u64, knock: Knock) -> Result<Member> {
        let hub = hub()?;
        let mut state = hub.state.lock();
        let number = Hub::open(&mut state)?;
        let boxes = &mut state.members.boxes;
        let at = boxes.iter().position(Option::is_none).unwrap_or(boxes.len());
        boxes.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        if let Err(error) = epoll::add(set, number, libc::EPOLLIN as u32, data) {
            Hub::close_if_idle(&mut state);
            return Err(error);
        }
        let mailbox = Some(Mailbox { knock, letters: Vec::new(), lost: false });
        match state.members.boxes.get_mut(at) {
            Some(place) => *place = mailbox,
            None => state.members.boxes.push(mailbox),
        }
        Ok(Member(at as u32))
    }

    /// Works on the instance, which is there as long as anybody is a member.
    fn with<R>(&self, work: impl FnOnce(&mut Members, &Inotify) -> Result<R>) -> Result<R> {
        let hub = HUB.get().ok_or(Errno::EBADF)?;
        let mut state = hub.state.lock();
        let State { inotify, members, .. } = &mut *state;
        work(members, inotify.as_ref().ok_or(Errno::EBADF)?)
    }

    /// The number of the instance.
    pub(super) fn number(&self) -> Option<Descriptor> {
        self.with(|_, inotify| inotify.number()).ok()
    }

    /// Watches, and tells whether somebody did before.
    pub(super) fn add(&self, fd: Descriptor, role: Role, mask: u32) -> Result<(i32, bool)> {
        self.with(|members, inotify| {
            members.shares.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            let watch = inotify.add(fd, role, mask)?;
            let shared = members.is_shared(watch);
            members.share(Share { watch, member: self.0 });
            Ok((watch, shared))
        })
    }

    /// Drops a watch, unless others share it.
    pub(super) fn remove(&self, watch: i32) {
        let _ = self.with(|members, inotify| {
            if let Ok(at) = members.shares.binary_search(&Share { watch, member: self.0 }) {
                members.shares.remove(at);
                members.drop_unshared(watch, inotify);
            }
            Ok(())
        });
    }

    /// Is there something that this queue has not seen?
    pub(super) fn is_behind(&self) -> Result<bool> {
        self.with(|members, inotify| {
            let mailbox = members.boxes.get(self.0 as usize).and_then(Option::as_ref);
            let waits = mailbox.is_some_and(|mailbox| mailbox.lost || !mailbox.letters.is_empty());
            Ok(waits || inotify.is_behind()?)
        })
    }

    pub(super) fn mark(&self) -> Result<i32> {
        self.with(|members, inotify| {
            members.shares.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            let mark = inotify.mark()?;
            members.share(Share { watch: mark, member: self.0 });
            Ok(mark)
        })
    }

    /// Reads for everybody. `true`: there may be more.
    pub(super) fn read(&self) -> bool {
        let Some(hub) = HUB.get() else { return false };
        let mut state = hub.state.lock();
        let State { inotify: Some(inotify), members, .. } = &mut *state else { return false };
        inotify.read(|letter| members.post(letter, self.0))
    }

    /// Takes what the mailbox holds, into an empty list. `true`: some was lost.
    pub(super) fn take(&self, letters: &mut Vec<Letter>) -> bool {
        let Some(hub) = HUB.get() else { return false };
        let mut state = hub.state.lock();
        match state.members.boxes.get_mut(self.0 as usize) {
            Some(Some(mailbox)) => {
                core::mem::swap(letters, &mut mailbox.letters);
                core::mem::take(&mut mailbox.lost)
            }
            _ => false,
        }
    }
}

impl Members {
    /// Writes it down; there is room.
    fn share(&mut self, share: Share) {
        if let Err(at) = self.shares.binary_search(&share) {
            self.shares.insert(at, share);
        }
    }

    fn is_shared(&self, watch: i32) -> bool {
        let at = self.shares.partition_point(|share| share.watch < watch);
        self.shares.get(at).is_some_and(|share| share.watch == watch)
    }

    fn drop_unshared(&self, watch: i32, inotify: &Inotify) {
        if !self.is_shared(watch) {
            inotify.remove(watch);
        }
    }
}

/// Not in a forked child before `disown` has forgotten it: the lock may be
/// held by a thread that is not there, and the watches are the parent's.
impl Drop for Member {
    fn drop(&mut self) {
        let Some(hub) = HUB.get() else { return };
        let mut state = hub.state.lock();
        let State { inotify, members, .. } = &mut *state;
        if let Some(inotify) = inotify {
            for at in (0..members.shares.len()).rev() {
                let share = members.shares.get(at).copied();
                if let Some(share) = share.filter(|share| share.member == self.0) {
                    members.shares.remove(at);
                    members.drop_unshared(share.watch, inotify);
                }
            }
        }
        if let Some(place) = members.boxes.get_mut(self.0 as usize) {
            *place = None;
        }
        Hub::close_if_idle(&mut state);
    }
}
