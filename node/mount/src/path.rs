//! How names may be spelled. The core asks before it routes; an engine asks about names that stand
//! in a body, so that both know the same names.

/// The longest path.
pub const PATH_BYTES_MAX: usize = 4096;

/// The longest segment; what can be encrypted as one name.
pub const SEGMENT_BYTES_MAX: usize = 1000;

/// The deepest path. Storage takes twice as many, so that engines have room of their own.
pub const SEGMENTS_MAX: usize = 64;

/// Checks a path's spelling: segments that are not empty, `.` or `..`, joined by single slashes,
/// nothing hidden and no escape in them.
///
/// # Errors
/// The rule that it breaks.
pub fn check(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("it is empty".into());
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(format!("it is longer than {PATH_BYTES_MAX} bytes"));
    }
    if path.chars().any(is_forbidden) {
        return Err("it has a control character, an invisible character or a backslash".into());
    }
    if has_percent_code(path) {
        return Err("it is percent-encoded more than once".into());
    }
    if path.split('/').count() > SEGMENTS_MAX {
        return Err(format!("it has more than {SEGMENTS_MAX} segments"));
    }
    path.split('/').try_for_each(check_segment)
}

fn check_segment(segment: &str) -> Result<(), String> {
    match segment {
        "" => Err("it has an empty segment; write one '/' between segments and none around \
                   them"
            .into()),
        "." | ".." => Err("it has a '.' or '..' segment; write the path without them".into()),
        _ if segment.len() > SEGMENT_BYTES_MAX => {
            Err(format!("a segment is longer than {SEGMENT_BYTES_MAX} bytes"))
        }
        _ => Ok(()),
    }
}

/// Whether a value may become part of a path: nothing in it is hidden or an escape.
#[must_use]
pub fn is_plain(value: &str) -> bool {
    !value.chars().any(is_forbidden) && !has_percent_code(value)
}

/// Two names that look the same must be the same.
fn is_forbidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\\' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether `%` and two hexadecimal digits are left after decoding once: somebody encoded twice,
/// perhaps hoping that somebody decodes twice.
fn has_percent_code(path: &str) -> bool {
    path.as_bytes().windows(3).any(|three| {
        three[0] == b'%' && three[1].is_ascii_hexdigit() && three[2].is_ascii_hexdigit()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_one_spelling() {
        let deep = vec!["a"; SEGMENTS_MAX].join("/");
        for path in ["a", "a/b", "a b", "a%b", "\u{e4}", &deep] {
            assert_eq!(check(path), Ok(()), "{path:?}");
        }
        let (long, deep) = ("a".repeat(SEGMENT_BYTES_MAX + 1), format!("{deep}/a"));
        let wide = vec!["a".repeat(SEGMENT_BYTES_MAX); 5].join("/");
        let wrong =
            ["", "/", "a/", "/a", "a//b", ".", "a/../b", "a\\b", "a%2fb", "a\u{200b}", "a\n"];
        for path in wrong.into_iter().chain([long.as_str(), &deep, &wide]) {
            assert!(check(path).is_err(), "{path:?}");
        }
    }
}
