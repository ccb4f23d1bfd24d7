use super::*;

fn run(seed: u64, keep_lines: bool) -> Outcome {
    Run { seed, plant: None, keep_lines }.run()
}

#[test]
fn the_same_seed_is_the_same_run() {
    let (first, second) = (run(7, true), run(7, true));
    let differs = first.lines.iter().zip(&second.lines).position(|(one, two)| one != two);
    assert_eq!(differs, None, "the first line that differs");
    assert_eq!(first, second);
    assert_eq!(run(7, false).trace_hash, first.trace_hash);
}

#[test]
fn another_seed_is_another_run() {
    assert_ne!(run(1, false).trace_hash, run(2, false).trace_hash);
}

#[test]
fn a_run_without_a_bug_violates_nothing_and_does_much() {
    let outcome = run(3, false);
    assert_eq!(outcome.violation, None);
    assert!(outcome.coverage.writes > 20, "{}", outcome.coverage);
    assert!(outcome.coverage.reads > 20, "{}", outcome.coverage);
}

#[test]
fn what_was_found_is_found_again() {
    let run = Run { seed: 1, plant: Some(Plant::StaleFollowerRead), keep_lines: true };
    let (first, second) = (run.run(), run.run());
    assert!(first.violation.is_some());
    assert_eq!(first, second);
}
