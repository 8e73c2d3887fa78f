//! Asking a descriptor about itself.
//!
//! One system call for the number that BSD promises in `data` and no other on
//! the common path: what kind of thing a descriptor is, is learnt at its first
//! event and kept in the source's notes.
//!
//! Nothing here reads SO_ERROR. Reading takes the error away, and the program
//! that asks after a refused connect() would be told success. What poll, the
//! TCP state and the history of the watch tell is enough to name it.

use super::epoll::readiness;
use super::proc::{EPOLL_NAME, fdinfo, file_name};
use super::syscall::{self, ask_int, ask_option, lend};
use crate::errno::{Errno, Result};
use crate::sys::contract::{Class, Descriptor, Readiness, Sample, Side, Source};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{Whence, lseek};

/// What is known of a pollable descriptor: the low byte of `Source::notes`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Tcp,
    UnixStream,
    /// A connection of another family or type, AF_UNIX seqpacket included.
    OtherConnection,
    Datagram,
    TcpListener,
    OtherListener,
    Pipe,
    /// The end of a pipe that cannot do what is watched.
    WrongEnd,
    /// Counts bytes by FIONREAD, if at all: terminals, inotify, devices.
    Bytes,
    EventFd,
    /// Readiness is all it has: timerfd, signalfd, pidfd.
    Plain,
    Queue,
}

const KIND_MASK: u32 = 0xff;

/// Note: the peer was seen to have shut down its side without an error.
const SEEN_PEER_SHUT: u32 = 0x100;

impl Kind {
    const ALL: [Kind; 12] = [
        Kind::Tcp,
        Kind::UnixStream,
        Kind::OtherConnection,
        Kind::Datagram,
        Kind::TcpListener,
        Kind::OtherListener,
        Kind::Pipe,
        Kind::WrongEnd,
        Kind::Bytes,
        Kind::EventFd,
        Kind::Plain,
        Kind::Queue,
    ];

    /// What the notes say; nothing before the first event.
    fn noted(source: &Source) -> Option<Kind> {
        let index = (source.notes & KIND_MASK).checked_sub(1)?;
        Kind::ALL.get(index as usize).copied()
    }

    fn note(self, source: &mut Source) -> Kind {
        source.notes = source.notes & !KIND_MASK | (self as u32 + 1);
        self
    }

    fn class(self) -> Class {
        match self {
            Kind::Tcp | Kind::UnixStream | Kind::OtherConnection => Class::Connection,
            Kind::Datagram => Class::Datagram,
            Kind::TcpListener | Kind::OtherListener => Class::Listener,
            Kind::Pipe => Class::Pipe,
            Kind::WrongEnd => Class::Mute,
            Kind::Bytes | Kind::EventFd | Kind::Plain => Class::Device,
            Kind::Queue => Class::Queue,
        }
    }

    /// Asks the kernel. A source is watched on one side, so a pipe's end is
    /// either right or wrong for it.
    #[cold]
    fn learn(fd: Descriptor, side: Side) -> Result<Kind> {
        let stat = fstat(lend(fd))?;
        Ok(match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFSOCK => Kind::of_socket(fd)?,
            SFlag::S_IFIFO => Kind::of_pipe(fd, side)?,
            SFlag::S_IFCHR => Kind::Bytes,
            _ => Kind::of_anonymous(fd)?,
        })
    }

    /// Is it a queue? One call says no of everything but anonymous objects.
    pub(super) fn is_queue(fd: Descriptor) -> Result<bool> {
        let kind = SFlag::from_bits_truncate(fstat(lend(fd))?.st_mode) & SFlag::S_IFMT;
        Ok(kind.is_empty() && Kind::of_anonymous(fd)? == Kind::Queue)
    }

    fn of_socket(fd: Descriptor) -> Result<Kind> {
        let ask = |name| -> Result<i32> {
            let mut answer = [0u32];
            ask_option(fd, libc::SOL_SOCKET, name, &mut answer)?;
            let [answer] = answer;
            Ok(answer as i32)
        };
        let kind = ask(libc::SO_TYPE)?;
        if kind != libc::SOCK_STREAM && kind != libc::SOCK_SEQPACKET {
            return Ok(Kind::Datagram);
        }
        let tcp = kind == libc::SOCK_STREAM && ask(libc::SO_PROTOCOL)? == libc::IPPROTO_TCP;
        let unix = kind == libc::SOCK_STREAM && ask(libc::SO_DOMAIN)? == libc::AF_UNIX;
        let listens = ask(libc::SO_ACCEPTCONN)? != 0;
        Ok(match (listens, tcp, unix) {
            (true, true, _) => Kind::TcpListener,
            (true, ..) => Kind::OtherListener,
            (false, true, _) => Kind::Tcp,
            (false, _, true) => Kind::UnixStream,
            (false, ..) => Kind::OtherConnection,
        })
    }

    fn of_pipe(fd: Descriptor, side: Side) -> Result<Kind> {
        let mode = fcntl(lend(fd), FcntlArg::F_GETFL)? & OFlag::O_ACCMODE.bits();
        let wrong = match side {
            Side::Read => libc::O_WRONLY,
            Side::Write => libc::O_RDONLY,
            // Of sockets alone.
            Side::Except => return Ok(Kind::WrongEnd),
        };
        Ok(if mode == wrong { Kind::WrongEnd } else { Kind::Pipe })
    }

    fn of_anonymous(fd: Descriptor) -> Result<Kind> {
        let mut name = [0u8; 32];
        let name = match file_name(&mut name, fd) {
            Ok(name) => name,
            // For lack of memory nothing wrong is learnt for ever.
            Err(Errno::ENOMEM) => return Err(Errno::ENOMEM),
            Err(_) => return Ok(Kind::Bytes),
        };
        Ok(match name {
            b"anon_inode:[eventfd]" => Kind::EventFd,
            EPOLL_NAME => Kind::Queue,
            b"anon_inode:[timerfd]" | b"anon_inode:[signalfd]" | b"anon_inode:[pidfd]" => {
                Kind::Plain
            }
            _ => Kind::Bytes,
        })
    }
}

/// Is nothing asked that only this kind of thing has an answer to?
#[inline]
pub(super) fn leans_on_the_hint(source: &Source, side: Side) -> bool {
    let Some(kind) = Kind::noted(source) else { return true };
    match kind {
        Kind::Plain | Kind::Queue | Kind::OtherListener => true,
        Kind::Bytes | Kind::EventFd => side == Side::Write,
        _ => false,
    }
}

/// Will it be asked in a way that only this kind of thing bears?
#[inline]
pub(super) fn is_asked_by_sending(source: &Source, side: Side) -> bool {
    side == Side::Write && Kind::noted(source) == Some(Kind::UnixStream)
}

/// Samples a descriptor that the set watches. It may be sent to if it is what
/// the source says.
#[inline]
pub(super) fn sample(
    fd: Descriptor,
    side: Side,
    source: &mut Source,
    seen: Option<Readiness>,
    may_send: bool,
) -> Result<Sample> {
    let (seen, hinted) = match seen {
        // An urgent byte may have been read since, and nothing but poll() says
        // whether it has.
        Some(seen) if side != Side::Except => (seen, true),
        _ => (poll_now(fd)?, false),
    };
    let kind = match Kind::noted(source) {
        Some(kind) => kind,
        None => Kind::learn(fd, side)?.note(source),
    };
    let mut sample = match side {
        Side::Read => read_side(fd, kind, source, seen),
        Side::Write => write_side(fd, kind, source, seen, may_send),
        Side::Except => except_side(fd, kind, source, seen),
    }?;
    // The knote may have been disabled and enabled since the hint, or its queue
    // renewed, or another thread has read; what the hint told of may be gone.
    // Where nothing else shows that there is something, the kernel is asked once
    // more: it may be an empty datagram.
    let by_hint_alone = sample.amount == 0 || leans_on_the_hint(source, side);
    if hinted && sample.ready && by_hint_alone && !sample.eof && sample.error.is_none() {
        let interest = if side == Side::Read { Readiness::IN } else { Readiness::OUT };
        sample.ready = poll_now(fd)?.has(interest);
    }
    Ok(sample)
}

fn read_side(fd: Descriptor, kind: Kind, source: &mut Source, seen: Readiness) -> Result<Sample> {
    let ready = seen.has(Readiness::IN);
    let mut sample =
        Sample { class: kind.class(), amount: 0, ready, eof: false, error: None, silent: false };
    match kind {
        Kind::Tcp | Kind::UnixStream | Kind::OtherConnection => {
            if unconnected(seen) {
                sample.silent = true;
                return Ok(sample);
            }
            sample.amount = match ask_int(fd, libc::FIONREAD) {
                Ok(bytes) => i64::from(bytes),
                // It has begun to listen since it was learnt.
                Err(Errno::EINVAL) => return again(fd, Side::Read, source, seen, kind),
                Err(error) => return Err(error),
            };
            sample.eof = seen.has(Readiness::PEER_SHUT) || seen.has(Readiness::HANGUP);
            sample.error = socket_error(fd, kind, source, seen);
            if sample.amount == 0 && ready && !sample.eof && sample.error.is_none() {
                // Another thread has read it, or an urgent mark stands before
                // what is there, which FIONREAD does not look past; or it is an
                // empty record. The kernel knows.
                sample.ready = poll_now(fd)?.has(Readiness::IN);
                sample.amount = i64::from(sample.ready && kind != Kind::OtherConnection);
            }
        }
        Kind::Datagram => {
            sample.amount = i64::from(ask_int(fd, libc::FIONREAD)?);
            sample.eof = seen.has(Readiness::PEER_SHUT);
            sample.error = socket_error(fd, kind, source, seen);
        }
        Kind::TcpListener => {
            let info = TcpInfo::ask(fd)?;
            if info.state != TcpInfo::LISTEN {
                return again(fd, Side::Read, source, seen, kind);
            }
            sample.amount = i64::from(info.unacked);
            sample.ready = info.unacked > 0;
        }
        // Only sock_diag knows how many wait, and it looks at every socket of
        // the system to say so.
        Kind::OtherListener => sample.amount = i64::from(ready),
        Kind::Pipe => {
            sample.amount = i64::from(ask_int(fd, libc::FIONREAD)?);
            // A FIFO may have got a writer since.
            sample.eof = seen.has(Readiness::HANGUP) && poll_now(fd)?.has(Readiness::HANGUP);
        }
        Kind::WrongEnd => sample.silent = true,
        Kind::Bytes => {
            sample.amount = match ask_int(fd, libc::FIONREAD) {
                Ok(bytes) => i64::from(bytes),
                Err(Errno::EBADF) => return Err(Errno::EBADF),
                // A terminal whose other side is gone answers EIO, and not
                // every device counts.
                Err(_) => 0,
            };
            sample.eof = seen.has(Readiness::HANGUP);
        }
        Kind::EventFd => sample.amount = event_counter(fd).unwrap_or(1),
        Kind::Plain => {}
        Kind::Queue => sample.amount = 1,
    }
    Ok(sample)
}

fn write_side(
    fd: Descriptor,
    kind: Kind,
    source: &mut Source,
    mut seen: Readiness,
    may_send: bool,
) -> Result<Sample> {
    let mut sample = Sample {
        class: kind.class(),
        amount: 0,
        ready: seen.has(Readiness::OUT),
        eof: false,
        error: None,
        silent: false,
    };
    match kind {
        Kind::Tcp | Kind::UnixStream | Kind::OtherConnection => {
            if seen.has(Readiness::HANGUP) && !seen.has(Readiness::PEER_SHUT) {
                // The write side's mask does not ask for PEER_SHUT.
                seen = poll_now(fd)?;
            }
            if unconnected(seen) {
                sample.silent = true;
                return Ok(sample);
            }
            sample.amount = send_space(fd, kind)?;
            sample.error = socket_error(fd, kind, source, seen);
            let over = seen.has(Readiness::HANGUP) || sample.error.is_some();
            match sending(fd, kind, source, may_send && !over)? {
                Sending::Open => {}
                Sending::Shut => sample.eof = true,
                Sending::NotYet => sample.silent = !seen.has(Readiness::HANGUP),
            }
            sample.eof |= over;
        }
        Kind::Datagram => {
            sample.amount = send_space(fd, kind)?;
            sample.error = socket_error(fd, kind, source, seen);
        }
        Kind::Pipe => {
            let size = fcntl(lend(fd), FcntlArg::F_GETPIPE_SZ)?;
            sample.amount = i64::from(size) - i64::from(ask_int(fd, libc::FIONREAD)?);
            sample.eof = seen.has(Readiness::ERROR);
        }
        // A listening UNIX socket is "writable" to poll.
        Kind::TcpListener | Kind::OtherListener | Kind::WrongEnd | Kind::Queue => {
            sample.silent = true;
        }
        Kind::Bytes | Kind::EventFd | Kind::Plain => {
            // No way to ask how much; one byte is what readiness promises.
            sample.amount = i64::from(sample.ready);
            sample.eof = seen.has(Readiness::HANGUP);
        }
    }
    Ok(sample)
}

/// Urgent data is told by POLLPRI until the byte is read; with SO_OOBINLINE,
/// until the read goes past it.
fn except_side(fd: Descriptor, kind: Kind, source: &mut Source, seen: Readiness) -> Result<Sample> {
    let mut sample = Sample {
        class: kind.class(),
        amount: 0,
        // Of datagrams it is the error queue's sign (SO_SELECT_ERR_QUEUE).
        ready: seen.has(Readiness::URGENT) && kind != Kind::Datagram,
        eof: false,
        error: None,
        silent: unconnected(seen),
    };
    if sample.silent {
        return Ok(sample);
    }
    sample.eof = seen.has(Readiness::PEER_SHUT);
    let error = socket_error(fd, kind, source, seen);
    if sample.eof {
        sample.error = error;
    } else if !sample.ready {
        // The kernel goes on reporting an error that is no end.
        sample.silent = error.is_some();
        return Ok(sample);
    }
    sample.amount = match ask_int(fd, libc::FIONREAD) {
        Ok(bytes) => i64::from(bytes),
        Err(Errno::EBADF) => return Err(Errno::EBADF),
        // Not of a socket that listens.
        Err(_) => 0,
    };
    Ok(sample)
}

/// The kind has changed: learn it anew and sample once more.
#[cold]
fn again(
    fd: Descriptor,
    side: Side,
    source: &mut Source,
    seen: Readiness,
    was: Kind,
) -> Result<Sample> {
    let kind = Kind::learn(fd, side)?;
    if kind == was {
        // It changed back in between; the next event will tell.
        return Ok(Sample {
            class: kind.class(),
            amount: 0,
            ready: false,
            eof: false,
            error: None,
            silent: false,
        });
    }
    kind.note(source);
    read_side(fd, kind, source, seen)
}

/// poll calls a socket that was never connected "hung up", for ever. One that
/// was connected, or failed to, has its receiving side shut as well.
fn unconnected(seen: Readiness) -> bool {
    seen.has(Readiness::HANGUP) && !seen.has(Readiness::PEER_SHUT) && !seen.has(Readiness::ERROR)
}

/// Names the pending error without reading it. A time-out and an unreachable
/// host look like a refusal or a reset here.
fn socket_error(fd: Descriptor, kind: Kind, source: &mut Source, seen: Readiness) -> Option<Errno> {
    if !seen.has(Readiness::ERROR) {
        if seen.has(Readiness::PEER_SHUT) {
            source.notes |= SEEN_PEER_SHUT;
        }
        return None;
    }
    Some(match kind {
        Kind::Datagram => Errno::ECONNREFUSED,
        // A connection that was made has measured its round trip.
        Kind::Tcp if TcpInfo::ask(fd).is_ok_and(|info| info.rtt == 0) => Errno::ECONNREFUSED,
        Kind::Tcp if source.notes & SEEN_PEER_SHUT != 0 => Errno::EPIPE,
        _ => Errno::ECONNRESET,
    })
}

/// Whether the application can still send.
enum Sending {
    Open,
    /// It has shut its side down.
    Shut,
    /// Not connected yet, or listening.
    NotYet,
}

fn sending(fd: Descriptor, kind: Kind, source: &mut Source, may_send: bool) -> Result<Sending> {
    match kind {
        Kind::Tcp => {
            let info = TcpInfo::ask(fd)?;
            if info.state == TcpInfo::CLOSE_WAIT {
                source.notes |= SEEN_PEER_SHUT;
            }
            Ok(match info.state {
                TcpInfo::ESTABLISHED | TcpInfo::CLOSE_WAIT => Sending::Open,
                TcpInfo::SYN_SENT | TcpInfo::LISTEN => Sending::NotYet,
                TcpInfo::SYN_RECEIVED => Sending::Open,
                _ => Sending::Shut,
            })
        }
        // Sending nothing to a UNIX stream sends nothing, takes no error away
        // and is refused once the side is shut. (To a seqpacket socket it
        // would send an empty record, and of a TCP socket take an error away.)
        Kind::UnixStream if may_send => match syscall::send_nothing(fd) {
            Err(Errno::EPIPE) => Ok(Sending::Shut),
            Err(Errno::ENOTCONN) => Ok(Sending::NotYet),
            Err(Errno::EBADF) => Err(Errno::EBADF),
            _ => Ok(Sending::Open),
        },
        _ => Ok(Sending::Open),
    }
}

/// Room in the send buffer: SO_MEMINFO (since 4.12) has both its size and what
/// is taken, in one call. The size alone may change under autotuning.
fn send_space(fd: Descriptor, kind: Kind) -> Result<i64> {
    let mut info = [0u32; 9];
    ask_option(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, &mut info)?;
    let [_, _, allocated, size, _, queued, ..] = info;
    // TCP queues what it has not sent; the others charge what they handed on.
    let taken = if kind == Kind::Tcp { queued } else { allocated };
    Ok(i64::from(size.saturating_sub(taken)))
}

/// The head of `struct tcp_info`, as far as it is needed.
struct TcpInfo {
    state: u8,
    unacked: u32,
    rtt: u32,
}

impl TcpInfo {
    const ESTABLISHED: u8 = 1;
    const SYN_SENT: u8 = 2;
    const SYN_RECEIVED: u8 = 3;
    const CLOSE_WAIT: u8 = 8;
    const LISTEN: u8 = 10;

    fn ask(fd: Descriptor) -> Result<TcpInfo> {
        // Words: [0] begins with the state, [6] is tcpi_unacked (of a listener
        // the accept queue), [17] is tcpi_rtt.
        let mut words = [0u32; 18];
        ask_option(fd, libc::IPPROTO_TCP, libc::TCP_INFO, &mut words)?;
        let [first, _, _, _, _, _, unacked, .., rtt] = words;
        let [state, ..] = first.to_ne_bytes();
        Ok(TcpInfo { state, unacked, rtt })
    }
}

/// The kernel's word on readiness, without waiting.
pub(super) fn poll_now(fd: Descriptor) -> Result<Readiness> {
    let events = libc::POLLIN | libc::POLLOUT | libc::POLLPRI | libc::POLLRDHUP;
    let mut watched = libc::pollfd { fd, events, revents: 0 };
    syscall::poll_now(core::slice::from_mut(&mut watched))?;
    if watched.revents & libc::POLLNVAL != 0 {
        return Err(Errno::EBADF);
    }
    // poll's bits and epoll's are the same.
    Ok(readiness(u32::from(watched.revents.cast_unsigned())))
}

/// An eventfd's counter, which only /proc tells without taking it.
fn event_counter(fd: Descriptor) -> Option<i64> {
    let mut text = [0u8; 512];
    let text = fdinfo(&mut text, fd)?;
    let line = text.lines().find_map(|line| line.strip_prefix("eventfd-count:"))?;
    let count = u64::from_str_radix(line.trim(), 16).ok()?;
    Some(i64::try_from(count).unwrap_or(i64::MAX))
}

/// How far the offset of a file is from its end.
pub(super) fn distance_to_end(fd: Descriptor) -> Result<i64> {
    let size = fstat(lend(fd))?.st_size;
    let offset = lseek(lend(fd), 0, Whence::SeekCur)?;
    Ok(size.saturating_sub(offset))
}
