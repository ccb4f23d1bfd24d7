//! `conclave operator members`.

use clap::{Args, Subcommand};
use conclave_sdk::{MemberStatus, Membership};
use serde_json::{Value, json};

use super::{Context, Failure, join_token, member};
use crate::output::{self, Format, Output};

/// List the members, or change one.
#[derive(Debug, Args)]
pub(crate) struct Members {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the members; the same as no verb
    List(List),
    /// Make a learner a voter
    Promote(member::Promote),
    /// Make a voter a learner, which it stays
    Demote(member::Demote),
    /// Remove a member; it never comes back under its id
    Remove(member::Remove),
    /// Make a token with which one new node can join
    Token(join_token::JoinToken),
}

/// List the members.
#[derive(Debug, Args)]
pub(crate) struct List {}

impl Members {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        match &self.verb {
            None => List {}.run(context).await,
            Some(Verb::List(list)) => list.run(context).await,
            Some(Verb::Promote(promote)) => promote.run(context).await,
            Some(Verb::Demote(demote)) => demote.run(context).await,
            Some(Verb::Remove(remove)) => remove.run(context).await,
            Some(Verb::Token(token)) => token.run(context).await,
        }
    }
}

impl List {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let membership = context.client().await?.operator().membership().await?;
        Ok(render(&membership, format))
    }
}

fn render(membership: &Membership, format: Format) -> Output {
    match format {
        Format::Table => Output::good(table(membership)),
        format => {
            let document = json!({
                "epoch": membership.epoch,
                "index": membership.index,
                "backup_key": membership.backup_key,
                "members": membership.members.iter().map(document).collect::<Vec<_>>(),
            });
            Output::document(format, &document)
        }
    }
}

fn table(membership: &Membership) -> String {
    let header =
        ["ID", "Name", "Role", "Health", "Applied", "State", "API Address", "Cluster Address"];
    let rows: Vec<Vec<String>> = membership.members.iter().map(row).collect();
    let members = output::table(&header, &rows);
    format!("{members}\nEpoch {}, backup key {}\n", membership.epoch, membership.backup_key)
}

fn row(member: &MemberStatus) -> Vec<String> {
    let role = match (member.leader, member.voter) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    };
    let answered = |text: String| if member.reachable { text } else { "-".to_owned() };
    vec![
        member.node_id.to_string(),
        member.name.clone(),
        role.to_owned(),
        health(member).to_owned(),
        answered(member.applied_index.to_string()),
        answered(short_hash(member)),
        member.api_addr.clone(),
        member.cluster_addr.clone(),
    ]
}

fn health(member: &MemberStatus) -> &'static str {
    match (member.reachable, member.sealed, member.unfit) {
        (false, _, _) => "no answer",
        (true, true, true) => "sealed, disk",
        (true, true, false) => "sealed",
        (true, false, true) => "disk full or slow",
        (true, false, false) => "good",
    }
}

/// Enough to see at a glance whether nodes that applied the same hold the same.
fn short_hash(member: &MemberStatus) -> String {
    let bytes = member.state_hash.get(..SHORT_HASH_BYTES).unwrap_or(&member.state_hash);
    hex::encode(bytes)
}

fn document(member: &MemberStatus) -> Value {
    json!({
        "node_id": member.node_id,
        "name": member.name,
        "api_addr": member.api_addr,
        "cluster_addr": member.cluster_addr,
        "leader": member.leader,
        "voter": member.voter,
        "reachable": member.reachable,
        "sealed": member.sealed,
        "unfit": member.unfit,
        "applied_index": member.applied_index,
        "state_hash": hex::encode(&member.state_hash),
    })
}

const SHORT_HASH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn members_are_shown_as_agreed() {
        let member = |node_id: u64, leader, voter| MemberStatus {
            node_id,
            name: format!("n{node_id}"),
            cluster_addr: format!("127.0.0.1:{node_id}8201"),
            api_addr: format!("https://127.0.0.1:{node_id}8200"),
            leader,
            voter,
            reachable: true,
            applied_index: 41,
            state_hash: vec![0xab; 32].into(),
            ..MemberStatus::default()
        };
        let unreachable = MemberStatus { reachable: false, ..member(3, false, false) };
        let sealed = MemberStatus { sealed: true, unfit: true, ..member(4, false, true) };
        let members = vec![member(1, true, true), member(2, false, true), unreachable, sealed];
        let backup_key = "cd".repeat(32);
        let membership = Membership { members, index: 7, epoch: 2, backup_key };
        golden::check("output/members.txt", &render(&membership, Format::Table).text);
        golden::check("output/members.json", &render(&membership, Format::Json).text);
    }
}
