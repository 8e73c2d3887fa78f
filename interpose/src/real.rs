//! The C library's own functions, found behind ours.
//!
//! They are looked for when the library is loaded, for dlsym() is not
//! async-signal-safe. What is called before that, by the constructors of
//! others, is looked for then.

use crate::name::{Name, Place, is_glibc_since};
use core::ffi::c_void;

/// Declares functions of the C library by name, version and type: each is a
/// function here that returns it, if it is there.
macro_rules! real {
    ($($name:ident $(since $major:literal $minor:literal)?: $type:ty;)*) => {
        $(
            #[inline]
            pub(crate) fn $name() -> Option<$type> {
                let found = statics::$name.address();
                // SAFETY: null, or the C library's function of that name, which
                // has this type.
                unsafe { core::mem::transmute::<*mut core::ffi::c_void, Option<$type>>(found) }
            }
        )*

        #[allow(non_upper_case_globals, reason = "named as the function is")]
        mod statics {
            use super::{Name, Place, is_glibc_since};
            use core::ffi::CStr;
            $(pub(super) static $name: Name = Name::new(
                match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => c"",
                },
                Place::Behind,
                || true $(&& is_glibc_since($major, $minor))?,
            );)*
        }

        extern "C" fn find_all() {
            $(statics::$name.address();)*
        }
    };
}

use core::ffi::{c_char, c_int, c_uint};

type File = *mut libc::FILE;
type Handler = libc::sighandler_t;
type SetHandler = unsafe extern "C" fn(c_int, Handler) -> Handler;
type Strings = *const *const c_char;
type Exec = unsafe extern "C" fn(*const c_char, Strings) -> c_int;
type ExecIn = unsafe extern "C" fn(*const c_char, Strings, Strings) -> c_int;
type Spawn = unsafe extern "C" fn(
    *mut libc::pid_t,
    *const c_char,
    *const libc::posix_spawn_file_actions_t,
    *const libc::posix_spawnattr_t,
    Strings,
    Strings,
) -> c_int;
type Freopen = unsafe extern "C" fn(*const c_char, *const c_char, File) -> File;

real! {
    close: unsafe extern "C" fn(c_int) -> c_int;
    close_range since 2 34: unsafe extern "C" fn(c_uint, c_uint, c_int) -> c_int;
    closefrom since 2 34: unsafe extern "C" fn(c_int);
    dup2: unsafe extern "C" fn(c_int, c_int) -> c_int;
    dup3: unsafe extern "C" fn(c_int, c_int, c_int) -> c_int;
    fclose: unsafe extern "C" fn(File) -> c_int;
    pclose: unsafe extern "C" fn(File) -> c_int;
    freopen: Freopen;
    freopen64: Freopen;
    closedir: unsafe extern "C" fn(*mut libc::DIR) -> c_int;
    sigaction: unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;
    signal: SetHandler;
    bsd_signal: SetHandler;
    ssignal: SetHandler;
    sysv_signal: SetHandler;
    __sysv_signal: SetHandler;
    sigset: SetHandler;
    sigignore: unsafe extern "C" fn(c_int) -> c_int;
    siginterrupt: unsafe extern "C" fn(c_int, c_int) -> c_int;
    execv: Exec;
    execvp: Exec;
    execve: ExecIn;
    execvpe: ExecIn;
    fexecve: unsafe extern "C" fn(c_int, Strings, Strings) -> c_int;
    execveat since 2 34: unsafe extern "C" fn(c_int, *const c_char, Strings, Strings, c_int) -> c_int;
    execl: unsafe extern "C" fn();
    execlp: unsafe extern "C" fn();
    execle: unsafe extern "C" fn();
    posix_spawn: Spawn;
    posix_spawnp: Spawn;
    popen: unsafe extern "C" fn(*const c_char, *const c_char) -> File;
    system: unsafe extern "C" fn(*const c_char) -> c_int;
}

/// The C library's sigaction(), for a library of ours to call.
pub(crate) fn sigaction_address() -> *mut c_void {
    statics::sigaction.address()
}

/// Runs when the library is loaded.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = find_all;
