//! One request's two records: before it is executed and before it is answered.

use std::sync::{Arc, Mutex, PoisonError};

use conclave_barrier::Transaction;
use conclave_ports::Ports;

use super::Enabled;
use super::parts::{Answer, Entry};
use crate::audit::Blocked;
use crate::authority::Permit;
use crate::canonical::CanonicalPath;
use crate::mounts::Target;
use crate::{Core, Error, ErrorCode, Operation, Request, Response, token};

/// One request on its way through the audit log. Whatever happens to it, [`Trail::conclude`] comes
/// last.
pub(crate) struct Trail<'a> {
    core: &'a Core,
    request: &'a Request,
    state: Mutex<State>,
}

/// How far the trail is.
#[derive(Clone, Default)]
enum State {
    /// The request was not let through to anything that executes.
    #[default]
    Unlogged,
    /// Its record is in these devices' logs.
    Logged(Arc<Logged>),
    /// Its record is nowhere, and it was not executed.
    Blocked,
    /// Nothing is logged on this node.
    Silent,
}

struct Logged {
    enabled: Arc<Enabled>,
    entry: Entry,
}

impl<'a> Trail<'a> {
    pub(crate) fn new(core: &'a Core, request: &'a Request) -> Self {
        Self { core, request, state: Mutex::default() }
    }

    /// Logs the request: nothing of it may be executed before. In a later attempt that is done
    /// already, unless devices were enabled meanwhile.
    ///
    /// # Errors
    /// `Unavailable`: no device takes the record.
    pub(crate) async fn request(
        &self,
        path: &CanonicalPath,
        target: &Target,
        permit: &Permit,
        tx: &mut Transaction,
    ) -> Result<(), Error> {
        let enabled = self.core.audits.at(tx)?;
        if enabled.audit.is_silent() {
            self.set(State::Silent);
            return Ok(());
        }
        if matches!(self.state(), State::Logged(before) if Arc::ptr_eq(&before.enabled, &enabled)) {
            return Ok(());
        }
        let entry = Entry::permitted(self.request, path, target, permit);
        self.log(enabled, entry, "").await
    }

    /// Logs the answer, and before it a request that was refused before it could be executed.
    ///
    /// # Errors
    /// The answer itself; `Unavailable` or `OutcomeUnknown` where no device takes its record.
    pub(crate) async fn conclude(
        &self,
        answer: Result<Response, Error>,
    ) -> Result<Response, Error> {
        if matches!(self.state(), State::Unlogged) {
            self.log_refused(&answer).await?;
        }
        self.leave_open().conclude(self.request, answer).await
    }

    /// Logs a refusal.
    pub(crate) async fn refuse(&self, error: Error) -> Error {
        match self.conclude(Err(error)).await {
            Err(error) => error,
            Ok(_) => Error::internal("the audit log made an answer of a refusal"),
        }
    }

    /// For a request whose end comes after the call that let it in.
    pub(crate) fn leave_open(&self) -> OpenTrail {
        let logged = match self.state() {
            State::Logged(logged) => Some(logged),
            State::Unlogged | State::Blocked | State::Silent => None,
        };
        OpenTrail { logged, ports: self.core.ports.clone() }
    }

    async fn log(&self, enabled: Arc<Enabled>, entry: Entry, error: &str) -> Result<(), Error> {
        let time_ms = self.core.ports.clock.wall_ms();
        let record = entry.record(self.request, &enabled.headers, error, time_ms);
        if enabled.audit.request(&record).await == Err(Blocked) {
            self.set(State::Blocked);
            return Err(blocked());
        }
        self.set(State::Logged(Arc::new(Logged { enabled, entry })));
        Ok(())
    }

    /// Who asked is looked up once more, in the newest state this node has: it is told, not decided.
    /// What is no path of ours is nobody's business.
    async fn log_refused(&self, answer: &Result<Response, Error>) -> Result<(), Error> {
        let Request { path, operation, .. } = self.request;
        let Ok(path) = CanonicalPath::new(path, *operation) else { return Ok(()) };
        let core = self.core;
        let mut tx = core.barrier.transaction(core.barrier.ledger().view());
        let Some(enabled) = core.audits.at(&mut tx).ok().or_else(|| core.audits.newest()) else {
            return Ok(());
        };
        if enabled.audit.is_silent() {
            return Ok(());
        }
        let now_ms = tx.view().stamped_ms();
        let caller = self.request.token.as_ref().and_then(|token| {
            token::authenticate(&core.barrier, &mut tx, token, now_ms, self.request.client).ok()
        });
        let target = core.mounts.current().route(&path, *operation, &core.engines).ok();
        let denied = matches!(answer, Err(error) if error.code == ErrorCode::PermissionDenied);
        let entry = Entry::refused(self.request, &path, target.as_ref(), caller, denied);
        self.log(enabled, entry, Answer::new(answer).error()).await
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// A request whose record is in the log and whose answer's is not yet. It needs no core: a node that is
/// sealed meanwhile still says how it ended.
pub(crate) struct OpenTrail {
    logged: Option<Arc<Logged>>,
    ports: Ports,
}

impl OpenTrail {
    /// Logs the answer.
    ///
    /// # Errors
    /// The answer itself; `Unavailable` or `OutcomeUnknown` where no device takes its record.
    pub(crate) async fn conclude(
        &self,
        request: &Request,
        answer: Result<Response, Error>,
    ) -> Result<Response, Error> {
        let Some(Logged { enabled, entry }) = self.logged.as_deref() else { return answer };
        let told = Answer::new(&answer);
        let time_ms = self.ports.clock.wall_ms();
        let record = entry.record(request, &enabled.headers, told.error(), time_ms);
        match enabled.audit.response(&record, &told.part()).await {
            Ok(()) => answer,
            Err(Blocked) => Err(withheld(request.operation, &answer)),
        }
    }
}

/// What is said in place of an answer whose record no device takes.
fn withheld(operation: Operation, answer: &Result<Response, Error>) -> Error {
    let executed = match answer {
        Ok(_) => true,
        Err(error) => matches!(error.code, ErrorCode::OutcomeUnknown | ErrorCode::Internal),
    };
    if operation.reads() || !executed {
        return blocked();
    }
    Error::new(
        ErrorCode::OutcomeUnknown,
        "the request was executed, but no audit device takes the record of its answer, so the \
         answer is withheld; free space on the device's disk, and read before you repeat it",
    )
}

/// Nothing was executed: another node may do better.
pub(super) fn blocked() -> Error {
    Error::new(ErrorCode::Unavailable, Blocked.to_string())
}
