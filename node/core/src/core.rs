//! The core of an unsealed node.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use conclave_barrier::Barrier;
use conclave_ports::Ports;

use crate::audited::{AuditPlaces, Audits, Enabled};
use crate::canonical::CanonicalPath;
use crate::ceremony_budget::CeremonyBudget;
use crate::mounts::MountCache;
use crate::policies::PolicyCache;
use crate::quotas::Quotas;
use crate::turns::Turns;
use crate::{
    Access, EngineRegistry, Error, Operation, Operator, Request, errors, routes, sweep, sys, token,
};

/// What a core is built of.
pub struct CoreParts {
    /// Open.
    pub barrier: Arc<Barrier>,
    /// Every engine that a mount may name.
    pub engines: EngineRegistry,
    /// The node and its cluster.
    pub operator: Arc<dyn Operator>,
    /// Where audit devices write.
    pub audit_places: Arc<dyn AuditPlaces>,
    /// Time, randomness and tasks.
    pub ports: Ports,
}

/// Serves requests. It exists only while its node is unsealed; sealing drops it.
pub struct Core {
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) engines: EngineRegistry,
    pub(crate) operator: Arc<dyn Operator>,
    pub(crate) ports: Ports,
    pub(crate) audits: Audits,
    pub(crate) mounts: MountCache,
    pub(crate) policies: PolicyCache,
    pub(crate) quotas: Quotas,
    pub(crate) turns: Turns,
    pub(crate) ceremony_budget: CeremonyBudget,
    pub(crate) cors: sys::CorsCache,
    pub(crate) token_sweep: token::TokenSweep,
}

impl Core {
    /// Reads the mount table of an initialised ledger and serves from then on.
    ///
    /// # Errors
    /// `NotInitialized` where the ledger has no mount table, `Internal` where it is damaged.
    pub fn open(parts: CoreParts) -> Result<Self, Error> {
        let CoreParts { barrier, engines, operator, audit_places, ports } = parts;
        let audits = Audits::new(barrier.clone(), ports.clone(), audit_places);
        let mounts = MountCache::open(&barrier)?;
        Ok(Self {
            barrier,
            engines,
            operator,
            ports,
            audits,
            mounts,
            policies: PolicyCache::default(),
            quotas: Quotas::default(),
            turns: Turns::default(),
            ceremony_budget: CeremonyBudget::default(),
            cors: sys::CorsCache::default(),
            token_sweep: token::TokenSweep::default(),
        })
    }

    /// The open barrier, for what the node does with keys beyond requests.
    pub fn barrier(&self) -> &Arc<Barrier> {
        &self.barrier
    }

    /// Whether a request must run on the leader, from operation and path alone. A path that is not
    /// canonical or leads nowhere may be refused anywhere.
    pub fn access(&self, request: &Request) -> Access {
        match CanonicalPath::new(&request.path, request.operation) {
            Ok(path) => self.access_to(&path, request.operation),
            Err(_) => Access::Read,
        }
    }

    /// Whether the request only reads, and reads the same on every node: one that cannot serve it
    /// may hand it to the leader, and no outcome of that is unknown.
    pub fn reads_anywhere(&self, request: &Request) -> bool {
        let (operation, path) = (request.operation, &request.path);
        let Ok(path) = CanonicalPath::new(path, operation) else { return false };
        operation.reads()
            && self.access_to(&path, operation) == Access::Read
            && match self.mounts.current().route(&path, operation, &self.engines) {
                Ok(target) => target.reads_anywhere(),
                Err(_) => true,
            }
    }

    /// Whether the request is about the very node that was asked, so that no other may serve it.
    pub fn is_for_this_node(&self, request: &Request) -> bool {
        let Ok(path) = CanonicalPath::new(&request.path, request.operation) else { return true };
        let target = self.mounts.current().route(&path, request.operation, &self.engines);
        target.is_ok_and(|target| target.is_for_this_node())
    }

    pub(crate) fn access_to(&self, path: &CanonicalPath, operation: Operation) -> Access {
        match self.mounts.current().route(path, operation, &self.engines) {
            Ok(target) => target.access(operation),
            Err(_) if routes::is_own(path.as_str()) => Access::Read,
            // The leader knows mounts that this node has not heard of yet.
            Err(_) => match operation {
                Operation::Read | Operation::List | Operation::Scan => Access::Read,
                Operation::Write | Operation::Delete | Operation::Patch => Access::Write,
            },
        }
    }

    /// The headers that the audit log may hold, as far as this node has heard: the doors collect no
    /// others.
    pub fn audited_headers(&self) -> Vec<String> {
        let enabled = self.audits.newest();
        let names = |enabled: Arc<Enabled>| {
            enabled.headers.iter().map(|(name, _)| name.to_owned()).collect()
        };
        enabled.map(names).unwrap_or_default()
    }

    /// For how long requests have been refused, or would have been, because no audit device takes
    /// their records. `None` while one does.
    pub fn audit_blocked_for(&self) -> Option<Duration> {
        self.audits.newest().and_then(|enabled| enabled.audit.blocked_for())
    }

    /// What the leader does from time to time: keys near their limit are rotated, rows of disabled
    /// mounts and of ended tokens are taken away. Harmless and refused elsewhere.
    ///
    /// # Errors
    /// As a write.
    pub async fn maintain(&self) -> Result<(), Error> {
        self.barrier.maintain().await.map_err(errors::from_barrier)?;
        sys::rotate_where_due(self).await?;
        sys::note_version(self).await?;
        sweep::step(self).await?;
        token::sweep_step(self).await
    }

    /// What kind of request this is, without any name: a label for metrics.
    pub fn route_template(&self, operation: Operation, path: &str) -> Cow<'static, str> {
        let Ok(path) = CanonicalPath::new(path, operation) else { return "invalid".into() };
        match self.mounts.current().route(&path, operation, &self.engines) {
            Ok(target) => target.template(),
            Err(_) => "unknown".into(),
        }
    }
}
