use std::collections::BTreeMap;

use conclave_memory::SecretKey;

use super::*;

const THERE: Route = Route { from: 2, to: 5 };

fn sealer(secret: u8, salt: u8) -> PeerSealer {
    let secret = SecretKey::fill_with(|key| key.fill(secret));
    PeerSealer::danger_from_secret(&secret, [7; 16], [salt; 16])
}

fn request() -> Request {
    Request {
        id: "the-id".to_owned(),
        operation: Operation::Write,
        path: "secret/data/canary".to_owned(),
        namespace: "team".to_owned(),
        token: Some(Token::new("hvs.canary".to_owned())),
        body: Bytes::from_static(br#"{"data":{"canary":1}}"#),
        query: BTreeMap::from([("version".to_owned(), "3".to_owned())]),
        client: Some([192, 0, 2, 7].into()),
        headers: BTreeMap::from([("x-team".to_owned(), vec!["a".to_owned(), "b".to_owned()])]),
        forwarded_from: String::new(),
        idempotency: Some(Idempotency::Numbered(RequestNumber {
            session: Bytes::from_static(b"session"),
            sequence: 9,
            low_water: 4,
        })),
        read_level: ReadLevel::AtRevision(77),
        time_limit: Duration::from_millis(1234),
    }
}

/// What a leader makes of a request that crossed.
fn cross(request: &Request) -> Request {
    let (asker, leader) = (sealer(1, 1), sealer(1, 2));
    let (message, _) = seal_request(&asker, THERE, request).expect("it is small");
    let (opened, _) = open_request(&leader, THERE, &message.sealed).expect("it opens");
    opened.expect("it is understood")
}

#[test]
fn a_request_crosses_whole() {
    let (sent, came) = (request(), cross(&request()));
    assert_eq!(came.id, sent.id);
    assert_eq!(came.operation as u32, sent.operation as u32);
    assert_eq!((&came.path, &came.namespace), (&sent.path, &sent.namespace));
    assert_eq!(came.token.expect("it has one").expose(), "hvs.canary");
    assert_eq!((&came.body, &came.query, came.client), (&sent.body, &sent.query, sent.client));
    assert_eq!(came.idempotency, sent.idempotency);
    assert_eq!(came.headers, sent.headers);
    assert_eq!((came.read_level, came.time_limit), (sent.read_level, sent.time_limit));
}

#[test]
fn a_key_crosses_and_means_nothing_to_older_versions() {
    let keyed = Some(Idempotency::Keyed(IdempotencyKey::new("k-1").expect("it is a key")));
    let sent = Request { idempotency: keyed.clone(), ..request() };
    assert_eq!(cross(&sent).idempotency, keyed);
    let tag = into_wire(&sent).idempotency;
    assert_eq!(tag, Some(v1::RequestTag::default()), "a session that nobody has");

    let bad = v1::ForwardedRequest { idempotency_key: "a b".to_owned(), ..into_wire(&sent) };
    assert!(from_wire(bad).is_err());
}

#[test]
fn what_a_request_does_not_have_stays_absent() {
    for read_level in [ReadLevel::Linearizable, ReadLevel::Stale, ReadLevel::AtRevision(0)] {
        let sent =
            Request { token: None, client: None, idempotency: None, read_level, ..request() };
        let came = cross(&sent);
        assert!(came.token.is_none() && came.client.is_none() && came.idempotency.is_none());
        assert_eq!(came.read_level, read_level);
    }
}

#[test]
fn nothing_of_a_request_or_reply_stands_in_its_message() {
    let (asker, leader) = (sealer(1, 1), sealer(1, 2));
    let (message, id) = seal_request(&asker, THERE, &request()).expect("it is small");
    let served = Err(Error::invalid("about the canary"));
    let reply = seal_reply(&leader, THERE.back(), id, served).expect("it is sealed");
    for bytes in [message.encode_to_vec(), reply.encode_to_vec()] {
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
    }
    let text = format!("{message:?} {reply:?}");
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn replies_cross_whole() {
    let (asker, leader) = (sealer(1, 1), sealer(1, 2));
    let (_, id) = seal_request(&asker, THERE, &request()).expect("it is small");
    let cross = |served| {
        let reply = seal_reply(&leader, THERE.back(), id, served).expect("it is sealed");
        open_reply(&asker, THERE.back(), id, &reply)
    };
    let (data, warnings) = (Some(Bytes::from_static(b"{}")), vec!["beware".to_owned()]);
    let served = Response {
        data: data.clone(),
        warnings: warnings.clone(),
        auth: data.clone(),
        lease_duration_s: 9,
        revision: 8,
    };
    let came = cross(Ok(served)).expect("a success");
    assert_eq!((came.data, came.warnings, came.revision), (data.clone(), warnings, 8));
    let mut refused = Error::new(ErrorCode::CasMismatch, "another version");
    refused.data = data.clone();
    let came = cross(Err(refused)).expect_err("a refusal");
    assert_eq!((came.code, came.message.as_str()), (ErrorCode::CasMismatch, "another version"));
    assert_eq!(came.data, data);
}

/// A member without the keyring's secret, sealed or of another cluster, gets nothing executed; and
/// an answer that does not open leaves open what happened.
#[test]
fn without_the_secret_nothing_opens() {
    let (asker, leader, stranger) = (sealer(1, 1), sealer(1, 2), sealer(9, 3));
    let (message, id) = seal_request(&asker, THERE, &request()).expect("it is small");
    assert!(open_request(&stranger, THERE, &message.sealed).is_err());
    let other = Route { from: 3, ..THERE };
    assert!(open_request(&leader, other, &message.sealed).is_err(), "another member replays it");
    let served = || Ok(Response::default());
    for reply in [
        seal_reply(&stranger, THERE.back(), id, served()).expect("it is sealed"),
        v1::ForwardReply::default(),
    ] {
        let error = open_reply(&asker, THERE.back(), id, &reply).expect_err("it does not open");
        assert_eq!(error.code, ErrorCode::OutcomeUnknown);
    }
}

#[test]
fn what_opens_but_is_not_understood_is_answered() {
    let (asker, leader) = (sealer(1, 1), sealer(1, 2));
    let unknown = v1::ForwardedRequest { operation: u32::MAX, ..v1::ForwardedRequest::default() };
    for plaintext in [unknown.encode_to_vec(), vec![0xff; 9]] {
        let (sealed, _) = asker.seal_request(THERE, &plaintext).expect("it is sealed");
        let (request, _) = open_request(&leader, THERE, &sealed).expect("it opens");
        let error = request.map(|_| ()).expect_err("it is not understood");
        assert_eq!(error.code, ErrorCode::InvalidRequest);
    }
}

#[test]
fn a_request_above_the_limit_is_refused_before_it_is_sent() {
    let body = vec![b' '; MESSAGE_BYTES_MAX].into();
    let refused = seal_request(&sealer(1, 1), THERE, &Request { body, ..request() });
    assert_eq!(refused.map(|_| ()).expect_err("too large").code, ErrorCode::TooLarge);
}
