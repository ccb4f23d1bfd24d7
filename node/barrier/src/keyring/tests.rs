use super::*;
use crate::testing::{CLUSTER_ID, golden, key32, ports};

fn row() -> KeyringRow {
    KeyringRow {
        format: 1,
        data_keys: vec![
            DataKeyRow { term: 1, key: vec![0xa1; 32], installed_ms: 1000, epoch: 1 },
            DataKeyRow { term: 2, key: vec![0xa2; 32], installed_ms: 2000, epoch: 1 },
        ],
        name_keys: vec![NameKeyRow { id: 1, secret: vec![0xb1; 32] }],
        hash_secret: vec![0xc1; 32],
    }
}

fn keyring() -> Keyring {
    Keyring::new(&row(), 1, 1, CLUSTER_ID).unwrap()
}

fn root() -> KeyringKey {
    KeyringKey::derive(&RootKey::new(key32(0x11)), &CLUSTER_ID)
}

/// RFC 4231, test cases 1, 2 and 6: the implementation below us is HMAC-SHA-256.
#[test]
fn rfc4231() {
    let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
    let cases: [(&[u8], &[u8], &str); 3] = [
        (
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (&[0xaa; 131], long, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
    ];
    for (key, data, expected) in cases {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
        assert_eq!(hex::encode(tag), expected);
    }
}

#[test]
fn the_layout_is_as_drawn() {
    let plaintext = encode(&row());
    let key = places::keyring();
    let sealed = root().seal(&CLUSTER_ID, &key, RecordKind::Keyring, [3; 12], &plaintext);
    golden(
        "keyring.txt",
        &[("root key", &[0x11; 32]), ("row", &plaintext), ("sealed row", &sealed)],
    );
    let opened = decode(&root(), &CLUSTER_ID, &Row { value: sealed, revision: 1 }).unwrap();
    assert_eq!(encode(&opened), plaintext);
}

#[test]
fn the_hashes_are_for_ever() {
    let keyring = keyring();
    let hashes = HashPurpose::ALL.map(|purpose| keyring.hash(purpose, b"data"));
    for (at, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..at].contains(hash), "each purpose has a key of its own");
    }
    let labels = HashPurpose::ALL.map(HashPurpose::label);
    let lines: Vec<(&str, &[u8])> =
        labels.iter().zip(&hashes).map(|(label, hash)| (*label, hash.as_slice())).collect();
    golden("hashes.txt", &lines);
}

#[test]
fn the_newest_term_seals_and_all_terms_open() {
    let keyring = keyring();
    assert_eq!(keyring.term, 2);
    let key = places::seal();
    let place = places::bound(&CLUSTER_ID, &key, RecordKind::Row);
    let sealed = keyring.sealing_key().seal(2, [0; 12], &place, b"x");
    assert_eq!(keyring.data_key(2).unwrap().open(2, &place, &sealed).unwrap(), b"x");
    assert!(keyring.data_key(1).unwrap().open(1, &place, &sealed).is_err());
    assert!(keyring.data_key(3).is_none());
}

#[test]
fn a_wrong_root_key_is_not_damage() {
    let key = places::keyring();
    let value = root().seal(&CLUSTER_ID, &key, RecordKind::Keyring, [3; 12], &encode(&row()));
    let other = KeyringKey::derive(&RootKey::new(key32(0x12)), &CLUSTER_ID);
    let row = Row { value, revision: 1 };
    assert!(matches!(decode(&other, &CLUSTER_ID, &row), Err(BarrierError::WrongKey)));
    assert!(matches!(decode(&root(), &[0; 16], &row), Err(BarrierError::WrongKey)));
}

#[test]
fn a_senseless_keyring_is_refused() {
    let edits: [fn(&mut KeyringRow); 7] = [
        |row| row.data_keys.clear(),
        |row| row.name_keys.clear(),
        |row| row.hash_secret.clear(),
        |row| row.data_keys[0].term = 0,
        |row| row.data_keys[1].key.truncate(31),
        |row| row.name_keys[0].id = 0,
        |row| row.name_keys[0].id = 256,
    ];
    for (at, edit) in edits.iter().enumerate() {
        let mut row = row();
        edit(&mut row);
        let refused = Keyring::new(&row, 1, 1, CLUSTER_ID);
        assert!(matches!(refused, Err(BarrierError::Damaged(_))), "edit {at}");
    }
}

#[test]
fn a_made_keyring_has_different_keys() {
    let made = make_keyring(&ports(1), 5, 1);
    let keys = [&made.data_keys[0].key, &made.name_keys[0].secret, &made.hash_secret];
    assert!(keys.iter().all(|key| key.len() == 32));
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    assert_eq!((made.data_keys[0].term, made.data_keys[0].installed_ms), (1, 5));
}

#[test]
fn derived_name_keys_are_bounded_and_stay_the_same() {
    let keyring = keyring();
    let mount = |at: usize| MountId((at as u128).to_be_bytes());
    let seal = |at| {
        let key = keyring.sealing_name_key(NamespaceId::ROOT, mount(at));
        key.seal(&[], "name").unwrap()
    };
    let first = seal(0);
    for at in 1..=NAME_KEYS_MAX {
        assert_ne!(seal(at), first);
    }
    assert_eq!(keyring.name_keys.read().unwrap().len(), NAME_KEYS_MAX);
    assert_eq!(seal(0), first);
    assert!(keyring.name_key(2, NamespaceId::ROOT, mount(0)).is_none());
}
