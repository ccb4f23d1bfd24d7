//! One device's line of one record: JSON in the shape that tools for Vault's audit log read.

use std::collections::BTreeMap;

use super::device::DeviceOptions;
use super::key::HashKey;
use super::object::{Object, cut, format_time, write_text};
use super::record::{AuthPart, MountPart, Record, RequestPart, ResponsePart, WrapPart};
use super::values::{Form, Rules, write_body, write_whole};
use super::{chain, filter};

/// The longest error, warning and header that a line holds whole.
const TEXT_BYTES_MAX: usize = 4096;

/// The most warnings, and values of headers, in one line.
const TEXTS_MAX: usize = 64;

/// Even with one hash for each body the line is longer than the device takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Writes lines as one device wants them.
#[derive(Clone, Copy)]
pub(super) struct Format<'a> {
    pub(super) options: &'a DeviceOptions,
    pub(super) key: &'a HashKey,
    pub(super) line_bytes_max: usize,
}

impl Format<'_> {
    /// The line up to what [`chain::close`] adds, with the device's prefix.
    pub(super) fn line(
        self,
        record: &Record<'_>,
        response: Option<&ResponsePart<'_>>,
    ) -> Result<Vec<u8>, TooLong> {
        let bytes_max = self.line_bytes_max.saturating_sub(chain::CLOSING_BYTES_MAX);
        for by_value in [true, false] {
            let line = Line { format: self, by_value }.write(record, response);
            if line.len() <= bytes_max {
                return Ok(line);
            }
        }
        Err(TooLong)
    }
}

/// What filters look at.
pub(super) fn subject<'a>(record: &Record<'a>) -> filter::Subject<'a> {
    let request = &record.request;
    filter::Subject {
        mount_type: request.mount.kind,
        mount_point: request.mount.point,
        operation: request.operation,
        namespace: request.namespace.path,
        path: request.path,
    }
}

#[derive(Clone, Copy)]
struct Line<'a> {
    format: Format<'a>,
    /// Whether bodies are written value by value; otherwise as one hash.
    by_value: bool,
}

impl Line<'_> {
    fn write(self, record: &Record<'_>, response: Option<&ResponsePart<'_>>) -> Vec<u8> {
        let request = &record.request;
        let mut out = Vec::with_capacity(LINE_BYTES_USUAL + 2 * request.body.len());
        out.extend_from_slice(self.format.options.prefix.as_bytes());
        let mut line = Object::begin(&mut out);
        line.text("time", &format_time(record.time_ms));
        line.text("type", if response.is_some() { "response" } else { "request" });
        if let Some(auth) = &record.auth {
            line.object("auth", |object| self.auth(auth, object));
        }
        line.object("request", |object| self.request(request, object));
        if let Some(response) = response {
            line.object("response", |object| self.response(request, response, object));
        }
        line.text("error", cut(record.error, TEXT_BYTES_MAX));
        line.text("forwarded_from", record.forwarded_from);
        out
    }

    fn auth(self, auth: &AuthPart<'_>, object: &mut Object<'_>) {
        self.secret("client_token", auth.client_token, object);
        self.accessor("accessor", auth.accessor, object);
        object.text("display_name", auth.display_name);
        object.texts("policies", texts(auth.policies));
        object.texts("token_policies", texts(auth.token_policies));
        object.texts("identity_policies", texts(auth.identity_policies));
        object.flag("no_default_policy", auth.no_default_policy);
        if let Some(metadata) = auth.metadata.filter(|metadata| !metadata.is_empty()) {
            object.object("metadata", |object| {
                for (name, value) in metadata {
                    write_text(value, object.field(name));
                }
            });
        }
        object.number("num_uses", auth.num_uses);
        object.number("remaining_uses", auth.remaining_uses);
        object.text("entity_id", auth.entity_id);
        object.flag("entity_created", auth.entity_created);
        object.text("token_type", auth.token_type);
        object.number("token_ttl", auth.token_ttl_s);
        object.time("token_issue_time", auth.token_issue_time_ms);
        let Some(results) = &auth.policy_results else { return };
        object.object("policy_results", |object| {
            let allowed: &[u8] = if results.allowed { b"true" } else { b"false" };
            object.field("allowed").extend_from_slice(allowed);
            if results.granting_policies.is_empty() {
                return;
            }
            let out = object.field("granting_policies");
            for (number, policy) in results.granting_policies.iter().enumerate() {
                out.push(if number == 0 { b'[' } else { b',' });
                let mut object = Object::begin(out);
                object.text("name", &policy.name);
                object.text("namespace_id", &policy.namespace_id);
                object.text("type", policy.kind);
                object.end();
            }
            out.push(b']');
        });
    }

    fn request(self, request: &RequestPart<'_>, object: &mut Object<'_>) {
        object.text("id", request.id);
        object.text("client_id", request.client_id);
        object.text("operation", request.operation);
        self.mount(&request.mount, object);
        self.secret("client_token", request.client_token, object);
        self.accessor("client_token_accessor", request.client_token_accessor, object);
        object.object("namespace", |object| {
            object.text("id", request.namespace.id);
            self.path("path", request.namespace.path, object);
        });
        self.path("path", request.path, object);
        self.request_data(request, object);
        object.text("remote_address", request.remote_address);
        object.number("remote_port", request.remote_port.into());
        object.number("wrap_ttl", request.wrap_ttl_s);
        self.headers(request, object);
        object.text(
            "client_certificate_serial_number",
            cut(request.client_certificate_serial_number, TEXT_BYTES_MAX),
        );
    }

    fn mount(self, mount: &MountPart<'_>, object: &mut Object<'_>) {
        self.path("mount_point", mount.point, object);
        object.text("mount_type", mount.kind);
        object.text("mount_accessor", mount.accessor);
        object.text("mount_class", mount.class);
    }

    fn request_data(self, request: &RequestPart<'_>, object: &mut Object<'_>) {
        let readable = request.mount.readable_request_keys;
        self.body(request.body, self.rules(readable, false), object);
        let Some(query) = request.query.filter(|query| !query.is_empty()) else { return };
        let name = if request.body.is_empty() { "data" } else { "query" };
        object.object(name, |object| {
            for (name, value) in query {
                let out = object.field(name);
                match self.format.options.danger_log_raw || readable.contains(name) {
                    true => write_text(value, out),
                    false => self.format.key.write(value.as_bytes(), out),
                }
            }
        });
    }

    fn response(
        self,
        request: &RequestPart<'_>,
        response: &ResponsePart<'_>,
        object: &mut Object<'_>,
    ) {
        if let Some(auth) = &response.auth {
            object.object("auth", |object| self.auth(auth, object));
        }
        self.mount(&request.mount, object);
        if !response.lease_id.is_empty() {
            object.object("secret", |object| self.path("lease_id", response.lease_id, object));
        }
        let lists = matches!(request.operation, "list" | "scan");
        let count_lists = lists && self.format.options.elide_list_responses;
        let rules = self.rules(request.mount.readable_response_keys, count_lists);
        self.body(response.data, rules, object);
        let warnings = response.warnings.iter().take(TEXTS_MAX);
        object.texts("warnings", warnings.map(|warning| cut(warning, TEXT_BYTES_MAX)));
        self.path("redirect", response.redirect, object);
        if let Some(wrap) = &response.wrap {
            object.object("wrap_info", |object| self.wrap(wrap, object));
        }
    }

    fn wrap(self, wrap: &WrapPart<'_>, object: &mut Object<'_>) {
        object.number("ttl", wrap.ttl_s);
        self.secret("token", wrap.token, object);
        self.accessor("accessor", wrap.accessor, object);
        object.time("creation_time", wrap.creation_time_ms);
        self.path("creation_path", wrap.creation_path, object);
        self.accessor("wrapped_accessor", wrap.wrapped_accessor, object);
    }

    fn rules<'r>(&'r self, readable: &'r [String], count_lists: bool) -> Rules<'r> {
        let raw = self.format.options.danger_log_raw;
        Rules { key: self.format.key, readable, count_lists, raw }
    }

    /// `data`, and `data_form` where it is one hash.
    fn body(self, body: &[u8], rules: Rules<'_>, object: &mut Object<'_>) {
        if body.is_empty() {
            return;
        }
        let out = object.field("data");
        let form = match self.by_value {
            true => write_body(body, rules, out),
            false => {
                write_whole(body, rules.key, out);
                Form::Whole("too long for one line")
            }
        };
        if let Form::Whole(why) = form {
            object.text("data_form", why);
        }
    }

    fn headers(self, request: &RequestPart<'_>, object: &mut Object<'_>) {
        let (Some(headers), Some(rules)) = (request.headers, request.header_rules) else { return };
        let allowed: BTreeMap<_, _> = headers
            .iter()
            .filter_map(|(name, values)| {
                Some((name.to_ascii_lowercase(), (values, rules.hmac(name)?)))
            })
            .collect();
        if allowed.is_empty() {
            return;
        }
        object.object("headers", |object| {
            for (name, (values, hmac)) in &allowed {
                let out = object.field(name);
                out.push(b'[');
                for (number, value) in values.iter().take(TEXTS_MAX).enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    match hmac {
                        true => self.format.key.write(value.as_bytes(), out),
                        false => write_text(cut(value, TEXT_BYTES_MAX), out),
                    }
                }
                out.push(b']');
            }
        });
    }

    fn secret(self, name: &str, value: &str, object: &mut Object<'_>) {
        match (value.is_empty(), self.format.options.danger_log_raw) {
            (true, _) => (),
            (false, true) => object.text(name, value),
            (false, false) => self.format.key.write(value.as_bytes(), object.field(name)),
        }
    }

    fn accessor(self, name: &str, value: &str, object: &mut Object<'_>) {
        match self.format.options.hmac_accessor {
            true => self.secret(name, value, object),
            false => object.text(name, value),
        }
    }

    fn path(self, name: &str, value: &str, object: &mut Object<'_>) {
        match self.format.options.hash_paths {
            true => self.secret(name, value, object),
            false => object.text(name, value),
        }
    }
}

fn texts(texts: &[String]) -> impl Iterator<Item = &str> {
    texts.iter().map(String::as_str)
}

const LINE_BYTES_USUAL: usize = 1536;
