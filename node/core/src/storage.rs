//! An engine's rows, as part of the request's transaction.

use bytes::Bytes;
use conclave_barrier::{MountId, NamespaceId, Path, Transaction};
use conclave_mount::{Entry, ListPage, Storage, StorageError};

use crate::errors::into_storage_error;

/// The rows of one mount. There is no way from here to another mount's.
pub(crate) struct MountStorage<'a> {
    tx: &'a mut Transaction,
    mount: MountId,
}

impl<'a> MountStorage<'a> {
    pub(crate) fn new(tx: &'a mut Transaction, mount: MountId) -> Self {
        Self { tx, mount }
    }

    fn path(&self, path: &str) -> Path {
        let segments = match path {
            "" => Vec::new(),
            _ => path.split('/').map(str::to_owned).collect(),
        };
        Path { namespace: NamespaceId::ROOT, mount: self.mount, segments, flat: false }
    }
}

impl Storage for MountStorage<'_> {
    fn get(&mut self, path: &str) -> Result<Option<Entry>, StorageError> {
        let row = self.tx.get(&self.path(path)).map_err(into_storage_error)?;
        Ok(row.map(|row| Entry { value: row.value, revision: row.revision }))
    }

    fn put(&mut self, path: &str, value: Bytes) -> Result<(), StorageError> {
        self.tx.put(&self.path(path), value).map_err(into_storage_error)
    }

    fn delete(&mut self, path: &str) -> Result<(), StorageError> {
        self.tx.delete(&self.path(path)).map_err(into_storage_error)
    }

    fn list(
        &mut self,
        path: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StorageError> {
        let page = self.tx.list(&self.path(path), after, limit).map_err(into_storage_error)?;
        Ok(ListPage { names: page.names, more: page.more })
    }
}
