//! Route patterns: `config`, `keys/:name`, `data/*path`.

/// Whether `path` matches. `:name` takes one segment, `*name` as many as the rest of the pattern
/// leaves. At the end of a pattern it may take none where the path ends in the slash before it, as a
/// LIST's does.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    match split_at_star(pattern) {
        None => {
            let (parts, segments): (Vec<_>, Vec<_>) =
                (pattern.split('/').collect(), path.split('/').collect());
            parts.len() == segments.len() && fit(&parts, &segments)
        }
        Some((head, tail)) => {
            let segments: Vec<_> = path.split('/').collect();
            let taken = segments.len().saturating_sub(head.len() + tail.len());
            taken > 0
                && fit(&head, &segments[..head.len()])
                && fit(&tail, &segments[head.len() + taken..])
        }
    }
}

/// What stands in `path` for the last name of a pattern that matches it.
pub(crate) fn capture<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    if let Some((head, tail)) = split_at_star(pattern) {
        let rest = path.splitn(head.len() + 1, '/').nth(head.len())?.trim_end_matches('/');
        let mut end = rest;
        for _ in &tail {
            end = end.rsplit_once('/')?.0;
        }
        return Some(end);
    }
    let place = pattern.split('/').collect::<Vec<_>>().iter().rposition(|p| p.starts_with(':'))?;
    path.split('/').nth(place)
}

/// The parts before and after `*name`.
fn split_at_star(pattern: &str) -> Option<(Vec<&str>, Vec<&str>)> {
    let parts: Vec<&str> = pattern.split('/').collect();
    let place = parts.iter().position(|part| part.starts_with('*'))?;
    Some((parts[..place].to_vec(), parts[place + 1..].to_vec()))
}

fn fit(parts: &[&str], segments: &[&str]) -> bool {
    parts.iter().zip(segments).all(|(part, segment)| {
        if part.starts_with(':') { !segment.is_empty() } else { part == segment }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_is_captured() {
        let cases = [
            ("a/:name", "a/x", Some("x")),
            ("a/:name/b", "a/x/b", Some("x")),
            ("a/:one/:two", "a/x/y", Some("y")),
            ("a/*rest", "a/x/y", Some("x/y")),
            ("a/*rest", "a/x/", Some("x")),
            ("a/*rest/tune", "a/x/y/tune", Some("x/y")),
            ("a/b", "a/b", None),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(capture(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn patterns_match_whole_paths() {
        let cases = [
            ("config", "config", true),
            ("config", "config/x", false),
            ("config", "configx", false),
            ("data/*path", "data/a/b", true),
            ("data/*path", "data", false),
            ("data/*path", "database/a", false),
            ("metadata/*path", "metadata/", true),
            ("keys/:name", "keys/a", true),
            ("keys/:name", "keys/", false),
            ("keys/:name/config", "keys/a/config", true),
            ("keys/:name", "keys/a/b", false),
            ("a/*path/tune", "a/x/y/tune", true),
            ("a/*path/tune", "a/tune", false),
            ("a/*path/tune", "a/x", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
