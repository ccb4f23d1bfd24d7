//! What the workloads leave behind for a reader: figures, a table of faults, raw times.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// What a workload found out.
#[derive(Default)]
pub(crate) struct Report {
    /// One line.
    pub(crate) figures: String,
    /// For the table of faults.
    pub(crate) rows: Vec<(String, Row)>,
}

/// One line of the table of faults.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) runs: u64,
    /// Acknowledged writes that are gone.
    pub(crate) lost: u64,
    /// Answers that were not what was written.
    pub(crate) wrong: u64,
    /// Runs after which everything was right without anybody doing anything.
    pub(crate) healed: u64,
    /// Runs in which something was refused with a message that names the way out, and that way led
    /// out.
    pub(crate) refused: u64,
}

impl Row {
    /// Runs that healed by themselves.
    pub(crate) fn healed(runs: u64) -> Self {
        Self { runs, healed: runs, ..Self::default() }
    }

    /// Runs that were refused.
    pub(crate) fn refused(runs: u64) -> Self {
        Self { runs, refused: runs, ..Self::default() }
    }
}

impl From<String> for Report {
    fn from(figures: String) -> Self {
        Self { figures, rows: Vec::new() }
    }
}

impl Report {
    /// Adds a line to the table of faults.
    pub(crate) fn with_row(mut self, fault: impl Into<String>, row: Row) -> Self {
        self.rows.push((fault.into(), row));
        self
    }
}

/// Where files for readers go: `jepsen` beside the folder of this program.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("the program lies in no target directory")?;
    let folder = target.join("jepsen");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Takes these rows into the table that earlier runs left, and writes it as Markdown.
pub(crate) fn note_rows(rows: &[(String, Row)]) -> anyhow::Result<()> {
    let (folder, mut all) = (folder()?, BTreeMap::<String, Row>::new());
    let kept = folder.join("summary.json");
    if let Ok(text) = std::fs::read(&kept) {
        all = serde_json::from_slice(&text).unwrap_or_default();
    }
    all.extend(rows.iter().cloned());
    std::fs::write(kept, serde_json::to_vec_pretty(&all)?)?;
    std::fs::write(folder.join("summary.md"), table("fault", all.iter()))?;
    Ok(())
}

/// A Markdown table.
pub(crate) fn table<'a>(what: &str, rows: impl Iterator<Item = (&'a String, &'a Row)>) -> String {
    let mut text = format!(
        "| {what} | runs | lost | wrong | self-healed | refused, then repaired |\n|---|---|---|---|---|---|\n"
    );
    for (name, row) in rows {
        let Row { runs, lost, wrong, healed, refused } = row;
        let _ = writeln!(text, "| {name} | {runs} | {lost} | {wrong} | {healed} | {refused} |");
    }
    text
}
