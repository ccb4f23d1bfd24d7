//! The port to where devices really write.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use ring::digest::{Context, SHA256, digest};

use crate::Error;
use crate::audit::{Device, Head};

/// A device that is to be open, as whoever enabled it wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedDevice {
    /// The same for as long as the device is enabled, never reused.
    pub id: [u8; 16],
    /// Its name, with a slash at its end: `file/`.
    pub path: String,
    /// `file`, `syslog` or `socket`.
    pub kind: String,
    /// For people.
    pub description: String,
    /// Whether the cluster keeps only its own of it; shown to clients that ask for it back.
    pub local: bool,
    /// Where and how it writes.
    pub options: BTreeMap<String, String>,
}

impl WantedDevice {
    /// The id of a device that a node's own configuration names:
    /// `SHA-256("conclave v1 configured audit device" ‖ path)[..16]` (FIPS 180-4).
    #[must_use]
    pub fn derive_id(path: &str) -> [u8; 16] {
        let message = [b"conclave v1 configured audit device", path.as_bytes()].concat();
        let hash = digest(&SHA256, &message);
        hash.as_ref()[..16].try_into().expect("SHA-256 has 32 bytes")
    }

    /// The salt of such a device, equal on every node that names it, so that values look the same in
    /// all their logs: `SHA-256("conclave v1 configured audit salt" ‖ path)` (FIPS 180-4). It is no
    /// secret; the barrier's key is.
    pub(super) fn derive_salt(path: &str) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(b"conclave v1 configured audit salt");
        context.update(path.as_bytes());
        context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// Where the devices of a node write. Devices belong to the node: they outlive the core.
pub trait AuditPlaces: Send + Sync + 'static {
    /// The name of this node in its cluster: under it the cluster keeps the anchors of its devices.
    /// `None`: it keeps none.
    fn node(&self) -> Option<&str>;

    /// The devices that the node's own configuration names.
    fn configured(&self) -> Vec<WantedDevice>;

    /// The open device of this id; one is begun where there is none. Where the place cannot be
    /// opened, or may not, the device takes nothing. `known` is the newest head that the cluster
    /// has of it.
    fn device(&self, wanted: &WantedDevice, known: Option<Head>) -> Arc<Device>;

    /// Whether this node may open such a device and can.
    ///
    /// # Errors
    /// `InvalidRequest`, with what to change.
    fn probe<'a>(&'a self, wanted: &'a WantedDevice) -> BoxFuture<'a, Result<(), Error>>;

    /// Ends the devices whose ids are not among these.
    fn retain(&self, ids: &[[u8; 16]]);
}

/// A node without any place: nothing is logged, and no device can be enabled.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAuditPlaces;

impl AuditPlaces for NoAuditPlaces {
    fn node(&self) -> Option<&str> {
        None
    }

    fn configured(&self) -> Vec<WantedDevice> {
        Vec::new()
    }

    fn device(&self, _: &WantedDevice, _: Option<Head>) -> Arc<Device> {
        unreachable!("no device was ever enabled: `probe` refuses each")
    }

    fn probe<'a>(&'a self, _: &'a WantedDevice) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            Err(Error::invalid("this node has no place for audit logs; ask another"))
        })
    }

    fn retain(&self, _: &[[u8; 16]]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For ever: people compare what `sys/audit-hash` says with old lines.
    #[test]
    fn golden_id_and_salt() {
        assert_eq!(
            hex::encode(WantedDevice::derive_id("file/")),
            "cce4e5df6f733fdf6ff91e25afea4e5c"
        );
        assert_eq!(
            hex::encode(WantedDevice::derive_salt("file/")),
            "39c14eb646e98fe858ba5502bc1f76dea8d8b6685d415ed60ed64f3aea0b8527"
        );
    }
}
