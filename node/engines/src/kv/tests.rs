use std::collections::BTreeMap;

use bytes::Bytes;
use conclave_mount::{
    Engine, EngineError, Entry, ErrorCode, ListPage, Operation, Request, Response, Storage,
    StorageError,
};
use futures::FutureExt;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};

use super::Kv;
use super::record::{ConfigRecord, NameRecord, VERSIONS_MAX, VersionMetadata, VersionRecord};

const START_MS: u64 = 1_521_685_466_945;

/// Rows in memory, with the order that the real ones have.
#[derive(Default, Clone)]
struct Rows {
    rows: BTreeMap<String, Bytes>,
    reads: usize,
}

impl Storage for Rows {
    fn get(&mut self, path: &str) -> Result<Option<Entry>, StorageError> {
        self.reads += 1;
        let row = self.rows.get(path);
        Ok(row.map(|value| Entry { value: value.clone(), revision: 1 }))
    }

    fn put(&mut self, path: &str, value: Bytes) -> Result<(), StorageError> {
        assert!(!path.is_empty() && path.split('/').all(|segment| !segment.is_empty()), "{path}");
        self.rows.insert(path.to_owned(), value);
        Ok(())
    }

    fn delete(&mut self, path: &str) -> Result<(), StorageError> {
        self.rows.remove(path);
        Ok(())
    }

    fn list(
        &mut self,
        path: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StorageError> {
        assert!(!path.ends_with('/'), "{path}");
        let prefix = format!("{path}/");
        let mut names: Vec<String> = Vec::new();
        for row in self.rows.keys().filter_map(|row| row.strip_prefix(&prefix)) {
            names.push(match row.split_once('/') {
                Some((directory, _)) => format!("{directory}/"),
                None => row.to_owned(),
            });
        }
        names.sort();
        names.dedup();
        names.retain(|name| after.is_none_or(|after| name.as_str() > after));
        let more = names.len() > limit;
        names.truncate(limit);
        Ok(ListPage { names, more })
    }
}

/// A mount, and a clock that moves a second with each request.
struct Mount {
    rows: Rows,
    now_ms: u64,
}

impl Mount {
    fn new() -> Self {
        Self { rows: Rows::default(), now_ms: START_MS }
    }

    fn call_raw(
        &mut self,
        operation: Operation,
        path: &str,
        body: &[u8],
        query: &[(&str, &str)],
    ) -> Result<Response, EngineError> {
        let mut unique = [7; 16];
        unique[..8].copy_from_slice(&self.now_ms.to_be_bytes());
        let request = Request {
            operation,
            path: path.to_owned(),
            body: Bytes::copy_from_slice(body),
            query: query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            now_ms: self.now_ms,
            unique,
        };
        self.now_ms += 1000;
        let mut rows = self.rows.clone();
        let answer = Kv::new()
            .handle(&request, &mut rows)
            .now_or_never()
            .expect("the engine waits for nothing");
        if answer.is_ok() {
            self.rows = rows;
        }
        answer
    }

    fn call(
        &mut self,
        operation: Operation,
        path: &str,
        body: &Value,
    ) -> Result<Value, EngineError> {
        let response = self.call_raw(operation, path, body.to_string().as_bytes(), &[])?;
        Ok(response.data.map_or(Value::Null, |data| serde_json::from_slice(&data).unwrap()))
    }

    fn write(&mut self, path: &str, body: &Value) -> Result<Value, EngineError> {
        self.call(Operation::Write, path, body)
    }

    fn put(&mut self, name: &str, value: u64) -> Result<Value, EngineError> {
        self.write(&format!("data/{name}"), &json!({"data": {"value": value}}))
    }

    fn get(&mut self, path: &str, query: &[(&str, &str)]) -> Result<Value, EngineError> {
        let response = self.call_raw(Operation::Read, path, b"", query)?;
        Ok(serde_json::from_slice(&response.data.unwrap()).unwrap())
    }

    fn value(&mut self, name: &str, version: &str) -> Result<u64, ErrorCode> {
        let answer = self.get(&format!("data/{name}"), &[("version", version)]);
        answer.map(|v| v["data"]["value"].as_u64().unwrap()).map_err(|error| error.code)
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, EngineError>) -> ErrorCode {
    answer.unwrap_err().code
}

#[test]
fn a_secret_is_written_and_read() {
    let mut mount = Mount::new();
    let written = mount.put("app", 1).unwrap();
    let expected = json!({
        "created_time": "2018-03-22T02:24:26.945Z",
        "custom_metadata": null,
        "deletion_time": "",
        "destroyed": false,
        "version": 1,
    });
    assert_eq!(written, expected);
    let read = mount.get("data/app", &[]).unwrap();
    assert_eq!(read, json!({"data": {"value": 1}, "metadata": expected}));
}

#[test]
fn data_comes_back_byte_for_byte() {
    let mut mount = Mount::new();
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
    let mut mount = Mount::new();
    mount.put("a/b/c", 1).unwrap();
    let request = Request {
        operation: Operation::Read,
        path: "data/a/b/c".into(),
        body: Bytes::new(),
        query: BTreeMap::new(),
        now_ms: START_MS,
        unique: [0; 16],
    };
    mount.rows.reads = 0;
    Kv::new().handle(&request, &mut mount.rows).now_or_never().unwrap().unwrap();
    assert_eq!(mount.rows.reads, 2);
}

#[test]
fn check_and_set_compares_with_the_current_version() {
    let mut mount = Mount::new();
    let mut cas = |cas: Value| {
        mount.write("data/app", &json!({"data": {"value": 1}, "options": {"cas": cas}}))
    };
    assert_eq!(cas(json!(0)).unwrap()["version"], 1);
    for wrong in [json!(0), json!(2), json!("0")] {
        let error = cas(wrong).unwrap_err();
        assert_eq!(error.code, ErrorCode::CasMismatch);
        assert_eq!(error.message, "check-and-set parameter did not match the current version");
    }
    assert_eq!(cas(json!("1")).unwrap()["version"], 2);
    for bad in [json!(null), json!(-1), json!(1.5), json!(true), json!([2]), json!("x")] {
        assert_eq!(code(cas(bad)), ErrorCode::InvalidRequest);
    }
}

#[test]
fn check_and_set_counts_deleted_versions() {
    let mut mount = Mount::new();
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
    let mut mount = Mount::new();
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
    let mut mount = Mount::new();
    mount.put("app", 1).unwrap();
    mount.call(Operation::Delete, "data/app", &json!({})).unwrap();
    let error = mount.get("data/app", &[]).unwrap_err();
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
    let mut mount = Mount::new();
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
    let mut mount = Mount::new();
    mount.put("app", 1).unwrap();
    mount.put("app", 2).unwrap();
    mount.write("destroy/app", &json!({"versions": ["1"]})).unwrap();
    mount.write("undelete/app", &json!({"versions": [1]})).unwrap();
    let error = mount.get("data/app", &[("version", "1")]).unwrap_err();
    let body: Value = serde_json::from_slice(&error.data.unwrap()).unwrap();
    assert_eq!(body["metadata"]["destroyed"], true);
    assert_eq!(mount.value("app", "2"), Ok(2));
    let objects = mount.rows.rows.keys().filter(|row| row.starts_with("objects/")).count();
    assert_eq!(objects, 1, "the data itself is gone");
}

#[test]
fn only_the_newest_versions_are_kept() {
    let mut mount = Mount::new();
    for value in 1..=12 {
        mount.put("app", value).unwrap();
    }
    assert_eq!(mount.value("app", "2"), Err(ErrorCode::NotFound));
    assert_eq!(mount.value("app", "3"), Ok(3));
    mount.write("metadata/app", &json!({"max_versions": 2})).unwrap();
    mount.put("app", 13).unwrap();
    let metadata = mount.get("metadata/app", &[]).unwrap();
    assert_eq!(metadata["oldest_version"], 12);
    assert_eq!(metadata["current_version"], 13);
    let kept: Vec<_> = metadata["versions"].as_object().unwrap().keys().collect();
    assert_eq!(kept, ["12", "13"]);
    assert_eq!(mount.rows.rows.len(), 3, "a name and two versions");
}

#[test]
fn metadata_tells_all_but_data() {
    let mut mount = Mount::new();
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
        "current_version": 1,
        "custom_metadata": {"owner": "team"},
        "delete_version_after": "3h25m19s",
        "max_versions": 5,
        "oldest_version": 0,
        "updated_time": "2018-03-22T02:24:27.945Z",
        "versions": {"1": {
            "created_time": "2018-03-22T02:24:26.945Z",
            "deletion_time": "",
            "destroyed": false,
        }},
    });
    assert_eq!(mount.get("metadata/app", &[]).unwrap(), expected);
    let read = mount.get("data/app", &[]).unwrap();
    assert_eq!(read["metadata"]["custom_metadata"], json!({"owner": "team"}));
}

#[test]
fn a_version_goes_by_itself_at_its_time() {
    let mut mount = Mount::new();
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
    let mut mount = Mount::new();
    mount.put("app", 1).unwrap();
    mount.put("app", 2).unwrap();
    mount.call(Operation::Delete, "metadata/app", &json!({})).unwrap();
    assert!(mount.rows.rows.is_empty());
    assert_eq!(code(mount.get("metadata/app", &[])), ErrorCode::NotFound);
    assert_eq!(mount.put("app", 3).unwrap()["version"], 1);
    assert_eq!(mount.value("app", "2"), Err(ErrorCode::NotFound));
}

#[test]
fn what_is_not_there_is_deleted_without_an_error() {
    let mut mount = Mount::new();
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
fn names_are_listed_by_directory() {
    let mut mount = Mount::new();
    for name in ["a", "a/b", "a/c/d", "z"] {
        mount.put(name, 1).unwrap();
    }
    let mut list = |path: &str, query: &[(&str, &str)]| {
        let response = mount.call_raw(Operation::List, path, b"", query)?;
        let keys: Value = serde_json::from_slice(&response.data.unwrap()).unwrap();
        Ok::<_, EngineError>((keys["keys"].clone(), response.warnings.len()))
    };
    assert_eq!(list("metadata/", &[]).unwrap(), (json!(["a", "a/", "z"]), 0));
    assert_eq!(list("metadata/a/", &[]).unwrap(), (json!(["b", "c/"]), 0));
    assert_eq!(list("metadata/", &[("limit", "1")]).unwrap(), (json!(["a"]), 1));
    assert_eq!(list("metadata/", &[("after", "a/")]).unwrap(), (json!(["z"]), 0));
    assert_eq!(code(list("metadata/none/", &[])), ErrorCode::NotFound);
    for limit in ["0", "-1", "1e30", "", "100001"] {
        assert_eq!(code(list("metadata/", &[("limit", limit)])), ErrorCode::InvalidRequest);
    }
}

#[test]
fn the_mount_has_settings() {
    let mut mount = Mount::new();
    let expected = json!({"cas_required": false, "delete_version_after": "0s", "max_versions": 0});
    assert_eq!(mount.get("config", &[]).unwrap(), expected);
    mount.write("config", &json!({"max_versions": 3})).unwrap();
    assert_eq!(mount.get("config", &[]).unwrap()["max_versions"], 3);
    let above = json!({"max_versions": VERSIONS_MAX + 1});
    assert_eq!(code(mount.write("config", &above)), ErrorCode::InvalidRequest);
}

#[test]
fn wrong_paths_and_operations_are_told_apart() {
    let mut mount = Mount::new();
    for path in ["app", "data", "dat/app", "config/x", ""] {
        let error = mount.get(path, &[]).unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound, "{path}");
        assert!(error.message.contains("'data/'"), "{path}");
    }
    for (operation, path) in [
        (Operation::List, "data/app/"),
        (Operation::Patch, "data/app"),
        (Operation::Read, "delete/app"),
        (Operation::Delete, "config"),
    ] {
        let answer = mount.call(operation, path, &json!({}));
        assert_eq!(code(answer), ErrorCode::UnsupportedOperation, "{path}");
    }
}

#[test]
fn data_must_be_an_object() {
    let mut mount = Mount::new();
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
    let canary = "canary-5d41402abc4b2a76";
    let fields = [
        ("data/app", "data"),
        ("data/app", "options"),
        ("data/app", "options.cas"),
        ("delete/app", "versions"),
        ("undelete/app", "versions"),
        ("destroy/app", "versions"),
        ("config", "max_versions"),
        ("config", "cas_required"),
        ("config", "delete_version_after"),
        ("metadata/app", "max_versions"),
        ("metadata/app", "cas_required"),
        ("metadata/app", "delete_version_after"),
        ("metadata/app", "custom_metadata"),
    ];
    let huge = format!("1{}", "0".repeat(400));
    let values: Vec<Value> = vec![
        json!(null),
        json!(-1),
        json!(u64::MAX),
        json!(1.5),
        json!(true),
        json!(canary),
        json!([canary]),
        json!([null]),
        json!([[canary]]),
        json!({canary: canary}),
        json!({"cas": {canary: canary}}),
        json!({"k": null}),
        json!(canary.repeat(1000)),
    ];
    for (path, field) in fields {
        let bodies = values.iter().map(|value| match field {
            "options.cas" => json!({"data": {}, "options": {"cas": value}}).to_string(),
            "options" => json!({"data": {}, "options": value}).to_string(),
            _ => json!({field: value}).to_string(),
        });
        let raw = [
            format!("{{\"{field}\":{huge}}}"),
            format!("{{\"{field}\":\"{canary}"),
            format!("{{\"{field}\":{canary}}}"),
            format!("{{\"{field}\":1,\"{field}\":\"{canary}\"}}"),
            format!("[\"{canary}\"]"),
            format!("\"{canary}\""),
        ];
        for body in bodies.chain(raw) {
            let mut mount = Mount::new();
            mount.put("app", 1).unwrap();
            let Err(error) = mount.call_raw(Operation::Write, path, body.as_bytes(), &[]) else {
                continue;
            };
            let fine = matches!(error.code, ErrorCode::InvalidRequest | ErrorCode::CasMismatch);
            assert!(fine, "{path} {body}: {error:?}");
            assert!(!format!("{error:?}").contains("canary"), "{path} {body}: {error:?}");
        }
    }
}

#[test]
fn wrong_query_parameters_are_refused() {
    let mut mount = Mount::new();
    mount.put("app", 1).unwrap();
    for version in ["-1", "x", "", "1.0", "99999999999999999999"] {
        assert_eq!(mount.value("app", version), Err(ErrorCode::InvalidRequest), "{version}");
    }
}

#[test]
fn damaged_records_are_faults_and_never_panic() {
    let mut mount = Mount::new();
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
        }],
    };
    let config = ConfigRecord { max_versions: 1, cas_required: true, delete_version_after_ms: 2 };
    let version = VersionRecord { data: Bytes::from_static(b"{}") };
    assert_eq!(
        hex(&name.encode_to_vec()),
        "0a0faaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1002180120032804300538014006\
         4a060a016b120176520808021003180720 01"
            .replace(' ', "")
    );
    assert_eq!(hex(&config.encode_to_vec()), "080110011802");
    assert_eq!(hex(&version.encode_to_vec()), "0a027b7d");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a mount is to its users, in a few lines.
#[derive(Default)]
struct Model {
    versions: Vec<(u64, bool, bool)>,
}

#[derive(Debug, Clone)]
enum Step {
    Put(u64),
    PutCas(u64, u64),
    Delete,
    DeleteVersion(u64),
    Undelete(u64),
    Destroy(u64),
    Remove,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u64>().prop_map(Step::Put),
        3 => (0_u64..6, any::<u64>()).prop_map(|(cas, value)| Step::PutCas(cas, value)),
        2 => Just(Step::Delete),
        2 => (0_u64..6).prop_map(Step::DeleteVersion),
        2 => (0_u64..6).prop_map(Step::Undelete),
        1 => (0_u64..6).prop_map(Step::Destroy),
        1 => Just(Step::Remove),
    ]
}

impl Model {
    /// Applies the step to the model and to the mount, which must agree on the outcome.
    fn apply(&mut self, mount: &mut Mount, step: &Step) {
        let current = self.versions.len() as u64;
        match step {
            Step::Put(value) => {
                mount.put("x", *value).unwrap();
                self.versions.push((*value, false, false));
            }
            Step::PutCas(cas, value) => {
                let body = json!({"data": {"value": value}, "options": {"cas": cas}});
                assert_eq!(mount.write("data/x", &body).is_ok(), *cas == current);
                if *cas == current {
                    self.versions.push((*value, false, false));
                }
            }
            Step::Delete => {
                mount.call(Operation::Delete, "data/x", &json!({})).unwrap();
                self.versions.last_mut().into_iter().for_each(|v| v.1 = true);
            }
            Step::DeleteVersion(number) => {
                mount.write("delete/x", &json!({"versions": [number]})).unwrap();
                self.version(*number).into_iter().for_each(|v| v.1 = true);
            }
            Step::Undelete(number) => {
                mount.write("undelete/x", &json!({"versions": [number]})).unwrap();
                self.version(*number).into_iter().for_each(|v| v.1 = false);
            }
            Step::Destroy(number) => {
                mount.write("destroy/x", &json!({"versions": [number]})).unwrap();
                self.version(*number).into_iter().for_each(|v| v.2 = true);
            }
            Step::Remove => {
                mount.call(Operation::Delete, "metadata/x", &json!({})).unwrap();
                self.versions.clear();
            }
        }
    }

    fn version(&mut self, number: u64) -> Option<&mut (u64, bool, bool)> {
        let index = usize::try_from(number.checked_sub(1)?).unwrap();
        self.versions.get_mut(index)
    }
}

proptest! {
    #[test]
    fn a_mount_behaves_as_its_model(steps in prop::collection::vec(any_step(), 1..30)) {
        let mut mount = Mount::new();
        mount.write("config", &json!({"max_versions": 100})).unwrap();
        let mut model = Model::default();
        for step in &steps {
            model.apply(&mut mount, step);
            for number in 0..7_u64 {
                let shown = if number == 0 { model.versions.len() as u64 } else { number };
                let expected = model.version(shown).filter(|v| !v.1 && !v.2).map(|v| v.0);
                prop_assert_eq!(mount.value("x", &number.to_string()).ok(), expected);
            }
        }
    }

    #[test]
    fn no_bytes_panic(path in "(data|metadata|delete|destroy|config)(/[a-z]{0,3})?", body: Vec<u8>) {
        for operation in [Operation::Write, Operation::Read, Operation::List, Operation::Delete] {
            let answer = Mount::new().call_raw(operation, &path, &body, &[]);
            prop_assert!(answer.map_err(|e| e.code) .err() != Some(ErrorCode::Internal));
        }
    }

    #[test]
    fn records_come_back(bytes: Vec<u8>) {
        if let Ok(record) = NameRecord::decode(bytes.as_slice()) {
            prop_assert_eq!(NameRecord::decode(record.encode_to_vec().as_slice()), Ok(record));
        }
    }
}
