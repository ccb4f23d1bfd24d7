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
