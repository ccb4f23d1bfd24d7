//! The mount table: which engine serves which paths.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use conclave_barrier::{Barrier, MountId, Plain, Transaction};
use conclave_mount::{Access, Engine, Operation};
use conclave_ports::Ports;
use prost::Message;

use crate::canonical::CanonicalPath;
use crate::sys::SysRoute;
use crate::{EngineRegistry, Error, errors, pattern, rows, sys};

/// The mount table as it is stored, in one row: tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
struct MountTableRecord {
    #[prost(message, repeated, tag = "1")]
    mounts: Vec<MountRecord>,
}

/// One mount.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct MountRecord {
    /// With a slash at its end: `secret/`.
    #[prost(string, tag = "1")]
    pub(crate) path: String,
    /// The engine: `kv`.
    #[prost(string, tag = "2")]
    pub(crate) kind: String,
    /// 16 bytes, never reused: where its rows are.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) id: Vec<u8>,
    /// What users call it where its path may change.
    #[prost(string, tag = "4")]
    pub(crate) accessor: String,
    /// For people.
    #[prost(string, tag = "5")]
    pub(crate) description: String,
    /// What clients ask about: `version` of a KV mount.
    #[prost(btree_map = "string, string", tag = "6")]
    pub(crate) options: BTreeMap<String, String>,
}

impl MountRecord {
    /// The place of its rows. `MountTable::decode` has checked the length.
    pub(crate) fn id(&self) -> MountId {
        let id = self.id.as_slice().try_into().expect("a decoded mount's id has 16 bytes");
        MountId(id)
    }
}

/// The table at one revision of its row.
pub(crate) struct MountTable {
    revision: u64,
    mounts: Vec<Arc<MountRecord>>,
}

/// Where a path leads.
pub(crate) enum Target {
    /// To the core itself.
    System {
        /// Which of its routes.
        route: &'static SysRoute,
        /// Relative to `sys/`.
        path: String,
    },
    /// To an engine.
    Mount {
        /// Serves it.
        engine: Arc<dyn Engine>,
        /// Whose rows it may touch.
        mount: Arc<MountRecord>,
        /// Relative to the mount.
        path: String,
    },
}

impl MountTable {
    pub(crate) fn mounts(&self) -> impl Iterator<Item = &MountRecord> {
        self.mounts.iter().map(Arc::as_ref)
    }

    /// The mount that serves `path`: the longest whose own path it begins with.
    pub(crate) fn find(&self, path: &str) -> Option<&Arc<MountRecord>> {
        self.mounts
            .iter()
            .filter(|mount| path.starts_with(&mount.path))
            .max_by_key(|mount| mount.path.len())
    }

    /// Where `path` leads.
    pub(crate) fn route(
        &self,
        path: &CanonicalPath,
        engines: &EngineRegistry,
    ) -> Result<Target, Error> {
        let path = path.as_str();
        if let Some(relative) = path.strip_prefix(sys::PREFIX) {
            let route = sys::find(relative).ok_or_else(|| errors::no_handler(path))?;
            return Ok(Target::System { route, path: relative.to_owned() });
        }
        let mount = self.find(path).ok_or_else(|| errors::no_handler(path))?;
        let engine = engines.get(&mount.kind).ok_or_else(|| {
            Error::internal(format!("this node has no engine of type {}", mount.kind))
        })?;
        Ok(Target::Mount {
            engine: engine.clone(),
            mount: mount.clone(),
            path: path[mount.path.len()..].to_owned(),
        })
    }

    fn decode(row: Plain) -> Result<Self, Error> {
        let record = MountTableRecord::decode(row.value)
            .map_err(|error| Error::internal(format!("the mount table cannot be read: {error}")))?;
        if record.mounts.iter().any(|mount| mount.id.len() != 16) {
            return Err(Error::internal("a mount's id has the wrong length"));
        }
        let mounts = record.mounts.into_iter().map(Arc::new).collect();
        Ok(Self { revision: row.revision, mounts })
    }
}

impl Target {
    /// Relative to where it leads.
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::System { path, .. } | Self::Mount { path, .. } => path,
        }
    }

    /// Where the operation must run.
    pub(crate) fn access(&self, operation: Operation) -> Access {
        match self {
            Self::System { route, .. } => route.access(operation),
            Self::Mount { engine, path, .. } => engine.access(operation, path),
        }
    }

    /// Whether what a read of it answers is the same on every node.
    pub(crate) fn reads_anywhere(&self) -> bool {
        match self {
            Self::System { route, .. } => route.reads_anywhere(),
            Self::Mount { .. } => true,
        }
    }

    /// Whether the operation ends in a log entry of its own.
    pub(crate) fn writes_rows(&self, operation: Operation) -> bool {
        match self {
            Self::System { route, .. } => route.writes_rows(operation),
            Self::Mount { .. } => self.access(operation) == Access::Write,
        }
    }

    /// The route without any name in it.
    pub(crate) fn template(&self) -> Cow<'static, str> {
        match self {
            Self::System { route, .. } => route.template.into(),
            Self::Mount { engine, path, .. } => {
                let route = engine.routes().iter().find(|r| pattern::matches(r.pattern, path));
                let pattern = route.map_or("unknown", |route| route.pattern);
                format!("{}:{pattern}", engine.kind()).into()
            }
        }
    }
}

/// The decoded table, kept by its row's revision. A request asks for it with its own view, so that
/// a follower never routes by an older table than the data it reads.
pub(crate) struct MountCache {
    newest: RwLock<Arc<MountTable>>,
}

impl MountCache {
    /// Reads the table at the newest revision this node has.
    pub(crate) fn open(barrier: &Arc<Barrier>) -> Result<Self, Error> {
        let mut tx = barrier.transaction(barrier.ledger().view());
        let table = MountTable::decode(read_row(&mut tx)?)?;
        Ok(Self { newest: RwLock::new(Arc::new(table)) })
    }

    /// The table in this transaction's view; its row becomes a condition of the commit.
    pub(crate) fn at(&self, tx: &mut Transaction) -> Result<Arc<MountTable>, Error> {
        let row = read_row(tx)?;
        let newest = self.current();
        if newest.revision == row.revision {
            return Ok(newest);
        }
        let table = Arc::new(MountTable::decode(row)?);
        if table.revision > newest.revision {
            *self.newest.write().unwrap_or_else(PoisonError::into_inner) = table.clone();
        }
        Ok(table)
    }

    /// The newest table that any request has seen: for what needs no authority.
    pub(crate) fn current(&self) -> Arc<MountTable> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Writes the table of a new cluster: a KV store with versions at `secret/`.
pub(crate) fn create_table(tx: &mut Transaction, ports: &Ports) -> Result<(), Error> {
    let secret = MountRecord {
        path: "secret/".into(),
        kind: "kv".into(),
        id: ports.random::<16>().to_vec(),
        accessor: format!("kv_{}", hex::encode(ports.random::<4>())),
        description: "key/value secret storage".into(),
        options: BTreeMap::from([("version".into(), "2".into())]),
    };
    let table = MountTableRecord { mounts: vec![secret] };
    tx.put(&rows::mounts(), table.encode_to_vec().into()).map_err(errors::from_barrier)
}

fn read_row(tx: &mut Transaction) -> Result<Plain, Error> {
    let row = tx.get(&rows::mounts()).map_err(errors::from_barrier)?;
    row.ok_or_else(errors::not_initialized)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(path: &str) -> MountRecord {
        MountRecord { path: path.into(), id: vec![7; 16], ..MountRecord::default() }
    }

    /// The layout on disk: a change here hides every mount.
    #[test]
    fn golden_layout() {
        let mut record = mount("s/");
        record.kind = "kv".into();
        record.accessor = "a".into();
        record.description = "d".into();
        record.options.insert("version".into(), "2".into());
        let table = MountTableRecord { mounts: vec![record] };
        assert_eq!(
            hex::encode(table.encode_to_vec()),
            "0a2e0a02732f12026b761a10070707070707070707070707070707072201612a0164320c0a0776657273696f\
             6e120132"
                .replace(' ', "")
        );
    }

    #[test]
    fn the_longest_mount_wins_and_prefixes_end_at_slashes() {
        let mounts = [mount("a/"), mount("a/b/"), mount("ab/")].map(Arc::new).to_vec();
        let table = MountTable { revision: 1, mounts };
        let find = |path| table.find(path).map(|mount| mount.path.as_str());
        assert_eq!(find("a/x"), Some("a/"));
        assert_eq!(find("a/b/x"), Some("a/b/"));
        assert_eq!(find("a/bx"), Some("a/"));
        assert_eq!(find("ab/"), Some("ab/"));
        assert_eq!(find("a"), None);
        assert_eq!(find("abc/x"), None);
    }

    #[test]
    fn a_damaged_table_is_a_fault_and_no_panic() {
        let decode =
            |value: Vec<u8>| MountTable::decode(Plain { value: value.into(), revision: 1 });
        assert!(decode(vec![0xff; 4]).is_err());
        let short = MountRecord { id: vec![7; 15], ..mount("a/") };
        assert!(decode(MountTableRecord { mounts: vec![short] }.encode_to_vec()).is_err());
    }
}
