//! Running another program, which inherits the signals that are ignored.
//!
//! A hook is a handler, and exec resets handlers. So what the application
//! ignores is really ignored from a moment before the exec, and hooked again if
//! that failed. In a child that vfork() made that is the child's affair alone.
//!
//! A program that is spawned is run in a child which the C library makes, and
//! which resets every handler before anybody could do something about it. So
//! there it is this process that ignores the signals, for as long as the spawn
//! lasts: what comes meanwhile is not counted.

use crate::signal::{is_hooked, sigaction};
use crate::{errno, fail, real, set_errno, table};
use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use std::sync::{Mutex, PoisonError};

type Strings = *const *const c_char;

/// Functions that run another program in this process.
macro_rules! exec {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {$(
        /// # Safety
        ///
        /// As for the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
            let Some(exec) = real::$name() else { return fail(libc::ENOSYS) };
            let left = table::leave(false);
            // SAFETY: as the caller says.
            let failed = unsafe { exec($($argument),*) };
            left.stay(false);
            failed
        }
    )*};
}

exec! {
    execv(path: *const c_char, arguments: Strings);
    execvp(file: *const c_char, arguments: Strings);
    execve(path: *const c_char, arguments: Strings, environment: Strings);
    execvpe(file: *const c_char, arguments: Strings, environment: Strings);
    fexecve(fd: c_int, arguments: Strings, environment: Strings);
    execveat(
        folder: c_int, path: *const c_char, arguments: Strings, environment: Strings, flags: c_int
    );
}

/// Those with any number of arguments, which cannot be passed on from here. So
/// these jump to the C library's, with every register and the stack as they
/// were, after a call of `$before`, which returns its address. Nothing runs if
/// it fails: then what is ignored is hooked again at the queue's next wait.
macro_rules! exec_list {
    ($($name:ident, $before:ident;)*) => {$(
        extern "C" fn $before() -> *const c_void {
            table::leave(false);
            match real::$name() {
                Some(exec) => exec as *const c_void,
                None => nowhere as *const c_void,
            }
        }

        /// # Safety
        ///
        /// As for the C library's.
        #[cfg(target_arch = "x86_64")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "push rax",
                "call {before}",
                "mov r11, rax",
                "pop rax", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
                "jmp r11",
                before = sym $before,
            );
        }

        /// # Safety
        ///
        /// As for the C library's.
        #[cfg(target_arch = "aarch64")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name() {
            core::arch::naked_asm!(
                "stp x29, x30, [sp, #-80]!",
                "stp x0, x1, [sp, #16]",
                "stp x2, x3, [sp, #32]",
                "stp x4, x5, [sp, #48]",
                "stp x6, x7, [sp, #64]",
                "bl {before}",
                "mov x16, x0",
                "ldp x6, x7, [sp, #64]",
                "ldp x4, x5, [sp, #48]",
                "ldp x2, x3, [sp, #32]",
                "ldp x0, x1, [sp, #16]",
                "ldp x29, x30, [sp], #80",
                "br x16",
                before = sym $before,
            );
        }
    )*};
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
exec_list! {
    execl, before_execl;
    execlp, before_execlp;
    execle, before_execle;
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
extern "C" fn nowhere() -> c_int {
    fail(libc::ENOSYS)
}

/// Functions that run another program in a child.
macro_rules! spawn {
    ($($name:ident),*) => {$(
        /// # Safety
        ///
        /// As for the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            pid: *mut libc::pid_t,
            path: *const c_char,
            actions: *const libc::posix_spawn_file_actions_t,
            attributes: *const libc::posix_spawnattr_t,
            arguments: Strings,
            environment: Strings,
        ) -> c_int {
            let Some(spawn) = real::$name() else { return libc::ENOSYS };
            let left = table::leave(true);
            // SAFETY: as the caller says.
            let failed = unsafe { spawn(pid, path, actions, attributes, arguments, environment) };
            left.stay(true);
            failed
        }
    )*};
}

spawn!(posix_spawn, posix_spawnp);

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn popen(command: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    let Some(popen) = real::popen() else {
        set_errno(libc::ENOSYS);
        return ptr::null_mut();
    };
    let left = table::leave(true);
    // SAFETY: as the caller says.
    let stream = unsafe { popen(command, mode) };
    left.stay(true);
    stream
}

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn system(command: *const c_char) -> c_int {
    let left = table::leave(true);
    left.stay(true);
    let concerned = !left.is_nothing() || TERMINAL.into_iter().any(is_hooked);
    if !command.is_null() && concerned {
        // SAFETY: as the caller says.
        return unsafe { run(command) };
    }
    match real::system() {
        // SAFETY: as the caller says.
        Some(system) => unsafe { system(command) },
        None => fail(libc::ENOSYS),
    }
}

/// system() with the spawn apart from the wait, which may be long. Here it is
/// no cancellation point.
///
/// # Safety
///
/// A string.
unsafe fn run(command: *const c_char) -> c_int {
    let held = Held::hold();
    let shell = c"/bin/sh";
    let arguments = [c"sh".as_ptr(), c"-c".as_ptr(), command, ptr::null()];
    // SAFETY: a pointer, which is read as exec() would.
    let environment = unsafe { environ }.cast_const();
    let mut pid = 0;
    let failed = held.with_attributes(|attributes| {
        // SAFETY: strings, lists that end in null, attributes; as the caller
        // says.
        unsafe {
            posix_spawn(
                &raw mut pid,
                shell.as_ptr(),
                ptr::null(),
                attributes,
                arguments.as_ptr(),
                environment,
            )
        }
    });
    // As if the shell had said so.
    let mut status = 127 << 8;
    if failed == 0 {
        status = wait_for(pid);
    }
    let said = errno();
    held.release();
    set_errno(if failed == 0 { said } else { failed });
    status
}

unsafe extern "C" {
    static mut environ: *mut *const c_char;
}

fn wait_for(pid: libc::pid_t) -> c_int {
    let mut status = 0;
    loop {
        // Not by waitpid(), which would be a cancellation point.
        // SAFETY: one integer is written.
        let waited = unsafe {
            libc::syscall(libc::SYS_wait4, pid, &raw mut status, 0, ptr::null_mut::<c_void>())
        };
        match waited {
            -1 if errno() == libc::EINTR => {}
            -1 => return -1,
            _ => return status,
        }
    }
}

/// While a command of system() runs, SIGINT and SIGQUIT are for it alone, and
/// SIGCHLD waits.
struct Held {
    mask: libc::sigset_t,
}

/// How many commands run, and what they found of the two signals.
static RUNNING: Mutex<(u32, Option<[libc::sigaction; 2]>)> = Mutex::new((0, None));

const TERMINAL: [c_int; 2] = [libc::SIGINT, libc::SIGQUIT];

fn empty() -> libc::sigset_t {
    // SAFETY: integers alone; all zero is the empty set.
    unsafe { core::mem::zeroed() }
}

/// By ours, so that they are counted while they are ignored.
fn exchange(signal: c_int, new: &libc::sigaction) -> libc::sigaction {
    let mut old = *new;
    // SAFETY: two actions.
    unsafe { sigaction(signal, new, &raw mut old) };
    old
}

impl Held {
    fn hold() -> Held {
        let (mut children, mut mask) = (empty(), empty());
        // SAFETY: a set and a signal.
        unsafe { libc::sigaddset(&raw mut children, libc::SIGCHLD) };
        // SAFETY: two sets.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const children, &raw mut mask) };
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if running.0 == 0 {
            // SAFETY: integers, and a pointer that may be null.
            let mut ignore: libc::sigaction = unsafe { core::mem::zeroed() };
            ignore.sa_sigaction = libc::SIG_IGN;
            running.1 = Some(TERMINAL.map(|signal| exchange(signal, &ignore)));
        }
        running.0 += 1;
        Held { mask }
    }

    /// Runs something with what the command's process is to have.
    fn with_attributes(&self, run: impl FnOnce(*const libc::posix_spawnattr_t) -> c_int) -> c_int {
        let found = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).1;
        let mut reset = empty();
        for (signal, found) in TERMINAL.into_iter().zip(found.into_iter().flatten()) {
            if found.sa_sigaction != libc::SIG_IGN {
                // SAFETY: a set and a signal.
                unsafe { libc::sigaddset(&raw mut reset, signal) };
            }
        }
        let flags = libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
        let mut room = core::mem::MaybeUninit::<libc::posix_spawnattr_t>::uninit();
        let attributes = room.as_mut_ptr();
        // SAFETY: room for attributes.
        let made = unsafe { libc::posix_spawnattr_init(attributes) };
        if made != 0 {
            return made;
        }
        // SAFETY: made above, and a set.
        unsafe { libc::posix_spawnattr_setsigmask(attributes, &raw const self.mask) };
        // SAFETY: as above.
        unsafe { libc::posix_spawnattr_setsigdefault(attributes, &raw const reset) };
        // SAFETY: as above; the flags are small.
        unsafe { libc::posix_spawnattr_setflags(attributes, flags as libc::c_short) };
        let done = run(attributes);
        // SAFETY: made above.
        unsafe { libc::posix_spawnattr_destroy(attributes) };
        done
    }

    fn release(self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.0 -= 1;
        if running.0 == 0
            && let Some(found) = running.1.take()
        {
            for (signal, found) in TERMINAL.into_iter().zip(found) {
                exchange(signal, &found);
            }
        }
        drop(running);
        // SAFETY: a set.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.mask, ptr::null_mut()) };
    }
}
