//! What all commands are given: flags, environment, and from them a client.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use conclave_sdk::{Client, Config, ErrorCode, Logical, Operation};
use serde_json::Value;

use super::Failure;
use super::failure::ApiFailure;
use crate::answer::Answer;
use crate::environment::Environment;
use crate::flags::Global;
use crate::output::Format;
use crate::style::Style;
use crate::token;

/// The flags and the environment.
pub(crate) struct Context {
    global: Global,
    environment: Environment,
    pub(crate) style: Style,
}

impl Context {
    pub(crate) fn new(global: Global, environment: Environment, style: Style) -> Self {
        Self { global, environment, style }
    }

    /// The variables.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The token to act with.
    pub(crate) fn token(&self) -> Result<Option<String>, Failure> {
        token::find(self.global.token.as_deref(), &self.environment)
    }

    /// How to print.
    pub(crate) fn format(&self) -> Result<Format, Failure> {
        match (self.global.format, self.environment.get("FORMAT")) {
            (Some(format), _) => Ok(format),
            (None, Some(name)) => clap::ValueEnum::from_str(name, true).map_err(|_| {
                Failure::local(format!(
                    "the format {name:?} is not known; use table, json, yaml or raw"
                ))
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
        Ok(Client::connect(self.config(self.token()?)?).await?)
    }

    /// Operations on paths, as flags and environment describe them.
    pub(crate) async fn api(&self) -> Result<Api, Failure> {
        self.api_as(self.token()?).await
    }

    /// The same with this token, or with none.
    pub(crate) async fn api_as(&self, token: Option<String>) -> Result<Api, Failure> {
        let client = Client::connect(self.config(token)?).await?;
        let base = self.node_address()?.trim_end_matches('/').to_owned();
        let wrap_ttl = self.global.wrap_ttl.as_deref().or(self.environment.get("WRAP_TTL"));
        if wrap_ttl.is_some_and(|ttl| !["", "0", "0s"].contains(&ttl)) {
            return Err(Failure::local(
                "this cluster does not wrap answers yet; leave -wrap-ttl out and unset WRAP_TTL"
                    .into(),
            ));
        }
        let logical = client.logical();
        Ok(Api { logical, base, style: self.style })
    }

    fn config(&self, token: Option<String>) -> Result<Config, Failure> {
        let mut config = Config::new(self.addresses());
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

/// Operations on paths.
pub(crate) struct Api {
    logical: Logical,
    base: String,
    style: Style,
}

impl Api {
    /// Does `operation` on `path`. `doing` says in words what for: `reading secret/a`.
    pub(crate) async fn call(
        &self,
        doing: &str,
        operation: Operation,
        path: &str,
        query: &BTreeMap<String, String>,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let answered = self.logical.call_with_query(operation, path, query, body).await;
        answered.and_then(Answer::new).map_err(|error| {
            let url = format!("{}/v1/{path}", self.base);
            Failure::Api(Box::new(ApiFailure { doing: doing.to_owned(), operation, url, error }))
        })
    }

    /// Reads `path`; `None` where nothing is there.
    pub(crate) async fn read(
        &self,
        path: &str,
        query: &BTreeMap<String, String>,
    ) -> Result<Option<Answer>, Failure> {
        let doing = format!("reading {path}");
        self.found(self.call(&doing, Operation::Read, path, query, None).await)
    }

    /// Lists what is below `path`; `None` where nothing is.
    pub(crate) async fn list(&self, path: &str) -> Result<Option<Answer>, Failure> {
        let doing = format!("listing {path}");
        let below = format!("{path}/");
        self.found(self.call(&doing, Operation::List, &below, &BTreeMap::new(), None).await)
    }

    /// Writes to `path`.
    pub(crate) async fn write(
        &self,
        doing: &str,
        path: &str,
        body: &Value,
    ) -> Result<Answer, Failure> {
        self.call(doing, Operation::Write, path, &BTreeMap::new(), Some(body)).await
    }

    /// Deletes `path`.
    pub(crate) async fn delete(&self, doing: &str, path: &str) -> Result<Answer, Failure> {
        self.call(doing, Operation::Delete, path, &BTreeMap::new(), None).await
    }

    /// An answer of 404 is no failure to who asks whether something is there. To people it makes a
    /// difference whether the whole mount is missing; scripts know one text for both.
    fn found(&self, answer: Result<Answer, Failure>) -> Result<Option<Answer>, Failure> {
        let keeps = |failure: &Failure| {
            self.style == Style::Conclave && failure.to_string().contains("no handler for route")
        };
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(failure) if failure.code() == Some(ErrorCode::NotFound) && !keeps(&failure) => {
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }
}

fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn not_a(name: &str, what: &str) -> Failure {
    Failure::local(format!("the variable {name} is not a {what}; correct or unset it"))
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
        Context::new(Global::default(), Environment::of(variables), Style::Conclave)
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
        let config = given.config(None).expect("a valid configuration");
        assert_eq!(config.addresses, ["https://a:1", "https://b:2"]);
        assert_eq!(config.namespace, "team");
        assert!(config.danger_accept_invalid_certs);
        assert_eq!(config.retry.attempts_max, 1);
        assert_eq!(config.timeouts.request, Duration::from_secs(7));
        assert_eq!(given.format().expect("a known format"), Format::Json);
    }

    #[test]
    fn bad_variables_are_local_errors_by_name() {
        let failure =
            context([("VAULT_MAX_RETRIES", "many")]).config(None).expect_err("not a number");
        assert!(failure.to_string().contains("MAX_RETRIES"), "{failure}");
        assert_eq!(failure.exit_code(), crate::EXIT_LOCAL);
        assert!(context([("VAULT_FORMAT", "xml")]).format().is_err());
    }
}
