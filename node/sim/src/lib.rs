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
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// Writes are acknowledged before they are durable: the disk's syncs do nothing.
    SkippedFsync,
    /// A follower answers reads from what it has, without a read barrier.
    StaleFollowerRead,
}

impl Plant {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SkippedFsync => "skipped-fsync",
            Self::StaleFollowerRead => "stale-follower-read",
        }
    }
}
