//! The numbers that the library keeps for itself, and how they are known.
//!
//! A program may close any number it sees, ours too, and the kernel gives it
//! out again. So a number is ours if two things hold: this table says who keeps
//! it, and the open file bears our mark. The mark is in the open file itself:
//! the signal of F_SETSIG, which means nothing as long as nobody asks for
//! signals, is 0 in every new file, and is read back by the cheapest of system
//! calls. A stranger's file does not bear it, whatever kind it is.
//!
//! The table is a tree of three levels whose leaves are words, read without a
//! lock by anybody: signal handlers, forked children, and whoever interposes
//! close(). Levels are added and never taken away. A word is 0, or has the
//! serial of its last holder, which is given out once, and whether that still
//! holds it. So of two who hold a number (the first does not know that it lost
//! it) the table names the second, and the first lets it be. Whoever ends a
//! hold, by an exchange, is the one who closes the number.
//!
//! A word does not go back to 0, and the numbers of queues are written down too:
//! it is where a forked child looks for what bears a mark. A fork copies the
//! descriptors first and then the memory, page by page, while other threads run
//! on. So the child may have what the parent had closed by the time that the
//! table was copied; but the word is there. It may also have what a thread was
//! just making, whose word was not. Such a thread has said before that it is
//! [`Busy`]; and a child that sees that some thread was, from before the fork
//! on, goes by the marks through all it has open.
//!
//! Who writes: whoever makes a number, gives one back, or disowns. Who reads:
//! anybody. Why no lock is needed:
//!
//! - A level that is found is whole: it is filled before the cell above it is
//!   set, with Release, and looked for with Acquire. Of two first users one
//!   wins; the other frees a level that nobody has seen, and takes the winner's.
//! - A word says all there is to say, and nothing else is published by it. It is
//!   only ever exchanged, so all that happens to it has one order. A hold is
//!   ended only where the word still has its serial: a later holder's stays.
//!   Between that and the close the program may close the number and another
//!   thread may get it; the kernel has no close that looks first.
//! - [`holders_until_now`] comes before the look for something of one's own. If
//!   some holder of this process's has its serial by then, the Acquire sees what
//!   that thread had done before its Release (each in between is an exchange,
//!   and so hands it on), and the look finds it. So whoever finds nothing has a
//!   count below which all are the parent's.
//! - Of two threads of a child that disown, one has the word, and it is the only
//!   one to close the number. The other one may go on to make something while
//!   the first is still at its words; but not before it has been round all of
//!   them itself. So as long as the word is not taken, nothing under its number
//!   is this process's; and whoever takes it has asked before whether what is
//!   there bears a mark. If it does, it is the parent's, and stays there until it
//!   is closed. (Asked after that, it could be what the other one has just made:
//!   a number that the parent has closed has its word still.) Release, and
//!   Acquire when the word is seen to be 0: so the question does come before
//!   what the other one makes.
//! - A thread counts in `BEGUN` before it makes a file, and in `DONE` after the
//!   number is written down. The thread that forks reads `DONE` first. It never
//!   is ahead, so if `BEGUN` is the same after that, there was a moment at which
//!   nobody was busy, and all that was made until then is written down and seen.
//!   If `BEGUN` is the same in the child, nobody has begun since, up to when it
//!   was copied, which is after the descriptors. If it is not, or what is noted
//!   is another thread's, the child goes by the marks.
//! - So it does if a fork handler that ran before ours made something. Then what
//!   is written down is the child's own, whose first call disowned all else. But
//!   a thread that such a handler started may be just making a file, which bears
//!   the mark and is not written down. So a child with more than one thread does
//!   not go by the marks.
//! - A child that goes by the marks calls all done that was begun. But the fork
//!   may have been a signal handler's, on top of a thread that was making
//!   something, and in the child it goes on: it was begun in another age, and
//!   its end does not count. Both counters have their age in one word with the
//!   count, so a handler on top of any of this finds none of them torn. `DONE`
//!   has the new age first: it is not what `BEGUN` is until all is said.

use super::futex;
use super::syscall::{self, shut};
use crate::errno::{Errno, Result};
use crate::sync::{AtomicPtr, AtomicU64, Ordering, nulls, statics};
use crate::sys::contract::Descriptor;
use core::ptr;

/// By what a file of ours is known.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    /// A queue, which the application holds.
    Queue,
    /// What the library keeps for itself.
    Private,
}

impl Mark {
    /// Signals that nobody would be sent for I/O. (They would do no harm.)
    fn signal(self) -> libc::c_int {
        match self {
            Mark::Queue => libc::SIGCONT,
            Mark::Private => libc::SIGWINCH,
        }
    }
}

/// Marks a file that was just made.
pub(super) fn mark(fd: Descriptor, mark: Mark) -> Result<()> {
    syscall::set_signal(fd, mark.signal())
}

/// Does this number refer to a file that bears the mark? Async-signal-safe.
#[inline]
pub(super) fn bears(fd: Descriptor, mark: Mark) -> bool {
    syscall::signal(fd) == mark.signal()
}

/// Bits of a number: a descriptor's are 31.
const WIDTH: u32 = Descriptor::BITS - 1;
/// Those that one level decodes; the top one takes the rest.
const BITS: u32 = WIDTH / 3;
const FAN: usize = 1 << BITS;
const TOP: usize = 1 << (WIDTH - 2 * BITS);

type Leaf = [AtomicU64; FAN];
type Middle = [AtomicPtr<Leaf>; FAN];

statics! {
    static TABLE: [AtomicPtr<Middle>; TOP] = nulls();

    /// The next holder's serial.
    static SERIAL: AtomicU64 = AtomicU64::new(1);
}

/// The rest of a word is the serial.
const HELD: u64 = 1;

/// Notes that a number is kept; by which serial. ENOMEM: there is no room.
pub(super) fn hold(number: Descriptor) -> Result<u64> {
    write_down(number, HELD)
}

/// Notes that a number is a queue's, for forked children. ENOMEM: there is no
/// room.
pub(crate) fn remember(number: Descriptor) -> Result<()> {
    write_down(number, 0).map(|_| ())
}

fn write_down(number: Descriptor, held: u64) -> Result<u64> {
    let index = usize::try_from(number).map_err(|_| Errno::EBADF)?;
    let middle = grow(TABLE.get(index >> (2 * BITS)).ok_or(Errno::EBADF)?, || {
        AtomicPtr::new(ptr::null_mut())
    })?;
    let leaf = grow(middle.get((index >> BITS) % FAN).ok_or(Errno::EBADF)?, || AtomicU64::new(0))?;
    // Release: pairs with the Acquire in `holders_until_now`.
    let serial = SERIAL.fetch_add(1, Ordering::Release);
    if let Some(word) = leaf.get(index % FAN) {
        // An exchange, as all writes of a word: a model checker knows no order
        // between them and stores.
        word.swap(serial << 1 | held, Ordering::Relaxed);
    }
    Ok(serial)
}

/// Ends a hold. `false`: somebody else holds the number by now, or nobody.
pub(super) fn release(number: Descriptor, serial: u64) -> bool {
    let (held, over) = (serial << 1 | HELD, serial << 1);
    word(number).is_some_and(|word| {
        word.compare_exchange(held, over, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    })
}

/// Is the number kept by this holder, and still what was made?
pub(super) fn is_held_by(number: Descriptor, serial: u64) -> bool {
    let word = word(number).map(|word| word.load(Ordering::Relaxed));
    word == Some(serial << 1 | HELD) && bears(number, Mark::Private)
}

/// Does the library keep this number for itself? Async-signal-safe.
pub(crate) fn is_kept(number: Descriptor) -> bool {
    let held = word(number).is_some_and(|word| word.load(Ordering::Relaxed) & HELD != 0);
    held && bears(number, Mark::Private)
}

#[inline]
fn word(number: Descriptor) -> Option<&'static AtomicU64> {
    let index = usize::try_from(number).ok()?;
    let middle = level(TABLE.get(index >> (2 * BITS))?)?;
    let leaf = level(middle.get((index >> BITS) % FAN)?)?;
    leaf.get(index % FAN)
}

#[inline]
fn level<T>(cell: &AtomicPtr<T>) -> Option<&'static T> {
    // Acquire: pairs with the Release in `grow`.
    // SAFETY: null, or a level that `grow` made and nobody frees.
    unsafe { cell.load(Ordering::Acquire).as_ref() }
}

/// The level below, made if it is not there. Whoever is first at the cell wins:
/// no lock, for a forked child may find its holder missing.
fn grow<T>(cell: &AtomicPtr<[T; FAN]>, fill: impl FnMut() -> T) -> Result<&'static [T; FAN]> {
    if let Some(level) = level(cell) {
        return Ok(level);
    }
    let mut items = Vec::new();
    items.try_reserve_exact(FAN).map_err(|_| Errno::ENOMEM)?;
    items.resize_with(FAN, fill);
    let made: Box<[T; FAN]> = items.into_boxed_slice().try_into().map_err(|_| Errno::ENOMEM)?;
    let made = Box::into_raw(made);
    match cell.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Acquire) {
        // SAFETY: it is the cell's now, and nobody frees it.
        Ok(_) => Ok(unsafe { &*made }),
        Err(winner) => {
            // SAFETY: made above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
            // SAFETY: not null, so a level that nobody frees.
            Ok(unsafe { &*winner })
        }
    }
}

/// Calls `each` with every number that was written down, and its word. Takes no
/// lock and no memory.
fn for_each(mut each: impl FnMut(Descriptor, &AtomicU64)) {
    for (high, middle) in TABLE.iter().enumerate() {
        let Some(middle) = level(middle) else { continue };
        for (low, leaf) in middle.iter().enumerate() {
            let Some(leaf) = level(leaf) else { continue };
            for (last, word) in leaf.iter().enumerate() {
                // Acquire: pairs with the exchange in `disown_below`.
                if word.load(Ordering::Acquire) != 0 {
                    each(((high << (2 * BITS)) | (low << BITS) | last) as Descriptor, word);
                }
            }
        }
    }
}

statics! {
    static BEGUN: AtomicU64 = AtomicU64::new(0);
    static DONE: AtomicU64 = AtomicU64::new(0);
    /// What BEGUN was before the last fork, if all was done then; see [`quiet`].
    static QUIET: AtomicU64 = AtomicU64::new(0);
}

/// BEGUN together with the thread that forks, which a child is in its parent:
/// another thread that forks at the same time notes something else.
fn quiet(begun: u64) -> u64 {
    // An odd factor: so near numbers and near threads do not cancel out.
    begun.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(futex::mark())
}

/// A counter's bits above those that count are its age: so often a child, or one
/// before it, has begun anew.
const AGE: u64 = 1 << 48;

/// A file of ours is being made, and not yet written down, as long as this
/// lives. It has its age.
#[derive(Debug)]
pub(crate) struct Busy(u64);

impl Busy {
    pub(crate) fn new() -> Busy {
        // Before the file is made. SeqCst, here and below: it costs no more where
        // a system call is next, and needs no second thought.
        Busy(BEGUN.fetch_add(1, Ordering::SeqCst) / AGE)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // After the number is written down, which is seen by whoever sees this.
        let one_more = |done: u64| (done / AGE == self.0).then_some(done + 1);
        let _ = DONE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
    }
}

/// Before a fork. Of two threads that fork at once one is forgotten here, and
/// its child looks closer than it must.
pub(super) extern "C" fn before_fork() {
    // In this order: see above.
    let done = DONE.load(Ordering::SeqCst);
    let begun = BEGUN.load(Ordering::SeqCst);
    QUIET.store(if begun == done { quiet(begun) } else { 0 }, Ordering::SeqCst);
}

/// In a forked child: was nobody making anything, from before the fork on, up to
/// now? If not, there may be what is known by its mark alone; or the child has
/// begun to make something itself. Async-signal-safe.
pub(super) fn was_quiet() -> bool {
    QUIET.load(Ordering::SeqCst) == quiet(BEGUN.load(Ordering::SeqCst))
}

/// In a forked child that has one thread, which makes nothing: nor does anybody
/// else. Async-signal-safe.
pub(super) fn nobody_is_busy() {
    let age = BEGUN.load(Ordering::SeqCst) / AGE;
    // After the last age its own children look closer than they must.
    let Some(anew) = (age + 1).checked_mul(AGE) else { return };
    // Not stored: a handler on top may have forked as well, and be further.
    DONE.fetch_max(anew, Ordering::SeqCst);
    BEGUN.fetch_max(anew, Ordering::SeqCst);
}

/// In a forked child that has one thread, and nothing of its own: closes all
/// that is written down, and its queues. A thread of its parent may have written
/// down what has a later serial than was copied. Async-signal-safe.
pub(super) fn disown_all() {
    disown(Holders(u64::MAX), true);
}

/// Is anything written down for this number? Async-signal-safe.
pub(super) fn is_written_down(number: Descriptor) -> bool {
    word(number).is_some_and(|word| word.load(Ordering::Relaxed) != 0)
}

/// Those who keep numbers at one moment, and those before them.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Holders(u64);

/// Who sees after this call that its process has nothing of its own, knows that
/// all of them are of the process that forked it.
pub(crate) fn holders_until_now() -> Holders {
    // Acquire: whoever sees a holder also sees what made it possible.
    Holders(SERIAL.load(Ordering::Acquire))
}

/// In a child, at its first call or in the handler: closes what they keep, and
/// their `queues`. Others may make their own meanwhile. Async-signal-safe.
pub(crate) fn disown(holders: Holders, queues: bool) {
    disown_below(holders.0, |number| {
        bears(number, Mark::Private) || queues && bears(number, Mark::Queue)
    });
}

/// In a child that shares its parent's descriptors: they are not kept here, and
/// stay. Async-signal-safe.
pub(crate) fn forget(holders: Holders) {
    disown_below(holders.0, |_| false);
}

fn disown_below(first: u64, is_left: impl Fn(Descriptor) -> bool) {
    for_each(|number, word| {
        let seen = word.load(Ordering::Relaxed);
        if seen == 0 || seen >> 1 >= first {
            return;
        }
        // Asked before the word is taken, and not after: see above.
        let is_left = is_left(number);
        let taken = word.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if taken && is_left {
            shut(number);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_holder_has_the_number() {
        // Of a level that no other test comes to.
        let number = 1 << 21;
        let first = hold(number).unwrap();
        let second = hold(number).unwrap();
        assert_ne!(first, second);
        assert!(!release(number, first));
        let mut seen = Vec::new();
        for_each(|number, word| seen.push((number, word.load(Ordering::Relaxed))));
        assert!(seen.contains(&(number, second << 1 | HELD)));
        assert!(!is_held_by(number, second), "it is not open");
        assert!(release(number, second));
        assert!(!release(number, second));
        let mut written_down = false;
        for_each(|seen, _| written_down |= seen == number);
        assert!(written_down, "a forked child may have it");
        assert_eq!(hold(-1), Err(Errno::EBADF));
    }
}
