//! The way of every request.
//!
//! ```text
//! canonical path → limits → read barrier → turn → token ⇒ Permit → route → engine → commit → answer
//!                                                 └───── again where the commit lost a race ─┘
//! ```
//!
//! One read barrier serves the whole request, reads and writes alike: a write that ends without an
//! entry (403, 404, a check-and-set mismatch) is an answer about the newest state, too. Every level
//! of freshness takes it, because authority is always linearizable; data read behind it then
//! satisfies all levels. Token, mount table and data come from one view, and what was read becomes
//! a condition of the commit.

use conclave_barrier::Transaction;
use conclave_ports::Elapsed;

use crate::call::{self, Call, Progress};
use crate::canonical::CanonicalPath;
use crate::mounts::Target;
use crate::token::Permit;
use crate::turns::Turn;
use crate::update::ATTEMPTS_MAX;
use crate::{Access, Core, Error, Request, Response, Token};
use crate::{errors, idempotency, limits, storage, sys, token};

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
        let admitted = match self.ports.within(request.time_limit, self.check(request)).await {
            Ok(admitted) => admitted,
            Err(Elapsed) => Err(Progress::default().out_of_time()),
        };
        admitted.map_err(|error| errors::log_internal(&request.id, error))
    }

    async fn check(&self, request: &Request) -> Result<Admitted, Error> {
        let path = CanonicalPath::new(&request.path, request.operation)?;
        limits::check(request)?;
        let token = request.token.as_ref().ok_or_else(errors::permission_denied)?;
        let ledger = self.barrier.ledger();
        ledger.read_barrier().await.map_err(errors::from_ledger)?;
        let mut tx = self.barrier.transaction(ledger.view());
        let _permit: Permit = token::authorise(&self.barrier, &mut tx, token)?;
        match self.mounts.at(&mut tx)?.route(&path, &self.engines)? {
            Target::System { route, .. } if route.streams(request.operation) => {
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
        let progress = Progress::default();
        let serve = Box::pin(self.serve(request, &progress));
        let answer = match self.ports.within(request.time_limit, serve).await {
            Ok(answer) => answer,
            Err(Elapsed) => Err(progress.out_of_time()),
        };
        answer.map_err(|error| errors::log_internal(&request.id, error))
    }

    async fn serve(&self, request: &Request, progress: &Progress) -> Result<Response, Error> {
        let path = CanonicalPath::new(&request.path, request.operation)?;
        limits::check(request)?;
        let token = request.token.as_ref().ok_or_else(errors::permission_denied)?;
        let ledger = self.barrier.ledger();
        let point = ledger.read_barrier().await.map_err(errors::from_ledger)?;
        let _turn = self.wait_for_turn(&path, request, token).await?;
        let unique = self.ports.random();
        for _ in 0..ATTEMPTS_MAX {
            let mut tx = self.barrier.transaction(ledger.view());
            call::check_read_level(request.read_level, &tx)?;
            let permit = token::authorise(&self.barrier, &mut tx, token)?;
            let target = self.mounts.at(&mut tx)?.route(&path, &self.engines)?;
            let call = Call { request, token, now_ms: call::now_ms(&point, &tx), unique };
            let answer = self.dispatch(permit, &target, &call, &mut tx, progress).await;
            if !target.writes_rows(request.operation) {
                return without_entry(answer, &tx);
            }
            if let Some(response) = self.settle(&call, &path, answer, tx, progress).await? {
                return Ok(response);
            }
        }
        Err(errors::lost_too_many_races())
    }

    /// Where the request writes, waits until nobody else writes to the same path. Who has no good
    /// token must not stand in anybody's way, so the token is looked at before, too.
    async fn wait_for_turn<'a>(
        &'a self,
        path: &'a CanonicalPath,
        request: &Request,
        token: &Token,
    ) -> Result<Option<Turn<'a>>, Error> {
        if self.access_to(path, request.operation) == Access::Read {
            return Ok(None);
        }
        let mut tx = self.barrier.transaction(self.barrier.ledger().view());
        token::authorise(&self.barrier, &mut tx, token)?;
        drop(tx);
        self.turns.wait(path).await.map(Some)
    }

    /// Runs the engine or the core's own route. A [`Permit`] is the only way in.
    async fn dispatch(
        &self,
        permit: Permit,
        target: &Target,
        call: &Call<'_>,
        tx: &mut Transaction,
        progress: &Progress,
    ) -> Result<conclave_mount::Response, Error> {
        let relative = call.relative_to(target.path());
        match target {
            Target::System { route, .. } => {
                if route.acts_outside() {
                    progress.begin();
                }
                sys::serve(self, permit, route, call, &relative, tx).await
            }
            Target::Mount { engine, mount, .. } => {
                let mut rows = storage::MountStorage::new(tx, mount.id());
                engine.handle(&relative, &mut rows).await
            }
        }
    }

    /// Commits what the request wrote. `None`: it lost a race and must run again.
    ///
    /// A request that carries an id goes through the log even where it fails or writes nothing.
    /// Only apply knows whether the same request ran before; then its first answer stands, not what
    /// the engine made of the state that the first run left behind.
    async fn settle(
        &self,
        call: &Call<'_>,
        path: &CanonicalPath,
        answer: Result<conclave_mount::Response, Error>,
        mut tx: Transaction,
        progress: &Progress,
    ) -> Result<Option<Response>, Error> {
        let tag = idempotency::tag(&self.barrier, call.request, call.token, path, &answer);
        if tag.is_none() && (answer.is_err() || tx.is_empty()) {
            return answer.map(|answer| Some(Response::new(answer, tx.view().revision())));
        }
        if answer.is_err() {
            tx = self.barrier.transaction(tx.view().clone());
        }
        progress.begin();
        let outcome = tx.commit(tag).await;
        progress.end();
        idempotency::conclude(outcome.map_err(errors::from_barrier)?, answer)
    }
}

/// Answers what writes no row. An engine that said `Read` and wrote has a fault.
fn without_entry(
    answer: Result<conclave_mount::Response, Error>,
    tx: &Transaction,
) -> Result<Response, Error> {
    let answer = answer?;
    if !tx.is_empty() {
        return Err(Error::internal("an operation that only reads has written"));
    }
    Ok(Response::new(answer, tx.view().revision()))
}
