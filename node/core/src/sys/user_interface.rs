//! `sys/internal/ui/…` beside the mounts, and `sys/internal/counters/tokens`: what user interfaces
//! ask for before they show a thing.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::json;

use super::API_VERSION;
use crate::policy::MergedRule;
use crate::routes::{Anybody, Ask};
use crate::{Error, Response, errors, rows, token};

/// Tokens that are looked at to count those that live.
const TOKENS_MAX: usize = 100_000;

#[derive(Serialize)]
struct RuleView {
    capabilities: Vec<&'static str>,
}

/// What the caller's policies say, merged. A rule with `+` stands where it would without.
pub(super) fn resultant_acl(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let view = |rule: &MergedRule| {
        let capabilities = match rule.grant.capabilities.gives() {
            true => rule.grant.capabilities.names(),
            false => vec!["deny"],
        };
        (rule.pattern.literal().to_owned(), RuleView { capabilities })
    };
    let (glob, exact): (Vec<_>, Vec<_>) =
        ask.acl.rules().iter().partition(|rule| rule.pattern.is_glob());
    let [glob, exact] =
        [glob, exact].map(|rules| rules.into_iter().map(view).collect::<BTreeMap<_, _>>());
    Response::json(&json!({
        "root": ask.acl.is_root(),
        "glob_paths": glob,
        "exact_paths": exact,
    }))
}

pub(super) fn version(_: &mut Ask<'_>) -> Result<Response, Error> {
    Response::json(&json!({"version": API_VERSION}))
}

/// Nothing of this program is switched on by a flag.
pub(super) fn feature_flags<'a>(_: Anybody<'a>) -> BoxFuture<'a, Result<Response, Error>> {
    futures::future::ready(Response::json(&json!({"feature_flags": []}))).boxed()
}

/// How many service tokens live.
pub(super) fn count_tokens(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let found = ask.tx.survey(&rows::tokens(), TOKENS_MAX).map_err(errors::from_barrier)?;
    if found.more {
        return Err(Error::invalid(format!(
            "there are more than {TOKENS_MAX} tokens, too many to be counted on request; \
             list their accessors instead"
        )));
    }
    let mut total = 0_u64;
    for hash in found.names.iter().filter_map(|name| rows::decode_hash(name)) {
        let Some(record) = token::load(ask.tx, &hash)? else { continue };
        total += u64::from(token::lives(ask.tx, &record, ask.call.now_ms)?);
    }
    Response::json(&json!({"counters": {"service_tokens": {"total": total}}}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, code};
    use crate::{ErrorCode, Operation, Token};

    #[test]
    fn callers_see_what_their_policies_amount_to() {
        let bench = Bench::new();
        let root = bench.read("sys/internal/ui/resultant-acl").unwrap();
        assert_eq!(root, json!({"root": true, "glob_paths": {}, "exact_paths": {}}));
        let rules = "path \"a/*\" { capabilities = [\"read\", \"list\"] }\n\
                     path \"a/b\" { capabilities = [\"deny\"] }\n\
                     path \"a/+/c\" { capabilities = [\"sudo\", \"read\"] }";
        bench.write("sys/policies/acl/p", &json!({"policy": rules})).unwrap();
        let body = json!({"policies": ["p"], "id": "mine"}).to_string();
        bench.send(&bench.request(Operation::Write, "auth/token/create", body.as_bytes())).unwrap();
        let mut request = bench.request(Operation::Read, "sys/internal/ui/resultant-acl", b"");
        request.token = Some(Token::new("mine".into()));
        let data = bench.send(&request).unwrap().data.unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&data).unwrap();
        assert_eq!(shown["root"], false);
        assert_eq!(shown["glob_paths"]["a/"]["capabilities"], json!(["list", "read"]));
        assert_eq!(shown["exact_paths"]["a/b"]["capabilities"], json!(["deny"]));
        assert_eq!(shown["exact_paths"]["a/+/c"]["capabilities"], json!(["read", "sudo"]));
        request.token = None;
        assert_eq!(code(bench.send(&request)), ErrorCode::PermissionDenied);
    }

    #[test]
    fn an_interface_finds_no_flags_without_a_token_and_the_version_with_one() {
        let bench = Bench::new();
        let mut flags = bench.request(Operation::Read, "sys/internal/ui/feature-flags", b"");
        flags.token = None;
        let answer = bench.send(&flags).unwrap();
        assert_eq!(answer.data.as_deref(), Some(&br#"{"feature_flags":[]}"#[..]));
        assert_eq!(bench.read("sys/internal/ui/version").unwrap()["version"], API_VERSION);
        let mut version = bench.request(Operation::Read, "sys/internal/ui/version", b"");
        version.token = None;
        assert_eq!(code(bench.send(&version)), ErrorCode::PermissionDenied);
    }

    #[test]
    fn tokens_that_live_are_counted() {
        let bench = Bench::new();
        let count = || {
            let counted = bench.read("sys/internal/counters/tokens").unwrap();
            counted["counters"]["service_tokens"]["total"].as_u64().unwrap()
        };
        assert_eq!(count(), 1);
        bench.write("auth/token/create", &json!({"ttl": "10s"})).unwrap();
        bench.write("auth/token/create", &json!({})).unwrap();
        assert_eq!(count(), 3);
        bench.ledger.now_ms.fetch_add(10_000, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(count(), 2);
    }
}
