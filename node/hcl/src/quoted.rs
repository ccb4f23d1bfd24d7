//! Quoted strings of HCL 1: escapes, and `${…}` as text.

use crate::cursor::Cursor;
use crate::error::ParseError;

/// Reads a string from its opening quote to its closing one.
///
/// `\x` and octal escapes name bytes, as in Go; together they have to make UTF-8.
pub(crate) fn quoted(cursor: &mut Cursor<'_>) -> Result<String, ParseError> {
    let start = cursor.position();
    cursor.next();
    let mut bytes = Vec::new();
    loop {
        match (cursor.peek(), cursor.peek_second()) {
            (None | Some('\n'), _) => {
                return Err(ParseError::new(
                    start,
                    "the string is not closed on its line; end it with '\"' or use a heredoc",
                ));
            }
            (Some('"'), _) => break,
            (Some('\\'), _) => escape(cursor, &mut bytes)?,
            (Some('$'), Some('{')) => interpolation(cursor, &mut bytes)?,
            (Some(other), _) => {
                push(&mut bytes, other);
                cursor.next();
            }
        }
    }
    cursor.next();
    String::from_utf8(bytes).map_err(|_| {
        ParseError::new(start, "the string's byte escapes are not UTF-8; write \\u escapes")
    })
}

/// `${…}` is text; quotes within need no escape, and `\"` is a quote, too. It may span lines.
fn interpolation(cursor: &mut Cursor<'_>, bytes: &mut Vec<u8>) -> Result<(), ParseError> {
    let start = cursor.position();
    cursor.skip(2);
    bytes.extend(b"${");
    let mut open = 1_usize;
    while open > 0 {
        let next = cursor.next().ok_or_else(|| {
            ParseError::new(start, "'${' is not closed; end it with '}' or write \"\\u0024{\"")
        })?;
        match next {
            '\\' if cursor.peek() == Some('"') => continue,
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        push(bytes, next);
    }
    Ok(())
}

fn escape(cursor: &mut Cursor<'_>, bytes: &mut Vec<u8>) -> Result<(), ParseError> {
    let start = cursor.position();
    let unknown = || ParseError::new(start, "an unknown escape; write '\\\\' for a backslash");
    cursor.next();
    let letter = cursor.peek().ok_or_else(unknown)?;
    let simple = match letter {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '"' => b'"',
        '0'..='7' => {
            let code = digits(cursor, 3, 8).and_then(|code| u8::try_from(code).ok());
            bytes.push(code.ok_or_else(|| {
                ParseError::new(start, "an octal escape has three digits, at most \\377")
            })?);
            return Ok(());
        }
        'x' | 'u' | 'U' => {
            cursor.next();
            return hexadecimal(cursor, letter, bytes)
                .map_err(|message| ParseError::new(start, message));
        }
        _ => return Err(unknown()),
    };
    cursor.next();
    bytes.push(simple);
    Ok(())
}

fn hexadecimal(
    cursor: &mut Cursor<'_>,
    letter: char,
    bytes: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let (count, expected) = match letter {
        'x' => (2, "expected two hexadecimal digits after '\\x'"),
        'u' => (4, "expected four hexadecimal digits after '\\u'"),
        _ => (8, "expected eight hexadecimal digits after '\\U'"),
    };
    let code = digits(cursor, count, 16).ok_or(expected)?;
    if letter == 'x' {
        bytes.push(u8::try_from(code).map_err(|_| expected)?);
    } else {
        push(
            bytes,
            char::from_u32(code).ok_or("the escape names no character; use its code point")?,
        );
    }
    Ok(())
}

fn digits(cursor: &mut Cursor<'_>, count: usize, radix: u32) -> Option<u32> {
    (0..count).try_fold(0_u32, |code, _| {
        let digit = cursor.peek()?.to_digit(radix)?;
        cursor.next();
        code.checked_mul(radix)?.checked_add(digit)
    })
}

fn push(bytes: &mut Vec<u8>, character: char) {
    bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
}
