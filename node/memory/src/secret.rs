//! Secret bytes and keys.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::pages::Pages;

/// Secret bytes of any length in locked, zeroised, non-dumpable pages.
///
/// ```compile_fail
/// fn printable<T: std::fmt::Debug>() {}
/// printable::<conclave_memory::SecretBytes>();
/// ```
/// ```compile_fail
/// fn copyable<T: Clone>() {}
/// copyable::<conclave_memory::SecretBytes>();
/// ```
/// ```compile_fail
/// fn comparable<T: PartialEq>() {}
/// comparable::<conclave_memory::SecretBytes>();
/// ```
pub struct SecretBytes(Pages);

impl SecretBytes {
    /// Moves `bytes` into locked memory and wipes the original.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        let mut pages = Pages::new(bytes.len());
        pages.as_mut_slice().copy_from_slice(&bytes);
        Self(pages)
    }

    /// The secret. Whoever copies it out owns the copy's life.
    pub fn expose(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Whether both are the same: constant-time in the content, not in the length.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

/// A key of `N` bytes, kept as [`SecretBytes`] are.
///
/// ```compile_fail
/// fn printable<T: std::fmt::Debug>() {}
/// printable::<conclave_memory::SecretKey<32>>();
/// ```
/// ```compile_fail
/// fn copyable<T: Clone>() {}
/// copyable::<conclave_memory::SecretKey<32>>();
/// ```
/// ```compile_fail
/// fn comparable<T: PartialEq>() {}
/// comparable::<conclave_memory::SecretKey<32>>();
/// ```
/// ```
/// let key = conclave_memory::SecretKey::<32>::fill_with(|bytes| bytes.fill(1));
/// assert_eq!(key.expose(), &[1; 32]);
/// ```
pub struct SecretKey<const N: usize>(Pages);

impl<const N: usize> SecretKey<N> {
    /// Makes a key by filling it in place. The bytes are zero before.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut pages = Pages::new(N);
        fill(pages.as_mut_slice().try_into().expect("the pages hold N bytes"));
        Self(pages)
    }

    /// The key. Whoever copies it out owns the copy's life.
    pub fn expose(&self) -> &[u8; N] {
        self.0.as_slice().try_into().expect("the pages hold N bytes")
    }

    /// Whether both are the same, in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }

    /// A second copy; explicit because copies of keys are rare and deliberate.
    pub fn duplicate(&self) -> Self {
        Self::fill_with(|bytes| bytes.copy_from_slice(self.expose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kept_and_compared() {
        let secret = |bytes: &[u8]| SecretBytes::new(Zeroizing::new(bytes.to_vec()));
        assert_eq!(secret(b"abc").expose(), b"abc");
        assert!(secret(b"abc").ct_eq(&secret(b"abc")));
        assert!(!secret(b"abc").ct_eq(&secret(b"abd")));
        assert!(!secret(b"abc").ct_eq(&secret(b"abcd")));
        assert!(secret(b"").ct_eq(&secret(b"")));
        assert_eq!(secret(&[9; 9000]).expose(), [9; 9000]);
    }

    #[test]
    fn a_duplicate_is_equal_and_lives_on_its_own() {
        let key = SecretKey::<32>::fill_with(|bytes| bytes.fill(7));
        let copy = key.duplicate();
        assert!(key.ct_eq(&copy));
        assert!(!key.ct_eq(&SecretKey::fill_with(|bytes| bytes[31] = 7)));
        drop(key);
        assert_eq!(copy.expose(), &[7; 32]);
    }

    #[test]
    fn a_panic_while_filling_leaves_nothing_behind() {
        let result = std::panic::catch_unwind(|| {
            SecretKey::<32>::fill_with(|_| panic!("the source of the key failed"))
        });
        assert!(result.is_err());
    }
}
