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
//!
//! Who changes what the kernel has holds the ledger's lock, the last of all
//! locks. The exceptions are the handler, when it lets a default action happen,
//! and the fork handler, in a process that has one thread.

use super::hook;
use super::kernel::{self, Action, DEFAULT, bit, each};
use crate::errno::{Errno, Result};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sys::Mutex;
use crate::sys::linux::knocker::Knock;
use crate::sys::linux::per_process::PerProcess;

/// So many dispositions of one signal are told apart. A program that has more
/// is not counted for with the later ones.
pub(super) const HOOKS: usize = 32;

const SIGNALS: usize = kernel::LAST as usize + 1;

static SLOTS: [Slot; SIGNALS] = [const { Slot::new() }; SIGNALS];

/// The process whose queues the nodes lead to.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// The signals that ever were hooked. The application may keep a hook as an
/// old disposition and put it back at any time, so no bit is taken back.
static HOOKED: AtomicU64 = AtomicU64::new(0);

static LEDGER: PerProcess<Mutex<Ledger>> = PerProcess::new();

#[derive(Debug)]
pub(super) struct Slot {
    count: AtomicU64,
    /// The hook that lies over it, as far as is known, or [`NONE`].
    current: AtomicUsize,
    /// Threads that are letting its default action happen.
    striking: AtomicU32,
    subscribers: AtomicPtr<Node>,
    wanted: [Wanted; HOOKS],
}

const NONE: usize = usize::MAX;

/// One disposition of the application's.
#[derive(Debug)]
struct Wanted {
    /// The rest is written, and will not change.
    is_there: AtomicBool,
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
    knock: AtomicU64,
    next: AtomicPtr<Node>,
}

const NOBODY: u64 = u64::MAX;

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
            is_there: AtomicBool::new(false),
            is_spent: AtomicBool::new(false),
            handler: AtomicUsize::new(0),
            flags: AtomicU32::new(0),
            mask: AtomicU64::new(0),
        }
    }

    fn get(&self) -> Option<Action> {
        // Acquire: pairs with the Release in `set`.
        self.is_there.load(Ordering::Acquire).then(|| Action {
            handler: self.handler.load(Ordering::Relaxed),
            flags: self.flags.load(Ordering::Relaxed).cast_signed(),
            mask: self.mask.load(Ordering::Relaxed),
        })
    }

    fn set(&self, action: &Action) {
        self.handler.store(action.handler, Ordering::Relaxed);
        self.flags.store(action.flags.cast_unsigned(), Ordering::Relaxed);
        self.mask.store(action.mask, Ordering::Relaxed);
        self.is_there.store(true, Ordering::Release);
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

    fn nodes(&self) -> impl Iterator<Item = &'static Node> {
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
    fn wanted_now(&self, number: usize) -> Action {
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

    /// The hook that stands for a disposition. With the lock.
    fn hook_for(&self, action: &Action) -> Option<usize> {
        let found = self.wanted.iter().position(|entry| entry.get().as_ref() == Some(action));
        let number = match found {
            Some(number) => number,
            None => {
                let number = self.wanted.iter().position(|entry| entry.get().is_none())?;
                self.wanted.get(number)?.set(action);
                number
            }
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

/// Who subscribed to what in this process.
#[derive(Debug)]
struct Ledger {
    owner: i32,
    users: [u32; SIGNALS],
    /// Nodes that lead to nobody, with room for all there are.
    free: [Vec<&'static Node>; SIGNALS],
    nodes: [usize; SIGNALS],
}

impl Ledger {
    const fn new() -> Ledger {
        Ledger {
            owner: 0,
            users: [0; SIGNALS],
            free: [const { Vec::new() }; SIGNALS],
            nodes: [0; SIGNALS],
        }
    }

    /// In a process that has just got its ledger, new or inherited: what the
    /// slots know is the parent's, but for the dispositions.
    fn claim(&mut self) {
        let process = kernel::process_id();
        if self.owner == process {
            return;
        }
        self.users = [0; SIGNALS];
        for ((slot, free), nodes) in SLOTS.iter().zip(&mut self.free).zip(&mut self.nodes) {
            slot.striking.store(0, Ordering::Relaxed);
            slot.nodes().for_each(|node| node.lead_to(None));
            free.clear();
            // A new ledger has no room for the nodes that are there; they stay
            // unused. An inherited one has: room is made with each node.
            let room = free.capacity();
            free.extend(slot.nodes().take(room));
            *nodes = free.len();
        }
        self.owner = process;
        // Release: whoever sees itself as the owner sees no node of another's.
        OWNER.store(process.cast_unsigned(), Ordering::Release);
    }

    fn node(&mut self, signal: usize) -> Result<&'static Node> {
        let no_memory = |_| Errno::ENOMEM;
        let free = self.free.get_mut(signal).ok_or(Errno::EINVAL)?;
        if let Some(node) = free.pop() {
            return Ok(node);
        }
        let nodes = self.nodes.get_mut(signal).ok_or(Errno::EINVAL)?;
        free.try_reserve(*nodes + 1).map_err(no_memory)?;
        let mut home = Vec::new();
        home.try_reserve_exact(1).map_err(no_memory)?;
        let slot = SLOTS.get(signal).ok_or(Errno::EINVAL)?;
        let first = slot.subscribers.load(Ordering::Acquire);
        home.push(Node { knock: AtomicU64::new(NOBODY), next: AtomicPtr::new(first) });
        let node = &*home.leak().first_mut().ok_or(Errno::ENOMEM)?;
        // Only here, with the lock, does the list grow.
        slot.subscribers.store(core::ptr::from_ref(node).cast_mut(), Ordering::Release);
        *nodes += 1;
        Ok(node)
    }

    fn give_back(&mut self, signal: usize, node: &'static Node) {
        node.lead_to(None);
        if let Some(free) = self.free.get_mut(signal) {
            free.push(node);
        }
    }
}

/// Begins to count a signal for one more subscriber. `None` beside the node:
/// it can be had, and will never come.
pub(super) fn subscribe(signal: i32) -> Result<&'static Node> {
    let index = usize::try_from(signal).map_err(|_| Errno::EINVAL)?;
    let ledger = LEDGER.start(
        // If a thread that this process does not have held the lock, what it
        // guards is as that thread left it.
        |inherited| inherited.try_lock().is_some(),
        || Mutex::new(Ledger::new()),
    )?;
    let mut ledger = ledger.lock();
    ledger.claim();
    let node = ledger.node(index)?;
    if let Err(error) = hook(signal) {
        ledger.give_back(index, node);
        if ledger.users.get(index) == Some(&0) {
            unhook(signal);
        }
        return Err(error);
    }
    if let Some(users) = ledger.users.get_mut(index) {
        *users += 1;
    }
    Ok(node)
}

/// Ends it. The last one leaves the signal to the application.
pub(super) fn unsubscribe(signal: i32, node: &'static Node) {
    let (Ok(index), Some(ledger)) = (usize::try_from(signal), LEDGER.get()) else { return };
    let mut ledger = ledger.lock();
    ledger.give_back(index, node);
    let Some(users) = ledger.users.get_mut(index) else { return };
    *users = users.saturating_sub(1);
    if *users == 0 {
        unhook(signal);
    }
}

/// Is the signal to be left as it is?
///
/// Hooked, these would not do what they do when ignored. Children would not be
/// reaped by themselves; and a process in the background that reads or writes
/// its terminal would be asked to stop, again and again, where it gets an
/// error or succeeds. Natively none is sent then, so none is missed.
fn is_left_alone(signal: i32, wanted: &Action) -> bool {
    match wanted.handler {
        libc::SIG_IGN => matches!(signal, libc::SIGCHLD | libc::SIGTTIN | libc::SIGTTOU),
        libc::SIG_DFL => signal == libc::SIGCHLD && wanted.flags & libc::SA_NOCLDWAIT != 0,
        _ => false,
    }
}

/// The application may have set a disposition over the hook: what it set is
/// then what it wants, and is hooked.
pub(super) fn look_after(signal: i32) -> Result<()> {
    let (Some(slot), Ok(there)) = (slot(signal), changeable(signal)) else { return Ok(()) };
    let number = hook::number(there.handler);
    if number.is_some() && number == slot.current() || is_left_alone(signal, &there) {
        return Ok(());
    }
    let Some(ledger) = LEDGER.get() else { return Ok(()) };
    let _ledger = ledger.lock();
    match hook(signal) {
        // There are no more hooks: it is as if the application set its handler
        // after this look.
        Err(Errno::ENOMEM) => Ok(()),
        hooked => hooked,
    }
}

/// What the process does with a signal. EINVAL: nobody can change it, and no
/// program is told of it: SIGKILL, SIGSTOP, and those that the C library keeps.
fn changeable(signal: i32) -> Result<Action> {
    match signal {
        libc::SIGKILL | libc::SIGSTOP => Err(Errno::EINVAL),
        _ => kernel::action(signal),
    }
}

/// Puts the hook over a signal, if it is not there. With the lock.
fn hook(signal: i32) -> Result<()> {
    let slot = slot(signal).ok_or(Errno::EINVAL)?;
    let mut there = match changeable(signal) {
        Err(Errno::EINVAL) => return Ok(()),
        there => there?,
    };
    // Another thread may set a disposition between two of our calls; each time
    // the newest is what counts. It does not do so for ever.
    for _ in 0..HOOKS {
        if let Some(number) = hook::number(there.handler) {
            slot.put_back(number);
            return Ok(());
        }
        let striking = slot.striking.load(Ordering::Acquire) > 0;
        if striking || is_left_alone(signal, &there) {
            return Ok(());
        }
        let number = slot.hook_for(&there).ok_or(Errno::ENOMEM)?;
        let over = hook::over(&there, number).ok_or(Errno::ENOMEM)?;
        // Release: with it goes what the hook stands for.
        HOOKED.fetch_or(bit(signal), Ordering::Release);
        slot.current.store(number, Ordering::Release);
        let was = match kernel::set_action(signal, &over) {
            // As above: it can be asked about, but not be changed.
            Err(Errno::EINVAL) => return Ok(()),
            was => was?,
        };
        if was == there {
            return Ok(());
        }
        if hook::number(was.handler).is_some() {
            // Somebody put an older hook back. It stays.
            kernel::set_action(signal, &was)?;
        }
        there = was;
    }
    Ok(())
}

/// Gives a signal back to the application, if the hook still is over it.
/// Async-signal-safe.
fn unhook(signal: i32) {
    let Some(slot) = slot(signal) else { return };
    let Ok(there) = kernel::action(signal) else { return };
    let Some(number) = hook::number(there.handler) else { return };
    let was = kernel::set_action(signal, &slot.wanted_now(number));
    if let Ok(was) = was
        && was.handler != there.handler
    {
        // The application has set another in this moment.
        let _ = kernel::set_action(signal, &was);
    }
}

/// In a forked child, before fork() returns there: it has no queues, and may
/// exec a program that must find what the application wanted.
///
/// Async-signal-safe. No lock is taken: the child has one thread. Whatever the
/// parent's threads were about at the fork, a hook that is over a signal here
/// was written down before it was set.
pub(super) fn in_forked_child() {
    each(HOOKED.load(Ordering::Acquire)).for_each(unhook);
}
