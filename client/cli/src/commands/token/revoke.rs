//! `conclave token revoke`.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Context, Failure, Subject};
use crate::commands::path;
use crate::output::Output;

/// End a token and its children.
#[derive(Args)]
pub(crate) struct Revoke {
    /// The word is an accessor
    #[arg(long, conflicts_with_all = ["own", "mode"])]
    accessor: bool,
    /// The token that asks
    #[arg(long = "self", conflicts_with = "mode")]
    own: bool,
    /// orphan: leave the children alive; path: every token that came from this path
    #[arg(long, value_enum, value_name = "MODE")]
    mode: Option<Mode>,
    /// The token, the accessor, or the path
    #[arg(value_name = "TOKEN")]
    subject: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Orphan,
    Path,
}

impl std::fmt::Debug for Revoke {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revoke").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Revoke {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let (path, body) = self.request()?;
        context.api().await?.write("revoking token", &path, &body).await?;
        Ok(Output::done(format, "Success! Revoked token (if it existed)"))
    }

    fn request(&self) -> Result<(String, Value), Failure> {
        let word = self.subject.as_deref().map(str::trim).filter(|word| !word.is_empty());
        match (word, self.own, self.mode) {
            (None, true, _) => Ok(Subject::Own.request("revoke")),
            (Some(_), true, _) => {
                Err(Failure::local("Too many arguments with -self (expected 0, got 1)".into()))
            }
            (None, false, _) => {
                Err(Failure::local("Not enough arguments (expected 1, got 0)".into()))
            }
            (Some(word), false, Some(Mode::Orphan)) => {
                Ok(("auth/token/revoke-orphan".to_owned(), json!({ "token": word })))
            }
            (Some(word), false, Some(Mode::Path)) => {
                Ok((format!("sys/leases/revoke-prefix/{}", path::clean(word)?), json!({})))
            }
            (word, false, None) => Ok(Subject::new(word, self.accessor)?.request("revoke")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        revoke: Revoke,
    }

    fn request(line: &str) -> Option<(String, Value)> {
        let words = crate::flags::rewrite(line.split(' ').map(Into::into).collect());
        Line::try_parse_from(words).ok()?.revoke.request().ok()
    }

    #[test]
    fn every_way_to_name_a_token_has_its_path() {
        let asked = |path: &str, body| Some((path.to_owned(), body));
        assert_eq!(request("revoke t"), asked("auth/token/revoke", json!({"token": "t"})));
        assert_eq!(request("revoke -self"), asked("auth/token/revoke-self", json!({})));
        let by_accessor = asked("auth/token/revoke-accessor", json!({"accessor": "a"}));
        assert_eq!(request("revoke -accessor a"), by_accessor);
        let orphan = asked("auth/token/revoke-orphan", json!({"token": "t"}));
        assert_eq!(request("revoke -mode=orphan t"), orphan);
        let prefix = asked("sys/leases/revoke-prefix/auth/userpass", json!({}));
        assert_eq!(request("revoke -mode path auth/userpass/"), prefix);
        for mistake in [
            "revoke",
            "revoke -self t",
            "revoke -accessor",
            "revoke -self -mode=path",
            "revoke -mode=other t",
        ] {
            assert_eq!(request(mistake), None, "{mistake}");
        }
    }
}
