//! The platform: its contract, and the choice of who fulfils it.
//!
//! To add a platform, write `sys/<os>/` with these items and add its line to
//! the choice at the end of this file. `fake` is the contract in its plainest
//! form, scripted, for the tests of the core.
//!
//! | item | what it gives |
//! |---|---|
//! | [`Platform`] | one queue's kernel objects |
//! | `Mutex`, `RawLock` | a mutex, and what it sleeps on; it never allocates, and survives a fork |
//! | `reclaim`, `thread_mark` | a lock that a thread has left behind; who is who |
//! | `Quiet` | a moment in which no signal handler runs on the calling thread |
//! | `PerProcess` | a value that a forked child starts anew |
//! | `descriptor_state`, `own_descriptors`, `own_descriptors_if_listed` | what a number is, and which are open |
//! | `at_fork_in_child` | a call in every forked child |
//! | `in_forked_child` | what a forked child needs of the platform at once |
//! | `disown_in_handler`, `disown` | give up a parent's descriptors |
//! | `shares_descriptors`, `forget` | unless they are the parent's still: then they stay |
//! | `holders_until_now`, `Holders` | whose they are |
//! | `remember` | notes a queue's number, which a forked child gives up |
//! | `is_kept` | is a number one of these? |
//! | `Busy` | says that a queue is being made, for those who fork meanwhile |
//! | `thread_id`, `process_id`, `errno`, `set_errno`, `print` | small services |
//! | `attach` | has close() tell the core of numbers, where that can be had |
//! | `begin_watch`, `begin_queue`, `begin_closing`, `life` and their ends | what close() must know of a number, and tells |
//! | `is_told`, `next_known` | whether it does; which numbers have such notes |

mod contract;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as imp;

#[cfg(not(target_os = "linux"))]
compile_error!("this platform has no backend: see sys/mod.rs for what one must supply");

pub(crate) use contract::{
    Arm, Attended, Bell, Cancel, Class, Deed, Descriptor, DescriptorState, Exit, FileNotes, Hint,
    Mounts, Platform, Readiness, Sample, Side, Source, Token, Watched, Watchers,
};
pub(crate) use imp::{
    Busy, Closing, Holders, Mutex, Native, PerProcess, Quiet, RawLock, at_fork_in_child, attach,
    begin_closing, begin_queue, begin_watch, descriptor_state, disown, disown_in_handler,
    end_all_closing, end_closing, end_life, end_queue, end_watch, errno, forget, holders_until_now,
    in_forked_child, is_closed_queue, is_closing, is_kept, is_mine, is_told, life, next_known,
    own_descriptors, own_descriptors_if_listed, print, process_id, reclaim, remember, set_errno,
    shares_descriptors, thread_id, thread_mark,
};
