//! A survivor becomes the whole cluster, offline, after most nodes were lost for good.
//!
//! Two entries are appended in a term of their own: a membership of only this node, and the command
//! that raises the cluster's epoch. Nothing is taken away: every entry that this node has counts as
//! committed from then on, also those that no quorum had. Peers of the old epoch are no members in
//! the new one, so whichever of them comes back is refused and stays out.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use anyhow::Context;
use conclave_core::{Ceremony, CeremonyTrail, Error, Operation, WantedDevice};
use conclave_ports::Clock as _;
use conclave_proto::v1;
use conclave_proto::v1::cluster_change::Kind;
use conclave_proto::v1::entry::Payload;
use conclave_store::disk::{Disk, RealDisk};
use conclave_store::identity::{Identity, IdentityStore};
use conclave_store::log::{Log, LogWriter};
use conclave_store::snapshot::{Newest, SnapshotStore};
use conclave_store::state::State;
use prost::Message as _;
use serde_json::json;

use super::ceremony_log::fields;
use super::opened::{open_log, open_state};
use crate::audit::AuditDevices;
use crate::config::Config;
use crate::files::append;
use crate::system::{SystemClock, boot_id};

/// What a survivor has on disk.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Its Raft id.
    pub node_id: u64,
    /// Its name.
    pub name: String,
    /// The cluster, in hex.
    pub cluster_id: String,
    /// The epoch after its last entry.
    pub epoch: u64,
    /// Its newest vote.
    pub vote: Option<v1::Vote>,
    /// The end of its log.
    pub last: Option<v1::LogId>,
    /// The last entry that its state machine holds.
    pub applied: Option<v1::LogId>,
    /// The last entry in its newest snapshot.
    pub snapshot: Option<v1::LogId>,
    /// The newest membership it has, committed or not.
    pub members: Vec<v1::Member>,
    /// Those of them that vote.
    pub voters: Vec<u64>,
    /// Why it stayed out, where it did.
    pub out: Option<String>,
}

/// What a recovery made.
#[derive(Debug, Clone, Copy)]
pub struct Recovery {
    /// The new epoch.
    pub epoch: u64,
    /// Where it begins.
    pub log_id: v1::LogId,
}

/// The open data directory of a node that does not run.
pub struct Survivor {
    data_dir: PathBuf,
    disk: Arc<dyn Disk>,
    identity: Identity,
    log: Log,
    writer: LogWriter,
    state: State,
    found: Found,
}

impl Survivor {
    /// Opens the directory and reads all of it; the lock proves that the node does not run.
    ///
    /// # Errors
    /// The node runs, belongs to no cluster, or its log is damaged.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let data_dir = config.storage.path.clone();
        anyhow::ensure!(data_dir.is_dir(), "there is no data directory {}", data_dir.display());
        let disk = RealDisk::open(&data_dir).context("stop the node first")?;
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let identities = IdentityStore::open(disk.clone()).context("the node's identity")?;
        let identity = identities.load().context(
            "this node belongs to no cluster, so there is nothing to recover; start it, and initialise or join it",
        )?;
        let (log, writer) = open_log(&disk, boot_id())?;
        let snapshots =
            SnapshotStore::open(disk.clone()).context("the snapshots cannot be opened")?;
        let state = open_state(&data_dir, boot_id())?;
        let newest = match snapshots.newest().context("the snapshots cannot be read")? {
            Newest::Snapshot(reader) => Some(reader.header().clone()),
            Newest::None => None,
            Newest::Damaged(files) => anyhow::bail!(
                "the snapshots are damaged ({}): recover another survivor",
                files.join(", ")
            ),
        };
        let mut found = look(&log, &state, newest)?;
        found.node_id = identity.node_id;
        found.name = identity.node_name.clone();
        found.cluster_id = hex::encode(&identity.cluster_id);
        found.out = identities.out().map(|(_, text)| text);
        Ok(Self { data_dir, disk, identity, log, writer, state, found })
    }

    /// What is there.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The same with a record before and after in the audit files that the node's configuration names.
    /// They are for the auditor; what must be there is the record in the data directory, so a log that
    /// takes nothing holds nothing up.
    ///
    /// # Errors
    /// As without.
    pub async fn take_over_logged(self, config: &Config) -> anyhow::Result<Recovery> {
        let ports = crate::system::ports();
        let places =
            AuditDevices::new(config.audit.clone(), self.found.name.clone(), ports.clone());
        let said = json!({"node": self.found.name, "epoch": self.found.epoch});
        let ceremony = Ceremony {
            path: "sys/recover",
            operation: Operation::Write,
            request: fields(said),
            remote_address: String::new(),
            member: String::new(),
        };
        let file = |wanted: &WantedDevice| wanted.kind == "file";
        let trail = CeremonyTrail::begin_without_key(&places, file, &ports, ceremony).await;
        if let Err(error) = &trail {
            tracing::warn!(%error, "the audit log has no record of this recovery");
        }
        let recovered = self.take_over();
        if let Ok(trail) = trail {
            let failed = recovered.as_ref().err().map(|error| Error::internal(error.to_string()));
            let told = match (&recovered, &failed) {
                (Ok(made), _) => Ok(fields(json!({"epoch": made.epoch}))),
                (Err(_), Some(error)) => Err(error),
                (Err(_), None) => Ok(fields(json!({}))),
            };
            trail.end(told).await;
        }
        places.close().await;
        recovered
    }

    /// Makes this node the whole cluster in a new epoch; durable on return. Run again, it makes
    /// another epoch.
    ///
    /// # Errors
    /// This node is no member by its own disk, or the disk cannot be written.
    pub fn take_over(mut self) -> anyhow::Result<Recovery> {
        let member = self.member()?;
        let vote_term = self.found.vote.map_or(0, |vote| vote.term);
        let last = self.found.last.context("the log of this node is empty: recover another one")?;
        anyhow::ensure!(
            self.log.state().last.is_some_and(|end| end.index >= last.index),
            "the log ends before what a snapshot holds: recover another survivor"
        );
        let term = vote_term.max(last.term).saturating_add(TERMS_AHEAD);
        let id = |index| v1::LogId { term, leader_id: self.identity.node_id, index };
        let recovery =
            Recovery { epoch: self.found.epoch + 1, log_id: id(last.index.saturating_add(2)) };
        self.note(&recovery)?;
        let vote = v1::Vote { term, node_id: self.identity.node_id, committed: false };
        let entries = vec![
            entry(id(last.index + 1), Payload::Membership(alone(member))),
            entry(recovery.log_id, Payload::Command(self.command(recovery.epoch).into())),
        ];
        let (done, answers) = mpsc::channel();
        let failed = done.clone();
        self.log.save_vote(vote, Box::new(move |result| drop(failed.send(result))));
        self.log.append(entries, Box::new(move |result| drop(done.send(result))));
        while self.writer.drain() {}
        for _ in 0..2 {
            let answer = answers.try_recv().context(
                "the log has no space for two more entries: free some and run this again",
            )?;
            answer.context("the log cannot be written")?;
        }
        self.clear_mark()?;
        self.log.close();
        self.state.close().context("the state machine was not closed cleanly")?;
        Ok(recovery)
    }

    /// This node in the newest membership it has.
    fn member(&self) -> anyhow::Result<v1::Member> {
        let mut members = self.found.members.iter();
        let own = members.find(|member| member.node_id == self.identity.node_id);
        let own = own.cloned().context(
            "this node is no member of the cluster as far as its own data says: recover another one",
        )?;
        Ok(v1::Member { voter_wanted: true, ..own })
    }

    fn command(&self, epoch: u64) -> Vec<u8> {
        let survivor = self.identity.node_id;
        let kind = Some(Kind::Recovered(v1::Recovered { epoch, survivor }));
        // Without a time of its own: apply goes on with the newest that the cluster stamped.
        let cluster = Some(v1::ClusterChange { kind });
        v1::Command { cluster, ..v1::Command::default() }.encode_to_vec()
    }

    /// One line in the local record, before anything is changed.
    fn note(&self, recovery: &Recovery) -> anyhow::Result<()> {
        let found = &self.found;
        let line = json!({
            "at_ms": SystemClock.wall_ms(),
            "uid": rustix::process::getuid().as_raw(),
            "sudo_uid": std::env::var("SUDO_UID").ok(),
            "node_id": found.node_id,
            "node_name": found.name,
            "cluster_id": found.cluster_id,
            "old_epoch": found.epoch,
            "new_epoch": recovery.epoch,
            "old_vote_term": found.vote.map(|vote| vote.term),
            "new_term": recovery.log_id.term,
            "last_index": found.last.map(|id| id.index),
            "last_term": found.last.map(|id| id.term),
            "applied_index": found.applied.map(|id| id.index),
            "members": found.members.iter().map(|m| json!({
                "node_id": m.node_id, "name": m.name, "cluster_addr": m.cluster_addr,
                "voter": found.voters.contains(&m.node_id),
            })).collect::<Vec<_>>(),
            "was_out": found.out,
        });
        let path = self.data_dir.join(RECORD);
        let written = || -> std::io::Result<()> {
            let mut file = append(&path)?;
            writeln!(file, "{line}")?;
            file.sync_all()
        };
        written().with_context(|| format!("writing {}", path.display()))?;
        self.disk.sync_dir("node").context("writing the record of recoveries")
    }

    /// The new epoch is this node's own: what kept it out of the old one is over.
    fn clear_mark(&self) -> anyhow::Result<()> {
        if self.found.out.is_some() {
            self.disk.remove(OUT_MARK).and_then(|()| self.disk.sync_dir("node"))?;
        }
        Ok(())
    }
}

/// The newest of everything: the state, a snapshot, the log behind them.
fn look(log: &Log, state: &State, snapshot: Option<v1::SnapshotHeader>) -> anyhow::Result<Found> {
    let applied = state.applied();
    let mut found = Found {
        epoch: applied.epoch.max(1),
        vote: log.vote(),
        applied: applied.log_id,
        snapshot: snapshot.as_ref().and_then(|header| header.last_log_id),
        ..Found::default()
    };
    found.take_membership(applied.membership.and_then(|stored| stored.membership));
    let mut last = applied.log_id;
    if let Some(header) = snapshot
        && index(header.last_log_id) > index(last)
    {
        last = header.last_log_id;
        found.epoch = found.epoch.max(header.epoch);
        found.take_membership(header.membership.and_then(|stored| stored.membership));
    }
    let purged = log.state().purged;
    anyhow::ensure!(
        index(purged) <= index(last),
        "the log begins after what state and snapshots hold: recover another survivor"
    );
    found.read_log(log, last.map_or(0, |id| id.index + 1))?;
    let end = log.state().last;
    found.last = if index(end) >= index(last) { end } else { last };
    Ok(found)
}

impl Found {
    fn take_membership(&mut self, membership: Option<v1::Membership>) {
        let Some(membership) = membership else { return };
        self.members = membership.members;
        self.voters = membership.configs.into_iter().flat_map(|set| set.node_ids).collect();
        self.voters.sort_unstable();
        self.voters.dedup();
    }

    /// Memberships and epochs of the entries that were not applied.
    fn read_log(&mut self, log: &Log, mut from: u64) -> anyhow::Result<()> {
        let end = log.state().last.map_or(0, |id| id.index + 1);
        while from < end {
            let entries = log.read(from..end, READ_BYTES).context("the log cannot be read")?;
            anyhow::ensure!(!entries.is_empty(), "entry {from} is not in the log");
            from += entries.len() as u64;
            for entry in entries {
                match entry.payload {
                    Some(Payload::Membership(membership)) => self.take_membership(Some(membership)),
                    Some(Payload::Command(bytes)) => self.take_epoch(&bytes),
                    Some(Payload::Blank(_)) | None => {}
                }
            }
        }
        Ok(())
    }

    fn take_epoch(&mut self, bytes: &[u8]) {
        let command = v1::Command::decode(bytes).unwrap_or_default();
        match command.cluster.and_then(|change| change.kind) {
            Some(Kind::Recovered(recovered)) => self.epoch = self.epoch.max(recovered.epoch),
            // It may fail when it is applied; the next epoch is higher than needed then.
            Some(Kind::RestoreCommit(_)) => self.epoch += 1,
            _ => {}
        }
    }
}

fn index(id: Option<v1::LogId>) -> Option<u64> {
    id.map(|id| id.index)
}

fn alone(member: v1::Member) -> v1::Membership {
    v1::Membership {
        configs: vec![v1::VoterSet { node_ids: vec![member.node_id] }],
        members: vec![member],
    }
}

fn entry(id: v1::LogId, payload: Payload) -> v1::Entry {
    v1::Entry { id: Some(id), payload: Some(payload) }
}

/// The old peers may have gone through a few terms that the survivor never heard of: no entry of
/// theirs must have the term and index of one of its own.
const TERMS_AHEAD: u64 = 1_000;
const READ_BYTES: usize = 4 << 20;
const RECORD: &str = "node/recoveries";
const OUT_MARK: &str = "node/out";
