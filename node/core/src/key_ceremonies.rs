//! The port through which `sys/` routes reach the holders of the seal's shares.
//!
//! An attempt is the cluster's: its steps arrive at any node and run on the leader, which holds what
//! was given. It ends with that leadership; its holders then begin again.

use conclave_mount::EngineError as Error;
use futures::future::BoxFuture;
use zeroize::Zeroizing;

/// A share as it was handed out, or is to be.
pub type Share = Zeroizing<Vec<u8>>;

/// A step of an attempt at a root token.
pub enum RootStep {
    /// Only tells how far it is.
    Look,
    /// Begins one, whose token will be hidden by this one-time pad.
    Start {
        /// As long as a token.
        otp: Zeroizing<String>,
    },
    /// Ends it; with a nonce, only the attempt that has it.
    Cancel {
        /// Of the attempt.
        nonce: Option<String>,
    },
    /// One more share.
    Give {
        /// Of the attempt.
        nonce: String,
        /// Of the set in force.
        share: Share,
    },
    /// The token was made.
    End {
        /// Of the attempt.
        nonce: String,
    },
}

/// How far an attempt at a root token is.
#[derive(Default)]
pub struct RootProgress {
    /// Of the attempt; empty where none is under way.
    pub nonce: String,
    /// Shares given.
    pub given: u8,
    /// How many are needed.
    pub required: u8,
    /// The one-time pad, once enough were given: a root token may be made.
    pub granted: Option<Zeroizing<String>>,
}

/// A step of an attempt at new shares.
pub enum RekeyStep {
    /// Only tells how far it is.
    Look,
    /// Begins one.
    Start(RekeyPlan),
    /// Ends it; with a nonce, only the attempt that has it.
    Cancel {
        /// Of the attempt.
        nonce: Option<String>,
    },
    /// One more share of the set in force.
    Give {
        /// Of the attempt.
        nonce: String,
        /// Of the set in force.
        share: Share,
    },
    /// Begins the verification over.
    RestartVerification,
    /// One more of the new shares.
    Verify {
        /// Of the verification.
        nonce: String,
        /// Of the new set.
        share: Share,
    },
}

/// What a new set of shares is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RekeyPlan {
    /// How many shares are handed out.
    pub shares: u8,
    /// How many of them are needed.
    pub threshold: u8,
    /// Whether the new set waits until enough of its shares came back.
    pub verify: bool,
}

/// How far an attempt at new shares is.
#[derive(Default)]
pub struct RekeyProgress {
    /// Of the attempt; empty where none is under way.
    pub nonce: String,
    /// Shares given.
    pub given: u8,
    /// How many are needed.
    pub required: u8,
    /// Of the attempt.
    pub plan: RekeyPlan,
    /// Of the verification; empty where none is under way.
    pub verification_nonce: String,
    /// New shares that came back.
    pub verified: u8,
    /// The new shares, in the one answer that hands them out.
    pub new_shares: Vec<Share>,
    /// The new set has taken the place of the old one.
    pub replaced: bool,
}

/// Whose shares an attempt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareSet {
    /// They unseal the nodes.
    Unseal,
    /// They decide, and unseal only where the nodes cannot do it by themselves.
    Recovery,
}

/// What `sys/` routes may ask of the node about shares. The steps run on the leader.
pub trait KeyCeremonies: Send + Sync + 'static {
    /// Whether this cluster lets callers without a token begin and cancel attempts, as Vault once
    /// did.
    fn are_open(&self) -> bool;

    /// Takes a step towards a root token.
    ///
    /// # Errors
    /// `InvalidRequest` says what is wrong with the step; `NoLeader` where this node does not lead.
    fn root_step(&self, step: RootStep) -> Result<RootProgress, Error>;

    /// Takes a step towards new shares.
    ///
    /// # Errors
    /// As [`Self::root_step`]; `OutcomeUnknown` where either set may be in force: the last share may
    /// be given again.
    fn rekey_step(
        &self,
        set: ShareSet,
        step: RekeyStep,
    ) -> BoxFuture<'_, Result<RekeyProgress, Error>>;
}
