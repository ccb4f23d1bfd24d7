//! The way of every request.
//!
//! ```text
//! canonical path → limits → read barrier → route → token, policies ⇒ Permit → turn → audit → engine → commit → audit → answer
//!                                            └──────────── again where the commit lost a race ────────────┘
//! ```
//!
//! One read barrier serves the whole request, reads and writes alike: a write that ends without an
//! entry (403, 404, a check-and-set mismatch) is an answer about the newest state, too. Every level
//! of freshness takes it, because authority is always linearizable; data read behind it then
//! satisfies all levels. Token, policies, mount table and data come from one view, and what was read
//! becomes a condition of the commit.
//!
//! A write to a mount is tried without the barrier first where this node leads as far as it knows:
//! the conditions confirm what was read when the entry is applied. Only an entry comes of that
//! attempt. Anything else it comes to, a refusal above all, is forgotten, and the request runs again
//! behind the barrier.

use conclave_barrier::Transaction;
use conclave_barrier::ledger::ReadPoint;
use conclave_ports::Elapsed;

use crate::audited::{OpenTrail, Trail};
use crate::authority::Permit;
use crate::call::{self, Call, Progress};
use crate::canonical::CanonicalPath;
use crate::mounts::Target;
use crate::routes::{Anybody, Ask};
use crate::turns::Turn;
use crate::update::ATTEMPTS_MAX;
use crate::{Access, Core, Error, Request, Response};
use crate::{errors, help, idempotency, limits, login, storage, token};

/// Proof that a caller may do what one of the streaming routes does. Nothing but [`Core::admit`] can
/// make one, and the node asks for it before it moves a byte. Whatever comes of the stream, its end is
/// told to [`Admitted::conclude`].
#[must_use = "the record of how the stream ended"]
pub struct Admitted {
    revision: u64,
    trail: OpenTrail,
}

impl Admitted {
    /// Everything acknowledged before the caller was admitted is at or below it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Logs how the stream of this request ended.
    ///
    /// # Errors
    /// The answer itself; as of any request where no audit device takes its record.
    pub async fn conclude(
        self,
        request: &Request,
        answer: Result<Response, Error>,
    ) -> Result<Response, Error> {
        self.trail.conclude(request, answer).await
    }
}

impl Core {
    /// Decides whether the caller of a route that streams may do so; what it moves is the node's
    /// business then.
    ///
    /// # Errors
    /// As of a read; `UnsupportedOperation` for any other route.
    pub async fn admit(&self, request: &Request) -> Result<Admitted, Error> {
        let trail = Trail::new(self, request);
        let check = Box::pin(self.check(request, &trail));
        let admitted = match self.ports.within(request.time_limit, check).await {
            Ok(admitted) => admitted,
            Err(Elapsed) => Err(Progress::default().out_of_time()),
        };
        match admitted {
            Ok(revision) => Ok(Admitted { revision, trail: trail.leave_open() }),
            Err(error) => {
                let error = trail.refuse(error).await;
                Err(errors::log_internal(&request.id, error))
            }
        }
    }

    /// The revision that the caller was admitted at.
    async fn check(&self, request: &Request, trail: &Trail<'_>) -> Result<u64, Error> {
        let path = CanonicalPath::new(&request.path, request.operation)?;
        limits::check(request)?;
        let ledger = self.barrier.ledger();
        let point = ledger.read_barrier().await.map_err(errors::from_ledger)?;
        let mut tx = self.barrier.transaction(ledger.view());
        let target = self.mounts.at(&mut tx)?.route(&path, request.operation, &self.engines);
        let now_ms = call::now_ms(&point, &tx);
        let permit = self.authorise(request, &path, target.as_ref(), now_ms, &mut tx)?;
        let target = target?;
        trail.request(&path, &target, &permit, &mut tx).await?;
        match target {
            Target::System { route, serves: true, .. } if route.streams() => {
                Ok(tx.view().revision())
            }
            _ => Err(errors::unsupported_operation()),
        }
    }

    /// Serves one request, wherever [`Core::access`] says that it must run.
    ///
    /// # Errors
    /// Whatever the caller is to be told. `OutcomeUnknown` and `Internal` are the only errors after
    /// which a write may have been executed.
    pub async fn handle(&self, request: &Request) -> Result<Response, Error> {
        let (progress, trail) = (Progress::default(), Trail::new(self, request));
        let serve = Box::pin(self.serve(request, &progress, &trail));
        let answer = match self.ports.within(idempotency::time_limit(request), serve).await {
            Ok(answer) => answer,
            Err(Elapsed) => Err(progress.out_of_time()),
        };
        trail.conclude(answer).await.map_err(|error| errors::log_internal(&request.id, error))
    }

    async fn serve(
        &self,
        request: &Request,
        progress: &Progress,
        trail: &Trail<'_>,
    ) -> Result<Response, Error> {
        let path = CanonicalPath::new(&request.path, request.operation)?;
        limits::check(request)?;
        if help::is_asked(request) {
            return self.help(request, &path).await;
        }
        let run = Run { request, path: &path, unique: self.ports.random(), progress, trail };
        let mut turn = None;
        if let Some(point) = self.write_point(&run)
            && let Some(answer) = self.attempt(&run, &mut turn, Start::Unconfirmed(point)).await?
        {
            return Ok(answer);
        }
        let point = self.barrier.ledger().read_barrier().await.map_err(errors::from_ledger)?;
        for _ in 0..ATTEMPTS_MAX {
            let start = Start::Confirmed(point);
            if let Some(answer) = self.attempt(&run, &mut turn, start).await? {
                return Ok(answer);
            }
        }
        Err(errors::lost_too_many_races())
    }

    /// Where a write to a mount may begin before any barrier: the commit finds everything unchanged
    /// that was read, or nothing happens. Not so what acts outside the log, and not a login, which
    /// costs too much to be tried twice.
    fn write_point(&self, run: &Run<'_>) -> Option<ReadPoint> {
        run.request.token.as_ref()?;
        let operation = run.request.operation;
        let target = self.mounts.current().route(run.path, operation, &self.engines).ok()?;
        let writes = matches!(target, Target::Mount { .. }) && target.writes_rows(operation);
        if writes { self.barrier.ledger().write_point() } else { None }
    }

    /// Serves the request in the newest view. `None`: it must run again. It lost a race, had to wait
    /// for its turn, or came to something else than an entry in a view that nobody confirmed.
    async fn attempt<'a>(
        &'a self,
        run: &Run<'a>,
        turn: &mut Option<Turn<'a>>,
        start: Start,
    ) -> Result<Option<Response>, Error> {
        let &Run { request, path, unique, progress, trail } = run;
        let mut tx = self.barrier.transaction(self.barrier.ledger().view());
        let now_ms = call::now_ms(start.point(), &tx);
        let (target, permit) = match self.decide(run, now_ms, &mut tx) {
            Err(_) if start.is_unconfirmed() => return Ok(None),
            decided => decided?,
        };
        if target.access(request.operation) == Access::Write && turn.is_none() {
            let taken = self.turns.wait(path).await?;
            let waited = taken.was_waited_for();
            *turn = Some(taken);
            if waited {
                return Ok(None);
            }
        }
        trail.request(path, &target, &permit, &mut tx).await?;
        idempotency::check_target(request, &target)?;
        let call = Call { request, permit: &permit, now_ms, unique };
        let answer = self.dispatch(&target, &call, &mut tx, progress).await;
        let answer = answer.and_then(|answer| permit.filter(path, answer));
        let charges = permit.caller.as_ref().is_some_and(|caller| caller.record.uses_left > 0);
        if !target.writes_rows(request.operation) && !charges {
            return without_entry(answer, &tx).map(Some);
        }
        if start.is_unconfirmed() && (answer.is_err() || tx.is_empty()) {
            return Ok(None);
        }
        self.settle(&call, path, answer, tx, progress).await
    }

    /// Where the request leads, and the proof that its caller may go there.
    fn decide(
        &self,
        run: &Run<'_>,
        now_ms: u64,
        tx: &mut Transaction,
    ) -> Result<(Target, Permit), Error> {
        let &Run { request, path, .. } = run;
        call::check_read_level(request.read_level, tx)?;
        let target = self.mounts.at(tx)?.route(path, request.operation, &self.engines);
        let permit = self.authorise(request, path, target.as_ref(), now_ms, tx)?;
        Ok((target?, permit))
    }

    /// Runs the engine or the core's own route. The call's [`Permit`] is the only way in.
    async fn dispatch(
        &self,
        target: &Target,
        call: &Call<'_>,
        tx: &mut Transaction,
        progress: &Progress,
    ) -> Result<Response, Error> {
        match target {
            Target::System { serves: false, .. } => Err(errors::unsupported_operation()),
            Target::System { route, path, .. } => {
                if route.acts_outside() {
                    progress.begin();
                }
                let request = call.of_core(path);
                let caller = call.permit.caller.as_ref();
                let anybody = Anybody { core: self, call, caller, request: &request };
                if let Some(answer) = route.serve_anybody(anybody) {
                    return answer.await;
                }
                let mut ask = Ask::new(self, call, route, &request, tx)?;
                route.serve(&mut ask).await
            }
            Target::Mount { engine, mount, path } => {
                let request = call.of_engine(path, mount);
                let mut rows = storage::MountStorage::new(tx, mount.id());
                let answer = engine.handle(&request, &mut rows).await;
                let name = engine.login_name(&request);
                login::conclude(self, answer, name.as_deref(), mount, call, tx).await
            }
        }
    }

    /// Commits what the request wrote. `None`: it lost a race and must run again.
    ///
    /// A request that carries an id goes through the log even where it fails or writes nothing.
    /// Only apply knows whether the same request ran before; then its first answer stands, not what
    /// the engine made of the state that the first run left behind. So does one that costs its token
    /// a use. A key's session is opened by an entry of its own before: apply takes ids in open
    /// sessions alone.
    async fn settle(
        &self,
        call: &Call<'_>,
        path: &CanonicalPath,
        answer: Result<Response, Error>,
        mut tx: Transaction,
        progress: &Progress,
    ) -> Result<Option<Response>, Error> {
        let tag = idempotency::tag(&self.barrier, call.request, path, &answer);
        if answer.is_err() {
            tx = self.barrier.transaction(tx.view().clone());
        }
        if let Some(caller) = &call.permit.caller {
            token::charge_use(&self.barrier, &mut tx, caller)?;
        }
        if tag.is_none() && tx.is_empty() {
            return answer.map(|answer| Some(answer.at(tx.view().revision())));
        }
        if tag.is_some() && !idempotency::open_key(&self.barrier, call.request).await? {
            return Ok(None);
        }
        progress.begin();
        let outcome = tx.commit(tag).await;
        progress.end();
        idempotency::conclude(outcome.map_err(errors::from_barrier)?, call.request, answer)
    }
}

/// What all attempts at one request share.
struct Run<'a> {
    request: &'a Request,
    path: &'a CanonicalPath,
    unique: [u8; 16],
    progress: &'a Progress,
    trail: &'a Trail<'a>,
}

/// What is known about the view that an attempt begins with.
enum Start {
    /// It holds all that was acknowledged before the request came.
    Confirmed(ReadPoint),
    /// Another node may lead and have acknowledged more.
    Unconfirmed(ReadPoint),
}

impl Start {
    fn point(&self) -> &ReadPoint {
        let (Self::Confirmed(point) | Self::Unconfirmed(point)) = self;
        point
    }

    fn is_unconfirmed(&self) -> bool {
        matches!(self, Self::Unconfirmed(_))
    }
}

/// Answers what writes no row. An engine that said `Read` and wrote has a fault.
fn without_entry(answer: Result<Response, Error>, tx: &Transaction) -> Result<Response, Error> {
    let answer = answer?;
    if !tx.is_empty() {
        return Err(Error::internal("an operation that only reads has written"));
    }
    Ok(answer.at(tx.view().revision()))
}
