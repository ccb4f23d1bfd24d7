//! Rows that nothing can reach any more: those of mounts that were disabled. The leader takes them
//! away in small entries between requests, and a crash only leaves the rest for later.

use conclave_barrier::{MountId, NamespaceId, Path, Transaction};

use crate::update::update;
use crate::{Core, Error, errors, rows};

/// Rows that one entry takes away.
pub(crate) const ROWS_MAX: usize = 256;

/// Notes with the commit that nothing is mounted here any more.
pub(crate) fn note(tx: &mut Transaction, mount: MountId) -> Result<(), Error> {
    tx.put(&rows::removed_mount(&mount.0), bytes::Bytes::new()).map_err(errors::from_barrier)
}

/// Takes away some rows of one disabled mount, if there is one.
pub(crate) async fn step(core: &Core) -> Result<(), Error> {
    let mut tx = core.barrier.transaction(core.barrier.ledger().view());
    if first(&mut tx)?.is_none() {
        return Ok(());
    }
    drop(tx);
    update(&core.barrier, |tx, _| {
        let Some(id) = first(tx)? else { return Ok(()) };
        let root = Path {
            namespace: NamespaceId::ROOT,
            mount: MountId(id),
            segments: Vec::new(),
            flat: false,
        };
        let mut found = Vec::new();
        collect(tx, &root, &mut found)?;
        for row in &found {
            tx.delete(row).map_err(errors::from_barrier)?;
        }
        if found.len() < ROWS_MAX {
            tx.delete(&rows::removed_mount(&id)).map_err(errors::from_barrier)?;
        }
        Ok(())
    })
    .await
}

/// The id of a disabled mount that may still have rows.
fn first(tx: &mut Transaction) -> Result<Option<[u8; 16]>, Error> {
    let page = tx.list(&rows::removed_mounts(), None, 1).map_err(errors::from_barrier)?;
    let Some(name) = page.names.first() else { return Ok(None) };
    let id = hex::decode(name).ok().and_then(|id| id.try_into().ok());
    id.map(Some).ok_or_else(|| Error::internal("what is to be swept is no mount"))
}

/// Rows in and below `directory`, as many as one entry takes away. Only names of a mount's own rows
/// nest, and their depth is bounded where they are made.
pub(crate) fn collect(
    tx: &mut Transaction,
    directory: &Path,
    found: &mut Vec<Path>,
) -> Result<(), Error> {
    let limit = ROWS_MAX - found.len();
    let page = tx.list(directory, None, limit).map_err(errors::from_barrier)?;
    for name in page.names {
        if found.len() >= ROWS_MAX {
            return Ok(());
        }
        let mut below = directory.clone();
        below.segments.push(name.trim_end_matches('/').to_owned());
        match name.ends_with('/') {
            true => collect(tx, &below, found)?,
            false => found.push(below),
        }
    }
    Ok(())
}
