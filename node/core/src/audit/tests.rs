//! The audit log as a whole.

mod devices;
mod lines;
mod verification;

use std::sync::Arc;

use super::testing::{MemorySink, World, key};
use super::*;

/// One device in memory and its broker.
fn audit(world: &Arc<World>, sink: &MemorySink, options: DeviceOptions) -> Audit {
    Audit::new(vec![(sink.start(options, world), key())], world.ports())
}

fn options(path: &str) -> DeviceOptions {
    DeviceOptions { path: path.to_owned(), ..DeviceOptions::default() }
}

fn record(id: &str) -> Record<'_> {
    Record {
        time_ms: 1_521_685_466_945,
        request: RequestPart {
            id,
            operation: "read",
            path: "secret/data/app",
            ..Default::default()
        },
        ..Record::default()
    }
}

/// Every line that is no record of the device itself.
fn records(text: &str) -> Vec<serde_json::Value> {
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("every line is JSON"));
    lines.filter(|line: &serde_json::Value| line["type"] != "device").collect()
}

fn checked(text: &str, from_start: bool) -> Report {
    let expectation = Expectation { from_start, ..Expectation::default() };
    verify(&mut text.as_bytes(), expectation).expect("memory can be read")
}
