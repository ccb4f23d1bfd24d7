use conclave_mount::testing::{Mount, check_routes};
use conclave_mount::{Access, Engine, ErrorCode, Operation};
use serde_json::{Value, json};

use super::Cubbyhole;

fn mount() -> Mount<Cubbyhole> {
    Mount::new(Cubbyhole::new(), &[])
}

#[test]
fn routes_tell_what_creates() {
    check_routes(&mut mount());
}

#[test]
fn a_token_has_its_own_secrets() {
    let mut mount = mount();
    assert_eq!(mount.write("a/b", &json!({"n": 1})).unwrap(), Value::Null);
    assert_eq!(mount.read("a/b", &[]).unwrap(), json!({"n": 1}));
    assert_eq!(mount.call(Operation::List, "", &json!({})).unwrap(), json!({"keys": ["a/"]}));
    assert_eq!(mount.call(Operation::Scan, "", &json!({})).unwrap(), json!({"keys": ["a/b"]}));
    mount.call(Operation::Delete, "a/b", &json!({})).unwrap();
    assert_eq!(mount.read("a/b", &[]).unwrap_err().code, ErrorCode::NotFound);
    assert!(mount.rows.rows.is_empty());
}

#[test]
fn no_token_sees_what_another_wrote() {
    let mut mount = mount();
    mount.write("a", &json!({"n": 1})).unwrap();
    mount.caller.token_id = "other".into();
    assert!(!mount.exists("a").unwrap());
    for operation in [Operation::Read, Operation::List, Operation::Scan] {
        let path = if operation == Operation::Read { "a" } else { "" };
        let error = mount.call_raw(operation, path, b"", &[]).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::NotFound, ""));
    }
    mount.call(Operation::Delete, "a", &json!({})).unwrap();
    mount.write("a", &json!({"n": 2})).unwrap();
    mount.caller.token_id = "token".into();
    assert!(mount.exists("a").unwrap());
    assert_eq!(mount.read("a", &[]).unwrap(), json!({"n": 1}));
    let rows: Vec<_> = mount.rows.rows.keys().collect();
    assert_eq!(rows, ["tokens/other/a", "tokens/token/a"]);
}

#[test]
fn who_has_no_token_has_no_cubbyhole() {
    let mut mount = mount();
    mount.caller.token_id = String::new();
    let error = mount.write("a", &json!({"n": 1})).unwrap_err();
    assert_eq!(error.code, ErrorCode::PermissionDenied);
    assert_eq!(mount.exists("a").unwrap_err().code, ErrorCode::PermissionDenied);
    mount.caller.token_id = "token/a".into();
    assert_eq!(mount.read("a", &[]).unwrap_err().code, ErrorCode::Internal);
}

#[test]
fn it_has_no_patch_and_no_empty_secret() {
    let mut mount = mount();
    let patch = mount.call(Operation::Patch, "a", &json!({"n": 1})).unwrap_err();
    assert_eq!(patch.code, ErrorCode::UnsupportedOperation);
    for body in ["", "{}", " { } "] {
        let error = mount.call_raw(Operation::Write, "a", body.as_bytes(), &[]).unwrap_err();
        assert_eq!(error.message, "missing data fields");
        assert_eq!(error.code, ErrorCode::InvalidRequest);
    }
    assert_eq!(mount.engine.kind(), "cubbyhole");
    let access = mount.engine.access(&mount.view.options, Operation::Delete, "a");
    assert_eq!(access, Access::Write);
}
