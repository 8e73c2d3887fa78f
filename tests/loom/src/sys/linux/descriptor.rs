//! Numbers that nothing is behind but `epoll`'s notes.

use crate::sys::Descriptor;

#[derive(Debug)]
pub(crate) struct Private(Descriptor);

#[allow(dead_code, reason = "as the library's")]
impl Private {
    pub(crate) fn new(number: Descriptor) -> Private {
        Private(number)
    }

    pub(crate) fn is_ours(&self) -> bool {
        true
    }

    pub(crate) fn number(&self) -> Descriptor {
        self.0
    }
}
