//! Backups: what is written comes back, and nothing else is believed.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use conclave_proto::v1;
use conclave_store::state::{MemoryEngine, State, StateConfig};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use prost::Message as _;
use ring::digest::{SHA256, digest};

use super::archive::{END_BYTES, META, SEALED, STATE, SUMS, header, padding};
use super::write::sums;
use super::*;

const CLUSTER: [u8; 16] = [7; 16];
const SEED: [u8; 32] = [9; 32];
const NOW_MS: u64 = 1_795_564_800_000;

fn key(seed: [u8; 32]) -> BackupKey {
    BackupKey::from_seed(&seed).unwrap()
}

/// A state with these rows and a member.
pub(crate) fn state(rows: u64) -> State {
    let config = StateConfig {
        overlay_bytes_max: 64 << 20,
        undo_bytes_max: 64 << 20,
        checkpoint_entries: 1024,
    };
    let state = State::open(Arc::new(MemoryEngine::new()), config).unwrap();
    let member = v1::Member {
        node_id: 1,
        name: "n1".into(),
        cluster_addr: "n1:8201".into(),
        ..v1::Member::default()
    };
    let voters = v1::VoterSet { node_ids: vec![1] };
    let membership = v1::Membership { configs: vec![voters], members: vec![member] };
    apply(&state, 1, v1::entry::Payload::Membership(membership));
    for index in 2..2 + rows {
        let segments = vec![Bytes::from(format!("row {index}"))];
        let write = v1::Write {
            key: Some(v1::Key { segments, flat: false }),
            value: Some(vec![index as u8; 2000].into()),
        };
        let command =
            v1::Command { writes: vec![write], stamped_ms: NOW_MS, ..v1::Command::default() };
        let command = command.encode_to_vec().into();
        apply(&state, index, v1::entry::Payload::Command(command));
    }
    state
}

fn apply(state: &State, index: u64, payload: v1::entry::Payload) {
    let id = v1::LogId { term: 3, leader_id: 1, index };
    state.apply(&v1::Entry { id: Some(id), payload: Some(payload) }).unwrap();
}

pub(crate) fn save(state: &State, seed: [u8; 32]) -> Vec<u8> {
    let about =
        About { cluster_id: CLUSTER, cluster_name: "test".into(), keyring_term: 4, now_ms: NOW_MS };
    let dir = SpoolDir::temporary().unwrap();
    let path = dir.path().to_owned();
    let mut writer = BackupWriter::begin(state, about, key(seed), dir).unwrap();
    let mut whole = Vec::new();
    while let Some(piece) = writer.next_piece().unwrap() {
        whole.extend_from_slice(&piece);
    }
    drop(writer);
    assert!(!path.exists(), "a backup leaves nothing behind");
    whole
}

pub(crate) fn check(backup: &[u8]) -> Result<Verified, BackupError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(backup).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let dir = SpoolDir::temporary().unwrap();
    let path = dir.path().to_owned();
    let checked = verify(file, dir);
    assert_eq!(checked.is_ok(), path.exists(), "what is refused leaves nothing behind");
    checked
}

/// Why it was refused.
fn refused(backup: &[u8]) -> String {
    check(backup).err().expect("it must be refused").to_string()
}

/// The members of a backup, by name.
fn members(backup: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut GzDecoder::new(backup), &mut tar).unwrap();
    let mut members = Vec::new();
    let mut at = 0;
    while tar[at] != 0 {
        let name = tar[at..at + 100].split(|byte| *byte == 0).next().unwrap();
        let size = std::str::from_utf8(&tar[at + 124..at + 135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        let content = tar[at + 512..at + 512 + size].to_vec();
        members.push((String::from_utf8(name.to_vec()).unwrap(), content));
        at += 512 + size + padding(size as u64);
    }
    assert_eq!(tar.len() - at, END_BYTES);
    members
}

/// An archive of any members.
fn tar(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, content) in members {
        tar.extend_from_slice(&header(name, content.len() as u64, NOW_MS / 1000));
        tar.extend_from_slice(content);
        tar.extend_from_slice(&vec![0; padding(content.len() as u64)]);
    }
    tar.extend_from_slice(&[0; END_BYTES]);
    tar
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Sums and signature that fit the first two members, by this key.
fn resign(members: &mut [(String, Vec<u8>)], seed: [u8; 32]) {
    let sums = sums(&members[0].1, digest(&SHA256, &members[1].1).as_ref());
    members[3].1 = key(seed).seal(&sums);
    members[2].1 = sums;
}

#[test]
fn what_is_saved_comes_back() {
    let state = state(300);
    let backup = save(&state, SEED);
    let mut verified = check(&backup).unwrap();
    assert_eq!(verified.signed_by, key(SEED).public());
    let manifest = &verified.manifest;
    assert_eq!((manifest.index, manifest.term, manifest.epoch), (301, 3, 1));
    assert_eq!(manifest.cluster_id, hex::encode(CLUSTER));
    assert_eq!((manifest.keyring_term, manifest.created.as_str()), (4, "2026-11-25T00:00:00Z"));
    let expected = Peer { id: 1, name: "n1".into(), cluster_addr: "n1:8201".into() };
    assert_eq!(manifest.members, [expected]);
    assert_eq!(manifest.state_hash, hex::encode(state.applied().state_hash.0));
    let mut records = 0;
    while let Some(chunk) = verified.state.next_chunk().unwrap() {
        records += chunk.records.len() as u64;
    }
    assert_eq!(records, verified.manifest.record_count);
    // Compression is no part of what was signed.
    assert!(check(&gzip(&tar(&members(&backup)))).is_ok());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&backup).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    assert_eq!(inspect(file).unwrap(), verified.manifest);
}

/// Where the archive's own tool reads it, an operator can look inside without ours.
#[test]
fn other_tools_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("b.tar.gz");
    std::fs::write(&file, save(&state(3), SEED)).unwrap();
    let run = |line: &str| {
        let shell = std::process::Command::new("sh")
            .args(["-c", line])
            .current_dir(directory.path())
            .output()
            .unwrap();
        (shell.status.success(), String::from_utf8(shell.stdout).unwrap())
    };
    let (done, names) = run("tar tzf b.tar.gz && tar xzf b.tar.gz && sha256sum -c SHA256SUMS");
    assert!(done, "{names}");
    let expected =
        "meta.json\nstate.bin\nSHA256SUMS\nSHA256SUMS.sealed\nmeta.json: OK\nstate.bin: OK\n";
    assert_eq!(names, expected);
}

#[test]
fn golden_layouts() {
    let backup = members(&save(&state(3), SEED));
    let mut text = String::new();
    for name in [META, STATE, SUMS, SEALED] {
        text += &format!("header {name}: {}\n", hex::encode(header(name, 5, 9)));
    }
    text += &format!("large: {}\n", hex::encode(&header(STATE, 1 << 40, 9)[124..136]));
    text += &String::from_utf8(backup[0].1.clone()).unwrap();
    let sums = sums(b"meta", &[1; 32]);
    text += &String::from_utf8(sums.clone()).unwrap();
    text += &String::from_utf8(key(SEED).seal(&sums)).unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backup/golden.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let golden = std::fs::read_to_string(file).unwrap_or_default();
    assert!(golden == text, "backups made before could not be read any more. Now:\n{text}");
}

/// A flipped bit is refused, or lies where it changes nothing of what was signed (in gzip's own
/// header, in the bits that fill a byte).
#[test]
fn a_flipped_bit_changes_nothing_that_is_believed() {
    let backup = save(&state(20), SEED);
    let original = check(&backup).unwrap().manifest;
    let (mut tried, mut harmless) = (0, 0);
    for at in (0..backup.len()).step_by(61).chain(0..64).chain(backup.len() - 64..backup.len()) {
        let mut flipped = backup.clone();
        flipped[at] ^= 1 << (at % 8);
        tried += 1;
        match check(&flipped) {
            Ok(verified) => {
                harmless += 1;
                assert_eq!(verified.manifest, original, "byte {at}");
                assert_eq!(members(&flipped), members(&backup), "byte {at}");
            }
            Err(error) => assert!(error.to_string().contains(';'), "{error}"),
        }
    }
    assert!(tried > 500 && harmless < 20, "{harmless} of {tried}");
}

#[test]
fn a_cut_file_is_refused() {
    let backup = save(&state(20), SEED);
    for length in (0..backup.len()).step_by(997).chain(backup.len() - 20..backup.len()) {
        refused(&backup[..length]);
    }
    let tar = tar(&members(&backup));
    for length in (0..tar.len()).step_by(512) {
        refused(&gzip(&tar[..length]));
    }
}

#[test]
fn nothing_may_follow() {
    let backup = save(&state(5), SEED);
    for rest in [&b"\0"[..], b"x", &backup, &gzip(b""), &gzip(b"more")] {
        let text = refused(&[&backup[..], rest].concat());
        assert!(text.contains("something follows its end"), "{text}");
    }
    let tar = tar(&members(&backup));
    for rest in [&[0; 512][..], &tar] {
        let text = refused(&gzip(&[&tar[..], rest].concat()));
        assert!(text.contains("something follows its end"), "{text}");
    }
}

#[test]
fn spliced_and_reordered_members_are_refused() {
    let (one, two) = (members(&save(&state(20), SEED)), members(&save(&state(21), SEED)));
    assert!(check(&gzip(&tar(&one))).is_ok());
    for mask in 1..15_u32 {
        let pick =
            |at: usize| if mask & (1 << at) == 0 { one[at].clone() } else { two[at].clone() };
        let mixed: Vec<_> = (0..4).map(pick).collect();
        refused(&gzip(&tar(&mixed)));
    }
    for (a, b) in [(0, 1), (1, 2), (2, 3), (0, 3)] {
        let mut reordered = one.clone();
        reordered.swap(a, b);
        refused(&gzip(&tar(&reordered)));
    }
    for at in 0..4 {
        let mut missing = one.clone();
        missing.remove(at);
        refused(&gzip(&tar(&missing)));
        let mut twice = one.clone();
        twice.insert(at, one[at].clone());
        refused(&gzip(&tar(&twice)));
        let mut renamed = one.clone();
        renamed[at].0 = format!("./{}", renamed[at].0);
        refused(&gzip(&tar(&renamed)));
        let mut extra = one.clone();
        extra.insert(at, ("more".into(), b"x".to_vec()));
        refused(&gzip(&tar(&extra)));
    }
}

/// Another reading of a header that says the same to a lenient reader: a link, an owner, a mode.
#[test]
fn a_header_has_one_spelling() {
    let plain = tar(&members(&save(&state(3), SEED)));
    for (at, byte) in [(156, b'1'), (156, 0), (108, b'7'), (103, b'7'), (157, b'x'), (345, b'a')] {
        let mut other = plain.clone();
        other[at] = byte;
        other[148..156].copy_from_slice(b"        ");
        let sum: u32 = other[..512].iter().map(|byte| u32::from(*byte)).sum();
        other[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let text = refused(&gzip(&other));
        assert!(text.contains("meta.json does not stand where it should"), "{text}");
    }
}

#[test]
fn who_signs_must_be_known() {
    let backup = save(&state(5), [8; 32]);
    let verified = check(&backup).unwrap();
    verified.check_signer(None).unwrap();
    verified.check_signer(Some(key([8; 32]).public())).unwrap();
    let text = verified.check_signer(Some(key(SEED).public())).unwrap_err().to_string();
    assert!(text.contains("of another cluster, or a forgery"), "{text}");
    // A forger who signs anew cannot keep the key's name.
    let mut forged = members(&save(&state(5), SEED));
    resign(&mut forged, [8; 32]);
    let text = refused(&gzip(&tar(&forged)));
    assert!(text.contains("names another key"), "{text}");
    for sealed in [&b""[..], b"conclave-backup-1 x y\n", b"conclave-backup-2 00 00\n"] {
        forged[3].1 = sealed.to_vec();
        refused(&gzip(&tar(&forged)));
    }
}

/// Sums and signature are right: the cluster's own key signed a state that is none.
#[test]
fn a_state_is_checked_even_where_its_signature_is_right() {
    let whole = members(&save(&state(20), SEED));
    let other = members(&save(&state(21), SEED));
    let mut wrong = whole.clone();
    wrong[1].1 = other[1].1.clone();
    resign(&mut wrong, SEED);
    let text = refused(&gzip(&tar(&wrong)));
    assert!(text.contains("another length") || text.contains("another state"), "{text}");
    let mut wrong = whole;
    let middle = wrong[1].1.len() / 2;
    wrong[1].1[middle] ^= 1;
    resign(&mut wrong, SEED);
    let text = refused(&gzip(&tar(&wrong)));
    assert!(text.starts_with("its state is damaged"), "{text}");
}

#[test]
fn a_bomb_does_not_go_off() {
    let whole = members(&save(&state(3), SEED));
    let mut bomb = whole.clone();
    bomb[0].1 = vec![b' '; 1 << 20];
    let text = refused(&gzip(&tar(&bomb)));
    assert!(text.contains("meta.json claims 1048576 bytes"), "{text}");
    let mut bomb = whole;
    bomb[1].1 = vec![0; 64 << 20];
    let text = refused(&gzip(&tar(&bomb)));
    assert!(text.contains("state.bin claims 67108864 bytes"), "{text}");
}

#[test]
fn the_spool_forgets_what_a_crash_left() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path()).unwrap();
    let room = spool.make_dir().unwrap();
    File::create(room.path().join("half")).unwrap();
    std::mem::forget(room);
    assert!(directory.path().join("backup").read_dir().unwrap().next().is_some());
    Spool::open(directory.path()).unwrap();
    assert!(!directory.path().join("backup").exists());
}
