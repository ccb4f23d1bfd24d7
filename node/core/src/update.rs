//! Changes that the core makes for itself, outside a client's request.

use std::sync::Arc;

use conclave_barrier::{Barrier, CommitOutcome, Transaction};

use crate::{Error, call, errors};

/// How often a request is run again after its commit lost a race. The one bound for all.
pub(crate) const ATTEMPTS_MAX: usize = 8;

/// Runs `change` in a transaction behind a read barrier and commits it. `change` is given the
/// cluster's time and runs again where the commit lost a race.
pub(crate) async fn update<T>(
    barrier: &Arc<Barrier>,
    mut change: impl FnMut(&mut Transaction, u64) -> Result<T, Error>,
) -> Result<T, Error> {
    let ledger = barrier.ledger();
    let point = ledger.read_barrier().await.map_err(errors::from_ledger)?;
    for _ in 0..ATTEMPTS_MAX {
        let mut tx = barrier.transaction(ledger.view());
        let now_ms = call::now_ms(&point, &tx);
        let value = change(&mut tx, now_ms)?;
        match tx.commit(None).await.map_err(errors::from_barrier)? {
            CommitOutcome::Applied { .. } => return Ok(value),
            CommitOutcome::ConditionFailed => {}
            other => return Err(unexpected(&other)),
        }
    }
    Err(errors::lost_too_many_races())
}

/// Outcomes that only a request with an id or a session change can have.
fn unexpected(outcome: &CommitOutcome) -> Error {
    let outcome = match outcome {
        CommitOutcome::Applied { .. } => "applied",
        CommitOutcome::ConditionFailed => "condition failed",
        CommitOutcome::Replayed { .. } => "replayed",
        CommitOutcome::RequestConflict => "request conflict",
        CommitOutcome::SessionUnknown => "session unknown",
        CommitOutcome::SessionLimit => "session limit",
    };
    Error::internal(format!("a commit without a request id ended as '{outcome}'"))
}
