//! The grammar of HCL 1. Ends of lines mean nothing to it.

use crate::body::{Body, Element, Item, Key, Value};
use crate::error::{ParseError, Position};
use crate::lexer::Lexer;
use crate::limits::Budget;
use crate::token::Token;

/// Parses HCL 1 whose line ends are `\n`.
pub(crate) fn parse(text: &str) -> Result<Body, ParseError> {
    let mut lexer = Lexer::new(text);
    let next = lexer.next()?;
    let mut parser = Parser { lexer, next, budget: Budget::default() };
    let mut items = Vec::new();
    while !matches!(parser.next.0, Token::End) {
        items.push(parser.item()?);
    }
    Ok(Body { items })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token that comes next, and where it begins.
    next: (Token, Position),
    budget: Budget,
}

impl Parser<'_> {
    fn advance(&mut self) -> Result<(Token, Position), ParseError> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// One item, and the comma after it if there is one.
    fn item(&mut self) -> Result<Item, ParseError> {
        let position = self.next.1;
        let keys = self.keys()?;
        let (separator, separator_position) = self.advance()?;
        let value = match separator {
            Token::OpenBrace => self.object(separator_position)?,
            Token::Assign if keys.len() == 1 => self.value()?,
            Token::Assign => {
                return Err(ParseError::new(
                    separator_position,
                    "expected '{' after several keys, found '='; remove it or all keys but one",
                ));
            }
            other => {
                let message = format!("expected '=' or '{{' after a key, found {}", other.name());
                return Err(ParseError::new(separator_position, message));
            }
        };
        self.eat_comma()?;
        Ok(Item { keys, value, position })
    }

    fn keys(&mut self) -> Result<Vec<Key>, ParseError> {
        let mut keys = Vec::new();
        while matches!(self.next.0, Token::Word(_) | Token::Quoted(_)) {
            let (token, position) = self.advance()?;
            self.budget.take_item(position)?;
            if let Token::Word(text) | Token::Quoted(text) = token {
                keys.push(Key { text, position });
            }
        }
        if keys.is_empty() {
            let message = format!("expected a key, found {}", self.next.0.name());
            return Err(ParseError::new(self.next.1, message));
        }
        Ok(keys)
    }

    fn value(&mut self) -> Result<Value, ParseError> {
        let (token, position) = self.advance()?;
        Ok(match token {
            Token::Quoted(text) | Token::Heredoc(text) => Value::String(text),
            Token::Number(number) => Value::Number(number),
            Token::Bool(flag) => Value::Bool(flag),
            Token::OpenBrace => self.object(position)?,
            Token::OpenBracket => self.list(position)?,
            Token::Word(_) => {
                let message = "expected a value, found a bare word; put it in quotes";
                return Err(ParseError::new(position, message));
            }
            other => {
                let message = format!("expected a value, found {}", other.name());
                return Err(ParseError::new(position, message));
            }
        })
    }

    /// What follows the `{` at `start`.
    fn object(&mut self, start: Position) -> Result<Value, ParseError> {
        self.budget.enter(start)?;
        let mut items = Vec::new();
        while !matches!(self.next.0, Token::CloseBrace) {
            if matches!(self.next.0, Token::End) {
                let message = format!("expected '}}' for the '{{' at {start}, found the end");
                return Err(ParseError::new(self.next.1, message));
            }
            items.push(self.item()?);
        }
        self.advance()?;
        self.budget.leave();
        Ok(Value::Object(Body { items }))
    }

    /// What follows the `[` at `start`. Between two elements stands at least one comma; more of
    /// them, before the first and after the last too, say nothing.
    fn list(&mut self, start: Position) -> Result<Value, ParseError> {
        self.budget.enter(start)?;
        let mut elements = Vec::new();
        let mut separated = true;
        while !matches!(self.next.0, Token::CloseBracket) {
            if self.eat_comma()? {
                separated = true;
                continue;
            }
            let position = self.next.1;
            if matches!(self.next.0, Token::End) {
                let message = format!("expected ']' for the '[' at {start}, found the end");
                return Err(ParseError::new(position, message));
            }
            if !separated {
                let message =
                    format!("expected ',' or ']' in a list, found {}", self.next.0.name());
                return Err(ParseError::new(position, message));
            }
            self.budget.take_item(position)?;
            elements.push(Element { value: self.value()?, position });
            separated = false;
        }
        self.advance()?;
        self.budget.leave();
        Ok(Value::List(elements))
    }

    fn eat_comma(&mut self) -> Result<bool, ParseError> {
        let found = matches!(self.next.0, Token::Comma);
        if found {
            self.advance()?;
        }
        Ok(found)
    }
}
