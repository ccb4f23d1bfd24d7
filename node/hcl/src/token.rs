//! What the lexer hands to the grammar.

use crate::number::Number;

/// The words of HCL 1. JSON has its own.
pub(crate) enum Token {
    Word(String),
    Quoted(String),
    Heredoc(String),
    Number(Number),
    Bool(bool),
    Assign,
    Comma,
    OpenBrace,
    CloseBrace,
    OpenBracket,
    CloseBracket,
    End,
}

impl Token {
    /// What it is, for messages, without what it holds: that may be a secret.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Word(_) => "a bare word",
            Self::Quoted(_) => "a string",
            Self::Heredoc(_) => "a heredoc",
            Self::Number(_) => "a number",
            Self::Bool(_) => "a boolean",
            Self::Assign => "'='",
            Self::Comma => "','",
            Self::OpenBrace => "'{'",
            Self::CloseBrace => "'}'",
            Self::OpenBracket => "'['",
            Self::CloseBracket => "']'",
            Self::End => "the end of the text",
        }
    }
}
