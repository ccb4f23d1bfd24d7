//! Black-box fault tests: real processes, real disks, real sockets, and clients that keep a record
//! of every answer.
//!
//! Each workload starts a fresh cluster with `conclaved dev`, does something to it, and checks what
//! the clients were told against what the cluster holds afterwards. It knows no node from inside.

mod cluster;
mod files;
mod http;
mod pace;
mod ports;
mod proxy;
mod remains;
mod report;
mod rows;
mod seed;
mod workloads;

use std::process::ExitCode;

use clap::Parser;

use workloads::{Effort, Workload};

/// Runs fault workloads against real clusters and prints one line of figures for each. What readers
/// may want to keep (tables, raw times) is left in `target/jepsen`.
#[derive(Parser)]
#[command(name = "conclave-jepsen", version)]
struct Arguments {
    /// `ci`: what every change must pass. `all`: everything in full. Else one workload.
    #[arg(value_parser = parse_selection)]
    what: Selection,
    /// Lengthens what is counted or timed by this factor.
    #[arg(long, default_value_t = 1)]
    scale: u32,
    /// Runs one workload as `all` would.
    #[arg(long)]
    full: bool,
    /// Of everything that is chosen.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Selection {
    Ci,
    All,
    One(Workload),
}

fn parse_selection(text: &str) -> Result<Selection, String> {
    let one = Workload::ALL.into_iter().find(|workload| workload.name() == text);
    match (text, one) {
        ("ci", _) => Ok(Selection::Ci),
        ("all", _) => Ok(Selection::All),
        (_, Some(workload)) => Ok(Selection::One(workload)),
        _ => {
            let names = Workload::ALL.map(Workload::name).join(", ");
            Err(format!("give ci, all or one of {names}"))
        }
    }
}

impl Selection {
    fn workloads(self) -> Vec<Workload> {
        match self {
            Self::Ci | Self::All => Workload::ALL.to_vec(),
            Self::One(workload) => vec![workload],
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { what, scale, full, seed } = Arguments::parse();
    let effort = Effort { scale, full: full || what == Selection::All, seed };
    let (mut passed, mut failed) = (0, Vec::new());
    for workload in what.workloads() {
        println!("-- {}", workload.name());
        let begun = pace::now();
        match run(workload, effort).await {
            Ok(figures) => {
                passed += 1;
                println!("   ok: {figures} ({} s)", begun.elapsed().as_secs());
            }
            Err(error) => {
                failed.push(format!("{}: {}", workload.name(), one_line(&format!("{error:#}"))));
                let full = if effort.full { " --full" } else { "" };
                println!("   FAILED: {error:#}");
                println!(
                    "   again: cargo run -p conclave-jepsen -- {} --scale {scale} --seed {seed}{full}",
                    workload.name()
                );
            }
        }
    }
    println!("jepsen: {passed} passed, {} failed", failed.len());
    // Once more and last: whoever keeps only the end of this output still learns what it was.
    for line in &failed {
        println!("jepsen: failed: {line}");
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An error with everything in it on one line; of a long one, where it begins and how it ends.
fn one_line(error: &str) -> String {
    let words: Vec<&str> = error.split_whitespace().collect();
    let line = words.join(" ");
    let count = line.chars().count();
    if count <= LINE_CHARS_MAX {
        return line;
    }
    let half = LINE_CHARS_MAX / 2;
    let first: String = line.chars().take(half).collect();
    let last: String = line.chars().skip(count - half).collect();
    format!("{first} […] {last}")
}

async fn run(workload: Workload, effort: Effort) -> anyhow::Result<String> {
    // On a heap: the states of whole workloads are large.
    let report = Box::pin(workload.run(effort)).await?;
    report::note_rows(&report.rows)?;
    Ok(report.figures)
}

const LINE_CHARS_MAX: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_one_line_with_its_begin_and_its_end() {
        assert_eq!(one_line("a write:\n   it failed"), "a write: it failed");
        let long = format!("begin {} end", "ü\n".repeat(LINE_CHARS_MAX));
        let line = one_line(&long);
        assert!(line.starts_with("begin ü") && line.ends_with("ü end"), "{line}");
        assert!(!line.contains('\n') && line.chars().count() < LINE_CHARS_MAX + 10);
    }
}
