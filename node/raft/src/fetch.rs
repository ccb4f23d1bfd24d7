//! A peer's snapshot, for a node that has no usable one itself and whose log begins later.
//!
//! Such a node still has its vote and the rest of its log, and both are promises: a leader may
//! have counted its acknowledgements. Were it to drop them and begin as an empty node, entries
//! that were committed with its help could be lost. So it keeps them, fetches what came before the
//! log *before* Raft starts, and goes on as the node it was. A snapshot holds committed entries
//! only, so whatever of this log it covers or contradicts was committed as the snapshot says, or
//! never. One that ends before the log begins is of no use; until some peer has one that does not,
//! this node waits and takes no part.
//!
//! The snapshot is verified like a leader's: chunk by chunk, read back from the disk, and its set
//! hash against its header's, to which the peer's mutual TLS vouches.

use std::io;
use std::time::Duration;

use conclave_proto::v1;
use conclave_proto::v1::snapshot_part::Part;
use conclave_store::snapshot::{SnapshotError, SnapshotReader};
use futures::StreamExt;
use futures::stream::BoxStream;
use openraft::AsyncRuntime;

use crate::convert::decode;
use crate::convert::decode::Malformed;
use crate::{Greeter, PeerError, RaftConfig, RaftParts, Target, blocking};

/// A peer that is silent for this long has given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Between two rounds through the peers, at most.
const PAUSE_MAX: Duration = Duration::from_secs(10);

type Parts = BoxStream<'static, Result<v1::SnapshotPart, PeerError>>;

/// Fetches and stores a snapshot that holds the entry at `reach`; asks for as long as it takes.
///
/// # Errors
/// Where this node knows no peer to ask.
pub(crate) async fn snapshot<R: AsyncRuntime>(
    config: &RaftConfig,
    parts: &RaftParts,
    reach: u64,
) -> io::Result<SnapshotReader> {
    let peers = Greeter::new(config, parts).peers();
    if peers.is_empty() {
        return Err(io::Error::other(
            "the log begins after the newest usable snapshot, and nothing says who the members \
             are that could send one. Run `conclaved rejoin --config FILE` to set this node's \
             data aside and to join anew",
        ));
    }
    let mut pause = config.election_timeout_max;
    loop {
        for target in &peers {
            match fetch_from::<R>(config, parts, target, reach).await {
                Ok(reader) => {
                    tracing::info!(node_id = target.node_id, "fetched a snapshot from a peer");
                    return Ok(reader);
                }
                Err(why) => tracing::warn!(
                    node_id = target.node_id,
                    reach,
                    why,
                    "this node's snapshots are damaged and this peer sent none; asking on"
                ),
            }
        }
        parts.ports.clock.sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn fetch_from<R: AsyncRuntime>(
    config: &RaftConfig,
    parts: &RaftParts,
    target: &Target,
    reach: u64,
) -> Result<SnapshotReader, String> {
    let request = v1::FetchSnapshotRequest { from: config.node_id, reach_index: reach };
    let asked = parts.transport.fetch_snapshot(target, request);
    let within = |_| "it fell silent".to_owned();
    let mut stream: Parts =
        parts.ports.within(SILENCE_MAX, asked).await.map_err(within)?.map_err(text)?;
    let Some(Part::Start(start)) = next(parts, &mut stream).await? else {
        return Err("a snapshot begins with its header".to_owned());
    };
    let header = checked(config, start, reach).map_err(text)?;
    let mut receiver = parts.snapshots.receive(header).map_err(text)?;
    while let Some(part) = next(parts, &mut stream).await? {
        let Part::Chunk(chunk) = part else { return Err("a snapshot has one header".to_owned()) };
        let pushed = blocking::run::<R, _>(move || {
            receiver.push(chunk)?;
            Ok::<_, SnapshotError>(receiver)
        });
        receiver = pushed.await.map_err(text)?.map_err(text)?;
    }
    let finished = blocking::run::<R, _>(move || receiver.finish()).await;
    finished.map_err(text)?.map_err(text)
}

async fn next(parts: &RaftParts, stream: &mut Parts) -> Result<Option<Part>, String> {
    let part = parts.ports.within(SILENCE_MAX, stream.next()).await;
    match part.map_err(|_| "it fell silent".to_owned())? {
        None => Ok(None),
        Some(part) => part.map_err(text)?.part.map(Some).ok_or_else(|| "an empty part".to_owned()),
    }
}

fn checked(
    config: &RaftConfig,
    start: v1::SnapshotStart,
    reach: u64,
) -> Result<v1::SnapshotHeader, Malformed> {
    let header = start.header.ok_or(Malformed("no header"))?;
    let last = decode::sane_log_id(header.last_log_id.as_ref())?;
    decode::snapshot_meta(&header)?;
    if !config.cluster_id.is_empty() && header.cluster_id != config.cluster_id {
        return Err(Malformed("a snapshot of another cluster"));
    }
    if last.is_none_or(|last| last.index < reach) {
        return Err(Malformed("a snapshot that ends before the log begins"));
    }
    Ok(header)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
