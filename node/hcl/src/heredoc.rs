//! Heredocs, whose indentation is the subtle part.

use crate::cursor::Cursor;
use crate::error::ParseError;
use crate::lexer::is_word;

/// Reads `<<TAG` or `<<-TAG`, lines, and a line that is `TAG` but for blanks before it.
///
/// After `<<` the text keeps the blanks that stand before the closing tag, as in Go. After `<<-`
/// those blanks are taken from each line if every line begins with them, from none otherwise.
pub(crate) fn heredoc(cursor: &mut Cursor<'_>) -> Result<String, ParseError> {
    let start = cursor.position();
    cursor.next();
    if !cursor.eat('<') {
        return Err(ParseError::new(start, "a lone '<'; a heredoc begins with '<<'"));
    }
    let unindents = cursor.eat('-');
    let tag = cursor.take_while(is_word);
    if tag.is_empty() {
        return Err(cursor.error("expected the heredoc's tag, a word such as EOT"));
    }
    cursor.eat('\r');
    if !cursor.eat('\n') {
        return Err(cursor.error("expected a new line after the heredoc's tag"));
    }
    let text = cursor.rest();
    loop {
        let line_start = text.len() - cursor.rest().len();
        if cursor.rest().is_empty() {
            let message = "the heredoc is not closed; end it with its tag on a line of its own";
            return Err(ParseError::new(start, message));
        }
        let line = cursor.take_while(|next| next != '\n');
        cursor.eat('\n');
        let unindented = line.trim_start_matches(is_blank);
        if unindented.trim_end_matches('\r') == tag {
            let indent = &line[..line.len() - unindented.len()];
            return Ok(content(&text[..line_start], indent, unindents));
        }
    }
}

fn content(lines: &str, indent: &str, unindents: bool) -> String {
    if !unindents {
        return format!("{lines}{indent}");
    }
    let stripped = lines.split_inclusive('\n').map(|line| line.strip_prefix(indent));
    stripped.collect::<Option<String>>().unwrap_or_else(|| lines.into())
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}
