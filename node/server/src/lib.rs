//! `conclaved`: the composition root.
//!
//! Owns configuration, TLS, the phases of a node, its listeners and the transport between nodes, and
//! ties the two sides of the ciphertext line together. It is the one crate that may name all the
//! others; what it adds is wiring, and the real clock, random source and tasks ([`system`]).

pub mod audit;
pub mod backup;
pub mod commands;
pub mod config;
pub mod dev;
pub mod files;
pub mod ledger;
pub mod listener;
pub mod logging;
pub mod metrics;
pub mod node;
pub mod peer;
pub mod system;
pub mod tls;
pub mod workers;
