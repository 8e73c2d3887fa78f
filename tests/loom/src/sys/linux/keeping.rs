//! The numbers that the library keeps for itself, with forks.
//!
//! The lines around the table are those of `Private::new` and its drop in
//! `descriptor.rs`, of `disown_in_handler` in `forking.rs`, and of the
//! registry's `start`.

#[path = "../../../../../src/sys/linux/kept.rs"]
#[allow(dead_code, reason = "for the rest of the library")]
mod kept;

/// A kernel that knows descriptors, and of each one's file the signal.
mod syscall {
    use crate::errno::{Errno, Result};
    use crate::sys::Descriptor;
    use loom::sync::Mutex;

    pub(super) type Files = [Option<i32>; 4];

    loom::lazy_static! {
        pub(super) static ref FILES: Mutex<Files> = Mutex::new([None; 4]);
    }

    /// Makes a file, under the lowest number.
    pub(super) fn open() -> Descriptor {
        let mut files = FILES.lock().unwrap();
        let free = files.iter().position(Option::is_none).unwrap();
        files[free] = Some(0);
        free as Descriptor
    }

    pub(super) fn set_signal(fd: Descriptor, signal: i32) -> Result<()> {
        let mut files = FILES.lock().unwrap();
        *files[fd as usize].as_mut().ok_or(Errno::EBADF)? = signal;
        Ok(())
    }

    pub(super) fn signal(fd: Descriptor) -> i32 {
        FILES.lock().unwrap()[fd as usize].unwrap_or(-1)
    }

    pub(super) fn shut(fd: Descriptor) {
        FILES.lock().unwrap()[fd as usize] = None;
    }
}

use super::futex;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::sys::Descriptor;
use crate::{Model, check, spawn};
use kept::{Busy, Holders, Mark};
use loom::sync::Arc;
use syscall::{FILES, Files};

pub(crate) fn models() -> Vec<Model> {
    vec![
        ("kept::a_level_has_one_maker", a_level_has_one_maker),
        ("kept::the_later_holder_keeps_the_number", the_later_holder),
        ("kept::a_child_finds_all_that_is_marked", a_child_finds_all),
        ("kept::a_child_of_one_of_two_forks_finds_all_that_is_marked", of_two_forks),
        ("kept::a_child_of_a_handler_in_the_middle_is_quiet_again", a_handler_forks),
        ("kept::a_child_keeps_what_an_earlier_handler_made", an_earlier_handler),
        ("kept::a_child_closes_what_its_parent_had_and_nothing_else", a_child_closes),
    ]
}

/// In a child that is alone.
fn disown_in_handler(parents: Option<Holders>) {
    if let Some(parents) = parents {
        kept::disown(parents, true);
    }
    if kept::was_quiet() {
        return;
    }
    kept::nobody_is_busy();
    if parents.is_some() {
        kept::disown_all();
    }
    for number in (0..4).filter(|number| kept::bears(*number, Mark::Private)) {
        if !kept::is_written_down(number) {
            syscall::shut(number);
        }
    }
}

/// A number that the library keeps.
#[derive(Copy, Clone)]
struct Private(Descriptor, u64);

impl Private {
    fn new() -> Private {
        let _busy = Busy::new();
        let number = syscall::open();
        kept::mark(number, Mark::Private).unwrap();
        Private(number, kept::hold(number).unwrap())
    }

    fn is_ours(self) -> bool {
        kept::is_held_by(self.0, self.1)
    }

    fn drop(self) {
        if kept::release(self.0, self.1) && kept::bears(self.0, Mark::Private) {
            syscall::shut(self.0);
        }
    }
}

/// Two threads come to a part of the table that is not there, and a third one
/// looks.
fn a_level_has_one_maker() {
    check(4, || {
        let others = [5, 6].map(|number| spawn(move || (number, kept::hold(number).unwrap())));
        kept::is_held_by(5, 1);
        let serials = others.map(|other| {
            let (number, serial) = other.join().unwrap();
            assert!(kept::release(number, serial));
            serial
        });
        assert_ne!(serials[0], serials[1]);
    });
}

/// The program has closed a number of ours, and the kernel gave it to us again.
/// Who held it before gives it back late.
fn the_later_holder() {
    check(4, || {
        let first = Private::new();
        syscall::shut(first.0);
        let other = spawn(move || kept::release(first.0, first.1));
        let second = Private::new();
        assert_eq!(second.0, first.0);
        other.join().unwrap();
        assert!(second.is_ours());
        assert!(kept::release(second.0, second.1));
        assert!(!kept::release(second.0, second.1));
    });
}

/// What a child has of its parent. The descriptors are copied first, and then
/// the memory, word by word, while other threads run on.
struct Child {
    files: Files,
    words: [u64; 4],
    serial: u64,
    begun: u64,
    done: u64,
    quiet: u64,
}

/// Those of the first few numbers.
fn words() -> &'static [AtomicU64; 4] {
    // SAFETY: `hold` has made the level, in this thread, and nobody frees it.
    let middle = unsafe { &*kept::TABLE[0].load(Ordering::Relaxed) };
    // SAFETY: as above.
    unsafe { &*middle[0].load(Ordering::Relaxed) }
}

impl Child {
    fn of(words: &[AtomicU64; 4]) -> Child {
        kept::before_fork();
        Child {
            files: *FILES.lock().unwrap(),
            words: std::array::from_fn(|number| words[number].load(Ordering::Relaxed)),
            serial: kept::SERIAL.load(Ordering::Relaxed),
            quiet: kept::QUIET.load(Ordering::Relaxed),
            begun: kept::BEGUN.load(Ordering::Relaxed),
            done: kept::DONE.load(Ordering::Relaxed),
        }
    }

    /// The parent's threads are through. From now on this is the child, and the
    /// handler runs: no file that bears a mark is left.
    fn handle(self, words: &[AtomicU64; 4]) {
        self.begin(words);
        disown_in_handler(Some(kept::holders_until_now()));
        let files = *FILES.lock().unwrap();
        assert!(files.iter().all(|file| file.is_none_or(|signal| signal == 0)), "{files:?}");
    }

    fn begin(self, words: &[AtomicU64; 4]) {
        *FILES.lock().unwrap() = self.files;
        for (word, value) in words.iter().zip(self.words) {
            word.store(value, Ordering::Relaxed);
        }
        kept::SERIAL.store(self.serial, Ordering::Relaxed);
        kept::QUIET.store(self.quiet, Ordering::Relaxed);
        kept::BEGUN.store(self.begun, Ordering::Relaxed);
        kept::DONE.store(self.done, Ordering::Relaxed);
    }
}

fn a_child_finds_all() {
    check(4, || {
        let first = Private::new();
        let words = words();
        let other = spawn(move || {
            Private::new();
            first.drop();
            Private::new();
        });
        let child = Child::of(words);
        other.join().unwrap();
        child.handle(words);
    });
}

/// What the other one notes for its child is not taken for ours.
fn of_two_forks() {
    check(4, || {
        Private::new();
        let words = words();
        let maker = spawn(|| {
            Private::new();
        });
        let forker = spawn(|| kept::before_fork());
        let child = Child::of(words);
        maker.join().unwrap();
        forker.join().unwrap();
        child.handle(words);
    });
}

/// A signal handler forks on top of a thread that makes something, while another
/// one does. In the child it goes on, and when it is through, all is quiet.
fn a_handler_forks() {
    check(4, || {
        Private::new();
        let words = words();
        let other = spawn(|| {
            Private::new();
        });
        let busy = Busy::new();
        let child = Child::of(words);
        other.join().unwrap();
        child.handle(words);
        // It makes something before it returns.
        Private::new();
        assert_eq!(kept::BEGUN.load(Ordering::Relaxed), kept::DONE.load(Ordering::Relaxed));
        drop(busy);
        kept::before_fork();
        assert!(kept::was_quiet());
        let busy = Busy::new();
        kept::before_fork();
        assert!(!kept::was_quiet());
        drop(busy);
    });
}

/// A handler that runs before ours makes something.
fn an_earlier_handler() {
    check(4, || {
        Private::new();
        let words = words();
        let other = spawn(|| {
            Private::new();
        });
        let child = Child::of(words);
        other.join().unwrap();
        child.begin(words);
        kept::disown(kept::holders_until_now(), true);
        let mine = Private::new();
        disown_in_handler(None);
        assert!(mine.is_ours());
    });
}

/// The fork ran no handler, and the child's first two calls are made at once.
/// The parent keeps one number, and has given another back.
fn a_child_closes() {
    check(3, || {
        let parents = [(); 2].map(|()| Private::new());
        parents[0].drop();
        let registry = Arc::new(AtomicBool::new(false));
        let call = |registry: &AtomicBool| {
            let holders = kept::holders_until_now();
            if !registry.load(Ordering::Acquire) {
                kept::disown(holders, true);
                let (acq_rel, acquire) = (Ordering::AcqRel, Ordering::Acquire);
                let _ = registry.compare_exchange(false, true, acq_rel, acquire);
            }
            Private::new()
        };
        let other = {
            let registry = Arc::clone(&registry);
            spawn(move || call(&registry))
        };
        let mine = call(&registry);
        let others = other.join().unwrap();
        assert!(mine.is_ours() && others.is_ours());
        assert!(!parents[1].is_ours());
        assert_eq!(FILES.lock().unwrap().iter().flatten().count(), 2);
    });
}
