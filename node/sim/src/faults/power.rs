//! The power of all machines at once, at chosen moments.

use std::sync::Arc;
use std::time::Duration;

use super::links::leave_alone;
use super::{ask_for_snapshot, rest, transfer};
use crate::cluster::Cluster;
use crate::node::{End, Machine};
use crate::world::{Cut, Dice, Moment, PeerLinks};

/// A moment that does not come within this time is not waited for any longer.
const WAIT_MAX: Duration = Duration::from_millis(2_500);
/// Operations of a kind that pass before the one at which the power fails.
const PASSING_MAX: u64 = 4;

/// Cuts the power of all machines until `end`, again and again.
pub(crate) async fn cut_power(cluster: Arc<Cluster>, seed: u64, end: Duration) {
    let mut dice = Dice::new(seed, 4);
    while rest(&cluster, &mut dice, (300_000, 2_200_000), end).await {
        let rare = dice.chance(100);
        let moment = if rare { Moment::Truncate } else { *dice.pick(&Moment::ALL) };
        let passing = if moment == Moment::Start { 20 } else { PASSING_MAX };
        let passing = if moment == Moment::Truncate { 0 } else { dice.below(passing) };
        cluster.world.power.arm(Cut { moment, passing, after: dice.chance(500) });
        provoke(&cluster, &mut dice, moment).await;
        cluster.within(WAIT_MAX, cluster.world.power.failed()).await;
        if moment == Moment::Truncate {
            cluster.network.set_links(PeerLinks::new());
            cluster.within(WAIT_MAX * 2, cluster.world.power.failed()).await;
        }
        let failed_at = cluster.world.power.disarm();
        cluster.world.count(|coverage| coverage.count_cut(failed_at));
        cluster.machines.iter().for_each(|machine| machine.end(End::PowerCut));
        rest(&cluster, &mut dice, (20_000, 1_200_000), end).await;
        cluster.members().iter().for_each(Machine::start);
    }
}

/// Makes it likely that the moment comes.
async fn provoke(cluster: &Cluster, dice: &mut Dice, moment: Moment) {
    let node = dice.pick(&cluster.members()).clone();
    match moment {
        Moment::SnapshotWrite | Moment::SnapshotRename | Moment::Purge => {
            ask_for_snapshot(cluster, &node).await;
        }
        Moment::Vote => transfer(cluster).await,
        Moment::Truncate => leave_alone(cluster),
        Moment::Start => {
            node.end(End::Crash);
            node.start();
        }
        _ => {}
    }
}
