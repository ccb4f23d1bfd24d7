//! How much a text may cost.

use crate::error::{ParseError, Position};

/// The longest text, in bytes.
pub const INPUT_BYTES_MAX: usize = 4 << 20;

/// Objects and lists within each other. Recursion, the drop of a body included, is bounded by it.
pub const DEPTH_MAX: usize = 64;

/// Keys and list elements together.
pub const ITEMS_MAX: usize = 250_000;

/// What a parse may still spend.
#[derive(Default)]
pub(crate) struct Budget {
    items: usize,
    depth: usize,
}

impl Budget {
    /// Counts a key or an element.
    pub(crate) fn take_item(&mut self, position: Position) -> Result<(), ParseError> {
        self.items += 1;
        if self.items > ITEMS_MAX {
            let message = format!("more than {ITEMS_MAX} keys and elements; split the text");
            return Err(ParseError::new(position, message));
        }
        Ok(())
    }

    /// Goes into an object or a list.
    pub(crate) fn enter(&mut self, position: Position) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let message = format!("nested deeper than {DEPTH_MAX}; flatten it");
            return Err(ParseError::new(position, message));
        }
        Ok(())
    }

    /// Comes out again.
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }
}
