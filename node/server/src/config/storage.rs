//! `storage "raft"`: the data directory, the node's name, whom to join.

use std::path::PathBuf;

use super::section::Section;
use super::{Address, ApiAddr, ConfigError, NodeName, vault};

/// Where a node keeps its data and whom it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The data directory.
    pub path: PathBuf,
    /// `node_id` in the file: its name, a string. The Raft id is allocated through the log.
    pub node_name: NodeName,
    /// Whom to ask, in turn, until one lets this node join.
    pub retry_join: Vec<RetryJoin>,
    /// Whether it stays a learner when it joins by itself.
    pub join_as_non_voter: bool,
    /// Build a snapshot after this many entries.
    pub snapshot_entries: u64,
    /// Keep this many entries behind a snapshot for slow followers.
    pub keep_entries: u64,
    /// When the disk counts as full; read again at `SIGHUP`.
    pub space: SpaceLimits,
    /// How much of the state is read again each second in search of damage; 0 for nothing.
    pub scrub_bytes_per_s: u64,
}

/// When the disk counts as full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceLimits {
    /// With less than this left, or than a tenth of the file system, the node takes no writes.
    pub reserve_bytes: u64,
    /// The most that the data directory may take; none for what the file system has.
    pub data_bytes_max: Option<u64>,
}

/// One node to join through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryJoin {
    /// Its peer listener.
    pub leader_cluster_addr: Address,
    /// Its public listener, where the file named it.
    pub leader_api_addr: Option<ApiAddr>,
}

/// Reads the section, and the multiplier that stretches Raft's default times.
pub(super) fn read(
    root: &mut Section,
    warnings: &mut Vec<String>,
) -> Result<(Storage, u64), ConfigError> {
    let key = if root.has_any(&["storage"]) { "storage" } else { "backend" };
    root.keep_latest(key);
    let mut found = root.labelled(key)?;
    let Some((label, mut section)) = found.pop() else {
        return Err(root.missing("storage", "a block `storage \"raft\"` with `path` and `node_id`"));
    };
    if label != "raft" || !found.is_empty() {
        return Err(section.unsupported("", "the one storage is \"raft\"; use that"));
    }
    let multiplier = section.integer("performance_multiplier", 0..=10)?.unwrap_or(1).max(1);
    let storage = read_raft(&mut section, warnings)?;
    section.finish(warnings)?;
    Ok((storage, multiplier))
}

fn read_raft(section: &mut Section, warnings: &mut Vec<String>) -> Result<Storage, ConfigError> {
    vault::ignore(section, vault::RAFT, warnings);
    let Some(path) = section.path("path")? else {
        return Err(section.missing("path", "the path of the data directory"));
    };
    Ok(Storage {
        path,
        node_name: read_name(section)?,
        retry_join: read_retry_join(section, warnings)?,
        join_as_non_voter: section.boolean("retry_join_as_non_voter")?.unwrap_or(false),
        snapshot_entries: read_snapshot_entries(section)?,
        keep_entries: section.integer("trailing_logs", 0..=ENTRIES_MAX)?.unwrap_or(KEEP_DEFAULT),
        space: SpaceLimits {
            reserve_bytes: section
                .integer("reserve_bytes", 0..=BYTES_MAX)?
                .unwrap_or(RESERVE_BYTES_DEFAULT),
            data_bytes_max: section.integer("data_bytes_max", DATA_BYTES_MIN..=BYTES_MAX)?,
        },
        scrub_bytes_per_s: section
            .integer("scrub_mib_per_s", 0..=SCRUB_MIB_PER_S_MAX)?
            .unwrap_or(SCRUB_MIB_PER_S_DEFAULT)
            << 20,
    })
}

/// The configured name, or the machine's: in a pod that is the pod's name.
fn read_name(section: &mut Section) -> Result<NodeName, ConfigError> {
    let name = match section.string("node_id")? {
        Some(text) => NodeName::parse(&text),
        None => rustix::system::uname().nodename().to_str().ok().and_then(NodeName::parse),
    };
    name.ok_or_else(|| section.wrong("node_id", NodeName::EXPECTED))
}

/// Vault's name for it, or ours.
fn read_snapshot_entries(section: &mut Section) -> Result<u64, ConfigError> {
    let ours = section.integer("snapshot_entries", SNAPSHOT_MIN..=ENTRIES_MAX)?;
    let vaults = section.integer("snapshot_threshold", SNAPSHOT_MIN..=ENTRIES_MAX)?;
    match (ours, vaults) {
        (Some(_), Some(_)) => Err(section.unsupported(
            "snapshot_threshold",
            "`snapshot_entries` means the same and is set too; keep one of them",
        )),
        (one, other) => Ok(one.or(other).unwrap_or(SNAPSHOT_DEFAULT)),
    }
}

fn read_retry_join(
    section: &mut Section,
    warnings: &mut Vec<String>,
) -> Result<Vec<RetryJoin>, ConfigError> {
    let sections = section.sections("retry_join")?;
    if sections.len() > RETRY_JOIN_MAX {
        return Err(section.wrong("retry_join", format!("at most {RETRY_JOIN_MAX} nodes")));
    }
    sections.into_iter().map(|entry| read_retry_join_entry(entry, warnings)).collect()
}

fn read_retry_join_entry(
    mut entry: Section,
    warnings: &mut Vec<String>,
) -> Result<RetryJoin, ConfigError> {
    vault::ignore(&mut entry, vault::RETRY_JOIN, warnings);
    if entry.has_any(&["auto_join"]) {
        return Err(entry.unsupported(
            "auto_join",
            "nodes are not looked for at cloud providers; name each as `leader_api_addr`",
        ));
    }
    let api = match entry.string("leader_api_addr")? {
        None => None,
        Some(text) => Some(
            ApiAddr::parse(&text)
                .ok_or_else(|| entry.wrong("leader_api_addr", ApiAddr::EXPECTED))?,
        ),
    };
    let cluster = match entry.string("leader_cluster_addr")? {
        Some(text) => Some(
            Address::parse(text.strip_prefix("https://").unwrap_or(&text))
                .ok_or_else(|| entry.wrong("leader_cluster_addr", Address::EXPECTED))?,
        ),
        None => api.as_ref().and_then(|api| api.address().next_port()),
    };
    let Some(leader_cluster_addr) = cluster else {
        return Err(entry.missing("leader_api_addr", "that node's URL, as https://node1:8200"));
    };
    entry.finish(warnings)?;
    Ok(RetryJoin { leader_cluster_addr, leader_api_addr: api })
}

const ENTRIES_MAX: u64 = 100_000_000;
const SNAPSHOT_MIN: u64 = 16;
const SNAPSHOT_DEFAULT: u64 = 8_192;
const KEEP_DEFAULT: u64 = 10_000;
const RETRY_JOIN_MAX: usize = 32;
const BYTES_MAX: u64 = 1 << 60;
const RESERVE_BYTES_DEFAULT: u64 = 128 << 20;
/// Room for a log segment, a snapshot and the state of a small cluster.
const DATA_BYTES_MIN: u64 = 1 << 20;
/// 84 GiB a day.
const SCRUB_MIB_PER_S_DEFAULT: u64 = 1;
const SCRUB_MIB_PER_S_MAX: u64 = 16_384;
