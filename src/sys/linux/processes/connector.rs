//! What processes do: the process connector, a netlink socket on which the
//! kernel tells of every fork, exec and exit of the system.
//!
//! One socket a queue, open only while some knote follows a process. It is made
//! readable by strangers too, so that one is not for nothing. What it brings is
//! in order; a fork or an exec is in the socket before the process can end, and
//! the exit of each thread comes shortly after it ends, maybe after its reaping.
//!
//! The kernel serves it in the initial user, pid and network namespaces alone,
//! and before 6.6 for CAP_NET_ADMIN alone. It may say so, refuse the binding,
//! or say nothing at all: without an answer to the first request there is no
//! connector.

use super::super::descriptor::Private;
use super::super::syscall::{check, last_error, now, own};
use super::exit;
use crate::clock::Moment;
use crate::errno::{Errno, Result};
use crate::sys::contract::{Deed, Token};
use core::mem::size_of;

/// A process that is followed. Ordered by number, so that all who follow one
/// stand together.
#[derive(Copy, Clone, Debug)]
struct Follower {
    pid: i32,
    token: Token,
    /// What the kernel dates earlier is not told.
    since: u64,
}

impl Follower {
    fn key(&self) -> (i32, u32) {
        (self.pid, self.token.slot)
    }
}

/// A deed, told to one follower after the other. They may come and go
/// meanwhile, so the place is kept by key.
#[derive(Copy, Clone, Debug)]
struct Telling {
    deed: Deed,
    at: u64,
    next: (i32, u32),
    /// The last process it concerns.
    last: i32,
}

/// To be told to all.
const LOST: Telling =
    Telling { deed: Deed::Lost, at: u64::MAX, next: (i32::MIN, 0), last: i32::MAX };

#[derive(Debug)]
pub(in crate::sys::linux) struct Connector {
    line: Option<Line>,
    followers: Vec<Follower>,
    telling: Option<Telling>,
    /// Something got lost, which is told once the rest has been.
    lost: bool,
    /// What came up to this moment is being asked for. In a storm that does not
    /// end the queue must not listen for ever, with its lock held.
    until: Option<u64>,
    /// When what was received last was done.
    latest: u64,
}

/// An open connector.
#[derive(Debug)]
struct Line {
    socket: Private,
    /// How far our clock is ahead of the one that dates the events (which are
    /// the same outside a time namespace). At most too much, by the time that
    /// the first answer took.
    ahead: i64,
    /// The same, at most too little.
    least_ahead: i64,
}

impl Connector {
    pub(in crate::sys::linux) const fn new() -> Connector {
        Connector {
            line: None,
            followers: Vec::new(),
            telling: None,
            lost: false,
            until: None,
            latest: 0,
        }
    }

    pub(in crate::sys::linux) fn number(&self) -> Option<i32> {
        self.line.as_ref().map(|line| line.socket.number())
    }

    /// Begins to follow. `enter` puts the socket, if it is made now, into the
    /// set.
    pub(in crate::sys::linux) fn follow(
        &mut self,
        pid: i32,
        token: Token,
        born: bool,
        enter: impl FnOnce(i32) -> Result<()>,
    ) -> Result<()> {
        self.followers.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let ahead = match &self.line {
            Some(line) => line.ahead,
            None => {
                let line = self.line.insert(Line::open()?);
                let (number, ahead) = (line.socket.number(), line.ahead);
                if let Err(error) = enter(number) {
                    self.hang_up();
                    return Err(error);
                }
                ahead
            }
        };
        let now = now().0.saturating_add_signed(ahead.saturating_neg());
        let since = if born { 0 } else { now };
        let follower = Follower { pid, token, since };
        match self.find(follower.key()) {
            // Left by an earlier tenant of the place.
            Ok(at) => {
                if let Some(place) = self.followers.get_mut(at) {
                    *place = follower;
                }
            }
            Err(at) => self.followers.insert(at, follower),
        }
        Ok(())
    }

    /// Stops following; the last one to go closes the socket. `leave` takes it
    /// out of the set.
    pub(in crate::sys::linux) fn unfollow(
        &mut self,
        pid: i32,
        token: Token,
        leave: impl FnOnce(&Private),
    ) {
        if let Ok(at) = self.find((pid, token.slot)) {
            self.followers.remove(at);
        }
        if self.followers.is_empty() {
            if let Some(line) = &self.line {
                leave(&line.socket);
            }
            self.hang_up();
        }
    }

    fn find(&self, key: (i32, u32)) -> core::result::Result<usize, usize> {
        self.followers.binary_search_by_key(&key, Follower::key)
    }

    fn hang_up(&mut self) {
        self.telling = None;
        self.lost = false;
        self.until = None;
        self.latest = 0;
        if let Some(line) = self.line.take() {
            // The kernel does not count back at the close itself before 6.6.
            line.request(&Request::ignore());
        }
    }

    /// Forgets everything, and the room for it.
    pub(in crate::sys::linux) fn retire(&mut self) {
        self.hang_up();
        self.followers = Vec::new();
    }

    /// Is this the number of a child that is just being told of, and does it
    /// belong to a later process by now? Only after a long time, in which the
    /// numbers can have gone round, is that worth a question.
    pub(in crate::sys::linux) fn is_anothers(&self, pid: i32) -> bool {
        let (Some(telling), Some(line)) = (&self.telling, &self.line) else { return false };
        let now = now().0.saturating_add_signed(line.ahead.saturating_neg());
        telling.deed == Deed::Forked(pid)
            && now.saturating_sub(telling.at) > ROUND
            && exit::began_after(pid, telling.at)
    }

    /// The next deed of somebody who is followed. `None`: that was all there was
    /// when this was first asked. What came since makes the next wait end.
    pub(in crate::sys::linux) fn next(&mut self) -> Option<(Token, Deed)> {
        loop {
            if let Some(told) = self.tell() {
                return Some(told);
            }
            let line = self.line.as_ref()?;
            let until = *self.until.get_or_insert_with(|| line.now_at_most());
            // What is dated later was put into the socket later, and so behind
            // all that is asked for.
            let received = if self.latest > until { Err(Errno::EAGAIN) } else { line.receive() };
            self.telling = match received {
                Ok(message) => {
                    self.latest = message.at();
                    message.telling()
                }
                // The program has closed the number: all that is to come is lost.
                Err(Errno::EBADF) => {
                    self.line = None;
                    self.lost = false;
                    self.until = None;
                    Some(LOST)
                }
                // What the socket had no room for is lost, of whomever. It says
                // so ahead of what it still has, which is older.
                Err(Errno::ENOBUFS) => {
                    self.lost = true;
                    self.until = Some(line.now_at_most());
                    None
                }
                Err(_) if core::mem::replace(&mut self.lost, false) => Some(LOST),
                Err(_) => {
                    self.until = None;
                    return None;
                }
            };
        }
    }

    fn tell(&mut self) -> Option<(Token, Deed)> {
        let telling = self.telling.as_mut()?;
        loop {
            let at = self.followers.partition_point(|follower| follower.key() < telling.next);
            let follower = self.followers.get(at).filter(|who| who.pid <= telling.last);
            let Some(follower) = follower else {
                self.telling = None;
                return None;
            };
            let (pid, slot) = follower.key();
            telling.next = (pid, slot + 1);
            if telling.at >= follower.since {
                return Some((follower.token, telling.deed));
            }
        }
    }
}

/// What is sent: struct nlmsghdr, struct cn_msg, and what the connector for
/// processes takes: an operation, and since 6.6 the events wanted.
struct Request {
    words: [u32; 11],
    length: usize,
}

/// The connector of processes is group and number 1.
const PROCESSES: u32 = 1;
const LISTEN: u32 = 1;
const IGNORE: u32 = 2;

/// Which events.
const FORK: u32 = 1;
const EXEC: u32 = 2;
const EXIT: u32 = 0x8000_0000;

impl Request {
    fn new(operation: u32, events: Option<u32>, cookie: u32) -> Request {
        let length = if events.is_some() { 44 } else { 40 };
        // The last two fields of cn_msg are of 16 bits: length and flags.
        let body = [(length - 36) as u16, 0].map(u16::to_ne_bytes);
        let [[a, b], [c, d]] = body;
        let kind = [libc::NLMSG_DONE as u16, 0].map(u16::to_ne_bytes);
        let [[e, f], [g, h]] = kind;
        let words = [
            length,
            u32::from_ne_bytes([e, f, g, h]),
            0,
            0,
            PROCESSES,
            PROCESSES,
            0,
            cookie,
            u32::from_ne_bytes([a, b, c, d]),
            operation,
            events.unwrap_or(0),
        ];
        Request { words, length: length as usize }
    }

    fn ignore() -> Request {
        Request::new(IGNORE, None, 0)
    }
}

/// What comes: the same two heads, and a struct proc_event.
#[derive(PartialEq, Eq, Debug)]
struct Message {
    words: [u32; Message::WORDS],
}

impl Message {
    /// An event has 19; some room for those to come.
    const WORDS: usize = 32;
    const SHORTEST: usize = 17 * size_of::<u32>();

    fn what(&self) -> u32 {
        self.words[9]
    }

    /// Since the kernel started, in nanoseconds.
    fn at(&self) -> u64 {
        let ([a, b, c, d], [e, f, g, h]) =
            (self.words[11].to_ne_bytes(), self.words[12].to_ne_bytes());
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }

    /// The error of an answer to the request with this cookie.
    fn answers(&self, cookie: u32) -> Option<i32> {
        let answers = self.what() == 0 && self.words[7] == cookie.wrapping_add(1);
        answers.then(|| self.words[13].cast_signed())
    }

    /// Whom it concerns, and what they did.
    fn telling(&self) -> Option<Telling> {
        let [.., second, third, fourth] = self.words.first_chunk::<17>()?.map(u32::cast_signed);
        let (pid, deed) = match self.what() {
            // Parent thread and process, child thread and process. Of a thread
            // the parent is that of its process.
            FORK if third != fourth => (fourth, Deed::ThreadBorn),
            FORK => (second, Deed::Forked(fourth)),
            // Thread and process.
            EXEC => (second, Deed::Execed),
            // Thread and process, and the status of the thread, which is that
            // of the process if the process was told to end.
            EXIT => (second, Deed::ThreadEnded(third)),
            _ => return None,
        };
        Some(Telling { deed, at: self.at(), next: (pid, 0), last: pid })
    }
}

/// In less time the kernel cannot have given out all numbers of processes.
const ROUND: u64 = 100_000_000;

/// How much the kernel may keep for us, if we may have so much. An event takes
/// about a thousand bytes, and only as long as it waits.
const ROOM: libc::c_int = 8 << 20;

impl Line {
    fn open() -> Result<Line> {
        let line = Line { socket: connect().map_err(refusal)?, ahead: 0, least_ahead: 0 };
        // Unlike any that others send: the answers to theirs come here too.
        let before = now();
        let cookie = (before.0 as u32).wrapping_mul(0x9e37_79b9) ^ line.socket.number() as u32;
        line.send(&Request::new(LISTEN, None, cookie)).map_err(refusal)?;
        let answered = line.answer(cookie)?;
        let ahead = now().0.wrapping_sub(answered.0).cast_signed();
        let least_ahead = before.0.wrapping_sub(answered.0).cast_signed();
        // No answer is to be had to this one: NONE is not among the events
        // asked for. Before 6.6 it is passed over, and all events come.
        line.request(&Request::new(LISTEN, Some(FORK | EXEC | EXIT), 0));
        Ok(Line { ahead, least_ahead, ..line })
    }

    /// No earlier than now, by the clock that dates the events.
    fn now_at_most(&self) -> u64 {
        now().0.saturating_add_signed(self.least_ahead.saturating_neg())
    }

    /// Looks for the answer to the first request, which the kernel has given
    /// before sending returned. What else is here concerns nobody yet.
    fn answer(&self, cookie: u32) -> Result<Moment> {
        loop {
            match self.receive() {
                Ok(message) => match message.answers(cookie) {
                    Some(0) => return Ok(Moment(message.at())),
                    Some(error) => return Err(refusal(Errno(error.abs()))),
                    None => {}
                },
                Err(Errno::EAGAIN) => return Err(Errno::ENOTSUP),
                Err(Errno::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A message of the kernel's. Through syscall(), as all that is called with
    /// the queue's lock held: the C library's is a cancellation point. EAGAIN: none is there. ENOBUFS: some were
    /// lost. EBADF: the number is a stranger's, whose messages are not for us.
    fn receive(&self) -> Result<Message> {
        if !self.socket.is_ours() {
            return Err(Errno::EBADF);
        }
        let mut message = Message { words: [0; Message::WORDS] };
        loop {
            // SAFETY: integers alone; zero is a value of each.
            let mut from: libc::sockaddr_nl = unsafe { core::mem::zeroed() };
            let mut length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
            // SAFETY: as many bytes as the array has, and an address of the
            // length said.
            let count = unsafe {
                libc::syscall(
                    libc::SYS_recvfrom,
                    self.socket.number(),
                    message.words.as_mut_ptr(),
                    size_of_val(&message.words),
                    libc::MSG_DONTWAIT,
                    &raw mut from,
                    &raw mut length,
                )
            };
            match usize::try_from(count) {
                // Only the kernel's word counts.
                Ok(count) if count >= Message::SHORTEST && from.nl_pid == 0 => return Ok(message),
                Ok(_) => {}
                Err(_) => match last_error() {
                    Errno::EINTR => {}
                    error => return Err(error),
                },
            }
        }
    }

    fn send(&self, request: &Request) -> Result<()> {
        let bytes = request.words.as_ptr();
        let nowhere = core::ptr::null::<libc::sockaddr_nl>();
        // SAFETY: no more bytes than the array has.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_sendto,
                self.socket.number(),
                bytes,
                request.length,
                libc::MSG_NOSIGNAL,
                nowhere,
                0,
            )
        };
        if sent < 0 { Err(last_error()) } else { Ok(()) }
    }

    /// Sends what nothing hangs on, unless the number is a stranger's by now.
    fn request(&self, request: &Request) {
        if self.socket.is_ours() {
            let _ = self.send(request);
        }
    }
}

fn connect() -> Result<Private> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: integers in, a new descriptor out.
    let make = || own(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_CONNECTOR) });
    let socket = Private::new(make)?;
    // SAFETY: integers alone; zero is a value of each.
    let mut group: libc::sockaddr_nl = unsafe { core::mem::zeroed() };
    group.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    group.nl_groups = PROCESSES;
    let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: an address of the length said.
    check(unsafe { libc::bind(socket.number(), (&raw const group).cast(), length) })?;
    // The first is for the privileged; the second takes what the system gives
    // to anybody. With less room more is lost in a storm, no more.
    if set_room(&socket, libc::SO_RCVBUFFORCE).is_err() {
        let _ = set_room(&socket, libc::SO_RCVBUF);
    }
    Ok(socket)
}

fn set_room(socket: &Private, option: libc::c_int) -> Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    let room = ROOM;
    let room = (&raw const room).cast();
    // SAFETY: one int of the length said.
    check(unsafe { libc::setsockopt(socket.number(), libc::SOL_SOCKET, option, room, length) })?;
    Ok(())
}

/// What a refusal of the kernel's means: for want of a privilege, or that there
/// is no connector here. Want of memory or descriptors passes as it is.
fn refusal(error: Errno) -> Errno {
    match error {
        Errno::EPERM | Errno::EACCES => Errno::EPERM,
        Errno::EPROTONOSUPPORT
        | Errno::EAFNOSUPPORT
        | Errno::EINVAL
        | Errno::ENOENT
        // There is no listener in this network namespace.
        | Errno::ECONNREFUSED => Errno::ENOTSUP,
        error => error,
    }
}
