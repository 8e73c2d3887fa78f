//! The C library's own functions, found behind ours.
//!
//! They are looked for when the library is loaded, for dlsym() is not
//! async-signal-safe. What is called before that, by the constructors of
//! others, is looked for then.

use core::ffi::{CStr, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// A function that may not be there.
#[derive(Debug)]
pub(crate) struct Real {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

/// Looked for and not there.
const NOWHERE: *mut c_void = ptr::without_provenance_mut(1);

impl Real {
    pub(crate) const fn new(name: &'static CStr) -> Real {
        Real { name, found: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Null: the C library has none.
    #[inline]
    pub(crate) fn address(&self) -> *mut c_void {
        match self.found.load(Ordering::Relaxed) {
            NOWHERE => ptr::null_mut(),
            found if found.is_null() => self.look(),
            found => found,
        }
    }

    #[cold]
    fn look(&self) -> *mut c_void {
        // SAFETY: a name that ends in NUL.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        if found.is_null() {
            // That it is not there is no error of the program's.
            // SAFETY: no arguments; the text is not looked at.
            unsafe { libc::dlerror() };
        }
        self.found.store(if found.is_null() { NOWHERE } else { found }, Ordering::Relaxed);
        found
    }
}

/// Declares functions of the C library by name and type: each is a function
/// here that returns it, if it is there.
macro_rules! real {
    ($($name:ident: $type:ty;)*) => {
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
            use super::Real;
            $(pub(super) static $name: Real = match CStr::from_bytes_with_nul(
                concat!(stringify!($name), "\0").as_bytes(),
            ) {
                Ok(name) => Real::new(name),
                Err(_) => Real::new(c""),
            };)*
            use core::ffi::CStr;
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
    close_range: unsafe extern "C" fn(c_uint, c_uint, c_int) -> c_int;
    closefrom: unsafe extern "C" fn(c_int);
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
    execveat: unsafe extern "C" fn(c_int, *const c_char, Strings, Strings, c_int) -> c_int;
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
