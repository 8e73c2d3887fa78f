//! Mounts that come and go: /proc/self/mountinfo, which polls as urgent when
//! the list has changed.
//!
//! Polling takes the change, for this open file: whoever polls the queue from
//! outside polls what hangs in its set, and takes the news from the thread that
//! is to wake. So three opens serve a queue. Two hang in the set; one poll of
//! it stops at the first, so the second still wakes a waiter. The third is
//! polled by nobody else, and a call asks it before it sleeps.
//!
//! The kernel says only that something has changed. What, shows by comparing
//! the list with the last one: each mount is a hash of its id, its parent, its
//! device, what of it is mounted, and where; ids alone are given out again at
//! once. A remount changes none of these.

use super::descriptor::Private;
use super::epoll;
use super::syscall;
use crate::errno::{Errno, Result};
use crate::sys::contract::{Descriptor, Mounts, Token};

#[derive(Debug)]
struct Opens {
    wakers: [Private; 2],
    private: Private,
}

#[derive(Debug)]
pub(super) struct MountTable {
    opens: Option<Opens>,
    /// Each with the counts that it began with.
    watchers: Vec<(Token, Mounts)>,
    /// The mounts as last read, in order; and room for the next reading.
    mounts: Vec<u64>,
    reading: Vec<u64>,
    counts: Mounts,
    /// A change was taken from the kernel and could not be read yet.
    stale: bool,
    /// The counts have changed, and the watchers were not hinted at.
    untold: bool,
}

/// How far the telling of all watchers has come.
pub(super) struct Telling(usize);

impl Telling {
    pub(super) const NOTHING: Telling = Telling(usize::MAX);
}

/// A list that changes while it is read is read again, so often at most in one
/// look.
const READINGS: usize = 8;

impl MountTable {
    pub(super) const fn new() -> MountTable {
        MountTable {
            opens: None,
            watchers: Vec::new(),
            mounts: Vec::new(),
            reading: Vec::new(),
            counts: Mounts { mounted: 0, unmounted: 0 },
            stale: false,
            untold: false,
        }
    }

    /// Takes in a watcher, which is told from here on; the set is for the
    /// wakers, which are made for the first.
    pub(super) fn watch(&mut self, token: Token, set: Descriptor, data: u64) -> Result<Mounts> {
        self.watchers.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        if self.opens.is_some() {
            // What has happened by now concerns the others alone.
            self.look()?;
        } else {
            self.open(set, data)?;
        }
        self.watchers.push((token, self.counts));
        Ok(self.counts)
    }

    /// The last one closes.
    pub(super) fn unwatch(&mut self, token: Token) {
        self.watchers.retain(|(watcher, _)| *watcher != token);
        if self.watchers.is_empty() {
            *self = MountTable { counts: self.counts, ..MountTable::new() };
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        self.opens.is_some()
    }

    /// Opens again what the program has closed. What has changed meanwhile shows
    /// by comparison.
    pub(super) fn mend(&mut self, set: Result<Descriptor>, data: u64) -> Result<()> {
        if self.opens.as_ref().is_some_and(|opens| !opens.are_ours()) {
            self.opens = Some(Opens::new(set?, data)?);
            self.stale = true;
        }
        Ok(())
    }

    fn open(&mut self, set: Descriptor, data: u64) -> Result<()> {
        let opens = self.opens.insert(Opens::new(set, data)?);
        if let Err(error) = read(&opens.private, &mut self.mounts) {
            *self = MountTable { counts: self.counts, ..MountTable::new() };
            return Err(error);
        }
        Ok(())
    }

    /// What is in the set.
    pub(super) fn wakers(&self) -> [Option<Descriptor>; 2] {
        let numbers = self.opens.as_ref().map(Opens::numbers_of_wakers);
        numbers.map_or([None; 2], |numbers| numbers.map(Some))
    }

    /// How many changes there have been up to now.
    pub(super) fn counts(&mut self) -> Result<Mounts> {
        self.look()?;
        Ok(self.counts)
    }

    /// Looks whether the list has changed, and in which way. The wakers are
    /// left as they are: who finds one tells of it.
    pub(super) fn look(&mut self) -> Result<()> {
        let Some(opens) = &self.opens else { return Ok(()) };
        // The poll takes the change. From there until the list has been
        // compared it is known here alone, whatever fails.
        self.stale = self.stale || stirs([opens.private.number()])?;
        if !self.stale {
            return Ok(());
        }
        for _ in 0..READINGS {
            if let Err(error) = read(&opens.private, &mut self.reading) {
                return Err(if error.passes() { error } else { Errno::EIO });
            }
            // If it changed as it was read, it may have been read by halves.
            self.stale = stirs([opens.private.number()])?;
            if !self.stale {
                break;
            }
        }
        self.compare();
        Ok(())
    }

    /// Counts what the new reading has and the last had not, and the reverse.
    fn compare(&mut self) {
        let lacks = |list: &[u64], mounts: &[u64]| {
            mounts.iter().any(|mount| list.binary_search(mount).is_err())
        };
        let (mounted, unmounted) =
            (lacks(&self.mounts, &self.reading), lacks(&self.reading, &self.mounts));
        self.counts.mounted = self.counts.mounted.wrapping_add(u32::from(mounted));
        self.counts.unmounted = self.counts.unmounted.wrapping_add(u32::from(unmounted));
        self.untold |= mounted || unmounted;
        core::mem::swap(&mut self.mounts, &mut self.reading);
    }

    /// Begins to tell the watchers, if there is something new to them.
    pub(super) fn tell(&mut self, telling: &mut Telling) -> bool {
        if !self.untold {
            return false;
        }
        // The wakers have done their part, or else they would still do it. What
        // has changed by the time they are silenced is looked for once more;
        // what changes later stirs them again. If either cannot be had now, a
        // waker wakes for nothing, or the next call looks.
        if let Some(opens) = &self.opens {
            let _ = stirs(opens.numbers_of_wakers());
        }
        let _ = self.look();
        self.untold = false;
        *telling = Telling(0);
        true
    }

    /// The next of the watchers to be hinted at.
    pub(super) fn next(&self, telling: &mut Telling) -> Option<Token> {
        while let Some((token, start)) = self.watchers.get(telling.0) {
            telling.0 += 1;
            // To one that came after the change it is no news.
            if *start != self.counts {
                return Some(*token);
            }
        }
        *telling = Telling::NOTHING;
        None
    }
}

impl Opens {
    fn new(set: Descriptor, data: u64) -> Result<Opens> {
        let opens = Opens { wakers: [open()?, open()?], private: open()? };
        for waker in &opens.wakers {
            epoll::add(set, waker.number(), libc::EPOLLPRI as u32, data)?;
        }
        Ok(opens)
    }

    fn are_ours(&self) -> bool {
        self.private.is_ours() && self.wakers.iter().all(Private::is_ours)
    }

    /// -1, which poll() passes over, for one that is somebody else's by now.
    fn numbers_of_wakers(&self) -> [Descriptor; 2] {
        let number = |waker: &Private| if waker.is_ours() { waker.number() } else { -1 };
        let [first, second] = &self.wakers;
        [number(first), number(second)]
    }
}

/// The mounts that the calling thread sees: each thread can have its own.
fn open() -> Result<Private> {
    match Private::new(|| syscall::open(c"/proc/thread-self/mountinfo")) {
        Ok(file) => Ok(file),
        Err(error @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EINTR)) => Err(error),
        // No /proc, or one that hides it.
        Err(_) => Err(Errno::ENOTSUP),
    }
}

/// Has the list changed since one of these was last polled? All are polled.
fn stirs<const N: usize>(numbers: [Descriptor; N]) -> Result<bool> {
    let mut watched = numbers.map(|fd| libc::pollfd { fd, events: libc::POLLPRI, revents: 0 });
    syscall::poll_now(&mut watched)?;
    Ok(watched.iter().any(|watched| watched.revents & libc::POLLPRI != 0))
}

/// Reads the list, and sorts it.
fn read(file: &Private, mounts: &mut Vec<u64>) -> Result<()> {
    mounts.clear();
    let mut line = Line::new();
    let mut bytes = [0u8; 2048];
    let mut offset = 0;
    loop {
        // By its place, not with a read of its own: should the number be a
        // stranger's by now, nothing is taken from a pipe or a socket.
        let count = match syscall::read_at(file.number(), &mut bytes, offset) {
            Err(Errno::EINTR) => continue,
            Ok(0) => break,
            count => count?,
        };
        offset += count;
        for byte in bytes.get(..count).unwrap_or_default() {
            if let Some(mount) = line.take(*byte) {
                mounts.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                mounts.push(mount);
            }
        }
    }
    mounts.sort_unstable();
    Ok(())
}

/// A line of mountinfo as it passes: "36 35 98:0 /mnt1 /mnt2 rw,noatime ...".
/// A blank in a name is written as \040.
struct Line {
    /// FNV-1a, 64 bits.
    hash: u64,
    field: u32,
}

impl Line {
    /// Id, parent, device, root, place: what comes behind can be changed.
    const FIELDS: u32 = 5;

    const fn new() -> Line {
        Line { hash: 0xcbf2_9ce4_8422_2325, field: 0 }
    }

    /// Takes the next byte; at the end of a line, what it amounts to.
    fn take(&mut self, byte: u8) -> Option<u64> {
        if byte == b'\n' {
            return Some(core::mem::replace(self, Line::new()).hash);
        }
        if self.field < Line::FIELDS {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            self.field += u32::from(byte == b' ');
        }
        None
    }
}
