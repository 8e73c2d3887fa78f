//! With what status a process has ended, without reaping it.
//!
//! No one call tells of every process. In this order: waitid(), which leaves
//! the zombie as it is, for children; /proc/PID/stat, for zombies of the same
//! user; PIDFD_GET_INFO (since 6.15), for whatever has been reaped.

use super::super::proc::Reading;
use super::super::syscall::{check, clock};
use crate::errno::{Errno, Result};
use crate::sys::contract::{Descriptor, Exit};
use std::io::Write;

/// Of a process that has ended, by a descriptor of it.
pub(super) fn by_pidfd(pidfd: Descriptor, pid: Option<i32>) -> Exit {
    let waited = match wait(libc::P_PIDFD, pidfd) {
        // Before 5.4 waitid() does not know the descriptor.
        Err(Errno::EINVAL) => pid.and_then(|pid| wait(libc::P_PID, pid).ok()).flatten(),
        waited => waited.ok().flatten(),
    };
    let of_zombie = || {
        let stat = open_stat(pid?)?;
        // What was opened is this process if it has not been reaped since: only
        // then its number is another's. Reading fails if it has been by now.
        match signal(pidfd) {
            Err(Errno::ESRCH) => None,
            _ => read_stat(&stat)?.status(),
        }
    };
    waited.or_else(of_zombie).or_else(|| reaped(pidfd)).map_or(Exit::Hidden, Exit::Status)
}

/// Of a process that has perhaps ended, by its number and when it began.
pub(super) fn by_number(pid: i32, began: u64) -> Option<Exit> {
    if let Ok(Some(status)) = wait(libc::P_PID, pid) {
        return Some(Exit::Status(status));
    }
    match open_stat(pid).and_then(|file| read_stat(&file)) {
        // The number is another's.
        Some(stat) if began != 0 && stat.began != began => Some(Exit::Hidden),
        Some(stat) if !stat.ended => None,
        Some(stat) => Some(stat.status().map_or(Exit::Hidden, Exit::Status)),
        // Gone, or out of sight.
        None => (!exists(pid)).then_some(Exit::Hidden),
    }
}

/// Is it a child of this process, so that its end sends a signal?
pub(super) fn is_child(pid: i32) -> bool {
    wait(libc::P_PID, pid).is_ok()
}

/// When a process began, by /proc; 0 if that does not tell.
pub(super) fn began(pid: i32) -> Result<u64> {
    let began = open_stat(pid).and_then(|file| read_stat(&file)).map_or(0, |stat| stat.began);
    if exists(pid) { Ok(began) } else { Err(Errno::ESRCH) }
}

/// Did the process with this number begin after this moment of the clock that
/// stands still while the system sleeps? Not, if nobody tells.
pub(super) fn began_after(pid: i32, at: u64) -> bool {
    let Some(stat) = open_stat(pid).and_then(|file| read_stat(&file)) else { return false };
    // SAFETY: no memory is involved.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let tick = 1_000_000_000 / u64::try_from(ticks).unwrap_or(100).max(1);
    // The kernel counts by the clock that goes on.
    let asleep = clock(libc::CLOCK_BOOTTIME).saturating_sub(clock(libc::CLOCK_MONOTONIC));
    stat.began.saturating_mul(tick) > at.saturating_add(asleep).saturating_add(tick)
}

/// Is there a process, be it a zombie, with this number? A thread that leads
/// none does not count.
fn exists(pid: i32) -> bool {
    // SAFETY: three integers. No signal is sent.
    let asked = unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, 0) };
    check(asked as libc::c_int) != Err(Errno::ESRCH)
}

/// Sends no signal through a pidfd, to learn whether one could be sent. ESRCH:
/// the process has been reaped. EBADF: that is no pidfd.
pub(super) fn signal(pidfd: Descriptor) -> Result<()> {
    let none = core::ptr::null::<libc::siginfo_t>();
    // SAFETY: integers, and a null pointer, which the call allows.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, 0, none, 0) };
    check(sent as libc::c_int).map(|_| ())
}

/// Asks for the status of a child, whatever its parent is told at its end;
/// `None`: it has not ended. The zombie stays.
fn wait(kind: libc::idtype_t, which: i32) -> Result<Option<i32>> {
    // SAFETY: integers alone; zero is a value of each.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    let no_usage = core::ptr::null_mut::<libc::rusage>();
    // SAFETY: the kernel writes one siginfo_t. (libc's waitid() is a cancellation
    // point, and the queue's lock is held.)
    let asked =
        unsafe { libc::syscall(libc::SYS_waitid, kind, which, &raw mut info, options, no_usage) };
    check(asked as libc::c_int)?;
    // SAFETY: waitid() fills in what a SIGCHLD has, or leaves zeros.
    let (pid, code) = (unsafe { info.si_pid() }, info.si_code);
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    Ok(Some(match code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    }))
}

/// What is needed of /proc/PID/stat.
struct Stat {
    /// It is a zombie.
    ended: bool,
    code: i32,
    began: u64,
}

impl Stat {
    /// The status of a zombie; 0 also stands for one that is not for us to
    /// know.
    fn status(&self) -> Option<i32> {
        (self.ended && self.code != 0).then_some(self.code)
    }
}

fn open_stat(pid: i32) -> Option<Reading> {
    let mut path = [0u8; 32];
    write!(&mut path[..], "/proc/{pid}/stat\0").ok()?;
    let path = core::ffi::CStr::from_bytes_until_nul(&path).ok()?;
    Reading::open(path).ok()
}

fn read_stat(file: &Reading) -> Option<Stat> {
    let mut text = [0u8; 1024];
    let text = file.read(&mut text).ok()?;
    // The second field is the program's name in parentheses, which may hold
    // anything; the state is the third, and the first of the rest.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = core::str::from_utf8(text.get(end + 1..)?).ok()?;
    let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3);
    // The first thread alone may have ended, with others left.
    let ended = matches!(field(3)?, "Z" | "X" | "x") && matches!(field(20)?, "0" | "1");
    Some(Stat { ended, code: field(52)?.parse().ok()?, began: field(22)?.parse().ok()? })
}

/// `struct pidfd_info` as of 6.13.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    /// Process, group and parent; the users and groups.
    ids: [u32; 11],
    exit_code: i32,
}

/// The status is there.
const INFO_EXIT: u64 = 1 << 3;

/// The status of a process that has been reaped, by anybody.
fn reaped(pidfd: Descriptor) -> Option<i32> {
    let mut info = Info { mask: INFO_EXIT, ..Info::default() };
    let request = libc::_IOWR::<Info>(0xff, 11);
    // SAFETY: the kernel reads and writes one structure of the size that the
    // request names.
    let asked = check(unsafe { libc::ioctl(pidfd, request, &raw mut info) });
    (asked.is_ok() && info.mask & INFO_EXIT != 0).then_some(info.exit_code)
}
