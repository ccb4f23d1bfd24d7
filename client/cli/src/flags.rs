//! The command line: its tree, what every command takes, and one dash for two.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Command as Tree, CommandFactory, Parser};

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
    #[arg(long, global = true, alias = "ns", value_name = "PATH")]
    pub(crate) namespace: Option<String>,
    /// Have the answer wrapped in a token that opens it once and lives this long [env: CONCLAVE_WRAP_TTL]
    #[arg(long, global = true, value_name = "DURATION")]
    pub(crate) wrap_ttl: Option<String>,
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
/// Single letters, `-` alone and everything behind `--` stay. A flag that is only there or not may
/// say so: `-orphan=true`, `-orphan=false`.
pub(crate) fn rewrite(arguments: Vec<OsString>) -> Vec<OsString> {
    let switches = switches(&Cli::command());
    let mut ended = false;
    let rewrite_one = |(place, argument): (usize, OsString)| {
        let bytes = argument.as_encoded_bytes();
        ended |= bytes == b"--";
        if place == 0 || ended {
            return Some(argument);
        }
        let long = bytes.len() > 2 && bytes[0] == b'-' && bytes[1].is_ascii_alphabetic();
        let mut longer = OsString::from(if long { "-" } else { "" });
        longer.push(argument);
        resolve_switch(longer, &switches)
    };
    arguments.into_iter().enumerate().filter_map(rewrite_one).collect()
}

/// `--name=true` as `--name`, `--name=false` as nothing, where that is a switch.
fn resolve_switch(argument: OsString, switches: &BTreeSet<String>) -> Option<OsString> {
    let parts = argument.to_str().and_then(|text| text.strip_prefix("--")?.split_once('='));
    match parts.filter(|(name, _)| switches.contains(*name)) {
        Some((name, "true" | "t" | "1")) => Some(format!("--{name}").into()),
        Some((_, "false" | "f" | "0")) => None,
        _ => Some(argument),
    }
}

/// The flags that take no value wherever they occur.
fn switches(root: &Tree) -> BTreeSet<String> {
    let (mut with_value, mut without) = (BTreeSet::new(), BTreeSet::new());
    let mut todo = vec![root];
    while let Some(command) = todo.pop() {
        for argument in command.get_arguments() {
            let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
            let names = argument.get_long_and_visible_aliases().unwrap_or_default();
            let kind = if is_switch { &mut without } else { &mut with_value };
            kind.extend(names.into_iter().map(str::to_owned));
        }
        todo.extend(command.get_subcommands());
    }
    &without - &with_value
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_switch_may_say_whether_it_is_on() {
        assert_eq!(
            rewritten("vault token create -orphan=true -no-default-policy=false -renewable=false"),
            "vault token create --orphan --renewable=false"
        );
        assert_eq!(rewritten("vault kv get -field=true a"), "vault kv get --field=true a");
        assert_eq!(rewritten("vault write -force=1 a --force=f"), "vault write --force a");
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

    /// A flag of all commands fills whatever has its id in one of them: a token that is only to be
    /// looked up would become the token to act with.
    #[test]
    fn no_command_has_a_word_with_the_id_of_a_global_flag() {
        let root = Cli::command();
        let global: BTreeSet<_> =
            root.get_arguments().map(|argument| argument.get_id().clone()).collect();
        let mut todo: Vec<_> = root.get_subcommands().collect();
        while let Some(command) = todo.pop() {
            for argument in command.get_arguments() {
                let (name, id) = (command.get_name(), argument.get_id());
                assert!(!global.contains(id), "{name}: {id}");
            }
            todo.extend(command.get_subcommands());
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
