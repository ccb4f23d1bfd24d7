//! `list`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Map, Value};

use super::{Context, Failure, Kind};
use crate::output::{self, Format, Output};

/// List the secrets engines or auth methods.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Show all there is to know
    #[arg(long)]
    detailed: bool,
}

impl List {
    pub(crate) async fn run(&self, kind: Kind, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let answer = context.api().await?.read(kind.table(), &BTreeMap::new()).await?;
        let answer = answer.unwrap_or_default();
        let mounts = answer.object().cloned().unwrap_or_default();
        Ok(render(kind, &mounts, self.detailed, format))
    }
}

fn render(kind: Kind, mounts: &Map<String, Value>, detailed: bool, format: Format) -> Output {
    if !format.is_table() {
        return Output::document(format, &Value::Object(mounts.clone()));
    }
    let columns = if detailed { detailed_columns(kind) } else { simple_columns(kind) };
    let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    let row = |(path, mount): (&String, &Value)| {
        let cell = |(title, place): &(_, &str)| match *title {
            "Path" => path.clone(),
            _ => cell(mount, place),
        };
        columns.iter().map(cell).collect()
    };
    let rows: Vec<Vec<String>> = mounts.iter().map(row).collect();
    Output::good(output::table(&titles, &rows))
}

/// Title, and where in the mount its value stands.
type Column = (&'static str, &'static str);

fn simple_columns(kind: Kind) -> Vec<Column> {
    let mut columns = vec![
        ("Path", ""),
        ("Type", "type"),
        ("Accessor", "accessor"),
        ("Description", "description"),
    ];
    columns.extend((kind == Kind::Auth).then_some(("Version", "plugin_version")));
    columns
}

fn detailed_columns(kind: Kind) -> Vec<Column> {
    let own: &[Column] = match kind {
        Kind::Secrets => &[("Force No Cache", "config.force_no_cache")],
        Kind::Auth => &[("Token Type", "config.token_type")],
    };
    let before = [
        ("Path", ""),
        ("Plugin", "type"),
        ("Accessor", "accessor"),
        ("Default TTL", "config.default_lease_ttl"),
        ("Max TTL", "config.max_lease_ttl"),
    ];
    let after = [
        ("Replication", "local"),
        ("Seal Wrap", "seal_wrap"),
        ("External Entropy Access", "external_entropy_access"),
        ("Options", "options"),
        ("Description", "description"),
        ("UUID", "uuid"),
        ("Version", "plugin_version"),
        ("Running Version", "running_plugin_version"),
        ("Running SHA256", "running_sha256"),
        ("Deprecation Status", "deprecation_status"),
    ];
    before.into_iter().chain(own.iter().copied()).chain(after).collect()
}

fn cell(mount: &Value, place: &str) -> String {
    let found = place.split('.').try_fold(mount, |value, key| value.get(key));
    let value = found.unwrap_or(&Value::Null);
    let is_of_core =
        ["system", "cubbyhole"].iter().any(|kind| mount.get("type").is_some_and(|own| own == kind));
    match place {
        "local" if *value == true => "local".to_owned(),
        "local" => "replicated".to_owned(),
        "options" if value.is_null() => "map[]".to_owned(),
        // Nought is the cluster's default; what the core itself serves gives no leases.
        "config.default_lease_ttl" | "config.max_lease_ttl" if is_of_core => String::new(),
        "config.default_lease_ttl" | "config.max_lease_ttl" if *value == 0 => "system".to_owned(),
        _ if value.is_null() => String::new(),
        _ => output::plain(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;
    use serde_json::json;

    fn mounts() -> Map<String, Value> {
        let mounts = json!({
            "secret/": {
                "accessor": "kv_1", "config": {"default_lease_ttl": 0, "max_lease_ttl": 3600,
                    "force_no_cache": false, "token_type": "default-service"},
                "deprecation_status": "supported", "description": "for apps",
                "external_entropy_access": false, "local": false, "options": {"version": "2"},
                "plugin_version": "", "running_plugin_version": "0.1.0", "running_sha256": "",
                "seal_wrap": false, "type": "kv", "uuid": "u-1",
            },
            "sys/": {
                "accessor": "system_1", "config": {"default_lease_ttl": 0, "max_lease_ttl": 0,
                    "force_no_cache": false},
                "deprecation_status": "supported", "description": "",
                "external_entropy_access": false, "local": true, "options": null,
                "plugin_version": "", "running_plugin_version": "0.1.0", "running_sha256": "",
                "seal_wrap": false, "type": "system", "uuid": "u-2",
            },
        });
        mounts.as_object().expect("an object").clone()
    }

    #[test]
    fn mounts_are_shown_as_agreed() {
        for (name, kind) in [("secrets", Kind::Secrets), ("auth", Kind::Auth)] {
            let shown = |detailed| render(kind, &mounts(), detailed, Format::Table).text;
            golden::check(&format!("output/{name}-list.txt"), &shown(false));
            golden::check(&format!("output/{name}-list-detailed.txt"), &shown(true));
        }
        let json = render(Kind::Secrets, &mounts(), false, Format::Json).text;
        assert!(json.starts_with("{\n  \"secret/\": {"), "{json}");
    }
}
