//! Route patterns: `config`, `keys/:name`, `data/*path`.

/// Whether `path` matches. `:name` takes one segment, `*name` the rest, which may be empty only
/// where the path ends in the slash before it, as a LIST's does.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for part in pattern.split('/') {
        let Some(segment) = segments.next() else { return false };
        if part.starts_with('*') {
            return true;
        }
        let fits = if part.starts_with(':') { !segment.is_empty() } else { part == segment };
        if !fits {
            return false;
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
