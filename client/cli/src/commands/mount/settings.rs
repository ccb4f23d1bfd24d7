//! The settings of a mount, as flags and as JSON.

use clap::Args;
use serde_json::{Map, Value};

use super::Failure;
use crate::values;

/// Flags that `enable` and `tune` share.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How long a lease or token lives where nothing else says
    #[arg(long, value_name = "DURATION")]
    default_lease_ttl: Option<String>,
    /// How long a lease or token lives at most
    #[arg(long, value_name = "DURATION")]
    max_lease_ttl: Option<String>,
    /// hidden, or unauth: shown to who has not logged in
    #[arg(long, value_name = "VISIBILITY")]
    listing_visibility: Option<String>,
    /// A field of requests that audit logs show; repeat the flag for more
    #[arg(long, value_name = "FIELD")]
    audit_non_hmac_request_keys: Vec<String>,
    /// A field of answers that audit logs show; repeat the flag for more
    #[arg(long, value_name = "FIELD")]
    audit_non_hmac_response_keys: Vec<String>,
    /// A header that the mount may see; repeat the flag for more
    #[arg(long, value_name = "HEADER")]
    passthrough_request_headers: Vec<String>,
    /// A header that the mount may answer with; repeat the flag for more
    #[arg(long, value_name = "HEADER")]
    allowed_response_headers: Vec<String>,
    /// Of an auth method: default-service, default-batch, service or batch
    #[arg(long, value_name = "TYPE")]
    token_type: Option<String>,
    /// The version of the plugin; the built-in ones have none
    #[arg(long, value_name = "VERSION")]
    plugin_version: Option<String>,
    /// An option of the type, key=value; repeat the flag for more
    #[arg(long, value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// Of a KV engine: 1, or 2 with versions
    #[arg(long, value_name = "NUMBER")]
    version: Option<u8>,
}

impl Settings {
    /// For people.
    pub(super) fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// What stands under `config`, or for `tune` at the top.
    pub(super) fn config(&self) -> Map<String, Value> {
        let texts = [
            ("default_lease_ttl", &self.default_lease_ttl),
            ("max_lease_ttl", &self.max_lease_ttl),
            ("listing_visibility", &self.listing_visibility),
            ("token_type", &self.token_type),
            ("plugin_version", &self.plugin_version),
        ];
        let lists = [
            ("audit_non_hmac_request_keys", &self.audit_non_hmac_request_keys),
            ("audit_non_hmac_response_keys", &self.audit_non_hmac_response_keys),
            ("passthrough_request_headers", &self.passthrough_request_headers),
            ("allowed_response_headers", &self.allowed_response_headers),
        ];
        let said = |text: &Option<String>| text.as_deref().map(Value::from);
        let named = |list: &Vec<String>| (!list.is_empty()).then(|| Value::from(list.clone()));
        let texts = texts.into_iter().filter_map(|(key, text)| Some((key, said(text)?)));
        let lists = lists.into_iter().filter_map(|(key, list)| Some((key, named(list)?)));
        texts.chain(lists).map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// What stands under `options`; `None` where nothing does.
    pub(super) fn options(&self) -> Result<Option<Value>, Failure> {
        let mut options = values::pairs(&self.options)?;
        if let Some(version) = self.version {
            options.insert("version".into(), version.to_string().into());
        }
        Ok((!options.is_empty()).then_some(Value::Object(options)))
    }
}
