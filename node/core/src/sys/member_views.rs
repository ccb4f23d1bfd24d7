//! `sys/ha-status` and `sys/storage/raft/autopilot/state`: the members as other clients expect to
//! find them. What nobody measures is left out.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::json;

use crate::routes::Ask;
use crate::{Error, Member, MemberList, Response};

pub(super) fn ha_status<'a>(ask: &'a mut Ask<'_>) -> BoxFuture<'a, Result<Response, Error>> {
    async {
        let list = ask.core.operator.members().await?;
        let nodes = list.members.iter().map(|member| Node {
            hostname: &member.name,
            api_address: &member.api_addr,
            cluster_address: &member.cluster_addr,
            active_node: member.leader,
            last_echo: None,
        });
        Response::json(&json!({"nodes": nodes.collect::<Vec<_>>()}))
    }
    .boxed()
}

pub(super) fn autopilot_state<'a>(ask: &'a mut Ask<'_>) -> BoxFuture<'a, Result<Response, Error>> {
    async { Response::json(&State::new(&ask.core.operator.members().await?)) }.boxed()
}

#[derive(Serialize)]
struct Node<'a> {
    hostname: &'a str,
    api_address: &'a str,
    cluster_address: &'a str,
    active_node: bool,
    /// Nodes are not asked for their time.
    last_echo: Option<&'a str>,
}

#[derive(Serialize)]
struct State<'a> {
    healthy: bool,
    /// How many healthy voters can fail before there is no quorum.
    failure_tolerance: usize,
    leader: &'a str,
    voters: Vec<&'a str>,
    non_voters: Vec<&'a str>,
    servers: BTreeMap<&'a str, Server<'a>>,
}

#[derive(Serialize)]
struct Server<'a> {
    id: &'a str,
    name: &'a str,
    address: &'a str,
    node_status: &'a str,
    node_type: &'a str,
    status: &'a str,
    /// Absent where the member did not answer.
    last_index: Option<u64>,
    healthy: bool,
}

impl<'a> State<'a> {
    fn new(list: &'a MemberList) -> Self {
        let names = |voter: bool| {
            let members = list.members.iter().filter(move |member| member.voter == voter);
            members.map(|member| member.name.as_str()).collect::<Vec<_>>()
        };
        let voters = names(true);
        let is_up = |member: &&Member| member.voter && is_healthy(member);
        let healthy_voters = list.members.iter().filter(is_up).count();
        let quorum = voters.len() / 2 + 1;
        Self {
            healthy: list.members.iter().all(is_healthy),
            failure_tolerance: healthy_voters.saturating_sub(quorum),
            leader: list.members.iter().find(|member| member.leader).map_or("", |m| &m.name),
            voters,
            non_voters: names(false),
            servers: list.members.iter().map(|m| (m.name.as_str(), Server::new(m))).collect(),
        }
    }
}

/// Whether it answered, holds the keys, and could lead.
fn is_healthy(member: &Member) -> bool {
    member.health.as_ref().is_some_and(|health| !health.sealed && !health.unfit)
}

impl<'a> Server<'a> {
    fn new(member: &'a Member) -> Self {
        let kind = if member.voter { "voter" } else { "non-voter" };
        Self {
            id: &member.name,
            name: &member.name,
            address: &member.cluster_addr,
            node_status: if member.health.is_some() { "alive" } else { "failed" },
            node_type: kind,
            status: if member.leader { "leader" } else { kind },
            last_index: member.health.as_ref().map(|health| health.applied_index),
            healthy: is_healthy(member),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemberHealth;
    use crate::testing::Bench;

    fn member(node_id: u64, voter: bool, health: Option<(bool, bool)>) -> Member {
        let health = health.map(|(sealed, unfit)| MemberHealth {
            sealed,
            applied_index: 7,
            state_hash: Vec::new(),
            unfit,
        });
        Member {
            node_id,
            name: format!("node-{node_id}"),
            cluster_addr: format!("127.0.0.{node_id}:8201"),
            api_addr: String::new(),
            leader: node_id == 1,
            voter,
            health,
        }
    }

    #[test]
    fn what_can_fail_is_what_healthy_voters_leave_over_a_quorum() {
        let well = Some((false, false));
        let state = |second, third| {
            let members = vec![
                member(1, true, well),
                member(2, true, second),
                member(3, true, third),
                member(4, false, well),
            ];
            let list = MemberList { members, index: 1, epoch: 1 };
            let state = State::new(&list);
            (state.healthy, state.failure_tolerance)
        };
        assert_eq!(state(well, well), (true, 1));
        assert_eq!(state(well, None), (false, 0));
        assert_eq!(state(well, Some((true, false))), (false, 0), "a sealed one serves nobody");
        assert_eq!(state(None, Some((false, true))), (false, 0), "there is less than nothing");
    }

    #[test]
    fn members_are_shown_as_other_clients_know_them() {
        let bench = Bench::new();
        let nodes = bench.read("sys/ha-status").unwrap();
        let expected = json!({
            "hostname": "node-1",
            "api_address": "https://127.0.0.1:8200",
            "cluster_address": "127.0.0.1:8201",
            "active_node": true,
            "last_echo": null,
        });
        assert_eq!(nodes["nodes"][0], expected);
        let state = bench.read("sys/storage/raft/autopilot/state").unwrap();
        assert_eq!(state["leader"], "node-1");
        assert_eq!(state["voters"], json!(["node-1", "node-2"]));
        assert_eq!(state["servers"]["node-2"]["node_status"], "failed", "it did not answer");
        assert_eq!(state["healthy"], false);
    }
}
