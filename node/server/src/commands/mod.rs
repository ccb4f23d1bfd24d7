//! The sub-commands of `conclaved`.

pub mod audit;
pub mod dev;
pub mod recover;
pub mod rejoin;
pub mod server;
pub mod snapshot;
