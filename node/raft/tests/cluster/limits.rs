//! No replica ever dies of an entry that another accepted: the largest commands go all the way.

use conclave_proto::v1;
use conclave_raft::ProposeError;
use conclave_store::state::{COMMAND_BYTES_MAX, Outcome, VALUE_BYTES_MAX};
use futures::future::join_all;
use prost::Message;

use crate::support::{Cluster, key, put, simulate};

/// A command that has this many bytes once the leader stamped it.
fn command_of(bytes: usize, now_ms: u64) -> v1::Command {
    let mut command = put("large", &"x".repeat(VALUE_BYTES_MAX));
    command.stamped_ms = now_ms;
    let rest = bytes - command.encoded_len();
    // Tag and length of the second write and of its parts shrink with what they hold: approach.
    let mut value = rest - 32;
    loop {
        let second = v1::Write { key: Some(key("rest")), value: Some(vec![7; value].into()) };
        let mut whole = command.clone();
        whole.writes.push(second);
        if whole.encoded_len() == bytes {
            return v1::Command { stamped_ms: 0, ..whole };
        }
        value += 1;
    }
}

async fn all_applied(cluster: &Cluster, revision: u64) {
    cluster
        .eventually("the entry on every node", |cluster| {
            let mut nodes = cluster.nodes.values();
            nodes.all(|node| node.raft.status().applied_index >= revision).then_some(())
        })
        .await;
    let hashes: Vec<_> =
        cluster.nodes.values().map(|node| node.state.applied().state_hash).collect();
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(cluster.nodes.values().all(|node| node.raft.status().fatal.is_none()));
}

#[test]
fn the_largest_command_is_applied_everywhere_and_one_byte_more_is_refused() {
    simulate(900, async |mut cluster| {
        cluster.form(3).await;
        let leader = cluster.raft(cluster.leader().await);
        let now_ms = cluster.ports.clock.wall_ms();
        let largest = command_of(COMMAND_BYTES_MAX, now_ms);
        let proposed = leader.propose(largest.clone()).await.expect("it is taken");
        assert_eq!(proposed.outcome, Outcome::Applied { revision: proposed.revision });
        all_applied(&cluster, proposed.revision).await;

        let before = leader.status().last_log_index;
        let refused = leader.propose(command_of(COMMAND_BYTES_MAX + 1, now_ms)).await;
        assert!(
            matches!(refused, Err(ProposeError::TooLarge { bytes, bytes_max })
                if bytes == COMMAND_BYTES_MAX + 1 && bytes_max == COMMAND_BYTES_MAX),
            "{refused:?}"
        );
        let refused = leader.propose(put("a", &"x".repeat(VALUE_BYTES_MAX + 1))).await;
        assert!(matches!(refused, Err(ProposeError::TooLarge { .. })), "{refused:?}");
        assert_eq!(leader.status().last_log_index, before, "nothing was appended");

        // Many at once, and to a node that was away.
        let away = 1 + cluster.leader().await % 3;
        cluster.stop(away).await;
        let all = join_all((0..8).map(|_| leader.propose(largest.clone()))).await;
        let last = all.into_iter().map(|one| one.expect("it is taken").revision).max();
        cluster.start(away).await;
        all_applied(&cluster, last.expect("eight")).await;
    });
}
