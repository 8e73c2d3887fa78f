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

use super::numbers::{Entry, Numbers, leak};
use crate::errno::{Errno, Result};
use crate::queue::{Home, Queue};
use crate::sync::{AtomicI32, AtomicU32, Ordering};
use crate::sys::{self, Descriptor, DescriptorState, Mutex, Native, PerProcess, Platform};
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
                spares: Vec::new(),
                hand: 0,
            }),
        }
    }

    #[inline]
    pub(super) fn find(&self, number: Descriptor) -> Option<Found<P>> {
        let Entry { home, tenant } = self.numbers.get(number)?;
        Some(Found { home: self.home(home)?, tenant })
    }

    #[inline]
    pub(super) fn home(&self, home: u32) -> Option<&'static Home<P>> {
        let (chunk, offset) = place(home);
        self.homes.get(chunk)?.get()?.get(offset)
    }

    pub(super) fn create(&self) -> Result<Descriptor> {
        let _busy = sys::Busy::new();
        let mut roster = self.roster.lock();
        if let Some(home) = self.closed.swap(0, Ordering::Relaxed).checked_sub(1) {
            let missed = self.ask_after(&mut roster, home);
            self.exhume_if_due(&mut roster, missed);
        }
        self.sweep(&mut roster, SWEEP);
        let (home, at) = self.vacancy(&mut roster)?;
        let (port, number) = match P::open(roster.spares.pop()) {
            Err(Errno::EMFILE | Errno::ENFILE) => {
                self.sweep(&mut roster, u32::MAX);
                self.exhume(&mut roster);
                roster.spares.clear();
                P::open(None)?
            }
            opened => opened?,
        };
        if let Err(error) = self.move_in(&mut roster, number, port, home, at) {
            P::close(number);
            return Err(error);
        }
        Ok(number)
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
    pub(super) fn sweep_all(&self) {
        let mut roster = self.roster.lock();
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

    /// A call found that the number is not this queue any more, unless somebody
    /// was quicker.
    pub(super) fn forget(&self, number: Descriptor, tenant: u32) {
        let mut roster = self.roster.lock();
        if let Some(entry) = self.numbers.get(number).filter(|entry| entry.tenant == tenant) {
            let missed = self.ask_after(&mut roster, entry.home);
            self.exhume_if_due(&mut roster, missed);
        }
    }

    /// A number that is an epoll and not known: perhaps a dup of one of ours.
    pub(super) fn find_alias(&self, number: Descriptor) -> Result<Option<Found<P>>> {
        let mut roster = self.roster.lock();
        let roster = &mut *roster;
        for (at, resident) in (0..).zip(roster.residents.iter_mut()) {
            if resident.state != State::Vacant && self.recognise(at, resident, number)? {
                roster.graves.retain(|grave| *grave != at);
                return Ok(self.find(number));
            }
        }
        Ok(None)
    }

    /// If the number refers to this queue, notes that it does. ENOMEM: it does,
    /// but there is no room to note it. EAGAIN: perhaps not for long.
    fn recognise(&self, at: u32, resident: &mut Resident, number: Descriptor) -> Result<bool> {
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
    pub(super) fn renew_queue(&self, haunted: &Found<P>) -> Result<()> {
        let mut roster = self.roster.lock();
        let known = roster.residents.iter().zip(0..).position(|(resident, at)| {
            resident.tenant == haunted.tenant
                && resident.state == State::Alive
                && self.home(at).is_some_and(|home| core::ptr::eq(home, haunted.home))
        });
        let at = known.and_then(|at| u32::try_from(at).ok()).ok_or(Errno::EBADF)?;
        self.ask_after(&mut roster, at);
        let resident = roster.residents.get_mut(at as usize).ok_or(Errno::EBADF)?;
        let mut complete = Ok(());
        sys::own_descriptors(|number| {
            if !self.is_known(number)
                && let Err(error) = self.recognise(at, resident, number)
            {
                complete = Err(error);
            }
        });
        complete?;
        self.renew_under(haunted.home, &resident.numbers, 0)
    }

    /// Renews it while the queues that watch it, from this home on, are locked.
    /// No two locks of queues are held at once but here, where one thread at a
    /// time comes by, with the roster's.
    fn renew_under(&self, haunted: &Home<P>, numbers: &[Descriptor], from: u32) -> Result<()> {
        let others = (from..).map_while(|at| Some((at, self.home(at)?)));
        for (at, home) in others.filter(|(_, home)| !core::ptr::eq(*home, haunted)) {
            let renewed = home.visit(|queue| {
                queue.watches(numbers).then(|| {
                    queue.let_go(numbers);
                    let renewed = self.renew_under(haunted, numbers, at + 1);
                    queue.take_hold(numbers, |number| {
                        haunted.visit(|queue| queue.port().answers_to(number)) == Some(true)
                    });
                    renewed
                })
            });
            if let Some(renewed) = renewed.flatten() {
                return renewed;
            }
        }
        haunted.visit(|queue| queue.renew(numbers)).unwrap_or(Err(Errno::EBADF))
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
        super::closing::end_all();
        let Roster { residents, vacant, graves, spares, hand } = &mut *roster;
        *hand = 0;
        graves.clear();
        spares.clear();
        vacant.clear();
        for (at, resident) in (0..).zip(residents.iter_mut()) {
            resident.numbers.clear();
            resident.state = State::Vacant;
            if self.home(at).is_some_and(Home::evict) {
                // As many as there are homes: room was made with each.
                vacant.push(at);
            }
        }
        true
    }
}

/// Chunk and offset of a home.
fn place(home: u32) -> (usize, usize) {
    let shifted = home + FIRST_CHUNK;
    let chunk = shifted.ilog2() - FIRST_CHUNK.ilog2();
    (chunk as usize, (shifted - (FIRST_CHUNK << chunk)) as usize)
}
