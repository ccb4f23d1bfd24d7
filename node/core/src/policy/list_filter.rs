//! `list_scan_response_keys_filter_path`: which path a caller must be able to read or list for a
//! name to appear in the answer to a LIST or SCAN.

/// A path made of text, `{{ .path }}` (the path that was listed) and `{{ .key }}` (the name).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListFilter {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Path,
    Key,
}

/// Why a text is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ListFilterError {
    /// Braces without a partner.
    #[error("unable to compile template: unbalanced '{{{{' and '}}}}'; write each as a pair")]
    Unbalanced,
    /// Something between the braces that nothing is known about.
    #[error("unable to compile template: only {{{{ .path }}}} and {{{{ .key }}}} can stand in it")]
    Unknown,
    /// Every name would lead to the same path.
    #[error("resulted in same path for two different keys; use {{{{ .key }}}} in it")]
    WithoutKey,
}

impl ListFilter {
    /// Takes the text of a policy.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Self, ListFilterError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or(ListFilterError::Unbalanced)?;
            if before.contains("}}") {
                return Err(ListFilterError::Unbalanced);
            }
            parts.push(Part::Text(before.into()));
            parts.push(match name.trim() {
                ".path" => Part::Path,
                ".key" => Part::Key,
                _ => return Err(ListFilterError::Unknown),
            });
            rest = after;
        }
        if rest.contains("}}") {
            return Err(ListFilterError::Unbalanced);
        }
        parts.push(Part::Text(rest.into()));
        if !parts.contains(&Part::Key) {
            return Err(ListFilterError::WithoutKey);
        }
        Ok(Self { parts })
    }

    /// The path to look at for `key` in the answer to a LIST of `path`.
    pub(crate) fn path_for(&self, path: &str, key: &str) -> String {
        let mut made = String::new();
        for part in &self.parts {
            made.push_str(match part {
                Part::Text(text) => text,
                Part::Path => path,
                Part::Key => key,
            });
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_of_path_and_key() {
        let filter = ListFilter::new("{{ .path }}x/{{.key}}").unwrap();
        assert_eq!(filter.path_for("kv/metadata/", "a"), "kv/metadata/x/a");
    }

    #[test]
    fn what_says_nothing_about_the_key_is_refused() {
        use ListFilterError::{Unbalanced, Unknown, WithoutKey};
        let cases = [
            ("kv/x", WithoutKey),
            ("{{ .path }}", WithoutKey),
            ("{{ .key }", Unbalanced),
            (".key }}", Unbalanced),
            ("{{ .key }} }}", Unbalanced),
            ("{{ .key | upper }}", Unknown),
        ];
        for (text, error) in cases {
            assert_eq!(ListFilter::new(text), Err(error), "{text}");
        }
    }
}
