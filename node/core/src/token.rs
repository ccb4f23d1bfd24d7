//! Tokens: their text, their record, and what a good one yields.

use conclave_barrier::{Barrier, HashPurpose, Transaction};
use conclave_ports::Ports;
use prost::Message;
use zeroize::Zeroizing;

use crate::{Error, Token, errors, rows};

/// The longest token that is looked up.
const TOKEN_BYTES_MAX: usize = 512;

/// Characters after the prefix: 142 bits.
const RANDOM_CHARACTERS: usize = 24;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The policy that may do everything.
const ROOT_POLICY: &str = "root";

/// Proof that a request's token was checked. Nothing outside this module can make one.
pub(crate) struct Permit {
    _private: (),
}

/// What is stored about a token, under the keyed hash of its text.
#[derive(Clone, PartialEq, Eq, Message)]
struct TokenRecord {
    /// When it was made.
    #[prost(uint64, tag = "1")]
    created_ms: u64,
    /// For people: `root`.
    #[prost(string, tag = "2")]
    display_name: String,
    /// The names of its policies.
    #[prost(string, repeated, tag = "3")]
    policies: Vec<String>,
    /// The handle by which it can be looked up and revoked without being known.
    #[prost(string, tag = "4")]
    accessor: String,
}

/// What is stored under the keyed hash of an accessor.
#[derive(Clone, PartialEq, Eq, Message)]
struct AccessorRecord {
    /// The keyed hash of the token's text.
    #[prost(bytes = "vec", tag = "1")]
    token_hash: Vec<u8>,
}

/// Checks the token in the request's own view; its row becomes a condition of the commit, so that a
/// token revoked meanwhile cannot win. Every failure is the same to the caller.
pub(crate) fn authorise(
    barrier: &Barrier,
    tx: &mut Transaction,
    token: &Token,
) -> Result<Permit, Error> {
    let text = token.expose();
    if text.is_empty() || text.len() > TOKEN_BYTES_MAX {
        return Err(errors::permission_denied());
    }
    let hash = barrier.keyed_hash(HashPurpose::Token, text.as_bytes());
    let row = tx.get(&rows::token(&hash)).map_err(errors::from_barrier)?;
    let row = row.ok_or_else(errors::permission_denied)?;
    let record = TokenRecord::decode(row.value)
        .map_err(|error| Error::internal(format!("a token record cannot be read: {error}")))?;
    if record.policies.iter().any(|policy| policy == ROOT_POLICY) {
        Ok(Permit { _private: () })
    } else {
        Err(errors::permission_denied())
    }
}

/// Makes a root token. Its text is not stored anywhere.
pub(crate) fn create_root(
    barrier: &Barrier,
    tx: &mut Transaction,
    text: &str,
    accessor: &str,
    now_ms: u64,
) -> Result<(), Error> {
    let token_hash = barrier.keyed_hash(HashPurpose::Token, text.as_bytes());
    let accessor_hash = barrier.keyed_hash(HashPurpose::Accessor, accessor.as_bytes());
    let record = TokenRecord {
        created_ms: now_ms,
        display_name: "root".into(),
        policies: vec![ROOT_POLICY.into()],
        accessor: accessor.into(),
    };
    let pointer = AccessorRecord { token_hash: token_hash.to_vec() };
    tx.put(&rows::token(&token_hash), record.encode_to_vec().into())
        .and_then(|()| tx.put(&rows::accessor(&accessor_hash), pointer.encode_to_vec().into()))
        .map_err(errors::from_barrier)
}

/// The text of a service token: `hvs.` and 24 characters, as log redactors know it.
pub(crate) fn make_text(ports: &Ports) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(4 + RANDOM_CHARACTERS));
    text.push_str("hvs.");
    text.push_str(&make_base62(ports));
    text
}

/// 24 characters, each uniform over 62: the six bits of a byte that are above 61 are drawn again.
pub(crate) fn make_base62(ports: &Ports) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(RANDOM_CHARACTERS));
    while text.len() < RANDOM_CHARACTERS {
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(ports.random());
        let characters = bytes.iter().filter_map(|byte| BASE62.get(usize::from(byte & 63)));
        let missing = RANDOM_CHARACTERS - text.len();
        text.extend(characters.take(missing).map(|byte| char::from(*byte)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layouts on disk: a change here locks everybody out.
    #[test]
    fn golden_layouts() {
        let record = TokenRecord {
            created_ms: 1,
            display_name: "d".into(),
            policies: vec!["p".into(), "q".into()],
            accessor: "a".into(),
        };
        assert_eq!(hex::encode(record.encode_to_vec()), "08011201641a01701a0171220161");
        let pointer = AccessorRecord { token_hash: vec![9] };
        assert_eq!(hex::encode(pointer.encode_to_vec()), "0a0109");
    }
}
