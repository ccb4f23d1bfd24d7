mod attribution;
mod listing;
mod model;
mod patch;
mod transfer;

use std::collections::BTreeMap;

use bytes::Bytes;
use conclave_mount::testing::{self, CANARY, wrong_bodies};
use conclave_mount::{EngineError, ErrorCode, Operation};
use futures::FutureExt;
use prost::Message;
use serde_json::{Value, json};

use super::Kv;
use super::attribution::Actor;
use super::record::{ConfigRecord, NameRecord, VERSIONS_MAX, VersionMetadata, VersionRecord};
use conclave_mount::Engine;

type Mount = testing::Mount<Kv>;

fn mount() -> Mount {
    Mount::new(Kv::new(), &[("version", "2")])
}

/// What tests say often.
trait Kv2 {
    fn put(&mut self, name: &str, value: u64) -> Result<Value, EngineError>;
    fn value(&mut self, name: &str, version: &str) -> Result<u64, ErrorCode>;
}

impl Kv2 for Mount {
    fn put(&mut self, name: &str, value: u64) -> Result<Value, EngineError> {
        self.write(&format!("data/{name}"), &json!({"data": {"value": value}}))
    }

    fn value(&mut self, name: &str, version: &str) -> Result<u64, ErrorCode> {
        let answer = self.read(&format!("data/{name}"), &[("version", version)]);
        answer.map(|v| v["data"]["value"].as_u64().unwrap()).map_err(|error| error.code)
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, EngineError>) -> ErrorCode {
    answer.unwrap_err().code
}

#[test]
fn a_secret_is_written_and_read() {
    let mut mount = mount();
    let written = mount.put("app", 1).unwrap();
    let expected = json!({
        "created_time": "2018-03-22T02:24:26.945Z",
        "custom_metadata": null,
        "deletion_time": "",
        "destroyed": false,
        "version": 1,
    });
    assert_eq!(written, expected);
    let read = mount.read("data/app", &[]).unwrap();
    assert_eq!(read, json!({"data": {"value": 1}, "metadata": expected}));
}

#[test]
fn data_comes_back_byte_for_byte() {
    let mut mount = mount();
    let body =
        br#"{"options":{}, "data": {"n": 1.000000000000000000001, "a" : [ ],"e":"\u0041"} }"#;
    mount.call_raw(Operation::Write, "data/app", body, &[]).unwrap();
    let read = mount.call_raw(Operation::Read, "data/app", b"", &[]).unwrap();
    let text = String::from_utf8(read.data.unwrap().to_vec()).unwrap();
    let expected = r#"{"data":{"n": 1.000000000000000000001, "a" : [ ],"e":"\u0041"},"#;
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn a_read_takes_two_rows() {
    let mut mount = mount();
    mount.put("a/b/c", 1).unwrap();
    let request = mount.request(Operation::Read, "data/a/b/c", b"", &[]);
    mount.rows.reads = 0;
    Kv::new().handle(&request, &mut mount.rows).now_or_never().unwrap().unwrap();
    assert_eq!(mount.rows.reads, 2);
}

#[test]
fn check_and_set_compares_with_the_current_version() {
    let mut mount = mount();
    let mut cas = |cas: Value| {
        mount.write("data/app", &json!({"data": {"value": 1}, "options": {"cas": cas}}))
    };
    assert_eq!(cas(json!(0)).unwrap()["version"], 1);
    for wrong in [json!(0), json!(2), json!("0"), json!(-1), json!(i64::MIN)] {
        let error = cas(wrong).unwrap_err();
        assert_eq!(error.code, ErrorCode::CasMismatch);
        assert_eq!(error.message, "check-and-set parameter did not match the current version");
    }
    assert_eq!(cas(json!("1")).unwrap()["version"], 2);
    for bad in [json!(null), json!(1.5), json!(true), json!([2]), json!("x")] {
        assert_eq!(code(cas(bad)), ErrorCode::InvalidRequest);
    }
}

#[test]
fn check_and_set_counts_deleted_versions() {
    let mut mount = mount();
    mount.put("app", 1).unwrap();
    mount.call(Operation::Delete, "data/app", &json!({})).unwrap();
    let body = json!({"data": {"value": 2}, "options": {"cas": 0}});
    assert_eq!(code(mount.write("data/app", &body)), ErrorCode::CasMismatch);
    let body = json!({"data": {"value": 2}, "options": {"cas": 1}});
    assert_eq!(mount.write("data/app", &body).unwrap()["version"], 2);
}

#[test]
fn check_and_set_can_be_required() {
    let required = "check-and-set parameter required for this call";
    let mut mount = mount();
    mount.write("config", &json!({"cas_required": true})).unwrap();
    assert_eq!(mount.put("app", 1).unwrap_err().message, required);
    mount.write("config", &json!({"cas_required": "false"})).unwrap();
    mount.put("app", 1).unwrap();
    mount.write("metadata/app", &json!({"cas_required": true})).unwrap();
    assert_eq!(mount.put("app", 2).unwrap_err().message, required);
    mount.put("other", 1).unwrap();
}

#[test]
fn a_deleted_version_answers_404_with_its_metadata_and_comes_back() {
    let mut mount = mount();
    mount.put("app", 1).unwrap();
    mount.call(Operation::Delete, "data/app", &json!({})).unwrap();
    let error = mount.read("data/app", &[]).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::NotFound, ""));
    let body: Value = serde_json::from_slice(&error.data.unwrap()).unwrap();
    assert_eq!(body["data"], Value::Null);
    assert_eq!(body["metadata"]["deletion_time"], "2018-03-22T02:24:27.945Z");
    assert_eq!(body["metadata"]["destroyed"], false);
    mount.write("undelete/app", &json!({"versions": [1]})).unwrap();
    assert_eq!(mount.value("app", "0"), Ok(1));
}

#[test]
fn versions_are_deleted_by_number() {
    let mut mount = mount();
    for value in 1..=3 {
        mount.put("app", value).unwrap();
    }
    mount.write("delete/app", &json!({"versions": "1,2"})).unwrap();
    assert_eq!(mount.value("app", "1"), Err(ErrorCode::NotFound));
    assert_eq!(mount.value("app", "2"), Err(ErrorCode::NotFound));
    assert_eq!(mount.value("app", "3"), Ok(3));
    assert_eq!(mount.value("app", "4"), Err(ErrorCode::NotFound));
}

/// THREATS row 106: what was destroyed is never readable again, whatever is tried.
#[test]
fn row_106_a_destroyed_version_never_comes_back() {
    let mut mount = mount();
    mount.put("app", 1).unwrap();
    mount.put("app", 2).unwrap();
    mount.write("destroy/app", &json!({"versions": ["1"]})).unwrap();
    mount.write("undelete/app", &json!({"versions": [1]})).unwrap();
    let error = mount.read("data/app", &[("version", "1")]).unwrap_err();
    let body: Value = serde_json::from_slice(&error.data.unwrap()).unwrap();
    assert_eq!(body["metadata"]["destroyed"], true);
    assert_eq!(mount.value("app", "2"), Ok(2));
    let objects = mount.rows.rows.keys().filter(|row| row.starts_with("objects/")).count();
    assert_eq!(objects, 1, "the data itself is gone");
}

#[test]
fn only_the_newest_versions_are_kept() {
    let mut mount = mount();
    for value in 1..=12 {
        mount.put("app", value).unwrap();
    }
    assert_eq!(mount.value("app", "2"), Err(ErrorCode::NotFound));
    assert_eq!(mount.value("app", "3"), Ok(3));
    mount.write("metadata/app", &json!({"max_versions": 2})).unwrap();
    mount.put("app", 13).unwrap();
    let metadata = mount.read("metadata/app", &[]).unwrap();
    assert_eq!(metadata["oldest_version"], 12);
    assert_eq!(metadata["current_version"], 13);
    let kept: Vec<_> = metadata["versions"].as_object().unwrap().keys().collect();
    assert_eq!(kept, ["12", "13"]);
    assert_eq!(mount.rows.rows.len(), 3, "a name and two versions");
}

#[test]
fn metadata_tells_all_but_data() {
    let mut mount = mount();
    mount.put("app", 1).unwrap();
    let settings = json!({
        "custom_metadata": {"owner": "team"},
        "delete_version_after": "3h25m19s",
        "max_versions": "5",
    });
    mount.write("metadata/app", &settings).unwrap();
    let expected = json!({
        "cas_required": false,
        "created_time": "2018-03-22T02:24:26.945Z",
        "current_metadata_version": 1,
        "current_version": 1,
        "custom_metadata": {"owner": "team"},
        "delete_version_after": "3h25m19s",
        "max_versions": 5,
        "metadata_cas_required": false,
        "oldest_version": 0,
        "updated_time": "2018-03-22T02:24:27.945Z",
        "versions": {"1": {
            "created_time": "2018-03-22T02:24:26.945Z",
            "deletion_time": "",
            "destroyed": false,
        }},
    });
    assert_eq!(mount.read("metadata/app", &[]).unwrap(), expected);
    let read = mount.read("data/app", &[]).unwrap();
    assert_eq!(read["metadata"]["custom_metadata"], json!({"owner": "team"}));
}

#[test]
fn a_version_goes_by_itself_at_its_time() {
    let mut mount = mount();
    mount.write("config", &json!({"delete_version_after": 10})).unwrap();
    mount.write("metadata/app", &json!({"delete_version_after": "5s"})).unwrap();
    let written = mount.put("app", 1).unwrap();
    assert_eq!(written["deletion_time"], "2018-03-22T02:24:33.945Z");
    assert_eq!(mount.value("app", "0"), Ok(1));
    mount.now_ms += 4000;
    assert_eq!(mount.value("app", "0"), Err(ErrorCode::NotFound));
}

#[test]
fn removing_a_name_removes_every_version() {
    let mut mount = mount();
    mount.put("app", 1).unwrap();
    mount.put("app", 2).unwrap();
    mount.call(Operation::Delete, "metadata/app", &json!({})).unwrap();
    assert!(mount.rows.rows.is_empty());
    assert_eq!(code(mount.read("metadata/app", &[])), ErrorCode::NotFound);
    assert_eq!(mount.put("app", 3).unwrap()["version"], 1);
    assert_eq!(mount.value("app", "2"), Err(ErrorCode::NotFound));
}

#[test]
fn what_is_not_there_is_deleted_without_an_error() {
    let mut mount = mount();
    for (operation, path) in [
        (Operation::Delete, "data/app"),
        (Operation::Delete, "metadata/app"),
        (Operation::Write, "delete/app"),
        (Operation::Write, "undelete/app"),
        (Operation::Write, "destroy/app"),
    ] {
        assert_eq!(mount.call(operation, path, &json!({"versions": [1]})).unwrap(), Value::Null);
    }
    assert!(mount.rows.rows.is_empty());
}

#[test]
fn the_mount_has_settings() {
    let mut mount = mount();
    let expected = json!({
        "cas_required": false,
        "delete_version_after": "0s",
        "max_versions": 0,
        "metadata_cas_required": false,
    });
    assert_eq!(mount.read("config", &[]).unwrap(), expected);
    mount.write("config", &json!({"max_versions": 3})).unwrap();
    assert_eq!(mount.read("config", &[]).unwrap()["max_versions"], 3);
    let above = json!({"max_versions": VERSIONS_MAX + 1});
    assert_eq!(code(mount.write("config", &above)), ErrorCode::InvalidRequest);
}

#[test]
fn wrong_paths_and_operations_are_told_apart() {
    let mut mount = mount();
    for path in ["app", "data", "dat/app", "config/x", ""] {
        let error = mount.read(path, &[]).unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound, "{path}");
        assert!(error.message.contains("'data/'"), "{path}");
    }
    for (operation, path) in [
        (Operation::List, "data/app/"),
        (Operation::Patch, "config"),
        (Operation::Read, "move/app"),
        (Operation::List, "subkeys/app/"),
        (Operation::Write, "detailed-metadata/app"),
        (Operation::Read, "delete/app"),
        (Operation::Delete, "config"),
    ] {
        let answer = mount.call(operation, path, &json!({}));
        assert_eq!(code(answer), ErrorCode::UnsupportedOperation, "{path}");
    }
}

#[test]
fn data_must_be_an_object() {
    let mut mount = mount();
    for body in [json!({}), json!({"data": null}), json!({"value": 1})] {
        assert_eq!(mount.write("data/app", &body).unwrap_err().message, "no data provided");
    }
    for data in [json!([1]), json!("x"), json!(1), json!(false)] {
        assert_eq!(
            code(mount.write("data/app", &json!({"data": data}))),
            ErrorCode::InvalidRequest
        );
    }
    mount.write("data/app", &json!({"data": {}})).unwrap();
}

/// THREATS rows 55 and 71: every documented field with every wrong type, and no error that repeats
/// what was sent.
#[test]
fn row_055_wrong_types_are_refused_without_an_echo() {
    use Operation::{Patch, Write};
    let metadata = [
        "max_versions",
        "cas_required",
        "delete_version_after",
        "custom_metadata",
        "metadata_cas",
        "metadata_cas_required",
    ];
    let config = ["max_versions", "cas_required", "delete_version_after", "metadata_cas_required"];
    let transfer = ["to", "recursive", "cas"];
    let routes: [(Operation, &str, &[&str]); 10] = [
        (Write, "data/app", &["data", "options"]),
        (Patch, "data/app", &["data", "options"]),
        (Write, "delete/app", &["versions"]),
        (Write, "undelete/app", &["versions"]),
        (Write, "destroy/app", &["versions"]),
        (Write, "config", &config),
        (Write, "metadata/app", &metadata),
        (Patch, "metadata/app", &metadata),
        (Write, "move/app", &transfer),
        (Write, "copy/app", &transfer),
    ];
    for (operation, path, fields) in routes {
        let mut bodies = wrong_bodies(fields);
        if path == "data/app" {
            let inside = |body: String| format!("{{\"data\":{{}},\"options\":{body}}}");
            bodies.extend(wrong_bodies(&["cas"]).into_iter().map(inside));
        }
        for body in bodies {
            let mut mount = mount();
            mount.put("app", 1).unwrap();
            let Err(error) = mount.call_raw(operation, path, body.as_bytes(), &[]) else {
                continue;
            };
            let fine = matches!(error.code, ErrorCode::InvalidRequest | ErrorCode::CasMismatch);
            assert!(fine, "{path} {body}: {error:?}");
            assert!(!format!("{error:?}").contains(CANARY), "{path} {body}: {error:?}");
        }
    }
}

#[test]
fn wrong_query_parameters_are_refused() {
    let mut mount = mount();
    mount.put("app", 1).unwrap();
    for version in ["-1", "x", "", "1.0", "99999999999999999999"] {
        assert_eq!(mount.value("app", version), Err(ErrorCode::InvalidRequest), "{version}");
    }
}

#[test]
fn damaged_records_are_faults_and_never_panic() {
    let mut mount = mount();
    mount.put("app", 1).unwrap();
    mount.rows.rows.insert("names/app".into(), Bytes::from_static(&[0xff; 9]));
    assert_eq!(mount.value("app", "0"), Err(ErrorCode::Internal));
    let short = NameRecord {
        object_id: Bytes::from_static(b"short"),
        current_version: 1,
        versions: vec![VersionMetadata { number: 1, ..Default::default() }],
        ..Default::default()
    };
    mount.rows.rows.insert("names/app".into(), short.encode_to_vec().into());
    assert_eq!(mount.value("app", "0"), Err(ErrorCode::Internal));
}

/// The layouts on disk: a change here makes stored secrets unreadable.
#[test]
fn golden_layouts() {
    let name = NameRecord {
        object_id: Bytes::from_static(&[0xaa; 15]),
        current_version: 2,
        oldest_version: 1,
        created_ms: 3,
        updated_ms: 4,
        max_versions: 5,
        cas_required: true,
        delete_version_after_ms: 6,
        custom_metadata: BTreeMap::from([("k".into(), "v".into())]),
        versions: vec![VersionMetadata {
            number: 2,
            created_ms: 3,
            deletion_ms: 7,
            destroyed: true,
            created_by: 1,
            deleted_by: 1,
            destroyed_by: 1,
        }],
        actors: vec![Actor { name: "n".into(), entity_id: "e".into() }],
        updated_by: 1,
        metadata_version: 8,
        metadata_cas_required: true,
    };
    let config = ConfigRecord {
        max_versions: 1,
        cas_required: true,
        delete_version_after_ms: 2,
        metadata_cas_required: true,
        never_deletes: true,
    };
    let version = VersionRecord { data: Bytes::from_static(b"{}") };
    assert_eq!(
        hex(&name.encode_to_vec()),
        "0a0faaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1002180120032804300538014006\
         4a060a016b1201765 20e0802100318072001280130013801 5a060a016e120165 6001 6808 7001"
            .replace(' ', "")
    );
    assert_eq!(hex(&config.encode_to_vec()), "08011001180220012801");
    assert_eq!(hex(&version.encode_to_vec()), "0a027b7d");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_mount_can_say_that_no_version_goes_by_itself() {
    let mut mount = mount();
    for never in [json!(-1), json!("-1s"), json!("-1h")] {
        mount.write("config", &json!({"delete_version_after": 10})).unwrap();
        mount.write("config", &json!({ "delete_version_after": never })).unwrap();
        assert_eq!(mount.read("config", &[]).unwrap()["delete_version_after"], "-1s");
        mount.write("metadata/app", &json!({"delete_version_after": 1})).unwrap();
        assert_eq!(mount.put("app", 1).unwrap()["deletion_time"], "");
    }
    for (after, shown) in [(json!("-0s"), "0s"), (json!(60), "1m0s")] {
        mount.write("config", &json!({ "delete_version_after": after })).unwrap();
        assert_eq!(mount.read("config", &[]).unwrap()["delete_version_after"], shown);
    }
    let error = mount.write("metadata/app", &json!({"delete_version_after": "-1s"}));
    assert_eq!(code(error), ErrorCode::InvalidRequest);
    assert_eq!(
        code(mount.write("config", &json!({"delete_version_after": "-x"}))),
        ErrorCode::InvalidRequest
    );
}

#[test]
fn a_write_tells_create_from_update() {
    let mut mount = mount();
    for path in ["data/app", "metadata/app"] {
        assert!(!mount.exists(path).unwrap(), "{path}");
    }
    mount.put("app", 1).unwrap();
    mount.call(Operation::Delete, "data/app", &json!({})).unwrap();
    for path in ["data/app", "metadata/app", "config", "delete/none", "move/none", "copy/none"] {
        assert!(mount.exists(path).unwrap(), "{path}");
    }
    assert!(!mount.exists("data/app/below").unwrap());
}

#[test]
fn the_option_version_chooses_the_engine() {
    let kv = Kv::new();
    let cases = [
        (None, Some("*path")),
        (Some(""), Some("*path")),
        (Some("1"), Some("*path")),
        (Some("2"), Some("config")),
        (Some("3"), None),
    ];
    for (version, first) in cases {
        let options: Vec<_> = version.iter().map(|version| ("version", *version)).collect();
        let mut mount = Mount::new(Kv::new(), &options);
        let routes = kv.routes(&mount.view.options);
        assert_eq!(routes.first().map(|route| route.pattern), first, "{options:?}");
        let written = mount.write("data/app", &json!({"data": {"value": 1}}));
        assert_eq!(written.is_ok(), first.is_some());
    }
}

/// Every route serves what its table says, and nothing else.
#[test]
fn routes_are_what_is_served() {
    use Operation::{Delete, List, Patch, Read, Scan, Write};
    for route in Kv::new().routes(&mount().view.options) {
        for operation in [Read, Write, List, Delete, Patch, Scan] {
            let mut mount = mount();
            mount.put("app", 1).unwrap();
            let name = if operation.lists() { "" } else { "app" };
            let path = route.pattern.replace("*path", name);
            let answer = mount.call_raw(operation, &path, b"{}", &[]);
            let served =
                answer.map_err(|error| error.code).err() != Some(ErrorCode::UnsupportedOperation);
            assert_eq!(served, route.operations.contains(&operation), "{operation:?} {path}");
        }
    }
}

#[test]
fn routes_tell_of_the_fields_that_are_read() {
    testing::check_routes(&mut mount());
}

/// THREATS row 54: what is too large is refused before anything is proposed.
#[test]
fn row_054_long_names_and_large_values_are_refused() {
    let mut mount = mount();
    let name = "k".repeat(64 << 10);
    for path in [format!("data/{name}"), format!("metadata/{name}")] {
        let body = json!({"data": {"value": 1}, "max_versions": 1});
        assert_eq!(code(mount.write(&path, &body)), ErrorCode::InvalidRequest);
    }
    let value = "x".repeat(1 << 20);
    let large = mount.write("data/app", &json!({"data": {"value": value}}));
    assert_eq!(code(large), ErrorCode::TooLarge);
    assert!(mount.rows.rows.is_empty());
}
