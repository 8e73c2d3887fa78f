//! The alarms of a queue: when which knote must be looked at again.
//!
//! A binary heap that knows where each knote stands in it, so that setting,
//! moving and cancelling cost the logarithm of how many there are. A knote has
//! at most one alarm, and only while it is enabled and nothing of it pends:
//! expirations that nobody waits for are counted by arithmetic later.

#![forbid(unsafe_code)]
#![allow(
    clippy::indexing_slicing,
    reason = "heap and places point at each other; a miss would be a bug here, not a caller's"
)]

use super::Slot;
use crate::clock::Moment;
use crate::errno::{Errno, Result};

/// Has no alarm.
const NOWHERE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Alarms {
    heap: Vec<(Moment, Slot)>,
    /// Slot to place in the heap.
    places: Vec<u32>,
}

impl Alarms {
    pub(crate) const fn new() -> Alarms {
        Alarms { heap: Vec::new(), places: Vec::new() }
    }

    /// Makes room for the knote in this slot, so that `set` cannot fail.
    pub(crate) fn reserve(&mut self, slot: Slot) -> Result<()> {
        let slots = slot as usize + 1;
        let missing = slots.saturating_sub(self.places.len());
        self.places.try_reserve(missing).map_err(|_| Errno::ENOMEM)?;
        let wanted = slots.max(self.places.len());
        self.heap.try_reserve(wanted - self.heap.len()).map_err(|_| Errno::ENOMEM)?;
        if missing > 0 {
            self.places.resize(slots, NOWHERE);
        }
        Ok(())
    }

    /// Has room been made for the knote in this slot?
    pub(crate) fn has_room(&self, slot: Slot) -> bool {
        (slot as usize) < self.places.len()
    }

    pub(crate) fn first(&self) -> Option<Moment> {
        self.heap.first().map(|(at, _)| *at)
    }

    /// Cancels all, also those of a heap that was left half changed.
    pub(crate) fn clear(&mut self) {
        self.heap.clear();
        self.places.fill(NOWHERE);
    }

    /// Sets or moves the alarm of a knote for which room was made.
    pub(crate) fn set(&mut self, slot: Slot, at: Moment) {
        if at == Moment::NEVER {
            return self.cancel(slot);
        }
        match self.place(slot) {
            Some(place) => {
                let was = core::mem::replace(&mut self.heap[place].0, at);
                if at < was { self.rise(place) } else { self.sink(place) }
            }
            None if (slot as usize) < self.places.len() => {
                self.heap.push((at, slot));
                self.rise(self.heap.len() - 1);
            }
            None => debug_assert!(false, "an alarm without room"),
        }
    }

    pub(crate) fn cancel(&mut self, slot: Slot) {
        let Some(place) = self.place(slot) else { return };
        self.places[slot as usize] = NOWHERE;
        let last = self.heap.len() - 1;
        self.heap.swap_remove(place);
        if place < last {
            self.rise(place);
            self.sink(place);
        }
    }

    /// Takes the first alarm if it is due.
    pub(crate) fn pop_due(&mut self, now: Moment) -> Option<Slot> {
        let &(at, slot) = self.heap.first()?;
        if at > now {
            return None;
        }
        self.cancel(slot);
        Some(slot)
    }

    fn place(&self, slot: Slot) -> Option<usize> {
        let place = *self.places.get(slot as usize)?;
        (place != NOWHERE).then_some(place as usize)
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].0 <= self.heap[place].0 {
                break;
            }
            self.swap(parent, place);
            place = parent;
        }
        self.note(place);
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let left = 2 * place + 1;
            if left >= self.heap.len() {
                break;
            }
            let right = left + 1;
            let right_first = right < self.heap.len() && self.heap[right].0 < self.heap[left].0;
            let child = if right_first { right } else { left };
            if self.heap[place].0 <= self.heap[child].0 {
                break;
            }
            self.swap(place, child);
            place = child;
        }
        self.note(place);
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.note(one);
        self.note(other);
    }

    fn note(&mut self, place: usize) {
        let (_, slot) = self.heap[place];
        self.places[slot as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_earliest_is_always_first(steps in prop::collection::vec((0u8..4, 0u32..16, 0u64..50), 0..300)) {
            let mut alarms = Alarms::new();
            let mut model = BTreeMap::new();
            for (step, slot, time) in steps {
                match step {
                    0 | 1 => {
                        alarms.reserve(slot).unwrap();
                        alarms.set(slot, Moment(time));
                        model.insert(slot, time);
                    }
                    2 => {
                        alarms.cancel(slot);
                        model.remove(&slot);
                    }
                    _ => match alarms.pop_due(Moment(time)) {
                        Some(slot) => {
                            let at = model.remove(&slot).unwrap();
                            prop_assert!(at <= time);
                            prop_assert!(model.values().all(|other| at <= *other));
                        }
                        None => prop_assert!(model.values().all(|at| *at > time)),
                    },
                }
                prop_assert_eq!(alarms.first().map(|at| at.0), model.values().min().copied());
            }
        }
    }
}
