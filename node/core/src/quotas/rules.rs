//! Which quota a request falls under.

use super::pace::Pace;
use super::{QuotaRecord, QuotaTable};

/// Every quota, ready to be asked.
#[derive(Default)]
pub(super) struct Rules {
    /// Of the row that they were read from.
    pub(super) revision: u64,
    pub(super) shows_headers: bool,
    rules: Vec<Rule>,
    exempt: Vec<Scope>,
}

/// One quota.
pub(super) struct Rule {
    /// What its counts are kept under: another after every change of the quotas, so that a change
    /// begins a count anew.
    pub(super) id: u64,
    pub(super) pace: Pace,
    scope: Scope,
    /// Folded.
    role: Option<String>,
}

/// The paths that a rule is about, those that are more specific last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Everything,
    /// All below, with the slash at its end.
    Mount(String),
    Prefix(String),
    Exact(String),
}

impl Scope {
    fn new(path: &str) -> Self {
        match (path, path.strip_suffix('*')) {
            ("", _) => Self::Everything,
            (_, Some(prefix)) => Self::Prefix(prefix.to_owned()),
            _ if path.ends_with('/') => Self::Mount(path.to_owned()),
            _ => Self::Exact(path.to_owned()),
        }
    }

    /// Whether it is about this path, which has no slash at its end.
    fn contains(&self, path: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Mount(mount) => path.starts_with(mount) || Some(path) == mount.strip_suffix('/'),
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Exact(exact) => path == exact,
        }
    }

    /// How specific it is: by its kind, then by its length.
    fn rank(&self) -> (u8, usize) {
        match self {
            Self::Everything => (0, 0),
            Self::Mount(mount) => (1, mount.len()),
            Self::Prefix(prefix) => (2, prefix.len()),
            Self::Exact(exact) => (3, exact.len()),
        }
    }
}

impl Rules {
    /// The rules of the row at this revision.
    pub(super) fn new(table: &QuotaTable, revision: u64) -> Self {
        let numbered = table.quotas.iter().zip(0_u64..);
        let rule = |(quota, number): (&QuotaRecord, u64)| Rule {
            id: (revision << 16) | number,
            pace: Pace::new(quota),
            scope: Scope::new(&quota.path),
            role: Some(fold(&quota.role)).filter(|role| !role.is_empty()),
        };
        Self {
            revision,
            shows_headers: table.shows_headers,
            rules: numbered.map(rule).collect(),
            exempt: table.exempt_paths().iter().map(|path| Scope::new(path)).collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether any rule is about the names of logins.
    pub(super) fn have_roles(&self) -> bool {
        self.rules.iter().any(|rule| rule.role.is_some())
    }

    /// The most specific rule for a path without a slash at its end. `role` is the folded name that
    /// a login claims.
    pub(super) fn find(&self, path: &str, role: Option<&str>) -> Option<&Rule> {
        if self.exempt.iter().any(|scope| scope.contains(path)) {
            return None;
        }
        let is_about = |rule: &&Rule| {
            rule.scope.contains(path)
                && rule.role.as_deref().is_none_or(|wanted| Some(wanted) == role)
        };
        self.rules
            .iter()
            .filter(is_about)
            .max_by_key(|rule| (rule.role.is_some(), rule.scope.rank()))
    }
}

/// One spelling of a name: a quota that counts two users as one errs on the right side.
pub(crate) fn fold(name: &str) -> String {
    name.trim().to_lowercase()
}
