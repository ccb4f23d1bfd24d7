//! `audit`: the devices of a node, with the names of options that Vault uses.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use conclave_core::audit::{DeviceOptions, Filter};
use serde::Deserialize;
use serde_json::Value;

/// The longest prefix and tag.
const TEXT_BYTES_MAX: usize = 256;

/// One device as it is written down.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RawDevice {
    /// `file`, `syslog` or `socket`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name; the type where it is left out.
    #[serde(default)]
    pub path: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Texts, numbers and booleans.
    #[serde(default)]
    pub options: BTreeMap<String, Value>,
}

/// One device, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceConfig {
    /// How it writes.
    pub device: DeviceOptions,
    /// Where it writes.
    pub target: Target,
}

/// Where a device writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Appends to a file.
    File {
        /// Which.
        path: PathBuf,
        /// Permission bits; 0 leaves those of a file that exists.
        mode: u32,
    },
    /// Sends datagrams to the system log.
    Syslog {
        /// Its socket.
        socket: PathBuf,
        /// The number of the facility.
        facility: u8,
        /// The name of the program.
        tag: String,
    },
    /// Sends lines over a socket.
    Socket {
        /// Whereto.
        address: SocketAddress,
        /// For each write.
        write_timeout: Duration,
    },
}

/// A receiver of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketAddress {
    /// `host:port`.
    Tcp(String),
    /// `host:port`; a datagram for each line.
    Udp(String),
    /// A stream socket.
    Unix(PathBuf),
}

/// Why a device was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` of the audit device is wrong; {expected}")]
pub struct DeviceConfigError {
    /// `type`, `path`, or the option.
    pub key: &'static str,
    /// What would be right.
    pub expected: String,
}

impl DeviceConfig {
    /// Validates a device. Relative paths count from `base`; options that nobody reads are named in
    /// `warnings`.
    ///
    /// # Errors
    /// [`DeviceConfigError`], which names the key and never a value.
    pub fn new(
        raw: RawDevice,
        base: &Path,
        warnings: &mut Vec<String>,
    ) -> Result<Self, DeviceConfigError> {
        let mut options = Options::new(raw.options)?;
        let shown = options.0.clone();
        let path = device_path(if raw.path.is_empty() { &raw.kind } else { &raw.path })?;
        let (kind, target) = match raw.kind.as_str() {
            "file" => ("file", read_file(&mut options, base)?),
            "syslog" => ("syslog", read_syslog(&mut options)?),
            "socket" => ("socket", read_socket(&mut options, base)?),
            _ => return Err(wrong("type", "set it to file, syslog or socket")),
        };
        let common = read_common(&mut options)?;
        let device = DeviceOptions { path, kind, description: raw.description, shown, ..common };
        for option in options.0.keys() {
            warnings.push(format!(
                "unknown option `{option}` of the audit device `{}` is ignored",
                device.path
            ));
        }
        Ok(Self { device, target })
    }

    /// Whether this device may be enabled by an API, whose caller is not the node's operator: only
    /// a plain file inside `directory`, which the node's own configuration names.
    ///
    /// # Errors
    /// What to change.
    pub fn check_from_api(&self, directory: Option<&Path>) -> Result<(), DeviceConfigError> {
        let Some(directory) = directory else {
            return Err(wrong(
                "file_path",
                "no API may name one here; set audit_api_directory in the node's configuration, or \
                 name the device there",
            ));
        };
        let Target::File { path, mode } = &self.target else {
            return Err(wrong("type", "by API only file devices are enabled"));
        };
        if !self.device.prefix.is_empty() || self.device.danger_log_raw {
            return Err(wrong("prefix", "by API neither a prefix nor danger_log_raw can be set"));
        }
        if mode & !0o640 != 0 {
            return Err(wrong("mode", "by API it grants at most 0640"));
        }
        match inside_of(path, directory) && path.is_absolute() {
            true => Ok(()),
            false => Err(wrong(
                "file_path",
                "name a file inside the directory that the node's configuration allows",
            )),
        }
    }
}

fn inside_of(path: &Path, directory: &Path) -> bool {
    let plain = path.components().all(|part| !matches!(part, Component::ParentDir));
    let free = std::fs::symlink_metadata(path).map_or(true, |found| found.is_file());
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    let allowed = directory.canonicalize().ok();
    plain
        && free
        && parent.zip(allowed).is_some_and(|(parent, allowed)| parent.starts_with(allowed))
}

fn device_path(text: &str) -> Result<String, DeviceConfigError> {
    let name = text.strip_suffix('/').unwrap_or(text);
    let good = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let segments = name.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    match segments && name.chars().all(good) && name.len() <= TEXT_BYTES_MAX {
        true => Ok(format!("{name}/")),
        false => Err(wrong("path", "write letters, digits and - _ . with single slashes")),
    }
}

fn read_common(options: &mut Options) -> Result<DeviceOptions, DeviceConfigError> {
    if options.take("log_raw").is_some_and(|value| value != "false") {
        return Err(wrong("log_raw", "only the node's configuration has it, as danger_log_raw"));
    }
    if options.take("format").is_some_and(|format| format != "json") {
        return Err(wrong("format", "set it to json"));
    }
    let filter = options.take("filter").map(|text| Filter::parse(&text)).transpose();
    let filter = filter.map_err(|error| wrong("filter", error.to_string()))?;
    let fallback = options.boolean("fallback")?.unwrap_or(false);
    if fallback && filter.is_some() {
        return Err(wrong(
            "fallback",
            "a device that takes the rest has no filter; remove one of them",
        ));
    }
    Ok(DeviceOptions {
        prefix: options.text("prefix")?.unwrap_or_default(),
        filter,
        fallback,
        hash_paths: options.boolean("hash_paths")?.unwrap_or(false),
        elide_list_responses: options.boolean("elide_list_responses")?.unwrap_or(false),
        hmac_accessor: options.boolean("hmac_accessor")?.unwrap_or(true),
        danger_log_raw: options.boolean("danger_log_raw")?.unwrap_or(false),
        sync: options.boolean("sync")?.unwrap_or(false),
        ..DeviceOptions::default()
    })
}

fn read_file(options: &mut Options, base: &Path) -> Result<Target, DeviceConfigError> {
    let path = options.take("file_path").or_else(|| options.take("path"));
    let path = path.filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| wrong("file_path", "set it to the path of the log's file"))?;
    let mode = match options.take("mode") {
        None => 0o600,
        Some(text) => u32::from_str_radix(&text, 8)
            .ok()
            .filter(|mode| mode & !0o666 == 0)
            .ok_or_else(|| wrong("mode", "set it to octal digits without execute bits, as 0600"))?,
    };
    Ok(Target::File { path: base.join(path), mode })
}

fn read_syslog(options: &mut Options) -> Result<Target, DeviceConfigError> {
    let facility = options.take("facility").unwrap_or_else(|| "AUTH".to_owned());
    let known = FACILITIES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&facility));
    let facility = known.map(|(_, number)| *number);
    let tag = options.text("tag")?.unwrap_or_else(|| "conclave".to_owned());
    if tag.is_empty() || tag.len() > 48 || !tag.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("tag", "set it to at most 48 ASCII characters without spaces"));
    }
    Ok(Target::Syslog {
        socket: options.take("socket").unwrap_or_else(|| "/dev/log".to_owned()).into(),
        facility: facility.ok_or_else(|| {
            wrong("facility", "set it to AUTH, AUTHPRIV, DAEMON, USER or LOCAL0 to LOCAL7")
        })?,
        tag,
    })
}

fn read_socket(options: &mut Options, base: &Path) -> Result<Target, DeviceConfigError> {
    let address = options.take("address").filter(|address| !address.is_empty());
    let address = address
        .ok_or_else(|| wrong("address", "set it to host:port, or to the path of a unix socket"))?;
    let port =
        address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let named = port.is_some_and(|(host, port)| !host.is_empty() && port > 0);
    let address = match options.take("socket_type").as_deref() {
        None | Some("tcp") if named => SocketAddress::Tcp(address),
        Some("udp") if named => SocketAddress::Udp(address),
        Some("unix") => SocketAddress::Unix(base.join(address)),
        None | Some("tcp" | "udp") => return Err(wrong("address", "set it to host:port")),
        Some(_) => return Err(wrong("socket_type", "set it to tcp, udp or unix")),
    };
    let write_timeout = options.duration("write_timeout")?.unwrap_or(WRITE_TIMEOUT);
    Ok(Target::Socket { address, write_timeout })
}

/// Options as texts; each is taken once.
struct Options(BTreeMap<String, String>);

impl Options {
    fn new(values: BTreeMap<String, Value>) -> Result<Self, DeviceConfigError> {
        let mut options = BTreeMap::new();
        for (name, value) in values {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text,
                Value::Bool(value) => value.to_string(),
                Value::Number(value) => value.to_string(),
                _ => return Err(wrong("options", "set each to a text, a number or a boolean")),
            };
            options.insert(name, text);
        }
        Ok(Self(options))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// A short text on one line, without the brace that begins a record.
    fn text(&mut self, name: &'static str) -> Result<Option<String>, DeviceConfigError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let good =
            text.len() <= TEXT_BYTES_MAX && !text.contains(|c: char| c.is_control() || c == '{');
        match good {
            true => Ok(Some(text)),
            false => Err(wrong(name, "set it to at most 256 printable characters without `{`")),
        }
    }

    fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, DeviceConfigError> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(wrong(name, "set it to true or false")),
        }
    }

    fn duration(&mut self, name: &'static str) -> Result<Option<Duration>, DeviceConfigError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let ms = match &text[digits.len()..] {
            "ms" => digits.parse().ok(),
            "" | "s" => digits.parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1000)),
            _ => None,
        };
        let good = ms.filter(|ms| (1..=WRITE_TIMEOUT_MS_MAX).contains(ms));
        let ms = good.ok_or_else(|| wrong(name, "set it to 1ms to 60s"))?;
        Ok(Some(Duration::from_millis(ms)))
    }
}

fn wrong(key: &'static str, expected: impl Into<String>) -> DeviceConfigError {
    DeviceConfigError { key, expected: expected.into() }
}

const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
const WRITE_TIMEOUT_MS_MAX: u64 = 60_000;

/// RFC 5424, section 6.2.1.
const FACILITIES: [(&str, u8); 12] = [
    ("USER", 1),
    ("DAEMON", 3),
    ("AUTH", 4),
    ("AUTHPRIV", 10),
    ("LOCAL0", 16),
    ("LOCAL1", 17),
    ("LOCAL2", 18),
    ("LOCAL3", 19),
    ("LOCAL4", 20),
    ("LOCAL5", 21),
    ("LOCAL6", 22),
    ("LOCAL7", 23),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<DeviceConfig, DeviceConfigError> {
        let raw = serde_json::from_value(value).expect("it has the shape of a device");
        DeviceConfig::new(raw, Path::new("/etc/conclave"), &mut Vec::new())
    }

    #[test]
    fn devices_are_read_with_their_defaults() {
        let file = read(json!({"type": "file", "options": {"file_path": "audit.log"}})).unwrap();
        assert_eq!(file.device.path, "file/");
        assert!(file.device.hmac_accessor && !file.device.danger_log_raw);
        let path = PathBuf::from("/etc/conclave/audit.log");
        assert_eq!(file.target, Target::File { path, mode: 0o600 });
        let syslog = read(json!({"type": "syslog", "path": "a/b", "options": {}})).unwrap();
        assert_eq!(syslog.device.path, "a/b/");
        let socket = PathBuf::from("/dev/log");
        assert_eq!(syslog.target, Target::Syslog { socket, facility: 4, tag: "conclave".into() });
        let options = json!({"address": "[::1]:9", "write_timeout": "500ms", "sync": "true", "filter": "operation == list"});
        let socket = read(json!({"type": "socket", "options": options})).unwrap();
        assert!(socket.device.sync && socket.device.filter.is_some());
        assert_eq!(socket.device.shown["address"], "[::1]:9");
        let address = SocketAddress::Tcp("[::1]:9".into());
        assert_eq!(
            socket.target,
            Target::Socket { address, write_timeout: Duration::from_millis(500) }
        );
    }

    #[test]
    fn what_nobody_reads_is_named() {
        let raw = json!({"type": "file", "options": {"file_path": "/a", "colour": "red"}});
        let mut warnings = Vec::new();
        let raw = serde_json::from_value(raw).unwrap();
        DeviceConfig::new(raw, Path::new(""), &mut warnings).unwrap();
        assert_eq!(warnings, ["unknown option `colour` of the audit device `file/` is ignored"]);
    }

    #[test]
    fn wrong_devices_are_refused_by_key() {
        let file = |option: &str, value: Value| json!({"type": "file", "options": {"file_path": "/a", option: value}});
        let socket = |address: &str, kind: &str| json!({"type": "socket", "options": {"address": address, "socket_type": kind}});
        let cases = [
            (json!({"type": "pipe"}), "type"),
            (json!({"type": "file"}), "file_path"),
            (json!({"type": "file", "path": "a/../b", "options": {"file_path": "/a"}}), "path"),
            (file("mode", json!("0700")), "mode"),
            (file("mode", json!("4600")), "mode"),
            (file("mode", json!("rw")), "mode"),
            (file("prefix", json!("a\nb")), "prefix"),
            (file("prefix", json!("{")), "prefix"),
            (file("log_raw", json!(true)), "log_raw"),
            (file("format", json!("jsonx")), "format"),
            (file("filter", json!("a == b")), "filter"),
            (file("sync", json!("maybe")), "sync"),
            (file("file_path", json!(["a"])), "options"),
            (json!({"type": "syslog", "options": {"facility": "KERN"}}), "facility"),
            (json!({"type": "syslog", "options": {"tag": "a b"}}), "tag"),
            (socket("nowhere", "tcp"), "address"),
            (socket(":1", "udp"), "address"),
            (socket("a:1", "sctp"), "socket_type"),
            (
                json!({"type": "socket", "options": {"address": "a:1", "write_timeout": "2h"}}),
                "write_timeout",
            ),
        ];
        for (value, key) in cases {
            assert_eq!(read(value.clone()).unwrap_err().key, key, "{value}");
        }
    }

    #[test]
    fn row_075_an_api_enables_only_plain_files_inside_the_allowed_directory() {
        let root = tempfile::tempdir().unwrap();
        let allowed = root.path().join("audit");
        std::fs::create_dir(&allowed).unwrap();
        std::fs::create_dir(root.path().join("audit-other")).unwrap();
        std::os::unix::fs::symlink("/etc", allowed.join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", allowed.join("name")).unwrap();
        let device = |path: PathBuf, option: &str, value: &str| {
            read(json!({"type": "file", "options": {"file_path": path, option: value}})).unwrap()
        };
        let check = |device: &DeviceConfig| device.check_from_api(Some(&allowed));
        let good = device(allowed.join("a.log"), "sync", "true");
        assert_eq!(check(&good), Ok(()));
        assert!(good.check_from_api(None).is_err(), "no directory is allowed");
        let paths = [
            "../a",
            "../audit-other/a",
            "x/../../a",
            "link/a",
            "name",
            "no/such",
            "/etc/cron.d/a",
            "/dev/null",
            "..",
        ];
        for path in paths {
            assert!(check(&device(allowed.join(path), "sync", "true")).is_err(), "{path}");
        }
        for (option, value) in
            [("prefix", "#!/bin/sh"), ("mode", "0666"), ("danger_log_raw", "true")]
        {
            assert!(check(&device(allowed.join("a.log"), option, value)).is_err(), "{option}");
        }
        for kind in ["syslog", "socket"] {
            let other = read(json!({"type": kind, "options": {"address": "a:1"}})).unwrap();
            assert!(check(&other).is_err());
        }
    }
}
