//! `conclave audit enable`.

use clap::Args;
use serde_json::{Map, Value};

use super::{Context, Failure, path};
use crate::output::Output;
use crate::values;

/// Enable an audit device.
#[derive(Debug, Args)]
pub(crate) struct Enable {
    /// Its name; without it, that of the type
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Keep it to this cluster where others replicate it
    #[arg(long)]
    local: bool,
    /// The type: file, syslog or socket
    #[arg(value_name = "TYPE")]
    kind: String,
    /// What the type takes, key=value: file_path=/var/log/conclave/audit.log
    #[arg(value_name = "DATA")]
    data: Vec<String>,
}

impl Enable {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let name = path::clean(self.path.as_deref().unwrap_or(&self.kind))?;
        let body = self.body(values::parse(&self.data, std::io::stdin())?);
        let api = context.api().await?;
        let answer =
            api.write("enabling audit device", &format!("sys/audit/{name}"), &body).await?;
        let done = format!("Success! Enabled the {} audit device at: {name}/", self.kind);
        Ok(Output::done(format, &done).with_notes(&answer.warning_text()))
    }

    fn body(&self, options: Map<String, Value>) -> Value {
        let mut body = Map::new();
        body.insert("type".into(), self.kind.as_str().into());
        body.insert("options".into(), Value::Object(options));
        let description = self.description.as_deref();
        body.extend(description.map(|text| ("description".into(), text.into())));
        body.extend(self.local.then(|| ("local".into(), true.into())));
        Value::Object(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_are_the_options_of_the_type() {
        let enable = Enable {
            path: None,
            description: Some("d".into()),
            local: true,
            kind: "file".into(),
            data: Vec::new(),
        };
        let options = json!({"file_path": "/a"}).as_object().cloned().expect("an object");
        let expected = json!({
            "type": "file", "options": {"file_path": "/a"}, "description": "d", "local": true,
        });
        assert_eq!(enable.body(options), expected);
    }
}
