use proptest::prelude::*;

use super::*;

fn readings(clocks: &[(u64, u64)]) -> Vec<Reading> {
    let reading = |(wall_ms, cluster_ms): &(u64, u64)| Reading {
        node_id: *wall_ms % 97,
        wall_ms: *wall_ms,
        cluster_ms: *cluster_ms,
        at: Duration::ZERO,
    };
    clocks.iter().map(reading).collect()
}

fn walls(clocks: &[u64]) -> Vec<Reading> {
    readings(&clocks.iter().map(|wall_ms| (*wall_ms, 0)).collect::<Vec<_>>())
}

#[test]
fn a_single_voter_has_its_own_clock() {
    assert_eq!(agree(&walls(&[123_456]), 1), Ok(123_456));
}

#[test]
fn a_time_that_somebody_heard_beats_every_wall_clock() {
    assert_eq!(agree(&readings(&[(900_000, 0), (900_000, 0), (1, 50_000)]), 2), Ok(50_000));
    assert_eq!(agree(&readings(&[(1, 40_000), (2, 50_000)]), 3), Ok(50_000));
}

#[test]
fn the_one_clock_that_is_wrong_does_not_count() {
    assert_eq!(agree(&walls(&[100_000, 9_999_999, 101_000]), 2), Ok(100_000));
    assert_eq!(agree(&walls(&[100_000, 102_000, 104_000]), 2), Ok(102_000));
}

#[test]
fn a_majority_has_to_agree() {
    let discord = agree(&walls(&[100_000, 105_001]), 2).unwrap_err();
    assert_eq!(discord.needed, 2);
    let told = discord.describe();
    assert!(told.contains("100000 (+0 ms)") && told.contains("105001 (+5001 ms)"), "{told}");
    assert_eq!(agree(&walls(&[100_000, 105_000]), 2), Ok(100_000));
    assert!(agree(&walls(&[100_000]), 2).is_err(), "too few answered");
    assert!(agree(&[], 1).is_err());
}

#[test]
fn wall_clocks_wait_for_the_voter_that_is_slow_to_answer() {
    assert!(may_still_hear(&walls(&[100_000, 100_000]), 3));
    assert!(!may_still_hear(&walls(&[100_000, 100_000, 100_000]), 3));
    assert!(!may_still_hear(&readings(&[(100_000, 0), (100_000, 7)]), 3), "one has heard a time");
}

#[test]
fn an_answer_ages_while_others_are_awaited() {
    let mut reading =
        Reading { at: Duration::from_millis(40), ..readings(&[(1_000, 7)])[0].clone() };
    reading.bring_to(Duration::from_millis(100));
    assert_eq!((reading.wall_ms, reading.cluster_ms), (1_060, 67));
    let mut unknown = walls(&[1_000])[0].clone();
    unknown.bring_to(Duration::from_millis(100));
    assert_eq!(unknown.cluster_ms, 0, "what was not heard stays unheard");
}

proptest! {
    /// However a minority of clocks is set, the time stays within what the majority says.
    #[test]
    fn a_minority_of_clocks_decides_nothing(
        honest in prop::collection::vec(1_000_000..1_005_000_u64, 3),
        liars in prop::collection::vec(1..u64::MAX / 2, 2),
    ) {
        let all: Vec<u64> = honest.iter().chain(&liars).copied().collect();
        let agreed = agree(&walls(&all), 3).expect("three of five agree");
        let (first, last) = (honest.iter().min().unwrap(), honest.iter().max().unwrap());
        // A liar may lie within the spread, but no further.
        prop_assert!(agreed + CLOCK_SPREAD_MS_MAX >= *first);
        prop_assert!(agreed <= *last + CLOCK_SPREAD_MS_MAX);
    }

    #[test]
    fn the_order_of_answers_does_not_matter(clocks in prop::collection::vec(1..30_000_u64, 1..7)) {
        let quorum = clocks.len() / 2 + 1;
        let mut backwards = clocks.clone();
        backwards.reverse();
        prop_assert_eq!(agree(&walls(&clocks), quorum), agree(&walls(&backwards), quorum));
    }
}
