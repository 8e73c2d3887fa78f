//! The platform contract: what the core asks of an operating system.
//!
//! A platform reports facts about descriptors, files and time, and leaves
//! their meaning to the filters. It knows no knotes: what it watches is named
//! by a [`Token`], and what it finds is a [`Hint`], which says only "look at
//! this again". The core looks, with [`Platform::sample`], when it is about to
//! return the event.
//!
//! Every method but the waits, [`Platform::ring`] and those that say so is
//! called with the queue's lock held, must not sleep, and must not allocate in
//! the steady state. `wait` is called with no lock held and nothing on the stack
//! that needs dropping: the thread may be cancelled there, or leave by longjmp
//! out of a signal handler.

#![forbid(unsafe_code)]

use crate::clock::{Moment, Patience, Span};
use crate::errno::{Errno, Result};
use core::ffi::c_uint;

/// A descriptor of the application's, or one of ours.
pub(crate) type Descriptor = i32;

/// Names a watched thing: a place in the knote table and which tenant of that
/// place is meant, so that a late hint for an old tenant is known as such.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    /// Below [`Token::SLOTS`].
    pub(crate) slot: u32,
    /// Below [`Token::GENERATIONS`]; wraps.
    pub(crate) generation: u32,
}

impl Token {
    /// A platform packs a token, and whatever it adds, into 64 bits.
    pub(crate) const SLOT_BITS: u32 = 26;
    pub(crate) const GENERATION_BITS: u32 = 22;
    pub(crate) const SLOTS: u32 = (1 << Self::SLOT_BITS) - 16;
    pub(crate) const GENERATIONS: u32 = 1 << Self::GENERATION_BITS;
}

/// Which side of a descriptor is watched.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Read,
    Write,
    /// Urgent data, and the end of all data. Of sockets alone.
    Except,
}

/// When a watched descriptor gives hints.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Arm {
    /// Never.
    Off,
    /// At every wait, as long as it is ready.
    Level,
    /// Once for what is there when it is armed, and once for each change.
    Edge,
    /// Once; then it is as if [`Arm::Off`].
    Once,
}

/// What came of [`Platform::attend`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Attended {
    /// There are hints.
    Hints,
    /// There is nothing, and whatever comes wakes the thread.
    Quiet,
    /// There is nothing, but what comes may not wake the thread: it must look
    /// again by the clock.
    Deaf,
}

/// What the kernel said about a descriptor, as a set of bits.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Readiness(pub(crate) u8);

impl Readiness {
    /// Input (or a connection, or an event) is there.
    pub(crate) const IN: Readiness = Readiness(1);
    /// There is room for output.
    pub(crate) const OUT: Readiness = Readiness(2);
    /// The peer will send no more.
    pub(crate) const PEER_SHUT: Readiness = Readiness(4);
    /// Neither direction works any more, or never did.
    pub(crate) const HANGUP: Readiness = Readiness(8);
    /// An error is pending.
    pub(crate) const ERROR: Readiness = Readiness(16);
    /// Urgent data is there.
    pub(crate) const URGENT: Readiness = Readiness(32);

    pub(crate) fn has(self, bits: Readiness) -> bool {
        self.0 & bits.0 != 0
    }

    pub(crate) fn with(self, bits: Readiness) -> Readiness {
        Readiness(self.0 | bits.0)
    }
}

/// What kind of thing a descriptor names, as far as the filters' rules differ.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// A connected, connecting or unconnected stream or seqpacket socket.
    Connection,
    /// A datagram socket.
    Datagram,
    /// A socket that accepts connections.
    Listener,
    /// A pipe or FIFO end that can do what is watched.
    Pipe,
    /// A descriptor that cannot do what is watched: a pipe's other end.
    Mute,
    /// A terminal, or any device or kernel object that reports readiness.
    Device,
    /// A file or directory: readiness is the distance from offset to end.
    File,
    /// A device that is always ready.
    Always,
    /// A queue, ours or anybody's.
    Queue,
}

/// A descriptor under watch. The core keeps it and hands it back.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    /// The platform itself repeats the hints of [`Arm::Level`]. If not, it
    /// hints at changes only, each time and however it is armed, and the core
    /// keeps what is ready on its list.
    pub(crate) repeats: bool,
    /// Changes give hints. If not, the core must look again by the clock.
    pub(crate) wakes: bool,
    /// The platform's own notes: small facts,
    pub(crate) notes: u32,
    /// and a place in a table of its own.
    pub(crate) place: u32,
}

/// A process under watch. The core keeps it and hands it back.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Watched {
    /// A place in a table of the platform's.
    pub(crate) place: u32,
    /// Its end gives hints. If not, the core must look by the clock, and hints
    /// that come all the same are guesses.
    pub(crate) wakes: bool,
}

/// How a process has ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// With this wait status.
    Status(i32),
    /// The system does not tell, or no longer.
    Hidden,
}

/// What a process that is followed has done.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    /// It has made this child.
    Forked(i32),
    /// It runs another program.
    Execed,
    /// It has one thread more,
    ThreadBorn,
    /// or one less. Should that be the last one, this is the wait status.
    ThreadEnded(i32),
    /// Nobody knows: some of what it did got lost.
    Lost,
}

/// The state of a descriptor at one moment.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sample {
    pub(crate) class: Class,
    /// Read side: bytes, connections, or distance to the end of the file.
    /// Urgent data: bytes that can be read before it.
    /// Write side: room in bytes.
    pub(crate) amount: i64,
    /// The kernel calls this side ready, whatever `amount` says.
    pub(crate) ready: bool,
    /// Nothing more can come (go) this way.
    pub(crate) eof: bool,
    /// An error is pending; its number where that can be known without
    /// taking it from the application, else 0.
    pub(crate) error: Option<Errno>,
    /// The kernel says "ready" of something that natively is silent now, such
    /// as a socket not yet connected, and will go on saying so.
    pub(crate) silent: bool,
}

/// How often mounts have come, and gone, since the queue was made. They wrap.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mounts {
    pub(crate) mounted: u32,
    pub(crate) unmounted: u32,
}

/// What has been collected of a file.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct FileNotes {
    /// NOTE_ bits of EVFILT_VNODE, those of whole operations.
    pub(crate) notes: c_uint,
    /// The file system has been taken away under it.
    pub(crate) revoked: bool,
}

/// What a wait found.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Hint {
    /// Look at this one.
    Watched(Token, Readiness),
    /// The bell rang: the core's own list holds something.
    Bell,
    /// The alarm went off: timers may be due.
    Alarm,
}

/// The bell tells waiting threads, and whoever polls the queue's descriptor,
/// that the core holds events that the kernel knows nothing of.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Bell {
    /// Silent.
    Rest,
    /// Wake one waiter. The descriptor polls as readable until the hint is
    /// taken by some wait.
    Ring,
    /// Every wait finds it, and the descriptor polls as readable, until it is
    /// put to rest.
    Hold,
}

/// What a number of the application's refers to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum DescriptorState {
    Closed,
    /// Something that cannot be a queue.
    Other,
    /// A queue of this library's, be it another process's.
    Queue,
}

/// Which queues watch a number, as far as is known.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Watchers {
    None,
    /// None but the one in this home.
    One(u32),
    /// Any of them may.
    Any,
}

/// May a thread be cancelled while it waits?
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Cancel {
    Allowed,
    Deferred,
}

/// What to do for a thread that does not come back from its wait: with what it
/// has found, and how many that are. As async-signal-safe as the wait is.
pub(crate) type LeftBehind<T, F> = fn(&T, &mut F, usize);

/// One queue's kernel objects.
///
/// The number by which the application knows the queue can change (dup), so it
/// is told at each call by [`Platform::reach`]; the methods below use the last.
pub(crate) trait Platform: Sized + Send + core::fmt::Debug + 'static {
    /// What a waiting thread needs; plain data.
    type Waiter: Copy;
    /// What a thread needs to ring the bell; plain data.
    type Ringer: Copy;
    /// Where a wait puts what it found; plain data.
    type Found;
    /// What may be known of a queue without its lock.
    type Outline: Default + Send + Sync + core::fmt::Debug;
    /// What is to take the place of the objects that waits go through.
    type Renewal;

    /// How many hints one wait can bring.
    const BATCH: usize;

    /// The last signal there is; the first is 1.
    const SIGNALS: i32;

    /// Makes a queue: its objects and the descriptor for the application,
    /// which is close-on-exec. `spare` is a dead queue whose private objects
    /// may be used again.
    fn open(spare: Option<Self>) -> Result<(Self, Descriptor)>;

    /// Closes a queue's number; what is private goes with the value.
    fn close(number: Descriptor);

    /// Is this number this very queue? Asks the kernel, and changes nothing that
    /// is not a queue of ours.
    fn answers_to(&self, number: Descriptor) -> bool;

    /// From now on the queue is reached by this number.
    fn reach(&mut self, number: Descriptor);

    /// Writes down what may be known without the lock.
    fn outline(&self, outline: &Self::Outline);

    /// A number is about to be closed: takes it out of the poller, where the
    /// kernel would not do that if its file stays open elsewhere. No lock is
    /// held. Async-signal-safe.
    fn take_out(outline: &Self::Outline, fd: Descriptor);

    /// Holds the bell: wakes every thread that waits, until it is next set.
    /// `false`: the number is not this queue. No lock is held.
    /// Async-signal-safe.
    fn rouse(outline: &Self::Outline, number: Descriptor) -> bool;

    /// Makes sure that the number last reached is good, asking the kernel if no
    /// call since has shown it.
    fn prove(&mut self) -> bool;

    /// Makes a spent queue let go of whatever belongs to its last life, and
    /// keep what the next one can use.
    fn retire(&mut self);

    /// In a forked child, before it is dropped: forgets what it owes to other
    /// queues of its process, for that was the parent. Its descriptors have been
    /// given up by `disown`.
    fn disown(&mut self);

    /// Begins to watch one side of a descriptor. EBADF: not open. EINVAL: it
    /// cannot be watched (itself, too deep a nest, a queue's write side, the
    /// urgent data of what is no socket).
    fn watch(&mut self, fd: Descriptor, side: Side, arm: Arm, token: Token) -> Result<Source>;

    /// Changes when it gives hints, and looks again: what is ready now gives a
    /// hint, even if it gave one before. (Of a source that does not repeat,
    /// only later changes do.) Fails with EBADF when the number is
    /// closed and ENOENT when it is another file by now; either way the watch
    /// is gone.
    fn rearm(
        &mut self,
        fd: Descriptor,
        side: Side,
        source: &mut Source,
        arm: Arm,
        token: Token,
    ) -> Result<()>;

    /// Stops watching. Fails as `rearm` does.
    fn unwatch(&mut self, fd: Descriptor, source: Source, token: Token) -> Result<()>;

    /// Is this number still what was watched? Fails as `rearm` does, and
    /// changes nothing if not. For sources that repeat.
    fn verify(&mut self, fd: Descriptor, source: &Source) -> Result<()>;

    /// Of two sources of one number the first has just been watched. Does that
    /// show that the other is of an earlier file, and its watch gone?
    fn supplants(&self, new: &Source, old: &Source) -> bool;

    /// Begins to make anew what waits go through, with all in it that is the
    /// platform's own: a watch that nobody can end, because its number is
    /// closed and its file lives on elsewhere, is left behind. Until
    /// [`Platform::renew`] nothing changes.
    fn prepare_renewal(&mut self) -> Result<Self::Renewal>;

    /// Puts a descriptor's watch into it too, armed so. Fails as `verify` does.
    fn carry(
        &mut self,
        into: &mut Self::Renewal,
        fd: Descriptor,
        side: Side,
        source: &Source,
        arm: Arm,
        token: Token,
    ) -> Result<()>;

    /// The same with a process's.
    fn carry_process(
        &mut self,
        into: &mut Self::Renewal,
        watched: &Watched,
        token: Token,
    ) -> Result<()>;

    /// Puts the new in the place of the old, under all the queue's numbers, and
    /// wakes every thread that waits on the old. What is ready gives a hint,
    /// even if it gave one before; the bell is at rest.
    fn renew(&mut self, renewal: Self::Renewal, numbers: &[Descriptor]) -> Result<()>;

    /// Asks a descriptor about itself. `seen` is what the hint said; without
    /// one the kernel is asked. EBADF: it has been closed.
    fn sample(
        &mut self,
        fd: Descriptor,
        side: Side,
        source: &mut Source,
        seen: Option<Readiness>,
    ) -> Result<Sample>;

    /// Begins to watch mounts; the counts that this watch starts from. Changes
    /// are hinted at by waits, or else by [`Platform::attend`]. ENOTSUP: they
    /// cannot be watched here.
    fn watch_mounts(&mut self, token: Token) -> Result<Mounts>;

    /// Stops watching mounts under this token.
    fn unwatch_mounts(&mut self, token: Token);

    /// The counts at this moment.
    fn mounts(&mut self) -> Result<Mounts>;

    /// Begins to collect what happens to a file, from now on. An operation is
    /// collected, with the set of its notes, if one of them is in `want`
    /// (NOTE_ bits of EVFILT_VNODE); then there is a hint, unless
    /// [`Source::wakes`] says that there will be none. EBADF: not open. EINVAL:
    /// no file.
    fn watch_file(&mut self, fd: Descriptor, want: c_uint, token: Token) -> Result<Source>;

    /// Wants other notes from now on; what is collected stays. Fails as
    /// `rearm` does.
    fn want_file(&mut self, fd: Descriptor, source: &mut Source, want: c_uint) -> Result<()>;

    /// What has been collected. Fails as `verify` does.
    fn file_notes(&mut self, fd: Descriptor, source: &mut Source) -> Result<FileNotes>;

    /// Collects afresh.
    fn forget_file_notes(&mut self, source: &Source);

    /// Stops collecting. Fails as `rearm` does; it is over in any case.
    fn unwatch_file(&mut self, fd: Descriptor, source: Source) -> Result<()>;

    /// Begins to watch a signal, which the application gets as before. If
    /// `on`, it gives hints. EBADF: the number last reached is not the queue.
    fn watch_signal(&mut self, signal: i32, token: Token, on: bool) -> Result<()>;

    /// Lets it give hints, or not; it is counted all the same. What came
    /// before gives none.
    fn arm_signal(&mut self, signal: i32, token: Token, on: bool);

    /// Stops watching.
    fn unwatch_signal(&mut self, signal: i32, token: Token);

    /// How often it has come, since some time before it was watched. What is
    /// counted here gives no hint any more.
    fn count_signal(&mut self, signal: i32, token: Token) -> u64;

    /// Does the queue hold something that the application or the system misses,
    /// so that it must be given back as soon as the queue is known to be dead?
    fn is_missed(&self) -> bool;

    /// Begins to watch a process: once it has ended, every wait hints at it.
    /// ESRCH: there is none.
    fn watch_process(&mut self, pid: i32, token: Token) -> Result<Watched>;

    /// Stops watching.
    fn unwatch_process(&mut self, watched: Watched);

    /// How a process has ended; `None`: it has not.
    fn process_exit(&mut self, watched: &Watched) -> Result<Option<Exit>>;

    /// Begins to watch, as [`Platform::watch`] does, a descriptor that stands
    /// for a process, for its end; and the process's number. EINVAL: it stands
    /// for none.
    fn watch_procdesc(&mut self, fd: Descriptor, arm: Arm, token: Token) -> Result<(Source, i32)>;

    /// As [`Platform::process_exit`]. EBADF: the descriptor has been closed.
    fn procdesc_exit(&mut self, fd: Descriptor) -> Result<Option<Exit>>;

    /// Begins to follow what a process does from now on; of one that has just
    /// been `born`, from its beginning. EPERM: the system does not let this
    /// process. ENOTSUP: it has no means.
    fn follow(&mut self, pid: i32, token: Token, born: bool) -> Result<()>;

    /// Stops following.
    fn unfollow(&mut self, pid: i32, token: Token);

    /// The next thing that somebody who is followed has done, in order. `None`:
    /// that was all. What a process did before a moment at which it is seen to
    /// have ended comes before the first `None` after that moment.
    fn next_deed(&mut self) -> Option<(Token, Deed)>;

    /// Sets the bell.
    fn bell(&mut self, bell: Bell) -> Result<()>;

    /// Sets the bell to [`Bell::Hold`], so that it is news to whoever watches
    /// the queue, even if it was held already. Nobody is out to ring it.
    fn hold_bell_anew(&mut self) -> Result<()>;

    /// What [`Platform::ring`] needs.
    fn ringer(&self) -> Self::Ringer;

    /// Sets the bell to [`Bell::Ring`], without the lock: it wakes a thread
    /// that wants the lock at once. Nobody else sets the bell meanwhile.
    fn ring(ringer: Self::Ringer) -> Result<()>;

    /// Makes sure that [`Platform::alarm`] will not fail for want of anything.
    fn prepare_alarm(&mut self) -> Result<()>;

    /// Sets the alarm; one in the past goes off at once, `None` never, and that
    /// needs no preparation.
    fn alarm(&mut self, at: Option<Moment>) -> Result<()>;

    /// The monotonic clock.
    fn now() -> Moment;

    /// The time of day, as a span since 1970.
    fn wall() -> Span;

    /// Is this number of the application's open?
    fn is_open(&self, fd: Descriptor) -> bool;

    /// What [`Platform::wait`] needs to wait on this number. No lock needed.
    fn waiter(number: Descriptor) -> Self::Waiter;

    /// Room for what a wait finds.
    fn found() -> Self::Found;

    /// Waits for hints, at most `most` and at most [`Platform::BATCH`] of them,
    /// and says how many came. None at all: the time is up. Never returns
    /// early, except with EINTR. EBADF: the number is no longer a queue. Called
    /// without the lock, unless it is only to look.
    fn wait(
        waiter: Self::Waiter,
        found: &mut Self::Found,
        most: usize,
        patience: Patience,
        cancel: Cancel,
    ) -> Result<usize>;

    /// The same, and if the thread does not come back from it, `left` is called
    /// in its place with what it has found, where that can be learned.
    fn wait_unless_left<T>(
        waiter: Self::Waiter,
        found: &mut Self::Found,
        most: usize,
        (patience, cancel): (Patience, Cancel),
        (context, left): (&T, LeftBehind<T, Self::Found>),
    ) -> Result<usize> {
        let _ = (context, left);
        Self::wait(waiter, found, most, patience, cancel)
    }

    /// Calls `stay` with the state; if the thread does not come back from it,
    /// `left` is called, where that can be learned. What that is about to take
    /// a lock must not have been interrupted with it: see `reclaim`.
    fn unless_left<S, R>(state: &mut S, left: fn(&mut S), stay: impl FnOnce(&mut S) -> R) -> R {
        let _ = left;
        stay(state)
    }

    /// Gives back what locks of the platform's own the calling thread holds, in
    /// a call that it leaves for good.
    fn reclaim_own() {
        // Most have none.
    }

    /// The calling thread is about to wait, and may sleep. No lock is held.
    fn about_to_wait();

    /// A wait was interrupted: by nothing but signals that the application
    /// ignores, since [`Platform::about_to_wait`]? Natively they interrupt
    /// nothing.
    fn interrupted_in_vain() -> bool;

    /// Looks after what no wait tells of, before a thread sleeps on a queue
    /// whose knotes need it. EBADF: its number is something else by now.
    fn attend(&mut self, found: &mut Self::Found) -> Result<Attended>;

    /// Ends the calling thread here if it has been cancelled. Nothing is owned
    /// on its stack.
    fn cancellation_point();

    /// Takes the next hint out of what was found. There can be more of them
    /// than the wait counted, where one thing found stands for many. `None`:
    /// that was all. EBADF: what was found is not this queue's, and still there.
    fn next_hint(&mut self, found: &mut Self::Found) -> Result<Option<Hint>>;

    /// Is what was found this queue's, as far as can be told?
    fn has_sent(&self, found: &mut Self::Found) -> bool;
}
