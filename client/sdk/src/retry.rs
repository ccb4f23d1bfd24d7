//! The one retry helper: what an attempt's end means, and what to do next.
//!
//! The rule that everything here serves: **a request that may have been executed is sent again only
//! if sending it again cannot execute it twice.**

use std::error::Error as _;
use std::time::{Duration, Instant};

use conclave_proto::{ErrorCode, Retry};
use tonic::Status;

use crate::config::RetryLimits;
use crate::error::Error;

/// Why sending a request again does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replay {
    /// It has no effect, or only one that does not matter.
    Free,
    /// It carries a request id, which the cluster executes once.
    Tagged,
    /// It does harm: send again only what was surely not executed.
    Once,
}

/// How an attempt ended without success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A node said so.
    Refused { code: ErrorCode, message: String },
    /// No connection, so nothing was sent.
    NotSent { message: String },
    /// Sent, perhaps, and no answer.
    Lost { message: String },
}

impl Failure {
    pub(crate) fn timed_out(limit: Duration) -> Self {
        Self::Lost { message: format!("no answer within {} ms", limit.as_millis()) }
    }

    /// Whether the node is better left alone for a while.
    pub(crate) fn is_of_node(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Lost { .. } => true,
            Self::Refused { code, .. } => {
                matches!(
                    code,
                    ErrorCode::Sealed | ErrorCode::Quarantined | ErrorCode::NotInitialized
                )
            }
        }
    }

    /// Whether what is known of leader and members may be out of date.
    pub(crate) fn is_of_topology(&self) -> bool {
        let Self::Refused { code, .. } = self else { return true };
        matches!(code, ErrorCode::NoLeader | ErrorCode::Unavailable) || self.is_of_node()
    }

    fn message(&self) -> &str {
        match self {
            Self::Refused { message, .. } | Self::NotSent { message } | Self::Lost { message } => {
                message
            }
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let text = |key: &str| status.metadata().get(key).and_then(|value| value.to_str().ok());
        let code = text(ERROR_METADATA).and_then(|number| number.parse().ok());
        if let Some(code) = code.and_then(ErrorCode::from_wire) {
            return Self::Refused { code, message: status.message().to_owned() };
        }
        let message = describe(&status);
        if is_connect_error(&status) {
            return Self::NotSent { message };
        }
        match foreign_code(status.code()) {
            Some(code) => Self::Refused { code, message },
            None => Self::Lost { message },
        }
    }
}

/// Refusals by the gRPC layer itself, which knows no error table and executes nothing.
fn foreign_code(code: tonic::Code) -> Option<ErrorCode> {
    match code {
        tonic::Code::Unimplemented => Some(ErrorCode::UnsupportedOperation),
        tonic::Code::InvalidArgument => Some(ErrorCode::InvalidRequest),
        tonic::Code::OutOfRange => Some(ErrorCode::TooLarge),
        tonic::Code::Unauthenticated => Some(ErrorCode::PermissionDenied),
        _ => None,
    }
}

fn is_connect_error(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The status' text and that of its innermost cause, which names the real trouble, unless the text
/// names it already.
fn describe(status: &Status) -> String {
    let mut innermost = None;
    let mut source = status.source();
    while let Some(error) = source {
        innermost = Some(error);
        source = error.source();
    }
    let message = status.message();
    match innermost.map(ToString::to_string) {
        Some(cause) if !message.contains(&cause) => format!("{message}: {cause}"),
        _ => message.to_owned(),
    }
}

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Send it again after this pause.
    Again(Duration),
    /// The session ended before anything was executed with it: open another and go on.
    NewSession,
    /// Tell the caller.
    Stop(Error),
}

/// One call's way through its attempts.
pub(crate) struct Progress {
    replay: Replay,
    limits: RetryLimits,
    deadline: Instant,
    attempts: u32,
    may_have_run: bool,
    sealed_in_a_row: usize,
    faults: u32,
    new_sessions: u32,
    /// What a node last answered: it says more than that another node is gone.
    answer: Option<(ErrorCode, String)>,
    pause: Pause,
}

impl Progress {
    pub(crate) fn new(replay: Replay, limits: RetryLimits, deadline: Instant, seed: u64) -> Self {
        Self {
            replay,
            limits,
            deadline,
            attempts: 0,
            may_have_run: false,
            sealed_in_a_row: 0,
            faults: 0,
            new_sessions: 0,
            answer: None,
            pause: Pause { next: limits.pause_min, random: seed | 1 },
        }
    }

    /// How long the call may still take.
    pub(crate) fn time_left(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }

    /// Whether an attempt ended such that the request may have been executed.
    #[cfg(test)]
    pub(crate) fn may_have_run(&self) -> bool {
        self.may_have_run
    }

    /// Judges a failure, while `nodes` nodes are known.
    pub(crate) fn after(&mut self, failure: &Failure, nodes: usize, now: Instant) -> Verdict {
        self.attempts += 1;
        if let Failure::Refused { code, message } = failure {
            self.answer = Some((*code, message.clone()));
        }
        let stop = match failure {
            Failure::NotSent { .. } => None,
            Failure::Lost { message } => self.after_unclear(message),
            Failure::Refused { code: ErrorCode::SessionUnknown, message }
                if self.replay == Replay::Tagged =>
            {
                return self.after_unknown_session(message);
            }
            Failure::Refused { code, message } => self.after_refusal(*code, message, nodes),
        };
        match stop {
            Some(error) => Verdict::Stop(error),
            None => self.again(failure, now),
        }
    }

    fn after_refusal(&mut self, code: ErrorCode, message: &str, nodes: usize) -> Option<Error> {
        let refused = || Some(Error::Refused { code, message: message.to_owned() });
        self.sealed_in_a_row = if code == ErrorCode::Sealed { self.sealed_in_a_row + 1 } else { 0 };
        if self.sealed_in_a_row >= SEALED_ROUNDS_MAX * nodes.max(1) && !self.may_have_run {
            return refused();
        }
        if self.may_have_run && is_judged_before_the_request_id(code) {
            // It says nothing about an earlier attempt whose answer was lost.
            return Some(Error::OutcomeUnknown { message: message.to_owned() });
        }
        match code.retry() {
            Retry::Never => refused(),
            Retry::Safe => None,
            Retry::WithRequestId => {
                if code == ErrorCode::Internal {
                    self.faults += 1;
                    if self.faults >= FAULTS_MAX || self.replay == Replay::Once {
                        return refused();
                    }
                }
                self.after_unclear(message)
            }
        }
    }

    /// The request may have been executed.
    fn after_unclear(&mut self, message: &str) -> Option<Error> {
        self.may_have_run |= self.replay != Replay::Free;
        let stop = self.replay == Replay::Once;
        stop.then(|| Error::OutcomeUnknown { message: message.to_owned() })
    }

    fn after_unknown_session(&mut self, message: &str) -> Verdict {
        self.new_sessions += 1;
        if self.may_have_run || self.new_sessions > NEW_SESSIONS_MAX {
            return Verdict::Stop(Error::OutcomeUnknown { message: message.to_owned() });
        }
        Verdict::NewSession
    }

    fn again(&mut self, failure: &Failure, now: Instant) -> Verdict {
        let pause = self.pause.take(self.limits.pause_max);
        if self.attempts < self.limits.attempts_max && now + pause < self.deadline {
            return Verdict::Again(pause);
        }
        Verdict::Stop(match &self.answer {
            Some((code, message)) if !self.may_have_run && *code != ErrorCode::OutcomeUnknown => {
                Error::Refused { code: *code, message: message.clone() }
            }
            _ => self.exhausted(failure.message()),
        })
    }

    fn exhausted(&self, message: &str) -> Error {
        let message = message.to_owned();
        if self.may_have_run {
            Error::OutcomeUnknown { message }
        } else {
            Error::Unreachable { attempts: self.attempts, message }
        }
    }
}

/// Refusals that a node gives before it looks whether the request ran before.
fn is_judged_before_the_request_id(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::PermissionDenied
            | ErrorCode::NotFound
            | ErrorCode::UnsupportedOperation
            | ErrorCode::NotInitialized
    )
}

/// Exponential pauses with jitter.
struct Pause {
    next: Duration,
    random: u64,
}

impl Pause {
    /// Between half of the pause whose turn it is and all of it.
    fn take(&mut self, longest: Duration) -> Duration {
        let whole = self.next.min(longest);
        self.next = (whole * 2).min(longest);
        self.random = xorshift(self.random);
        let cut = whole.mul_f64(f64::from((self.random >> 40) as u32) / f64::from(1_u32 << 25));
        whole - cut
    }
}

/// Marsaglia's generator with shifts 13, 7, 17: good enough to spread clients.
pub(crate) fn xorshift(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    state
}

/// The number of an `ErrorCode`, on every refusal by a node.
const ERROR_METADATA: &str = "conclave-error";
/// Each node may say twice that it is sealed; then somebody has to act.
const SEALED_ROUNDS_MAX: usize = 2;
/// Faults of the cluster that one request may meet: more are not a passing trouble.
const FAULTS_MAX: u32 = 5;
/// Sessions a single request may use up.
const NEW_SESSIONS_MAX: u32 = 3;

#[cfg(test)]
mod tests;
