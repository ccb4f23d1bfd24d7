//! Looks at the nodes: what each shows is compared with what all have shown before.

use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::v1;

use super::Cluster;
use crate::invariants::{ClusterTime, Memberships, Replicas, Violation};
use crate::node::{Machine, Running};

/// Read at once when logs are compared.
const COMPARE_BYTES_MAX: usize = 1 << 20;

/// What was seen of the nodes at earlier steps.
#[derive(Default)]
pub(super) struct Watch {
    replicas: Replicas,
    memberships: Memberships,
    time: ClusterTime,
    /// Terms whose leader was seen leading.
    led: BTreeSet<u64>,
    nodes: BTreeMap<u64, Seen>,
}

#[derive(Default, Clone, PartialEq)]
struct Seen {
    /// The last entry that was compared with the peers'.
    compared: v1::LogId,
    purged: u64,
    applied: u64,
}

impl Cluster {
    /// Looks at every node: the invariants that concern nodes.
    pub(crate) fn observe(&self) {
        let mut watch = self.watch();
        for (machine, running) in self.serving() {
            if let Err(violation) = self.observe_node(&mut watch, &machine, &running) {
                drop(watch);
                return self.world.report(violation);
            }
        }
    }

    fn observe_node(
        &self,
        watch: &mut Watch,
        machine: &Machine,
        running: &Running,
    ) -> Result<(), Violation> {
        let (status, id) = (running.raft.status(), running.node_id);
        if status.quarantined && !machine.is_excused() {
            return Err(Violation::new("no replica stands alone", format!("node {id}")));
        }
        if let Some(fatal) = status.fatal {
            if machine.is_excused() || running.is_excused() {
                return Ok(());
            }
            return Err(Violation::new(
                "consensus does not end by itself",
                format!("{id}: {fatal}"),
            ));
        }
        let leader = if status.is_leader { Some(id) } else { status.leader_id };
        if let Some(leader) = leader
            && watch.replicas.leads(status.term, leader)?
        {
            self.world.event(format_args!("node {leader} leads term {}", status.term));
            self.world.count(|coverage| coverage.elections += 1);
        }
        if status.is_leader && watch.led.insert(status.term) && running.core().is_none() {
            self.world.count(|coverage| coverage.caretakers += 1);
        }
        self.observe_state(watch, running)?;
        self.compare_log(watch, id, running)
    }

    fn observe_state(&self, watch: &mut Watch, running: &Running) -> Result<(), Violation> {
        let applied = running.state.applied();
        let Some(log_id) = applied.log_id else { return Ok(()) };
        let id = running.node_id;
        watch.replicas.applied(id, log_id, applied.state_hash)?;
        let seen = watch.nodes.entry(id).or_default();
        if seen.applied == log_id.index {
            return Ok(());
        }
        seen.applied = log_id.index;
        self.world.event(format_args!("node {id} has applied {}", log_id.index));
        if let Some(stored) = &applied.membership {
            watch.memberships.applied(stored)?;
        }
        let true_ms = self.world.clock.true_ms();
        let stamped_ms = i64::try_from(applied.stamped_ms).unwrap_or(i64::MAX);
        let now = self.world.clock.elapsed();
        let voters = watch.memberships.voters();
        watch.time.stamped((stamped_ms, true_ms), now, |since| self.forgotten(&voters, since))
    }

    /// Where a quorum of the voters may have heard no time since: the latest wall clock, beyond the
    /// true time, that a majority may have agreed on.
    fn forgotten(&self, voters: &BTreeSet<u64>, since: std::time::Duration) -> Option<i64> {
        let quorum = voters.len() / 2 + 1;
        let machine_of =
            |id: &u64| self.machines.iter().find(|machine| machine.node_id() == Some(*id));
        let forgetful = voters
            .iter()
            .filter(|id| machine_of(id).is_none_or(|machine| machine.began() >= since));
        if forgetful.count() < quorum {
            return None;
        }
        let mut offsets: Vec<i64> =
            voters.iter().filter_map(machine_of).map(|it| it.highest_offset_ms()).collect();
        offsets.sort_unstable_by_key(|offset| std::cmp::Reverse(*offset));
        offsets.get(quorum - 1).copied()
    }

    /// Compares what was appended since the last look.
    fn compare_log(&self, watch: &mut Watch, id: u64, running: &Running) -> Result<(), Violation> {
        let ends = running.log.state();
        let last = ends.last.unwrap_or_default();
        let purged = ends.purged.unwrap_or_default();
        let seen = watch.nodes.entry(id).or_default();
        if purged.index > seen.purged {
            seen.purged = purged.index;
            self.world.count(|coverage| coverage.purges += 1);
            self.world.event(format_args!("node {id} purged its log up to {}", purged.index));
        }
        if last == seen.compared {
            return Ok(());
        }
        let (from, before) = continue_from(seen.compared, last, purged, running)?;
        let mut before = before;
        for entry in read(running, from, last.index)? {
            watch.replicas.holds_entry(id, before, &entry)?;
            before = entry.id.map(|id| id.term);
        }
        watch.nodes.entry(id).or_default().compared = last;
        Ok(())
    }
}

/// The first entry to compare, and the term of the one before it. A log that was cut back is
/// compared again from where it begins.
fn continue_from(
    compared: v1::LogId,
    last: v1::LogId,
    purged: v1::LogId,
    running: &Running,
) -> Result<(u64, Option<u64>), Violation> {
    if compared.index > purged.index && compared.index <= last.index {
        let there = read(running, compared.index, compared.index)?;
        if there.first().and_then(|entry| entry.id) == Some(compared) {
            return Ok((compared.index + 1, Some(compared.term)));
        }
    }
    Ok((purged.index + 1, (purged.index > 0).then_some(purged.term)))
}

fn read(running: &Running, from: u64, last: u64) -> Result<Vec<v1::Entry>, Violation> {
    let mut entries = Vec::new();
    let mut next = from;
    while next <= last {
        let found = running.log.read(next..last + 1, COMPARE_BYTES_MAX).map_err(|error| {
            Violation::new("what was synced is read back", format!("{}: {error}", running.node_id))
        })?;
        if found.is_empty() {
            break;
        }
        next += found.len() as u64;
        entries.extend(found);
    }
    Ok(entries)
}
