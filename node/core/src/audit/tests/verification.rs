use proptest::prelude::*;

use super::*;

/// A log of this many requests, and its head.
fn log(requests: usize) -> (Vec<String>, Head) {
    let (world, sink) = (Arc::new(World::default()), MemorySink::default());
    let audit = audit(&world, &sink, options("file/"));
    for number in 0..requests {
        world.run(audit.request(&record(&number.to_string()))).unwrap();
    }
    let head = audit.devices().next().unwrap().head();
    (sink.text().lines().map(|line| format!("{line}\n")).collect(), head)
}

fn report(lines: &[String], anchors: Vec<Head>) -> Report {
    let expectation = Expectation { anchors, from_start: true, ..Expectation::default() };
    verify(&mut lines.concat().as_bytes(), expectation).unwrap()
}

fn fault(lines: &[String], head: Head) -> (u64, FaultKind) {
    let fault = report(lines, vec![head]).fault.expect("there is one");
    (fault.line, fault.kind)
}

#[test]
fn a_log_that_nobody_touched_is_whole() {
    let (lines, head) = log(5);
    let whole = Report { lines: 6, begins: 1, head: Some(head), ..Report::default() };
    assert_eq!(report(&lines, vec![head]), whole);
    let anchor =
        Head { seq: 2, hash: chain::Link::of(lines[1].trim_end().as_bytes()).unwrap().head.hash };
    let partly = Report { unanchored_from: Some(3), ..whole.clone() };
    assert_eq!(report(&lines, vec![anchor]), partly);
    assert_eq!(report(&lines, vec![]).unanchored_from, Some(1));
    assert_eq!(report(&[], vec![]), Report::default());
    let later = verify(
        &mut lines[2..].concat().as_bytes(),
        Expectation { anchors: vec![anchor], ..Expectation::default() },
    );
    assert_eq!(later.unwrap(), Report { lines: 4, begins: 3, ..partly });
}

#[test]
fn each_change_has_its_name() {
    let (lines, head) = log(5);
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        fault(&lines, head)
    };
    assert_eq!(
        changed(&|lines| lines[2] = lines[2].replace("secret", "public")),
        (3, FaultKind::Edited)
    );
    assert_eq!(changed(&|lines| lines[5] = "x\n".into()), (6, FaultKind::Edited));
    assert_eq!(changed(&|lines| lines.insert(3, "\n".into())), (4, FaultKind::Edited));
    assert_eq!(changed(&|lines| drop(lines.remove(2))), (3, FaultKind::Missing { from: 3, to: 3 }));
    assert_eq!(
        changed(&|lines| drop(lines.drain(0..2))),
        (1, FaultKind::Missing { from: 1, to: 2 })
    );
    assert_eq!(changed(&|lines| lines.truncate(4)), (5, FaultKind::Missing { from: 5, to: 6 }));
    assert_eq!(changed(&|lines| lines.swap(2, 3)), (3, FaultKind::Reordered { seq: 3 }));
    assert_eq!(
        changed(&|lines| lines.insert(4, lines[1].clone())),
        (5, FaultKind::Duplicated { seq: 2 })
    );
    assert_eq!(changed(&|lines| lines.clear()), (1, FaultKind::Missing { from: 1, to: 6 }));
}

/// Somebody who knows the formula writes lines anew.
#[test]
fn a_log_that_was_written_anew_shows_against_its_anchor() {
    let (mut lines, head) = log(5);
    let (other, _) = {
        let (world, sink) = (Arc::new(World::default()), MemorySink::default());
        let audit = audit(&world, &sink, options("file/"));
        for number in ["0", "other", "2", "3", "4"] {
            world.run(audit.request(&record(number))).unwrap();
        }
        (sink.text().lines().map(|line| format!("{line}\n")).collect::<Vec<_>>(), ())
    };
    assert_eq!(report(&other, vec![]).fault, None, "the chain alone cannot tell");
    assert_eq!(fault(&other, head), (6, FaultKind::Rewritten { seq: 6 }));
    lines[2] = other[2].clone();
    assert_eq!(fault(&lines, head), (3, FaultKind::Replaced { seq: 3 }));
    let expectation =
        Expectation { anchors: vec![Head { seq: 2, hash: [1; 32] }], ..Expectation::default() };
    let report = verify(&mut lines[2..].concat().as_bytes(), expectation).unwrap();
    assert_eq!(report.fault.unwrap().kind, FaultKind::Rewritten { seq: 2 });
}

#[test]
fn a_line_of_any_length_is_read_with_bounded_memory() {
    let (mut lines, _) = log(1);
    lines.insert(1, "x".repeat(3 * LINE_BYTES_MAX));
    assert_eq!(report(&lines, vec![]).fault.unwrap().kind, FaultKind::Edited);
}

proptest! {
    #[test]
    fn any_change_of_one_line_is_found(
        at in 0_usize..8,
        byte in 0_usize..2000,
        mask in 1_u8..=255,
        change in 0..4,
    ) {
        let (mut lines, head) = log(7);
        let at = at % lines.len();
        match change {
            0 => {
                let mut bytes = lines[at].clone().into_bytes();
                let byte = byte % (bytes.len() - 1);
                bytes[byte] ^= mask;
                let mut all: Vec<u8> = lines[..at].concat().into();
                all.extend_from_slice(&bytes);
                all.extend_from_slice(lines[at + 1..].concat().as_bytes());
                let expectation = Expectation { anchors: vec![head], from_start: true, ..Expectation::default() };
                let report = verify(&mut all.as_slice(), expectation).unwrap();
                let fault = report.fault.expect("an edit is found");
                prop_assert_eq!(fault.line, at as u64 + 1);
                prop_assert_eq!(report.lines, at as u64);
                return Ok(());
            }
            1 => drop(lines.remove(at)),
            2 => {
                let other = (at + 1 + byte % 7) % lines.len();
                lines.swap(at, other);
                prop_assume!(at != other);
            }
            _ => {
                let line = lines[at].clone();
                lines.insert((at + 1 + byte) % (lines.len() + 1), line);
            }
        }
        prop_assert!(report(&lines, vec![head]).fault.is_some());
    }
}
