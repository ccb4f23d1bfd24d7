//! A recording of what peers say to this node and of its answers, as it stands inside TLS.
//!
//! It exists so that a test can look for secrets where only TLS would hide them.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;

/// Appends bytes to one file. Connections interleave in it as they come.
///
/// It writes where the bytes pass, without a queue: a recording node is slower, which is no concern
/// of a test's.
pub struct FrameRecorder {
    file: Mutex<File>,
    failed: AtomicBool,
}

impl FrameRecorder {
    /// Opens or makes the file, mode 0600.
    ///
    /// # Errors
    /// The operating system's, with the path.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = crate::files::append(path)
            .with_context(|| format!("opening {} to record peer frames", path.display()))?;
        Ok(Self { file: Mutex::new(file), failed: AtomicBool::new(false) })
    }

    /// Appends `bytes`. A failure is logged once and otherwise changes nothing: a recording never
    /// stands in the way of what it records.
    pub(super) fn record(&self, bytes: &[u8]) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(bytes)
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::error!(%error, "peer frames are not recorded completely; the recording is void");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_does_not_end_anything() {
        let full = Path::new("/dev/full");
        let recorder = FrameRecorder {
            file: Mutex::new(File::options().append(true).open(full).expect("it exists")),
            failed: AtomicBool::new(false),
        };
        recorder.record(b"x");
        recorder.record(b"y");
        assert!(recorder.failed.load(Ordering::Relaxed));
    }
}
