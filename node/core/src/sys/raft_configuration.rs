//! `sys/storage/raft/configuration`: the members, as `raft list-peers` wants them.

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;

use crate::cluster_secrets::{self, BACKUP_PUBLIC_KEY};
use crate::routes::Ask;
use crate::{Error, Member, MemberHealth, MemberList, Response};

pub(super) fn read<'a>(ask: &'a mut Ask<'_>) -> BoxFuture<'a, Result<Response, Error>> {
    async {
        let backup_key = cluster_secrets::get(ask.tx, BACKUP_PUBLIC_KEY)?.unwrap_or_default();
        view(&backup_key, &ask.core.operator.members().await?)
    }
    .boxed()
}

fn view(backup_key: &[u8], list: &MemberList) -> Result<Response, Error> {
    let servers = list.members.iter().map(Server::new).collect();
    Response::json(&View {
        config: Config {
            index: list.index,
            epoch: list.epoch,
            backup_key: hex::encode(backup_key),
            servers,
        },
    })
}

#[derive(Serialize)]
struct View<'a> {
    config: Config<'a>,
}

/// `epoch` and `backup_key`, which verifies this cluster's backups, are ours.
#[derive(Serialize)]
struct Config<'a> {
    index: u64,
    epoch: u64,
    backup_key: String,
    servers: Vec<Server<'a>>,
}

/// `node_id` is the member's name, as it is for clients written for others; `raft_id`, `api_addr`
/// and `health` are ours.
#[derive(Serialize)]
struct Server<'a> {
    address: &'a str,
    api_addr: &'a str,
    health: Option<Health>,
    leader: bool,
    node_id: &'a str,
    protocol_version: &'a str,
    raft_id: u64,
    voter: bool,
}

/// Absent where the member did not answer.
#[derive(Serialize)]
struct Health {
    applied_index: u64,
    sealed: bool,
    state_hash: String,
    unfit: bool,
}

impl<'a> Server<'a> {
    fn new(member: &'a Member) -> Self {
        Self {
            address: &member.cluster_addr,
            api_addr: &member.api_addr,
            health: member.health.as_ref().map(Health::new),
            leader: member.leader,
            node_id: &member.name,
            protocol_version: "3",
            raft_id: member.node_id,
            voter: member.voter,
        }
    }
}

impl Health {
    fn new(health: &MemberHealth) -> Self {
        Self {
            applied_index: health.applied_index,
            sealed: health.sealed,
            state_hash: hex::encode(&health.state_hash),
            unfit: health.unfit,
        }
    }
}
