//! Ports on the simulated runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use conclave_ports::{Clock, Ports, Rng, Spawn};
use futures::FutureExt;
use futures::future::BoxFuture;
use openraft::{AsyncRuntime, Instant};
use openraft_rt_sim::{SimInstant, SimRuntime};

const EPOCH_MS: u64 = 1_700_000_000_000;

/// A clock whose wall hand somebody moved.
struct Skewed {
    clock: Arc<dyn Clock>,
    skew_ms: Arc<AtomicI64>,
}

impl Clock for Skewed {
    fn wall_ms(&self) -> u64 {
        self.clock.wall_ms().saturating_add_signed(self.skew_ms.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(duration)
    }
}

pub(crate) fn skewed(ports: &Ports, skew_ms: Arc<AtomicI64>) -> Ports {
    Ports { clock: Arc::new(Skewed { clock: ports.clock.clone(), skew_ms }), ..ports.clone() }
}

struct SimClock {
    origin: SimInstant,
}

impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        EPOCH_MS + u64::try_from(self.monotonic().as_millis()).expect("a short test")
    }

    fn monotonic(&self) -> Duration {
        SimInstant::now() - self.origin
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SimRuntime::sleep(duration).boxed()
    }
}

/// SplitMix64.
struct SeededRng(AtomicU64);

impl Rng for SeededRng {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
    }
}

struct SimSpawn;

impl Spawn for SimSpawn {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        drop(SimRuntime::spawn(task));
    }
}

pub(crate) fn ports(seed: u64) -> Ports {
    Ports {
        clock: Arc::new(SimClock { origin: SimInstant::now() }),
        rng: Arc::new(SeededRng(AtomicU64::new(seed))),
        spawn: Arc::new(SimSpawn),
    }
}
