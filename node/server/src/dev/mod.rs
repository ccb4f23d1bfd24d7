//! `conclaved dev`: a whole cluster of real processes on loopback.
//!
//! The supervisor writes each node's files, starts the nodes, initialises the first, and waits until
//! all of them serve. It holds no secret of its own: what it learned from `init` stands in the ready
//! document, which is kept only where the caller keeps the data directory or asks for the file.

mod child;
mod client;
mod cluster;
mod layout;
mod phases;
mod report;

pub use cluster::{DevCluster, DevOptions};
pub use layout::DevSeal;
pub use phases::Phases;
pub use report::Ready;
