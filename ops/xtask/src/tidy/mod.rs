//! Rules about the tree that no compiler keeps: who imports whom, how long files are, which crates
//! and licences may come in, and that the architecture page names what exists.

mod architecture;
mod dependencies;
mod files;
mod imports;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::step;

/// Checks all of them and reports every breach, not only the first.
///
/// # Errors
/// There is a breach.
pub(crate) fn run() -> anyhow::Result<()> {
    println!("\n== tidy");
    let metadata = metadata()?;
    let mut breaches = Vec::new();
    imports::check(&metadata, &mut breaches);
    dependencies::check(&metadata, &mut breaches);
    files::check(&step::root(), &mut breaches)?;
    architecture::check(&step::root(), &metadata, &mut breaches)?;
    if breaches.is_empty() {
        println!("== tidy: ok");
        return Ok(());
    }
    for breach in &breaches {
        println!("tidy: {breach}");
    }
    bail!("{} tidy rule(s) broken", breaches.len())
}

fn metadata() -> anyhow::Result<Value> {
    let output = step::cargo(&["metadata", "--format-version", "1", "--locked"])
        .output()
        .context("cargo metadata cannot be started")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")
}

/// The packages of this workspace.
fn own_packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    packages(metadata).filter(|package| package["source"].is_null())
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
