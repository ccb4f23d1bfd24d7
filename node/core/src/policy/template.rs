//! Paths with values of the caller's identity in them: `kv/{{identity.entity.id}}/*`.
//!
//! A template fails closed. A value may fill its place and do nothing else: what could widen the
//! rule, add segments to it or be read in two ways is refused, and the caller of [`Template::render`]
//! decides what a rule that cannot be rendered costs.

use super::identity::IdentityView;
use super::pattern::{Pattern, PatternError};
use super::question::TemplateFault;
use crate::canonical;

/// The path of a rule, with places for values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Value(Box<str>),
}

/// Why a text is no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// Braces without a partner.
    #[error(
        "failed to validate policy templating: unbalanced templating characters; write each \
         '{{{{' with its '}}}}'"
    )]
    Unbalanced,
    /// The text around the values breaks a rule of patterns.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl Template {
    /// Takes the path of a rule; `None` where it has no place for a value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Option<Self>, TemplateError> {
        let text = text.strip_prefix('/').unwrap_or(text);
        let mut pieces = text.split("{{");
        let first = pieces.next().unwrap_or_default();
        if first.contains("}}") {
            return Err(TemplateError::Unbalanced);
        }
        let mut parts = vec![Part::Text(first.into())];
        for piece in pieces {
            let (selector, after) = piece.split_once("}}").ok_or(TemplateError::Unbalanced)?;
            if after.contains("}}") {
                return Err(TemplateError::Unbalanced);
            }
            parts.push(Part::Value(selector.trim().into()));
            parts.push(Part::Text(after.into()));
        }
        if parts.len() == 1 {
            return Ok(None);
        }
        let template = Self { text: text.into(), parts };
        Pattern::new(&template.filled(|_| Ok("x")).unwrap_or_default())?;
        Ok(Some(template))
    }

    /// As the policy has it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What it names.
    pub(crate) fn selectors(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value(selector) => Some(&**selector),
            Part::Text(_) => None,
        })
    }

    /// The pattern for one caller.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn render(&self, caller: Option<&IdentityView>) -> Result<Pattern, TemplateFault> {
        let text = self.filled(|selector| {
            let value = caller.and_then(|caller| caller.value(selector));
            let value = value.ok_or(TemplateFault::Missing)?;
            if fits_a_path(value) { Ok(value) } else { Err(TemplateFault::Forbidden) }
        })?;
        Pattern::new(&text).map_err(|_| TemplateFault::Forbidden)
    }

    /// What every path begins with that the rule could be about, whatever the values are.
    pub(super) fn certain_prefix(&self) -> &str {
        let before = self.text.split("{{").next().unwrap_or_default();
        before.split('+').next().unwrap_or_default()
    }

    fn filled<'a>(
        &'a self,
        mut value: impl FnMut(&'a str) -> Result<&'a str, TemplateFault>,
    ) -> Result<String, TemplateFault> {
        let mut filled = String::new();
        for part in &self.parts {
            filled.push_str(match part {
                Part::Text(text) => text,
                Part::Value(selector) => value(selector)?,
            });
        }
        Ok(filled)
    }
}

/// Whether a value can only ever stand for itself, inside one segment.
fn fits_a_path(value: &str) -> bool {
    !value.contains(['*', '+', '/', '{', '}'])
        && !matches!(value, "." | "..")
        && canonical::is_plain(value)
}

/// Whether templates know `selector`, were the caller to have everything.
pub(super) fn is_known(selector: &str) -> bool {
    let leaf = |rest: &str, more: &[&str]| {
        matches!(rest, "id" | "name")
            || more
                .iter()
                .any(|prefix| rest.strip_prefix(prefix).is_some_and(|key| !key.is_empty()))
    };
    if let Some(rest) = selector.strip_prefix("identity.entity.aliases.") {
        let known = ["metadata.", "custom_metadata."];
        return rest.split_once('.').is_some_and(|(_, rest)| leaf(rest, &known));
    }
    if let Some(rest) = selector.strip_prefix("identity.entity.") {
        return leaf(rest, &["metadata."]);
    }
    let Some(rest) = selector.strip_prefix("identity.groups.") else { return false };
    let rest = rest.strip_prefix("ids.").or_else(|| rest.strip_prefix("names."));
    rest.and_then(|rest| rest.split_once('.')).is_some_and(|(_, rest)| leaf(rest, &["metadata."]))
}

#[cfg(test)]
mod tests {
    use super::super::identity::{AliasView, GroupView};
    use super::*;

    fn caller() -> IdentityView {
        let pairs = |list: &[(&str, &str)]| {
            list.iter().map(|(k, v)| (String::from(*k), String::from(*v))).collect()
        };
        let alias = |name: &str| AliasView {
            id: format!("{name}-id"),
            name: name.into(),
            metadata: pairs(&[("role", name)]),
            custom_metadata: pairs(&[("desk", "7")]),
        };
        IdentityView {
            id: "e-1".into(),
            name: "alice".into(),
            metadata: pairs(&[("team", "blue"), ("a.b", "dotted"), ("empty", "")]),
            aliases: [("userpass_1".into(), alias("al")), ("ldap_2".into(), alias("alice.b"))]
                .into(),
            groups: vec![GroupView {
                id: "g-1".into(),
                name: "ops".into(),
                metadata: pairs(&[("floor", "3")]),
            }],
        }
    }

    fn render(text: &str, caller: Option<&IdentityView>) -> Result<String, TemplateFault> {
        let template = Template::new(text).unwrap().unwrap();
        template.render(caller).map(|pattern| pattern.text())
    }

    #[test]
    fn every_kind_of_value_is_filled_in() {
        let caller = caller();
        let cases = [
            ("identity.entity.id", "e-1"),
            (" identity.entity.name ", "alice"),
            ("identity.entity.metadata.team", "blue"),
            ("identity.entity.metadata.a.b", "dotted"),
            ("identity.entity.aliases.userpass_1.id", "al-id"),
            ("identity.entity.aliases.ldap_2.name", "alice.b"),
            ("identity.entity.aliases.ldap_2.metadata.role", "alice.b"),
            ("identity.entity.aliases.ldap_2.custom_metadata.desk", "7"),
            ("identity.groups.ids.g-1.name", "ops"),
            ("identity.groups.names.ops.id", "g-1"),
            ("identity.groups.names.ops.metadata.floor", "3"),
        ];
        for (selector, value) in cases {
            let rendered = render(&format!("kv/{{{{{selector}}}}}/*"), Some(&caller));
            assert_eq!(rendered, Ok(format!("kv/{value}/*")), "{selector}");
            assert!(is_known(selector.trim()), "{selector}");
        }
    }

    #[test]
    fn missing_values_are_missing() {
        let caller = caller();
        for selector in [
            "identity.entity.metadata.none",
            "identity.entity.metadata.empty",
            "identity.entity.aliases.none.id",
            "identity.groups.names.none.id",
            "identity.groups.ids.ops.id",
        ] {
            let text = format!("kv/{{{{{selector}}}}}");
            assert_eq!(render(&text, Some(&caller)), Err(TemplateFault::Missing), "{selector}");
            assert_eq!(render(&text, None), Err(TemplateFault::Missing), "{selector}");
            assert!(is_known(selector), "{selector}");
        }
        for selector in
            ["", "identity", "identity.entity.metadata.", "time.now", "identity.entity.x"]
        {
            assert!(!is_known(selector), "{selector}");
        }
    }

    #[test]
    fn braces_come_in_pairs() {
        for text in ["a/{{b", "a/b}}", "a/{{b}}c}}", "a/{{b{{c}}"] {
            assert_eq!(Template::new(text), Err(TemplateError::Unbalanced), "{text}");
        }
        assert_eq!(Template::new("a/b"), Ok(None));
        let plus_glob = Template::new("a/+*/{{identity.entity.id}}");
        assert_eq!(plus_glob, Err(TemplateError::Pattern(PatternError::PlusGlob)));
    }

    #[test]
    fn the_certain_prefix_ends_before_what_is_open() {
        for (text, prefix) in [
            ("kv/data/{{identity.entity.id}}/*", "kv/data/"),
            ("{{identity.entity.id}}", ""),
            ("kv/+/{{identity.entity.id}}", "kv/"),
        ] {
            assert_eq!(Template::new(text).unwrap().unwrap().certain_prefix(), prefix, "{text}");
        }
    }
}
