use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Value, json};

use crate::testing::{Bench, NONCE, code, finish};
use crate::{Access, Error, ErrorCode, Operation, Response, Token};

const ATTEMPT: &str = "sys/generate-root/attempt";

impl Bench {
    /// As somebody with this token, or none.
    fn ask(
        &self,
        token: Option<&str>,
        operation: Operation,
        path: &str,
        body: &Value,
    ) -> Result<Value, Error> {
        let body = body.to_string();
        let mut request = self.request(operation, path, body.as_bytes());
        request.token = token.map(|token| Token::new(token.to_owned()));
        request.client = Some([10, 0, 0, 1].into());
        let answer: Response = finish(self.core.handle(&request))?;
        Ok(answer.data.map_or(Value::Null, |data| serde_json::from_slice(&data).unwrap()))
    }

    fn anybody(&self, operation: Operation, path: &str, body: &Value) -> Result<Value, Error> {
        self.ask(None, operation, path, body)
    }

    fn give(&self, n: u8) -> Result<Value, Error> {
        let body = json!({"key": hex::encode([n; 33]), "nonce": NONCE});
        self.anybody(Operation::Write, "sys/generate-root/update", &body)
    }

    fn open(&self) {
        self.node.open.store(true, Ordering::Relaxed);
    }
}

fn decode(encoded: &str, pad: &str) -> String {
    let hidden = STANDARD_NO_PAD.decode(encoded).unwrap();
    let text = hidden.iter().zip(pad.bytes()).map(|(hidden, pad)| char::from(hidden ^ pad));
    text.collect()
}

#[test]
fn holders_of_shares_make_a_root_token() {
    let bench = Bench::new();
    let idle = bench.read(ATTEMPT).unwrap();
    assert_eq!(
        idle,
        json!({
            "nonce": "", "started": false, "progress": 0, "required": 3, "complete": false,
            "encoded_token": "", "encoded_root_token": "", "pgp_fingerprint": "", "otp": "",
            "otp_length": 28,
        })
    );
    let started = bench.write(ATTEMPT, &json!({})).unwrap();
    let pad = started["otp"].as_str().unwrap();
    assert!(pad.len() == 28 && pad.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{pad}");
    assert_eq!((&started["nonce"], &started["started"]), (&json!(NONCE), &json!(true)));
    assert_eq!(bench.read(ATTEMPT).unwrap()["otp"], "", "only whoever began it has it");
    assert_eq!(bench.give(1).unwrap()["progress"], 1);
    bench.give(2).unwrap();
    let done = bench.give(3).unwrap();
    assert_eq!(
        (&done["complete"], &done["encoded_token"]),
        (&json!(true), &done["encoded_root_token"])
    );
    let token = decode(done["encoded_token"].as_str().unwrap(), pad);
    assert!(token.starts_with("hvs.") && token.len() == 28);
    let own = bench.ask(Some(&token), Operation::Read, "auth/token/lookup-self", &json!({}));
    assert_eq!(own.unwrap()["policies"], json!(["root"]));
    assert_eq!(bench.read(ATTEMPT).unwrap()["started"], false);
}

#[test]
fn a_pad_of_the_callers_own_is_not_repeated_and_has_the_length_of_a_token() {
    let bench = Bench::new();
    for bad in [json!({"otp": "short"}), json!({"pgp_key": "abc"}), json!({"otp": 7})] {
        assert_eq!(code(bench.write(ATTEMPT, &bad)), ErrorCode::InvalidRequest);
    }
    let pad = "abcdefghijklmnopqrstuvwxyz01";
    let started = bench.write(ATTEMPT, &json!({"otp": pad, "pgp_key": null})).unwrap();
    assert_eq!(started["otp"], "");
    for share in 1..3 {
        bench.give(share).unwrap();
    }
    let done = bench.give(3).unwrap();
    assert!(decode(done["encoded_root_token"].as_str().unwrap(), pad).starts_with("hvs."));
}

#[test]
fn a_token_that_could_not_be_stored_leaves_the_attempt_standing() {
    let bench = Bench::new();
    bench.write(ATTEMPT, &json!({})).unwrap();
    bench.give(1).unwrap();
    bench.give(2).unwrap();
    bench.ledger.faults.lock().unwrap().commit =
        Some(conclave_barrier::ledger::LedgerError::Unavailable);
    assert_eq!(code(bench.give(3)), ErrorCode::Unavailable);
    assert_eq!(bench.read(ATTEMPT).unwrap()["started"], true);
    for share in 1..3 {
        bench.give(share).unwrap();
    }
    assert_eq!(bench.give(3).unwrap()["complete"], true);
}

/// CVE-2025-4656, CVE-2025-52894: nobody without a token cancels a rekey, and nobody without the
/// nonce.
#[test]
fn row_045_cancelling_asks_for_a_token_and_the_nonce() {
    let bench = Bench::new();
    for path in ["sys/rekey/init", ATTEMPT] {
        bench.write(path, &json!({"secret_shares": 3, "secret_threshold": 2})).unwrap();
        for body in [json!({}), json!({"nonce": NONCE})] {
            let denied = bench.anybody(Operation::Delete, path, &body);
            assert_eq!(code(denied), ErrorCode::PermissionDenied);
        }
        let no_nonce = bench.call(Operation::Delete, path, &json!({}));
        assert_eq!(code(no_nonce), ErrorCode::InvalidRequest);
        let own = bench.read(path).unwrap();
        assert_eq!((&own["started"], &own["nonce"]), (&json!(true), &json!(NONCE)));
        bench.call(Operation::Delete, path, &json!({"nonce": NONCE})).unwrap();
        assert_eq!(bench.read(path).unwrap()["started"], false);
    }
    let restart = bench.anybody(Operation::Delete, "sys/rekey/verify", &json!({}));
    assert_eq!(code(restart), ErrorCode::PermissionDenied);
}

/// CVE-2026-5807: nobody without a token occupies the one attempt there is, or learns its nonce.
#[test]
fn row_046_beginning_asks_for_a_token() {
    let bench = Bench::new();
    for path in [ATTEMPT, "sys/rekey/init", "sys/rekey-recovery-key/init"] {
        let denied = bench.anybody(Operation::Write, path, &json!({}));
        assert_eq!(code(denied), ErrorCode::PermissionDenied);
        let bad = bench.ask(Some("hvs.wrong"), Operation::Read, path, &json!({}));
        assert_eq!(code(bad), ErrorCode::PermissionDenied, "a token that is sent must be good");
    }
    bench.write(ATTEMPT, &json!({})).unwrap();
    bench.give(1).unwrap();
    let seen = bench.anybody(Operation::Read, ATTEMPT, &json!({})).unwrap();
    assert_eq!(
        (&seen["nonce"], &seen["started"], &seen["progress"]),
        (&json!(""), &json!(true), &json!(1))
    );
    // An attacker's guesses cost the attacker, and the ceremony goes on.
    let guess = json!({"key": hex::encode([9; 33]), "nonce": "guess"});
    let guess = || code(bench.anybody(Operation::Write, "sys/generate-root/update", &guess));
    let guesses: Vec<_> = (0..100).map(|_| guess()).collect();
    assert_eq!(guesses.iter().filter(|code| **code == ErrorCode::InvalidRequest).count(), 60);
    assert_eq!(guesses[99], ErrorCode::Busy);
    bench.give(2).unwrap();
    assert_eq!(bench.give(3).unwrap()["complete"], true);
}

#[test]
fn an_open_cluster_asks_for_no_token_and_bounds_the_rate() {
    let bench = Bench::new();
    bench.open();
    let started = bench.anybody(
        Operation::Write,
        "sys/rekey/init",
        &json!({"secret_shares": "3", "secret_threshold": "2"}),
    );
    assert_eq!(started.unwrap()["nonce"], NONCE);
    assert_eq!(
        bench.anybody(Operation::Read, "sys/rekey/init", &json!({})).unwrap()["nonce"],
        NONCE
    );
    bench.anybody(Operation::Delete, "sys/rekey/init", &json!({})).unwrap();
    let bad = bench.ask(Some("hvs.wrong"), Operation::Read, "sys/rekey/init", &json!({}));
    assert_eq!(bad.unwrap()["started"], false, "as Vault does, no token is looked at");
    let cancel = || bench.anybody(Operation::Delete, ATTEMPT, &json!({}));
    let refused = (0..100).filter(|_| cancel().is_err()).count();
    assert_eq!(refused, 100 - 58);
}

#[test]
fn new_shares_are_handed_out_once() {
    let bench = Bench::new();
    let path = "sys/rekey/init";
    let idle = json!({
        "nonce": "", "started": false, "t": 0, "n": 0, "progress": 0, "required": 3,
        "pgp_fingerprints": null, "backup": false, "verification_required": false,
    });
    assert_eq!(bench.read(path).unwrap(), idle);
    for bad in
        [json!({"pgp_keys": ["a"]}), json!({"secret_shares": 256}), json!({"secret_shares": null})]
    {
        assert_eq!(code(bench.write(path, &bad)), ErrorCode::InvalidRequest);
    }
    let body = json!({"secret_shares": 2, "secret_threshold": 2, "require_verification": false, "pgp_keys": []});
    let started = bench.write(path, &body).unwrap();
    assert_eq!(
        (&started["t"], &started["n"], &started["started"]),
        (&json!(2), &json!(2), &json!(true))
    );
    let give = json!({"key": hex::encode([1; 33]), "nonce": NONCE});
    let done = bench.anybody(Operation::Write, "sys/rekey/update", &give).unwrap();
    assert_eq!(done["keys"], json!(["ab".repeat(33), "cd".repeat(33)]));
    assert_eq!(done["keys_base64"].as_array().unwrap().len(), 2);
    assert_eq!((&done["complete"], &done["nonce"]), (&json!(true), &json!(NONCE)));
    for bad in [json!({"nonce": NONCE}), json!({"key": "x!", "nonce": NONCE})] {
        let refused = bench.anybody(Operation::Write, "sys/rekey/update", &bad);
        assert_eq!(code(refused), ErrorCode::InvalidRequest);
    }
}

#[test]
fn new_shares_come_back_before_they_take_force() {
    let bench = Bench::new();
    let none = bench.read("sys/rekey/verify");
    assert_eq!(code(none), ErrorCode::InvalidRequest);
    let body = json!({"secret_shares": 2, "secret_threshold": 2, "require_verification": true});
    assert_eq!(bench.write("sys/rekey/init", &body).unwrap()["verification_required"], true);
    let give = json!({"key": hex::encode([1; 33]), "nonce": NONCE});
    let made = bench.anybody(Operation::Write, "sys/rekey/update", &give).unwrap();
    assert_eq!(
        (&made["verification_required"], &made["verification_nonce"]),
        (&json!(true), &json!("second"))
    );
    let restarted = bench.call(Operation::Delete, "sys/rekey/verify", &json!({})).unwrap();
    assert_eq!(restarted["nonce"], "third");
    let verify = |nonce: &str| {
        let body = json!({"key": hex::encode([1; 33]), "nonce": nonce});
        bench.anybody(Operation::Write, "sys/rekey/verify", &body).unwrap()
    };
    assert_eq!(
        verify("second"),
        json!({"nonce": "second", "started": true, "t": 0, "n": 0, "progress": 1})
    );
    assert_eq!(verify("third"), json!({"nonce": "third", "complete": true}));
}

#[test]
fn shares_are_never_backed_up() {
    let bench = Bench::new();
    for path in ["sys/rekey/backup", "sys/rekey/recovery-key-backup"] {
        let error = bench.read(path).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::InvalidRequest, "no backed-up keys found")
        );
        bench.call(Operation::Delete, path, &json!({})).unwrap();
    }
}

#[test]
fn every_step_runs_on_the_leader() {
    let bench = Bench::new();
    for (operation, path) in [
        (Operation::Read, ATTEMPT),
        (Operation::Delete, ATTEMPT),
        (Operation::Write, "sys/generate-root/update"),
        (Operation::Read, "sys/rekey/init"),
        (Operation::Read, "sys/rekey/verify"),
        (Operation::Write, "sys/rotate"),
    ] {
        assert_eq!(
            bench.core.access(&bench.request(operation, path, b"")),
            Access::Write,
            "{path}"
        );
    }
}

#[test]
fn the_data_key_is_rotated_by_hand() {
    let bench = Bench::new();
    let before = bench.read("sys/key-status").unwrap();
    assert_eq!(before["term"], 1);
    assert!(before["install_time"].as_str().unwrap().starts_with("2018-"), "{before}");
    let sealed = before["encryptions"].as_u64().unwrap();
    assert!(sealed > 0);
    bench.write("secret/data/a", &json!({"data": {"n": 1}})).unwrap();
    assert!(bench.read("sys/key-status").unwrap()["encryptions"].as_u64().unwrap() > sealed);
    bench.write("sys/rotate", &json!({})).unwrap();
    assert_eq!(bench.read("sys/key-status").unwrap()["term"], 2);
    assert_eq!(bench.read("secret/data/a").unwrap()["data"]["n"], 1);
    assert_eq!(
        code(bench.anybody(Operation::Write, "sys/rotate", &json!({}))),
        ErrorCode::PermissionDenied
    );
}

#[test]
fn the_data_key_is_rotated_by_age() {
    let bench = Bench::new();
    let config = bench.read("sys/rotate/config").unwrap();
    assert_eq!(
        config,
        json!({"enabled": true, "max_operations": 3_865_470_566_u64, "interval": 0})
    );
    for bad in [json!({"interval": "1h"}), json!({"max_operations": 5}), json!({"enabled": "no"})] {
        assert_eq!(code(bench.write("sys/rotate/config", &bad)), ErrorCode::InvalidRequest);
    }
    bench
        .write("sys/rotate/config", &json!({"interval": "24h", "max_operations": 2_000_000}))
        .unwrap();
    bench.write("sys/rotate/config", &json!({"enabled": true})).unwrap();
    let config = bench.read("sys/rotate/config").unwrap();
    assert_eq!(config, json!({"enabled": true, "max_operations": 2_000_000, "interval": 86_400}));
    let term = || bench.read("sys/key-status").unwrap()["term"].as_u64().unwrap();
    let pass = |hours: u64| {
        bench.ledger.now_ms.fetch_add(hours * 3_600_000, Ordering::Relaxed);
        bench.write("secret/data/a", &json!({"data": {}})).unwrap();
        finish(bench.core.maintain()).unwrap();
    };
    pass(23);
    assert_eq!(term(), 1);
    pass(2);
    assert_eq!(term(), 2);
    pass(23);
    assert_eq!(term(), 2);
    bench.write("sys/rotate/config", &json!({"enabled": false})).unwrap();
    pass(100);
    assert_eq!(term(), 2);
}
