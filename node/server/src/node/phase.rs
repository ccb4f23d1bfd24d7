//! What a node is.

use std::sync::Arc;

use conclave_core::{Core, Error, ErrorCode};

use super::Running;

/// A node's phase. Cheap to clone: a request keeps the phase it began in.
#[derive(Clone)]
pub(super) enum Phase {
    /// Belongs to no cluster yet: no log, no consensus.
    Alone,
    /// Replicates and votes; holds no key.
    Sealed(Arc<Running>),
    /// Serves.
    Unsealed(Arc<Running>, Arc<Core>),
}

impl Phase {
    /// The member's part, in every phase but [`Phase::Alone`].
    pub(super) fn running(&self) -> Option<&Arc<Running>> {
        match self {
            Self::Alone => None,
            Self::Sealed(running) | Self::Unsealed(running, _) => Some(running),
        }
    }

    /// The member's part and the core.
    ///
    /// # Errors
    /// `NotInitialized`, `Sealed`.
    pub(super) fn serving(&self) -> Result<(&Arc<Running>, &Arc<Core>), Error> {
        match self {
            Self::Alone => Err(not_initialized()),
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
