//! The commands, one file each, and what they share.

mod kv;
mod operator;
pub(crate) mod server;
mod sibling;
mod status;
mod version;

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use conclave_sdk::{Client, Config, Error, ErrorCode};

use crate::environment::Environment;
use crate::flags::Global;
use crate::output::{Format, Output};
use crate::token;

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the state of a node; the exit code is 0 unsealed, 1 error, 2 sealed
    Status(status::Status),
    /// Initialise, unseal, seal and look after the cluster
    #[command(subcommand)]
    Operator(operator::Operator),
    /// Versioned secrets
    #[command(subcommand)]
    Kv(kv::Kv),
    /// Run a node: hands all that follows to `conclaved`
    #[command(disable_help_flag = true)]
    Server(server::Server),
    /// Show the version of this program
    Version(version::Version),
}

/// Runs a command.
pub(crate) async fn run(command: Command, context: &Context) -> Result<Output, Failure> {
    match command {
        Command::Status(status) => status.run(context).await,
        Command::Operator(operator) => operator.run(context).await,
        Command::Kv(kv) => kv.run(context).await,
        Command::Server(server) => Err(server::replace_process(&server.arguments)),
        Command::Version(version) => version.run(context),
    }
}

/// The flags and the environment.
pub(crate) struct Context {
    global: Global,
    environment: Environment,
}

impl Context {
    pub(crate) fn new(global: Global, environment: Environment) -> Self {
        Self { global, environment }
    }

    /// How to print.
    pub(crate) fn format(&self) -> Result<Format, Failure> {
        match (self.global.format, self.environment.get("FORMAT")) {
            (Some(format), _) => Ok(format),
            (None, Some(name)) => clap::ValueEnum::from_str(name, true).map_err(|_| {
                Failure::local(format!("the format {name:?} is not known; use table or json"))
            }),
            (None, None) => Ok(Format::default()),
        }
    }

    /// The nodes' addresses.
    pub(crate) fn addresses(&self) -> Vec<String> {
        if !self.global.address.is_empty() {
            return self.global.address.clone();
        }
        let text = self.environment.get("ADDR").unwrap_or(ADDRESS_DEFAULT);
        text.split(',').map(|address| address.trim().to_owned()).collect()
    }

    /// The one node that a command on a single node is for: the first address.
    pub(crate) fn node_address(&self) -> Result<String, Failure> {
        let first = self.addresses().into_iter().next();
        first.ok_or_else(|| Failure::local("no address is given; use -address".into()))
    }

    /// A client as flags and environment describe it.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        Ok(Client::connect(self.config()?).await?)
    }

    fn config(&self) -> Result<Config, Failure> {
        let mut config = Config::new(self.addresses());
        let token = token::find(self.global.token.as_deref(), &self.environment);
        if let Some(token) = token {
            config = config.with_token(token);
        }
        if let Some(file) = self.ca_file() {
            config = config.with_ca_file(file);
        } else if let Some(pem) = self.environment.get("CACERT_BYTES") {
            config = config.with_ca_pem(pem);
        }
        let namespace = self.global.namespace.as_deref().or(self.environment.get("NAMESPACE"));
        config.namespace = namespace.unwrap_or_default().to_owned();
        let name = self.global.tls_server_name.as_deref();
        config.server_name = name.or(self.environment.get("TLS_SERVER_NAME")).map(str::to_owned);
        config.danger_accept_invalid_certs = match self.global.tls_skip_verify {
            Some(skip) => skip,
            None => self.environment.get("SKIP_VERIFY").is_some_and(is_true),
        };
        // The addresses that were typed are the ones to use; any node hands writes on. One command
        // is not worth a session in the cluster, so a write with a lost answer is reported.
        config.discover = false;
        config.request_ids = false;
        config.retry.pause_min = PAUSE_MIN;
        config.retry.pause_max = PAUSE_MAX;
        config.retry.attempts_max = match self.environment.get("MAX_RETRIES") {
            Some(text) => text.parse::<u32>().map_err(|_| not_a("MAX_RETRIES", "number"))? + 1,
            None => ATTEMPTS_MAX,
        };
        if let Some(text) = self.environment.get("CLIENT_TIMEOUT") {
            let seconds = text.strip_suffix('s').unwrap_or(text).parse();
            let seconds = seconds.map_err(|_| not_a("CLIENT_TIMEOUT", "number of seconds"))?;
            config.timeouts.request = Duration::from_secs(seconds);
            config.timeouts.attempt = config.timeouts.request;
        }
        Ok(config)
    }

    fn ca_file(&self) -> Option<PathBuf> {
        let flag = self.global.ca_cert.clone();
        flag.or_else(|| self.environment.get("CACERT").map(PathBuf::from))
    }
}

fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn not_a(name: &str, what: &str) -> Failure {
    Failure::local(format!("the variable {name} is not a {what}; correct or unset it"))
}

/// Why a command failed, and on whose side.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// On this side: flags, input, files.
    #[error("{0}")]
    Local(String),
    /// The cluster, or the way to it.
    #[error("{0}")]
    Server(String),
}

impl Failure {
    pub(crate) fn local(message: String) -> Self {
        Self::Local(message)
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Local(_) => crate::EXIT_LOCAL,
            Self::Server(_) => crate::EXIT_SERVER,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut message = error.to_string();
        // The text that Vault's clients look for does not say what to do.
        if error.code() == Some(ErrorCode::Sealed) && !message.contains(';') {
            message = format!("{message}; {}", error.advice());
        }
        if error.is_remote() { Self::Server(message) } else { Self::Local(message) }
    }
}

/// Where a node of one's own listens.
const ADDRESS_DEFAULT: &str = "https://127.0.0.1:8200";
/// Enough for an election; with the pauses, about five seconds.
const ATTEMPTS_MAX: u32 = 10;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn context<const N: usize>(variables: [(&str, &str); N]) -> Context {
        Context::new(Global::default(), Environment::of(variables))
    }

    #[test]
    fn the_environment_fills_what_flags_leave_open() {
        let given = context([
            ("VAULT_ADDR", "https://a:1, https://b:2"),
            ("BAO_NAMESPACE", "team"),
            ("CONCLAVE_FORMAT", "JSON"),
            ("VAULT_SKIP_VERIFY", "true"),
            ("VAULT_MAX_RETRIES", "0"),
            ("VAULT_CLIENT_TIMEOUT", "7s"),
        ]);
        let config = given.config().expect("a valid configuration");
        assert_eq!(config.addresses, ["https://a:1", "https://b:2"]);
        assert_eq!(config.namespace, "team");
        assert!(config.danger_accept_invalid_certs);
        assert_eq!(config.retry.attempts_max, 1);
        assert_eq!(config.timeouts.request, Duration::from_secs(7));
        assert_eq!(given.format().expect("a known format"), Format::Json);
    }

    #[test]
    fn bad_variables_are_local_errors_by_name() {
        let failure = context([("VAULT_MAX_RETRIES", "many")]).config().expect_err("not a number");
        assert!(failure.to_string().contains("MAX_RETRIES"), "{failure}");
        assert_eq!(failure.exit_code(), crate::EXIT_LOCAL);
        assert!(context([("VAULT_FORMAT", "xml")]).format().is_err());
    }

    #[test]
    fn whose_fault_decides_the_exit_code() {
        let config = Error::Config { message: "m".into() };
        assert_eq!(Failure::from(config).exit_code(), crate::EXIT_LOCAL);
        let code = ErrorCode::PermissionDenied;
        let refused = Error::Refused { code, message: "m".into() };
        assert_eq!(Failure::from(refused).exit_code(), crate::EXIT_SERVER);
        let unreachable = Error::Unreachable { attempts: 1, message: "m".into() };
        assert_eq!(Failure::from(unreachable).exit_code(), crate::EXIT_SERVER);
    }

    #[test]
    fn a_sealed_node_comes_with_the_next_step() {
        let refused = |message: &str| {
            let code = ErrorCode::Sealed;
            Failure::from(Error::Refused { code, message: message.into() }).to_string()
        };
        let expected = "Vault is sealed; run `conclave operator unseal` on the node";
        assert_eq!(refused("Vault is sealed"), expected);
        assert_eq!(refused("sealed; do this"), "sealed; do this");
    }
}
