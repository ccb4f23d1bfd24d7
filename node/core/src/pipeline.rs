//! The way of every request.
//!
//! ```text
//! canonical path → limits → read barrier → turn → route → token, policies ⇒ Permit → audit → engine → commit → audit → answer
//!                                                   └──────────── again where the commit lost a race ───────┘
//! ```
//!
//! One read barrier serves the whole request, reads and writes alike: a write that ends without an
//! entry (403, 404, a check-and-set mismatch) is an answer about the newest state, too. Every level
//! of freshness takes it, because authority is always linearizable; data read behind it then
//! satisfies all levels. Token, policies, mount table and data come from one view, and what was read
//! becomes a condition of the commit.

use conclave_barrier::Transaction;
use conclave_ports::Elapsed;

use crate::audited::Trail;
use crate::call::{self, Call, Progress};
use crate::canonical::CanonicalPath;
use crate::mounts::Target;
use crate::routes::{Anybody, Ask};
use crate::turns::Turn;
use crate::update::ATTEMPTS_MAX;
use crate::{Access, Core, Error, Request, Response};
use crate::{errors, help, idempotency, limits, login, storage, token};

/// Proof that a caller may do what one of the streaming routes does. Nothing but [`Core::admit`] can
/// make one, and the node asks for it before it moves a byte.
pub struct Admitted {
    revision: u64,
}

impl Admitted {
    /// Everything acknowledged before the caller was admitted is at or below it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
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
        let answer = admitted.map(|admitted| Response::empty().at(admitted.revision));
        let answer = trail.conclude(answer).await;
        answer
            .map(|answer| Admitted { revision: answer.revision })
            .map_err(|error| errors::log_internal(&request.id, error))
    }

    async fn check(&self, request: &Request, trail: &Trail<'_>) -> Result<Admitted, Error> {
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
                Ok(Admitted { revision: tx.view().revision() })
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
        let answer = match self.ports.within(request.time_limit, serve).await {
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
        let ledger = self.barrier.ledger();
        let point = ledger.read_barrier().await.map_err(errors::from_ledger)?;
        let _turn = self.wait_for_turn(&path, request).await?;
        let unique = self.ports.random();
        for _ in 0..ATTEMPTS_MAX {
            let mut tx = self.barrier.transaction(ledger.view());
            call::check_read_level(request.read_level, &tx)?;
            let now_ms = call::now_ms(&point, &tx);
            let target = self.mounts.at(&mut tx)?.route(&path, request.operation, &self.engines);
            let permit = self.authorise(request, &path, target.as_ref(), now_ms, &mut tx)?;
            let target = target?;
            trail.request(&path, &target, &permit, &mut tx).await?;
            let call = Call { request, permit: &permit, now_ms, unique };
            let answer = self.dispatch(&target, &call, &mut tx, progress).await;
            let answer = answer.and_then(|answer| permit.filter(&path, answer));
            let charges = permit.caller.as_ref().is_some_and(|caller| caller.record.uses_left > 0);
            if !target.writes_rows(request.operation) && !charges {
                return without_entry(answer, &tx);
            }
            if let Some(response) = self.settle(&call, &path, answer, tx, progress).await? {
                return Ok(response);
            }
        }
        Err(errors::lost_too_many_races())
    }

    /// Where the request writes, waits until nobody else writes to the same path. Who may not write
    /// there must not stand in anybody's way, so that is looked at before, too.
    async fn wait_for_turn<'a>(
        &'a self,
        path: &'a CanonicalPath,
        request: &Request,
    ) -> Result<Option<Turn<'a>>, Error> {
        if self.access_to(path, request.operation) == Access::Read {
            return Ok(None);
        }
        let mut tx = self.barrier.transaction(self.barrier.ledger().view());
        let target = self.mounts.at(&mut tx)?.route(path, request.operation, &self.engines);
        let now_ms = tx.view().stamped_ms();
        self.authorise(request, path, target.as_ref(), now_ms, &mut tx)?;
        drop(tx);
        self.turns.wait(path).await.map(Some)
    }

    /// Runs the engine or the core's own route. The call's [`Permit`](crate::authority::Permit) is
    /// the only way in.
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
    /// a use.
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
        progress.begin();
        let outcome = tx.commit(tag).await;
        progress.end();
        idempotency::conclude(outcome.map_err(errors::from_barrier)?, answer)
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
