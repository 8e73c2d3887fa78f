//! Numbers that nothing is behind but `epoll`'s notes.

use crate::sys::Descriptor;

#[derive(Debug)]
pub(crate) struct Private(Descriptor);

#[allow(dead_code, reason = "as the library's")]
impl Private {
    pub(crate) fn new(number: Descriptor) -> Private {
        Private(number)
    }

    pub(crate) fn again(number: Descriptor, _: &'static [u8]) -> Private {
        Private(number)
    }

    pub(crate) fn number(&self) -> Descriptor {
        self.0
    }
}
