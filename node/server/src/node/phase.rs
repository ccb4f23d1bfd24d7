//! What a node is.

use std::sync::Arc;

use conclave_core::{Core, Error, ErrorCode};

use super::out::Outside;
use super::{Opened, Running};

/// A node's phase. Cheap to clone: a request keeps the phase it began in.
#[derive(Clone)]
pub(super) enum Phase {
    /// Belongs to no cluster yet: no log, no consensus.
    Alone,
    /// Belongs to one, and asks its peers whether they saw more of it than it has. It answers such
    /// questions, and nothing else: no log entry and no vote.
    Greeting(Arc<Opened>),
    /// Takes no part any more.
    Out(Arc<Outside>),
    /// Could not write its state and has closed its files; it opens them again when there is space.
    Halted(Halted),
    /// Replicates and votes; holds no key.
    Sealed(Arc<Running>),
    /// Serves.
    Unsealed(Arc<Running>, Arc<Core>),
}

/// Who waits for space.
#[derive(Clone, Copy)]
pub(super) struct Halted {
    pub(super) cluster_id: [u8; 16],
    pub(super) node_id: u64,
}

impl Phase {
    /// The member's part, where consensus runs.
    pub(super) fn running(&self) -> Option<&Arc<Running>> {
        match self {
            Self::Alone | Self::Greeting(_) | Self::Out(_) | Self::Halted(_) => None,
            Self::Sealed(running) | Self::Unsealed(running, _) => Some(running),
        }
    }

    /// The open data directory, where there is one.
    pub(super) fn opened(&self) -> Option<&Arc<Opened>> {
        match self {
            Self::Alone | Self::Out(_) | Self::Halted(_) => None,
            Self::Greeting(opened) => Some(opened),
            Self::Sealed(running) | Self::Unsealed(running, _) => Some(&running.opened),
        }
    }

    /// The member's part and the core.
    ///
    /// # Errors
    /// `NotInitialized`, `Sealed`, `Quarantined`.
    pub(super) fn serving(&self) -> Result<(&Arc<Running>, &Arc<Core>), Error> {
        match self {
            Self::Alone => Err(not_initialized()),
            Self::Greeting(_) => Err(starting()),
            Self::Out(outside) => Err(outside.refusal()),
            Self::Halted(_) => Err(halted()),
            Self::Sealed(_) => Err(sealed()),
            Self::Unsealed(running, core) => Ok((running, core)),
        }
    }
}

pub(super) fn not_initialized() -> Error {
    Error::new(
        ErrorCode::NotInitialized,
        "this node belongs to no cluster; initialise one with `conclave operator init` or join one",
    )
}

pub(super) fn sealed() -> Error {
    Error::new(ErrorCode::Sealed, "Vault is sealed")
}

/// As sealed as a sealed node, for whoever asks; the text says what it waits for.
pub(super) fn starting() -> Error {
    Error::new(
        ErrorCode::Sealed,
        "this node has just started and waits for a majority of its peers; check that they run",
    )
}

pub(super) fn halted() -> Error {
    Error::new(
        ErrorCode::DiskFull,
        "this node waits for disk space and goes on by itself when there is some; ask another one",
    )
}
