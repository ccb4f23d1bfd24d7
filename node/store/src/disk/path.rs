//! Which paths are taken: relative, without `..`, so that no caller can leave the data directory.

use std::io;

/// Checks a file's path.
pub(super) fn check_file(path: &str) -> io::Result<()> {
    if path.is_empty() || !is_contained(path) {
        return Err(refusal(path));
    }
    Ok(())
}

/// Checks a directory's path; the empty path is the data directory.
pub(super) fn check_directory(path: &str) -> io::Result<()> {
    if path.is_empty() || is_contained(path) { Ok(()) } else { Err(refusal(path)) }
}

/// The directory that holds `path`.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The last component of `path`.
pub(super) fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn is_contained(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
}

fn refusal(path: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "path {path:?} is not a plain path inside the data directory: give a relative one without `.` and `..`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_taken() {
        for good in ["a", "log/mark", "a/b/c"] {
            check_file(good).unwrap();
            check_directory(good).unwrap();
        }
        for bad in ["/etc/passwd", "..", "../x", "a/../b", "a//b", "a/", "./a", "a\0b"] {
            assert!(check_file(bad).is_err(), "{bad:?}");
            assert!(check_directory(bad).is_err(), "{bad:?}");
        }
        check_directory("").unwrap();
        assert!(check_file("").is_err());
    }

    #[test]
    fn a_path_splits_into_parent_and_name() {
        assert_eq!((parent("a/b/c"), name("a/b/c")), ("a/b", "c"));
        assert_eq!((parent("c"), name("c")), ("", "c"));
    }
}
