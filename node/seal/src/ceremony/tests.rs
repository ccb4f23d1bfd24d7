use zeroize::Zeroizing;

use super::*;
use crate::testing::{TestRng, initialised};

struct Set {
    record: SealRecord,
    root_key: [u8; 32],
    shares: Vec<Share>,
    ceremony: Ceremony,
}

fn set(shares: u8, threshold: u8) -> Set {
    let rng = Arc::new(TestRng::new(5));
    let (recipient, shares) = make_shamir(&*rng, shares, threshold).unwrap();
    let (record, root_key) = initialised(vec![recipient]);
    Set { record, root_key, shares, ceremony: Ceremony::new(rng) }
}

impl Set {
    fn give(&mut self, share: usize) -> Result<Option<RootKey>, SealError> {
        let share = self.shares[share].clone();
        self.ceremony.give(&self.record, share)
    }

    fn given(&self) -> u8 {
        self.ceremony.progress().given
    }

    /// The error of a gift that must fail.
    fn fails(&mut self, share: Vec<u8>) -> SealError {
        let given = self.ceremony.give(&self.record, Zeroizing::new(share));
        given.err().expect("this share is refused")
    }
}

#[test]
fn any_threshold_of_shares_unseals() {
    for order in [[0, 1, 2], [4, 2, 0], [3, 4, 1]] {
        let mut set = set(5, 3);
        assert_eq!(set.shares[0].len(), 33);
        assert_eq!(set.ceremony.progress(), Progress::default());
        assert!(set.give(order[0]).unwrap().is_none());
        assert!(set.give(order[1]).unwrap().is_none());
        assert_eq!(set.given(), 2);
        let root_key = set.give(order[2]).unwrap().expect("three of five are enough");
        assert_eq!(root_key.danger_expose(), &set.root_key);
        assert_eq!(set.ceremony.progress(), Progress::default(), "nothing is kept");
    }
}

#[test]
fn one_share_of_one_unseals_at_once() {
    let mut set = set(1, 1);
    let root_key = set.give(0).unwrap().unwrap();
    assert_eq!(root_key.danger_expose(), &set.root_key);
}

#[test]
fn the_same_share_twice_does_not_count() {
    let mut set = set(3, 2);
    for _ in 0..3 {
        assert!(set.give(1).unwrap().is_none());
        assert_eq!(set.given(), 1);
    }
    assert!(set.give(2).unwrap().is_some());
}

#[test]
fn malformed_shares_leave_the_attempt_alone() {
    let mut set = set(3, 2);
    set.give(0).unwrap();
    let before = set.ceremony.progress();
    let good = set.shares[1].to_vec();
    let zero_x = [&good[..32], &[0]].concat();
    for bad in [vec![], good[..32].to_vec(), [&good[..], &[1]].concat(), zero_x] {
        assert!(matches!(set.fails(bad), SealError::Invalid(_)));
        assert_eq!(set.ceremony.progress(), before);
    }
    assert!(set.give(1).unwrap().is_some());
}

/// Whichever share is wrong, and in whatever way, the answer is one and the same.
#[test]
fn wrong_shares_fail_closed_without_naming_one() {
    let foreign = set(3, 2).shares.remove(0);
    let mut wrong_y = set(5, 3).shares[4].to_vec();
    wrong_y[7] ^= 1;
    let mut wrong_x = wrong_y.clone();
    wrong_x[32] = 77;
    // The x of a share that is given as well.
    let mut same_x = wrong_y.clone();
    same_x[32] = 2;
    for wrong in [foreign.to_vec(), wrong_y, wrong_x, same_x] {
        for place in 0..3 {
            let mut set = set(5, 3);
            let mut shares = vec![set.shares[1].to_vec(), set.shares[2].to_vec()];
            shares.insert(place, wrong.clone());
            let last = shares.pop().unwrap();
            for share in shares {
                let given = set.ceremony.give(&set.record, Zeroizing::new(share)).unwrap();
                assert!(given.is_none());
            }
            assert_eq!(set.fails(last), SealError::WrongShares);
            assert_eq!(set.ceremony.progress(), Progress::default(), "the attempt is reset");
            for share in [0, 1] {
                assert!(set.give(share).unwrap().is_none());
            }
            assert!(set.give(2).unwrap().is_some(), "the next attempt is free of it");
        }
    }
}

#[test]
fn each_attempt_has_a_nonce_of_its_own() {
    let mut set = set(3, 2);
    set.give(0).unwrap();
    let first = set.ceremony.progress().nonce;
    let parts: Vec<usize> = first.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12], "{first}");
    assert_eq!(&first[14..15], "4");
    set.ceremony.reset();
    assert_eq!(set.ceremony.progress(), Progress::default());
    set.give(0).unwrap();
    let second = set.ceremony.progress().nonce;
    assert_ne!(first, second);
    assert!(set.give(0).unwrap().is_none());
    assert_eq!(set.ceremony.progress().nonce, second);
}

#[test]
fn a_reset_forgets_the_shares() {
    let mut set = set(3, 2);
    set.give(0).unwrap();
    set.ceremony.reset();
    assert!(set.give(1).unwrap().is_none());
    assert!(set.give(0).unwrap().is_some());
}

#[test]
fn a_record_without_shares_takes_none() {
    let mut set = set(3, 2);
    let share = set.shares[0].to_vec();
    set.record.recipients[0].kind = "static".to_owned();
    assert!(matches!(set.fails(share.clone()), SealError::Invalid(_)));
    set.record.recipients.clear();
    assert!(matches!(set.fails(share.clone()), SealError::Invalid(_)));
    let mut edited = self::set(3, 2);
    edited.record.recipients[0].threshold = 0;
    assert!(matches!(edited.fails(share), SealError::Invalid(_)));
}

/// The threshold is authenticated: lowering it in the record opens nothing.
#[test]
fn an_edited_threshold_does_not_open() {
    let mut set = set(3, 2);
    set.record.recipients[0].threshold = 1;
    let share = set.shares[0].to_vec();
    assert_eq!(set.fails(share), SealError::WrongShares);
}

#[test]
fn sets_are_made_with_the_numbers_asked_for() {
    let rng = TestRng::new(1);
    let (recipient, shares) = make_shamir(&rng, 5, 3).unwrap();
    assert_eq!((recipient.kind.as_str(), recipient.shares, recipient.threshold), ("shamir", 5, 3));
    assert_eq!(shares.len(), 5);
    for (shares, threshold) in [(0, 0), (3, 1), (2, 3)] {
        assert!(matches!(make_shamir(&rng, shares, threshold), Err(SealError::Invalid(_))));
    }
}

/// Both recipients of one cluster open the same root key.
#[test]
fn shares_work_beside_a_static_key() {
    let rng = Arc::new(TestRng::new(6));
    let (recipient, shares) = make_shamir(&*rng, 3, 2).unwrap();
    let key = SealKey::new(SecretKey::fill_with(|key| key.fill(7)));
    let other = NewRecipient { kind: "static".to_owned(), shares: 1, threshold: 1, key };
    let (record, root_key) = initialised(vec![other, recipient]);
    let mut ceremony = Ceremony::new(rng);
    assert!(ceremony.give(&record, shares[0].clone()).unwrap().is_none());
    let opened = ceremony.give(&record, shares[2].clone()).unwrap().unwrap();
    assert_eq!(opened.danger_expose(), &root_key);
}
