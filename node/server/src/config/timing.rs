//! `raft`: heartbeats and elections.

use std::time::Duration;

use super::ConfigError;
use super::section::Section;

/// Raft's times. An election begins after a random time between the two bounds without a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaftTiming {
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// The earliest election.
    pub election_timeout_min: Duration,
    /// The latest election.
    pub election_timeout_max: Duration,
}

/// The defaults suit one data centre; `multiplier` (Vault's `performance_multiplier`) stretches
/// them.
pub(super) fn read(
    root: &mut Section,
    multiplier: u64,
    warnings: &mut Vec<String>,
) -> Result<RaftTiming, ConfigError> {
    let Some(mut section) = root.section("raft")? else {
        return Ok(timing(multiplier * HEARTBEAT_MS, multiplier * MIN_MS, multiplier * MAX_MS));
    };
    let mut read = |key, default: u64| -> Result<u64, ConfigError> {
        Ok(section.integer(key, MS_MIN..=MS_MAX)?.unwrap_or(multiplier * default))
    };
    let heartbeat = read("heartbeat_ms", HEARTBEAT_MS)?;
    let min = read("election_timeout_ms_min", MIN_MS)?;
    let max = read("election_timeout_ms_max", MAX_MS)?;
    if min < heartbeat.saturating_mul(2) {
        return Err(section.wrong("election_timeout_ms_min", "at least twice `heartbeat_ms`"));
    }
    if max <= min {
        return Err(section.wrong("election_timeout_ms_max", "more than `election_timeout_ms_min`"));
    }
    section.finish(warnings)?;
    Ok(timing(heartbeat, min, max))
}

fn timing(heartbeat: u64, min: u64, max: u64) -> RaftTiming {
    RaftTiming {
        heartbeat: Duration::from_millis(heartbeat),
        election_timeout_min: Duration::from_millis(min),
        election_timeout_max: Duration::from_millis(max),
    }
}

const HEARTBEAT_MS: u64 = 100;
const MIN_MS: u64 = 400;
const MAX_MS: u64 = 800;
const MS_MIN: u64 = 10;
const MS_MAX: u64 = 600_000;
