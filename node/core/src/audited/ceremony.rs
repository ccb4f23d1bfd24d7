//! Records of what a node does beside its pipeline: before it has a key, or at a member's request.
//!
//! The node says what may be read of it; shares, keys, tokens and nonces are not handed in at all, so
//! nothing has to be hidden and the device's key does not matter.

use std::sync::Arc;

use conclave_mount::Operation;
use conclave_ports::Ports;
use serde_json::{Map, Value};

use super::trail::blocked;
use super::{AuditPlaces, Enabled, WantedDevice};
use crate::audit::{Audit, HashKey, MountPart, NamespacePart, Record, RequestPart, ResponsePart};
use crate::uuid::format_uuid;
use crate::{Core, Error};

/// What a node is asked to do.
#[derive(Debug, Clone)]
pub struct Ceremony {
    /// Of the API, or what comes nearest to it.
    pub path: &'static str,
    /// As the API has it.
    pub operation: Operation,
    /// **No secret**: every field stands in the log as it is.
    pub request: Map<String, Value>,
    /// Where the client or the member came from; empty where that is not known.
    pub remote_address: String,
    /// The member that asked; empty for a client.
    pub member: String,
}

/// One of them on its way through the audit log.
#[must_use = "the record of how it ended"]
pub struct CeremonyTrail {
    devices: Devices,
    ports: Ports,
    ceremony: Ceremony,
    id: String,
}

enum Devices {
    /// Of the configuration alone: what an API enabled is not known without a key.
    Configured(Audit),
    All(Arc<Enabled>),
}

impl CeremonyTrail {
    /// Logs what a node without a key is asked for, on those devices of its configuration that `on`
    /// picks. Nothing of it may be done before.
    ///
    /// # Errors
    /// `Unavailable`: no device takes the record.
    pub async fn begin_without_key(
        places: &dyn AuditPlaces,
        on: impl Fn(&WantedDevice) -> bool,
        ports: &Ports,
        ceremony: Ceremony,
    ) -> Result<Self, Error> {
        let wanted = places.configured().into_iter().filter(|wanted| on(wanted));
        let devices = wanted.map(|wanted| {
            (places.device(&wanted, None), HashKey::make_throwaway(ports.rng.as_ref()))
        });
        let audit = Audit::new(devices.collect(), ports.clone());
        Self::log(Devices::Configured(audit), ports, ceremony).await
    }

    /// Logs what an unsealed node is asked for beside its pipeline, on every device.
    ///
    /// # Errors
    /// `Unavailable`: no device takes the record. As of a read.
    pub async fn begin(core: &Core, ceremony: Ceremony) -> Result<Self, Error> {
        let mut tx = core.barrier.transaction(core.barrier.ledger().view());
        let enabled = core.audits.at(&mut tx)?;
        drop(tx);
        Self::log(Devices::All(enabled), &core.ports, ceremony).await
    }

    async fn log(devices: Devices, ports: &Ports, ceremony: Ceremony) -> Result<Self, Error> {
        let id = format_uuid(&ports.random());
        let trail = Self { devices, ports: ports.clone(), ceremony, id };
        let (body, readable) = shown(&trail.ceremony.request);
        let record = trail.record(&body, &readable, &[], "");
        trail.audit().request(&record).await.map_err(|_| blocked())?;
        Ok(trail)
    }

    /// Logs how it ended. What was done cannot be undone, and what it gave can be had only once: where
    /// no device takes this record the node's log says so, and the answer stands.
    pub async fn end(self, answer: Result<Map<String, Value>, &Error>) {
        let (body, readable) = shown(&self.ceremony.request);
        let (data, readable_response) = shown(answer.as_ref().unwrap_or(&Map::new()));
        let error = answer.as_ref().err().map_or("", |error| error.message.as_str());
        let record = self.record(&body, &readable, &readable_response, error);
        let response = ResponsePart { data: &data, ..ResponsePart::default() };
        if self.audit().response(&record, &response).await.is_err() {
            tracing::error!(
                path = self.ceremony.path,
                failed = !error.is_empty(),
                "no audit device took the record of how this ended"
            );
        }
    }

    fn record<'r>(
        &'r self,
        body: &'r [u8],
        readable_request_keys: &'r [String],
        readable_response_keys: &'r [String],
        error: &'r str,
    ) -> Record<'r> {
        Record {
            time_ms: self.ports.clock.wall_ms(),
            request: RequestPart {
                id: &self.id,
                operation: self.ceremony.operation.name(),
                mount: MountPart {
                    point: "sys/",
                    kind: "system",
                    accessor: "system_00000001",
                    class: "secret",
                    readable_request_keys,
                    readable_response_keys,
                },
                namespace: NamespacePart { id: "root", path: "" },
                path: self.ceremony.path,
                body,
                remote_address: &self.ceremony.remote_address,
                ..RequestPart::default()
            },
            error,
            forwarded_from: &self.ceremony.member,
            ..Record::default()
        }
    }

    fn audit(&self) -> &Audit {
        match &self.devices {
            Devices::Configured(audit) => audit,
            Devices::All(enabled) => &enabled.audit,
        }
    }
}

/// As the log takes it: empty where there is nothing, and the names of all fields.
fn shown(fields: &Map<String, Value>) -> (Vec<u8>, Vec<String>) {
    let body = match fields.is_empty() {
        true => Vec::new(),
        false => serde_json::to_vec(fields).expect("a map of texts and values is JSON"),
    };
    (body, fields.keys().cloned().collect())
}
