use super::*;

const FAR: Duration = Duration::from_secs(3600);

fn progress(replay: Replay) -> Progress {
    Progress::new(replay, RetryLimits::default(), crate::runtime::now() + FAR, 7)
}

fn refused(code: ErrorCode) -> Failure {
    Failure::Refused { code, message: "words".into() }
}

fn unknown_session() -> Failure {
    refused(ErrorCode::SessionUnknown)
}

fn lost() -> Failure {
    Failure::Lost { message: "words".into() }
}

fn judge(progress: &mut Progress, failure: &Failure) -> Verdict {
    progress.after(failure, 3, crate::runtime::now())
}

fn goes_on(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Again(_))
}

fn outcome_unknown() -> Verdict {
    Verdict::Stop(Error::OutcomeUnknown { message: "words".into() })
}

#[test]
fn each_code_is_retried_as_the_table_says() {
    for code in ErrorCode::ALL {
        for replay in [Replay::Free, Replay::Tagged, Replay::Once] {
            let expected = match code.retry() {
                Retry::Never => false,
                Retry::Safe => true,
                Retry::WithRequestId => replay != Replay::Once,
            };
            let verdict = judge(&mut progress(replay), &refused(code));
            assert_eq!(goes_on(&verdict), expected, "{code:?} {replay:?}");
        }
    }
}

#[test]
fn a_lost_answer_is_final_only_for_what_harms_twice() {
    assert!(goes_on(&judge(&mut progress(Replay::Free), &lost())));
    assert!(goes_on(&judge(&mut progress(Replay::Tagged), &lost())));
    assert_eq!(judge(&mut progress(Replay::Once), &lost()), outcome_unknown());
}

#[test]
fn a_refusal_does_not_deny_that_an_earlier_attempt_ran() {
    let mut first = progress(Replay::Tagged);
    let denied = refused(ErrorCode::PermissionDenied);
    let verdict = judge(&mut first, &denied);
    assert!(matches!(verdict, Verdict::Stop(Error::Refused { .. })), "nothing ran");

    let mut second = progress(Replay::Tagged);
    assert!(goes_on(&judge(&mut second, &lost())));
    assert_eq!(judge(&mut second, &denied), outcome_unknown());

    let mut judged = progress(Replay::Tagged);
    assert!(goes_on(&judge(&mut judged, &lost())));
    let verdict = judge(&mut judged, &refused(ErrorCode::CasMismatch));
    assert!(matches!(verdict, Verdict::Stop(Error::Refused { .. })), "it went through the log");
}

#[test]
fn what_was_not_sent_is_always_sent_again() {
    let failure = Failure::NotSent { message: "words".into() };
    for replay in [Replay::Free, Replay::Tagged, Replay::Once] {
        let mut progress = progress(replay);
        assert!(goes_on(&judge(&mut progress, &failure)));
        assert!(!progress.may_have_run());
    }
}

#[test]
fn an_unknown_session_is_replaced_only_before_anything_may_have_run() {
    let mut fresh = progress(Replay::Tagged);
    assert_eq!(judge(&mut fresh, &unknown_session()), Verdict::NewSession);

    let mut after_refusal = progress(Replay::Tagged);
    assert!(goes_on(&judge(&mut after_refusal, &refused(ErrorCode::NoLeader))));
    assert_eq!(judge(&mut after_refusal, &unknown_session()), Verdict::NewSession);

    let mut after_loss = progress(Replay::Tagged);
    assert!(goes_on(&judge(&mut after_loss, &lost())));
    assert_eq!(judge(&mut after_loss, &unknown_session()), outcome_unknown());
}

#[test]
fn sessions_are_not_replaced_for_ever() {
    let mut progress = progress(Replay::Tagged);
    for _ in 0..NEW_SESSIONS_MAX {
        assert_eq!(judge(&mut progress, &unknown_session()), Verdict::NewSession);
    }
    assert_eq!(judge(&mut progress, &unknown_session()), outcome_unknown());
}

#[test]
fn faults_of_the_cluster_end_the_call_and_unclear_answers_do_not() {
    let mut tagged = progress(Replay::Tagged);
    for _ in 0..10 * FAULTS_MAX {
        assert!(goes_on(&judge(&mut tagged, &refused(ErrorCode::OutcomeUnknown))));
    }
    for _ in 1..FAULTS_MAX {
        assert!(goes_on(&judge(&mut tagged, &refused(ErrorCode::Internal))));
    }
    let verdict = judge(&mut tagged, &refused(ErrorCode::Internal));
    let code = ErrorCode::Internal;
    assert_eq!(verdict, Verdict::Stop(Error::Refused { code, message: "words".into() }));
}

#[test]
fn at_the_end_an_executed_write_is_not_called_refused() {
    let limits = RetryLimits { attempts_max: 2, ..RetryLimits::default() };
    let deadline = crate::runtime::now() + FAR;
    let mut progress = Progress::new(Replay::Tagged, limits, deadline, 7);
    assert!(goes_on(&judge(&mut progress, &lost())));
    assert_eq!(judge(&mut progress, &refused(ErrorCode::NoLeader)), outcome_unknown());

    let mut progress = Progress::new(Replay::Tagged, limits, deadline, 7);
    assert!(goes_on(&judge(&mut progress, &refused(ErrorCode::Busy))));
    let verdict = judge(&mut progress, &refused(ErrorCode::NoLeader));
    let code = ErrorCode::NoLeader;
    assert_eq!(verdict, Verdict::Stop(Error::Refused { code, message: "words".into() }));
}

#[test]
fn no_pause_reaches_beyond_the_deadline() {
    let deadline = crate::runtime::now() + Duration::from_millis(1);
    let mut progress = Progress::new(Replay::Free, RetryLimits::default(), deadline, 7);
    let verdict = judge(&mut progress, &lost());
    assert!(matches!(verdict, Verdict::Stop(Error::Unreachable { attempts: 1, .. })));
}

#[test]
fn a_wholly_sealed_cluster_is_reported_soon() {
    let mut progress = progress(Replay::Free);
    let mut attempts = 1;
    while goes_on(&judge(&mut progress, &refused(ErrorCode::Sealed))) {
        attempts += 1;
    }
    assert_eq!(attempts, 3 * SEALED_ROUNDS_MAX, "each of three nodes was asked twice");
}

#[test]
fn pauses_double_up_to_the_longest_and_keep_at_least_half() {
    let longest = Duration::from_millis(100);
    let mut pause = Pause { next: Duration::from_millis(10), random: 7 };
    for whole_ms in [10, 20, 40, 80, 100, 100] {
        let whole = Duration::from_millis(whole_ms);
        let taken = pause.take(longest);
        assert!(whole / 2 <= taken && taken <= whole, "{taken:?} of {whole:?}");
    }
}

#[test]
fn a_status_without_our_number_is_judged_by_what_carried_it() {
    let lost = Failure::from(Status::unavailable("gone"));
    assert_eq!(lost, Failure::Lost { message: "gone".into() });
    let foreign = Failure::from(Status::unimplemented("no such service"));
    assert!(
        matches!(foreign, Failure::Refused { code: ErrorCode::UnsupportedOperation, .. }),
        "{foreign:?}"
    );
    let mut numbered = Status::unavailable("no leader");
    numbered.metadata_mut().insert(ERROR_METADATA, "12".parse().expect("a number"));
    assert!(matches!(Failure::from(numbered), Failure::Refused { code: ErrorCode::NoLeader, .. }));
}

#[test]
fn a_nodes_answer_is_told_rather_than_that_another_node_is_gone() {
    let limits = RetryLimits { attempts_max: 3, ..RetryLimits::default() };
    let deadline = crate::runtime::now() + FAR;
    let gone = Failure::NotSent { message: "gone".into() };
    let mut progress = Progress::new(Replay::Free, limits, deadline, 7);
    assert!(goes_on(&judge(&mut progress, &refused(ErrorCode::Unavailable))));
    assert!(goes_on(&judge(&mut progress, &gone)));
    let code = ErrorCode::Unavailable;
    let told = Verdict::Stop(Error::Refused { code, message: "words".into() });
    assert_eq!(judge(&mut progress, &gone), told);
}

#[test]
fn a_cause_is_named_once() {
    let cause = || std::io::Error::other("broken pipe");
    let status = Status::from_error(Box::new(cause()));
    let said = describe(&status);
    assert_eq!(said.matches("broken pipe").count(), 1, "{said}");
    let mut status = Status::unavailable("transport error");
    status.set_source(std::sync::Arc::new(cause()));
    assert_eq!(describe(&status), "transport error: broken pipe");
}
