//! The commands, one file or folder each, and what they share.

mod audit;
mod auth;
mod completion;
mod context;
mod delete;
mod failure;
mod kv;
mod list;
mod login;
mod mount;
mod operator;
mod patch;
mod path;
mod path_help;
mod policy;
mod print;
mod read;
mod secrets;
pub(crate) mod server;
mod sibling;
mod status;
mod token;
pub(crate) mod version;
mod write;

pub(crate) use context::{Api, Context};
pub(crate) use failure::Failure;

use clap::Subcommand;

use crate::output::Output;

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read a path
    Read(read::Read),
    /// Write to a path
    Write(write::Write),
    /// Change some fields of what a path has
    Patch(patch::Patch),
    /// Delete a path
    Delete(delete::Delete),
    /// List the names below a path; those that end in `/` have more below them
    List(list::List),
    /// Log in, and keep the token for the next commands
    Login(login::Login),
    /// Secrets with and without versions
    #[command(subcommand)]
    Kv(kv::Kv),
    /// Make, show, renew and revoke tokens
    #[command(subcommand)]
    Token(token::Token),
    /// Policies, and why they allow or deny
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Secrets engines
    #[command(subcommand)]
    Secrets(secrets::Secrets),
    /// Auth methods
    #[command(subcommand)]
    Auth(auth::Auth),
    /// Audit devices and logs
    #[command(subcommand)]
    Audit(audit::Audit),
    /// What a path is for, and what it takes
    PathHelp(path_help::PathHelp),
    /// Initialise, unseal, seal and look after the cluster
    #[command(subcommand)]
    Operator(operator::Operator),
    /// Show the state of a node; the exit code is 0 unsealed, 1 error, 2 sealed
    Status(status::Status),
    /// Print what this program would use
    #[command(subcommand)]
    Print(print::Print),
    /// Run a node: hands all that follows to `conclaved`
    #[command(disable_help_flag = true)]
    Server(server::Server),
    /// Print a script that completes words at a shell's prompt
    Completion(completion::Completion),
    /// Show the version of this program
    Version(version::Version),
}

/// Runs a command.
pub(crate) async fn run(command: Command, context: &Context) -> Result<Output, Failure> {
    match command {
        Command::Read(read) => read.run(context).await,
        Command::Write(write) => write.run(context).await,
        Command::Patch(patch) => patch.run(context).await,
        Command::Delete(delete) => delete.run(context).await,
        Command::List(list) => list.run(context).await,
        Command::Login(login) => login.run(context).await,
        Command::Kv(kv) => kv.run(context).await,
        Command::Token(token) => token.run(context).await,
        Command::Policy(policy) => policy.run(context).await,
        Command::Secrets(secrets) => secrets.run(context).await,
        Command::Auth(auth) => auth.run(context).await,
        Command::Audit(audit) => audit.run(context).await,
        Command::PathHelp(path_help) => path_help.run(context).await,
        Command::Operator(operator) => operator.run(context).await,
        Command::Status(status) => status.run(context).await,
        Command::Print(print) => print.run(context),
        Command::Server(server) => Err(server::replace_process(&server.arguments)),
        Command::Completion(completion) => Ok(completion.run(context)),
        Command::Version(version) => version.run(context),
    }
}
