//! Unsealing by shares, by the static key or by a peer, and sealing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_barrier::ledger::Ledger;
use conclave_barrier::{Barrier, BarrierError, RootKey, SealRecord};
use conclave_core::{Core, CoreParts, Error, ErrorCode};
use conclave_gateway::NodeStatus;
use conclave_raft::Readiness;
use conclave_seal::{SealError, auto_unseal};
use conclave_store::identity::IdentityError;
use serde_json::json;
use zeroize::Zeroizing;

use super::ceremony_log::status_fields;
use super::halt::copy_of;
use super::phase::{Phase, halted, not_initialized, starting};
use super::{Node, Running};

impl Node {
    /// Takes one share; opens the barrier once enough are there.
    ///
    /// What an API enabled is not known before the barrier is open: both records are in the logs that
    /// the configuration names.
    pub(super) async fn take_share(
        &self,
        share: Zeroizing<Vec<u8>>,
        reset: bool,
    ) -> Result<NodeStatus, Error> {
        let trail = self.begin_ceremony("sys/unseal", json!({"reset": reset})).await?;
        let taken = self.take_logged_share(share, reset).await;
        trail.end(taken.as_ref().map(status_fields)).await;
        taken
    }

    async fn take_logged_share(
        &self,
        share: Zeroizing<Vec<u8>>,
        reset: bool,
    ) -> Result<NodeStatus, Error> {
        self.greeted().await;
        self.catch_up_with_the_seal().await;
        let _one = self.transition.lock().await;
        let running = match self.phase() {
            Phase::Alone => return self.answer_with(share, reset).await,
            Phase::Greeting(_) => return Err(starting()),
            Phase::Out(outside) => return Err(outside.refusal()),
            Phase::Halted(_) => return Err(halted()),
            Phase::Unsealed(..) => return Ok(self.node_status()),
            Phase::Sealed(running) => running,
        };
        if reset {
            self.ceremony().reset();
            return Ok(self.node_status());
        }
        let record = self.seal_record(&running)?;
        let root_key = self.ceremony().give(&record, share).map_err(from_seal_error)?;
        if let Some(root_key) = root_key {
            self.open_barrier(&running, root_key)?;
            self.identities.set_sealed_on_purpose(false).map_err(from_disk_error)?;
        }
        Ok(self.node_status())
    }

    /// Seals this node and keeps it sealed, across restarts too, until somebody unseals it.
    pub(super) async fn seal_on_purpose(&self) -> Result<(), Error> {
        let _one = self.transition.lock().await;
        // A node that waits for space is to come back sealed.
        *self.kept_root_key() = None;
        let Phase::Unsealed(running, core) = self.phase() else { return Ok(()) };
        self.identities.set_sealed_on_purpose(true).map_err(from_disk_error)?;
        if running.raft.status().is_leader
            && let Err(error) = running.raft.transfer_leadership().await
        {
            tracing::warn!(%error, "this node seals while it leads: it stays caretaker");
        }
        drop(core);
        self.seal_now(running, "an operator asked for it");
        Ok(())
    }

    /// Drops every key. The caller holds the transition lock.
    pub(super) fn seal_now(&self, running: Arc<Running>, why: &str) {
        running.raft.set_readiness(Readiness::Sealed);
        self.set_phase(Phase::Sealed(running));
        self.ceremony().reset();
        self.forget_attempts();
        tracing::warn!(why, "this node is sealed");
    }

    /// One try of the ways that need nobody: the static key, then a peer.
    pub(super) async fn try_auto_unseal(&self) {
        let _one = self.transition.lock().await;
        let Phase::Sealed(running) = self.phase() else { return };
        if self.identities.sealed_on_purpose() {
            return;
        }
        // A statement of its own: the guard must not live as long as the branch.
        let kept = copy_of(self.kept_root_key().as_ref());
        if let Some(root_key) = kept {
            if self.open_barrier(&running, root_key).is_ok() {
                *self.kept_root_key() = None;
            }
            return;
        }
        let Ok(record) = self.seal_record(&running) else { return };
        let root_key = match auto_unseal(&self.seal, &record) {
            Ok(Some(root_key)) => Some(root_key),
            Ok(None) if self.config.peer_unseal.allow => self.fetch_root_key(&running).await,
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%error, "the static seal did not open this node");
                None
            }
        };
        if let Some(root_key) = root_key
            && let Err(error) = self.open_barrier(&running, root_key)
        {
            tracing::warn!(%error, "a root key was found but it does not open this node");
        }
    }

    /// Opens the barrier and the core and begins to serve. The caller holds the transition lock.
    pub(super) fn open_barrier(
        &self,
        running: &Arc<Running>,
        root_key: RootKey,
    ) -> Result<(), Error> {
        let ledger: Arc<dyn Ledger> = running.ledger.clone();
        let barrier = Barrier::open(ledger, self.ports.clone(), root_key).map_err(from_barrier)?;
        self.serve_with(running, Arc::new(barrier))
    }

    /// Begins to serve with an open barrier.
    pub(super) fn serve_with(
        &self,
        running: &Arc<Running>,
        barrier: Arc<Barrier>,
    ) -> Result<(), Error> {
        let core = Core::open(CoreParts {
            barrier,
            engines: self.engines(),
            operator: self.me(),
            audit_places: self.audit.clone(),
            ports: self.ports.clone(),
        })?;
        self.follow_authority(running, &core);
        self.set_phase(Phase::Unsealed(running.clone(), Arc::new(core)));
        self.tell_readiness(running);
        // Its work is done, however the node was unsealed.
        *self.unseal_key() = None;
        tracing::info!("this node is unsealed");
        Ok(())
    }

    /// Says what an unsealed node can do. The caller holds the transition lock.
    pub(super) fn tell_readiness(&self, running: &Running) {
        let full = self.has_no_space();
        self.told_full.store(full, Ordering::Release);
        let readiness = if full { Readiness::Full } else { Readiness::Ready };
        running.raft.set_readiness(readiness);
    }

    /// Whether the disk of the data or, for a while, every audit log takes nothing: then another node
    /// had better lead.
    pub(super) fn has_no_space(&self) -> bool {
        let audit_blocks = |core: &Core| {
            core.audit_blocked_for().is_some_and(|blocked| blocked >= AUDIT_BLOCKED_MAX)
        };
        self.space.is_full()
            || matches!(self.phase(), Phase::Unsealed(_, core) if audit_blocks(&core))
    }

    /// The seal record as this node has it.
    pub(super) fn seal_record(&self, running: &Running) -> Result<SealRecord, Error> {
        let view = running.ledger.view();
        conclave_barrier::seal_record(view.as_ref()).map_err(from_barrier)?.ok_or_else(|| {
            Error::new(
                ErrorCode::Unavailable,
                "this node has not received the cluster's state yet; try again once it has caught up",
            )
        })
    }

    pub(super) fn ceremony(&self) -> std::sync::MutexGuard<'_, conclave_seal::Ceremony> {
        self.ceremony.lock().expect("no code panics while it holds the ceremony")
    }
}

pub(super) fn from_barrier(error: BarrierError) -> Error {
    match error {
        BarrierError::WrongKey => {
            Error::invalid("the key does not open this cluster; check that the shares belong to it")
        }
        BarrierError::NotInitialized => not_initialized(),
        BarrierError::AlreadyInitialized => Error::invalid("Vault is already initialized"),
        other => Error::internal(other.to_string()),
    }
}

pub(super) fn from_seal_error(error: SealError) -> Error {
    match error {
        SealError::Invalid(_) | SealError::WrongShares => Error::invalid(error.to_string()),
        SealError::Provider(detail) => Error::internal(detail),
    }
}

pub(super) fn from_disk_error(error: IdentityError) -> Error {
    Error::internal(format!("the data directory cannot be written: {error}"))
}

/// How long a leader's audit log may refuse requests before another node is to lead.
const AUDIT_BLOCKED_MAX: Duration = Duration::from_secs(2);
