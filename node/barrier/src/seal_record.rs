//! From a seal key to the root key.

use bytes::Bytes;
use conclave_memory::SecretKey;
use conclave_ports::Rng;
use prost::Message;
use zeroize::Zeroizing;

use crate::aead::{AeadKey, FORMAT, NonceBytes, Place, RecordKind, TERM_ROOT};
use crate::derive::derive_key;
use crate::error::{BarrierError, damaged};
use crate::ledger::LedgerView;
use crate::path::{MountId, NamespaceId};
use crate::places;
use crate::records::seal::{RecipientRow, SealRow};

/// The key at the top: 256 bits, known only to unsealed nodes.
///
/// ```compile_fail
/// fn printable<T: std::fmt::Debug>() {}
/// printable::<conclave_barrier::RootKey>();
/// ```
/// ```compile_fail
/// fn copyable<T: Clone>() {}
/// copyable::<conclave_barrier::RootKey>();
/// ```
/// ```compile_fail
/// fn comparable<T: PartialEq>() {}
/// comparable::<conclave_barrier::RootKey>();
/// ```
pub struct RootKey(SecretKey<32>);

/// A key that wraps the root key: of a Shamir set, or a static one.
///
/// ```compile_fail
/// fn printable<T: std::fmt::Debug>() {}
/// printable::<conclave_barrier::SealKey>();
/// ```
/// ```compile_fail
/// fn copyable<T: Clone>() {}
/// copyable::<conclave_barrier::SealKey>();
/// ```
/// ```compile_fail
/// fn comparable<T: PartialEq>() {}
/// comparable::<conclave_barrier::SealKey>();
/// ```
pub struct SealKey(SecretKey<32>);

impl RootKey {
    /// The key that a peer handed over, or that was unwrapped.
    pub fn new(key: SecretKey<32>) -> Self {
        Self(key)
    }

    /// The key itself. For peer unseal only.
    pub fn danger_expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    pub(crate) fn secret(&self) -> &SecretKey<32> {
        &self.0
    }
}

impl SealKey {
    /// The key that shares gave, or that the operator configured.
    pub fn new(key: SecretKey<32>) -> Self {
        Self(key)
    }
}

/// One independent way to the root key, as the seal record stores it (readable without any key).
#[derive(Debug, Clone, PartialEq)]
pub struct Recipient {
    /// `shamir` or `static`.
    pub kind: String,
    /// How many shares were handed out.
    pub shares: u8,
    /// How many of them are needed.
    pub threshold: u8,
    /// AEAD of the root key under the seal key; authenticates kind, shares, threshold, cluster id.
    pub wrapped_root_key: Bytes,
}

/// The seal configuration in force.
#[derive(Debug, Clone, PartialEq)]
pub struct SealRecord {
    /// The cluster's id, for ever.
    pub cluster_id: [u8; 16],
    /// The cluster's name, for people.
    pub cluster_name: String,
    /// The ways to the root key.
    pub recipients: Vec<Recipient>,
    /// Of the write that put the record there.
    pub revision: u64,
}

/// A seal key with what its recipient record will say.
pub struct NewRecipient {
    /// `shamir` or `static`.
    pub kind: String,
    /// How many shares were handed out.
    pub shares: u8,
    /// How many of them are needed.
    pub threshold: u8,
    /// The key that wraps.
    pub key: SealKey,
}

/// Reads the seal record, which is not encrypted. None where the cluster is not initialised.
///
/// # Errors
/// `Ledger`; `Damaged` where the row is not a seal record of a format known here.
pub fn seal_record(view: &dyn LedgerView) -> Result<Option<SealRecord>, BarrierError> {
    view.get(&places::seal())?.map(|row| decode(&row.value, row.revision)).transpose()
}

/// Opens a recipient's wrapped root key:
/// `root key = AES-256-GCM-Open(HKDF(seal key), A = kind ‖ shares ‖ threshold ‖ cluster id)`.
///
/// # Errors
/// `WrongKey` where the key is not the recipient's or the recipient's record was changed; `Damaged`
/// where there is no such recipient.
pub fn unwrap_root_key(
    record: &SealRecord,
    recipient: usize,
    key: &SealKey,
) -> Result<RootKey, BarrierError> {
    let recipient = record.recipients.get(recipient).ok_or_else(|| damaged("no such recipient"))?;
    let name = bound_name(&recipient.kind, recipient.shares, recipient.threshold);
    let opened = WrapKey::derive(key, &record.cluster_id)
        .0
        .open(TERM_ROOT, &place(&record.cluster_id, &name), &recipient.wrapped_root_key)
        .map_err(|_| BarrierError::WrongKey)?;
    root_key(&Zeroizing::new(opened)).ok_or_else(|| damaged("a root key of a wrong length"))
}

/// Wraps the root key for one more recipient, which no record holds yet.
pub fn make_recipient(
    root_key: &RootKey,
    cluster_id: &[u8; 16],
    recipient: &NewRecipient,
    rng: &dyn Rng,
) -> Recipient {
    let mut nonce = NonceBytes::default();
    rng.fill(&mut nonce);
    wrap_root_key(root_key, cluster_id, recipient, nonce)
}

/// The inverse of [`unwrap_root_key`].
pub(crate) fn wrap_root_key(
    root_key: &RootKey,
    cluster_id: &[u8; 16],
    recipient: &NewRecipient,
    nonce: NonceBytes,
) -> Recipient {
    let NewRecipient { kind, shares, threshold, key } = recipient;
    let name = bound_name(kind, *shares, *threshold);
    let wrapped_root_key = WrapKey::derive(key, cluster_id).0.seal(
        TERM_ROOT,
        nonce,
        &place(cluster_id, &name),
        root_key.0.expose(),
    );
    Recipient { kind: kind.clone(), shares: *shares, threshold: *threshold, wrapped_root_key }
}

/// Wraps the root key, nothing else.
struct WrapKey(AeadKey);

impl WrapKey {
    /// `K = HKDF(seal key, "conclave v1 root key")` (RFC 5869).
    fn derive(key: &SealKey, cluster_id: &[u8; 16]) -> Self {
        Self(AeadKey::new(&derive_key(&key.0, cluster_id, "conclave v1 root key", &[])))
    }
}

fn bound_name(kind: &str, shares: u8, threshold: u8) -> [Bytes; 3] {
    let byte = |byte: u8| Bytes::copy_from_slice(&[byte]);
    [Bytes::copy_from_slice(kind.as_bytes()), byte(shares), byte(threshold)]
}

fn place<'a>(cluster_id: &'a [u8; 16], name: &'a [Bytes; 3]) -> Place<'a> {
    let (namespace, mount) = (NamespaceId::ROOT, MountId::CORE);
    Place { cluster_id, namespace, mount, name, kind: RecordKind::RootKey }
}

fn root_key(bytes: &[u8]) -> Option<RootKey> {
    let bytes: &[u8; 32] = bytes.try_into().ok()?;
    Some(RootKey(SecretKey::fill_with(|key| key.copy_from_slice(bytes))))
}

pub(crate) fn encode(
    cluster_id: &[u8; 16],
    cluster_name: &str,
    recipients: Vec<Recipient>,
) -> Bytes {
    let recipients = recipients.into_iter().map(|recipient| RecipientRow {
        kind: recipient.kind,
        shares: recipient.shares.into(),
        threshold: recipient.threshold.into(),
        wrapped_root_key: recipient.wrapped_root_key,
    });
    let row = SealRow {
        format: FORMAT.into(),
        cluster_id: Bytes::copy_from_slice(cluster_id),
        cluster_name: cluster_name.to_owned(),
        recipients: recipients.collect(),
    };
    row.encode_to_vec().into()
}

fn decode(value: &[u8], revision: u64) -> Result<SealRecord, BarrierError> {
    let wrong = || damaged("the seal record; restore a backup or remove this node and join again");
    let row = SealRow::decode(value).map_err(|_| wrong())?;
    if row.format != FORMAT.into() {
        return Err(damaged("the seal record has an unknown format; run a newer version"));
    }
    let recipients = row.recipients.into_iter().map(|row| {
        let number = |number: u32| u8::try_from(number).map_err(|_| wrong());
        Ok(Recipient {
            shares: number(row.shares)?,
            threshold: number(row.threshold)?,
            kind: row.kind,
            wrapped_root_key: row.wrapped_root_key,
        })
    });
    Ok(SealRecord {
        cluster_id: row.cluster_id.as_ref().try_into().map_err(|_| wrong())?,
        cluster_name: row.cluster_name,
        recipients: recipients.collect::<Result<_, BarrierError>>()?,
        revision,
    })
}

#[cfg(test)]
mod tests;
