//! `meta.json`: what a backup is of, readable without any key.

use conclave_proto::v1::{self, SnapshotHeader};
use serde::{Deserialize, Serialize};

use super::{BackupError, PublicKey, changed, layout};

/// What a backup says of itself. Every field is covered by the signature, and those that the state
/// file has, too, must agree with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// The program that made it.
    pub version: String,
    /// When, by the wall clock of the node that was asked: RFC 3339.
    pub created: String,
    /// 16 bytes in hex.
    pub cluster_id: String,
    /// For people.
    pub cluster_name: String,
    /// The epoch of the state.
    pub epoch: u64,
    /// The last log entry in it.
    pub index: u64,
    /// Of that entry.
    pub term: u64,
    /// Of that entry: who led.
    pub leader_id: u64,
    /// The membership then, ascending by id.
    pub members: Vec<Peer>,
    /// The term of the data key that seals.
    pub keyring_term: u32,
    /// The set hash of the state, in hex.
    pub state_hash: String,
    /// How many records it has.
    pub record_count: u64,
    /// The length of the state file.
    pub state_bytes: u64,
    /// The Ed25519 public key that verifies it, in hex.
    pub backup_key: String,
}

/// A member when the backup was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its Raft id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// `host:port` of its peer listener.
    pub cluster_addr: String,
}

/// What a manifest says that the state does not.
pub(crate) struct Circumstances {
    pub(crate) created: String,
    pub(crate) cluster_name: String,
    pub(crate) keyring_term: u32,
    pub(crate) state_bytes: u64,
    pub(crate) backup_key: PublicKey,
}

impl Manifest {
    pub(crate) fn new(header: &SnapshotHeader, circumstances: Circumstances) -> Self {
        let last = header.last_log_id.unwrap_or_default();
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created: circumstances.created,
            cluster_id: hex::encode(&header.cluster_id),
            cluster_name: circumstances.cluster_name,
            epoch: header.epoch,
            index: last.index,
            term: last.term,
            leader_id: last.leader_id,
            members: peers_of(header),
            keyring_term: circumstances.keyring_term,
            state_hash: hex::encode(&header.state_hash),
            record_count: header.record_count,
            state_bytes: circumstances.state_bytes,
            backup_key: circumstances.backup_key.to_string(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut json =
            serde_json::to_vec_pretty(self).expect("numbers and strings are written into memory");
        json.push(b'\n');
        json
    }

    pub(super) fn decode(json: &[u8]) -> Result<Self, BackupError> {
        let manifest: Self = serde_json::from_slice(json)
            .map_err(|_| layout("its meta.json is not what this version writes"))?;
        if manifest.format != FORMAT {
            return Err(layout(format!(
                "it has the format {}, this version knows {FORMAT}",
                manifest.format
            )));
        }
        Ok(manifest)
    }

    /// Whether the state file's own header says the same.
    pub(super) fn check(&self, header: &SnapshotHeader) -> Result<(), BackupError> {
        let last = header.last_log_id.unwrap_or_default();
        let agrees = self.cluster_id == hex::encode(&header.cluster_id)
            && self.epoch == header.epoch
            && (self.index, self.term, self.leader_id) == (last.index, last.term, last.leader_id)
            && self.members == peers_of(header)
            && self.state_hash == hex::encode(&header.state_hash)
            && self.record_count == header.record_count;
        if agrees { Ok(()) } else { Err(changed("meta.json speaks of another state")) }
    }
}

fn peers_of(header: &SnapshotHeader) -> Vec<Peer> {
    let members = header.membership.as_ref().and_then(|stored| stored.membership.as_ref());
    let peer = |member: &v1::Member| Peer {
        id: member.node_id,
        name: member.name.clone(),
        cluster_addr: member.cluster_addr.clone(),
    };
    let mut peers: Vec<_> =
        members.map(|membership| membership.members.iter().map(peer).collect()).unwrap_or_default();
    peers.sort_by_key(|peer| peer.id);
    peers
}

const FORMAT: u32 = 1;
pub(super) const BYTES_MAX: u64 = 256 << 10;
