//! What policies promise, from the outside.

mod comparison;
mod golden;
mod oracle;
mod random;
mod rows;
mod speed;
