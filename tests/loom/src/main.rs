//! Models of the library's lock-free parts, which loom runs in every order that
//! threads and memory allow, up to a bound.
//!
//! The files are the library's own, taken in by their paths. What is around them
//! is not: `sync` has loom's atomics, `sys` has a lock of loom's and as much of
//! a kernel as the models need. Where a protocol needs two files, and one is too
//! large to be taken in, the model repeats its lines and says where they are.
//!
//! A model fails by an assertion, by a read that races with a write (loom's
//! cells notice), or by threads that all sleep: a wake-up was lost.
//!
//! Weaken each ordering once, and a model must fail. These are known to pass, and
//! are there on the strength of what is said beside them: Relaxed for BEGUN, for
//! DONE before a fork, for SERIAL and for the exchange in `disown` (`kept`), for
//! the pointer in `word` and the losing side in `make`, for CLOSING, and what is
//! SeqCst of the queue's bit as AcqRel (`words`).

#[path = "../../../src/clock.rs"]
#[allow(dead_code, reason = "most of it is for the rest of the library")]
mod clock;
#[path = "../../../src/errno.rs"]
#[allow(dead_code, reason = "most of it is for the rest of the library")]
mod errno;
#[path = "../../../src/event.rs"]
#[allow(dead_code, reason = "most of it is for the rest of the library")]
mod event;
mod queue;
mod registry;
mod sync;
mod sys;

use libtest_mimic::{Arguments, Trial};

fn main() -> std::process::ExitCode {
    let models = [
        queue::models(),
        registry::models(),
        sys::linux::lock_models(),
        sys::linux::forked::models(),
        sys::linux::keeping::models(),
        sys::linux::closes::models(),
        sys::linux::outlines::models(),
        sys::linux::files::models(),
        sys::linux::signals::models(),
    ];
    let trials = models.into_iter().flatten().map(|(name, model)| {
        Trial::test(name, move || {
            model();
            Ok(())
        })
    });
    // One at a time: some models have statics of the library's.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

type Model = (&'static str, fn());

/// Runs a model in every order that takes the processor from a thread at most
/// so many times while it could go on. Most bugs need one or two.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    let model = std::sync::Arc::new(model);
    builder.check(move || {
        let model = std::sync::Arc::clone(&model);
        spawn(move || model()).join().unwrap();
    });
}

/// Makes a thread of the model. loom's own stacks have no room for the words of
/// a panic.
fn spawn<R: Send + 'static>(run: impl FnOnce() -> R + 'static) -> loom::thread::JoinHandle<R> {
    struct Sent<T>(T);
    // SAFETY: to the system, the threads of a model are one; what races among
    // them loom's cells notice.
    unsafe impl<T> Send for Sent<T> {}
    impl<T: FnOnce() -> R, R> Sent<T> {
        fn run(self) -> R {
            (self.0)()
        }
    }
    let run = Sent(run);
    let words = 1 << 15;
    loom::thread::Builder::new().stack_size(words).spawn(move || run.run()).unwrap()
}
