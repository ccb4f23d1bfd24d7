//! Disks that are full, slow, hung, that fail or that damage what they hold.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_ports::Clock;

use super::{rest, victim};
use crate::cluster::Cluster;
use crate::node::{End, Machine, POLL, RESERVE_BYTES, Standing};
use crate::world::{Damage, Dice};

/// A failed sync ends a process within this time.
const ENDS_MAX: Duration = Duration::from_secs(2);
/// A member that was lost is replaced within this time, or later.
pub(super) const MEND_MAX: Duration = Duration::from_secs(6);
/// Others change the members for so long, or longer.
const SURGERY_MAX: Duration = Duration::from_secs(4);
/// Within this time all peers have noted what a node has, and written it down.
const SEEN_MAX: Duration = Duration::from_secs(5);
/// A node that was told to stay out is replaced within this time.
const TOLD_MAX: Duration = Duration::from_secs(3);

/// Breaks disks until `end`, one after another.
pub(crate) async fn break_disks(cluster: Arc<Cluster>, seed: u64, end: Duration) {
    let mut dice = Dice::new(seed, 5);
    while rest(&cluster, &mut dice, (200_000, 1_800_000), end).await {
        let node = victim(&cluster, &mut dice);
        dice.pick(&cluster.members()).take_copy();
        match dice.below(100) {
            0..15 => fill(&cluster, &mut dice, &[node], end).await,
            15..22 => fill(&cluster, &mut dice, &cluster.members(), end).await,
            22..35 => slow(&cluster, &mut dice, &node, end).await,
            35..48 => hang(&cluster, &mut dice, &node, end).await,
            48..62 => fail_syncs(&cluster, &mut dice, &node, end).await,
            _ => damage(&cluster, &mut dice, end).await,
        }
    }
}

/// Leaves less than the reserve for a while.
async fn fill(cluster: &Cluster, dice: &mut Dice, nodes: &[Arc<Machine>], end: Duration) {
    // Below the reserve writes still succeed; half of the time they soon do not.
    let free = RESERVE_BYTES / *dice.pick(&[2, 2, 16, 64]);
    for node in nodes {
        let disk = node.disk();
        node.mood.full.store(true, Ordering::Relaxed);
        disk.set_space_bytes_max(Some(disk.used_bytes() + dice.below(free)));
    }
    rest(cluster, dice, (500_000, 3_000_000), end).await;
    for node in nodes {
        node.disk().set_space_bytes_max(None);
        node.mood.full.store(false, Ordering::Relaxed);
        node.start();
    }
}

async fn slow(cluster: &Cluster, dice: &mut Dice, node: &Machine, end: Duration) {
    let delay_us = *dice.pick(&[50_000, 200_000, 500_000]);
    cluster.world.event(format_args!("{}'s disk takes {delay_us} us more", node.name()));
    cluster.world.count(|coverage| coverage.slow_disks += 1);
    node.mood.slow_us.store(delay_us, Ordering::Relaxed);
    rest(cluster, dice, (1_000_000, 4_000_000), end).await;
    node.mood.slow_us.store(0, Ordering::Relaxed);
}

async fn hang(cluster: &Cluster, dice: &mut Dice, node: &Machine, end: Duration) {
    cluster.world.event(format_args!("{}'s disk hangs", node.name()));
    cluster.world.count(|coverage| coverage.hung_disks += 1);
    node.mood.hung.store(true, Ordering::Relaxed);
    rest(cluster, dice, (500_000, 4_000_000), end).await;
    node.mood.hung.store(false, Ordering::Relaxed);
}

/// The process ends by the first sync that fails, and reads its disk again.
async fn fail_syncs(cluster: &Cluster, dice: &mut Dice, node: &Arc<Machine>, end: Duration) {
    node.mood.failing.store(true, Ordering::Relaxed);
    node.disk().fail_syncs_after(dice.below(6));
    let ended = async {
        while node.running().is_some() {
            cluster.world.clock.sleep(POLL).await;
        }
    };
    if cluster.within(ENDS_MAX, ended).await.is_some() {
        cluster.world.event(format_args!("{}'s syncs fail", node.name()));
        cluster.world.count(|coverage| coverage.failed_syncs += 1);
    }
    node.end(End::Crash);
    node.disk().fail_syncs(false);
    rest(cluster, dice, (20_000, 500_000), end).await;
    node.is_good_again();
    node.start();
}

/// Damages files of a node that is down; if it does not open then it is wiped and admitted anew.
async fn damage(cluster: &Cluster, dice: &mut Dice, end: Duration) {
    let surgery = cluster.within(SURGERY_MAX, cluster.surgery.lock()).await;
    if surgery.is_none() || !cluster.may_lose_one() {
        return;
    }
    let node = victim(cluster, dice);
    node.hold(true);
    node.end(if dice.chance(500) { End::Crash } else { End::PowerCut });
    for _ in 0..=dice.below(2) {
        node.damage(Damage::roll(dice));
    }
    come_back(cluster, dice, &node, end).await;
}

/// Puts the whole disk of a node of a healed cluster back to where a copy of it was taken, long ago.
/// What it lost within the last seconds its peers may not have heard of; so they are given that
/// time first.
pub(crate) async fn roll_one_back(cluster: &Cluster, seed: u64) {
    let mut dice = Dice::new(seed, 6);
    cluster.world.clock.sleep(SEEN_MAX).await;
    let copied = cluster.members().into_iter().filter(|machine| machine.has_copy());
    let copied: Vec<_> = copied.collect();
    if copied.is_empty() || !cluster.may_lose_one() {
        return;
    }
    let node = dice.pick(&copied).clone();
    node.end(End::Crash);
    node.roll_back();
    node.start();
    cluster.world.clock.sleep(TOLD_MAX).await;
    if node.standing() != Standing::Good {
        cluster.mend(MEND_MAX).await;
    }
    cluster.heal().await;
}

async fn come_back(cluster: &Cluster, dice: &mut Dice, node: &Arc<Machine>, end: Duration) {
    rest(cluster, dice, (20_000, 500_000), end).await;
    node.hold(false);
    node.start();
    rest(cluster, dice, (1_000_000, 2_500_000), end).await;
    if node.standing() != Standing::Good {
        cluster.mend(MEND_MAX).await;
    }
}
