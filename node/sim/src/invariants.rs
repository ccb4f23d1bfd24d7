//! What must hold, whatever fails. Checked after each step: a tick of virtual time, and each
//! answer to a client.
//!
//! Of the nodes: one leader a term; log matching; equal state at equal index, hash by hash; ids that
//! name one node for ever; stamped time that runs as clocks do. Of the
//! answers: nothing acknowledged is lost, nothing older is read than what was answered before the
//! read began, every check-and-set version is given once, and what was refused never shows.
//!
//! The second half rests on two orders. A revision rises with every entry, so an answer's revision
//! is at least every revision answered before its request began, on any node and for any key. And
//! a key's state, (version, deleted), only ever rises in this workload: a write makes a higher
//! version, a delete marks the newest one, nothing is undeleted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use conclave_proto::v1::{Entry, LogId};
use conclave_store::state::StateHash;

/// No ciphertext that cannot be opened, no part of a node that fails, and no answer that neither a
/// fault nor a refusal explains. Whoever sees one reports it under this name.
pub(crate) const EVERYTHING_OPENS: &str = "no ciphertext that cannot be opened, no part that fails";

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

type Checked = Result<(), Violation>;

fn holds(condition: bool, invariant: &'static str, detail: impl FnOnce() -> String) -> Checked {
    if condition { Ok(()) } else { Err(Violation::new(invariant, detail())) }
}

const ONE_LEADER: &str = "one leader a term";
const LOG_MATCHING: &str = "log matching";
const EQUAL_STATE: &str = "set hash equal at equal index";
const NOTHING_LOST: &str = "no acknowledged write lost";
const NO_OLD_READ: &str = "no read older than what finished before it began";
const ONE_VERSION: &str = "each version is acknowledged once, each write makes one version";
const REFUSED_IS_NOTHING: &str = "what was refused was not executed";

/// What all nodes together have shown so far.
#[derive(Default)]
pub(crate) struct Replicas {
    leaders: BTreeMap<u64, u64>,
    entries: BTreeMap<(u64, u64), Known>,
    applied: BTreeMap<u64, (u64, StateHash)>,
}

struct Known {
    /// The term of the entry before it, where that was seen.
    term_before: Option<u64>,
    entry: Entry,
}

impl Replicas {
    /// Somebody says that `node` leads `term`. True where the term is new.
    pub(crate) fn leads(&mut self, term: u64, node: u64) -> Result<bool, Violation> {
        let mut new = false;
        let known = *self.leaders.entry(term).or_insert_with(|| {
            new = true;
            node
        });
        holds(known == node, ONE_LEADER, || format!("{known} and {node} lead term {term}"))?;
        Ok(new)
    }

    /// `node` holds `entry`, after one of `term_before`.
    pub(crate) fn holds_entry(
        &mut self,
        node: u64,
        term_before: Option<u64>,
        entry: &Entry,
    ) -> Checked {
        let LogId { term, index, .. } = entry.id.unwrap_or_default();
        let known = self
            .entries
            .entry((index, term))
            .or_insert_with(|| Known { term_before, entry: entry.clone() });
        holds(known.entry == *entry, LOG_MATCHING, || {
            format!("node {node} holds another entry {index} of term {term} than a peer")
        })?;
        match (known.term_before, term_before) {
            (Some(theirs), Some(ours)) => holds(theirs == ours, LOG_MATCHING, || {
                format!(
                    "node {node}: entry {index} of term {term} follows terms {theirs} and {ours}"
                )
            }),
            (None, ours) => {
                known.term_before = ours;
                Ok(())
            }
            (Some(_), None) => Ok(()),
        }
    }

    /// `node` has applied all up to `id`, and its state has this hash.
    pub(crate) fn applied(&mut self, node: u64, id: LogId, hash: StateHash) -> Checked {
        let (term, known) = *self.applied.entry(id.index).or_insert((id.term, hash));
        holds(term == id.term, LOG_MATCHING, || {
            format!("entry {} was applied of term {term}, on node {node} of {}", id.index, id.term)
        })?;
        holds(known == hash, EQUAL_STATE, || {
            format!("node {node} differs from a peer at entry {}", id.index)
        })
    }
}

/// A key's state as a client sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyState {
    /// 0 where nothing was ever written.
    pub(crate) version: u64,
    pub(crate) deleted: bool,
}

/// What was known when a request began: its answer may not be older.
#[derive(Debug, Clone)]
pub(crate) struct Began {
    revision: u64,
    key: String,
    state: KeyState,
    names: BTreeSet<String>,
}

impl Began {
    /// The newest version known then.
    pub(crate) fn version(&self) -> u64 {
        self.state.version
    }
}

/// What clients were told so far.
#[derive(Default)]
pub(crate) struct History {
    revision: u64,
    states: BTreeMap<String, KeyState>,
    /// Which write made a version, where anybody has seen it.
    makers: BTreeMap<(String, u64), u64>,
    made: BTreeMap<u64, (String, u64)>,
    acknowledged: BTreeSet<(String, u64)>,
    refused: BTreeSet<u64>,
    /// Keys of which a delete was ever asked for.
    deletes: BTreeSet<String>,
}

impl History {
    /// A request about `key` begins.
    pub(crate) fn begin(&self, key: &str) -> Began {
        let names = self.states.iter().filter(|(_, state)| state.version > 0);
        Began {
            revision: self.revision,
            key: key.to_owned(),
            state: self.state(key),
            names: names.map(|(name, _)| name.clone()).collect(),
        }
    }

    /// A delete of `key` begins.
    pub(crate) fn begin_delete(&mut self, key: &str) -> Began {
        self.deletes.insert(key.to_owned());
        self.begin(key)
    }

    /// The newest known state of a key.
    pub(crate) fn state(&self, key: &str) -> KeyState {
        self.states.get(key).copied().unwrap_or_default()
    }

    /// Versions that were acknowledged, and who made them.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.acknowledged
            .iter()
            .map(|at| (at.0.as_str(), at.1, *self.makers.get(at).expect("its maker is known")))
    }

    /// An answer came that carries a revision of its own.
    pub(crate) fn answered(&mut self, began: &Began, revision: u64) -> Checked {
        holds(revision >= began.revision, NO_OLD_READ, || {
            format!(
                "an answer about {} is of revision {revision}, {} was answered before it began",
                began.key, began.revision
            )
        })?;
        self.revision = self.revision.max(revision);
        Ok(())
    }

    /// A write was acknowledged.
    pub(crate) fn wrote(
        &mut self,
        began: &Began,
        write: u64,
        version: u64,
        expected: Option<u64>,
    ) -> Checked {
        let key = &began.key;
        holds(version > began.state.version, NOTHING_LOST, || {
            format!("{key}: write {write} made version {version}, {:?} was known", began.state)
        })?;
        if let Some(expected) = expected {
            holds(version == expected + 1, ONE_VERSION, || {
                format!("{key}: write {write} expected {expected} and made {version}")
            })?;
        }
        holds(self.acknowledged.insert((key.clone(), version)), ONE_VERSION, || {
            format!("{key}: version {version} was acknowledged twice, now to write {write}")
        })?;
        self.made_by(key, version, write)?;
        self.raise(key, KeyState { version, deleted: false });
        Ok(())
    }

    /// A write was refused for good.
    pub(crate) fn refused(&mut self, write: u64) -> Checked {
        self.refused.insert(write);
        holds(!self.made.contains_key(&write), REFUSED_IS_NOTHING, || {
            format!("write {write} was refused and is there")
        })
    }

    /// A delete was acknowledged: what was newest then is deleted, or there is something newer.
    pub(crate) fn deleted(&mut self, began: &Began) {
        let deleted = began.state.version > 0;
        self.raise(&began.key, KeyState { version: began.state.version, deleted });
    }

    /// A read was answered; `maker` is the write whose value it saw.
    pub(crate) fn read(&mut self, began: &Began, seen: KeyState, maker: Option<u64>) -> Checked {
        let key = &began.key;
        holds(seen >= began.state, NO_OLD_READ, || {
            format!("{key}: {seen:?} was read, {:?} was known before", began.state)
        })?;
        holds(!seen.deleted || self.deletes.contains(key), NOTHING_LOST, || {
            format!("{key}: version {} is deleted, and nobody did that", seen.version)
        })?;
        if let Some(maker) = maker {
            self.made_by(key, seen.version, maker)?;
        }
        self.raise(key, seen);
        Ok(())
    }

    /// A list was answered.
    pub(crate) fn listed(&self, began: &Began, names: &BTreeSet<String>) -> Checked {
        let missing = began.names.difference(names).next();
        holds(missing.is_none(), NOTHING_LOST, || format!("{missing:?} is not listed any more"))
    }

    fn made_by(&mut self, key: &str, version: u64, write: u64) -> Checked {
        holds(!self.refused.contains(&write), REFUSED_IS_NOTHING, || {
            format!("{key}: version {version} is of write {write}, which was refused")
        })?;
        let at = (key.to_owned(), version);
        let maker = *self.makers.entry(at.clone()).or_insert(write);
        holds(maker == write, NOTHING_LOST, || {
            format!("{key}: version {version} is of write {maker} and of write {write}")
        })?;
        let made = self.made.entry(write).or_insert_with(|| at.clone());
        holds(*made == at, ONE_VERSION, || format!("write {write} made {made:?} and {at:?}"))
    }

    fn raise(&mut self, key: &str, state: KeyState) {
        let known = self.states.entry(key.to_owned()).or_default();
        *known = state.max(*known);
    }
}

mod members;
mod time;

pub(crate) use members::Memberships;
pub(crate) use time::ClusterTime;

#[cfg(test)]
mod tests;
