//! The mailboxes of queues that share an inotify instance.
//!
//! The lines around them are those of `Native::knocked` (`sets.rs`), which
//! quenches and then empties, and of `Instance::read`.

#[path = "../../../../../src/sys/linux/files/shared.rs"]
#[allow(dead_code, reason = "for the rest of the library")]
mod shared;

mod notes {
    #[derive(Copy, Clone, PartialEq, Eq, Debug)]
    pub(super) enum Change {
        Overflow,
        Written,
        #[allow(dead_code, reason = "no file goes here")]
        Dropped,
    }

    impl Change {
        pub(super) fn is_counted(self) -> bool {
            true
        }
    }
}

/// The instance: a letter for each time that its watch is stirred.
mod inotify {
    use super::super::epoll;
    use super::notes::Change;
    use crate::errno::Result;
    use crate::sys::Descriptor;

    pub(super) type Letter = (i32, Change);

    #[derive(Copy, Clone, Debug)]
    pub(super) enum Role {
        Own,
    }

    #[derive(Debug)]
    pub(super) struct Inotify;

    impl Inotify {
        pub(super) fn new() -> Result<Inotify> {
            Ok(Inotify)
        }

        pub(super) fn number(&self) -> Result<Descriptor> {
            Ok(epoll::INOTIFY)
        }

        pub(super) fn add(&self, fd: Descriptor, _: Role, _: u32) -> Result<i32> {
            Ok(i32::from(fd))
        }

        pub(super) fn remove(&self, _: i32) {}

        pub(super) fn is_behind(&self) -> Result<bool> {
            Ok(epoll::call(|kernel| !kernel.unread.is_empty()))
        }

        pub(super) fn mark(&self) -> Result<i32> {
            Ok(0)
        }

        pub(super) fn read(&mut self, mut each: impl FnMut(Letter)) -> bool {
            let unread = epoll::call(|kernel| std::mem::take(&mut kernel.unread));
            for watch in unread {
                let change = if watch < 0 { Change::Overflow } else { Change::Written };
                each((watch, change));
            }
            false
        }
    }
}

use super::descriptor::Private;
use super::knocker::Knocker;
use super::{epoll, per_process};
use crate::sys::Descriptor;
use crate::{Model, check, spawn};
use inotify::Role;
use shared::Member;

pub(crate) fn models() -> Vec<Model> {
    vec![
        ("mailboxes::each_queue_gets_each_letter", each_gets_each),
        ("mailboxes::a_loss_is_told_to_every_queue", a_loss_is_told),
    ]
}

const FILES: u64 = 1;
const KNOCK: u64 = 2;
/// The file that all watch, and so its watch.
const FILE: Descriptor = 5;

struct Queue {
    set: Descriptor,
    knocker: Knocker,
    member: Member,
}

/// Those of one process; what the last run had is forgotten.
fn queues() -> [Queue; 2] {
    per_process::begin();
    [(); 2].map(|()| {
        let set = epoll::create_private().unwrap().number();
        let knocker = Knocker::new(set, KNOCK, &Private::new(epoll::BELL)).unwrap();
        let member = Member::join(set, FILES, knocker.knock()).unwrap();
        member.add(FILE, Role::Own, 0).unwrap();
        Queue { set, knocker, member }
    })
}

impl Queue {
    /// Collects until so many letters have come, or some were lost.
    fn collect(self, most: usize) -> (usize, bool) {
        let mut got = 0;
        loop {
            for data in epoll::wait(self.set) {
                if data == KNOCK {
                    self.knocker.quench().unwrap();
                } else {
                    self.member.read();
                }
                let mut letters = Vec::new();
                let lost = self.member.take(&mut letters);
                got += letters.len();
                if lost || got >= most {
                    return (got, lost);
                }
            }
        }
    }
}

/// Something happens to a file; or too much, if it is none.
fn stir(watch: i32) {
    epoll::call(|kernel| kernel.unread.push(watch));
}

fn each_gets_each() {
    check(3, || {
        let threads = queues().map(|queue| spawn(|| queue.collect(2)));
        stir(i32::from(FILE));
        stir(i32::from(FILE));
        for thread in threads {
            assert_eq!(thread.join().unwrap(), (2, false));
        }
    });
}

fn a_loss_is_told() {
    check(3, || {
        let threads = queues().map(|queue| spawn(|| queue.collect(2)));
        stir(i32::from(FILE));
        stir(-1);
        for thread in threads {
            assert!(thread.join().unwrap().1);
        }
    });
}
