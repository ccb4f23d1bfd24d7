//! A node that takes no part in its cluster any more, and says why.
//!
//! Its data contradicts what its peers have, so it must neither vote nor answer from it. The mark is
//! durable: only an operator ends it, by setting the data aside.

use std::sync::Arc;

use conclave_core::{Error, ErrorCode};
use conclave_store::identity::Out;

use super::phase::Phase;
use super::{Node, Running};

/// Who it was, and why it stays out.
pub(super) struct Outside {
    pub(super) cluster_id: [u8; 16],
    pub(super) node_id: u64,
    pub(super) why: Out,
    pub(super) text: String,
}

impl Outside {
    /// What every request is answered.
    pub(super) fn refusal(&self) -> Error {
        Error::new(ErrorCode::Quarantined, self.text.clone())
    }
}

impl Node {
    /// Puts a node out whose consensus says so. It stops for good.
    pub(super) async fn put_out_if_told(&self, running: &Arc<Running>) {
        let status = running.raft.status();
        let (why, text) = if status.quarantined {
            (Out::Quarantined, QUARANTINED)
        } else if status.fenced {
            (Out::Fenced, FENCED)
        } else if status.rolled_back {
            (Out::RolledBack, ROLLED_BACK)
        } else {
            return;
        };
        let _one = self.transition.lock().await;
        if self.phase().running().is_some_and(|now| Arc::ptr_eq(now, running)) {
            self.stay_out(running.cluster_id, running.node_id, why, text);
            running.stop().await;
        }
    }

    /// Drops every key, notes durably that this node stays out, and says why. The caller holds the
    /// transition lock, and stops what writes.
    pub(super) fn stay_out(&self, cluster_id: [u8; 16], node_id: u64, why: Out, text: &str) {
        if let Err(error) = self.identities.set_out(why, text) {
            tracing::error!(%error, "the mark that this node stays out was not saved");
        }
        // The first reason stands, also over restarts.
        let (why, text) = self.identities.out().unwrap_or((why, text.to_owned()));
        self.set_phase(Phase::Out(Arc::new(Outside { cluster_id, node_id, why, text })));
        self.report_out();
    }

    /// Says in the log why this node stays out, where it does.
    pub(super) fn report_out(&self) {
        if let Phase::Out(outside) = self.phase() {
            tracing::error!(why = ?outside.why, "this node takes no part: {}", outside.text);
        }
    }
}

const QUARANTINED: &str = "the state of this node differs from that of a majority of its peers, so it takes no part any more: run `conclaved rejoin --config FILE` on its machine and start it again, then it joins anew; until then ask another node";
const FENCED: &str = "the cluster goes on without this node: it was removed, or the cluster was recovered or restored without it; run `conclaved rejoin --config FILE` on its machine and start it again, then it joins anew; until then ask another node";
const ROLLED_BACK: &str = "a peer saw more of this node than its data directory holds: it went back in time, so it takes no part any more: run `conclaved rejoin --config FILE` on its machine and start it again, then it joins anew; until then ask another node";
