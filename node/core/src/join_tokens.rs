//! Single-use secrets by which a new node proves that it may join.
//!
//! The text that an operator carries is `base64url(JSON)` without padding, where JSON is
//! `{"v":1,"id":…,"secret":…,"addrs":[…]}`: id and secret in hex, addresses of the members'
//! peer listeners. The secret is kept sealed, because both sides prove it by HMAC.

use std::time::Duration;

use conclave_barrier::Transaction;
use conclave_ports::Ports;
use prost::Message;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::update::update;
use crate::{Core, Error, ErrorCode, MemberList, call, errors, rows};

/// How long a join token lives at most, and where nobody says.
pub(crate) const TTL_MAX: Duration = Duration::from_secs(600);

/// The longest id that is looked up.
const ID_BYTES_MAX: usize = 64;

/// A join token just made. It has no `Debug`, and its secret is wiped on drop.
///
/// ```compile_fail
/// fn printable<T: std::fmt::Debug>() {}
/// printable::<conclave_core::JoinToken>();
/// ```
pub struct JoinToken {
    /// Names it.
    pub id: [u8; 16],
    /// Proves it.
    pub secret: Zeroizing<[u8; 32]>,
}

/// What is stored under the id. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
struct JoinTokenRecord {
    #[prost(bytes = "vec", tag = "1")]
    secret: Vec<u8>,
    #[prost(uint64, tag = "2")]
    expires_ms: u64,
    /// The cluster's epoch when it was made: a restore may bring a used token back, or take the use
    /// of one away, so it is good in no other.
    #[prost(uint64, tag = "3")]
    epoch: u64,
}

impl Core {
    /// Makes a join token that lives for `ttl`, at most ten minutes.
    ///
    /// # Errors
    /// As a write; `InvalidRequest` for a longer life.
    pub async fn create_join_token(&self, ttl: Duration) -> Result<JoinToken, Error> {
        let token = JoinToken::make(&self.ports);
        update(&self.barrier, |tx, now_ms| token.store(tx, ttl, now_ms)).await?;
        Ok(token)
    }

    /// The secret of a join token that is neither used nor over.
    ///
    /// # Errors
    /// `PermissionDenied` for any other.
    pub async fn join_token_secret(&self, id: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let ledger = self.barrier.ledger();
        let point = ledger.read_barrier().await.map_err(errors::from_ledger)?;
        let mut tx = self.barrier.transaction(ledger.view());
        let now_ms = call::now_ms(&point, &tx);
        read(&mut tx, id, now_ms)
    }

    /// Uses a join token up: of several that try, exactly one succeeds.
    ///
    /// # Errors
    /// `PermissionDenied` where it was used or is over; otherwise as a write.
    pub async fn consume_join_token(&self, id: &[u8]) -> Result<(), Error> {
        update(&self.barrier, |tx, now_ms| {
            read(tx, id, now_ms)?;
            tx.delete(&rows::join_token(id)).map_err(errors::from_barrier)
        })
        .await
    }
}

impl JoinToken {
    pub(crate) fn make(ports: &Ports) -> Self {
        Self { id: ports.random(), secret: Zeroizing::new(ports.random()) }
    }

    pub(crate) fn store(
        &self,
        tx: &mut Transaction,
        ttl: Duration,
        now_ms: u64,
    ) -> Result<(), Error> {
        if ttl.is_zero() || ttl > TTL_MAX {
            return Err(Error::invalid(format!(
                "a join token lives from 1 to {} seconds; choose a 'ttl' in between",
                TTL_MAX.as_secs()
            )));
        }
        let ttl_ms = u64::try_from(ttl.as_millis()).expect("a ttl was checked against its limit");
        let record = JoinTokenRecord {
            secret: self.secret.to_vec(),
            expires_ms: now_ms.saturating_add(ttl_ms),
            epoch: tx.view().epoch(),
        };
        let row = rows::join_token(&self.id);
        tx.put(&row, record.encode_to_vec().into()).map_err(errors::from_barrier)
    }

    /// The text for the operator.
    pub(crate) fn text(&self, members: &MemberList) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Text<'a> {
            v: u32,
            id: String,
            secret: &'a str,
            addrs: Vec<&'a str>,
        }
        let secret = Zeroizing::new(hex::encode(self.secret.as_slice()));
        let text = Text {
            v: 1,
            id: hex::encode(self.id),
            secret: &secret,
            addrs: members.members.iter().map(|member| member.cluster_addr.as_str()).collect(),
        };
        let json = serde_json::to_vec(&text)
            .map_err(|_| Error::internal("a join token cannot be written as JSON"))?;
        Ok(rows::encode(&Zeroizing::new(json)))
    }
}

fn read(tx: &mut Transaction, id: &[u8], now_ms: u64) -> Result<Zeroizing<Vec<u8>>, Error> {
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(refused());
    }
    let row = tx.get(&rows::join_token(id)).map_err(errors::from_barrier)?.ok_or_else(refused)?;
    let record = JoinTokenRecord::decode(row.value)
        .map_err(|error| Error::internal(format!("a join token cannot be read: {error}")))?;
    let secret = Zeroizing::new(record.secret);
    let is_over = record.expires_ms <= now_ms || record.epoch != tx.view().epoch();
    if is_over { Err(refused()) } else { Ok(secret) }
}

fn refused() -> Error {
    Error::new(
        ErrorCode::PermissionDenied,
        "the join token was used, is over, was made before a restore or never existed; make a new one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout on disk.
    #[test]
    fn golden_layout() {
        let record = JoinTokenRecord { secret: vec![1, 2], expires_ms: 300, epoch: 1 };
        assert_eq!(hex::encode(record.encode_to_vec()), "0a02010210ac021801");
    }
}
