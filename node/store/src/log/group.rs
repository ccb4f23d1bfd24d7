//! The operations that are written together, and how far their writing came.

use std::io;

use super::ahead::is_full;
use super::shared::{Committed, Queued};

/// A group on its way to the disk. Where the disk is full it stops before a record and goes on
/// from there later; all before that record is on disk then.
pub(super) struct Group {
    pub(super) queued: Vec<Queued>,
    pub(super) committed: Committed,
    /// Operations that were put into the journal.
    pub(super) operations: usize,
    /// Entries of the next operation that were put into the journal.
    pub(super) entries: usize,
}

/// Why a group is not on disk.
#[derive(Debug)]
pub(super) enum Halt {
    /// There is no space for another segment. The journal is whole and may be tried again.
    Full(io::Error),
    /// What is on disk is unknown. The journal must not be used again.
    Failed(io::Error),
}

impl Group {
    pub(super) fn new(queued: Vec<Queued>) -> Self {
        Self { queued, committed: Committed::default(), operations: 0, entries: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }
}

impl Halt {
    /// An error of a step that may find no space, leaves nothing then, and may be repeated.
    pub(super) fn for_space(error: io::Error) -> Self {
        if is_full(&error) { Self::Full(error) } else { Self::Failed(error) }
    }
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}
