//! Anchors: where the chain of each device of each node was, as the cluster committed it.
//!
//! A row for each node, named by the node's name, so that a node that joined again goes on with its
//! own. Numbers only rise in it: a log that was cut or written anew cannot take its anchor along. Older
//! anchors become rarer, and none of them is ever changed.

use std::sync::Arc;

use conclave_barrier::Transaction;
use conclave_barrier::ledger::LedgerView;
use prost::Message;

use super::Audits;
use crate::audit::Head;
use crate::update::update;
use crate::{Core, Error, errors, rows};

/// The most anchors that are kept of one device.
const ANCHORS_MAX: usize = 16;

/// The most devices of one node, those that were disabled among them: the longest unchanged goes
/// first.
const DEVICES_MAX: usize = 32;

/// The longest name of a device.
const PATH_BYTES_MAX: usize = 1024;

/// The most nodes that are told of.
const NODES_MAX: usize = 1000;

/// The chain of one device as its node says it: a line that no power failure takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// Of the device.
    pub device: [u8; 16],
    /// Its name, with a slash at its end.
    pub path: String,
    /// The newest durable line.
    pub head: Head,
}

/// What is committed of one node. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct NodeAnchors {
    #[prost(string, tag = "1")]
    pub(crate) node: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) devices: Vec<DeviceAnchors>,
}

/// What is committed of one device of one node.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct DeviceAnchors {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) id: Vec<u8>,
    /// With a slash at its end.
    #[prost(string, tag = "2")]
    pub(crate) path: String,
    /// Ascending.
    #[prost(message, repeated, tag = "3")]
    pub(crate) anchors: Vec<Anchor>,
}

/// A head, and when it was committed.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Anchor {
    #[prost(uint64, tag = "1")]
    pub(crate) seq: u64,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) hash: Vec<u8>,
    /// The cluster's time, milliseconds since the Unix epoch.
    #[prost(uint64, tag = "3")]
    pub(crate) time_ms: u64,
    /// Of the cluster's history: a restore begins another one.
    #[prost(uint64, tag = "4")]
    pub(crate) epoch: u64,
}

impl Anchor {
    pub(crate) fn head(&self) -> Result<Head, Error> {
        let hash = self.hash.as_slice().try_into().map_err(|_| damaged())?;
        Ok(Head { seq: self.seq, hash })
    }
}

/// What became of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// It is an anchor now.
    New,
    /// It was one already.
    Known,
    /// It stands before an anchor, or contradicts it.
    Refused,
}

impl DeviceAnchors {
    fn take(&mut self, anchor: Anchor) -> Taken {
        let restored = self.anchors.last().is_some_and(|newest| newest.epoch < anchor.epoch);
        let same = |known: &Anchor| (known.seq, &known.hash) == (anchor.seq, &anchor.hash);
        if self.anchors.last().is_some_and(same) {
            return Taken::Known;
        }
        if restored {
            // What a backup knew of another history says nothing of this log.
            self.anchors.retain(|known| known.seq < anchor.seq);
        }
        if self.anchors.last().is_some_and(|newest| newest.seq >= anchor.seq) {
            return Taken::Refused;
        }
        self.anchors.push(anchor);
        if self.anchors.len() > ANCHORS_MAX {
            self.thin();
        }
        Taken::New
    }

    /// Drops every second one of the older half.
    fn thin(&mut self) {
        let half = self.anchors.len() / 2;
        let mut number = 0;
        self.anchors.retain(|_| {
            number += 1;
            number > half || number % 2 == 1
        });
    }
}

impl NodeAnchors {
    /// Takes what is new; tells whether anything was, and names the devices that were refused.
    fn take(&mut self, heads: &[AuditHead], time_ms: u64, epoch: u64) -> (bool, Vec<String>) {
        let (mut changed, mut refused) = (false, Vec::new());
        for AuditHead { device, path, head } in heads {
            let (seq, hash) = (head.seq, head.hash.to_vec());
            match self.device(device, path).take(Anchor { seq, hash, time_ms, epoch }) {
                Taken::New => changed = true,
                Taken::Known => {}
                Taken::Refused => refused.push(path.clone()),
            }
        }
        self.devices.retain(|device| !device.anchors.is_empty());
        while self.devices.len() > DEVICES_MAX {
            let ages = self.devices.iter().enumerate();
            let oldest = ages.min_by_key(|(_, device)| device.anchors.last().map(|a| a.time_ms));
            let Some((oldest, _)) = oldest else { break };
            self.devices.remove(oldest);
        }
        (changed, refused)
    }

    /// The newest head that the cluster has of a device.
    pub(super) fn newest(&self, id: &[u8; 16]) -> Result<Option<Head>, Error> {
        let device = self.devices.iter().find(|device| device.id == id);
        let newest = device.and_then(|device| device.anchors.last());
        newest.map(Anchor::head).transpose()
    }

    fn device(&mut self, id: &[u8; 16], path: &str) -> &mut DeviceAnchors {
        let at = self.devices.iter().position(|device| device.id == id).unwrap_or_else(|| {
            let (id, path) = (id.to_vec(), path.to_owned());
            self.devices.push(DeviceAnchors { id, path, anchors: Vec::new() });
            self.devices.len() - 1
        });
        &mut self.devices[at]
    }
}

impl Core {
    /// Where the chains of this node's open devices are: what may be committed.
    #[must_use]
    pub fn audit_heads(&self) -> Vec<AuditHead> {
        let Some(enabled) = self.audits.newest() else { return Vec::new() };
        let heads = enabled.ids.iter().zip(enabled.audit.durable_heads());
        let heads = heads.map(|(id, (path, head))| AuditHead { device: *id, path, head });
        heads.filter(|head| head.head.seq > 0).collect()
    }

    /// Commits what a node says of its devices. Runs on the leader.
    ///
    /// # Errors
    /// As a write; `InvalidRequest` where a log is behind its own anchor, so that it was cut or
    /// replaced. What is not is committed all the same.
    pub async fn anchor_audit(&self, node: &str, heads: &[AuditHead]) -> Result<(), Error> {
        if heads.len() > DEVICES_MAX || heads.iter().any(|head| head.path.len() > PATH_BYTES_MAX) {
            return Err(Error::invalid("these are more heads of audit logs than a node has"));
        }
        let view = self.barrier.ledger().view();
        let mut record = read(self, &view, node)?;
        let (changed, mut refused) = record.take(heads, 0, view.epoch());
        if changed {
            refused = update(&self.barrier, |tx, now_ms| {
                let mut record = read_row(tx, node)?;
                let (changed, refused) = record.take(heads, now_ms, tx.view().epoch());
                if changed {
                    let row = record.encode_to_vec().into();
                    tx.put(&rows::audit_anchors(node), row).map_err(errors::from_barrier)?;
                }
                Ok(refused)
            })
            .await?;
        }
        match refused.is_empty() {
            true => Ok(()),
            false => Err(behind(node, &refused)),
        }
    }
}

impl Audits {
    /// What the cluster has of this node's devices, in this view.
    pub(super) fn known(&self, view: &Arc<dyn LedgerView>) -> Result<NodeAnchors, Error> {
        let Some(node) = self.places.node() else { return Ok(NodeAnchors::default()) };
        read_row(&mut self.barrier.transaction(view.clone()), node)
    }
}

/// Of every node, by name.
pub(crate) fn read_anchors(tx: &mut Transaction) -> Result<Vec<NodeAnchors>, Error> {
    let found = tx.survey(&rows::audit_anchor_nodes(), NODES_MAX).map_err(errors::from_barrier)?;
    let nodes = found.names.iter().map(|name| read_path(tx, &rows::audit_anchors_at(name)));
    let mut nodes = nodes.collect::<Result<Vec<_>, Error>>()?;
    nodes.sort_by(|one, other| one.node.cmp(&other.node));
    Ok(nodes)
}

fn read(core: &Core, view: &Arc<dyn LedgerView>, node: &str) -> Result<NodeAnchors, Error> {
    let mut tx = core.barrier.transaction(view.clone());
    read_row(&mut tx, node)
}

fn read_row(tx: &mut Transaction, node: &str) -> Result<NodeAnchors, Error> {
    let mut record = read_path(tx, &rows::audit_anchors(node))?;
    record.node = node.to_owned();
    Ok(record)
}

fn read_path(tx: &mut Transaction, path: &conclave_barrier::Path) -> Result<NodeAnchors, Error> {
    let row = tx.get(path).map_err(errors::from_barrier)?;
    let record = row.map(|row| NodeAnchors::decode(row.value)).transpose();
    Ok(record.map_err(|_| damaged())?.unwrap_or_default())
}

fn behind(node: &str, devices: &[String]) -> Error {
    let devices = devices.join(", ");
    tracing::error!(
        node,
        devices,
        "an audit log stands before its own anchor, so it was cut or replaced; run `conclave audit verify`"
    );
    Error::invalid(format!(
        "the audit log of {devices} on {node} stands before its own anchor; look who changed it"
    ))
}

fn damaged() -> Error {
    Error::internal("the anchors of an audit log cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seq: u64) -> Head {
        Head { seq, hash: [seq as u8; 32] }
    }

    fn heads(seq: u64) -> Vec<AuditHead> {
        vec![AuditHead { device: [7; 16], path: "file/".into(), head: head(seq) }]
    }

    /// The layout on disk.
    #[test]
    fn golden_layout() {
        let mut record = NodeAnchors { node: "n".into(), devices: Vec::new() };
        record.take(&heads(3), 5, 2);
        assert_eq!(
            hex::encode(record.encode_to_vec()),
            [
                "0a016e",
                "1243",
                "0a10",
                &"07".repeat(16),
                "120566696c652f",
                "1a28",
                "0803",
                "1220",
                &"03".repeat(32),
                "1805",
                "2002",
            ]
            .concat()
        );
    }

    #[test]
    fn numbers_only_rise() {
        let mut record = NodeAnchors::default();
        assert_eq!(record.take(&heads(5), 1, 1), (true, vec![]));
        assert_eq!(record.take(&heads(5), 2, 1), (false, vec![]), "it is known");
        assert_eq!(record.take(&heads(4), 3, 1), (false, vec!["file/".to_owned()]));
        let mut forged = heads(5);
        forged[0].head.hash = [9; 32];
        assert_eq!(record.take(&forged, 4, 1), (false, vec!["file/".to_owned()]));
        assert_eq!(record.take(&heads(6), 5, 1), (true, vec![]));
        assert_eq!(record.newest(&[7; 16]).unwrap(), Some(head(6)));
    }

    #[test]
    fn a_restore_brings_no_anchors_of_another_log() {
        let mut record = NodeAnchors::default();
        for seq in [3, 90] {
            record.take(&heads(seq), 1, 1);
        }
        assert_eq!(record.take(&heads(7), 2, 2), (true, vec![]));
        let seqs: Vec<_> = record.devices[0].anchors.iter().map(|anchor| anchor.seq).collect();
        assert_eq!(seqs, [3, 7]);
        assert_eq!(record.take(&heads(6), 3, 2).1.len(), 1, "only once");
    }

    #[test]
    fn older_anchors_become_rarer_and_the_row_stays_small() {
        let mut record = NodeAnchors::default();
        for seq in 1..=10_000 {
            record.take(&heads(seq), seq, 1);
            assert!(record.devices[0].anchors.len() <= ANCHORS_MAX);
        }
        let seqs: Vec<_> = record.devices[0].anchors.iter().map(|anchor| anchor.seq).collect();
        assert_eq!((seqs[0], *seqs.last().unwrap()), (1, 10_000));
        assert!(seqs.is_sorted());
        for number in 0..=255 {
            let mut other = heads(1);
            other[0].device = [number; 16];
            record.take(&other, 20_000, 1);
        }
        assert_eq!(record.devices.len(), DEVICES_MAX);
        assert!(record.devices.iter().all(|device| device.id != [7; 16] || device.path == "file/"));
    }
}
