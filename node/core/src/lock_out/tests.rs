use super::*;

fn suspect(name: u8) -> Suspect {
    let settings = LockOutRecord::default();
    let (accessor, name_text) = ("auth_a".to_owned(), format!("n{name}"));
    Suspect { bucket: 0, key: [name; 16], accessor, name: name_text, settings }
}

fn failures(bucket: &BucketRecord, name: u8) -> u64 {
    let found = bucket.names.iter().find(|record| record.key == [name; 16]);
    found.map_or(0, |record| record.failures)
}

/// The layout on disk.
#[test]
fn golden_layout() {
    let mut bucket = BucketRecord::default();
    assert!(bucket.count(&suspect(7), 1000));
    assert_eq!(
        hex::encode(bucket.encode_to_vec()),
        "0a270a10070707070707070707070707070707071206617574685f611a02\
         6e37200128e8073088ff36"
    );
    let settings =
        LockOutRecord { threshold: 1, duration_ms: 2, counter_reset_ms: 3, disabled: true };
    assert_eq!(hex::encode(settings.encode_to_vec()), "0801100218032001");
}

#[test]
fn a_lock_lasts_from_the_last_failure_and_counts_are_forgotten() {
    let (mut bucket, anna) = (BucketRecord::default(), suspect(1));
    for at in 0..5 {
        assert!(!bucket.is_locked_out(&anna, at));
        assert!(bucket.count(&anna, at));
    }
    let end = 4 + DURATION_MS_DEFAULT;
    assert!(bucket.is_locked_out(&anna, 4) && bucket.is_locked_out(&anna, end - 1));
    assert!(!bucket.count(&anna, end - 1), "a lock costs no entry and is not prolonged");
    assert!(!bucket.is_locked_out(&anna, end));
    assert!(bucket.count(&anna, end));
    assert_eq!(failures(&bucket, 1), 1, "the count begins anew");
    assert!(bucket.count(&anna, end + DURATION_MS_DEFAULT));
    assert_eq!(failures(&bucket, 1), 1, "one failure in a while is none");
    assert!(bucket.forget(&anna, end + DURATION_MS_DEFAULT));
    assert!(!bucket.forget(&anna, end + DURATION_MS_DEFAULT));
}

/// What a full bucket does: it never grows, nobody is locked out for another, and who failed often
/// stays.
#[test]
fn a_full_bucket_forgets_who_says_least() {
    let mut bucket = BucketRecord::default();
    let victim = suspect(200);
    for at in 0..4 {
        bucket.count(&victim, at);
    }
    for name in 0..100 {
        bucket.count(&suspect(name), 10 + u64::from(name));
        assert!(bucket.names.len() <= NAMES_PER_BUCKET_MAX);
        assert!(!bucket.is_locked_out(&suspect(name), 200));
    }
    assert_eq!(failures(&bucket, 200), 4);
    assert_eq!(failures(&bucket, 99), 1);
    bucket.count(&victim, 200);
    assert!(bucket.is_locked_out(&victim, 201));
    for name in 0..100 {
        for _ in 0..4 {
            bucket.count(&suspect(name), 300);
        }
    }
    assert!(bucket.is_locked_out(&victim, 301), "whoever failed less gives way");
}

#[test]
fn the_largest_bucket_is_small() {
    let mut bucket = BucketRecord::default();
    for name in 0..8 {
        let mut long = suspect(name);
        long.name = cut("\u{e4}".repeat(10_000));
        long.accessor = "auth_userpass_00000000".into();
        bucket.count(&long, u64::MAX / 2);
    }
    assert_eq!(bucket.names.len(), NAMES_PER_BUCKET_MAX);
    assert!(bucket.encoded_len() < 4096, "{}", bucket.encoded_len());
}

#[test]
fn frames_keep_their_parts_apart() {
    assert_ne!(frame(&["ab", "c"]), frame(&["a", "bc"]));
}
