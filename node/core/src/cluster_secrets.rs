//! Secrets of the cluster itself, such as the key of its certificate authority.

use bytes::Bytes;
use conclave_barrier::Transaction;
use zeroize::Zeroizing;

use crate::update::update;
use crate::{Core, Error, errors, rows};

/// The name under which a cluster keeps the key that verifies its backups. It is public, and kept
/// here so that it cannot be replaced without the cluster's keys.
pub const BACKUP_PUBLIC_KEY: &str = "backup-public-key";

impl Core {
    /// Keeps `bytes` under `name`, in place of what stood there.
    ///
    /// # Errors
    /// As a write.
    pub async fn put_cluster_secret(
        &self,
        name: &str,
        bytes: &Zeroizing<Vec<u8>>,
    ) -> Result<(), Error> {
        update(&self.barrier, |tx, _| put(tx, name, bytes)).await
    }

    /// What this node has under `name`, without asking the leader.
    ///
    /// # Errors
    /// `Internal` where the record is damaged.
    pub fn cluster_secret(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        get(&mut self.barrier.transaction(self.barrier.ledger().view()), name)
    }
}

pub(crate) fn get(tx: &mut Transaction, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let row = tx.get(&rows::cluster_secret(name)).map_err(errors::from_barrier)?;
    Ok(row.map(|row| Zeroizing::new(row.value.to_vec())))
}

pub(crate) fn put(tx: &mut Transaction, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let value = Bytes::copy_from_slice(bytes);
    tx.put(&rows::cluster_secret(name), value).map_err(errors::from_barrier)
}
