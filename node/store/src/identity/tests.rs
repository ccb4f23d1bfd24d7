use super::*;
use crate::disk::{MemoryDisk, Open};

fn identity() -> Identity {
    Identity {
        joined: None,
        cluster_id: bytes::Bytes::from_static(b"cluster"),
        node_id: 7,
        node_name: "alpha".to_owned(),
        format_version: FORMAT_VERSION,
    }
}

fn open(disk: &MemoryDisk) -> IdentityStore {
    IdentityStore::open(Arc::new(disk.clone())).unwrap()
}

#[test]
fn everything_outlives_a_power_cut() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    assert_eq!((store.load(), store.sealed_on_purpose(), store.boot_counter()), (None, false, 0));
    assert_eq!(store.begin_boot().unwrap(), 1);
    store.save(&identity()).unwrap();
    store.set_sealed_on_purpose(true).unwrap();
    disk.power_cut(|| 0);
    let store = open(&disk);
    assert_eq!((store.load(), store.sealed_on_purpose()), (Some(identity()), true));
    assert_eq!(store.begin_boot().unwrap(), 2);
    store.set_sealed_on_purpose(false).unwrap();
    store.set_sealed_on_purpose(false).unwrap();
    disk.power_cut(|| 0);
    assert!(!open(&disk).sealed_on_purpose());
    assert_eq!(open(&disk).boot_counter(), 2);
}

#[test]
fn a_failed_write_changes_nothing() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    disk.fail_syncs(true);
    assert!(store.save(&identity()).is_err());
    assert!(store.begin_boot().is_err());
    assert!(store.set_sealed_on_purpose(true).is_err());
    assert_eq!((store.load(), store.sealed_on_purpose(), store.boot_counter()), (None, false, 0));
}

#[test]
fn every_flipped_byte_is_noticed() {
    let disk = MemoryDisk::new();
    open(&disk).save(&identity()).unwrap();
    let file = disk.open(IDENTITY.path, Open::Existing).unwrap();
    for offset in 0..file.len().unwrap() {
        let mut byte = [0];
        file.read_at(offset, &mut byte).unwrap();
        file.write_at(offset, &[byte[0] ^ 0x10]).unwrap();
        let error = IdentityStore::open(Arc::new(disk.clone())).err().unwrap();
        assert!(error.to_string().contains("node/identity is damaged"), "{error}");
        file.write_at(offset, &byte).unwrap();
    }
}

#[test]
fn a_newer_format_is_refused_with_the_way_out() {
    let disk = MemoryDisk::new();
    drop(open(&disk));
    let newer = Identity { format_version: FORMAT_VERSION + 1, ..identity() };
    IDENTITY.write(&disk, &newer).unwrap();
    let error = IdentityStore::open(Arc::new(disk)).err().unwrap();
    assert!(error.to_string().ends_with("start the newer program"), "{error}");
}

#[test]
fn the_bytes_are_these() {
    let disk = MemoryDisk::new();
    open(&disk).save(&identity()).unwrap();
    let bytes = read_all(&disk, IDENTITY.path).unwrap().unwrap();
    let body = b"\x0a\x07cluster\x10\x07\x1a\x05alpha\x20\x01";
    assert_eq!((&bytes[..8], &bytes[12..]), (&b"CONCIDT1"[..], &body[..]));
}

#[test]
fn the_bytes_of_the_marks_are_these() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    store.begin_boot().unwrap();
    store.set_out(Out::Fenced, "the cluster went on without it").unwrap();
    for (place, golden) in [(BOOT, "boot.hex"), (OUT, "out.hex")] {
        crate::golden::check(golden, &read_all(&disk, place.path).unwrap().unwrap());
    }
}

#[test]
fn a_newer_frame_of_any_file_stops_this_program_or_keeps_the_node_out() {
    for place in [IDENTITY, BOOT] {
        let disk = MemoryDisk::new();
        drop(open(&disk));
        let bytes = place.to_bytes(b'2', b"");
        disk.open(place.path, Open::New).unwrap().write_at(0, &bytes).unwrap();
        let text = IdentityStore::open(Arc::new(disk)).err().unwrap().to_string();
        assert!(text.contains(&format!("{} has format '2'", place.path)), "{text}");
        assert!(text.ends_with("start the newer program"), "{text}");
    }
    for (format, body) in [(b'2', &b""[..]), (b'1', &b"\x08\x63"[..])] {
        let disk = MemoryDisk::new();
        drop(open(&disk));
        let bytes = OUT.to_bytes(format, body);
        disk.open(OUT.path, Open::New).unwrap().write_at(0, &bytes).unwrap();
        let (_, text) = open(&disk).out().unwrap();
        assert!(text.contains("a newer program wrote it"), "{text}");
    }
}

#[test]
fn who_is_out_stays_out_for_the_first_reason() {
    for why in Out::ALL {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        assert_eq!(store.out(), None);
        store.set_out(why, "because").unwrap();
        store.set_out(Out::Fenced, "another").unwrap();
        disk.power_cut(|| 0);
        assert_eq!(open(&disk).out(), Some((why, "because".to_owned())));
    }
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let disk = MemoryDisk::new();
    open(&disk).set_out(Out::Fenced, &format!("a{}", "ü".repeat(9_000))).unwrap();
    let (_, text) = open(&disk).out().unwrap();
    assert_eq!(text.len(), OUT_TEXT_BYTES_MAX - 1);
}

#[test]
fn a_damaged_mark_keeps_the_node_out_and_says_so() {
    let disk = MemoryDisk::new();
    open(&disk).set_out(Out::RolledBack, "its disk went back").unwrap();
    let file = disk.open(OUT.path, Open::Existing).unwrap();
    for offset in 0..file.len().unwrap() {
        let mut byte = [0];
        file.read_at(offset, &mut byte).unwrap();
        file.write_at(offset, &[byte[0] ^ 0x10]).unwrap();
        let (_, text) = open(&disk).out().unwrap();
        assert!(text.contains("node/out is there and cannot be read"), "{text}");
        file.write_at(offset, &byte).unwrap();
    }
    file.set_len(0).unwrap();
    let store = open(&disk);
    assert!(store.out().is_some());
    // What is there already keeps it out: nothing is written over it.
    store.set_out(Out::Fenced, "another").unwrap();
    assert!(open(&disk).out().unwrap().1.contains("cannot be read"));
}

/// Whatever sync fails, and whatever the power cut leaves: marked once it was said so, else not or
/// marked with the reason that was given first.
#[test]
fn the_mark_stands_over_power_cuts() {
    let mut unmarked = 0;
    for seed in 0..400_u64 {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        store.save(&identity()).unwrap();
        disk.fail_syncs_after(seed % 3);
        let mut said = store.set_out(Out::RolledBack, "first").is_ok();
        disk.fail_syncs(false);
        assert_eq!(store.out(), Some((Out::RolledBack, "first".to_owned())));
        if seed % 5 == 0 {
            store.set_out(Out::Fenced, "second").unwrap();
            said = true;
        }
        let mut state = seed;
        disk.power_cut(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 20
        });
        let store = open(&disk);
        assert_eq!(store.load(), Some(identity()));
        match store.out() {
            None => {
                assert!(!said, "seed {seed}");
                unmarked += 1;
            }
            found => assert_eq!(found, Some((Out::RolledBack, "first".to_owned()))),
        }
    }
    assert!((50..250).contains(&unmarked), "{unmarked} of 400 cuts came before the mark");
}
