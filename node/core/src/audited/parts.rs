//! From a request and its answer to the parts of their records.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use crate::audit::{
    AuthPart, GrantingPolicy, HeaderRules, MountPart, NamespacePart, PolicyResults, Record,
    RequestPart, ResponsePart,
};
use crate::authority::Permit;
use crate::canonical::CanonicalPath;
use crate::mounts::{MountRecord, Target};
use crate::token::{Caller, TokenRecord};
use crate::{Error, Request, Response};

/// What both records of a request say of it.
pub(super) struct Entry {
    path: String,
    operation: &'static str,
    mount: Mounted,
    /// Of a token that lives.
    caller: Option<TokenRecord>,
    /// What policy decided, where it did.
    decision: Option<Decision>,
    remote_address: String,
}

struct Decision {
    allowed: bool,
    granting: Vec<GrantingPolicy>,
}

enum Mounted {
    Nowhere,
    Core(&'static BuiltIn),
    Mount(Arc<MountRecord>),
}

impl Entry {
    /// Of a request that policy let through.
    pub(super) fn permitted(
        request: &Request,
        path: &CanonicalPath,
        target: &Target,
        permit: &Permit,
    ) -> Self {
        let told = permit.caller.as_ref();
        let decision = told.map(|_| Decision { allowed: true, granting: permit.granting() });
        Self {
            operation: permit.operation_name(request.operation),
            caller: told.map(|caller| caller.record.clone()),
            decision,
            ..Self::new(request, path, Some(target))
        }
    }

    /// Of a request that was refused.
    pub(super) fn refused(
        request: &Request,
        path: &CanonicalPath,
        target: Option<&Target>,
        caller: Option<Caller>,
        denied: bool,
    ) -> Self {
        let decision =
            (denied && caller.is_some()).then(|| Decision { allowed: false, granting: Vec::new() });
        let caller = caller.map(|caller| caller.record);
        Self { caller, decision, ..Self::new(request, path, target) }
    }

    fn new(request: &Request, path: &CanonicalPath, target: Option<&Target>) -> Self {
        Self {
            path: path.as_str().to_owned(),
            operation: request.operation.name(),
            mount: match target {
                None => Mounted::Nowhere,
                Some(Target::Mount { mount, .. }) => Mounted::Mount(mount.clone()),
                Some(Target::System { .. }) => Mounted::Core(BuiltIn::at(path.as_str())),
            },
            caller: None,
            decision: None,
            remote_address: request.client.map(|address| address.to_string()).unwrap_or_default(),
        }
    }

    pub(super) fn record<'r>(
        &'r self,
        request: &'r Request,
        header_rules: &'r HeaderRules,
        error: &'r str,
        time_ms: u64,
    ) -> Record<'r> {
        let client_token = request.token.as_ref().map_or("", |token| token.expose());
        let caller = self.caller.as_ref();
        Record {
            time_ms,
            auth: caller.map(|caller| self.auth(caller, client_token)),
            request: RequestPart {
                id: &request.id,
                operation: self.operation,
                mount: self.mount.part(),
                client_token,
                client_token_accessor: caller.map_or("", |caller| &caller.accessor),
                namespace: NamespacePart { id: "root", path: "" },
                path: &self.path,
                body: &request.body,
                query: Some(&request.query),
                remote_address: &self.remote_address,
                headers: Some(&request.headers),
                header_rules: Some(header_rules),
                ..RequestPart::default()
            },
            error,
            forwarded_from: &request.forwarded_from,
        }
    }

    fn auth<'r>(&'r self, caller: &'r TokenRecord, client_token: &'r str) -> AuthPart<'r> {
        AuthPart {
            client_token,
            accessor: &caller.accessor,
            display_name: &caller.display_name,
            policies: &caller.policies,
            token_policies: &caller.policies,
            metadata: Some(&caller.metadata),
            remaining_uses: caller.uses_left,
            token_type: if caller.is_batch() { "batch" } else { "service" },
            token_ttl_s: caller.ttl_ms / 1000,
            token_issue_time_ms: caller.created_ms,
            policy_results: self.decision.as_ref().map(|decision| PolicyResults {
                allowed: decision.allowed,
                granting_policies: &decision.granting,
            }),
            ..AuthPart::default()
        }
    }
}

impl Mounted {
    fn part(&self) -> MountPart<'_> {
        match self {
            Self::Nowhere => MountPart::default(),
            Self::Core(built_in) => MountPart {
                point: built_in.point,
                kind: built_in.kind,
                accessor: built_in.accessor,
                class: built_in.class,
                ..MountPart::default()
            },
            Self::Mount(mount) => MountPart {
                point: &mount.path,
                kind: &mount.kind,
                accessor: &mount.accessor,
                class: if mount.is_auth() { "auth" } else { "secret" },
                readable_request_keys: &mount.audit_non_hmac_request_keys,
                readable_response_keys: &mount.audit_non_hmac_response_keys,
            },
        }
    }
}

/// What looks like a mount and is the core itself.
struct BuiltIn {
    point: &'static str,
    kind: &'static str,
    accessor: &'static str,
    class: &'static str,
}

impl BuiltIn {
    fn at(path: &str) -> &'static Self {
        if path.starts_with(TOKEN.point) { &TOKEN } else { &SYSTEM }
    }
}

static SYSTEM: BuiltIn =
    BuiltIn { point: "sys/", kind: "system", accessor: "system_00000001", class: "secret" };

static TOKEN: BuiltIn =
    BuiltIn { point: "auth/token/", kind: "token", accessor: "auth_token_00000001", class: "auth" };

/// What the caller is about to be told.
pub(super) struct Answer<'a> {
    told: &'a Result<Response, Error>,
    auth: Option<Granted<'a>>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(told: &'a Result<Response, Error>) -> Self {
        let auth = told.as_ref().ok().and_then(|response| response.auth.as_ref());
        Self { told, auth: auth.map(Granted::read) }
    }

    pub(super) fn error(&self) -> &'a str {
        match self.told {
            Ok(_) => "",
            Err(error) if error.message.is_empty() => "not found",
            Err(error) => &error.message,
        }
    }

    pub(super) fn part(&self) -> ResponsePart<'_> {
        match self.told {
            Ok(response) => ResponsePart {
                auth: self.auth.as_ref().map(Granted::part),
                data: bytes(response.data.as_ref()),
                warnings: &response.warnings,
                ..ResponsePart::default()
            },
            Err(error) => {
                ResponsePart { data: bytes(error.data.as_ref()), ..ResponsePart::default() }
            }
        }
    }
}

fn bytes(data: Option<&Bytes>) -> &[u8] {
    data.map_or(b"", |data| data.as_ref())
}

/// `auth` of an answer, read back.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Granted<'a> {
    #[serde(borrow)]
    client_token: Cow<'a, str>,
    #[serde(borrow)]
    accessor: Cow<'a, str>,
    policies: Vec<String>,
    token_policies: Vec<String>,
    identity_policies: Vec<String>,
    metadata: Option<BTreeMap<String, String>>,
    lease_duration: u64,
    #[serde(borrow)]
    entity_id: Cow<'a, str>,
    #[serde(borrow)]
    token_type: Cow<'a, str>,
    num_uses: u64,
}

impl<'a> Granted<'a> {
    /// The core wrote it.
    fn read(auth: &'a Bytes) -> Self {
        serde_json::from_slice(auth).unwrap_or_default()
    }

    fn part(&self) -> AuthPart<'_> {
        AuthPart {
            client_token: &self.client_token,
            accessor: &self.accessor,
            policies: &self.policies,
            token_policies: &self.token_policies,
            identity_policies: &self.identity_policies,
            metadata: self.metadata.as_ref(),
            num_uses: self.num_uses,
            entity_id: &self.entity_id,
            token_type: &self.token_type,
            token_ttl_s: self.lease_duration,
            ..AuthPart::default()
        }
    }
}
