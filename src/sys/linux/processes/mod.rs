//! Watching processes: a pidfd each (since 5.3), in the queue's set.
//!
//! A pidfd is readable from the end of the last thread on, for ever, whoever
//! reaps the process, and costs nothing before. Any process will do, also one
//! that /proc hides (hidepid). Where there is none, for want of the call or of
//! a descriptor, the core looks by the clock, and the process is known by its
//! number and the time it began.

pub(super) mod connector;
mod exit;

use super::descriptor::{Private, check, own};
use super::probe::poll_now;
use crate::errno::{Errno, Result};
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{Descriptor, Exit, Readiness, Watched};

/// The kernel does not know the call, or a filter forbids it.
static NO_PIDFD: AtomicBool = AtomicBool::new(cfg!(kqueue_no_pidfd));

/// What stands for a process.
#[derive(Debug)]
enum Handle {
    Pidfd(Private),
    /// When it began, in the clock ticks of /proc; 0 if that is hidden.
    Began(u64),
}

#[derive(Debug)]
enum Place {
    /// The next free place.
    Free(u32),
    Taken {
        pid: i32,
        handle: Handle,
    },
}

const NONE: u32 = u32::MAX;

/// The processes that a queue watches.
#[derive(Debug)]
pub(super) struct Processes {
    places: Vec<Place>,
    free: u32,
}

impl Processes {
    pub(super) const fn new() -> Processes {
        Processes { places: Vec::new(), free: NONE }
    }

    /// Takes in a process. `enter` puts its pidfd into the set.
    pub(super) fn watch(
        &mut self,
        pid: i32,
        enter: impl FnOnce(Descriptor) -> Result<()>,
    ) -> Result<Watched> {
        // The room first: then nothing is left to fail once it is in the set.
        self.places.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let handle = match open(pid) {
            Ok(pidfd) => {
                enter(pidfd.number())?;
                Handle::Pidfd(pidfd)
            }
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOSYS) => Handle::Began(exit::began(pid)?),
            Err(error) => return Err(error),
        };
        let wakes = matches!(handle, Handle::Pidfd(_));
        let taken = Place::Taken { pid, handle };
        let place = match self.places.get_mut(self.free as usize) {
            Some(place) => {
                let index = self.free;
                if let Place::Free(next) = core::mem::replace(place, taken) {
                    self.free = next;
                }
                index
            }
            None => {
                self.places.push(taken);
                self.places.len() as u32 - 1
            }
        };
        Ok(Watched { place, wakes })
    }

    /// Lets go of a process. `leave` takes its pidfd out of the set: to close
    /// it is not enough if a forked child has it too.
    pub(super) fn unwatch(&mut self, place: u32, leave: impl FnOnce(Descriptor)) {
        let Some(at) = self.places.get_mut(place as usize) else { return };
        if let Place::Taken { handle: Handle::Pidfd(pidfd), .. } = at {
            leave(pidfd.number());
        }
        *at = Place::Free(core::mem::replace(&mut self.free, place));
    }

    /// How one has ended, if it has.
    pub(super) fn exit(&self, place: u32) -> Result<Option<Exit>> {
        match self.places.get(place as usize) {
            Some(Place::Taken { pid, handle: Handle::Pidfd(pidfd) }) => {
                exit_by(pidfd.number(), Some(*pid))
            }
            Some(Place::Taken { pid, handle: Handle::Began(began) }) => {
                Ok(exit::by_number(*pid, *began))
            }
            _ => Err(Errno::ENOENT),
        }
    }

    pub(super) fn owns(&self, number: Descriptor) -> bool {
        self.places.iter().any(|place| {
            matches!(place, Place::Taken { handle: Handle::Pidfd(pidfd), .. }
                if pidfd.number() == number)
        })
    }

    /// In a forked child: closes the numbers, and gives no memory back. There
    /// can be thousands, and each fork pays: so it is the kernel that says
    /// whether a number is still of a process, not /proc.
    pub(super) fn disown(&mut self) {
        for place in &mut self.places {
            let was = core::mem::replace(place, Place::Free(NONE));
            if let Place::Taken { handle: Handle::Pidfd(pidfd), .. } = was {
                pidfd.close_if(|number| exit::signal(number) != Err(Errno::EBADF));
            }
        }
    }
}

/// How the process behind a pidfd has ended, if it has.
fn exit_by(pidfd: Descriptor, pid: Option<i32>) -> Result<Option<Exit>> {
    if poll_now(pidfd)?.has(Readiness::IN) {
        return Ok(Some(exit::by_pidfd(pidfd, pid)));
    }
    Ok(None)
}

/// ENOSYS: there is no such call here, so do without.
fn open(pid: i32) -> Result<Private> {
    if NO_PIDFD.load(Ordering::Relaxed) {
        return Err(Errno::ENOSYS);
    }
    // SAFETY: two integers in, a new descriptor (close-on-exec by itself) out.
    let opened = own(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as libc::c_int);
    match opened {
        Ok(fd) => Ok(Private::new(fd, b"anon_inode:[pidfd]")),
        // A thread that leads no process: EINVAL before 6.9. That can also be
        // a process that was reaped in this moment.
        Err(Errno::EINVAL | Errno::ENOENT) => Err(Errno::ESRCH),
        Err(Errno::ENOSYS | Errno::EPERM | Errno::ENODEV) => {
            NO_PIDFD.store(true, Ordering::Relaxed);
            Err(Errno::ENOSYS)
        }
        Err(error) => Err(error),
    }
}

/// The wait status, if the process behind a descriptor of the application's has
/// ended.
pub(super) fn exit_of(fd: Descriptor) -> Result<Option<Exit>> {
    if !poll_now(fd)?.has(Readiness::IN) {
        return Ok(None);
    }
    Ok(Some(exit::by_pidfd(fd, process_of(fd)?)))
}

/// The process behind a descriptor of the application's. EINVAL: there is none,
/// or a single thread (PIDFD_THREAD).
pub(super) fn process_of(fd: Descriptor) -> Result<Option<i32>> {
    // SAFETY: two integers.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    if flags & libc::O_EXCL != 0 {
        return Err(Errno::EINVAL);
    }
    let mut text = [0u8; 512];
    match super::descriptor::fdinfo(&mut text, fd) {
        Some(text) => {
            let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
            let pid = pid.ok_or(Errno::EINVAL)?.trim().parse::<i32>();
            // -1: it is reaped; 0: it is not of our pid namespace.
            Ok(pid.ok().filter(|pid| *pid > 0))
        }
        // Without /proc: a signal that is none is refused, as EBADF, by
        // whatever is no process.
        None => match exit::signal(fd) {
            Err(Errno::EBADF) => Err(Errno::EINVAL),
            _ => Ok(None),
        },
    }
}
