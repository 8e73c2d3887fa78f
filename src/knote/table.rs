//! The knotes of a queue, found by slot, by token, and by (ident, filter).
//!
//! Knotes stand in a slab; a slot that is used again gets a new generation, so
//! a token of its last tenant finds nothing. Knotes of a descriptor are
//! chained from an index by number, as dense as the kernel's own table of
//! descriptors; the others are hashed.

#![forbid(unsafe_code)]

use super::{Knote, Slot};
use crate::errno::{Errno, Result};
use crate::sys::Token;
use core::ffi::c_short;
use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashMap;

/// No slot.
const NONE: Slot = Slot::MAX;

#[derive(Debug)]
struct Place {
    /// `None`: free.
    knote: Option<Knote>,
    generation: u32,
    /// The next knote of the same descriptor; of a free place, the next free.
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
    by_ident: HashMap<(c_short, usize), Slot, BuildHasherDefault<Mix>>,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            places: Vec::new(),
            free: NONE,
            by_descriptor: Vec::new(),
            by_ident: HashMap::default(),
        }
    }

    /// How many slots there are, free ones included.
    pub(crate) fn slots(&self) -> usize {
        self.places.len()
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
        match key {
            Key::Other(filter, ident) => self.by_ident.get(&(filter, ident)).copied(),
            Key::Descriptor(filter, ident) => {
                let mut slot = *self.by_descriptor.get(ident)?;
                loop {
                    let place = self.places.get(slot as usize)?;
                    if place.knote.as_ref().is_some_and(|knote| knote.filter == filter) {
                        return Some(slot);
                    }
                    slot = place.next;
                }
            }
        }
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
            Key::Other(..) => self.by_ident.try_reserve(1).map_err(no_memory)?,
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
        let next = match key {
            Key::Other(filter, ident) => {
                self.by_ident.insert((filter, ident), slot);
                NONE
            }
            Key::Descriptor(_, ident) => match self.by_descriptor.get_mut(ident) {
                Some(first) => core::mem::replace(first, slot),
                None => NONE,
            },
        };
        if let Some(place) = self.places.get_mut(slot as usize) {
            place.knote = Some(knote);
            place.next = next;
        }
        Ok(slot)
    }

    pub(crate) fn remove(&mut self, key: Key, slot: Slot) {
        match key {
            Key::Other(filter, ident) => {
                self.by_ident.remove(&(filter, ident));
            }
            Key::Descriptor(_, ident) => self.unchain(ident, slot),
        }
        let free = self.free;
        if let Some(place) = self.places.get_mut(slot as usize) {
            place.knote = None;
            place.generation = (place.generation + 1) % Token::GENERATIONS;
            place.next = free;
            self.free = slot;
        }
    }

    fn unchain(&mut self, ident: usize, slot: Slot) {
        let next = self.places.get(slot as usize).map_or(NONE, |place| place.next);
        let Some(first) = self.by_descriptor.get_mut(ident) else { return };
        if *first == slot {
            *first = next;
            return;
        }
        let mut at = *first;
        while let Some(place) = self.places.get_mut(at as usize) {
            if place.next == slot {
                place.next = next;
                return;
            }
            at = place.next;
        }
    }
}

/// A hash for idents: a multiplication. The program picks its own idents, so
/// there is no stranger to defend against.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        // The table takes its index from the low bits and its tag from the
        // high ones; a product has its best bits in the middle.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // 2^64 divided by the golden ratio: neighbours land far apart.
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_i16(&mut self, word: i16) {
        self.write_u64(u64::from(word.cast_unsigned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EV_ADD, Kevent};

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
