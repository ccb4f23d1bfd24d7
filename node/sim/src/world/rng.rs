//! Chance: every number of a run follows from its seed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conclave_ports::Rng;

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Decisions of one part of the simulation. Parts draw from streams of their own, so that one
/// more draw here does not change what happens there.
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    /// The stream `label` of a seed.
    pub(crate) fn new(seed: u64, label: u64) -> Self {
        Self { state: mix(mix(seed.wrapping_add(GAMMA)).wrapping_add(mix(label ^ GAMMA))) }
    }

    /// 64 random bits.
    pub(crate) fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// Below `end`, which is above 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// True so often out of a thousand times.
    pub(crate) fn chance(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    /// A time in microseconds' steps.
    pub(crate) fn duration(&mut self, from_us: u64, to_us: u64) -> Duration {
        Duration::from_micros(from_us + self.below(to_us - from_us + 1))
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = self.below(from.len() as u64);
        &from[usize::try_from(at).expect("below a length")]
    }
}

/// The random source of one process.
pub(crate) struct SimRng {
    state: AtomicU64,
}

impl SimRng {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Rng for SimRng {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let state = self.state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
            chunk.copy_from_slice(&mix(state).to_le_bytes()[..chunk.len()]);
        }
    }
}
