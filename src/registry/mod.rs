//! The registry: which number is which queue, in this process.
//!
//! | file | what it holds |
//! |---|---|
//! | this one | the process's registry: its beginning, its forks, and finding |
//! | `queues` | the queues there are, and what becomes of them |
//! | `closing` | what the preload library tells of |
//! | `closers` | which thread is closing what |
//! | `numbers` | from a number to its queue, without a lock |
//!
//! A forked child has no queues (as on BSD): its registry starts empty, and
//! what it inherited is given up.

#![forbid(unsafe_code)]

mod closers;
mod closing;
mod numbers;
mod queues;

pub(crate) use queues::Found;

use crate::clock::Span;
use crate::errno::{Errno, Result};
use crate::queue::Home;
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{self, Descriptor, DescriptorState, Holders, Native, Platform, Quiet};
use queues::{REGISTRY, Registry};

/// kqueue(): makes a queue and returns its descriptor.
pub(crate) fn create() -> Result<Descriptor> {
    let quiet = Quiet::begin();
    let registry = start(&quiet)?;
    register_handler()?;
    registry.create(&quiet)
}

/// This process's registry. Whatever it has inherited is given up first, while
/// nothing is its own.
fn start(_: &Quiet) -> Result<&'static Registry<Native>> {
    let holders = sys::holders_until_now();
    if let Some(registry) = REGISTRY.get() {
        return Ok(registry);
    }
    disown(holders, CLOSE_IN_CHILDREN.load(Ordering::Relaxed));
    HANDLED.store(false, Ordering::Relaxed);
    REGISTRY.start(Registry::renew, Registry::new)
}

/// Gives up what the parent kept until then, if there is one, and its `queues`.
/// A raw clone() may leave the child its parent's very descriptors: to close one
/// there would take it from the parent, too.
fn disown(holders: Holders, queues: bool) {
    let parents = REGISTRY.inherited().filter(|_| !HANDLED.load(Ordering::Relaxed));
    let owner = parents.map(|registry| registry.owner.load(Ordering::Relaxed));
    if owner.is_some_and(sys::shares_descriptors) {
        sys::forget(holders);
    } else {
        sys::disown(holders, queues);
    }
}

/// Did the handler run at the fork that made this process?
static HANDLED: AtomicBool = AtomicBool::new(false);

/// The first call of a forked child may be one by its parent's queue. It gives
/// back what it inherited.
fn start_child() {
    let holders = sys::holders_until_now();
    if REGISTRY.inherited().is_none() {
        return;
    }
    if HANDLED.load(Ordering::Relaxed) {
        // Without memory it stays as it is, until the next call.
        let _ = start(&Quiet::begin());
    } else if CLOSE_IN_CHILDREN.load(Ordering::Relaxed) {
        // libc does not know of this fork: another thread may have been inside
        // malloc(). So memory is left to kqueue(), which needs some.
        disown(holders, true);
    }
}

/// Once, and for all descendants: handlers are inherited. There is no queue
/// before it is done. (Two threads may do it at once: twice does no harm.)
fn register_handler() -> Result<()> {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Relaxed) {
        sys::at_fork_in_child(in_forked_child)?;
        sys::attach(closing::HOOK);
        REGISTERED.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Runs in a forked child, before fork() returns there. Async-signal-safe: it
/// takes no lock that the parent had, closes descriptors, and touches no memory
/// but atomics.
///
/// The application's handlers may run before it, and make queues, or start
/// threads that do: so it begins as any first call does.
extern "C" fn in_forked_child() {
    let holders = sys::holders_until_now();
    let had_begun = has_begun();
    // What the child runs, or execs, is not to notice: whatever else is kept.
    sys::in_forked_child();
    if !had_begun {
        HANDLED.store(true, Ordering::Relaxed);
    }
    if CLOSE_IN_CHILDREN.load(Ordering::Relaxed) {
        sys::disown_in_handler((!had_begun).then_some(holders), has_begun);
    }
}

/// Has this process a registry of its own? (On a kernel that does not wipe, a
/// child sees its parent's.)
fn has_begun() -> bool {
    let registry = REGISTRY.get();
    registry.is_some_and(|registry| registry.owner.load(Ordering::Relaxed) == sys::process_id())
}

/// NOTE_FORK_CLEANUP: does a forked child close what it inherits?
static CLOSE_IN_CHILDREN: AtomicBool = AtomicBool::new(true);

/// Sets that; what it was.
pub(crate) fn close_in_children(on: bool) -> bool {
    CLOSE_IN_CHILDREN.swap(on, Ordering::Relaxed)
}

/// The queue that a number refers to. EBADF: none, and it is not even open;
/// EINVAL: it is something else.
#[inline]
pub(crate) fn find(number: Descriptor) -> Result<Found<Native>> {
    let registry = REGISTRY.get();
    match registry.and_then(|registry| registry.find(number)) {
        Some(found) => Ok(found),
        None => find_slow(registry, number),
    }
}

#[cold]
fn find_slow(
    registry: Option<&'static Registry<Native>>,
    number: Descriptor,
) -> Result<Found<Native>> {
    if registry.is_none() {
        start_child();
    }
    let_close(number);
    let state = sys::descriptor_state(number);
    if state == DescriptorState::Queue {
        match registry.map_or(Ok(None), |registry| registry.find_alias(&Quiet::begin(), number)) {
            Ok(Some(found)) => return Ok(found),
            // It is being closed right here, below a signal handler.
            Ok(None) | Err(Errno::EAGAIN) => {}
            Err(error) => return Err(error),
        }
    }
    // A queue that is not of this process is one of its parent's: natively the
    // number would be closed here.
    Err(if state == DescriptorState::Other { Errno::EINVAL } else { Errno::EBADF })
}

/// A number that another thread is just closing is looked at when that is done:
/// until then it still answers, and a moment later it may be another queue. Not
/// if it is this very thread, below a signal handler. And not for ever: it may
/// have left its close for good in a way that the C library tells nobody of.
fn let_close(number: Descriptor) {
    const LONG: Span = Span::millis(1000);
    if !sys::is_closing(number) || closers::is_own(number) {
        return;
    }
    let begun = Native::now();
    while sys::is_closing(number) {
        if Native::now().since(begun) >= LONG {
            // Whoever comes next need not wait again.
            sys::end_closing(number);
            return;
        }
        std::thread::yield_now();
    }
}

/// A call found that the number is not its queue any more. The queue that it
/// is instead, or why there is none.
#[cold]
pub(crate) fn find_another(number: Descriptor, last: &Found<Native>) -> Result<Found<Native>> {
    let registry = REGISTRY.get();
    if let Some(registry) = registry {
        registry.forget(&Quiet::begin(), last.home, last.tenant);
    }
    let found = find(number)?;
    if found.process != last.process {
        // A signal handler below the call has forked, and made a queue in the
        // child. What the call has left to do was meant for the parent's.
        return Err(Errno::EBADF);
    }
    let same = core::ptr::eq(found.home, last.home) && found.tenant == last.tenant;
    if same { Err(Errno::EBADF) } else { Ok(found) }
}

/// A call has waited on a number that is not its queue any more. That queue may
/// go on by another number. And if the number was another one's when it waited
/// (dup() gave it), the call has taken from that what it may have told once: that
/// queue gets it back.
#[cold]
pub(crate) fn astray(
    (home, tenant): (&Home<Native>, u32),
    number: Descriptor,
    found: &mut <Native as Platform>::Found,
    count: usize,
) {
    let Some(registry) = REGISTRY.get() else { return };
    // Until the other queue has it: that one's lock is taken for it, too.
    let quiet = Quiet::begin();
    registry.forget(&quiet, home, tenant);
    if count > 0
        && let Some((owner, number)) = registry.sender(&quiet, found, number)
    {
        owner.home.take_in(owner.tenant, number, found, count);
    }
}

/// Makes a haunted queue's kernel objects anew. On error it is as it was.
#[cold]
pub(crate) fn renew(haunted: &Found<Native>) -> Result<()> {
    REGISTRY
        .get()
        .map_or(Err(Errno::EBADF), |registry| registry.renew_queue(&Quiet::begin(), haunted))
}

/// Looks after every queue now, as libkqueue_drain_pending_close() promises.
pub(crate) fn sweep_all() {
    if let Some(registry) = REGISTRY.get() {
        registry.sweep_all(&Quiet::begin());
    }
}
