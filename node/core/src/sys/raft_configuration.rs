//! `sys/storage/raft/configuration`: the members, as `raft list-peers` wants them.

use conclave_mount::Response;
use serde::Serialize;

use crate::{Core, Error, Member};

pub(super) async fn read(core: &Core) -> Result<Response, Error> {
    let list = core.operator.members().await?;
    let servers = list.members.iter().map(Server::new).collect();
    Response::json(&View { config: Config { index: list.index, servers } })
}

#[derive(Serialize)]
struct View<'a> {
    config: Config<'a>,
}

#[derive(Serialize)]
struct Config<'a> {
    index: u64,
    servers: Vec<Server<'a>>,
}

/// `node_id` is the member's name, as it is for clients written for others; `raft_id` and
/// `api_addr` are ours.
#[derive(Serialize)]
struct Server<'a> {
    address: &'a str,
    api_addr: &'a str,
    leader: bool,
    node_id: &'a str,
    protocol_version: &'a str,
    raft_id: u64,
    voter: bool,
}

impl<'a> Server<'a> {
    fn new(member: &'a Member) -> Self {
        Self {
            address: &member.cluster_addr,
            api_addr: &member.api_addr,
            leader: member.leader,
            node_id: &member.name,
            protocol_version: "3",
            raft_id: member.node_id,
            voter: member.voter,
        }
    }
}
