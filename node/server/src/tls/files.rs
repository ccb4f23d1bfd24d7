//! Key and certificate files: whole or not at all, and readable by their owner only.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::TlsError;

/// Replaces `path` by a file of mode 0600 with `bytes`, durably: after a crash the old content or
/// the new one is there, never a part.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), TlsError> {
    replace(path, bytes).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let aside = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    // A left-over of an earlier try keeps its mode, and a umask may take bits away: set both.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    File::open(directory)?.sync_all()
}

/// Makes `path` a directory of mode 0700, whatever the umask.
pub(super) fn make_directory(path: &Path) -> Result<(), TlsError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(|source| TlsError::File { path: path.to_owned(), source })
}

/// All of `path`, wiped when dropped.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    fs::read(path)
        .map(Zeroizing::new)
        .map_err(|source| TlsError::File { path: path.to_owned(), source })
}

/// As [`read`], and `None` where no such file exists.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, TlsError> {
    match read(path) {
        Err(TlsError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        other => other.map(Some),
    }
}
