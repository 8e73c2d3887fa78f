//! The bell of a queue: nobody sleeps while the list holds something.
//!
//! The state is the library's. The lines around it are those of `queue::ring`,
//! `Queue::settle`, `Queue::rung`, and of `collect`: `events`, `hand_over` and
//! `left`, with a list of numbers and a kernel that knows one bell.

#[path = "../../../src/queue/bell.rs"]
#[allow(dead_code, reason = "for the rest of the library")]
mod bell;

#[path = "../../../src/queue/calls.rs"]
#[allow(dead_code, reason = "for the rest of the library")]
mod calls;

use crate::clock::Moment;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::linux::closes::{self, words};
use crate::sys::{Bell, Descriptor};
use crate::{Model, check};
use bell::{Ringing, Step, Wake};
use calls::Calls;
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
use loom::thread::JoinHandle;

pub(crate) fn models() -> Vec<Model> {
    vec![
        ("bell::each_of_two_waiters_gets_one", each_of_two_waiters_gets_one),
        ("bell::one_waiter_gets_all", one_waiter_gets_all),
        ("bell::a_thread_that_leaves_takes_no_hint_with_it", a_thread_that_leaves),
        ("bell::a_queue_that_is_empty_falls_silent", a_queue_that_is_empty),
        ("bell::who_leaves_with_the_lock_lets_a_ringer_be", a_thread_that_leaves_the_lock),
        ("calls::each_close_is_looked_into", each_close_is_looked_into),
        ("calls::one_that_crosses_a_wait_is_not_slept_through", one_that_crosses_a_wait),
        ("calls::a_bell_that_is_held_again_is_put_to_rest", held_again),
    ]
}

struct Queue {
    list: Vec<u32>,
    ringing: Ringing,
}

/// What epoll does with the bell's entry: an edge goes to one wait, a level to
/// every one.
#[derive(Default)]
struct Kernel {
    edge: bool,
    level: bool,
}

struct Home {
    queue: Mutex<Queue>,
    kernel: Mutex<Kernel>,
    woken: Condvar,
}

impl Home {
    fn new() -> Arc<Home> {
        let queue = Mutex::new(Queue { list: Vec::new(), ringing: Ringing::new() });
        Arc::new(Home { queue, kernel: Mutex::new(Kernel::default()), woken: Condvar::new() })
    }

    fn set(&self, bell: Bell) {
        let mut kernel = self.kernel.lock().unwrap();
        *kernel = Kernel { edge: bell == Bell::Ring, level: bell == Bell::Hold };
        match bell {
            Bell::Rest => {}
            Bell::Ring => self.woken.notify_one(),
            Bell::Hold => self.woken.notify_all(),
        }
    }

    /// Sleeps until the bell tells something.
    fn wait(&self) {
        let mut kernel = self.kernel.lock().unwrap();
        while !kernel.edge && !kernel.level {
            kernel = self.woken.wait(kernel).unwrap();
        }
        kernel.edge = false;
    }

    fn settle(&self, queue: &mut Queue, wake: Wake) -> bool {
        match queue.ringing.step(queue.list.is_empty(), wake, 1) {
            Step::Nothing => false,
            Step::GoOut => true,
            Step::Set(bell) => {
                self.set(bell);
                queue.ringing.is_set(bell);
                false
            }
        }
    }

    /// A change puts something onto the list.
    fn put(&self, item: u32) {
        let mut queue = self.queue.lock().unwrap();
        queue.list.push(item);
        if !self.settle(&mut queue, Wake::One) {
            return;
        }
        drop(queue);
        self.set(Bell::Ring);
        let mut queue = self.queue.lock().unwrap();
        queue.ringing.is_back(true);
        self.settle(&mut queue, Wake::All);
    }

    /// A call with room for so many; it waits until it has one.
    fn take(&self, room: usize) -> Vec<u32> {
        loop {
            self.wait();
            let taken = self.hand_over(room);
            if !taken.is_empty() {
                return taken;
            }
        }
    }

    fn hand_over(&self, room: usize) -> Vec<u32> {
        let mut queue = self.queue.lock().unwrap();
        queue.ringing.hint_taken();
        let most = room.min(queue.list.len());
        let taken = queue.list.drain(..most).collect();
        self.settle(&mut queue, Wake::All);
        taken
    }
}

fn spawn(home: &Arc<Home>, run: impl FnOnce(&Home) + 'static) -> JoinHandle<()> {
    let home = Arc::clone(home);
    crate::spawn(move || run(&home))
}

fn join<const N: usize>(threads: [JoinHandle<()>; N]) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn each_of_two_waiters_gets_one() {
    check(3, || {
        let home = Home::new();
        let one = |home: &Home| assert_eq!(home.take(1).len(), 1);
        let waiters = [spawn(&home, one), spawn(&home, one)];
        let other = spawn(&home, |home| home.put(1));
        home.put(2);
        join([other]);
        join(waiters);
        assert!(home.queue.lock().unwrap().list.is_empty());
    });
}

fn one_waiter_gets_all() {
    check(4, || {
        let home = Home::new();
        let waiter = spawn(&home, |home| {
            let mut got = 0;
            while got < 3 {
                got += home.take(2).len();
            }
        });
        let other = spawn(&home, |home| home.put(1));
        home.put(2);
        home.put(3);
        join([other, waiter]);
        assert!(home.queue.lock().unwrap().list.is_empty());
    });
}

/// One is cancelled, or leaves by longjmp, with the hint that it has taken.
fn a_thread_that_leaves() {
    check(4, || {
        let home = Home::new();
        let goner = spawn(&home, |home| {
            home.wait();
            // As a call without room.
            home.hand_over(0);
        });
        let heir = spawn(&home, |home| assert_eq!(home.take(1), [1]));
        home.put(1);
        join([heir]);
        // Should the heir have been first, the goner sleeps still.
        home.put(2);
        join([goner]);
        assert_eq!(home.queue.lock().unwrap().list, [2]);
    });
}

fn a_queue_that_is_empty() {
    check(4, || {
        let home = Home::new();
        let waiter = spawn(&home, |home| assert_eq!(home.take(1), [1]));
        home.put(1);
        join([waiter]);
        // A ring that the waiter did not need may be left for one more call.
        let kernel = home.kernel.lock().unwrap();
        assert!(!kernel.level && !kernel.edge);
    });
}

/// One leaves by longjmp with the lock taken, and perhaps with a hint, while
/// another is out to ring. The lines are those of `Queue::mend`.
fn a_thread_that_leaves_the_lock() {
    const LEAVER: u32 = 2;
    check(4, || {
        let home = Home::new();
        let ringer = spawn(&home, |home| home.put(1));
        let leaver = spawn(&home, |home| {
            let mut queue = home.queue.lock().unwrap();
            home.kernel.lock().unwrap().edge = false;
            queue.ringing.left(LEAVER);
            home.settle(&mut queue, Wake::All);
        });
        assert_eq!(home.take(1), [1]);
        join([ringer, leaver]);
        // As a call that waits for nothing: it takes what there is to be taken.
        home.kernel.lock().unwrap().edge = false;
        home.hand_over(1);
        assert!(!home.kernel.lock().unwrap().level);
    });
}

/// Two threads close a number, twice, while a third looks into it. The lines
/// are those of `registry::closing`, which ends a number's life and then calls,
/// of `outline::end_life` and `life`, and of `Home::answer`.
fn each_close_is_looked_into() {
    check(3, || {
        let shared = Arc::new((Calls::new(), AtomicU64::new(0)));
        let close = |shared: &(Calls, AtomicU64)| {
            shared.1.fetch_add(1, Ordering::AcqRel);
            shared.0.lose(5);
        };
        let closers = [(); 2].map(|()| {
            let shared = Arc::clone(&shared);
            crate::spawn(move || close(&shared))
        });
        let (calls, life) = &*shared;
        let mut seen = 0;
        let mut look = || {
            if calls.any() {
                calls.take_lost(|_| seen = life.load(Ordering::Acquire));
            }
            seen
        };
        look();
        join(closers);
        assert_eq!(look(), 2);
    });
}

/// A number of the queue is closed: whoever waits by it is woken. The lines are
/// those of `Home::close`, with the bell left held.
fn one_that_crosses_a_wait() {
    check(4, || {
        closes::begin();
        words::begin_queue(NUMBER);
        let shared = Arc::new((Calls::new(), Home::new()));
        let closer = closes(&shared);
        if let Some(epoch) = shared.0.sleep(|| words::is_closed_queue(NUMBER)) {
            shared.1.wait();
            assert!(words::is_closed_queue(NUMBER) && shared.0.is_roused());
            shared.0.wake(epoch);
        }
        closer.join().unwrap();
        assert!(shared.0.is_over(Moment(0)));
    });
}

const NUMBER: Descriptor = 3;

type Callers = Arc<(Calls, Arc<Home>)>;

fn closes(shared: &Callers) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    crate::spawn(move || {
        words::end_queue(NUMBER);
        if shared.0.close(Moment(1)) {
            shared.1.set(Bell::Hold);
        }
    })
}

/// A thread waits by the number that is closed. Another one, by one that is not,
/// has been woken too, and holds the bell again for the first. It is not left
/// held when all is over. The lines are those of `Home::close`, `enter`, `answer`
/// and `keep_roused`.
fn held_again() {
    check(3, || {
        closes::begin();
        words::begin_queue(NUMBER);
        let shared = Arc::new((Calls::new(), Home::new()));
        let waits = |shared: &(Calls, Arc<Home>)| {
            if let Some(epoch) = shared.0.sleep(|| words::is_closed_queue(NUMBER)) {
                shared.1.wait();
                shared.0.wake(epoch);
            }
            enter(shared);
        };
        let waiter = {
            let shared = Arc::clone(&shared);
            crate::spawn(move || waits(&shared))
        };
        let other = {
            let shared = Arc::clone(&shared);
            crate::spawn(move || keep_roused(&shared))
        };
        words::end_queue(NUMBER);
        if shared.0.close(Moment(1)) {
            shared.1.set(Bell::Hold);
            shared.0.rouse(Moment(1));
        }
        waiter.join().unwrap();
        other.join().unwrap();
        enter(&shared);
        assert!(!shared.1.kernel.lock().unwrap().level);
    });
}

/// The queue, locked; and is somebody still to be woken?
fn enter<'a>((calls, home): &'a (Calls, Arc<Home>)) -> (MutexGuard<'a, Queue>, bool) {
    let mut queue = home.queue.lock().unwrap();
    let roused = calls.is_roused() && !calls.is_over(Moment(1));
    if calls.is_roused() && !roused {
        calls.calm();
        home.set(Bell::Rest);
        queue.ringing.is_set(Bell::Rest);
    }
    (queue, roused)
}

fn keep_roused(shared: &(Calls, Arc<Home>)) {
    if shared.0.is_roused()
        && let (_queue, true) = enter(shared)
    {
        shared.1.set(Bell::Hold);
    }
}
