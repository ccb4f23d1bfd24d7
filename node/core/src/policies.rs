//! Stored policies, and what a token's policies amount to.
//!
//! Whatever can change the rights of a token that is there also rewrites the `authority` row. A
//! request reads that one row instead of every policy of its token, which makes it a condition of
//! the commit, and finds what was compiled before under the row's revision.
//!
//! A name may have slashes: `team/reader` is a row `reader` in a directory `team`. What is no name
//! can stand in a token all the same, and then means a policy that is not there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use conclave_barrier::{Path, Transaction};
use prost::Message;

use crate::policy::{Acl, Policy};
use crate::token::{DEFAULT_POLICY, ROOT_POLICY};
use crate::{Error, errors, rows};

/// Sets of policies that are kept compiled; at the bound all are dropped.
const COMPILED_MAX: usize = 4096;

/// The longest name.
pub(crate) const NAME_BYTES_MAX: usize = 512;

/// The most segments of a name.
const NAME_SEGMENTS_MAX: usize = 16;

/// The longest text.
pub(crate) const TEXT_BYTES_MAX: usize = 512 << 10;

/// Names in one answer.
const NAMES_MAX: usize = 100_000;

/// A policy as it is stored. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PolicyRecord {
    /// As it was written.
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    /// When.
    #[prost(uint64, tag = "2")]
    pub(crate) modified_ms: u64,
    /// Counts the writes under this name.
    #[prost(uint64, tag = "3")]
    pub(crate) version: u64,
    /// Whether the next write must name this version.
    #[prost(bool, tag = "4")]
    pub(crate) cas_required: bool,
    /// From when on it is as if it were not there; 0: never.
    #[prost(uint64, tag = "5")]
    pub(crate) expires_ms: u64,
}

impl PolicyRecord {
    fn lives(&self, now_ms: u64) -> bool {
        self.expires_ms == 0 || now_ms < self.expires_ms
    }
}

/// What is compiled at one revision of the authority row.
#[derive(Default)]
struct Compiled {
    revision: u64,
    acls: BTreeMap<Vec<String>, Arc<Acl>>,
}

/// Compiled policies by the names in a token.
#[derive(Default)]
pub(crate) struct PolicyCache {
    newest: Mutex<Compiled>,
}

impl PolicyCache {
    /// What policies with these names allow, in this transaction's view. Names without a policy
    /// add nothing.
    pub(crate) fn rights(
        &self,
        tx: &mut Transaction,
        names: &[String],
        now_ms: u64,
    ) -> Result<Arc<Acl>, Error> {
        let row = tx.get(&rows::authority()).map_err(errors::from_barrier)?;
        let revision = row.map_or(0, |row| row.revision);
        if let Some(acl) = self.find(revision, names, now_ms) {
            return Ok(acl);
        }
        let mut policies = Vec::with_capacity(names.len());
        for name in names {
            policies.extend(load_parsed(tx, name)?);
        }
        let acl = Arc::new(Acl::compile(&policies, None, now_ms));
        self.keep(revision, names, &acl);
        Ok(acl)
    }

    /// Whether a policy with this name is there.
    pub(crate) fn exists(
        &self,
        tx: &mut Transaction,
        name: &str,
        now_ms: u64,
    ) -> Result<bool, Error> {
        Ok(name == ROOT_POLICY || load(tx, name, now_ms)?.is_some())
    }

    fn find(&self, revision: u64, names: &[String], now_ms: u64) -> Option<Arc<Acl>> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let acl = newest.acls.get(names).filter(|_| newest.revision == revision)?;
        acl.valid_until_ms().is_none_or(|end_ms| now_ms < end_ms).then(|| acl.clone())
    }

    fn keep(&self, revision: u64, names: &[String], acl: &Arc<Acl>) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if revision < newest.revision {
            return;
        }
        if revision > newest.revision || newest.acls.len() >= COMPILED_MAX {
            *newest = Compiled { revision, acls: BTreeMap::new() };
        }
        newest.acls.insert(names.to_vec(), acl.clone());
    }
}

/// The policy with this name. `default` is there until somebody writes another.
pub(crate) fn load(
    tx: &mut Transaction,
    name: &str,
    now_ms: u64,
) -> Result<Option<PolicyRecord>, Error> {
    Ok(load_even_ended(tx, name)?.filter(|record| record.lives(now_ms)))
}

fn load_even_ended(tx: &mut Transaction, name: &str) -> Result<Option<PolicyRecord>, Error> {
    if !is_name(name) {
        return Ok(None);
    }
    match tx.get(&rows::policy(name)).map_err(errors::from_barrier)? {
        Some(row) => PolicyRecord::decode(row.value)
            .map(Some)
            .map_err(|error| Error::internal(format!("a policy cannot be read: {error}"))),
        None if name == DEFAULT_POLICY => {
            Ok(Some(PolicyRecord { text: DEFAULT_TEXT.into(), ..PolicyRecord::default() }))
        }
        None => Ok(None),
    }
}

/// Its rules end with it, so that what is compiled of them knows when it must be compiled anew.
fn load_parsed(tx: &mut Transaction, name: &str) -> Result<Option<Arc<Policy>>, Error> {
    if name == ROOT_POLICY {
        return Ok(Some(Arc::new(Policy::root())));
    }
    let Some(record) = load_even_ended(tx, name)? else { return Ok(None) };
    let parsed = Policy::parse(name, &record.text)
        .map_err(|error| Error::internal(format!("a stored policy does not parse: {error}")))?;
    let parsed = if record.expires_ms == 0 { parsed } else { parsed.ending(record.expires_ms) };
    Ok(Some(Arc::new(parsed)))
}

/// Whether a policy can have this name.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.split('/').count() <= NAME_SEGMENTS_MAX
        && conclave_mount::path::check(name).is_ok()
}

/// Stores a policy that was parsed, under the next version.
pub(crate) fn put(tx: &mut Transaction, name: &str, record: PolicyRecord) -> Result<(), Error> {
    let version = load_even_ended(tx, name)?.map_or(0, |record| record.version) + 1;
    let record = PolicyRecord { version, ..record };
    tx.put(&rows::policy(name), record.encode_to_vec().into()).map_err(errors::from_barrier)?;
    touch(tx)
}

/// Removes a policy; no error where it is not there.
pub(crate) fn delete(tx: &mut Transaction, name: &str) -> Result<(), Error> {
    if !is_name(name) {
        return Ok(());
    }
    tx.delete(&rows::policy(name)).map_err(errors::from_barrier)?;
    touch(tx)
}

/// The names of all policies, `root` and `default` among them, sorted. One that has ended keeps its
/// name until it is written or removed.
pub(crate) fn names(tx: &mut Transaction) -> Result<Vec<String>, Error> {
    let mut names = vec![ROOT_POLICY.to_owned(), DEFAULT_POLICY.to_owned()];
    collect_names(tx, &rows::policies(), "", &mut names)?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The depth is bounded where names are made.
fn collect_names(
    tx: &mut Transaction,
    directory: &Path,
    prefix: &str,
    names: &mut Vec<String>,
) -> Result<(), Error> {
    let limit = NAMES_MAX.saturating_sub(names.len());
    let page = tx.list(directory, None, limit).map_err(errors::from_barrier)?;
    for name in page.names {
        if names.len() >= NAMES_MAX {
            return Ok(());
        }
        let whole = [prefix, &name].concat();
        match name.strip_suffix('/') {
            None => names.push(whole),
            Some(below) => {
                let mut directory = directory.clone();
                directory.segments.push(below.to_owned());
                collect_names(tx, &directory, &whole, names)?;
            }
        }
    }
    Ok(())
}

/// Rights that tokens have may have changed.
fn touch(tx: &mut Transaction) -> Result<(), Error> {
    tx.put(&rows::authority(), Bytes::new()).map_err(errors::from_barrier)
}

/// What every token may do: look after itself, its own cubbyhole, and what it was wrapped.
const DEFAULT_TEXT: &str = r#"# What every token may do unless it is made without this policy.

# Look after itself.
path "auth/token/lookup-self" {
  capabilities = ["read", "update"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# Ask what it may do and which mounts it may see.
path "sys/capabilities-self" {
  capabilities = ["update"]
}
path "sys/internal/ui/resultant-acl" {
  capabilities = ["read"]
}
path "sys/internal/ui/mounts/*" {
  capabilities = ["read"]
}

# Keep what is its own.
path "cubbyhole/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}
path "sys/sessions/open" {
  capabilities = ["update"]
}
path "sys/sessions/close" {
  capabilities = ["update"]
}

# Look up, renew and end what was lent to it, by its id.
path "sys/leases/lookup" {
  capabilities = ["update"]
}
path "sys/leases/renew" {
  capabilities = ["update"]
}
path "sys/renew" {
  capabilities = ["update"]
}

# Pass things on.
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
path "sys/wrapping/lookup" {
  capabilities = ["update"]
}
path "sys/wrapping/unwrap" {
  capabilities = ["update"]
}
path "sys/tools/hash" {
  capabilities = ["update"]
}
path "sys/tools/hash/*" {
  capabilities = ["update"]
}
path "sys/tools/random" {
  capabilities = ["update"]
}
path "sys/tools/random/*" {
  capabilities = ["update"]
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout on disk.
    #[test]
    fn golden_layout() {
        let record = PolicyRecord {
            text: "t".into(),
            modified_ms: 1,
            version: 2,
            cas_required: true,
            expires_ms: 3,
        };
        assert_eq!(hex::encode(record.encode_to_vec()), "0a01741001180220012803");
    }

    #[test]
    fn the_default_policy_parses() {
        assert!(Policy::parse(DEFAULT_POLICY, DEFAULT_TEXT).is_ok());
    }
}
