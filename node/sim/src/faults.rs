//! What goes wrong: two independent streams of faults, one for links, one for machines. Whatever
//! they break, [`Cluster::heal`](crate::cluster::Cluster::heal) mends.

use std::sync::Arc;
use std::time::Duration;

use conclave_ports::Clock;

use crate::cluster::Cluster;
use crate::node::{End, SimNode};
use crate::world::{CLIENT, Dice, Link, PeerLinks};

/// Breaks links until `end`, one shape after another.
pub(crate) async fn break_links(cluster: Arc<Cluster>, seed: u64, end: Duration) {
    let mut dice = Dice::new(seed, 2);
    while rest(&cluster, &mut dice, (100_000, 1_200_000), end).await {
        let (name, links) = shape(&cluster, &mut dice);
        cluster.world.event(format_args!("links: {name}"));
        cluster.network.set_links(links);
        rest(&cluster, &mut dice, (300_000, 2_500_000), end).await;
        cluster.network.set_links(PeerLinks::new());
        cluster.world.event("links: good");
    }
}

/// Breaks machines until `end`, one after another.
pub(crate) async fn break_machines(cluster: Arc<Cluster>, seed: u64, end: Duration) {
    let mut dice = Dice::new(seed, 3);
    while rest(&cluster, &mut dice, (100_000, 900_000), end).await {
        let node = victim(&cluster, &mut dice);
        match dice.below(100) {
            0..18 => stop(&cluster, &mut dice, &[node], End::Crash, end).await,
            18..25 => stop(&cluster, &mut dice, &cluster.nodes, End::Crash, end).await,
            25..40 => stop(&cluster, &mut dice, &[node], End::PowerCut, end).await,
            40..52 => stop(&cluster, &mut dice, &cluster.nodes, End::PowerCut, end).await,
            52..65 => jump(&cluster, &mut dice, &node, end).await,
            65..75 => seal(&cluster, &mut dice, &node, end).await,
            75..90 => snapshot(&cluster, &mut dice).await,
            _ => transfer(&cluster).await,
        }
    }
}

/// Sleeps; false once it is time to end.
async fn rest(cluster: &Cluster, dice: &mut Dice, us: (u64, u64), end: Duration) -> bool {
    let pause = dice.duration(us.0, us.1);
    let left = end.saturating_sub(cluster.world.clock.elapsed());
    cluster.world.clock.sleep(pause.min(left)).await;
    cluster.goes_on() && cluster.world.clock.elapsed() < end
}

/// The leader half of the time: that hurts most.
fn victim(cluster: &Cluster, dice: &mut Dice) -> Arc<SimNode> {
    let any = dice.pick(&cluster.nodes).clone();
    if dice.chance(500) { cluster.leader().unwrap_or(any) } else { any }
}

async fn stop(cluster: &Cluster, dice: &mut Dice, nodes: &[Arc<SimNode>], how: End, end: Duration) {
    nodes.iter().for_each(|node| node.end(how));
    rest(cluster, dice, (20_000, 2_000_000), end).await;
    for node in nodes {
        node.start().await;
    }
}

/// Up to two days, either way. Half of the clocks are set right again soon.
async fn jump(cluster: &Cluster, dice: &mut Dice, node: &SimNode, end: Duration) {
    let ms_max = *dice.pick(&[2_000, 60_000, 3_600_000, 172_800_000]);
    let by = i64::try_from(dice.below(ms_max)).unwrap_or(i64::MAX);
    node.jump_clock(if dice.chance(500) { by } else { -by });
    if dice.chance(500) {
        rest(cluster, dice, (100_000, 2_000_000), end).await;
        node.set_clock_right();
    }
}

async fn seal(cluster: &Cluster, dice: &mut Dice, node: &SimNode, end: Duration) {
    node.with(|running| running.seal_on_purpose()).await;
    rest(cluster, dice, (200_000, 2_500_000), end).await;
    if let Some(running) = node.running() {
        running.allow_unseal();
    }
}

async fn snapshot(cluster: &Cluster, dice: &mut Dice) {
    let node = dice.pick(&cluster.nodes).clone();
    cluster.world.event(format_args!("node {} is told to take a snapshot", node.id));
    let asked = node.with(|running| async move { running.raft.trigger_snapshot().await }).await;
    if asked.is_some() {
        cluster.world.count(|coverage| coverage.snapshots += 1);
    }
}

async fn transfer(cluster: &Cluster) {
    let Some(leader) = cluster.leader() else { return };
    cluster.world.event(format_args!("node {} is told to hand over", leader.id));
    cluster.world.count(|coverage| coverage.transfers += 1);
    // That nobody can take over is one of the answers.
    leader.with(|running| async move { running.raft.transfer_leadership().await.is_ok() }).await;
}

/// The shape of a broken network.
fn shape(cluster: &Cluster, dice: &mut Dice) -> (&'static str, PeerLinks) {
    let ids: Vec<u64> = cluster.nodes.iter().map(|node| node.id).collect();
    let one = victim(cluster, dice).id;
    let other = ids[(usize::try_from(one).unwrap_or(0)) % ids.len()];
    let count =
        |cut: bool| {
            cluster.world.count(|coverage| {
                if cut { coverage.partitions += 1 } else { coverage.slow_links += 1 }
            });
        };
    match dice.below(100) {
        0..20 => ("one node is alone", cut(&ids, count, |from, to| from == one || to == one)),
        20..30 => ("one node hears nothing", cut(&ids, count, |_, to| to == one)),
        30..40 => ("one node is not heard", cut(&ids, count, |from, _| from == one)),
        40..50 => (
            "one link is cut",
            cut(&ids, count, |from, to| (from, to) == (one, other) || (from, to) == (other, one)),
        ),
        50..55 => {
            ("one link is cut one way", cut(&ids, count, |from, to| (from, to) == (one, other)))
        }
        55..60 => ("every node is alone", cut(&ids, count, |_, _| true)),
        60..75 => {
            let loss_permille = *dice.pick(&[20, 100, 300]);
            ("messages are lost", everywhere(&ids, &Link { loss_permille, ..Link::GOOD }))
        }
        75..85 => {
            let double_permille = 400;
            ("messages are doubled", everywhere(&ids, &Link { double_permille, ..Link::GOOD }))
        }
        _ => {
            count(false);
            let most = *dice.pick(&[20_000, 100_000, 400_000]);
            ("links are slow", everywhere(&ids, &Link { delay_us: (1_000, most), ..Link::GOOD }))
        }
    }
}

fn cut(ids: &[u64], count: impl Fn(bool), is_cut: impl Fn(u64, u64) -> bool) -> PeerLinks {
    count(true);
    let all = ids.iter().flat_map(|from| ids.iter().map(move |to| (*from, *to)));
    let cut = all.filter(|(from, to)| from != to && is_cut(*from, *to));
    cut.map(|way| (way, Link { cut: true, ..Link::GOOD })).collect()
}

/// Clients' links, too.
fn everywhere(ids: &[u64], link: &Link) -> PeerLinks {
    let ends: Vec<u64> = ids.iter().copied().chain([CLIENT]).collect();
    let all = ends.iter().flat_map(|from| ends.iter().map(move |to| (*from, *to)));
    all.map(|way| (way, link.clone())).collect()
}
