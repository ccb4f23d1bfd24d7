//! Room for backups on their way: private directories inside the data directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Where backups are put while they are made or taken in.
pub struct Spool {
    directory: PathBuf,
}

/// One backup's room. It is emptied and removed when this is dropped.
pub struct SpoolDir(TempDir);

impl Spool {
    /// The spool of a data directory. What a crash left in it is removed.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(data_directory: &Path) -> io::Result<Self> {
        let directory = data_directory.join(NAME);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Self { directory }),
        }
    }

    /// New room, its owner's only.
    ///
    /// # Errors
    /// The operating system's.
    pub fn make_dir(&self) -> io::Result<SpoolDir> {
        crate::files::restrict_dir(&self.directory)?;
        tempfile::Builder::new().prefix("b").tempdir_in(&self.directory).map(SpoolDir)
    }
}

impl SpoolDir {
    /// Room where temporary files go on this machine, for who has no data directory.
    ///
    /// # Errors
    /// The operating system's.
    pub fn temporary() -> io::Result<Self> {
        tempfile::Builder::new().prefix("conclave").tempdir().map(Self)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

const NAME: &str = "backup";
