//! The sub-commands of `conclaved`.

pub mod audit;
pub mod dev;
pub mod recover;
pub mod rejoin;
pub mod server;
pub mod snapshot;

use std::path::PathBuf;

/// The flags that name this configuration again.
fn config_words(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!(" --config {}", path.display())).collect()
}
