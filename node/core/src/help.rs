//! `?help=1` on any path, and the document about all of them.

use std::fmt::Write as _;

use conclave_mount::fields::{Flag, Object};
use serde::Deserialize;
use serde_json::json;

use crate::canonical::CanonicalPath;
use crate::mounts::{MountRecord, MountTable};
use crate::openapi::{self, Described};
use crate::routes::{self, Ask, CoreRoute};
use crate::{Core, Error, Operation, Request, Response, call, errors, pattern, token};

/// Whether a request asks what its path is for.
pub(crate) fn is_asked(request: &Request) -> bool {
    let help = request.query.get("help").map(String::as_str);
    request.operation == Operation::Read && matches!(help, Some("1" | "true"))
}

impl Core {
    /// What a path is for. Every token that lives may ask: the answer tells what this program can
    /// do and which mounts are there, nothing that is in them.
    pub(crate) async fn help(
        &self,
        request: &Request,
        path: &CanonicalPath,
    ) -> Result<Response, Error> {
        let ledger = self.barrier.ledger();
        let point = ledger.read_barrier().await.map_err(errors::from_ledger)?;
        let mut tx = self.barrier.transaction(ledger.view());
        let now_ms = call::now_ms(&point, &tx);
        let token = request.token.as_ref().ok_or_else(errors::permission_denied)?;
        token::authenticate(&self.barrier, &mut tx, token, now_ms, request.client)?;
        let described = self.about(&*self.mounts.at(&mut tx)?, path.as_str());
        if described.is_empty() {
            return Err(errors::no_handler(path.as_str()));
        }
        let mut text = String::new();
        for one in &described {
            let operation = one.operation.name();
            // Writing to a String does not fail.
            let _ = writeln!(text, "{operation:<8}{}\n        {}\n", one.pattern, one.help);
        }
        let help = json!({"help": text, "see_also": null, "openapi": openapi::document(described)});
        Ok(Response::json(&help)?.at(tx.view().revision()))
    }

    /// The routes that a path matches; all of a mount's where the path is the mount itself.
    fn about(&self, table: &MountTable, path: &str) -> Vec<Described> {
        let path = path.trim_end_matches('/');
        if routes::is_own(path) || routes::is_own(&[path, "/"].concat()) {
            let below = [path, "/"].concat();
            let all = routes::all().map(of_core);
            let found: Vec<_> = all.filter(|one| pattern::matches(&one.pattern, path)).collect();
            if !found.is_empty() {
                return found;
            }
            return routes::all()
                .map(of_core)
                .filter(|one| one.pattern.starts_with(&below))
                .collect();
        }
        let Some(mount) = table.find(&[path, "/"].concat()) else { return Vec::new() };
        let relative = path.get(mount.path.len()..).unwrap_or_default();
        let mut found = self.of_mount(mount, &mount.path);
        if !relative.is_empty() {
            found.retain(|one| {
                let pattern = one.pattern.strip_prefix(mount.path.as_str());
                pattern.is_some_and(|pattern| pattern::matches(pattern, relative))
            });
        }
        found
    }

    fn of_mount(&self, mount: &MountRecord, prefix: &str) -> Vec<Described> {
        let Some(engine) = self.engines.get(&mount.kind) else { return Vec::new() };
        let routes = engine.routes(&mount.options).iter();
        let described = routes.flat_map(|route| {
            route.operations.iter().map(|operation| Described {
                pattern: [prefix, route.pattern].concat(),
                operation: *operation,
                help: route.help,
                sudo: route.sudo,
                public: route.public,
            })
        });
        described.collect()
    }
}

fn of_core(route: &CoreRoute) -> Described {
    Described {
        pattern: route.pattern.to_owned(),
        operation: route.operation,
        help: route.help,
        sudo: route.sudo,
        public: false,
    }
}

/// Every path that this cluster has, in mounts that the caller may see.
pub(crate) fn openapi(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let generic = match ask.request.query.get("generic_mount_paths") {
        Some(text) => matches!(text.as_str(), "1" | "true"),
        None if ask.request.body.is_empty() => false,
        None => {
            let Object(Body { generic_mount_paths }) = ask.request.parse()?;
            matches!(generic_mount_paths, Some(Flag(true)))
        }
    };
    let table = ask.core.mounts.at(ask.tx)?;
    let mut described: Vec<Described> = routes::all().map(of_core).collect();
    for mount in table.mounts().filter(|mount| ask.acl.shows_mount(&mount.path)) {
        let prefix = match (generic, mount.is_auth()) {
            (false, _) => mount.path.clone(),
            (true, false) => format!(":{}_mount_path/", mount.kind),
            (true, true) => format!("auth/:{}_mount_path/", mount.kind),
        };
        described.extend(ask.core.of_mount(mount, &prefix));
    }
    Response::json(&openapi::document(described))
}

#[derive(Deserialize)]
struct Body {
    generic_mount_paths: Option<Flag>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;
    use crate::testing::{Bench, code};

    #[test]
    fn paths_and_mounts_say_what_they_are_for() {
        let bench = Bench::new();
        let help = |path: &str| {
            let mut request = bench.request(Operation::Read, path, b"");
            request.query.insert("help".into(), "1".into());
            let data = bench.send(&request)?.data.expect("there is help");
            Ok::<_, Error>(serde_json::from_slice::<serde_json::Value>(&data).unwrap())
        };
        let text = |path: &str| help(path).unwrap()["help"].as_str().unwrap().to_owned();
        assert!(text("auth/token/create").contains("Makes a child"));
        assert!(text("secret/data/app").contains("secret/data/*path"));
        assert!(text("secret").contains("secret/metadata/*path"));
        assert!(text("sys").contains("sys/mounts"));
        assert_eq!(code(help("nowhere/at/all")), ErrorCode::NotFound);
    }

    #[test]
    fn the_document_has_the_core_and_the_mounts() {
        let bench = Bench::new();
        let made = bench.read("sys/internal/specs/openapi").unwrap();
        assert_eq!(made["openapi"], "3.0.2");
        assert!(made["paths"]["/sys/mounts/{path}"]["post"].is_object());
        assert!(made["paths"]["/secret/data/{path}"]["get"].is_object());
        let mut request = bench.request(Operation::Read, "sys/internal/specs/openapi", b"");
        request.query.insert("generic_mount_paths".into(), "true".into());
        let generic = bench.send(&request).unwrap().data.unwrap();
        let generic: serde_json::Value = serde_json::from_slice(&generic).unwrap();
        assert!(generic["paths"]["/{kv_mount_path}/data/{path}"]["post"].is_object());
    }
}
