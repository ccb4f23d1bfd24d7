use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::testing::{Bench, code, finish};
use crate::{Error, ErrorCode, Operation, Response, Token};

impl Bench {
    /// A request with this token in place of the root token.
    pub(super) fn as_token(
        &self,
        token: &str,
        operation: Operation,
        path: &str,
        body: &Value,
    ) -> Result<Response, Error> {
        let mut request = self.request(operation, path, body.to_string().as_bytes());
        request.token = Some(Token::new(token.to_owned()));
        if operation.lists() || operation == Operation::Read {
            request.body = bytes::Bytes::new();
        }
        self.send(&request)
    }

    /// The `auth` of a token made by this one.
    pub(super) fn make(&self, token: &str, body: &Value) -> Value {
        let made = self.as_token(token, Operation::Write, "auth/token/create", body).unwrap();
        serde_json::from_slice(&made.auth.unwrap()).unwrap()
    }

    pub(super) fn root(&self) -> String {
        self.root_token.clone()
    }

    pub(super) fn lives(&self, token: &str) -> bool {
        self.as_token(token, Operation::Read, "auth/token/lookup-self", &json!({})).is_ok()
    }

    pub(super) fn pass(&self, seconds: u64) {
        self.ledger.now_ms.fetch_add(seconds * 1000, Ordering::Relaxed);
    }
}

pub(super) fn text(auth: &Value) -> String {
    auth["client_token"].as_str().unwrap().to_owned()
}

#[test]
fn a_child_has_what_it_was_given_and_no_more() {
    let bench = Bench::new();
    bench
        .write(
            "sys/policies/acl/reader",
            &json!({"policy": "path \"secret/data/a\" { capabilities = [\"read\"] }"}),
        )
        .unwrap();
    bench.write("secret/data/a", &json!({"data": {"x": 1}})).unwrap();
    let child = bench.make(&bench.root(), &json!({"policies": ["reader"], "ttl": "1h"}));
    assert_eq!(child["policies"], json!(["default", "reader"]));
    assert_eq!((&child["lease_duration"], &child["orphan"]), (&json!(3600), &json!(false)));
    let child = text(&child);
    let read = |path| bench.as_token(&child, Operation::Read, path, &json!({}));
    assert!(read("secret/data/a").is_ok());
    assert_eq!(code(read("secret/data/b")), ErrorCode::PermissionDenied);
    assert_eq!(code(read("nowhere/x")), ErrorCode::PermissionDenied, "it may not know");
    let write = |body| bench.as_token(&child, Operation::Write, "secret/data/a", &body);
    assert_eq!(code(write(json!({"data": {}}))), ErrorCode::PermissionDenied);
    // It may make none, having no rule for that.
    let more = bench.as_token(&child, Operation::Write, "auth/token/create", &json!({}));
    assert_eq!(code(more), ErrorCode::PermissionDenied);
}

#[test]
fn a_revoked_tree_is_gone_at_once() {
    let bench = Bench::new();
    let top = text(&bench.make(&bench.root(), &json!({"policies": ["root"], "ttl": "1h"})));
    let mut chain = vec![top.clone()];
    for _ in 0..5 {
        let last = chain.last().unwrap().clone();
        chain.push(text(&bench.make(&last, &json!({"ttl": "1h"}))));
    }
    let orphan = bench
        .as_token(&top, Operation::Write, "auth/token/create-orphan", &json!({"ttl": "1h"}))
        .unwrap();
    let orphan = text(&serde_json::from_slice(&orphan.auth.unwrap()).unwrap());
    assert!(chain.iter().all(|token| bench.lives(token)));
    let before = bench.ledger.revision();
    bench.write("auth/token/revoke", &json!({"token": top})).unwrap();
    assert_eq!(bench.ledger.revision(), before + 1, "one entry, whatever hangs on it");
    assert!(chain.iter().all(|token| !bench.lives(token)));
    assert!(bench.lives(&orphan));
}

#[test]
fn revoking_alone_leaves_the_children() {
    let bench = Bench::new();
    let top = text(&bench.make(&bench.root(), &json!({"policies": ["root"], "ttl": "1h"})));
    let child = text(&bench.make(&top, &json!({"ttl": "1h"})));
    bench.write("auth/token/revoke-orphan", &json!({"token": top})).unwrap();
    assert!(!bench.lives(&top) && bench.lives(&child));
}

#[test]
fn time_ends_tokens_and_renewal_prolongs_them() {
    let bench = Bench::new();
    let short = text(&bench.make(&bench.root(), &json!({"ttl": "10s", "policies": ["default"]})));
    bench.pass(8);
    let renewed = bench
        .as_token(&short, Operation::Write, "auth/token/renew-self", &json!({"increment": "20s"}))
        .unwrap();
    let auth: Value = serde_json::from_slice(&renewed.auth.unwrap()).unwrap();
    assert_eq!(auth["lease_duration"], 20);
    bench.pass(19);
    assert!(bench.lives(&short));
    bench.pass(1);
    assert!(!bench.lives(&short));
    let capped = json!({"ttl": "10s", "explicit_max_ttl": "15s", "policies": ["default"]});
    let capped = text(&bench.make(&bench.root(), &capped));
    bench.pass(9);
    let renewed =
        bench.as_token(&capped, Operation::Write, "auth/token/renew-self", &json!({})).unwrap();
    let auth: Value = serde_json::from_slice(&renewed.auth.unwrap()).unwrap();
    assert_eq!(auth["lease_duration"], 6);
    bench.pass(6);
    assert!(!bench.lives(&capped), "the explicit end stands");
}

#[test]
fn a_token_of_three_uses_has_three() {
    let bench = Bench::new();
    let few = text(&bench.make(&bench.root(), &json!({"num_uses": 3, "policies": ["default"]})));
    assert!(bench.lives(&few));
    // A refusal costs a use as well, if the token was good.
    let missing = bench.as_token(&few, Operation::Read, "cubbyhole/nothing", &json!({}));
    assert_eq!(code(missing), ErrorCode::NotFound);
    assert!(bench.lives(&few));
    assert!(!bench.lives(&few));
}

#[test]
fn what_needs_sudo_is_refused_without_it() {
    let bench = Bench::new();
    let rules = "path \"auth/token/create\" { capabilities = [\"update\"] }";
    bench.write("sys/policies/acl/maker", &json!({"policy": rules})).unwrap();
    let maker = text(&bench.make(&bench.root(), &json!({"policies": ["maker"]})));
    let make = |body: Value| bench.as_token(&maker, Operation::Write, "auth/token/create", &body);
    assert!(make(json!({})).is_ok());
    for (body, said) in [
        (json!({"policies": ["other"]}), "child policies must be subset of parent"),
        (json!({"policies": ["root"]}), "child policies must be subset of parent"),
        (json!({"no_parent": true}), "create orphan token"),
        (json!({"period": "1h"}), "create periodic token"),
        (json!({"id": "chosen"}), "specify token id"),
    ] {
        let error = make(body).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        assert!(error.message.contains(said), "{}", error.message);
    }
    let orphan = bench.as_token(&maker, Operation::Write, "auth/token/create-orphan", &json!({}));
    assert_eq!(code(orphan), ErrorCode::PermissionDenied);
}

#[test]
fn accessors_name_tokens_and_open_nothing() {
    let bench = Bench::new();
    let made = bench.make(&bench.root(), &json!({"policies": ["default"], "ttl": "1h"}));
    let accessor = made["accessor"].as_str().unwrap();
    assert!(!bench.lives(accessor));
    let shown = bench.write("auth/token/lookup-accessor", &json!({"accessor": accessor})).unwrap();
    assert_eq!((&shown["id"], &shown["accessor"]), (&json!(""), &json!(accessor)));
    let listed = bench.call(Operation::List, "auth/token/accessors", &json!({})).unwrap();
    assert!(listed["keys"].as_array().unwrap().contains(&json!(accessor)));
    bench.write("auth/token/revoke-accessor", &json!({"accessor": accessor})).unwrap();
    assert!(!bench.lives(&text(&made)));
    let gone = bench.write("auth/token/lookup-accessor", &json!({"accessor": accessor}));
    assert_eq!(code(gone), ErrorCode::InvalidRequest);
}

/// A policy that changes between the check and the commit decides: the request loses its race and
/// is judged anew.
#[test]
fn a_right_taken_away_meanwhile_does_not_write() {
    let bench = Bench::new();
    let rules = "path \"secret/*\" { capabilities = [\"create\", \"update\"] }";
    bench.write("sys/policies/acl/writer", &json!({"policy": rules})).unwrap();
    let writer = text(&bench.make(&bench.root(), &json!({"policies": ["writer"]})));
    let rival = bench.rival();
    let mut request = bench.request(Operation::Write, "sys/policies/acl/writer", b"");
    request.body =
        json!({"policy": "path \"other\" { capabilities = [\"read\"] }"}).to_string().into();
    let mut once = Some(request);
    *bench.ledger.before_commit.lock().unwrap() = Some(Box::new(move || {
        if let Some(request) = once.take() {
            finish(rival.handle(&request)).unwrap();
        }
    }));
    let written = bench.as_token(&writer, Operation::Write, "secret/data/a", &json!({"data": {}}));
    assert_eq!(code(written), ErrorCode::PermissionDenied);
    *bench.ledger.before_commit.lock().unwrap() = None;
    assert_eq!(code(bench.read("secret/data/a")), ErrorCode::NotFound);
}

#[test]
fn roles_say_what_their_tokens_are_like() {
    let bench = Bench::new();
    let role =
        json!({"allowed_policies": "a,b", "orphan": true, "token_period": "1h", "renewable": true});
    bench.write("auth/token/roles/ci", &role).unwrap();
    let make = |body: Value| bench.write_raw("auth/token/create/ci", &body);
    let made: Value = serde_json::from_slice(&make(json!({})).unwrap().auth.unwrap()).unwrap();
    assert_eq!(made["policies"], json!(["a", "b", "default"]));
    assert_eq!((&made["orphan"], &made["lease_duration"]), (&json!(true), &json!(3600)));
    assert_eq!(code(make(json!({"policies": ["c"]}))), ErrorCode::InvalidRequest);
    assert_eq!(
        code(bench.write_raw("auth/token/create/none", &json!({}))),
        ErrorCode::InvalidRequest
    );
    let listed = bench.call(Operation::List, "auth/token/roles", &json!({})).unwrap();
    assert_eq!(listed, json!({"keys": ["ci"]}));
}

impl Bench {
    fn write_raw(&self, path: &str, body: &Value) -> Result<Response, Error> {
        self.as_token(&self.root(), Operation::Write, path, body)
    }
}
