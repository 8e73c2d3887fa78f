//! Where the trace goes: whether it is on, what its lines begin with, and who
//! gets them.
//!
//! A line is built on the stack and written at once, without a lock and
//! without memory, so tracing changes nothing for threads, forked children and
//! programs that are out of memory.

use crate::sync::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use crate::sys::{self, Native, Platform};
use core::ffi::{CStr, c_char, c_void};
use core::fmt::{self, Write};

/// Not asked yet: the environment decides.
const ASK: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(ASK);
/// What lines begin with, padded with NULs; nothing: the usual. Words, so that
/// no lock is needed: a line traced while the prefix is set may mix the two.
static PREFIX: [AtomicU64; PREFIX_ROOM / 8] = [const { AtomicU64::new(0) }; PREFIX_ROOM / 8];
const PREFIX_ROOM: usize = 32;
/// NOTE_DEBUG_FUNC, or 0.
static FUNCTION: AtomicUsize = AtomicUsize::new(0);

#[inline]
pub(super) fn is_on() -> bool {
    match STATE.load(Ordering::Relaxed) {
        OFF => false,
        ASK => ask_environment(),
        _ => true,
    }
}

#[cold]
fn ask_environment() -> bool {
    // SAFETY: a name that ends in NUL; the value is read at once.
    let value = unsafe { libc::getenv(c"KQUEUE_DEBUG".as_ptr()) };
    let on = !value.is_null() && {
        // SAFETY: not null, so a string of the environment.
        let value = unsafe { CStr::from_ptr(value) };
        !value.is_empty() && value != c"0"
    };
    // NOTE_DEBUG may have come first, and then stands.
    let decided = if on { ON } else { OFF };
    let _ = STATE.compare_exchange(ASK, decided, Ordering::Relaxed, Ordering::Relaxed);
    STATE.load(Ordering::Relaxed) == ON
}

/// Turns the trace on or off; what it was.
pub(super) fn switch(on: bool) -> bool {
    let was = is_on();
    STATE.store(if on { ON } else { OFF }, Ordering::Relaxed);
    was
}

/// Begins lines with this; `None`: with the usual.
pub(super) fn set_prefix(text: Option<&CStr>) {
    let mut bytes = [0; PREFIX_ROOM];
    // The last byte stays NUL.
    let text = text.map_or(&b""[..], CStr::to_bytes);
    for (place, byte) in bytes.iter_mut().take(PREFIX_ROOM - 1).zip(text) {
        *place = *byte;
    }
    for (word, bytes) in PREFIX.iter().zip(bytes.as_chunks::<8>().0) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
}

/// Hands lines to this function; 0: writes them to standard error.
pub(super) fn set_function(function: usize) {
    FUNCTION.store(function, Ordering::Release);
}

/// Writes one line. errno is the caller's business: it is put back.
#[cold]
pub(super) fn say(what: fmt::Arguments<'_>) {
    let errno = sys::errno();
    let mut line = Line::new();
    let micros = Native::now().0 / 1000;
    line.put_prefix();
    // Neither can fail: a line that is full drops the rest.
    let _ = write!(
        line,
        " {}/{} {}.{:06} ",
        std::process::id(),
        sys::thread_id(),
        micros / 1_000_000,
        micros % 1_000_000
    );
    let _ = line.write_fmt(what);
    match FUNCTION.load(Ordering::Acquire) {
        0 => {
            line.put(b"\n");
            sys::print(line.text());
        }
        function => hand_to(function, line),
    }
    sys::set_errno(errno);
}

/// What a printf-like function is called as. The second argument is there for
/// those that take a va_list, which is passed as a pointer to one (or fits
/// where a pointer goes); as the format has no conversions nobody reads it.
type Printer = unsafe extern "C" fn(*const c_char, ...);

fn hand_to(function: usize, line: Line) {
    let mut format = Line::new();
    for byte in line.text() {
        format.put(if *byte == b'%' { b"%%" } else { core::slice::from_ref(byte) });
    }
    let function: *const c_void = core::ptr::with_exposed_provenance(function);
    // SAFETY: the interface says that NOTE_DEBUG_FUNC is given such a function.
    let function = unsafe { core::mem::transmute::<*const c_void, Printer>(function) };
    let mut arguments = [0u64; 8];
    // SAFETY: the format ends in NUL and lives across the call; so does the
    // memory that stands for an empty argument list.
    unsafe { function(format.text_with_nul().as_ptr().cast(), arguments.as_mut_ptr()) };
}

const ROOM: usize = 512;

/// A line of bounded length.
struct Line {
    bytes: [u8; ROOM],
    len: usize,
}

impl Line {
    fn new() -> Line {
        Line { bytes: [0; ROOM], len: 0 }
    }

    /// Appends; what does not fit, the last byte being kept for a NUL or a
    /// line's end, is dropped.
    fn put(&mut self, text: &[u8]) {
        for byte in text {
            let last = ROOM - if *byte == b'\n' { 1 } else { 2 };
            if let Some(place) = self.bytes.get_mut(self.len).filter(|_| self.len < last) {
                *place = *byte;
                self.len += 1;
            }
        }
    }

    fn put_prefix(&mut self) {
        for word in &PREFIX {
            let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            self.put(bytes.split(|byte| *byte == 0).next().unwrap_or_default());
        }
        if self.len == 0 {
            self.put(b"KQ");
        }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn text_with_nul(&self) -> &[u8] {
        self.bytes.get(..=self.len).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}
