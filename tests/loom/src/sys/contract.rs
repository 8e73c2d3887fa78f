//! Of the contract.

/// Small, so that the table of descriptors is small too.
pub(crate) type Descriptor = i8;

/// As the contract's.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Bell {
    Rest,
    Ring,
    Hold,
}

/// As the contract's.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Watchers {
    None,
    One(u32),
    Any,
}
