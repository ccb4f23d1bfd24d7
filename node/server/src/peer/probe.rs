//! Whether a node belongs to a cluster, asked by one that is about to found its own.

use std::sync::Arc;

use conclave_ports::Ports;
use conclave_proto::v1;
use conclave_proto::v1::join_client::JoinClient;
use tonic::Code;

use super::connect::{CONNECT_TIMEOUT, dial, single_channel};
use super::proof::Nonce;
use crate::tls::{Expect, NodeIdentity};

/// Whether somebody at `address` (`host:port` of a peer listener) belongs to a cluster. A node that
/// cannot be reached is taken not to: the founder of a cluster is often the first to start.
pub async fn is_initialised(identity: &Arc<NodeIdentity>, ports: &Ports, address: &str) -> bool {
    let asked = async {
        let expect = Expect::AnyoneWhoProvesLater;
        let connection = dial(Arc::clone(identity), address.to_owned(), expect).await.ok()?;
        let nonce: Nonce = ports.random();
        let hello = v1::JoinHello { token_id: Vec::new().into(), nonce: nonce.to_vec().into() };
        Some(JoinClient::new(single_channel(connection)).hello(hello).await)
    };
    match ports.within(CONNECT_TIMEOUT, asked).await {
        Err(_) | Ok(None) => false,
        Ok(Some(Ok(_))) => true,
        // A node that is alone refuses for good; every other refusal is a member's.
        Ok(Some(Err(status))) => status.code() != Code::PermissionDenied,
    }
}
