//! User lock-out: too many failed logins of a name, and it may not log in for a while.
//!
//! ```text
//! hash   = HMAC(lock-out key, len ‖ mount accessor ‖ len ‖ folded name)
//! bucket = hash[0..2] mod 1024        one row of the log, with at most 8 names
//! key    = hash[16..32]               what a name is compared by
//! ```
//!
//! Lengths are 64 bits, big-endian. The table is fixed, so whoever fails allocates nothing, and a
//! name is counted whether anybody has it or not, so that a count tells nothing. It is part of the
//! log: what failed at one node is known to all, and a leader that dies takes no count with it.
//!
//! **Folding.** The count knows a name without the spaces around it and without case. What shares a
//! count may be two users of a method that tells them apart; what has two counts would be one user
//! with twice the guesses.
//!
//! **Collisions.** Names of one bucket do not share a count; only their places are few. Where a
//! bucket is full, the name with the fewest failures gives way, the oldest of them first. Who wants
//! a count forgotten must fill the bucket with names that failed as often, and does not know which
//! bucket it is: some 8192 names times as many failures, each of which costs a password hash, for a
//! handful of guesses. Nobody is locked out for another's failures.
//!
//! **What a failure costs.** One small entry while the name is below its threshold, none once it is
//! locked out. A method has done the work of a whole password hash before, which is some hundred
//! times as much.
//!
//! **What time tells.** The answer to a failure that is counted waits for its entry, and the answer
//! to a name that is locked out does not. So who tries a name learns whether it is locked out, which
//! whoever counts to five knows; neither tells whether anybody has the name, or which password is
//! right.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use conclave_barrier::{Barrier, HashPurpose, Transaction};
use prost::Message;

use crate::mounts::MountRecord;
use crate::update::update;
use crate::{Error, errors, rows};

/// Rows. A power of two, for ever: it is part of where a name is counted.
const BUCKETS: u16 = 1024;

/// Names in a row.
const NAMES_PER_BUCKET_MAX: usize = 8;

/// What is shown of a longer name.
const NAME_BYTES_MAX: usize = 256;

const THRESHOLD_DEFAULT: u64 = 5;
const DURATION_MS_DEFAULT: u64 = 15 * 60 * 1000;

/// Failures before which a mount may lock out.
pub(crate) const THRESHOLD_MAX: u64 = 10_000;

/// The longest that a lock or a count may last: 30 days.
pub(crate) const DURATION_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// What a mount was tuned to; 0 stands for the default. Tags are never reused.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct LockOutRecord {
    /// This many failures lock out.
    #[prost(uint64, tag = "1")]
    pub(crate) threshold: u64,
    /// For so long from the last one.
    #[prost(uint64, tag = "2")]
    pub(crate) duration_ms: u64,
    /// Fewer are forgotten so long after the last one.
    #[prost(uint64, tag = "3")]
    pub(crate) counter_reset_ms: u64,
    /// Nobody is locked out.
    #[prost(bool, tag = "4")]
    pub(crate) disabled: bool,
}

impl LockOutRecord {
    pub(crate) fn threshold(&self) -> u64 {
        or(self.threshold, THRESHOLD_DEFAULT)
    }

    pub(crate) fn duration_ms(&self) -> u64 {
        or(self.duration_ms, DURATION_MS_DEFAULT)
    }

    pub(crate) fn counter_reset_ms(&self) -> u64 {
        or(self.counter_reset_ms, DURATION_MS_DEFAULT)
    }
}

fn or(own: u64, default: u64) -> u64 {
    if own == 0 { default } else { own }
}

/// One row. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
struct BucketRecord {
    #[prost(message, repeated, tag = "1")]
    names: Vec<NameRecord>,
}

/// A name whose logins failed lately. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
struct NameRecord {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    /// Of the mount.
    #[prost(string, tag = "2")]
    accessor: String,
    /// Folded, and cut where it is long: for those who look at whom is locked out.
    #[prost(string, tag = "3")]
    name: String,
    #[prost(uint64, tag = "4")]
    failures: u64,
    /// Of the last one.
    #[prost(uint64, tag = "5")]
    failed_ms: u64,
    /// When the count, or the lock that it has become, is over.
    #[prost(uint64, tag = "6")]
    until_ms: u64,
}

/// A name at a mount that locks out.
pub(crate) struct Suspect {
    bucket: u16,
    key: [u8; 16],
    accessor: String,
    name: String,
    settings: LockOutRecord,
}

impl Suspect {
    /// The one with this name; none where the mount does not lock out.
    pub(crate) fn new(barrier: &Barrier, mount: &MountRecord, name: &str) -> Option<Self> {
        let settings = mount.lock_out.unwrap_or_default();
        if settings.disabled {
            return None;
        }
        let name = name.trim().to_lowercase();
        let hash = barrier.keyed_hash(HashPurpose::LockOut, &frame(&[&mount.accessor, &name]));
        let bucket = u16::from_be_bytes([hash[0], hash[1]]) % BUCKETS;
        let key = hash[16..].try_into().expect("the second half of a hash has 16 bytes");
        Some(Self { bucket, key, accessor: mount.accessor.clone(), name: cut(name), settings })
    }

    /// Whether it may not log in now.
    pub(crate) fn is_locked_out(&self, tx: &mut Transaction, now_ms: u64) -> Result<bool, Error> {
        Ok(load(tx, self.bucket)?.is_locked_out(self, now_ms))
    }

    /// Notes a failed login in an entry of its own: the login itself leaves none. Nothing is written
    /// where the name is locked out already.
    pub(crate) async fn count(&self, barrier: &Arc<Barrier>) -> Result<(), Error> {
        update(barrier, |tx, now_ms| {
            let mut bucket = load(tx, self.bucket)?;
            if bucket.count(self, now_ms) { store(tx, self.bucket, &bucket) } else { Ok(()) }
        })
        .await
    }

    /// Forgets its failures: it has logged in, or somebody vouches for it.
    pub(crate) fn forget(&self, tx: &mut Transaction, now_ms: u64) -> Result<(), Error> {
        let mut bucket = load(tx, self.bucket)?;
        if bucket.forget(self, now_ms) { store(tx, self.bucket, &bucket) } else { Ok(()) }
    }
}

impl BucketRecord {
    fn find(&self, suspect: &Suspect, now_ms: u64) -> Option<usize> {
        let is = |name: &NameRecord| name.key == suspect.key && now_ms < name.until_ms;
        self.names.iter().position(is)
    }

    fn is_locked_out(&self, suspect: &Suspect, now_ms: u64) -> bool {
        let found = self.find(suspect, now_ms);
        found.is_some_and(|at| self.names[at].failures >= suspect.settings.threshold())
    }

    /// Counts one failure, unless the name is locked out. Whether anything changed.
    fn count(&mut self, suspect: &Suspect, now_ms: u64) -> bool {
        if self.is_locked_out(suspect, now_ms) {
            return false;
        }
        let before = self.find(suspect, now_ms).map_or(0, |at| self.names[at].failures);
        self.remove(suspect, now_ms);
        if self.names.len() >= NAMES_PER_BUCKET_MAX {
            self.give_way();
        }
        let settings = &suspect.settings;
        let failures = before + 1;
        let locks = failures >= settings.threshold();
        let lasts_ms = if locks { settings.duration_ms() } else { settings.counter_reset_ms() };
        self.names.push(NameRecord {
            key: suspect.key.to_vec(),
            accessor: suspect.accessor.clone(),
            name: suspect.name.clone(),
            failures,
            failed_ms: now_ms,
            until_ms: now_ms.saturating_add(lasts_ms),
        });
        true
    }

    /// Whether there was anything to forget.
    fn forget(&mut self, suspect: &Suspect, now_ms: u64) -> bool {
        let known = self.find(suspect, now_ms).is_some();
        if known {
            self.remove(suspect, now_ms);
        }
        known
    }

    /// Takes out this name, and every one that is over.
    fn remove(&mut self, suspect: &Suspect, now_ms: u64) {
        self.names.retain(|name| name.key != suspect.key && now_ms < name.until_ms);
    }

    /// Takes out the name that says least.
    fn give_way(&mut self) {
        self.names.sort_by_key(|name| Reverse((name.failures, name.failed_ms)));
        self.names.pop();
    }
}

/// The names that may not log in now, by the accessor of their mount.
pub(crate) fn locked_out<'a>(
    tx: &mut Transaction,
    mounts: impl Iterator<Item = &'a MountRecord>,
    now_ms: u64,
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let settings: BTreeMap<&str, LockOutRecord> = mounts
        .map(|mount| (mount.accessor.as_str(), mount.lock_out.unwrap_or_default()))
        .filter(|(_, settings)| !settings.disabled)
        .collect();
    let locks = |name: &NameRecord| {
        let settings = settings.get(name.accessor.as_str());
        now_ms < name.until_ms && settings.is_some_and(|own| name.failures >= own.threshold())
    };
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for bucket in known_buckets(tx)? {
        for name in load(tx, bucket)?.names.into_iter().filter(locks) {
            all.entry(name.accessor).or_default().push(name.name);
        }
    }
    all.values_mut().for_each(|names| names.sort_unstable());
    Ok(all)
}

/// Those that were ever written.
fn known_buckets(tx: &Transaction) -> Result<Vec<u16>, Error> {
    let names =
        tx.survey(&rows::lock_outs(), usize::from(BUCKETS)).map_err(errors::from_barrier)?;
    let number = |name: &String| {
        u16::from_str_radix(name, 16).map_err(|_| Error::internal("a bucket's name is no number"))
    };
    names.names.iter().map(number).collect()
}

fn load(tx: &mut Transaction, bucket: u16) -> Result<BucketRecord, Error> {
    let row = tx.get(&rows::lock_out(bucket)).map_err(errors::from_barrier)?;
    let Some(row) = row else { return Ok(BucketRecord::default()) };
    BucketRecord::decode(row.value)
        .map_err(|error| Error::internal(format!("failed logins cannot be read: {error}")))
}

fn store(tx: &mut Transaction, bucket: u16, record: &BucketRecord) -> Result<(), Error> {
    let value = record.encode_to_vec().into();
    tx.put(&rows::lock_out(bucket), value).map_err(errors::from_barrier)
}

fn frame(parts: &[&str]) -> Vec<u8> {
    let mut framed = Vec::new();
    for part in parts {
        framed.extend_from_slice(&(part.len() as u64).to_be_bytes());
        framed.extend_from_slice(part.as_bytes());
    }
    framed
}

fn cut(mut name: String) -> String {
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    name.truncate(end.unwrap_or_default());
    name
}

#[cfg(test)]
mod tests;
