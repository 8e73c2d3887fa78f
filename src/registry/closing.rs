//! A number is about to be closed, says the preload library.
//!
//! It says so before the close, in whatever thread and whatever handler the
//! application's close() runs. So nothing here waits for a lock, allocates or
//! frees. What must be done at once is: the number's entry in the sets, and in
//! the table of queues, and waking those who wait. The knotes go when the queue
//! is next looked at, before anything else (see `queue::calls`).
//!
//! None of this is needed: a close that nobody tells of is found out, as it is
//! without the preload library.

#![forbid(unsafe_code)]

use super::closers;
use super::queues::{REGISTRY, Registry};
use crate::sync::{OnceLock, Ordering};
use crate::sys::{self, Closing, Descriptor, Native, Platform, Watchers};
use core::ffi::c_int;

pub(super) const HOOK: Closing = Closing { closing, closed, next };

/// The registry, unless this is a child that vfork() made: what it closes is
/// its own, and what it sees its parent's.
fn own() -> Option<&'static Registry<Native>> {
    let registry = REGISTRY.get()?;
    let ours = registry.owner.load(Ordering::Relaxed) == sys::process_id();
    ours.then_some(registry)
}

extern "C" fn closing(number: Descriptor, replaced: c_int, paired: c_int) -> c_int {
    let Some(registry) = own() else { return 0 };
    // Natively the number is free: nobody can close it, but something can be
    // put there, and then ours is lost.
    if replaced == 0 && sys::is_kept(number) {
        return 1;
    }
    registry.closing(number, paired != 0);
    0
}

extern "C" fn closed(number: Descriptor) {
    if own().is_some() {
        sys::end_closing(number);
        closers::end_own(number);
    }
}

extern "C" fn next(number: Descriptor) -> Descriptor {
    own().and_then(|_| sys::next_known(number)).unwrap_or(-1)
}

impl<P: Platform> Registry<P> {
    fn closing(&self, number: Descriptor, paired: bool) {
        match sys::end_life(number) {
            Watchers::None => {}
            Watchers::One(home) => {
                if let Some(home) = self.home(home) {
                    home.lose(number);
                }
            }
            Watchers::Any => {
                let homes = self.homes.iter().filter_map(OnceLock::get);
                homes.copied().flatten().for_each(|home| home.lose(number));
            }
        }
        if let Some(entry) = self.numbers.get(number) {
            if paired {
                closers::begin_own(number);
                sys::begin_closing(number);
            }
            self.numbers.remove(number, entry);
            sys::end_queue(number);
            // For the next kqueue(), which can give back what it held. Of several
            // the last is enough: it asks after others in turn.
            self.closed.store(entry.home + 1, Ordering::Relaxed);
            if let Some(home) = self.home(entry.home) {
                home.close(number);
            }
        }
    }
}
