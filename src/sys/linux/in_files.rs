//! What a queue does with its files: an instance for them, and READ.

use super::descriptor;
use super::epoll::FILES;
use super::files::is_unheard;
use super::objects::Native;
use super::probe;
use crate::errno::{Errno, Result};
use crate::sys::contract::{Arm, Class, Descriptor, Sample, Side, Source};

impl Native {
    /// Makes sure that files can be watched, this one too. A queue has an
    /// inotify instance of its own, unless the user has no more of them.
    pub(super) fn instance(&mut self, fd: Descriptor) -> Result<()> {
        if is_unheard(fd) {
            return Err(Errno::ENOSYS);
        }
        if self.files.has_instance() {
            return Ok(());
        }
        let (set, data) = (self.set()?, self.private(FILES));
        match self.files.open_own(set, data) {
            // The same errno says that the process has no descriptors left.
            Err(Errno::EMFILE) if descriptor::is_one_left() => {
                let knock = self.knock()?;
                self.files.open_shared(set, data, knock)
            }
            opened => opened,
        }
    }

    /// Makes changes of a file give hints. If they cannot, the core looks by
    /// the clock.
    pub(super) fn hear(&mut self, fd: Descriptor, source: &mut Source) {
        let place = source.place;
        source.wakes = self.instance(fd).and_then(|()| self.files.watch(place)).is_ok();
    }

    /// A file gives hints once it has fallen silent, and at every change if
    /// edges are asked for.
    pub(super) fn arm_file(&mut self, fd: Descriptor, side: Side, source: &mut Source, arm: Arm) {
        let file = self.files.class(source.place) == Class::File;
        if arm == Arm::Edge && side == Side::Read && file {
            self.hear(fd, source);
        }
    }

    pub(super) fn sample_file(
        &mut self,
        fd: Descriptor,
        side: Side,
        source: &mut Source,
    ) -> Result<Sample> {
        let class = self.files.class(source.place);
        let mut amount = 0;
        self.files.verify(fd, source.place)?;
        if side == Side::Read && class == Class::File {
            amount = probe::distance_to_end(fd)?;
            if amount == 0 {
                // First the watch, then another look: what is written between
                // the two is seen by one of them.
                self.hear(fd, source);
                amount = probe::distance_to_end(fd)?;
            }
        }
        let ready = class == Class::Always || side == Side::Write || amount != 0;
        Ok(Sample { class, amount, ready, eof: false, error: None, silent: false })
    }

    /// Is the number still this file? If not, its entry goes.
    pub(super) fn verify_file(&mut self, fd: Descriptor, place: u32) -> Result<()> {
        let verified = self.files.verify(fd, place);
        if let Err(Errno::EBADF | Errno::ENOENT) = verified {
            self.files.remove(place);
        }
        verified
    }
}
