//! The ready list: knotes that user space knows, or must ask, to be ready.
//!
//! In order of activation, as the kernel's `kq_head`. What the platform's
//! poller reports by itself is not on it. Links are kept by slot, beside the
//! table, so that putting a knote on the list cannot fail and taking it off
//! costs the same wherever it stands.

#![forbid(unsafe_code)]

use super::Slot;
use crate::errno::{Errno, Result};

/// Not on the list.
const OFF: Slot = Slot::MAX;
/// Before the first, after the last.
const END: Slot = Slot::MAX - 1;

#[derive(Copy, Clone, Debug)]
struct Link {
    before: Slot,
    after: Slot,
}

#[derive(Debug)]
pub(crate) struct Ready {
    links: Vec<Link>,
    first: Slot,
    last: Slot,
    len: usize,
}

impl Ready {
    pub(crate) const fn new() -> Ready {
        Ready { links: Vec::new(), first: END, last: END, len: 0 }
    }

    /// Makes room for knotes in the slots below `slots`.
    pub(crate) fn reserve(&mut self, slots: usize) -> Result<()> {
        let missing = slots.saturating_sub(self.links.len());
        self.links.try_reserve(missing).map_err(|_| Errno::ENOMEM)?;
        if missing > 0 {
            self.links.resize(slots, Link { before: OFF, after: OFF });
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[cfg(test)]
    fn contains(&self, slot: Slot) -> bool {
        self.links.get(slot as usize).is_some_and(|link| link.after != OFF)
    }

    /// Takes all off, also from a list that was left half changed.
    pub(crate) fn clear(&mut self) {
        self.links.fill(Link { before: OFF, after: OFF });
        (self.first, self.last, self.len) = (END, END, 0);
    }

    /// Puts a knote at the end, unless it is on the list already.
    pub(crate) fn push(&mut self, slot: Slot) {
        let last = self.last;
        match self.links.get_mut(slot as usize) {
            Some(link) if link.after == OFF => *link = Link { before: last, after: END },
            _ => return,
        }
        self.join(last, slot);
        self.last = slot;
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<Slot> {
        let first = self.first;
        self.remove(first).then_some(first)
    }

    /// Takes a knote off the list; `false` if it was not on it.
    pub(crate) fn remove(&mut self, slot: Slot) -> bool {
        let Some(link) = self.links.get_mut(slot as usize) else { return false };
        if link.after == OFF {
            return false;
        }
        let Link { before, after } = core::mem::replace(link, Link { before: OFF, after: OFF });
        self.join(before, after);
        if after == END {
            self.last = before;
        }
        self.len -= 1;
        true
    }

    /// Makes `after` follow `before`, either of which may be an end.
    fn join(&mut self, before: Slot, after: Slot) {
        match self.links.get_mut(before as usize) {
            Some(link) => link.after = after,
            None => self.first = after,
        }
        if let Some(link) = self.links.get_mut(after as usize) {
            link.before = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn behaves_as_a_queue_without_repeats(steps in prop::collection::vec((0u8..3, 0u32..8), 0..200)) {
            let mut ready = Ready::new();
            ready.reserve(8).unwrap();
            let mut model = VecDeque::new();
            for (step, slot) in steps {
                match step {
                    0 => {
                        ready.push(slot);
                        if !model.contains(&slot) {
                            model.push_back(slot);
                        }
                    }
                    1 => prop_assert_eq!(ready.pop(), model.pop_front()),
                    _ => {
                        let on = model.contains(&slot);
                        model.retain(|other| *other != slot);
                        prop_assert_eq!(ready.remove(slot), on);
                    }
                }
                prop_assert_eq!(ready.len(), model.len());
                prop_assert_eq!(ready.contains(slot), model.contains(&slot));
            }
        }
    }
}
