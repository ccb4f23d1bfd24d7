//! Why a command failed, on whose side, and in whose words that is told.

use conclave_sdk::{Error, ErrorCode, Operation};

use crate::style::Style;

/// The end of a command that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// On this side: flags, input, files.
    #[error("{0}")]
    Local(String),
    /// The cluster, or the way to it.
    #[error("{0}")]
    Server(String),
    /// The cluster refused one operation on one path.
    #[error(transparent)]
    Api(Box<ApiFailure>),
}

/// What was asked for, and why it was not had.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", doing_prefix(.doing), in_words(.error))]
pub(crate) struct ApiFailure {
    /// `reading secret/a`.
    pub(crate) doing: String,
    pub(crate) operation: Operation,
    /// The node's URL and the path.
    pub(crate) url: String,
    #[source]
    pub(crate) error: Error,
}

impl Failure {
    pub(crate) fn local(message: String) -> Self {
        Self::Local(message)
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Local(_) => crate::EXIT_LOCAL,
            Self::Server(_) => crate::EXIT_SERVER,
            Self::Api(api) if api.error.is_remote() => crate::EXIT_SERVER,
            Self::Api(_) => crate::EXIT_LOCAL,
        }
    }

    /// All that goes to standard error.
    pub(crate) fn told(&self, style: Style) -> String {
        match (style, self) {
            (Style::Conclave, failure) => format!("error: {failure}\n"),
            (_, Self::Api(api)) => api.as_scripts_know_it(),
            (_, failure) => format!("{failure}\n"),
        }
    }

    /// Whether the cluster has no such path, object or operation there.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Api(api) => api.error.code(),
            _ => None,
        }
    }
}

impl ApiFailure {
    /// The shape that scripts written for those suites look into for `Code: 403` and the texts.
    fn as_scripts_know_it(&self) -> String {
        let Self { doing, operation, url, error } = self;
        match error {
            Error::Refused { code, message } => {
                let (method, status) = (method(*operation), code.http_status());
                let text = if *code == ErrorCode::NotFound && message == PLAIN_NOT_FOUND {
                    String::new()
                } else {
                    format!("\n* {message}")
                };
                format!(
                    "Error {doing}: Error making API request.\n\nURL: {method} {url}\n\
                     Code: {status}. Errors:\n{text}\n"
                )
            }
            other => format!("Error {doing}: {other}\n"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = in_words(&error);
        if error.is_remote() { Self::Server(message) } else { Self::Local(message) }
    }
}

fn in_words(error: &Error) -> String {
    let message = error.to_string();
    // The text that Vault's clients look for does not say what to do.
    if error.code() == Some(ErrorCode::Sealed) && !message.contains(';') {
        return format!("{message}; {}", error.advice());
    }
    message
}

/// What lies on this side needs no word of what it was for.
fn doing_prefix(doing: &str) -> String {
    if doing.is_empty() { String::new() } else { format!("{doing}: ") }
}

fn method(operation: Operation) -> &'static str {
    match operation {
        Operation::Read => "GET",
        Operation::Write => "PUT",
        Operation::List => "LIST",
        Operation::Delete => "DELETE",
        Operation::Patch => "PATCH",
        Operation::Scan => "SCAN",
    }
}

/// What the SDK says where the cluster said nothing.
const PLAIN_NOT_FOUND: &str = "nothing is there";

#[cfg(test)]
mod tests {
    use super::*;

    fn api(error: Error) -> Failure {
        Failure::Api(Box::new(ApiFailure {
            doing: "reading secret/data/a".into(),
            operation: Operation::Read,
            url: "https://127.0.0.1:8200/v1/secret/data/a".into(),
            error,
        }))
    }

    #[test]
    fn whose_fault_decides_the_exit_code() {
        let config = Error::Config { message: "m".into() };
        assert_eq!(Failure::from(config.clone()).exit_code(), crate::EXIT_LOCAL);
        assert_eq!(api(config).exit_code(), crate::EXIT_LOCAL);
        let code = ErrorCode::PermissionDenied;
        let refused = Error::Refused { code, message: "m".into() };
        assert_eq!(Failure::from(refused.clone()).exit_code(), crate::EXIT_SERVER);
        assert_eq!(api(refused).exit_code(), crate::EXIT_SERVER);
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

    #[test]
    fn refusals_have_the_shape_of_the_name_that_was_called() {
        let code = ErrorCode::PermissionDenied;
        let refused = api(Error::Refused { code, message: "permission denied".into() });
        let expected = "error: reading secret/data/a: permission denied\n";
        assert_eq!(refused.told(Style::Conclave), expected);
        crate::golden::check("output/refused-vault.txt", &refused.told(Style::Vault));
        let code = ErrorCode::NotFound;
        let absent = api(Error::Refused { code, message: PLAIN_NOT_FOUND.into() });
        crate::golden::check("output/absent-vault.txt", &absent.told(Style::Bao));
    }
}
