//! What a knote takes note of though nothing is returned yet, and the children
//! that NOTE_TRACK brings: the kernel's `knote` and `knote_fork`.

#![forbid(unsafe_code)]

use super::Queue;
use crate::errno::{Errno, Result};
use crate::event::{EVFILT_PROC, Kevent, NOTE_TRACK};
use crate::filter::{self, News, Noted};
use crate::knote::table::Key;
use crate::knote::{Body, Knote, Process};
use crate::sys::{Deed, Platform, Token};

impl<P: Platform> Queue<P> {
    /// Something has happened to what a knote watches, disabled or not.
    pub(super) fn noted(&mut self, token: Token, news: News) {
        // No such knote any more: late news, dropped.
        let Some(slot) = self.table.meant_by(token) else { return };
        if let News::Deed(Deed::Forked(child)) = news {
            self.track(token, child);
        }
        let Some(knote) = self.table.get_mut(slot) else { return };
        let Ok(filter) = filter::list::find::<P>(knote.filter) else { return };
        match filter.note(knote, &mut self.port, news) {
            Ok(Noted::Fires) if !knote.is_disabled() => self.ready.push(slot),
            Ok(Noted::Fires | Noted::Nothing) => {}
            Ok(Noted::Over) => {
                let _ = self.delete(slot);
            }
            // What could not be asked is told again.
            Err(_) => {}
        }
    }

    /// Takes note of all that those have done who are followed.
    pub(super) fn learn_deeds(&mut self) {
        while let Some((token, deed)) = self.port.next_deed() {
            self.noted(token, News::Deed(deed));
        }
    }

    /// Notes the end of a process that is followed, if it has come, so that it
    /// is returned with what came before: first the end is seen, then what was
    /// done is learnt, and then the end is noted.
    pub(super) fn catch_up(&mut self, token: Token) {
        let Some(knote) = self.table.get(token.slot) else { return };
        let ended = filter::list::find::<P>(knote.filter)
            .is_ok_and(|filter| filter.has_just_ended(knote, &mut self.port));
        if ended {
            self.learn_deeds();
            self.noted(token, News::Hint);
        }
    }

    /// A process that a knote of this queue watches has made a child.
    fn track(&mut self, token: Token, child: i32) {
        let Some(&parent) = self.table.get(token.slot) else { return };
        if parent.filter != EVFILT_PROC || parent.fflags & NOTE_TRACK == 0 {
            return;
        }
        if self.adopt(&parent, child).is_err()
            && let Some(knote) = self.table.get_mut(token.slot)
            && let Body::Process(process) = &mut knote.body
        {
            process.lose();
            if !knote.is_disabled() {
                self.ready.push(token.slot);
            }
        }
    }

    /// Makes a knote for the child, like its parent's but enabled.
    fn adopt(&mut self, parent: &Knote, child: i32) -> Result<()> {
        let (Ok(ident), Ok(pid)) = (usize::try_from(child), i32::try_from(parent.ident)) else {
            return Err(Errno::ESRCH);
        };
        let key = Key::Other(EVFILT_PROC, ident);
        if let Some(slot) = self.table.find(key) {
            return match self.table.get(slot).map(|knote| knote.body) {
                // Of an earlier process with this number, which has ended and
                // whose events are not collected yet. There is no place here.
                Some(Body::Process(process)) if process.tracked => Err(Errno::EEXIST),
                // The program was quicker, and has its own.
                _ => Ok(()),
            };
        }
        let filter = filter::list::find::<P>(EVFILT_PROC)?;
        let mut knote = Knote::new(&Kevent {
            ident,
            filter: EVFILT_PROC,
            flags: parent.flags,
            fflags: parent.fflags,
            data: parent.data,
            udata: core::ptr::without_provenance_mut(parent.udata),
        });
        knote.body = Body::Process(Process::child_of(pid));
        let slot = self.table.insert(key, knote)?;
        let made = self.furnish(filter, slot);
        match made {
            Ok(()) => self.check(filter, slot),
            Err(_) => self.table.remove(key, slot),
        }
        made
    }
}
