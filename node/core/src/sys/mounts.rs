//! `sys/mounts` and `sys/internal/ui/mounts`: what is mounted where. Clients ask the latter which
//! version of KV a path has.

use std::collections::BTreeMap;

use conclave_barrier::Transaction;
use conclave_mount::{Request, Response};
use serde::Serialize;

use crate::mounts::MountRecord;
use crate::{Core, Error, ErrorCode};

/// Every mount.
pub(super) fn all(core: &Core, tx: &mut Transaction) -> Result<Response, Error> {
    let table = core.mounts.at(tx)?;
    let views: BTreeMap<_, _> =
        table.mounts().map(|mount| (mount.path.as_str(), MountView::new(mount))).collect();
    Response::json(&views)
}

/// The mount at exactly this path.
pub(super) fn one(core: &Core, request: &Request, tx: &mut Transaction) -> Result<Response, Error> {
    let path = [below(request, "mounts/"), "/"].concat();
    let table = core.mounts.at(tx)?;
    let mount = table.mounts().find(|mount| mount.path == path);
    let mount = mount.ok_or_else(|| {
        Error::invalid("no secret engine is mounted at this path; see 'sys/mounts' for all")
    })?;
    Response::json(&MountView::new(mount))
}

/// Every mount that the caller may see.
pub(super) fn ui_all(core: &Core, tx: &mut Transaction) -> Result<Response, Error> {
    let table = core.mounts.at(tx)?;
    let secret: BTreeMap<_, _> =
        table.mounts().map(|mount| (mount.path.as_str(), MountView::new(mount))).collect();
    Response::json(&UiView { auth: BTreeMap::new(), secret })
}

/// The mount that serves a path. One that is not there and one that the caller may not see are the
/// same to the caller, in the words that clients look for.
pub(super) fn ui_one(
    core: &Core,
    request: &Request,
    tx: &mut Transaction,
) -> Result<Response, Error> {
    let path = [below(request, "internal/ui/mounts/"), "/"].concat();
    let table = core.mounts.at(tx)?;
    let mount = table.find(&path).ok_or_else(|| {
        Error::new(
            ErrorCode::PermissionDenied,
            format!(
                "preflight capability check returned 403, please ensure client's policies grant \
                 access to path \"{path}\""
            ),
        )
    })?;
    Response::json(&UiMountView { path: &mount.path, mount: MountView::new(mount) })
}

fn below<'a>(request: &'a Request, prefix: &str) -> &'a str {
    request.path.strip_prefix(prefix).unwrap_or_default()
}

#[derive(Serialize)]
struct UiView<'a> {
    auth: BTreeMap<&'a str, MountView<'a>>,
    secret: BTreeMap<&'a str, MountView<'a>>,
}

#[derive(Serialize)]
struct UiMountView<'a> {
    path: &'a str,
    #[serde(flatten)]
    mount: MountView<'a>,
}

#[derive(Serialize)]
struct MountView<'a> {
    accessor: &'a str,
    config: MountConfig,
    description: &'a str,
    external_entropy_access: bool,
    local: bool,
    options: &'a BTreeMap<String, String>,
    seal_wrap: bool,
    #[serde(rename = "type")]
    kind: &'a str,
    uuid: String,
}

/// Zero means the system's default, as clients know it.
#[derive(Serialize)]
struct MountConfig {
    default_lease_ttl: u64,
    force_no_cache: bool,
    max_lease_ttl: u64,
}

impl<'a> MountView<'a> {
    fn new(mount: &'a MountRecord) -> Self {
        Self {
            accessor: &mount.accessor,
            config: MountConfig { default_lease_ttl: 0, force_no_cache: false, max_lease_ttl: 0 },
            description: &mount.description,
            external_entropy_access: false,
            local: false,
            options: &mount.options,
            seal_wrap: false,
            kind: &mount.kind,
            uuid: format_uuid(&mount.id().0),
        }
    }
}

/// 8-4-4-4-12, as clients expect ids to look.
fn format_uuid(id: &[u8; 16]) -> String {
    let text = hex::encode(id);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_look_like_uuids() {
        assert_eq!(format_uuid(&[0xab; 16]), "abababab-abab-abab-abab-abababababab");
    }
}
