//! `sys/internal/ui/mounts`: which mounts the caller may see, and which version of KV a path has.

use std::collections::BTreeMap;

use serde::Serialize;

use super::view::{self, MountView};
use crate::mounts::AUTH_PREFIX;
use crate::routes::Ask;
use crate::{Error, ErrorCode, Response};

/// Every mount that the caller may see.
pub(in crate::sys) fn all(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let table = ask.core.mounts.at(ask.tx)?;
    let (mut auth, mut secret) = (BTreeMap::new(), BTreeMap::new());
    for mount in table.mounts() {
        if mount.listing_visibility != "unauth" && !ask.acl.shows_mount(&mount.path) {
            continue;
        }
        match mount.path.strip_prefix(AUTH_PREFIX) {
            Some(short) => auth.insert(short, MountView::new(mount)),
            None => secret.insert(mount.path.as_str(), MountView::new(mount)),
        };
    }
    for (path, built_in) in view::SYSTEM.iter().filter(|(path, _)| ask.acl.shows_mount(path)) {
        secret.insert(path, built_in.of());
    }
    if ask.acl.shows_mount("auth/token/") {
        auth.insert("token/", view::TOKEN.of());
    }
    Response::json(&Mounts { auth, secret })
}

/// The mount that serves a path. One that is not there and one that the caller may not see are the
/// same to the caller, in the words that clients look for.
pub(in crate::sys) fn one(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let path = [ask.name(), "/"].concat();
    let table = ask.core.mounts.at(ask.tx)?;
    let mount = table.find(&path).filter(|mount| ask.acl.shows_mount(&mount.path));
    let mount = mount.ok_or_else(|| {
        Error::new(
            ErrorCode::PermissionDenied,
            format!(
                "preflight capability check returned 403, please ensure client's policies grant \
                 access to path \"{path}\""
            ),
        )
    })?;
    Response::json(&Mount { path: &mount.path, mount: MountView::new(mount) })
}

#[derive(Serialize)]
struct Mounts<'a> {
    auth: BTreeMap<&'a str, MountView<'a>>,
    secret: BTreeMap<&'a str, MountView<'a>>,
}

#[derive(Serialize)]
struct Mount<'a> {
    path: &'a str,
    #[serde(flatten)]
    mount: MountView<'a>,
}
