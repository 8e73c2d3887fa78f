//! The bell of a queue: an eventfd that holds 1 for ever, in the queue's set.
//!
//! It is never written nor read; its *mask* in the set is the signal. So it
//! cannot overflow, it knows an edge (ring) and a level (hold), and should a
//! program that closes every number it sees free this one, nothing of ours can
//! write into the stranger that gets it next.

use super::descriptor::Private;
use super::epoll;
use super::syscall::own;
use crate::errno::Result;
use crate::sys::contract::{Bell, Descriptor};

pub(super) fn create() -> Result<Private> {
    // SAFETY: two integers in, a new descriptor out.
    Private::new(|| own(unsafe { libc::eventfd(1, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }))
}

fn mask(bell: Bell) -> u32 {
    let bits = match bell {
        // Nothing to report, and an eventfd has neither ERR nor HUP.
        Bell::Rest => libc::EPOLLET,
        // Setting this mask makes one edge.
        Bell::Ring => libc::EPOLLIN | libc::EPOLLET,
        Bell::Hold => libc::EPOLLIN,
    };
    bits as u32
}

/// Puts it into a set.
pub(super) fn hang(set: Descriptor, bell: &Private, state: Bell, data: u64) -> Result<()> {
    epoll::add(set, bell.number(), mask(state), data)
}

pub(super) fn set(set: Descriptor, bell: Descriptor, state: Bell, data: u64) -> Result<()> {
    epoll::modify(set, bell, mask(state), data)
}
