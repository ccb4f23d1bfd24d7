//! The mount table: which engine serves which paths.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use conclave_barrier::{Barrier, MountId, Plain, Transaction};
use conclave_mount::{Access, Engine, MountView, Operation, Route};
use conclave_ports::Ports;
use prost::Message;

use crate::canonical::CanonicalPath;
use crate::lock_out::LockOutRecord;
use crate::routes::{self, CoreRoute, Found};
use crate::{EngineRegistry, Error, Request, errors, pattern, rows, token};

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
    /// 0: the system's.
    #[prost(uint64, tag = "7")]
    pub(crate) default_lease_ttl_ms: u64,
    /// 0: the system's.
    #[prost(uint64, tag = "8")]
    pub(crate) max_lease_ttl_ms: u64,
    /// `unauth` where everybody may see that it is there; else empty or `hidden`.
    #[prost(string, tag = "9")]
    pub(crate) listing_visibility: String,
    /// Keys of requests that audit shows in clear.
    #[prost(string, repeated, tag = "10")]
    pub(crate) audit_non_hmac_request_keys: Vec<String>,
    /// Keys of responses that audit shows in clear.
    #[prost(string, repeated, tag = "11")]
    pub(crate) audit_non_hmac_response_keys: Vec<String>,
    /// Headers that the engine is given.
    #[prost(string, repeated, tag = "12")]
    pub(crate) passthrough_request_headers: Vec<String>,
    /// Headers that the engine may set.
    #[prost(string, repeated, tag = "13")]
    pub(crate) allowed_response_headers: Vec<String>,
    /// Kept for clients that ask for it back; every mount is replicated.
    #[prost(bool, tag = "14")]
    pub(crate) local: bool,
    /// Kept for clients that ask for it back; every value is sealed.
    #[prost(bool, tag = "15")]
    pub(crate) seal_wrap: bool,
    /// What kind of token an auth method's logins yield; empty: what it says itself.
    #[prost(string, tag = "16")]
    pub(crate) token_type: String,
    /// When failed logins lock a name out.
    #[prost(message, optional, tag = "17")]
    pub(crate) lock_out: Option<LockOutRecord>,
}

impl MountRecord {
    /// Whether it is there in every cluster and cannot be moved or disabled.
    pub(crate) fn is_built_in(&self) -> bool {
        self.id == CUBBYHOLE_ID
    }

    /// Whether it is an auth method's.
    pub(crate) fn is_auth(&self) -> bool {
        self.path.starts_with(AUTH_PREFIX)
    }

    /// What its engine may know of it.
    pub(crate) fn view(&self) -> MountView {
        let max_ms = or(self.max_lease_ttl_ms, token::MAX_TTL_MS);
        MountView {
            path: self.path.clone(),
            accessor: self.accessor.clone(),
            options: self.options.clone(),
            default_lease_ttl_ms: or(self.default_lease_ttl_ms, token::DEFAULT_TTL_MS).min(max_ms),
            max_lease_ttl_ms: max_ms,
        }
    }

    /// The place of its rows. `MountTable::decode` has checked the length.
    pub(crate) fn id(&self) -> MountId {
        let id = self.id.as_slice().try_into().expect("a decoded mount's id has 16 bytes");
        MountId(id)
    }
}

fn or(own_ms: u64, system_ms: u64) -> u64 {
    if own_ms == 0 { system_ms } else { own_ms }
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
        route: &'static CoreRoute,
        /// Whether the route serves the operation that was asked for.
        serves: bool,
        /// The whole path.
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

    /// The mount at exactly this path, with its slash.
    pub(crate) fn get(&self, path: &str) -> Option<&Arc<MountRecord>> {
        self.mounts.iter().find(|mount| mount.path == path)
    }

    /// A mount that is at, above or below `path`, so that nothing can be mounted there.
    pub(crate) fn conflict(&self, path: &str) -> Option<&MountRecord> {
        let mut mounts = self.mounts.iter().map(Arc::as_ref);
        mounts.find(|mount| path.starts_with(&mount.path) || mount.path.starts_with(path))
    }

    /// Writes the table with its mounts changed, all but those that are always there.
    pub(crate) fn rewrite(
        &self,
        tx: &mut Transaction,
        change: impl FnOnce(&mut Vec<MountRecord>),
    ) -> Result<(), Error> {
        let kept = self.mounts.iter().filter(|mount| !mount.is_built_in());
        let mut mounts: Vec<MountRecord> = kept.map(|mount| MountRecord::clone(mount)).collect();
        change(&mut mounts);
        if mounts.len() > MOUNTS_MAX {
            return Err(Error::invalid(format!(
                "a cluster has at most {MOUNTS_MAX} mounts; disable some"
            )));
        }
        write_table(tx, mounts)
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
        operation: Operation,
        engines: &EngineRegistry,
    ) -> Result<Target, Error> {
        let path = path.as_str();
        if routes::is_own(path) {
            let found = routes::find(path, operation).ok_or_else(|| errors::no_handler(path))?;
            let (route, serves) = match found {
                Found::Route(route) => (route, true),
                Found::OtherOperation(route) => (route, false),
            };
            return Ok(Target::System { route, serves, path: path.to_owned() });
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
        let mounts = record.mounts.into_iter().chain([cubbyhole()]).map(Arc::new).collect();
        Ok(Self { revision: row.revision, mounts })
    }
}

impl Target {
    /// Where the operation must run.
    pub(crate) fn access(&self, operation: Operation) -> Access {
        match self {
            Self::System { route, serves: true, .. } => route.access(),
            Self::System { .. } => Access::Read,
            Self::Mount { engine, mount, path } => engine.access(&mount.options, operation, path),
        }
    }

    /// Whether what a read of it answers is the same on every node.
    pub(crate) fn reads_anywhere(&self) -> bool {
        match self {
            Self::System { route, .. } => route.reads_anywhere(),
            Self::Mount { .. } => true,
        }
    }

    /// Whether only the node that was asked can serve it.
    pub(crate) fn is_for_this_node(&self) -> bool {
        matches!(self, Self::System { route, .. } if route.is_for_this_node())
    }

    /// Whether the operation ends in a log entry of its own.
    pub(crate) fn writes_rows(&self, operation: Operation) -> bool {
        match self {
            Self::System { route, serves, .. } => *serves && route.writes_rows(),
            Self::Mount { .. } => self.access(operation) == Access::Write,
        }
    }

    /// Whether the request is served without a token. `open`: whether the cluster lets anybody begin
    /// key ceremonies.
    pub(crate) fn needs_no_token(&self, request: &Request, open: bool) -> bool {
        match self {
            Self::System { route, serves, .. } => {
                *serves && route.needs_no_token(request.token.is_some(), open)
            }
            Self::Mount { .. } => {
                self.engine_route(request.operation).is_some_and(|route| route.public)
            }
        }
    }

    /// Whether it needs `sudo` beside the operation's own capability.
    pub(crate) fn needs_sudo(&self, operation: Operation) -> bool {
        match self {
            Self::System { route, serves, .. } => *serves && route.sudo,
            Self::Mount { .. } => self.engine_route(operation).is_some_and(|route| route.sudo),
        }
    }

    fn engine_route(&self, operation: Operation) -> Option<&'static Route> {
        let Self::Mount { engine, mount, path } = self else { return None };
        let serves = |route: &&Route| {
            route.operations.contains(&operation) && pattern::matches(route.pattern, path)
        };
        engine.routes(&mount.options).iter().find(serves)
    }

    /// The route without any name in it.
    pub(crate) fn template(&self) -> Cow<'static, str> {
        match self {
            Self::System { route, .. } => route.pattern.into(),
            Self::Mount { engine, mount, path } => {
                let mut routes = engine.routes(&mount.options).iter();
                let route = routes.find(|route| pattern::matches(route.pattern, path));
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

/// Writes the table of a new cluster: nothing but what is built in.
pub(crate) fn create_table(tx: &mut Transaction) -> Result<(), Error> {
    write_table(tx, Vec::new())
}

impl MountRecord {
    /// A mount of this type with an id and accessor of its own, still without a path.
    pub(crate) fn make(ports: &Ports, kind: &str, auth: bool) -> Self {
        let class = if auth { "auth_" } else { "" };
        Self {
            kind: kind.into(),
            id: ports.random::<16>().to_vec(),
            accessor: format!("{class}{kind}_{}", hex::encode(ports.random::<4>())),
            ..Self::default()
        }
    }
}

/// What every token keeps to itself, in every cluster.
fn cubbyhole() -> MountRecord {
    MountRecord {
        path: "cubbyhole/".into(),
        kind: "cubbyhole".into(),
        id: CUBBYHOLE_ID.to_vec(),
        accessor: "cubbyhole_00000001".into(),
        description: "per-token private secret storage".into(),
        local: true,
        ..MountRecord::default()
    }
}

/// Whether mounts of this kind are anybody's to make.
pub(crate) fn is_mountable(kind: &str) -> bool {
    kind != cubbyhole().kind
}

/// Where cubbyholes stand, each under its token's id.
pub(crate) fn cubbyholes() -> conclave_barrier::Path {
    conclave_barrier::Path {
        namespace: conclave_barrier::NamespaceId::ROOT,
        mount: MountId(CUBBYHOLE_ID),
        segments: vec!["tokens".to_owned()],
        flat: false,
    }
}

fn write_table(tx: &mut Transaction, mounts: Vec<MountRecord>) -> Result<(), Error> {
    let table = MountTableRecord { mounts };
    tx.put(&rows::mounts(), table.encode_to_vec().into()).map_err(errors::from_barrier)
}

/// What the paths of auth methods begin with.
pub(crate) const AUTH_PREFIX: &str = "auth/";

/// All in one row.
const MOUNTS_MAX: usize = 2048;

const CUBBYHOLE_ID: [u8; 16] = *b"cubbyhole-mount\0";

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
