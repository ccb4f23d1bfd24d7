//! CONTRACT STUB. Before a started node takes part: do its peers remember more of it than it has?

use conclave_proto::v1;
use conclave_store::identity::Out;

use crate::{RaftConfig, RaftParts};

/// Why a node must not take part.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct StaysOut {
    /// For the durable mark.
    pub why: Out,
    /// For people: what happened, what to do.
    pub text: String,
}

/// Answers greetings, from what a node has on disk. Clones answer the same. It lives before, during
/// and after consensus.
#[derive(Clone)]
pub struct Greeter {}

impl Greeter {
    /// For the node that these parts make.
    #[must_use]
    pub fn new(_config: &RaftConfig, _parts: &RaftParts) -> Self {
        Self {}
    }

    /// What this node remembers of the caller.
    #[must_use]
    pub fn on_greet(&self, _request: &v1::GreetRequest) -> v1::GreetReply {
        v1::GreetReply { seen: None, epoch: 1, removed: false }
    }

    /// Greets the members that this node knows, until a quorum of the voters, itself included, has
    /// answered that it may take part.
    ///
    /// # Errors
    /// It must not: a peer saw more of it, or knows a later epoch without it.
    pub async fn greet(&self) -> Result<(), StaysOut> {
        Ok(())
    }
}
