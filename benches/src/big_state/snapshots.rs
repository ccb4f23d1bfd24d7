//! What a node's snapshot folder shows from outside: whether one is being written, and up to which
//! entry the newest reaches.

use std::path::Path;

/// A folder `snapshots`, looked at once.
#[derive(Default)]
pub(crate) struct Snapshots {
    /// One is being written.
    pub(crate) draft: bool,
    /// The entry that the newest ends with; 0 where there is none.
    pub(crate) newest: u64,
}

impl Snapshots {
    /// Of this data directory.
    pub(crate) fn of(data: &Path) -> Self {
        let mut found = Self::default();
        let Ok(files) = std::fs::read_dir(data.join("snapshots")) else { return found };
        for file in files.flatten() {
            let name = file.file_name();
            let name = name.to_string_lossy();
            found.draft |= name.ends_with(".tmp");
            if let Some(index) = parse(&name) {
                found.newest = found.newest.max(index);
            }
        }
        found
    }
}

/// The index in `INDEX-SEQUENCE.snapshot`.
fn parse(name: &str) -> Option<u64> {
    name.strip_suffix(".snapshot")?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_understood() {
        let data = tempfile::tempdir().expect("a folder");
        assert_eq!(Snapshots::of(data.path()).newest, 0);
        let folder = data.path().join("snapshots");
        std::fs::create_dir(&folder).expect("made");
        for name in ["00000000000000000042-00000000000000000003.snapshot", "x.damaged", "4.tmp"] {
            std::fs::write(folder.join(name), "").expect("written");
        }
        let found = Snapshots::of(data.path());
        assert!(found.draft);
        assert_eq!(found.newest, 42);
    }
}
