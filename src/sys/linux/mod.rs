//! Linux: a queue is an epoll set.
//!
//! | file | kernel object |
//! |---|---|
//! | `native` | one queue: what it holds, and the contract |
//! | `sets`, `hints` | what stands in which set; what a wait found there |
//! | `renewal` | the sets made anew, to be rid of what cannot be removed |
//! | `epoll` | one set, and waiting |
//! | `outline` | the sets' numbers, for close(), which has no lock |
//! | `doorbell` | the eventfd that says "user space holds something" |
//! | `knocker` | the small set by which others wake a queue |
//! | `leaving` | threads that do not come back from a wait |
//! | `timerfd` | the alarm of all timers |
//! | `files` | what epoll refuses and what VNODE watches; inotify |
//! | `processes` | pidfds, exit statuses, the process connector |
//! | `signals` | signals, by a hook over the application's disposition |
//! | `mounts` | mountinfo, and what has changed in it |
//! | `probe` | asking a descriptor about itself |
//! | `descriptor` | numbers: ours and the application's |
//! | `kept` | which numbers are ours, and by what they are known |
//! | `per_process` | what a forked child must not see |
//! | `forking` | the fork handler |
//! | `wiped` | the page that the kernel wipes in a forked child |
//! | `lock`, `lock_word` | what is under the mutex; its states |
//! | `futex` | sleeping on a word |
//! | `preload` | what close() asks and tells, by way of the preload library |

mod descriptor;
mod doorbell;
mod epoll;
mod files;
mod forking;
mod futex;
mod hints;
mod kept;
mod knocker;
mod leaving;
mod lock;
mod lock_word;
mod mounts;
mod native;
mod outline;
mod per_process;
mod preload;
mod probe;
mod processes;
mod renewal;
mod sets;
mod signals;
mod timerfd;
mod wiped;

pub(crate) use descriptor::{descriptor_state, own_descriptors};
pub(crate) use forking::at_fork_in_child;
pub(crate) use kept::{Busy, disown, disown_in_handler, holders_until_now, is_kept, remember};
pub(crate) use lock::{RawLock, reclaim, thread_mark};
pub(crate) use native::Native;
pub(crate) use per_process::PerProcess;
pub(crate) use preload::{
    Closing, attach, begin_closing, begin_queue, begin_watch, end_closing, end_life, end_queue,
    end_watch, is_closed_queue, is_closing, is_told, life, next_known,
};
pub(crate) use signals::{in_forked_child, process_id};

use crate::errno::Errno;

fn clock(which: libc::clockid_t) -> u64 {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec. Both clocks exist everywhere, so
    // it cannot fail.
    unsafe { libc::clock_gettime(which, &raw mut spec) };
    let seconds = u64::try_from(spec.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(spec.tv_nsec as u64)
}

/// The kernel's number for the calling thread.
pub(crate) fn thread_id() -> i32 {
    // SAFETY: no arguments, cannot fail.
    (unsafe { libc::syscall(libc::SYS_gettid) }) as i32
}

/// Sets the calling thread's errno.
pub(crate) fn set_errno(errno: Errno) {
    nix::Error::set_raw(errno.0);
}

/// The calling thread's errno, which may be any number that the caller put
/// there: it never passes through nix's list of those that exist.
#[inline]
pub(crate) fn errno() -> Errno {
    Errno(nix::Error::last_raw())
}

/// Writes a line to standard error, as one write.
pub(crate) fn print(line: &[u8]) {
    // Through syscall(): write() is a cancellation point.
    // SAFETY: as many bytes as the slice has.
    unsafe { libc::syscall(libc::SYS_write, libc::STDERR_FILENO, line.as_ptr(), line.len()) };
}
