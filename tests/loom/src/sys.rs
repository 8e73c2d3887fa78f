//! As much of the platform's contract, and of a kernel, as the models need.

pub(crate) mod contract;
pub(crate) mod linux;

pub(crate) use contract::{Bell, Descriptor};
pub(crate) use linux::lock::Mutex;
