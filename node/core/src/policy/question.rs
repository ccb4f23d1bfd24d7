//! What the pipeline asks of an [`Acl`](super::Acl), and the answer.

use serde_json::{Map, Value};

use super::acl::RuleId;
use super::capability::Capability;
use super::list_filter::ListFilter;

/// May the caller do this?
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The canonical path, relative to the namespace; that of a LIST or SCAN ends in a slash.
    pub(crate) path: &'a str,
    /// What the operation needs.
    pub(crate) capability: Capability,
    /// Whether the route is protected beyond its capability.
    pub(crate) needs_sudo: bool,
    /// The fields of the body, or the query of what has no body: exactly what the handler will see.
    pub(crate) parameters: Option<&'a Map<String, Value>>,
    /// For how long the answer is to be wrapped, where it is.
    pub(crate) wrap_ttl_ms: Option<u64>,
    /// How many names a LIST or SCAN asks for.
    pub(crate) limit: PageLimit,
}

impl<'a> Question<'a> {
    /// Asks for `capability` on `path`, without parameters or wrapping.
    pub(crate) fn new(path: &'a str, capability: Capability) -> Self {
        Self {
            path,
            capability,
            needs_sudo: false,
            parameters: None,
            wrap_ttl_ms: None,
            limit: PageLimit::Absent,
        }
    }
}

/// The parameter `limit` of a LIST or SCAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum PageLimit {
    /// There is none.
    #[default]
    Absent,
    /// `max`: as many as the policy lets through.
    Max,
    /// This many. Engines read 0 as all.
    Count(u64),
    /// Whatever else: negative, a fraction, too large, not a number.
    Unreadable,
}

impl PageLimit {
    /// What the parameter says.
    pub(crate) fn of(value: Option<&Value>) -> Self {
        match value {
            None => Self::Absent,
            Some(Value::String(text)) if text == "max" => Self::Max,
            Some(Value::String(text)) => text.parse().map_or(Self::Unreadable, Self::Count),
            Some(value) => value.as_u64().map_or(Self::Unreadable, Self::Count),
        }
    }
}

/// How many names the engine must be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Page {
    /// As the caller asked.
    #[default]
    AsAsked,
    /// All of them: the caller said `max` and no policy sets a limit.
    Unlimited,
    /// This many, because the caller named no number and the policy does.
    AtMost(u64),
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Decision<'a> {
    /// Whether the caller may.
    pub(crate) allowed: bool,
    /// Whether the caller has `sudo` on the path.
    pub(crate) sudo: bool,
    /// Whether the policy `root` decided.
    pub(crate) root: bool,
    /// The rule that decided; none where nothing matched and for `root`.
    pub(crate) rule: Option<RuleId>,
    /// Why the caller may not.
    pub(crate) denied_because: Option<Denial<'a>>,
    /// How many names a LIST or SCAN may show.
    pub(crate) page: Page,
    /// Which names a LIST or SCAN may show.
    pub(crate) list_filter: Option<&'a ListFilter>,
}

/// Why the answer is no. Holds names that stand in policies only, never what the caller sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denial<'a> {
    /// Nothing in the caller's policies is about the path.
    #[error("no policy has a rule for this path; add one")]
    NoRule,
    /// The deciding rule says `deny`.
    #[error("the rule denies this path; take 'deny' out of it, or write a more specific rule")]
    Explicit,
    /// The deciding rule lacks the capability.
    #[error("the rule does not give '{}'; add it to its capabilities", .0.name())]
    Capability(Capability),
    /// The route is protected and the deciding rule lacks `sudo`.
    #[error("this path is protected; add 'sudo' to the rule's capabilities")]
    Sudo,
    /// A rule that may be about the path could not be rendered.
    #[error("a templated rule that may cover this path could not be rendered; {0}")]
    Template(TemplateFault),
    /// The rule asks for a wrapped answer.
    #[error("the rule asks for a wrapped answer; ask for wrapping")]
    WrapMissing,
    /// The answer would be wrapped for too long.
    #[error("the rule wraps for at most {} seconds; ask for less", .0 / 1000)]
    WrapTooLong(u64),
    /// The answer would be wrapped for too short a time.
    #[error("the rule wraps for at least {} seconds; ask for more", .0 / 1000)]
    WrapTooShort(u64),
    /// Policies merged into bounds that nothing satisfies.
    #[error("min_wrapping_ttl is above max_wrapping_ttl once the policies are merged; correct one")]
    WrapBounds,
    /// A parameter is missing.
    #[error("the rule requires the parameter '{0}'; send it")]
    ParameterMissing(&'a str),
    /// A parameter is forbidden, or its value is.
    #[error("denied_parameters forbids what was sent for '{0}'; leave it out")]
    ParameterDenied(&'a str),
    /// A parameter's value is not among the allowed ones.
    #[error("allowed_parameters does not have the value that was sent for '{0}'; change it")]
    ValueNotAllowed(&'a str),
    /// A parameter is not among the allowed ones.
    #[error("allowed_parameters does not name a parameter that was sent; leave it out")]
    ParameterNotAllowed,
    /// More names than the policy lets through, or a limit that is no positive number.
    #[error("the rule lists at most {0} names at once; send a limit from 1 to {0}, or 'max'")]
    PageLimit(u64),
}

/// Why a templated rule could not be rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum TemplateFault {
    /// The caller has no such entity, alias, group or metadata, or the name says nothing.
    #[error("the caller's identity lacks a value that it names")]
    Missing,
    /// The value would change what the rule covers.
    #[error("a value of the caller's identity has a character that cannot stand in a path rule")]
    Forbidden,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_whole_and_not_negative() {
        let cases = [
            (json!(3), PageLimit::Count(3)),
            (json!("3"), PageLimit::Count(3)),
            (json!("0"), PageLimit::Count(0)),
            (json!("max"), PageLimit::Max),
            (json!("MAX"), PageLimit::Unreadable),
            (json!(-1), PageLimit::Unreadable),
            (json!("-1"), PageLimit::Unreadable),
            (json!(1e30), PageLimit::Unreadable),
            (json!("1e3"), PageLimit::Unreadable),
            (json!(1.5), PageLimit::Unreadable),
            (json!(null), PageLimit::Unreadable),
            (json!([1]), PageLimit::Unreadable),
        ];
        for (value, expected) in cases {
            assert_eq!(PageLimit::of(Some(&value)), expected, "{value}");
        }
        assert_eq!(PageLimit::of(None), PageLimit::Absent);
    }
}
