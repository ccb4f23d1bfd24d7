//! `conclaved recover`: shows what a survivor has, and makes it the whole cluster.

use std::path::PathBuf;

use super::config_words;
use crate::config::Config;
use crate::node::recovery::{Found, Survivor};

/// `conclaved recover`
#[derive(clap::Args)]
pub struct Arguments {
    /// The node's configuration, as `conclaved server` takes it.
    #[arg(long, value_name = "PATH", required = true)]
    config: Vec<PathBuf>,
    /// Does it. Without this, only what is there is shown.
    #[arg(long)]
    confirm: bool,
}

/// Shows what the node has; with `--confirm`, makes it the only member.
///
/// # Errors
/// The node runs, is not a member, or its disk is damaged or cannot be written.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    let survivor = Survivor::open(&config)?;
    let found = survivor.found().clone();
    print!("{}", describe(&found));
    if !arguments.confirm {
        println!(
            "\nNothing was changed. Compare the survivors: the one with the highest last entry (term first,"
        );
        println!(
            "then index) lost least. Stop every node that is to be cut off, then run this there with --confirm."
        );
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let recovery = runtime.block_on(survivor.take_over_logged(&config))?;
    println!(
        "\nThis node is the whole cluster now, in epoch {} from entry {} on. Start it:",
        recovery.epoch, recovery.log_id.index
    );
    println!("  conclaved server{}", config_words(&arguments.config));
    println!(
        "It is sealed and unsealed as before. Nodes of the old epoch that come back are refused; on each:"
    );
    println!("  conclaved rejoin --config FILE");
    println!("and start it: it joins as a new node. What was done is noted in node/recoveries.");
    Ok(())
}

fn describe(found: &Found) -> String {
    let id = |id: Option<conclave_proto::v1::LogId>| {
        id.map_or("none".to_owned(), |id| format!("{} of term {}", id.index, id.term))
    };
    let mut text = format!(
        "node           {} (id {})\ncluster        {}\nepoch          {}\nvote           {}\nlast entry     {}\napplied entry  {}\nsnapshot       {}\n",
        found.name,
        found.node_id,
        found.cluster_id,
        found.epoch,
        found.vote.map_or("none".to_owned(), |vote| format!(
            "term {}, for node {}",
            vote.term, vote.node_id
        )),
        id(found.last),
        id(found.applied),
        id(found.snapshot),
    );
    if let Some(why) = &found.out {
        text += &format!("stays out      {why}\n");
    }
    for member in &found.members {
        let role = if found.voters.contains(&member.node_id) { "voter" } else { "learner" };
        let fate = if member.node_id == found.node_id { "stays" } else { "is cut off" };
        text += &format!(
            "member         {} (id {}, {role}, {}) {fate}\n",
            member.name, member.node_id, member.cluster_addr
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use conclave_proto::v1;

    use super::*;

    #[test]
    fn an_operator_sees_who_stays_and_who_goes() {
        let member = |node_id, name: &str| v1::Member {
            node_id,
            name: name.to_owned(),
            cluster_addr: format!("10.0.0.{node_id}:8201"),
            ..v1::Member::default()
        };
        let found = Found {
            node_id: 4,
            name: "b".into(),
            cluster_id: "0a".into(),
            epoch: 2,
            vote: Some(v1::Vote { term: 7, node_id: 4, committed: true }),
            last: Some(v1::LogId { term: 7, leader_id: 4, index: 90 }),
            members: vec![member(1, "a"), member(4, "b")],
            voters: vec![1],
            ..Found::default()
        };
        let text = describe(&found);
        for line in [
            "node           b (id 4)",
            "epoch          2",
            "vote           term 7, for node 4",
            "last entry     90 of term 7",
            "applied entry  none",
            "member         a (id 1, voter, 10.0.0.1:8201) is cut off",
            "member         b (id 4, learner, 10.0.0.4:8201) stays",
        ] {
            assert!(text.lines().any(|got| got == line), "no line {line:?} in\n{text}");
        }
    }
}
