//! The audit log as requests meet it: which devices the cluster has, with which keys, and the two
//! records of each request.
//!
//! One row says which devices were enabled by API and which headers may be logged; a node's own
//! configuration may name further devices. A request looks at that row in its own view, so that on
//! every node whatever runs after a device was enabled is in that device's log, and the row is a
//! condition of what the request commits. Which places a device may write to only the node knows:
//! it stands behind [`AuditPlaces`].

mod anchors;
mod places;
mod table;

mod ceremony;
mod trail;

mod parts;

#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};

use conclave_barrier::ledger::LedgerView;
use conclave_barrier::{Barrier, HashPurpose, Transaction};
use conclave_ports::Ports;

pub use anchors::AuditHead;
pub(crate) use anchors::{DeviceAnchors, read_anchors};
pub use ceremony::{Ceremony, CeremonyTrail};
pub use places::{AuditPlaces, NoAuditPlaces, WantedDevice};
pub(crate) use table::{AuditTable, DeviceRecord, HeaderRecord, read_table, write_table};
pub(crate) use trail::{OpenTrail, Trail};

use crate::Error;
use crate::audit::{Audit, HashKey, HeaderRules};

/// What of the audit log is in force on this node.
pub(crate) struct Audits {
    barrier: Arc<Barrier>,
    ports: Ports,
    pub(crate) places: Arc<dyn AuditPlaces>,
    newest: RwLock<Option<Arc<Enabled>>>,
}

/// The audit log at one revision of its row.
pub(crate) struct Enabled {
    at: At,
    /// Of its devices, in their order.
    ids: Vec<[u8; 16]>,
    pub(crate) audit: Audit,
    pub(crate) headers: HeaderRules,
}

/// Epoch and revision: a restore makes every row newer.
type At = (u64, u64);

impl Audits {
    pub(crate) fn new(barrier: Arc<Barrier>, ports: Ports, places: Arc<dyn AuditPlaces>) -> Self {
        Self { barrier, ports, places, newest: RwLock::default() }
    }

    /// What is in force in this transaction's view, or newer; the row becomes a condition of the
    /// commit. Devices that are not open yet open by themselves.
    pub(crate) fn at(&self, tx: &mut Transaction) -> Result<Arc<Enabled>, Error> {
        let (table, revision) = read_table(tx)?;
        let at = (tx.view().epoch(), revision);
        if let Some(newest) = self.newest().filter(|newest| newest.at >= at) {
            return Ok(newest);
        }
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(newest) = newest.as_ref().filter(|newest| newest.at >= at) {
            return Ok(newest.clone());
        }
        let enabled = Arc::new(self.open(at, &table()?, tx.view())?);
        *newest = Some(enabled.clone());
        Ok(enabled)
    }

    /// The newest that any request has seen.
    pub(crate) fn newest(&self) -> Option<Arc<Enabled>> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on with the devices that are open, begins the others, ends those that are no more.
    fn open(
        &self,
        at: At,
        table: &AuditTable,
        view: &Arc<dyn LedgerView>,
    ) -> Result<Enabled, Error> {
        let known = self.known(view)?;
        let mut devices = Vec::new();
        let mut ids = Vec::new();
        for wanted in self.places.configured() {
            let salt = WantedDevice::derive_salt(&wanted.path);
            devices.push((self.places.device(&wanted, known.newest(&wanted.id)?), self.key(&salt)));
            ids.push(wanted.id);
        }
        for record in &table.devices {
            let wanted = record.wanted()?;
            let device = self.places.device(&wanted, known.newest(&wanted.id)?);
            devices.push((device, self.key(&record.salt()?)));
            ids.push(wanted.id);
        }
        self.places.retain(&ids);
        Ok(Enabled {
            at,
            ids,
            audit: Audit::new(devices, self.ports.clone()),
            headers: table.header_rules(),
        })
    }

    fn key(&self, salt: &[u8; 32]) -> HashKey {
        HashKey::derive(|message| self.barrier.keyed_hash(HashPurpose::Audit, message), salt)
    }
}
