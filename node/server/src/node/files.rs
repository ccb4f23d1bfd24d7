//! What must stand together in a data directory: a part that is missing must not make a member
//! look like a new node, which would forget what it promised.

use conclave_store::disk::{Disk, Open};
use conclave_store::identity::IdentityStore;

use super::Opened;
use super::opened::WAY_OUT;
use crate::tls::NodeIdentity;

/// Refuses a data directory whose identity or key is gone while other parts are there.
pub(super) fn check(disk: &dyn Disk, identities: &IdentityStore) -> anyhow::Result<()> {
    if identities.load().is_some() {
        anyhow::ensure!(
            disk.open(NODE_KEY, Open::Existing).is_ok(),
            "{NODE_KEY} is gone, and the peers know this node by that key: put the file back, or {WAY_OUT}"
        );
        return Ok(());
    }
    for directory in ["log", "snapshots", "state"] {
        let left = disk.list(directory).unwrap_or_default();
        anyhow::ensure!(
            left.is_empty(),
            "node/identity is gone, but {directory}/ is there, so this node belongs to a cluster: put the file back, or {WAY_OUT}"
        );
    }
    Ok(())
}

/// Refuses a member whose certificate is another node's, or none of its cluster.
pub(super) fn check_certificate(tls: &NodeIdentity, opened: &Opened) -> anyhow::Result<()> {
    // Before it is initialised a cluster has no authority, and its one node no membership to lose.
    let members = opened.state.applied().membership.and_then(|stored| stored.membership);
    let alone = members.is_none_or(|found| found.members.len() <= 1);
    let signed_for = tls.signed_for();
    anyhow::ensure!(
        signed_for == Some(opened.node_id) || (signed_for.is_none() && alone),
        "tls/node.crt and tls/ca.crt do not show that this is node {} of its cluster: put the right files back, or {WAY_OUT}",
        opened.node_id
    );
    Ok(())
}

const NODE_KEY: &str = "tls/node.key";
