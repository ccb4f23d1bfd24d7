//! `conclave server`: becomes the sibling program `conclaved`.

use std::ffi::OsString;

use clap::Args;

use super::{Failure, sibling};

/// Run a node: hands all that follows to `conclaved`
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Flags of `conclaved server`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    pub(crate) arguments: Vec<OsString>,
}

/// Comes back only if the program cannot be started.
pub(crate) fn replace_process(arguments: &[OsString]) -> Failure {
    let words = [OsString::from("server")].into_iter().chain(arguments.iter().cloned());
    sibling::replace_process(words)
}
