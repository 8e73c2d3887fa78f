//! Descriptors: ours, kept out of the application's way, and the
//! application's, which are only ever asked about.

use super::kept::{self, Busy, Mark};
use super::syscall::{is_open, lend, own, shut};
use super::words;
use crate::errno::Result;
use crate::sys::contract::{Descriptor, DescriptorState};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit};
use std::os::fd::{IntoRawFd, OwnedFd};

/// Private descriptors start here where the limit allows: above what programs
/// use that expect low numbers or close whole ranges of them, yet not so high
/// that the kernel's table grows large.
const PRIVATE_FLOOR: u64 = 256;

/// A descriptor that the library keeps for itself, close-on-exec.
///
/// It is closed only as long as it is what was made: see [`kept`].
#[derive(Debug)]
pub(super) struct Private {
    number: Descriptor,
    serial: u64,
}

impl Private {
    /// Takes what `make` makes into the library's keeping: moves it up, out of
    /// the application's way. If there is no room above, it stays where it is.
    pub(super) fn new(make: impl FnOnce() -> Result<OwnedFd>) -> Result<Private> {
        let _busy = Busy::new();
        let low = make()?.into_raw_fd();
        let kept = kept::mark(low, Mark::Private).and_then(|()| Private::keep(low));
        if !matches!(kept, Ok(Private { number, .. }) if number == low) {
            shut(low);
        }
        kept
    }

    fn keep(low: Descriptor) -> Result<Private> {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let floor = PRIVATE_FLOOR.min(limit / 2) as Descriptor;
        let number = fcntl(lend(low), FcntlArg::F_DUPFD_CLOEXEC(floor)).unwrap_or(low);
        match kept::hold(number) {
            Ok(serial) => {
                words::begin_private(number);
                Ok(Private { number, serial })
            }
            Err(error) => {
                if number != low {
                    shut(number);
                }
                Err(error)
            }
        }
    }

    #[inline]
    pub(super) fn number(&self) -> Descriptor {
        self.number
    }

    /// Is the number still what was made?
    pub(super) fn is_ours(&self) -> bool {
        kept::is_held_by(self.number, self.serial)
    }

    /// The same open file under one number more.
    pub(super) fn another(&self) -> Result<Private> {
        Private::new(|| own(fcntl(lend(self.number), FcntlArg::F_DUPFD_CLOEXEC(0))?))
    }

    /// Is it where private descriptors belong?
    pub(super) fn is_high(&self) -> bool {
        u64::try_from(self.number).is_ok_and(|number| number >= PRIVATE_FLOOR)
    }
}

/// Async-signal-safe. In a forked child that has disowned what it inherited it
/// does nothing.
impl Drop for Private {
    fn drop(&mut self) {
        if !kept::release(self.number, self.serial) {
            return;
        }
        words::end_private(self.number);
        if kept::bears(self.number, Mark::Private) {
            shut(self.number);
        }
    }
}

/// Forgets a number that is a stranger's by now. (Not by taking it out and
/// putting it back: a thread may leave by longjmp in between.)
pub(super) fn drop_strange(kept: &mut Option<Private>) {
    if kept.as_ref().is_some_and(|kept| !kept.is_ours()) {
        *kept = None;
    }
}

/// Can the process have one more descriptor?
pub(super) fn is_one_left() -> bool {
    let _busy = Busy::new();
    // SAFETY: two integers in, a new descriptor out.
    let made = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if made != -1 {
        shut(made);
    }
    made != -1
}

/// What a number of the application's refers to.
pub(crate) fn descriptor_state(fd: Descriptor) -> DescriptorState {
    if !is_open(fd) {
        DescriptorState::Closed
    } else if kept::bears(fd, Mark::Queue) {
        DescriptorState::Queue
    } else {
        DescriptorState::Other
    }
}
