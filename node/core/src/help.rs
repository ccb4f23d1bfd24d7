//! `?help=1` on any path, and the document about all of them.
//!
//! Both tell what this program can do to whoever asks, and which mounts are there to those alone who
//! may see them: to anybody else a path in a mount is a path that is not there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::future::ready;
use std::sync::Arc;

use conclave_barrier::Transaction;
use conclave_mount::fields::{Flag, Object};
use conclave_mount::{BodyFields, Field, word};
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use crate::canonical::CanonicalPath;
use crate::mounts::{MountRecord, MountTable};
use crate::node_routes::NODE_ROUTES;
use crate::openapi::{self, Described, MOUNT_PATH};
use crate::policy::Acl;
use crate::routes::{self, Anybody, CoreRoute};
use crate::{Core, Error, ErrorCode, Operation, Request, Response, call, errors, pattern, token};

/// Whether a request asks what its path is for.
pub(crate) fn is_asked(request: &Request) -> bool {
    let value = request.query.get("help");
    request.operation == Operation::Read && value.is_some_and(|value| !value.is_empty())
}

impl Core {
    /// What a path is for. Every token that lives may ask.
    pub(crate) async fn help(
        &self,
        request: &Request,
        path: &CanonicalPath,
    ) -> Result<Response, Error> {
        let ledger = self.barrier.ledger();
        let point = ledger.read_barrier().await.map_err(errors::from_ledger)?;
        let mut tx = self.barrier.transaction(ledger.view());
        let now_ms = call::now_ms(&point, &tx);
        let acl = self.acl_of(request, now_ms, &mut tx)?;
        let found = self.about(&*self.mounts.at(&mut tx)?, &acl, path.as_str());
        if found.is_empty() {
            return Err(errors::no_handler(path.as_str()));
        }
        let help = text(path.as_str(), &found);
        let help = json!({"help": help, "see_also": null, "openapi": openapi::document(found)});
        Ok(Response::json(&help)?.at(tx.view().revision()))
    }

    /// What the request's token may do.
    fn acl_of(
        &self,
        request: &Request,
        now_ms: u64,
        tx: &mut Transaction,
    ) -> Result<Arc<Acl>, Error> {
        let token = request.token.as_ref().ok_or_else(errors::permission_denied)?;
        let caller = token::authenticate(&self.barrier, tx, token, now_ms, request.client)?;
        self.policies.rights(tx, &caller.record.policies, now_ms)
    }

    /// The operations of the route that a path has; every route's where the path is the mount
    /// itself, or leads to several routes.
    fn about(&self, table: &MountTable, acl: &Acl, path: &str) -> Vec<Described> {
        let path = path.trim_end_matches('/');
        let below = [path, "/"].concat();
        if routes::is_own(path) || routes::is_own(&below) {
            let found = of_first_route(self.own(), "", path);
            if found.is_empty() {
                return self.own().filter(|one| one.pattern.starts_with(&below)).collect();
            }
            return found;
        }
        let mount = table.find(&below).filter(|mount| is_shown(mount, Some(acl)));
        let Some(mount) = mount else { return Vec::new() };
        let relative = path.get(mount.path.len()..).unwrap_or_default();
        let all = self.of_mount(mount, &mount.path);
        if relative.is_empty() { all.collect() } else { of_first_route(all, &mount.path, relative) }
    }

    /// What is there whatever is mounted.
    fn own(&self) -> impl Iterator<Item = Described> {
        let open = self.operator.are_open();
        let of_node = NODE_ROUTES.iter().map(|route| Described {
            pattern: route.pattern.to_owned(),
            operation: route.operation,
            help: route.help,
            sudo: false,
            public: true,
            creates: false,
            fields: fields(route.bodies),
            tag: "system",
            mounted_at: None,
        });
        routes::all().map(move |route| of_core(route, open)).chain(of_node)
    }

    fn of_mount(&self, mount: &MountRecord, prefix: &str) -> impl Iterator<Item = Described> {
        let routes = self.engines.get(&mount.kind).map(|engine| engine.routes(&mount.options));
        let (prefix, is_auth) = (prefix.to_owned(), mount.is_auth());
        routes.unwrap_or_default().iter().flat_map(move |route| {
            let prefix = prefix.clone();
            route.operations.iter().map(move |operation| Described {
                pattern: [prefix.as_str(), route.pattern.trim_end_matches('/')].concat(),
                operation: *operation,
                help: route.help,
                sudo: route.sudo,
                public: route.public,
                creates: route.creates,
                fields: if takes_body(*operation) { fields(route.bodies) } else { Vec::new() },
                tag: if is_auth { "auth" } else { "secrets" },
                mounted_at: None,
            })
        })
    }
}

fn of_core(route: &CoreRoute, open: bool) -> Described {
    Described {
        pattern: route.pattern.to_owned(),
        operation: route.operation,
        help: route.help,
        sudo: route.sudo,
        public: route.serves_anybody(open),
        creates: false,
        fields: fields(route.bodies),
        tag: if route.pattern.starts_with("auth/") { "auth" } else { "system" },
        mounted_at: None,
    }
}

/// The operations of the first route that a path matches: that serves it.
fn of_first_route(
    all: impl Iterator<Item = Described>,
    mount: &str,
    relative: &str,
) -> Vec<Described> {
    let matches = |one: &Described| {
        let pattern = one.pattern.strip_prefix(mount);
        pattern.is_some_and(|pattern| pattern::matches(pattern, relative))
    };
    let mut found: Vec<_> = all.filter(matches).collect();
    if let Some(first) = found.first().map(|one| one.pattern.clone()) {
        found.retain(|one| one.pattern == first);
    }
    found
}

/// What several bodies hold together; where two say something of one field, the first does.
fn fields(bodies: &[BodyFields]) -> Vec<Field> {
    let mut names = BTreeSet::new();
    let fields = bodies.iter().flat_map(BodyFields::fields);
    fields.filter(|field| names.insert(field.name)).collect()
}

fn takes_body(operation: Operation) -> bool {
    matches!(operation, Operation::Write | Operation::Patch)
}

/// Whether somebody may know of a mount; without rights, whoever asks.
fn is_shown(mount: &MountRecord, acl: Option<&Acl>) -> bool {
    mount.listing_visibility == "unauth" || acl.is_some_and(|acl| acl.shows_mount(&mount.path))
}

/// For a reader. Writing to a String does not fail.
fn text(path: &str, found: &[Described]) -> String {
    let mut out = String::new();
    let patterns: BTreeSet<_> = found.iter().map(|one| one.pattern.as_str()).collect();
    if let (1, Some(first)) = (patterns.len(), found.first()) {
        let _ = writeln!(out, "Request:        {path}\nMatching Route: {}\n", first.pattern);
    }
    for one in found {
        let _ = writeln!(out, "{:<8}{}", one.operation.name(), one.pattern);
        let _ = writeln!(out, "        {}\n", one.help);
    }
    let mut names = BTreeSet::new();
    let mut parameters: Vec<&Field> = found.iter().flat_map(|one| &one.fields).collect();
    parameters.retain(|field| names.insert(field.name));
    if patterns.len() > 1 || parameters.is_empty() {
        return out;
    }
    parameters.sort_by_key(|field| field.name);
    out.push_str("## PARAMETERS\n");
    for Field { name, kind, required, about } in parameters {
        let required = if *required { ", required" } else { "" };
        let _ = write!(out, "\n    {name} ({}{required})\n\n        {about}\n", kind.name());
    }
    out
}

/// Every path that this cluster has, in mounts that the caller may see. Whoever has no token, or
/// none that lives, is told of the mounts that anybody may see.
pub(crate) fn openapi(ask: Anybody<'_>) -> BoxFuture<'_, Result<Response, Error>> {
    Box::pin(ready(document(&ask)))
}

fn document(ask: &Anybody<'_>) -> Result<Response, Error> {
    let generic = match ask.request.query.get("generic_mount_paths") {
        Some(text) => matches!(text.as_str(), "1" | "true"),
        None => {
            let Object(Asked { generic_mount_paths }) = ask.request.parse()?;
            matches!(generic_mount_paths, Some(Flag(true)))
        }
    };
    let core = ask.core;
    let mut tx = core.barrier.transaction(core.barrier.ledger().view());
    let acl = match core.acl_of(ask.call.request, ask.call.now_ms, &mut tx) {
        Ok(acl) => Some(acl),
        Err(error) if error.code == ErrorCode::PermissionDenied => None,
        Err(error) => return Err(error),
    };
    let table = core.mounts.at(&mut tx)?;
    let mut described: Vec<Described> = core.own().collect();
    for mount in table.mounts().filter(|mount| is_shown(mount, acl.as_deref())) {
        let name = generic.then(|| generic_name(mount)).flatten();
        let prefix = match &name {
            None => mount.path.clone(),
            Some(name) if mount.is_auth() => format!("auth/:{name}{MOUNT_PATH}/"),
            Some(name) => format!(":{name}{MOUNT_PATH}/"),
        };
        let path = mount.path.strip_prefix("auth/").unwrap_or(&mount.path).trim_end_matches('/');
        let mounted_at = name.map(|_| path.to_owned());
        let routes = core.of_mount(mount, &prefix);
        described.extend(routes.map(|one| Described { mounted_at: mounted_at.clone(), ..one }));
    }
    Response::json(&openapi::document(described))
}

/// What stands for any mount of its type in clients that are made of the document; none for one
/// that there is only once.
fn generic_name(mount: &MountRecord) -> Option<String> {
    let version = mount.options.get("version").map_or("1", String::as_str);
    match mount.kind.as_str() {
        "cubbyhole" => None,
        "kv" => Some(format!("kv_v{version}")),
        kind => Some(kind.replace('-', "_")),
    }
}

#[derive(Deserialize)]
struct Asked {
    generic_mount_paths: Option<Flag>,
}

/// What the document is asked for with.
pub(crate) const ASKED: BodyFields = BodyFields::of::<Asked>(&[word(
    "generic_mount_paths",
    "Whether each type of mount stands there once, with a parameter for where it is mounted.",
)]);

#[cfg(test)]
mod tests;
