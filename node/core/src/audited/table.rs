//! The row that says which devices were enabled by API, and which headers may be logged.

use std::collections::BTreeMap;

use conclave_barrier::Transaction;
use prost::Message;

use super::WantedDevice;
use crate::audit::HeaderRules;
use crate::{Error, errors, rows};

/// The most devices that can be enabled by API.
const DEVICES_MAX: usize = 16;

/// The most headers that can be named.
const HEADERS_MAX: usize = 128;

/// All of it. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AuditTable {
    #[prost(message, repeated, tag = "1")]
    pub(crate) devices: Vec<DeviceRecord>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) headers: Vec<HeaderRecord>,
}

/// A device that was enabled by API.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct DeviceRecord {
    /// With a slash at its end.
    #[prost(string, tag = "1")]
    pub(crate) path: String,
    /// `file`, `syslog` or `socket`.
    #[prost(string, tag = "2")]
    pub(crate) kind: String,
    /// For people.
    #[prost(string, tag = "3")]
    pub(crate) description: String,
    /// As they were given.
    #[prost(btree_map = "string, string", tag = "4")]
    pub(crate) options: BTreeMap<String, String>,
    /// 16 bytes, never reused.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) id: Vec<u8>,
    /// 32 bytes, new with every enabling: what is logged later looks different from what was.
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) salt: Vec<u8>,
    /// Kept for clients that ask for it back; every device is the whole cluster's.
    #[prost(bool, tag = "7")]
    pub(crate) local: bool,
}

/// A header that may be logged.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct HeaderRecord {
    /// In lower case.
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// Whether its values are hidden.
    #[prost(bool, tag = "2")]
    pub(crate) hmac: bool,
}

impl DeviceRecord {
    /// As the node opens it.
    pub(crate) fn wanted(&self) -> Result<WantedDevice, Error> {
        Ok(WantedDevice {
            id: self.id.as_slice().try_into().map_err(|_| damaged())?,
            path: self.path.clone(),
            kind: self.kind.clone(),
            description: self.description.clone(),
            local: self.local,
            options: self.options.clone(),
        })
    }

    /// Of the key that hides values in its log.
    pub(crate) fn salt(&self) -> Result<[u8; 32], Error> {
        self.salt.as_slice().try_into().map_err(|_| damaged())
    }
}

impl AuditTable {
    pub(crate) fn header_rules(&self) -> HeaderRules {
        let mut rules = HeaderRules::default();
        for header in &self.headers {
            rules.allow(&header.name, header.hmac);
        }
        rules
    }
}

/// What is in this transaction's view, not decoded yet, and the row's revision; 0 where there is
/// none.
pub(crate) fn read_table(
    tx: &mut Transaction,
) -> Result<(impl FnOnce() -> Result<AuditTable, Error> + use<>, u64), Error> {
    let row = tx.get(&rows::audit()).map_err(errors::from_barrier)?;
    let revision = row.as_ref().map_or(0, |row| row.revision);
    let decode = move || match row {
        Some(row) => AuditTable::decode(row.value).map_err(|_| damaged()),
        None => Ok(AuditTable::default()),
    };
    Ok((decode, revision))
}

/// Puts the whole table.
pub(crate) fn write_table(tx: &mut Transaction, table: &AuditTable) -> Result<(), Error> {
    if table.devices.len() > DEVICES_MAX {
        let text = format!("a cluster has at most {DEVICES_MAX} audit devices; disable some");
        return Err(Error::invalid(text));
    }
    if table.headers.len() > HEADERS_MAX {
        let text = format!("at most {HEADERS_MAX} headers can be audited; remove some");
        return Err(Error::invalid(text));
    }
    tx.put(&rows::audit(), table.encode_to_vec().into()).map_err(errors::from_barrier)
}

fn damaged() -> Error {
    Error::internal("the table of audit devices cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout on disk.
    #[test]
    fn golden_layout() {
        let device = DeviceRecord {
            path: "f/".into(),
            kind: "file".into(),
            description: "d".into(),
            options: BTreeMap::from([("k".into(), "v".into())]),
            id: vec![1],
            salt: vec![2],
            local: true,
        };
        let header = HeaderRecord { name: "h".into(), hmac: true };
        let table = AuditTable { devices: vec![device], headers: vec![header] };
        assert_eq!(
            hex::encode(table.encode_to_vec()),
            "0a1d0a02662f120466696c651a016422060a016b1201762a010132010238011205 0a01681001"
                .replace(' ', "")
        );
    }
}
