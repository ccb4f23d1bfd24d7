//! `conclave token create`.

use clap::Args;
use serde_json::{Map, Value};

use super::{Context, Failure};
use crate::output::Output;
use crate::values;

/// Make a token.
#[derive(Args)]
pub(crate) struct Create {
    /// A policy; repeat the flag for more. Without it, those of the token that asks
    #[arg(long, value_name = "NAME")]
    policy: Vec<String>,
    /// How long it lives; it can be prolonged up to its longest life
    #[arg(long, value_name = "DURATION")]
    ttl: Option<String>,
    /// Lets it live for ever, as long as it is renewed once in this time
    #[arg(long, value_name = "DURATION")]
    period: Option<String>,
    /// No renewal goes beyond this
    #[arg(long, value_name = "DURATION")]
    explicit_max_ttl: Option<String>,
    /// How often it can be used; 0: without a limit
    #[arg(long, value_name = "NUMBER")]
    use_limit: Option<u64>,
    /// A name for logs
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// What goes with it into the audit log, key=value; repeat the flag for more
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    /// Make it survive the token that asks
    #[arg(long)]
    orphan: bool,
    /// Leave out the policy `default`
    #[arg(long)]
    no_default_policy: bool,
    /// Whether it can be prolonged [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    renewable: Option<bool>,
    /// The token role to follow
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// service, or batch: one that is not stored [default: service]
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// The token's own text; only root may choose it
    #[arg(long, value_name = "TOKEN")]
    id: Option<String>,
    /// The entity alias that it belongs to
    #[arg(long, value_name = "NAME")]
    entity_alias: Option<String>,
    /// Print only this field's value: `token`
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
}

impl std::fmt::Debug for Create {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Create").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Create {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let path = match &self.role {
            Some(role) => format!("auth/token/create/{role}"),
            None => "auth/token/create".to_owned(),
        };
        let body = self.body()?;
        let answer = context.api().await?.write("creating token", &path, &body).await?;
        answer.show(format, self.field.as_deref())
    }

    /// Only what was said: the rest is the cluster's or the role's to decide.
    fn body(&self) -> Result<Value, Failure> {
        let mut body = Map::new();
        let texts = [
            ("ttl", &self.ttl),
            ("period", &self.period),
            ("explicit_max_ttl", &self.explicit_max_ttl),
            ("display_name", &self.display_name),
            ("type", &self.kind),
            ("id", &self.id),
            ("entity_alias", &self.entity_alias),
        ];
        for (name, text) in texts {
            body.extend(text.as_ref().map(|text| (name.to_owned(), Value::from(text.as_str()))));
        }
        body.extend(self.use_limit.map(|uses| ("num_uses".to_owned(), Value::from(uses))));
        body.extend(self.renewable.map(|on| ("renewable".to_owned(), Value::from(on))));
        for (name, on) in
            [("no_parent", self.orphan), ("no_default_policy", self.no_default_policy)]
        {
            body.extend(on.then(|| (name.to_owned(), Value::from(true))));
        }
        if !self.policy.is_empty() {
            body.insert("policies".into(), self.policy.clone().into());
        }
        if !self.metadata.is_empty() {
            body.insert("meta".into(), Value::Object(values::pairs(&self.metadata)?));
        }
        Ok(Value::Object(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    fn body(line: &str) -> Result<Value, String> {
        let words = crate::flags::rewrite(line.split(' ').map(Into::into).collect());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.create.body().map_err(|failure| failure.to_string())
    }

    #[test]
    fn only_what_was_said_is_sent() {
        assert_eq!(body("create"), Ok(json!({})));
        let line = "create -policy=a -policy b -ttl=1h -period=2h -explicit-max-ttl=3h \
                    -use-limit=2 -display-name=ci -metadata=k=v=w -metadata=x=y -orphan \
                    -no-default-policy=true -renewable=false -type=batch -id=me -entity-alias=e";
        let expected = json!({
            "policies": ["a", "b"], "ttl": "1h", "period": "2h", "explicit_max_ttl": "3h",
            "num_uses": 2, "display_name": "ci", "meta": {"k": "v=w", "x": "y"},
            "no_parent": true, "no_default_policy": true, "renewable": false, "type": "batch",
            "id": "me", "entity_alias": "e",
        });
        assert_eq!(body(line), Ok(expected));
        assert!(body("create -metadata=novalue").is_err());
        assert!(body("create -use-limit=many").is_err());
    }
}
