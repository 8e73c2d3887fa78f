//! EVFILT_WRITE: a descriptor can be written.

#![forbid(unsafe_code)]

use super::descriptor::{Verdict, Watching, by_mark};
use crate::knote::Knote;
use crate::sys::{Sample, Side};

pub(super) static WRITE: Watching = Watching { side: Side::Write, verdict, note: 0 };

fn verdict(knote: &Knote, sample: &Sample) -> Verdict {
    let by_readiness = if sample.ready { Verdict::Fires } else { Verdict::Waits };
    by_mark(knote, sample).unwrap_or(by_readiness)
}
