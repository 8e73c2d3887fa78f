//! The hook: a handler over the application's disposition, which counts the
//! signal, rings whoever counts it, and then does what the application wanted.
//!
//! Everything here is async-signal-safe. It makes system calls, reads and
//! writes atomics in static memory, and takes no lock, allocates nothing,
//! cannot panic and owns nothing: the application's handler, which it calls
//! last, may leave by siglongjmp, or end the thread. The one piece of
//! thread-local memory that is touched is the C library's errno, which every
//! thread has from its start.
//!
//! There are many hooks that differ in their number alone. Each stands for one
//! disposition that the application has had, because the application is shown
//! our hook where it asks for its own: when it sets another handler, it is
//! given a hook as the old one, and may put it back later, or call it from the
//! new handler. By its number the hook knows which of the application's
//! dispositions is meant.

use super::super::syscall::thread_id;
use super::kernel::{self, Action, DEFAULT, bit};
use super::mark;
use super::table::{self, HOOKS, Slot};
use core::ffi::{c_int, c_void};
use libc::siginfo_t;

pub(super) type Hook = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// Notes where the stack stood, which tells who calls, and goes on there.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[unsafe(naked)]
extern "C" fn hook<const N: usize>(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
    core::arch::naked_asm!(
        "mov rcx, rsp",
        "mov r8d, {number}",
        "jmp {arrived}",
        number = const N,
        arrived = sym arrived,
    )
}

#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
extern "C" fn hook<const N: usize>(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    arrived(signal, info, context, 0, N);
}

/// Is it the kernel that called, for certain? It puts the context on the stack,
/// right above the address to which the handler returns.
fn is_called_by_the_kernel(context: *const c_void, stack: usize) -> bool {
    context.addr() == stack.wrapping_add(size_of::<usize>())
}

macro_rules! hooks {
    ($($number:literal)*) => { [$(hook::<$number>),*] };
}

/// All hooks, by number. Their addresses are taken from here alone.
static ALL: [Hook; HOOKS] = hooks!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
    16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);

/// Which hook is this handler, if it is one?
pub(super) fn number(handler: usize) -> Option<usize> {
    ALL.iter().position(|hook| *hook as usize == handler)
}

/// The disposition by which a hook lies over one of the application's: the
/// application's mask and flags, so that its handler runs as if called by the
/// kernel.
pub(super) fn over(wanted: &Action, number: usize) -> Option<Action> {
    let handler = *ALL.get(number)? as usize;
    let Action { flags, mask, .. } = *wanted;
    Some(match wanted.handler {
        // Natively no system call is interrupted, nothing runs on the stack
        // in use, and children that end are (not) told of as before.
        libc::SIG_DFL | libc::SIG_IGN => {
            let children = flags & (libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT);
            let flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK | children;
            Action { handler, flags, mask: 0 }
        }
        // Its being reset after one signal is ours to do: the kernel would
        // take the hook away.
        _ => {
            let flags = (flags | libc::SA_SIGINFO) & !libc::SA_RESETHAND;
            Action { handler, flags, mask }
        }
    })
}

/// A signal, or a call of the application's.
extern "C" fn arrived(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
    stack: usize,
    number: usize,
) {
    let errno = nix::Error::last_raw();
    let Some(slot) = table::slot(signal) else { return };
    // A forked child has the counts and the numbers of its parent's queues,
    // and one made by vfork() even shares them.
    let ours = table::owner() == kernel::process_id();
    let expected = ours && slot.current() == Some(number);
    // The hook that lies over the signal, as far as we know; or one that the
    // application put back. Otherwise a handler of the application's, to which
    // it was given as the old one, calls it: then the signal has been counted,
    // or came before the hook did. Unless the kernel had called this one already
    // when another thread laid the next over the signal.
    let is_over = expected || is_over(signal, number);
    let arrived = is_over || is_called_by_the_kernel(context, stack);
    let handler = (ours && arrived).then(thread_id);
    if let Some(thread) = handler {
        if is_over {
            slot.put_back(number);
        }
        slot.begin_handling(thread);
        slot.count_one(None);
    }
    let wanted = if is_over && slot.is_for_one(number) {
        slot.reset(signal, number, ours)
    } else {
        slot.wanted(number)
    };
    match wanted.handler {
        libc::SIG_DFL | libc::SIG_IGN => {
            let frame = Frame { number, signal, info, context, stack, ours };
            act(slot, &frame, wanted.handler == libc::SIG_IGN);
            nix::Error::set_raw(errno);
        }
        handler => {
            if ours {
                mark::handled();
            }
            // What the handler does to errno is the application's affair.
            nix::Error::set_raw(errno);
            call(handler, wanted.flags, signal, info, context);
        }
    }
    if let Some(thread) = handler {
        slot.end_handling(thread);
    }
}

/// Does the kernel call this very hook for the signal?
fn is_over(signal: c_int, number: usize) -> bool {
    let there = kernel::action(signal);
    there.is_ok_and(|there| self::number(there.handler) == Some(number))
}

fn call(handler: usize, flags: c_int, signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let handler = core::ptr::without_provenance::<c_void>(handler);
    if flags & libc::SA_SIGINFO != 0 {
        // SAFETY: the application gave this function for such a handler.
        let handler = unsafe { core::mem::transmute::<*const c_void, Hook>(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: as above, for one of the plain kind.
        let handler =
            unsafe { core::mem::transmute::<*const c_void, extern "C" fn(c_int)>(handler) };
        handler(signal);
    }
}

/// What the handler was called with.
struct Frame {
    number: usize,
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
    stack: usize,
    ours: bool,
}

impl Frame {
    /// The kernel puts both on the stack, right above the first handler's
    /// frame. A handler of the plain kind that calls a hook passes on what
    /// happens to be in the registers, which must not be followed.
    fn is_believable(&self, pointer: *const u8) -> bool {
        const NEAR: usize = 1 << 16;
        let here = 0u8;
        let above = pointer.addr().wrapping_sub((&raw const here).addr());
        above < NEAR && pointer.addr().is_multiple_of(8)
    }

    /// Was it called by the kernel, and not by a handler of the application's?
    /// One that finds SIG_DFL or SIG_IGN as the old disposition does not call
    /// it; nor does it mean what these stand for if it finds a hook.
    fn is_the_kernels(&self) -> bool {
        is_called_by_the_kernel(self.context, self.stack) || is_over(self.signal, self.number)
    }

    /// Did the running instruction itself cause the signal? The code says why.
    fn fault(&self) -> Option<c_int> {
        if !self.is_believable(self.info.cast()) {
            return None;
        }
        // SAFETY: the kernel's, alive while the handler runs.
        let code = unsafe { (*self.info).si_code };
        (code > 0).then_some(code)
    }

    /// Was the thread inside a system call that the signal ended? If not, it
    /// was no wait that was interrupted.
    fn ended_a_call(&self) -> bool {
        self.is_believable(self.context.cast())
            && returned(self.context.cast()).is_none_or(|value| value == -i64::from(libc::EINTR))
    }
}

/// What a system call that was interrupted is about to return.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
fn returned(context: *const libc::ucontext_t) -> Option<i64> {
    /// The place of RAX, the same for every C library.
    const RAX: usize = 13;
    // SAFETY: the kernel's, alive while the handler runs.
    let registers = unsafe { &(*context).uc_mcontext.gregs };
    registers.get(RAX).copied()
}

#[cfg(target_arch = "aarch64")]
fn returned(context: *const libc::ucontext_t) -> Option<i64> {
    // SAFETY: the kernel's, alive while the handler runs.
    let registers = unsafe { &(*context).uc_mcontext.regs };
    registers.first().map(|value| *value as i64)
}

/// Elsewhere nobody looks: any interruption may have ended a wait.
#[cfg(not(any(
    all(target_arch = "x86_64", target_pointer_width = "64"),
    target_arch = "aarch64"
)))]
fn returned(_context: *const libc::ucontext_t) -> Option<i64> {
    None
}

/// Does nothing, as the application wanted, or what the system does.
fn act(slot: &Slot, frame: &Frame, ignores: bool) {
    match frame.signal {
        // Not even a program that ignores these survives its own fault. The
        // instruction runs again and meets the default action, so a dump shows
        // where it was. (But for memory that failed behind its back.)
        libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE
            if frame.fault().is_some_and(|code| code != BUS_MCEERR_AO) =>
        {
            if frame.is_the_kernels() {
                let _ = kernel::set_action(frame.signal, &DEFAULT);
            }
        }
        // After these the instruction would not run again.
        libc::SIGTRAP | libc::SIGSYS if frame.fault().is_some() => strike(slot, frame),
        // By default nothing happens.
        libc::SIGCHLD | libc::SIGCONT | libc::SIGURG | libc::SIGWINCH => ignore(frame),
        _ if ignores => ignore(frame),
        _ => strike(slot, frame),
    }
}

const BUS_MCEERR_AO: c_int = 5;

/// Only a system call that was ended is worth the question who called.
fn ignore(frame: &Frame) {
    if frame.ours && frame.ended_a_call() && frame.is_the_kernels() {
        mark::ignored();
    }
}

/// Lets the default action happen by the true signal: the process ends by it,
/// or stops.
///
/// Meanwhile every other signal waits, so no handler can leave this frame by
/// longjmp, and the next look after the hooks (see `ledger`) passes this one by.
fn strike(slot: &Slot, frame: &Frame) {
    let signal = frame.signal;
    if !frame.is_the_kernels() {
        return;
    }
    if frame.ours {
        slot.strikes(true);
    }
    let mask = kernel::set_mask(!bit(signal));
    let was = kernel::set_action(signal, &DEFAULT);
    kernel::send_to_myself(signal);
    // Still here: it was stopped, and goes on; or it is the first process of
    // its kind, which no default action ends.
    if let (Ok(was), Ok(there)) = (was, kernel::action(signal))
        && there.handler == libc::SIG_DFL
    {
        let _ = kernel::set_action(signal, &was);
    }
    if frame.ours {
        slot.strikes(false);
    }
    kernel::set_mask(mask);
}
