//! What a thread leaves behind that does not come back from a call.
//!
//! A signal handler can interrupt a call of kevent() anywhere and leave it by
//! longjmp. On BSD the call is in the kernel then, and nothing comes of it. Here
//! it may hold the queue's lock, with the work half done, and nobody would get
//! it ever again. So the C library is asked to say when a call is left for good
//! (see [`Platform::unless_left`]), and the lock is given back.
//!
//! Before that the queue is made whole. All it must not lose is in the knotes;
//! the lists, the index and the alarms are made anew of them, and every knote is
//! looked at as if it had just been enabled. What had begun and not ended, a
//! knote half made or half deleted, has happened or has not: the caller was told
//! of neither. An EV_CLEAR event may come twice, none is lost.

#![forbid(unsafe_code)]

use super::bell::Wake;
use super::{Home, Queue};
use crate::clock::Moment;
use crate::filter;
use crate::sys::{self, Bell, Descriptor, Platform};

impl<P: Platform> Home<P> {
    /// The calling thread has left a call on this tenant by this number. `laden`:
    /// with hints, it may be, that it had taken and not handed over.
    #[cold]
    pub(super) fn left(&self, tenant: u32, number: Descriptor, laden: bool) {
        let me = sys::thread_mark();
        P::reclaim_own();
        let was_inside = sys::reclaim(&self.room, |room| {
            if let Some(queue) = &mut room.queue {
                queue.mend(me);
                self.note(queue);
            }
        });
        if was_inside {
            return;
        }
        let mut room = self.room.lock();
        // While it waited, its queue may have gone and another have come.
        if room.tenant != tenant {
            return;
        }
        let Some(queue) = &mut room.queue else { return };
        queue.port.reach(number);
        if laden {
            queue.mend(me);
            self.note(queue);
            return;
        }
        // It may have been out to ring, and others wait until it is back.
        if queue.ringing.is_out_for(me) {
            queue.ringing.left(me);
        }
        // Or it was to look at the list next.
        let _ = queue.settle(Wake::All);
    }
}

impl<P: Platform> Queue<P> {
    /// What the thread of this mark has left half done.
    pub(super) fn mend(&mut self, thread: u32) {
        self.table.mend();
        self.ready.clear();
        self.alarms.clear();
        // Another thread may be out to ring, and is to find itself expected.
        self.ringing.left(thread);
        self.careful = 0;
        for slot in self.table.slots() {
            let Some(knote) = self.table.get(slot) else { continue };
            let Ok(filter) = filter::list::find::<P>(knote.filter) else { continue };
            self.careful += u32::from(filter.is_careful());
            // What the poller was told, and what stands here, are two steps; and
            // one that it disarmed when it told has no other sign of that. None of
            // it in a stranger's set, which may have got the number.
            let repeats = knote.body.source().is_some_and(|source| source.repeats);
            if repeats && self.port.prove() && !self.rearm(filter, slot) {
                continue;
            }
            self.check(filter, slot);
            // Its hint may have been taken, and not told.
            if self.table.get(slot).is_some_and(|knote| !knote.is_disabled()) {
                self.ready.push(slot);
            }
        }
        // Both are set anew, whatever they were. If that fails the number is
        // another by now, and the next call by a good one does it.
        self.alarm = Some(Moment(0));
        if self.roused {
            let _ = self.port.bell(Bell::Hold);
        }
        let _ = self.settle(Wake::All);
    }
}
