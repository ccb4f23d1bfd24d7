//! The sub-commands of `conclaved`.

pub mod dev;
pub mod server;
