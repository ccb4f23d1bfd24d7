//! What goes wrong: independent streams of faults, for links, machines, disks, the power of all, and
//! membership. Whatever they break, [`Cluster::heal`](crate::cluster::Cluster::heal) mends.

use std::sync::Arc;
use std::time::Duration;

use conclave_ports::Clock;

use crate::cluster::Cluster;
use crate::node::{End, Machine};
use crate::world::Dice;

mod disks;
mod links;
mod members;
mod power;

pub(crate) use disks::{break_disks, roll_one_back};
pub(crate) use links::break_links;
pub(crate) use members::change_members;
pub(crate) use power::cut_power;

/// Breaks machines until `end`, one after another.
pub(crate) async fn break_machines(cluster: Arc<Cluster>, seed: u64, end: Duration) {
    let mut dice = Dice::new(seed, 3);
    while rest(&cluster, &mut dice, (100_000, 900_000), end).await {
        let node = victim(&cluster, &mut dice);
        match dice.below(100) {
            0..18 => stop(&cluster, &mut dice, &[node], End::Crash, end).await,
            18..27 => stop(&cluster, &mut dice, &cluster.members(), End::Crash, end).await,
            27..45 => stop(&cluster, &mut dice, &[node], End::PowerCut, end).await,
            45..60 => jump(&cluster, &mut dice, &node, end).await,
            60..70 => seal(&cluster, &mut dice, &[node], end).await,
            70..76 => seal_all(&cluster, &mut dice, end).await,
            76..90 => snapshot(&cluster, &mut dice).await,
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
fn victim(cluster: &Cluster, dice: &mut Dice) -> Arc<Machine> {
    let any = dice.pick(&cluster.members()).clone();
    if dice.chance(500) { cluster.leader().unwrap_or(any) } else { any }
}

async fn stop(cluster: &Cluster, dice: &mut Dice, nodes: &[Arc<Machine>], how: End, end: Duration) {
    nodes.iter().for_each(|node| node.end(how));
    rest(cluster, dice, (20_000, 2_000_000), end).await;
    nodes.iter().for_each(Machine::start);
}

/// Up to two days, either way. Half of the clocks are set right again soon.
async fn jump(cluster: &Cluster, dice: &mut Dice, node: &Machine, end: Duration) {
    let ms_max = *dice.pick(&[2_000, 60_000, 3_600_000, 172_800_000]);
    let by = i64::try_from(dice.below(ms_max)).unwrap_or(i64::MAX);
    node.jump_clock(if dice.chance(500) { by } else { -by });
    if dice.chance(500) {
        rest(cluster, dice, (100_000, 2_000_000), end).await;
        node.set_clock_right();
    }
}

async fn seal(cluster: &Cluster, dice: &mut Dice, nodes: &[Arc<Machine>], end: Duration) {
    for node in nodes {
        node.with(|running| running.seal_on_purpose()).await;
    }
    rest(cluster, dice, (200_000, 2_500_000), end).await;
    for running in nodes.iter().filter_map(|node| node.running()) {
        running.allow_unseal();
    }
}

/// Nobody can lead but as caretaker; half of the time whoever leads dies then.
async fn seal_all(cluster: &Cluster, dice: &mut Dice, end: Duration) {
    cluster.world.count(|coverage| coverage.seals_of_all += 1);
    let nodes = cluster.members();
    for node in &nodes {
        node.with(|running| running.seal_on_purpose()).await;
    }
    if dice.chance(500) {
        rest(cluster, dice, (100_000, 500_000), end).await;
        let node = victim(cluster, dice);
        stop(cluster, dice, &[node], End::Crash, end).await;
    }
    rest(cluster, dice, (1_500_000, 4_500_000), end).await;
    for running in nodes.iter().filter_map(|node| node.running()) {
        running.allow_unseal();
    }
}

async fn snapshot(cluster: &Cluster, dice: &mut Dice) {
    let node = dice.pick(&cluster.members()).clone();
    ask_for_snapshot(cluster, &node).await;
}

async fn ask_for_snapshot(cluster: &Cluster, node: &Machine) {
    cluster.world.event(format_args!("{} is told to take a snapshot", node.name()));
    let asked = node.with(|running| async move { running.raft.trigger_snapshot().await }).await;
    if asked.is_some() {
        cluster.world.count(|coverage| coverage.snapshots += 1);
    }
}

async fn transfer(cluster: &Cluster) {
    let Some(leader) = cluster.leader() else { return };
    cluster.world.event(format_args!("{} is told to hand over", leader.name()));
    cluster.world.count(|coverage| coverage.transfers += 1);
    // That nobody can take over is one of the answers.
    leader.with(|running| async move { running.raft.transfer_leadership().await.is_ok() }).await;
}
