//! Nodes that join, leave, are replaced and come back, while all else goes on.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::disks::MEND_MAX;
use super::{rest, victim};
use crate::Plant;
use crate::cluster::{Cluster, MEMBERS};
use crate::node::Machine;
use crate::world::Dice;

/// Changes the members until `end`, one change after another.
pub(crate) async fn change_members(cluster: Arc<Cluster>, seed: u64, end: Duration) {
    let mut dice = Dice::new(seed, 7);
    while rest(&cluster, &mut dice, (500_000, 4_500_000), end).await {
        let _surgery = cluster.surgery.lock().await;
        if !cluster.mend(MEND_MAX).await {
            continue;
        }
        let extra = cluster.members().len() as u64 > MEMBERS;
        match dice.below(100) {
            0..30 if !extra => grow(&cluster, &mut dice).await,
            0..35 if extra => shrink(&cluster, &mut dice, end).await,
            35..60 => replace(&cluster, &mut dice).await,
            60..80 => demote(&cluster, &mut dice, end).await,
            _ => come_back(&cluster, &mut dice, end).await,
        }
    }
}

/// One, two or three at once.
async fn grow(cluster: &Cluster, dice: &mut Dice) {
    let mut spares = cluster.spares();
    spares.truncate(*dice.pick(&[1, 2, 2, 3]));
    if spares.len() == 3 {
        cluster.world.count(|coverage| coverage.joins_at_once += 1);
    }
    for machine in &spares {
        machine.wipe();
        cluster.want(machine, true);
    }
    let admitted = join_all(spares.iter().map(|machine| cluster.admit(machine))).await;
    for error in admitted.into_iter().filter_map(Result::err) {
        cluster.world.event(format_args!("not admitted: {error}"));
    }
    cluster.mend(MEND_MAX).await;
}

/// Whoever is removed runs on for a while, half of the time.
async fn shrink(cluster: &Cluster, dice: &mut Dice, end: Duration) {
    while cluster.members().len() as u64 > MEMBERS && cluster.goes_on() {
        let machine = victim(cluster, dice);
        cluster.want(&machine, false);
        machine.set_removed(true);
        cluster.world.count(|coverage| coverage.removals += 1);
        cluster.world.event(format_args!("{} is to go", machine.name()));
        let gone = cluster.mend(MEND_MAX).await;
        if dice.chance(500) {
            rest(cluster, dice, (300_000, 1_500_000), end).await;
        }
        machine.retire();
        if dice.chance(600) {
            return_uncalled(cluster, dice, &machine, end).await;
        }
        if !gone || dice.chance(300) {
            return;
        }
    }
}

/// A machine loses its disk and comes back under its name.
async fn replace(cluster: &Cluster, dice: &mut Dice) {
    if !cluster.may_lose_one() {
        return;
    }
    let machine = victim(cluster, dice);
    let old = machine.node_id();
    machine.wipe();
    if let (Some(old), Some(Plant::ReusedId)) = (old, cluster.plant) {
        machine.become_node(old, None);
        return machine.start();
    }
    cluster.mend(MEND_MAX).await;
}

async fn demote(cluster: &Cluster, dice: &mut Dice, end: Duration) {
    let Some(node_id) = victim(cluster, dice).node_id() else { return };
    let demoted = cluster.change(|it| async move { it.raft.demote_member(node_id).await }).await;
    if demoted.is_err() {
        return;
    }
    cluster.world.event(format_args!("node {node_id} votes no more"));
    cluster.world.count(|coverage| coverage.demotions += 1);
    rest(cluster, dice, (200_000, 1_500_000), end).await;
    if cluster.mend(MEND_MAX).await {
        cluster.world.count(|coverage| coverage.promotions += 1);
    }
}

/// A node that was removed is started again on its old disk.
async fn come_back(cluster: &Cluster, dice: &mut Dice, end: Duration) {
    let spares: Vec<Arc<Machine>> = cluster.spares();
    let Some(machine) = spares.into_iter().find(|machine| machine.node_id().is_some()) else {
        return;
    };
    return_uncalled(cluster, dice, &machine, end).await;
}

async fn return_uncalled(
    cluster: &Cluster,
    dice: &mut Dice,
    machine: &Arc<Machine>,
    end: Duration,
) {
    cluster.world.event(format_args!("{} comes back uncalled", machine.name()));
    cluster.world.count(|coverage| coverage.returns += 1);
    machine.start();
    rest(cluster, dice, (500_000, 2_500_000), end).await;
    machine.retire();
}
