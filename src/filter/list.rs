//! The one table of the filters there are.

#![forbid(unsafe_code)]

use super::Filter;
use super::{except, fs, procdesc, process, read, signal, timer, user, vnode, write};
use crate::errno::{Errno, Result};
use crate::event::{
    EVFILT_AIO, EVFILT_EMPTY, EVFILT_EXCEPT, EVFILT_FS, EVFILT_LIO, EVFILT_NETDEV, EVFILT_PROC,
    EVFILT_PROCDESC, EVFILT_READ, EVFILT_SIGNAL, EVFILT_TIMER, EVFILT_USER, EVFILT_VNODE,
    EVFILT_WRITE,
};
use crate::sys::Platform;
use core::ffi::c_short;

/// A filter that is known but not there answers ENOSYS, a number that is no
/// filter EINVAL.
pub(crate) fn find<P: Platform>(filter: c_short) -> Result<&'static dyn Filter<P>> {
    match filter {
        EVFILT_READ => Ok(&read::READ),
        EVFILT_WRITE => Ok(&write::WRITE),
        EVFILT_EXCEPT => Ok(&except::EXCEPT),
        EVFILT_FS => Ok(&fs::Fs),
        EVFILT_SIGNAL => Ok(&signal::Signal),
        EVFILT_TIMER => Ok(&timer::Timer),
        EVFILT_USER => Ok(&user::User),
        EVFILT_VNODE => Ok(&vnode::Vnode),
        EVFILT_PROC => Ok(&process::Proc),
        EVFILT_PROCDESC => Ok(&procdesc::Procdesc),
        // Natively a kevent() with it is refused so, too.
        EVFILT_AIO => Err(Errno::ENXIO),
        EVFILT_NETDEV | EVFILT_LIO | EVFILT_EMPTY => Err(Errno::ENOSYS),
        _ => Err(Errno::EINVAL),
    }
}
