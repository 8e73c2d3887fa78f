//! Linux: a queue is an epoll set.
//!
//! | file | kernel object |
//! |---|---|
//! | `native` | the contract |
//! | `objects` | one queue: what it holds |
//! | `sets`, `hints` | what stands in which set; what a wait found there |
//! | `renewal` | the sets made anew, to be rid of what cannot be removed |
//! | `epoll` | one set, and waiting |
//! | `outline` | the sets' numbers, for close(), which has no lock |
//! | `doorbell` | the eventfd that says "user space holds something" |
//! | `knocker` | the small set by which others wake a queue |
//! | `leaving` | threads that do not come back from a wait |
//! | `timerfd` | the alarm of all timers |
//! | `files` | what epoll refuses and what VNODE watches; inotify |
//! | `in_files` | a queue and its files |
//! | `processes` | pidfds, exit statuses, the process connector |
//! | `signals` | signals, by a hook over the application's disposition |
//! | `mounts` | mountinfo, and what has changed in it |
//! | `probe` | asking a descriptor about itself |
//! | `descriptor` | numbers: ours and the application's |
//! | `proc` | what /proc tells of them |
//! | `kept` | which numbers are ours, and by what they are known |
//! | `words` | what close() reads of each number |
//! | `per_process` | what a forked child must not see |
//! | `forking` | the fork handler |
//! | `wiped` | the page that the kernel wipes in a forked child |
//! | `lock`, `lock_word` | what is under the mutex; its states |
//! | `futex` | sleeping on a word |
//! | `preload` | what close() asks and tells, by way of the preload library |
//! | `preload_table` | what that is given, compiled into both |
//! | `loader` | what the loader is asked for, when the library is loaded |
//! | `name` | functions that may not be there, compiled into both |
//! | `syscall` | system calls; below all else |

mod descriptor;
mod doorbell;
mod epoll;
mod files;
mod forking;
mod futex;
mod hints;
mod in_files;
mod kept;
mod knocker;
mod leaving;
mod loader;
mod lock;
mod lock_word;
mod mounts;
mod name;
mod native;
mod objects;
mod outline;
mod per_process;
mod preload;
#[allow(unreachable_pub, reason = "it is public in the preload library")]
mod preload_table;
mod probe;
mod proc;
mod processes;
mod renewal;
mod sets;
mod signals;
mod syscall;
mod timerfd;
mod wiped;
mod words;

pub(crate) use descriptor::descriptor_state;
pub(crate) use forking::{at_fork_in_child, disown_in_handler};
pub(crate) use kept::{Busy, Holders, disown, forget, holders_until_now, is_kept, remember};
pub(crate) use lock::{Mutex, RawLock, is_mine, reclaim, thread_mark};
pub(crate) use objects::Native;
pub(crate) use per_process::PerProcess;
pub(crate) use preload::{Closing, attach};
pub(crate) use proc::{own_descriptors, own_descriptors_if_listed};
pub(crate) use signals::{Quiet, in_forked_child, process_id};
pub(crate) use syscall::{errno, print, set_errno, shares_descriptors, thread_id};
pub(crate) use words::{
    begin_closing, begin_queue, begin_watch, end_all_closing, end_closing, end_life, end_queue,
    end_watch, is_closed_queue, is_closing, is_told, life, next_known,
};
