//! From the open data directory to consensus: first the peers say whether this node may take part.

use std::sync::Arc;
use std::time::Duration;

use conclave_raft::StaysOut;
use conclave_store::identity::Identity;

use super::opened::OpenParts;
use super::phase::Phase;
use super::{Node, Opened, Running};

impl Node {
    /// Opens the files of a member.
    pub(super) fn open_files(&self, identity: Identity) -> anyhow::Result<Arc<Opened>> {
        Opened::open(OpenParts {
            disk: self.disk.clone(),
            space: self.space.clone(),
            boot_id: self.boot_id,
            identities: &self.identities,
            identity,
            timing: self.config.raft,
            storage: &self.config.storage,
            transport: self.transport.clone(),
            ports: self.ports.clone(),
            damage: self.damage_report(),
        })
    }

    /// Opens the files of a node that belongs to its cluster since a moment ago, and starts
    /// consensus: nobody can have seen more of it.
    pub(super) async fn start_new(&self, identity: Identity) -> anyhow::Result<Arc<Running>> {
        Running::start(self.open_files(identity)?).await
    }

    /// Greets the peers for as long as it takes, then starts consensus, or stays out.
    pub(super) async fn greet_peers(&self) {
        let Phase::Greeting(opened) = self.phase() else { return };
        let answer = opened.greeter.greet().await;
        {
            let _one = self.transition.lock().await;
            if !matches!(self.phase(), Phase::Greeting(now) if Arc::ptr_eq(&now, &opened)) {
                return;
            }
            match answer {
                Ok(()) => self.take_part(opened).await,
                Err(StaysOut { why, text }) => {
                    self.stay_out(opened.cluster_id, opened.node_id, why, &text);
                    opened.close();
                }
            }
        }
        self.try_auto_unseal().await;
    }

    async fn take_part(&self, opened: Arc<Opened>) {
        match Running::start(opened).await {
            Ok(running) => self.set_phase(Phase::Sealed(running)),
            Err(error) => drop(self.end_for(&error)),
        }
    }

    /// Waits, for a while, until this node has been told whether it may take part.
    pub(super) async fn greeted(&self) {
        let mut phases = self.phases.subscribe();
        let settled = phases.wait_for(|_| !matches!(self.phase(), Phase::Greeting(_)));
        let _ = self.ports.within(GREETING_WAIT_MAX, settled).await;
    }
}

/// How long an operator's request waits for the peers of a node that has just started.
const GREETING_WAIT_MAX: Duration = Duration::from_secs(5);
