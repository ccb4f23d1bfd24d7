//! A policy as it was written: its rules in order, each with the place where it stands.

use std::fmt;
use std::sync::Arc;

use super::grant::Grant;
use super::pattern::Pattern;
use super::template::Template;

/// The name of the policy that may do everything. It has no text.
pub(crate) const ROOT: &str = "root";

/// The most rules in one policy.
pub(crate) const RULES_MAX: usize = 20_000;

/// A parsed policy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    pub(super) name: Arc<str>,
    pub(super) rules: Vec<Rule>,
}

/// One `path "…" { … }`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    /// What it is about.
    pub(super) path: RulePath,
    /// Where it begins.
    pub(super) position: Position,
    /// What it gives.
    pub(super) grant: Grant,
    /// Whether `deny` stood beside other capabilities, which it leaves without effect.
    pub(super) deny_hides_others: bool,
    /// From when on it says nothing, in milliseconds since the epoch.
    pub(super) expires_ms: Option<u64>,
}

/// The path of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RulePath {
    /// The same for every caller.
    Plain(Pattern),
    /// Made for each caller.
    Template(Template),
}

/// A place in a policy's text; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(crate) struct Position {
    /// The line.
    pub(crate) line: u32,
    /// The character in it.
    pub(crate) column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Policy {
    /// The policy that may do everything.
    pub(crate) fn root() -> Self {
        Self { name: ROOT.into(), rules: Vec::new() }
    }

    /// The same, saying nothing from `end_ms` on.
    pub(crate) fn ending(mut self, end_ms: u64) -> Self {
        for rule in &mut self.rules {
            rule.expires_ms = Some(rule.expires_ms.map_or(end_ms, |own_ms| own_ms.min(end_ms)));
        }
        self
    }

    /// Parsing refuses the name, so only [`Policy::root`] makes one that is it.
    pub(super) fn is_root(&self) -> bool {
        &*self.name == ROOT
    }
}

impl RulePath {
    /// As the policy has it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Plain(pattern) => pattern.text(),
            Self::Template(template) => template.text().into(),
        }
    }
}
