use serde_json::json;

use crate::testing::{Bench, code, finish};
use crate::{ErrorCode, Operation, Token};

#[test]
fn operators_reach_the_node() {
    let bench = Bench::new();
    bench.write("sys/seal", &json!({})).unwrap();
    bench.write("sys/step-down", &json!({})).unwrap();
    bench.write("sys/storage/raft/remove-peer", &json!({"server_id": "node-2"})).unwrap();
    bench.write("sys/storage/raft/promote", &json!({"server_id": "3"})).unwrap();
    bench.write("sys/storage/raft/demote", &json!({"server_id": "node-3"})).unwrap();
    for route in ["remove-peer", "promote", "demote"] {
        let answer = bench.write(&format!("sys/storage/raft/{route}"), &json!({}));
        assert_eq!(code(answer), ErrorCode::InvalidRequest);
    }
    let expected = ["seal", "step-down", "remove node-2", "promote 3", "demote node-3"];
    assert_eq!(*bench.node.asked.lock().unwrap(), expected);
}

/// An effect on the node is no entry, so a request id must not make it one: a sealed node could not
/// commit it.
#[test]
fn effects_on_the_node_ignore_request_ids() {
    let bench = Bench::new();
    let session = bench.open_session();
    let before = bench.ledger.revision();
    let request = bench.tagged(Operation::Write, "sys/seal", &json!({}), &session, 1);
    bench.send(&request).unwrap();
    assert_eq!(bench.ledger.revision(), before);
}

#[test]
fn members_are_shown_as_clients_expect_them() {
    let bench = Bench::new();
    let configuration = bench.read("sys/storage/raft/configuration").unwrap();
    assert_eq!(configuration["config"]["index"], 9);
    let expected = json!({
        "address": "127.0.0.1:8201",
        "api_addr": "https://127.0.0.1:8200",
        "health": null,
        "leader": true,
        "node_id": "node-1",
        "protocol_version": "3",
        "raft_id": 1,
        "voter": true,
    });
    assert_eq!(configuration["config"]["servers"][0], expected);
}

/// The bytes of a backup never go through a request, so one that was only admitted must not look as
/// if it had been served.
#[test]
fn a_backup_is_admitted_not_served() {
    let bench = Bench::new();
    for (operation, path) in [
        (Operation::Read, "sys/storage/raft/snapshot"),
        (Operation::Write, "sys/storage/raft/snapshot"),
        (Operation::Write, "sys/storage/raft/snapshot-force"),
    ] {
        let mut request = bench.request(operation, path, b"");
        let admitted = finish(bench.core.admit(&request)).unwrap();
        assert_eq!(admitted.revision(), bench.ledger.revision());
        assert_eq!(code(bench.send(&request)), ErrorCode::UnsupportedOperation);
        request.token = Some(Token::new("hvs.another".into()));
        assert_eq!(code(finish(bench.core.admit(&request))), ErrorCode::PermissionDenied);
        request.token = None;
        assert_eq!(code(finish(bench.core.admit(&request))), ErrorCode::PermissionDenied);
    }
    for (operation, path) in [
        (Operation::Delete, "sys/storage/raft/snapshot"),
        (Operation::Read, "sys/storage/raft/snapshot-force"),
        (Operation::Read, "sys/mounts"),
        (Operation::Write, "secret/data/a"),
    ] {
        let request = bench.request(operation, path, b"");
        assert_eq!(code(finish(bench.core.admit(&request))), ErrorCode::UnsupportedOperation);
    }
}

#[test]
fn metrics_are_one_text() {
    assert_eq!(Bench::new().read("sys/metrics").unwrap(), "raft_term 1\n");
}

#[test]
fn clients_find_out_which_kv_a_path_has() {
    let bench = Bench::new();
    for path in ["secret", "secret/app", "secret/data/app"] {
        let mount = bench.read(&format!("sys/internal/ui/mounts/{path}")).unwrap();
        assert_eq!(mount["path"], "secret/");
        assert_eq!(mount["type"], "kv");
        assert_eq!(mount["options"], json!({"version": "2"}));
        assert_eq!(mount["uuid"].as_str().unwrap().len(), 36);
    }
    for path in ["other", "secrets/app"] {
        let error = bench.read(&format!("sys/internal/ui/mounts/{path}")).unwrap_err();
        assert_eq!(error.code, ErrorCode::PermissionDenied);
        assert_eq!(
            error.message,
            format!(
                "preflight capability check returned 403, please ensure client's policies grant \
                 access to path \"{path}/\""
            )
        );
    }
}

#[test]
fn mounts_are_shown() {
    let bench = Bench::new();
    let all = bench.read("sys/mounts").unwrap();
    assert_eq!(all["secret/"]["type"], "kv");
    assert_eq!(bench.read("sys/mounts/secret").unwrap(), all["secret/"]);
    assert_eq!(bench.read("sys/internal/ui/mounts").unwrap()["secret"], all);
    assert_eq!(code(bench.read("sys/mounts/other")), ErrorCode::InvalidRequest);
}

impl Bench {
    fn list(&self, path: &str) -> Result<serde_json::Value, crate::Error> {
        self.call(Operation::List, path, &json!({}))
    }

    /// A token with one rule more than `default`.
    fn with_rule(&self, path: &str, capabilities: &str) -> Token {
        let policy = format!("path \"{path}\" {{ capabilities = [{capabilities}] }}");
        self.write("sys/policies/acl/one-rule", &json!({"policy": policy})).unwrap();
        let body = json!({"policies": ["one-rule"]}).to_string();
        let made = self.request(Operation::Write, "auth/token/create", body.as_bytes());
        let auth = self.send(&made).unwrap().auth.unwrap();
        let auth: serde_json::Value = serde_json::from_slice(&auth).unwrap();
        Token::new(auth["client_token"].as_str().unwrap().to_owned())
    }
}

const READ_X: &str = "path \"secret/data/x\" { capabilities = [\"read\"] }";

#[test]
fn a_policy_may_have_a_name_with_slashes() {
    let bench = Bench::new();
    bench.write("secret/data/x", &json!({"data": {"a": 1}})).unwrap();
    for name in ["team/reader", "team/a/b", "team"] {
        bench.write(&format!("sys/policies/acl/{name}"), &json!({"policy": READ_X})).unwrap();
    }
    let expected = json!(["default", "root", "team", "team/a/b", "team/reader"]);
    assert_eq!(bench.list("sys/policies/acl").unwrap()["keys"], expected);
    assert_eq!(bench.read("sys/policy/team/reader").unwrap()["rules"], READ_X);
    let body = json!({"policies": ["team/reader"], "id": "mine"});
    bench.write("auth/token/create", &body).unwrap();
    let mut request = bench.request(Operation::Read, "secret/data/x", b"");
    request.token = Some(Token::new("mine".into()));
    assert!(bench.send(&request).is_ok());
    bench.call(Operation::Delete, "sys/policies/acl/team/reader", &json!({})).unwrap();
    assert_eq!(code(bench.send(&request)), ErrorCode::PermissionDenied);
    assert!(bench.read("sys/policies/acl/team").is_ok(), "the others stay");
    let deep = format!("sys/policies/acl/{}", vec!["a"; 17].join("/"));
    assert_eq!(code(bench.write(&deep, &json!({"policy": READ_X}))), ErrorCode::InvalidRequest);
}

/// THREATS row 13: what no policy can be called gets into no token.
#[test]
fn row_013_a_token_names_no_policy_that_cannot_be() {
    let bench = Bench::new();
    for name in ["a//b", "/", "../x", "a\u{200b}b", "root\0", &"x".repeat(4000)] {
        let created = bench.write("auth/token/create", &json!({"policies": [name]}));
        assert_eq!(code(created), ErrorCode::InvalidRequest, "{name:?}");
    }
    bench.write("auth/token/create", &json!({"policies": "team/reader, other"})).unwrap();
}

#[test]
fn a_patch_changes_what_it_names_of_a_policy_that_is_there() {
    let bench = Bench::new();
    let path = "sys/policies/acl/p";
    let patch = |body| bench.call(Operation::Patch, path, &body);
    assert_eq!(code(patch(json!({"policy": READ_X}))), ErrorCode::NotFound);
    bench.write(path, &json!({"policy": READ_X})).unwrap();
    patch(json!({"ttl": "1h"})).unwrap();
    let shown = bench.read(path).unwrap();
    assert_eq!((&shown["policy"], &shown["version"]), (&json!(READ_X), &json!(2)));
    assert_eq!(shown["expiration"], "2018-03-22T03:24:26.945Z");
    let other = READ_X.replace("read", "list");
    patch(json!({"policy": other})).unwrap();
    let shown = bench.read(path).unwrap();
    assert_eq!(shown["policy"], other);
    assert!(shown["expiration"].is_string(), "it still ends");
    bench.write(path, &json!({"policy": READ_X})).unwrap();
    assert!(bench.read(path).unwrap()["expiration"].is_null(), "a write is whole");
    assert_eq!(code(patch(json!({"policy": "path {"}))), ErrorCode::InvalidRequest);
}

#[test]
fn a_policy_ends_when_it_was_told_to() {
    let bench = Bench::new();
    bench.write("secret/data/x", &json!({"data": {"a": 1}})).unwrap();
    bench.write("sys/policies/acl/p", &json!({"policy": READ_X, "ttl": "10s"})).unwrap();
    bench.write("auth/token/create", &json!({"policies": ["p"], "id": "mine"})).unwrap();
    let mut request = bench.request(Operation::Read, "secret/data/x", b"");
    request.token = Some(Token::new("mine".into()));
    assert!(bench.send(&request).is_ok());
    bench.ledger.now_ms.fetch_add(10_000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(code(bench.send(&request)), ErrorCode::PermissionDenied);
    let read = bench.send(&bench.request(Operation::Read, "sys/policies/acl/p", b""));
    assert_eq!(code(read), ErrorCode::NotFound);
    for body in [
        json!({"policy": READ_X, "expiration": "2018-01-01T00:00:00Z"}),
        json!({"policy": READ_X, "expiration": "soon"}),
        json!({"policy": READ_X, "ttl": 0}),
        json!({"policy": READ_X, "ttl": 5, "expiration": "2040-01-01T00:00:00Z"}),
    ] {
        assert_eq!(code(bench.write("sys/policies/acl/p", &body)), ErrorCode::InvalidRequest);
    }
}

#[test]
fn a_policy_is_written_only_where_it_is_still_the_one_that_was_seen() {
    let bench = Bench::new();
    let write = |mut body: serde_json::Value| {
        body["policy"] = json!(READ_X);
        bench.write("sys/policies/acl/p", &body)
    };
    assert_eq!(code(write(json!({"cas": 0}))), ErrorCode::CasMismatch);
    assert_eq!(code(write(json!({"cas_required": true}))), ErrorCode::CasMismatch);
    write(json!({"cas": -1, "cas_required": true})).unwrap();
    assert_eq!(code(write(json!({"cas": -1}))), ErrorCode::CasMismatch);
    let error = write(json!({})).unwrap_err();
    assert_eq!(error.message, "check-and-set parameter required for this call");
    let error = write(json!({"cas": 2})).unwrap_err();
    assert_eq!(error.message, "check-and-set parameter did not match the current version");
    write(json!({"cas": "1"})).unwrap();
    write(json!({})).unwrap();
    assert_eq!(code(write(json!({"cas": "x"}))), ErrorCode::InvalidRequest);
}

#[test]
fn every_policy_is_listed_with_its_text() {
    let bench = Bench::new();
    bench.write("sys/policies/acl/a/b", &json!({"policy": READ_X})).unwrap();
    let all = bench.list("sys/policies/detailed/acl").unwrap();
    assert_eq!(all["keys"], json!(["a/b", "default", "root"]));
    let info = &all["key_info"]["a/b"];
    assert_eq!((&info["policy"], &info["version"]), (&json!(READ_X), &json!(1)));
    assert_eq!(all["key_info"]["root"]["policy"], "");
}

/// The same attempt under either name.
#[test]
fn key_ceremonies_have_second_names() {
    let bench = Bench::new();
    bench.write("sys/generate-root-token/attempt", &json!({})).unwrap();
    let nonce = |path: &str| bench.read(path).unwrap()["nonce"].as_str().unwrap().to_owned();
    let first = nonce("sys/generate-root/attempt");
    assert!(!first.is_empty());
    assert_eq!(nonce("sys/generate-root-token/attempt"), first);
    let body = json!({"nonce": first});
    bench.call(Operation::Delete, "sys/generate-root-token/attempt", &body).unwrap();
    assert_eq!(nonce("sys/generate-root/attempt"), "");
    let plan = json!({"secret_shares": 5, "secret_threshold": 3});
    bench.write("sys/rotate/root/init", &plan).unwrap();
    assert_eq!(bench.read("sys/rekey/init").unwrap()["n"], 5);
    let refused = bench.write("sys/rotate/recovery/init", &plan).unwrap_err();
    assert!(refused.message.contains("no recovery shares"), "the other set of shares");
    let request = bench.request(Operation::Read, "sys/rotate/root/backup", b"");
    assert_eq!(code(bench.send(&request)), ErrorCode::InvalidRequest);
}

#[test]
fn what_asks_for_sudo_is_refused_without_it() {
    let bench = Bench::new();
    for (path, operation) in [
        ("sys/config/cors", Operation::Read),
        ("sys/config/cors", Operation::Write),
        ("sys/config/cors", Operation::Delete),
        ("sys/plugins/catalog/secret", Operation::List),
        ("sys/plugins/catalog/secret/kv", Operation::Read),
        ("sys/plugins/catalog/secret/kv", Operation::Write),
        ("sys/plugins/catalog/secret/kv", Operation::Delete),
    ] {
        let mut request = bench.request(operation, path, b"");
        let all = r#""create", "read", "update", "delete", "list""#;
        request.token = Some(bench.with_rule(&format!("{path}*"), all));
        assert_eq!(code(bench.send(&request)), ErrorCode::PermissionDenied, "{path}");
        request.token = None;
        assert_eq!(code(bench.send(&request)), ErrorCode::PermissionDenied, "{path}");
    }
}

#[test]
fn what_asks_for_a_token_is_refused_without_one() {
    let bench = Bench::new();
    for (path, operation) in [
        ("auth/token/tidy", Operation::Write),
        ("sys/ha-status", Operation::Read),
        ("sys/version-history", Operation::List),
        ("sys/internal/ui/resultant-acl", Operation::Read),
        ("sys/internal/ui/version", Operation::Read),
        ("sys/internal/counters/tokens", Operation::Read),
        ("sys/storage/raft/autopilot/state", Operation::Read),
        ("sys/tools/random", Operation::Write),
        ("sys/tools/hash/sha2-256", Operation::Write),
        ("sys/plugins/catalog", Operation::Read),
        ("sys/policies/detailed/acl", Operation::List),
        ("sys/policies/acl/a/b", Operation::Patch),
    ] {
        let mut request = bench.request(operation, path, b"");
        request.token = None;
        assert_eq!(code(bench.send(&request)), ErrorCode::PermissionDenied, "{path}");
    }
}
