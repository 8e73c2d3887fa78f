//! Who counts which signal, and the hooks that lie over the application's
//! dispositions as long as anybody does.
//!
//! Who changes what the kernel has holds the ledger's lock, the last of all
//! locks. The exceptions are the handler, when it lets a default action happen,
//! the fork handler, in a process that has one thread, and the application's own
//! sigaction(): whatever it does in between is found by the next look.
//!
//! The application's handlers may spawn programs, which needs the lock (with the
//! preload library). So no handler runs on top of whoever has it: see [`Locked`].

use super::super::lock::{self, Mutex, RawLock};
use super::count::Node;
use super::hook;
use super::kernel::{self, Action, bit, each};
use super::quiet::Quiet;
use super::table::{COUNTED, HOOKED, HOOKS, LEAVING, OWNER, SIGNALS, SLOTS, owner, slot};
use crate::errno::{Errno, Result};
use crate::sync::Ordering;
use crate::sys::linux::per_process::PerProcess;
use core::ops::{Deref, DerefMut};
use parking_lot::lock_api::MutexGuard;

static LEDGER: PerProcess<Mutex<Ledger>> = PerProcess::new();

/// Who subscribed to what in this process.
#[derive(Debug)]
struct Ledger {
    owner: i32,
    users: [u32; SIGNALS],
    /// Nodes that lead to nobody, with room for all there are.
    free: [Vec<&'static Node>; SIGNALS],
    nodes: [usize; SIGNALS],
}

/// The ledger with its lock. Until it is dropped the calling thread blocks all
/// signals, so a handler that needs the lock does not wait for the very thread
/// it has interrupted; and nobody leaves by longjmp, or is cancelled, with it.
///
/// That is two system calls more where a signal's watch begins or ends, or a
/// program is spawned. A wait takes the lock only if a hook was set aside.
struct Locked {
    // Dropped in this order.
    ledger: MutexGuard<'static, RawLock, Ledger>,
    _quiet: Quiet,
}

impl Locked {
    fn lock(ledger: &'static Mutex<Ledger>) -> Locked {
        // Blocked before the lock is asked for: a thread that slept for it owns
        // it in the moment it wakes.
        let quiet = Quiet::begin();
        Locked { ledger: ledger.lock(), _quiet: quiet }
    }
}

impl Deref for Locked {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.ledger
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}

/// Gives back the ledger, if the calling thread has it and leaves its call: by a
/// handler of its own faults, for no other runs then.
pub(super) fn reclaim() {
    if let Some(ledger) = LEDGER.get() {
        lock::reclaim(ledger, |_| ());
    }
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
        COUNTED.store(0, Ordering::Relaxed);
        LEAVING.store(0, Ordering::Relaxed);
        for ((slot, free), nodes) in SLOTS.iter().zip(&mut self.free).zip(&mut self.nodes) {
            slot.striking.store(0, Ordering::Relaxed);
            slot.subscribers().nodes().for_each(|node| node.lead_to(None));
            free.clear();
            // A new ledger has no room for the nodes that are there; they stay
            // unused. An inherited one has: room is made with each node.
            let room = free.capacity();
            free.extend(slot.subscribers().nodes().take(room));
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
        home.push(Node::new());
        let node = &*home.leak().first_mut().ok_or(Errno::ENOMEM)?;
        slot.subscribers().put_first(node);
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
        // That it is inherited is noted, for in a namespace of its own the
        // child may have its parent's number.
        |inherited| inherited.try_lock().map(|mut ledger| ledger.owner = 0).is_some(),
        || Mutex::new(Ledger::new()),
    )?;
    let mut ledger = Locked::lock(ledger);
    ledger.claim();
    let node = ledger.node(index)?;
    // Before the hook: what the application sets from now on is hooked.
    COUNTED.fetch_or(bit(signal), Ordering::AcqRel);
    if let Err(error) = hook(signal) {
        ledger.give_back(index, node);
        if ledger.users.get(index) == Some(&0) {
            COUNTED.fetch_and(!bit(signal), Ordering::AcqRel);
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
    let mut ledger = Locked::lock(ledger);
    ledger.give_back(index, node);
    let Some(users) = ledger.users.get_mut(index) else { return };
    *users = users.saturating_sub(1);
    if *users == 0 {
        COUNTED.fetch_and(!bit(signal), Ordering::AcqRel);
        unhook(signal);
    }
}

/// Is the signal to be left as it is?
///
/// Hooked, these would not do what they do when ignored. Children would not be
/// reaped by themselves; and a process in the background that reads or writes
/// its terminal would be asked to stop, again and again, where it gets an
/// error or succeeds. Natively none is sent then, so none is missed.
pub(super) fn is_left_alone(signal: i32, wanted: &Action) -> bool {
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
    let _ledger = Locked::lock(ledger);
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
        let leaving = LEAVING.load(Ordering::Acquire) > 0 && there.handler == libc::SIG_IGN;
        if striking || leaving || is_left_alone(signal, &there) {
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

/// Runs something with the lock. `None`: this process has no ledger of its own.
/// (A child that vfork() made has its parent's, whose other threads run on. It
/// does not take the lock: who would give it back if the child were killed?)
pub(super) fn with_lock<R>(run: impl FnOnce() -> R) -> Option<R> {
    let ledger = LEDGER.get()?;
    if owner() != kernel::process_id() {
        return None;
    }
    let _ledger = Locked::lock(ledger);
    Some(run())
}

/// Gives a signal back to the application, if the hook still is over it.
/// Async-signal-safe.
pub(super) fn unhook(signal: i32) {
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
/// Async-signal-safe. No lock of the parent's is taken. Whatever its threads were
/// about at the fork, a hook that is over a signal here was written down before
/// it was set.
///
/// A fork handler that ran before ours, or a thread that one has started, may
/// watch signals already: what is counted here then is the child's own, and its
/// ledger's lock is one that nobody has who is not there.
pub(super) fn in_forked_child() {
    let unhook_but =
        |counted: u64| each(HOOKED.load(Ordering::Acquire) & !counted).for_each(unhook);
    let parents = OWNER.load(Ordering::Acquire);
    if with_lock(|| unhook_but(COUNTED.load(Ordering::Acquire))).is_some() {
        return;
    }
    // In a namespace of its own the child may have its parent's number. If it is
    // another by now, such a thread has begun in this moment; and what it has
    // hooked since may have been taken from it.
    let _ = OWNER.compare_exchange(parents, 0, Ordering::AcqRel, Ordering::Relaxed);
    unhook_but(0);
    with_lock(|| {
        each(COUNTED.load(Ordering::Acquire)).for_each(|signal| {
            // What cannot be is found by the next look.
            let _ = hook(signal);
        });
    });
}
