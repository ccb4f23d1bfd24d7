//! Joining by the seal's answer: who can open the cluster's seal may join it.
//!
//! ```text
//! joiner                                   member
//!   ShowSeal                         ──→
//!                                    ←──   seal record: recipients, wrapped root key
//!   shares or a static key open it
//!   Hello, Join as with a token      ──→   see `join`
//!
//! secret = HKDF-SHA256(salt = cluster id, key = root key, info = "conclave join by the seal v1")
//! ```
//!
//! The seal record is not secret, it stands readable on every disk; it opens with enough shares only,
//! and nobody is told which share was wrong. The challenge is the session's own: each proof is bound to
//! the TLS session, to both keys and to both nonces, is good for one answer, and ends with the
//! connection, which a stranger has for a minute.

use std::sync::Arc;

use bytes::Bytes;
use conclave_barrier::{Recipient, RootKey, SealRecord};
use conclave_ports::Ports;
use conclave_proto::v1;
use conclave_proto::v1::join_client::JoinClient;
use ring::hkdf;
use tonic::Response;
use zeroize::Zeroizing;

use super::JoinError;
use super::connect::{CONNECT_TIMEOUT, dial, single_channel};
use crate::tls::{Expect, NodeIdentity};

/// Stands where a join token's id does. Those are longer.
pub const SEAL_ANSWER_ID: &[u8] = b"seal";

/// What both sides of a join by the seal's answer prove to know; the formula is the module's.
#[must_use]
pub fn derive_seal_answer(root_key: &RootKey, cluster_id: &[u8; 16]) -> Zeroizing<Vec<u8>> {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, cluster_id);
    let mut secret = Zeroizing::new(vec![0; SECRET_BYTES]);
    salt.extract(root_key.danger_expose())
        .expand(&[DOMAIN], hkdf::HKDF_SHA256)
        .and_then(|key| key.fill(&mut secret))
        .expect("HKDF-SHA256 gives 32 bytes");
    secret
}

/// Asks the member at `address` (`host:port` of a peer listener) for its cluster's seal record.
///
/// # Errors
/// Nobody answers there, or it belongs to no cluster, or what it answers is no seal record.
pub async fn seal_record_of(
    identity: &Arc<NodeIdentity>,
    ports: &Ports,
    address: &str,
) -> Result<SealRecord, JoinError> {
    let unreachable =
        |reason: String| JoinError::Unreachable { address: address.to_owned(), reason };
    let asked = async {
        // Whoever answers: a record that is not the cluster's opens with no share of it.
        let expect = Expect::AnyoneWhoProvesLater;
        let connection = dial(Arc::clone(identity), address.to_owned(), expect)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let mut client = JoinClient::new(single_channel(connection));
        let answered = client.show_seal(v1::ShowSealRequest {}).await.map(Response::into_inner);
        answered.map_err(|status| JoinError::NotReady {
            address: address.to_owned(),
            reason: status.message().to_owned(),
        })
    };
    let reply = ports
        .within(CONNECT_TIMEOUT, asked)
        .await
        .unwrap_or_else(|_| Err(unreachable("no answer in time".to_owned())))?;
    from_reply(reply).ok_or_else(|| JoinError::BadAnswer {
        address: address.to_owned(),
        reason: "its seal record is malformed".to_owned(),
    })
}

pub(super) fn into_reply(record: SealRecord) -> v1::ShowSealReply {
    let recipients = record.recipients.into_iter().map(|recipient| v1::SealRecipient {
        kind: recipient.kind,
        shares: recipient.shares.into(),
        threshold: recipient.threshold.into(),
        wrapped_root_key: recipient.wrapped_root_key,
    });
    v1::ShowSealReply {
        cluster_id: record.cluster_id.to_vec().into(),
        cluster_name: record.cluster_name,
        recipients: recipients.collect(),
        revision: record.revision,
    }
}

fn from_reply(reply: v1::ShowSealReply) -> Option<SealRecord> {
    let well_formed = (1..=RECIPIENTS_MAX).contains(&reply.recipients.len())
        && reply.cluster_name.len() <= TEXT_BYTES_MAX;
    let recipients = reply.recipients.into_iter().map(|recipient| {
        let small = recipient.kind.len() <= TEXT_BYTES_MAX
            && recipient.wrapped_root_key.len() <= WRAPPED_BYTES_MAX;
        small.then_some(())?;
        Some(Recipient {
            kind: recipient.kind,
            shares: recipient.shares.try_into().ok()?,
            threshold: recipient.threshold.try_into().ok()?,
            wrapped_root_key: Bytes::from(recipient.wrapped_root_key.to_vec()),
        })
    });
    let recipients = recipients.collect::<Option<Vec<_>>>()?;
    well_formed.then_some(SealRecord {
        cluster_id: reply.cluster_id.as_ref().try_into().ok()?,
        cluster_name: reply.cluster_name,
        recipients,
        revision: reply.revision,
    })
}

const DOMAIN: &[u8] = b"conclave join by the seal v1";
const SECRET_BYTES: usize = 32;
const RECIPIENTS_MAX: usize = 16;
const TEXT_BYTES_MAX: usize = 256;
const WRAPPED_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use conclave_memory::SecretKey;

    use super::*;

    fn root_key(byte: u8) -> RootKey {
        RootKey::new(SecretKey::fill_with(|key| key.fill(byte)))
    }

    /// The expected value was computed by another implementation of HMAC, from the formula in this
    /// module's documentation.
    #[test]
    fn the_secret_is_the_golden_one() {
        let secret = derive_seal_answer(&root_key(7), &[1; 16]);
        assert_eq!(hex::encode(&*secret), GOLDEN);
        assert_ne!(*secret, *derive_seal_answer(&root_key(8), &[1; 16]));
        assert_ne!(*secret, *derive_seal_answer(&root_key(7), &[2; 16]));
    }

    fn reply() -> v1::ShowSealReply {
        let recipient = v1::SealRecipient {
            kind: "shamir".to_owned(),
            shares: 5,
            threshold: 3,
            wrapped_root_key: Bytes::from_static(&[9; 61]),
        };
        v1::ShowSealReply {
            cluster_id: Bytes::from_static(&[1; 16]),
            cluster_name: "prod".to_owned(),
            recipients: vec![recipient],
            revision: 12,
        }
    }

    #[test]
    fn records_arrive_as_they_left() {
        let record = from_reply(reply()).expect("it is well-formed");
        assert_eq!(record.recipients[0].threshold, 3);
        assert_eq!(into_reply(record), reply());
    }

    #[test]
    fn malformed_records_are_refused() {
        let cases: [fn(&mut v1::ShowSealReply); 6] = [
            |reply| reply.cluster_id = Bytes::from_static(&[1; 15]),
            |reply| reply.cluster_name = "x".repeat(257),
            |reply| reply.recipients.clear(),
            |reply| reply.recipients = vec![reply.recipients[0].clone(); 17],
            |reply| reply.recipients[0].threshold = 256,
            |reply| reply.recipients[0].wrapped_root_key = vec![0; 1025].into(),
        ];
        for (number, change) in cases.into_iter().enumerate() {
            let mut changed = reply();
            change(&mut changed);
            assert!(from_reply(changed).is_none(), "case {number}");
        }
    }

    const GOLDEN: &str = "5592db8c091cc05416a76e86b8aa5dbe14a48d4862e985931ee9e384523bfa54";
}
