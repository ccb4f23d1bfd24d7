//! Which records a device takes.
//!
//! ```text
//! expression = all ("or" all)*
//! all        = one ("and" one)*
//! one        = "not" one | "(" expression ")" | field test value
//! test       = "==" | "!=" | "matches" | "not" "matches"
//! field      = mount_type | mount_point | operation | namespace | path
//! value      = "text" | `text` | word
//! ```
//!
//! `matches` takes a regular expression that may match anywhere in the text.

use regex::{Regex, RegexBuilder};

/// The longest expression.
const TEXT_BYTES_MAX: usize = 4096;

/// The deepest nesting of `not` and parentheses.
const DEPTH_MAX: usize = 32;

/// The largest compiled regular expression.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What a filter looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Subject<'a> {
    pub(super) mount_type: &'a str,
    pub(super) mount_point: &'a str,
    pub(super) operation: &'a str,
    pub(super) namespace: &'a str,
    pub(super) path: &'a str,
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub struct Filter {
    text: String,
    root: Node,
}

/// Why an expression was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the filter is wrong at character {column}: {expected}")]
pub struct FilterError {
    /// Counted from 1.
    pub column: usize,
    /// What would be right.
    pub expected: &'static str,
}

impl Filter {
    /// Compiles `text`.
    ///
    /// # Errors
    /// [`FilterError`] with the place.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut parser = Parser { text, at: 0 };
        if text.len() > TEXT_BYTES_MAX {
            return Err(parser.wrong("write at most 4096 bytes"));
        }
        let root = parser.expression(0)?;
        match parser.rest().is_empty() {
            true => Ok(Self { text: text.to_owned(), root }),
            false => Err(parser.wrong("join two tests by `and` or `or`")),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn accepts(&self, subject: &Subject<'_>) -> bool {
        self.root.holds(subject)
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Filter {}

#[derive(Debug, Clone)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    Equal(Field, String),
    Matches(Field, Regex),
}

impl Node {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(subject)),
            Self::All(nodes) => nodes.iter().all(|node| node.holds(subject)),
            Self::Not(node) => !node.holds(subject),
            Self::Equal(field, value) => field.of(subject) == value,
            Self::Matches(field, regex) => regex.is_match(field.of(subject)),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Field {
    MountType,
    MountPoint,
    Operation,
    Namespace,
    Path,
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "mount_type" => Self::MountType,
            "mount_point" => Self::MountPoint,
            "operation" => Self::Operation,
            "namespace" => Self::Namespace,
            "path" => Self::Path,
            _ => return None,
        })
    }

    fn of<'a>(self, subject: &Subject<'a>) -> &'a str {
        match self {
            Self::MountType => subject.mount_type,
            Self::MountPoint => subject.mount_point,
            Self::Operation => subject.operation,
            Self::Namespace => subject.namespace,
            Self::Path => subject.path,
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn expression(&mut self, depth: usize) -> Result<Node, FilterError> {
        let mut nodes = vec![self.all(depth)?];
        while self.word("or") {
            nodes.push(self.all(depth)?);
        }
        Ok(joined(nodes, Node::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Node, FilterError> {
        let mut nodes = vec![self.one(depth)?];
        while self.word("and") {
            nodes.push(self.one(depth)?);
        }
        Ok(joined(nodes, Node::All))
    }

    fn one(&mut self, depth: usize) -> Result<Node, FilterError> {
        if depth >= DEPTH_MAX {
            return Err(self.wrong("nest at most 32 deep"));
        }
        if self.word("not") {
            return Ok(Node::Not(Box::new(self.one(depth + 1)?)));
        }
        if !self.sign("(") {
            return self.test();
        }
        let node = self.expression(depth + 1)?;
        match self.sign(")") {
            true => Ok(node),
            false => Err(self.wrong("close the parenthesis")),
        }
    }

    fn test(&mut self) -> Result<Node, FilterError> {
        let rest = self.rest();
        let name = &rest[..word_bytes(rest)];
        let field = Field::named(name).ok_or_else(|| {
            self.wrong("write mount_type, mount_point, operation, namespace or path")
        })?;
        self.at += name.len();
        if self.sign("==") {
            return Ok(Node::Equal(field, self.value()?));
        }
        if self.sign("!=") {
            return Ok(Node::Not(Box::new(Node::Equal(field, self.value()?))));
        }
        let negated = self.word("not");
        if !self.word("matches") {
            return Err(self.wrong("write ==, !=, matches or not matches"));
        }
        self.rest();
        let at = self.at;
        let regex = RegexBuilder::new(&self.value()?).size_limit(REGEX_BYTES_MAX).build();
        let regex = regex.map_err(|_| {
            Self { text: self.text, at }.wrong("write a regular expression of fair size")
        })?;
        let node = Node::Matches(field, regex);
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    fn value(&mut self) -> Result<String, FilterError> {
        let rest = self.rest();
        if let Some(raw) = rest.strip_prefix('`') {
            let end = raw.find('`').ok_or_else(|| self.wrong("close the quotation"))?;
            self.at += end + 2;
            return Ok(raw[..end].to_owned());
        }
        if rest.starts_with('"') {
            return self.quoted(rest);
        }
        let word = &rest[..word_bytes(rest)];
        if word.is_empty() {
            return Err(self.wrong("write a value in quotation marks"));
        }
        self.at += word.len();
        Ok(word.to_owned())
    }

    /// The escapes are JSON's.
    fn quoted(&mut self, rest: &'t str) -> Result<String, FilterError> {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        match values.next() {
            Some(Ok(value)) => {
                self.at += values.byte_offset();
                Ok(value)
            }
            _ => Err(self.wrong("close the quotation, and write a backslash twice")),
        }
    }

    /// What comes next, without spaces before it.
    fn rest(&mut self) -> &'t str {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        rest
    }

    fn word(&mut self, word: &str) -> bool {
        let rest = self.rest();
        let found = &rest[..word_bytes(rest)] == word;
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    fn wrong(&self, expected: &'static str) -> FilterError {
        let rest = self.text[self.at..].trim_start();
        let before = &self.text[..self.text.len() - rest.len()];
        FilterError { column: before.chars().count() + 1, expected }
    }
}

fn joined(mut nodes: Vec<Node>, join: impl FnOnce(Vec<Node>) -> Node) -> Node {
    match nodes.len() {
        1 => nodes.remove(0),
        _ => join(nodes),
    }
}

fn word_bytes(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || "_-./".contains(c))).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUBJECT: Subject<'static> = Subject {
        mount_type: "kv",
        mount_point: "secret/",
        operation: "read",
        namespace: "team/",
        path: "secret/data/app",
    };

    #[test]
    fn expressions_decide() {
        let cases = [
            ("mount_type == kv", true),
            ("mount_type == \"kv\"", true),
            ("mount_type != kv", false),
            ("mount_point == secret/", true),
            ("namespace == `team/` and path matches \"^secret/data/\"", true),
            ("path matches data", true),
            ("path not matches `/\\w+$`", false),
            ("not operation == read", false),
            ("not (operation == read and mount_type == pki)", true),
            ("operation == list or operation == read", true),
            ("operation == list and mount_type == pki or mount_type == kv", true),
            ("mount_type == kv or operation == list and mount_type == pki", true),
            ("(mount_type == kv or operation == list) and mount_type == pki", false),
            ("not not mount_type==kv", true),
            ("path == \"a\\\"b\"", false),
        ];
        for (text, expected) in cases {
            assert_eq!(Filter::parse(text).unwrap().accepts(&SUBJECT), expected, "{text}");
        }
    }

    #[test]
    fn faults_have_a_place() {
        let cases = [
            ("", 1, "write mount_type, mount_point, operation, namespace or path"),
            ("mount == kv", 1, "write mount_type, mount_point, operation, namespace or path"),
            ("path = x", 6, "write ==, !=, matches or not matches"),
            ("path == ", 9, "write a value in quotation marks"),
            ("path == \"x", 9, "close the quotation, and write a backslash twice"),
            ("path == `x", 9, "close the quotation"),
            ("(path == x", 11, "close the parenthesis"),
            ("path == x path == y", 11, "join two tests by `and` or `or`"),
            ("path == é and  path matches \"(\"", 29, "write a regular expression of fair size"),
            ("path matches `(\\w{999}){999}`", 14, "write a regular expression of fair size"),
        ];
        for (text, column, expected) in cases {
            assert_eq!(
                Filter::parse(text).unwrap_err(),
                FilterError { column, expected },
                "{text}"
            );
        }
        for deep in ["(", "not "].map(|word| word.repeat(1000)) {
            assert_eq!(Filter::parse(&deep).unwrap_err().expected, "nest at most 32 deep");
        }
        let long = Filter::parse(&"(".repeat(5000)).unwrap_err();
        assert_eq!(long.expected, "write at most 4096 bytes");
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_a_fault_inside_it(text in "[a-z_=!()\" `\\\\]{0,40}") {
            if let Err(error) = Filter::parse(&text) {
                prop_assert!((1..=text.chars().count() + 1).contains(&error.column));
            }
        }
    }
}
