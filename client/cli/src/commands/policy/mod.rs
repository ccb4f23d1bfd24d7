//! `conclave policy`: policies, and why they allow or deny.

mod delete;
mod explain;
mod fmt;
mod layout;
mod lint;
mod list;
mod read;
mod rules;
mod write;

use std::io::Read as _;
use std::path::Path;

use clap::Subcommand;

use super::{Context, Failure};
use crate::output::Output;

/// Policies, and why they allow or deny.
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// List the names of all policies
    List(list::List),
    /// Print a policy
    Read(read::Read),
    /// Write a policy from a file or standard input
    Write(write::Write),
    /// Delete a policy
    Delete(delete::Delete),
    /// Lay a policy's file out as policies usually look
    Fmt(fmt::Fmt),
    /// Check a policy's file without any cluster
    Lint(lint::Lint),
    /// Tell whether a token or policies allow an operation, and which rule decides
    Explain(explain::Explain),
}

impl Policy {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        match self {
            Self::List(list) => list.run(context).await,
            Self::Read(read) => read.run(context).await,
            Self::Write(write) => write.run(context).await,
            Self::Delete(delete) => delete.run(context).await,
            Self::Fmt(fmt) => fmt.run(context),
            Self::Lint(lint) => lint.run(context),
            Self::Explain(explain) => explain.run(context).await,
        }
    }
}

/// Names are compared in lower case.
fn clean_name(name: &str) -> Result<String, Failure> {
    let name = name.trim().to_lowercase();
    if name.is_empty() || name.contains('/') {
        return Err(Failure::local("a policy's name is one word without a slash".into()));
    }
    Ok(name)
}

/// The text in the file, or for `-` on standard input.
fn read_text(file: &Path) -> Result<String, Failure> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|error| {
        let file = file.display();
        Failure::local(format!("Error opening policy file: {file}: {error}; choose a file, or -"))
    })
}
