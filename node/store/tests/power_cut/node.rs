//! What a node keeps, opened, checked and worked with.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use conclave_store::disk::Disk;
use conclave_store::identity::{FORMAT_VERSION, Identity, IdentityStore, Out};
use conclave_store::log::{Done, Log, LogConfig, LogWriter, SEGMENT_BYTES_MIN};
use conclave_store::seen::SeenStore;
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::{Rebuilt, State, StateError, open_directory};
use conclave_store::v1::{LogId, Seen, Vote};

use crate::disk::{Moment, TracedDisk, Work};
use crate::model::{Change, Model, STATE, entry};

const PEER: u64 = 2;

pub(crate) struct Node {
    disk: TracedDisk,
    log: Log,
    writer: LogWriter,
    snapshots: SnapshotStore,
    state: State,
    identity: IdentityStore,
    seen: SeenStore,
    /// Numbers of changes that were acknowledged.
    answers: Arc<Mutex<Vec<usize>>>,
    /// Whether the state was set aside and begun anew.
    pub(crate) rebuilt: bool,
    /// Whether the state's directory held something that was good.
    pub(crate) resumed: bool,
    /// Whether the state was installed from the snapshot.
    pub(crate) installed: bool,
}

impl Node {
    /// Opens everything as a start of a node does.
    pub(crate) fn open(disk: &TracedDisk, state: &Path, boot: u8) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let port: Arc<dyn Disk> = Arc::new(disk.clone());
        let identity = IdentityStore::open(Arc::clone(&port)).map_err(|e| text(&e))?;
        let seen = SeenStore::open(Arc::clone(&port)).map_err(|e| text(&e))?;
        let boot_id = [boot; 16];
        let config =
            LogConfig { segment_bytes: SEGMENT_BYTES_MIN, cache_bytes_max: 4_000, boot_id };
        let (log, writer) = Log::open(Arc::clone(&port), config).map_err(|e| text(&e))?;
        let snapshots = SnapshotStore::open(port).map_err(|e| text(&e))?;
        let (state, rebuilt) = open_state(state, boot_id).map_err(|e| text(&e))?;
        Ok(Self {
            disk: disk.clone(),
            log,
            writer,
            snapshots,
            state,
            identity,
            seen,
            answers: Arc::default(),
            rebuilt,
            resumed: false,
            installed: false,
        })
    }

    /// Compares what was found with what must be there, and rebuilds the state as far as needed.
    pub(crate) fn check(&mut self, model: &mut Model) -> Result<(), String> {
        model.adopt_log(&self.log)?;
        model.adopt_files(self.identity.load(), self.seen.of(PEER), self.identity.out())?;
        if self.identity.boot_counter() < model.boot_counter {
            return Err(format!("start {} would be counted again", model.boot_counter));
        }
        self.check_snapshot(model)?;
        self.rebuild(model)?;
        let applied = self.state.applied();
        if applied.log_id.map_or(0, |id| id.index) != model.committed
            || applied.state_hash != model.hash_at(model.committed)
        {
            return Err(format!("the rebuilt state differs at {:?}", applied.log_id));
        }
        Ok(())
    }

    fn check_snapshot(&self, model: &mut Model) -> Result<(), String> {
        let newest = self.snapshots.latest().map_err(|error| error.to_string())?;
        let index = newest.as_ref().and_then(|it| it.header().last_log_id).map_or(0, |id| id.index);
        let purged = self.log.state().purged.map_or(0, |purged| purged.index);
        if index < model.snapshot || index < purged {
            return Err(format!(
                "the newest snapshot is at {index}, one at {} was stored, and the log is purged to {purged}",
                model.snapshot
            ));
        }
        if let Some(newest) = newest
            && newest.header().state_hash != model.hash_at(index).0[..]
        {
            return Err(format!("the snapshot at {index} has another state hash"));
        }
        model.snapshot = index;
        Ok(())
    }

    /// From what the state's directory held, or the snapshot, to everything committed.
    fn rebuild(&mut self, model: &Model) -> Result<(), String> {
        let purged = self.log.state().purged.map_or(0, |purged| purged.index);
        let applied = self.applied();
        if applied > model.committed || self.state.applied().state_hash != model.hash_at(applied) {
            return Err(format!("the state's directory opened at {applied} with another hash"));
        }
        self.resumed = applied > 0;
        self.installed = applied < purged;
        if self.installed {
            self.install().map_err(|error| format!("the snapshot cannot be installed: {error}"))?;
        }
        self.apply(model.committed)
    }

    fn install(&self) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let newest = self.snapshots.latest().map_err(|e| text(&e))?;
        let mut newest = newest.ok_or("there is none")?;
        let mut import = self.state.import(newest.header().clone()).map_err(|e| text(&e))?;
        while let Some(chunk) = newest.next_chunk().map_err(|e| text(&e))? {
            import.push(chunk).map_err(|e| text(&e))?;
        }
        import.finish().map(drop).map_err(|e| text(&e))
    }

    fn applied(&self) -> u64 {
        self.state.applied_id().map_or(0, |id| id.index)
    }

    /// Applies entries up to `index`.
    fn apply(&self, index: u64) -> Result<(), String> {
        while self.applied() < index {
            let next = self.applied() + 1;
            let found = self.log.read(next..index + 1, 1 << 20).map_err(|e| e.to_string())?;
            if found.is_empty() {
                return Err(format!("entry {next} is committed and not in the log"));
            }
            for entry in found {
                self.state.apply(&entry).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Does one thing, chosen by `random`. An error is one only while the power is on.
    pub(crate) fn work(
        &mut self,
        model: &mut Model,
        random: &mut impl FnMut() -> u64,
    ) -> Result<(), String> {
        match random() % 24 {
            0..8 => self.append(model, random),
            8 | 9 => self.vote(model),
            10 | 11 => self.truncate(model, random),
            12..15 => {
                self.disk.begin(Work::Other);
                // What a truncation that waits will drop must not be committed.
                let synced = self.log.synced().map_or(0, |id| id.index);
                let durable = model.durable().min(synced);
                let open = durable.saturating_sub(model.committed);
                model.commit(model.committed + open - random() % (open + 1) / 2);
                return self.apply(model.committed);
            }
            15 | 16 => {
                self.disk.begin(Work::Other);
                self.state.flush().map_err(|error| error.to_string())?;
                self.disk.meet(Moment::SledFlush);
            }
            17 | 18 => return self.snapshot(model),
            19 | 20 => self.purge(model, random),
            21 => self.identity(model),
            22 => self.seen(model),
            _ => self.out(model, random),
        }
        if !random().is_multiple_of(4) {
            self.drain(model);
        }
        Ok(())
    }

    pub(crate) fn drain(&mut self, model: &mut Model) {
        while self.writer.drain() {}
        for number in self.answers.lock().expect("no callback panics").drain(..) {
            model.acknowledged = model.acknowledged.max(number);
        }
    }

    fn done(&self, number: usize) -> Done {
        let answers = Arc::clone(&self.answers);
        Box::new(move |result| {
            if result.is_ok() {
                answers.lock().expect("no callback panics").push(number);
            }
        })
    }

    fn append(&mut self, model: &mut Model, random: &mut impl FnMut() -> u64) {
        self.disk.begin(Work::Append);
        let next = model.asked().last().map_or(1, |last| last.index + 1);
        let mut entries = Vec::new();
        let mut number = 0;
        for index in next..next + 1 + random() % 4 {
            let values: Vec<_> = (0..1 + random() % 3).map(|_| (random() % 900) as usize).collect();
            entries.push(entry(model.term, index, &values));
            number = model.ask(Change::Entry(entries[entries.len() - 1].clone()));
        }
        self.log.append(entries, self.done(number));
    }

    fn vote(&mut self, model: &mut Model) {
        self.disk.begin(Work::Vote);
        model.term += 1;
        let vote = Vote { term: model.term, node_id: 1, committed: false };
        let number = model.ask(Change::Vote(vote));
        self.log.save_vote(vote, self.done(number));
    }

    /// Drops some of what is not committed.
    fn truncate(&mut self, model: &mut Model, random: &mut impl FnMut() -> u64) {
        self.disk.begin(Work::Truncate);
        let content = model.asked();
        let open = content.last().map_or(0, |last| last.index) - model.committed;
        let kept = model.committed + random() % (open + 1);
        let last = content.entries.get(&kept).and_then(|entry| entry.id).or(content.purged);
        let number = model.ask(Change::Truncate(last));
        self.log.truncate_after(last, self.done(number));
    }

    /// Drops some of what the newest stored snapshot holds.
    fn purge(&mut self, model: &mut Model, random: &mut impl FnMut() -> u64) {
        self.disk.begin(Work::Purge);
        let content = model.asked();
        let purgeable = content.entries.range(..=model.snapshot).count() as u64;
        let Some(count) = purgeable.checked_sub(1) else { return };
        let place = (random() % (count + 1)).max(random() % (count + 1));
        let through = content.entries.values().nth(place as usize).and_then(|entry| entry.id);
        let through = through.expect("it is one of them");
        let number = model.ask(Change::Purge(through));
        self.log.purge(through, self.done(number));
    }

    fn snapshot(&mut self, model: &mut Model) -> Result<(), String> {
        self.disk.begin(Work::Other);
        if self.applied() <= model.snapshot {
            return Ok(());
        }
        let export = self.state.export().map_err(|error| error.to_string())?;
        let saved = self.snapshots.save(export, b"cluster").map_err(|error| error.to_string())?;
        model.snapshot = saved.header().last_log_id.map_or(0, |id| id.index);
        Ok(())
    }

    fn identity(&mut self, model: &mut Model) {
        self.disk.begin(Work::Other);
        if let Ok(counter) = self.identity.begin_boot() {
            model.boot_counter = counter;
        }
        let identity = Identity {
            joined: None,
            cluster_id: Bytes::from_static(b"cluster"),
            node_id: 1,
            node_name: format!("name-{}", model.term),
            format_version: FORMAT_VERSION,
        };
        let saved = self.identity.save(&identity).is_ok();
        model.identity.set(Some(identity), saved);
    }

    fn seen(&mut self, model: &mut Model) {
        self.disk.begin(Work::Other);
        let durable = Some(LogId { term: model.term, leader_id: 1, index: model.committed });
        let now = Seen { node_id: PEER, boot_counter: 1, vote_term: model.term, durable };
        self.seen.saw(&now);
        let now = self.seen.of(PEER);
        let saved = self.seen.save().is_ok();
        model.seen.set(now, saved);
    }

    fn out(&mut self, model: &mut Model, random: &mut impl FnMut() -> u64) {
        self.disk.begin(Work::Other);
        if !random().is_multiple_of(8) {
            return;
        }
        let first = model.out.newest().clone();
        let mark = first.unwrap_or((Out::Fenced, format!("in term {}", model.term)));
        let saved = self.identity.set_out(mark.0, &mark.1).is_ok();
        model.out.set(Some(mark), saved);
    }
}

/// Opens the state. Where sled panics, the process would have ended: the next start finds the
/// marker and begins anew.
fn open_state(directory: &Path, boot_id: [u8; 16]) -> Result<(State, bool), StateError> {
    let open = || open_directory(directory, STATE, boot_id);
    let first: Result<Result<(State, Option<Rebuilt>), _>, _> =
        catch_unwind(AssertUnwindSafe(open));
    let (state, rebuilt) = match first {
        Ok(opened) => opened?,
        Err(_) => open()?,
    };
    Ok((state, rebuilt.is_some()))
}
