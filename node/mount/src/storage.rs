//! An engine's own rows.

use bytes::Bytes;

/// One row. It has no `Debug`: its value is secret.
#[derive(Clone)]
pub struct Entry {
    /// The bytes that were put there.
    pub value: Bytes,
    /// The revision of the write.
    pub revision: u64,
}

/// Part of a directory's children, in byte order.
#[derive(Debug, Default)]
pub struct ListPage {
    /// Names; those of sub-directories end in `/`.
    pub names: Vec<String>,
    /// Whether more follow after the last one.
    pub more: bool,
}

/// Why a row could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The view is too old to be kept.
    #[error("the view is too old")]
    Busy,
    /// The value is above the limit; nothing was proposed.
    #[error("the value has {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        bytes_max: usize,
    },
    /// The path has an empty or over-long segment.
    #[error("{0}")]
    BadName(String),
    /// A record cannot be opened; the text is for the log.
    #[error("{0}")]
    Damaged(String),
}

/// One request's view of its mount's rows, and the batch it writes.
///
/// Reads see one revision plus the request's own writes. Every row and directory that is read
/// becomes a condition of the commit, so that a request never acts on what has changed meanwhile.
/// Paths are slash-separated, canonical, without a leading or trailing slash; the names in them are
/// encrypted below.
pub trait Storage: Send {
    /// The row at `path`.
    ///
    /// # Errors
    /// As [`StorageError`] says.
    fn get(&mut self, path: &str) -> Result<Option<Entry>, StorageError>;

    /// Writes `value` at `path` when the request commits.
    ///
    /// # Errors
    /// `TooLarge`, `BadName`.
    fn put(&mut self, path: &str, value: Bytes) -> Result<(), StorageError>;

    /// Deletes the row at `path` when the request commits; no error where none is there.
    ///
    /// # Errors
    /// `BadName`.
    fn delete(&mut self, path: &str) -> Result<(), StorageError>;

    /// Children of the directory `path` (empty: the mount's root), sorted, those after `after`, at
    /// most `limit`.
    ///
    /// # Errors
    /// As [`StorageError`] says.
    fn list(
        &mut self,
        path: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StorageError>;
}
