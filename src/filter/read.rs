//! EVFILT_READ: a descriptor can be read.

#![forbid(unsafe_code)]

use super::descriptor::{Verdict, Watching, by_mark};
use crate::event::NOTE_FILE_POLL;
use crate::knote::Knote;
use crate::sys::{Class, Sample, Side};

pub(super) static READ: Watching = Watching { side: Side::Read, verdict, note: 0 };

fn verdict(knote: &Knote, sample: &Sample) -> Verdict {
    if let Some(verdict) = by_mark(knote, sample) {
        return verdict;
    }
    let fires = match sample.class {
        Class::File => sample.amount != 0 || knote.fflags & NOTE_FILE_POLL != 0,
        // Another thread may have emptied it since.
        Class::Pipe => sample.amount > 0,
        _ => sample.ready,
    };
    if fires { Verdict::Fires } else { Verdict::Waits }
}
