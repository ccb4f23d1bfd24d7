use proptest::prelude::*;

use super::*;
use crate::testing::{TestRng, initialised};
use crate::{Ceremony, make_shamir};

/// A cluster of five shares, three of which open it, and the attempts on its leader.
struct Table {
    record: SealRecord,
    root_key: [u8; 32],
    shares: Vec<Share>,
    attempts: Attempts,
    term: u64,
}

fn table() -> Table {
    let rng = Arc::new(TestRng::new(8));
    let (recipient, shares) = make_shamir(&*rng, 5, 3).unwrap();
    let (record, root_key) = initialised(vec![recipient]);
    Table { record, root_key, shares, attempts: Attempts::new(rng), term: 4 }
}

const PLAN: RekeyPlan = RekeyPlan { shares: 3, threshold: 2, verify: false };

impl Table {
    fn seat(&mut self) -> (Seat<'_>, &mut Attempts) {
        (Seat { term: self.term, record: &self.record }, &mut self.attempts)
    }

    fn start_root(&mut self) -> String {
        let (seat, attempts) = self.seat();
        attempts.start_root(seat, Zeroizing::new("pad".into())).unwrap().nonce
    }

    fn root(&mut self, nonce: &str, share: &Share) -> Result<RootStep, SealError> {
        let (seat, attempts) = self.seat();
        attempts.give_to_root(seat, nonce, share.clone())
    }

    fn root_given(&mut self) -> Progress {
        let (seat, attempts) = self.seat();
        attempts.root_progress(seat)
    }

    fn start_rekey(&mut self, plan: RekeyPlan) -> String {
        let (seat, attempts) = self.seat();
        attempts.start_rekey(seat, plan).unwrap().progress.nonce
    }

    fn rekey(&mut self, nonce: &str, share: usize) -> Result<RekeyStep, SealError> {
        let share = self.shares[share].clone();
        let (seat, attempts) = self.seat();
        attempts.give_to_rekey(seat, nonce, share)
    }

    fn status(&mut self) -> RekeyStatus {
        let (seat, attempts) = self.seat();
        attempts.rekey_status(seat)
    }

    /// What the node does with a replacement.
    fn put_in_force(&mut self, step: RekeyStep) {
        let RekeyStep::Replace { recipient, revision } = step else { panic!("not enough shares") };
        assert_eq!(revision, self.record.revision);
        self.record.recipients = vec![recipient];
        self.record.revision += 1;
    }

    /// Whether a sealed node is opened by these shares.
    fn unseals(&self, shares: &[Share]) -> bool {
        let mut ceremony = Ceremony::new(Arc::new(TestRng::new(1)));
        let opened = shares.iter().find_map(|share| {
            ceremony
                .give(&self.record, share.clone())
                .ok()
                .flatten()
                .map(|key| *key.danger_expose())
        });
        opened == Some(self.root_key)
    }
}

fn refused<T>(step: Result<T, SealError>) -> String {
    match step.err().expect("this must be refused") {
        SealError::Invalid(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn three_of_five_grant_a_root_token() {
    let mut table = table();
    let shares = table.shares.clone();
    assert_eq!(table.root_given(), Progress::default());
    let nonce = table.start_root();
    for (given, share) in [4, 0].into_iter().enumerate() {
        assert!(matches!(table.root(&nonce, &shares[share]).unwrap(), RootStep::More));
        assert_eq!(usize::from(table.root_given().given), given + 1);
    }
    let RootStep::Granted(otp) = table.root(&nonce, &shares[2]).unwrap() else { panic!("enough") };
    assert_eq!(otp.as_str(), "pad");
    // The token could not be stored: the same holders may try again.
    assert_eq!(table.root_given(), Progress { given: 0, nonce: nonce.clone() });
    table.attempts.end_root("another");
    assert_eq!(table.root_given().nonce, nonce);
    table.attempts.end_root(&nonce);
    assert_eq!(table.root_given(), Progress::default());
}

#[test]
fn only_who_knows_the_nonce_takes_part_and_one_attempt_goes_on_at_a_time() {
    let mut table = table();
    let shares = table.shares.clone();
    assert!(refused(table.root("", &shares[0])).contains("no root generation"));
    assert!(refused(table.rekey("", 0)).contains("no rekey"));
    let (nonce, other) = (table.start_root(), table.start_rekey(PLAN));
    assert_ne!(nonce, other);
    table.root(&nonce, &shares[0]).unwrap();
    for wrong in ["", "x", &other, &nonce[1..], &format!("{nonce}0")] {
        assert!(refused(table.root(wrong, &shares[1])).contains("nonce"));
        let (seat, attempts) = table.seat();
        assert!(refused(attempts.cancel_root(seat, Some(wrong))).contains("nonce"));
    }
    let (seat, attempts) = table.seat();
    assert!(refused(attempts.start_root(seat, Zeroizing::default())).contains("already"));
    assert!(refused(attempts.start_rekey(seat, PLAN)).contains("already"));
    assert_eq!(table.root_given(), Progress { given: 1, nonce: nonce.clone() });
    assert!(refused(table.root(&nonce, &shares[0])).contains("already"), "given twice");
    let (seat, attempts) = table.seat();
    attempts.cancel_root(seat, Some(&nonce)).unwrap();
    attempts.cancel_root(seat, None).unwrap();
    attempts.cancel_rekey(seat, None).unwrap();
    assert_eq!((table.root_given(), table.status()), Default::default());
}

#[test]
fn wrong_shares_reset_the_attempt_without_naming_one() {
    let mut table = table();
    let shares = table.shares.clone();
    let mut wrong = shares[2].clone();
    wrong[3] ^= 1;
    let nonce = table.start_root();
    for share in [&shares[0], &wrong] {
        table.root(&nonce, share).unwrap();
    }
    assert_eq!(table.root(&nonce, &shares[1]).err(), Some(SealError::WrongShares));
    assert_eq!(table.root_given(), Progress { given: 0, nonce: nonce.clone() });
    assert!(refused(table.root(&nonce, &Zeroizing::new(vec![1; 5]))).contains("not a share"));
    for share in [0, 1] {
        assert!(matches!(table.root(&nonce, &shares[share]).unwrap(), RootStep::More));
    }
    assert!(matches!(table.root(&nonce, &shares[2]).unwrap(), RootStep::Granted(_)));

    let nonce = table.start_rekey(PLAN);
    let (right, spoiled) = (table.shares[1].clone(), wrong);
    table.rekey(&nonce, 0).unwrap();
    table.shares[1] = spoiled;
    table.rekey(&nonce, 1).unwrap();
    assert_eq!(table.rekey(&nonce, 2).err(), Some(SealError::WrongShares));
    assert_eq!(table.status().progress.given, 0);
    table.shares[1] = right;
}

/// THREATS: rekey is not rotate; old shares fail afterwards, and at each step exactly one set is
/// valid.
#[test]
fn at_every_step_of_a_rekey_one_set_opens() {
    let mut table = table();
    let old = table.shares.clone();
    let nonce = table.start_rekey(PLAN);
    for share in [0, 3] {
        assert!(matches!(table.rekey(&nonce, share).unwrap(), RekeyStep::More));
        assert!(table.unseals(&old[..3]));
    }
    let step = table.rekey(&nonce, 4).unwrap();
    assert!(table.unseals(&old[..3]), "nothing was put in force yet");
    table.put_in_force(step);
    assert!(!table.unseals(&old));
    // Its own entry does not overtake the attempt, and the answer may have been lost.
    assert!(matches!(table.rekey(&nonce, 0).unwrap(), RekeyStep::Replace { .. }));
    assert!(refused(table.rekey(&nonce, 1)).contains("enough"), "it took no part");
    let new = table.attempts.end_rekey(&nonce);
    assert_eq!((new.len(), table.status()), (3, RekeyStatus::default()));
    for pair in [[0, 1], [1, 2], [2, 0]] {
        assert!(table.unseals(&pair.map(|place| new[place].clone())));
    }
    assert!(!table.unseals(&new[..1]) && !table.unseals(&old));
    // And the new ones begin the next.
    table.shares = new;
    let nonce = table.start_rekey(PLAN);
    table.rekey(&nonce, 0).unwrap();
    assert!(matches!(table.rekey(&nonce, 1).unwrap(), RekeyStep::Replace { .. }));
}

#[test]
fn a_verified_rekey_waits_until_the_new_shares_came_back() {
    let mut table = table();
    let old = table.shares.clone();
    let (seat, attempts) = table.seat();
    assert!(attempts.restart_verification(seat).is_err(), "nothing was started");
    let nonce = table.start_rekey(RekeyPlan { verify: true, ..PLAN });
    let (seat, attempts) = table.seat();
    assert!(refused(attempts.restart_verification(seat)).contains("no rekey verification"));
    table.rekey(&nonce, 0).unwrap();
    table.rekey(&nonce, 1).unwrap();
    let RekeyStep::Verify { shares: new, nonce: first } = table.rekey(&nonce, 2).unwrap() else {
        panic!("these are to be verified");
    };
    assert!(table.unseals(&old[..3]) && !table.unseals(&new));
    assert!(refused(table.rekey(&nonce, 2)).contains("verification"));
    let (seat, attempts) = table.seat();
    let second = attempts.restart_verification(seat).unwrap().verification.nonce;
    assert_ne!(first, second);
    let mut verify = |nonce: &str, share: &Share| {
        let (seat, attempts) = (Seat { term: 4, record: &table.record }, &mut table.attempts);
        attempts.give_to_verification(seat, nonce, share.clone())
    };
    assert!(refused(verify(&first, &new[0])).contains("nonce"));
    assert!(matches!(verify(&second, &new[0]).unwrap(), RekeyStep::More));
    assert_eq!(verify(&second, &old[1]).err(), Some(SealError::WrongShares));
    assert!(matches!(verify(&second, &new[2]).unwrap(), RekeyStep::More));
    let step = verify(&second, &new[1]).unwrap();
    assert!(matches!(verify(&second, &new[1]).unwrap(), RekeyStep::Replace { .. }), "again");
    assert!(refused(verify(&second, &new[0])).contains("enough"));
    table.put_in_force(step);
    assert!(table.unseals(&new[1..]) && !table.unseals(&old));
    assert!(table.attempts.end_rekey(&nonce).is_empty(), "they were handed out before");
    assert_eq!(table.status(), RekeyStatus::default());
}

#[test]
fn another_leadership_or_another_set_ends_an_attempt() {
    let change: [fn(&mut Table); 3] = [
        |table| table.term += 1,
        |table| table.record.revision += 1,
        |table| table.attempts.forget(),
    ];
    for change in change {
        let mut table = table();
        let share = table.shares[0].clone();
        let (root, rekey) = (table.start_root(), table.start_rekey(PLAN));
        table.root(&root, &share).unwrap();
        for share in [0, 1, 2] {
            table.rekey(&rekey, share).unwrap();
        }
        change(&mut table);
        assert_eq!((table.root_given(), table.status()), Default::default());
        assert!(table.root(&root, &share).is_err() && table.rekey(&rekey, 1).is_err());
    }
}

#[test]
fn impossible_sets_are_refused_before_a_share_is_given() {
    let mut table = table();
    for (shares, threshold) in [(0, 0), (3, 1), (2, 3), (0, 2)] {
        let (seat, attempts) = table.seat();
        refused(attempts.start_rekey(seat, RekeyPlan { shares, threshold, verify: false }));
    }
    table.record.recipients[0].kind = "static".into();
    let (seat, attempts) = table.seat();
    refused(attempts.start_rekey(seat, PLAN));
    refused(attempts.start_root(seat, Zeroizing::default()));
}

proptest! {
    /// Whatever is given in whatever order: only three different shares of the set do anything.
    #[test]
    fn nothing_but_enough_right_shares_is_enough(
        given in proptest::collection::vec((0_usize..5, any::<bool>()), 0..12),
    ) {
        let mut table = table();
        let shares = table.shares.clone();
        let nonce = table.start_root();
        let mut held: Vec<(usize, bool)> = Vec::new();
        for (share, spoiled) in given {
            let mut text = shares[share].clone();
            // Each in a place of its own: equal changes may cancel each other out.
            text[share] ^= u8::from(spoiled);
            let step = table.root(&nonce, &text);
            if held.contains(&(share, spoiled)) {
                prop_assert!(matches!(step, Err(SealError::Invalid(_))));
                continue;
            }
            held.push((share, spoiled));
            if held.len() < 3 {
                prop_assert!(matches!(step, Ok(RootStep::More)));
                continue;
            }
            let right = held.iter().all(|(_, spoiled)| !spoiled);
            prop_assert_eq!(matches!(step, Ok(RootStep::Granted(_))), right);
            prop_assert_eq!(step.err(), (!right).then_some(SealError::WrongShares));
            held.clear();
        }
    }
}
