//! Hands the heads of this node's audit logs to the cluster, so that a log that is cut, replaced or
//! rolled back later contradicts what a majority has.
//!
//! At most once a second under load, some seconds after the newest record where little happens, and
//! once more when the node ends: then the anchor is the very last line.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use conclave_barrier::Route;
use conclave_core::{AuditHead, Core, Error, ErrorCode};

use super::dispatch::{leader_of, no_leader};
use super::forward::{open_reply, seal_heads};
use super::peers::member_name;
use super::phase::Phase;
use super::{Node, Running};

/// What this node handed over last.
#[derive(Default)]
struct Anchored {
    at: Duration,
    seqs: BTreeMap<[u8; 16], u64>,
}

impl Node {
    /// Anchors from time to time. Ends when the node is dropped.
    pub(super) fn spawn_anchoring(self: &Arc<Self>) {
        let node = Arc::downgrade(self);
        let clock = self.ports.clock.clone();
        let anchoring = async move {
            let mut anchored = Anchored::default();
            while let Some(node) = node.upgrade() {
                node.anchor_if_due(&mut anchored).await;
                drop(node);
                clock.sleep(ANCHOR_INTERVAL_MIN).await;
            }
        };
        self.ports.spawn.spawn("audit-anchors", Box::pin(anchoring));
    }

    async fn anchor_if_due(&self, anchored: &mut Anchored) {
        let Phase::Unsealed(running, core) = self.phase() else { return };
        let heads = core.audit_heads();
        let now = self.ports.clock.monotonic();
        if !anchored.is_due(&heads, now) {
            return;
        }
        // Tried again at the same rate, whatever became of it.
        anchored.at = now;
        let sent = self.anchor(&running, &core, &heads);
        match self.ports.within(ANCHOR_WAIT_MAX, sent).await {
            Ok(Ok(())) => anchored.seqs = seqs(&heads),
            Ok(Err(error)) => tracing::debug!(%error, "no anchor of the audit log"),
            Err(_) => tracing::debug!("the leader did not take an anchor of the audit log in time"),
        }
    }

    /// The last lines of logs that are closed.
    pub(super) async fn anchor_last(&self) {
        let Phase::Unsealed(running, core) = self.phase() else { return };
        let heads = core.audit_heads();
        if heads.is_empty() {
            return;
        }
        // The one that leads from now on may not be known yet.
        let sent = async {
            while let Err(error) = self.anchor(&running, &core, &heads).await {
                if error.code != ErrorCode::NoLeader {
                    return Err(error);
                }
                self.ports.clock.sleep(LEADER_POLL).await;
            }
            Ok(())
        };
        match self.ports.within(ANCHOR_WAIT_MAX, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, "the end of the audit log has no anchor"),
            Err(_) => tracing::info!("the end of the audit log has no anchor: no leader took it"),
        }
    }

    async fn anchor(
        &self,
        running: &Running,
        core: &Core,
        heads: &[AuditHead],
    ) -> Result<(), Error> {
        if running.raft.status().is_leader {
            return core.anchor_audit(&member_name(running, running.node_id), heads).await;
        }
        let leader = leader_of(running).ok_or_else(no_leader)?;
        let sealer = core.barrier().peer_sealer();
        let route = Route { from: running.node_id, to: leader.node_id };
        let (message, id) = seal_heads(sealer, route, heads)?;
        let reply = self.transport.forward(&leader, message, ANCHOR_WAIT_MAX).await;
        let reply = reply.map_err(|_| no_leader())?;
        open_reply(sealer, route.back(), id, &reply).map(drop)
    }
}

impl Anchored {
    fn is_due(&self, heads: &[AuditHead], now: Duration) -> bool {
        let known = |head: &AuditHead| self.seqs.get(&head.device).copied().unwrap_or(0);
        let records = heads.iter().map(|head| head.head.seq.saturating_sub(known(head)));
        let records: u64 = records.sum();
        let waited = now.saturating_sub(self.at);
        records >= RECORDS_SOON || (records > 0 && waited >= ANCHOR_INTERVAL_MAX)
    }
}

fn seqs(heads: &[AuditHead]) -> BTreeMap<[u8; 16], u64> {
    heads.iter().map(|head| (head.device, head.head.seq)).collect()
}

/// Between two anchors.
const ANCHOR_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// After this a record has an anchor, however few there are.
const ANCHOR_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// So many records are not left waiting.
const RECORDS_SOON: u64 = 100;
const ANCHOR_WAIT_MAX: Duration = Duration::from_secs(2);
const LEADER_POLL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use conclave_core::audit::Head;

    use super::*;

    #[test]
    fn many_records_are_anchored_soon_and_few_later() {
        let anchored = Anchored { at: Duration::from_secs(100), seqs: [([1; 16], 50)].into() };
        let due = |seq, now_s| {
            let head = Head { seq, hash: [0; 32] };
            let head = AuditHead { device: [1; 16], path: "file/".into(), head };
            anchored.is_due(&[head], Duration::from_secs(now_s))
        };
        assert!(!due(50, 1000), "nothing new");
        assert!(!due(51, 109) && due(51, 110));
        assert!(!due(149, 101) && due(150, 101));
        assert!(!anchored.is_due(&[], Duration::from_secs(1000)));
    }
}
