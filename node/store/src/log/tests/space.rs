//! A disk without space: the log waits, answers nothing meanwhile, and goes on.

use super::*;

fn fill(rig: &Rig) {
    rig.disk.set_space_bytes_max(Some(rig.disk.used_bytes()));
}

#[test]
fn a_full_disk_answers_nothing_and_heals() {
    let mut rig = Rig::new();
    rig.append(1, 0..2, 100);
    let answers = Answers::default();
    fill(&rig);
    // A part of it fits in the segment that is there, and is not acknowledged either.
    rig.log.append((2..9).map(|at| entry(1, at, 1_000)).collect(), note(&answers, 0));
    rig.log.save_vote(vote(3), note(&answers, 1));
    rig.log.truncate_after(Some(id(1, 7)), note(&answers, 2));
    for _ in 0..3 {
        assert!(!rig.writer.drain());
        assert!(rig.writer.waits_for_space() && !rig.writer.has_failed());
        assert!(rig.log.progress().full);
    }
    assert_eq!(rig.log.synced(), Some(id(1, 1)));
    assert_eq!(rig.indexes().len(), 8, "readable at once, as always");
    assert!(answers.lock().unwrap().is_empty());
    rig.disk.set_space_bytes_max(None);
    while rig.writer.drain() {}
    assert!(!rig.writer.waits_for_space() && !rig.log.progress().full);
    assert_eq!(*answers.lock().unwrap(), [(0, true), (1, true), (2, true)]);
    rig.disk.power_cut(|| 0);
    let rig = Rig::on(rig.disk, 2);
    assert_eq!((rig.indexes().len(), rig.log.vote()), (8, Some(vote(3))));
}

#[test]
fn a_failed_try_leaves_no_file_and_takes_no_space() {
    let mut rig = Rig::new();
    fill(&rig);
    let before = rig.disk.contents().into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    // Half a segment fits.
    rig.disk.set_space_bytes_max(Some(rig.disk.used_bytes() + SEGMENT_BYTES_MIN / 2));
    rig.log.append((0..9).map(|at| entry(1, at, 1_000)).collect(), ignore());
    assert!(!rig.writer.drain());
    let after = rig.disk.contents().into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(after, before);
}

#[test]
fn a_directory_without_space_for_a_name_is_a_full_disk_too() {
    let mut rig = Rig::new();
    rig.disk.fail_renames_for_space(true);
    let answers = Answers::default();
    rig.log.append((0..9).map(|at| entry(1, at, 1_000)).collect(), note(&answers, 0));
    assert!(!rig.writer.drain() && rig.writer.waits_for_space());
    rig.disk.fail_renames_for_space(false);
    while rig.writer.drain() {}
    assert_eq!(*answers.lock().unwrap(), [(0, true)]);
    assert_eq!(rig.restart().indexes().len(), 9);
}

#[test]
fn a_full_disk_is_opened() {
    let mut rig = Rig::new();
    rig.append(1, 0..9, 700);
    fill(&rig);
    rig.log.append((9..19).map(|at| entry(1, at, 700)).collect(), ignore());
    assert!(!rig.writer.drain());
    let answers = Answers::default();
    rig.log.save_vote(vote(1), note(&answers, 0));
    drop(rig.writer);
    assert_eq!(*answers.lock().unwrap(), [(0, false)]);
    rig.disk.crash();
    let rig = Rig::on(rig.disk, 1);
    assert!(rig.indexes().len() >= 9);
    assert_eq!(rig.log.vote(), None);
}

#[test]
fn a_failed_sync_while_space_is_missing_ends_the_log() {
    let mut rig = Rig::new();
    fill(&rig);
    let answers = Answers::default();
    rig.log.append((0..9).map(|at| entry(1, at, 1_000)).collect(), note(&answers, 0));
    assert!(!rig.writer.drain());
    rig.disk.set_space_bytes_max(None);
    rig.disk.fail_syncs(true);
    assert!(rig.writer.drain() && rig.writer.has_failed());
    assert_eq!(*answers.lock().unwrap(), [(0, false)]);
}

/// A writer with its threads on real files: it waits, heals by itself, and ends when closed.
#[test]
fn the_thread_waits_heals_and_ends() {
    for close_while_full in [false, true] {
        let place = tempfile::tempdir().unwrap();
        let real = Arc::new(RealDisk::open(place.path()).unwrap());
        let disk: Arc<dyn Disk> = real.clone();
        let config = LogConfig { segment_bytes: 64 << 10, ..config(1) };
        let (log, writer) = Log::open(Arc::clone(&disk), config.clone()).unwrap();
        let thread = std::thread::Builder::new().spawn(move || writer.run()).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let append = |index| {
            let sender = sender.clone();
            let done: Done = Box::new(move |result| sender.send(result.is_ok()).unwrap());
            log.append(vec![entry(1, index, 1_000)], done);
        };
        append(0);
        assert!(receiver.recv().unwrap());
        real.set_bytes_max(Some(1));
        (1..1_000).for_each(append);
        while !log.progress().full {
            std::thread::yield_now();
        }
        if close_while_full {
            log.close();
        } else {
            real.set_bytes_max(None);
        }
        let good = (1..1_000).filter(|_| receiver.recv().unwrap()).count();
        assert_eq!(good == 999, !close_while_full, "{good} acknowledged");
        log.close();
        thread.join().unwrap();
        let (log, _writer) = Log::open(disk, config).unwrap();
        assert!(log.state().last.unwrap().index >= good as u64);
    }
}
