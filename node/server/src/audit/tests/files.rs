use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use tokio::signal::unix::{SignalKind, signal};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_record_is_in_the_file_before_its_request_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let audit = audit_of(&file_config(&path)).await;
    for id in ["1", "2"] {
        audit.request(&record(id)).await.unwrap();
        assert_eq!(ids(&read(&path)).last().unwrap(), id);
    }
    assert_eq!(mode(&path), 0o600);
    assert!(!read(&path).contains("canary"));
    let device = audit.devices().next().unwrap();
    for _ in 0..100 {
        if device.durable_head() == device.head() {
            return;
        }
        pause(Duration::from_millis(20)).await;
    }
    panic!("it was not made durable");
}

#[tokio::test]
async fn the_mode_is_what_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    for (option, expected) in [("0640", 0o640), ("0", 0o640), ("0600", 0o600)] {
        let options = json!({"file_path": path, "mode": option});
        let audit = audit_of(&config(json!({"type": "file", "options": options}))).await;
        assert_eq!(mode(&path), expected);
        audit.devices().next().unwrap().close().await;
    }
}

#[tokio::test]
async fn a_log_goes_on_after_a_restart_and_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    for (id, torn) in [("1", ""), ("2", "{\"time\":\"2026"), ("3", "\0\0\0\n\0"), ("4", "")] {
        let audit = audit_of(&file_config(&path)).await;
        audit.request(&record(id)).await.unwrap();
        audit.devices().next().unwrap().close().await;
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(torn.as_bytes()).unwrap();
    }
    let report = verified(&[&path]);
    assert_eq!((report.fault, report.torn, report.lines), (None, 2, 8));
    for torn in ["{\"time\":\"2026\n", "\0\0\0\n\0\n"] {
        assert!(read(&path).contains(torn), "what was torn is kept");
    }
}

#[tokio::test]
async fn rotation_at_sighup_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let mut hangup = signal(SignalKind::hangup()).unwrap();
    let audit = audit_of(&file_config(&path)).await;
    let mut files = Vec::new();
    for round in 0..4 {
        let many: Vec<_> = (0..50).map(|number| format!("{round}-{number}")).collect();
        let records: Vec<_> = many.iter().map(|id| record(id)).collect();
        let requests = futures::future::join_all(records.iter().map(|one| audit.request(one)));
        let rotate = async {
            let moved = directory.path().join(format!("audit.log.{round}"));
            fs::rename(&path, &moved).unwrap();
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP)
                .unwrap();
            hangup.recv().await.unwrap();
            assert!(audit.reopen().await[0].1.is_ok());
            moved
        };
        let (outcomes, moved) = futures::future::join(requests, rotate).await;
        assert!(outcomes.iter().all(Result::is_ok));
        files.push(moved);
    }
    audit.devices().next().unwrap().close().await;
    files.push(path);
    let paths: Vec<_> = files.iter().map(|path| path.as_path()).collect();
    let report = verified(&paths);
    assert_eq!((report.fault, report.lines), (None, 4 * 50 + 5));
    let all: String = paths.iter().map(|path| read(path)).collect();
    assert_eq!(ids(&all).len(), 200);
    assert!(mode(paths[4]) == 0o600);
}

#[tokio::test]
async fn row_075_only_a_plain_file_of_ours_is_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    for path in [at("link"), at("folder"), at("pipe"), "/dev/null".into(), at("no/such")] {
        let place = Place { config: file_config(&path), from_api: None };
        let outcome = place.open().await;
        let error = outcome.err().expect("it is refused").to_string();
        assert!(error.contains("cannot be used"), "{error}");
    }
    assert!(!at("target").exists());
}

/// Clients' suites give all nodes of a machine one file, which may be left from another server.
#[tokio::test]
async fn what_others_wrote_is_no_reason_to_refuse() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    fs::write(&path, "x\n".repeat(10 << 20)).unwrap();
    let audits = [audit_of(&file_config(&path)).await, audit_of(&file_config(&path)).await];
    for (id, audit) in ["1", "2", "3"].into_iter().zip(audits.iter().cycle()) {
        audit.request(&record(id)).await.unwrap();
    }
    for audit in &audits {
        audit.devices().next().unwrap().close().await;
    }
    let text = read(&path).split_off(20 << 20);
    assert_eq!(ids(&text), ["1", "2", "3"], "nothing is lost, and nothing of the others");
    assert!(verified(&[&path]).fault.is_some(), "verifying says that it is no log of ours alone");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_anew_leaves_the_old_one_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("audit.log"), directory.path().join("moved"));
    let audit = audit_of(&file_config(&path)).await;
    fs::rename(&path, &moved).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(audit.reopen().await[0].1.is_err());
    audit.request(&record("1")).await.unwrap();
    assert_eq!(ids(&read(&moved)), ["1"]);
    assert_eq!(verified(&[&moved]).fault, None);
}

/// Starts [`on_a_small_disk`] in a mount namespace of its own.
#[test]
fn row_007_a_full_disk_blocks_and_heals_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        command.env("DISK", directory.path());
        command
    };
    let mount = "mount -t tmpfs -o size=128k none \"$DISK\"";
    if !namespace().arg(mount).status().is_ok_and(|status| status.success()) {
        eprintln!("no mount namespace here: the core's tests show a full disk in memory");
        return;
    }
    let run = format!("{mount} && exec \"$0\" --exact {INNER} --ignored --nocapture");
    let output = namespace().arg(run).arg(std::env::current_exe().unwrap()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

const INNER: &str = "audit::tests::files::on_a_small_disk";

#[tokio::test]
#[ignore = "another test starts it on a small disk of its own"]
async fn on_a_small_disk() {
    let disk = std::path::PathBuf::from(
        std::env::var_os("DISK").expect("the test that starts it sets it"),
    );
    let path = disk.join("audit.log");
    let audit = audit_of(&file_config(&path)).await;
    let filler = disk.join("filler");
    for round in 0..3 {
        let mut bytes = OpenOptions::new().create(true).append(true).open(&filler).unwrap();
        while bytes.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
        let mut taken = 0;
        while audit.request(&record("before")).await.is_ok() {
            taken += 1;
            assert!(taken < 100, "the disk is full");
        }
        for _ in 0..20 {
            assert!(audit.request(&record("refused")).await.is_err());
        }
        assert!(audit.blocked_for().is_some());
        drop(bytes);
        fs::remove_file(&filler).unwrap();
        for _ in 0..200 {
            if audit.blocked_for().is_none() {
                break;
            }
            pause(Duration::from_millis(20)).await;
        }
        audit.request(&record(&format!("after-{round}"))).await.unwrap();
    }
    let report = verified(&[&path]);
    assert_eq!((report.fault, report.torn), (None, 0));
    let ids = ids(&read(&path));
    assert_eq!(ids.iter().filter(|id| id.starts_with("after")).count(), 3);
    // A line that was begun when the space ran out is completed; the others never appear.
    assert!(ids.iter().filter(|id| *id == "refused").count() == 0);
}
