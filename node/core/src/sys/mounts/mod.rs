//! `sys/mounts` and `sys/auth`: what is mounted where.

mod disable;
mod enable;
mod remount;
mod tune;
mod ui;
mod view;

use std::collections::BTreeMap;

use crate::mounts::{AUTH_PREFIX, MountRecord};
use crate::routes::Ask;
use crate::{Error, Response};

pub(super) use disable::disable;
pub(super) use enable::{ENABLE, enable};
pub(super) use remount::{REMOUNT, remount, status};
pub(super) use tune::{TUNING, read as read_tuning, write as tune};
pub(super) use ui::{all as ui_all, one as ui_one};
use view::MountView;

/// Every secrets engine.
pub(super) fn all(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let table = ask.core.mounts.at(ask.tx)?;
    let mut views: BTreeMap<_, _> = table
        .mounts()
        .filter(|mount| !mount.is_auth())
        .map(|mount| (mount.path.as_str(), MountView::new(mount)))
        .collect();
    views.extend(view::SYSTEM.iter().map(|(path, view)| (*path, view.of())));
    Response::json(&views)
}

/// Every auth method, without the prefix that all share.
pub(super) fn all_auth(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let table = ask.core.mounts.at(ask.tx)?;
    let short = |mount: &'_ MountRecord| mount.path[AUTH_PREFIX.len()..].to_owned();
    let mut views: BTreeMap<_, _> = table
        .mounts()
        .filter(|mount| mount.is_auth())
        .map(|mount| (short(mount), MountView::new(mount)))
        .collect();
    views.insert("token/".into(), view::TOKEN.of());
    Response::json(&views)
}

/// The mount at exactly the path that the request names.
pub(super) fn one(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let path = path(ask);
    if let Some((_, view)) = view::SYSTEM.iter().find(|(known, _)| *known == path) {
        return Response::json(&view.of());
    }
    if path == "auth/token/" {
        return Response::json(&view::TOKEN.of());
    }
    let table = ask.core.mounts.at(ask.tx)?;
    let mount = table.get(&path).ok_or_else(|| not_mounted(&path))?;
    Response::json(&MountView::new(mount))
}

/// The whole path of the mount that the request names, with its slash.
fn path(ask: &Ask<'_>) -> String {
    let prefix = if ask.route.pattern.starts_with("sys/auth/") { AUTH_PREFIX } else { "" };
    [prefix, ask.name(), "/"].concat()
}

fn not_mounted(path: &str) -> Error {
    Error::invalid(match path.strip_prefix(AUTH_PREFIX) {
        Some(short) => format!("no auth engine at {short}; see 'sys/auth' for all"),
        None => "no secret engine is mounted at this path; see 'sys/mounts' for all".to_owned(),
    })
}

/// Why nothing can be mounted, moved or disabled there.
fn check_path(path: &str) -> Result<(), Error> {
    const PROTECTED: [&str; 6] =
        ["sys/", "cubbyhole/", "identity/", "audit/", "auth/token/", "auth/"];
    let is_protected = PROTECTED.iter().any(|protected| {
        path == *protected || (*protected != AUTH_PREFIX && path.starts_with(protected))
    });
    if is_protected {
        return Err(Error::invalid(format!(
            "cannot mount, move or disable {path:?}: it is part of every cluster"
        )));
    }
    Ok(())
}
