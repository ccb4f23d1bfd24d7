//! `sys/rotate`, `sys/rotate/config`, `sys/key-status`: the data key that seals, and when the next
//! one takes its place.

use conclave_barrier::{KeyStatus, Transaction};
use conclave_mount::fields::{DurationMs, Flag, Object, Whole, present};
use conclave_mount::format_time;
use conclave_mount::{BodyFields, word};
use futures::FutureExt;
use futures::future::BoxFuture;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::routes::Ask;
use crate::{Core, Error, Response, errors, rows};

/// Fewer would rotate all the time: messages are reserved in blocks of about a million.
const OPERATIONS_MIN: u64 = 1_000_000;
/// What clients may ask for. A key is replaced before it seals more than the barrier's own limit,
/// which is lower, whatever stands here.
const OPERATIONS_MAX: u64 = 3_865_470_566;
const INTERVAL_MS_MIN: u64 = 24 * 3_600_000;

/// When the data key is replaced by itself, as it is stored; tags are never reused. Where there is
/// no row, the barrier's own limit is all there is.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct RotationRecord {
    /// The rest is kept, and says nothing.
    #[prost(bool, tag = "1")]
    pub(crate) disabled: bool,
    /// 0: the largest.
    #[prost(uint64, tag = "2")]
    pub(crate) operations_max: u64,
    /// 0: none.
    #[prost(uint64, tag = "3")]
    pub(crate) interval_ms: u64,
}

impl RotationRecord {
    fn is_due(&self, key: &KeyStatus, now_ms: u64) -> bool {
        let old =
            self.interval_ms > 0 && now_ms.saturating_sub(key.installed_ms) >= self.interval_ms;
        let used = self.operations_max > 0 && key.messages >= self.operations_max;
        !self.disabled && (old || used)
    }
}

/// Another data key seals from now on.
pub(super) fn rotate<'a>(ask: &'a mut Ask<'_>) -> BoxFuture<'a, Result<Response, Error>> {
    async {
        ask.core.barrier.rotate().await.map_err(errors::from_barrier)?;
        Ok(Response::empty())
    }
    .boxed()
}

/// The data key that seals.
pub(super) fn status(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let view = ask.tx.view();
    let key = ask.core.barrier.key_status(view.as_ref()).map_err(errors::from_barrier)?;
    Response::json(&StatusView {
        term: key.term,
        // Always a time, for clients parse it; the first keys of old clusters have none.
        install_time: format_time(key.installed_ms.max(1)),
        encryptions: key.messages,
    })
}

/// When it is replaced by itself.
pub(super) fn read_config(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let record = load(ask.tx)?.unwrap_or_default();
    Response::json(&ConfigView {
        enabled: !record.disabled,
        max_operations: Some(record.operations_max)
            .filter(|max| *max > 0)
            .unwrap_or(OPERATIONS_MAX),
        interval: record.interval_ms / 1000,
    })
}

/// Changes that; what is not given stays.
pub(super) fn write_config(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(body) = ask.request.parse::<Object<ConfigBody>>()?;
    let mut record = load(ask.tx)?.unwrap_or_default();
    if let Some(Flag(enabled)) = body.enabled {
        record.disabled = !enabled;
    }
    if let Some(Whole(operations)) = body.max_operations {
        if !(OPERATIONS_MIN..=OPERATIONS_MAX).contains(&operations) {
            return Err(Error::invalid(format!(
                "'max_operations' must be from {OPERATIONS_MIN} to {OPERATIONS_MAX}"
            )));
        }
        record.operations_max = operations;
    }
    if let Some(DurationMs(interval_ms)) = body.interval {
        if interval_ms != 0 && interval_ms < INTERVAL_MS_MIN {
            return Err(Error::invalid("'interval' must be 0 for none, or at least 24h"));
        }
        record.interval_ms = interval_ms;
    }
    let row = record.encode_to_vec().into();
    ask.tx.put(&rows::rotation(), row).map_err(errors::from_barrier)?;
    Ok(Response::empty())
}

/// Rotates where the configuration says that it is time.
pub(crate) async fn maintain(core: &Core) -> Result<(), Error> {
    let ledger = core.barrier.ledger();
    let mut tx = core.barrier.transaction(ledger.view());
    let Some(record) = load(&mut tx)? else { return Ok(()) };
    let view = tx.view().clone();
    drop(tx);
    let key = core.barrier.key_status(view.as_ref()).map_err(errors::from_barrier)?;
    // On a cluster that writes nothing no time is stamped, and no key grows old by sealing.
    if !record.is_due(&key, view.stamped_ms()) {
        return Ok(());
    }
    drop(view);
    core.barrier.rotate().await.map(drop).map_err(errors::from_barrier)
}

fn load(tx: &mut Transaction) -> Result<Option<RotationRecord>, Error> {
    let row = tx.get(&rows::rotation()).map_err(errors::from_barrier)?;
    row.map(|row| RotationRecord::decode(row.value))
        .transpose()
        .map_err(|error| Error::internal(format!("the rotation's row cannot be read: {error}")))
}

pub(super) const ROTATION: BodyFields = BodyFields::of::<ConfigBody>(&[
    word("enabled", "Whether the data key is replaced by itself."),
    word("max_operations", "After how many values it is."),
    word("interval", "After how long it is."),
]);

#[derive(Deserialize)]
struct ConfigBody {
    #[serde(default, deserialize_with = "present")]
    enabled: Option<Flag>,
    #[serde(default, deserialize_with = "present")]
    max_operations: Option<Whole>,
    #[serde(default, deserialize_with = "present")]
    interval: Option<DurationMs>,
}

#[derive(Serialize)]
struct ConfigView {
    enabled: bool,
    max_operations: u64,
    interval: u64,
}

#[derive(Serialize)]
struct StatusView {
    term: u32,
    install_time: String,
    encryptions: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout on disk.
    #[test]
    fn golden_layout() {
        let record = RotationRecord { disabled: true, operations_max: 2, interval_ms: 3 };
        assert_eq!(hex::encode(record.encode_to_vec()), "080110021803");
    }

    #[test]
    fn a_key_is_replaced_by_use_or_by_age() {
        let key = KeyStatus { term: 3, installed_ms: 1000, messages: 50 };
        let due = |operations_max, interval_ms, now_ms| {
            RotationRecord { operations_max, interval_ms, disabled: false }.is_due(&key, now_ms)
        };
        assert!(!due(0, 0, u64::MAX), "nothing is configured");
        assert!(due(50, 0, 1000) && !due(51, 0, 1000));
        assert!(due(0, 500, 1500) && !due(0, 500, 1499));
        assert!(!due(0, 500, 0), "a clock behind the key's");
        let off = RotationRecord { operations_max: 1, interval_ms: 1, disabled: true };
        assert!(!off.is_due(&key, u64::MAX));
    }
}
