//! `conclave status`.

use clap::Args;
use conclave_sdk::NodeStatus;
use serde_json::{Value, json};

use super::{Context, Failure};
use crate::output::{self, Format, Output};

/// Show the state of the node at the first address.
#[derive(Debug, Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let address = context.node_address()?;
        // Here 2 means sealed, so every error is 1.
        let asked = async { Ok(context.client().await?.operator().status(Some(&address)).await?) };
        let status = asked.await.map_err(|failure: Failure| Failure::local(failure.to_string()))?;
        Ok(render(&status, format))
    }
}

/// The state of a node; the exit code tells whether it is sealed.
pub(crate) fn render(status: &NodeStatus, format: Format) -> Output {
    let shown = if format.is_table() {
        Output::good(output::table(&["Key", "Value"], &rows(status)))
    } else {
        Output::document(format, &document(status))
    };
    shown.with_code(if status.sealed { EXIT_SEALED } else { crate::EXIT_GOOD })
}

fn rows(status: &NodeStatus) -> Vec<Vec<String>> {
    let known = |text: &str| if text.is_empty() { "n/a".to_owned() } else { text.to_owned() };
    let mut rows = vec![
        ("Seal Type", known(&status.seal_type)),
        ("Initialized", status.initialized.to_string()),
        ("Sealed", status.sealed.to_string()),
        ("Total Shares", status.shares.to_string()),
        ("Threshold", status.threshold.to_string()),
    ];
    if status.sealed && status.initialized {
        rows.push(("Unseal Progress", format!("{}/{}", status.progress, status.threshold)));
        rows.push(("Unseal Nonce", known(&status.nonce)));
    }
    rows.extend([
        ("Version", known(&status.version)),
        ("Storage Type", "raft".to_owned()),
        ("Cluster Name", known(&status.cluster_name)),
        ("Cluster ID", known(&status.cluster_id)),
        ("HA Enabled", "true".to_owned()),
        ("HA Mode", mode(status).to_owned()),
        ("Node Name", known(&status.node_name)),
        ("Node ID", status.node_id.to_string()),
        ("Active Node Address", known(&status.leader_api_addr)),
        ("Raft Term", status.term.to_string()),
        ("Raft Committed Index", status.committed_index.to_string()),
        ("Raft Applied Index", status.applied_index.to_string()),
    ]);
    if !status.reason.is_empty() {
        rows.push(("Takes No Part", status.reason.clone()));
    }
    rows.into_iter().map(|(key, value)| vec![key.to_owned(), value]).collect()
}

fn mode(status: &NodeStatus) -> &'static str {
    match (status.leader_id, leads(status)) {
        (0, _) => "no leader",
        (_, true) => "active",
        (_, false) => "standby",
    }
}

fn leads(status: &NodeStatus) -> bool {
    status.leader_id != 0 && status.leader_id == status.node_id
}

fn document(status: &NodeStatus) -> Value {
    let mut document = json!({
        "type": status.seal_type,
        "initialized": status.initialized,
        "sealed": status.sealed,
        "t": status.threshold,
        "n": status.shares,
        "progress": status.progress,
        "nonce": status.nonce,
        "version": status.version,
        "storage_type": "raft",
        "cluster_name": status.cluster_name,
        "cluster_id": status.cluster_id,
        "ha_enabled": true,
        "is_self": leads(status),
        "leader_address": status.leader_api_addr,
        "leader_cluster_address": status.leader_cluster_addr,
        "node_id": status.node_id,
        "node_name": status.node_name,
        "leader_id": status.leader_id,
        "raft_term": status.term,
        "raft_committed_index": status.committed_index,
        "raft_applied_index": status.applied_index,
        "member_addresses": status.member_api_addrs,
    });
    if !status.reason.is_empty() {
        document["reason"] = status.reason.as_str().into();
    }
    document
}

/// The node is sealed.
const EXIT_SEALED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    fn status(sealed: bool) -> NodeStatus {
        NodeStatus {
            initialized: true,
            sealed,
            threshold: 3,
            shares: 5,
            progress: u32::from(sealed),
            nonce: if sealed { "n-1".into() } else { String::new() },
            version: "0.1.0".into(),
            seal_type: "shamir".into(),
            cluster_name: "conclave".into(),
            cluster_id: "c-1".into(),
            node_id: 2,
            node_name: "n2".into(),
            leader_id: 1,
            leader_api_addr: "https://127.0.0.1:8200".into(),
            leader_cluster_addr: "127.0.0.1:8201".into(),
            term: 4,
            committed_index: 17,
            applied_index: 17,
            member_api_addrs: vec!["https://127.0.0.1:8200".into()],
            reason: String::new(),
        }
    }

    #[test]
    fn an_unsealed_node_is_good() {
        let table = render(&status(false), Format::Table);
        assert_eq!(table.code, 0);
        golden::check("output/status.txt", &table.text);
        golden::check("output/status.json", &render(&status(false), Format::Json).text);
    }

    #[test]
    fn a_sealed_node_is_two() {
        let table = render(&status(true), Format::Table);
        assert_eq!(table.code, 2);
        golden::check("output/status-sealed.txt", &table.text);
    }

    #[test]
    fn a_node_that_stays_out_says_why() {
        let reason = "a peer saw more of this node than its data directory holds; rejoin it";
        let status = NodeStatus { reason: reason.into(), ..status(true) };
        golden::check("output/status-out.txt", &render(&status, Format::Table).text);
        golden::check("output/status-out.json", &render(&status, Format::Json).text);
    }
}
