//! A state in a directory of its own, opened so that damage cannot keep a node from starting.
//!
//! Damaged files can make sled panic, which ends the process where panics abort, or hang for ever.
//! So a marker stands in the directory while it is opened and scanned, and a watchdog ends the
//! process where that takes too long. A start that finds the marker knows that the one before never
//! got through. Then, as after any other failure, the directory is set aside and an empty state
//! takes its place: it is derived, snapshot and log hold everything it held.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use super::engine::EngineError;
use super::engine::sled::SledEngine;
use super::types::{StateConfig, StateError};
use super::{State, StateEngine};

/// What was done about a state that could not be opened: it begins empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Why it could not be opened.
    pub because: String,
    /// Where its files are now. The next state that is set aside replaces them.
    pub set_aside: PathBuf,
}

/// Opens the state in `directory`, or an empty one where there is none. One that is damaged, or
/// whose opening ended the process the last time, is set aside as `<directory>.damaged`, and an
/// empty one takes its place. An opening that hangs ends the process.
///
/// # Errors
/// Where not even an empty state can be made there; what stood there stays then.
pub fn open_directory(
    directory: &Path,
    config: StateConfig,
    boot_id: [u8; 16],
) -> Result<(State, Option<Rebuilt>), StateError> {
    open_or_set_aside(directory, || {
        let watchdog = watch(opening_time_max(directory), end_process)?;
        let engine: Arc<dyn StateEngine> = Arc::new(SledEngine::open(directory)?);
        let state = State::open_in_boot(engine, config.clone(), boot_id);
        drop(watchdog);
        state
    })
}

fn open_or_set_aside<T>(
    directory: &Path,
    open: impl Fn() -> Result<T, StateError>,
) -> Result<(T, Option<Rebuilt>), StateError> {
    let because = if directory.join(MARKER).exists() {
        "the process ended while it opened the state the last time".to_owned()
    } else {
        match open_marked(directory, &open)? {
            Ok(opened) => return Ok((opened, None)),
            Err(error) => error.to_string(),
        }
    };
    let set_aside = directory.with_extension("damaged");
    remove_directory(&set_aside)?;
    move_directory(directory, &set_aside)?;
    match open_marked(directory, &open).map_err(StateError::from).flatten() {
        Ok(opened) => Ok((opened, Some(Rebuilt { because, set_aside }))),
        Err(error) => {
            // The place is at fault (a full disk, say), and not what stood there.
            remove_directory(directory)?;
            move_directory(&set_aside, directory)?;
            Err(error)
        }
    }
}

/// Opens with the marker in place. It stays only where `open` never returns. The outer error is
/// one of the place, and says nothing about the state.
fn open_marked<T>(
    directory: &Path,
    open: impl Fn() -> Result<T, StateError>,
) -> io::Result<Result<T, StateError>> {
    let marker = directory.join(MARKER);
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    sync(parent(directory))?;
    File::create(&marker)?.sync_all()?;
    sync(directory)?;
    let opened = open();
    fs::remove_file(&marker)?;
    sync(directory)?;
    Ok(opened)
}

fn remove_directory(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn move_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync(parent(to))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn parent(directory: &Path) -> &Path {
    directory.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// How long opening and scanning may take: forty times longer than a good disk was seen to need.
fn opening_time_max(directory: &Path) -> Duration {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let bytes: u64 = files.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    OPENING_TIME_MIN + Duration::from_secs(bytes / SCANNED_BYTES_PER_S_MIN)
}

/// Calls `expired` once `limit` has passed, unless what is returned is dropped before.
fn watch(limit: Duration, expired: impl FnOnce() + Send + 'static) -> io::Result<Sender<()>> {
    let (watchdog, dropped) = mpsc::channel::<()>();
    std::thread::Builder::new().name("state-watchdog".to_owned()).spawn(move || {
        if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            expired();
        }
    })?;
    Ok(watchdog)
}

fn end_process() {
    tracing::error!(
        "opening the state machine hangs: this process ends; start it again, and the state is rebuilt from snapshot and log"
    );
    std::process::exit(1);
}

impl From<io::Error> for StateError {
    fn from(error: io::Error) -> Self {
        Self::Engine(EngineError(error.to_string()))
    }
}

/// In the directory while it is opened; sled leaves files that it does not know alone.
const MARKER: &str = "opening";
const OPENING_TIME_MIN: Duration = Duration::from_secs(120);
const SCANNED_BYTES_PER_S_MIN: u64 = 4 << 20;

#[cfg(test)]
mod tests;
