use super::*;
use crate::testing::{golden, key32};
use proptest::prelude::*;

fn names(names: &[&'static [u8]]) -> Vec<Bytes> {
    names.iter().map(|name| Bytes::from_static(name)).collect()
}

fn place<'a>(cluster_id: &'a [u8; 16], name: &'a [Bytes]) -> Place<'a> {
    let (namespace, mount) = (NamespaceId([2; 16]), MountId([3; 16]));
    Place { cluster_id, namespace, mount, name, kind: RecordKind::Row }
}

/// NIST's GCM specification, appendix B, test case 16: the implementation below us is AES-256-GCM.
#[test]
fn gcm_test_case_16() {
    let key = hex::decode("feffe9928665731c6d6a8f9467308308".repeat(2)).unwrap();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let nonce = hex::decode("cafebabefacedbaddecaf888").unwrap();
    let aad = hex::decode("feedfacedeadbeeffeedfacedeadbeefabaddad2").unwrap();
    let mut text = hex::decode(concat!(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    ))
    .unwrap();
    let nonce = Nonce::try_assume_unique_for_key(&nonce).unwrap();
    key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut text).unwrap();
    assert_eq!(
        hex::encode(text),
        concat!(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
            "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b"
        )
    );
}

#[test]
fn the_layout_is_as_drawn() {
    let cluster_id = [1; 16];
    let name = names(&[b"first", b"second"]);
    let place = place(&cluster_id, &name);
    let key = AeadKey::new(&key32(9));
    golden(
        "record.txt",
        &[
            ("key", &[9; 32]),
            ("plaintext", b"a value"),
            ("associated data", &place.associated_data(5)),
            ("sealed record", &key.seal(5, [4; 12], &place, b"a value")),
            ("sealed empty", &key.seal(5, [4; 12], &place, b"")),
        ],
    );
}

#[test]
fn kinds_keep_their_numbers() {
    use RecordKind::*;
    let kinds = [Row, FlatRow, Reply, Keyring, Count, RootKey].map(|kind| kind as u8);
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_record_opens_in_no_other_place() {
    let (cluster_id, other_cluster) = ([1; 16], [0xff; 16]);
    let (name, other_name) = (names(&[b"a", b"bc"]), names(&[b"ab", b"c"]));
    let (joined, shorter) = (names(&[b"abc"]), names(&[b"a"]));
    let key = AeadKey::new(&key32(9));
    let here = || place(&cluster_id, &name);
    let record = key.seal(1, [4; 12], &here(), b"secret");
    assert_eq!(key.open(1, &here(), &record).unwrap(), b"secret");
    let elsewhere = [
        place(&other_cluster, &name),
        place(&cluster_id, &other_name),
        place(&cluster_id, &joined),
        place(&cluster_id, &shorter),
        Place { namespace: NamespaceId([9; 16]), ..here() },
        Place { mount: MountId([9; 16]), ..here() },
        Place { namespace: NamespaceId([3; 16]), mount: MountId([2; 16]), ..here() },
        Place { kind: RecordKind::FlatRow, ..here() },
        Place { kind: RecordKind::Reply, ..here() },
    ];
    for (at, place) in elsewhere.iter().enumerate() {
        assert_eq!(key.open(1, place, &record), Err(Unopened), "place {at}");
    }
    assert_eq!(key.open(2, &here(), &record), Err(Unopened), "the term is the caller's choice");
    let other_key = AeadKey::new(&key32(8));
    assert_eq!(other_key.open(1, &here(), &record), Err(Unopened));
}

/// The header's term is authenticated: relabelling a record does not make it another term's.
#[test]
fn a_relabelled_term_does_not_open() {
    let (cluster_id, name) = ([1; 16], names(&[b"a"]));
    let (key, here) = (AeadKey::new(&key32(9)), place(&cluster_id, &name));
    let mut record = key.seal(1, [4; 12], &here, b"secret").to_vec();
    record[4] = 2;
    assert_eq!(term_of(&record), Ok(2));
    assert_eq!(key.open(2, &here, &record), Err(Unopened));
}

proptest! {
    #[test]
    fn every_flipped_bit_is_noticed(
        plaintext in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let (cluster_id, name) = ([1; 16], names(&[b"a"]));
        let (key, here) = (AeadKey::new(&key32(9)), place(&cluster_id, &name));
        let mut record = key.seal(7, [4; 12], &here, &plaintext).to_vec();
        prop_assert_eq!(key.open(7, &here, &record), Ok(plaintext));
        let at = at.index(record.len());
        record[at] ^= 1 << bit;
        prop_assert_eq!(key.open(7, &here, &record), Err(Unopened));
    }

    #[test]
    fn cut_or_arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let (cluster_id, name) = ([1; 16], names(&[b"a"]));
        let (key, here) = (AeadKey::new(&key32(9)), place(&cluster_id, &name));
        let record = key.seal(7, [4; 12], &here, b"value");
        for len in 0..record.len() {
            prop_assert_eq!(key.open(7, &here, &record[..len]), Err(Unopened));
        }
        prop_assert_eq!(key.open(7, &here, &bytes), Err(Unopened));
    }

    /// No two different places have the same associated data.
    #[test]
    fn associated_data_is_unambiguous(
        one in prop::collection::vec(prop::collection::vec(0..3_u8, 0..6), 0..4),
        two in prop::collection::vec(prop::collection::vec(0..3_u8, 0..6), 0..4),
    ) {
        let cluster_id = [1; 16];
        let bytes = |names: &[Vec<u8>]| -> Vec<Bytes> {
            names.iter().map(|name| Bytes::copy_from_slice(name)).collect()
        };
        let data = |names: &[Vec<u8>]| place(&cluster_id, &bytes(names)).associated_data(1);
        prop_assert_eq!(data(&one) == data(&two), one == two);
    }
}
