//! Programs that were built beside this one.

use std::path::{Path, PathBuf};

/// The `conclaved` in this program's folder, so of the same profile.
pub(crate) fn conclaved() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let path = here.parent().unwrap_or(Path::new(".")).join("conclaved");
    anyhow::ensure!(path.exists(), "{}: build conclave-server first", path.display());
    Ok(path)
}
