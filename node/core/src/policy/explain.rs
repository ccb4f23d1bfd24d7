//! Why a decision came out as it did: the rule that decided, and why the others did not.
//!
//! It looks at every rule, one after the other; it is for people, not for the way of a request.

use std::fmt;

use serde::Serialize;

use super::acl::{Acl, Found, MergedRule, RuleId, Source};
use super::pattern::Pattern;
use super::question::Question;
use super::written::{Position, ROOT};

/// A decision with its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Explanation {
    /// The path that was asked about.
    pub(crate) path: String,
    /// The capability that the operation needs.
    pub(crate) capability: &'static str,
    /// Whether the caller may.
    pub(crate) allowed: bool,
    /// Whether the caller has `sudo` on the path.
    pub(crate) sudo: bool,
    /// Why the caller may not, and what would change that.
    pub(crate) denied_because: Option<String>,
    /// The rule that decided.
    pub(crate) decided_by: Option<ExplainedRule>,
    /// The rules that are about the path, too, but did not decide.
    pub(crate) lost: Vec<LostRule>,
    /// Templated rules that have no path for this caller.
    pub(crate) unrendered: Vec<UnrenderedTemplate>,
}

/// A rule, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ExplainedRule {
    /// Its path, rendered for the caller.
    pub(crate) path: String,
    /// What it gives, all policies taken together.
    pub(crate) capabilities: Vec<&'static str>,
    /// Where it stands.
    pub(crate) sources: Vec<ExplainedSource>,
}

/// A place in a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ExplainedSource {
    /// The policy.
    pub(crate) policy: String,
    /// Where in it.
    #[serde(flatten)]
    pub(crate) position: Position,
    /// What it gives there.
    pub(crate) capabilities: Vec<&'static str>,
}

/// A rule that is about the path and did not decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LostRule {
    /// The rule.
    #[serde(flatten)]
    pub(crate) rule: ExplainedRule,
    /// Why it lost.
    pub(crate) reason: Loss,
}

/// A templated rule that has no path for this caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct UnrenderedTemplate {
    /// As the policy has it.
    pub(crate) path: String,
    /// Where it stands.
    pub(crate) source: ExplainedSource,
    /// Why it has none.
    pub(crate) reason: String,
    /// Whether the path that was asked about is refused because of it.
    pub(crate) refuses: bool,
}

/// Why a rule lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Loss {
    /// Exact before wildcard.
    #[error("the deciding rule names exactly this path")]
    NotExact,
    /// The first of the five rules.
    #[error("its first wildcard stands further left")]
    EarlierWildcard,
    /// The second.
    #[error("it ends in '*' and the deciding rule does not")]
    Glob,
    /// The third.
    #[error("it has more '+' segments")]
    MoreSegments,
    /// The fourth.
    #[error("it is shorter")]
    Shorter,
    /// The fifth.
    #[error("it sorts before the deciding rule")]
    SortsEarlier,
    /// LIST and SCAN look two spellings up.
    #[error("it is about the other spelling of a LIST's path, with or without the slash")]
    OtherSpelling,
    /// Nothing decided because of a template.
    #[error("a templated rule that could not be rendered refuses this path")]
    Withheld,
}

impl Acl {
    /// Decides, and says why.
    pub(crate) fn explain(&self, question: &Question<'_>) -> Explanation {
        let decision = self.decide(question);
        let found = if self.root {
            Found::Nothing
        } else {
            self.find(question.path, question.capability.lists())
        };
        let winner = match found {
            Found::Rule(id) => Some(id),
            Found::Nothing | Found::Withheld(_) => None,
        };
        let refused = matches!(found, Found::Withheld(_));
        Explanation {
            path: question.path.into(),
            capability: question.capability.name(),
            allowed: decision.allowed,
            sudo: decision.sudo,
            denied_because: decision.denied_because.map(|denial| denial.to_string()),
            decided_by: match winner {
                Some(id) => Some(explained(self.rule(id))),
                None => self.root.then(explained_root),
            },
            lost: self.lost(question, winner),
            unrendered: self.unrendered(question.path, refused),
        }
    }

    fn lost(&self, question: &Question<'_>, winner: Option<RuleId>) -> Vec<LostRule> {
        let path = question.path.trim_start_matches('/');
        let bare = path.strip_suffix('/').filter(|_| question.capability.lists());
        let winner = winner.map(|id| &self.rule(id).pattern);
        self.rules
            .iter()
            .filter(|rule| Some(&rule.pattern) != winner)
            .filter(|rule| {
                rule.pattern.matches(path) || bare.is_some_and(|bare| rule.pattern.matches(bare))
            })
            .map(|rule| LostRule {
                rule: explained(rule),
                reason: winner.map_or(Loss::Withheld, |winner| loss(winner, &rule.pattern)),
            })
            .collect()
    }

    fn unrendered(&self, path: &str, refused: bool) -> Vec<UnrenderedTemplate> {
        let covers = |prefix: &str| refused && path.trim_start_matches('/').starts_with(prefix);
        self.unrendered
            .iter()
            .map(|rule| UnrenderedTemplate {
                path: rule.template.to_string(),
                source: explained_source(&rule.source),
                reason: rule.fault.to_string(),
                refuses: rule.withholds.as_deref().is_some_and(covers),
            })
            .collect()
    }
}

fn explained(rule: &MergedRule) -> ExplainedRule {
    ExplainedRule {
        path: rule.pattern.text(),
        capabilities: rule.grant.capabilities.names(),
        sources: rule.sources.iter().map(explained_source).collect(),
    }
}

fn explained_source(source: &Source) -> ExplainedSource {
    ExplainedSource {
        policy: source.policy.to_string(),
        position: source.position,
        capabilities: source.capabilities.names(),
    }
}

fn explained_root() -> ExplainedRule {
    ExplainedRule { path: "*".into(), capabilities: vec![ROOT], sources: Vec::new() }
}

fn loss(winner: &Pattern, loser: &Pattern) -> Loss {
    match (winner.is_exact(), loser.is_exact()) {
        (true, false) => return Loss::NotExact,
        (true, true) | (false, true) => return Loss::OtherSpelling,
        (false, false) => {}
    }
    let (winner, loser) = (winner.precedence(), loser.precedence());
    if loser > winner {
        Loss::OtherSpelling
    } else if loser.first_wildcard != winner.first_wildcard {
        Loss::EarlierWildcard
    } else if loser.whole != winner.whole {
        Loss::Glob
    } else if loser.segments != winner.segments {
        Loss::MoreSegments
    } else if loser.length != winner.length {
        Loss::Shorter
    } else {
        Loss::SortsEarlier
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.allowed { "allowed" } else { "denied" };
        write!(f, "{} {}: {verdict}", self.capability, self.path)?;
        if let Some(because) = &self.denied_because {
            write!(f, ", {because}")?;
        }
        if let Some(rule) = &self.decided_by {
            write!(f, "\n  decided by {rule}")?;
        }
        for lost in &self.lost {
            write!(f, "\n  lost: {}: {}", lost.rule, lost.reason)?;
        }
        for template in &self.unrendered {
            let cost = if template.refuses { "refuses this path" } else { "has no effect here" };
            let UnrenderedTemplate { path, source, reason, .. } = template;
            write!(f, "\n  not rendered: path {path:?} ({source}): {reason}; it {cost}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ExplainedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "path {:?} [{}]", self.path, self.capabilities.join(", "))?;
        for source in &self.sources {
            write!(f, " ({source})")?;
        }
        Ok(())
    }
}

impl fmt::Display for ExplainedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy {:?} at {}", self.policy, self.position)
    }
}
