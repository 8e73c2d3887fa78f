//! How often a signal has come, and whom to ring when it comes.
//!
//! Who writes: the handler, on any thread at any moment, the count; the holder
//! of the ledger's lock the list, and a queue, with its own lock, the node that
//! it was given. Who reads: the handler the list and its nodes, a queue the
//! count. A handler may interrupt any of this, and a fork too, so no step
//! waits and each leaves something good:
//!
//! - The list only grows, at its head. A node is whole before it is published,
//!   and is never freed; one that is given up says so in its one word, and is
//!   used again.
//! - The handler counts first and then reads whom to ring, which is the head of
//!   the list and the node's word; a queue writes these first and then reads the
//!   count. All are SeqCst, so of two that cross at least one sees the other:
//!   either the signal is in the count that the queue starts from, or the queue
//!   is rung. (With less, a processor may read the head before its count is seen
//!   by others.)
//! - Whoever was rung quenches its knocker first and then reads the counts. The
//!   handler counts before it rings; so a signal that was not read rings after
//!   the quenching. See [`crate::sys::linux::knocker`].
//! - A node that is used again may ring its new queue for a signal that came
//!   before it had the node, or its old one's knocker once more. A queue that
//!   is rung for nothing looks at its counts and goes back to sleep.

use crate::sync::{AtomicPtr, AtomicU64, Ordering, const_fn};
use crate::sys::linux::knocker::Knock;

#[derive(Debug)]
pub(super) struct Count {
    total: AtomicU64,
    first: AtomicPtr<Node>,
}

/// A queue to ring.
#[derive(Debug)]
pub(super) struct Node {
    /// Its knock, or [`NOBODY`].
    knock: AtomicU64,
    next: AtomicPtr<Node>,
}

const NOBODY: u64 = u64::MAX;

impl Node {
    pub(super) fn new() -> Node {
        Node { knock: AtomicU64::new(NOBODY), next: AtomicPtr::new(core::ptr::null_mut()) }
    }

    /// From now on the signal rings this queue; or nobody.
    pub(super) fn lead_to(&self, knock: Option<Knock>) {
        // SeqCst: before the count is read, see above.
        self.knock.store(knock.map_or(NOBODY, Knock::to_bits), Ordering::SeqCst);
    }
}

impl Count {
    const_fn! {
        pub(super) fn new() -> Count {
            Count { total: AtomicU64::new(0), first: AtomicPtr::new(core::ptr::null_mut()) }
        }
    }

    pub(super) fn total(&self) -> u64 {
        // SeqCst: after the knock is written, see above.
        self.total.load(Ordering::SeqCst)
    }

    /// The signal came once: counts it and rings, but for one who knows.
    /// Async-signal-safe.
    pub(super) fn one_more(&self, knows: Option<&Node>) {
        self.total.fetch_add(1, Ordering::SeqCst);
        let knows = knows.map_or(core::ptr::null(), core::ptr::from_ref);
        self.nodes().filter(|node| !core::ptr::eq(*node, knows)).for_each(|node| {
            let knock = node.knock.load(Ordering::SeqCst);
            if knock != NOBODY {
                // It fails if the queue's numbers have been closed, and then
                // there is nobody to wake.
                let _ = Knock::from_bits(knock).ring();
            }
        });
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &'static Node> {
        // SeqCst: after the count, see above. Pairs with the store in
        // `put_first` too.
        let mut next = self.first.load(Ordering::SeqCst);
        core::iter::from_fn(move || {
            // SAFETY: null or a node, which is never freed.
            let node = unsafe { next.as_ref() }?;
            next = node.next.load(Ordering::Relaxed);
            Some(node)
        })
    }

    /// Puts a new node before the others. With the ledger's lock.
    pub(super) fn put_first(&self, node: &'static Node) {
        node.next.store(self.first.load(Ordering::Relaxed), Ordering::Relaxed);
        // SeqCst: before the count is read, see above. With it goes the node,
        // and those behind it.
        self.first.store(core::ptr::from_ref(node).cast_mut(), Ordering::SeqCst);
    }
}
