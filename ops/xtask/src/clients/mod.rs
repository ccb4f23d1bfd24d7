//! `cargo xtask clients [CLIENT…]`: small programs that use published client libraries as
//! applications do, each against a fresh cluster of three real nodes with TLS.
//!
//! The programs lie in `ops/clients`, with their lock files. Each spreads its calls over the nodes,
//! has the leader killed between two of them, and says how each check of `ops/clients/checks.txt`
//! went; one that leaves a check out has failed. They are copied to `target/clients` and installed
//! there.

mod cluster;
mod program;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::needs::{self, Need};
use crate::step;
use cluster::Cluster;

/// `cargo xtask clients`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which [default: all]
    clients: Vec<Client>,
    /// Takes `conclaved` from there and builds nothing.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// A client library that is tried.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Client {
    /// node-vault.
    Node,
    /// jopenlibs' vault-java-driver.
    Java,
    /// HashiCorp's own.
    Go,
}

impl Client {
    pub(crate) const ALL: [Self; 3] = [Self::Node, Self::Java, Self::Go];
}

/// Runs the chosen ones.
///
/// # Errors
/// Something is missing on this machine, or a check fails.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let programs = step::programs(arguments.programs.as_deref())?;
    let clients = match arguments.clients.as_slice() {
        [] => &Client::ALL,
        chosen => chosen,
    };
    clients.iter().try_for_each(|client| client.run(&programs))
}

impl Client {
    /// Its folder below `ops/clients`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Java => "java",
            Self::Go => "go",
        }
    }

    /// Installs and runs it against a cluster of `conclaved` from `programs`.
    ///
    /// # Errors
    /// Something is missing on this machine, or a check fails.
    pub(crate) fn run(self, programs: &Path) -> anyhow::Result<()> {
        let folder = step::root().join(FOLDER).join(self.name());
        copy(&step::root().join(CHECKED_IN).join(self.name()), &folder)?;
        needs::ensure(&[self.need(&folder)])?;
        if let Some(command) = self.build(&folder) {
            step::run(&format!("building the {} client", self.name()), command)?;
        }
        let checks = step::root().join(CHECKED_IN).join("checks.txt");
        let checks =
            std::fs::read_to_string(&checks).with_context(|| checks.display().to_string())?;
        let cluster = Cluster::start(&programs.join("conclaved"), &folder)?;
        let report = program::run(self.command(&folder), &cluster)?;
        println!("{report}");
        report.ensure_good(&checks)?;
        cluster.remove()
    }

    /// What pins every package it is made of.
    fn lock(self) -> &'static str {
        match self {
            Self::Node => "package-lock.json",
            Self::Java => "pom.xml",
            Self::Go => "go.sum",
        }
    }

    /// Its packages, installed as the lock file says.
    fn need(self, folder: &Path) -> Need {
        let place = format!("{FOLDER}/{}", self.name());
        let (what, install) = match self {
            Self::Node => ("node-vault", format!("npm ci --silent --prefix {place}")),
            Self::Java => (
                "vault-java-driver",
                format!("mvn -q -B -C -f {place}/pom.xml dependency:copy-dependencies"),
            ),
            Self::Go => ("the Go client", format!("go mod download -C {place}")),
        };
        let text = |file| std::fs::read(folder.join(file)).ok();
        Need {
            what,
            is_there: text(self.lock()) == text(INSTALLED),
            install: vec![install, format!("cp {place}/{} {place}/{INSTALLED}", self.lock())],
        }
    }

    /// What makes a program of it, where it is not run as it is.
    fn build(self, folder: &Path) -> Option<Command> {
        match self {
            Self::Node | Self::Java => None,
            Self::Go => {
                let mut command = Command::new("go");
                // The folder lies in a repository that the program says nothing about.
                command.current_dir(folder).args(["build", "-buildvcs=false", "-o", "check", "."]);
                Some(command)
            }
        }
    }

    fn command(self, folder: &Path) -> Command {
        let words: &[&str] = match self {
            Self::Node => &["node", "check.js"],
            Self::Java => &["java", "-cp", "lib/*", "Check.java"],
            Self::Go => &["./check"],
        };
        let mut command = Command::new(words[0]);
        command.current_dir(folder).args(&words[1..]);
        command
    }
}

/// Copies the files of a folder; files that stood there before and came from an earlier state of it
/// go, folders stay.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for file in files(to)?.iter().filter(|file| !file.ends_with(INSTALLED)) {
        std::fs::remove_file(file)?;
    }
    for file in files(from)? {
        let name = file.file_name().context("a file has a name")?;
        std::fs::copy(&file, to.join(name)).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths = paths.collect::<Result<Vec<_>, _>>()?;
    Ok(paths.into_iter().filter(|path| path.is_file()).collect())
}

const CHECKED_IN: &str = "ops/clients";
/// From the workspace's root.
const FOLDER: &str = "target/clients";
/// A copy of the lock file, made once all of it is installed.
const INSTALLED: &str = "installed";

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever installs from a lock file is to use the registry that is set up there.
    #[test]
    fn lock_files_name_no_registry() {
        for client in Client::ALL {
            let file = step::root().join(CHECKED_IN).join(client.name()).join(client.lock());
            let text = std::fs::read_to_string(&file).expect("a lock file");
            for word in ["resolved", "<repository>", "<mirror>", "localhost", "127.0.0.1"] {
                assert!(!text.contains(word), "{} holds {word}", file.display());
            }
        }
    }

    #[test]
    fn what_is_installed_is_what_the_lock_file_says() {
        let folder = std::env::temp_dir().join(format!("conclave-clients-{}", std::process::id()));
        let from = step::root().join(CHECKED_IN).join("go");
        copy(&from, &folder).expect("a copy");
        assert!(!Client::Go.need(&folder).is_there);
        std::fs::copy(folder.join("go.sum"), folder.join(INSTALLED)).expect("installed");
        std::fs::write(folder.join("stale.go"), "package main").expect("a file of before");
        copy(&from, &folder).expect("a copy");
        assert!(Client::Go.need(&folder).is_there);
        assert!(!folder.join("stale.go").exists());
        std::fs::write(folder.join(INSTALLED), "an older one").expect("a file");
        assert!(!Client::Go.need(&folder).is_there);
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
