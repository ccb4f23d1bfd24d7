//! The barrier's [`Ledger`] on top of Raft and the store: the one place where the two sides of the
//! ciphertext line are tied together. It translates and decides nothing.

use std::sync::Arc;

use bytes::Bytes;
use conclave_barrier::ledger::{
    Batch, BoxFuture, Child, Committed, Condition, Key, Ledger, LedgerError, LedgerView, ReadPoint,
    RequestId, Row, SessionChange,
};
use conclave_proto::v1;
use conclave_raft::{ProposeError, Raft, ReadError};
use conclave_store::state::{self, Outcome, State, StateError, View};

/// A node's replicated map.
pub struct RaftLedger {
    raft: Raft,
    state: State,
}

impl RaftLedger {
    /// Ties `raft` to the state it applies to.
    pub fn new(raft: Raft, state: State) -> Self {
        Self { raft, state }
    }
}

impl Ledger for RaftLedger {
    fn view(&self) -> Arc<dyn LedgerView> {
        Arc::new(RaftView { view: self.state.view(), state: self.state.clone() })
    }

    fn read_barrier(&self) -> BoxFuture<'_, Result<ReadPoint, LedgerError>> {
        Box::pin(async move {
            let point = self.raft.read_barrier().await.map_err(from_read_error)?;
            Ok(ReadPoint { revision: point.index, leader_ms: point.leader_ms })
        })
    }

    fn write_point(&self) -> Option<ReadPoint> {
        let point = self.raft.write_point()?;
        Some(ReadPoint { revision: point.index, leader_ms: point.leader_ms })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, LedgerError>> {
        Box::pin(async move {
            let proposed =
                self.raft.propose(into_command(batch)).await.map_err(from_propose_error)?;
            Ok(from_outcome(proposed.revision, proposed.outcome))
        })
    }
}

struct RaftView {
    view: View,
    state: State,
}

impl LedgerView for RaftView {
    fn revision(&self) -> u64 {
        self.view.revision()
    }

    fn stamped_ms(&self) -> u64 {
        self.view.stamped_ms()
    }

    fn epoch(&self) -> u64 {
        self.state.applied().epoch
    }

    fn get(&self, key: &Key) -> Result<Option<Row>, LedgerError> {
        let row = self.view.get(&into_key(key.clone())).map_err(from_state_error)?;
        Ok(row.map(|row| Row { value: row.value, revision: row.revision }))
    }

    fn directory_revision(&self, directory: &[Bytes]) -> Result<u64, LedgerError> {
        self.view.directory_revision(directory).map_err(from_state_error)
    }

    fn flat_names(
        &self,
        directory: &[Bytes],
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<Bytes>, LedgerError> {
        self.view.flat_names(directory, after, limit).map_err(from_state_error)
    }

    fn children(
        &self,
        directory: &[Bytes],
        after: Option<&Child>,
        limit: usize,
    ) -> Result<Vec<Child>, LedgerError> {
        let after = after
            .map(|child| state::Child { name: child.name.clone(), directory: child.directory });
        let children =
            self.view.children(directory, after.as_ref(), limit).map_err(from_state_error)?;
        Ok(children
            .into_iter()
            .map(|child| Child { name: child.name, directory: child.directory })
            .collect())
    }
}

fn into_key(key: Key) -> v1::Key {
    v1::Key { segments: key.segments, flat: key.flat }
}

/// `stamped_ms` stays 0: consensus stamps the leader's time when it proposes.
fn into_command(batch: Batch) -> v1::Command {
    v1::Command {
        request_id: batch.request_id.map(into_request_id),
        conditions: batch.conditions.into_iter().map(into_condition).collect(),
        writes: batch
            .writes
            .into_iter()
            .map(|write| v1::Write { key: Some(into_key(write.key)), value: write.value })
            .collect(),
        stamped_ms: 0,
        event: batch.event.unwrap_or_default(),
        session: batch.session.map(into_session_change),
        cluster: None,
    }
}

fn into_request_id(id: RequestId) -> v1::RequestId {
    v1::RequestId {
        session: id.session,
        sequence: id.sequence,
        low_water: id.low_water,
        fingerprint: id.fingerprint,
        reply: id.reply,
    }
}

fn into_condition(condition: Condition) -> v1::Condition {
    use v1::condition::Kind;
    let kind = match condition {
        Condition::Key { key, revision } => {
            Kind::Key(v1::KeyCondition { key: Some(into_key(key)), revision })
        }
        Condition::Children { directory, revision } => {
            Kind::Children(v1::ChildrenCondition { segments: directory, revision })
        }
    };
    v1::Condition { kind: Some(kind) }
}

fn into_session_change(change: SessionChange) -> v1::SessionChange {
    use v1::session_change::Kind;
    let kind = match change {
        SessionChange::Open { session, owner, ttl_ms } => {
            Kind::Open(v1::SessionOpen { session, owner, ttl_ms })
        }
        SessionChange::Close { session } => Kind::Close(session),
    };
    v1::SessionChange { kind: Some(kind) }
}

fn from_outcome(revision: u64, outcome: Outcome) -> Committed {
    match outcome {
        Outcome::Nothing => Committed::Applied { revision },
        Outcome::Applied { revision } => Committed::Applied { revision },
        Outcome::ConditionFailed => Committed::ConditionFailed,
        Outcome::Replayed { revision, reply } => Committed::Replayed { revision, reply },
        Outcome::RequestConflict => Committed::RequestConflict,
        Outcome::SessionUnknown => Committed::SessionUnknown,
        Outcome::SessionLimit => Committed::SessionLimit,
        // No barrier ever sends the commands that end like this.
        Outcome::RestoreFailed => Committed::ConditionFailed,
    }
}

fn from_propose_error(error: ProposeError) -> LedgerError {
    match error {
        ProposeError::NotLeader => LedgerError::NotLeader,
        ProposeError::Busy => LedgerError::Busy,
        ProposeError::Full => LedgerError::DiskFull,
        ProposeError::Unknown | ProposeError::Stopped(_) => LedgerError::OutcomeUnknown,
        ProposeError::TooLarge { bytes, bytes_max } => LedgerError::TooLarge { bytes, bytes_max },
        ProposeError::Invalid(why) => LedgerError::Invalid(why),
    }
}

fn from_read_error(error: ReadError) -> LedgerError {
    match error {
        ReadError::Unavailable | ReadError::Stopped(_) => LedgerError::Unavailable,
    }
}

fn from_state_error(error: StateError) -> LedgerError {
    match error {
        StateError::ViewExpired => LedgerError::ViewExpired,
        other => LedgerError::Damaged(other.to_string()),
    }
}
