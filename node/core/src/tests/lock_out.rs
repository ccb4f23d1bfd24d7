//! Failed logins through the whole pipeline, with a method whose secret is its name's length.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use conclave_mount::{
    Access, Class, Engine, EngineError, Login, MountOptions, Request, Response, Route, Storage,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::testing::{Bench, code, finish};
use crate::{Core, Error, ErrorCode, Operation};

/// Knows `bob` and `anna`, whose password is `right`.
#[derive(Default)]
struct Door {
    hashes: AtomicU64,
}

impl Door {
    fn log_in(&self, request: &Request) -> Result<Response, EngineError> {
        self.hashes.fetch_add(1, Ordering::Relaxed);
        let name = request.path.strip_prefix("login/").unwrap_or_default().to_lowercase();
        let body: Value = request.parse()?;
        match body["password"].as_str() {
            None => Err(EngineError::invalid("missing password")),
            Some("right") if ["bob", "anna"].contains(&name.as_str()) => Ok(Response {
                login: Some(Box::new(Login { alias: name, ..Login::default() })),
                ..Response::default()
            }),
            Some(_) => Err(EngineError::new(ErrorCode::PermissionDenied, "wrong")),
        }
    }
}

impl Engine for Door {
    fn kind(&self) -> &'static str {
        "door"
    }

    fn class(&self) -> Class {
        Class::Auth
    }

    fn routes(&self, _: &MountOptions) -> &'static [Route] {
        const ROUTES: &[Route] =
            &[Route::new("login/:name", &[Operation::Write], "Logs in.").public()];
        ROUTES
    }

    fn access(&self, _: &MountOptions, _: Operation, _: &str) -> Access {
        Access::Write
    }

    fn login_name<'a>(&self, request: &'a Request) -> Option<Cow<'a, str>> {
        request.path.strip_prefix("login/").map(Cow::Borrowed)
    }

    fn handle<'a>(
        &'a self,
        request: &'a Request,
        _: &'a mut dyn Storage,
    ) -> BoxFuture<'a, Result<Response, EngineError>> {
        Box::pin(async move { self.log_in(request) })
    }
}

struct House {
    bench: Bench,
    door: Arc<Door>,
    core: Arc<Core>,
}

impl House {
    fn new() -> Self {
        let bench = Bench::new();
        let door = Arc::new(Door::default());
        let core = bench.core_with(door.clone());
        let house = Self { bench, door, core };
        house.write("sys/auth/door", &json!({"type": "door"})).unwrap();
        house
    }

    /// The cluster after this node has died: another core on the same log.
    fn fail_over(&mut self) {
        self.core = self.bench.core_with(self.door.clone());
    }

    fn call(&self, operation: Operation, path: &str, body: &Value) -> Result<Value, Error> {
        let request = self.bench.request(operation, path, body.to_string().as_bytes());
        let answer = finish(self.core.handle(&request))?;
        Ok(answer.data.map_or(Value::Null, |data| serde_json::from_slice(&data).unwrap()))
    }

    fn write(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.call(Operation::Write, path, body)
    }

    /// Whether the login yields a token.
    fn log_in(&self, name: &str, password: &str) -> Result<bool, Error> {
        let body = json!({ "password": password }).to_string();
        let path = format!("auth/door/login/{name}");
        let mut request = self.bench.request(Operation::Write, &path, body.as_bytes());
        request.token = None;
        Ok(finish(self.core.handle(&request))?.auth.is_some())
    }

    fn fail(&self, name: &str) {
        let error = self.log_in(name, "wrong").unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::PermissionDenied, "permission denied")
        );
        assert!(error.data.is_none() && error.internal.is_none());
    }

    fn accessor(&self) -> String {
        let mounts = self.call(Operation::Read, "sys/auth", &json!({})).unwrap();
        mounts["door/"]["accessor"].as_str().unwrap().to_owned()
    }

    fn locked(&self) -> Value {
        self.call(Operation::Read, "sys/locked-users", &json!({})).unwrap()
    }

    fn pass_minutes(&self, minutes: u64) {
        self.bench.ledger.now_ms.fetch_add(minutes * 60_000, Ordering::Relaxed);
    }
}

/// THREATS row 18: one user has one count, in whatever spelling and at whatever node.
#[test]
fn row_018_spellings_and_nodes_share_one_count() {
    let mut house = House::new();
    for (at, name) in ["bob", "BOB", " bob", "bob ", "Bob"].iter().enumerate() {
        house.fail(name);
        if at == 2 {
            house.fail_over();
        }
    }
    house.fail_over();
    for name in ["bob", "BOB"] {
        assert_eq!(code(house.log_in(name, "right")), ErrorCode::PermissionDenied, "{name}");
    }
    assert!(house.log_in("anna", "right").unwrap(), "nobody else is locked out");
    house.pass_minutes(15);
    assert!(house.log_in("bob", "right").unwrap());
}

/// THREATS rows 20 and 21: whether anybody has the name changes no answer and no entry, and nor does
/// the right password once the name is locked out. Every try does the work of a whole login.
#[test]
fn row_020_a_lock_tells_nothing() {
    let house = House::new();
    let mut seen = Vec::new();
    for (name, last) in [("bob", "right"), ("bob", "wrong"), ("nobody", "right")] {
        house.pass_minutes(30);
        let (entries, hashes) = (
            house.bench.ledger.commits.load(Ordering::Relaxed),
            house.door.hashes.load(Ordering::Relaxed),
        );
        let tries: Vec<_> = (0..8)
            .map(|at| {
                let error = house.log_in(name, if at < 5 { "wrong" } else { last }).unwrap_err();
                (
                    error.code,
                    error.message,
                    house.bench.ledger.commits.load(Ordering::Relaxed) - entries,
                )
            })
            .collect();
        assert_eq!(house.door.hashes.load(Ordering::Relaxed) - hashes, 8);
        seen.push(tries);
    }
    assert!(seen.iter().all(|tries| *tries == seen[0]));
    assert_eq!(seen[0].last().unwrap().2, 5, "an entry for each failure that counts, and no more");
}

/// THREATS row 31: no token is made that nobody is told of.
#[test]
fn row_031_a_failed_login_leaves_no_token() {
    let house = House::new();
    let accessors = || house.call(Operation::List, "auth/token/accessors", &json!({})).unwrap();
    let before = accessors();
    for at in 0..40 {
        house.fail(&format!("user{}", at % 3));
        let _ = house.log_in("bob", "wrong");
    }
    assert!(house.log_in("bob", "right").is_err());
    assert_eq!(accessors(), before);
}

#[test]
fn a_login_forgets_failures_and_malformed_ones_do_not_count() {
    let house = House::new();
    for _ in 0..3 {
        (0..4).for_each(|_| house.fail("bob"));
        assert!(house.log_in("bob", "right").unwrap());
    }
    for _ in 0..10 {
        let malformed = house.write("auth/door/login/bob", &json!({}));
        assert_eq!(code(malformed), ErrorCode::InvalidRequest);
    }
    assert!(house.log_in("bob", "right").unwrap());
    (0..4).for_each(|_| house.fail("bob"));
    house.pass_minutes(16);
    (0..4).for_each(|_| house.fail("bob"));
    assert!(house.log_in("bob", "right").unwrap(), "old failures do not add up");
}

#[test]
fn operators_see_whom_and_let_them_in() {
    let house = House::new();
    assert_eq!(house.locked(), json!({"by_namespace": [], "total": 0}));
    (0..5).for_each(|_| house.fail("BOB"));
    (0..5).for_each(|_| house.fail("nobody"));
    house.fail("anna");
    let accessor = house.accessor();
    assert_eq!(
        house.locked(),
        json!({
            "by_namespace": [{
                "namespace_id": "root", "namespace_path": "", "counts": 2,
                "mount_accessors": [{
                    "mount_accessor": accessor, "counts": 2, "alias_identifiers": ["bob", "nobody"],
                }],
            }],
            "total": 2,
        })
    );
    let unlock = |accessor: &str, name: &str| {
        house.write(&format!("sys/locked-users/{accessor}/unlock/{name}"), &json!({}))
    };
    assert_eq!(code(unlock("auth_none_1", "bob")), ErrorCode::InvalidRequest);
    assert_eq!(unlock(&accessor, "stranger").unwrap(), Value::Null, "as of one who is locked out");
    assert_eq!(unlock(&accessor, "Bob").unwrap(), Value::Null);
    assert_eq!(house.locked()["total"], 1);
    assert!(house.log_in("bob", "right").unwrap());
}

#[test]
fn a_mount_is_tuned() {
    let house = House::new();
    let tune = |config: Value| {
        house.write("sys/auth/door/tune", &json!({ "user_lockout_config": config }))
    };
    tune(json!({"lockout_threshold": "2", "lockout_duration": "1m"})).unwrap();
    let read = house.call(Operation::Read, "sys/auth/door/tune", &json!({})).unwrap();
    assert_eq!(
        (&read["user_lockout_threshold"], &read["user_lockout_duration"]),
        (&json!(2), &json!(60))
    );
    assert_eq!(read["user_lockout_counter_reset_duration"], 900);
    let shown = house.call(Operation::Read, "sys/auth", &json!({})).unwrap();
    assert_eq!(shown["door/"]["config"]["user_lockout_config"]["user_lockout_threshold"], 2);
    (0..2).for_each(|_| house.fail("bob"));
    assert!(house.log_in("bob", "right").is_err());
    house.pass_minutes(1);
    assert!(house.log_in("bob", "right").unwrap());
    (0..2).for_each(|_| house.fail("bob"));
    tune(json!({"lockout_disable": true})).unwrap();
    assert!(house.log_in("bob", "right").unwrap(), "at once");
    (0..9).for_each(|_| house.fail("bob"));
    assert!(house.log_in("bob", "right").unwrap());
    assert_eq!(house.locked()["total"], 0);
    for bad in [json!({"lockout_threshold": 10_001}), json!({"lockout_duration": "31d"}), json!([])]
    {
        assert_eq!(code(tune(bad)), ErrorCode::InvalidRequest);
    }
    let kv = house.bench.write("sys/mounts/secret/tune", &json!({"user_lockout_config": {}}));
    assert_eq!(code(kv), ErrorCode::InvalidRequest);
}

/// Of guesses that race, none is granted that the count had locked out before.
#[test]
fn a_login_that_races_with_the_last_failure_is_refused() {
    let house = House::new();
    (0..4).for_each(|_| house.fail("bob"));
    let rival = House {
        core: house.bench.core_with(house.door.clone()),
        bench: Bench::new(),
        door: house.door.clone(),
    };
    let body = json!({"password": "wrong"}).to_string();
    let mut wrong = house.bench.request(Operation::Write, "auth/door/login/BOB", body.as_bytes());
    wrong.token = None;
    let mut once = Some(wrong);
    *house.bench.ledger.before_commit.lock().unwrap() = Some(Box::new(move || {
        if let Some(wrong) = once.take() {
            assert!(finish(rival.core.handle(&wrong)).is_err());
        }
    }));
    assert_eq!(code(house.log_in("bob", "right")), ErrorCode::PermissionDenied);
}

/// A quota about a name counts logins as that name, before anybody looks at the password.
#[test]
fn a_quota_is_about_one_name() {
    let house = House::new();
    let quota = json!({"rate": 1, "interval": "1m", "path": "auth/door", "role": "bob"});
    house.write("sys/quotas/rate-limit/q", &quota).unwrap();
    let client = Some("10.0.0.1".parse().unwrap());
    let ask = |path: &str| house.core.within_quota(path, client).map(|standing| standing.allowed);
    assert_eq!(ask("auth/door/login/bob"), Some(true));
    assert_eq!(ask("auth/door/login/BOB"), Some(false));
    assert_eq!(ask("auth/door/login/anna"), None);
}
