//! `conclave token`: making, showing, renewing and revoking tokens.

mod capabilities;
mod create;
mod lookup;
mod renew;
mod revoke;

use clap::Subcommand;

use super::{Context, Failure};
use crate::output::Output;

/// Make, show, renew and revoke tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token, a child of the one that asks
    Create(Box<create::Create>),
    /// Show a token, by default the one that asks
    Lookup(lookup::Lookup),
    /// Prolong a token, by default the one that asks
    Renew(renew::Renew),
    /// End a token and its children
    Revoke(revoke::Revoke),
    /// What a token may do at a path
    Capabilities(capabilities::Capabilities),
}

impl Token {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::Lookup(lookup) => lookup.run(context).await,
            Self::Renew(renew) => renew.run(context).await,
            Self::Revoke(revoke) => revoke.run(context).await,
            Self::Capabilities(capabilities) => capabilities.run(context).await,
        }
    }
}

/// Whose token a command is about; the tokens themselves stay out of every message.
enum Subject<'a> {
    Own,
    Token(&'a str),
    Accessor(&'a str),
}

impl<'a> Subject<'a> {
    /// The word is a token, or with `-accessor` an accessor.
    fn new(word: Option<&'a str>, is_accessor: bool) -> Result<Self, Failure> {
        match (word.map(str::trim).filter(|word| !word.is_empty()), is_accessor) {
            (Some(accessor), true) => Ok(Self::Accessor(accessor)),
            (Some(token), false) => Ok(Self::Token(token)),
            (None, false) => Ok(Self::Own),
            (None, true) => Err(Failure::local(
                "Not enough arguments with -accessor (expected 1, got 0)".into(),
            )),
        }
    }

    /// The path of a verb, and what is sent there.
    fn request(&self, verb: &str) -> (String, serde_json::Value) {
        use serde_json::json;
        match self {
            Self::Own => (format!("auth/token/{verb}-self"), json!({})),
            Self::Token(token) => (format!("auth/token/{verb}"), json!({ "token": token })),
            Self::Accessor(accessor) => {
                (format!("auth/token/{verb}-accessor"), json!({ "accessor": accessor }))
            }
        }
    }
}
