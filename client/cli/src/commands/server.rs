//! `conclave server`: becomes the sibling program `conclaved`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use super::Failure;

/// Run a node: hands all that follows to `conclaved`
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Flags of `conclaved server`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    pub(crate) arguments: Vec<OsString>,
}

/// Comes back only if the program cannot be started.
pub(crate) fn replace_process(arguments: &[OsString]) -> Failure {
    let program = beside_us().unwrap_or_else(|| PathBuf::from(PROGRAM));
    let error = Command::new(&program).arg("server").args(arguments).exec();
    Failure::local(format!(
        "{} cannot be started: {error}; install {PROGRAM} beside conclave or on the PATH",
        program.display()
    ))
}

fn beside_us() -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    let program = here.parent()?.join(PROGRAM);
    program.is_file().then_some(program)
}

/// The node's program.
const PROGRAM: &str = "conclaved";
