//! The library on the real system against the model of `common/model.rs`:
//! random changelists, calls, and things that happen to pipes, sockets and
//! files, through the functions that a C program calls.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "tests say what they expect by failing"
)]

#[path = "common/model.rs"]
mod model;
#[path = "common/trial.rs"]
mod trial;

use kqueue::capi;
use kqueue::event;
use model::{Kevent, Kind};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::ptr;
use trial::{NUMBERS, World};

/// Numbers of our own choice: above what is handed out as the lowest free one,
/// here and for the library's private descriptors, by other tests too.
const FIRST: RawFd = 800;

/// What is behind a number, apart from the number itself.
enum Peer {
    Writer(PipeWriter),
    Reader(#[allow(dead_code, reason = "held open")] PipeReader),
    Socket(UnixStream),
    /// The file through a description of its own; and its length.
    File(File, u64),
    Gone,
}

struct Real {
    queue: OwnedFd,
    first: RawFd,
    peers: [Option<Peer>; NUMBERS],
    /// Files whose number was closed. A file system may give a dead file's
    /// inode to the next one at once, and nothing else tells the two apart.
    closed: Vec<Peer>,
}

impl Real {
    fn new(first: RawFd) -> Real {
        let queue = capi::kqueue();
        assert!(queue >= 0);
        // SAFETY: a new descriptor, which nobody else holds.
        let queue = unsafe { OwnedFd::from_raw_fd(queue) };
        Real { queue, first, peers: [const { None }; NUMBERS], closed: Vec::new() }
    }

    fn number(&self, number: usize) -> RawFd {
        self.first + number as RawFd
    }

    fn keep(&mut self, number: usize) {
        if let Some(file @ Peer::File(..)) = self.peers[number].take() {
            self.closed.push(file);
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        for number in 0..NUMBERS {
            if self.peers[number].is_some() {
                self.close(number);
            }
        }
    }
}

/// Makes a number stand for what `fd` stands for, closing what it stood for.
fn place(fd: OwnedFd, number: RawFd) {
    // SAFETY: integers. The number is one of this test's own.
    let placed = unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) };
    assert_eq!(placed, number, "{}", io::Error::last_os_error());
}

impl World for Real {
    fn ident(&self, number: usize) -> usize {
        self.number(number) as usize
    }

    fn open(&mut self, number: usize, kind: Kind) {
        let (fd, peer): (OwnedFd, Peer) = match kind {
            Kind::Pipe => {
                let (reader, writer) = io::pipe().unwrap();
                (reader.into(), Peer::Writer(writer))
            }
            Kind::PipeWriter => {
                let (reader, writer) = io::pipe().unwrap();
                (writer.into(), Peer::Reader(reader))
            }
            Kind::Socket => {
                let (one, other) = UnixStream::pair().unwrap();
                (one.into(), Peer::Socket(other))
            }
            Kind::File => {
                let file = tempfile::NamedTempFile::new().unwrap();
                (file.reopen().unwrap().into(), Peer::File(file.into_file(), 0))
            }
        };
        place(fd, self.number(number));
        self.keep(number);
        self.peers[number] = Some(peer);
    }

    fn close(&mut self, number: usize) {
        // SAFETY: an integer; the number is one of this test's own.
        let closed = unsafe { libc::close(self.number(number)) };
        assert_eq!(closed, 0);
        self.keep(number);
    }

    fn put(&mut self, number: usize, bytes: usize) {
        let data = vec![b'x'; bytes];
        match self.peers[number].as_mut().unwrap() {
            Peer::Writer(writer) => writer.write_all(&data).unwrap(),
            Peer::Socket(socket) => socket.write_all(&data).unwrap(),
            Peer::File(file, length) => {
                file.write_all_at(&data, *length).unwrap();
                *length += bytes as u64;
            }
            Peer::Reader(_) | Peer::Gone => panic!("nothing can be sent there"),
        }
    }

    fn take(&mut self, number: usize, bytes: usize) {
        let mut data = vec![0u8; bytes];
        // SAFETY: as many bytes as there is room for.
        let read = unsafe { libc::read(self.number(number), data.as_mut_ptr().cast(), bytes) };
        assert_eq!(read, bytes as isize);
    }

    fn hang_up(&mut self, number: usize) {
        self.peers[number] = Some(Peer::Gone);
    }

    fn kevent(
        &mut self,
        changes: &[Kevent],
        room: usize,
        shared: bool,
    ) -> Result<Vec<Kevent>, i32> {
        let mut list: Vec<event::Kevent> = changes.iter().map(to_c).collect();
        let count = list.len() as i32;
        let mut events = vec![to_c(&GARBAGE); room];
        list.resize(list.len().max(room), to_c(&GARBAGE));
        let changelist = list.as_mut_ptr();
        let eventlist = if shared { changelist } else { events.as_mut_ptr() };
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both lists are as long as said, and live.
        let got = unsafe {
            capi::kevent(self.queue.as_raw_fd(), changelist, count, eventlist, room as i32, &now)
        };
        let Ok(got) = usize::try_from(got) else {
            return Err(io::Error::last_os_error().raw_os_error().unwrap());
        };
        let written = if shared { &list } else { &events };
        Ok(written[..got].iter().map(from_c).collect())
    }

    fn is_readable(&mut self) -> bool {
        let mut fd = libc::pollfd { fd: self.queue.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd.
        let ready = unsafe { libc::poll(&raw mut fd, 1, 0) };
        assert!(ready >= 0);
        ready == 1
    }
}

/// Must not be mistaken for an event.
const GARBAGE: Kevent =
    Kevent { ident: 77, filter: 77, flags: 77, fflags: 77, data: 77, udata: 77 };

fn to_c(kevent: &Kevent) -> event::Kevent {
    event::Kevent {
        ident: kevent.ident,
        filter: kevent.filter,
        flags: kevent.flags,
        fflags: kevent.fflags,
        data: kevent.data as isize,
        udata: ptr::without_provenance_mut(kevent.udata),
    }
}

fn from_c(kevent: &event::Kevent) -> Kevent {
    Kevent {
        ident: kevent.ident,
        filter: kevent.filter,
        flags: kevent.flags,
        fflags: kevent.fflags,
        data: kevent.data as i64,
        udata: kevent.udata.addr(),
    }
}

#[test]
fn what_once_was_wrong_is_right() {
    trial::play_known(|| Real::new(FIRST + NUMBERS as RawFd));
}

#[test]
fn the_library_does_what_the_model_says() {
    trial::play(512, || Real::new(FIRST));
}
