//! openraft's state machine over [`State`].

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use conclave_store::log::Log;
use conclave_store::snapshot::{Newest, SnapshotStore};
use conclave_store::state::State;
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{AsyncRuntime, OptionalSend};

use crate::blocking;
use crate::cluster_time::ClusterTime;
use crate::convert::{decode, encode};
use crate::progress::Progress;
use crate::snapshot::{Snapshot, SnapshotBuilder, StoredSnapshot, import, save};
use crate::types::{Applied, LogId, SnapshotMeta, StoredMembership, TypeConfig};

/// Applies committed entries and tells how far it got.
pub(crate) struct StateMachine<R> {
    pub(crate) state: State,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) log: Log,
    pub(crate) cluster_id: Vec<u8>,
    /// The applied index, for those who wait to read.
    pub(crate) applied: Arc<Progress>,
    /// The epoch of what was applied.
    pub(crate) epoch: Arc<Progress>,
    pub(crate) time: Arc<ClusterTime>,
    pub(crate) runtime: PhantomData<fn() -> R>,
}

impl<R: AsyncRuntime> StateMachine<R> {
    /// Publishes what was applied, once a batch.
    fn publish(&self) {
        let applied = self.state.applied();
        self.time.applied(applied.stamped_ms);
        self.epoch.raise(applied.epoch);
        self.applied.raise(applied.log_id.map_or(0, |id| id.index));
    }

    fn builder(&self) -> SnapshotBuilder<R> {
        SnapshotBuilder::new(&self.state, self.snapshots.clone(), self.cluster_id.clone())
    }
}

impl<R: AsyncRuntime> RaftStateMachine<TypeConfig<R>> for StateMachine<R> {
    type SnapshotData = StoredSnapshot;
    type SnapshotBuilder = SnapshotBuilder<R>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let applied = self.state.applied();
        let membership =
            decode::stored_membership(applied.membership.as_ref()).map_err(io::Error::other)?;
        Ok((decode::log_id_option(applied.log_id.as_ref()), membership))
    }

    /// An entry that cannot be applied stops the node: a replica that skipped it would differ.
    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig<R>>>> + Unpin + OptionalSend,
    {
        let mut result = Ok(());
        while let Some(item) = entries.next().await {
            match item.and_then(|item| apply_one(&self.state, item)) {
                Ok(()) => {}
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.publish();
        result
    }

    /// While a restore is staged a copy of the state would lack what its later entries build on.
    /// openraft asks again after more entries.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder<R>> {
        (force || !self.state.is_restoring()).then(|| self.builder())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<R> {
        self.builder()
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: StoredSnapshot,
    ) -> io::Result<()> {
        let state = self.state.clone();
        blocking::run::<R, _>(move || import(&state, snapshot.0)).await??;
        self.publish();
        Ok(())
    }

    /// One that the log goes on from: where those are damaged, a new one takes their place. openraft
    /// would send an older one again and again, and end for want of any.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let snapshots = self.snapshots.clone();
        let newest = blocking::run::<R, _>(move || snapshots.newest()).await?;
        let purged = self.log.state().purged.map_or(0, |id| id.index);
        match newest.map_err(io::Error::other)? {
            Newest::Snapshot(reader)
                if reader.header().last_log_id.is_some_and(|id| id.index >= purged) =>
            {
                StoredSnapshot::into_snapshot(reader).map(Some)
            }
            Newest::Snapshot(_) | Newest::Damaged(_) if !self.state.is_restoring() => {
                let export = self.state.export().map_err(io::Error::other)?;
                let (snapshots, cluster_id) = (self.snapshots.clone(), self.cluster_id.clone());
                let saved = blocking::run::<R, _>(move || save(&snapshots, export, &cluster_id));
                StoredSnapshot::into_snapshot(saved.await??).map(Some)
            }
            Newest::None | Newest::Snapshot(_) | Newest::Damaged(_) => Ok(None),
        }
    }
}

fn apply_one<R: AsyncRuntime>(
    state: &State,
    (entry, responder): EntryResponder<TypeConfig<R>>,
) -> io::Result<()> {
    let outcome = state.apply(&encode::entry(&entry)).map_err(io::Error::other)?;
    if let Some(responder) = responder {
        responder.send(Applied(outcome));
    }
    Ok(())
}
