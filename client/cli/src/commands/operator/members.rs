//! `conclave operator members`.

use clap::Args;
use conclave_sdk::MemberStatus;
use serde_json::{Value, json};

use super::{Context, Failure};
use crate::output::{self, Format, Output};

/// List the members.
#[derive(Debug, Args)]
pub(crate) struct Members {}

impl Members {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let members = context.client().await?.operator().members().await?;
        Ok(render(&members, format))
    }
}

fn render(members: &[MemberStatus], format: Format) -> Output {
    match format {
        Format::Table => Output::good(table(members)),
        Format::Json => Output::json(&Value::Array(members.iter().map(document).collect())),
    }
}

fn table(members: &[MemberStatus]) -> String {
    let role = |member: &MemberStatus| match (member.leader, member.voter) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    };
    let row = |member: &MemberStatus| {
        vec![
            member.node_id.to_string(),
            member.name.clone(),
            role(member).to_owned(),
            member.api_addr.clone(),
            member.cluster_addr.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = members.iter().map(row).collect();
    output::table(&["ID", "Name", "Role", "API Address", "Cluster Address"], &rows)
}

fn document(member: &MemberStatus) -> Value {
    json!({
        "node_id": member.node_id,
        "name": member.name,
        "api_addr": member.api_addr,
        "cluster_addr": member.cluster_addr,
        "leader": member.leader,
        "voter": member.voter,
    })
}

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
            ..MemberStatus::default()
        };
        let members = [member(1, true, true), member(2, false, true), member(3, false, false)];
        golden::check("output/members.txt", &render(&members, Format::Table).text);
        golden::check("output/members.json", &render(&members, Format::Json).text);
    }
}
