//! A hook: an entry's place on a watch. Each entry has two, one to hang on the
//! watch of its own inode, one for that of its parent.

use super::inotify::Role;

/// No entry, and no hook.
pub(super) const NONE: u32 = u32::MAX;

const NO_WATCH: i32 = -1;

/// A place on a watch's list.
#[derive(Copy, Clone, Debug)]
pub(super) struct Hook {
    pub(super) watch: i32,
    /// The next hook, as [`hook_id`] has it.
    pub(super) next: u32,
    /// It is told of nothing before this mark.
    pub(super) since: i32,
}

impl Hook {
    pub(super) const NONE: Hook = Hook { watch: NO_WATCH, next: NONE, since: 0 };

    pub(super) fn is_free(&self) -> bool {
        self.watch == NO_WATCH
    }
}

/// An entry's hook as one number.
pub(super) fn hook_id(place: u32, role: Role) -> u32 {
    place << 1 | u32::from(role == Role::Parent)
}

/// Which entry's which hook a number means.
pub(super) fn hook_of(id: u32) -> Option<(u32, Role)> {
    let role = if id & 1 == 0 { Role::Own } else { Role::Parent };
    (id != NONE).then_some((id >> 1, role))
}
