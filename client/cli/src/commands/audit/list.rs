//! `conclave audit list`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Map, Value};

use super::{Context, Failure};
use crate::output::{self, Format, Output};

/// List the audit devices.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Show all there is to know
    #[arg(long)]
    detailed: bool,
}

impl List {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let answer = context.api().await?.read("sys/audit", &BTreeMap::new()).await?;
        let answer = answer.unwrap_or_default();
        let devices = answer.object().cloned().unwrap_or_default();
        Ok(render(&devices, self.detailed, format))
    }
}

/// That there is none is worth an exit code: nobody watches then.
fn render(devices: &Map<String, Value>, detailed: bool, format: Format) -> Output {
    if !format.is_table() {
        return Output::document(format, &Value::Object(devices.clone()));
    }
    if devices.is_empty() {
        let sentence = "No audit devices are enabled.\n".to_owned();
        return Output::good(sentence).with_code(crate::EXIT_SERVER);
    }
    let text = |device: &Value, key: &str| device.get(key).map(output::plain).unwrap_or_default();
    let row = |(path, device): (&String, &Value)| {
        let mut row = vec![path.clone(), text(device, "type"), text(device, "description")];
        if detailed {
            let local = device.get("local").is_some_and(|local| *local == true);
            row.push(if local { "local" } else { "replicated" }.to_owned());
            row.push(device.get("options").map(options).unwrap_or_default());
        }
        row
    };
    let rows: Vec<Vec<String>> = devices.iter().map(row).collect();
    let titles = ["Path", "Type", "Description", "Replication", "Options"];
    let shown = if detailed { &titles[..] } else { &titles[..3] };
    Output::good(output::table(shown, &rows))
}

/// `key=value`, one after the other.
fn options(options: &Value) -> String {
    let object = options.as_object().cloned().unwrap_or_default();
    let pairs = object.iter().map(|(key, value)| format!("{key}={}", output::plain(value)));
    pairs.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn devices_are_shown_as_agreed() {
        let devices = json!({
            "file/": {"type": "file", "description": "", "local": false, "path": "file/",
                "options": {"file_path": "/a", "mode": "0600"}},
        });
        let devices = devices.as_object().expect("an object");
        let shown = |detailed| render(devices, detailed, Format::Table);
        crate::golden::check("output/audit-list.txt", &shown(false).text);
        crate::golden::check("output/audit-list-detailed.txt", &shown(true).text);
        assert_eq!(shown(false).code, crate::EXIT_GOOD);
        assert_eq!(render(&Map::new(), false, Format::Table).code, crate::EXIT_SERVER);
        assert_eq!(render(&Map::new(), false, Format::Json).text, "{}\n");
    }
}
