//! The core on the scripted platform against the model in `tests/common`: the
//! same random histories as on the real system.

#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    missing_docs,
    reason = "the two files are shared with tests of the crate"
)]

#[path = "../../../tests/common/model.rs"]
mod model;
#[path = "../../../tests/common/trial.rs"]
mod trial;

use super::Rig;
use crate::clock::Patience;
use crate::queue::Stop;
use crate::sys::Descriptor;
use crate::sys::fake::{self, Object};
use model::{Kevent, Kind};
use trial::World;

impl World for Rig {
    fn ident(&self, number: usize) -> usize {
        number + 3
    }

    fn open(&mut self, number: usize, kind: Kind) {
        let object = match kind {
            Kind::Pipe => Object::pipe(),
            Kind::PipeWriter => Object::pipe_writer(),
            Kind::Socket => Object::socket(),
            Kind::File => Object::file(),
        };
        fake::open(self.ident(number) as Descriptor, object);
    }

    fn close(&mut self, number: usize) {
        fake::close(self.ident(number) as Descriptor);
    }

    fn put(&mut self, number: usize, bytes: usize) {
        fake::put(self.ident(number) as Descriptor, bytes as i64);
    }

    fn take(&mut self, number: usize, bytes: usize) {
        fake::take(self.ident(number) as Descriptor, bytes as i64);
    }

    fn hang_up(&mut self, number: usize) {
        fake::hang_up(self.ident(number) as Descriptor);
    }

    fn kevent(
        &mut self,
        changes: &[Kevent],
        room: usize,
        _shared: bool,
    ) -> Result<Vec<Kevent>, i32> {
        let changes: Vec<_> = changes.iter().map(to_c).collect();
        match self.call(&changes, room, Patience::Poll) {
            Ok(entries) => Ok(entries.iter().map(from_c).collect()),
            Err(Stop::Failed(errno)) => Err(errno.0),
            Err(stop) => panic!("nobody closed the queue, or a number of a file: {stop:?}"),
        }
    }

    fn is_readable(&mut self) -> bool {
        fake::is_readable(self.number)
    }
}

fn to_c(kevent: &Kevent) -> crate::event::Kevent {
    let Kevent { ident, filter, flags, fflags, data, udata } = *kevent;
    let udata = core::ptr::without_provenance_mut(udata);
    crate::event::Kevent { ident, filter, flags, fflags, data: data as isize, udata }
}

fn from_c(kevent: &crate::event::Kevent) -> Kevent {
    let crate::event::Kevent { ident, filter, flags, fflags, data, udata } = *kevent;
    Kevent { ident, filter, flags, fflags, data: data as i64, udata: udata.addr() }
}

#[test]
fn what_once_was_wrong_is_right() {
    trial::play_known(Rig::new);
}

#[test]
fn the_core_does_what_the_model_says() {
    trial::play(512, Rig::new);
}
