//! What close() tells a queue, where the preload library hands it to us.
//!
//! It may run in a signal handler, on top of the very thread that holds the
//! queue's lock. So it waits for nothing: it writes down here what it has to
//! say, and whoever has the lock next looks here before anything else.
//!
//! The numbers that were closed stand in a few places; when these are full, all
//! the queue's numbers are looked at. Either way it is their lives that are
//! compared (see the platform's), so a number that stands here too often or too
//! late does no harm.
//!
//! Order: whoever calls writes the matter first and the bit then; whoever
//! answers takes the bits first and the matters then. So nothing stays here
//! that no bit tells of. And a number's life is ended before it is written here,
//! and looked at after it was taken out; every write here is a Release that the
//! taker's Acquire pairs with, so it sees the life ended.

#![forbid(unsafe_code)]

use crate::clock::{Moment, Span};
use crate::sync::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use crate::sys::Descriptor;

const PLACES: usize = 8;
const EMPTY: Descriptor = -1;

/// Numbers have been closed.
const LOST: u32 = 1;
/// A number of the queue itself is being closed, and its threads are woken.
const ROUSED: u32 = 2;

/// Another number was closed while they were being woken.
const AGAIN: u32 = 4;

/// The bell is left held until every thread that slept at the close has woken,
/// should the queue live on under another number; but no longer than this, for
/// one that never comes back from its wait may stay counted.
const GRACE: Span = Span::millis(1000);

#[derive(Debug)]
pub(super) struct Calls {
    bits: AtomicU32,
    lost: [AtomicI32; PLACES],
    more: AtomicBool,
    /// When a number of the queue's was closed last.
    at: AtomicU64,
    /// Threads that wait: those of this epoch, and those of the one before, by
    /// the epoch's last bit. A close begins an epoch.
    epoch: AtomicU32,
    sleepers: [AtomicU32; 2],
}

impl Calls {
    pub(super) fn new() -> Calls {
        Calls {
            bits: AtomicU32::new(0),
            lost: core::array::from_fn(|_| AtomicI32::new(EMPTY)),
            more: AtomicBool::new(false),
            at: AtomicU64::new(0),
            epoch: AtomicU32::new(0),
            sleepers: core::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// Is there anything?
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.bits.load(Ordering::Acquire) != 0
    }

    /// A watched number is about to be closed. Async-signal-safe.
    pub(super) fn lose(&self, number: Descriptor) {
        // Where it stands already it is written again: who takes it then has
        // seen this close, too.
        let take = |place: &AtomicI32| {
            let put =
                |there| place.compare_exchange(there, number, Ordering::AcqRel, Ordering::Acquire);
            put(EMPTY).is_ok() || put(number).is_ok()
        };
        if !self.lost.iter().any(take) {
            self.more.store(true, Ordering::Release);
        }
        self.bits.fetch_or(LOST, Ordering::SeqCst);
    }

    /// Takes what [`Calls::lose`] left. `true`: there were more of them.
    pub(super) fn take_lost(&self, mut each: impl FnMut(Descriptor)) -> bool {
        if self.bits.fetch_and(!LOST, Ordering::SeqCst) & LOST == 0 {
            return false;
        }
        for place in &self.lost {
            match place.swap(EMPTY, Ordering::AcqRel) {
                EMPTY => {}
                number => each(number),
            }
        }
        self.more.swap(false, Ordering::AcqRel)
    }

    /// A number of the queue's is about to be closed, as is noted already.
    /// `true`: there are threads to be woken. Async-signal-safe.
    ///
    /// SeqCst, in that note, here and in [`Calls::sleep`]: a thread is seen
    /// here, or sees there that its number is closed, or that an epoch has begun.
    pub(super) fn close(&self, now: Moment) -> bool {
        if self.is_roused() {
            // Those who woke for the other one may sleep by this one by now.
            self.bits.fetch_or(AGAIN, Ordering::SeqCst);
        } else if !self.begin_epoch() {
            return false;
        }
        self.rouse(now);
        true
    }

    /// `true`: somebody sleeps who began in the last one.
    fn begin_epoch(&self) -> bool {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.are_old()
    }

    fn are_old(&self) -> bool {
        let epoch = self.epoch.load(Ordering::SeqCst);
        self.sleepers_of(epoch.wrapping_add(1)).load(Ordering::SeqCst) != 0
    }

    fn sleepers_of(&self, epoch: u32) -> &AtomicU32 {
        let [even, odd] = &self.sleepers;
        if epoch & 1 == 0 { even } else { odd }
    }

    /// A thread is about to wait by a number; in which epoch. `None`: it has been
    /// closed.
    #[inline]
    pub(super) fn sleep(&self, is_closed: impl Fn() -> bool) -> Option<u32> {
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            self.sleepers_of(epoch).fetch_add(1, Ordering::SeqCst);
            let closed = is_closed();
            if !closed && self.epoch.load(Ordering::SeqCst) == epoch {
                return Some(epoch);
            }
            self.wake(epoch);
            if closed {
                return None;
            }
        }
    }

    /// It is back.
    #[inline]
    pub(super) fn wake(&self, epoch: u32) {
        self.sleepers_of(epoch).fetch_sub(1, Ordering::SeqCst);
    }

    /// The bell is held, or has been, by somebody without the lock. Said before
    /// and after: whoever has put it right in between does so once more.
    pub(super) fn rouse(&self, now: Moment) {
        self.at.store(now.0, Ordering::Relaxed);
        self.bits.fetch_or(ROUSED, Ordering::SeqCst);
    }

    #[inline]
    pub(super) fn is_roused(&self) -> bool {
        self.bits.load(Ordering::SeqCst) & ROUSED != 0
    }

    /// Has everybody been woken, or had time to? With the queue's lock.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        let late = now >= Moment(self.at.load(Ordering::Relaxed)).after(GRACE);
        if self.are_old() && !late {
            return false;
        }
        let again = self.bits.fetch_and(!AGAIN, Ordering::SeqCst) & AGAIN != 0;
        !again || !self.begin_epoch()
    }

    /// In a forked child: nobody sleeps here, and nothing of the child's has
    /// been closed.
    pub(super) fn forget(&self) {
        self.bits.store(0, Ordering::Relaxed);
        for sleepers in &self.sleepers {
            sleepers.store(0, Ordering::Relaxed);
        }
    }

    /// They have been woken.
    pub(super) fn calm(&self) {
        self.bits.fetch_and(!ROUSED, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(calls: &Calls) -> (Vec<Descriptor>, bool) {
        let mut numbers = Vec::new();
        let more = calls.take_lost(|number| numbers.push(number));
        (numbers, more)
    }

    #[test]
    fn what_is_left_is_taken_once_and_what_finds_no_place_is_said() {
        let calls = Calls::new();
        assert!(!calls.any());
        assert_eq!(taken(&calls), (vec![], false));
        calls.lose(5);
        calls.lose(5);
        calls.lose(0);
        assert!(calls.any());
        assert_eq!(taken(&calls), (vec![5, 0], false));
        assert!(!calls.any());
        for number in 0..=PLACES {
            calls.lose(number as Descriptor);
        }
        assert_eq!(taken(&calls), ((0..PLACES as Descriptor).collect(), true));
        assert_eq!(taken(&calls), (vec![], false));
    }

    #[test]
    fn who_slept_at_a_close_is_waited_for_and_nobody_else() {
        let calls = Calls::new();
        let epoch = calls.sleep(|| false).unwrap();
        assert!(calls.close(Moment(100)));
        assert_eq!(calls.sleep(|| true), None);
        // Who sleeps now by another is not waited for.
        let other = calls.sleep(|| false).unwrap();
        assert!(!calls.is_over(Moment(100)));
        assert!(calls.is_over(Moment(100).after(GRACE)));
        calls.wake(epoch);
        assert!(calls.is_over(Moment(100)));
        calls.calm();
        assert!(!calls.any());
        assert!(calls.close(Moment(100)));
        assert!(calls.close(Moment(100)));
        let last = calls.sleep(|| false).unwrap();
        calls.wake(other);
        assert!(!calls.is_over(Moment(100)), "the second number's come after the first's");
        calls.wake(last);
        assert!(calls.is_over(Moment(100)));
        calls.calm();
        assert!(!calls.close(Moment(100)) && !calls.any());
    }
}
