//! `libkqueue-preload.so`: stands before the C library's close(), sigaction()
//! and their like, and tells libkqueue what goes by.
//!
//!     LD_PRELOAD=libkqueue-preload.so prog
//!
//! It knows nothing of queues. A libkqueue in the process, shared or linked in,
//! attaches itself at its first kqueue() with a table of functions (`table`);
//! until then, and in programs without one, every function here is the C
//! library's. The two are never linked, or the process would have two
//! registries.
//!
//! | file | stands before |
//! |---|---|
//! | `table` | nothing: what the library has attached |
//! | `real` | nothing: the C library's own |
//! | `name` | nothing: finding them |
//! | `going` | nothing: what is said around a close |
//! | `leaving` | nothing: what glibc tells of threads that leave |
//! | `close` | close, close_range, closefrom, dup2, dup3 |
//! | `stream` | fclose, freopen, pclose, closedir |
//! | `signal` | sigaction, signal and what else sets a disposition |
//! | `exec` | the exec family, posix_spawn, popen |
//! | `system` | system |
//!
//! What is async-signal-safe in the C library is so here, and leaves errno
//! alone when it succeeds. All that is done in a child that vfork() made is
//! done to the child: the library compares process numbers.

pub mod close;
pub mod exec;
mod going;
#[path = "../../src/sys/linux/leaving.rs"]
mod leaving;
#[path = "../../src/sys/linux/name.rs"]
mod name;
mod real;
pub mod signal;
pub mod stream;
pub mod system;
pub mod table;

use core::ffi::c_int;

unsafe extern "C" {
    /// Ends the thread if it has been cancelled; see pthread_testcancel(3).
    fn pthread_testcancel();
}

fn errno() -> c_int {
    // SAFETY: no arguments.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the calling thread's, alive as long as the thread.
    unsafe { place.read() }
}

fn set_errno(errno: c_int) {
    // SAFETY: as above.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { place.write(errno) };
}

/// -1 with errno.
fn fail(errno: c_int) -> c_int {
    set_errno(errno);
    -1
}
