//! What the steps of one request share.

use std::sync::atomic::{AtomicBool, Ordering};

use conclave_barrier::Transaction;
use conclave_barrier::ledger::ReadPoint;

use crate::{Error, ErrorCode, ReadLevel, Request, Token, errors};

/// One request on its way.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a Request,
    /// The one that the request carries.
    pub(crate) token: &'a Token,
    /// The cluster's time.
    pub(crate) now_ms: u64,
    /// Random, the same in every attempt.
    pub(crate) unique: [u8; 16],
}

impl Call<'_> {
    /// The request as an engine sees it, its path relative to the mount.
    pub(crate) fn relative_to(&self, path: &str) -> conclave_mount::Request {
        conclave_mount::Request {
            operation: self.request.operation,
            path: path.to_owned(),
            body: self.request.body.clone(),
            query: self.request.query.clone(),
            now_ms: self.now_ms,
            unique: self.unique,
        }
    }
}

/// Whether the request's effect is on its way: that is what a time-out then means.
#[derive(Default)]
pub(crate) struct Progress {
    under_way: AtomicBool,
}

impl Progress {
    /// Notes that from here on the effect may or may not come.
    pub(crate) fn begin(&self) {
        self.under_way.store(true, Ordering::Relaxed);
    }

    /// Notes that it is known what became of it.
    pub(crate) fn end(&self) {
        self.under_way.store(false, Ordering::Relaxed);
    }

    /// What the caller is told when time runs out now.
    pub(crate) fn out_of_time(&self) -> Error {
        if self.under_way.load(Ordering::Relaxed) {
            return errors::outcome_unknown();
        }
        Error::new(
            ErrorCode::DeadlineExceeded,
            "the request's time ran out and nothing was executed; try again",
        )
    }
}

/// The leader's clock where it is ahead of the last entry: time ends on an idle cluster, too.
pub(crate) fn now_ms(point: &ReadPoint, tx: &Transaction) -> u64 {
    point.leader_ms.max(tx.view().stamped_ms())
}

/// The view stands behind a read barrier: no acknowledged revision is above it.
pub(crate) fn check_read_level(level: ReadLevel, tx: &Transaction) -> Result<(), Error> {
    match level {
        ReadLevel::AtRevision(revision) if revision > tx.view().revision() => {
            Err(Error::invalid(format!(
                "this cluster has not reached revision {revision}; ask the cluster it came from"
            )))
        }
        _ => Ok(()),
    }
}
