//! Devices with real files, disks and receivers.

mod files;
mod receivers;

use std::path::Path;
use std::time::Duration;

use conclave_core::audit::{Audit, Expectation, HashKey, Record, Report, RequestPart, Verifier};
use conclave_ports::Ports;
use serde_json::{Value, json};

use super::*;
use crate::system;

fn config(value: Value) -> DeviceConfig {
    let raw = serde_json::from_value(value).expect("it has the shape of a device");
    DeviceConfig::new(raw, Path::new("/"), &mut Vec::new()).expect("it is a good device")
}

fn file_config(path: &Path) -> DeviceConfig {
    config(json!({"type": "file", "options": {"file_path": path}}))
}

async fn audit_of(config: &DeviceConfig) -> Audit {
    let ports = system::ports();
    let place = Place { config: config.clone(), from_api: None };
    let device = start_device(place, None, &ports);
    if let Target::File { .. } = config.target {
        until_open(&device).await;
    }
    Audit::new(vec![(device, key(&ports))], ports)
}

/// Its own record is the first that an open device writes.
async fn until_open(device: &Device) {
    for _ in 0..200 {
        if device.head().seq > 0 {
            return;
        }
        pause(Duration::from_millis(5)).await;
    }
    panic!("the device was not opened");
}

fn key(ports: &Ports) -> HashKey {
    HashKey::make_throwaway(&*ports.rng)
}

fn record(id: &str) -> Record<'_> {
    let request = RequestPart {
        id,
        path: "secret/data/app",
        body: b"{\"a\":\"canary\"}",
        ..Default::default()
    };
    Record { time_ms: 1, request, ..Record::default() }
}

/// The ids of the requests in the lines.
fn ids(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"));
    lines.filter_map(|line| Some(line["request"]["id"].as_str()?.to_owned())).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("it can be read")
}

fn verified(paths: &[&Path]) -> Report {
    let mut verifier = Verifier::new(Expectation { from_start: true, ..Expectation::default() });
    for path in paths {
        let file = std::fs::File::open(path).expect("it is there");
        verifier.read("file", &mut std::io::BufReader::new(file)).expect("it can be read");
    }
    verifier.finish()
}

async fn pause(duration: Duration) {
    system::ports().clock.sleep(duration).await;
}

/// Asks again and again until the record is taken.
async fn until_taken(audit: &Audit, id: &str) {
    for _ in 0..200 {
        if audit.request(&record(id)).await.is_ok() {
            return;
        }
        pause(Duration::from_millis(20)).await;
    }
    panic!("the device did not heal");
}
