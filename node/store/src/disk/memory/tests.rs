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
    assert_eq!(disk.used_bytes(), 8);
    file.set_len(0).unwrap();
    assert_eq!(disk.used_bytes(), 0);
    disk.set_space_bytes_max(None);
    file.write_at(8, &[1; 8]).unwrap();
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
