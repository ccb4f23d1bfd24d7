//! Reads HCL version 1 and JSON, the language of policies and configuration files.
//!
//! Owns the grammar and nothing else: no unit, no default, no known key, no file. What Go's HCL 1
//! parser takes is taken with the same meaning; what it refuses is refused, with these exceptions.
//! A byte order mark is skipped, a heredoc may end with the file, and JSON may hold booleans and
//! lists in lists. Nothing may follow a JSON text, byte escapes have to make UTF-8, and a word may not
//! touch a number: `1h` has to be quoted.
//!
//! JSON is read as it stands. `{"path": {"a": {}}}` is one item `path` that holds an object, where
//! `path "a" {}` is one item with two keys; whoever reads a body knows both forms.
//!
//! Invariant: no text panics, recursion is bounded by [`DEPTH_MAX`], memory by [`INPUT_BYTES_MAX`]
//! and [`ITEMS_MAX`]. No error and no `Debug` repeats a value, for a value may be a secret.
//!
//! Must never know: what a key means.

mod body;
mod cursor;
mod error;
mod hcl;
mod heredoc;
mod json;
mod lexer;
mod limits;
mod number;
mod quoted;
mod token;

pub use body::{Body, Element, Item, Key, Value};
pub use error::{ParseError, Position};
pub use limits::{DEPTH_MAX, INPUT_BYTES_MAX, ITEMS_MAX};
pub use number::Number;

use cursor::Cursor;

/// Parses HCL 1, or JSON when the first character that is not blank is `{`.
///
/// # Errors
/// The first thing that is wrong, where it stands and what was expected there.
pub fn parse(text: &str) -> Result<Body, ParseError> {
    if text.len() > INPUT_BYTES_MAX {
        let message = format!("the text is longer than {INPUT_BYTES_MAX} bytes; split it");
        return Err(ParseError::new(Position::START, message));
    }
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    if let Some(at) = text.find('\0') {
        let position = Cursor::new(text).position_after(at);
        return Err(ParseError::new(position, "a null character; remove it"));
    }
    if text.trim_start().starts_with('{') {
        json::parse(text)
    } else {
        hcl::parse(&text.replace("\r\n", "\n"))
    }
}

const BYTE_ORDER_MARK: char = '\u{feff}';

#[cfg(test)]
mod tests;
