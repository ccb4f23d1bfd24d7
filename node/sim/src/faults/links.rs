//! Links that are cut, slow, lossy.

use std::sync::Arc;
use std::time::Duration;

use super::{rest, victim};
use crate::cluster::Cluster;
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

/// Cuts the leader off from its peers: what it appends now is dropped later.
pub(super) fn leave_alone(cluster: &Cluster) {
    let Some(leader) = cluster.leader() else { return };
    let ids: Vec<u64> = cluster.machines.iter().map(|machine| machine.number).collect();
    cluster.world.event(format_args!("links: {} is alone", leader.name()));
    let count = |_| cluster.world.count(|coverage| coverage.partitions += 1);
    let one = leader.number;
    cluster.network.set_links(cut(&ids, count, |from, to| from == one || to == one));
}

/// The shape of a broken network.
fn shape(cluster: &Cluster, dice: &mut Dice) -> (&'static str, PeerLinks) {
    let ids: Vec<u64> = cluster.machines.iter().map(|machine| machine.number).collect();
    let one = victim(cluster, dice).number;
    let other = dice.pick(&cluster.members()).number;
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
