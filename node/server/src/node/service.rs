//! The node as its two doors see it.

use std::net::IpAddr;

use conclave_core::{Error, Request, Response, Standing};
use conclave_gateway::{
    InitRequest, InitResponse, JoinRequest, NodeStatus, Service, SnapshotBytes,
};
use futures::future::BoxFuture;
use zeroize::Zeroizing;

use super::phase::{Phase, halted as halted_refusal, starting};
use super::{Node, Running};

impl Service for Node {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        Box::pin(self.dispatch(request))
    }

    /// A node without keys knows no quota, and serves nothing that one could be about.
    fn within_quota(&self, path: &str, client: Option<IpAddr>) -> Option<Standing> {
        let Phase::Unsealed(_, core) = self.phase() else { return None };
        core.within_quota(path, client)
    }

    fn status(&self) -> NodeStatus {
        self.node_status()
    }

    fn init(&self, request: InitRequest) -> BoxFuture<'_, Result<InitResponse, Error>> {
        Box::pin(self.initialise(request))
    }

    fn unseal(
        &self,
        share: Zeroizing<Vec<u8>>,
        reset: bool,
    ) -> BoxFuture<'_, Result<NodeStatus, Error>> {
        Box::pin(self.take_share(share, reset))
    }

    fn join(&self, request: JoinRequest) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.join_by_request(request))
    }

    fn save_snapshot(&self, request: Request) -> BoxFuture<'_, Result<SnapshotBytes, Error>> {
        Box::pin(self.save_backup(request))
    }

    fn restore_snapshot(
        &self,
        request: Request,
        force: bool,
        backup: SnapshotBytes,
    ) -> BoxFuture<'_, Result<Response, Error>> {
        Box::pin(self.restore_backup(request, force, backup))
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }

    fn audited_headers(&self) -> Vec<String> {
        match self.phase() {
            Phase::Unsealed(_, core) => core.audited_headers(),
            _ => Vec::new(),
        }
    }

    /// A node without keys knows no rules.
    fn allows_origin(&self, origin: &str) -> Option<bool> {
        let Phase::Unsealed(_, core) = self.phase() else { return None };
        let rules = core.cors();
        rules.are_enabled().then(|| rules.allows(origin))
    }

    fn allowed_headers(&self) -> Vec<String> {
        match self.phase() {
            Phase::Unsealed(_, core) => core.cors().allowed_headers().to_vec(),
            _ => Vec::new(),
        }
    }

    fn make_request_id(&self) -> String {
        uuid::Builder::from_random_bytes(self.ports.random()).into_uuid().to_string()
    }
}

impl Node {
    /// What `seal-status`, `health` and `leader` say.
    pub(super) fn node_status(&self) -> NodeStatus {
        let mut status = NodeStatus {
            sealed: true,
            seal_type: self.config.seal.name().to_owned(),
            cluster_name: self.config.cluster_name.clone(),
            node_name: self.config.storage.node_name.as_str().to_owned(),
            ..NodeStatus::default()
        };
        let phase = self.phase();
        match &phase {
            Phase::Alone => self.describe_invitation(&mut status),
            Phase::Greeting(opened) => {
                status.initialized = true;
                status.cluster_id = cluster_id_text(opened.cluster_id);
                status.node_id = opened.node_id;
                status.reason = starting().message;
                status.applied_index = opened.state.applied_id().map_or(0, |id| id.index);
            }
            Phase::Out(outside) => {
                status.initialized = true;
                status.cluster_id = cluster_id_text(outside.cluster_id);
                status.node_id = outside.node_id;
                status.quarantined = true;
                status.reason.clone_from(&outside.text);
            }
            Phase::Halted(halted) => {
                status.initialized = true;
                status.cluster_id = cluster_id_text(halted.cluster_id);
                status.node_id = halted.node_id;
                status.reason = halted_refusal().message;
            }
            Phase::Sealed(running) | Phase::Unsealed(running, _) => {
                self.describe_running(running, &mut status);
            }
        }
        status.sealed = !matches!(phase, Phase::Unsealed(..));
        status
    }

    fn describe_running(&self, running: &Running, status: &mut NodeStatus) {
        let raft = running.raft.status();
        status.initialized = !self.is_half_founded(running);
        status.cluster_id = cluster_id_text(running.cluster_id);
        status.node_id = running.node_id;
        status.term = raft.term;
        status.committed_index = raft.committed_index;
        status.applied_index = raft.applied_index;
        status.quarantined = raft.quarantined;
        status.has_quorum = raft.has_quorum;
        status.member_api_addrs =
            raft.members.iter().map(|view| view.member.api_addr.clone()).collect();
        let leader = raft.members.iter().find(|v| Some(v.member.node_id) == raft.leader_id);
        if let Some(leader) = leader {
            status.leader_id = leader.member.node_id;
            status.leader_api_addr = leader.member.api_addr.clone();
            status.leader_cluster_addr = leader.member.cluster_addr.clone();
        }
        if let Ok(record) = self.seal_record(running) {
            let shamir = record.recipients.iter().find(|r| r.kind == "shamir");
            if let Some(recipient) = shamir {
                status.shares = recipient.shares;
                status.threshold = recipient.threshold;
            }
            status.cluster_name = record.cluster_name;
        }
        let progress = self.ceremony().progress();
        status.progress = progress.given;
        status.nonce = progress.nonce;
    }
}

fn cluster_id_text(cluster_id: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(cluster_id).hyphenated().to_string()
}
