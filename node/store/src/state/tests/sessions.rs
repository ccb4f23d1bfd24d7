//! Idempotency against a naive model, and its bounds.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Default)]
struct Session {
    owner: String,
    ttl_ms: u64,
    expiry_ms: u64,
    low_water: u64,
    requests: BTreeMap<u64, (String, u64)>,
}

#[derive(Clone, Default)]
struct Model {
    now_ms: u64,
    sessions: BTreeMap<u8, Session>,
}

#[derive(Debug, Clone)]
enum Step {
    Open { session: u8, owner: u8, ttl_ms: u64 },
    Close { session: u8 },
    Request { session: u8, sequence: u64, low_water: u64, fingerprint: u8, holds: bool },
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        2 => (0..3u8, 0..2u8, 1..60u64).prop_map(|(session, owner, ttl_ms)| Step::Open { session, owner, ttl_ms }),
        1 => (0..3u8).prop_map(|session| Step::Close { session }),
        8 => (0..3u8, 0..6u64, 0..6u64, 0..2u8, proptest::bool::weighted(0.8)).prop_map(
            |(session, sequence, low_water, fingerprint, holds)| Step::Request {
                session, sequence, low_water: low_water.min(sequence), fingerprint, holds,
            }
        ),
        1 => Just(Step::Flush),
    ];
    // Now and then the stamped time goes back: apply must not.
    proptest::collection::vec((0..200u64, step), 1..80)
}

impl Model {
    fn step(&mut self, index: u64, stamped_ms: u64, step: &Step) -> Outcome {
        self.now_ms = self.now_ms.max(stamped_ms);
        let now_ms = self.now_ms;
        self.sessions.retain(|_, session| session.expiry_ms > now_ms);
        let applied = Outcome::Applied { revision: index };
        match step {
            Step::Open { session, owner, ttl_ms } => {
                let owner = owner.to_string();
                let fresh = Session { owner: owner.clone(), ttl_ms: *ttl_ms, ..Session::default() };
                let at = self.sessions.entry(*session).or_insert(fresh);
                if at.owner != owner {
                    return Outcome::SessionUnknown;
                }
                at.expiry_ms = now_ms + at.ttl_ms;
                applied
            }
            Step::Close { session } => {
                self.sessions.remove(session);
                applied
            }
            Step::Request { session, sequence, low_water, fingerprint, holds } => {
                let Some(at) = self.sessions.get_mut(session) else {
                    return Outcome::SessionUnknown;
                };
                if *sequence < at.low_water {
                    return Outcome::SessionUnknown;
                }
                at.expiry_ms = now_ms + at.ttl_ms;
                at.low_water = at.low_water.max(*low_water);
                at.requests = at.requests.split_off(&at.low_water);
                let fingerprint = fingerprint.to_string();
                if let Some((known, revision)) = at.requests.get(sequence) {
                    if *known != fingerprint {
                        return Outcome::RequestConflict;
                    }
                    let reply = Bytes::from(format!("reply to {session}/{sequence}"));
                    return Outcome::Replayed { revision: *revision, reply };
                }
                if !holds {
                    return Outcome::ConditionFailed;
                }
                at.requests.insert(*sequence, (fingerprint, index));
                applied
            }
            Step::Flush => unreachable!("a flush is no entry"),
        }
    }
}

fn real(stamped_ms: u64, step: &Step) -> Command {
    let mut command = Command { stamped_ms, ..Command::default() };
    match step {
        Step::Open { session, owner, ttl_ms } => {
            command.session = open_session(*session, &owner.to_string(), *ttl_ms);
        }
        Step::Close { session } => command.session = close_session(*session),
        Step::Request { session, sequence, low_water, fingerprint, holds } => {
            command.request_id = request(*session, *sequence, *low_water, &fingerprint.to_string());
            command.conditions.push(if_key(key("absent"), u64::from(!holds)));
        }
        Step::Flush => unreachable!("a flush is no entry"),
    }
    command
}

proptest! {
    #[test]
    fn requests_are_executed_once(steps in steps()) {
        let engine = Arc::new(MemoryEngine::new());
        let mut state = open(&engine).unwrap();
        let mut model = Model::default();
        for (jitter, step) in steps {
            let index = next_index(&state);
            if let Step::Flush = step {
                // As a restart would: what is known by heart must not matter.
                state.flush().unwrap();
                state = open(&engine).unwrap();
                continue;
            }
            let stamped_ms = index * 10 + jitter / 10;
            let expected = model.step(index, stamped_ms, &step);
            prop_assert_eq!(run(&state, &real(stamped_ms, &step)), expected, "step {:?}", step);
            prop_assert_eq!(state.applied().stamped_ms, model.now_ms);
        }
        // Once every session is over nothing is left of any of them.
        let far = Command { stamped_ms: 1 << 40, ..Command::default() };
        run(&state, &far);
        run(&state, &far);
        prop_assert_eq!(state.applied().state_hash, StateHash::default());
    }
}

#[test]
fn an_owner_has_a_bounded_number_of_sessions() {
    let state = fresh();
    let open = |number: u8, owner: &str| {
        let session = open_session(number, owner, 1_000);
        run(&state, &Command { session, stamped_ms: 1, ..Command::default() })
    };
    for number in 0..SESSIONS_PER_OWNER_MAX as u8 {
        assert!(matches!(open(number, "one"), Outcome::Applied { .. }));
    }
    assert_eq!(open(200, "one"), Outcome::SessionLimit);
    assert!(matches!(open(201, "two"), Outcome::Applied { .. }));
    // A retry of an open that was applied is no new session.
    assert!(matches!(open(3, "one"), Outcome::Applied { .. }));
    let session = close_session(3);
    run(&state, &Command { session, ..Command::default() });
    assert!(matches!(open(200, "one"), Outcome::Applied { .. }));
}

#[test]
fn a_session_that_is_opened_again_takes_no_more_room() {
    let state = fresh();
    let open = |stamped_ms, ttl_ms| {
        let session = open_session(1, "one", ttl_ms);
        run(&state, &Command { session, stamped_ms, ..Command::default() });
        state.shared.read().position.record_count
    };
    let records = open(1, 5_000);
    for stamped_ms in 2..50 {
        assert_eq!(open(stamped_ms, SESSION_TTL_MS_MAX - stamped_ms), records);
    }
}

#[test]
fn a_full_session_forgets_nothing_and_is_swept_in_bounded_steps() {
    let state = fresh();
    let session = open_session(1, "one", 1_000);
    run(&state, &Command { session, stamped_ms: 1, ..Command::default() });
    let ask = |sequence, low_water| {
        let request_id = request(1, sequence, low_water, "f");
        run(&state, &Command { request_id, ..Command::default() })
    };
    for sequence in 0..u64::from(REQUESTS_PER_SESSION_MAX) {
        assert!(matches!(ask(sequence, 0), Outcome::Applied { .. }));
    }
    assert_eq!(ask(5_000, 0), Outcome::SessionLimit);
    assert!(matches!(ask(0, 0), Outcome::Replayed { revision: 2, .. }));
    assert!(matches!(ask(5_000, 1), Outcome::Applied { .. }), "the mark made room");
    assert_eq!(ask(0, 0), Outcome::SessionUnknown, "below the mark");

    // Expired, it is unknown at once, though it takes several entries to delete it.
    let late = 1 << 40;
    let request_id = request(1, 5_000, 1, "f");
    let command = Command { request_id, stamped_ms: late, ..Command::default() };
    assert_eq!(run(&state, &command), Outcome::SessionUnknown);
    let mut entries = 1;
    while state.applied().state_hash != StateHash::default() {
        let before = state.shared.read().position.record_count;
        run(&state, &Command::default());
        let swept = before - state.shared.read().position.record_count;
        assert!((1..=300).contains(&swept), "{swept} records in one entry");
        entries += 1;
    }
    assert!(entries > 2);
}

#[test]
fn a_request_that_closes_its_session_is_not_remembered() {
    let state = fresh();
    let session = open_session(1, "one", 1_000);
    run(&state, &Command { session, ..Command::default() });
    let (request_id, session) = (request(1, 0, 0, "f"), close_session(1));
    let command = Command { request_id, session, ..Command::default() };
    assert!(matches!(run(&state, &command), Outcome::Applied { .. }));
    assert_eq!(run(&state, &command), Outcome::SessionUnknown);
    run(&state, &Command { stamped_ms: 1 << 40, ..Command::default() });
    assert_eq!(state.applied().state_hash, StateHash::default());
}
