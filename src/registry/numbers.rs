//! From a descriptor's number to the queue it refers to, without a lock.
//!
//! A tree of three levels whose leaves are words. Levels are added under the
//! registry's lock and never taken away; the top one as well, for it is larger
//! than the stack of some thread that calls kqueue() first.
//!
//! Who writes: the holder of the registry's lock, one at a time. (In a forked
//! child, its one thread.) Who reads: any call, at any time, and the fork
//! handler. Three things hold without a lock on the reading side:
//!
//! - A level that is found is whole. It is filled before the cell above it is
//!   set, with Release, and looked for with Acquire; and it stays for ever.
//! - An entry that is found leads to a home that was filled before: the word is
//!   stored with Release and loaded with Acquire.
//! - An entry is one word, so home and tenant are of one moment. That it is out
//!   of date the next moment cannot be helped, and does no harm: the home's
//!   lock is taken next, and there the tenant is compared. One that has left
//!   is never met again under the same number, until it wraps.

#![forbid(unsafe_code)]

use crate::errno::{Errno, Result};
use crate::sync::{AtomicU64, OnceLock, Ordering};
use crate::sys::Descriptor;

/// Bits of a number: a descriptor's are 31.
const WIDTH: u32 = Descriptor::BITS - 1;
/// Those that one level decodes; the top one takes the rest.
const BITS: u32 = WIDTH / 3;
const FAN: usize = 1 << BITS;
const TOP: usize = 1 << (WIDTH - 2 * BITS);

/// What a number refers to: a home, and which of its tenants.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) home: u32,
    pub(super) tenant: u32,
}

impl Entry {
    /// 0 stands for no entry, so homes count from 1 here.
    fn pack(entry: Option<Entry>) -> u64 {
        entry.map_or(0, |entry| (u64::from(entry.home) + 1) << 32 | u64::from(entry.tenant))
    }

    fn unpack(word: u64) -> Option<Entry> {
        let home = u32::try_from((word >> 32).checked_sub(1)?).ok()?;
        Some(Entry { home, tenant: word as u32 })
    }
}

type Leaf = [AtomicU64];
type Middle = [OnceLock<&'static Leaf>];
type Top = [OnceLock<&'static Middle>];

#[derive(Debug)]
pub(super) struct Numbers {
    top: OnceLock<&'static Top>,
}

impl Numbers {
    pub(super) fn new() -> Numbers {
        Numbers { top: OnceLock::new() }
    }

    #[inline]
    fn word(&self, number: Descriptor) -> Option<&'static AtomicU64> {
        let number = usize::try_from(number).ok()?;
        let middle = self.top.get()?.get(number >> (2 * BITS))?.get()?;
        let leaf = middle.get((number >> BITS) % FAN)?.get()?;
        leaf.get(number % FAN)
    }

    #[inline]
    pub(super) fn get(&self, number: Descriptor) -> Option<Entry> {
        // Acquire: pairs with the Release in `set`; the home was filled before
        // its entry was written.
        Entry::unpack(self.word(number)?.load(Ordering::Acquire))
    }

    /// Makes room, so that `set` cannot fail. Under the registry's lock.
    pub(super) fn prepare(&self, number: Descriptor) -> Result<()> {
        let number = usize::try_from(number).map_err(|_| Errno::EBADF)?;
        let middle = grow(&self.top, TOP, OnceLock::new)?.get(number >> (2 * BITS));
        let leaf = grow(middle.ok_or(Errno::EBADF)?, FAN, OnceLock::new)?;
        let leaf = leaf.get((number >> BITS) % FAN).ok_or(Errno::EBADF)?;
        grow(leaf, FAN, || AtomicU64::new(0))?;
        Ok(())
    }

    pub(super) fn set(&self, number: Descriptor, entry: Option<Entry>) {
        if let Some(word) = self.word(number) {
            word.store(Entry::pack(entry), Ordering::Release);
        }
    }

    /// Takes an entry away, unless there is another by now. Async-signal-safe.
    pub(super) fn remove(&self, number: Descriptor, entry: Entry) {
        if let Some(word) = self.word(number) {
            let (there, none) = (Entry::pack(Some(entry)), Entry::pack(None));
            let _ = word.compare_exchange(there, none, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Calls `each` with every number that has an entry. Takes no lock and no
    /// memory: the fork handler uses it.
    pub(super) fn for_each(&self, mut each: impl FnMut(Descriptor, Entry)) {
        for (high, middle) in self.top.get().copied().into_iter().flatten().enumerate() {
            let Some(middle) = middle.get() else { continue };
            for (low, leaf) in middle.iter().enumerate() {
                let Some(leaf) = leaf.get() else { continue };
                for (last, word) in leaf.iter().enumerate() {
                    let number = (high << (2 * BITS)) | (low << BITS) | last;
                    if let Some(entry) = Entry::unpack(word.load(Ordering::Acquire)) {
                        each(number as Descriptor, entry);
                    }
                }
            }
        }
    }
}

/// The level below, of so many, made if it is not there.
fn grow<T>(
    cell: &OnceLock<&'static [T]>,
    count: usize,
    fill: impl FnMut() -> T,
) -> Result<&'static [T]> {
    if let Some(level) = cell.get() {
        return Ok(level);
    }
    let level = leak(count, fill)?;
    Ok(cell.get_or_init(|| level))
}

/// Makes a slice that lives for ever; ENOMEM instead of an abort.
pub(super) fn leak<T>(count: usize, fill: impl FnMut() -> T) -> Result<&'static [T]> {
    let mut items = Vec::new();
    items.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    items.resize_with(count, fill);
    Ok(items.leak())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_kept_apart_from_lowest_to_highest_number() {
        let numbers = Numbers::new();
        let all = [0, 1, 1023, 1024, 1 << 20, i32::MAX];
        for (home, number) in (0..).zip(all) {
            assert_eq!(numbers.get(number), None);
            numbers.prepare(number).unwrap();
            numbers.set(number, Some(Entry { home, tenant: u32::MAX }));
        }
        let mut seen = Vec::new();
        numbers.for_each(|number, entry| seen.push((number, entry.home)));
        assert_eq!(seen, all.iter().copied().zip(0..).collect::<Vec<_>>());
        numbers.set(1023, None);
        assert_eq!(numbers.get(1023), None);
        numbers.remove(1024, Entry { home: 0, tenant: 0 });
        assert!(numbers.get(1024).is_some());
        numbers.remove(1024, Entry { home: 3, tenant: u32::MAX });
        assert_eq!(numbers.get(1024), None);
        assert_eq!(numbers.get(-1), None);
    }
}
