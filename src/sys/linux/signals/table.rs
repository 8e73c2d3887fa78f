//! What the process knows of each signal: how often it came, which of the
//! application's dispositions the hooks stand for, and whom to ring.
//!
//! All of it is static memory that is read in signal handlers, so every step is
//! such that a handler (or a fork) in the middle finds something good:
//!
//! - A disposition is written down before its hook is set, and never changed:
//!   see [`super::wanted`].
//! - A signal is counted before it rings: see [`super::count`].
//! - `current` is a guess that saves the handler a system call: where it is
//!   wrong, or late, the handler asks the kernel which hook lies over the signal.
//! - `handler` names a thread before the signal is counted that it handles, so
//!   who is rung for it, or sees it counted, knows that the thread will take the
//!   next one too. One that leaves its handler by longjmp stays there.
//! - `striking` is above 0 from before a default action is laid bare until it is
//!   covered again, so whoever finds the one bare finds the other.
//! - The owner is written when all nodes lead to nobody; a handler in a child
//!   that does not find itself there touches none.

use super::count::{Count, Node};
use super::kernel::{self, Action, DEFAULT};
use super::wanted::Wanted;
use crate::sync::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// So many dispositions of one signal are told apart. A program that has more
/// is not counted for with the later ones.
pub(super) const HOOKS: usize = 32;

pub(super) const SIGNALS: usize = kernel::LAST as usize + 1;

pub(super) static SLOTS: [Slot; SIGNALS] = [const { Slot::new() }; SIGNALS];

/// The process whose queues the nodes lead to.
pub(super) static OWNER: AtomicU32 = AtomicU32::new(0);

/// The signals that ever were hooked. The application may keep a hook as an
/// old disposition and put it back at any time, so no bit is taken back.
pub(super) static HOOKED: AtomicU64 = AtomicU64::new(0);

/// The signals that somebody counts in the owner's process.
pub(super) static COUNTED: AtomicU64 = AtomicU64::new(0);

/// Children are being made that are to inherit what is ignored: what the
/// application ignores is really ignored as long as there are any.
pub(super) static LEAVING: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
pub(super) struct Slot {
    count: Count,
    /// The hook that lies over it, as far as is known, or [`NONE`].
    pub(super) current: AtomicUsize,
    /// The thread that came last of those that are handling it, or 0.
    handler: AtomicI32,
    /// Threads that are letting its default action happen.
    pub(super) striking: AtomicU32,
    wanted: [Wanted; HOOKS],
}

const NONE: usize = usize::MAX;

impl Slot {
    const fn new() -> Slot {
        Slot {
            count: Count::new(),
            current: AtomicUsize::new(NONE),
            handler: AtomicI32::new(0),
            striking: AtomicU32::new(0),
            wanted: [const { Wanted::new() }; HOOKS],
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count.total()
    }

    /// The signal came once: counts it and rings, but for one who knows.
    /// Async-signal-safe.
    pub(super) fn count_one(&self, knows: Option<&Node>) {
        self.count.one_more(knows);
    }

    pub(super) fn subscribers(&self) -> &Count {
        &self.count
    }

    pub(super) fn current(&self) -> Option<usize> {
        Some(self.current.load(Ordering::Acquire)).filter(|current| *current != NONE)
    }

    /// This hook lies over the signal. If it is not the one that was expected,
    /// the application has put it back, and what it stands for begins anew.
    pub(super) fn put_back(&self, number: usize) {
        if self.current.load(Ordering::Relaxed) == number {
            return;
        }
        if let Some(entry) = self.wanted.get(number) {
            entry.renew();
        }
        self.current.store(number, Ordering::Release);
    }

    /// The disposition that a hook stands for.
    pub(super) fn wanted(&self, number: usize) -> Action {
        self.wanted.get(number).and_then(Wanted::get).unwrap_or(DEFAULT)
    }

    /// The same, but reset if it was for one signal and that has come.
    pub(super) fn wanted_now(&self, number: usize) -> Action {
        let wanted = self.wanted(number);
        match self.wanted.get(number) {
            Some(entry) if entry.is_spent() => Action { handler: libc::SIG_DFL, ..wanted },
            _ => wanted,
        }
    }

    /// Is it a handler of the application's that is there for one signal?
    pub(super) fn is_for_one(&self, number: usize) -> bool {
        let Action { handler, flags, .. } = self.wanted(number);
        flags & libc::SA_RESETHAND != 0 && !matches!(handler, libc::SIG_DFL | libc::SIG_IGN)
    }

    /// A signal has come for a handler that is for one alone: what it does.
    pub(super) fn reset(&self, signal: i32, number: usize, ours: bool) -> Action {
        let wanted = self.wanted(number);
        if !ours {
            // The note below is the parent's, if vfork() made this process.
            let _ = kernel::set_action(signal, &DEFAULT);
            return wanted;
        }
        match self.wanted.get(number) {
            // Of two threads at once, one runs the handler.
            Some(entry) if !entry.spend() => DEFAULT,
            _ => wanted,
        }
    }

    /// The calling thread, which this is, begins to handle it.
    pub(super) fn begin_handling(&self, thread: i32) {
        self.handler.store(thread, Ordering::Release);
    }

    /// It has handled it; or another one says that it is not to be waited for.
    pub(super) fn end_handling(&self, thread: i32) {
        let _ = self.handler.compare_exchange(thread, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// The thread that is handling it, as far as is known.
    pub(super) fn handler(&self) -> Option<i32> {
        Some(self.handler.load(Ordering::Acquire)).filter(|thread| *thread != 0)
    }

    pub(super) fn strikes(&self, now: bool) {
        if now {
            self.striking.fetch_add(1, Ordering::AcqRel);
        } else {
            self.striking.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The hook that stands for a disposition. Async-signal-safe: who comes in
    /// between writes the same down a second time, which does no harm.
    pub(super) fn hook_for(&self, action: &Action) -> Option<usize> {
        let found = self.wanted.iter().position(|entry| entry.get().as_ref() == Some(action));
        let number = match found {
            Some(number) => number,
            None => self.wanted.iter().position(|entry| entry.take(action))?,
        };
        // The application has set it (again).
        self.wanted.get(number)?.renew();
        Some(number)
    }
}

/// What is known of a signal.
#[inline]
pub(super) fn slot(signal: i32) -> Option<&'static Slot> {
    SLOTS.get(usize::try_from(signal).ok()?)
}

pub(super) fn owner() -> i32 {
    OWNER.load(Ordering::Acquire).cast_signed()
}

/// Has this process, or one that forked it, hooked anything?
#[inline]
pub(super) fn is_any_hooked() -> bool {
    HOOKED.load(Ordering::Relaxed) != 0
}
