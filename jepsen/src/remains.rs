//! What a test that failed leaves behind: the logs of its nodes.

use std::path::{Path, PathBuf};

use crate::{files, report};

/// Keeps the logs of a cluster that was not ended in good order.
pub(crate) struct Remains {
    directory: Option<PathBuf>,
}

impl Remains {
    /// Of the cluster in this directory.
    pub(crate) fn of(directory: &Path) -> Self {
        Self { directory: Some(directory.to_owned()) }
    }

    /// The cluster ended as it should: there is nothing to look into.
    pub(crate) fn forget(&mut self) {
        self.directory = None;
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        let Some(directory) = self.directory.take() else { return };
        match keep_logs(&directory) {
            Ok(folder) => println!("   the logs of its nodes: {}", folder.display()),
            Err(error) => println!("   the logs of its nodes could not be kept: {error:#}"),
        }
    }
}

fn keep_logs(directory: &Path) -> anyhow::Result<PathBuf> {
    let name = directory.file_name().unwrap_or_default();
    let folder = report::folder()?.join("failed").join(name);
    std::fs::create_dir_all(&folder)?;
    for file in files::below(directory)? {
        // Segments of the Raft log, in data directories and copies of them, end in the same letters.
        let is_segment = file.parent().is_some_and(|parent| parent.ends_with("log"));
        if !is_segment && file.extension().is_some_and(|end| end == "log") {
            let flat = file.strip_prefix(directory)?.display().to_string().replace('/', "-");
            std::fs::copy(&file, folder.join(flat))?;
        }
    }
    Ok(folder)
}
