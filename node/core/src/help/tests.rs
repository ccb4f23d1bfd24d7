use std::path::Path;

use conclave_mount::Kind;
use conclave_mount::testing::{names_the_field, sample_path};
use serde_json::Value;

use super::*;
use crate::Token;
use crate::testing::{Bench, code};

fn help(bench: &Bench, path: &str, token: Option<&str>) -> Result<Value, Error> {
    ask(bench, path, "help", "1", token)
}

fn ask(
    bench: &Bench,
    path: &str,
    name: &str,
    value: &str,
    token: Option<&str>,
) -> Result<Value, Error> {
    let mut request = bench.request(Operation::Read, path, b"");
    request.query.insert(name.into(), value.into());
    request.token = token.map(|text| Token::new(text.to_owned()));
    let data = bench.send(&request)?.data.expect("there is help");
    Ok(serde_json::from_slice(&data).unwrap())
}

/// A token that may read one secret of `secret/` and knows nothing else.
fn reader(bench: &Bench) -> String {
    let rule = "path \"secret/data/mine\" { capabilities = [\"read\"] }";
    bench.write("sys/policies/acl/reader", &json!({"policy": rule})).unwrap();
    let body = json!({"policies": ["reader"], "no_default_policy": true});
    let body = body.to_string();
    let made = bench.send(&bench.request(Operation::Write, "auth/token/create", body.as_bytes()));
    let auth: Value = serde_json::from_slice(&made.unwrap().auth.unwrap()).unwrap();
    auth["client_token"].as_str().unwrap().to_owned()
}

#[test]
fn paths_and_mounts_say_what_they_are_for() {
    let bench = Bench::new();
    let root = Some(bench.root_token.as_str());
    let text = |path: &str| {
        let answer = help(&bench, path, root).unwrap();
        assert!(answer["see_also"].is_null() && answer["openapi"]["paths"].is_object());
        answer["help"].as_str().unwrap().to_owned()
    };
    let create = text("auth/token/create");
    assert!(create.contains("Makes a child") && create.contains("Matching Route: auth/token/cr"));
    assert!(create.contains("    policies (comma-separated strings)\n\n        "), "{create}");
    let data = text("secret/data/app");
    assert!(data.contains("secret/data/*path") && !data.contains("metadata/"), "{data}");
    assert!(text("secret").contains("secret/metadata/*path"));
    assert!(text("sys").contains("sys/mounts"));
    assert!(text("sys/unseal").contains("key (string)"));
    // The more special of two routes, which is the one that serves the path.
    assert!(!text("sys/mounts/secret/tune").contains("Enables"));
    assert_eq!(code(help(&bench, "nowhere/at/all", root)), ErrorCode::NotFound);
}

#[test]
fn help_needs_a_token_that_lives_and_tells_nobody_of_hidden_mounts() {
    let bench = Bench::new();
    let hidden = json!({"type": "kv"});
    bench.write("sys/mounts/hidden", &hidden).unwrap();
    let token = reader(&bench);
    let told = |path: &str| help(&bench, path, Some(&token));
    assert!(told("secret/data/mine").is_ok() && told("sys/mounts").is_ok());
    // The same words as for what is not there.
    let refused = told("hidden/app").unwrap_err();
    let nowhere = told("nowhere/app").unwrap_err();
    assert_eq!(refused.code, nowhere.code);
    assert_eq!(refused.message.replace("hidden", "nowhere"), nowhere.message);
    assert_eq!(code(help(&bench, "sys/mounts", None)), ErrorCode::PermissionDenied);
    assert_eq!(code(help(&bench, "sys/mounts", Some("s.none"))), ErrorCode::PermissionDenied);
}

#[test]
fn the_document_has_the_core_and_the_mounts_that_the_caller_may_see() {
    let bench = Bench::new();
    bench.write("sys/mounts/hidden", &json!({"type": "kv"})).unwrap();
    let shown = json!({"type": "kv", "config": {"listing_visibility": "unauth"}});
    bench.write("sys/mounts/shown", &shown).unwrap();
    let token = reader(&bench);
    let of = |token| ask(&bench, OPENAPI, "context", "x", token).unwrap()["paths"].clone();
    let (all, some, none) =
        (of(Some(bench.root_token.as_str())), of(Some(token.as_str())), of(None));
    for paths in [&all, &some, &none] {
        assert!(paths["/sys/mounts/{path}"]["post"].is_object());
        assert!(paths["/shown/{path}"]["get"].is_object());
    }
    assert!(all["/hidden/{path}"].is_object() && all["/secret/data/{path}"].is_object());
    assert!(some["/hidden/{path}"].is_null() && some["/secret/data/{path}"].is_object());
    assert!(none["/hidden/{path}"].is_null() && none["/secret/data/{path}"].is_null());
    assert_eq!(of(Some("s.none")), none);
}

#[test]
fn the_document_marks_what_clients_must_know() {
    let bench = Bench::new();
    let paths = bench.read(OPENAPI).unwrap()["paths"].clone();
    let marked = |path: &str, mark: &str| paths[path][format!("x-vault-{mark}")] == true;
    assert!(marked("/sys/generate-root/update", "unauthenticated"));
    assert!(marked("/sys/generate-root/attempt", "unauthenticated"));
    assert!(marked("/sys/internal/specs/openapi", "unauthenticated"));
    assert!(marked("/sys/unseal", "unauthenticated"));
    assert!(!marked("/sys/mounts", "unauthenticated") && !marked("/sys/mounts", "sudo"));
    assert!(marked("/auth/token/accessors", "sudo"));
    assert!(marked("/secret/data/{path}", "createSupported"));
    assert!(!marked("/secret/undelete/{path}", "createSupported"));
    assert_eq!(paths["/secret/data/{path}"]["get"]["tags"], json!(["secrets"]));
    assert_eq!(paths["/auth/token/create"]["post"]["tags"], json!(["auth"]));
    assert_eq!(paths["/sys/mounts"]["get"]["tags"], json!(["system"]));
}

#[test]
fn mounts_of_one_type_share_generic_paths() {
    let bench = Bench::new();
    bench.write("sys/mounts/other", &json!({"type": "kv-v2"})).unwrap();
    bench.write("sys/mounts/plain", &json!({"type": "kv"})).unwrap();
    let root = Some(bench.root_token.as_str());
    let made = ask(&bench, OPENAPI, "generic_mount_paths", "true", root).unwrap();
    let by_body = bench.write(OPENAPI, &json!({"generic_mount_paths": true})).unwrap();
    assert_eq!(made, by_body);
    let paths = &made["paths"];
    let metadata = &paths["/{kv_v2_mount_path}/metadata/{path}"];
    let names = |of: &Value| {
        let names = of["parameters"].as_array().unwrap().iter();
        names.map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(metadata), ["kv_v2_mount_path", "path"]);
    assert_eq!(names(&metadata["get"]), ["list", "scan"]);
    assert_eq!(metadata["parameters"][0]["schema"]["default"], "secret");
    assert!(paths["/{kv_v1_mount_path}/{path}"].is_object());
    assert!(paths["/cubbyhole/{path}"].is_object());
    assert!(paths["/secret/data/{path}"].is_null());
}

/// What is told of the core's own routes is what their handlers read: a value that no type reads is
/// refused in every field that is told of, and passed over in any other.
#[test]
fn the_routes_tell_of_the_fields_that_are_read() {
    let bench = Bench::new();
    // One that may be revoked on the way.
    let token = reader(&bench);
    let shown = bench.write("auth/token/lookup", &json!({"token": token})).unwrap();
    let valid = json!({"token": token, "accessor": shown["accessor"], "path": "x"});
    let mut differ = Vec::new();
    bench.write("auth/token/roles/x", &json!({})).unwrap();
    bench.write("sys/mounts/x", &json!({"type": "kv"})).unwrap();
    for route in routes::all() {
        let (operation, path) = (route.operation, sample_path(route.pattern));
        differ.extend(faults(&path, route.bodies));
        let fields = fields(route.bodies);
        assert!(fields.is_empty() || !operation.lists() && operation != Operation::Read, "{path}");
        let refused = |name: &str| {
            let mut body = serde_json::Map::new();
            for field in fields.iter().filter(|field| field.required) {
                body.extend(
                    valid.get(field.name).map(|value| (field.name.to_owned(), value.clone())),
                );
            }
            body.insert(name.to_owned(), json!([[{}]]));
            let error = bench.call(operation, &path, &body.into()).err()?;
            names_the_field(&error, name).then_some(())
        };
        if fields.is_empty() {
            continue;
        }
        differ.extend(refused("no-field").map(|()| format!("{path} reads no-field")));
        let unread = fields.iter().filter(|field| field.kind != Kind::Any);
        let unread = unread.filter(|field| refused(field.name).is_none());
        differ.extend(unread.map(|field| format!("{path} does not read {}", field.name)));
    }
    for route in NODE_ROUTES {
        differ.extend(faults(route.pattern, route.bodies));
    }
    assert_eq!(differ, [""; 0]);
}

/// Fields without words, and words without a field.
fn faults(path: &str, bodies: &[BodyFields]) -> Vec<String> {
    let faults = bodies.iter().flat_map(BodyFields::faults);
    faults.map(|name| format!("{path} {name}: no words, or no field")).collect()
}

/// A type that parses bodies and that no route tells of would go unseen.
#[test]
fn every_type_that_parses_a_body_is_told_of() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("sys"), source.join("auth_token"), source.join("help.rs")];
    let (mut types, mut told) = (BTreeSet::new(), BTreeSet::new());
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            files.extend(entries.map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(&source).unwrap().display().to_string();
        let named = |rest: &str| {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            format!("{file} {name}")
        };
        let derived = text.split("Deserialize)]").skip(1);
        types.extend(
            derived.filter_map(|rest| rest.split_once("struct ")).map(|(_, rest)| named(rest)),
        );
        told.extend(text.split("BodyFields::of::<").skip(1).map(named));
    }
    assert!(types.len() > 20, "{types:?}");
    // A part of what mounts are tuned with.
    types.remove("sys/mounts/tune.rs LockOutBody");
    assert_eq!(types.difference(&told).collect::<Vec<_>>(), [""; 0]);
}

const OPENAPI: &str = "sys/internal/specs/openapi";
