//! The command line: its tree, what every command takes, and one dash for two.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser};

use crate::commands::Command;
use crate::output::Format;

/// A replicated cluster that keeps secrets.
#[derive(Debug, Parser)]
#[command(name = "conclave", version, arg_required_else_help = true, propagate_version = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes. One dash works as well as two.
#[derive(Args, Default)]
#[command(next_help_heading = "Connection and output")]
pub(crate) struct Global {
    /// URL of a node; several with commas, or by repeating the flag [env: CONCLAVE_ADDR]
    #[arg(long, global = true, value_name = "URL", value_delimiter = ',')]
    pub(crate) address: Vec<String>,
    /// PEM file with the cluster's certificate authority [env: CONCLAVE_CACERT]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// The name that the nodes' certificates must carry [env: CONCLAVE_TLS_SERVER_NAME]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) tls_server_name: Option<String>,
    /// Accept any certificate: whoever sits between can read everything [env: CONCLAVE_SKIP_VERIFY]
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) tls_skip_verify: Option<bool>,
    /// The token to act with; other users see a command line, so prefer [env: CONCLAVE_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The namespace [env: CONCLAVE_NAMESPACE]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) namespace: Option<String>,
    /// How to print the answer [env: CONCLAVE_FORMAT]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
}

impl std::fmt::Debug for Global {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Global").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Makes `-name` and `-name=value` into `--name` and `--name=value`, which is all clap takes.
/// Single letters, `-` alone and everything behind `--` stay.
pub(crate) fn rewrite(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut ended = false;
    let rewrite_one = |(place, argument): (usize, OsString)| {
        let bytes = argument.as_encoded_bytes();
        ended |= bytes == b"--";
        let long = bytes.len() > 2 && bytes[0] == b'-' && bytes[1].is_ascii_alphabetic();
        if place == 0 || ended || !long {
            return argument;
        }
        let mut longer = OsString::from("-");
        longer.push(argument);
        longer
    };
    arguments.into_iter().enumerate().map(rewrite_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn rewritten(line: &str) -> String {
        let words = rewrite(line.split(' ').map(OsString::from).collect());
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn one_dash_becomes_two_where_it_begins_a_name() {
        assert_eq!(
            rewritten("conclave kv get -field=a -format json --mount=s -h x"),
            "conclave kv get --field=a --format json --mount=s -h x"
        );
        assert_eq!(rewritten("conclave kv put a -"), "conclave kv put a -");
        assert_eq!(rewritten("conclave kv put -cas=1 a k=-v"), "conclave kv put --cas=1 a k=-v");
        assert_eq!(rewritten("conclave x -- -field=a"), "conclave x -- -field=a");
        assert_eq!(rewritten("-odd version"), "-odd version");
    }

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn both_spellings_of_a_value_are_taken_before_and_behind_the_command() {
        for line in [
            "conclave -format=json -address=https://a:1,https://b:2 status",
            "conclave status -format json -address https://a:1 -address https://b:2",
        ] {
            let words = rewrite(line.split(' ').map(OsString::from).collect());
            let cli = Cli::try_parse_from(words).expect("a valid line");
            assert_eq!(cli.global.address, ["https://a:1", "https://b:2"], "{line}");
            assert_eq!(cli.global.format, Some(Format::Json), "{line}");
        }
    }

    #[test]
    fn flags_may_stand_behind_values() {
        let line = "conclave kv put -mount=secret app k=v - x=- -cas=1 -format=json";
        let words = rewrite(line.split(' ').map(OsString::from).collect());
        let cli = Cli::try_parse_from(words).expect("a valid line");
        assert_eq!(cli.global.format, Some(Format::Json));
    }

    #[test]
    fn help_is_as_agreed() {
        let mut root = Cli::command();
        root.build();
        let mut todo = vec![(String::from("conclave"), root)];
        while let Some((name, mut command)) = todo.pop() {
            let help = command.render_help().to_string();
            crate::golden::check(&format!("help/{}.txt", name.replace(' ', "-")), &help);
            let below = command.get_subcommands().filter(|below| below.get_name() != "help");
            todo.extend(below.map(|below| (format!("{name} {}", below.get_name()), below.clone())));
        }
    }
}
