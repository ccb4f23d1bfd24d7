//! Bugs that are put in on purpose, between parts that are right.

use std::sync::Arc;

use conclave_barrier::ledger::{
    Batch, BoxFuture, Committed, Ledger, LedgerError, LedgerView, ReadPoint,
};
use conclave_ports::Clock;
use conclave_proto::v1::entry::Payload;
use conclave_proto::v1::{AppendRequest, Command, Entry, Vote};
use conclave_raft::Raft;
use conclave_server::ledger::RaftLedger;
use conclave_store::disk::{Disk, MemoryDisk};
use conclave_store::log::{Log, LogConfig};
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;

use super::opened::SEGMENT_BYTES;
use crate::Plant;

/// Entries of a leader on their way into a node.
pub(crate) type Requests = BoxStream<'static, AppendRequest>;

/// A follower answers reads from what it has; or conditions are not handed on.
pub(super) struct PlantedLedger {
    pub(super) ledger: RaftLedger,
    pub(super) raft: Raft,
    pub(super) plant: Plant,
}

impl Ledger for PlantedLedger {
    fn view(&self) -> Arc<dyn LedgerView> {
        self.ledger.view()
    }

    fn read_barrier(&self) -> BoxFuture<'_, Result<ReadPoint, LedgerError>> {
        if self.plant != Plant::StaleFollowerRead || self.raft.status().is_leader {
            return self.ledger.read_barrier();
        }
        let view = self.ledger.view();
        let point = ReadPoint { revision: view.revision(), leader_ms: view.stamped_ms() };
        Box::pin(std::future::ready(Ok(point)))
    }

    fn write_point(&self) -> Option<ReadPoint> {
        self.ledger.write_point()
    }

    fn commit(&self, mut batch: Batch) -> BoxFuture<'_, Result<Committed, LedgerError>> {
        if self.plant == Plant::UncheckedCondition {
            batch.conditions.clear();
        }
        self.ledger.commit(batch)
    }
}

/// A replica stamps its own clock into what its leader sends.
pub(super) fn stamp_with(clock: Arc<dyn Clock>, requests: Requests) -> Requests {
    let stamp = move |mut request: AppendRequest| {
        request.entries.iter_mut().for_each(|entry| restamp(entry, clock.wall_ms()));
        request
    };
    requests.map(stamp).boxed()
}

fn restamp(entry: &mut Entry, wall_ms: u64) {
    if let Some(Payload::Command(bytes)) = &mut entry.payload
        && let Ok(mut command) = Command::decode(bytes.clone())
    {
        command.stamped_ms = wall_ms;
        *bytes = command.encode_to_vec().into();
    }
}

/// A vote that was answered before it was saved, and the process ended in between: the log is as it
/// is, with a vote before. None where the newest vote is not newer than the newest entry.
pub(super) fn forget_vote(disk: &MemoryDisk, boot_id: [u8; 16]) -> Option<()> {
    let config = LogConfig { segment_bytes: SEGMENT_BYTES, cache_bytes_max: 0, boot_id };
    let (log, writer) = Log::open(Arc::new(disk.clone()), config.clone()).ok()?;
    let (ends, vote) = (log.state(), log.vote()?);
    let last = ends.last.filter(|last| last.term < vote.term)?;
    let from = ends.purged.map_or(0, |id| id.index + 1);
    let entries = log.read(from..last.index + 1, usize::MAX).ok()?;
    drop((log, writer));
    for name in disk.list("log").ok()? {
        disk.remove(&format!("log/{name}")).ok()?;
    }
    let (log, mut writer) = Log::open(Arc::new(disk.clone()), config).ok()?;
    let vote = Vote { term: last.term, node_id: vote.node_id, committed: false };
    if let Some(purged) = ends.purged {
        log.purge(purged, Box::new(|_| {}));
    }
    log.append(entries, Box::new(|_| {}));
    log.save_vote(vote, Box::new(|_| {}));
    while writer.drain() {}
    Some(())
}
