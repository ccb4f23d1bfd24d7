//! What this node saw of its peers, so that one whose disk went back in time is told so when it
//! starts.
//!
//! ```text
//! node/seen    frame "CONCSEN1" (as in [`crate::identity`]): SeenPeers
//! ```
//!
//! Its invariant: what it says of a peer never goes back. Kept in memory and written at most once a
//! second by [`SeenStore::save`], so a crash forgets a second of it; a file that is lost or damaged
//! means that nothing was seen. Both are only a guard less: nothing here says what was committed.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::Disk;
use crate::identity::{DIRECTORY, IdentityError, frame::Place};
use crate::v1::{LogId, Seen, SeenPeers};

const SEEN: Place = Place { path: "node/seen", name: *b"CONCSEN" };
/// Peers that are remembered; more are not taken note of.
const PEERS_MAX: usize = 1_024;

/// The highest seen of every peer. Clones are the same store.
#[derive(Clone)]
pub struct SeenStore {
    disk: Arc<dyn Disk>,
    peers: Arc<Mutex<Peers>>,
    /// The change up to which the file holds everything. Held while it is written, so that nobody
    /// who takes note waits for the disk.
    saved: Arc<Mutex<u64>>,
}

#[derive(Default)]
struct Peers {
    by_id: BTreeMap<u64, Seen>,
    /// Counts changes.
    changes: u64,
}

impl SeenStore {
    /// Reads what is kept in a data directory; nothing where it is absent or damaged.
    ///
    /// # Errors
    /// The operating system's; `Unsupported` where a newer program wrote the file.
    pub fn open(disk: Arc<dyn Disk>) -> io::Result<Self> {
        disk.create_dir(DIRECTORY)?;
        disk.sync_dir("")?;
        let kept: SeenPeers = match SEEN.read(disk.as_ref()) {
            Ok(kept) => kept.unwrap_or_default(),
            Err(IdentityError::Io(error)) => return Err(error),
            Err(error @ IdentityError::Damaged { .. }) => {
                tracing::warn!(
                    %error,
                    "what was seen of the peers is forgotten, and it is noted anew"
                );
                SeenPeers::default()
            }
            Err(error) => return Err(io::Error::new(io::ErrorKind::Unsupported, error)),
        };
        let mut peers = Peers::default();
        kept.peers.iter().for_each(|seen| peers.note(seen));
        peers.changes = 0;
        Ok(Self { disk, peers: Arc::new(Mutex::new(peers)), saved: Arc::default() })
    }

    /// Takes note of what a peer has on disk: each of its figures rises or stays.
    pub fn saw(&self, now: &Seen) {
        self.peers().note(now);
    }

    /// The highest ever seen of a peer.
    #[must_use]
    pub fn of(&self, node_id: u64) -> Option<Seen> {
        self.peers().by_id.get(&node_id).copied()
    }

    /// Forgets all peers but these: members that were removed never come back.
    pub fn retain(&self, node_ids: &[u64]) {
        let mut peers = self.peers();
        let before = peers.by_id.len();
        peers.by_id.retain(|id, _| node_ids.contains(id));
        if peers.by_id.len() != before {
            peers.changes += 1;
        }
    }

    /// Writes what changed since the last call, durably; where nothing did, it does nothing.
    ///
    /// # Errors
    /// The operating system's; the next call tries again.
    pub fn save(&self) -> io::Result<()> {
        let mut saved = self.saved.lock().expect("no holder of the file panics");
        let (now, changes) = {
            let peers = self.peers();
            (SeenPeers { peers: peers.by_id.values().copied().collect() }, peers.changes)
        };
        if *saved != changes {
            SEEN.write(self.disk.as_ref(), &now)?;
            *saved = changes;
        }
        Ok(())
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().expect("no holder of what was seen panics")
    }
}

impl Peers {
    fn note(&mut self, now: &Seen) {
        let full = self.by_id.len() >= PEERS_MAX;
        if full && !self.by_id.contains_key(&now.node_id) {
            return;
        }
        let known = self.by_id.get(&now.node_id).copied();
        let risen = known.map_or(*now, |known| Seen {
            node_id: now.node_id,
            boot_counter: known.boot_counter.max(now.boot_counter),
            vote_term: known.vote_term.max(now.vote_term),
            durable: later(known.durable, now.durable),
        });
        if known != Some(risen) {
            self.by_id.insert(now.node_id, risen);
            self.changes += 1;
        }
    }
}

/// Entries are in the order of term, then index. Of two that are equal in that the known one stays.
fn later(known: Option<LogId>, now: Option<LogId>) -> Option<LogId> {
    let place = |id: Option<LogId>| id.map(|id| (id.term, id.index));
    if place(now) > place(known) { now } else { known }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::{MemoryDisk, Open, read_all};

    fn open(disk: &MemoryDisk) -> SeenStore {
        SeenStore::open(Arc::new(disk.clone())).unwrap()
    }

    fn seen(node_id: u64, boot_counter: u64, vote_term: u64, durable: Option<(u64, u64)>) -> Seen {
        let durable = durable.map(|(term, index)| LogId { term, leader_id: 1, index });
        Seen { node_id, boot_counter, vote_term, durable }
    }

    fn all(store: &SeenStore) -> Vec<Seen> {
        store.peers().by_id.values().copied().collect()
    }

    #[test]
    fn each_figure_rises_by_itself() {
        let store = open(&MemoryDisk::new());
        assert_eq!(store.of(2), None);
        store.saw(&seen(2, 5, 1, Some((2, 9))));
        store.saw(&seen(2, 4, 3, Some((1, 90))));
        store.saw(&seen(2, 0, 0, None));
        assert_eq!(store.of(2), Some(seen(2, 5, 3, Some((2, 9)))));
        store.saw(&seen(2, 0, 0, Some((2, 10))));
        assert_eq!(store.of(2), Some(seen(2, 5, 3, Some((2, 10)))));
    }

    #[test]
    fn what_was_saved_outlives_a_power_cut_and_is_written_only_when_it_changed() {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        let before = disk.syncs();
        store.save().unwrap();
        assert_eq!(disk.syncs(), before, "nothing was seen, nothing is written");
        store.saw(&seen(3, 1, 1, None));
        store.save().unwrap();
        let saved = disk.syncs();
        store.saw(&seen(3, 1, 0, None));
        store.save().unwrap();
        assert_eq!(disk.syncs(), saved);
        store.saw(&seen(4, 1, 1, None));
        disk.power_cut(|| 0);
        let store = open(&disk);
        assert_eq!(all(&store), [seen(3, 1, 1, None)]);
        store.retain(&[7]);
        store.save().unwrap();
        assert!(all(&open(&disk)).is_empty());
    }

    #[test]
    fn a_failed_save_is_tried_again() {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        store.saw(&seen(3, 1, 1, None));
        disk.fail_syncs(true);
        assert!(store.save().is_err());
        disk.fail_syncs(false);
        store.save().unwrap();
        disk.power_cut(|| 0);
        assert_eq!(open(&disk).of(3), Some(seen(3, 1, 1, None)));
    }

    #[test]
    fn strangers_are_bounded_and_those_known_stay() {
        let store = open(&MemoryDisk::new());
        (0..2 * PEERS_MAX as u64).for_each(|id| store.saw(&seen(id, 1, 1, None)));
        assert_eq!(all(&store).len(), PEERS_MAX);
        store.saw(&seen(7, 2, 1, None));
        assert_eq!(store.of(7), Some(seen(7, 2, 1, None)));
    }

    #[test]
    fn a_damaged_file_says_nothing_and_is_replaced() {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        store.saw(&seen(3, 1, 1, Some((1, 4))));
        store.save().unwrap();
        let file = disk.open(SEEN.path, Open::Existing).unwrap();
        for offset in 0..file.len().unwrap() {
            let mut byte = [0];
            file.read_at(offset, &mut byte).unwrap();
            file.write_at(offset, &[byte[0] ^ 4]).unwrap();
            assert!(all(&open(&disk)).is_empty(), "at {offset}");
            file.write_at(offset, &byte).unwrap();
        }
        file.set_len(5).unwrap();
        let store = open(&disk);
        store.saw(&seen(3, 9, 1, None));
        store.save().unwrap();
        assert_eq!(all(&open(&disk)), [seen(3, 9, 1, None)]);
    }

    #[test]
    fn a_newer_format_stops_this_program() {
        let disk = MemoryDisk::new();
        drop(open(&disk));
        let bytes = SEEN.to_bytes(b'2', b"");
        disk.open(SEEN.path, Open::New).unwrap().write_at(0, &bytes).unwrap();
        let error = SeenStore::open(Arc::new(disk)).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains("node/seen has format '2'"), "{error}");
    }

    #[test]
    fn the_bytes_are_these() {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        store.saw(&seen(300, 2, 9, None));
        store.saw(&seen(5, 1, 7, Some((7, 1_000))));
        store.save().unwrap();
        crate::golden::check("seen.hex", &read_all(&disk, SEEN.path).unwrap().unwrap());
    }

    #[derive(Debug, Clone)]
    enum Action {
        Saw(Seen),
        Retain(Vec<u64>),
        Save,
        FailedSave(u64),
        Cut(u64),
    }

    fn action() -> impl Strategy<Value = Action> {
        let durable = prop::option::of((0..4_u64, 0..6_u64));
        let figures = (0..4_u64, 0..5_u64, 0..5_u64, durable);
        prop_oneof![
            8 => figures.prop_map(|(id, boot, vote, durable)| Action::Saw(seen(id, boot, vote, durable))),
            1 => prop::collection::vec(0..4_u64, 1..4).prop_map(Action::Retain),
            4 => Just(Action::Save),
            1 => (0..3_u64).prop_map(Action::FailedSave),
            2 => any::<u64>().prop_map(Action::Cut),
        ]
    }

    /// After a power cut the store says what the last good save said, or what a failed one wrote.
    #[derive(Default)]
    struct Model {
        now: BTreeMap<u64, Seen>,
        possible: Vec<BTreeMap<u64, Seen>>,
    }

    impl Model {
        fn saw(&mut self, now: &Seen) {
            let known = self.now.entry(now.node_id).or_insert(*now);
            known.boot_counter = known.boot_counter.max(now.boot_counter);
            known.vote_term = known.vote_term.max(now.vote_term);
            let place = |id: Option<LogId>| id.map_or((0, 0, 0), |id| (1, id.term, id.index));
            if place(now.durable) > place(known.durable) {
                known.durable = now.durable;
            }
        }
    }

    proptest! {
        #[test]
        fn it_never_goes_back(actions in prop::collection::vec(action(), 1..60)) {
            let disk = MemoryDisk::new();
            let mut store = open(&disk);
            let mut model = Model { possible: vec![BTreeMap::new()], ..Model::default() };
            for action in actions {
                match action {
                    Action::Saw(now) => {
                        model.saw(&now);
                        store.saw(&now);
                    }
                    Action::Retain(ids) => {
                        model.now.retain(|id, _| ids.contains(id));
                        store.retain(&ids);
                    }
                    Action::Save => {
                        store.save().unwrap();
                        model.possible = vec![model.now.clone()];
                    }
                    Action::FailedSave(syncs) => {
                        disk.fail_syncs_after(syncs);
                        match store.save() {
                            Ok(()) => model.possible = vec![model.now.clone()],
                            Err(_) => model.possible.push(model.now.clone()),
                        }
                        disk.fail_syncs(false);
                    }
                    Action::Cut(seed) => {
                        let mut state = seed;
                        disk.power_cut(|| {
                            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                            state >> 20
                        });
                        store = open(&disk);
                        let found = store.peers().by_id.clone();
                        prop_assert!(model.possible.contains(&found), "{found:?}");
                        model = Model { now: found.clone(), possible: vec![found] };
                    }
                }
                let found = store.peers().by_id.clone();
                prop_assert_eq!(&found, &model.now);
            }
        }
    }
}
