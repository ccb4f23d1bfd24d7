//! Logical places: what the layers above name.

/// A namespace's stable id. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamespaceId(pub [u8; 16]);

/// A mount's stable id. Never reused, so a remount moves no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MountId(pub [u8; 16]);

impl NamespaceId {
    /// The namespace that all others descend from.
    pub const ROOT: Self = Self([0; 16]);
}

impl MountId {
    /// The core's own rows.
    pub const CORE: Self = Self([0; 16]);
}

/// A logical row or directory: names in clear, encrypted by the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Whose row.
    pub namespace: NamespaceId,
    /// Under which mount of it.
    pub mount: MountId,
    /// Not empty for a row; may be empty for a directory (the mount's root).
    pub segments: Vec<String>,
    /// Whether its directory keeps no revision: see [`crate::ledger::Key::flat`].
    pub flat: bool,
}

impl Path {
    /// Whether this row lies in or below the directory `directory`. Flat rows lie in no directory
    /// that can be listed.
    pub(crate) fn is_below(&self, directory: &Self) -> bool {
        !self.flat
            && (self.namespace, self.mount) == (directory.namespace, directory.mount)
            && self.segments.len() > directory.segments.len()
            && self.segments.starts_with(&directory.segments)
    }

    /// The directory `name` of this directory.
    pub(crate) fn child(&self, name: String) -> Self {
        let mut child = self.clone();
        child.segments.push(name);
        child
    }
}
