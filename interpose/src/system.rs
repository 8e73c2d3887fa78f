//! system(): a spawn, and a wait, which may be long.
//!
//! The C library's spawns where nobody sees it. So once a library has attached
//! itself commands are run here, and by the C library's system() until then.
//! Either way SIGINT and SIGQUIT are for the commands alone, from the first to
//! the last of those that overlap, and the last one leaves what the first one
//! found. The C library counts its own to know which these are; here all are
//! counted, so that the two do not take each other's doing for the program's.

use crate::exec::posix_spawn;
use crate::leaving::unless_left;
use crate::signal::sigaction;
use crate::{errno, fail, real, set_errno, table};
use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn system(command: *const c_char) -> c_int {
    if !table::is_any() {
        // SAFETY: as the caller says.
        return unsafe { run_theirs(command) };
    }
    if command.is_null() {
        // SAFETY: a string.
        return c_int::from(unsafe { run(c"exit 0".as_ptr()) } == 0);
    }
    // SAFETY: as the caller says.
    unsafe { run(command) }
}

/// # Safety
///
/// As for the C library's system().
unsafe fn run_theirs(command: *const c_char) -> c_int {
    let Some(system) = real::system() else { return fail(libc::ENOSYS) };
    begin(Whose::Theirs);
    // The thread may be cancelled there: it is one command less all the same.
    let status = unless_left(
        &mut (),
        |()| end(Whose::Theirs),
        // SAFETY: as the caller says.
        |()| unsafe { system(command) },
    );
    let said = errno();
    end(Whose::Theirs);
    set_errno(said);
    status
}

/// # Safety
///
/// A string.
unsafe fn run(command: *const c_char) -> c_int {
    let mut shell = Shell::begin();
    let status = unless_left(&mut shell, Shell::kill, |shell| match shell.spawn(command) {
        0 => wait_for(shell.pid, Wait::Cancellable),
        failed => {
            set_errno(failed);
            // As if the shell had said so.
            127 << 8
        }
    });
    let said = errno();
    shell.end();
    set_errno(said);
    status
}

unsafe extern "C" {
    static mut environ: *mut *const c_char;
}

/// A command that is ours. SIGCHLD waits for it to end.
struct Shell {
    mask: libc::sigset_t,
    /// 0 until there is one.
    pid: libc::pid_t,
}

impl Shell {
    fn begin() -> Shell {
        let (mut children, mut mask) = (empty(), empty());
        // SAFETY: a set and a signal.
        unsafe { libc::sigaddset(&raw mut children, libc::SIGCHLD) };
        // SAFETY: two sets.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const children, &raw mut mask) };
        begin(Whose::Ours);
        Shell { mask, pid: 0 }
    }

    /// 0, or why it could not be.
    fn spawn(&mut self, command: *const c_char) -> c_int {
        let mut room = core::mem::MaybeUninit::<libc::posix_spawnattr_t>::uninit();
        let attributes = room.as_mut_ptr();
        // SAFETY: room for attributes.
        let made = unsafe { libc::posix_spawnattr_init(attributes) };
        if made != 0 {
            return made;
        }
        let reset = to_reset();
        let flags = libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
        // SAFETY: made above, and a set.
        unsafe { libc::posix_spawnattr_setsigmask(attributes, &raw const self.mask) };
        // SAFETY: as above.
        unsafe { libc::posix_spawnattr_setsigdefault(attributes, &raw const reset) };
        // SAFETY: as above; the flags are small.
        unsafe { libc::posix_spawnattr_setflags(attributes, flags as libc::c_short) };
        let shell = c"/bin/sh";
        let arguments = [c"sh".as_ptr(), c"-c".as_ptr(), command, ptr::null()];
        // SAFETY: a pointer, which is read as exec() would.
        let environment = unsafe { environ }.cast_const();
        let mut pid = 0;
        // SAFETY: strings, lists that end in null, attributes; as the caller of
        // system() says.
        let failed = unsafe {
            posix_spawn(
                &raw mut pid,
                shell.as_ptr(),
                ptr::null(),
                attributes,
                arguments.as_ptr(),
                environment,
            )
        };
        // SAFETY: made above.
        unsafe { libc::posix_spawnattr_destroy(attributes) };
        if failed == 0 {
            self.pid = pid;
        }
        failed
    }

    /// The thread has been cancelled while it waited: as glibc does it.
    fn kill(&mut self) {
        if self.pid != 0 {
            // SAFETY: a child, which nobody has waited for.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            wait_for(self.pid, Wait::ToTheEnd);
        }
        self.end();
    }

    fn end(&self) {
        end(Whose::Ours);
        // SAFETY: a set.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.mask, ptr::null_mut()) };
    }
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Wait {
    Cancellable,
    ToTheEnd,
}

#[cfg(target_env = "gnu")]
#[allow(clippy::disallowed_methods, reason = "it is to be a cancellation point")]
fn wait_cancellably(pid: libc::pid_t, status: &mut c_int) -> libc::pid_t {
    // SAFETY: one integer is written.
    unsafe { libc::waitpid(pid, status, 0) }
}

/// Another C library would not tell that the thread leaves.
#[cfg(not(target_env = "gnu"))]
fn wait_cancellably(pid: libc::pid_t, status: &mut c_int) -> libc::pid_t {
    wait_to_the_end(pid, status)
}

/// Not by waitpid(), which is a cancellation point.
fn wait_to_the_end(pid: libc::pid_t, status: &mut c_int) -> libc::pid_t {
    let nothing = ptr::null_mut::<c_void>();
    // SAFETY: one integer is written.
    (unsafe { libc::syscall(libc::SYS_wait4, pid, status, 0, nothing) }) as libc::pid_t
}

/// The status of a child; -1 with errno if it is not to be had.
fn wait_for(pid: libc::pid_t, how: Wait) -> c_int {
    let mut status = 0;
    loop {
        let waited = match how {
            Wait::Cancellable => wait_cancellably(pid, &mut status),
            Wait::ToTheEnd => wait_to_the_end(pid, &mut status),
        };
        match waited {
            -1 if errno() == libc::EINTR => {}
            -1 => return -1,
            _ => return status,
        }
    }
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Whose {
    Ours,
    /// The C library's own system().
    Theirs,
}

/// The commands that run.
struct Running {
    all: u32,
    ours: u32,
    /// The two signals as the first one found them.
    found: Option<[libc::sigaction; 2]>,
    /// One of ours was among them.
    is_changed: bool,
}

static RUNNING: Mutex<Running> =
    Mutex::new(Running { all: 0, ours: 0, found: None, is_changed: false });

const TERMINAL: [c_int; 2] = [libc::SIGINT, libc::SIGQUIT];

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn begin(whose: Whose) {
    let mut running = running();
    if running.all == 0 {
        running.found = Some(TERMINAL.map(|signal| exchange(signal, None)));
        running.is_changed = false;
    }
    running.all += 1;
    if whose == Whose::Ours {
        running.ours += 1;
        running.is_changed = true;
        if running.ours == 1 {
            ignore();
        }
    }
}

fn end(whose: Whose) {
    let mut running = running();
    running.all -= 1;
    if whose == Whose::Ours {
        running.ours -= 1;
    }
    if running.all > 0 {
        // The C library may have put back what it found, by its own count.
        if whose == Whose::Theirs && running.ours > 0 {
            ignore();
        }
    } else if running.is_changed
        && let Some(found) = running.found.take()
    {
        for (signal, found) in TERMINAL.into_iter().zip(&found) {
            exchange(signal, Some(found));
        }
    }
}

fn ignore() {
    // SAFETY: integers, and a pointer that may be null.
    let mut ignore: libc::sigaction = unsafe { core::mem::zeroed() };
    ignore.sa_sigaction = libc::SIG_IGN;
    for signal in TERMINAL {
        exchange(signal, Some(&ignore));
    }
}

/// By ours, so that they are counted while they are ignored.
fn exchange(signal: c_int, new: Option<&libc::sigaction>) -> libc::sigaction {
    // SAFETY: integers, and a pointer that may be null.
    let mut old: libc::sigaction = unsafe { core::mem::zeroed() };
    // SAFETY: null or an action, and room for one.
    unsafe { sigaction(signal, new.map_or(ptr::null(), ptr::from_ref), &raw mut old) };
    old
}

/// Those of the two signals that the command must not find ignored.
fn to_reset() -> libc::sigset_t {
    let found = running().found;
    let mut reset = empty();
    for (signal, found) in TERMINAL.into_iter().zip(found.into_iter().flatten()) {
        if found.sa_sigaction != libc::SIG_IGN {
            // SAFETY: a set and a signal.
            unsafe { libc::sigaddset(&raw mut reset, signal) };
        }
    }
    reset
}

fn empty() -> libc::sigset_t {
    // SAFETY: integers alone; all zero is the empty set.
    unsafe { core::mem::zeroed() }
}
