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

use crate::{fail, real, set_errno, table};
use core::ffi::{c_char, c_int, c_void};
use core::ptr;

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
