//! `conclaved snapshot`: looks at backup files. It needs no cluster, no key and no data directory.

use std::fs::File;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};

use crate::backup::{Manifest, PublicKey, SpoolDir, inspect, verify};

/// `conclaved snapshot`
#[derive(clap::Subcommand)]
pub enum Command {
    /// Checks every byte of a backup, and who signed it.
    Verify(Verify),
    /// Shows what a backup says of itself, unchecked.
    Inspect(Inspect),
}

/// `conclaved snapshot verify`
#[derive(clap::Args)]
pub struct Verify {
    /// The key that must have signed it, as `conclave operator members` shows it.
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    key: Option<PublicKey>,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The backup.
    file: PathBuf,
}

/// `conclaved snapshot inspect`
#[derive(clap::Args)]
pub struct Inspect {
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The backup.
    file: PathBuf,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For scripts.
    Json,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read, or is no backup to rely on.
pub fn run(command: Command) -> anyhow::Result<()> {
    let (manifest, checked, format) = match command {
        Command::Verify(Verify { key, format, file }) => {
            let verified = verify(open(&file)?, SpoolDir::temporary()?)
                .with_context(|| format!("{}", file.display()))?;
            verified.check_signer(key).with_context(|| format!("{}", file.display()))?;
            (verified.manifest, Some(key.is_some()), format)
        }
        Command::Inspect(Inspect { format, file }) => {
            let manifest = inspect(open(&file)?).with_context(|| format!("{}", file.display()))?;
            (manifest, None, format)
        }
    };
    let text = match format {
        Format::Table => table(&manifest, checked),
        Format::Json => format!("{:#}\n", document(&manifest, checked)?),
    };
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).context("standard output")
}

fn open(file: &PathBuf) -> anyhow::Result<File> {
    File::open(file).with_context(|| format!("{} cannot be opened", file.display()))
}

fn parse_key(text: &str) -> Result<PublicKey, String> {
    text.parse().map_err(str::to_owned)
}

/// `checked`: not at all, or every byte, and then whether against a key that was given.
fn table(manifest: &Manifest, checked: Option<bool>) -> String {
    let members: Vec<_> = manifest
        .members
        .iter()
        .map(|peer| format!("{} {} {}", peer.id, peer.name, peer.cluster_addr))
        .collect();
    let rows = [
        ("Checked", checked_text(checked).to_owned()),
        ("Backup Key", manifest.backup_key.clone()),
        ("Cluster Name", manifest.cluster_name.clone()),
        ("Cluster ID", manifest.cluster_id.clone()),
        ("Epoch", manifest.epoch.to_string()),
        ("Index", manifest.index.to_string()),
        ("Term", manifest.term.to_string()),
        ("Keyring Term", manifest.keyring_term.to_string()),
        ("Created", manifest.created.clone()),
        ("Records", manifest.record_count.to_string()),
        ("State Bytes", manifest.state_bytes.to_string()),
        ("State Hash", manifest.state_hash.clone()),
        ("Members", members.join(", ")),
    ];
    rows.map(|(name, value)| format!("{name:<16}{}\n", printable(&value))).concat()
}

fn checked_text(checked: Option<bool>) -> &'static str {
    match checked {
        Some(true) => "every byte, and signed by the given key",
        Some(false) => "every byte; compare the key below, or give it with -key",
        None => "nothing; `snapshot verify` checks it",
    }
}

/// What a file says must not steer the terminal that shows it.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|letter| {
            let shown: Box<dyn Iterator<Item = char>> = if letter.is_control() {
                Box::new(letter.escape_default())
            } else {
                Box::new(std::iter::once(letter))
            };
            shown
        })
        .collect()
}

fn document(manifest: &Manifest, checked: Option<bool>) -> anyhow::Result<Value> {
    let mut document = serde_json::to_value(manifest)?;
    let fields = document.as_object_mut().context("a manifest is an object")?;
    fields.insert("verified".to_owned(), json!(checked.is_some()));
    fields.insert("signer_checked".to_owned(), json!(checked == Some(true)));
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::Peer;

    fn manifest() -> Manifest {
        Manifest {
            format: 1,
            version: "0.1.0".into(),
            created: "2026-11-25T04:00:00Z".into(),
            cluster_id: "01".repeat(16),
            cluster_name: "con\u{1b}clave".into(),
            epoch: 2,
            index: 41,
            term: 3,
            leader_id: 1,
            members: vec![Peer { id: 1, name: "n1".into(), cluster_addr: "n1:8201".into() }],
            keyring_term: 1,
            state_hash: "02".repeat(32),
            record_count: 9,
            state_bytes: 4096,
            backup_key: "03".repeat(32),
        }
    }

    #[test]
    fn a_backup_is_shown_for_people() {
        let text = table(&manifest(), Some(true));
        let expected = "\
Checked         every byte, and signed by the given key
Backup Key      0303030303030303030303030303030303030303030303030303030303030303
Cluster Name    con\\u{1b}clave
Cluster ID      01010101010101010101010101010101
Epoch           2
Index           41
Term            3
Keyring Term    1
Created         2026-11-25T04:00:00Z
Records         9
State Bytes     4096
State Hash      0202020202020202020202020202020202020202020202020202020202020202
Members         1 n1 n1:8201
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_script_learns_what_was_checked() {
        for (checked, verified, signer) in
            [(None, false, false), (Some(false), true, false), (Some(true), true, true)]
        {
            let document = document(&manifest(), checked).unwrap();
            assert_eq!(document["verified"], verified);
            assert_eq!(document["signer_checked"], signer);
            assert_eq!(document["index"], 41);
        }
    }
}
