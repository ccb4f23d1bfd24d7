//! What a text holds: items, keys, values.

use std::fmt;

use crate::error::Position;
use crate::number::Number;

/// What stands in a file or between `{` and `}`: items in their order. A key may be repeated.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Body {
    /// The items in the order of the text.
    pub items: Vec<Item>,
}

/// `key = value`, or `key "label" { … }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// At least one; more than one only before a block.
    pub keys: Vec<Key>,
    /// What the keys name.
    pub value: Value,
    /// Where the first key begins.
    pub position: Position,
}

/// One word before a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The word without its quotes.
    pub text: String,
    /// Where it begins, at its quote if it has one.
    pub position: Position,
}

/// A value in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// The value.
    pub value: Value,
    /// Where it begins.
    pub position: Position,
}

/// A value. JSON's `null` is the empty string, as in Go's parser.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// A quoted string or a heredoc, its escapes resolved, `${…}` kept as text.
    String(String),
    /// A number as it was written.
    Number(Number),
    /// `true` or `false`.
    Bool(bool),
    /// `[…]`
    List(Vec<Element>),
    /// `{…}`
    Object(Body),
}

impl Body {
    /// The items whose first key is `key`.
    pub fn get(&self, key: &str) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.keys.first().is_some_and(|own| own.text == key))
    }
}

impl Item {
    /// The words before the value, to be matched as a slice.
    #[must_use]
    pub fn keys_text(&self) -> Vec<&str> {
        self.keys.iter().map(|key| key.text.as_str()).collect()
    }
}

impl Value {
    /// What kind of value this is, with its article, for messages.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Number(_) => "a number",
            Self::Bool(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// A boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(flag) = self { Some(*flag) } else { None }
    }

    /// The elements of a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Element]> {
        if let Self::List(elements) = self { Some(elements) } else { None }
    }

    /// The body of an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&Body> {
        if let Self::Object(body) = self { Some(body) } else { None }
    }

    /// A whole number that fits; a number in quotes is a string.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Number(number) = self { number.as_i64() } else { None }
    }
}

/// Shows the shape. A configuration value may be a secret, so no string is shown.
impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(elements) => formatter.debug_list().entries(elements).finish(),
            Self::Object(body) => body.fmt(formatter),
            _ => formatter.write_str(self.kind_name()),
        }
    }
}
