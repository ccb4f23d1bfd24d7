use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use conclave_mount::testing::{CANARY, Inline, Mount, check_routes, wrong_bodies};
use conclave_mount::{
    Access, Class, Engine, EngineError, ErrorCode, Login, Operation, TokenKind, Workers,
};
use serde_json::{Value, json};

use super::Userpass;

/// A hash of `secret` at the lowest cost, so that tests are quick.
const SECRET: &str = "$2a$04$a0DqbFLfZFPxWUvya0Dqb.KF8TnYhFuH5CF7JWURIM1lohfYPER/2";

fn mount() -> Mount<Userpass> {
    let mut mount = Mount::new(Userpass::new(Arc::new(Inline)), &[]);
    mount.caller.address = Some("192.0.2.7".parse().unwrap());
    mount
}

fn with_anna() -> Mount<Userpass> {
    let mut mount = mount();
    let anna = json!({"password_hash": SECRET, "token_policies": "dev,ops", "token_ttl": "1h"});
    mount.write("users/anna", &anna).unwrap();
    mount
}

fn log_in(mount: &mut Mount<Userpass>, name: &str, password: &Value) -> Result<Login, EngineError> {
    let body = json!({ "password": password }).to_string();
    let answer = mount.call_raw(Operation::Write, &format!("login/{name}"), body.as_bytes(), &[]);
    answer.map(|response| *response.login.expect("a login that succeeds yields a token"))
}

#[test]
fn a_password_yields_what_the_user_says() {
    let mut mount = with_anna();
    let login = log_in(&mut mount, "Anna", &json!("secret")).unwrap();
    assert_eq!((login.alias.as_str(), login.display_name.as_str()), ("anna", "anna"));
    assert_eq!(login.policies, ["dev", "ops"]);
    assert_eq!(
        login.metadata.into_iter().collect::<Vec<_>>(),
        [("username".to_owned(), "anna".to_owned())]
    );
    assert_eq!((login.ttl_ms, login.max_ttl_ms, login.kind), (3_600_000, 0, TokenKind::Default));
}

/// THREATS rows 20 and 21: whoever may not log in reads the same.
#[test]
fn row_020_wrong_passwords_and_unknown_users_have_one_answer() {
    let mut mount = with_anna();
    let long = "secret".repeat(100);
    let tries = [
        ("anna", "wrong"),
        ("anna", long.as_str()),
        ("anna", "secret\0"),
        ("nobody", "secret"),
        ("anna ", "secret"),
        ("\u{e4}nna", "secret"),
    ];
    for (name, password) in tries {
        let error = log_in(&mut mount, name, &json!(password)).unwrap_err();
        assert_eq!(error.code, ErrorCode::PermissionDenied, "{name}");
        assert_eq!(error.message, "permission denied", "{name}");
        assert!(error.data.is_none() && error.internal.is_none());
    }
}

struct Counted(AtomicUsize);

impl Workers for Counted {
    fn start(&self, work: Box<dyn FnOnce() + Send>) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        work();
        true
    }
}

/// THREATS row 19: nothing is decided before a whole hash was computed.
#[test]
fn row_019_every_login_costs_one_hash() {
    let counted = Arc::new(Counted(AtomicUsize::new(0)));
    let mut mount = Mount::new(Userpass::new(counted.clone()), &[]);
    mount.write("users/anna", &json!({"password_hash": SECRET})).unwrap();
    for (name, password) in [("anna", "secret"), ("anna", "wrong"), ("nobody", "x"), ("a b", "x")] {
        let before = counted.0.load(Ordering::Relaxed);
        let _ = log_in(&mut mount, name, &json!(password));
        assert_eq!(counted.0.load(Ordering::Relaxed) - before, 1, "{name}");
    }
}

/// THREATS row 19: the most expensive hash decides what every login costs, also of those who are not
/// there, and also when its user is gone.
#[test]
fn row_019_the_highest_cost_is_everybodys() {
    let mut mount = with_anna();
    let cost = |mount: &mut Mount<Userpass>| super::record::cost(&mut mount.rows).unwrap();
    assert_eq!(cost(&mut mount), 10, "a cheap hash lowers nothing");
    for (imported, highest) in [(12, 12), (11, 12)] {
        let body = json!({"password_hash": SECRET.replacen("$04$", &format!("${imported}$"), 1)});
        mount.write("users/bert", &body).unwrap();
        assert_eq!(cost(&mut mount), highest);
    }
    mount.call_raw(Operation::Delete, "users/bert", b"", &[]).unwrap();
    assert_eq!(cost(&mut mount), 12);
    assert!(log_in(&mut mount, "anna", &json!("secret")).is_ok());
}

/// THREATS row 22: no password is no password.
#[test]
fn row_022_an_empty_password_is_none() {
    let mut mount = with_anna();
    for body in [json!({}), json!({"password": ""}), json!({"password": "  "})] {
        for path in ["login/anna", "login/nobody", "users/new", "users/anna/password"] {
            let error = mount.write(path, &body).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidRequest);
            assert_eq!(error.message, "missing password", "{path} {body}");
        }
    }
    let null = mount.write("login/anna", &json!({"password": null})).unwrap_err();
    assert_eq!(null.code, ErrorCode::InvalidRequest);
}

/// THREATS row 24: no spelling makes a second user.
#[test]
fn row_024_a_user_has_one_spelling() {
    let mut mount = with_anna();
    assert_eq!(mount.names(Operation::List, "users/", &[]).unwrap().0, ["anna"]);
    for name in ["ANNA", "Anna", "anna ", " anna", "an\u{200b}na", "\u{430}nna"] {
        let error = mount.write(&format!("users/{name}"), &json!({"password": "secret"}));
        assert_eq!(error.unwrap_err().code, ErrorCode::InvalidRequest, "{name}");
    }
}

/// THREATS row 86: the address counts at the login, in every form.
#[test]
fn row_086_a_login_keeps_to_its_networks() {
    let mut mount = with_anna();
    mount.write("users/anna", &json!({"token_bound_cidrs": "192.0.2.0/24"})).unwrap();
    for inside in ["192.0.2.1", "::ffff:192.0.2.1"] {
        mount.caller.address = Some(inside.parse().unwrap());
        let login = log_in(&mut mount, "anna", &json!("secret")).unwrap();
        assert_eq!(login.bound_cidrs, ["192.0.2.0/24"]);
    }
    for outside in [Some("198.51.100.1".parse().unwrap()), None] {
        mount.caller.address = outside;
        for password in ["secret", "wrong"] {
            let error = log_in(&mut mount, "anna", &json!(password)).unwrap_err();
            assert_eq!(error.code, ErrorCode::PermissionDenied);
            assert_eq!(error.message, "permission denied", "nobody outside learns which is right");
        }
    }
    let wrong = mount.write("users/anna", &json!({"token_bound_cidrs": "010.0.0.1"}));
    assert_eq!(wrong.unwrap_err().code, ErrorCode::InvalidRequest);
}

#[test]
fn a_user_is_read_back_without_the_password() {
    let mut mount = with_anna();
    let expected = json!({
        "policies": ["dev", "ops"],
        "token_bound_cidrs": [],
        "token_explicit_max_ttl": 0,
        "token_max_ttl": 0,
        "token_no_default_policy": false,
        "token_num_uses": 0,
        "token_period": 0,
        "token_policies": ["dev", "ops"],
        "token_strictly_bind_ip": false,
        "token_ttl": 3600,
        "token_type": "default",
    });
    assert_eq!(mount.read("users/anna", &[]).unwrap(), expected);
    let record = super::UserRecord::load(&mut mount.rows, "anna").unwrap().unwrap();
    assert_eq!(record.password_hash, SECRET);
}

#[test]
fn old_names_of_fields_are_known_and_new_ones_win() {
    let mut mount = with_anna();
    let old = json!({"policies": "a,B", "ttl": 60, "max_ttl": "2m", "bound_cidrs": ["10.0.0.0/8"]});
    mount.write("users/anna", &old).unwrap();
    let read = mount.read("users/anna", &[]).unwrap();
    assert_eq!((&read["token_policies"], &read["token_ttl"]), (&json!(["a", "b"]), &json!(60)));
    assert_eq!(read["token_bound_cidrs"], json!(["10.0.0.0/8"]));
    mount.write("users/anna", &json!({"policies": "x", "token_policies": "y"})).unwrap();
    assert_eq!(mount.read("users/anna", &[]).unwrap()["policies"], json!(["y"]));
    let wrong = mount.write("users/anna", &json!({"ttl": 500})).unwrap_err();
    assert_eq!(wrong.message, "'token_ttl' cannot be greater than 'token_max_ttl'");
}

#[test]
fn passwords_and_policies_change_apart() {
    let mut mount = with_anna();
    mount.write("users/anna/password", &json!({"password": "other"})).unwrap();
    assert!(log_in(&mut mount, "anna", &json!("secret")).is_err());
    assert_eq!(log_in(&mut mount, "anna", &json!("other")).unwrap().policies, ["dev", "ops"]);
    mount.write("users/anna/policies", &json!({"policies": ["x"]})).unwrap();
    mount.write("users/anna/password", &json!({"password_hash": SECRET})).unwrap();
    assert_eq!(log_in(&mut mount, "anna", &json!("secret")).unwrap().policies, ["x"]);
    for path in ["users/none/password", "users/none/policies"] {
        let body = json!({"password": "x", "token_policies": "y"});
        let error = mount.write(path, &body).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest, "{path}");
    }
    let both = json!({"password": "x", "password_hash": SECRET});
    assert!(mount.write("users/anna", &both).is_err());
    assert!(mount.write("users/anna/policies", &json!({})).is_err());
}

#[test]
fn users_come_and_go() {
    let mut mount = mount();
    let none = mount.names(Operation::List, "users/", &[]).unwrap_err();
    assert_eq!((none.code, none.message.as_str()), (ErrorCode::NotFound, ""));
    assert_eq!(mount.read("users/anna", &[]).unwrap_err().code, ErrorCode::NotFound);
    assert!(!mount.exists("users/anna").unwrap() && mount.exists("users/anna/password").unwrap());
    for name in ["anna", "bert", "cleo"] {
        mount.write(&format!("users/{name}"), &json!({"password_hash": SECRET})).unwrap();
    }
    assert!(!mount.exists("users/ANNA").unwrap() && !mount.exists("users/a b").unwrap());
    let page = mount.names(Operation::List, "users/", &[("after", "anna"), ("limit", "1")]);
    assert_eq!(page.unwrap(), (vec!["bert".to_owned()], true));
    for name in ["anna", "anna", "none"] {
        mount.call(Operation::Delete, &format!("users/{name}"), &json!({})).unwrap();
    }
    assert!(log_in(&mut mount, "anna", &json!("secret")).is_err());
    assert_eq!(mount.names(Operation::List, "users/", &[]).unwrap().0, ["bert", "cleo"]);
}

#[test]
fn only_the_login_is_public_and_wrong_paths_are_told_apart() {
    let mut mount = mount();
    let options = &mount.view.options;
    let routes = mount.engine.routes(options);
    let public: Vec<_> = routes.iter().filter(|r| r.public).map(|r| r.pattern).collect();
    assert_eq!(public, ["login/:user"]);
    assert_eq!((mount.engine.class(), mount.engine.kind()), (Class::Auth, "userpass"));
    assert_eq!(mount.engine.access(options, Operation::Write, "login/anna"), Access::Write);
    for (operation, path) in [
        (Operation::Read, "login/anna"),
        (Operation::Patch, "users/anna"),
        (Operation::Scan, "users/"),
        (Operation::Read, "users/anna/password"),
    ] {
        let error = mount.call(operation, path, &json!({})).unwrap_err();
        assert_eq!(error.code, ErrorCode::UnsupportedOperation, "{path}");
    }
    for path in ["", "login", "login/a/b", "users/a/b", "users/a/password/c", "config"] {
        let error = mount.write(path, &json!({})).unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound, "{path}");
    }
}

struct Full;

impl Workers for Full {
    fn start(&self, _: Box<dyn FnOnce() + Send>) -> bool {
        false
    }
}

#[test]
fn too_many_logins_at_once_are_told_to_try_again() {
    let mut mount = Mount::new(Userpass::new(Arc::new(Full)), &[]);
    let error = log_in(&mut mount, "anna", &json!("secret")).unwrap_err();
    assert_eq!(error.code, ErrorCode::Busy);
}

/// THREATS rows 55 and 71: every documented field with every wrong type, and no error that repeats
/// what was sent.
#[test]
fn row_055_wrong_types_are_refused_without_an_echo() {
    let user = [
        "password",
        "password_hash",
        "policies",
        "ttl",
        "max_ttl",
        "bound_cidrs",
        "token_policies",
        "token_ttl",
        "token_type",
        "token_bound_cidrs",
    ];
    let routes: [(&str, &[&str]); 4] = [
        ("login/anna", &["password"]),
        ("users/anna", &user),
        ("users/anna/password", &["password", "password_hash"]),
        ("users/anna/policies", &["policies", "token_policies"]),
    ];
    for (path, fields) in routes {
        for body in wrong_bodies(fields) {
            let mut mount = with_anna();
            let Err(error) = mount.call_raw(Operation::Write, path, body.as_bytes(), &[]) else {
                continue;
            };
            // A password of the right type is no more than a wrong one.
            let sent: Value = serde_json::from_str(&body).unwrap_or_default();
            let is_text = sent["password"].as_str().is_some_and(|text| !text.trim().is_empty());
            let denied =
                path == "login/anna" && is_text && error.code == ErrorCode::PermissionDenied;
            assert!(denied || error.code == ErrorCode::InvalidRequest, "{path} {body}: {error:?}");
            assert!(!format!("{error:?}").contains(CANARY), "{path} {body}: {error:?}");
        }
    }
}

#[test]
fn routes_tell_of_the_fields_that_are_read() {
    check_routes(&mut mount());
}

#[test]
fn a_damaged_user_is_a_fault_and_never_panics() {
    let mut mount = with_anna();
    mount.write("users/bert", &json!({"password_hash": SECRET})).unwrap();
    mount.rows.rows.insert("users/anna".into(), vec![0xff; 9].into());
    assert_eq!(log_in(&mut mount, "anna", &json!("x")).unwrap_err().code, ErrorCode::Internal);
    let token = conclave_mount::TokenFields::default();
    let record = super::UserRecord { password_hash: "\u{e4}".repeat(30), token };
    record.store(&mut mount.rows, "bert").unwrap();
    assert_eq!(log_in(&mut mount, "bert", &json!("x")).unwrap_err().code, ErrorCode::Internal);
}
