//! Counts of requests in fixed memory: the generic cell rate algorithm (ITU-T I.371), one number
//! for each address and quota, and as many places as there are at the start.
//!
//! A place is found by a keyed hash of quota and address, so that nobody can aim at another's. Each
//! set has four places. Where all are taken, the one that is idle soonest gives way: what it had
//! used is forgotten, and its owner may ask a little more than the quota says. That takes more busy
//! addresses at once than there are places, and whoever has so many addresses has as many quotas.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use conclave_ports::Ports;

use super::{QuotaRecord, Standing};

const SETS: usize = 4096;
const PLACES_PER_SET: usize = 4;

/// How fast one address may ask. Times are in microseconds.
pub(super) struct Pace {
    /// Requests at once.
    burst: u64,
    /// Between two requests in the long run.
    step_us: u64,
    block_us: u64,
}

/// What one address has used.
#[derive(Clone, Copy, Default)]
struct Place {
    /// 0 where it was never taken.
    tag: u64,
    /// When nothing is used any more, if nothing more comes.
    full_us: u64,
    blocked_until_us: u64,
}

/// All counts of a node. Nothing is allocated before the first quota is.
#[derive(Default)]
pub(super) struct Pacer(Mutex<Option<Table>>);

struct Table {
    key: [u8; 16],
    places: Box<[Place]>,
}

impl Pace {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the figures are positive and bounded where a quota is written; a step is rounded"
    )]
    pub(super) fn new(quota: &QuotaRecord) -> Self {
        let interval_us = quota.interval_ms.max(1) as f64 * 1000.0;
        Self {
            burst: (quota.rate as u64).max(1),
            step_us: ((interval_us / quota.rate) as u64).max(1),
            block_us: quota.block_ms.saturating_mul(1000),
        }
    }

    /// Counts a request at this place.
    fn charge(&self, place: &mut Place, now_us: u64) -> Standing {
        if now_us < place.blocked_until_us {
            return self.refused(place, now_us);
        }
        // With nothing used, so many requests fit in before this.
        let latest_us = now_us.saturating_add(self.step_us.saturating_mul(self.burst - 1));
        let full_us = place.full_us.max(now_us);
        if full_us > latest_us {
            if self.block_us > 0 {
                place.blocked_until_us = now_us.saturating_add(self.block_us);
            }
            return self.refused(place, now_us);
        }
        place.full_us = full_us.saturating_add(self.step_us);
        Standing {
            allowed: true,
            shown: false,
            limit: self.burst,
            remaining: match latest_us.checked_sub(place.full_us) {
                Some(left_us) => left_us / self.step_us + 1,
                None => 0,
            },
            reset_s: whole_seconds(place.full_us - now_us),
            retry_after_s: 0,
        }
    }

    fn refused(&self, place: &Place, now_us: u64) -> Standing {
        let reach_us = self.step_us.saturating_mul(self.burst - 1);
        let next_us = place.full_us.saturating_sub(reach_us).max(place.blocked_until_us);
        let full_us = place.full_us.max(place.blocked_until_us);
        Standing {
            allowed: false,
            shown: false,
            limit: self.burst,
            remaining: 0,
            reset_s: whole_seconds(full_us.saturating_sub(now_us)),
            retry_after_s: whole_seconds(next_us.saturating_sub(now_us)).max(1),
        }
    }
}

impl Pacer {
    /// Counts a request of `client` under the quota with this id.
    pub(super) fn charge(
        &self,
        id: u64,
        pace: &Pace,
        client: Option<IpAddr>,
        now: Duration,
        ports: &Ports,
    ) -> Standing {
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let table = table.get_or_insert_with(|| Table {
            key: ports.random(),
            places: vec![Place::default(); SETS * PLACES_PER_SET].into_boxed_slice(),
        });
        pace.charge(table.place(id, client), now_us)
    }
}

impl Table {
    fn place(&mut self, id: u64, client: Option<IpAddr>) -> &mut Place {
        let hash = self.hash(id, client);
        let set = usize::try_from(hash % SETS as u64).expect("a set's number is small");
        let places = &mut self.places[set * PLACES_PER_SET..][..PLACES_PER_SET];
        let tag = hash.max(1);
        let at = places.iter().position(|place| place.tag == tag).unwrap_or_else(|| {
            let idle_at = |at: &usize| places[*at].full_us.max(places[*at].blocked_until_us);
            let at = (0..PLACES_PER_SET).min_by_key(idle_at).expect("a set has places");
            places[at] = Place { tag, ..Place::default() };
            at
        });
        &mut places[at]
    }

    /// `SipHash(key ‖ quota ‖ address)`: whoever has one IPv6 address has its whole network of 64 bits.
    fn hash(&self, id: u64, client: Option<IpAddr>) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.key.hash(&mut hasher);
        id.hash(&mut hasher);
        match client.map(|client| client.to_canonical()) {
            None => 0_u8.hash(&mut hasher),
            Some(IpAddr::V4(address)) => (4_u8, address.octets()).hash(&mut hasher),
            Some(IpAddr::V6(address)) => (6_u8, &address.octets()[..8]).hash(&mut hasher),
        }
        hasher.finish()
    }
}

fn whole_seconds(us: u64) -> u64 {
    us.div_ceil(1_000_000)
}
