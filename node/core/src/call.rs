//! What the steps of one request share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use conclave_barrier::Transaction;
use conclave_barrier::ledger::ReadPoint;

use crate::authority::{MountRights, Permit};
use crate::mounts::MountRecord;
use crate::token::Caller;
use crate::{Error, ErrorCode, Operation, ReadLevel, Request, errors, rows};

/// One authorised request on its way.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a Request,
    /// Proof that it may go on, and who asks.
    pub(crate) permit: &'a Permit,
    /// The cluster's time.
    pub(crate) now_ms: u64,
    /// Random, the same in every attempt.
    pub(crate) unique: [u8; 16],
}

impl Call<'_> {
    /// The request as an engine sees it, its path relative to the mount.
    pub(crate) fn of_engine(&self, path: &str, mount: &MountRecord) -> conclave_mount::Request {
        conclave_mount::Request {
            caller: self.caller(mount),
            mount: Arc::new(mount.view()),
            ..self.of_core(path)
        }
    }

    /// The request as a route of the core sees it.
    pub(crate) fn of_core(&self, path: &str) -> conclave_mount::Request {
        conclave_mount::Request {
            now_ms: self.now_ms,
            unique: self.unique,
            query: self.permit.shown.query(&self.request.query),
            ..unauthorised(self.request, path)
        }
    }

    fn caller(&self, mount: &MountRecord) -> conclave_mount::Caller {
        let address = self.request.client;
        let Some(caller) = &self.permit.caller else {
            return conclave_mount::Caller { address, ..conclave_mount::Caller::default() };
        };
        let rights = MountRights { acl: self.permit.acl().clone(), mount: mount.path.clone() };
        conclave_mount::Caller {
            accessor: caller.record.accessor.clone(),
            display_name: caller.record.display_name.clone(),
            entity_id: String::new(),
            token_id: token_id(caller),
            address,
            rights: Some(Arc::new(rights)),
        }
    }
}

/// What stands for the caller's token; empty for one without a row, which can keep nothing.
pub(crate) fn token_id(caller: &Caller) -> String {
    if caller.record.is_batch() { String::new() } else { rows::encode(&caller.hash) }
}

/// The request with nothing said about who asks: enough to ask whether something is there.
pub(crate) fn unauthorised(request: &Request, path: &str) -> conclave_mount::Request {
    conclave_mount::Request {
        operation: request.operation,
        path: path.to_owned(),
        body: request.body.clone(),
        query: request.query.clone(),
        now_ms: 0,
        unique: [0; 16],
        caller: conclave_mount::Caller::default(),
        mount: Arc::default(),
    }
}

/// A request of which no more is known than its head.
pub(crate) fn unread(operation: Operation, path: &str) -> conclave_mount::Request {
    conclave_mount::Request {
        operation,
        path: path.to_owned(),
        body: Bytes::new(),
        query: BTreeMap::new(),
        now_ms: 0,
        unique: [0; 16],
        caller: conclave_mount::Caller::default(),
        mount: Arc::default(),
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
