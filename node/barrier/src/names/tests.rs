use aes_siv::siv::Aes128Siv;
use proptest::prelude::*;

use super::*;
use crate::testing::{CLUSTER_ID, golden, key32};

fn name_key(namespace: u8, mount: u8) -> NameKey {
    let (namespace, mount) = (NamespaceId([namespace; 16]), MountId([mount; 16]));
    NameKey::derive(&key32(5), 1, &CLUSTER_ID, namespace, mount)
}

/// RFC 5297, A.1 (deterministic) and A.2 (several headers).
#[test]
fn rfc5297_a1_and_a2() {
    let key = hex::decode("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
    let header = hex::decode("101112131415161718191a1b1c1d1e1f2021222324252627").unwrap();
    let plaintext = hex::decode("112233445566778899aabbccddee").unwrap();
    let mut siv = Aes128Siv::new_from_slice(&key.unwrap()).unwrap();
    assert_eq!(
        hex::encode(siv.encrypt([&header], &plaintext).unwrap()),
        "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c"
    );

    let key = hex::decode("7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f");
    let headers = [
        concat!(
            "00112233445566778899aabbccddeeffdeaddadadeaddada",
            "ffeeddccbbaa99887766554433221100"
        ),
        "102030405060708090a0",
        "09f911029d74e35bd84156c5635688c0",
    ]
    .map(|header| hex::decode(header).unwrap());
    let mut siv = Aes128Siv::new_from_slice(&key.unwrap()).unwrap();
    let sealed = siv.encrypt(&headers, b"this is some plaintext to encrypt using SIV-AES").unwrap();
    assert_eq!(
        hex::encode(&sealed),
        concat!(
            "7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17",
            "dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d"
        )
    );
    let opened = siv.decrypt(&headers, &sealed).unwrap();
    assert_eq!(opened, b"this is some plaintext to encrypt using SIV-AES");
}

/// The 512-bit key that is used here; the expected segments were checked against another
/// implementation of RFC 5297 (OpenSSL's AES-256-SIV).
#[test]
fn the_layout_is_as_drawn() {
    let key = name_key(2, 3);
    let parent = key.seal(&[], "parent").unwrap();
    let child = key.seal(std::slice::from_ref(&parent), "child").unwrap();
    let long = key.seal(&[], &"n".repeat(100)).unwrap();
    golden(
        "names.txt",
        &[
            ("key", key.key.expose()),
            ("parent", &parent),
            ("parent/child", &child),
            ("100 letters", &long),
            ("padded parent", &pad("parent")),
        ],
    );
}

#[test]
fn lengths_show_in_steps_only() {
    let steps = [(1, 16), (15, 16), (16, 32), (31, 32), (32, 64), (63, 64), (64, 128), (959, 960)];
    for (len, padded) in steps.into_iter().chain([(960, 1024), (1023, 1024)]) {
        assert_eq!(pad(&"x".repeat(len)).len(), padded, "{len} letters");
        let segment = name_key(0, 0).seal(&[], &"x".repeat(len)).unwrap();
        assert_eq!(segment.len(), 1 + 16 + padded);
    }
}

#[test]
fn impossible_names_are_refused() {
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    for name in ["", "a/b", "/", "a\0", long.as_str()] {
        let refused = name_key(0, 0).seal(&[], name);
        assert!(matches!(refused, Err(BarrierError::BadName(_))), "{name:?}");
    }
    let longest = "x".repeat(NAME_BYTES_MAX);
    let segment = name_key(0, 0).seal(&[], &longest).unwrap();
    assert_eq!(name_key(0, 0).open(&[], &segment).unwrap(), longest);
}

/// A key holder who spells a name in another way gets it refused, so a row has one place only.
#[test]
fn only_one_spelling_opens() {
    let key = name_key(0, 0);
    let too_long = [&b"name\x80"[..], &[0; 27]].concat();
    let no_mark = [&b"name"[..], &[0; 12]].concat();
    let wrong_mark = [&b"name\x81"[..], &[0; 11]].concat();
    let empty = [&[0x80][..], &[0; 15]].concat();
    let slash = [&b"a/b\x80"[..], &[0; 12]].concat();
    let not_utf8 = [&b"\xff\x80"[..], &[0; 14]].concat();
    let odd_len = b"name\x80".to_vec();
    for padded in
        [too_long, no_mark, wrong_mark, empty, slash, not_utf8, odd_len, vec![], vec![0; 16]]
    {
        let sealed = key.siv().encrypt([key.associated_data(&[])], &padded).unwrap();
        let segment = [&[1][..], &sealed].concat();
        assert!(matches!(key.open(&[], &segment), Err(BarrierError::Damaged(_))), "{padded:?}");
    }
    for short in [&[][..], &[1], &[1; 16], &[0; 33], &[2; 33]] {
        assert!(matches!(key.open(&[], short), Err(BarrierError::Damaged(_))));
    }
}

#[test]
fn a_name_differs_by_directory_mount_namespace_and_key_id() {
    let parents = [
        vec![],
        vec![Bytes::from_static(b"p")],
        vec![Bytes::from_static(b"q")],
        vec![Bytes::from_static(b"p"), Bytes::from_static(b"q")],
        vec![Bytes::from_static(b"pq")],
    ];
    let mut seen = Vec::new();
    for (namespace, mount) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        for parent in &parents {
            let key = name_key(namespace, mount);
            let segment = key.seal(parent, "same").unwrap();
            assert_eq!(segment, key.seal(parent, "same").unwrap(), "names are deterministic");
            assert!(!seen.contains(&segment));
            for other in parents.iter().filter(|other| *other != parent) {
                assert!(key.open(other, &segment).is_err(), "moved to another directory");
            }
            seen.push(segment);
        }
    }
    let (namespace, mount) = (NamespaceId([0; 16]), MountId([0; 16]));
    let newer = NameKey::derive(&key32(5), 2, &CLUSTER_ID, namespace, mount);
    assert_ne!(newer.seal(&[], "same").unwrap()[1..], seen[0][1..]);
}

proptest! {
    #[test]
    fn names_come_back_and_flips_do_not(
        name in "[^/\0]{1,300}",
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        prop_assume!(name.len() <= NAME_BYTES_MAX);
        let parent = [Bytes::from_static(b"parent")];
        let key = name_key(4, 5);
        let mut segment = key.seal(&parent, &name).unwrap().to_vec();
        prop_assert_eq!(key.open(&parent, &segment).unwrap(), name);
        let at = at.index(segment.len());
        segment[at] ^= 1 << bit;
        prop_assert!(key.open(&parent, &segment).is_err());
    }
}
