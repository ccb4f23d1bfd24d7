//! `node/ARCHITECTURE.md` names every package, and nothing that does not exist.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::{own_packages, text};

const PAGE: &str = "node/ARCHITECTURE.md";

/// Reports packages the page leaves out and paths it names that are not there.
pub(super) fn check(
    root: &Path,
    metadata: &Value,
    breaches: &mut Vec<String>,
) -> anyhow::Result<()> {
    let page = std::fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    for package in own_packages(metadata) {
        let manifest = Path::new(text(package, "manifest_path"));
        let folder = manifest.parent().and_then(|folder| folder.strip_prefix(root).ok());
        let Some(folder) = folder.and_then(Path::to_str) else { continue };
        if !page.contains(&format!("`{folder}")) {
            breaches.push(format!("{PAGE} does not name {folder}"));
        }
    }
    for path in page.split('`').skip(1).step_by(2).filter(|quoted| is_path(quoted)) {
        if !root.join(path).exists() {
            breaches.push(format!("{PAGE} names {path}, which does not exist"));
        }
    }
    Ok(())
}

/// Quoted words that begin with a top-level folder and hold no blank or wildcard are paths.
fn is_path(quoted: &str) -> bool {
    let first = quoted.split('/').next().unwrap_or_default();
    ["proto", "node", "client", "jepsen", "benches", "ops"].contains(&first)
        && quoted.contains('/')
        && !quoted.contains([' ', '*', '{', ':', '<'])
}
