//! Records of the device itself: when its log was opened, what a crash tore, what it missed.

use super::object::{Object, format_time, write_text};
use super::tail::Torn;
use serde::Deserialize;

/// Why a device writes a record of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The log was opened, or opened again for rotation.
    Opened,
    /// The device takes records again.
    Recovered,
    /// What was written last may not have reached the disk.
    SyncFailed,
    /// It was too slow for some records.
    Missed,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Recovered => "recovered",
            Self::SyncFailed => "sync_failed",
            Self::Missed => "missed",
        }
    }
}

/// A record of the device itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) event: Event,
    /// What stands before it and is no record.
    pub(super) torn: Option<Torn>,
    /// Records that it did not take: refused, or taken by other devices only.
    pub(super) missed: u64,
}

impl Marker {
    pub(super) fn new(event: Event) -> Self {
        Self { event, torn: None, missed: 0 }
    }

    /// The record without its closing brace.
    pub(super) fn write(&self, time_ms: u64, path: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":");
        write_text(&format_time(time_ms), out);
        out.extend_from_slice(b",\"type\":\"device\",\"device\":");
        let mut device = Object::begin(out);
        device.text("path", path);
        device.text("event", self.event.name());
        device.number("missed", self.missed);
        if let Some(torn) = &self.torn {
            device.number("torn_bytes", torn.bytes);
            device.text("torn_sha256", &hex::encode(torn.sha256));
        }
        device.end();
    }
}

/// What a device's own record says was torn before it.
pub(super) fn torn_before(line: &[u8]) -> Option<Torn> {
    #[derive(Deserialize)]
    struct Line {
        device: Device,
    }
    #[derive(Deserialize)]
    struct Device {
        torn_bytes: u64,
        torn_sha256: String,
    }
    let device = serde_json::from_slice::<Line>(line).ok()?.device;
    let sha256 = hex::decode(device.torn_sha256).ok()?.try_into().ok()?;
    Some(Torn { bytes: device.torn_bytes, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_record_of_a_torn_line() {
        let torn = Torn::of(b"{\"time\":");
        let marker = Marker { event: Event::Opened, torn: Some(torn), missed: 3 };
        let mut line = Vec::new();
        marker.write(1_521_685_466_945, "file/", &mut line);
        let digits = hex::encode(torn.sha256);
        let expected = format!(
            r#"{{"time":"2018-03-22T02:24:26.945Z","type":"device","device":{{"path":"file/","event":"opened","missed":3,"torn_bytes":8,"torn_sha256":"{digits}"}}"#
        );
        assert_eq!(String::from_utf8(line.clone()).unwrap(), expected);
        line.push(b'}');
        assert_eq!(torn_before(&line), Some(torn));
        assert_eq!(torn_before(b"{\"device\":{}}"), None);
    }
}
