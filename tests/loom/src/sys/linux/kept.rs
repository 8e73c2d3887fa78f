//! All numbers are as they were: nobody closes one here.

use crate::sys::Descriptor;

#[allow(dead_code, reason = "as the library's")]
pub(crate) enum Mark {
    Queue,
    Private,
}

pub(crate) fn bears(_: Descriptor, _: Mark) -> bool {
    true
}
