use proptest::prelude::*;

use super::*;

fn read(disk: &MemoryDisk, path: &str) -> Option<Vec<u8>> {
    crate::disk::read_all(disk, path).unwrap()
}

fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 24
    }
}

#[test]
fn a_crash_keeps_what_was_written_and_cuts_off_who_wrote_it() {
    let disk = MemoryDisk::new();
    let file = disk.open("x", Open::New).unwrap();
    file.write_at(0, b"one").unwrap();
    disk.crash();
    file.write_at(0, b"two").unwrap();
    assert_eq!(read(&disk, "x").unwrap(), b"one");
}

#[test]
fn a_crash_makes_nothing_durable() {
    let disk = MemoryDisk::new();
    let file = disk.open("x", Open::New).unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(0, b"one").unwrap();
    disk.crash();
    disk.power_cut(|| 0);
    assert_eq!(read(&disk, "x").unwrap(), b"");
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_may_lose_the_rest() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..300 {
        let disk = MemoryDisk::new();
        let file = disk.open("x", Open::New).unwrap();
        file.write_at(0, &[1; 2048]).unwrap();
        file.sync().unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(100, &[2; 1500]).unwrap();
        disk.power_cut(numbers(seed));
        let left = read(&disk, "x").unwrap();
        assert_eq!((left.len(), &left[..100], &left[1600..]), (2048, &[1; 100][..], &[1; 448][..]));
        match left.iter().filter(|byte| **byte == 2).count() {
            0 => lost += 1,
            1500 => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(lost > 30 && kept > 30 && torn > 30, "{lost} lost, {kept} kept, {torn} torn");
}

#[test]
fn a_file_whose_directory_was_not_synced_may_be_gone() {
    let mut gone = 0;
    for seed in 0..100 {
        let disk = MemoryDisk::new();
        disk.create_dir("d").unwrap();
        let file = disk.open("d/x", Open::New).unwrap();
        file.write_at(0, b"data").unwrap();
        file.sync().unwrap();
        disk.sync_dir("").unwrap();
        disk.power_cut(numbers(seed));
        gone += u32::from(disk.list("d").unwrap().is_empty());
    }
    assert!((10..=90).contains(&gone), "{gone} of 100 gone");
}

#[test]
fn a_skipped_fsync_makes_nothing_durable() {
    let disk = MemoryDisk::new();
    disk.skip_fsync(true);
    let file = disk.open("x", Open::New).unwrap();
    file.write_at(0, b"data").unwrap();
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
    disk.power_cut(|| 0);
    assert_eq!(read(&disk, "x"), None);
}

#[test]
fn a_full_disk_refuses_growth_and_heals() {
    let disk = MemoryDisk::new();
    disk.set_space_bytes_max(Some(10));
    let file = disk.open("x", Open::New).unwrap();
    file.allocate(8).unwrap();
    file.write_at(0, &[1; 8]).unwrap();
    assert_eq!(file.write_at(8, &[1; 8]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    // As much as fitted was written.
    assert_eq!((disk.used_bytes(), file.len().unwrap()), (10, 10));
    file.set_len(0).unwrap();
    assert_eq!(disk.used_bytes(), 0);
    disk.set_space_bytes_max(None);
    file.write_at(8, &[1; 8]).unwrap();
}

#[test]
fn syncs_are_skipped_by_kind() {
    let files = ["log/0.log", "log/mark", "snapshots/1.tmp", "node/identity"];
    let kinds = [SyncKind::Log, SyncKind::Other, SyncKind::Snapshot, SyncKind::Other];
    for (skipped, kind) in kinds.into_iter().enumerate() {
        let disk = MemoryDisk::new();
        for directory in ["log", "snapshots", "node"] {
            disk.create_dir(directory).unwrap();
        }
        disk.sync_dir("").unwrap();
        disk.skip_fsync_of(&[kind]);
        for path in files {
            let file = disk.open(path, Open::New).unwrap();
            file.write_at(0, b"data").unwrap();
            file.sync().unwrap();
            disk.sync_dir(path.split_once('/').unwrap().0).unwrap();
        }
        disk.power_cut(|| 0);
        for (path, of) in files.into_iter().zip(kinds) {
            let left = read(&disk, path).unwrap();
            assert_eq!(left.is_empty(), of == kind, "{path} with {skipped} skipped");
        }
    }
}

#[test]
fn directories_are_skipped_alone() {
    let disk = MemoryDisk::new();
    disk.skip_fsync_of(&[SyncKind::Directory]);
    disk.open("x", Open::New).unwrap().sync().unwrap();
    disk.sync_dir("").unwrap();
    disk.power_cut(|| 0);
    assert_eq!(read(&disk, "x"), None);
}

/// The sync of a group of votes is skipped; the one of anything else is not.
#[test]
fn a_skipped_sync_of_votes_forgets_votes_only() {
    let disk = MemoryDisk::new();
    let config = || crate::log::LogConfig {
        segment_bytes: 1 << 16,
        cache_bytes_max: 1 << 16,
        boot_id: [1; 16],
    };
    let vote = |term| crate::v1::Vote { term, node_id: 1, committed: false };
    let (log, mut writer) = crate::log::Log::open(Arc::new(disk.clone()), config()).unwrap();
    disk.skip_fsync_of(&[SyncKind::Vote]);
    log.save_vote(vote(1), Box::new(|_| {}));
    log.purge(crate::v1::LogId { term: 1, leader_id: 1, index: 4 }, Box::new(|_| {}));
    writer.drain();
    log.save_vote(vote(2), Box::new(|_| {}));
    log.save_vote(vote(3), Box::new(|_| {}));
    writer.drain();
    disk.power_cut(|| 0);
    let (log, _writer) = crate::log::Log::open(Arc::new(disk), config()).unwrap();
    assert_eq!((log.vote(), log.state().purged.unwrap().index), (Some(vote(1)), 4));
}

#[test]
fn a_torn_file_may_have_its_length_and_not_its_data() {
    let mut lengthened = 0;
    for seed in 0..300 {
        let disk = MemoryDisk::new();
        let file = disk.open("x", Open::New).unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(0, &[1; 3_000]).unwrap();
        disk.power_cut(numbers(seed));
        let left = read(&disk, "x").unwrap();
        lengthened += u32::from(left.len() == 3_000 && left.ends_with(&[0; 440]));
    }
    assert!(lengthened > 5, "{lengthened} of 300");
}

#[test]
fn each_kind_of_damage_does_what_it_says_and_outlives_a_power_cut() {
    let older = vec![("d/a".to_owned(), b"older".to_vec())];
    for kind in DamageKind::ALL {
        for seed in 0..50 {
            let disk = MemoryDisk::new();
            disk.create_dir("d").unwrap();
            disk.sync_dir("").unwrap();
            for (name, byte) in [("d/a", 1), ("d/b", 2), ("other", 3)] {
                disk.replace(name, &[byte; 5_000]).unwrap();
            }
            let before = disk.contents();
            let Some(damage) = disk.damage(*kind, "d/", &older, numbers(seed)) else { continue };
            disk.power_cut(|| 0);
            let after = disk.contents();
            assert_ne!(after, before, "{damage:?}");
            assert_eq!(read(&disk, "other").unwrap(), [3; 5_000]);
            let differing = |(path, bytes): &&(String, Vec<u8>)| {
                !before.contains(&(path.clone(), bytes.clone()))
            };
            let changed = after.iter().filter(differing).count();
            let expected = match kind {
                DamageKind::Swap => 2,
                DamageKind::Delete => 0,
                _ => 1,
            };
            assert_eq!(changed, expected, "{damage:?}");
            disk.roll_back(&before).unwrap();
            assert_eq!(disk.contents(), before);
        }
    }
}

proptest! {
    /// Whatever the numbers, the same numbers leave the same disk, and synced files are whole.
    #[test]
    fn a_power_cut_is_deterministic(seed: u64, writes in prop::collection::vec((0_u64..4096, 1_usize..3000, any::<u8>()), 1..12)) {
        let run = || {
            let disk = MemoryDisk::new();
            let file = disk.open("a", Open::New).unwrap();
            for (offset, length, byte) in &writes {
                file.write_at(*offset, &vec![*byte; *length]).unwrap();
                if byte % 3 == 0 {
                    file.sync().unwrap();
                    disk.sync_dir("").unwrap();
                }
            }
            disk.rename("a", "b").unwrap();
            disk.power_cut(numbers(seed));
            disk.contents()
        };
        prop_assert_eq!(run(), run());
    }
}
