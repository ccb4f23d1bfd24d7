//! Building, storing and importing snapshots.
//!
//! A snapshot that openraft is told about is one that [`SnapshotStore::save`] or a receiver's
//! `finish` wrote, synced and read back; only behind such a one may the log be purged.

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use conclave_proto::v1;
use conclave_proto::v1::snapshot_part::Part;
use conclave_store::snapshot::{SnapshotError, SnapshotReader, SnapshotStore};
use conclave_store::state::{Export, State, StateError};
use futures::StreamExt;
use openraft::{AsyncRuntime, RaftSnapshotBuilder};
use tokio::sync::OwnedSemaphorePermit;

use crate::blocking;
use crate::convert::decode;
use crate::types::{CommittedLeader, MemberInfo, TypeConfig};
use crate::{PeerError, SnapshotParts};

/// What openraft passes around as a snapshot.
pub(crate) type Snapshot = openraft::Snapshot<CommittedLeader, u64, MemberInfo, StoredSnapshot>;

/// A handle to a snapshot on disk.
pub(crate) struct StoredSnapshot(pub(crate) SnapshotReader);

impl StoredSnapshot {
    pub(crate) fn into_snapshot(reader: SnapshotReader) -> io::Result<Snapshot> {
        let meta = decode::snapshot_meta(reader.header()).map_err(io::Error::other)?;
        Ok(Snapshot { meta, snapshot: StoredSnapshot(reader) })
    }
}

/// A snapshot as it is sent to a peer that asked for one.
pub(crate) fn served_parts(
    node_id: u64,
    reader: SnapshotReader,
    store: SnapshotStore,
    permit: OwnedSemaphorePermit,
) -> SnapshotParts {
    let header = Some(reader.header().clone());
    let start = v1::SnapshotStart { from: node_id, vote: None, header };
    let chunks = futures::stream::unfold(Some((reader, store, permit)), move |rest| async move {
        let (mut reader, store, permit) = rest?;
        match reader.next_chunk() {
            Ok(chunk) => {
                let part = v1::SnapshotPart { part: Some(Part::Chunk(chunk?)) };
                Some((Ok(part), Some((reader, store, permit))))
            }
            Err(error) => {
                // The next one who asks gets another.
                store.distrust();
                Some((Err(PeerError::Refused { node_id, reason: error.to_string() }), None))
            }
        }
    });
    let start = v1::SnapshotPart { part: Some(Part::Start(start)) };
    futures::stream::iter([Ok(start)]).chain(chunks).boxed()
}

/// The next chunk and the reader; None at the end. A disk that is slow holds up nobody but the caller.
pub(crate) async fn read_chunk<R: AsyncRuntime>(
    mut reader: SnapshotReader,
) -> Result<Option<(v1::SnapshotChunk, SnapshotReader)>, SnapshotError> {
    let reading = move || reader.next_chunk().map(|chunk| chunk.map(|chunk| (chunk, reader)));
    blocking::run::<R, _>(reading).await?
}

/// Holds the state as it was when building was decided on, while applies go on.
pub(crate) struct SnapshotBuilder<R> {
    export: Option<Result<Export, StateError>>,
    state: State,
    snapshots: SnapshotStore,
    cluster_id: Vec<u8>,
    runtime: PhantomData<fn() -> R>,
}

impl<R> SnapshotBuilder<R> {
    pub(crate) fn new(state: &State, snapshots: SnapshotStore, cluster_id: Vec<u8>) -> Self {
        let export = Some(state.export());
        Self { export, state: state.clone(), snapshots, cluster_id, runtime: PhantomData }
    }
}

impl<R: AsyncRuntime> RaftSnapshotBuilder<TypeConfig<R>> for SnapshotBuilder<R> {
    type SnapshotData = StoredSnapshot;

    /// An error here ends Raft, and a full disk is none that should: the copy is begun anew until
    /// there is space, or no restore that it would lack.
    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        loop {
            let export = self.export.take().unwrap_or_else(|| self.state.export());
            let export = match export {
                Err(StateError::Restoring) => {
                    R::sleep(BUILD_PAUSE).await;
                    continue;
                }
                export => export.map_err(io::Error::other)?,
            };
            let (snapshots, cluster_id) = (self.snapshots.clone(), self.cluster_id.clone());
            match blocking::run::<R, _>(move || store(&snapshots, export, &cluster_id)).await? {
                Ok(reader) => return StoredSnapshot::into_snapshot(reader),
                Err(error) if passes(&error) => {
                    tracing::warn!(%error, "the snapshot is begun anew");
                    R::sleep(BUILD_PAUSE).await;
                }
                Err(error) => return Err(into_io(error)),
            }
        }
    }
}

/// A full disk gets space again; a state that was replaced under the copy is copied again.
fn passes(error: &SnapshotError) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    match error {
        SnapshotError::Io(error) => matches!(error.kind(), StorageFull | QuotaExceeded),
        SnapshotError::State(error) => {
            matches!(error, StateError::ViewExpired | StateError::Restoring)
        }
        _ => false,
    }
}

/// Keeps the kind of an error of the disk.
fn into_io(error: SnapshotError) -> io::Error {
    match error {
        SnapshotError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// Between two tries to build a snapshot.
const BUILD_PAUSE: Duration = Duration::from_millis(500);

/// Writes an export as the newest snapshot and opens it.
pub(crate) fn save(
    snapshots: &SnapshotStore,
    export: Export,
    cluster_id: &[u8],
) -> io::Result<SnapshotReader> {
    store(snapshots, export, cluster_id).map_err(into_io)
}

fn store(
    snapshots: &SnapshotStore,
    export: Export,
    cluster_id: &[u8],
) -> Result<SnapshotReader, SnapshotError> {
    // Not the newest one there is: a peer's may arrive meanwhile, and it is not installed yet.
    let reader = snapshots.save(export, cluster_id)?;
    let header = reader.header();
    let index = header.last_log_id.map_or(0, |id| id.index);
    metrics::counter!("conclave_snapshots_total").increment(1);
    metrics::gauge!("conclave_snapshot_last_index").set(index as f64);
    tracing::info!(index, records = header.record_count, "snapshot stored");
    Ok(reader)
}

/// Replaces the state by a stored snapshot.
pub(crate) fn import(state: &State, mut reader: SnapshotReader) -> io::Result<()> {
    let header = reader.header().clone();
    let index = header.last_log_id.as_ref().map_or(0, |id| id.index);
    let mut import = state.import(header).map_err(io::Error::other)?;
    while let Some(chunk) = reader.next_chunk().map_err(io::Error::other)? {
        import.push(chunk).map_err(io::Error::other)?;
    }
    import.finish().map_err(io::Error::other)?;
    tracing::info!(index, "snapshot imported");
    Ok(())
}
