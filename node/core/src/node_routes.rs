//! What the node answers by itself in every state, before or beside any core: told of here, served
//! by its doors.

use conclave_mount::{BodyFields, Kind, word};

use crate::Operation;
use crate::Operation::{Read, Write};

/// One operation that needs no core, and no token.
pub(crate) struct NodeRoute {
    pub(crate) pattern: &'static str,
    pub(crate) operation: Operation,
    /// One sentence for a reader.
    pub(crate) help: &'static str,
    pub(crate) bodies: &'static [BodyFields],
}

pub(crate) const NODE_ROUTES: &[NodeRoute] = &[
    route("sys/health", Read, "Whether the node that is asked serves, by its status code.", &[]),
    route("sys/leader", Read, "Which node leads the cluster.", &[]),
    route("sys/seal-status", Read, "Whether the node that is asked is sealed.", &[]),
    route("sys/init", Read, "Whether the cluster was initialised.", &[]),
    route("sys/init", Write, "Makes a cluster, its shares and its root token.", &[INIT]),
    route("sys/unseal", Write, "Takes a share of the key that unseals the node.", &[UNSEAL]),
    route("sys/storage/raft/join", Write, "Lets the node join a cluster.", &[JOIN]),
];

const fn route(
    pattern: &'static str,
    operation: Operation,
    help: &'static str,
    bodies: &'static [BodyFields],
) -> NodeRoute {
    NodeRoute { pattern, operation, help, bodies }
}

const INIT: BodyFields = BodyFields::elsewhere(&[
    word("secret_shares", "How many shares of the unseal key to make.").holds(Kind::Whole),
    word("secret_threshold", "How many of them unseal a node.").holds(Kind::Whole),
    word(
        "recovery_shares",
        "How many shares of the recovery key to make, where a seal opens by itself.",
    )
    .holds(Kind::Whole),
    word("recovery_threshold", "How many of them are the recovery key.").holds(Kind::Whole),
    word("pgp_keys", "Not supported: must be empty.").holds(Kind::Texts),
    word("root_token_pgp_key", "Not supported: must be empty.").holds(Kind::Text),
]);

const UNSEAL: BodyFields = BodyFields::elsewhere(&[
    word("key", "A share, in hex or base64.").holds(Kind::Text),
    word("reset", "Whether the shares given so far are to be forgotten.").holds(Kind::Flag),
]);

const JOIN: BodyFields = BodyFields::elsewhere(&[
    word("join_token", "A secret that the cluster made for one new node.").holds(Kind::Text),
    word("leader_cluster_addr", "The address of a member, for other nodes.").holds(Kind::Text),
    word(
        "leader_api_addr",
        "The address of a member, for clients; its peer listener is one port up.",
    )
    .holds(Kind::Text),
    word("non_voter", "Whether the node only learns.").holds(Kind::Flag),
]);
