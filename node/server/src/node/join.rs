//! How this node joins a cluster that exists.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::{Error, ErrorCode};
use conclave_gateway::JoinRequest;
use conclave_proto::v1;
use conclave_store::identity::Identity;
use serde_json::json;
use zeroize::Zeroizing;

use super::Node;
use super::ceremony_log::{fields, join_fields};
use super::phase::Phase;
use super::seal::from_disk_error;
use crate::commands::rejoin::TOKEN_FILE;
use crate::peer::{JoinError, JoinParams, JoinToken, Standing, join, standing_of};

/// Where to join and what proves that this node may.
pub(super) struct Invitation {
    pub(super) addresses: Vec<String>,
    pub(super) token_id: Vec<u8>,
    pub(super) secret: Zeroizing<Vec<u8>>,
}

impl Node {
    /// Joins as a client asks for it.
    pub(super) async fn join_by_request(&self, request: JoinRequest) -> Result<(), Error> {
        let trail = self.begin_ceremony("sys/storage/raft/join", join_fields(&request)).await?;
        let joined = self.join_cluster(request).await;
        trail.end(joined.as_ref().map(|()| fields(json!({"joined": true})))).await;
        joined
    }

    /// Joins by the token of `request`, or by the join secret of the configuration; without either,
    /// learns what seals the cluster, and joins once this node was unsealed.
    pub(super) async fn join_cluster(&self, request: JoinRequest) -> Result<(), Error> {
        let _one = self.transition.lock().await;
        if !matches!(self.phase(), Phase::Alone) {
            return Err(Error::invalid(
                "this node belongs to a cluster already; to move it, remove it there and wipe its data directory",
            ));
        }
        if request.token.is_none() && self.join_secret.is_none() {
            // Where the configuration says whose seal it is, no caller without a token says otherwise.
            let addresses = match self.config.storage.retry_join.is_empty() {
                true => self.addresses_of(&request),
                false => self.retry_join_addresses(),
            };
            return self.be_invited_by(addresses, request.non_voter).await;
        }
        let invitation = self.invitation(&request)?;
        let mut last = Error::invalid("no address of a member is known; name one in the request");
        for address in &invitation.addresses {
            match join(&self.join_params(address, &invitation, request.non_voter)).await {
                Ok(reply) => return self.become_member(reply).await,
                Err(error @ JoinError::NotAccepted { .. }) => {
                    last = Error::new(ErrorCode::PermissionDenied, error.to_string());
                }
                Err(error) => last = Error::invalid(error.to_string()),
            }
        }
        Err(last)
    }

    /// Joins by the token that `conclaved rejoin --token` left, for as long as it may be good for.
    async fn join_by_left_token(&self) {
        let path = self.config.storage.path.join(TOKEN_FILE);
        let Ok(token) = std::fs::read_to_string(&path).map(Zeroizing::new) else { return };
        while matches!(self.phase(), Phase::Alone) && self.identities.load().is_none() {
            let request = JoinRequest { token: Some((*token).clone()), ..JoinRequest::default() };
            match self.join_cluster(request).await {
                Ok(()) => break,
                Err(error) if error.code == ErrorCode::PermissionDenied => {
                    tracing::error!(%error, "the join token that was left for this start is no good");
                    break;
                }
                Err(error) => tracing::warn!(%error, "not joined yet"),
            }
            self.ports.clock.sleep(TOKEN_RETRY_INTERVAL).await;
        }
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(%error, "the join token that was used cannot be removed");
        }
    }

    /// Keeps trying the configured peers until this node belongs to a cluster.
    pub(super) async fn join_configured_peers(&self) {
        self.join_by_left_token().await;
        if self.config.storage.retry_join.is_empty() {
            return;
        }
        if self.join_secret.is_none() {
            self.wait_for_the_seal().await;
            return;
        }
        let mut report_at = self.ports.clock.monotonic() + REPORT_INTERVAL;
        while matches!(self.phase(), Phase::Alone) && self.identities.load().is_none() {
            let request = JoinRequest {
                non_voter: self.config.storage.join_as_non_voter,
                ..JoinRequest::default()
            };
            if let Err(error) = self.join_cluster(request).await {
                let now = self.ports.clock.monotonic();
                if now < report_at {
                    tracing::debug!(%error, "not joined yet");
                } else {
                    report_at = now + REPORT_INTERVAL;
                    tracing::warn!(%error, "not joined yet; this node keeps trying");
                }
            }
            self.ports.clock.sleep(RETRY_INTERVAL).await;
        }
    }

    /// Two clusters must not grow where one was meant.
    pub(super) async fn refuse_if_a_peer_is_initialised(&self) -> Result<(), Error> {
        if let Some(name) = self.cluster_waited_for() {
            return Err(Error::invalid(format!(
                "this node is to join the cluster {name}: unseal it with that cluster's shares, or start it again without retry_join to initialise another"
            )));
        }
        for address in self.retry_join_addresses() {
            match standing_of(&self.tls, &self.ports, &address).await {
                Standing::Alone => {}
                Standing::Initialised => {
                    return Err(Error::invalid(format!(
                        "the configured peer {address} is initialised already: this node is to join it, not to start a cluster of its own"
                    )));
                }
                // The founder of a cluster is often the first to start.
                Standing::Silent => tracing::warn!(
                    address,
                    "a configured peer does not answer: if it belongs to a cluster, this one is a second one"
                ),
            }
        }
        Ok(())
    }

    pub(super) fn retry_join_addresses(&self) -> Vec<String> {
        let peers = &self.config.storage.retry_join;
        peers.iter().map(|peer| peer.leader_cluster_addr.to_string()).collect()
    }

    fn invitation(&self, request: &JoinRequest) -> Result<Invitation, Error> {
        if let Some(text) = &request.token {
            let token = JoinToken::decode(text).map_err(|e| Error::invalid(e.to_string()))?;
            let addresses = match &request.leader_cluster_addr {
                Some(address) => vec![address.clone()],
                None => token.addresses,
            };
            return Ok(Invitation { addresses, token_id: token.id, secret: token.secret });
        }
        let secret = self.join_secret.clone().ok_or_else(|| Error::internal("no join secret"))?;
        Ok(Invitation { addresses: self.addresses_of(request), token_id: Vec::new(), secret })
    }

    /// Whom to ask where no token says so.
    fn addresses_of(&self, request: &JoinRequest) -> Vec<String> {
        match &request.leader_cluster_addr {
            Some(address) => vec![address.clone()],
            None => self.retry_join_addresses(),
        }
    }

    pub(super) fn join_params(
        &self,
        address: &str,
        invitation: &Invitation,
        non_voter: bool,
    ) -> JoinParams {
        JoinParams {
            identity: self.tls.clone(),
            ports: self.ports.clone(),
            addresses: vec![address.to_owned()],
            token_id: invitation.token_id.clone(),
            secret: invitation.secret.clone(),
            name: self.config.storage.node_name.as_str().to_owned(),
            cluster_addr: self.config.cluster_addr.to_string(),
            api_addr: self.config.api_addr.to_string(),
            non_voter,
        }
    }

    /// Keeps what the cluster answered and begins to take part. The caller holds the transition lock.
    pub(super) async fn become_member(&self, reply: v1::JoinReply) -> Result<(), Error> {
        let cluster_id: [u8; 16] = reply.cluster_id.as_ref().try_into().map_err(|_| {
            Error::internal("the cluster answered the join with a malformed cluster id")
        })?;
        self.tls
            .install(&reply.certificate, &reply.ca_certificate)
            .map_err(|error| Error::internal(error.to_string()))?;
        let joined = reply.membership.unwrap_or_default();
        self.known_members.store(Arc::new(joined.members.clone()));
        let identity =
            Identity { joined: Some(joined), ..self.make_identity(cluster_id, reply.node_id) };
        self.identities.save(&identity).map_err(from_disk_error)?;
        let running = self.start_new(identity).await.map_err(|e| self.end_for(&e))?;
        self.set_phase(Phase::Sealed(running));
        self.forget_invitation();
        tracing::info!(node_id = reply.node_id, "this node has joined a cluster");
        Ok(())
    }
}

/// Between two lines in the log that say why this node has not joined.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
const TOKEN_RETRY_INTERVAL: Duration = Duration::from_secs(2);
