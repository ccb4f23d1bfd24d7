//! Reading a text character by character, with line and column.

use crate::error::{ParseError, Position};

/// A place in a text that only moves forward.
pub(crate) struct Cursor<'a> {
    rest: &'a str,
    position: Position,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text, position: Position::START }
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// What is still to be read.
    pub(crate) fn rest(&self) -> &'a str {
        self.rest
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// The character after the next.
    pub(crate) fn peek_second(&self) -> Option<char> {
        self.rest.chars().nth(1)
    }

    pub(crate) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        if next == '\n' {
            self.position = Position { line: self.position.line + 1, column: 1 };
        } else {
            self.position.column += 1;
        }
        Some(next)
    }

    /// Passes `wanted` if it comes next.
    pub(crate) fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    /// Passes what `wanted` holds for.
    pub(crate) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let before = self.rest;
        while self.peek().is_some_and(&wanted) {
            self.next();
        }
        &before[..before.len() - self.rest.len()]
    }

    /// Passes `bytes` bytes, which end at a character's border.
    pub(crate) fn skip(&mut self, bytes: usize) {
        let left = self.rest.len().saturating_sub(bytes);
        while self.rest.len() > left {
            self.next();
        }
    }

    /// Where the reader is after that many bytes.
    pub(crate) fn position_after(mut self, bytes: usize) -> Position {
        self.skip(bytes);
        self.position
    }

    /// An error at this place.
    pub(crate) fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError::new(self.position, message)
    }
}
