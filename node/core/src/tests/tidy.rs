//! What ended tokens leave is swept, and nothing else is.

use serde_json::json;

use super::tokens::text;
use crate::testing::{Bench, code, finish};
use crate::{Core, ErrorCode, Operation};

const TIDY: &str = "auth/token/tidy";

/// More steps than any pass of these tests has.
const STEPS_MAX: usize = 40;

impl Bench {
    /// Asks for a pass and lets this core do it.
    fn tidy_on(&self, core: &Core) {
        self.write(TIDY, &json!({})).unwrap();
        self.work_on(core);
    }

    fn work_on(&self, core: &Core) {
        for _ in 0..STEPS_MAX {
            finish(core.maintain()).unwrap();
        }
        let settled = self.ledger.revision();
        finish(core.maintain()).unwrap();
        assert_eq!(self.ledger.revision(), settled, "nothing is left to do");
    }

    fn keep(&self, token: &str, name: &str) {
        let path = format!("cubbyhole/{name}");
        self.as_token(token, Operation::Write, &path, &json!({"x": 1})).unwrap();
    }
}

#[test]
fn ended_tokens_leave_no_row_behind() {
    let bench = Bench::new();
    let before = bench.ledger.row_count();
    let top = text(&bench.make(&bench.root(), &json!({"policies": ["root"], "ttl": "1h"})));
    for number in 0..200 {
        let maker = if number % 2 == 0 { bench.root() } else { top.clone() };
        let policies = json!({"policies": ["default"], "ttl": "10s"});
        let child = text(&bench.make(&maker, &policies));
        if number % 3 == 0 {
            bench.keep(&child, "a/b");
        }
    }
    // The row of this one goes with the revocation; what it kept does not.
    let gone = text(&bench.make(&bench.root(), &json!({"policies": ["default"]})));
    bench.keep(&gone, "c");
    bench.write("auth/token/revoke", &json!({"token": gone})).unwrap();
    bench.write("auth/token/revoke", &json!({"token": top})).unwrap();
    bench.pass(10);
    bench.tidy_on(&bench.core);
    assert_eq!(bench.ledger.row_count(), before);
}

#[test]
fn tokens_that_live_and_what_they_keep_stay() {
    let bench = Bench::new();
    let mut chain = vec![text(&bench.make(&bench.root(), &json!({"policies": ["root"]})))];
    for _ in 0..5 {
        let last = chain.last().unwrap().clone();
        chain.push(text(&bench.make(&last, &json!({"policies": ["root"]}))));
    }
    chain.iter().for_each(|token| bench.keep(token, "a"));
    let before = bench.ledger.row_count();
    bench.tidy_on(&bench.core);
    bench.tidy_on(&bench.core);
    assert_eq!(bench.ledger.row_count(), before);
    for token in &chain {
        let kept = bench.as_token(token, Operation::Read, "cubbyhole/a", &json!({}));
        assert!(kept.is_ok());
    }
}

#[test]
fn a_large_cubbyhole_goes_in_pieces() {
    let bench = Bench::new();
    let before = bench.ledger.row_count();
    let token = text(&bench.make(&bench.root(), &json!({"policies": ["default"], "ttl": "10s"})));
    (0..600).for_each(|number| bench.keep(&token, &format!("d{}/{number}", number % 5)));
    bench.pass(10);
    bench.tidy_on(&bench.core);
    assert_eq!(bench.ledger.row_count(), before);
}

#[test]
fn children_of_one_revoked_alone_outlive_its_row() {
    let bench = Bench::new();
    let before = bench.ledger.row_count();
    let top = text(&bench.make(&bench.root(), &json!({"policies": ["root"], "ttl": "1h"})));
    let child = text(&bench.make(&top, &json!({"policies": ["root"], "ttl": "1h"})));
    let grandchild = text(&bench.make(&child, &json!({"ttl": "1h"})));
    let batch = json!({"type": "batch", "policies": ["default"], "ttl": "1h"});
    let batch = text(&bench.make(&top, &batch));
    assert!(bench.lives(&batch));
    bench.write("auth/token/revoke-orphan", &json!({"token": top})).unwrap();
    assert!(!bench.lives(&batch), "nobody can write into it that it is an orphan");
    // Two tokens, with their accessors, and the row that was left.
    assert_eq!(bench.ledger.row_count(), before + 5);
    bench.tidy_on(&bench.core);
    assert_eq!(bench.ledger.row_count(), before + 5, "its children may not all have been met");
    bench.tidy_on(&bench.core);
    assert_eq!(bench.ledger.row_count(), before + 4);
    assert!(bench.lives(&child) && bench.lives(&grandchild) && !bench.lives(&top));
    let shown = bench.write("auth/token/lookup", &json!({"token": child})).unwrap();
    assert_eq!(shown["orphan"], true);
    bench.write("auth/token/revoke", &json!({"token": child})).unwrap();
    assert!(!bench.lives(&grandchild));
}

/// What was asked for stands in a row, so that the next leader begins it again.
#[test]
fn the_next_leader_goes_on() {
    let bench = Bench::new();
    let before = bench.ledger.row_count();
    for _ in 0..300 {
        bench.make(&bench.root(), &json!({"policies": ["default"], "ttl": "10s"}));
    }
    bench.pass(10);
    bench.write(TIDY, &json!({})).unwrap();
    finish(bench.core.maintain()).unwrap();
    assert!(bench.ledger.row_count() > before, "one step is not all");
    bench.work_on(&bench.rival());
    assert_eq!(bench.ledger.row_count(), before);
    // The first comes back and finds nothing of its own to spoil.
    bench.work_on(&bench.core);
    assert_eq!(bench.ledger.row_count(), before);
}

#[test]
fn without_being_asked_nothing_happens_before_its_time() {
    let bench = Bench::new();
    bench.make(&bench.root(), &json!({"policies": ["default"], "ttl": "10s"}));
    bench.pass(10);
    let before = bench.ledger.row_count();
    bench.work_on(&bench.core);
    assert_eq!(bench.ledger.row_count(), before);
}

#[test]
fn who_may_not_tidy_is_refused_and_who_may_is_told_that_it_goes_on() {
    let bench = Bench::new();
    let few = text(&bench.make(&bench.root(), &json!({"policies": ["default"]})));
    let refused = bench.as_token(&few, Operation::Write, TIDY, &json!({}));
    assert_eq!(code(refused), ErrorCode::PermissionDenied);
    let answer = bench.send(&bench.request(Operation::Write, TIDY, b"{}")).unwrap();
    assert!(answer.data.is_none());
    assert!(answer.warnings[0].starts_with("Tidy operation successfully started."));
}

/// Whoever chooses the text of one that ended makes another token.
#[test]
fn a_token_made_again_has_nothing_of_the_one_before() {
    let bench = Bench::new();
    let body = json!({"id": "chosen", "policies": ["root"]});
    bench.write("auth/token/create", &body).unwrap();
    bench.keep("chosen", "a");
    let child = text(&bench.make("chosen", &json!({"policies": ["root"]})));
    let batch = json!({"type": "batch", "policies": ["default"]});
    let batch = text(&bench.make("chosen", &batch));
    assert!(bench.lives(&child) && bench.lives(&batch));
    bench.write("auth/token/revoke", &json!({"token": "chosen"})).unwrap();
    bench.pass(1);
    bench.write("auth/token/create", &body).unwrap();
    assert!(bench.lives("chosen"));
    assert!(!bench.lives(&child) && !bench.lives(&batch), "they hung on another");
    let kept = bench.as_token("chosen", Operation::Read, "cubbyhole/a", &json!({}));
    assert_eq!(code(kept), ErrorCode::NotFound);
    assert!(bench.lives(&text(&bench.make("chosen", &json!({"policies": ["root"]})))));
}
