//! What is said of each number, for whoever closes one.
//!
//! The preload library, if the process has it, is told of every number there can
//! be by one array of words, so that it reads one word before a close and takes
//! no lock:
//!
//! | bits | meaning |
//! |---|---|
//! | 63..32 | its *life*: how often a file under this number was closed |
//! | 31 | it is a queue, or was one when it was last used as such |
//! | 30 | it is, or was, a private descriptor of the library's (see `kept`) |
//! | 29 | it is a queue that is being closed in this moment |
//! | 28..0 | which queue watches it: 0 none, a home and 1, or [`MANY`] |
//!
//! A knote remembers the life in which it was made, and is over when the number
//! has another. So close() need not reach the knote: it goes to the next life,
//! and whoever has the queue's lock next finds the knote dead.
//!
//! All but [`make`] is async-signal-safe. The words are hints but for the life:
//! a bit too many costs close() a detour. A number beyond the array is treated
//! as if there were no preload library.
//!
//! Who writes: a queue that begins or ends a watch, with its lock; the registry,
//! with its own, as queues come; whoever keeps a number; and any thread that
//! closes something, in whatever handler. Who reads: all of them, and the
//! preload library, before each close. Why no lock is needed:
//!
//! - The array is found whole, or not at all: it is made with Release and looked
//!   for with Acquire, and zeros are its beginning. One of two makers wins.
//! - A life and its watchers are one word, changed in one step, so each close
//!   ends one life and learns of every queue that began to watch in it. A queue
//!   that comes later has the new life. The close of the file itself may come
//!   after that: then the queue watches a file that goes, as when nobody tells.
//! - Two queues of one number leave [`MANY`], which only the life ends: so the
//!   one that is through takes nothing from the other.
//! - What is done about a close is told to the queue by `queue::calls`, after the
//!   life has ended: whoever has that from there sees the life ended.
//! - CLOSING is set before the number is taken out of the registry's table, with
//!   Release, and looked for after it was not found there, with Acquire. So
//!   whoever does not find a queue because it is being closed sees that it is,
//!   or that it has been.
//! - That a queue is closed is SeqCst, for whoever is about to wait by its
//!   number: see `queue::calls`.
//! - The highest number is a hint, too. A thread that closes all there is and
//!   does not see it yet runs beside the one that sets it, and may as well have
//!   come before.

use super::syscall::{map, unmap};
use crate::sync::{AtomicI32, AtomicPtr, AtomicU64, Ordering, statics};
use crate::sys::contract::{Descriptor, Watchers};
use core::ptr;

/// As many as Linux lets a process have, unless told otherwise (fs.nr_open).
pub(super) const NUMBERS: usize = 1 << 20;

const LIFE: u64 = 1 << 32;
/// Whatever is said of a number in its present life.
pub(super) const KNOWN: u64 = LIFE - 1;
const QUEUE: u64 = 1 << 31;
const PRIVATE: u64 = 1 << 30;
const CLOSING: u64 = 1 << 29;
const WATCHERS: u64 = CLOSING - 1;
/// More than one queue has watched it.
const MANY: u64 = WATCHERS;

statics! {
    /// The array, once the preload library has been found. It is never unmapped;
    /// a forked child has a copy, and its own queues begin with that.
    static WORDS: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

    /// No number above this one has ever had a bit.
    static HIGHEST: AtomicI32 = AtomicI32::new(-1);
}

/// The array, made if it is not there. `None`: there is no memory for it, and
/// so no preload library.
pub(super) fn make() -> Option<*const AtomicU64> {
    let there = WORDS.load(Ordering::Acquire);
    if !there.is_null() {
        return Some(there);
    }
    let made = map::<AtomicU64>(NUMBERS).ok()?;
    // AcqRel: pairs with the Acquire above and in `word`; zeroed memory.
    match WORDS.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Some(made),
        Err(winner) => {
            // SAFETY: ours, and nobody else has seen it.
            unsafe { unmap(made, NUMBERS) };
            Some(winner)
        }
    }
}

/// Is the preload library there?
#[inline]
pub(crate) fn is_told() -> bool {
    !WORDS.load(Ordering::Relaxed).is_null()
}

#[inline]
fn word(number: Descriptor) -> Option<&'static AtomicU64> {
    let words = WORDS.load(Ordering::Acquire);
    let number = usize::try_from(number).ok().filter(|number| *number < NUMBERS)?;
    if words.is_null() {
        return None;
    }
    // SAFETY: the mapping has so many words.
    let word = unsafe { words.add(number) };
    // SAFETY: it was zeroed, and stays.
    Some(unsafe { &*word })
}

fn set(number: Descriptor, bits: u64) {
    if let Some(word) = word(number) {
        HIGHEST.fetch_max(number, Ordering::Relaxed);
        word.fetch_or(bits, Ordering::AcqRel);
    }
}

fn unset(number: Descriptor, bits: u64) {
    if let Some(word) = word(number) {
        word.fetch_and(!bits, Ordering::AcqRel);
    }
}

/// A queue begins to watch a number; the number's life.
///
/// The word is changed before the kernel is told to watch. So a close() that
/// does not see the bit comes before the watch, and takes nothing from it; or
/// it runs at the same time, and then it is as if nobody had seen it.
pub(crate) fn begin_watch(number: Descriptor, home: u32) -> u32 {
    let Some(word) = word(number) else { return 0 };
    HIGHEST.fetch_max(number, Ordering::Relaxed);
    let home = u64::from(home) + 1;
    let mark = |word: u64| match word & WATCHERS {
        0 => Some(word | home),
        there if there == home || there == MANY => None,
        _ => Some(word | MANY),
    };
    let (Ok(word) | Err(word)) = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, mark);
    (word / LIFE) as u32
}

/// A queue has no knote of this number any more.
pub(crate) fn end_watch(number: Descriptor, home: u32) {
    let Some(word) = word(number) else { return };
    let home = u64::from(home) + 1;
    let unmark = |word: u64| (word & WATCHERS == home).then_some(word & !WATCHERS);
    // Should there be others, who is left cannot be told.
    let _ = word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, unmark);
}

/// The life of a number.
#[inline]
pub(crate) fn life(number: Descriptor) -> u32 {
    word(number).map_or(0, |word| (word.load(Ordering::Acquire) / LIFE) as u32)
}

/// The file under this number is about to go: who must know.
pub(crate) fn end_life(number: Descriptor) -> Watchers {
    let Some(word) = word(number) else { return Watchers::None };
    let end = |word: u64| Some((word & !(LIFE - 1)).wrapping_add(LIFE));
    let (Ok(word) | Err(word)) = word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, end);
    match word & WATCHERS {
        0 => Watchers::None,
        MANY => Watchers::Any,
        home => Watchers::One((home - 1) as u32),
    }
}

/// From now on this number is a queue.
pub(crate) fn begin_queue(number: Descriptor) {
    set(number, QUEUE);
}

/// It is about to be closed, and is no queue any more.
pub(crate) fn end_queue(number: Descriptor) {
    if let Some(word) = word(number) {
        // SeqCst, as in `is_closed_queue`: see `queue::calls`.
        word.fetch_and(!QUEUE, Ordering::SeqCst);
    }
}

/// Was this number a queue, and has been closed, as the preload library tells?
/// One beyond the array is not told of.
#[inline]
pub(crate) fn is_closed_queue(number: Descriptor) -> bool {
    word(number).is_some_and(|word| word.load(Ordering::SeqCst) & QUEUE == 0)
}

/// A queue's number is about to be closed.
pub(crate) fn begin_closing(number: Descriptor) {
    set(number, CLOSING);
}

pub(crate) fn end_closing(number: Descriptor) {
    unset(number, CLOSING);
}

/// In a forked child: whoever was closing is not there to end it.
pub(crate) fn end_all_closing() {
    let mut number = 0;
    while let Some(known) = next_known(number) {
        if is_closing(known) {
            end_closing(known);
        }
        let Some(next) = known.checked_add(1) else { return };
        number = next;
    }
}

pub(crate) fn is_closing(number: Descriptor) -> bool {
    word(number).is_some_and(|word| word.load(Ordering::Acquire) & CLOSING != 0)
}

pub(super) fn begin_private(number: Descriptor) {
    set(number, PRIVATE);
}

pub(super) fn end_private(number: Descriptor) {
    unset(number, PRIVATE);
}

/// The next number, this one included, of which something is known.
pub(crate) fn next_known(number: Descriptor) -> Option<Descriptor> {
    (number.max(0)..=HIGHEST.load(Ordering::Relaxed)).find(|number| {
        word(*number).is_some_and(|word| word.load(Ordering::Acquire) & (LIFE - 1) != 0)
    })
}
