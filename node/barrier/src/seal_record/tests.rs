use proptest::prelude::*;

use super::*;
use crate::testing::{CLUSTER_ID, golden, key32, static_recipient};

fn record() -> SealRecord {
    let root_key = RootKey::new(key32(0x11));
    let mut shamir = static_recipient(8);
    (shamir.kind, shamir.shares, shamir.threshold) = ("shamir".to_owned(), 5, 3);
    let recipients = vec![
        wrap_root_key(&root_key, &CLUSTER_ID, &static_recipient(7), [1; 12]),
        wrap_root_key(&root_key, &CLUSTER_ID, &shamir, [2; 12]),
    ];
    decode(&encode(&CLUSTER_ID, "cluster", recipients), 9).unwrap()
}

fn seal_key(byte: u8) -> SealKey {
    SealKey::new(key32(byte))
}

#[test]
fn the_layout_is_as_drawn() {
    let record = record();
    golden(
        "seal_record.txt",
        &[
            ("root key", &[0x11; 32]),
            ("static seal key", &[7; 32]),
            ("wrapped for static", &record.recipients[0].wrapped_root_key),
            ("wrapped for shamir", &record.recipients[1].wrapped_root_key),
            ("row", &encode(&CLUSTER_ID, "cluster", record.recipients.clone())),
        ],
    );
    assert_eq!(record.recipients[0].wrapped_root_key.len(), 65);
}

#[test]
fn each_recipient_opens_the_root_key_alone() {
    let record = record();
    assert_eq!((record.cluster_id, record.revision), (CLUSTER_ID, 9));
    assert_eq!(record.cluster_name, "cluster");
    for (recipient, byte) in [(0, 7), (1, 8)] {
        let root_key = unwrap_root_key(&record, recipient, &seal_key(byte)).unwrap();
        assert_eq!(root_key.danger_expose(), &[0x11; 32]);
    }
    let crossed = unwrap_root_key(&record, 0, &seal_key(8));
    assert!(matches!(crossed, Err(BarrierError::WrongKey)));
    assert!(matches!(unwrap_root_key(&record, 2, &seal_key(7)), Err(BarrierError::Damaged(_))));
}

#[test]
fn an_edited_recipient_does_not_open() {
    let edits: [fn(&mut SealRecord); 6] = [
        |record| record.recipients[1].kind.push('x'),
        |record| record.recipients[1].shares = 4,
        |record| record.recipients[1].threshold = 2,
        |record| record.cluster_id[0] ^= 1,
        |record| record.recipients[1].wrapped_root_key = Bytes::new(),
        |record| {
            let mut wrapped = record.recipients[1].wrapped_root_key.to_vec();
            wrapped[64] ^= 1;
            record.recipients[1].wrapped_root_key = wrapped.into();
        },
    ];
    for (at, edit) in edits.iter().enumerate() {
        let mut record = record();
        edit(&mut record);
        let opened = unwrap_root_key(&record, 1, &seal_key(8));
        assert!(matches!(opened, Err(BarrierError::WrongKey)), "edit {at}");
    }
}

#[test]
fn an_unknown_format_is_refused() {
    let row = SealRow { format: 2, ..SealRow::default() };
    let refused = decode(&row.encode_to_vec(), 1);
    assert!(refused.unwrap_err().to_string().contains("newer version"));
}

proptest! {
    #[test]
    fn arbitrary_rows_do_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = decode(&bytes, 1);
        let record = record();
        bytes.extend_from_slice(&encode(&CLUSTER_ID, "cluster", record.recipients));
        let _ = decode(&bytes, 1);
    }
}
