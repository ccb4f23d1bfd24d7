//! The `conclave` command: words of a shell to calls of the SDK, answers to text.
//!
//! It owns the command line's conventions: flags with one dash or two, `CONCLAVE_*` and the
//! variables of the suites it takes the place of, tables, JSON and YAML on standard output, messages
//! on standard error, and three exit codes. Called as `vault` or `bao` it also fails in their words. Its invariant: **a token or key is printed only by the
//! command whose answer it is.** It must never know how a node works inside; what reads a node's
//! files is the business of the sibling `conclaved`.

mod answer;
mod commands;
mod duration;
mod environment;
mod flags;
mod output;
mod style;
mod terminal;
mod token;
mod values;
mod yaml;

#[cfg(test)]
mod golden;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::commands::{Context, Failure};
use crate::environment::Environment;
use crate::output::Output;
use crate::style::Style;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let style = Style::of_program(arguments.first().map(OsString::as_os_str));
    let arguments = flags::rewrite(arguments);
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("server") => {
            return finish(Err(commands::server::replace_process(&arguments[2..])), style);
        }
        Some("--version" | "-v" | "-V") => {
            return finish(Ok(Output::good(commands::version::line(style))), style);
        }
        _ => {}
    }
    let cli = match flags::Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help is an answer; anything else is a mistake on this side.
            let code = if error.use_stderr() { EXIT_LOCAL } else { EXIT_GOOD };
            let printed = error.print();
            return ExitCode::from(if printed.is_ok() { code } else { EXIT_LOCAL });
        }
    };
    finish(execute(cli, style), style)
}

fn execute(cli: flags::Cli, style: Style) -> Result<Output, Failure> {
    let context = Context::new(cli.global, Environment::of_process(), style);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("the runtime cannot start: {error}")))?;
    runtime.block_on(commands::run(cli.command, &context))
}

fn finish(result: Result<Output, Failure>, style: Style) -> ExitCode {
    let output = match result {
        Ok(output) => output,
        Err(failure) => {
            // Standard error is the last place to complain to; if it is closed, the code remains.
            let _ = std::io::stderr().write_all(failure.told(style).as_bytes());
            return ExitCode::from(failure.exit_code());
        }
    };
    let _ = std::io::stderr().write_all(output.notes.as_bytes());
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(output.text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::from(output.code),
        Err(_) => ExitCode::from(EXIT_LOCAL),
    }
}

/// Done.
pub(crate) const EXIT_GOOD: u8 = 0;
/// A flag, an input or a file on this side.
pub(crate) const EXIT_LOCAL: u8 = 1;
/// The cluster, or the way to it.
pub(crate) const EXIT_SERVER: u8 = 2;
