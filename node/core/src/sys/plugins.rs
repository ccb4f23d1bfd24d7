//! `sys/plugins/catalog`: the engines and methods that mounts may name. All of them are part of the
//! program; nothing can be registered, and nothing that the API names is ever executed.

use conclave_mount::{Class, Engine};
use serde::Serialize;
use serde_json::json;

use crate::mounts::is_mountable;
use crate::routes::Ask;
use crate::{Error, Response};

/// What the versions of all parts of this program are.
const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"), "+builtin");

/// The types that clients ask for. Databases will be plugins of an engine.
const TYPES: [&str; 3] = ["auth", "database", "secret"];

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    version: &'a str,
    builtin: bool,
    deprecation_status: &'a str,
}

pub(super) fn all(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let entry = |(kind, name)| Entry {
        name,
        kind,
        version: VERSION,
        builtin: true,
        deprecation_status: "supported",
    };
    let [auth, database, secret] = TYPES.map(|kind| names(ask, kind));
    let detailed = TYPES.into_iter().flat_map(|kind| {
        names(ask, kind).into_iter().map(move |name| (kind, name)).collect::<Vec<_>>()
    });
    Response::json(&json!({
        "auth": auth,
        "database": database,
        "secret": secret,
        "detailed": detailed.map(entry).collect::<Vec<_>>(),
    }))
}

pub(super) fn list(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let kind = known_type(ask.name())?;
    Response::json(&json!({"keys": names(ask, kind)}))
}

pub(super) fn read(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let kind = known_type(ask.request.path.split('/').nth(3).unwrap_or_default())?;
    let name = ask.name().to_owned();
    if !names(ask, kind).contains(&name.as_str()) {
        return Err(Error::not_found());
    }
    Response::json(&json!({
        "name": name,
        "builtin": true,
        "version": VERSION,
        "deprecation_status": "supported",
        "args": [],
        "command": "",
        "sha256": "",
    }))
}

/// Whatever would change the catalogue.
pub(super) fn refuse(_: &mut Ask<'_>) -> Result<Response, Error> {
    Err(Error::invalid("there are no external plugins: every engine is part of the program"))
}

fn known_type(kind: &str) -> Result<&'static str, Error> {
    let known = TYPES.into_iter().find(|known| *known == kind);
    known.ok_or_else(|| Error::invalid("unknown plugin type; it is auth, database or secret"))
}

/// Sorted.
fn names(ask: &Ask<'_>, kind: &str) -> Vec<&'static str> {
    let of_kind = |engine: &&dyn Engine| match engine.class() {
        Class::Auth => kind == "auth",
        Class::Secret => kind == "secret" && is_mountable(engine.kind()),
    };
    ask.core.engines.all().filter(of_kind).map(Engine::kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, code};
    use crate::{ErrorCode, Operation};

    #[test]
    fn the_catalogue_has_what_can_be_mounted_and_takes_nothing() {
        let bench = Bench::new();
        let all = bench.read("sys/plugins/catalog").unwrap();
        assert_eq!(all["secret"], json!(["kv"]), "a cubbyhole is not for mounting");
        assert_eq!((&all["auth"], &all["database"]), (&json!([]), &json!([])));
        assert_eq!(all["detailed"][0]["name"], "kv");
        assert_eq!(all["detailed"][0]["builtin"], true);
        let list = |path: &str| bench.call(Operation::List, path, &json!({}));
        assert_eq!(list("sys/plugins/catalog/secret").unwrap()["keys"], json!(["kv"]));
        assert_eq!(code(list("sys/plugins/catalog/other")), ErrorCode::InvalidRequest);
        let kv = bench.read("sys/plugins/catalog/secret/kv").unwrap();
        assert_eq!((&kv["name"], &kv["builtin"]), (&json!("kv"), &json!(true)));
        let read = bench.send(&bench.request(Operation::Read, "sys/plugins/catalog/auth/kv", b""));
        assert_eq!(code(read), ErrorCode::NotFound);
        let body = json!({"command": "program", "sha256": "00"});
        let error = bench.write("sys/plugins/catalog/secret/mine", &body).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        assert!(error.message.contains("no external plugins"));
        let gone = bench.call(Operation::Delete, "sys/plugins/catalog/secret/kv", &json!({}));
        assert_eq!(code(gone), ErrorCode::InvalidRequest);
    }
}
