use std::collections::BTreeMap;
use std::sync::Arc;

use conclave_mount::testing::{CANARY, May, Mount, check_routes, wrong_bodies};
use conclave_mount::{EngineError, ErrorCode, Operation};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::Kv;

fn mount() -> Mount<Kv> {
    Mount::new(Kv::new(), &[("version", "1")])
}

fn keep_ms(mount: &mut Mount<Kv>, body: &str) -> u64 {
    mount.call_raw(Operation::Write, "app", body.as_bytes(), &[]).unwrap();
    mount.call_raw(Operation::Read, "app", b"", &[]).unwrap().keep_ms
}

#[test]
fn a_secret_is_its_body_byte_for_byte() {
    let mut mount = mount();
    let body = br#" {"n": 1.000000000000000000001, "a" : [ ],"e":"\u0041"} "#;
    let written = mount.call_raw(Operation::Write, "a/b", body, &[]).unwrap();
    assert!(written.data.is_none() && written.warnings.is_empty());
    let read = mount.call_raw(Operation::Read, "a/b", b"", &[]).unwrap();
    assert_eq!(read.data.as_deref(), Some(body.trim_ascii()));
    assert_eq!(mount.rows.rows.keys().collect::<Vec<_>>(), ["secrets/a/b"]);
}

#[test]
fn a_write_replaces_all() {
    let mut mount = mount();
    mount.write("app", &json!({"a": 1, "b": 2})).unwrap();
    mount.write("app", &json!({"c": 3})).unwrap();
    assert_eq!(mount.read("app", &[]).unwrap(), json!({"c": 3}));
}

#[test]
fn a_secret_says_how_long_it_may_be_kept() {
    let mut mount = mount();
    let default = mount.view.default_lease_ttl_ms;
    let cases = [
        (r#"{"ttl": "1h", "lease": "2h"}"#, 3_600_000),
        (r#"{"lease": "90"}"#, 90_000),
        (r#"{"ttl": 5}"#, 5_000),
        (r#"{"ttl": "soon"}"#, default),
        (r#"{"ttl": -5}"#, default),
        (r#"{"ttl": {"a": [1]}}"#, default),
        (r#"{"a": 1}"#, default),
    ];
    for (body, expected) in cases {
        assert_eq!(keep_ms(&mut mount, body), expected, "{body}");
    }
}

#[test]
fn a_name_may_lie_below_a_secret() {
    let mut mount = mount();
    for name in ["a", "a/b", "a/b/c", "z"] {
        mount.write(name, &json!({"name": name})).unwrap();
    }
    assert_eq!(mount.read("a/b", &[]).unwrap(), json!({"name": "a/b"}));
    let names = |mount: &mut Mount<Kv>, path| mount.names(Operation::List, path, &[]).unwrap().0;
    assert_eq!(names(&mut mount, ""), ["a", "a/", "z"]);
    assert_eq!(names(&mut mount, "a/"), ["b", "b/"]);
    mount.call(Operation::Delete, "a/b", &json!({})).unwrap();
    assert_eq!(names(&mut mount, "a/"), ["b/"]);
    let scanned = mount.names(Operation::Scan, "", &[("limit", "2")]).unwrap();
    assert_eq!(scanned, (vec!["a".to_owned(), "a/b/c".to_owned()], true));
}

#[test]
fn what_is_not_there_is_a_plain_404() {
    let mut mount = mount();
    for (operation, path) in
        [(Operation::Read, "a"), (Operation::List, "a/"), (Operation::Scan, "")]
    {
        let error = mount.call_raw(operation, path, b"", &[]).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::NotFound, ""));
        assert!(error.data.is_none());
    }
    mount.call(Operation::Delete, "a", &json!({})).unwrap();
}

#[test]
fn wrong_writes_are_refused_in_known_words() {
    let mut mount = mount();
    for body in ["", "{}"] {
        let error = mount.call_raw(Operation::Write, "a", body.as_bytes(), &[]).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::InvalidRequest, "missing data fields")
        );
    }
    assert_eq!(mount.write("", &json!({"a": 1})).unwrap_err().message, "missing path");
    for body in [json!([1]), json!("x"), json!(1), json!(null)] {
        assert_eq!(mount.write("a", &body).unwrap_err().code, ErrorCode::InvalidRequest);
    }
    let patch = mount.call(Operation::Patch, "a", &json!({"a": 1})).unwrap_err();
    assert_eq!(patch.code, ErrorCode::UnsupportedOperation);
    let large = json!({"a": "x".repeat(1 << 20)});
    assert_eq!(mount.write("a", &large).unwrap_err().code, ErrorCode::TooLarge);
}

#[test]
fn a_write_tells_create_from_update() {
    let mut mount = mount();
    assert!(!mount.exists("a").unwrap());
    mount.write("a/b", &json!({"n": 1})).unwrap();
    assert!(!mount.exists("a").unwrap() && mount.exists("a/b").unwrap());
}

#[test]
fn lists_show_only_what_may_be_read_where_the_mount_says_so() {
    let mut mount = Mount::new(Kv::new(), &[("list_filter", "true")]);
    for name in ["mine/a", "mine/b", "top", "yours/c"] {
        mount.write(name, &json!({"n": 1})).unwrap();
    }
    let may = |operation: Option<Operation>, path: &str| match operation {
        Some(Operation::List) => path == "mine/",
        Some(Operation::Read) => path == "mine/b",
        _ => false,
    };
    mount.caller.rights = Some(Arc::new(May(may)));
    let names = |mount: &mut Mount<Kv>, operation, path| mount.names(operation, path, &[]);
    assert_eq!(names(&mut mount, Operation::List, "").unwrap().0, ["mine/"]);
    assert_eq!(names(&mut mount, Operation::List, "mine/").unwrap().0, ["b"]);
    assert_eq!(names(&mut mount, Operation::Scan, "").unwrap().0, ["mine/b"]);
    mount.caller.rights = None;
    let hidden = names(&mut mount, Operation::List, "").unwrap_err();
    assert_eq!(hidden.code, ErrorCode::NotFound, "who has no rights sees nothing");
}

#[test]
fn routes_tell_what_creates() {
    check_routes(&mut Mount::new(Kv::new(), &[]));
}

/// THREATS row 55: a secret's fields may hold anything; only its shape can be wrong.
#[test]
fn row_055_wrong_types_are_refused_without_an_echo() {
    for body in wrong_bodies(&["ttl", "lease", "value"]) {
        let mut mount = mount();
        match mount.call_raw(Operation::Write, "app", body.as_bytes(), &[]) {
            Ok(_) => {
                let read = mount.call_raw(Operation::Read, "app", b"", &[]).unwrap();
                assert_eq!(read.data.as_deref(), Some(body.as_bytes()));
            }
            Err(error) => {
                assert_eq!(error.code, ErrorCode::InvalidRequest, "{body}");
                assert!(!format!("{error:?}").contains(CANARY), "{body}");
            }
        }
    }
}

#[test]
fn a_damaged_record_is_a_fault_and_never_panics() {
    let mut mount = mount();
    mount.rows.rows.insert("secrets/a".into(), vec![0xff; 9].into());
    assert_eq!(mount.read("a", &[]).unwrap_err().code, ErrorCode::Internal);
}

proptest! {
    #[test]
    fn a_mount_behaves_as_a_map(
        steps in prop::collection::vec(("[ab](/[ab]){0,2}", 0_u8..3, any::<u32>()), 1..40)
    ) {
        let (mut mount, mut model) = (mount(), BTreeMap::new());
        for (name, step, value) in steps {
            match step {
                0 | 1 => {
                    prop_assert_eq!(mount.exists(&name).unwrap(), model.contains_key(&name));
                    mount.write(&name, &json!({"value": value})).unwrap();
                    model.insert(name, value);
                }
                _ => {
                    mount.call(Operation::Delete, &name, &json!({})).unwrap();
                    model.remove(&name);
                }
            }
            let names = mount.names(Operation::Scan, "", &[]).map(|(names, _)| names);
            let expected: Vec<_> = model.keys().cloned().collect();
            prop_assert_eq!(names.unwrap_or_default(), expected);
            for (name, value) in &model {
                let read = mount.read(name, &[]).map_err(|error: EngineError| error.code);
                prop_assert_eq!(read, Ok(json!({ "value": value })) as Result<Value, ErrorCode>);
            }
        }
    }
}
