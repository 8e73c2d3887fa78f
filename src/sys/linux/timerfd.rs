//! The alarm: one timerfd a queue, however many timers it has.
//!
//! One-shot and absolute, never read: an expired one stays readable until it
//! is set again, which is what "a timer is due and not yet returned" must look
//! like to whoever polls the queue. (A periodic timerfd would fall silent
//! until read.)

use super::descriptor::Private;
use super::epoll::moment_timespec;
use super::syscall::{check, own};
use crate::clock::Moment;
use crate::errno::Result;

pub(super) fn create() -> Result<Private> {
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: two integers in, a new descriptor out.
    Private::new(|| own(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) }))
}

/// Sets it; `None` disarms. A moment that has passed fires at once.
pub(super) fn set(timer: &Private, at: Option<Moment>) -> Result<()> {
    // All zeroes disarms, so the first nanosecond of the clock is the second.
    let value = moment_timespec(at.map_or(Moment(0), |at| at.max(Moment(1))));
    let setting = libc::itimerspec { it_interval: moment_timespec(Moment(0)), it_value: value };
    // SAFETY: the kernel reads one itimerspec; the old one is not wanted.
    check(unsafe {
        libc::timerfd_settime(
            timer.number(),
            libc::TFD_TIMER_ABSTIME,
            &raw const setting,
            core::ptr::null_mut(),
        )
    })?;
    Ok(())
}
