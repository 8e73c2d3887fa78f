//! Watching processes: a pidfd each (since 5.3), in the queue's set.
//!
//! A pidfd is readable from the end of the last thread on, for ever, whoever
//! reaps the process, and costs nothing before. Any process will do, also one
//! that /proc hides (hidepid). Where there is none, for want of the call or of
//! a descriptor, the core looks by the clock, and the process is known by its
//! number and the time it began. On a system that has no pidfds a child is
//! looked at when SIGCHLD comes, too.

pub(super) mod connector;
mod exit;

use super::descriptor::Private;
use super::knocker::Knock;
use super::probe::poll_now;
use super::proc::fdinfo;
use super::signals::Ear;
use super::syscall::{check, own};
use crate::errno::{Errno, Result};
use crate::sync::{AtomicBool, Ordering};
use crate::sys::contract::{Descriptor, Exit, Readiness, Token, Watched};

/// The kernel does not know the call, or a filter forbids it.
static NO_PIDFD: AtomicBool = AtomicBool::new(cfg!(kqueue_no_pidfd));

/// What stands for a process.
#[derive(Debug)]
enum Handle {
    Pidfd(Private),
    /// When it began, in the clock ticks of /proc; 0 if that is hidden. With a
    /// token if it is a child that SIGCHLD is to tell of.
    Began(u64, Option<Token>),
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
    /// How many of them SIGCHLD is to tell of, and what hears it.
    children: u32,
    ear: Option<Ear>,
}

/// How far the children have been gone through for hints.
#[derive(Copy, Clone, Debug)]
pub(super) struct Walk(usize);

impl Walk {
    pub(super) const DONE: Walk = Walk(usize::MAX);
    const BEGIN: Walk = Walk(0);
}

impl Processes {
    pub(super) const fn new() -> Processes {
        Processes { places: Vec::new(), free: NONE, children: 0, ear: None }
    }

    /// Takes in a process. `enter` puts its pidfd into the set.
    pub(super) fn watch(
        &mut self,
        pid: i32,
        token: Token,
        enter: impl FnOnce(Descriptor) -> Result<()>,
    ) -> Result<Watched> {
        // The room first: then nothing is left to fail once it is in the set.
        self.places.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let handle = match open(pid) {
            Ok(pidfd) => {
                enter(pidfd.number())?;
                Handle::Pidfd(pidfd)
            }
            Err(Errno::EMFILE | Errno::ENFILE) => Handle::Began(exit::began(pid)?, None),
            Err(Errno::ENOSYS) => {
                let began = exit::began(pid)?;
                Handle::Began(began, exit::is_child(pid).then_some(token))
            }
            Err(error) => return Err(error),
        };
        let wakes = matches!(handle, Handle::Pidfd(_));
        self.children += u32::from(matches!(handle, Handle::Began(_, Some(_))));
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
    pub(super) fn unwatch(&mut self, place: u32, leave: impl FnOnce(&Private)) {
        let Some(at) = self.places.get_mut(place as usize) else { return };
        match at {
            Place::Taken { handle: Handle::Pidfd(pidfd), .. } => leave(pidfd),
            Place::Taken { handle: Handle::Began(_, Some(_)), .. } => self.children -= 1,
            _ => {}
        }
        *at = Place::Free(core::mem::replace(&mut self.free, place));
        if self.children == 0
            && let Some(ear) = self.ear.take()
        {
            ear.close();
        }
    }

    /// What of a process is in the set.
    pub(super) fn pidfd(&self, place: u32) -> Option<Descriptor> {
        match self.places.get(place as usize) {
            Some(Place::Taken { handle: Handle::Pidfd(pidfd), .. }) => Some(pidfd.number()),
            _ => None,
        }
    }

    pub(super) fn listens(&self) -> bool {
        self.ear.is_some()
    }

    /// Is there a child that SIGCHLD should tell of, and nobody who hears it?
    pub(super) fn is_deaf(&self) -> bool {
        self.children > 0 && self.ear.is_none()
    }

    /// Listens for SIGCHLD. If that cannot be had, the clock has to do.
    pub(super) fn listen(&mut self, knock: Knock) {
        self.ear = Ear::new(libc::SIGCHLD, knock).ok();
    }

    /// It knocked. Perhaps it was SIGCHLD: then all children may have ended,
    /// for one signal can stand for many.
    pub(super) fn knocked(&mut self) -> Walk {
        let heard = self.ear.as_mut().is_some_and(Ear::has_heard);
        if heard { Walk::BEGIN } else { Walk::DONE }
    }

    /// The next child to look at.
    pub(super) fn next(&self, walk: &mut Walk) -> Option<Token> {
        while let Some(place) = self.places.get(walk.0) {
            walk.0 += 1;
            if let Place::Taken { handle: Handle::Began(_, Some(token)), .. } = place {
                return Some(*token);
            }
        }
        *walk = Walk::DONE;
        None
    }

    /// Gives everything back.
    pub(super) fn retire(&mut self) {
        if let Some(ear) = self.ear.take() {
            ear.close();
        }
        *self = Processes::new();
    }

    /// How one has ended, if it has.
    pub(super) fn exit(&self, place: u32) -> Result<Option<Exit>> {
        match self.places.get(place as usize) {
            // One that the program has closed may be another's pidfd by now.
            Some(Place::Taken { pid, handle: Handle::Pidfd(pidfd) }) if pidfd.is_ours() => {
                exit_by(pidfd.number(), Some(*pid))
            }
            Some(Place::Taken { pid, handle: Handle::Pidfd(_) }) => Ok(exit::by_number(*pid, 0)),
            Some(Place::Taken { pid, handle: Handle::Began(began, _) }) => {
                Ok(exit::by_number(*pid, *began))
            }
            _ => Err(Errno::ENOENT),
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
    let make = || own(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as libc::c_int);
    match Private::new(make) {
        Ok(pidfd) => Ok(pidfd),
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
    match fdinfo(&mut text, fd) {
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
