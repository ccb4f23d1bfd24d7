//! The path of a rule: `a/b`, `a/*`, `a/+/b`, `a/+/b*`.

use std::cmp::Reverse;

use crate::canonical::PATH_BYTES_MAX;

/// Which paths a rule is about.
///
/// `*` counts only as the last character and stands for any rest. `+` counts only as a whole segment
/// and stands for any one segment, an empty one too: that is how `a/+` covers the LIST of `a/`.
/// Everywhere else both are ordinary characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pattern {
    /// Without the `*` at the end.
    literal: Box<str>,
    /// Whether a `*` stood at the end.
    glob: bool,
    /// Whether a segment begins with `+`. Such a pattern never counts as exact, even where the
    /// segment is longer than the `+` and therefore literal.
    wildcard: bool,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    /// `+*`.
    #[error("invalid use of wildcards ('+*' is forbidden)")]
    PlusGlob,
    /// No request has a path this long.
    #[error("the path is longer than {PATH_BYTES_MAX} bytes; shorten it")]
    TooLong,
}

/// A piece of a pattern as the matcher sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// These bytes.
    Literal(&'a str),
    /// Any one segment.
    Segment,
}

/// How specific a pattern with a wildcard is; the greater one decides. The fields are the five
/// documented rules, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence<'a> {
    /// Where the first `+` or the final `*` stands: the later, the better.
    pub(super) first_wildcard: usize,
    /// Not to end in `*` is better.
    pub(super) whole: bool,
    /// Fewer `+` segments are better.
    pub(super) segments: Reverse<usize>,
    /// Longer is better.
    pub(super) length: usize,
    /// What sorts later is better.
    pub(super) text: &'a str,
}

impl Pattern {
    /// Takes the path of a rule as written. One slash in front is dropped: paths begin after the
    /// API's own.
    ///
    /// # Errors
    /// Which rule it breaks.
    pub(crate) fn new(text: &str) -> Result<Self, PatternError> {
        let text = text.strip_prefix('/').unwrap_or(text);
        if text.contains("+*") {
            return Err(PatternError::PlusGlob);
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let (literal, glob) = match text.strip_suffix('*') {
            Some(literal) => (literal, true),
            None => (text, false),
        };
        let wildcard = text == "+" || text.starts_with("+/") || text.contains("/+");
        Ok(Self { literal: literal.into(), glob, wildcard })
    }

    /// As a policy writes it.
    pub(crate) fn text(&self) -> String {
        [&*self.literal, if self.glob { "*" } else { "" }].concat()
    }

    /// Without the final `*`.
    pub(crate) fn literal(&self) -> &str {
        &self.literal
    }

    /// Whether it ends in `*`.
    pub(crate) fn is_glob(&self) -> bool {
        self.glob
    }

    /// Whether it names exactly one path. Such a rule decides before all others.
    pub(crate) fn is_exact(&self) -> bool {
        !self.glob && !self.wildcard
    }

    /// Whether it has a segment that begins with `+`.
    pub(crate) fn has_wildcard(&self) -> bool {
        self.wildcard
    }

    /// How specific it is. Only patterns that are not exact compare by it.
    pub(super) fn precedence(&self) -> Precedence<'_> {
        let first_wildcard = if self.wildcard { self.literal.find('+') } else { None };
        Precedence {
            first_wildcard: first_wildcard.unwrap_or(self.literal.len()),
            whole: !self.glob,
            segments: Reverse(self.pieces().filter(|piece| *piece == Piece::Segment).count()),
            length: self.literal.len(),
            text: &self.literal,
        }
    }

    /// The pieces in order. Literal ones are as long as can be, so that a slash never stands alone
    /// between two of them.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let mut rest = Some(&*self.literal);
        std::iter::from_fn(move || {
            let text = rest?;
            let at = if self.wildcard { plus_segment(text) } else { None };
            match at {
                Some(0) => {
                    rest = (text.len() > 1).then(|| &text[1..]);
                    Some(Piece::Segment)
                }
                Some(at) => {
                    rest = Some(&text[at..]);
                    Some(Piece::Literal(&text[..at]))
                }
                None => {
                    rest = None;
                    Some(Piece::Literal(text))
                }
            }
        })
    }

    /// Whether `path` is one of its paths. The compiled matcher does not use this; explanations and
    /// warnings do, which look at every rule.
    pub(crate) fn matches(&self, path: &str) -> bool {
        if !self.wildcard {
            return if self.glob {
                path.starts_with(&*self.literal)
            } else {
                path == &*self.literal
            };
        }
        let mut rest = Some(path);
        let mut parts = self.literal.split('/').peekable();
        while let Some(part) = parts.next() {
            let Some(text) = rest else { return false };
            if self.glob && parts.peek().is_none() {
                return text.starts_with(part);
            }
            let (segment, after) = match text.split_once('/') {
                Some((segment, after)) => (segment, Some(after)),
                None => (text, None),
            };
            if part != "+" && part != segment {
                return false;
            }
            rest = after;
        }
        rest.is_none()
    }

    /// Whether every path of `other` is one of its own, too.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        (self.glob || !other.glob) && self.matches(&other.literal)
    }
}

/// Where the first segment that is nothing but `+` begins. `text` begins at a segment's start or at
/// the slash after one.
fn plus_segment(text: &str) -> Option<usize> {
    let mut start = 0;
    for segment in text.split('/') {
        if segment == "+" {
            return Some(start);
        }
        start += segment.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    #[test]
    fn patterns_match_their_paths() {
        let cases = [
            ("a/b", "a/b", true),
            ("a/b", "a/b/", false),
            ("/a/b", "a/b", true),
            ("a/*", "a/", true),
            ("a/*", "a", false),
            ("a*", "abc/d", true),
            ("*", "", true),
            ("a/+", "a/b", true),
            ("a/+", "a/", true),
            ("a/+", "a/b/c", false),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a/b/b/c", false),
            ("+", "a", true),
            ("+/*", "a/", true),
            ("+/*", "a", false),
            ("a/+/b*", "a/x/bc/d", true),
            ("a/+/b*", "a/x/c", false),
            ("a/+/", "a/x/", true),
            ("a/+/", "a/x", false),
            ("a/+b", "a/+b", true),
            ("a/+b", "a/xb", false),
            ("a*b", "a*b", true),
            ("a*b", "axb", false),
        ];
        for (text, path, expected) in cases {
            assert_eq!(pattern(text).matches(path), expected, "{text} {path}");
        }
    }

    #[test]
    fn pieces_split_at_whole_plus_segments() {
        use Piece::{Literal, Segment};
        let pieces = |text| pattern(text).pieces().map(|p| format!("{p:?}")).collect::<Vec<_>>();
        let expect = |list: &[Piece<'_>]| list.iter().map(|p| format!("{p:?}")).collect::<Vec<_>>();
        assert_eq!(pieces("a/+/b*"), expect(&[Literal("a/"), Segment, Literal("/b")]));
        assert_eq!(pieces("+/+"), expect(&[Segment, Literal("/"), Segment]));
        assert_eq!(pieces("+/*"), expect(&[Segment, Literal("/")]));
        assert_eq!(pieces("a/+b/+"), expect(&[Literal("a/+b/"), Segment]));
        assert_eq!(pieces("*"), expect(&[Literal("")]));
        assert_eq!(pieces("a+"), expect(&[Literal("a+")]));
    }

    #[test]
    fn covering_is_about_every_path() {
        let cases = [
            ("foo/metadata/*", "foo/metadata/+/private/*", true),
            ("a/+/*", "a/+/+/b*", true),
            ("a/+", "a/*", false),
            ("a/+/b", "a/x/b", true),
            ("a/x/b", "a/+/b", false),
            ("a/b*", "a/+", false),
        ];
        for (wide, narrow, expected) in cases {
            assert_eq!(pattern(wide).covers(&pattern(narrow)), expected, "{wide} {narrow}");
        }
    }

    #[test]
    fn plus_before_the_glob_is_refused() {
        assert_eq!(Pattern::new("foo/+*"), Err(PatternError::PlusGlob));
        assert_eq!(Pattern::new(&"x".repeat(PATH_BYTES_MAX + 1)), Err(PatternError::TooLong));
    }
}
