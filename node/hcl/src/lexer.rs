//! The words of HCL 1: comments, names, numbers, brackets.

use crate::cursor::Cursor;
use crate::error::{ParseError, Position};
use crate::heredoc::heredoc;
use crate::number::Number;
use crate::quoted::quoted;
use crate::token::Token;

/// Cuts a text into tokens, one at a time; comments vanish.
pub(crate) struct Lexer<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { cursor: Cursor::new(text) }
    }

    /// The next token and where it begins. After the end comes the end again.
    pub(crate) fn next(&mut self) -> Result<(Token, Position), ParseError> {
        self.skip_blanks()?;
        let position = self.cursor.position();
        Ok((self.token()?, position))
    }

    fn skip_blanks(&mut self) -> Result<(), ParseError> {
        loop {
            self.cursor.take_while(|next| matches!(next, ' ' | '\t' | '\n' | '\r'));
            match (self.cursor.peek(), self.cursor.peek_second()) {
                (Some('#'), _) | (Some('/'), Some('/')) => {
                    self.cursor.take_while(|next| next != '\n');
                }
                (Some('/'), Some('*')) => self.skip_long_comment()?,
                (Some('/'), _) => {
                    return Err(self
                        .cursor
                        .error("a lone '/'; a comment begins with '//' or '/*'"));
                }
                _ => return Ok(()),
            }
        }
    }

    fn skip_long_comment(&mut self) -> Result<(), ParseError> {
        let after_open = &self.cursor.rest()[2..];
        let Some(length) = after_open.find("*/") else {
            return Err(self.cursor.error("the comment is not closed; end it with '*/'"));
        };
        self.cursor.skip(length + 4);
        Ok(())
    }

    fn token(&mut self) -> Result<Token, ParseError> {
        let Some(first) = self.cursor.peek() else { return Ok(Token::End) };
        let second_is_digit = self.cursor.peek_second().is_some_and(|next| next.is_ascii_digit());
        if first.is_ascii_digit() || (matches!(first, '-' | '.') && second_is_digit) {
            return self.number();
        }
        if is_letter(first) {
            return Ok(self.word());
        }
        let token = match first {
            '"' => return quoted(&mut self.cursor).map(Token::Quoted),
            '<' => return heredoc(&mut self.cursor).map(Token::Heredoc),
            '=' => Token::Assign,
            ',' => Token::Comma,
            '{' => Token::OpenBrace,
            '}' => Token::CloseBrace,
            '[' => Token::OpenBracket,
            ']' => Token::CloseBracket,
            other => {
                return Err(self.cursor.error(format!("unexpected character {other:?}; quote it")));
            }
        };
        self.cursor.next();
        Ok(token)
    }

    fn word(&mut self) -> Token {
        let word = self.cursor.take_while(|next| is_word(next) || matches!(next, '-' | '.'));
        match word {
            "true" => Token::Bool(true),
            "false" => Token::Bool(false),
            _ => Token::Word(word.into()),
        }
    }

    fn number(&mut self) -> Result<Token, ParseError> {
        let before = self.cursor.rest();
        let start = self.cursor.position();
        self.cursor.eat('-');
        if self.cursor.peek() == Some('0') && matches!(self.cursor.peek_second(), Some('x' | 'X')) {
            self.cursor.skip(2);
            if self.cursor.take_while(|next| next.is_ascii_hexdigit()).is_empty() {
                return Err(self.cursor.error("expected hexadecimal digits after '0x'"));
            }
        } else {
            self.decimal(start)?;
        }
        if self.cursor.peek().is_some_and(|next| is_word(next) || next == '.') {
            let message = "expected the number to end here; quote what is more than a number";
            return Err(self.cursor.error(message));
        }
        let length = before.len() - self.cursor.rest().len();
        Ok(Token::Number(Number::new(before[..length].into())))
    }

    /// Digits, fraction, exponent. A leading zero makes whole numbers octal.
    fn decimal(&mut self, start: Position) -> Result<(), ParseError> {
        let digit = |next: char| next.is_ascii_digit();
        let digits = self.cursor.take_while(digit);
        let mut is_whole = true;
        if self.cursor.eat('.') {
            self.cursor.take_while(digit);
            is_whole = false;
        }
        if matches!(self.cursor.peek(), Some('e' | 'E')) {
            self.cursor.next();
            let _ = self.cursor.eat('-') || self.cursor.eat('+');
            if self.cursor.take_while(digit).is_empty() {
                return Err(self.cursor.error("expected the digits of an exponent"));
            }
            is_whole = false;
        }
        if is_whole && digits.len() > 1 && digits.starts_with('0') && digits.contains(['8', '9']) {
            let message = "a number that begins with 0 is octal and has no 8 or 9; drop the 0";
            return Err(ParseError::new(start, message));
        }
        Ok(())
    }
}

/// Begins a word.
pub(crate) fn is_letter(character: char) -> bool {
    character == '_' || character.is_alphabetic()
}

/// Continues a word.
pub(crate) fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}
