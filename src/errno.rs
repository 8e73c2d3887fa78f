//! Error numbers as values.
//!
//! A transparent number rather than an enum: the host knows codes that nobody
//! listed. Inside the library every failure is an [`Errno`] in a [`Result`];
//! only `capi` turns one into `-1` and the C variable.

#![forbid(unsafe_code)]

use core::ffi::c_int;

/// One of the host's `errno` codes.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

/// What everything that can fail returns.
pub(crate) type Result<T> = core::result::Result<T, Errno>;

macro_rules! names {
    ($($name:ident),* $(,)?) => {
        impl Errno {
            $(#[allow(dead_code, reason = "some are only named in traces")]
            pub(crate) const $name: Errno = Errno(libc::$name);)*

            /// The symbolic name, for traces; `None` for a code not raised here.
            pub(crate) fn name(self) -> Option<&'static str> {
                match self.0 {
                    $(libc::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

names! {
    EACCES, EAFNOSUPPORT, EAGAIN, EBADF, EBUSY, ECHILD, ECONNREFUSED, ECONNRESET, EDEADLK, EEXIST, EFAULT, EINTR, EINVAL, EIO, ELOOP, EMFILE, ENFILE, ENOBUFS, ENODEV, ENOENT, ENOMEM, ENOSPC, ENOSYS, ENOTCONN, ENOTSUP, ENXIO, EPERM, EPIPE, EPROTONOSUPPORT, ESRCH,
}

impl Errno {
    /// Does it tell of the system's state rather than of the thing asked
    /// about, so that the same question may have an answer later?
    pub(crate) fn passes(self) -> bool {
        matches!(self, Errno::EINTR | Errno::EIO | Errno::ENOMEM)
    }
}

impl core::fmt::Debug for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}
