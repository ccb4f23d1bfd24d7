//! Limits of source files.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// Lines of a file, its tests not counted. A longer one says why in its first comment.
const LINES_MAX: usize = 600;

const FOLDERS: &[&str] = &["proto", "node", "client", "jepsen", "benches", "ops"];

/// Reports files that are too long, or that lack their opening doc.
pub(super) fn check(root: &Path, breaches: &mut Vec<String>) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut files)?;
    }
    for file in files {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("reading {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        let is_test = name.contains("/tests/") || name.ends_with("tests.rs");
        let explains = text.lines().next().is_some_and(|line| line.contains("long because"));
        if lines > LINES_MAX && !is_test && !explains {
            breaches.push(format!("{name} has {lines} lines, at most {LINES_MAX}"));
        }
        if !text.starts_with("//!") && !is_test {
            breaches.push(format!("{name} does not open with a doc comment"));
        }
    }
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}
