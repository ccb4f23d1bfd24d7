//! What is legal in a policy and yet hardly meant.

use std::collections::BTreeMap;

use super::capability::Capability;
use super::pattern::Pattern;
use super::template;
use super::trie::{Rank, Slot, Trie};
use super::written::{Policy, Position, Rule, RulePath};

/// What a KV v2 engine reads beside the secret itself.
const KV_FIELDS: [&str; 4] = ["data", "options", "version", "*"];

/// A doubtful rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: path {path:?}: {doubt}")]
pub(crate) struct Warning {
    /// Where the rule begins.
    pub(crate) position: Position,
    /// Its path.
    pub(crate) path: String,
    /// What is doubtful.
    pub(crate) doubt: Doubt,
}

/// What is doubtful about a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Doubt {
    /// A wider rule that goes first covers it.
    #[error("never decides, because {0:?} covers every path of it and goes first; narrow that one")]
    Unreachable(String),
    /// `*` elsewhere than at the end.
    #[error("a '*' that is not the last character stands only for itself; use '+' for a segment")]
    LiteralStar,
    /// `+` beside other characters.
    #[error(
        "a '+' that is not a whole segment stands only for itself; give it a segment of its own"
    )]
    LiteralPlus,
    /// The same path again.
    #[error("has a rule at {0}, too; both are merged, so write one")]
    Duplicate(Position),
    /// `deny` beside others.
    #[error("'deny' leaves the other capabilities without effect; take either out")]
    DenyHidesOthers,
    /// No capability.
    #[error("gives nothing and hides wider rules; name capabilities, or 'deny'")]
    GivesNothing,
    /// A slash at the end that only LIST and SCAN have.
    #[error("only LIST and SCAN have a slash at the end; take it away, or give 'list'")]
    SlashWithoutList,
    /// Parameter rules that look at the wrong level.
    #[error("parameter rules see 'data' and 'options' of KV v2, not the fields inside 'data'")]
    KvParameters,
    /// A template that nobody has a value for.
    #[error("nothing is called '{0}' in templates; correct the name")]
    UnknownSelector(String),
}

impl Policy {
    /// Everything doubtful, in the order of the text.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let mut found = self.unreachable();
        found.extend(self.duplicates());
        for rule in &self.rules {
            let mut doubts = Vec::new();
            match &rule.path {
                RulePath::Plain(pattern) => doubts.extend(doubts_of_pattern(pattern, rule)),
                RulePath::Template(template) => {
                    let unknown = template.selectors().filter(|name| !template::is_known(name));
                    doubts.extend(unknown.map(|name| Doubt::UnknownSelector(name.into())));
                }
            }
            if rule.deny_hides_others {
                doubts.push(Doubt::DenyHidesOthers);
            }
            if rule.grant.capabilities.is_empty() {
                doubts.push(Doubt::GivesNothing);
            }
            if looks_inside_kv_data(rule) {
                doubts.push(Doubt::KvParameters);
            }
            found.extend(doubts.into_iter().map(|doubt| warning(rule, doubt)));
        }
        found.sort_by_key(|warning| warning.position);
        found
    }

    /// Only a rule with a `+` can be covered by one that goes first. To see whether one covers it,
    /// its own text is looked up, in which `+` is a segment that only `+` and `*` match.
    fn unreachable(&self) -> Vec<Warning> {
        let mut ranked: Vec<(&Pattern, &Rule)> =
            self.plain().filter(|(pattern, _)| !pattern.is_exact()).collect();
        ranked.sort_by_key(|(pattern, _)| pattern.precedence());
        let mut trie = Trie::new();
        for (rank, (pattern, _)) in (1..).map(Rank).zip(&ranked) {
            let slot = if pattern.is_glob() { Slot::Prefix(rank) } else { Slot::Whole(rank) };
            trie.insert(pattern, slot, false);
        }
        let first = |pattern: &Pattern| {
            let rank = trie.look_up(pattern.literal()).best.0 as usize;
            rank.checked_sub(1).map(|at| ranked[at].0)
        };
        ranked
            .iter()
            .filter(|(pattern, _)| pattern.has_wildcard())
            .filter_map(|(pattern, rule)| {
                let by = first(pattern).filter(|by| by != pattern && by.covers(pattern))?;
                Some(warning(rule, Doubt::Unreachable(by.text())))
            })
            .collect()
    }

    fn duplicates(&self) -> Vec<Warning> {
        let mut first: BTreeMap<String, Position> = BTreeMap::new();
        let mut found = Vec::new();
        for rule in &self.rules {
            let known = *first.entry(rule.path.text()).or_insert(rule.position);
            if known != rule.position {
                found.push(warning(rule, Doubt::Duplicate(known)));
            }
        }
        found
    }

    fn plain(&self) -> impl Iterator<Item = (&Pattern, &Rule)> {
        self.rules.iter().filter_map(|rule| match &rule.path {
            RulePath::Plain(pattern) => Some((pattern, rule)),
            RulePath::Template(_) => None,
        })
    }
}

fn doubts_of_pattern(pattern: &Pattern, rule: &Rule) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    if pattern.literal().contains('*') {
        doubts.push(Doubt::LiteralStar);
    }
    if pattern.literal().split('/').any(|segment| segment != "+" && segment.contains('+')) {
        doubts.push(Doubt::LiteralPlus);
    }
    let capabilities = rule.grant.capabilities;
    let lists = [Capability::List, Capability::Scan].iter().any(|c| capabilities.contains(*c));
    if !pattern.is_glob() && pattern.literal().ends_with('/') && capabilities.gives() && !lists {
        doubts.push(Doubt::SlashWithoutList);
    }
    doubts
}

/// Whether a rule for `MOUNT/data/…` names parameters that no KV v2 request has outside `data`.
fn looks_inside_kv_data(rule: &Rule) -> bool {
    let grant = &rule.grant;
    let mut names = (grant.allowed.names())
        .chain(grant.denied.names())
        .chain(grant.required.iter().map(|name| &**name));
    rule.path.text().split('/').nth(1) == Some("data")
        && names.any(|name| !KV_FIELDS.contains(&name))
}

fn warning(rule: &Rule, doubt: Doubt) -> Warning {
    Warning { position: rule.position, path: rule.path.text(), doubt }
}
