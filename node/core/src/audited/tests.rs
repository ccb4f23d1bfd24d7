//! Cores on one ledger, each with devices in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use conclave_barrier::ledger::LedgerError;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::*;
use crate::audit::testing::{MemorySink, World};
use crate::audit::{Device, DeviceOptions, Expectation, FaultKind, Filter, Head, verify};
use crate::testing::{Bench, code};
use crate::{
    Core, CoreParts, EngineRegistry, Error, ErrorCode, Operation, Request, Response, Token,
};

/// A node's places: each device has a file in memory.
struct Places {
    world: Arc<World>,
    configured: Vec<WantedDevice>,
    sinks: Mutex<BTreeMap<[u8; 16], Opened>>,
}

type Opened = (MemorySink, Arc<Device>);

impl Places {
    fn sink(&self, path: &str) -> MemorySink {
        let sinks = self.sinks.lock().unwrap();
        let found = sinks.values().find(|(_, device)| device.options().path == path);
        found.map(|(sink, _)| sink.clone()).expect("the device was opened")
    }
}

impl AuditPlaces for Places {
    fn node(&self) -> Option<&str> {
        Some("node-1")
    }

    fn configured(&self) -> Vec<WantedDevice> {
        self.configured.clone()
    }

    fn device(&self, wanted: &WantedDevice, known: Option<Head>) -> Arc<Device> {
        let begin = || {
            let filter = wanted.options.get("filter").map(|text| Filter::parse(text).unwrap());
            let path = wanted.path.clone();
            let options = DeviceOptions { path, filter, ..DeviceOptions::default() };
            let sink = MemorySink::default();
            let own = Box::new(sink.clone());
            (sink, Device::start_unopened(options, own, known, &self.world.ports()))
        };
        self.sinks.lock().unwrap().entry(wanted.id).or_insert_with(begin).1.clone()
    }

    fn probe<'a>(&'a self, wanted: &'a WantedDevice) -> BoxFuture<'a, Result<(), Error>> {
        let good = wanted.kind == "file";
        Box::pin(async move {
            if good { Ok(()) } else { Err(Error::invalid("only files; choose `file`")) }
        })
    }

    fn retain(&self, ids: &[[u8; 16]]) {
        self.sinks.lock().unwrap().retain(|id, _| ids.contains(id));
    }
}

/// One node of the bench's cluster.
struct Node {
    core: Core,
    places: Arc<Places>,
    world: Arc<World>,
}

impl Node {
    /// A node whose configuration names these devices, with their filters.
    fn with(bench: &Bench, devices: &[(&str, Option<&str>)]) -> Self {
        let world = Arc::new(World::default());
        let configured = devices.iter().map(|(path, filter)| {
            let filter = filter.map(|filter| ("filter".to_owned(), filter.to_owned()));
            wanted(path, filter.into_iter().collect())
        });
        let places = Arc::new(Places {
            world: world.clone(),
            configured: configured.collect(),
            sinks: Mutex::default(),
        });
        let core = Core::open(CoreParts {
            barrier: bench.barrier.clone(),
            engines: EngineRegistry::new(vec![
                Arc::new(conclave_engines::Kv::new()),
                Arc::new(conclave_engines::Cubbyhole::new()),
            ]),
            operator: bench.node.clone(),
            audit_places: places.clone(),
            ports: bench.ports.clone(),
        });
        let core = core.unwrap_or_else(|error| panic!("{error}"));
        Self { core, places, world }
    }

    fn send(&self, request: &Request) -> Result<Value, Error> {
        let response = self.world.run(self.core.handle(request))?;
        let part = response.data.or(response.auth);
        Ok(part.map_or(Value::Null, |data| serde_json::from_slice(&data).unwrap()))
    }

    fn call(
        &self,
        bench: &Bench,
        operation: Operation,
        path: &str,
        body: &Value,
    ) -> Result<Value, Error> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(&bench.request(operation, path, &body))
    }

    fn write(&self, bench: &Bench, path: &str, body: &Value) -> Result<Value, Error> {
        self.call(bench, Operation::Write, path, body)
    }

    fn read(&self, bench: &Bench, path: &str) -> Result<Value, Error> {
        self.call(bench, Operation::Read, path, &Value::Null)
    }

    /// The records of requests and answers in a device's log.
    fn records(&self, path: &str) -> Vec<Value> {
        let text = self.places.sink(path).text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["type"] != "device").collect()
    }

    /// What was logged since the last time.
    fn fresh(&self, seen: &mut usize) -> Vec<Value> {
        let records = self.records("file/");
        let fresh = records[*seen..].to_vec();
        *seen = records.len();
        fresh
    }
}

fn wanted(path: &str, options: BTreeMap<String, String>) -> WantedDevice {
    WantedDevice {
        id: WantedDevice::derive_id(path),
        path: path.into(),
        kind: "file".into(),
        description: String::new(),
        local: true,
        options,
    }
}

fn node() -> (Bench, Node) {
    let bench = Bench::new();
    let node = Node::with(&bench, &[("file/", None)]);
    (bench, node)
}

/// A token that may read `secret/data/open` and nothing else.
fn weak_token(bench: &Bench) -> String {
    let policy = json!({"policy": r#"path "secret/data/open" { capabilities = ["read"] }"#});
    bench.write("sys/policies/acl/weak", &policy).unwrap();
    let body = json!({"policies": ["weak"], "no_default_policy": true, "display_name": "anna"});
    let request = bench.request(Operation::Write, "auth/token/create", body.to_string().as_bytes());
    let auth = bench.send(&request).unwrap().auth.unwrap();
    let auth: Value = serde_json::from_slice(&auth).unwrap();
    auth["client_token"].as_str().unwrap().to_owned()
}

fn with_token(bench: &Bench, token: &str, operation: Operation, path: &str) -> Request {
    Request { token: Some(Token::new(token.into())), ..bench.request(operation, path, b"") }
}

#[test]
fn what_is_served_has_a_record_before_and_after() {
    let (bench, node) = node();
    let body = json!({"data": {"password": "canary-1"}});
    node.write(&bench, "secret/data/app", &body).unwrap();
    let [request, response] = &node.records("file/")[..] else { panic!("two records") };
    assert_eq!((&request["type"], &response["type"]), (&json!("request"), &json!("response")));
    for record in [request, response] {
        assert_eq!(record["request"]["path"], "secret/data/app");
        assert_eq!(record["request"]["operation"], "create");
        assert_eq!(record["request"]["mount_type"], "kv");
        assert_eq!(record["request"]["mount_point"], "secret/");
        assert_eq!(record["auth"]["display_name"], "root");
        assert_eq!(record["auth"]["policies"], json!(["root"]));
        let results = &record["auth"]["policy_results"];
        assert_eq!(results["allowed"], true);
        assert_eq!(results["granting_policies"][0]["name"], "root");
        assert_eq!(record["error"], Value::Null);
    }
    assert!(response["response"]["data"]["version"].as_str().unwrap().starts_with("hmac-sha256:"));
    node.read(&bench, "secret/data/app").unwrap();
    let text = node.places.sink("file/").text();
    assert!(!text.contains("canary-1") && !text.contains(&bench.root_token));
}

/// For readers of the log: what a line of the pipeline looks like. Hashes are cut.
#[test]
fn golden_line_of_a_request() {
    let (bench, node) = node();
    node.read(&bench, "secret/config").unwrap();
    let text = node.places.sink("file/").text();
    let line = text.lines().nth(1).unwrap();
    let mut masked = String::new();
    for (number, part) in line.split("hmac-sha256:").enumerate() {
        masked += if number == 0 { part } else { "hmac-sha256:…" };
        masked += if number == 0 { "" } else { &part[64..] };
    }
    let (masked, _) = masked.split_once(",\"seq\":").unwrap();
    assert_eq!(
        masked,
        r#"{"time":"2018-03-22T02:24:26.945Z","type":"request","auth":{"client_token":"hmac-sha256:…","accessor":"hmac-sha256:…","display_name":"root","policies":["root"],"token_policies":["root"],"token_type":"service","token_issue_time":"2018-03-22T02:24:26.945Z","policy_results":{"allowed":true,"granting_policies":[{"name":"root","namespace_id":"root","type":"acl"}]}},"request":{"id":"test","operation":"read","mount_point":"secret/","mount_type":"kv","mount_accessor":"ACCESSOR","mount_class":"secret","client_token":"hmac-sha256:…","client_token_accessor":"hmac-sha256:…","namespace":{"id":"root"},"path":"secret/config"}"#
            .replace("ACCESSOR", bench.read("sys/mounts/secret").unwrap()["accessor"].as_str().unwrap())
    );
}

#[test]
fn what_is_denied_is_logged_with_who_asked_and_not_executed() {
    let (bench, node) = node();
    let (token, before) = (weak_token(&bench), bench.ledger.revision());
    let mut request = with_token(&bench, &token, Operation::Write, "secret/data/closed");
    request.body = json!({"data": {"a": "canary-1"}}).to_string().into();
    assert_eq!(code(node.send(&request)), ErrorCode::PermissionDenied);
    assert_eq!(bench.ledger.revision(), before);
    let [request, response] = &node.records("file/")[..] else { panic!("two records") };
    for record in [request, response] {
        assert_eq!(record["auth"]["display_name"], "token-anna");
        assert_eq!(record["auth"]["policy_results"], json!({"allowed": false}));
        assert!(record["error"].as_str().unwrap().contains("permission denied"));
    }
    node.send(&with_token(&bench, &token, Operation::Read, "secret/data/open")).unwrap_err();
    let records = node.records("file/");
    let granting = &records[2]["auth"]["policy_results"]["granting_policies"];
    assert_eq!(granting[0]["name"], "weak");
    assert!(!node.places.sink("file/").text().contains("canary-1"));
}

#[test]
fn whoever_has_no_token_or_a_bad_one_is_logged_too() {
    let (bench, node) = node();
    let anonymous = Request { token: None, ..bench.request(Operation::Read, "secret/data/a", b"") };
    assert_eq!(code(node.send(&anonymous)), ErrorCode::PermissionDenied);
    let bad = with_token(&bench, "hvs.canary", Operation::Read, "nowhere/at/all");
    assert_eq!(code(node.send(&bad)), ErrorCode::PermissionDenied);
    let records = node.records("file/");
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|record| record["auth"].is_null() && !record["error"].is_null()));
    assert_eq!(records[0]["request"].get("client_token"), None);
    assert!(records[2]["request"]["client_token"].as_str().unwrap().starts_with("hmac-sha256:"));
    assert!(!node.places.sink("file/").text().contains("canary"));
}

/// Whatever the end of a request with a canonical path is, it has both records, in this order, and
/// the answer's says why it failed.
#[test]
fn every_canonical_path_has_both_records_whatever_its_end() {
    let (bench, node) = node();
    let mut seen = 0;
    let mut requests = Vec::new();
    for operation in [Operation::Read, Operation::Write, Operation::List, Operation::Delete] {
        for path in
            ["secret/data/a", "secret/other", "sys/mounts", "sys/audit", "nowhere", "sys/none"]
        {
            requests.push(bench.request(operation, path, b"{}"));
        }
    }
    let other = bench.request(Operation::Read, "secret/data/a", b"");
    requests.push(Request { namespace: "team/".into(), ..other });
    requests.push(bench.request(Operation::Write, "secret/data/a", &vec![b'x'; 2 << 20]));
    for request in requests {
        let answer = node.send(&request);
        let what = format!("{} {}", request.operation.name(), request.path);
        let records = node.fresh(&mut seen);
        let kinds: Vec<_> = records.iter().map(|record| &record["type"]).collect();
        assert_eq!(kinds, ["request", "response"], "{what}");
        assert_eq!(records[1]["error"].is_null(), answer.is_ok(), "{what}");
    }
    let unclean = bench.request(Operation::Read, "secret//data", b"");
    assert_eq!(code(node.send(&unclean)), ErrorCode::InvalidRequest);
    assert_eq!(node.fresh(&mut seen), Vec::<Value>::new(), "it is no path of ours");
}

#[test]
fn without_a_quorum_the_refusal_is_logged() {
    let (bench, node) = node();
    bench.ledger.faults.lock().unwrap().barrier = Some(LedgerError::Unavailable);
    assert_eq!(code(node.read(&bench, "secret/config")), ErrorCode::Unavailable);
    let records = node.records("file/");
    assert_eq!(records.len(), 2);
    assert!(records[1]["error"].as_str().unwrap().contains("no quorum"));
}

#[test]
fn where_no_device_takes_the_record_nothing_is_executed() {
    let (bench, node) = node();
    node.read(&bench, "secret/config").unwrap();
    let (sink, before) = (node.places.sink("file/"), bench.ledger.revision());
    sink.change(|memory| memory.space = 0);
    let body = json!({"data": {"a": "1"}});
    for _ in 0..3 {
        let refused = node.write(&bench, "secret/data/a", &body).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unavailable);
        assert!(refused.message.contains("no audit device takes records"));
    }
    assert_eq!(code(node.read(&bench, "secret/config")), ErrorCode::Unavailable);
    assert_eq!(bench.ledger.revision(), before, "nothing was committed");
    assert!(node.core.audit_blocked_for().is_some());
    sink.change(|memory| memory.space = usize::MAX);
    node.world.sleep(std::time::Duration::from_secs(2));
    assert_eq!(node.core.audit_blocked_for(), None);
    assert_eq!(code(node.read(&bench, "secret/data/a")), ErrorCode::NotFound);
    node.write(&bench, "secret/data/a", &body).unwrap();
}

#[test]
fn an_answer_without_a_record_is_withheld() {
    let (bench, node) = node();
    node.read(&bench, "secret/config").unwrap();
    let sink = node.places.sink("file/");
    let full = sink.clone();
    let fill = move || full.change(|memory| memory.space = 0);
    *bench.ledger.before_commit.lock().unwrap() = Some(Box::new(fill));
    let withheld = node.write(&bench, "secret/data/a", &json!({"data": {"a": "1"}})).unwrap_err();
    assert_eq!(withheld.code, ErrorCode::OutcomeUnknown);
    *bench.ledger.before_commit.lock().unwrap() = None;
    sink.change(|memory| memory.space = usize::MAX);
    node.world.sleep(std::time::Duration::from_secs(2));
    node.read(&bench, "secret/data/a").unwrap();
}

#[test]
fn a_request_that_runs_again_is_logged_once() {
    let (bench, node) = node();
    node.write(&bench, "secret/data/a", &json!({"data": {"a": "1"}})).unwrap();
    let (rival, mut lost) = (bench.rival(), 0);
    let mut put = bench.request(Operation::Write, "secret/data/a", b"{\"data\":{\"b\":\"2\"}}");
    put.id = "rival".into();
    let race = move || {
        if lost < 2 {
            lost += 1;
            // The rival's own commit passes here, too.
            let _ = crate::testing::finish(rival.handle(&put));
        }
    };
    *bench.ledger.before_commit.lock().unwrap() = Some(Box::new(race));
    let mut seen = node.records("file/").len();
    node.write(&bench, "secret/data/a", &json!({"data": {"c": "3"}})).unwrap();
    let kinds: Vec<_> =
        node.fresh(&mut seen).into_iter().map(|mut record| record["type"].take()).collect();
    assert_eq!(kinds, ["request", "response"]);
}

/// Its request before a byte moves, its answer when the last one has moved, or none will.
#[test]
fn a_streaming_route_is_logged_at_its_beginning_and_at_its_end() {
    let (bench, node) = node();
    // The device is opened by the first request.
    node.read(&bench, "secret/config").unwrap();
    let request = bench.request(Operation::Read, "sys/storage/raft/snapshot", b"");
    let kinds = |records: &[Value]| {
        let kinds = records.iter().map(|record| record["type"].as_str().unwrap().to_owned());
        kinds.collect::<Vec<_>>()
    };
    for (whole, failed) in [(true, false), (false, true)] {
        let before = node.records("file/").len();
        let admitted = node.world.run(node.core.admit(&request));
        let admitted = admitted.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(kinds(&node.records("file/")[before..]), ["request"]);
        let answer = match whole {
            true => Ok(Response::empty()),
            false => Err(Error::new(ErrorCode::Unavailable, "it broke off")),
        };
        let told = node.world.run(admitted.conclude(&request, answer));
        assert_eq!(told.is_err(), failed);
        let records = node.records("file/");
        assert_eq!(kinds(&records[before..]), ["request", "response"]);
        assert_eq!(!records[before + 1]["error"].is_null(), failed);
    }
    let before = node.records("file/").len();
    let anonymous = Request { token: None, ..request };
    assert!(node.world.run(node.core.admit(&anonymous)).is_err());
    let records = node.records("file/");
    assert_eq!(kinds(&records[before..]), ["request", "response"]);
    assert!(!records[before + 1]["error"].is_null());
}

#[test]
fn devices_enabled_by_api_log_on_every_node_from_the_next_request_on() {
    let bench = Bench::new();
    let (leader, follower) = (Node::with(&bench, &[]), Node::with(&bench, &[]));
    follower.read(&bench, "secret/config").unwrap();
    let device = json!({"type": "file", "description": "d", "options": {"file_path": "/x"}});
    leader.write(&bench, "sys/audit/file", &device).unwrap();
    follower.read(&bench, "secret/config").unwrap();
    assert_eq!(follower.records("file/").len(), 2);
    leader.read(&bench, "secret/config").unwrap();
    let listed = leader.read(&bench, "sys/audit").unwrap();
    let shown = json!({"type": "file", "description": "d", "options": {"file_path": "/x"}, "path": "file/", "local": false});
    assert_eq!(listed, json!({"file/": shown}));
    let again = leader.write(&bench, "sys/audit/file", &device).unwrap_err();
    assert!(again.message.contains("path already in use"));
    let pipe = leader.write(&bench, "sys/audit/pipe", &json!({"type": "pipe"}));
    assert_eq!(code(pipe), ErrorCode::InvalidRequest);

    leader.call(&bench, Operation::Delete, "sys/audit/file", &Value::Null).unwrap();
    follower.read(&bench, "secret/config").unwrap();
    assert!(follower.places.sinks.lock().unwrap().is_empty(), "the device has ended");
    assert_eq!(leader.read(&bench, "sys/audit").unwrap(), json!({}));
    let none = leader.call(&bench, Operation::Delete, "sys/audit/none", &Value::Null);
    assert_eq!(none.unwrap(), Value::Null, "no error where there is none");
}

/// A value that somebody holds can be found in every node's log, and a token that was handed out.
#[test]
fn audit_hash_says_what_values_look_like_in_the_log() {
    let bench = Bench::new();
    let (leader, follower) = (Node::with(&bench, &[]), Node::with(&bench, &[]));
    let device = json!({"type": "file"});
    leader.write(&bench, "sys/audit/file", &device).unwrap();
    let made = leader.write(&bench, "auth/token/create", &json!({})).unwrap();
    let hash_of = |node: &Node, input: &Value| {
        let hash = node.write(&bench, "sys/audit-hash/file", &json!({"input": input})).unwrap();
        hash["hash"].clone()
    };
    let response = &leader.records("file/")[1];
    for field in ["client_token", "accessor"] {
        let hash = hash_of(&follower, &made[field]);
        assert_eq!(response["response"]["auth"][field], hash);
        assert_eq!(hash_of(&leader, &made[field]), hash);
    }
    let root = hash_of(&leader, &json!(bench.root_token));
    assert_eq!(response["auth"]["client_token"], root);
    let unknown = leader.write(&bench, "sys/audit-hash/none", &json!({"input": "a"}));
    assert_eq!(code(unknown), ErrorCode::InvalidRequest);
    assert_eq!(
        code(leader.write(&bench, "sys/audit-hash/file", &json!({}))),
        ErrorCode::InvalidRequest
    );

    leader.call(&bench, Operation::Delete, "sys/audit/file", &Value::Null).unwrap();
    leader.write(&bench, "sys/audit/file", &device).unwrap();
    assert_ne!(hash_of(&leader, &json!(bench.root_token)), root, "another salt");
}

#[test]
fn filters_choose_the_device_and_what_none_wants_is_served() {
    let bench = Bench::new();
    let devices = [("kv/", Some("mount_type == kv")), ("sys/", Some("mount_type == system"))];
    let node = Node::with(&bench, &devices);
    node.read(&bench, "secret/config").unwrap();
    node.read(&bench, "sys/mounts").unwrap();
    node.write(&bench, "auth/token/lookup-self", &json!({})).unwrap();
    assert_eq!(node.records("kv/").len(), 2);
    assert_eq!(node.records("sys/").len(), 2);
    node.places.sink("kv/").change(|memory| memory.space = 0);
    assert_eq!(code(node.read(&bench, "secret/config")), ErrorCode::Unavailable);
    node.read(&bench, "sys/mounts").unwrap();
}

#[test]
fn a_device_of_the_configuration_is_no_apis_to_change() {
    let (bench, node) = node();
    let enable = node.write(&bench, "sys/audit/file", &json!({"type": "file"}));
    assert_eq!(code(enable), ErrorCode::InvalidRequest);
    let disable = node.call(&bench, Operation::Delete, "sys/audit/file", &Value::Null);
    assert_eq!(code(disable), ErrorCode::InvalidRequest);
    let listed = node.read(&bench, "sys/audit").unwrap();
    assert_eq!(listed["file/"]["local"], true);
    node.write(&bench, "sys/audit-hash/file", &json!({"input": "a"})).unwrap();
}

#[test]
fn headers_are_named_one_by_one() {
    let (bench, node) = node();
    let at = |name: &str| ["sys/config/auditing/request-headers", name].concat();
    assert_eq!(node.read(&bench, &at("")).unwrap(), json!({"headers": {}}));
    node.write(&bench, &at("/X-Team"), &json!({"hmac": "true"})).unwrap();
    node.write(&bench, &at("/x-build"), &json!({})).unwrap();
    assert_eq!(node.read(&bench, &at("/x-TEAM")).unwrap(), json!({"x-team": {"hmac": true}}));
    let all = json!({"headers": {"x-team": {"hmac": true}, "x-build": {"hmac": false}}});
    assert_eq!(node.read(&bench, &at("")).unwrap(), all);
    node.call(&bench, Operation::Delete, &at("/x-team"), &Value::Null).unwrap();
    assert_eq!(code(node.read(&bench, &at("/x-team"))), ErrorCode::InvalidRequest);
    for name in ["/X-Vault-Token", "/authorization", "/a b"] {
        assert_eq!(
            code(node.write(&bench, &at(name), &json!({}))),
            ErrorCode::InvalidRequest,
            "{name}"
        );
    }
}

#[test]
fn headers_are_logged_as_their_rules_say_and_a_forwarded_request_says_whence() {
    let (bench, node) = node();
    let at = |name: &str| ["sys/config/auditing/request-headers/", name].concat();
    node.write(&bench, &at("x-team"), &json!({})).unwrap();
    node.write(&bench, &at("x-secret"), &json!({"hmac": true})).unwrap();
    node.read(&bench, "secret/config").unwrap();
    assert_eq!(node.core.audited_headers(), ["x-secret", "x-team"]);
    let mut request = bench.request(Operation::Read, "secret/config", b"");
    request.forwarded_from = "node-2".into();
    for (name, value) in [("x-team", "blue"), ("x-secret", "canary-1"), ("x-other", "canary-1")] {
        request.headers.insert(name.into(), vec![value.into()]);
    }
    node.send(&request).unwrap();
    for record in node.records("file/").iter().rev().take(2) {
        let headers = &record["request"]["headers"];
        assert_eq!(headers["x-team"], json!(["blue"]));
        assert!(headers["x-secret"][0].as_str().unwrap().starts_with("hmac-sha256:"));
        assert_eq!(headers["x-other"], Value::Null);
        assert_eq!(record["forwarded_from"], "node-2");
    }
    assert!(!node.places.sink("file/").text().contains("canary-1"));
}

/// THREATS row 67: neither a token nor an accessor is in the log, wherever it stands.
#[test]
fn row_067_tokens_and_accessors_are_in_no_line() {
    let (bench, node) = node();
    let made = node.write(&bench, "auth/token/create", &json!({"display_name": "x"})).unwrap();
    let (token, accessor) =
        (made["client_token"].as_str().unwrap(), made["accessor"].as_str().unwrap());
    let bodies = [
        ("auth/token/lookup", json!({"token": token})),
        ("auth/token/lookup-accessor", json!({"accessor": accessor})),
        ("auth/token/renew", json!({"token": token})),
        ("sys/capabilities", json!({"token": token, "paths": ["a"]})),
        ("auth/token/revoke-accessor", json!({"accessor": accessor})),
    ];
    for (path, body) in &bodies {
        let answer = node.write(&bench, path, body);
        assert!(answer.is_ok(), "{path}");
    }
    node.send(&with_token(&bench, token, Operation::Read, "auth/token/lookup-self")).unwrap_err();
    let text = node.places.sink("file/").text();
    assert_eq!(node.records("file/").len(), 2 * (bodies.len() + 2));
    assert!(!text.contains(token) && !text.contains(accessor) && !text.contains(&bench.root_token));
}

/// THREATS row 71: a malformed value is in no line, nor is the error that it caused.
#[test]
fn row_071_parse_errors_keep_the_value_to_themselves() {
    let (bench, node) = node();
    for body in [
        r#"{"data":"canary-1"}"#,
        r#"{"options":{"cas":"canary-1"},"data":{}}"#,
        r#"{"data":{"a":"canary-1"}"#,
        r#"["canary-1"]"#,
        r#"canary-1"#,
        r#"{"policy":"path \"canary-1"}"#,
        r#"{"ttl":"canary-1","num_uses":"canary-1"}"#,
    ] {
        for path in ["secret/data/a", "sys/policies/acl/p", "auth/token/create", "sys/audit/p"] {
            let _ = node.send(&bench.request(Operation::Write, path, body.as_bytes()));
        }
    }
    let text = node.places.sink("file/").text();
    assert!(node.records("file/").len() == 7 * 4 * 2 && !text.contains("canary-1"));
}

/// Says what the cluster committed of a node's devices.
fn anchors(node: &Node, bench: &Bench) -> Vec<Value> {
    let read = node.read(bench, "sys/audit-anchors").unwrap();
    read["anchors"].as_array().unwrap().clone()
}

/// Commits where the node's devices are, once they are on its disk.
fn anchor(node: &Node) {
    node.world.sleep(std::time::Duration::from_secs(1));
    let heads = node.core.audit_heads();
    node.world.run(node.core.anchor_audit("node-1", &heads)).unwrap();
}

fn verified(text: &str, anchors: &[Value]) -> Option<FaultKind> {
    let heads = anchors.iter().map(|head| head.as_str().unwrap().parse().unwrap());
    let expectation = Expectation { anchors: heads.collect(), ..Expectation::default() };
    verify(&mut text.as_bytes(), expectation).unwrap().fault.map(|fault| fault.kind)
}

#[test]
fn anchors_tell_a_log_that_was_cut_replaced_or_rolled_back() {
    let (bench, node) = node();
    for _ in 0..3 {
        node.read(&bench, "secret/config").unwrap();
    }
    let before = node.places.sink("file/").text();
    anchor(&node);
    let revision = bench.ledger.revision();
    anchor(&node);
    assert_eq!(bench.ledger.revision(), revision, "what did not change is not committed again");
    node.read(&bench, "secret/config").unwrap();
    anchor(&node);

    let [log] = &anchors(&node, &bench)[..] else { panic!("one log has anchors") };
    assert_eq!((&log["node"], &log["device"]), (&json!("node-1"), &json!("file/")));
    assert!(log["time"].as_str().unwrap().starts_with("2018-03-22T"));
    let heads = log["anchors"].as_array().unwrap();
    assert_eq!(heads.len(), 2);
    let text = node.places.sink("file/").text();
    assert_eq!(verified(&text, heads), None);
    // Cut at its end, or an older copy put back.
    assert_eq!(verified(&before, heads), Some(FaultKind::Missing { from: 8, to: 9 }));
    assert_eq!(verified("", heads), Some(FaultKind::Missing { from: 1, to: 9 }));
    // Written anew, with a chain that is whole by itself.
    let (other_bench, other) = self::node();
    for _ in 0..6 {
        other.read(&other_bench, "sys/mounts").unwrap();
    }
    let forged = other.places.sink("file/").text();
    assert_eq!(verified(&forged, &[]), None);
    assert_eq!(verified(&forged, heads), Some(FaultKind::Rewritten { seq: 7 }));
}

/// A node that starts over an older copy of its log goes on after its anchor, so that the gap shows,
/// and its leader takes no head that is behind.
#[test]
fn a_log_that_was_rolled_back_goes_on_after_its_anchor() {
    let (bench, node) = node();
    node.read(&bench, "secret/config").unwrap();
    let old = node.core.audit_heads();
    node.read(&bench, "secret/config").unwrap();
    anchor(&node);
    if !old.is_empty() {
        let refused = node.world.run(node.core.anchor_audit("node-1", &old)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
    }
    let again = Node::with(&bench, &[("file/", None)]);
    again.read(&bench, "secret/config").unwrap();
    let records = again.places.sink("file/").text();
    let first: Value = serde_json::from_str(records.lines().next().unwrap()).unwrap();
    assert_eq!(first["seq"], 6, "a marker, two requests with two records each, then this one");
    let [log] = &anchors(&again, &bench)[..] else { panic!("one log has anchors") };
    let heads = log["anchors"].as_array().unwrap();
    assert_eq!(verified(&records, heads), None, "what is there follows the anchor");
    let other = Node::with(&bench, &[("other/", None)]);
    other.read(&bench, "secret/config").unwrap();
    let records = other.places.sink("other/").text();
    let first: Value = serde_json::from_str(records.lines().next().unwrap()).unwrap();
    assert_eq!(first["seq"], 1, "another device has another chain");
}
