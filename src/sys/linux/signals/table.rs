//! What the process knows of each signal: how often it came, which of the
//! application's dispositions the hooks stand for, and whom to ring.
//!
//! All of it is static memory that is read in signal handlers, so every step is
//! such that a handler (or a fork) in the middle finds something good:
//!
//! - A disposition is written down before its hook is set, and never changed.
//!   So whoever finds a hook over a signal, be it in a forked child, finds what
//!   the application wanted.
//! - A subscriber is a node in a list that only grows; one that is given up
//!   says so in its one word, and is used again.
//! - A signal is counted before it rings, and a queue becomes a subscriber
//!   before it reads the count. Both orders are SeqCst, so one of the two sees
//!   the other.

use super::kernel::{self, Action, DEFAULT};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sys::linux::knocker::Knock;

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
    count: AtomicU64,
    /// The hook that lies over it, as far as is known, or [`NONE`].
    pub(super) current: AtomicUsize,
    /// Threads that are letting its default action happen.
    pub(super) striking: AtomicU32,
    pub(super) subscribers: AtomicPtr<Node>,
    wanted: [Wanted; HOOKS],
}

const NONE: usize = usize::MAX;

const EMPTY: u8 = 0;
/// Somebody is writing it. Should that be a thread that a forked child does
/// not have, it is not used any more.
const TAKEN: u8 = 1;
const THERE: u8 = 2;

/// One disposition of the application's.
#[derive(Debug)]
struct Wanted {
    /// [`EMPTY`], [`TAKEN`], or [`THERE`]: the rest is written, and will not
    /// change.
    state: AtomicU8,
    /// SA_RESETHAND: its one signal has come.
    is_spent: AtomicBool,
    handler: AtomicUsize,
    flags: AtomicU32,
    mask: AtomicU64,
}

/// A queue to ring.
#[derive(Debug)]
pub(super) struct Node {
    /// Its knock, or [`NOBODY`].
    pub(super) knock: AtomicU64,
    pub(super) next: AtomicPtr<Node>,
}

pub(super) const NOBODY: u64 = u64::MAX;

impl Node {
    /// From now on the signal rings this queue; or nobody.
    pub(super) fn lead_to(&self, knock: Option<Knock>) {
        // SeqCst: before the count is read, see above.
        self.knock.store(knock.map_or(NOBODY, Knock::to_bits), Ordering::SeqCst);
    }
}

impl Wanted {
    const fn new() -> Wanted {
        Wanted {
            state: AtomicU8::new(EMPTY),
            is_spent: AtomicBool::new(false),
            handler: AtomicUsize::new(0),
            flags: AtomicU32::new(0),
            mask: AtomicU64::new(0),
        }
    }

    fn get(&self) -> Option<Action> {
        // Acquire: pairs with the Release in `set`.
        (self.state.load(Ordering::Acquire) == THERE).then(|| Action {
            handler: self.handler.load(Ordering::Relaxed),
            flags: self.flags.load(Ordering::Relaxed).cast_signed(),
            mask: self.mask.load(Ordering::Relaxed),
        })
    }

    /// Writes it down here, if nothing is.
    fn take(&self, action: &Action) -> bool {
        let taken = self.state.compare_exchange(EMPTY, TAKEN, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_err() {
            return false;
        }
        self.handler.store(action.handler, Ordering::Relaxed);
        self.flags.store(action.flags.cast_unsigned(), Ordering::Relaxed);
        self.mask.store(action.mask, Ordering::Relaxed);
        self.state.store(THERE, Ordering::Release);
        true
    }
}

impl Slot {
    const fn new() -> Slot {
        Slot {
            count: AtomicU64::new(0),
            current: AtomicUsize::new(NONE),
            striking: AtomicU32::new(0),
            subscribers: AtomicPtr::new(core::ptr::null_mut()),
            wanted: [const { Wanted::new() }; HOOKS],
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// The signal came once: counts it and rings, but for one who knows.
    /// Async-signal-safe.
    pub(super) fn count_one(&self, knows: Option<&Node>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        let knows = knows.map_or(core::ptr::null(), core::ptr::from_ref);
        self.nodes().filter(|node| !core::ptr::eq(*node, knows)).for_each(|node| {
            let knock = node.knock.load(Ordering::SeqCst);
            if knock != NOBODY {
                // It fails if the queue's numbers have been closed, and then
                // there is nobody to wake.
                let _ = Knock::from_bits(knock).ring();
            }
        });
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &'static Node> {
        // Acquire: pairs with the Release that put the first node there.
        let mut next = self.subscribers.load(Ordering::Acquire);
        core::iter::from_fn(move || {
            // SAFETY: null or a node, which is never freed.
            let node = unsafe { next.as_ref() }?;
            next = node.next.load(Ordering::Relaxed);
            Some(node)
        })
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
            entry.is_spent.store(false, Ordering::Release);
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
            Some(entry) if entry.is_spent.load(Ordering::Acquire) => {
                Action { handler: libc::SIG_DFL, ..wanted }
            }
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
            Some(entry) if entry.is_spent.swap(true, Ordering::AcqRel) => DEFAULT,
            _ => wanted,
        }
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
        self.wanted.get(number)?.is_spent.store(false, Ordering::Release);
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
