//! A queue's outline, which is drawn anew while others go by it.

#[path = "../../../../../src/sys/linux/outline.rs"]
mod outline;

/// A kernel that knows sets. Those of a queue bear its mark.
mod epoll {
    use crate::errno::{Errno, Result};
    use crate::sys::{Bell, Descriptor};
    use loom::sync::Mutex;

    pub(super) const BELL: u64 = 1;

    #[derive(Clone, Default)]
    pub(super) struct Set {
        pub(super) is_queue: bool,
        pub(super) is_kept: bool,
        pub(super) members: Vec<Descriptor>,
        pub(super) held: Option<(Descriptor, u64)>,
    }

    loom::lazy_static! {
        pub(super) static ref SETS: Mutex<Vec<Set>> = Mutex::new(vec![Set::default(); 8]);
    }

    pub(super) fn set<R>(number: Descriptor, change: impl FnOnce(&mut Set) -> R) -> R {
        change(&mut SETS.lock().unwrap()[number as usize])
    }

    pub(super) fn remove(number: Descriptor, member: Descriptor) -> Result<()> {
        set(number, |set| set.members.retain(|there| *there != member));
        Ok(())
    }

    pub(super) fn hold(number: Descriptor, doorbell: Descriptor, _: Bell, data: u64) -> Result<()> {
        set(number, |set| {
            let found = set.members.contains(&doorbell).then_some((doorbell, data));
            set.held = found;
            found.map(|_| ()).ok_or(Errno::ENOENT)
        })
    }
}

mod doorbell {
    pub(super) use super::epoll::hold as set;
}

mod kept {
    use crate::sys::Descriptor;

    pub(super) enum Mark {
        Queue,
    }

    pub(super) fn bears(number: Descriptor, _: Mark) -> bool {
        super::epoll::set(number, |set| set.is_queue)
    }

    pub(super) fn is_kept(number: Descriptor) -> bool {
        super::epoll::set(number, |set| set.is_kept)
    }
}

mod objects {
    pub(super) use super::Native;
}

use super::descriptor::{self, Private};
use crate::sys::Descriptor;
use crate::{Model, check, spawn};
use epoll::Set;
use loom::sync::Arc;
use outline::Outline;

pub(crate) fn models() -> Vec<Model> {
    vec![
        ("outline::a_watch_is_taken_out_of_the_sets_drawn_before", taken_out),
        ("outline::a_set_that_has_become_a_strangers_is_let_be", strangers_are_let_be),
        ("outline::a_queue_that_moves_in_is_not_rung_for_the_last_one", not_rung_for_the_last),
    ]
}

/// A queue as the outline is drawn from it.
struct Native {
    number: Descriptor,
    doorbell: Option<Private>,
    second: Option<Private>,
    third: Option<Private>,
}

impl Native {
    fn new(number: Descriptor, nested: [Option<Descriptor>; 2]) -> Native {
        let [second, third] = nested.map(|number| number.map(Private::new));
        Native { number, doorbell: Some(Private::new(number + 1)), second, third }
    }

    fn private(&self, slot: u64) -> u64 {
        slot + self.number as u64
    }
}

const QUEUE: Descriptor = 0;
const SECOND: Descriptor = 2;
const THIRD: Descriptor = 3;
const OTHER: Descriptor = 4;
/// What is watched, and closed.
const FILE: Descriptor = 9;

#[derive(Copy, Clone, PartialEq, Eq)]
enum Of {
    Queue,
    Library,
    Stranger,
}

fn make(number: Descriptor, of: Of, members: &[Descriptor]) {
    let (is_queue, is_kept) = (of == Of::Queue, of == Of::Library);
    let members = members.to_vec();
    epoll::set(number, |set| *set = Set { is_queue, is_kept, members, held: None });
}

fn has_file(number: Descriptor) -> bool {
    epoll::set(number, |set| set.members.contains(&FILE))
}

/// Two numbers of a file are closed, while the queue gets one more set.
fn taken_out() {
    check(4, || {
        make(QUEUE, Of::Queue, &[QUEUE + 1, SECOND, FILE]);
        make(SECOND, Of::Library, &[FILE]);
        let outline = Arc::new(Outline::default());
        outline.draw(&Native::new(QUEUE, [Some(SECOND), None]));
        let closers = [(); 2].map(|()| {
            let outline = Arc::clone(&outline);
            spawn(move || outline.take_out(FILE))
        });
        epoll::set(QUEUE, |set| set.members.push(THIRD));
        outline.draw(&Native::new(QUEUE, [Some(SECOND), Some(THIRD)]));
        closers.into_iter().for_each(|closer| closer.join().unwrap());
        assert!(!has_file(QUEUE) && !has_file(SECOND));
    });
}

/// The program has put sets of its own under two of our numbers. The outline
/// still has them, and then no more.
fn strangers_are_let_be() {
    check(4, || {
        make(QUEUE, Of::Queue, &[QUEUE + 1, THIRD]);
        make(SECOND, Of::Stranger, &[FILE]);
        make(THIRD, Of::Library, &[FILE]);
        let outline = Arc::new(Outline::default());
        outline.draw(&Native::new(QUEUE, [Some(SECOND), Some(THIRD)]));
        let closer = {
            let outline = Arc::clone(&outline);
            spawn(move || outline.take_out(FILE))
        };
        // This one is another queue, which has moved in.
        make(OTHER, Of::Queue, &[OTHER + 1]);
        outline.draw(&Native::new(OTHER, [None, None]));
        closer.join().unwrap();
        assert!(has_file(SECOND));
    });
}

/// Who closes a number of the last queue's rings that one, if any.
fn not_rung_for_the_last() {
    check(4, || {
        make(QUEUE, Of::Queue, &[QUEUE + 1]);
        make(OTHER, Of::Queue, &[OTHER + 1]);
        let outline = Arc::new(Outline::default());
        outline.draw(&Native::new(QUEUE, [None, None]));
        let closer = {
            let outline = Arc::clone(&outline);
            spawn(move || outline.rouse(QUEUE))
        };
        outline.draw(&Native::new(OTHER, [None, None]));
        closer.join().unwrap();
        assert!(epoll::set(OTHER, |set| set.held.is_none()));
    });
}
