//! `enable`.

use clap::Args;
use serde_json::{Map, Value, json};

use super::settings::Settings;
use super::{Context, Failure, Kind};
use crate::output::Output;

/// Enable a secrets engine or an auth method.
#[derive(Debug, Args)]
pub(crate) struct Enable {
    /// Where; without it, under the name of the type
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Keep it to this cluster where others replicate it
    #[arg(long)]
    local: bool,
    /// Taken for compatibility: everything that is stored is sealed
    #[arg(long)]
    seal_wrap: bool,
    /// Taken for compatibility: an engine reads what is stored, whatever this says
    #[arg(long)]
    force_no_cache: bool,
    /// The type: kv, userpass
    #[arg(value_name = "TYPE")]
    kind: String,
}

impl Enable {
    pub(crate) async fn run(&self, kind: Kind, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let mount = kind.mount(self.path.as_deref().unwrap_or(&self.kind))?;
        let body = self.body()?;
        let doing = format!("enabling {} at {mount}/", self.kind);
        let path = format!("{}/{mount}", kind.table());
        let answer = context.api().await?.write(&doing, &path, &body).await?;
        let done = match kind {
            Kind::Secrets => {
                format!("Success! Enabled the {} secrets engine at: {mount}/", self.kind)
            }
            Kind::Auth => format!("Success! Enabled {} auth method at: {mount}/", self.kind),
        };
        Ok(Output::done(format, &done).with_notes(&answer.warning_text()))
    }

    fn body(&self) -> Result<Value, Failure> {
        let mut config = self.settings.config();
        config.extend(self.force_no_cache.then(|| ("force_no_cache".to_owned(), true.into())));
        let mut body = Map::new();
        body.insert("type".into(), self.kind.as_str().into());
        body.insert("config".into(), Value::Object(config));
        body.extend(self.settings.description().map(|text| ("description".into(), text.into())));
        body.extend(self.settings.options()?.map(|options| ("options".into(), options)));
        for (name, on) in [("local", self.local), ("seal_wrap", self.seal_wrap)] {
            body.extend(on.then(|| (name.to_owned(), json!(true))));
        }
        Ok(Value::Object(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        enable: Enable,
    }

    fn body(line: &str) -> Value {
        let words = crate::flags::rewrite(line.split(' ').map(Into::into).collect());
        Line::try_parse_from(words).expect("a valid line").enable.body().expect("valid")
    }

    #[test]
    fn only_what_was_said_is_sent() {
        assert_eq!(body("enable userpass"), json!({"type": "userpass", "config": {}}));
        let line = "enable -path=x -version=2 -description=d -default-lease-ttl=1h \
                    -max-lease-ttl=2h -listing-visibility=unauth -options=a=b -local -seal-wrap \
                    -audit-non-hmac-request-keys=k -passthrough-request-headers=h kv";
        let expected = json!({
            "type": "kv", "description": "d", "options": {"a": "b", "version": "2"},
            "local": true, "seal_wrap": true,
            "config": {
                "default_lease_ttl": "1h", "max_lease_ttl": "2h", "listing_visibility": "unauth",
                "audit_non_hmac_request_keys": ["k"], "passthrough_request_headers": ["h"],
            },
        });
        assert_eq!(body(line), expected);
    }
}
