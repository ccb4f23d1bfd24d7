//! The part of a node that needs no key: consensus over an open data directory. It runs from the
//! moment the node may take part in its cluster, sealed or not.

use std::sync::Arc;

use anyhow::Context;
use conclave_raft::Raft;
use conclave_store::state::State;

use super::Opened;
use crate::ledger::RaftLedger;

/// A member's log, state and consensus.
pub(super) struct Running {
    pub(super) cluster_id: [u8; 16],
    pub(super) node_id: u64,
    pub(super) raft: Raft,
    pub(super) state: State,
    pub(super) ledger: Arc<RaftLedger>,
    pub(super) opened: Arc<Opened>,
}

impl Running {
    /// Starts consensus.
    pub(super) async fn start(opened: Arc<Opened>) -> anyhow::Result<Arc<Self>> {
        let parts = opened.raft_parts();
        let raft =
            conclave_raft::start::<conclave_raft::TokioRuntime>(opened.config.clone(), parts)
                .await
                .context("consensus cannot be started")?;
        let state = opened.state.clone();
        let ledger = Arc::new(RaftLedger::new(raft.clone(), state.clone()));
        let (cluster_id, node_id) = (opened.cluster_id, opened.node_id);
        Ok(Arc::new(Self { cluster_id, node_id, raft, state, ledger, opened }))
    }

    /// Ends consensus, then everything that writes; the state is marked clean last.
    pub(super) async fn stop(&self) {
        self.raft.shutdown().await;
        self.opened.close();
    }
}
