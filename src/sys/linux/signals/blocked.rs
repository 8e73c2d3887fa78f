//! Signals that the waiting thread blocks, of which no handler will tell.
//!
//! A blocked signal is pending, and the kernel merges what is sent after it
//! without telling anybody. So the only way to learn of every one is to take
//! it, and it is taken if nobody else can: if it is pending for this thread
//! alone, or for the process while no other thread has it unblocked or waits
//! for it. If one has, the signal is that thread's, and the hook counts it
//! there. Whoever takes a signal counts it, and it can be taken once: nothing
//! is counted twice, whoever is quicker.
//!
//! A thread that handles a signal blocks it for as long, and takes the next one
//! when it returns: that is its too. (What it blocks in other handlers, or for
//! another moment, looks as if it were blocked for good.)

use super::super::proc::{Reading, list_numbers};
use super::super::syscall::thread_id;
use super::{kernel, table};
use crate::errno::{Errno, Result};
use std::ffi::CStr;

/// What of the pending signals may be taken.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Takeable {
    /// One of each: the rest may be somebody else's.
    pub(super) once: u64,
    /// All there are.
    pub(super) all: u64,
    /// Those that the threads which handle one of them take next.
    pub(super) awaited: u64,
}

/// Which of these, pending and blocked by the calling thread, are for it to
/// take? Without /proc nobody knows better, so all are.
pub(super) fn takeable(pending: u64) -> Takeable {
    if is_alone() {
        return Takeable { once: 0, all: pending, awaited: 0 };
    }
    // First who handles what, then what they block: one that returns in between
    // is seen handling, or with the mask that it had before.
    let handlers = Handlers::of(pending);
    let mut others = 0;
    let mut awaited = 0;
    let mut mine = pending;
    let myself = thread_id();
    let listed = each_thread(|thread, masks| {
        if thread == myself {
            mine = masks.pending;
        } else if !masks.has_ended {
            others |= !masks.blocked;
            awaited |= handlers.handled_by(thread);
        }
    });
    if listed.is_err() {
        others = 0;
        awaited = 0;
    }
    let theirs = others | awaited;
    Takeable { once: pending & mine & theirs, all: pending & !theirs, awaited: awaited & !others }
}

/// Who handles which signal.
struct Handlers([Option<i32>; kernel::LAST as usize + 1]);

impl Handlers {
    fn of(signals: u64) -> Handlers {
        let mut handlers = [None; kernel::LAST as usize + 1];
        for signal in kernel::each(signals) {
            if let Some(handler) = handlers.get_mut(signal as usize) {
                *handler = table::slot(signal).and_then(table::Slot::handler);
            }
        }
        Handlers(handlers)
    }

    fn handled_by(&self, thread: i32) -> u64 {
        let signals = (0..).zip(&self.0).filter(|(_, handler)| **handler == Some(thread));
        signals.fold(0, |set, (signal, _)| set | kernel::bit(signal))
    }
}

/// Nobody is taken to be handling these any more.
pub(super) fn wait_for_nobody(signals: u64) {
    for slot in kernel::each(signals).filter_map(table::slot) {
        if let Some(thread) = slot.handler() {
            slot.end_handling(thread);
        }
    }
}

/// Is the calling thread the only one? The folder of the threads has a link
/// for each, beside two.
fn is_alone() -> bool {
    let stat = nix::sys::stat::stat(c"/proc/self/task");
    stat.is_ok_and(|stat| stat.st_nlink == 3)
}

#[derive(Copy, Clone, Default)]
struct Masks {
    /// SigPnd: for this thread alone.
    pending: u64,
    /// SigBlk; less what the thread waits for at this moment.
    blocked: u64,
    /// It has ended and takes none. The first thread stays listed so, with the
    /// mask it had, until the process ends.
    has_ended: bool,
}

/// Calls `each` for every thread that can be asked; whether all could.
fn each_thread(mut each: impl FnMut(i32, Masks)) -> Result<()> {
    let mut asked = Ok(());
    list_numbers(c"/proc/self/task", &mut |thread| match masks_of(thread) {
        Ok(masks) => each(thread, masks),
        // One that ended meanwhile takes no signal.
        Err(Errno::ENOENT | Errno::ESRCH) => {}
        Err(error) => asked = Err(error),
    })?;
    asked
}

fn masks_of(thread: i32) -> Result<Masks> {
    use std::io::Write;
    let mut path = [0u8; 48];
    let mut rest: &mut [u8] = &mut path;
    // The longest number fits.
    let _ = write!(rest, "/proc/self/task/{thread}/status\0");
    let file = Reading::open(CStr::from_bytes_until_nul(&path).unwrap_or_default())?;
    let mut reader = Reader::default();
    let mut bytes = [0u8; 1024];
    loop {
        match file.read(&mut bytes)? {
            [] => return Ok(reader.masks),
            read => read.iter().for_each(|byte| reader.take(*byte)),
        }
    }
}

/// Finds the three lines byte by byte: lines before them can be long.
#[derive(Default)]
struct Reader {
    masks: Masks,
    /// The beginning of the line, as far as it has been read.
    name: [u8; 7],
    column: usize,
    value: u64,
}

impl Reader {
    fn take(&mut self, byte: u8) {
        if byte == b'\n' {
            match &self.name {
                b"SigPnd:" => self.masks.pending = self.value,
                b"SigBlk:" => self.masks.blocked = self.value,
                _ => {}
            }
            self.column = 0;
            self.value = 0;
            return;
        }
        match self.name.get_mut(self.column) {
            Some(place) => *place = byte,
            None => {
                if self.column == self.name.len() && &self.name == b"State:\t" {
                    self.masks.has_ended = matches!(byte, b'Z' | b'X');
                }
                if let Some(digit) = char::from(byte).to_digit(16) {
                    self.value = self.value << 4 | u64::from(digit);
                }
            }
        }
        self.column += 1;
    }
}

/// Takes what may be taken and calls `each` for every one. Which are left to the
/// threads that handle one of them?
pub(super) fn take(pending: u64, mut each: impl FnMut(i32)) -> u64 {
    let takeable = takeable(pending);
    for signal in kernel::each(takeable.once | takeable.all) {
        let all = takeable.all & kernel::bit(signal) != 0;
        // More than so many is a storm: the rest is still there next time.
        let most = if all { MOST } else { 1 };
        for _ in 0..most {
            if !kernel::take(signal) {
                break;
            }
            each(signal);
        }
    }
    takeable.awaited
}

const MOST: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_masks_are_found_among_long_lines() {
        let mut reader = Reader::default();
        let text = b"Name:\tSigBlk:\nGroups:\t1 2 3 4 5 6 7 8\nSigPnd:\t0000000000000200\n\
            ShdPnd:\t00000000000000ff\nSigBlk:\tfffffffe7ffbfeff\nSigIgn:\t0000000000000001\n";
        text.iter().for_each(|byte| reader.take(*byte));
        assert_eq!(reader.masks.pending, 0x200);
        assert_eq!(reader.masks.blocked, 0xffff_fffe_7ffb_feff);
        assert!(!reader.masks.has_ended);
    }

    #[test]
    fn a_thread_that_has_ended_is_told_by_its_state() {
        for (text, has_ended) in [
            ("Name:\tState:\tZ\nState:\tS (sleeping)\nTgid:\t1\n", false),
            ("Name:\ta\nState:\tZ (zombie)\nTgid:\t1\n", true),
            ("Name:\ta\nState:\tX (dead)\nTgid:\t1\n", true),
        ] {
            let mut reader = Reader::default();
            text.bytes().for_each(|byte| reader.take(byte));
            assert_eq!(reader.masks.has_ended, has_ended, "{text}");
        }
    }

    #[test]
    fn the_calling_thread_is_listed_with_its_masks() {
        let mut seen = None;
        each_thread(|thread, masks| {
            if thread == thread_id() {
                seen = Some(masks.blocked);
            }
        })
        .unwrap();
        assert_eq!(seen, Some(kernel::mask()));
    }
}
