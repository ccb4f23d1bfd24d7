//! Random nonces, drawn in blocks: asking the system for 12 bytes costs more than the sealing.

use std::sync::{Mutex, PoisonError};

use conclave_ports::Rng;

use crate::aead::NonceBytes;

const BLOCK_NONCES: usize = 256;

/// Hands out random nonces, each once.
pub(crate) struct NonceSource(Mutex<Block>);

struct Block {
    nonces: [NonceBytes; BLOCK_NONCES],
    used: usize,
}

impl NonceSource {
    pub(crate) fn new() -> Self {
        let nonces = [NonceBytes::default(); BLOCK_NONCES];
        Self(Mutex::new(Block { nonces, used: BLOCK_NONCES }))
    }

    /// `N` from {0,1}⁹⁶ uniform (SP 800-38D §8.2.2, the RBG-based construction).
    pub(crate) fn make(&self, rng: &dyn Rng) -> NonceBytes {
        // A nonce is taken or not: a panic of another holder leaves the block whole.
        let mut block = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if block.used == BLOCK_NONCES {
            rng.fill(block.nonces.as_flattened_mut());
            block.used = 0;
        }
        let nonce = block.nonces[block.used];
        block.used += 1;
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestRng;

    #[test]
    fn nonces_do_not_repeat_within_or_across_blocks() {
        let (source, rng) = (NonceSource::new(), TestRng::new(1));
        let mut nonces: Vec<_> = (0..3 * BLOCK_NONCES).map(|_| source.make(&rng)).collect();
        nonces.sort_unstable();
        nonces.dedup();
        assert_eq!(nonces.len(), 3 * BLOCK_NONCES);
        assert!(!nonces.contains(&[0; 12]));
    }
}
