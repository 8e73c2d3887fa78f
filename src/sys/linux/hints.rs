//! From what a wait found to the hints of the contract.

use super::descriptor::Private;
use super::epoll::{
    self, ALARM, BELL, BLOCKED, Batch, DEEDS, FAREWELL, FILES, KNOCK, MOUNTS, SECOND, SIGNALS,
    THIRD, unpack,
};
use super::mounts::Telling;
use super::objects::Native;
use super::processes;
use super::signals::Walk;
use crate::errno::{Errno, Result};
use crate::sys::contract::{Attended, Hint, Platform, Readiness};

/// What a wait found, and where it leads.
pub(crate) struct Found {
    pub(super) first: Batch,
    nested: Batch,
    telling: Telling,
    signals: Walk,
    children: processes::Walk,
}

impl Found {
    pub(super) fn new() -> Found {
        Found {
            first: Batch::new(),
            nested: Batch::new(),
            telling: Telling::NOTHING,
            signals: Walk::DONE,
            children: processes::Walk::DONE,
        }
    }
}

impl Native {
    /// Looks after signals and mounts.
    pub(super) fn look_around(&mut self, found: &mut Found) -> Result<Attended> {
        let mut attended = Attended::Quiet;
        if !self.signals.is_empty() {
            let (signals, place) = self.signals()?;
            attended = signals.attend(place, &mut found.signals)?;
        }
        // What has been found is handed over first; the rest is still there.
        match self.mend_mounts().and_then(|()| self.mounts.look()) {
            Err(error) if attended != Attended::Hints => return Err(error),
            _ => {}
        }
        let told = self.mounts.tell(&mut found.telling);
        Ok(if told { Attended::Hints } else { attended })
    }

    pub(super) fn mend_mounts(&mut self) -> Result<()> {
        if self.mounts.is_watched() {
            let (set, data) = (self.set(), self.private(MOUNTS));
            self.mounts.mend(set, data)?;
        }
        Ok(())
    }

    /// The next of what was found.
    #[inline]
    pub(super) fn hint(&mut self, found: &mut Found) -> Result<Option<Hint>> {
        loop {
            if let Some(event) = found.nested.next() {
                let (_, token) = unpack(event.u64);
                return Ok(Some(Hint::Watched(token, epoll::readiness(event.events))));
            }
            if let Some(token) = self.files.next() {
                return Ok(Some(Hint::Watched(token, Readiness::IN)));
            }
            if let Some(token) = self.signals.next(&mut found.signals) {
                return Ok(Some(Hint::Watched(token, Readiness::IN)));
            }
            if let Some(token) = self.processes.next(&mut found.children) {
                return Ok(Some(Hint::Watched(token, Readiness::IN)));
            }
            if let Some(token) = self.mounts.next(&mut found.telling) {
                return Ok(Some(Hint::Watched(token, Readiness::IN)));
            }
            let Some(event) = found.first.next() else { return Ok(None) };
            let (cookie, token) = unpack(event.u64);
            if cookie != self.cookie {
                found.first.put_back();
                return Err(Errno::EBADF);
            }
            // No proof of what the number is now: the wait may have begun long ago.
            match token.slot {
                BELL => {
                    self.files.glance();
                    return Ok(Some(Hint::Bell));
                }
                ALARM => return Ok(Some(Hint::Alarm)),
                slot @ (SECOND | THIRD) => {
                    // Nothing there is normal: another thread has had it. All
                    // there is is taken, room or not, for this one entry of
                    // the first set stands for as many knotes. (No need to ask
                    // whether it is ours: it has just told the first set.)
                    let set = if slot == SECOND { &self.second } else { &self.third };
                    let Some(set) = set.as_ref().map(Private::number) else { continue };
                    // Nor does failing lose anything: the set is level in the
                    // first, and what came beside it must still be handed over.
                    let _ = found.nested.fill(|events| epoll::poll(set, events, epoll::BATCH));
                }
                FILES => self.files.read(),
                // What is there is asked for after each wait.
                DEEDS => {}
                // This was the old set; the number is to mean the new one.
                FAREWELL if self.prove() => {}
                FAREWELL => return Err(Errno::EBADF),
                KNOCK => found.children = self.knocked(),
                SIGNALS => found.signals = self.signals.rung(),
                BLOCKED => {
                    self.signals.take_blocked();
                    found.signals = self.signals.rung();
                }
                MOUNTS => {
                    // If it cannot be read now, the next call attends to it.
                    let _ = self.mend_mounts().and_then(|()| self.mounts.look());
                    self.mounts.tell(&mut found.telling);
                }
                _ => return Ok(Some(Hint::Watched(token, epoll::readiness(event.events)))),
            }
        }
    }
}
