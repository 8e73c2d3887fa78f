//! Threads that do not come back from a wait.
//!
//! A thread that is cancelled, or whose signal handler leaves by longjmp, may
//! have taken what the kernel had for it by then: the kernel hands out an edge
//! once. So a call is left behind for that moment, on the C library's list of
//! clean-ups, where glibc finds it both when a thread ends and when a longjmp
//! passes the frame by. musl's longjmp() does not look there, and its list would
//! lead into frames that are gone; but there a call that has found something is
//! not cancelled any more. So nothing is left behind but with glibc.

#[cfg(target_env = "gnu")]
use core::ffi::{c_int, c_void};

/// As `struct _pthread_cleanup_buffer` of <pthread.h>.
#[cfg(target_env = "gnu")]
#[repr(C)]
struct Buffer {
    routine: Option<extern "C" fn(*mut c_void)>,
    argument: *mut c_void,
    cancel_type: c_int,
    previous: *mut Buffer,
}

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    fn _pthread_cleanup_push(
        buffer: *mut Buffer,
        routine: extern "C" fn(*mut c_void),
        argument: *mut c_void,
    );
    fn _pthread_cleanup_pop(buffer: *mut Buffer, execute: c_int);
}

/// Calls `stay` with the state, and `left` if `stay` is not come back from. What
/// `left` may do is what a signal handler may, that has interrupted `stay`.
#[inline]
pub(super) fn unless_left<S, R>(
    state: &mut S,
    left: fn(&mut S),
    stay: impl FnOnce(&mut S) -> R,
) -> R {
    #[cfg(target_env = "gnu")]
    {
        let mut task = Task { state, left };
        let mut buffer = Buffer {
            routine: None,
            argument: core::ptr::null_mut(),
            cancel_type: 0,
            previous: core::ptr::null_mut(),
        };
        let argument = (&raw mut task).cast::<c_void>();
        let buffer = &raw mut buffer;
        // SAFETY: buffer and task live, at their places, until the pop below;
        // who leaves without it makes the C library call the routine and
        // forget the buffer.
        unsafe { _pthread_cleanup_push(buffer, clean_up::<S>, argument) };
        // SAFETY: the task is the argument of nothing else that runs now.
        let result = stay(unsafe { &mut *(*argument.cast::<Task<'_, S>>()).state });
        // SAFETY: the last one pushed, and not called.
        unsafe { _pthread_cleanup_pop(buffer, 0) };
        result
    }
    #[cfg(not(target_env = "gnu"))]
    {
        let _ = left;
        stay(state)
    }
}

#[cfg(target_env = "gnu")]
struct Task<'a, S> {
    state: &'a mut S,
    left: fn(&mut S),
}

#[cfg(target_env = "gnu")]
extern "C" fn clean_up<S>(argument: *mut c_void) {
    // SAFETY: the task of `unless_left`, whose frame is not gone yet, and whose
    // `stay` is not returned to.
    let task = unsafe { &mut *argument.cast::<Task<'_, S>>() };
    (task.left)(task.state);
}
