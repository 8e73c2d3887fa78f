//! One queue's kernel objects.

use super::descriptor::Private;
use super::files::Files;
use super::knocker::Knocker;
use super::mounts::MountTable;
use super::processes::Processes;
use super::processes::connector::Connector;
use super::signals::Signals;
use crate::sys::contract::Descriptor;

/// One queue's kernel objects.
#[derive(Debug)]
pub(crate) struct Native {
    /// The application's number for the set. Not ours to close.
    pub(super) number: Descriptor,
    pub(super) proved: bool,
    /// The number is a queue, as it seems this one: no stranger's epoll.
    pub(super) marked: bool,
    pub(super) cookie: u16,
    pub(super) doorbell: Option<Private>,
    pub(super) alarm: Option<Private>,
    pub(super) second: Option<Private>,
    pub(super) third: Option<Private>,
    /// Of a renewal: it may be in another queue's set, too.
    pub(super) spoilt_farewell: Option<Private>,
    /// Before the knocker: whoever may knock must know that it goes.
    pub(super) files: Files,
    pub(super) knocker: Option<Knocker>,
    pub(super) mounts: MountTable,
    pub(super) processes: Processes,
    pub(super) connector: Connector,
    pub(super) signals: Signals,
}
