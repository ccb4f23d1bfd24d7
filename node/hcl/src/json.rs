//! The grammar of JSON, with positions and repeated keys.

use crate::body::{Body, Element, Item, Key, Value};
use crate::cursor::Cursor;
use crate::error::{ParseError, Position};
use crate::limits::Budget;
use crate::number::Number;

/// Parses a JSON object, RFC 8259 but for two things: members may be repeated and are all kept, and
/// a comma may follow the last member or element, as in Go's parser.
pub(crate) fn parse(text: &str) -> Result<Body, ParseError> {
    let mut parser = Parser { cursor: Cursor::new(text), budget: Budget::default() };
    parser.cursor.take_while(char::is_whitespace);
    let start = parser.cursor.position();
    parser.cursor.next();
    let body = parser.object(start)?;
    let end = parser.skip_blanks();
    if parser.cursor.peek().is_some() {
        return Err(ParseError::new(end, "expected the end of the text after the JSON object"));
    }
    Ok(body)
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    budget: Budget,
}

impl Parser<'_> {
    fn skip_blanks(&mut self) -> Position {
        self.cursor.take_while(|next| matches!(next, ' ' | '\t' | '\n' | '\r'));
        self.cursor.position()
    }

    /// What follows the `{` at `start`.
    fn object(&mut self, start: Position) -> Result<Body, ParseError> {
        self.budget.enter(start)?;
        let mut items = Vec::new();
        loop {
            let position = self.skip_blanks();
            if self.cursor.eat('}') {
                break;
            }
            self.budget.take_item(position)?;
            if self.cursor.peek() != Some('"') {
                return Err(self.unexpected("a key in quotes or '}'"));
            }
            let key = Key { text: self.string()?, position };
            self.skip_blanks();
            if !self.cursor.eat(':') {
                return Err(self.unexpected("':' after a key"));
            }
            self.skip_blanks();
            items.push(Item { keys: vec![key], value: self.value()?, position });
            self.separator('}', "',' or '}' after a member")?;
        }
        self.budget.leave();
        Ok(Body { items })
    }

    /// What follows the `[` at `start`.
    fn list(&mut self, start: Position) -> Result<Value, ParseError> {
        self.budget.enter(start)?;
        let mut elements = Vec::new();
        loop {
            let position = self.skip_blanks();
            if self.cursor.eat(']') {
                break;
            }
            self.budget.take_item(position)?;
            elements.push(Element { value: self.value()?, position });
            self.separator(']', "',' or ']' after an element")?;
        }
        self.budget.leave();
        Ok(Value::List(elements))
    }

    /// Passes a comma, or stops before `close`.
    fn separator(&mut self, close: char, expected: &str) -> Result<(), ParseError> {
        self.skip_blanks();
        if self.cursor.eat(',') || self.cursor.peek() == Some(close) {
            return Ok(());
        }
        Err(self.unexpected(expected))
    }

    fn value(&mut self) -> Result<Value, ParseError> {
        let start = self.cursor.position();
        match self.cursor.peek() {
            Some('"') => self.string().map(Value::String),
            Some('-' | '0'..='9') => self.number().map(Value::Number),
            Some('{') => {
                self.cursor.next();
                self.object(start).map(Value::Object)
            }
            Some('[') => {
                self.cursor.next();
                self.list(start)
            }
            Some(letter) if letter.is_ascii_alphabetic() => {
                match self.cursor.take_while(|next| next.is_ascii_alphanumeric()) {
                    "true" => Ok(Value::Bool(true)),
                    "false" => Ok(Value::Bool(false)),
                    "null" => Ok(Value::String(String::new())),
                    _ => Err(ParseError::new(
                        start,
                        "expected a value, found a bare word; put it in quotes",
                    )),
                }
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    fn number(&mut self) -> Result<Number, ParseError> {
        let before = self.cursor.rest();
        let start = self.cursor.position();
        let digit = |next: char| next.is_ascii_digit();
        self.cursor.eat('-');
        let whole = self.cursor.take_while(digit);
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(ParseError::new(start, "a JSON number has no leading 0; drop it"));
        }
        let mut is_complete = !whole.is_empty();
        if self.cursor.eat('.') {
            is_complete &= !self.cursor.take_while(digit).is_empty();
        }
        if self.cursor.eat('e') || self.cursor.eat('E') {
            let _ = self.cursor.eat('-') || self.cursor.eat('+');
            is_complete &= !self.cursor.take_while(digit).is_empty();
        }
        if !is_complete {
            return Err(self.unexpected("a digit of the number"));
        }
        Ok(Number::new(before[..before.len() - self.cursor.rest().len()].into()))
    }

    fn string(&mut self) -> Result<String, ParseError> {
        let start = self.cursor.position();
        self.cursor.next();
        let mut text = String::new();
        loop {
            let position = self.cursor.position();
            match self.cursor.next() {
                None => {
                    let message = "the string is not closed; end it with '\"'";
                    return Err(ParseError::new(start, message));
                }
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape(position)?),
                Some(control) if control < ' ' => {
                    let message = "a control character in a string; write it as an escape";
                    return Err(ParseError::new(position, message));
                }
                Some(other) => text.push(other),
            }
        }
    }

    fn escape(&mut self, start: Position) -> Result<char, ParseError> {
        Ok(match self.cursor.next() {
            Some(same @ ('"' | '\\' | '/')) => same,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                return self.code_point().ok_or_else(|| {
                    ParseError::new(start, "expected the four digits of a character after '\\u'")
                });
            }
            _ => {
                let message = "an unknown escape; write '\\\\' for a backslash";
                return Err(ParseError::new(start, message));
            }
        })
    }

    /// The character of `\uXXXX`, or of a pair of surrogates.
    fn code_point(&mut self) -> Option<char> {
        let high = self.four_digits()?;
        if !(0xd800..0xdc00).contains(&high) {
            return char::from_u32(high);
        }
        if !(self.cursor.eat('\\') && self.cursor.eat('u')) {
            return None;
        }
        let low = self.four_digits()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)
    }

    fn four_digits(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |code, _| Some(code * 16 + self.cursor.next()?.to_digit(16)?))
    }

    fn unexpected(&self, expected: &str) -> ParseError {
        // The character itself could belong to a value, so it is not repeated.
        let found = if self.cursor.peek().is_some() { "something else" } else { "the end" };
        self.cursor.error(format!("expected {expected}, found {found}"))
    }
}
