//! Enabling an engine or auth method at a path.

use conclave_mount::Class;
use conclave_mount::fields::{Flag, Object, TextMap};
use conclave_mount::{BodyFields, word};
use serde::Deserialize;

use super::tune::Tuning;
use super::{check_path, path};
use crate::canonical::CanonicalPath;
use crate::mounts::{AUTH_PREFIX, MountRecord};
use crate::routes::Ask;
use crate::{Error, Operation, Response};

pub(in crate::sys) fn enable(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let path = path(ask);
    check_path(&path)?;
    CanonicalPath::new(&path, Operation::List)?;
    let Object(body): Object<Body> = ask.request.parse()?;
    let (kind, implied) = kind(body.kind.as_deref().unwrap_or_default())?;
    let auth = path.starts_with(AUTH_PREFIX);
    let class = if auth { Class::Auth } else { Class::Secret };
    let engine = ask.core.engines.get(kind).filter(|engine| engine.class() == class);
    if engine.is_none() {
        return Err(Error::invalid(format!(
            "plugin not found in the catalog: {kind}; this version has no such engine"
        )));
    }
    let table = ask.core.mounts.at(ask.tx)?;
    if let Some(there) = table.conflict(&path) {
        return Err(Error::invalid(format!("path is already in use at {}", there.path)));
    }
    let mut mount = MountRecord {
        path,
        description: body.description.unwrap_or_default(),
        options: body.options.unwrap_or_default().0,
        local: matches!(body.local, Some(Flag(true))),
        seal_wrap: matches!(body.seal_wrap, Some(Flag(true))),
        ..MountRecord::make(&ask.core.ports, kind, auth)
    };
    if let Some((name, value)) = implied {
        mount.options.entry(name.into()).or_insert_with(|| value.into());
    }
    check_version(&mount)?;
    if let Some(Object(tuning)) = body.config {
        tuning.apply(&mut mount)?;
    }
    table.rewrite(ask.tx, |mounts| mounts.push(mount))?;
    Ok(Response::empty())
}

/// A KV mount is of one of two versions; clients that say nothing mean the first.
fn check_version(mount: &MountRecord) -> Result<(), Error> {
    match (mount.kind.as_str(), mount.options.get("version").map(String::as_str)) {
        ("kv", Some(version)) if version != "1" && version != "2" => {
            Err(Error::invalid("'version' of a KV mount is 1 or 2; send one of them"))
        }
        _ => Ok(()),
    }
}

type Implied = Option<(&'static str, &'static str)>;

/// The engine behind a type's name, and what the name implies.
fn kind(asked: &str) -> Result<(&str, Implied), Error> {
    match asked {
        "" => Err(Error::invalid("backend type must be specified as a string; send 'type'")),
        "kv-v2" => Ok(("kv", Some(("version", "2")))),
        "kv-v1" | "generic" => Ok(("kv", Some(("version", "1")))),
        other => Ok((other, None)),
    }
}

pub(in crate::sys) const ENABLE: BodyFields = BodyFields::of::<Body>(&[
    word("type", "Which engine or method.").required(),
    word("description", "For a reader."),
    word("config", "Settings, as in `tune`."),
    word("options", "Settings of this type of mount: texts by name."),
    word("local", "Changes nothing: a cluster has no replicas."),
    word("seal_wrap", "Changes nothing: everything is sealed."),
]);

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "type")]
    kind: Option<String>,
    description: Option<String>,
    config: Option<Object<Tuning>>,
    options: Option<TextMap>,
    local: Option<Flag>,
    seal_wrap: Option<Flag>,
}
