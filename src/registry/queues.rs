//! The queues of this process, and the numbers that each is known by.
//!
//! The application closes a queue without telling us, so the registry is right
//! about a number only until the kernel says otherwise. It learns of a close
//! when a call fails, when the kernel gives the number out again in kqueue(),
//! or when a sweep asks: each kqueue() asks after a few queues in turn, and
//! after all of them when descriptors run out.
//!
//! A queue whose known numbers are all closed may still be open under a number
//! that dup() made. It is *buried*: kept as it is, until there are so many
//! graves that it pays to look through the process's descriptors once for all
//! of them. A grave that nothing refers to is cleared.

#![forbid(unsafe_code)]

use super::closers;
use super::numbers::{Entry, Numbers, leak};
use crate::errno::{Errno, Result};
use crate::queue::{Home, Queue};
use crate::sync::{AtomicI32, AtomicU32, Ordering};
use crate::sys::{
    self, Descriptor, DescriptorState, Mutex, Native, PerProcess, Platform, Quiet, RawLock,
};
use parking_lot::lock_api::MutexGuard;
use std::sync::OnceLock;

pub(super) static REGISTRY: PerProcess<Registry<Native>> = PerProcess::new();

/// How many queues each kqueue() asks after.
const SWEEP: u32 = 2;
/// How many graves before the process's descriptors are looked through, or as
/// one to how many queues, if that is more.
const GRAVES: usize = 32;
/// How many dead queues' private objects are kept for the next ones.
const SPARES: usize = 32;

/// The first chunk of homes; each later one doubles the whole.
const FIRST_CHUNK: u32 = 32;
const CHUNKS: usize = 26;

/// A queue as a call refers to it.
#[derive(Debug)]
pub(crate) struct Found<P: Platform> {
    pub(crate) home: &'static Home<P>,
    pub(crate) tenant: u32,
    /// The process that found it, for a call that comes back in a forked child.
    pub(super) process: i32,
}

#[derive(Debug)]
pub(super) struct Registry<P: Platform> {
    /// The process. One that vfork() made shares all this, and is another.
    pub(super) owner: AtomicI32,
    /// The home of a queue that was closed, and 1; or 0.
    pub(super) closed: AtomicU32,
    pub(super) numbers: Numbers,
    /// Homes by number: the chunks are never given back, so a reference to a
    /// home is good for ever.
    pub(super) homes: [OnceLock<&'static [Home<P>]>; CHUNKS],
    roster: Mutex<Roster<P>>,
}

/// What changes only when queues come and go.
#[derive(Debug)]
struct Roster<P: Platform> {
    /// By home.
    residents: Vec<Resident>,
    /// Homes that stand empty.
    vacant: Vec<u32>,
    graves: Vec<u32>,
    /// Is there a resident that is lost?
    lost: bool,
    spares: Vec<P>,
    /// Where the sweep goes on.
    hand: u32,
}

#[derive(Debug)]
struct Resident {
    state: State,
    tenant: u32,
    /// The numbers known to refer to it; the first is the one last seen good.
    numbers: Vec<Descriptor>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    Vacant,
    Alive,
    Buried,
    /// A parent's queue, whose home was found locked in a forked child.
    Lost,
}

impl Resident {
    /// Is there a queue of this process's, as far as is known?
    fn lives(&self) -> bool {
        matches!(self.state, State::Alive | State::Buried)
    }
}

impl<P: Platform> Registry<P> {
    pub(super) fn new() -> Registry<P> {
        Registry {
            owner: AtomicI32::new(sys::process_id()),
            closed: AtomicU32::new(0),
            numbers: Numbers::new(),
            homes: [const { OnceLock::new() }; CHUNKS],
            roster: Mutex::new(Roster {
                residents: Vec::new(),
                vacant: Vec::new(),
                graves: Vec::new(),
                lost: false,
                spares: Vec::new(),
                hand: 0,
            }),
        }
    }

    #[inline]
    pub(super) fn find(&self, number: Descriptor) -> Option<Found<P>> {
        let Entry { home, tenant } = self.numbers.get(number)?;
        let process = self.owner.load(Ordering::Relaxed);
        Some(Found { home: self.home(home)?, tenant, process })
    }

    #[inline]
    pub(super) fn home(&self, home: u32) -> Option<&'static Home<P>> {
        let (chunk, offset) = place(home);
        self.homes.get(chunk)?.get()?.get(offset)
    }

    /// The roster, locked. No handler runs on top of who has it: it would find no
    /// way past, should it make a queue, or leave the lock behind by longjmp.
    /// What its owner locks beside it, a queue's home, is as safe.
    fn roster(&self, _: &Quiet) -> MutexGuard<'_, RawLock, Roster<P>> {
        self.roster.lock()
    }

    pub(super) fn create(&self, quiet: &Quiet) -> Result<Descriptor> {
        let _busy = sys::Busy::new();
        let mut roster = self.roster(quiet);
        if let Some(home) = self.closed.swap(0, Ordering::Relaxed).checked_sub(1) {
            let missed = self.ask_after(&mut roster, home);
            self.exhume_if_due(&mut roster, missed);
        }
        self.sweep(&mut roster, SWEEP);
        self.evict_lost(&mut roster);
        let (home, at) = self.vacancy(&mut roster)?;
        let (port, number) = self.open(&mut roster)?;
        if let Err(error) = self.move_in(&mut roster, number, port, home, at) {
            P::close(number);
            return Err(error);
        }
        Ok(number)
    }

    /// Makes a queue, not under a number to which a call of this very thread is
    /// about to come back that was meant for a parent's queue; see `evict_lost`.
    fn open(&self, roster: &mut Roster<P>) -> Result<(P, Descriptor)> {
        let (port, number) = match P::open(roster.spares.pop()) {
            Err(Errno::EMFILE | Errno::ENFILE) => {
                self.sweep(roster, u32::MAX);
                self.exhume(roster);
                roster.spares.clear();
                P::open(None)?
            }
            opened => opened?,
        };
        if !self.is_awaited(roster, number) {
            return Ok((port, number));
        }
        drop(port);
        let other = self.open(roster);
        P::close(number);
        other
    }

    /// Takes the new queue in, under its number.
    fn move_in(
        &self,
        roster: &mut Roster<P>,
        number: Descriptor,
        port: P,
        home: &Home<P>,
        at: u32,
    ) -> Result<()> {
        let no_memory = |_| Errno::ENOMEM;
        self.numbers.prepare(number)?;
        sys::remember(number)?;
        // The kernel gave the number out: whatever had it has been closed.
        if let Some(last) = self.numbers.get(number) {
            self.numbers.set(number, None);
            let missed = self.ask_after(roster, last.home);
            self.exhume_if_due(roster, missed);
        }
        let Some(resident) = roster.residents.get_mut(at as usize) else {
            return Err(Errno::ENOMEM);
        };
        resident.numbers.clear();
        resident.numbers.try_reserve(1).map_err(no_memory)?;
        resident.numbers.push(number);
        resident.state = State::Alive;
        resident.tenant = home.settle_in(Queue::new(port, at));
        if let Some(place) = roster.vacant.iter().rposition(|vacant| *vacant == at) {
            roster.vacant.swap_remove(place);
        }
        self.numbers.set(number, Some(Entry { home: at, tenant: resident.tenant }));
        sys::begin_queue(number);
        Ok(())
    }

    /// A home that stands empty, made if there is none.
    fn vacancy(&self, roster: &mut Roster<P>) -> Result<(&'static Home<P>, u32)> {
        let no_memory = |_| Errno::ENOMEM;
        let at = match roster.vacant.last() {
            Some(at) => *at,
            None => {
                let at = roster.residents.len() as u32;
                let (chunk, _) = place(at);
                let cell = self.homes.get(chunk).ok_or(Errno::ENOMEM)?;
                if cell.get().is_none() {
                    let homes = leak((FIRST_CHUNK as usize) << chunk, Home::new)?;
                    cell.get_or_init(|| homes);
                }
                roster.residents.try_reserve(1).map_err(no_memory)?;
                roster.vacant.try_reserve(roster.residents.len() + 1).map_err(no_memory)?;
                roster.graves.try_reserve(roster.residents.len() + 1).map_err(no_memory)?;
                roster.spares.try_reserve(SPARES).map_err(no_memory)?;
                roster.residents.push(Resident {
                    state: State::Vacant,
                    tenant: 0,
                    numbers: Vec::new(),
                });
                roster.vacant.push(at);
                at
            }
        };
        Ok((self.home(at).ok_or(Errno::ENOMEM)?, at))
    }

    /// Looks after every queue now.
    pub(super) fn sweep_all(&self, quiet: &Quiet) {
        let mut roster = self.roster(quiet);
        self.sweep(&mut roster, u32::MAX);
        self.exhume(&mut roster);
        roster.spares.clear();
    }

    /// Asks after the next few queues in turn, and buries the dead. If one of
    /// them is missed, many may be: then all are asked after, for to look for
    /// their graves costs the same for one and for a thousand.
    fn sweep(&self, roster: &mut Roster<P>, most: u32) {
        let all = roster.residents.len() as u32;
        let mut left = most.min(all);
        let mut missed = false;
        while left > 0 {
            let at = roster.hand % all;
            roster.hand = (at + 1) % all;
            left -= 1;
            if self.ask_after(roster, at) && !missed {
                missed = true;
                left = all - 1;
            }
        }
        self.exhume_if_due(roster, missed);
    }

    /// Is one of its numbers still this queue? If not, buries it. `true`: what
    /// it holds is missed.
    fn ask_after(&self, roster: &mut Roster<P>, at: u32) -> bool {
        let Some(resident) = roster.residents.get_mut(at as usize) else { return false };
        let Some(home) = self.home(at) else { return false };
        if resident.state != State::Alive {
            return false;
        }
        let entry = Entry { home: at, tenant: resident.tenant };
        let numbers = &self.numbers;
        let _ = home.visit(|queue| {
            resident.numbers.retain(|number| {
                let good = numbers.get(*number) == Some(entry) && queue.port().answers_to(*number);
                if !good && numbers.get(*number) == Some(entry) {
                    numbers.set(*number, None);
                }
                good
            });
        });
        if !resident.numbers.is_empty() {
            return false;
        }
        resident.state = State::Buried;
        roster.graves.push(at);
        home.visit(|queue| queue.port().is_missed()) == Some(true)
    }

    /// A call found that its number is not this queue any more, unless somebody
    /// was quicker. What it could not do by that is done by another number.
    pub(super) fn forget(&self, quiet: &Quiet, home: &Home<P>, tenant: u32) {
        let mut roster = self.roster(quiet);
        let Ok(at) = self.resident(&roster, home, tenant) else { return };
        let missed = self.ask_after(&mut roster, at);
        if let Some(number) = numbers_of(&roster.residents, at).first() {
            home.visit(|queue| queue.go_on_by(*number));
        }
        self.exhume_if_due(&mut roster, missed);
    }

    /// Where a queue lives that has not been found dead. EBADF: nowhere.
    fn resident(&self, roster: &Roster<P>, home: &Home<P>, tenant: u32) -> Result<u32> {
        let known = roster.residents.iter().zip(0..).position(|(resident, at)| {
            resident.tenant == tenant
                && resident.state == State::Alive
                && self.home(at).is_some_and(|at| core::ptr::eq(at, home))
        });
        known.and_then(|at| u32::try_from(at).ok()).ok_or(Errno::EBADF)
    }

    /// A number that is an epoll and not known: perhaps a dup of one of ours.
    pub(super) fn find_alias(&self, quiet: &Quiet, number: Descriptor) -> Result<Option<Found<P>>> {
        let mut roster = self.roster(quiet);
        let roster = &mut *roster;
        let mut asked = Ok(None);
        for (at, resident) in (0..).zip(roster.residents.iter_mut()) {
            if !resident.lives() {
                continue;
            }
            match self.recognise(at, resident, number) {
                Ok(false) => {}
                Ok(true) => {
                    roster.graves.retain(|grave| *grave != at);
                    return Ok(self.find(number));
                }
                Err(Errno::EDEADLK) => asked = Err(Errno::EDEADLK),
                Err(error) => return Err(error),
            }
        }
        asked
    }

    /// Of which queue a wait on this number has found something, and a number to
    /// reach it by; it may have lost this one since.
    pub(super) fn sender(
        &self,
        quiet: &Quiet,
        found: &mut P::Found,
        number: Descriptor,
    ) -> Option<(Found<P>, Descriptor)> {
        let _ = self.find_alias(quiet, number);
        let mut roster = self.roster(quiet);
        for at in 0..roster.residents.len() as u32 {
            let home = self.home(at)?;
            let sent = |queue: &mut Queue<P>| queue.port().has_sent(found);
            if lives(&roster.residents, at) && home.visit(sent) == Some(true) {
                self.ask_after(&mut roster, at);
                if let Some(number) = numbers_of(&roster.residents, at).first() {
                    return Some((self.find(*number)?, *number));
                }
            }
        }
        None
    }

    /// If the number refers to this queue, notes that it does. ENOMEM: it does,
    /// but there is no room to note it. EAGAIN: perhaps not for long. EDEADLK: it
    /// cannot be asked, below a handler this very thread is at work there.
    fn recognise(&self, at: u32, resident: &mut Resident, number: Descriptor) -> Result<bool> {
        if self.home(at).is_some_and(Home::is_mine) {
            return Err(Errno::EDEADLK);
        }
        let answers = self.home(at).and_then(|home| {
            home.visit(|queue| {
                let answers = queue.port().answers_to(number);
                if answers {
                    queue.note_dup();
                }
                answers
            })
        });
        if answers != Some(true) {
            return Ok(false);
        }
        // One that is being closed answers still; or it was closed a moment ago,
        // and is this queue now.
        if sys::is_closing(number) {
            return Err(Errno::EAGAIN);
        }
        self.numbers.prepare(number)?;
        sys::remember(number)?;
        resident.numbers.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        if !resident.numbers.contains(&number) {
            resident.numbers.push(number);
        }
        resident.state = State::Alive;
        // Whoever finds it as a queue's finds that it is not closed.
        sys::begin_queue(number);
        self.numbers.set(number, Some(Entry { home: at, tenant: resident.tenant }));
        Ok(true)
    }

    fn exhume_if_due(&self, roster: &mut Roster<P>, missed: bool) {
        // In proportion: what a look costs grows with the queues there are.
        if missed || roster.graves.len() > GRAVES.max(roster.residents.len() / GRAVES) {
            self.exhume(roster);
        }
    }

    /// Looks through the process's descriptors for buried queues, and clears
    /// the graves that nothing refers to.
    fn exhume(&self, roster: &mut Roster<P>) {
        if roster.graves.is_empty() {
            return;
        }
        let Roster { residents, vacant, graves, spares, .. } = roster;
        let mut unsure = false;
        sys::own_descriptors(|number| {
            if self.is_known(number) || sys::descriptor_state(number) != DescriptorState::Queue {
                return;
            }
            graves.retain(|at| match residents.get_mut(*at as usize) {
                Some(resident) => self.recognise(*at, resident, number).map_or_else(
                    |_| {
                        unsure = true;
                        true
                    },
                    |found| !found,
                ),
                None => false,
            });
        });
        if unsure {
            // One of them lives, or may, but its number could not be noted.
            return;
        }
        // One that stays is being rung by a thread that does not know yet.
        graves.retain(|at| {
            let Some(queue) = self.home(*at).and_then(Home::clear) else { return true };
            let spare = queue.into_spare();
            if spares.len() < SPARES {
                spares.push(spare);
            }
            if let Some(resident) = residents.get_mut(*at as usize) {
                resident.state = State::Vacant;
            }
            vacant.push(*at);
            false
        });
    }

    /// Renews a queue: see [`crate::queue`]. Every number must be known that
    /// refers to it, or what a dup has made would go on referring to the old.
    pub(super) fn renew_queue(&self, quiet: &Quiet, haunted: &Found<P>) -> Result<()> {
        let mut roster = self.roster(quiet);
        let at = self.resident(&roster, haunted.home, haunted.tenant)?;
        haunted.home.visit(Queue::bear);
        self.ask_after(&mut roster, at);
        let looked_through = self.find_every_number(&mut roster, at)?;
        self.ask_after_watchers(&mut roster, at)?;
        self.renew_under(&roster.residents, (at, looked_through), 0)
    }

    /// Among how many descriptors.
    fn find_every_number(&self, roster: &mut Roster<P>, at: u32) -> Result<usize> {
        let resident = roster.residents.get_mut(at as usize).ok_or(Errno::EBADF)?;
        let mut looked_through = 0;
        let mut complete = Ok(());
        sys::own_descriptors_if_listed(|number| {
            looked_through += 1;
            if !self.is_known(number)
                && let Err(error) = self.recognise(at, resident, number)
            {
                complete = Err(error);
            }
        })?;
        if resident.state == State::Alive {
            roster.graves.retain(|grave| *grave != at);
        }
        complete.map(|()| looked_through)
    }

    /// Asks after the queues that watch this one. By the number that a call has
    /// last used they are not to be changed: it may be a stranger's by now.
    /// EAGAIN: whether one of them lives is not known just now, or this very
    /// thread is at work there, below a handler.
    fn ask_after_watchers(&self, roster: &mut Roster<P>, watched: u32) -> Result<()> {
        let mut buried = false;
        for at in 0..roster.residents.len() as u32 {
            if self.home(at).is_some_and(Home::is_mine) {
                return Err(Errno::EAGAIN);
            }
            if self.watches(&roster.residents, at, watched) {
                self.ask_after(roster, at);
                buried |= is_buried(&roster.residents, at);
            }
        }
        if !buried {
            return Ok(());
        }
        self.exhume(roster);
        let unsure = (0..roster.residents.len() as u32).any(|at| {
            is_buried(&roster.residents, at) && self.watches(&roster.residents, at, watched)
        });
        if unsure { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    fn watches(&self, residents: &[Resident], at: u32, watched: u32) -> bool {
        let numbers = numbers_of(residents, watched);
        at != watched
            && lives(residents, at)
            && self.home(at).and_then(|home| home.visit(|queue| queue.watches(numbers)))
                == Some(true)
    }

    /// Renews it while the queues that watch it, from this home on, are locked.
    /// No two locks of queues are held at once but here, where one thread at a
    /// time comes by, with the roster's.
    fn renew_under(
        &self,
        residents: &[Resident],
        (haunted, looked_through): (u32, usize),
        from: u32,
    ) -> Result<()> {
        let numbers = numbers_of(residents, haunted);
        let home = self.home(haunted).ok_or(Errno::EBADF)?;
        let others = (from..residents.len() as u32).filter(|at| *at != haunted);
        for at in others.filter(|at| lives(residents, *at)) {
            let own = numbers_of(residents, at);
            let renewed = self.home(at).and_then(|watcher| {
                watcher.visit(|queue| {
                    queue.watches(numbers).then(|| {
                        queue.let_go(own, numbers);
                        let renewed =
                            self.renew_under(residents, (haunted, looked_through), at + 1);
                        queue.take_hold(own, numbers, |number| {
                            home.visit(|queue| queue.port().answers_to(number)) == Some(true)
                        });
                        renewed
                    })
                })
            });
            if let Some(renewed) = renewed.flatten() {
                return renewed;
            }
        }
        home.visit(|queue| queue.renew(numbers, looked_through)).unwrap_or(Err(Errno::EBADF))
    }

    /// Does the number refer to the queue that it is noted for? It may have been
    /// closed, and be the last number of another one by now.
    fn is_known(&self, number: Descriptor) -> bool {
        let home = self.numbers.get(number).and_then(|entry| self.home(entry.home));
        home.and_then(|home| home.visit(|queue| queue.port().answers_to(number))) == Some(true)
    }

    /// In a forked child, at its first call: gives back the memory of what it
    /// inherited, and begins anew. `false`: a thread that the child does not
    /// have was changing the registry at the fork, and it is as it was left. A
    /// home that such a thread had locked is never used again.
    ///
    /// Nobody else looks at it meanwhile. The platform gives what was inherited
    /// to one thread; the others, those that close something included, find no
    /// registry until this one is published, with all that is done here, or
    /// another. What it holds is whole if the roster's lock is free, and a queue
    /// if its home's is: whoever had been changing them would have it still.
    pub(super) fn renew(&'static self) -> bool {
        let Some(mut roster) = self.roster.try_lock() else { return false };
        self.owner.store(sys::process_id(), Ordering::Relaxed);
        self.numbers.for_each(|number, _| self.numbers.set(number, None));
        closers::end_all();
        let Roster { residents, vacant, graves, lost, spares, hand } = &mut *roster;
        *hand = 0;
        graves.clear();
        spares.clear();
        vacant.clear();
        for resident in residents {
            resident.state = State::Lost;
        }
        *lost = true;
        self.evict_lost(&mut roster);
        true
    }

    /// Gives back the homes of a parent's queues, as far as nobody is in there.
    /// In some there is a thread that the child does not have; in one there may
    /// be the child's own, in a call below the signal handler that forked.
    fn evict_lost(&self, roster: &mut Roster<P>) {
        if !roster.lost {
            return;
        }
        roster.lost = false;
        for (at, resident) in (0..).zip(roster.residents.iter_mut()) {
            if resident.state != State::Lost {
                continue;
            }
            if self.home(at).is_some_and(Home::evict) {
                resident.numbers.clear();
                resident.state = State::Vacant;
                // As many as there are homes: room was made with each.
                roster.vacant.push(at);
            } else {
                roster.lost = true;
            }
        }
    }

    /// Will a call that this thread has not left go on with this number, and
    /// change what it takes for the parent's queue?
    fn is_awaited(&self, roster: &Roster<P>, number: Descriptor) -> bool {
        let lost = |resident: &Resident| resident.state == State::Lost;
        roster.lost
            && roster.residents.iter().zip(0..).any(|(resident, at)| {
                lost(resident)
                    && resident.numbers.contains(&number)
                    && self.home(at).is_some_and(Home::is_mine)
            })
    }
}

/// The numbers known to refer to the queue of a home.
fn numbers_of(residents: &[Resident], at: u32) -> &[Descriptor] {
    residents.get(at as usize).map_or(&[], |resident| &resident.numbers)
}

/// May a home be locked? In a lost one a thread may be that is not there.
fn lives(residents: &[Resident], at: u32) -> bool {
    residents.get(at as usize).is_some_and(Resident::lives)
}

fn is_buried(residents: &[Resident], at: u32) -> bool {
    residents.get(at as usize).is_some_and(|resident| resident.state == State::Buried)
}

/// Chunk and offset of a home.
fn place(home: u32) -> (usize, usize) {
    let shifted = home + FIRST_CHUNK;
    let chunk = shifted.ilog2() - FIRST_CHUNK.ilog2();
    (chunk as usize, (shifted - (FIRST_CHUNK << chunk)) as usize)
}
