//! The JSON around an answer's data. The data is spliced in as it is: it was written as JSON once
//! and is not parsed again.

use bytes::Bytes;
use conclave_core::Response;
use serde::Serialize;

/// What stands around an answer's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The envelope.
    Enveloped,
    /// The envelope, with the members of the data at the top level as well, where old clients read
    /// them.
    Doubled,
    /// Nothing: help, and the document about all paths.
    Bare,
}

impl Shape {
    /// Of the answer to a request for this path.
    pub(super) fn of(path: &str, asks_for_help: bool) -> Self {
        if asks_for_help || path == "sys/internal/specs/openapi" {
            return Self::Bare;
        }
        let below = DOUBLED_BELOW.iter().find_map(|prefix| path.strip_prefix(prefix));
        let is_below = below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '-']));
        if is_below || DOUBLED.contains(&path) { Self::Doubled } else { Self::Enveloped }
    }
}

/// The body of an answer, with every key that clients look for.
pub(super) fn success(request_id: &str, response: &Response, shape: Shape) -> Bytes {
    let data: &[u8] = response.data.as_ref().map_or(b"null", |data| data.as_ref());
    if shape == Shape::Bare {
        return [data, b"\n"].concat().into();
    }
    let doubled = shape == Shape::Doubled;
    let auth: &[u8] = response.auth.as_ref().map_or(b"null", |auth| auth.as_ref());
    let warnings = &response.warnings;
    let mut out = Vec::with_capacity(256 + data.len() * if doubled { 2 } else { 1 });
    out.extend_from_slice(b"{\"request_id\":");
    write_json(&mut out, request_id);
    out.extend_from_slice(b",\"lease_id\":\"\",\"renewable\":false,\"lease_duration\":");
    write_json(&mut out, &response.lease_duration_s);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(data);
    out.extend_from_slice(b",\"wrap_info\":null,\"warnings\":");
    if warnings.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        write_json(&mut out, warnings.as_slice());
    }
    out.extend_from_slice(b",\"auth\":");
    out.extend_from_slice(auth);
    if doubled {
        write_members(&mut out, data);
    }
    out.extend_from_slice(b"}\n");
    out.into()
}

/// The body of an error. An empty message is an empty list: clients take it for "nothing there".
pub(super) fn errors(message: &str, data: Option<&Bytes>) -> Bytes {
    let mut out = Vec::with_capacity(32 + message.len());
    out.extend_from_slice(b"{\"errors\":");
    let list: &[&str] = if message.is_empty() { &[] } else { &[message] };
    write_json(&mut out, list);
    if let Some(data) = data {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data);
    }
    out.extend_from_slice(b"}\n");
    out.into()
}

/// Paths whose answers are doubled, and everything below them or that goes on with a hyphen.
const DOUBLED_BELOW: [&str; 7] = [
    "sys/mounts",
    "sys/auth",
    "sys/audit",
    "sys/policy",
    "sys/capabilities",
    "sys/key-status",
    "sys/config/auditing/request-headers",
];

/// Paths whose answers are doubled, alone.
const DOUBLED: [&str; 10] = [
    "sys/config/cors",
    "sys/ha-status",
    "sys/rekey/backup",
    "sys/rekey/recovery-key-backup",
    "sys/remount",
    "sys/rotate",
    "sys/rotate/keyring",
    "sys/rotate/recovery/backup",
    "sys/rotate/root/backup",
    "sys/wrapping/wrap",
];

/// Writes the members of the object `data`, each after a comma.
fn write_members(out: &mut Vec<u8>, data: &[u8]) {
    let members = data
        .trim_ascii()
        .strip_prefix(b"{")
        .and_then(|rest| rest.strip_suffix(b"}"))
        .map(<[u8]>::trim_ascii)
        .unwrap_or_default();
    if !members.is_empty() {
        out.push(b',');
        out.extend_from_slice(members);
    }
}

fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("strings and numbers are written as JSON into memory");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clients_find_data_at_the_top_where_they_look() {
        for path in [
            "sys/mounts",
            "sys/mounts/secret/tune",
            "sys/auth",
            "sys/audit-hash/file",
            "sys/policy/a",
            "sys/capabilities-self",
            "sys/key-status",
            "sys/config/cors",
            "sys/config/auditing/request-headers",
            "sys/config/auditing/request-headers/x-a",
            "sys/remount",
            "sys/rotate",
            "sys/rotate/keyring",
        ] {
            assert_eq!(Shape::of(path, false), Shape::Doubled, "{path}");
        }
        for path in [
            "sys/policies/acl",
            "sys/authority",
            "sys/remount/status/1",
            "sys/rotate/config",
            "sys/config/cors/x",
            "sys/config/ui/headers",
            "secret/sys/mounts",
        ] {
            assert_eq!(Shape::of(path, false), Shape::Enveloped, "{path}");
        }
        assert_eq!(Shape::of("sys/mounts", true), Shape::Bare);
    }
}
