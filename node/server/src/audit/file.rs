//! A log in a file: appended to, read back where it ends, opened anew for rotation.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use conclave_core::audit::{AppendError, LINE_BYTES_MAX, Sink, SinkError, TAIL_BYTES_MAX, Tail};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use rustix::fs::{Mode, OFlags};

use super::blocking;

/// Appends to one file.
pub(super) struct FileSink {
    path: PathBuf,
    mode: u32,
    prefix: String,
    file: Arc<File>,
}

impl FileSink {
    /// Opens the file, or makes it, and reads its end.
    pub(super) async fn open(
        path: PathBuf,
        mode: u32,
        prefix: String,
    ) -> Result<(Self, Tail), SinkError> {
        let place = (path.clone(), prefix.clone());
        let (file, tail) = blocking(move || open(&place.0, mode, &place.1)).await?;
        Ok((Self { path, mode, prefix, file: Arc::new(file) }, tail))
    }
}

impl Sink for FileSink {
    fn append(&mut self, lines: Vec<Bytes>) -> BoxFuture<'_, Result<(), AppendError>> {
        let file = self.file.clone();
        async move {
            let work = lines.clone();
            let written = blocking(move || Ok(write(&file, &work.concat()))).await;
            let (written, failed) = written.unwrap_or_else(|error| (0, Some(error)));
            failed.map_or(Ok(()), |error| Err(stopped_at(&lines, written, error)))
        }
        .boxed()
    }

    fn sync(&mut self) -> BoxFuture<'static, Result<(), SinkError>> {
        let file = self.file.clone();
        blocking(move || Ok(file.sync_data()?)).boxed()
    }

    fn reopen(&mut self) -> BoxFuture<'_, Result<Tail, SinkError>> {
        let opening = Self::open(self.path.clone(), self.mode, self.prefix.clone());
        async move {
            let (fresh, tail) = opening.await?;
            self.file = fresh.file;
            Ok(tail)
        }
        .boxed()
    }

    fn line_bytes_max(&self) -> usize {
        LINE_BYTES_MAX
    }
}

/// A link is not followed and a pipe or device not waited for: the configuration names a file.
fn open(path: &Path, mode: u32, prefix: &str) -> Result<(File, Tail), SinkError> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let created = if mode == 0 { DEFAULT_MODE } else { mode };
    let fresh = !path.try_exists().unwrap_or(true);
    let opened = rustix::fs::open(path, flags, Mode::from_raw_mode(created));
    let mut file = File::from(opened.map_err(|error| unusable(path, &error.into()))?);
    if !file.metadata()?.is_file() {
        return Err(unusable(path, &io::Error::other("it is no regular file")));
    }
    // A umask takes bits away, and a file that existed has its own.
    if mode != 0 || fresh {
        file.set_permissions(Permissions::from_mode(created))?;
    }
    if fresh {
        sync_directory(path)?;
    }
    let tail = read_tail(&mut file, prefix)?;
    Ok((file, tail))
}

fn read_tail(file: &mut File, prefix: &str) -> io::Result<Tail> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(Tail::read(&bytes, prefix))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// How much was written before it failed.
fn write(mut file: &File, bytes: &[u8]) -> (usize, Option<SinkError>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Some(io::Error::from(io::ErrorKind::WriteZero).into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error.into())),
        }
    }
    (written, None)
}

/// Where in `lines` so many bytes end.
fn stopped_at(lines: &[Bytes], mut written: usize, error: SinkError) -> AppendError {
    let whole = lines.iter().take_while(|line| {
        let fits = line.len() <= written;
        written -= if fits { line.len() } else { 0 };
        fits
    });
    AppendError { lines: whole.count(), bytes: written, error }
}

fn unusable(path: &Path, error: &io::Error) -> SinkError {
    SinkError::Unusable(format!("the audit log {} cannot be used: {error}", path.display()))
}

const DEFAULT_MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_ends_early_is_told_by_lines() {
        let lines = ["abc\n", "de\n", "f\n"].map(|line| Bytes::from_static(line.as_bytes()));
        for (written, whole, rest) in [(0, 0, 0), (3, 0, 3), (4, 1, 0), (6, 1, 2), (7, 2, 0)] {
            let error = stopped_at(&lines, written, SinkError::Full);
            assert_eq!((error.lines, error.bytes), (whole, rest), "{written}");
        }
    }
}
