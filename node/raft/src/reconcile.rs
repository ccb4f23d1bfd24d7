//! Bringing state machine and log into step before Raft looks at them.
//!
//! The state is derived: it may be empty or behind, then the newest snapshot comes first and the
//! log after it. The log may end before the state or contradict it, where a snapshot was received
//! right before a crash: what it holds up to there was never committed.
//!
//! Where the state and every snapshot are lost and the log begins later, a peer's snapshot comes
//! first ([`crate::fetch`]). The vote and the rest of the log stay as they are all the while: this
//! node has promised both to others.

use std::io;

use conclave_proto::v1::LogId;
use conclave_store::snapshot::{Newest, SnapshotReader};
use openraft::AsyncRuntime;
use openraft::storage::RaftLogStorage;

use crate::convert::decode;
use crate::log_storage::LogStorage;
use crate::types::Vote;
use crate::{RaftConfig, RaftParts, blocking, fetch, snapshot};

/// Brings a node's state, snapshots and log into step.
pub(crate) async fn run<R: AsyncRuntime>(config: &RaftConfig, parts: &RaftParts) -> io::Result<()> {
    use_newest_snapshot::<R>(parts).await?;
    let purged = parts.log.state().purged;
    let lacks = |purged: LogId| applied(parts).is_none_or(|applied| applied.index < purged.index);
    if let Some(purged) = purged.filter(|purged| lacks(*purged)) {
        fetch_and_import::<R>(config, parts, purged.index).await?;
    }
    if applied(parts).is_none() {
        return Ok(());
    }
    settle_log::<R>(config, parts).await?;
    let Some(applied) = applied(parts) else { return Ok(()) };
    settle_vote::<R>(config, parts, &applied).await?;
    keep_a_snapshot::<R>(config, parts).await
}

/// Where the newest snapshot is newer than the state, it becomes the state.
async fn use_newest_snapshot<R: AsyncRuntime>(parts: &RaftParts) -> io::Result<()> {
    if let Newest::Snapshot(reader) = newest::<R>(parts).await?
        && is_newer(&reader, applied(parts).as_ref())
    {
        import::<R>(parts, reader).await?;
    }
    Ok(())
}

/// Verifies whole files.
async fn newest<R: AsyncRuntime>(parts: &RaftParts) -> io::Result<Newest> {
    let snapshots = parts.snapshots.clone();
    let newest = blocking::run::<R, _>(move || snapshots.newest()).await?;
    newest.map_err(io::Error::other)
}

async fn import<R: AsyncRuntime>(parts: &RaftParts, reader: SnapshotReader) -> io::Result<()> {
    let state = parts.state.clone();
    blocking::run::<R, _>(move || snapshot::import(&state, reader)).await?
}

async fn fetch_and_import<R: AsyncRuntime>(
    config: &RaftConfig,
    parts: &RaftParts,
    reach: u64,
) -> io::Result<()> {
    let reader = fetch::snapshot::<R>(config, parts, reach).await?;
    import::<R>(parts, reader).await
}

/// Brings the vote up to the term of what was applied: a snapshot may have been the first message
/// of its term. A vote for itself in a term that had its leader harms nobody, and that leader's
/// next message overrules it.
async fn settle_vote<R: AsyncRuntime>(
    config: &RaftConfig,
    parts: &RaftParts,
    applied: &LogId,
) -> io::Result<()> {
    if parts.log.vote().is_some_and(|vote| vote.term >= applied.term) {
        return Ok(());
    }
    let vote = Vote::new(applied.term, config.node_id);
    LogStorage::<R>::new(parts.log.clone()).save_vote(&vote).await
}

fn applied(parts: &RaftParts) -> Option<LogId> {
    parts.state.applied_id()
}

fn is_newer(reader: &SnapshotReader, applied: Option<&LogId>) -> bool {
    let stored = decode::log_id_option(reader.header().last_log_id.as_ref());
    stored > decode::log_id_option(applied)
}

/// Makes the log contain what was applied, or begin right after it.
async fn settle_log<R: AsyncRuntime>(config: &RaftConfig, parts: &RaftParts) -> io::Result<()> {
    if log_holds_applied(parts)? {
        return Ok(());
    }
    if parts.state.is_restoring() {
        // A copy would lack what is staged. The state goes back to a snapshot; the leader sends
        // what follows.
        step_back::<R>(config, parts).await?;
        if log_holds_applied(parts)? {
            return Ok(());
        }
    }
    let Some(applied) = applied(parts) else { return Ok(()) };
    tracing::warn!(
        index = applied.index,
        "the log does not hold what was applied; it begins anew there"
    );
    // The log may be dropped only behind a snapshot of this node's own.
    save_at_least::<R>(config, parts, &applied).await?;
    let log = parts.log.state();
    let mut storage = LogStorage::<R>::new(parts.log.clone());
    if log.last.is_some_and(|last| last.index >= applied.index) {
        storage.truncate_after(decode::log_id_option(log.purged.as_ref())).await?;
    }
    storage.purge(decode::log_id(&applied)).await
}

fn log_holds_applied(parts: &RaftParts) -> io::Result<bool> {
    let Some(applied) = applied(parts) else { return Ok(true) };
    let log = parts.log.state();
    if log.purged.is_some_and(|purged| purged.index >= applied.index) {
        return Ok(true);
    }
    let stored = match log.last {
        Some(last) if last.index >= applied.index => {
            parts.log.read(applied.index..applied.index + 1, 1)?.first().and_then(|entry| entry.id)
        }
        Some(_) | None => None,
    };
    Ok(stored.as_ref().map(decode::log_id) == Some(decode::log_id(&applied)))
}

/// Replaces the state by a snapshot that the log reaches.
async fn step_back<R: AsyncRuntime>(config: &RaftConfig, parts: &RaftParts) -> io::Result<()> {
    let purged = parts.log.state().purged.map_or(0, |purged| purged.index);
    match newest::<R>(parts).await? {
        Newest::Snapshot(reader)
            if reader.header().last_log_id.is_some_and(|id| id.index >= purged) =>
        {
            import::<R>(parts, reader).await
        }
        _ => fetch_and_import::<R>(config, parts, purged).await,
    }
}

/// A log that was cut has a snapshot behind it that reaches the cut, should the newest ones be
/// damaged: peers that lag are sent one, and the state is rebuilt from it.
async fn keep_a_snapshot<R: AsyncRuntime>(
    config: &RaftConfig,
    parts: &RaftParts,
) -> io::Result<()> {
    let Some(purged) = parts.log.state().purged else { return Ok(()) };
    if let Newest::Snapshot(reader) = newest::<R>(parts).await?
        && reader.header().last_log_id.is_some_and(|id| id.index >= purged.index)
    {
        return Ok(());
    }
    if parts.state.is_restoring() {
        return fetch_and_import::<R>(config, parts, purged.index).await;
    }
    save::<R>(config, parts).await
}

async fn save_at_least<R: AsyncRuntime>(
    config: &RaftConfig,
    parts: &RaftParts,
    applied: &LogId,
) -> io::Result<()> {
    match newest::<R>(parts).await? {
        Newest::Snapshot(reader)
            if reader.header().last_log_id.as_ref().map(decode::log_id)
                >= Some(decode::log_id(applied)) =>
        {
            Ok(())
        }
        _ => save::<R>(config, parts).await,
    }
}

async fn save<R: AsyncRuntime>(config: &RaftConfig, parts: &RaftParts) -> io::Result<()> {
    let export = parts.state.export().map_err(io::Error::other)?;
    let (snapshots, cluster_id) = (parts.snapshots.clone(), config.cluster_id.clone());
    blocking::run::<R, _>(move || snapshot::save(&snapshots, export, &cluster_id)).await??;
    Ok(())
}
