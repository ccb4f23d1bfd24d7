//! Whether a node belongs to a cluster, asked by one that is about to found its own.

use std::sync::Arc;

use conclave_ports::Ports;
use conclave_proto::v1;
use conclave_proto::v1::join_client::JoinClient;
use tonic::Code;

use super::connect::{CONNECT_TIMEOUT, dial, single_channel};
use super::proof::Nonce;
use crate::tls::{Expect, NodeIdentity};

/// What a configured peer is, as far as it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to a cluster.
    Initialised,
    /// It belongs to none.
    Alone,
    /// It does not answer, so nobody can tell.
    Silent,
}

/// Asks whoever listens at `address` (`host:port` of a peer listener) whether it belongs to a
/// cluster.
pub async fn standing_of(identity: &Arc<NodeIdentity>, ports: &Ports, address: &str) -> Standing {
    let asked = async {
        let expect = Expect::AnyoneWhoProvesLater;
        let connection = dial(Arc::clone(identity), address.to_owned(), expect).await.ok()?;
        let nonce: Nonce = ports.random();
        let hello = v1::JoinHello { token_id: Vec::new().into(), nonce: nonce.to_vec().into() };
        Some(JoinClient::new(single_channel(connection)).hello(hello).await)
    };
    match ports.within(CONNECT_TIMEOUT, asked).await {
        Err(_) | Ok(None) => Standing::Silent,
        Ok(Some(Ok(_))) => Standing::Initialised,
        // A node that is alone refuses for good; every other refusal is a member's.
        Ok(Some(Err(status))) if status.code() == Code::PermissionDenied => Standing::Alone,
        Ok(Some(Err(_))) => Standing::Initialised,
    }
}
