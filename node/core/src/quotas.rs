//! Rate quotas: how often one address may ask, for the whole node, a mount, a path, or one name at
//! a login.
//!
//! Owned here are the stored quotas and which of them a request falls under; `quotas/pace.rs` owns
//! the counts. What is kept:
//!
//! - The doors ask before they read a body, let alone parse it, with path and address alone.
//! - Counts are this node's own. A request that is handed to the leader was counted where it
//!   arrived, and is not counted again.
//! - Memory is fixed: no caller allocates anything by asking.
//! - The most specific quota alone counts: a name before a path, a path before a mount, a mount
//!   before everything; of two paths with a `*`, the longer one.
//!
//! The counts end with the core: a node that was sealed begins anew.

mod pace;
mod rules;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use conclave_barrier::Transaction;
use prost::Message;

use crate::mounts::MountTable;
use crate::{Core, Error, Operation, call, errors, rows};
use pace::Pacer;
use rules::Rules;
pub(crate) use rules::fold;

/// All quotas stand in one row.
pub(crate) const QUOTAS_MAX: usize = 1000;

/// Of a name, a path and a role.
pub(crate) const TEXT_BYTES_MAX: usize = 256;

/// Paths that no quota counts.
pub(crate) const EXEMPT_PATHS_MAX: usize = 256;

/// What an operator needs to get a cluster going again.
pub(crate) const EXEMPT_PATHS_DEFAULT: [&str; 7] = [
    "sys/generate-recovery-token/attempt",
    "sys/generate-recovery-token/update",
    "sys/generate-root/attempt",
    "sys/generate-root/update",
    "sys/health",
    "sys/seal-status",
    "sys/unseal",
];

/// All quotas as they are stored. Tags are never reused.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QuotaTable {
    /// Sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub(crate) quotas: Vec<QuotaRecord>,
    #[prost(bool, tag = "2")]
    pub(crate) shows_headers: bool,
    /// Absent: the default.
    #[prost(message, optional, tag = "3")]
    pub(crate) exempt_paths: Option<PathList>,
}

/// Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PathList {
    #[prost(string, repeated, tag = "1")]
    pub(crate) paths: Vec<String>,
}

/// One quota. Tags are never reused.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QuotaRecord {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// Empty for everything; a mount's with its slash; any other as it is asked for, or with a `*`
    /// at its end.
    #[prost(string, tag = "2")]
    pub(crate) path: String,
    /// Empty, or the name that a login at the mount claims.
    #[prost(string, tag = "3")]
    pub(crate) role: String,
    /// Requests in an interval; above zero.
    #[prost(double, tag = "4")]
    pub(crate) rate: f64,
    #[prost(uint64, tag = "5")]
    pub(crate) interval_ms: u64,
    /// How long whoever was above the rate is refused whatever it does; 0: not at all.
    #[prost(uint64, tag = "6")]
    pub(crate) block_ms: u64,
    #[prost(bool, tag = "7")]
    pub(crate) inheritable: bool,
}

impl QuotaTable {
    /// In this transaction's view.
    pub(crate) fn load(tx: &mut Transaction) -> Result<Self, Error> {
        let row = tx.get(&rows::quotas()).map_err(errors::from_barrier)?;
        let Some(row) = row else { return Ok(Self::default()) };
        Self::decode(row.value)
            .map_err(|error| Error::internal(format!("the quotas cannot be read: {error}")))
    }

    pub(crate) fn store(&self, tx: &mut Transaction) -> Result<(), Error> {
        tx.put(&rows::quotas(), self.encode_to_vec().into()).map_err(errors::from_barrier)
    }

    pub(crate) fn exempt_paths(&self) -> Vec<String> {
        match &self.exempt_paths {
            Some(own) => own.paths.clone(),
            None => EXEMPT_PATHS_DEFAULT.map(str::to_owned).to_vec(),
        }
    }
}

/// A mount has another path now, and its quotas with it; without one they are gone.
pub(crate) fn follow_mount(
    tx: &mut Transaction,
    from: &str,
    to: Option<&str>,
) -> Result<(), Error> {
    let mut table = QuotaTable::load(tx)?;
    let is_there = |quota: &QuotaRecord| quota.path.starts_with(from);
    if !table.quotas.iter().any(is_there) {
        return Ok(());
    }
    match to {
        None => table.quotas.retain(|quota| !is_there(quota)),
        Some(to) => {
            for quota in table.quotas.iter_mut().filter(|quota| is_there(quota)) {
                quota.path = [to, &quota.path[from.len()..]].concat();
            }
        }
    }
    table.store(tx)
}

/// Where a caller stands with the quota that its request falls under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether the request may go on.
    pub allowed: bool,
    /// Whether callers are told the figures below.
    pub shown: bool,
    /// Requests in an interval.
    pub limit: u64,
    /// How many more may come at once.
    pub remaining: u64,
    /// Seconds until nothing is used.
    pub reset_s: u64,
    /// Seconds until another may come; 0 where one may now.
    pub retry_after_s: u64,
}

/// The quotas that this node knows, and what was used of them.
pub(crate) struct Quotas {
    rules: RwLock<Arc<Rules>>,
    /// The revision at which the rules were looked at last.
    looked: AtomicU64,
    pacer: Pacer,
}

impl Default for Quotas {
    fn default() -> Self {
        let (rules, looked) = (RwLock::default(), AtomicU64::new(u64::MAX));
        Self { rules, looked, pacer: Pacer::default() }
    }
}

impl Core {
    /// Counts a request that has arrived at this node, from its path and address alone. None where
    /// no quota is about it. Never waits, for nothing but memory.
    pub fn within_quota(&self, path: &str, client: Option<IpAddr>) -> Option<Standing> {
        let rules = self.known_rules();
        if rules.is_empty() {
            return None;
        }
        let path = path.trim_end_matches('/');
        let role = if rules.have_roles() { self.login_name(path) } else { None };
        let rule = rules.find(path, role.as_deref())?;
        let now = self.ports.clock.monotonic();
        let pacing = self.quotas.pacer.charge(rule.id, &rule.pace, client, now, &self.ports);
        if !pacing.allowed {
            metrics::counter!("conclave_core_quota_refusals_total").increment(1);
        }
        Some(Standing { shown: rules.shows_headers, ..pacing })
    }

    /// The rules in the newest view. What cannot be read leaves those that were known.
    fn known_rules(&self) -> Arc<Rules> {
        let quotas = &self.quotas;
        let view = self.barrier.ledger().view();
        let revision = view.revision();
        let known = quotas.rules.read().unwrap_or_else(PoisonError::into_inner).clone();
        if quotas.looked.load(Ordering::Acquire) == revision {
            return known;
        }
        let mut tx = self.barrier.transaction(view);
        let row = match tx.get(&rows::quotas()) {
            Ok(row) => row,
            Err(error) => {
                tracing::warn!(%error, "the quotas cannot be read; those known before go on");
                return known;
            }
        };
        let row_revision = row.as_ref().map_or(0, |row| row.revision);
        if row_revision == known.revision {
            quotas.looked.store(revision, Ordering::Release);
            return known;
        }
        let table = match row.map(|row| QuotaTable::decode(row.value)).transpose() {
            Ok(table) => table.unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, "the quotas are damaged; those known before go on");
                return known;
            }
        };
        let rules = Arc::new(Rules::new(&table, row_revision));
        *quotas.rules.write().unwrap_or_else(PoisonError::into_inner) = rules.clone();
        quotas.looked.store(revision, Ordering::Release);
        rules
    }

    /// Whom a login says it is, where its path says so.
    fn login_name(&self, path: &str) -> Option<String> {
        let table: Arc<MountTable> = self.mounts.current();
        let mount = table.find(path).filter(|mount| mount.is_auth())?;
        let engine = self.engines.get(&mount.kind)?;
        let request = call::unread(Operation::Write, &path[mount.path.len()..]);
        engine.login_name(&request).map(|name| fold(&name))
    }
}

#[cfg(test)]
mod tests;
