//! A kernel that knows sets, of which one can be in another; eventfds, which are
//! always readable; and one inotify instance. All entries are levels.

use super::descriptor::Private;
use crate::errno::Result;
use crate::sys::Descriptor;
use loom::sync::{Condvar, Mutex};

/// What can be in a set beside other sets, and where these begin.
pub(crate) const BELL: Descriptor = 1;
pub(crate) const INOTIFY: Descriptor = 2;
const SETS: Descriptor = 10;

#[derive(Default)]
pub(crate) struct Kernel {
    sets: Descriptor,
    entries: Vec<Entry>,
    /// What inotify has to be read: watches.
    pub(crate) unread: Vec<i32>,
}

struct Entry {
    set: Descriptor,
    member: Descriptor,
    mask: u32,
    data: u64,
}

impl Kernel {
    fn found(&self, set: Descriptor) -> Vec<u64> {
        let is_ready = |entry: &&Entry| {
            let watched = entry.set == set && entry.mask & libc::EPOLLIN as u32 != 0;
            watched
                && match entry.member {
                    BELL => true,
                    INOTIFY => !self.unread.is_empty(),
                    nested => !self.found(nested).is_empty(),
                }
        };
        self.entries.iter().filter(is_ready).map(|entry| entry.data).collect()
    }
}

loom::lazy_static! {
    static ref KERNEL: (Mutex<Kernel>, Condvar) = (Mutex::new(Kernel::default()), Condvar::new());
}

/// Changes something; whoever sleeps looks again.
pub(crate) fn call<R>(change: impl FnOnce(&mut Kernel) -> R) -> R {
    let result = change(&mut KERNEL.0.lock().unwrap());
    KERNEL.1.notify_all();
    result
}

pub(crate) fn create_private() -> Result<Private> {
    Ok(Private::new(call(|kernel| {
        kernel.sets += 1;
        SETS + kernel.sets
    })))
}

pub(crate) fn add(set: Descriptor, member: Descriptor, mask: u32, data: u64) -> Result<()> {
    call(|kernel| kernel.entries.push(Entry { set, member, mask, data }));
    Ok(())
}

pub(crate) fn modify(set: Descriptor, member: Descriptor, mask: u32, _: u64) -> Result<()> {
    call(|kernel| {
        let is_meant = |entry: &&mut Entry| entry.set == set && entry.member == member;
        kernel.entries.iter_mut().filter(is_meant).for_each(|entry| entry.mask = mask);
    });
    Ok(())
}

/// What a set has ready; sleeps until there is something.
pub(crate) fn wait(set: Descriptor) -> Vec<u64> {
    let mut kernel = KERNEL.0.lock().unwrap();
    loop {
        let found = kernel.found(set);
        if !found.is_empty() {
            return found;
        }
        kernel = KERNEL.1.wait(kernel).unwrap();
    }
}
