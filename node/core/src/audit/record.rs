//! What is told of one request, borrowed from whoever serves it. The parts have no `Debug`: they
//! hold what must be hidden. Empty texts, zeros and `false` are left out of the line.

use std::collections::BTreeMap;

use super::HeaderRules;

/// One request as the log sees it, before and after it was served.
#[derive(Clone, Copy, Default)]
pub struct Record<'a> {
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Who asks, once it is known.
    pub auth: Option<AuthPart<'a>>,
    /// What is asked.
    pub request: RequestPart<'a>,
    /// Why it was refused; bounded, and free of secrets as every error of ours.
    pub error: &'a str,
    /// The node that handed the request on.
    pub forwarded_from: &'a str,
}

/// A token and whose it is.
#[derive(Clone, Copy, Default)]
pub struct AuthPart<'a> {
    /// Hidden.
    pub client_token: &'a str,
    /// Hidden, unless the device says `hmac_accessor = false`.
    pub accessor: &'a str,
    /// For people.
    pub display_name: &'a str,
    /// All policies.
    pub policies: &'a [String],
    /// Those of the token itself.
    pub token_policies: &'a [String],
    /// Those of its entity and groups.
    pub identity_policies: &'a [String],
    /// Whether `default` is left out.
    pub no_default_policy: bool,
    /// Of the token; no secret by contract.
    pub metadata: Option<&'a BTreeMap<String, String>>,
    /// How often it may be used; 0 for ever.
    pub num_uses: u64,
    /// How often still.
    pub remaining_uses: u64,
    /// The entity.
    pub entity_id: &'a str,
    /// Whether this request made the entity.
    pub entity_created: bool,
    /// `service` or `batch`.
    pub token_type: &'a str,
    /// Seconds.
    pub token_ttl_s: u64,
    /// Milliseconds since the Unix epoch; 0 where unknown.
    pub token_issue_time_ms: u64,
    /// What policy decided, once it did.
    pub policy_results: Option<PolicyResults<'a>>,
}

/// What policy decided.
#[derive(Clone, Copy)]
pub struct PolicyResults<'a> {
    /// Whether the request may run.
    pub allowed: bool,
    /// Which policies said so.
    pub granting_policies: &'a [GrantingPolicy],
}

/// A policy that allowed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantingPolicy {
    /// Its name.
    pub name: String,
    /// The namespace it stands in.
    pub namespace_id: String,
    /// `acl`.
    pub kind: &'static str,
}

/// What is asked.
#[derive(Clone, Copy, Default)]
pub struct RequestPart<'a> {
    /// Unique; the same in the response's record.
    pub id: &'a str,
    /// The entity, or what stands for one.
    pub client_id: &'a str,
    /// As `Operation::name` says it, or `create`, `help`.
    pub operation: &'a str,
    /// Where the path leads.
    pub mount: MountPart<'a>,
    /// Hidden.
    pub client_token: &'a str,
    /// Hidden, unless the device says `hmac_accessor = false`.
    pub client_token_accessor: &'a str,
    /// In which namespace.
    pub namespace: NamespacePart<'a>,
    /// Canonical.
    pub path: &'a str,
    /// JSON, or whatever was sent instead; empty where nothing was.
    pub body: &'a [u8],
    /// Query parameters: they are the data where there is no body.
    pub query: Option<&'a BTreeMap<String, String>>,
    /// Where the client connected from.
    pub remote_address: &'a str,
    /// And from which port.
    pub remote_port: u16,
    /// Seconds; 0 where the answer is not to be wrapped.
    pub wrap_ttl_s: u64,
    /// The client's headers.
    pub headers: Option<&'a BTreeMap<String, Vec<String>>>,
    /// Which of them the log may hold.
    pub header_rules: Option<&'a HeaderRules>,
    /// Of the client's certificate.
    pub client_certificate_serial_number: &'a str,
}

/// A mount.
#[derive(Clone, Copy, Default)]
pub struct MountPart<'a> {
    /// With a slash at its end.
    pub point: &'a str,
    /// `kv`, `userpass`.
    pub kind: &'a str,
    /// `kv_1a2b3c4d`.
    pub accessor: &'a str,
    /// `secret` or `auth`.
    pub class: &'a str,
    /// Top-level fields of a request that stay readable: `audit_non_hmac_request_keys`.
    pub readable_request_keys: &'a [String],
    /// The same for the response: `audit_non_hmac_response_keys`.
    pub readable_response_keys: &'a [String],
}

/// A namespace.
#[derive(Clone, Copy, Default)]
pub struct NamespacePart<'a> {
    /// `root` or the id.
    pub id: &'a str,
    /// With a slash at its end; empty for the root namespace.
    pub path: &'a str,
}

/// What the client is about to be told.
#[derive(Clone, Copy, Default)]
pub struct ResponsePart<'a> {
    /// A token that was made.
    pub auth: Option<AuthPart<'a>>,
    /// JSON; empty where there is nothing to say.
    pub data: &'a [u8],
    /// The lease of what is handed out.
    pub lease_id: &'a str,
    /// Hints for the caller, free of secrets.
    pub warnings: &'a [String],
    /// Where the client is sent instead.
    pub redirect: &'a str,
    /// What wraps the answer.
    pub wrap: Option<WrapPart<'a>>,
}

/// A wrapped answer.
#[derive(Clone, Copy, Default)]
pub struct WrapPart<'a> {
    /// Seconds.
    pub ttl_s: u64,
    /// Hidden.
    pub token: &'a str,
    /// Hidden like every accessor.
    pub accessor: &'a str,
    /// Milliseconds since the Unix epoch.
    pub creation_time_ms: u64,
    /// The path whose answer it is.
    pub creation_path: &'a str,
    /// Of a token inside.
    pub wrapped_accessor: &'a str,
}
