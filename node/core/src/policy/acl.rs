//! What one caller may do: the caller's policies, merged and compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::capability::{Capabilities, Capability};
use super::grant::Grant;
use super::identity::IdentityView;
use super::pattern::Pattern;
use super::question::{Decision, Denial, Page, Question, TemplateFault};
use super::trie::{Entry, Rank, Slot, Trie};
use super::written::{Policy, Position, Rule, RulePath};

/// The answer of [`Acl::capabilities`] for the policy `root`.
const ROOT: &str = super::written::ROOT;

/// Names a merged rule of one [`Acl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RuleId(pub(super) u32);

/// Compiled policies.
#[derive(Debug)]
pub(crate) struct Acl {
    pub(super) root: bool,
    /// The merged rules, sorted by pattern.
    pub(super) rules: Vec<MergedRule>,
    /// The rules with wildcards from the least to the most specific: rank 1 comes first.
    by_rank: Vec<RuleId>,
    trie: Trie,
    /// Rules that could not be rendered.
    pub(super) unrendered: Vec<UnrenderedRule>,
    valid_until_ms: Option<u64>,
}

/// What all policies together say about one pattern.
#[derive(Debug, Clone)]
pub(crate) struct MergedRule {
    /// What it is about.
    pub(crate) pattern: Pattern,
    /// What it gives.
    pub(crate) grant: Grant,
    /// Where it comes from.
    pub(crate) sources: Vec<Source>,
}

/// One rule of one policy.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The policy.
    pub(crate) policy: Arc<str>,
    /// Where in it.
    pub(crate) position: Position,
    /// What this rule alone gives.
    pub(crate) capabilities: Capabilities,
}

/// A templated rule that has no pattern for this caller.
#[derive(Debug, Clone)]
pub(super) struct UnrenderedRule {
    pub(super) template: Box<str>,
    pub(super) source: Source,
    pub(super) fault: TemplateFault,
    /// Every path that begins so is refused; `None` where the rule is as if it were not there.
    pub(super) withholds: Option<Box<str>>,
}

/// What decides about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Rule(RuleId),
    Withheld(TemplateFault),
}

impl Acl {
    /// Merges and compiles `policies` for one caller. `root` counts only where it is the only one.
    ///
    /// A rule that expires by `now_ms` is left out; see [`valid_until_ms`](Self::valid_until_ms).
    ///
    /// A templated rule that cannot be rendered gives nothing. It takes something away where leaving
    /// it out could widen what the caller may do: whatever it might have covered is refused if it
    /// denies or if a value of the caller's has a forbidden character, and everything is refused if
    /// both are so.
    pub(crate) fn compile(
        policies: &[Arc<Policy>],
        caller: Option<&IdentityView>,
        now_ms: u64,
    ) -> Self {
        if let [only] = policies
            && only.is_root()
        {
            return Self { root: true, ..Self::of(BTreeMap::new(), Vec::new()) };
        }
        let mut merged: BTreeMap<Pattern, MergedRule> = BTreeMap::new();
        let mut unrendered = Vec::new();
        let mut valid_until_ms = None;
        for policy in policies {
            for rule in &policy.rules {
                match rule.expires_ms {
                    Some(at) if at <= now_ms => continue,
                    Some(at) => valid_until_ms = Some(valid_until_ms.map_or(at, |t| at.min(t))),
                    None => {}
                }
                let source = Source {
                    policy: Arc::clone(&policy.name),
                    position: rule.position,
                    capabilities: rule.grant.capabilities,
                };
                match &rule.path {
                    RulePath::Plain(pattern) => add(&mut merged, pattern.clone(), rule, source),
                    RulePath::Template(template) => match template.render(caller) {
                        Ok(pattern) => add(&mut merged, pattern, rule, source),
                        Err(fault) => {
                            let withholds = withholds(rule, fault, template.certain_prefix());
                            let template = template.text().into();
                            unrendered.push(UnrenderedRule { template, source, fault, withholds });
                        }
                    },
                }
            }
        }
        Self { valid_until_ms, ..Self::of(merged, unrendered) }
    }

    fn of(merged: BTreeMap<Pattern, MergedRule>, unrendered: Vec<UnrenderedRule>) -> Self {
        let rules: Vec<MergedRule> = merged.into_values().collect();
        let mut by_rank: Vec<RuleId> = rule_ids(&rules).filter(|id| !exact(&rules, *id)).collect();
        by_rank.sort_by_key(|id| rules[id.0 as usize].pattern.precedence());
        Self::ranked(rules, by_rank, unrendered)
    }

    /// Builds the matcher. `by_rank` has every rule that is not exact, the least specific first.
    pub(super) fn ranked(
        rules: Vec<MergedRule>,
        by_rank: Vec<RuleId>,
        unrendered: Vec<UnrenderedRule>,
    ) -> Self {
        let mut trie = Trie::new();
        for id in rule_ids(&rules).filter(|id| exact(&rules, *id)) {
            let rule = &rules[id.0 as usize];
            trie.insert(&rule.pattern, Slot::Exact(id), rule.grant.capabilities.gives());
        }
        for (rank, id) in (1..).map(Rank).zip(&by_rank) {
            let rule = &rules[id.0 as usize];
            let slot = if rule.pattern.is_glob() { Slot::Prefix(rank) } else { Slot::Whole(rank) };
            trie.insert(&rule.pattern, slot, rule.grant.capabilities.gives());
        }
        for (number, rule) in (0..).zip(&unrendered) {
            if let Some(prefix) = &rule.withholds {
                let prefix = Pattern::new(prefix).expect("a part of a pattern is one");
                trie.insert(&prefix, Slot::Withheld(number), false);
            }
        }
        Self { root: false, rules, by_rank, trie, unrendered, valid_until_ms: None }
    }

    /// When it must be compiled anew because a rule expires.
    pub(crate) fn valid_until_ms(&self) -> Option<u64> {
        self.valid_until_ms
    }

    /// Whether it is that of the policy `root`, which has no rules.
    pub(crate) fn is_root(&self) -> bool {
        self.root
    }

    /// The merged rules, sorted by pattern.
    pub(crate) fn rules(&self) -> &[MergedRule] {
        &self.rules
    }

    /// The rule with this id.
    pub(crate) fn rule(&self, id: RuleId) -> &MergedRule {
        &self.rules[id.0 as usize]
    }

    /// Decides.
    pub(crate) fn decide(&self, question: &Question<'_>) -> Decision<'_> {
        if self.root {
            return Decision { allowed: true, sudo: true, root: true, ..refusal(None) };
        }
        let id = match self.find(question.path, question.capability.lists()) {
            Found::Nothing => return refusal(Some(Denial::NoRule)),
            Found::Withheld(fault) => return refusal(Some(Denial::Template(fault))),
            Found::Rule(id) => id,
        };
        let grant = &self.rule(id).grant;
        let decision = Decision {
            sudo: grant.capabilities.contains(Capability::Sudo),
            rule: Some(id),
            ..refusal(None)
        };
        match grant.check(question) {
            Err(denial) => Decision { denied_because: Some(denial), ..decision },
            Ok(page) => {
                let filter = grant.list_filter.as_ref();
                let list_filter = filter.filter(|_| question.capability.lists());
                Decision { allowed: true, page, list_filter, ..decision }
            }
        }
    }

    /// What the caller may do with `path`, as `sys/capabilities` answers: sorted names, or `root`
    /// or `deny` alone. Conditions play no part.
    pub(crate) fn capabilities(&self, path: &str) -> Vec<&'static str> {
        if self.root {
            return vec![ROOT];
        }
        match self.find(path, true) {
            Found::Rule(id) if self.rule(id).grant.capabilities.gives() => {
                self.rule(id).grant.capabilities.names()
            }
            _ => vec![Capability::Deny.name()],
        }
    }

    /// Whether the mount at `path`, with its slash at the end, is shown to the caller: whether
    /// anything at or below it might be allowed.
    pub(crate) fn shows_mount(&self, path: &str) -> bool {
        if self.root {
            return true;
        }
        match self.find(path, true) {
            Found::Withheld(_) => false,
            Found::Rule(id) if self.rule(id).grant.capabilities.gives() => true,
            _ => self.trie.gives_below(path),
        }
    }

    /// The rule that decides about `path`. A LIST is looked up with and without its slash, because
    /// rules are written either way: exact ones first, as always, and of each kind the one for the
    /// path without the slash, unless the other denies. So nobody can list what a rule denies
    /// everything below.
    pub(super) fn find(&self, path: &str, lists: bool) -> Found {
        let path = path.trim_start_matches('/');
        let here = self.trie.look_up(path);
        let Some(bare) = path.strip_suffix('/').filter(|_| lists) else {
            let found = here.exact.or_else(|| self.ranked_rule(here.best));
            return self.withheld(here).or(found.map(Found::Rule)).unwrap_or(Found::Nothing);
        };
        let there = self.trie.look_up(bare);
        if let Some(found) = self.withheld(here).or_else(|| self.withheld(there)) {
            return found;
        }
        let ranked = |entry: Entry| self.ranked_rule(entry.best);
        self.stricter(here.exact, there.exact)
            .or_else(|| self.stricter(ranked(there), ranked(here)))
            .map_or(Found::Nothing, Found::Rule)
    }

    fn ranked_rule(&self, rank: Rank) -> Option<RuleId> {
        let at = (rank.0 as usize).checked_sub(1)?;
        Some(self.by_rank[at])
    }

    /// The first of two rules, or the second if it denies or there is no first.
    fn stricter(&self, first: Option<RuleId>, second: Option<RuleId>) -> Option<RuleId> {
        let denying =
            [first, second].into_iter().flatten().find(|id| self.rule(*id).grant.denies());
        denying.or(first).or(second)
    }

    fn withheld(&self, entry: Entry) -> Option<Found> {
        let number = entry.withheld?;
        Some(Found::Withheld(self.unrendered[number as usize].fault))
    }
}

fn add(merged: &mut BTreeMap<Pattern, MergedRule>, pattern: Pattern, rule: &Rule, source: Source) {
    match merged.get_mut(&pattern) {
        Some(known) => {
            known.grant.merge(&rule.grant);
            known.sources.push(source);
        }
        None => {
            let grant = rule.grant.clone();
            let merged_rule = MergedRule { pattern: pattern.clone(), grant, sources: vec![source] };
            merged.insert(pattern, merged_rule);
        }
    }
}

fn withholds(rule: &Rule, fault: TemplateFault, certain_prefix: &str) -> Option<Box<str>> {
    match (fault, rule.grant.denies()) {
        (TemplateFault::Missing, false) => None,
        (TemplateFault::Forbidden, true) => Some("".into()),
        (TemplateFault::Missing, true) | (TemplateFault::Forbidden, false) => {
            Some(certain_prefix.into())
        }
    }
}

fn rule_ids(rules: &[MergedRule]) -> impl Iterator<Item = RuleId> + use<> {
    let count = u32::try_from(rules.len()).expect("the rules of an ACL are bounded");
    (0..count).map(RuleId)
}

fn exact(rules: &[MergedRule], id: RuleId) -> bool {
    rules[id.0 as usize].pattern.is_exact()
}

const fn refusal(denied_because: Option<Denial<'_>>) -> Decision<'_> {
    Decision {
        allowed: false,
        sudo: false,
        root: false,
        rule: None,
        denied_because,
        page: Page::AsAsked,
        list_filter: None,
    }
}
