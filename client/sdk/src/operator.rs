//! The cluster's and its nodes' own affairs.
//!
//! What acts on one node takes that node's address; without one it goes to any node, or to the
//! leader.

use std::fmt;

use bytes::Bytes;
use conclave_proto::v1::operator_client::OperatorClient;
use conclave_proto::v1::{
    CreateJoinTokenRequest, DemoteMemberRequest, InitRequest, JoinClusterRequest, MembersRequest,
    NodeStatusRequest, PromoteMemberRequest, RemoveMemberRequest, SealRequest, StepDownRequest,
    UnsealRequest,
};
pub use conclave_proto::v1::{
    MemberStatus, MembersResponse as Membership, NodeStatusResponse as NodeStatus,
};

use crate::client::Client;
use crate::cluster::Route;
use crate::error::Error;
use crate::retry::Replay;

/// Made by [`Client::operator`].
#[derive(Debug, Clone)]
pub struct Operator {
    pub(crate) client: Client,
}

/// What initialising a cluster brings forth, once. It has no `Debug`.
pub struct InitResult {
    /// Shares of the unseal key; of the recovery key where the nodes unseal by themselves.
    pub keys: Vec<Bytes>,
    /// The first token.
    pub root_token: String,
}

/// A join token. Its `Debug` does not show the token.
pub struct JoinToken {
    /// To be handed to the new node.
    pub token: String,
    /// How long it lives.
    pub ttl_ms: u64,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("ttl_ms", &self.ttl_ms).finish_non_exhaustive()
    }
}

impl Operator {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The state of the node at `address`, or of any. Needs no token.
    pub async fn status(&self, address: Option<&str>) -> Result<NodeStatus, Error> {
        let client = &self.client;
        client
            .call(route(address, Route::Any)?, Replay::Free, |channel| {
                let request = client.request(NodeStatusRequest {});
                async move { OperatorClient::new(channel).status(request).await }
            })
            .await
    }

    /// Initialises the cluster, with the node at `address` as its first member. Both numbers are 0
    /// where the node's seal has no shares. Needs no token.
    pub async fn init(
        &self,
        address: &str,
        secret_shares: u32,
        secret_threshold: u32,
    ) -> Result<InitResult, Error> {
        let client = &self.client;
        let made = client
            .call(route(Some(address), Route::Any)?, Replay::Once, |channel| {
                let request = client.request(InitRequest { secret_shares, secret_threshold });
                async move { OperatorClient::new(channel).init(request).await }
            })
            .await?;
        Ok(InitResult { keys: made.keys, root_token: made.root_token })
    }

    /// Gives the node at `address` one share of the unseal key. The same share twice counts once,
    /// so it is sent again after a lost answer. Needs no token.
    pub async fn unseal(&self, address: &str, key: impl Into<Bytes>) -> Result<NodeStatus, Error> {
        self.unseal_or_reset(address, UnsealRequest { key: key.into(), reset: false }).await
    }

    /// Makes the node at `address` forget the shares given so far. Needs no token.
    pub async fn unseal_reset(&self, address: &str) -> Result<NodeStatus, Error> {
        self.unseal_or_reset(address, UnsealRequest { key: Bytes::new(), reset: true }).await
    }

    async fn unseal_or_reset(
        &self,
        address: &str,
        message: UnsealRequest,
    ) -> Result<NodeStatus, Error> {
        let client = &self.client;
        client
            .call(route(Some(address), Route::Any)?, Replay::Free, |channel| {
                let request = client.request(message.clone());
                async move { OperatorClient::new(channel).unseal(request).await }
            })
            .await
    }

    /// Seals the node at `address`.
    pub async fn seal(&self, address: &str) -> Result<(), Error> {
        let client = &self.client;
        client
            .call(route(Some(address), Route::Any)?, Replay::Once, |channel| {
                let request = client.request(SealRequest {});
                async move { OperatorClient::new(channel).seal(request).await }
            })
            .await?;
        Ok(())
    }

    /// The membership in force, ascending by id.
    pub async fn members(&self) -> Result<Vec<MemberStatus>, Error> {
        Ok(self.membership().await?.members)
    }

    /// The membership in force, the cluster's epoch, and the key that verifies its backups.
    pub async fn membership(&self) -> Result<Membership, Error> {
        let client = &self.client;
        client
            .read(|channel| {
                let request = client.request(MembersRequest {});
                async move { OperatorClient::new(channel).members(request).await }
            })
            .await
    }

    /// A token with which one node can join. `ttl_ms` is 0 for the default of 10 minutes, which is
    /// also the most.
    pub async fn create_join_token(&self, ttl_ms: u64) -> Result<JoinToken, Error> {
        let client = &self.client;
        let made = client
            .call(Route::Leader, Replay::Once, |channel| {
                let request = client.request(CreateJoinTokenRequest { ttl_ms });
                async move { OperatorClient::new(channel).create_join_token(request).await }
            })
            .await?;
        Ok(JoinToken { token: made.token, ttl_ms: made.ttl_ms })
    }

    /// Removes the member with this name or decimal Raft id. It never comes back under that id.
    pub async fn remove_member(&self, server_id: &str) -> Result<(), Error> {
        let client = &self.client;
        client
            .call(Route::Leader, Replay::Once, |channel| {
                let message = RemoveMemberRequest { server_id: server_id.to_owned() };
                let request = client.request(message);
                async move { OperatorClient::new(channel).remove_member(request).await }
            })
            .await?;
        Ok(())
    }

    /// Makes the node at `address`, which belongs to no cluster, a member of one: by a join token, or
    /// with an empty one by the join secret of the node's configuration. `leader_cluster_addr` is
    /// empty where either of them says whom to ask. Needs no token.
    pub async fn join(
        &self,
        address: &str,
        join_token: &str,
        leader_cluster_addr: &str,
        non_voter: bool,
    ) -> Result<(), Error> {
        let client = &self.client;
        client
            .call(route(Some(address), Route::Any)?, Replay::Once, |channel| {
                let request = client.request(JoinClusterRequest {
                    join_token: join_token.to_owned(),
                    leader_cluster_addr: leader_cluster_addr.to_owned(),
                    non_voter,
                });
                async move { OperatorClient::new(channel).join_cluster(request).await }
            })
            .await?;
        Ok(())
    }

    /// Makes the learner with this name or decimal Raft id a voter.
    pub async fn promote_member(&self, server_id: &str) -> Result<(), Error> {
        let client = &self.client;
        client
            .call(Route::Leader, Replay::Once, |channel| {
                let message = PromoteMemberRequest { server_id: server_id.to_owned() };
                let request = client.request(message);
                async move { OperatorClient::new(channel).promote_member(request).await }
            })
            .await?;
        Ok(())
    }

    /// Makes the voter with this name or decimal Raft id a learner, which it stays.
    pub async fn demote_member(&self, server_id: &str) -> Result<(), Error> {
        let client = &self.client;
        client
            .call(Route::Leader, Replay::Once, |channel| {
                let message = DemoteMemberRequest { server_id: server_id.to_owned() };
                let request = client.request(message);
                async move { OperatorClient::new(channel).demote_member(request).await }
            })
            .await?;
        Ok(())
    }

    /// Makes the leader hand leadership to another voter.
    pub async fn step_down(&self) -> Result<(), Error> {
        let client = &self.client;
        client
            .call(Route::Leader, Replay::Once, |channel| {
                let request = client.request(StepDownRequest {});
                async move { OperatorClient::new(channel).step_down(request).await }
            })
            .await?;
        Ok(())
    }
}

fn route(address: Option<&str>, otherwise: Route) -> Result<Route, Error> {
    match address {
        Some(text) => Ok(Route::Node(text.parse()?)),
        None => Ok(otherwise),
    }
}
