use std::collections::BTreeMap;

use super::*;
use crate::audit::testing::check_golden;

/// A record with something in every field; `mark` makes each secret one of its own.
struct Full {
    strings: BTreeMap<&'static str, String>,
    policies: Vec<String>,
    granting: Vec<GrantingPolicy>,
    metadata: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, Vec<String>>,
    rules: HeaderRules,
    warnings: Vec<String>,
    body: Vec<u8>,
    data: Vec<u8>,
}

const HIDDEN: [&str; 8] = [
    "token",
    "accessor",
    "login-token",
    "login-accessor",
    "wrap-token",
    "wrap-accessor",
    "wrapped-accessor",
    "header",
];

impl Full {
    fn new(mark: &str) -> Self {
        let mut rules = HeaderRules::default();
        rules.allow("X-Team", false);
        rules.allow("Cookie", true);
        let headers =
            [("x-team", "blue"), ("cookie", &format!("{mark}header")), ("x-vault-token", mark)];
        Self {
            strings: HIDDEN.iter().map(|name| (*name, format!("{mark}{name}"))).collect(),
            policies: vec!["default".into(), "app".into()],
            granting: vec![GrantingPolicy {
                name: "app".into(),
                namespace_id: "root".into(),
                kind: "acl",
            }],
            metadata: [("username".into(), "anna".into())].into(),
            query: [("version".into(), format!("{mark}query"))].into(),
            headers: headers.map(|(name, value)| (name.into(), vec![value.to_owned()])).into(),
            rules,
            warnings: vec!["a hint".into()],
            body: format!(
                r#"{{"options":{{"cas":3}},"data":{{"password":"{mark}a","deep":[{{"x":["{mark}b",true,null,1.5]}}]}}}}"#
            )
            .into_bytes(),
            data: format!(r#"{{"version":4,"keys":["{mark}c","{mark}d"],"value":"{mark}e"}}"#).into_bytes(),
        }
    }

    fn text(&self, name: &str) -> &str {
        &self.strings[name]
    }

    fn record(&self) -> Record<'_> {
        Record {
            time_ms: 1_521_685_466_945,
            auth: Some(AuthPart {
                client_token: self.text("token"),
                accessor: self.text("accessor"),
                display_name: "userpass-anna",
                policies: &self.policies,
                token_policies: &self.policies,
                metadata: Some(&self.metadata),
                entity_id: "entity",
                token_type: "service",
                token_ttl_s: 3600,
                token_issue_time_ms: 1_521_685_400_000,
                num_uses: 3,
                remaining_uses: 2,
                policy_results: Some(PolicyResults {
                    allowed: true,
                    granting_policies: &self.granting,
                }),
                ..AuthPart::default()
            }),
            request: RequestPart {
                id: "00000000-0000-0000-0000-000000000001",
                client_id: "entity",
                operation: "list",
                mount: MountPart {
                    point: "secret/",
                    kind: "kv",
                    accessor: "kv_1a2b3c4d",
                    class: "secret",
                    ..MountPart::default()
                },
                client_token: self.text("token"),
                client_token_accessor: self.text("accessor"),
                namespace: NamespacePart { id: "root", path: "" },
                path: "secret/data/app",
                body: &self.body,
                query: Some(&self.query),
                remote_address: "192.0.2.7",
                remote_port: 40_000,
                wrap_ttl_s: 60,
                headers: Some(&self.headers),
                header_rules: Some(&self.rules),
                client_certificate_serial_number: "17",
            },
            error: "",
            forwarded_from: "node-2",
        }
    }

    fn response(&self) -> ResponsePart<'_> {
        ResponsePart {
            auth: Some(AuthPart {
                client_token: self.text("login-token"),
                accessor: self.text("login-accessor"),
                ..AuthPart::default()
            }),
            data: &self.data,
            lease_id: "database/creds/app/1",
            warnings: &self.warnings,
            redirect: "",
            wrap: Some(WrapPart {
                ttl_s: 60,
                token: self.text("wrap-token"),
                accessor: self.text("wrap-accessor"),
                creation_time_ms: 1_521_685_466_945,
                creation_path: "secret/data/app",
                wrapped_accessor: self.text("wrapped-accessor"),
            }),
        }
    }
}

fn written(full: &Full, options: DeviceOptions) -> String {
    let (world, sink) = (Arc::new(World::default()), MemorySink::default());
    let audit = audit(&world, &sink, options);
    world.run(async {
        audit.request(&full.record()).await.unwrap();
        audit.response(&full.record(), &full.response()).await.unwrap();
    });
    sink.text()
}

/// For ever: people's tools read these lines.
#[test]
fn golden_lines() {
    let text = written(&Full::new("!"), options("file/"));
    check_golden("lines.txt", &text);
}

#[test]
fn row_067_no_canary_is_in_any_line() {
    const CANARY: &str = "canary-4711-";
    let full = Full::new(CANARY);
    for elide_list_responses in [false, true] {
        let options = DeviceOptions { elide_list_responses, ..options("file/") };
        let text = written(&full, options);
        assert!(!text.contains(CANARY), "{text}");
        assert!(records(&text)[0]["auth"]["accessor"].as_str().unwrap().starts_with("hmac-"));
    }
    let text = written(&full, DeviceOptions { hmac_accessor: false, ..options("file/") });
    let record = &records(&text)[0];
    assert_eq!(record["request"]["client_token_accessor"], format!("{CANARY}accessor"));
    assert!(!text.contains(&format!("{CANARY}token")));
}

#[test]
fn row_068_a_raw_device_leaks_on_no_other() {
    let full = Full::new("canary");
    let world = Arc::new(World::default());
    let (raw, hashed) = (MemorySink::default(), MemorySink::default());
    let raw_options = DeviceOptions { danger_log_raw: true, ..options("raw/") };
    let devices = [(&raw, raw_options), (&hashed, options("file/"))];
    let devices = devices.map(|(sink, options)| (sink.start(options, &world), key()));
    let audit = Audit::new(devices.into(), world.ports());
    world.run(async {
        audit.request(&full.record()).await.unwrap();
        audit.response(&full.record(), &full.response()).await.unwrap();
    });
    world.sleep(std::time::Duration::from_secs(1));
    assert!(records(&raw.text())[0]["request"]["data"]["data"]["password"] == "canarya");
    assert_eq!(records(&hashed.text()).len(), 2);
    assert!(!hashed.text().contains("canary"));
}

#[test]
fn row_071_a_body_that_is_no_json_is_one_hash() {
    let mut full = Full::new("canary");
    for body in ["{\"password\": canary}", "canary", "{\"a\":\"canary\"", "[\"canary\"]}"] {
        full.body = body.into();
        full.data = body.into();
        let text = written(&full, options("file/"));
        assert!(!text.contains("canary"), "{text}");
        let record = &records(&text)[1];
        assert_eq!(record["request"]["data_form"], "not JSON");
        assert_eq!(record["response"]["data"]["body"], key().hash(body.as_bytes()));
    }
}

#[test]
fn what_a_mount_names_stays_readable() {
    let full = Full::new("!");
    let readable = ["value".to_owned(), "options".to_owned(), "version".to_owned()];
    let mut record = full.record();
    record.request.mount.readable_request_keys = &readable;
    record.request.mount.readable_response_keys = &readable;
    let (world, sink) = (Arc::new(World::default()), MemorySink::default());
    let audit = audit(&world, &sink, options("file/"));
    world.run(audit.response(&record, &full.response())).unwrap();
    let line = &records(&sink.text())[0];
    assert_eq!(line["response"]["data"]["value"], "!e");
    assert_eq!(line["response"]["data"]["version"], 4);
    assert_eq!(line["request"]["query"]["version"], "!query");
    assert_eq!(line["request"]["data"]["options"]["cas"], key().hash(b"3"));
}

#[test]
fn options_change_what_is_readable() {
    let full = Full::new("!");
    let options = DeviceOptions {
        hash_paths: true,
        elide_list_responses: true,
        prefix: "@cee: ".into(),
        ..options("file/")
    };
    let text = written(&full, options);
    let lines: Vec<_> = text.lines().map(|line| line.strip_prefix("@cee: ").unwrap()).collect();
    let line: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(line["request"]["path"], key().hash(b"secret/data/app"));
    assert_eq!(line["response"]["wrap_info"]["creation_path"], line["request"]["path"]);
    assert_eq!(line["response"]["data"]["keys"], 2);
    assert!(!text.contains("secret/"));
    let prefix = Prefix::Exactly("@cee: ".into());
    for (prefix, whole) in [(prefix, true), (Prefix::Any, true), (Prefix::default(), false)] {
        let expectation = Expectation { prefix, from_start: true, ..Expectation::default() };
        let report = verify(&mut text.as_bytes(), expectation).unwrap();
        assert_eq!(report.fault.is_none(), whole);
    }
}

#[test]
fn a_line_that_would_be_too_long_has_one_hash_for_each_body() {
    let mut full = Full::new("!");
    full.body = format!("{{\"a\":[{}1]}}", "1,".repeat(100)).into_bytes();
    let (world, sink) = (Arc::new(World::default()), MemorySink::default());
    sink.change(|memory| memory.line_bytes_max = 4096);
    let device = audit(&world, &sink, options("file/"));
    world.run(device.request(&full.record())).unwrap();
    let record = &records(&sink.text())[0];
    assert_eq!(record["request"]["data"]["body"], key().hash(&full.body));
    assert_eq!(record["request"]["data_form"], "too long for one line");
    let path = "x".repeat(5000);
    let mut long = full.record();
    long.request.path = &path;
    assert_eq!(world.run(device.request(&long)), Err(Blocked), "it could not be logged");
}

#[test]
fn an_error_is_told_and_bounded() {
    let (world, sink) = (Arc::new(World::default()), MemorySink::default());
    let audit = audit(&world, &sink, options("file/"));
    let error = "permission denied".repeat(1000);
    let record = Record { error: &error, ..record("1") };
    world.run(audit.response(&record, &ResponsePart::default())).unwrap();
    let line = &records(&sink.text())[0];
    assert_eq!(line["type"], "response");
    assert_eq!(line["error"].as_str().unwrap().len(), 4096);
}

#[test]
fn a_person_finds_a_value_by_its_hash() {
    let (world, sink) = (Arc::new(World::default()), MemorySink::default());
    let audit = audit(&world, &sink, options("file/"));
    let record = Record {
        request: RequestPart { body: b"{\"a\":\"x\",\"b\":7}", ..record("1").request },
        ..record("1")
    };
    world.run(audit.request(&record)).unwrap();
    let data = &records(&sink.text())[0]["request"]["data"];
    for path in ["file/", "file"] {
        assert_eq!(data["a"], audit.hash(path, b"x").unwrap());
        assert_eq!(data["b"], audit.hash(path, b"7").unwrap());
    }
    assert_eq!(audit.hash("other", b"x"), Err(UnknownDevice));
}
