//! What a cluster change does: a recovery, and the steps of a restore.

use std::sync::Arc;

use bytes::Bytes;

use super::changes::Changes;
use super::epoch;
use super::hash::SetHash;
use super::key;
use super::record::{Generation, Record};
use super::restore::{Restore, Step, UnderWay};
use super::shared::Shared;
use super::types::{Outcome, StateError};
use crate::v1::cluster_change::Kind;
use crate::v1::epoch_change::Cause;
use crate::v1::{
    ClusterChange, EpochChange, LogId, Recovered, RestoreBegin, RestoreChunk, RestoreCommit,
};

/// What an entry leaves beside the records it changed.
pub(crate) struct Effect {
    pub(crate) outcome: Outcome,
    /// The restore under way after it.
    pub(crate) restore: UnderWay,
    /// The epoch it raised the cluster to.
    pub(crate) epoch: Option<u64>,
    /// What takes the place of every record, changed ones included.
    pub(crate) replacement: Option<Replacement>,
}

/// A staged generation that becomes the state, with a record of the epochs that is not staged.
pub(crate) struct Replacement {
    pub(crate) generation: Generation,
    pub(crate) hash: SetHash,
    pub(crate) count: u64,
    pub(crate) epochs: Record,
}

impl Effect {
    pub(crate) fn only(outcome: Outcome, restore: UnderWay) -> Self {
        Self { outcome, restore, epoch: None, replacement: None }
    }

    fn applied(index: u64, restore: UnderWay) -> Self {
        Self::only(Outcome::Applied { revision: index }, restore)
    }
}

/// A cluster change at work.
pub(crate) struct ClusterStep<'a, 'b> {
    pub(crate) shared: &'a Shared,
    pub(crate) changes: &'a mut Changes<'b>,
    pub(crate) id: LogId,
    pub(crate) now_ms: u64,
    /// The restore under way before it.
    pub(crate) restore: UnderWay,
}

impl ClusterStep<'_, '_> {
    /// **The change keeps the limits of its kind.**
    pub(crate) fn run(self, change: &ClusterChange) -> Result<Effect, StateError> {
        match &change.kind {
            None => Ok(Effect::only(Outcome::ConditionFailed, self.restore)),
            Some(Kind::Recovered(recovered)) => self.recovered(recovered),
            Some(Kind::RestoreBegin(begin)) => self.begin(begin),
            Some(Kind::RestoreChunk(chunk)) => self.chunk(chunk),
            Some(Kind::RestoreCommit(commit)) => self.commit(commit),
            Some(Kind::RestoreAbort(abort)) => Ok(self.abort(&abort.restore_id)),
        }
    }

    fn recovered(self, recovered: &Recovered) -> Result<Effect, StateError> {
        let record = epoch::present(self.changes)?;
        if recovered.epoch <= epoch::newest(&record) {
            return Ok(Effect::only(Outcome::ConditionFailed, self.restore));
        }
        let change = EpochChange {
            epoch: recovered.epoch,
            cause: Cause::Recovered as i32,
            log_id: Some(self.id),
            stamped_ms: self.now_ms,
            survivor: recovered.survivor,
        };
        self.changes.put(&key::epoch(), epoch::raised(record, change))?;
        let effect = Effect::applied(self.id.index, self.restore);
        Ok(Effect { epoch: Some(recovered.epoch), ..effect })
    }

    fn begin(self, begin: &RestoreBegin) -> Result<Effect, StateError> {
        let generation = self.shared.reserve_generation()?;
        let restore = Restore::begin(begin, generation, self.id.index, self.now_ms);
        Ok(Effect::applied(self.id.index, Some(Arc::new(restore))))
    }

    fn chunk(self, chunk: &RestoreChunk) -> Result<Effect, StateError> {
        let Some(restore) = self.named(&chunk.restore_id) else { return Ok(self.failed()) };
        let chunk = chunk.chunk.as_ref().expect("the limits ask for one");
        match restore.step(chunk, self.now_ms) {
            Step::Taken(next, writes) => {
                self.shared.engine.write_in_parts(writes)?;
                Ok(Effect::applied(self.id.index, Some(next)))
            }
            Step::Again => Ok(Effect::applied(self.id.index, self.restore)),
            Step::Misfit => Ok(Effect::only(Outcome::RestoreFailed, None)),
        }
    }

    fn commit(self, commit: &RestoreCommit) -> Result<Effect, StateError> {
        let Some(restore) = self.named(&commit.restore_id) else { return Ok(self.failed()) };
        let generation = restore.generation();
        let Some((count, mut hash)) = restore.whole() else {
            return Ok(Effect::only(Outcome::RestoreFailed, None));
        };
        let record = epoch::present(self.changes)?;
        let raised = epoch::newest(&record) + 1;
        let change = EpochChange {
            epoch: raised,
            cause: Cause::Restored as i32,
            log_id: Some(self.id),
            stamped_ms: self.now_ms,
            survivor: 0,
        };
        let epochs = Record { revision: self.id.index, value: epoch::raised(record, change) };
        hash.add(&key::epoch(), epochs.revision, &epochs.value);
        let replacement = Replacement { generation, hash, count: count + 1, epochs };
        let effect = Effect::applied(self.id.index, None);
        Ok(Effect { epoch: Some(raised), replacement: Some(replacement), ..effect })
    }

    fn abort(self, restore_id: &Bytes) -> Effect {
        match self.named(restore_id) {
            Some(_) => Effect::applied(self.id.index, None),
            None => self.failed(),
        }
    }

    fn named(&self, restore_id: &Bytes) -> Option<&Restore> {
        self.restore.as_deref().filter(|restore| restore.restore_id == *restore_id)
    }

    /// Another restore, if there is one, goes on.
    fn failed(self) -> Effect {
        Effect::only(Outcome::RestoreFailed, self.restore)
    }
}
