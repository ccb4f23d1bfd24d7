use super::*;
use crate::testing::{CLUSTER_ID, golden, initialised, key32, opened};
use proptest::prelude::*;

const THERE: Route = Route { from: 2, to: 5 };
const BACK: Route = Route { from: 5, to: 2 };

fn sealer(salt: u8) -> PeerSealer {
    PeerSealer::new(&EnvelopeSecret::derive(&key32(0xc1), &CLUSTER_ID), CLUSTER_ID, [salt; 16])
}

#[test]
fn the_layout_is_as_drawn() {
    let (asker, leader) = (sealer(0x0a), sealer(0x0b));
    let (first, _) = asker.seal_request(THERE, b"").unwrap();
    let (request, id) = asker.seal_request(THERE, b"a request").unwrap();
    let reply = leader.seal_reply(BACK, id, b"a reply").unwrap();
    golden(
        "envelope.txt",
        &[
            ("hash secret", &[0xc1; 32]),
            ("request associated data", &asker.associated_data::<Request>(THERE, None)),
            ("empty request 0", &first),
            ("request 1", &request),
            ("reply associated data", &leader.associated_data::<Reply>(BACK, Some(id))),
            ("reply 0 to request 1", &reply),
        ],
    );
}

#[test]
fn a_request_and_its_reply_cross() {
    let (asker, leader) = (sealer(1), sealer(2));
    let (envelope, id) = asker.seal_request(THERE, b"a request").unwrap();
    assert!(!envelope.windows(9).any(|window| window == b"a request"));
    let (request, named) = leader.open_request(THERE, &envelope).unwrap();
    assert_eq!((request.as_slice(), named), (b"a request".as_slice(), id));
    assert_eq!(THERE.back(), BACK);
    let reply = leader.seal_reply(BACK, named, b"a reply").unwrap();
    assert_eq!(asker.open_reply(BACK, id, &reply).unwrap().as_slice(), b"a reply");
}

#[test]
fn an_envelope_opens_on_no_other_way_and_as_nothing_else() {
    let (asker, leader) = (sealer(1), sealer(2));
    let (request, id) = asker.seal_request(THERE, b"x").unwrap();
    for route in [BACK, Route { from: 3, ..THERE }, Route { to: 3, ..THERE }] {
        assert_eq!(leader.open_request(route, &request).err(), Some(EnvelopeError::Unopened));
    }
    assert!(leader.open_reply(THERE, id, &request).is_err(), "a request is no reply");
    let (_, other) = asker.seal_request(THERE, b"x").unwrap();
    let reply = leader.seal_reply(BACK, id, b"y").unwrap();
    assert!(asker.open_reply(BACK, id, &reply).is_ok());
    assert!(asker.open_reply(BACK, other, &reply).is_err(), "the reply to another request");
    let elsewhere = EnvelopeId { salt: [9; 16], ..id };
    assert!(asker.open_reply(BACK, elsewhere, &reply).is_err(), "another process's request");
    assert!(asker.open_reply(THERE, id, &reply).is_err());
    assert!(leader.open_request(BACK, &reply).is_err(), "a reply is no request");
}

#[test]
fn another_cluster_or_secret_does_not_open_it() {
    let (request, _) = sealer(1).seal_request(THERE, b"x").unwrap();
    let secret = EnvelopeSecret::derive(&key32(0xc2), &CLUSTER_ID);
    assert!(PeerSealer::new(&secret, CLUSTER_ID, [2; 16]).open_request(THERE, &request).is_err());
    let other = [9; 16];
    let secret = EnvelopeSecret::derive(&key32(0xc1), &other);
    assert!(PeerSealer::new(&secret, other, [2; 16]).open_request(THERE, &request).is_err());
}

/// No key sees a counter twice, whoever asks at the same time.
#[test]
fn counters_do_not_repeat() {
    let sealer = &sealer(1);
    let mut ids: Vec<u64> = std::thread::scope(|scope| {
        let seal = || sealer.seal_request(THERE, b"").unwrap().1.counter;
        let seal_some = move || (0..200).map(|_| seal()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(seal_some)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    ids.sort_unstable();
    assert_eq!(ids, (0..800).collect::<Vec<_>>());
}

#[test]
fn at_the_limit_nothing_is_sealed_any_more() {
    let sealer = sealer(1);
    sealer.requests.next.store(ENVELOPES_PER_KEY_MAX - 1, Ordering::Relaxed);
    assert!(sealer.seal_request(THERE, b"").is_ok());
    for _ in 0..2 {
        assert_eq!(sealer.seal_request(THERE, b"").err(), Some(EnvelopeError::Exhausted));
    }
    let id = EnvelopeId { salt: [0; 16], counter: 0 };
    assert!(sealer.seal_reply(BACK, id, b"").is_ok(), "replies count for themselves");
}

#[test]
fn peers_keys_are_bounded_and_garbage_displaces_none() {
    let leader = sealer(0xff);
    for salt in 0..=u8::try_from(PEER_KEYS_MAX).unwrap() {
        let (envelope, _) = sealer(salt).seal_request(THERE, b"x").unwrap();
        assert!(leader.open_request(THERE, &envelope).is_ok());
    }
    let known = || leader.requests.peers.lock().unwrap().keys().copied().collect::<Vec<_>>();
    let before = known();
    assert_eq!(before.len(), PEER_KEYS_MAX);
    let mut garbage = vec![0; OVERHEAD_BYTES];
    garbage[0] = FORMAT;
    garbage[1] = 0xee;
    assert!(leader.open_request(THERE, &garbage).is_err());
    assert_eq!(known(), before);
    let (displaced, _) = sealer(0).seal_request(THERE, b"x").unwrap();
    assert!(leader.open_request(THERE, &displaced).is_ok(), "it is derived again");
}

/// Two nodes of one cluster understand each other, and one that restarts has a new salt.
#[test]
fn barriers_of_one_cluster_share_envelopes() {
    let ledger = crate::testing::MemoryLedger::new();
    let leader = initialised(&ledger);
    let (asker, again) = (opened(&ledger, &leader, 1), opened(&ledger, &leader, 2));
    let (envelope, id) = asker.peer_sealer().seal_request(THERE, b"x").unwrap();
    assert!(leader.peer_sealer().open_request(THERE, &envelope).is_ok());
    let (_, later) = again.peer_sealer().seal_request(THERE, b"x").unwrap();
    assert_ne!(id.salt, later.salt);
}

proptest! {
    #[test]
    fn every_flipped_bit_is_noticed(
        plaintext in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let (asker, leader) = (sealer(1), sealer(2));
        let (request, id) = asker.seal_request(THERE, &plaintext).unwrap();
        let (opened, _) = leader.open_request(THERE, &request).unwrap();
        prop_assert_eq!(&*opened, &plaintext);
        let reply = leader.seal_reply(BACK, id, &plaintext).unwrap();
        prop_assert_eq!(&*asker.open_reply(BACK, id, &reply).unwrap(), &plaintext);
        let (mut request, mut reply) = (request.to_vec(), reply.to_vec());
        let at = at.index(request.len());
        request[at] ^= 1 << bit;
        reply[at] ^= 1 << bit;
        prop_assert!(leader.open_request(THERE, &request).is_err());
        prop_assert!(asker.open_reply(BACK, id, &reply).is_err());
    }

    #[test]
    fn cut_or_arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
        let leader = sealer(2);
        let (request, id) = sealer(1).seal_request(THERE, b"value").unwrap();
        for len in 0..request.len() {
            prop_assert!(leader.open_request(THERE, &request[..len]).is_err());
        }
        prop_assert!(leader.open_request(THERE, &bytes).is_err());
        prop_assert!(leader.open_reply(BACK, id, &bytes).is_err());
    }
}
