//! Rows of tokens, accessors and roles.

use conclave_barrier::{Barrier, HashPurpose, Path, Transaction};
use prost::Message;

use super::record::{AccessorRecord, TokenRecord};
use super::role::RoleRecord;
use super::{TEXT_BYTES_MAX, batch};
use crate::{Error, errors, rows};

/// The keyed hash under which a token is stored. `None` for what no token can be.
pub(crate) fn hash(barrier: &Barrier, text: &str) -> Option<[u8; 32]> {
    let fits = !text.is_empty() && text.len() <= TEXT_BYTES_MAX;
    fits.then(|| barrier.keyed_hash(HashPurpose::Token, text.as_bytes()))
}

/// The token with this text and the hash that stands for it, whether it still lives or not.
pub(crate) fn find(
    barrier: &Barrier,
    tx: &mut Transaction,
    text: &str,
) -> Result<Option<([u8; 32], TokenRecord)>, Error> {
    if let Some(record) = batch::open(barrier, text) {
        return Ok(Some((barrier.keyed_hash(HashPurpose::Token, text.as_bytes()), record)));
    }
    let Some(hash) = hash(barrier, text) else { return Ok(None) };
    Ok(load(tx, &hash)?.map(|record| (hash, record)))
}

/// The record under this hash.
pub(crate) fn load(tx: &mut Transaction, hash: &[u8; 32]) -> Result<Option<TokenRecord>, Error> {
    read(tx, &rows::token(hash))
}

/// Writes the record under this hash.
pub(crate) fn put(
    tx: &mut Transaction,
    hash: &[u8; 32],
    record: &TokenRecord,
) -> Result<(), Error> {
    tx.put(&rows::token(hash), record.encode_to_vec().into()).map_err(errors::from_barrier)
}

/// The token that an accessor stands for, with its hash, whether it still lives or not.
pub(crate) fn find_by_accessor(
    barrier: &Barrier,
    tx: &mut Transaction,
    accessor: &str,
) -> Result<Option<([u8; 32], TokenRecord)>, Error> {
    if accessor.is_empty() || accessor.len() > TEXT_BYTES_MAX {
        return Ok(None);
    }
    let Some(pointer) = read::<AccessorRecord>(tx, &accessor_row(barrier, accessor))? else {
        return Ok(None);
    };
    let hash: [u8; 32] = pointer
        .token_hash
        .try_into()
        .map_err(|_| Error::internal("an accessor points to what is no token"))?;
    Ok(load(tx, &hash)?.map(|record| (hash, record)))
}

/// Writes which token an accessor stands for.
pub(super) fn put_accessor(
    barrier: &Barrier,
    tx: &mut Transaction,
    accessor: &str,
    hash: &[u8; 32],
) -> Result<(), Error> {
    let pointer = AccessorRecord { token_hash: hash.to_vec() };
    tx.put(&accessor_row(barrier, accessor), pointer.encode_to_vec().into())
        .map_err(errors::from_barrier)
}

/// Removes a token and, with that, everything below it.
pub(crate) fn delete(
    barrier: &Barrier,
    tx: &mut Transaction,
    hash: &[u8; 32],
    record: &TokenRecord,
) -> Result<(), Error> {
    tx.delete(&accessor_row(barrier, &record.accessor))
        .and_then(|()| tx.delete(&rows::token(hash)))
        .map_err(errors::from_barrier)
}

/// Ends a token but not what hangs on it: its row stays, so that its children go on.
pub(crate) fn revoke_alone(
    barrier: &Barrier,
    tx: &mut Transaction,
    hash: &[u8; 32],
    record: TokenRecord,
) -> Result<(), Error> {
    tx.delete(&accessor_row(barrier, &record.accessor)).map_err(errors::from_barrier)?;
    let record = TokenRecord { revoked_alone: true, parent: Vec::new(), ..record };
    put(tx, hash, &record)
}

/// The role with this name.
pub(crate) fn load_role(tx: &mut Transaction, name: &str) -> Result<Option<RoleRecord>, Error> {
    read(tx, &rows::token_role(name))
}

/// Writes the role with this name.
pub(crate) fn put_role(tx: &mut Transaction, name: &str, role: &RoleRecord) -> Result<(), Error> {
    tx.put(&rows::token_role(name), role.encode_to_vec().into()).map_err(errors::from_barrier)
}

/// Removes the role with this name; its tokens live on.
pub(crate) fn delete_role(tx: &mut Transaction, name: &str) -> Result<(), Error> {
    tx.delete(&rows::token_role(name)).map_err(errors::from_barrier)
}

fn accessor_row(barrier: &Barrier, accessor: &str) -> Path {
    rows::accessor(&barrier.keyed_hash(HashPurpose::Accessor, accessor.as_bytes()))
}

fn read<T: Message + Default>(tx: &mut Transaction, path: &Path) -> Result<Option<T>, Error> {
    let Some(row) = tx.get(path).map_err(errors::from_barrier)? else { return Ok(None) };
    let record = T::decode(row.value).map_err(|error| {
        Error::internal(format!("a record of the tokens cannot be read: {error}"))
    })?;
    Ok(Some(record))
}
