//! The state hash: an order-independent hash of a set of records.
//!
//! `value = Σ SHA-512(label ‖ len32(key) ‖ key ‖ revision64 ‖ value) mod 2^512`, integers
//! big-endian, the sum's limbs and each digest read as little-endian. A sum can be kept up to date
//! record by record, whatever the order, and equal sets have equal sums.
//!
//! It finds what replicas and disks do wrong: lost, torn, stale or differing records collide with
//! probability 2^-512. It is no proof against who may make up records at will: a set with a given
//! sum is a generalised-birthday problem, about 2^45 steps and as much memory at 512 bits
//! (D. Wagner, CRYPTO 2002). The barrier's authenticated encryption stands against those.

use ring::digest;

use crate::v1::SnapshotRecord;

/// An order-independent hash of everything a snapshot carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateHash(pub [u8; 64]);

impl Default for StateHash {
    fn default() -> Self {
        Self([0; 64])
    }
}

/// A running [`StateHash`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetHash {
    /// The sum, least significant limb first.
    limbs: [u64; LIMBS],
}

impl SetHash {
    /// The hash as it was stored.
    #[must_use]
    pub fn from_value(value: &StateHash) -> Self {
        Self { limbs: limbs(&value.0) }
    }

    /// The hash of the records added and not removed.
    #[must_use]
    pub fn value(&self) -> StateHash {
        let mut bytes = [0; 64];
        for (to, limb) in bytes.chunks_exact_mut(8).zip(self.limbs) {
            to.copy_from_slice(&limb.to_le_bytes());
        }
        StateHash(bytes)
    }

    /// Adds a record that is not in the set.
    pub fn add(&mut self, key: &[u8], revision: u64, value: &[u8]) {
        self.plus(&Self::of(key, revision, value));
    }

    /// The hash of a set of one record.
    #[must_use]
    pub fn of(key: &[u8], revision: u64, value: &[u8]) -> Self {
        Self { limbs: derive_term(key, revision, value) }
    }

    /// Adds the records of a set that shares none with this one.
    pub fn plus(&mut self, other: &Self) {
        let mut carry = false;
        for (sum, term) in self.limbs.iter_mut().zip(other.limbs) {
            let (partial, over) = sum.overflowing_add(term);
            let (total, over_again) = partial.overflowing_add(u64::from(carry));
            *sum = total;
            carry = over || over_again;
        }
    }

    /// Removes a record that is in the set.
    pub fn remove(&mut self, key: &[u8], revision: u64, value: &[u8]) {
        self.minus(&Self::of(key, revision, value));
    }

    /// Removes the records of a set that is part of this one.
    pub fn minus(&mut self, other: &Self) {
        let mut borrow = false;
        for (sum, term) in self.limbs.iter_mut().zip(other.limbs) {
            let (partial, under) = sum.overflowing_sub(term);
            let (total, under_again) = partial.overflowing_sub(u64::from(borrow));
            *sum = total;
            borrow = under || under_again;
        }
    }

    /// Adds a record as snapshots carry it.
    pub fn add_record(&mut self, record: &SnapshotRecord) {
        self.add(&record.key, record.revision, &record.value);
    }
}

fn derive_term(key: &[u8], revision: u64, value: &[u8]) -> [u64; LIMBS] {
    let mut context = digest::Context::new(&digest::SHA512);
    context.update(LABEL);
    context.update(&(key.len() as u32).to_be_bytes());
    context.update(key);
    context.update(&revision.to_be_bytes());
    context.update(value);
    limbs(context.finish().as_ref())
}

fn limbs(bytes: &[u8]) -> [u64; LIMBS] {
    let mut limbs = [0; LIMBS];
    for (limb, chunk) in limbs.iter_mut().zip(bytes.chunks_exact(8)) {
        *limb = u64::from_le_bytes(chunk.try_into().expect("chunks of eight bytes"));
    }
    limbs
}

const LIMBS: usize = 8;
const LABEL: &[u8] = b"conclave/state-record/1";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn carries_and_borrows_cross_every_limb() {
        let mut hash = SetHash { limbs: [u64::MAX; LIMBS] };
        hash.add(b"k", 1, b"v");
        // -1 + term = term - 1.
        let mut expected = SetHash::default();
        expected.add(b"k", 1, b"v");
        expected.limbs[0] = expected.limbs[0].wrapping_sub(1);
        assert_eq!(hash, expected);
        hash.remove(b"k", 1, b"v");
        assert_eq!(hash.limbs, [u64::MAX; LIMBS]);
    }

    proptest! {
        #[test]
        fn order_does_not_matter(
            mut records in proptest::collection::vec((any::<Vec<u8>>(), any::<u64>(), any::<Vec<u8>>()), 0..20),
            cut in 0usize..20,
        ) {
            let sum = |records: &[(Vec<u8>, u64, Vec<u8>)]| {
                let mut hash = SetHash::default();
                records.iter().for_each(|(key, revision, value)| hash.add(key, *revision, value));
                hash
            };
            let forward = sum(&records);
            let cut = cut.min(records.len());
            records.rotate_left(cut);
            prop_assert_eq!(forward, sum(&records));
            prop_assert_eq!(forward, SetHash::from_value(&forward.value()));

            let mut rest = forward;
            for (key, revision, value) in &records[..cut] {
                rest.remove(key, *revision, value);
            }
            prop_assert_eq!(rest, sum(&records[cut..]));
        }

        #[test]
        fn every_part_of_a_record_counts(key in any::<Vec<u8>>(), revision in 0..u64::MAX, value in any::<Vec<u8>>()) {
            let hash = |key: &[u8], revision, value: &[u8]| {
                let mut hash = SetHash::default();
                hash.add(key, revision, value);
                hash
            };
            let one = hash(&key, revision, &value);
            prop_assert_ne!(one, hash(&key, revision + 1, &value));
            prop_assert_ne!(one, hash(&[&key[..], b"x"].concat(), revision, &value));
            prop_assert_ne!(one, hash(&key, revision, &[&value[..], b"x"].concat()));
        }
    }
}
