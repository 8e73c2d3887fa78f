//! The knotes of a queue, found by slot, by token, and by (ident, filter).
//!
//! Knotes stand in a slab; a slot that is used again gets a new generation, so
//! a token of its last tenant finds nothing. They are found by chains through
//! the slab, whose heads stand in an index: of descriptors by number, as dense
//! as the kernel's own table of them; of all else by hash.

#![forbid(unsafe_code)]

use super::{Body, Knote, Slot};
use crate::errno::{Errno, Result};
use crate::sys::Token;
use core::ffi::c_short;
use core::ops::Range;

/// No slot.
const NONE: Slot = Slot::MAX;

#[derive(Debug)]
struct Place {
    /// `None`: free.
    knote: Option<Knote>,
    generation: u32,
    /// The next in its chain; of a free place, the next free.
    next: Slot,
}

/// How a knote is found again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    /// The ident is a descriptor, below 2^31.
    Descriptor(c_short, usize),
    Other(c_short, usize),
}

#[derive(Debug)]
pub(crate) struct Table {
    places: Vec<Place>,
    free: Slot,
    by_descriptor: Vec<Slot>,
    /// As many heads as a power of two, and no fewer than knotes in them.
    by_hash: Vec<Slot>,
    hashed: usize,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            places: Vec::new(),
            free: NONE,
            by_descriptor: Vec::new(),
            by_hash: Vec::new(),
            hashed: 0,
        }
    }

    /// Every slot there is at this moment, free ones included: to walk through
    /// all knotes while some of them go.
    pub(crate) fn slots(&self) -> Range<Slot> {
        0..self.places.len() as Slot
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Knote> {
        self.places.get(slot as usize)?.knote.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Knote> {
        self.places.get_mut(slot as usize)?.knote.as_mut()
    }

    /// The name under which the platform watches for this slot's knote.
    pub(crate) fn token(&self, slot: Slot) -> Token {
        let generation = self.places.get(slot as usize).map_or(0, |place| place.generation);
        Token { slot, generation }
    }

    /// The slot that a token means, if its knote is still there.
    pub(crate) fn meant_by(&self, token: Token) -> Option<Slot> {
        let place = self.places.get(token.slot as usize)?;
        (place.generation == token.generation && place.knote.is_some()).then_some(token.slot)
    }

    pub(crate) fn find(&self, key: Key) -> Option<Slot> {
        let (Key::Descriptor(filter, ident) | Key::Other(filter, ident)) = key;
        let mut slot = match key {
            Key::Descriptor(..) => *self.by_descriptor.get(ident)?,
            Key::Other(..) => *self.by_hash.get(bucket(filter, ident, self.by_hash.len()))?,
        };
        loop {
            let place = self.places.get(slot as usize)?;
            let found = place.knote.as_ref();
            if found.is_some_and(|knote| knote.filter == filter && knote.ident == ident) {
                return Some(slot);
            }
            slot = place.next;
        }
    }

    /// The head of the chain that a key belongs to.
    fn head(&mut self, key: Key) -> Option<&mut Slot> {
        match key {
            Key::Descriptor(_, ident) => self.by_descriptor.get_mut(ident),
            Key::Other(filter, ident) => {
                let bucket = bucket(filter, ident, self.by_hash.len());
                self.by_hash.get_mut(bucket)
            }
        }
    }

    /// Would taking in this key make the index of descriptors longer?
    pub(crate) fn is_beyond(&self, key: Key) -> bool {
        matches!(key, Key::Descriptor(_, ident) if ident >= self.by_descriptor.len())
    }

    /// The knote of a descriptor that came last.
    pub(crate) fn first_of(&self, ident: usize) -> Option<Slot> {
        let first = *self.by_descriptor.get(ident)?;
        self.get(first).map(|_| first)
    }

    /// The knote of the same descriptor that came before this one.
    pub(crate) fn next_of(&self, slot: Slot) -> Option<Slot> {
        let next = self.places.get(slot as usize)?.next;
        self.get(next).map(|_| next)
    }

    /// Takes in a knote whose key is not there yet. On ENOMEM nothing changed.
    pub(crate) fn insert(&mut self, key: Key, knote: Knote) -> Result<Slot> {
        let no_memory = |_| Errno::ENOMEM;
        match key {
            Key::Other(..) => self.grow_hash()?,
            Key::Descriptor(_, ident) => {
                let missing = (ident + 1).saturating_sub(self.by_descriptor.len());
                self.by_descriptor.try_reserve(missing).map_err(no_memory)?;
                if missing > 0 {
                    self.by_descriptor.resize(ident + 1, NONE);
                }
            }
        }
        let slot = match self.places.get(self.free as usize) {
            Some(place) => {
                let slot = self.free;
                self.free = place.next;
                slot
            }
            None => {
                if self.places.len() >= Token::SLOTS as usize {
                    return Err(Errno::ENOMEM);
                }
                self.places.try_reserve(1).map_err(no_memory)?;
                self.places.push(Place { knote: None, generation: 0, next: NONE });
                self.places.len() as Slot - 1
            }
        };
        let next = self.head(key).map_or(NONE, |head| core::mem::replace(head, slot));
        if let Some(place) = self.places.get_mut(slot as usize) {
            place.knote = Some(knote);
            place.next = next;
        }
        self.hashed += usize::from(matches!(key, Key::Other(..)));
        Ok(slot)
    }

    pub(crate) fn remove(&mut self, key: Key, slot: Slot) {
        self.unchain(key, slot);
        self.hashed -= usize::from(matches!(key, Key::Other(..)));
        let free = self.free;
        if let Some(place) = self.places.get_mut(slot as usize) {
            place.knote = None;
            place.generation = (place.generation + 1) % Token::GENERATIONS;
            place.next = free;
            self.free = slot;
        }
    }

    fn unchain(&mut self, key: Key, slot: Slot) {
        let next = self.places.get(slot as usize).map_or(NONE, |place| place.next);
        let Some(head) = self.head(key) else { return };
        if *head == slot {
            *head = next;
            return;
        }
        let mut at = *head;
        while let Some(place) = self.places.get_mut(at as usize) {
            if place.next == slot {
                place.next = next;
                return;
            }
            at = place.next;
        }
    }

    /// Makes chains and free places anew, of a table that was left half changed.
    /// A knote that was not attached yet goes.
    pub(crate) fn mend(&mut self) {
        self.by_descriptor.fill(NONE);
        self.by_hash.fill(NONE);
        self.free = NONE;
        self.hashed = 0;
        let Table { places, free, by_descriptor, by_hash, hashed } = self;
        for (slot, place) in (0..).zip(places.iter_mut()) {
            let head = place.knote.as_ref().and_then(|knote| match knote.body {
                Body::None => None,
                body if body.is_by_descriptor() => by_descriptor.get_mut(knote.ident),
                _ => {
                    *hashed += 1;
                    let heads = by_hash.len();
                    by_hash.get_mut(bucket(knote.filter, knote.ident, heads))
                }
            });
            if let Some(head) = head {
                place.next = core::mem::replace(head, slot);
            } else {
                place.knote = None;
                place.generation = (place.generation + 1) % Token::GENERATIONS;
                place.next = core::mem::replace(free, slot);
            }
        }
    }

    /// Makes room for one more hashed knote: twice the heads when there are as
    /// many knotes, and every chain anew.
    fn grow_hash(&mut self) -> Result<()> {
        if self.hashed < self.by_hash.len() {
            return Ok(());
        }
        let size = (2 * self.by_hash.len()).max(8);
        let mut heads = Vec::new();
        heads.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        heads.resize(size, NONE);
        for (slot, place) in (0..).zip(self.places.iter_mut()) {
            let Some(knote) = &place.knote else { continue };
            if knote.body.is_by_descriptor() {
                continue;
            }
            if let Some(head) = heads.get_mut(bucket(knote.filter, knote.ident, size)) {
                place.next = core::mem::replace(head, slot);
            }
        }
        self.by_hash = heads;
        Ok(())
    }
}

/// Which of `size` chains a key belongs to. A multiplication by 2^64 over the
/// golden ratio sends neighbours far apart; the program picks its own idents,
/// so there is no stranger to defend against.
fn bucket(filter: c_short, ident: usize, size: usize) -> usize {
    let key = (ident as u64).rotate_left(8) ^ u64::from(filter.cast_unsigned());
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize & size.wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EV_ADD, Kevent};
    use crate::knote::{Body, ProcessDescriptor};
    use crate::sys::Source;

    fn knote(filter: c_short, ident: usize) -> Knote {
        Knote::new(&Kevent {
            ident,
            filter,
            flags: EV_ADD,
            fflags: 0,
            data: 0,
            udata: core::ptr::null_mut(),
        })
    }

    #[test]
    fn both_filters_of_a_descriptor_are_found_and_removed_apart() {
        let mut table = Table::new();
        let (read, write) = (Key::Descriptor(-1, 5), Key::Descriptor(-2, 5));
        let first = table.insert(read, knote(-1, 5)).unwrap();
        let second = table.insert(write, knote(-2, 5)).unwrap();
        assert_eq!(table.find(read), Some(first));
        assert_eq!(table.find(write), Some(second));
        table.remove(read, first);
        assert_eq!(table.find(read), None);
        assert_eq!(table.find(write), Some(second));
        table.remove(write, second);
        assert_eq!(table.find(write), None);
        assert_eq!(table.find(Key::Descriptor(-1, 4000)), None);
    }

    #[test]
    fn thousands_of_idents_are_found_while_the_chains_grow_and_shrink() {
        let mut table = Table::new();
        let ident = |n: usize| n.wrapping_mul(0x1_0000_0001);
        for n in 0..5000 {
            let mut user = knote(-11, ident(n));
            user.body = Body::User { triggered: false };
            table.insert(Key::Other(-11, ident(n)), user).unwrap();
        }
        for n in (0..5000).step_by(2) {
            let slot = table.find(Key::Other(-11, ident(n))).unwrap();
            table.remove(Key::Other(-11, ident(n)), slot);
        }
        for n in 0..5000 {
            let found = table.find(Key::Other(-11, ident(n)));
            assert_eq!(found.is_some(), n % 2 == 1);
            assert_eq!(table.find(Key::Other(-7, ident(n))), None);
        }
    }

    #[test]
    fn growing_chains_leave_those_of_descriptors_alone() {
        let source = Source { repeats: false, wakes: true, notes: 0, place: 0 };
        let process = ProcessDescriptor {
            source,
            pid: 1,
            child: 0,
            lost: false,
            ended: false,
            followed: false,
        };
        let bodies =
            [Body::Descriptor(source), Body::Vnode(source), Body::ProcessDescriptor(process)];
        let mut table = Table::new();
        // Each with a knote of every kind, so that each has a chain to be torn.
        for fd in 0..10 {
            for (filter, body) in (-3..0).zip(bodies) {
                let mut knote = knote(filter, fd);
                knote.body = body;
                table.insert(Key::Descriptor(filter, fd), knote).unwrap();
            }
        }
        let found = |table: &Table, fd| {
            (-3..0).filter(|filter| table.find(Key::Descriptor(*filter, fd)).is_some()).count()
        };
        for n in 0..100 {
            let mut user = knote(-11, n);
            user.body = Body::User { triggered: false };
            table.insert(Key::Other(-11, n), user).unwrap();
            for fd in 0..10 {
                assert_eq!(found(&table, fd), 3, "with {n} hashed");
            }
        }
        for n in 0..100 {
            let slot = table.find(Key::Other(-11, n)).unwrap();
            table.remove(Key::Other(-11, n), slot);
        }
        for fd in 0..10 {
            assert_eq!(found(&table, fd), 3);
        }
    }

    #[test]
    fn a_token_of_the_last_tenant_finds_nothing() {
        let mut table = Table::new();
        let key = Key::Other(-11, usize::MAX);
        let slot = table.insert(key, knote(-11, usize::MAX)).unwrap();
        let old = table.token(slot);
        assert_eq!(table.meant_by(old), Some(slot));
        table.remove(key, slot);
        assert_eq!(table.meant_by(old), None);
        let again = table.insert(key, knote(-11, usize::MAX)).unwrap();
        assert_eq!(again, slot);
        assert_eq!(table.meant_by(old), None);
        assert_eq!(table.meant_by(table.token(again)), Some(again));
    }
}
