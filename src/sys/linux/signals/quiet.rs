//! A moment in which no handler of the program's runs.

use super::kernel::{self, bit};

/// As long as there is one, its thread blocks all signals, but for its own
/// faults: one that is blocked ends the process, and there are programs whose
/// system calls or pages are served by such a handler.
///
/// So a lock that is taken meanwhile is not left behind by a longjmp out of a
/// handler, nor asked for by one that has interrupted its very owner; and nobody
/// is cancelled. It costs two system calls.
#[derive(Debug)]
pub(crate) struct Quiet(u64);

impl Quiet {
    pub(crate) fn begin() -> Quiet {
        const FAULTS: [i32; 6] =
            [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];
        let faults = FAULTS.into_iter().fold(0, |set, signal| set | bit(signal));
        Quiet(kernel::block(!faults))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        kernel::set_mask(self.0);
    }
}
