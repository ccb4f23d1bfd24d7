//! The core of an unsealed node.

use std::borrow::Cow;
use std::sync::Arc;

use conclave_barrier::Barrier;
use conclave_ports::Ports;

use crate::canonical::CanonicalPath;
use crate::mounts::MountCache;
use crate::turns::Turns;
use crate::{Access, EngineRegistry, Error, Operation, Operator, Request, errors, sys};

/// What a core is built of.
pub struct CoreParts {
    /// Open.
    pub barrier: Arc<Barrier>,
    /// Every engine that a mount may name.
    pub engines: EngineRegistry,
    /// The node and its cluster.
    pub operator: Arc<dyn Operator>,
    /// Time, randomness and tasks.
    pub ports: Ports,
}

/// Serves requests. It exists only while its node is unsealed; sealing drops it.
pub struct Core {
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) engines: EngineRegistry,
    pub(crate) operator: Arc<dyn Operator>,
    pub(crate) ports: Ports,
    pub(crate) mounts: MountCache,
    pub(crate) turns: Turns,
}

impl Core {
    /// Reads the mount table of an initialised ledger and serves from then on.
    ///
    /// # Errors
    /// `NotInitialized` where the ledger has no mount table, `Internal` where it is damaged.
    pub fn open(parts: CoreParts) -> Result<Self, Error> {
        let CoreParts { barrier, engines, operator, ports } = parts;
        let mounts = MountCache::open(&barrier)?;
        Ok(Self { barrier, engines, operator, ports, mounts, turns: Turns::default() })
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
        matches!(operation, Operation::Read | Operation::List)
            && self.access_to(&path, operation) == Access::Read
            && match self.mounts.current().route(&path, &self.engines) {
                Ok(target) => target.reads_anywhere(),
                Err(_) => true,
            }
    }

    pub(crate) fn access_to(&self, path: &CanonicalPath, operation: Operation) -> Access {
        match self.mounts.current().route(path, &self.engines) {
            Ok(target) => target.access(operation),
            Err(_) if path.as_str().starts_with(sys::PREFIX) => Access::Read,
            // The leader knows mounts that this node has not heard of yet.
            Err(_) => match operation {
                Operation::Read | Operation::List => Access::Read,
                Operation::Write | Operation::Delete | Operation::Patch => Access::Write,
            },
        }
    }

    /// What the leader does from time to time: keys near their limit are rotated. Harmless and
    /// refused elsewhere.
    ///
    /// # Errors
    /// As a write.
    pub async fn maintain(&self) -> Result<(), Error> {
        self.barrier.maintain().await.map_err(errors::from_barrier)
    }

    /// What kind of request this is, without any name: a label for metrics.
    pub fn route_template(&self, operation: Operation, path: &str) -> Cow<'static, str> {
        let Ok(path) = CanonicalPath::new(path, operation) else { return "invalid".into() };
        match self.mounts.current().route(&path, &self.engines) {
            Ok(target) => target.template(),
            Err(_) => "unknown".into(),
        }
    }
}
