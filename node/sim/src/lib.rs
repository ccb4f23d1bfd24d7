//! A whole cluster in one thread under one seed.
//!
//! Owns the simulated world (time, chance, disks, network, processes that die), the faults, the
//! workload, and the invariants that are checked after each step. What runs in it is the real
//! thing: consensus, log, state, barrier and core; only the log's thread and the sockets are
//! replaced. Its invariant: the same seed is the same run, event for event, so that a failure is
//! replayed by its number. Production code must never import it.
//!
//! Suggested reading order: [`Run`], `cluster`, `node`, `world`, `faults`, `workload`,
//! `invariants`.

mod run;

mod cluster;
mod node;
mod operator;
mod request;

mod world;

mod faults;
mod workload;

mod invariants;

mod campaign;
mod coverage;
mod trace;

pub use campaign::{Campaign, Report};
pub use coverage::Coverage;
pub use invariants::Violation;
pub use run::{Outcome, Run};

/// A bug that is put in on purpose, to see that it is found.
///
/// It is found where an invariant does not hold, and also where a defence notices it first: a node
/// whose disk had no other fault refuses to open it, or is told by its peers to stay out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// Writes are acknowledged before they are durable: the disk's syncs do nothing.
    SkippedFsync,
    /// The log is not synced where a vote is among what is written.
    SkippedVoteFsync,
    /// Snapshots are not synced.
    SkippedSnapshotFsync,
    /// Directories are not synced.
    SkippedDirectoryFsync,
    /// A vote is answered before it is saved, and the process ends in between.
    ForgottenVote,
    /// Replicas stamp their own clock into what they apply.
    ClockInApply,
    /// The conditions of a command are not looked at.
    UncheckedCondition,
    /// A machine with an empty disk takes part under the id it had, and nobody asks.
    ReusedId,
    /// A follower answers reads from what it has, without a read barrier.
    StaleFollowerRead,
}

impl Plant {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SkippedFsync => "skipped-fsync",
            Self::SkippedVoteFsync => "skipped-vote-fsync",
            Self::SkippedSnapshotFsync => "skipped-snapshot-fsync",
            Self::SkippedDirectoryFsync => "skipped-directory-fsync",
            Self::ForgottenVote => "forgotten-vote",
            Self::ClockInApply => "clock-in-apply",
            Self::UncheckedCondition => "unchecked-condition",
            Self::ReusedId => "reused-id",
            Self::StaleFollowerRead => "stale-follower-read",
        }
    }
}
