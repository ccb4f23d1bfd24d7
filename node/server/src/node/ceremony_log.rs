//! Audit records of what goes round the pipeline: init, unseal, join, and what members ask for.
//!
//! Where this node has no key only devices that its configuration names are known, and of these only
//! files say by themselves where their chain goes on.

use conclave_core::{Ceremony, CeremonyTrail, Error, Operation};
use conclave_gateway::{InitRequest, JoinRequest, NodeStatus};
use serde_json::{Map, Value, json};

use super::Node;
use super::phase::Phase;

impl Node {
    /// Logs what a client asks for: it must not be done before.
    ///
    /// # Errors
    /// `Unavailable`: no device takes the record.
    pub(super) async fn begin_ceremony(
        &self,
        path: &'static str,
        request: Value,
    ) -> Result<CeremonyTrail, Error> {
        self.begin_ceremony_of("", path, request).await
    }

    /// The same of what a member, or a node that wants to be one, asks for.
    ///
    /// # Errors
    /// The same.
    pub(super) async fn begin_ceremony_of(
        &self,
        member: &str,
        path: &'static str,
        request: Value,
    ) -> Result<CeremonyTrail, Error> {
        let ceremony = Ceremony {
            path,
            operation: Operation::Write,
            request: fields(request),
            remote_address: String::new(),
            member: member.to_owned(),
        };
        let phase = self.phase();
        if let Phase::Unsealed(_, core) = &phase {
            return CeremonyTrail::begin(core, ceremony).await;
        }
        // A node that belongs to no cluster begins its chains.
        let fresh = matches!(phase, Phase::Alone);
        let on = |kind: &str| fresh || kind == "file";
        let places = self.audit.as_ref();
        CeremonyTrail::begin_without_key(places, |wanted| on(&wanted.kind), &self.ports, ceremony)
            .await
    }
}

/// What the log may say of a request to initialise.
pub(super) fn init_fields(request: &InitRequest) -> Value {
    json!({"secret_shares": request.shares, "secret_threshold": request.threshold})
}

/// What the log may say of a request to join. It has no token to say who asks, so no text of it is
/// there: whatever was typed into the wrong field would be.
pub(super) fn join_fields(request: &JoinRequest) -> Value {
    let by = if request.token.is_some() { "join token" } else { "join secret" };
    json!({"by": by, "non_voter": request.non_voter})
}

/// What the log may say of a node: no share, and no nonce.
pub(super) fn status_fields(status: &NodeStatus) -> Map<String, Value> {
    fields(json!({
        "sealed": status.sealed, "progress": status.progress,
        "t": status.threshold, "n": status.shares,
    }))
}

/// An object's.
pub(super) fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
