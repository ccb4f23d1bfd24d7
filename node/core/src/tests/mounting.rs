use serde_json::json;

use crate::testing::{Bench, code, finish};
use crate::{ErrorCode, Operation};

#[test]
fn mounts_come_move_and_go() {
    let bench = Bench::new();
    bench.write("sys/mounts/team/kv", &json!({"type": "kv", "options": {"version": "2"}})).unwrap();
    bench.write("team/kv/data/a", &json!({"data": {"x": 1}})).unwrap();
    assert_eq!(bench.read("sys/mounts").unwrap()["team/kv/"]["type"], "kv");
    bench.write("sys/remount", &json!({"from": "team/kv", "to": "moved"})).unwrap();
    assert_eq!(bench.read("moved/data/a").unwrap()["data"], json!({"x": 1}));
    assert_eq!(code(bench.read("team/kv/data/a")), ErrorCode::NotFound);
    bench.call(Operation::Delete, "sys/mounts/moved", &json!({})).unwrap();
    assert_eq!(code(bench.read("moved/data/a")), ErrorCode::NotFound);
    // What is mounted there next finds nothing of what was.
    bench.write("sys/mounts/moved", &json!({"type": "kv-v2"})).unwrap();
    assert_eq!(code(bench.read("moved/data/a")), ErrorCode::NotFound);
}

/// Clients send the version as a number as well as a text.
#[test]
fn options_may_be_numbers() {
    let bench = Bench::new();
    for (path, version) in [("one", json!(1)), ("two", json!("2"))] {
        let body = json!({"type": "kv", "config": null, "options": {"version": version}});
        bench.write(&format!("sys/mounts/{path}"), &body).unwrap();
    }
    assert_eq!(bench.read("sys/mounts").unwrap()["one/"]["options"]["version"], "1");
    let wrong = json!({"type": "kv", "options": {"version": [1]}});
    assert_eq!(code(bench.write("sys/mounts/three", &wrong)), ErrorCode::InvalidRequest);
}

/// What Vault's Go client sends of every setting that its caller left out, and what it means.
#[test]
fn an_empty_lifetime_is_none_and_system_is_the_default() {
    let bench = Bench::new();
    let config = json!({
        "options": null, "default_lease_ttl": "", "max_lease_ttl": "", "force_no_cache": false,
    });
    let body = json!({"type": "kv", "description": "", "config": config, "options": null});
    bench.write("sys/mounts/kv", &body).unwrap();
    let tune = |default: &str| {
        let tuning = json!({"default_lease_ttl": default, "max_lease_ttl": ""});
        bench.write("sys/mounts/kv/tune", &tuning).unwrap();
        bench.read("sys/mounts/kv/tune").unwrap()["default_lease_ttl"].clone()
    };
    let system = tune("");
    assert_eq!(tune("5m"), json!(300));
    assert_eq!(tune(""), json!(300), "it stays as it is");
    assert_eq!(tune("system"), system);
    for wrong in [json!("soon"), json!(-1), json!(true), json!([])] {
        let outcome = bench.write("sys/mounts/kv/tune", &json!({"default_lease_ttl": wrong}));
        assert_eq!(code(outcome), ErrorCode::InvalidRequest);
    }
}

#[test]
fn a_disabled_mount_leaves_no_row_behind() {
    let bench = Bench::new();
    let before = bench.ledger.row_count();
    bench.write("sys/mounts/kv", &json!({"type": "kv"})).unwrap();
    for number in 0..300 {
        bench.write(&format!("kv/a{}/b{number}", number % 7), &json!({"x": 1})).unwrap();
    }
    bench.call(Operation::Delete, "sys/mounts/kv", &json!({})).unwrap();
    for _ in 0..3 {
        finish(bench.core.maintain()).unwrap();
    }
    assert_eq!(bench.ledger.row_count(), before);
    let settled = bench.ledger.revision();
    finish(bench.core.maintain()).unwrap();
    assert_eq!(bench.ledger.revision(), settled, "nothing is left to do");
}

#[test]
fn a_mount_cannot_stand_in_another_or_in_the_core() {
    let bench = Bench::new();
    let enable = |path: &str| bench.write(&format!("sys/mounts/{path}"), &json!({"type": "kv"}));
    for path in ["secret", "secret/a", "sys", "sys/x", "cubbyhole", "identity/x", "auth"] {
        assert_eq!(code(enable(path)), ErrorCode::InvalidRequest, "{path}");
    }
    enable("a/b").unwrap();
    assert_eq!(code(enable("a")), ErrorCode::InvalidRequest, "it would hide what is below");
    let unknown = bench.write("sys/mounts/x", &json!({"type": "nothing"}));
    assert!(unknown.unwrap_err().message.contains("plugin not found in the catalog: nothing"));
    assert_eq!(code(bench.write("sys/mounts/x", &json!({}))), ErrorCode::InvalidRequest);
}

#[test]
fn settings_are_tuned_and_read_back() {
    let bench = Bench::new();
    let tuning = json!({"default_lease_ttl": "1h", "max_lease_ttl": 7200, "description": "ours"});
    bench.write("sys/mounts/secret/tune", &tuning).unwrap();
    let read = bench.read("sys/mounts/secret/tune").unwrap();
    assert_eq!((&read["default_lease_ttl"], &read["max_lease_ttl"]), (&json!(3600), &json!(7200)));
    assert_eq!(read["description"], "ours");
    let above = bench.write("sys/mounts/secret/tune", &json!({"default_lease_ttl": "3h"}));
    assert_eq!(code(above), ErrorCode::InvalidRequest);
    let other = bench.write("sys/mounts/secret/tune", &json!({"options": {"version": "1"}}));
    assert_eq!(code(other), ErrorCode::InvalidRequest);
}

#[test]
fn every_token_has_a_cubbyhole_of_its_own() {
    let bench = Bench::new();
    bench.write("cubbyhole/a", &json!({"x": 1})).unwrap();
    assert_eq!(bench.read("cubbyhole/a").unwrap(), json!({"x": 1}));
    let keys = bench.call(Operation::List, "cubbyhole", &json!({})).unwrap();
    assert_eq!(keys, json!({"keys": ["a"]}));
}

#[test]
fn policies_are_kept_as_they_were_written() {
    let bench = Bench::new();
    let rules = "# mine\npath \"secret/*\" { capabilities = [\"read\"] }\n";
    bench.write("sys/policies/acl/Mine", &json!({"policy": rules})).unwrap();
    assert_eq!(bench.read("sys/policies/acl/mine").unwrap()["policy"], rules);
    assert_eq!(bench.read("sys/policy/mine").unwrap()["rules"], rules);
    let names = bench.call(Operation::List, "sys/policies/acl", &json!({})).unwrap();
    assert_eq!(names, json!({"keys": ["default", "mine", "root"]}));
    let bad = bench.write(
        "sys/policies/acl/bad",
        &json!({"policy": "path \"x\" { capabilities = [\"fly\"] }"}),
    );
    assert_eq!(code(bad), ErrorCode::InvalidRequest);
    for name in ["root", "default"] {
        let path = format!("sys/policies/acl/{name}");
        assert_eq!(
            code(bench.call(Operation::Delete, &path, &json!({}))),
            ErrorCode::InvalidRequest
        );
    }
    let capabilities =
        bench.write("sys/capabilities-self", &json!({"paths": ["secret/x"]})).unwrap();
    assert_eq!(capabilities, json!({"capabilities": ["root"], "secret/x": ["root"]}));
}
