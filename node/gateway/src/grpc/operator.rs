//! `Operator`: the node and the cluster.

use conclave_core::Operation;
use conclave_proto::v1::operator_server::Operator;
use conclave_proto::v1::{
    CreateJoinTokenRequest, CreateJoinTokenResponse, DemoteMemberRequest, DemoteMemberResponse,
    InitRequest, InitResponse, JoinClusterRequest, JoinClusterResponse, MemberStatus,
    MembersRequest, MembersResponse, NodeStatusRequest, NodeStatusResponse, PromoteMemberRequest,
    PromoteMemberResponse, RemoveMemberRequest, RemoveMemberResponse, RestoreSnapshotPart,
    RestoreSnapshotResponse, SaveSnapshotRequest, SealRequest, SealResponse, SnapshotBytes,
    StepDownRequest, StepDownResponse, UnsealRequest,
};
use futures::stream::BoxStream;
use serde::Deserialize;
use tonic::{Request, Response, Status, Streaming, async_trait};
use zeroize::Zeroizing;

use super::context::{Ask, Context, open};
use super::{Handlers, snapshot};
use crate::refusal::Refusal;
use crate::{InitRequest as NodeInit, JoinRequest as NodeJoin, NodeStatus};

#[async_trait]
impl Operator for Handlers {
    type SaveSnapshotStream = BoxStream<'static, Result<SnapshotBytes, Status>>;

    async fn join_cluster(
        &self,
        request: Request<JoinClusterRequest>,
    ) -> Result<Response<JoinClusterResponse>, Status> {
        let (context, message) = open(request)?;
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let join = NodeJoin {
            leader_cluster_addr: given(message.leader_cluster_addr),
            token: given(message.join_token),
            non_voter: message.non_voter,
        };
        self.caller
            .detached(context.permit, move |service| {
                Box::pin(async move { service.join(join).await })
            })
            .await?;
        Ok(Response::new(JoinClusterResponse {}))
    }

    async fn promote_member(
        &self,
        request: Request<PromoteMemberRequest>,
    ) -> Result<Response<PromoteMemberResponse>, Status> {
        let (context, PromoteMemberRequest { server_id }) = open(request)?;
        self.change_member(context, "promote", &server_id).await?;
        Ok(Response::new(PromoteMemberResponse {}))
    }

    async fn demote_member(
        &self,
        request: Request<DemoteMemberRequest>,
    ) -> Result<Response<DemoteMemberResponse>, Status> {
        let (context, DemoteMemberRequest { server_id }) = open(request)?;
        self.change_member(context, "demote", &server_id).await?;
        Ok(Response::new(DemoteMemberResponse {}))
    }

    async fn save_snapshot(
        &self,
        request: Request<SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        let (context, SaveSnapshotRequest {}) = open(request)?;
        snapshot::save(self, context).await
    }

    async fn restore_snapshot(
        &self,
        request: Request<Streaming<RestoreSnapshotPart>>,
    ) -> Result<Response<RestoreSnapshotResponse>, Status> {
        let (context, parts) = open(request)?;
        snapshot::restore(self, context, parts).await
    }

    async fn status(
        &self,
        _request: Request<NodeStatusRequest>,
    ) -> Result<Response<NodeStatusResponse>, Status> {
        Ok(Response::new(status_message(self.caller.service.status())))
    }

    async fn init(&self, request: Request<InitRequest>) -> Result<Response<InitResponse>, Status> {
        let (context, message) = open(request)?;
        let init = NodeInit {
            shares: small(message.secret_shares)?,
            threshold: small(message.secret_threshold)?,
        };
        let response = self
            .caller
            .detached(context.permit, move |service| {
                Box::pin(async move { service.init(init).await })
            })
            .await?;
        Ok(Response::new(InitResponse {
            keys: response.keys.iter().map(|key| key.to_vec().into()).collect(),
            root_token: response.root_token.to_string(),
        }))
    }

    async fn unseal(
        &self,
        request: Request<UnsealRequest>,
    ) -> Result<Response<NodeStatusResponse>, Status> {
        let (context, message) = open(request)?;
        let reset = message.reset;
        if message.key.is_empty() && !reset {
            return Err(
                Refusal::invalid("the key is empty; give a share, or ask for a reset").into()
            );
        }
        let share = Zeroizing::new(Vec::from(message.key));
        let status = self
            .caller
            .detached(context.permit, move |service| {
                Box::pin(async move { service.unseal(share, reset).await })
            })
            .await?;
        Ok(Response::new(status_message(status)))
    }

    async fn seal(&self, request: Request<SealRequest>) -> Result<Response<SealResponse>, Status> {
        let (context, SealRequest {}) = open(request)?;
        self.call(context, Ask::new(Operation::Write, "sys/seal".to_owned())).await?;
        Ok(Response::new(SealResponse {}))
    }

    async fn members(
        &self,
        request: Request<MembersRequest>,
    ) -> Result<Response<MembersResponse>, Status> {
        let (context, MembersRequest {}) = open(request)?;
        let path = "sys/storage/raft/configuration".to_owned();
        let answered = self.call(context, Ask::new(Operation::Read, path)).await?;
        let Configuration { config } = answered.parse()?;
        let members = config.servers.into_iter().map(Server::into_message).collect();
        Ok(Response::new(MembersResponse {
            members,
            index: config.index,
            epoch: config.epoch,
            backup_key: config.backup_key,
        }))
    }

    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<CreateJoinTokenResponse>, Status> {
        let (context, message) = open(request)?;
        let body = match message.ttl_ms {
            0 => "{}".to_owned(),
            ttl_ms => serde_json::json!({ "ttl_ms": ttl_ms }).to_string(),
        };
        let path = "sys/storage/raft/join-token".to_owned();
        let answered = self.call(context, Ask::new(Operation::Write, path).with_body(body)).await?;
        let grant: JoinToken = answered.parse()?;
        Ok(Response::new(CreateJoinTokenResponse { token: grant.token, ttl_ms: grant.ttl_ms }))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        let (context, RemoveMemberRequest { server_id }) = open(request)?;
        self.change_member(context, "remove-peer", &server_id).await?;
        Ok(Response::new(RemoveMemberResponse {}))
    }

    async fn step_down(
        &self,
        request: Request<StepDownRequest>,
    ) -> Result<Response<StepDownResponse>, Status> {
        let (context, StepDownRequest {}) = open(request)?;
        self.call(context, Ask::new(Operation::Write, "sys/step-down".to_owned())).await?;
        Ok(Response::new(StepDownResponse {}))
    }
}

impl Handlers {
    /// One of the routes that take a member and answer nothing.
    async fn change_member(
        &self,
        context: Context,
        route: &str,
        server_id: &str,
    ) -> Result<(), Refusal> {
        let body = serde_json::json!({ "server_id": server_id }).to_string();
        let path = format!("sys/storage/raft/{route}");
        self.call(context, Ask::new(Operation::Write, path).with_body(body)).await.map(drop)
    }
}

fn small(number: u32) -> Result<u8, Refusal> {
    u8::try_from(number).map_err(|_| Refusal::invalid("shares and threshold must be at most 255"))
}

fn status_message(status: NodeStatus) -> NodeStatusResponse {
    NodeStatusResponse {
        initialized: status.initialized,
        sealed: status.sealed,
        threshold: status.threshold.into(),
        shares: status.shares.into(),
        progress: status.progress.into(),
        nonce: status.nonce,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seal_type: status.seal_type,
        cluster_name: status.cluster_name,
        cluster_id: status.cluster_id,
        node_id: status.node_id,
        node_name: status.node_name,
        leader_id: status.leader_id,
        leader_api_addr: status.leader_api_addr,
        leader_cluster_addr: status.leader_cluster_addr,
        term: status.term,
        committed_index: status.committed_index,
        applied_index: status.applied_index,
        member_api_addrs: status.member_api_addrs,
        reason: status.reason,
    }
}

#[derive(Deserialize)]
struct Configuration {
    config: Servers,
}

#[derive(Deserialize)]
struct Servers {
    index: u64,
    epoch: u64,
    backup_key: String,
    servers: Vec<Server>,
}

#[derive(Deserialize)]
struct Server {
    address: String,
    api_addr: String,
    leader: bool,
    node_id: String,
    raft_id: u64,
    voter: bool,
    health: Option<Health>,
}

#[derive(Deserialize, Default)]
struct Health {
    applied_index: u64,
    sealed: bool,
    state_hash: String,
    unfit: bool,
}

impl Server {
    fn into_message(self) -> MemberStatus {
        let reachable = self.health.is_some();
        let health = self.health.unwrap_or_default();
        MemberStatus {
            node_id: self.raft_id,
            name: self.node_id,
            cluster_addr: self.address,
            api_addr: self.api_addr,
            leader: self.leader,
            voter: self.voter,
            reachable,
            sealed: health.sealed,
            applied_index: health.applied_index,
            state_hash: hex::decode(health.state_hash).unwrap_or_default().into(),
            unfit: health.unfit,
        }
    }
}

#[derive(Deserialize)]
struct JoinToken {
    token: String,
    ttl_ms: u64,
}
