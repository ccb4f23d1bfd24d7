//! `sys/locked-users`: who is locked out, and letting them in again.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::lock_out::{self, Suspect};
use crate::routes::Ask;
use crate::{Error, Response};

/// The names that may not log in now, whether anybody has them or not; of one mount where
/// `mount_accessor` is asked for.
pub(super) fn list(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let table = ask.core.mounts.at(ask.tx)?;
    let mut locked = lock_out::locked_out(ask.tx, table.mounts(), ask.call.now_ms)?;
    if let Some(accessor) = ask.request.query.get("mount_accessor") {
        locked.retain(|of, _| of == accessor);
    }
    Response::json(&LockedView::new(&locked))
}

/// Forgets the failures of a name. The answer is the same where there are none.
pub(super) fn unlock(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let table = ask.core.mounts.at(ask.tx)?;
    let accessor = ask.request.path.split('/').nth(2).unwrap_or_default();
    let mut mounts = table.mounts().filter(|mount| mount.is_auth());
    let mount = mounts.find(|mount| mount.accessor == accessor).ok_or_else(|| {
        Error::invalid("no auth method has this accessor; see 'sys/auth' for all")
    })?;
    if let Some(suspect) = Suspect::new(&ask.core.barrier, mount, ask.name()) {
        suspect.forget(ask.tx, ask.call.now_ms)?;
    }
    Ok(Response::empty())
}

#[derive(Serialize)]
struct LockedView<'a> {
    by_namespace: Vec<NamespaceView<'a>>,
    total: usize,
}

#[derive(Serialize)]
struct NamespaceView<'a> {
    namespace_id: &'static str,
    namespace_path: &'static str,
    counts: usize,
    mount_accessors: Vec<MountView<'a>>,
}

#[derive(Serialize)]
struct MountView<'a> {
    mount_accessor: &'a str,
    counts: usize,
    alias_identifiers: &'a [String],
}

impl<'a> LockedView<'a> {
    fn new(locked: &'a BTreeMap<String, Vec<String>>) -> Self {
        let total = locked.values().map(Vec::len).sum();
        let mount = |(accessor, names): (&'a String, &'a Vec<String>)| MountView {
            mount_accessor: accessor,
            counts: names.len(),
            alias_identifiers: names,
        };
        let root = NamespaceView {
            namespace_id: "root",
            namespace_path: "",
            counts: total,
            mount_accessors: locked.iter().map(mount).collect(),
        };
        Self { by_namespace: if total == 0 { Vec::new() } else { vec![root] }, total }
    }
}
