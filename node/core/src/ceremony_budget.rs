//! How often a caller without a token may begin, cancel or get wrong a key ceremony.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::{Error, ErrorCode};

/// A fixed table: an attacker allocates nothing. Who shares a bucket with one waits as well, but
/// for beginning alone: a right share costs nothing.
const BUCKETS: usize = 256;
/// At once.
const STEPS_MAX: u32 = 60;
/// One more after each.
const REFILL: Duration = Duration::from_secs(1);

/// Counts the steps of each address.
pub(crate) struct CeremonyBudget(Mutex<[Bucket; BUCKETS]>);

#[derive(Clone, Copy, Default)]
struct Bucket {
    used: u32,
    /// When `used` was right last, on the monotonic clock.
    at: Duration,
}

impl Default for CeremonyBudget {
    fn default() -> Self {
        Self(Mutex::new([Bucket::default(); BUCKETS]))
    }
}

impl CeremonyBudget {
    /// Takes one step of this address, at this time.
    ///
    /// # Errors
    /// `Busy` where it has none left.
    pub(crate) fn charge(&self, client: Option<IpAddr>, now: Duration) -> Result<(), Error> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = &mut buckets[place(client)];
        bucket.refill(now);
        if bucket.used >= STEPS_MAX {
            return Err(Error::new(
                ErrorCode::Busy,
                "too many attempts from this address; wait a minute, or send a token",
            ));
        }
        bucket.used += 1;
        Ok(())
    }
}

impl Bucket {
    fn refill(&mut self, now: Duration) {
        let steps = now.saturating_sub(self.at).as_secs() / REFILL.as_secs();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        if steps >= self.used {
            *self = Self { used: 0, at: now };
        } else {
            self.used -= steps;
            self.at += REFILL * steps;
        }
    }
}

/// FNV-1a over the address (draft-eastlake-fnv): it spreads, and hides nothing.
fn place(client: Option<IpAddr>) -> usize {
    let octets = match client.map(|client| client.to_canonical()) {
        None => Vec::new(),
        Some(IpAddr::V4(address)) => address.octets().to_vec(),
        // Whoever has one address of a network has all of it.
        Some(IpAddr::V6(address)) => address.octets()[..8].to_vec(),
    };
    let hash = octets.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash % BUCKETS as u64).expect("a bucket's number is small")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_address_has_so_many_steps_and_then_one_a_second() {
        let budget = CeremonyBudget::default();
        let (one, other) = (Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
        for _ in 0..STEPS_MAX {
            budget.charge(one, at(5)).unwrap();
        }
        assert_eq!(budget.charge(one, at(5)).unwrap_err().code, ErrorCode::Busy);
        budget.charge(other, at(5)).unwrap();
        for _ in 0..3 {
            budget.charge(one, at(8)).unwrap();
        }
        assert!(budget.charge(one, at(8)).is_err());
        for _ in 0..STEPS_MAX {
            budget.charge(one, at(500)).unwrap();
        }
        assert!(budget.charge(one, at(500)).is_err());
    }

    #[test]
    fn a_network_is_one_caller() {
        let of = |text: &str| place(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
