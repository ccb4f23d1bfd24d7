//! What a new cluster begins with.

use std::sync::Arc;

use conclave_barrier::Barrier;
use conclave_ports::Ports;
use zeroize::Zeroizing;

use crate::update::update;
use crate::{Core, Error, cluster_secrets, errors, mounts, rows, token};

impl Core {
    /// Writes mount table, root token and the cluster's own secrets into a ledger whose barrier was
    /// just initialised, all in one entry, and returns the text of the root token: the only time
    /// that anybody sees it.
    ///
    /// # Errors
    /// `InvalidRequest` where that was done before; otherwise as a write.
    pub async fn initialise(
        barrier: &Arc<Barrier>,
        ports: &Ports,
        secrets: Vec<(String, Zeroizing<Vec<u8>>)>,
    ) -> Result<Zeroizing<String>, Error> {
        let text = token::make_text(ports);
        let accessor = token::make_base62(ports);
        update(barrier, |tx, now_ms| {
            if tx.get(&rows::mounts()).map_err(errors::from_barrier)?.is_some() {
                return Err(Error::invalid(
                    "the cluster is initialised already; unseal it instead",
                ));
            }
            mounts::create_table(tx, ports)?;
            token::create_root(barrier, tx, &text, &accessor, now_ms)?;
            secrets.iter().try_for_each(|(name, bytes)| cluster_secrets::put(tx, name, bytes))
        })
        .await?;
        Ok(text)
    }
}
