//! The one canonicaliser: routing, policy, audit and storage see what passed here, and only that.
//! The doors only decode; they ask here, too, before they read a body.

use std::borrow::Cow;

pub(crate) use conclave_mount::path::PATH_BYTES_MAX;
pub(crate) use conclave_mount::path::is_plain;
#[cfg(test)]
use conclave_mount::path::{SEGMENT_BYTES_MAX, SEGMENTS_MAX};

use crate::{Error, Operation};

/// A path with exactly one spelling: segments that are not empty, `.` or `..`, joined by single
/// slashes, without one in front; one at the end if and only if the operation is LIST or SCAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalPath(String);

impl CanonicalPath {
    /// Takes a path that was percent-decoded once. Folds only what clients rely on: a LIST gets its
    /// slash, and names that mean the same in every case are in lower case from here on, so that no
    /// other spelling of a name goes past a policy.
    ///
    /// # Errors
    /// `InvalidRequest`, naming the rule.
    pub fn new(path: &str, operation: Operation) -> Result<Self, Error> {
        let list = operation.lists();
        let inner = if list { path.strip_suffix('/').unwrap_or(path) } else { path };
        let inner = &*fold(inner);
        conclave_mount::path::check(inner)
            .map_err(|rule| Error::invalid(format!("the path is not canonical: {rule}")))?;
        let slash = if list { "/" } else { "" };
        Ok(Self([inner, slash].concat()))
    }

    /// The path's one spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The path with its name in lower case, where it names something whose case means nothing.
fn fold(path: &str) -> Cow<'_, str> {
    if FOLDED_BELOW.iter().any(|prefix| path.starts_with(prefix)) {
        return path.to_lowercase().into();
    }
    path.into()
}

/// Policies, and headers of requests. Their handlers rely on it.
const FOLDED_BELOW: [&str; 3] =
    ["sys/policy/", "sys/policies/acl/", "sys/config/auditing/request-headers/"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepted(path: &str, operation: Operation) -> Option<String> {
        CanonicalPath::new(path, operation).ok().map(|path| path.0)
    }

    /// THREATS row 1: nothing that anybody might resolve reaches a policy or a handler.
    #[test]
    fn row_001_dot_segments_are_refused_in_every_spelling() {
        let paths = [
            "kv/metadata/a/../b",
            "kv/metadata/a/%2e%2e/b",
            "kv/metadata/a/..%2fb",
            "kv/metadata/a/%252e%252e/b",
            "kv/metadata/a\\..\\b",
            "kv/metadata/a/..",
            "kv/metadata/./b",
            "..",
            ".",
        ];
        for path in paths {
            for operation in [Operation::Delete, Operation::Read, Operation::List] {
                assert_eq!(accepted(path, operation), None, "{path}");
            }
        }
    }

    /// THREATS row 5: what decoders disagree about.
    #[test]
    fn row_005_control_and_invisible_characters_are_refused() {
        for path in [
            "a\0b",
            "a\r\nb",
            "a\u{7f}",
            "a\u{200b}b",
            "a\u{202e}b",
            "\u{feff}a",
            "a\tb",
            "a\u{e0041}",
        ] {
            assert_eq!(accepted(path, Operation::Read), None, "{path:?}");
        }
    }

    /// THREATS row 2: the policy is asked about the name that the handler uses.
    #[test]
    fn row_002_names_without_case_have_one_spelling_before_any_policy() {
        for (path, expected) in [
            ("sys/policy/ADMIN", "sys/policy/admin"),
            ("sys/policies/acl/Team/Admin", "sys/policies/acl/team/admin"),
            (
                "sys/config/auditing/request-headers/X-Id",
                "sys/config/auditing/request-headers/x-id",
            ),
            ("secret/data/ADMIN", "secret/data/ADMIN"),
        ] {
            for operation in [Operation::Read, Operation::Write, Operation::Delete] {
                assert_eq!(accepted(path, operation).as_deref(), Some(expected));
            }
        }
    }

    /// THREATS row 6: one slash between segments, and one at the end of a LIST only.
    #[test]
    fn row_006_slashes_are_single() {
        for path in ["/sys/x", "kv//data/x", "kv/data/x/", "/", "//", "kv/data//"] {
            assert_eq!(accepted(path, Operation::Read), None, "{path}");
        }
        for path in ["kv//", "//", "/", "/kv/", ""] {
            assert_eq!(accepted(path, Operation::List), None, "{path}");
        }
        assert_eq!(accepted("kv/metadata", Operation::List).as_deref(), Some("kv/metadata/"));
        assert_eq!(accepted("kv/metadata/", Operation::List).as_deref(), Some("kv/metadata/"));
    }

    /// THREATS row 54: over-long names stop here, before anything is proposed.
    #[test]
    fn row_054_long_paths_are_refused() {
        assert_eq!(accepted(&"k".repeat(64 * 1024), Operation::Write), None);
        assert_eq!(accepted(&"k".repeat(SEGMENT_BYTES_MAX + 1), Operation::Write), None);
        assert_eq!(accepted(&vec!["k"; 10_000].join("/"), Operation::Write), None);
        assert_eq!(accepted(&vec!["k"; SEGMENTS_MAX + 1].join("/"), Operation::Write), None);
        assert!(accepted(&"k".repeat(SEGMENT_BYTES_MAX), Operation::Write).is_some());
        assert!(accepted(&vec!["k"; SEGMENTS_MAX].join("/"), Operation::Write).is_some());
    }

    #[test]
    fn ordinary_names_pass_unchanged() {
        for path in ["secret/data/app", "kv/data/100%", "kv/data/a b", "kv/data/é/ü", "kv/data/..."]
        {
            assert_eq!(accepted(path, Operation::Read).as_deref(), Some(path));
        }
    }

    proptest! {
        #[test]
        fn what_passes_is_canonical_and_stays(path in "[a./%\\\\2eé\\x00-\\x20]{0,24}") {
            for operation in [Operation::Read, Operation::List] {
                let Some(once) = accepted(&path, operation) else { continue };
                prop_assert_eq!(accepted(&once, operation), Some(once.clone()));
                prop_assert!(!once.starts_with('/') && !once.contains("//"));
                prop_assert_eq!(once.ends_with('/'), operation == Operation::List);
                prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
                if operation == Operation::Read {
                    prop_assert_eq!(&once, &path);
                }
            }
        }

        #[test]
        fn no_text_panics(path in "\\PC{0,64}") {
            let _ = accepted(&path, Operation::Write);
        }
    }
}
