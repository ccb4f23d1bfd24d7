//! What a new cluster begins with.

use std::sync::Arc;

use conclave_barrier::{Barrier, NewBarrier};
use conclave_ports::Ports;
use zeroize::Zeroizing;

use crate::{Core, Error, call, cluster_secrets, errors, mounts, sys, token};

impl Core {
    /// Makes the cluster: keys, mount table, version, root token and the cluster's own secrets, all in one
    /// entry, so that no cluster lacks any of them. Returns the barrier and the text of the root
    /// token: the only time that anybody sees it.
    ///
    /// # Errors
    /// `InvalidRequest` where that was done before; otherwise as a write.
    pub async fn initialise(
        mut new: NewBarrier,
        ports: &Ports,
        secrets: Vec<(String, Zeroizing<Vec<u8>>)>,
    ) -> Result<(Arc<Barrier>, Zeroizing<String>), Error> {
        let point = new.barrier().ledger().read_barrier().await.map_err(errors::from_ledger)?;
        let mut tx = new.transaction();
        let now_ms = call::now_ms(&point, &tx);
        new.begins_at(now_ms);
        mounts::create_table(&mut tx)?;
        sys::begin_versions(&mut tx, now_ms)?;
        let text = token::create_root(new.barrier(), ports, &mut tx, now_ms)?;
        for (name, bytes) in &secrets {
            cluster_secrets::put(&mut tx, name, bytes)?;
        }
        let barrier = new.commit(tx).await.map_err(errors::from_barrier)?;
        Ok((barrier, text))
    }
}
