//! The sibling program `conclaved`, which reads what belongs to a node.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::Failure;
use crate::output::Format;

/// Becomes `conclaved` with these words. Comes back only if it cannot be started.
pub(crate) fn replace_process<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Failure {
    let program = program();
    let error = Command::new(&program).args(words).exec();
    Failure::local(format!(
        "{} cannot be started: {error}; install {PROGRAM} beside conclave or on the PATH",
        program.display()
    ))
}

/// What `conclaved` says to these words; `None` where it is not installed.
pub(crate) fn ask(words: &[OsString]) -> io::Result<Option<Output>> {
    match Command::new(program()).args(words).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        asked => asked.map(Some),
    }
}

/// `conclaved` knows two formats; whatever scripts read is JSON there.
pub(crate) fn format_word(format: Format) -> &'static str {
    if format.is_table() { "--format=table" } else { "--format=json" }
}

/// The one beside this program, else whichever the PATH has.
fn program() -> PathBuf {
    let beside_us = || {
        let here = std::env::current_exe().ok()?;
        let program = here.parent()?.join(PROGRAM);
        program.is_file().then_some(program)
    };
    beside_us().unwrap_or_else(|| PathBuf::from(PROGRAM))
}

/// The node's program.
const PROGRAM: &str = "conclaved";
