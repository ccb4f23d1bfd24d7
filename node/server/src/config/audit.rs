//! `audit`: the devices of this node, and whether an API may add any.
//!
//! ```text
//! audit "file" { options { file_path = "audit.log" } }            named by its type
//! audit "file" "to-disk" { options { file_path = "audit.log" } }  named by itself
//! audit_api_directory = "/var/log/conclave"
//! ```

use std::path::PathBuf;

use super::ConfigError;
use super::section::Section;
use crate::audit::{DeviceConfig, RawDevice};

/// Where this node may write audit logs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditConfig {
    /// Its own devices, in force from the first request on.
    pub devices: Vec<DeviceConfig>,
    /// An API may enable file devices inside this directory; none where it is absent.
    pub api_directory: Option<PathBuf>,
}

pub(super) fn read(
    root: &mut Section,
    warnings: &mut Vec<String>,
) -> Result<AuditConfig, ConfigError> {
    let mut devices: Vec<DeviceConfig> = Vec::new();
    for (kind, mut section) in root.labelled("audit")? {
        let named = match section.has_any(&["options", "path", "description"]) {
            true => vec![(kind.clone(), section)],
            false => section.into_labelled()?,
        };
        for (name, section) in named {
            let device = read_device(&kind, name, section, warnings)?;
            if devices.iter().any(|other| other.device.path == device.device.path) {
                return Err(root.wrong("audit", "devices with different names"));
            }
            devices.push(device);
        }
    }
    Ok(AuditConfig { devices, api_directory: root.path("audit_api_directory")? })
}

fn read_device(
    kind: &str,
    name: String,
    mut section: Section,
    warnings: &mut Vec<String>,
) -> Result<DeviceConfig, ConfigError> {
    let raw = RawDevice {
        kind: kind.to_owned(),
        path: section.string("path")?.unwrap_or(name),
        description: section.string("description")?.unwrap_or_default(),
        options: section.values("options")?,
    };
    let place = section.place("options");
    let mut unknown = Vec::new();
    let device = DeviceConfig::new(raw, place.base(), &mut unknown)
        .map_err(|error| section.wrong(error.key, error.expected))?;
    if place.is_strict() && !unknown.is_empty() {
        return Err(section.wrong("options", UNKNOWN_OPTION));
    }
    warnings.append(&mut unknown);
    section.finish(warnings)?;
    Ok(device)
}

const UNKNOWN_OPTION: &str = "options that this type of device has";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::audit::Target;
    use crate::config::Config;

    fn parse(audit: &str) -> Result<Config, ConfigError> {
        let text = format!(
            r#"{{"listener": {{"tcp": {{"address": "127.0.0.1:8200"}}}},
                "storage": {{"raft": {{"path": "data", "node_id": "node-1"}}}}, {audit}}}"#
        );
        Config::parse(&text, Path::new("/etc/conclave"))
    }

    #[test]
    fn devices_are_named_by_their_type_or_by_themselves() {
        let config = parse(
            r#""audit_api_directory": "api", "audit": [
                {"file": {"options": {"file_path": "a.log", "mode": "0640"}}},
                {"file": {"second": {"description": "d", "options": [{"path": "/b.log"}]}}},
                {"syslog": {"path": "logs", "options": {"facility": "LOCAL0"}}}]"#,
        )
        .expect("it is valid");
        assert_eq!(config.warnings, Vec::<String>::new());
        let AuditConfig { devices, api_directory } = config.audit;
        assert_eq!(api_directory.as_deref(), Some(Path::new("/etc/conclave/api")));
        let names: Vec<_> = devices.iter().map(|device| device.device.path.as_str()).collect();
        assert_eq!(names, ["file/", "second/", "logs/"]);
        let path = PathBuf::from("/etc/conclave/a.log");
        assert_eq!(devices[0].target, Target::File { path, mode: 0o640 });
        assert_eq!(devices[1].device.description, "d");
    }

    #[test]
    fn without_a_word_nothing_is_logged_and_no_api_may_change_that() {
        assert_eq!(
            parse(r#""cluster_name": "c""#).expect("it is valid").audit,
            AuditConfig::default()
        );
    }

    #[test]
    fn wrong_devices_are_refused_by_key() {
        let cases = [
            (r#"{"file": {"options": {}}}"#, "audit.file.file_path"),
            (r#"{"pipe": {"options": {}}}"#, "audit.pipe.type"),
            (r#"{"file": {"options": {"file_path": "a", "mode": "0777"}}}"#, "audit.file.mode"),
            (
                r#"{"file": {"a": {"options": {"file_path": "a", "sync": "x"}}}}"#,
                "audit.file.a.sync",
            ),
            (r#"{"file": "a.log"}"#, "audit.file"),
            (
                r#"[{"file": {"options": {"file_path": "a"}}}, {"file": {"options": {"file_path": "b"}}}]"#,
                "audit",
            ),
        ];
        for (audit, expected) in cases {
            let error = parse(&format!(r#""audit": {audit}"#)).expect_err(audit);
            let ConfigError::Wrong { key, .. } = error else { panic!("{audit}: {error}") };
            assert_eq!(key, expected, "{audit}");
        }
    }

    #[test]
    fn what_nobody_reads_is_named() {
        let audit =
            r#""audit": {"file": {"colour": 1, "options": {"file_path": "a", "depth": 1}}}"#;
        let warnings = parse(audit).expect("it is valid").warnings;
        assert_eq!(
            warnings,
            [
                "unknown option `depth` of the audit device `file/` is ignored",
                "unknown key `audit.file.colour` is ignored",
            ]
        );
    }
}
