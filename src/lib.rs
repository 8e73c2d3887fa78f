//! BSD `kqueue()` and `kevent()` on kernels that have none, as `libkqueue.so.0`.
//!
//! This crate is a C library; its interface is `include/sys/event.h`, generated
//! from `event` and `capi`. What it does, row by row, is in `BEHAVIOUR.md`.
//!
//! One sentence: the kernel waits, the core decides, the filters give meaning.
//!
//! | room | holds |
//! |---|---|
//! | `capi` | the exported functions: pointers, counts, errno, the trace |
//! | `registry` | which descriptor is which queue; close, dup, fork |
//! | `queue` | one queue: applying changes, collecting events |
//! | `filter` | one file a filter: what its numbers mean |
//! | `knote` | one registration; the table, the ready list, the alarms |
//! | `sys` | the platform contract, and a folder for each platform |
//! | `event`, `errno`, `clock`, `sync` | the interface's numbers; errors; time; atomics |
//!
//! Imports point down this table and never up: `ci/arrows.sh` keeps it so, and
//! keeps `unsafe` in `capi` and `sys`.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests say what they expect by failing"
    )
)]

pub mod capi;
mod clock;
mod errno;
pub mod event;
mod filter;
mod knote;
mod queue;
mod registry;
mod sync;
mod sys;
