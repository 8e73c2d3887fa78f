//! Time as the core keeps it: nanoseconds on the monotonic clock.
//!
//! No system call is made here; the platform supplies "now". Everything
//! saturates: a moment that does not fit is [`Moment::NEVER`], so a timer of
//! 300 years is accepted and does not fire, as a BSD program would expect.

#![forbid(unsafe_code)]

use crate::errno::{Errno, Result};
use core::ffi::c_uint;

use crate::event::{
    NOTE_ABSOLUTE, NOTE_ABSTIME, NOTE_BACKGROUND, NOTE_CRITICAL, NOTE_LEEWAY, NOTE_NSECONDS,
    NOTE_SECONDS, NOTE_USECONDS,
};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A point on the monotonic clock, in nanoseconds.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    /// Later than every moment that the clock can show.
    pub(crate) const NEVER: Moment = Moment(u64::MAX);

    pub(crate) fn after(self, span: Span) -> Moment {
        Moment(self.0.saturating_add(span.0))
    }

    /// How long from `earlier` to this moment; nothing if it is not later.
    pub(crate) fn since(self, earlier: Moment) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

/// A length of time in nanoseconds.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Span(pub(crate) u64);

impl Span {
    pub(crate) const ZERO: Span = Span(0);

    pub(crate) const fn millis(ms: u64) -> Span {
        Span(ms * 1_000_000)
    }

    /// A `struct timespec` by its fields, checked as `kevent()` checks its
    /// timeout. `None` stands for "as good as for ever": FreeBSD waits without
    /// limit when `tv_sec` exceeds `INT32_MAX`.
    pub(crate) fn from_timespec(sec: i64, nsec: i64) -> Result<Option<Span>> {
        if sec < 0 || !(0..1_000_000_000).contains(&nsec) {
            return Err(Errno::EINVAL);
        }
        if sec > i64::from(i32::MAX) {
            return Ok(None);
        }
        let nanos = sec.unsigned_abs() * NANOS_PER_SECOND + nsec.unsigned_abs();
        Ok(Some(Span(nanos)))
    }
}

/// How long a call may wait.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Patience {
    /// Look, never sleep.
    Poll,
    /// Until this moment.
    Until(Moment),
    /// Until something happens.
    Forever,
}

/// What the `fflags` and `data` of a timer ask for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Schedule {
    /// After this long, and (unless one-shot) again and again.
    Every(Span),
    /// At this wall-clock time, given as nanoseconds since 1970, once.
    /// `level`: FreeBSD's NOTE_ABSTIME stays reported until it is changed,
    /// libkqueue's NOTE_ABSOLUTE is reported once.
    At { wall: Span, level: bool },
}

/// Darwin's hints about how exact a timer must be: accepted, without effect.
const HINTS: c_uint = NOTE_LEEWAY | NOTE_CRITICAL | NOTE_BACKGROUND;
const UNITS: c_uint = NOTE_SECONDS | NOTE_USECONDS | NOTE_NSECONDS;

/// Reads a timer's request. Two units, unknown bits and negative times are
/// EINVAL (FreeBSD); no unit means milliseconds.
pub(crate) fn schedule(fflags: c_uint, data: isize) -> Result<Schedule> {
    let absolute = NOTE_ABSTIME | NOTE_ABSOLUTE;
    if fflags & !(UNITS | HINTS | absolute) != 0 {
        return Err(Errno::EINVAL);
    }
    let unit = match fflags & UNITS {
        0 => 1_000_000,
        NOTE_SECONDS => NANOS_PER_SECOND,
        NOTE_USECONDS => 1_000,
        NOTE_NSECONDS => 1,
        _ => return Err(Errno::EINVAL),
    };
    let count = u64::try_from(data).map_err(|_| Errno::EINVAL)?;
    let span = Span(count.saturating_mul(unit));
    if fflags & absolute != 0 {
        return Ok(Schedule::At { wall: span, level: fflags & NOTE_ABSTIME != 0 });
    }
    // A period of nothing is one unit, or the timer would fire without end.
    Ok(Schedule::Every(if count == 0 { Span(unit) } else { span }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_checked_and_very_long_ones_never_end() {
        assert_eq!(Span::from_timespec(0, 0), Ok(Some(Span::ZERO)));
        assert_eq!(Span::from_timespec(1, 5), Ok(Some(Span(1_000_000_005))));
        assert_eq!(Span::from_timespec(i64::from(i32::MAX) + 1, 0), Ok(None));
        for (sec, nsec) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MIN, 0)] {
            assert_eq!(Span::from_timespec(sec, nsec), Err(Errno::EINVAL));
        }
    }

    #[test]
    fn units_do_not_mix_and_huge_times_saturate() {
        assert_eq!(schedule(0, 3), Ok(Schedule::Every(Span::millis(3))));
        assert_eq!(schedule(NOTE_NSECONDS, 0), Ok(Schedule::Every(Span(1))));
        assert_eq!(schedule(NOTE_SECONDS | NOTE_NSECONDS, 1), Err(Errno::EINVAL));
        assert_eq!(schedule(1 << 20, 1), Err(Errno::EINVAL));
        assert_eq!(schedule(0, -1), Err(Errno::EINVAL));
        assert_eq!(schedule(NOTE_SECONDS, isize::MAX), Ok(Schedule::Every(Span(u64::MAX))));
        assert_eq!(schedule(NOTE_CRITICAL, 1), Ok(Schedule::Every(Span::millis(1))));
    }
}
