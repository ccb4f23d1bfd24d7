//! `conclaved rejoin`: sets a node's data aside, so that its next start joins anew.
//!
//! For a node that stays out of its cluster or whose log, vote or identity is damaged. Nothing is
//! deleted. The next start has a new key and gets a new id; ids are never used again.

use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use conclave_store::disk::RealDisk;

use super::config_words;
use crate::config::Config;
use crate::files::{self, make_private_dir, write_private};
use crate::peer::JoinToken;

/// `conclaved rejoin`
#[derive(clap::Args)]
pub struct Arguments {
    /// The node's configuration, as `conclaved server` takes it.
    #[arg(long, value_name = "PATH", required = true)]
    config: Vec<PathBuf>,
    /// A join token of the cluster (`conclave operator join-token` on a member makes one), where
    /// the configuration has neither `join_secret_file` nor `retry_join`.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
}

/// Sets the data aside.
///
/// # Errors
/// The node runs, nobody said yes, or a file cannot be moved; run it again then.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    let data_dir = &config.storage.path;
    anyhow::ensure!(data_dir.is_dir(), "there is no data directory {}", data_dir.display());
    if let Some(token) = &arguments.token {
        JoinToken::decode(token)?;
    }
    // Also the proof that the node does not run.
    let _lock = RealDisk::open(data_dir).context("stop the node first")?;
    let moved = parts_in(data_dir);
    if moved.is_empty() && arguments.token.is_none() {
        println!("{} holds nothing of a node: starting it joins anew.", data_dir.display());
        return Ok(());
    }
    if !arguments.yes {
        confirm(data_dir)?;
    }
    let aside = next_aside(data_dir)?;
    set_aside(data_dir, &aside, &moved)?;
    if let Some(token) = &arguments.token {
        write_private(&data_dir.join(TOKEN_FILE), token.trim().as_bytes())?;
    }
    let name = config.storage.node_name.as_str();
    let mib = files::bytes_in(&aside)
        .map_or_else(|_| "?".to_owned(), |b| b.div_ceil(1 << 20).to_string());
    println!("The data of {name} is in {} ({mib} MiB).", aside.display());
    print_next(&config, &arguments);
    print_deletion(&config, &aside);
    Ok(())
}

/// What was set aside stays in the data directory, and so in its account.
fn print_deletion(config: &Config, aside: &Path) {
    println!("Delete what was set aside once the node is a member again:");
    println!("  rm -r -- '{}'", aside.display());
    if config.storage.space.data_bytes_max.is_some() {
        println!("Until then it counts against storage.raft.data_bytes_max.");
    }
}

fn print_next(config: &Config, arguments: &Arguments) {
    let name = config.storage.node_name.as_str();
    let start = format!("conclaved server{}", config_words(&arguments.config));
    let by_secret = config.join_secret_file.is_some() && !config.storage.retry_join.is_empty();
    if arguments.token.is_some() || by_secret {
        println!(
            "Start the node: it joins under its name with a new id, and the old id is removed."
        );
        println!("  {start}");
    } else if !config.storage.retry_join.is_empty() {
        println!(
            "Start the node and unseal it: it joins under its name with a new id, and the old id is removed."
        );
        println!("  {start}");
    } else {
        println!("The configuration has no retry_join. Start the node,");
        println!("  {start}");
        println!(
            "then join it by a token of `conclave operator join-token`, or run this again with --token."
        );
    }
    println!("A member of that name which is still alive has to be removed by an operator first:");
    println!("  conclave operator remove-peer {name}");
}

fn confirm(data_dir: &Path) -> anyhow::Result<()> {
    eprint!(
        "All data of the node in {} is set aside, and it joins its cluster anew. Where it is the only node, or most nodes are lost, this is the wrong command: see `conclaved recover`. Go on? [yes/no] ",
        data_dir.display()
    );
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    anyhow::ensure!(answer.trim() == "yes", "nothing was changed; say yes, or give --yes");
    Ok(())
}

/// What of a node's data stands there. Files that an operator keeps beside it are none of it.
fn parts_in(data_dir: &Path) -> Vec<&'static str> {
    let there = |part: &&str| fs::symlink_metadata(data_dir.join(part)).is_ok();
    PARTS.into_iter().filter(there).collect()
}

/// The first free name.
fn next_aside(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let free = (1..=ASIDES_MAX)
        .map(|number| data_dir.join(format!("set-aside-{number}")))
        .find(|path| fs::symlink_metadata(path).is_err());
    free.with_context(|| {
        format!("{} holds {ASIDES_MAX} sets of old data; delete some", data_dir.display())
    })
}

/// Moves part by part, the identity last: as long as it is there, no start takes the node for a
/// new one.
fn set_aside(data_dir: &Path, aside: &Path, parts: &[&str]) -> anyhow::Result<()> {
    make_private_dir(aside)?;
    for part in parts {
        let to = aside.join(part);
        if let Some(parent) = to.parent() {
            make_private_dir(parent)?;
        }
        fs::rename(data_dir.join(part), &to)
            .with_context(|| format!("moving {part} to {}; run this again", aside.display()))?;
        for directory in
            [data_dir.join(part).parent(), to.parent(), Some(data_dir)].into_iter().flatten()
        {
            fs::File::open(directory)?.sync_all()?;
        }
    }
    Ok(())
}

/// Where the token of `--token` waits for the next start, which uses it once.
pub const TOKEN_FILE: &str = "join-token";
/// In the order of moving.
const PARTS: [&str; 9] = [
    "log",
    "snapshots",
    "state",
    "state.damaged",
    "state.damage",
    "tls/node.key",
    "tls/node.crt",
    "tls/ca.crt",
    "node",
];
const ASIDES_MAX: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_nodes_own_files_are_set_aside_and_never_over_older_ones() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let data_dir = place.path();
        for round in 1..=2 {
            for file in ["log/mark", "node/identity", "tls/node.key", "tls/api.crt", "state/db"] {
                let path = data_dir.join(file);
                fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
                fs::write(path, round.to_string()).expect("writable");
            }
            let aside = next_aside(data_dir).expect("a free name");
            set_aside(data_dir, &aside, &parts_in(data_dir)).expect("movable");
            assert!(parts_in(data_dir).is_empty());
            for file in ["log/mark", "node/identity", "tls/node.key", "state/db"] {
                let kept = data_dir.join(format!("set-aside-{round}")).join(file);
                assert_eq!(fs::read_to_string(kept).expect("readable"), round.to_string());
            }
        }
        assert!(data_dir.join("tls/api.crt").exists(), "the public listener's stays");
        let bytes = files::bytes_in(&data_dir.join("set-aside-1")).expect("readable");
        assert!(bytes >= 4 * 512, "{bytes}");
    }

    #[test]
    fn an_interrupted_move_is_ended_by_another() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let data_dir = place.path();
        for file in ["log/mark", "node/identity"] {
            let path = data_dir.join(file);
            fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
            fs::write(path, "1").expect("writable");
        }
        set_aside(data_dir, &next_aside(data_dir).expect("free"), &["log"]).expect("movable");
        assert_eq!(parts_in(data_dir), ["node"]);
        set_aside(data_dir, &next_aside(data_dir).expect("free"), &parts_in(data_dir))
            .expect("movable");
        assert!(data_dir.join("set-aside-2/node/identity").exists());
    }
}
