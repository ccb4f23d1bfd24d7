use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::disk::{MemoryDisk, RealDisk, read_all};
use crate::state::{
    CHUNK_DIGEST_FIRST, ChunkDigest, MemoryEngine, SetHash, State, StateConfig, derive_chunk_digest,
};
use crate::v1::entry::Payload;
use crate::v1::{Blank, Command, Entry, Key, LogId, SnapshotChunk, SnapshotRecord, Write};

/// What goes wrong on the way.
type Spoil = fn(&mut Sent);

/// A snapshot as a peer sends it.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    header: SnapshotHeader,
    chunks: Vec<SnapshotChunk>,
}

fn sent(index: u64, sizes: &[usize]) -> Sent {
    let (mut hash, mut digest, mut count) = (SetHash::default(), CHUNK_DIGEST_FIRST, 0);
    let mut chunks = Vec::new();
    for (number, size) in (0_u64..).zip(sizes) {
        let records: Vec<_> = (0..3_u8)
            .map(|place| SnapshotRecord {
                key: Bytes::from(vec![place, number as u8]),
                revision: index,
                value: Bytes::from(vec![place; *size]),
            })
            .collect();
        records.iter().for_each(|record| hash.add_record(record));
        digest = derive_chunk_digest(&digest, &records);
        count += records.len() as u64;
        chunks.push(SnapshotChunk { number, records, digest: Bytes::copy_from_slice(&digest) });
    }
    let header = SnapshotHeader {
        epoch: 1,
        format: 1,
        cluster_id: Bytes::from_static(b"cluster"),
        last_log_id: Some(LogId { term: 3, leader_id: 1, index }),
        membership: None,
        stamped_ms: 1_000,
        state_hash: Bytes::copy_from_slice(&hash.value().0),
        record_count: count,
        snapshot_id: format!("3-1-{index}"),
    };
    Sent { header, chunks }
}

fn store(disk: &MemoryDisk) -> SnapshotStore {
    SnapshotStore::open(Arc::new(disk.clone())).unwrap()
}

fn receive(store: &SnapshotStore, sent: &Sent) -> Result<SnapshotReader, SnapshotError> {
    let mut receiver = store.receive(sent.header.clone())?;
    sent.chunks.iter().cloned().try_for_each(|chunk| receiver.push(chunk))?;
    receiver.finish()
}

fn read(mut reader: SnapshotReader) -> Result<Sent, SnapshotError> {
    let (header, mut chunks) = (reader.header().clone(), Vec::new());
    while let Some(chunk) = reader.next_chunk()? {
        chunks.push(chunk);
    }
    assert!(reader.next_chunk()?.is_none());
    Ok(Sent { header, chunks })
}

fn latest(store: &SnapshotStore) -> Option<Sent> {
    store.latest().unwrap().map(|reader| read(reader).unwrap())
}

fn files(disk: &MemoryDisk) -> Vec<String> {
    disk.list(DIRECTORY).unwrap()
}

fn state(puts: u64) -> State {
    let config = StateConfig {
        overlay_bytes_max: 1 << 20,
        undo_bytes_max: 1 << 20,
        checkpoint_entries: 1_024,
    };
    let state = State::open(Arc::new(MemoryEngine::new()), config).unwrap();
    let id = Some(LogId { term: 1, leader_id: 1, index: 0 });
    state.apply(&Entry { id, payload: Some(Payload::Blank(Blank {})) }).unwrap();
    for index in 1..=puts {
        let key = Key { segments: vec![Bytes::from(index.to_be_bytes().to_vec())], flat: false };
        let write = Write { key: Some(key), value: Some(Bytes::from(vec![7; 2_000])) };
        let command = Command { writes: vec![write], stamped_ms: index, ..Command::default() };
        let payload = Payload::Command(prost::Message::encode_to_vec(&command).into());
        let id = Some(LogId { term: 1, leader_id: 1, index });
        state.apply(&Entry { id, payload: Some(payload) }).unwrap();
    }
    state
}

#[test]
fn an_export_is_saved_and_read_back_into_a_state() {
    let disk = MemoryDisk::new();
    let store = store(&disk);
    let from = state(400);
    let header = store.save(from.export().unwrap(), b"cluster").unwrap().header().clone();
    assert_eq!(
        (&header.cluster_id[..], header.snapshot_id.as_str()),
        (&b"cluster"[..], "1-1-400-0")
    );
    let mut reader = store.latest().unwrap().unwrap();
    assert_eq!(*reader.header(), header);
    let to = state(0);
    let mut import = to.import(reader.header().clone()).unwrap();
    let mut chunks = 0;
    while let Some(chunk) = reader.next_chunk().unwrap() {
        import.push(chunk).unwrap();
        chunks += 1;
    }
    import.finish().unwrap();
    assert!(chunks > 2, "{chunks} chunks");
    assert_eq!(to.applied().state_hash, from.applied().state_hash);
}

#[test]
fn the_newest_two_are_kept_and_the_highest_index_is_the_newest() {
    let disk = MemoryDisk::new();
    let store = store(&disk);
    assert!(store.latest().unwrap().is_none());
    for index in [5, 9, 7] {
        receive(&store, &sent(index, &[10, 20])).unwrap();
    }
    assert_eq!(latest(&store), Some(sent(9, &[10, 20])));
    assert_eq!(files(&disk).len(), SNAPSHOTS_KEPT);
    disk.power_cut(|| 0);
    let store = self::store(&disk);
    assert_eq!(latest(&store), Some(sent(9, &[10, 20])));
    // The same index again: the one stored last.
    let again = Sent {
        header: SnapshotHeader { snapshot_id: "b".into(), ..sent(9, &[]).header },
        ..sent(9, &[])
    };
    receive(&store, &again).unwrap();
    assert_eq!(latest(&store), Some(again));
}

#[test]
fn a_reader_outlives_the_removal_of_its_file() {
    let disk = MemoryDisk::new();
    let store = store(&disk);
    let reader = receive(&store, &sent(1, &[10, 20, 30])).unwrap();
    for index in 2..6 {
        receive(&store, &sent(index, &[10])).unwrap();
    }
    assert_eq!(read(reader).unwrap(), sent(1, &[10, 20, 30]));
}

#[test]
fn an_unfinished_snapshot_leaves_nothing() {
    let disk = MemoryDisk::new();
    let store = store(&disk);
    let mut receiver = store.receive(sent(1, &[]).header).unwrap();
    receiver.push(sent(1, &[10]).chunks.remove(0)).unwrap();
    assert_eq!(files(&disk).len(), 1);
    let leaked = disk.clone();
    drop(receiver);
    assert!(files(&disk).is_empty());
    // One that a crash left.
    leaked.open("snapshots/00000000000000000009.tmp", Open::New).unwrap();
    self::store(&disk);
    assert!(files(&disk).is_empty());
}

#[test]
fn what_a_peer_sends_wrong_is_not_stored() {
    let good = sent(4, &[10, 20]);
    let spoilt: [(&str, Spoil); 7] = [
        ("stands in the place of", |sent| sent.chunks.swap(0, 1)),
        ("does not match its digest", |sent| sent.chunks[1].records[0].revision += 1),
        ("does not match its digest", |sent| sent.chunks[0].digest = Bytes::new()),
        ("records of", |sent| drop(sent.chunks.pop())),
        ("records of", |sent| sent.header.record_count += 1),
        ("state hash", |sent| sent.header.state_hash = Bytes::from_static(&[1; 64])),
        ("state hash", |sent| sent.header.state_hash = Bytes::new()),
    ];
    for (what, spoil) in spoilt {
        let disk = MemoryDisk::new();
        let store = store(&disk);
        let mut bad = good.clone();
        spoil(&mut bad);
        let error = receive(&store, &bad).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("fetch a snapshot"), "{error}");
        assert!(store.latest().unwrap().is_none());
        assert!(files(&disk).is_empty());
    }
}

#[test]
fn a_damaged_newest_one_is_set_aside_and_the_older_one_serves() {
    let disk = MemoryDisk::new();
    let first = store(&disk);
    receive(&first, &sent(1, &[10])).unwrap();
    receive(&first, &sent(2, &[10])).unwrap();
    let path = format!("{DIRECTORY}/{}", files(&disk)[1]);
    disk.open(&path, Open::Existing).unwrap().write_at(100, b"?").unwrap();
    let store = self::store(&disk);
    assert_eq!(latest(&store), Some(sent(1, &[10])));
    assert_eq!(store.damaged(), [format!("{path}{SET_ASIDE}")]);

    let older = format!("{DIRECTORY}/{}", files(&disk)[0]);
    disk.open(&older, Open::Existing).unwrap().write_at(100, b"?").unwrap();
    for _ in 0..2 {
        let error = self::store(&disk).latest().unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
    }
    let store = self::store(&disk);
    receive(&store, &sent(3, &[10])).unwrap();
    assert!(store.damaged().is_empty());
    assert_eq!((latest(&store), files(&disk).len()), (Some(sent(3, &[10])), 1));
}

#[test]
fn a_flipped_or_cut_byte_is_noticed() {
    let disk = MemoryDisk::new();
    receive(&store(&disk), &sent(1, &[10, 0, 30])).unwrap();
    let path = format!("{DIRECTORY}/{}", files(&disk)[0]);
    let bytes = read_all(&disk, &path).unwrap().unwrap();
    let refuse = |bytes: &[u8], what: &str| {
        let disk = MemoryDisk::new();
        disk.create_dir(DIRECTORY).unwrap();
        disk.open(&path, Open::New).unwrap().write_at(0, bytes).unwrap();
        let error = store(&disk).latest().expect_err(what);
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{what}: {error}");
    };
    for offset in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[offset] ^= 0x20;
        refuse(&damaged, &format!("flipped at {offset}"));
        refuse(&bytes[..offset], &format!("cut at {offset}"));
    }
    refuse(&[&bytes[..], b"x"].concat(), "something follows");
}

#[test]
fn the_bytes_of_a_snapshot_are_these() {
    let disk = MemoryDisk::new();
    receive(&store(&disk), &sent(1, &[4, 2])).unwrap();
    let path = format!("{DIRECTORY}/{}", files(&disk)[0]);
    assert_eq!(path, "snapshots/00000000000000000001-00000000000000000000.snapshot");
    crate::golden::check("snapshot.hex", &read_all(&disk, &path).unwrap().unwrap());
}

#[test]
fn real_files() {
    let place = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(place.path()).unwrap());
    let store = SnapshotStore::open(Arc::clone(&disk)).unwrap();
    let header = store.save(state(300).export().unwrap(), b"c").unwrap().header().clone();
    let store = SnapshotStore::open(disk).unwrap();
    assert_eq!(*store.latest().unwrap().unwrap().header(), header);
}

#[test]
fn a_full_disk_stores_nothing_and_heals() {
    let disk = MemoryDisk::new();
    let store = store(&disk);
    receive(&store, &sent(1, &[10])).unwrap();
    disk.set_space_bytes_max(Some(disk.used_bytes() + 300));
    let error = receive(&store, &sent(2, &[100, 100])).unwrap_err();
    assert!(
        matches!(&error, SnapshotError::Io(error) if error.kind() == io::ErrorKind::StorageFull)
    );
    assert_eq!((latest(&store), files(&disk).len()), (Some(sent(1, &[10])), 1));
    disk.set_space_bytes_max(None);
    receive(&store, &sent(2, &[100, 100])).unwrap();
}

#[test]
fn a_file_under_another_name_is_damage() {
    let disk = MemoryDisk::new();
    let first = store(&disk);
    receive(&first, &sent(1, &[10])).unwrap();
    receive(&first, &sent(2, &[10])).unwrap();
    // An older copy put back under a newer name, and the two swapped.
    let [older, newer] = [1, 2].map(|index| Name { index, sequence: index - 1 }.path());
    let bytes = read_all(&disk, &older).unwrap().unwrap();
    let forged = Name { index: 9, sequence: 7 }.path();
    disk.open(&forged, Open::New).unwrap().write_at(0, &bytes).unwrap();
    assert_eq!(latest(&self::store(&disk)), Some(sent(2, &[10])));
    disk.rename(&older, "snapshots/aside").unwrap();
    disk.rename(&newer, &older).unwrap();
    disk.rename("snapshots/aside", &newer).unwrap();
    let store = self::store(&disk);
    let Newest::Damaged(files) = store.newest().unwrap() else { panic!("neither is good") };
    assert_eq!(files.len(), 3);
    receive(&store, &sent(3, &[10])).unwrap();
    assert!(matches!(store.newest().unwrap(), Newest::Snapshot(_)));
}

#[test]
fn a_snapshot_that_is_deleted_or_spoilt_later_gives_way_to_the_older_one() {
    let disk = MemoryDisk::new();
    let store = store(&disk);
    for index in 1..4 {
        receive(&store, &sent(index, &[10])).unwrap();
    }
    disk.remove(&Name { index: 3, sequence: 2 }.path()).unwrap();
    assert_eq!(latest(&store), Some(sent(2, &[10])));
    let path = Name { index: 2, sequence: 1 }.path();
    disk.open(&path, Open::Existing).unwrap().write_at(300, b"?").unwrap();
    // It was verified in this process; a reader meets the damage, and says so.
    assert!(read(store.latest().unwrap().unwrap()).is_err());
    store.distrust();
    assert!(matches!(store.newest().unwrap(), Newest::Damaged(_)));
    assert!(matches!(self::store(&MemoryDisk::new()).newest().unwrap(), Newest::None));
}

#[test]
fn a_newer_format_asks_for_the_newer_program() {
    let disk = MemoryDisk::new();
    let mut later = sent(5, &[10]);
    later.header.format = 2;
    let error = receive(&store(&disk), &later).unwrap_err();
    assert!(error.to_string().ends_with("start the newer program"), "{error}");
    let mut head = frame::file_header();
    head[8] = 2;
    let checksum = crc32fast::hash(&head[..12]);
    head[12..].copy_from_slice(&checksum.to_le_bytes());
    let path = Name { index: 5, sequence: 0 }.path();
    disk.open(&path, Open::New).unwrap().write_at(0, &head).unwrap();
    let store = self::store(&disk);
    assert!(matches!(store.newest(), Err(SnapshotError::Newer { format: 2, .. })));
    // It stays for that program.
    assert_eq!(store.damaged(), [""; 0]);
    assert_eq!(files(&disk).len(), 1);
}

#[test]
fn the_longest_value_round_trips() {
    use crate::state::VALUE_BYTES_MAX;
    let disk = MemoryDisk::new();
    let store = store(&disk);
    let from = state(0);
    let key = Key { segments: vec![Bytes::from_static(b"k")], flat: false };
    let command = |bytes: usize| {
        let value = Bytes::from((0..bytes).map(|at| (at / 7) as u8).collect::<Vec<_>>());
        let write = Write { key: Some(key.clone()), value: Some(value) };
        Command { writes: vec![write], ..Command::default() }
    };
    let longest = command(VALUE_BYTES_MAX);
    assert!(crate::state::validate(&longest).is_ok());
    let apply = |index, command: &Command| {
        let payload = Payload::Command(prost::Message::encode_to_vec(command).into());
        let id = Some(LogId { term: 1, leader_id: 1, index });
        from.apply(&Entry { id, payload: Some(payload) }).unwrap()
    };
    apply(1, &longest);
    while from.flush().unwrap() {}
    // One longer is refused before it is proposed, and does nothing where it was all the same.
    let longer = command(VALUE_BYTES_MAX + 1);
    assert!(crate::state::validate(&longer).is_err());
    assert_eq!(apply(2, &longer), crate::state::Outcome::ConditionFailed);
    let mut reader = store.save(from.export().unwrap(), b"c").unwrap();
    let to = state(0);
    let mut import = to.import(reader.header().clone()).unwrap();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        import.push(chunk).unwrap();
    }
    import.finish().unwrap();
    let value = longest.writes[0].value.clone();
    assert_eq!(to.view().get(&key).unwrap().map(|row| row.value), value);
}

#[test]
fn a_large_snapshot_is_synced_as_it_is_written() {
    let syncs = |chunks: usize| {
        let disk = MemoryDisk::new();
        let (store, sent) = (store(&disk), sent(1, &vec![1 << 20; chunks]));
        let mut receiver = store.receive(sent.header.clone()).unwrap();
        sent.chunks.into_iter().try_for_each(|chunk| receiver.push(chunk)).unwrap();
        disk.syncs()
    };
    let before = syncs(0);
    assert_eq!(syncs(2), before, "6 MiB");
    assert_eq!(syncs(9), before + 3, "27 MiB");
}

proptest! {
    /// Wherever the power is cut, the newest snapshot is a whole one, and never older than one
    /// whose storing returned.
    #[test]
    fn a_power_cut_leaves_a_whole_snapshot(syncs in 0..8_u64, seed: u64, sizes in prop::collection::vec(0..900_usize, 0..6)) {
        let disk = MemoryDisk::new();
        let before = store(&disk);
        receive(&before, &sent(1, &sizes)).unwrap();
        disk.fail_syncs_after(syncs);
        let stored = receive(&before, &sent(2, &sizes)).is_ok();
        disk.fail_syncs(false);
        let mut state = seed;
        disk.power_cut(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed | 1);
            state >> 24
        });
        let found = latest(&store(&disk)).unwrap();
        prop_assert!(found == sent(2, &sizes) || (!stored && found == sent(1, &sizes)));
        prop_assert!(files(&disk).iter().all(|file| file.ends_with(SUFFIX)));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), start in any::<bool>()) {
        let disk = MemoryDisk::new();
        disk.create_dir(DIRECTORY).unwrap();
        let head = if start { &frame::file_header()[..] } else { &[] };
        let name = Name { index: 1, sequence: 1 };
        let file = disk.open(&name.path(), Open::New).unwrap();
        file.write_at(0, &[head, &bytes].concat()).unwrap();
        prop_assert!(store(&disk).latest().is_err());
    }
}

#[test]
fn the_digest_chain_is_the_states() {
    let chunk = &sent(1, &[3]).chunks[0];
    let digest: ChunkDigest = derive_chunk_digest(&CHUNK_DIGEST_FIRST, &chunk.records);
    assert_eq!(chunk.digest, digest[..]);
}
