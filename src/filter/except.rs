//! EVFILT_EXCEPT: something out of the ordinary has come to a socket.
//!
//! Darwin's and OpenBSD's filter; FreeBSD has none. The end of all data is
//! told as Darwin does, asked for or not.

#![forbid(unsafe_code)]

use super::descriptor::{Verdict, Watching};
use crate::event::NOTE_OOB;
use crate::knote::Knote;
use crate::sys::{Sample, Side};

pub(super) static EXCEPT: Watching = Watching { side: Side::Except, verdict, note: NOTE_OOB };

fn verdict(knote: &Knote, sample: &Sample) -> Verdict {
    match (sample.ready, knote.fflags & NOTE_OOB != 0) {
        (true, true) => Verdict::Fires,
        // There, and nobody wants to know: it would be hinted at without end.
        (true, false) => Verdict::BelowMark,
        (false, _) => Verdict::Waits,
    }
}
