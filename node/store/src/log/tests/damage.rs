//! Damaged files: the log refuses or is right, and never panics.

use super::*;
use crate::disk::DamageKind;

/// Paths and bytes.
type Files = Vec<(String, Vec<u8>)>;

/// What a log holds.
type Held = (LogState, Option<Vote>, Vec<Entry>);

/// Several segments, purged and truncated, everything acknowledged.
fn rich() -> Rig {
    rich_at_each_step(&mut |_| {})
}

/// Each step is a batch of one record.
fn rich_at_each_step(step: &mut dyn FnMut(&Rig)) -> Rig {
    let mut rig = Rig::new();
    let mut end = |rig: &mut Rig| {
        while rig.writer.drain() {}
        step(rig);
    };
    rig.log.save_vote(vote(3), ignore());
    end(&mut rig);
    for at in 0..16 {
        rig.append(1, at..at + 1, 700);
        end(&mut rig);
    }
    rig.log.truncate_after(Some(id(1, 12)), ignore());
    end(&mut rig);
    for at in 13..16 {
        rig.append(2, at..at + 1, 50);
        end(&mut rig);
    }
    rig.log.purge(id(1, 2), ignore());
    end(&mut rig);
    rig.log.save_vote(vote(4), ignore());
    end(&mut rig);
    rig.append(4, 16..17, 50);
    end(&mut rig);
    rig
}

/// The files and the content after each step.
fn moments() -> Vec<(Files, Held)> {
    let mut moments = Vec::new();
    rich_at_each_step(&mut |rig| moments.push((rig.disk.contents(), content(&rig.log))));
    moments
}

fn content(log: &Log) -> Held {
    let first = log.state().purged.map_or(0, |purged| purged.index + 1);
    (log.state(), log.vote(), log.read(first..u64::MAX, usize::MAX).unwrap())
}

fn copy_of(files: &[(String, Vec<u8>)]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir(DIRECTORY).unwrap();
    for (path, bytes) in files {
        disk.open(path, Open::New).unwrap().write_at(0, bytes).unwrap();
    }
    disk
}

/// Opens a damaged copy in the same and in another boot. Refused, or all that was acknowledged.
fn check(files: &[(String, Vec<u8>)], what: &str) -> usize {
    let expected = content(&rich_log());
    let mut refused = 0;
    for boot in [1, 2] {
        match open(&copy_of(files), boot) {
            Ok((log, _writer)) => assert_eq!(content(&log), expected, "{what}"),
            Err(LogError::Damaged { file, what }) => {
                assert!(
                    files.iter().any(|(path, _)| *path == file) || file == mark::PATH,
                    "{file}"
                );
                assert!(what.contains("join it again") || what.contains("start the"), "{what}");
                refused += 1;
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
    refused
}

fn rich_log() -> Log {
    static LOG: std::sync::OnceLock<Log> = std::sync::OnceLock::new();
    LOG.get_or_init(|| rich().log).clone()
}

#[test]
fn a_flipped_byte_is_refused_or_harmless() {
    let files = rich().disk.contents();
    assert!(files.len() >= 4, "{} files", files.len());
    let mut refused = 0;
    for (number, (path, bytes)) in files.iter().enumerate() {
        for (offset, byte) in bytes.iter().enumerate() {
            // Zeros to the right of the last batch matter too, but not each of them.
            if *byte == 0 && offset % 16 != 0 {
                continue;
            }
            for flip in [0x01, 0xff] {
                let mut damaged = files.clone();
                damaged[number].1[offset] ^= flip;
                refused += check(&damaged, &format!("{path} at {offset}"));
            }
        }
    }
    assert!(refused > 10_000, "{refused} refused");
}

#[test]
fn a_cut_or_missing_file_is_refused_or_harmless() {
    let files = rich().disk.contents();
    for number in 0..files.len() {
        for length in (0..files[number].1.len()).step_by(37) {
            let mut damaged = files.clone();
            damaged[number].1.truncate(length);
            check(&damaged, &format!("{} cut at {length}", files[number].0));
        }
        let mut missing = files.clone();
        let (path, _) = missing.remove(number);
        if path != "log/next" {
            assert_eq!(check(&missing, &format!("{path} is missing")), 2, "{path}");
        }
    }
}

#[test]
fn a_zeroed_page_is_refused_or_harmless() {
    let files = rich().disk.contents();
    let mut refused = 0;
    for (number, (path, bytes)) in files.iter().enumerate() {
        for size in [64, 512, 4_096] {
            for from in (0..bytes.len()).step_by(size) {
                let mut damaged = files.clone();
                let end = bytes.len().min(from + size);
                damaged[number].1[from..end].fill(0);
                refused += check(&damaged, &format!("{path}: {from} to {end} are zero"));
            }
        }
    }
    assert!(refused > 200, "{refused} refused");
}

#[test]
fn swapped_files_are_refused_or_harmless() {
    let files = rich().disk.contents();
    for left in 0..files.len() {
        for right in left + 1..files.len() {
            let mut damaged = files.clone();
            damaged[left].1.clone_from(&files[right].1);
            damaged[right].1.clone_from(&files[left].1);
            let what = format!("{} and {} are swapped", files[left].0, files[right].0);
            assert_eq!(check(&damaged, &what), 2, "{what}");
        }
    }
}

/// Two damages at once, drawn by seed. Where one of them sets the mark back, the other may leave a
/// whole older log, as a power cut leaves one: that is what only peers can notice.
#[test]
fn several_damages_are_refused_or_harmless_or_leave_a_whole_older_log() {
    let moments = moments();
    let (now, held_now) = moments.last().unwrap();
    let (mut refused, mut older, mut done) = (0, 0, [0; DamageKind::ALL.len()]);
    for seed in 0..1_500_u64 {
        let mut state = seed;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed | 1);
            state >> 24
        };
        let disk = copy_of(now);
        let then = &moments[(random() % moments.len() as u64) as usize].0;
        let mut damages = Vec::new();
        for _ in 0..2 {
            let place = (random() % DamageKind::ALL.len() as u64) as usize;
            if let Some(damage) = disk.damage(DamageKind::ALL[place], "log/", then, &mut random) {
                done[place] += 1;
                damages.push(damage.what);
            }
        }
        for boot in [1, 2] {
            match open(&copy_of(&disk.contents()), boot) {
                Err(LogError::Damaged { .. }) => refused += 1,
                Err(error) => panic!("seed {seed}, {damages:?}: {error}"),
                Ok((log, _writer)) if content(&log) == *held_now => {}
                Ok((log, _writer)) => {
                    let found = content(&log);
                    let whole = moments.iter().any(|(_, held)| *held == found);
                    let mark_too = damages.iter().any(|what| what.contains(mark::PATH));
                    assert!(whole && mark_too, "seed {seed}, {damages:?}: {:?}", found.0);
                    older += 1;
                }
            }
        }
    }
    let all_done = done.iter().all(|done| *done > 50);
    assert!(refused > 1_500 && older < 100 && all_done, "{refused} {older} {done:?}");
}

/// All subsets of files put back to what they were at earlier moments, with and without the files
/// that came later. Whatever opens is a whole log of now or of an earlier moment, never a mix; and
/// an earlier one only where the mark was put back too. A mark and segments of one moment are a
/// valid older log: that is what only peers can notice, by what they saw of this node.
#[test]
fn older_copies_are_refused_or_harmless_or_a_whole_older_log() {
    let moments = moments();
    let (now, held_now) = moments.last().unwrap();
    let (mut refused, mut as_now, mut as_then) = (0, 0, 0);
    for (then, _) in moments.iter().rev().skip(1) {
        for subset in 1..1_u32 << then.len() {
            let put_back: BTreeMap<_, _> = then
                .iter()
                .zip(0..)
                .filter(|(_, at)| subset >> at & 1 == 1)
                .map(|(file, _)| file.clone())
                .collect();
            for later_stay in [true, false] {
                let mut files: BTreeMap<_, _> = now.iter().cloned().collect();
                if !later_stay {
                    files.retain(|path, _| then.iter().any(|(old, _)| old == path));
                }
                files.extend(put_back.clone());
                match open(&copy_of(&files.into_iter().collect::<Vec<_>>()), 2) {
                    Err(LogError::Damaged { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                    Ok((log, _writer)) if content(&log) == *held_now => as_now += 1,
                    Ok((log, _writer)) => {
                        let found = content(&log);
                        assert!(moments.iter().any(|(_, held)| *held == found), "{:?}", found.0);
                        assert!(put_back.contains_key(mark::PATH), "an older log, the mark of now");
                        as_then += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 150 && as_now > 150 && as_then > 100, "{refused} {as_now} {as_then}");
}

#[test]
fn a_newer_segment_or_mark_stops_this_program_and_says_so() {
    let rig = rich();
    let path = format!("{DIRECTORY}/{}", rig.segments()[0]);
    let mut bytes = read_all(&rig.disk, &path).unwrap().unwrap();
    bytes[8] = 2;
    segment::renew_checksum(&mut bytes);
    let disk = copy_of(&rig.disk.contents());
    disk.replace(&path, &bytes).unwrap();
    let text = open(&disk, 1).err().unwrap().to_string();
    assert!(text.starts_with(&format!("{path} is damaged: it has format 2")), "{text}");
    assert!(text.contains("start the program that wrote it"), "{text}");

    let disk = copy_of(&rig.disk.contents());
    mark::write_format(&disk, 2);
    let text = open(&disk, 1).err().unwrap().to_string();
    assert!(text.contains("log/mark is damaged: it has format 2"), "{text}");
    assert!(text.contains("start the newer program"), "{text}");
}

/// Two acknowledged batches and the mark as it was after the first.
fn two_batches() -> (Vec<(String, Vec<u8>)>, String, usize, usize) {
    let mut rig = Rig::new();
    rig.append(1, 0..2, 40);
    let old_mark = read_all(&rig.disk, mark::PATH).unwrap().unwrap();
    rig.append(1, 2..4, 40);
    rig.append(1, 4..6, 40);
    let path = format!("{DIRECTORY}/{}", rig.segments()[0]);
    let bytes = read_all(&rig.disk, &path).unwrap().unwrap();
    let first = ReadBatch::parse(&bytes, 1, BATCHES_AT).unwrap().end;
    let second = ReadBatch::parse(&bytes, 1, first).unwrap().end;
    let mut files = rig.disk.contents();
    for (path, bytes) in &mut files {
        if path == mark::PATH {
            bytes.clone_from(&old_mark);
        }
    }
    (files, path, first, second)
}

fn flipped(files: &[(String, Vec<u8>)], path: &str, offset: usize) -> MemoryDisk {
    let mut files = files.to_vec();
    let file = files.iter_mut().find(|(name, _)| name == path).unwrap();
    file.1[offset] ^= 0x40;
    copy_of(&files)
}

#[test]
fn a_torn_tail_is_dropped_after_another_boot_only() {
    let (files, path, _, second) = two_batches();
    let torn = flipped(&files, &path, second + 30);
    let (log, writer) = open(&torn, 2).unwrap();
    assert_eq!(log.state().last, Some(id(1, 3)));
    drop((log, writer));
    // What was dropped is zeroed, so what comes next stands alone.
    let mut rig = Rig::on(torn, 2);
    rig.append(2, 4..5, 1);
    assert_eq!(rig.restart().indexes(), [0, 1, 2, 3, 4]);

    let error = open(&flipped(&files, &path, second + 30), 1).err().unwrap();
    assert!(error.to_string().contains("the machine was not restarted since"), "{error}");
}

#[test]
fn a_torn_tail_right_behind_the_mark_is_dropped_in_the_same_boot() {
    let mut rig = Rig::new();
    rig.append(1, 0..2, 40);
    rig.disk.fail_syncs(true);
    rig.append(1, 2..4, 40);
    rig.disk.fail_syncs(false);
    let path = format!("{DIRECTORY}/{}", rig.segments()[0]);
    let bytes = read_all(&rig.disk, &path).unwrap().unwrap();
    let end = ReadBatch::parse(&bytes, 1, BATCHES_AT).unwrap().end;
    let torn = flipped(&rig.disk.contents(), &path, end + 30);
    assert_eq!(open(&torn, 1).unwrap().0.state().last, Some(id(1, 1)));
}

#[test]
fn an_invalid_batch_before_a_valid_one_is_damage_in_any_boot() {
    let (files, path, first, _) = two_batches();
    for offset in [first, first + 5, first + 30] {
        for boot in [1, 2] {
            let error = open(&flipped(&files, &path, offset), boot).err().unwrap();
            let text = error.to_string();
            assert!(text.starts_with(&format!("{path} is damaged")), "{text}");
            assert!(text.contains("batch 3 is valid and the one after batch 1 is not"), "{text}");
        }
    }
}

#[test]
fn a_log_behind_its_mark_is_damage_in_any_boot() {
    let mut rig = Rig::new();
    rig.append(1, 0..2, 40);
    let old = rig.disk.contents();
    rig.log.save_vote(vote(7), ignore());
    rig.writer.drain();
    let mut files = rig.disk.contents();
    for (path, bytes) in &mut files {
        if path != mark::PATH {
            bytes.clone_from(&old.iter().find(|(name, _)| name == path).unwrap().1);
        }
    }
    for boot in [1, 2] {
        let text = open(&copy_of(&files), boot).err().unwrap().to_string();
        assert!(text.contains("batch 2 was acknowledged"), "{text}");
    }
}

/// Found by the simulation (seeds 493 and 798): a power cut sets the mark back, and the segment that
/// held what was acknowledged is gone; what is left looks like a whole log that ends earlier.
#[test]
fn the_newest_segment_is_missed_although_a_power_cut_set_the_mark_back() {
    for boot in [1, 2] {
        let mut rig = Rig::new();
        let mut next = 0;
        while rig.segments().len() < 3 {
            rig.append(1, next..next + 1, 700);
            next += 1;
        }
        rig.disk.power_cut(|| 0);
        let newest = format!("{DIRECTORY}/{}", rig.segments()[2]);
        rig.disk.remove(&newest).unwrap();
        let text = open(&rig.disk, boot).err().expect("a segment is missing").to_string();
        assert!(text.contains("segment 3 began after it, and is missing"), "{text}");
    }
}

#[test]
fn a_record_of_a_later_version_stops_this_one() {
    let rig = Rig::new();
    let path = format!("{DIRECTORY}/{}", rig.segments()[0]);
    drop(rig.writer);
    let mut bytes = read_all(&rig.disk, &path).unwrap().unwrap();
    let mut batch = format::Batch::begin(1, BATCHES_AT as u64);
    batch.put(format::Kind::Vote, &vote(1));
    let batch = batch.finish(1);
    bytes[BATCHES_AT..BATCHES_AT + batch.len()].copy_from_slice(batch);
    // Another kind, with its checksum made right.
    let record = BATCHES_AT + format::BATCH_HEADER_BYTES;
    bytes[record + 8] = 200;
    let end = record + format::RECORD_HEADER_BYTES + prost::Message::encoded_len(&vote(1));
    let parts = [&bytes[record..record + 4], &bytes[record + 8..end]];
    let checksum = format::checksum(1, record as u64, &parts);
    bytes[record + 4..record + 8].copy_from_slice(&checksum.to_le_bytes());
    rig.disk.open(&path, Open::Existing).unwrap().write_at(0, &bytes).unwrap();
    let text = open(&rig.disk, 1).err().unwrap().to_string();
    assert!(text.contains("kind 200") && text.contains("start the newer program"), "{text}");
}
