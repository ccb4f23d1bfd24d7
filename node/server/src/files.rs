//! Files that nobody else may read: whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Replaces a file whole or not at all, mode 0600, with the path in the error.
///
/// # Errors
/// The operating system's, with the path.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    replace(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// Makes a directory and its parents with mode 0700; one that exists stays as it is.
///
/// # Errors
/// The operating system's, with the path.
pub fn make_private_dir(path: &Path) -> anyhow::Result<()> {
    make_dirs(path).with_context(|| format!("making {}", path.display()))
}

/// What the files below `directory` take on the disk. Links are not followed.
pub(crate) fn bytes_in(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() { bytes_in(&entry.path())? } else { found.blocks() * 512 };
    }
    Ok(bytes)
}

/// Replaces `path` by a file of mode 0600 with `bytes`, durably and whatever the umask: after a
/// crash the old content or the new one is there, never a part.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = beside(path);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&aside)?;
    // A left-over of an earlier try keeps its mode, and a umask may take bits away: set both.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    File::open(directory_of(path))?.sync_all()
}

/// Opens `path` for appending, mode 0600 even if it existed with another.
pub(crate) fn append(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

/// Makes `path` a directory of mode 0700 whatever the umask, even if it existed with another.
pub(crate) fn restrict_dir(path: &Path) -> io::Result<()> {
    make_dirs(path)?;
    fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE))
}

fn make_dirs(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// A name of its own for each file: `api.crt` and `api.key` may be written at the same time.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it exists").permissions().mode() & 0o777
    }

    #[test]
    fn what_is_written_is_the_owners_only_even_over_an_open_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("key");
        fs::write(&path, "old").expect("writable");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("ours");
        write_private(&path, b"new").expect("writable");
        assert_eq!(
            (mode(&path), fs::read(&path).expect("readable").as_slice()),
            (0o600, &b"new"[..])
        );
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("ours");
        append(&path).expect("writable").write_all(b"er").expect("writable");
        assert_eq!(
            (mode(&path), fs::read(&path).expect("readable").as_slice()),
            (0o600, &b"newer"[..])
        );
        let left: Vec<_> = fs::read_dir(directory.path()).expect("readable").collect();
        assert_eq!(left.len(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = write_private(Path::new("/nowhere/key"), b"").expect_err("no such directory");
        assert!(format!("{error:#}").contains("/nowhere/key"));
    }
}
