//! Any value in locked pages.

use crate::pages::Place;

/// A value that contains a key, such as the expanded key of a cipher, in locked pages.
///
/// Libraries keep keys in plain structs; inside this wrapper the struct's own bytes are locked,
/// left out of dumps and overwritten on drop. What such a value keeps behind a pointer elsewhere is
/// not covered, so it is for flat values.
///
/// ```compile_fail
/// fn printable<T: std::fmt::Debug>() {}
/// printable::<conclave_memory::Locked<u8>>();
/// ```
/// ```compile_fail
/// fn copyable<T: Clone>() {}
/// copyable::<conclave_memory::Locked<u8>>();
/// ```
pub struct Locked<T>(Place<T>);

impl<T> Locked<T> {
    /// Makes the value and moves it into locked pages at once.
    pub fn new(make: impl FnOnce() -> T) -> Self {
        Self(Place::new(make()))
    }

    /// The value.
    pub fn expose(&self) -> &T {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_value_can_be_read_from_other_threads() {
        let value = Locked::new(|| [3_u64; 100]);
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(value.expose(), &[3; 100]));
        });
    }
}
