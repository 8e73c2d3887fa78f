//! A signal that the library itself listens for, to look somewhere sooner than
//! its clock would tell it to.
//!
//! Nothing depends on it: a hook that the application has set aside, a signal
//! that is blocked or ignored, are not cared for. So nothing is taken that is
//! pending, and no wait is attended to for it.

use super::count::Node;
use super::ledger;
use super::table;
use crate::errno::Result;
use crate::sys::linux::knocker::Knock;

/// One listens as long as it is not let go of.
#[derive(Debug)]
pub(in crate::sys::linux) struct Ear {
    signal: i32,
    /// The count when it was last looked at.
    heard: u64,
    node: &'static Node,
}

impl Ear {
    /// Each of these signals knocks from now on.
    pub(in crate::sys::linux) fn new(signal: i32, knock: Knock) -> Result<Ear> {
        let node = ledger::subscribe(signal)?;
        node.lead_to(Some(knock));
        Ok(Ear { signal, heard: count(signal), node })
    }

    /// Has the signal come since this was last asked?
    pub(in crate::sys::linux) fn has_heard(&mut self) -> bool {
        let count = count(self.signal);
        core::mem::replace(&mut self.heard, count) != count
    }

    /// (No `Drop` does this: a forked child must drop its parent's.)
    pub(in crate::sys::linux) fn close(self) {
        ledger::unsubscribe(self.signal, self.node);
    }
}

fn count(signal: i32) -> u64 {
    table::slot(signal).map_or(0, table::Slot::count)
}
