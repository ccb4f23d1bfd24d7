//! The compiled matcher against the model, and mutated matchers, each of which must be caught.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::oracle::{self, Ask, Ruling, Stanza};
use super::random::{self, Random};
use crate::policy::acl::{MergedRule, RuleId};
use crate::policy::grant::Grant;
use crate::policy::parameters::ParameterRules;
use crate::policy::pattern::{Pattern, Precedence};
use crate::policy::{Acl, Capabilities, Capability, Decision, Page, PageLimit, Policy, Question};

/// The cases of one run, and how many of them one set of policies serves.
const CASES: u64 = 1_000_000;
const CASES_PER_SET: u64 = 20;

/// Each of these decides at least one case in a hundred.
const MUST_DECIDE: [&str; 18] = [
    "kind: exact",
    "kind: prefix",
    "kind: segment",
    "preferred: exact",
    "preferred: first wildcard",
    "preferred: glob",
    "preferred: segments",
    "preferred: length",
    "preferred: text",
    "hung on: deny",
    "hung on: capability",
    "hung on: sudo",
    "hung on: wrapping",
    "hung on: required",
    "hung on: denied",
    "hung on: allowed",
    "hung on: paging",
    "hung on: given",
];

type Counts = BTreeMap<String, u64>;

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    allowed: bool,
    sudo: bool,
    page: Option<u64>,
}

impl From<&Ruling> for Outcome {
    fn from(ruling: &Ruling) -> Self {
        Self { allowed: ruling.allowed, sudo: ruling.sudo, page: ruling.page }
    }
}

impl From<Decision<'_>> for Outcome {
    fn from(decision: Decision<'_>) -> Self {
        let page = match decision.page {
            Page::AsAsked => None,
            Page::Unlimited => Some(0),
            Page::AtMost(count) => Some(count),
        };
        Self { allowed: decision.allowed, sudo: decision.sudo, page }
    }
}

fn case_set(seed: u64) -> (Vec<Stanza>, Vec<Ask>) {
    let mut random = Random::new(seed);
    let themes = random.themes();
    let stanzas = random.stanzas(&themes);
    let asks = (0..CASES_PER_SET).map(|_| random.ask(&themes)).collect();
    (stanzas, asks)
}

/// A million random cases have no difference, and every rule of the documentation decides its share.
#[test]
fn the_matcher_decides_like_the_model() {
    let half = CASES / CASES_PER_SET / 2;
    let counts = std::thread::scope(|scope| {
        let one = scope.spawn(|| compare(0..half));
        let mut counts = compare(half..2 * half);
        for (what, count) in one.join().unwrap() {
            *counts.entry(what).or_default() += count;
        }
        counts
    });
    for what in MUST_DECIDE {
        let count = counts.get(what).copied().unwrap_or_default();
        assert!(count >= CASES / 100, "{what} decided {count} of {CASES}: {counts:#?}");
    }
}

fn compare(seeds: std::ops::Range<u64>) -> Counts {
    let mut counts = BTreeMap::new();
    for seed in seeds {
        let (stanzas, asks) = case_set(seed);
        let acl = Acl::compile(&random::policies(&stanzas), None, 0);
        for ask in asks {
            let ruling = oracle::rule(&stanzas, &ask);
            let decision = acl.decide(&random::question(&ask));
            let path = decision.rule.map(|id| acl.rule(id).pattern.text());
            let same = Outcome::from(&ruling) == decision.into() && path == ruling.path;
            assert!(
                same,
                "seed {seed}: {ask:#?}\n{ruling:#?}\n{decision:#?}\n{path:?}\n{stanzas:#?}"
            );
            assert_eq!(decision.allowed, decision.denied_because.is_none(), "seed {seed}");
            count(&mut counts, &ruling);
        }
    }
    counts
        .into_iter()
        .map(|(what, count): ((&str, &str), u64)| (what.0.to_owned() + what.1, count))
        .collect()
}

fn count(counts: &mut BTreeMap<(&'static str, &'static str), u64>, ruling: &Ruling) {
    let Some(path) = &ruling.path else { return };
    let kind = match (path.split('/').any(|s| s.starts_with('+')), path.ends_with('*')) {
        (true, _) => "segment",
        (false, true) => "prefix",
        (false, false) => "exact",
    };
    *counts.entry(("kind: ", kind)).or_default() += 1;
    *counts.entry(("preferred: ", ruling.preferred_by)).or_default() += 1;
    *counts.entry(("hung on: ", ruling.hung_on)).or_default() += 1;
}

/// The same policies through their text, HCL and JSON by turns.
#[test]
fn parsed_policies_decide_like_the_model() {
    for seed in 0..1_000 {
        let (stanzas, asks) = case_set(seed);
        let parse = |number| {
            let text = if seed % 2 == 0 {
                random::hcl(&stanzas, number)
            } else {
                random::json_text(&stanzas, number)
            };
            Arc::new(Policy::parse("p", &text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}")))
        };
        let acl = Acl::compile(&[parse(0), parse(1), parse(2)], None, 0);
        for ask in asks {
            let ruling = oracle::rule(&stanzas, &ask);
            let decision = acl.decide(&random::question(&ask));
            assert_eq!(
                Outcome::from(&ruling),
                decision.into(),
                "seed {seed}: {ask:#?} {stanzas:#?}"
            );
        }
    }
}

/// `capabilities`, `shows_mount` and explanations agree with decisions.
#[test]
fn other_questions_agree_with_decisions() {
    for seed in 0..2_000 {
        let (stanzas, asks) = case_set(seed);
        let acl = Acl::compile(&random::policies(&stanzas), None, 0);
        for ask in asks {
            let question = random::question(&ask);
            let decision = acl.decide(&question);
            let explanation = acl.explain(&question);
            assert_eq!(explanation.allowed, decision.allowed);
            let ruling = oracle::rule(&stanzas, &ask);
            assert_eq!(explanation.decided_by.map(|rule| rule.path), ruling.path, "seed {seed}");
            let reaches = |mount: &str, id| {
                let pattern = &acl.rule(id).pattern;
                pattern.has_wildcard() || pattern.literal().starts_with(mount)
            };
            if decision.allowed {
                let mount = ask.path.split_inclusive('/').next().unwrap();
                let shown =
                    acl.shows_mount(mount) || !decision.rule.is_some_and(|id| reaches(mount, id));
                assert!(shown, "seed {seed}: {mount} {stanzas:#?}");
            }
            if question.capability.lists() {
                let plain = Question { needs_sudo: false, wrap_ttl_ms: Some(7_000), ..question };
                let given = acl.capabilities(&ask.path).contains(&ask.word);
                assert!(given || !acl.decide(&plain).allowed, "seed {seed}: {ask:#?}");
            }
        }
    }
}

type Mutant = Box<dyn Fn(&Question<'_>) -> Outcome>;

/// Rebuilds the matcher after changing its rules.
fn edited(policies: &[Arc<Policy>], edit: impl Fn(&mut MergedRule)) -> Mutant {
    let mut rules = Acl::compile(policies, None, 0).rules;
    rules.iter_mut().for_each(edit);
    let acl =
        ranked(rules, |p| (p.first_wildcard, p.whole, p.segments, p.length, p.text.to_string()));
    Box::new(move |question| acl.decide(question).into())
}

fn granting(policies: &[Arc<Policy>], edit: impl Fn(&mut Grant)) -> Mutant {
    edited(policies, |rule| edit(&mut rule.grant))
}

fn ranked<'k, K: Ord>(rules: Vec<MergedRule>, key: impl Fn(Precedence<'_>) -> K + 'k) -> Acl {
    let mut by_rank: Vec<RuleId> = (0..).map(RuleId).take(rules.len()).collect();
    by_rank.retain(|id| !rules[id.0 as usize].pattern.is_exact());
    by_rank.sort_by_key(|id| key(rules[id.0 as usize].pattern.precedence()));
    Acl::ranked(rules, by_rank, Vec::new())
}

/// Sorts by another key; texts become numbers because a key cannot borrow.
fn reranked<K: Ord>(
    policies: &[Arc<Policy>],
    key: impl Fn(usize, bool, Reverse<usize>, usize, String) -> K,
) -> Mutant {
    let rules = Acl::compile(policies, None, 0).rules;
    let acl =
        ranked(rules, |p| key(p.first_wildcard, p.whole, p.segments, p.length, p.text.to_string()));
    Box::new(move |question| acl.decide(question).into())
}

fn asking(policies: &[Arc<Policy>], change: impl Fn(&mut Question<'_>) + 'static) -> Mutant {
    let acl = Acl::compile(policies, None, 0);
    Box::new(move |question| {
        let mut question = *question;
        change(&mut question);
        acl.decide(&question).into()
    })
}

fn any_value(rules: &ParameterRules) -> ParameterRules {
    let mut any = ParameterRules::default();
    rules.names().for_each(|name| any.add(name, &[]));
    any
}

fn repattern(rule: &mut MergedRule, change: impl Fn(String) -> String) {
    rule.pattern = Pattern::new(&change(rule.pattern.text())).unwrap();
}

fn bare(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

type Build = fn(&[Arc<Policy>]) -> Mutant;

/// A matcher with one fault each.
#[expect(clippy::too_many_lines, reason = "a list")]
fn mutants() -> Vec<(&'static str, Build)> {
    vec![
        ("no first-wildcard rule", |p| reranked(p, |_, w, s, l, t| (w, s, l, t))),
        ("no glob rule", |p| reranked(p, |f, _, s, l, t| (f, s, l, t))),
        ("no segment rule", |p| reranked(p, |f, w, _, l, t| (f, w, l, t))),
        ("no length rule", |p| reranked(p, |f, w, s, _, t| (f, w, s, t))),
        ("text the other way", |p| reranked(p, |f, w, s, l, t| (f, w, s, l, Reverse(t)))),
        ("glob before first wildcard", |p| reranked(p, |f, w, s, l, t| (w, f, s, l, t))),
        ("more segments win", |p| reranked(p, |f, w, s, l, t| (f, w, s.0, l, t))),
        ("the least specific wins", |p| reranked(p, |f, w, s, l, t| Reverse((f, w, s, l, t)))),
        ("deny does not win", |p| {
            edited(p, |rule| {
                let given = rule.sources.iter().filter(|s| s.capabilities.gives());
                let given = given.fold(Capabilities::default(), |a, s| a.union(s.capabilities));
                if rule.grant.denies() && given.gives() {
                    rule.grant.capabilities = given;
                }
            })
        }),
        ("deny is as nothing", |p| {
            let mut rules = Acl::compile(p, None, 0).rules;
            rules.retain(|rule| !rule.grant.denies());
            let acl = ranked(rules, |precedence| precedence.length);
            Box::new(move |question| acl.decide(question).into())
        }),
        ("+ crosses /", |p| {
            edited(p, |rule| {
                if !rule.pattern.is_glob() && rule.pattern.literal().ends_with("/+") {
                    repattern(rule, |text| text.replace('+', "") + "*");
                }
            })
        }),
        ("* stops at /", |p| {
            edited(p, |rule| {
                if rule.pattern.is_glob() && rule.pattern.literal().ends_with('/') {
                    repattern(rule, |text| text.replace('*', "+"));
                }
            })
        }),
        ("exact is a prefix", |p| {
            edited(p, |rule| {
                if rule.pattern.is_exact() {
                    repattern(rule, |text| text + "*");
                }
            })
        }),
        ("prefix before exact", |p| {
            let all = Acl::compile(p, None, 0);
            let mut rules = all.rules.clone();
            rules.retain(|rule| !rule.pattern.is_exact());
            let wild = ranked(rules, |p| (p.first_wildcard, p.whole, p.segments, p.length));
            Box::new(move |question| match wild.decide(question) {
                decision if decision.rule.is_some() => decision.into(),
                _ => all.decide(question).into(),
            })
        }),
        ("LIST only without its slash", |p| asking(p, |q| q.path = bare(q.path))),
        ("LIST misses the deny of everything below", |p| {
            let acl = Acl::compile(p, None, 0);
            Box::new(move |question| {
                let short = Question { path: bare(question.path), ..*question };
                match acl.decide(&short) {
                    decision if decision.rule.is_some() => decision.into(),
                    _ => acl.decide(question).into(),
                }
            })
        }),
        ("only the first policy", |p| {
            let acl = Acl::compile(&p[..1], None, 0);
            Box::new(move |question| acl.decide(question).into())
        }),
        ("update gives create", |p| {
            asking(p, |q| {
                if q.capability == Capability::Create {
                    q.capability = Capability::Update;
                }
            })
        }),
        ("sudo is not asked for", |p| asking(p, |q| q.needs_sudo = false)),
        ("everybody has sudo", |p| {
            granting(p, |g| g.capabilities = g.capabilities.with(Capability::Sudo))
        }),
        ("no denied_parameters", |p| granting(p, |g| g.denied = ParameterRules::default())),
        ("no allowed_parameters", |p| granting(p, |g| g.allowed = ParameterRules::default())),
        ("no required_parameters", |p| granting(p, |g| g.required.clear())),
        ("denied values are any", |p| granting(p, |g| g.denied = any_value(&g.denied))),
        ("allowed values are any", |p| granting(p, |g| g.allowed = any_value(&g.allowed))),
        ("allowed is denied", |p| granting(p, |g| std::mem::swap(&mut g.allowed, &mut g.denied))),
        ("no least wrapping", |p| granting(p, |g| g.wrap_ttl_ms_min = None)),
        ("no most wrapping", |p| granting(p, |g| g.wrap_ttl_ms_max = None)),
        ("wrapping off by one", |p| {
            granting(p, |g| g.wrap_ttl_ms_max = g.wrap_ttl_ms_max.map(|ms| ms + 1000))
        }),
        ("no page limit", |p| granting(p, |g| g.page_max = None)),
        ("limit 0 passes", |p| {
            asking(p, |q| {
                if q.limit == PageLimit::Count(0) {
                    q.limit = PageLimit::Count(1);
                }
            })
        }),
    ]
}

/// Every mutated matcher is told from the model.
#[test]
fn every_mutant_is_caught() {
    for (name, build) in mutants() {
        let caught = (0..20_000).any(|seed| {
            let (stanzas, asks) = case_set(seed);
            let mutant = build(&random::policies(&stanzas));
            asks.iter().any(|ask| {
                Outcome::from(&oracle::rule(&stanzas, ask)) != mutant(&random::question(ask))
            })
        });
        assert!(caught, "{name} was not caught");
    }
}

/// The tools of the mutants leave a matcher as it was where they change nothing.
#[test]
fn an_unchanged_matcher_is_not_caught() {
    for seed in 0..2_000 {
        let (stanzas, asks) = case_set(seed);
        let policies = random::policies(&stanzas);
        for same in [
            reranked(&policies, |f, w, s, l, t| (f, w, s, l, t)),
            granting(&policies, |_| ()),
            asking(&policies, |_| ()),
        ] {
            for ask in &asks {
                let ruling = oracle::rule(&stanzas, ask);
                assert_eq!(Outcome::from(&ruling), same(&random::question(ask)), "seed {seed}");
            }
        }
    }
}
