//! The JSON around an answer's data. The data is spliced in as it is: it was written as JSON once
//! and is not parsed again.

use bytes::Bytes;
use conclave_core::Response;
use serde::Serialize;

/// The envelope, with every key that clients look for. With `doubled`, the members of `data` stand
/// at the top level as well, where old clients read them.
pub(super) fn success(request_id: &str, response: &Response, doubled: bool) -> Bytes {
    let data: &[u8] = response.data.as_ref().map_or(b"null", |data| data.as_ref());
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

/// Whether this path's data is doubled at the top level.
pub(super) fn is_doubled(path: &str) -> bool {
    const PREFIXES: [&str; 6] =
        ["sys/mounts", "sys/auth", "sys/audit", "sys/policy", "sys/capabilities", "sys/key-status"];
    let after = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix));
    after.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '-']))
}

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
