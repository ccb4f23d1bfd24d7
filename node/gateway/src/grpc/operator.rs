//! `Operator`: the node and the cluster.

use conclave_core::Operation;
use conclave_proto::v1::operator_server::Operator;
use conclave_proto::v1::{
    CreateJoinTokenRequest, CreateJoinTokenResponse, InitRequest, InitResponse, MemberStatus,
    MembersRequest, MembersResponse, NodeStatusRequest, NodeStatusResponse, RemoveMemberRequest,
    RemoveMemberResponse, SealRequest, SealResponse, StepDownRequest, StepDownResponse,
    UnsealRequest,
};
use serde::Deserialize;
use tonic::{Request, Response, Status, async_trait};
use zeroize::Zeroizing;

use super::Handlers;
use super::context::{Ask, open};
use crate::refusal::Refusal;
use crate::{InitRequest as NodeInit, NodeStatus};

#[async_trait]
impl Operator for Handlers {
    type SaveSnapshotStream =
        futures::stream::BoxStream<'static, Result<conclave_proto::v1::SnapshotBytes, Status>>;

    async fn promote_member(
        &self,
        _request: Request<conclave_proto::v1::PromoteMemberRequest>,
    ) -> Result<Response<conclave_proto::v1::PromoteMemberResponse>, Status> {
        Err(Status::unimplemented("CONTRACT STUB"))
    }

    async fn demote_member(
        &self,
        _request: Request<conclave_proto::v1::DemoteMemberRequest>,
    ) -> Result<Response<conclave_proto::v1::DemoteMemberResponse>, Status> {
        Err(Status::unimplemented("CONTRACT STUB"))
    }

    async fn save_snapshot(
        &self,
        _request: Request<conclave_proto::v1::SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        Err(Status::unimplemented("CONTRACT STUB"))
    }

    async fn restore_snapshot(
        &self,
        _request: Request<tonic::Streaming<conclave_proto::v1::RestoreSnapshotPart>>,
    ) -> Result<Response<conclave_proto::v1::RestoreSnapshotResponse>, Status> {
        Err(Status::unimplemented("CONTRACT STUB"))
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
        Ok(Response::new(MembersResponse { members, index: config.index, epoch: 0 }))
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
        let (context, message) = open(request)?;
        let body = serde_json::json!({ "server_id": message.server_id }).to_string();
        let path = "sys/storage/raft/remove-peer".to_owned();
        self.call(context, Ask::new(Operation::Write, path).with_body(body)).await?;
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
    }
}

#[derive(Deserialize)]
struct Configuration {
    config: Servers,
}

#[derive(Deserialize)]
struct Servers {
    index: u64,
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
}

impl Server {
    fn into_message(self) -> MemberStatus {
        MemberStatus {
            node_id: self.raft_id,
            name: self.node_id,
            cluster_addr: self.address,
            api_addr: self.api_addr,
            leader: self.leader,
            voter: self.voter,
            ..MemberStatus::default()
        }
    }
}

#[derive(Deserialize)]
struct JoinToken {
    token: String,
    ttl_ms: u64,
}
