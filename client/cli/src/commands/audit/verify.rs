//! `conclave audit verify`: becomes the sibling program `conclaved`, which reads logs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::{Context, Failure, anchors};
use crate::commands::sibling;
use crate::output::{Format, Output};

/// Check that no line of a log is missing or was changed.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A head of this log that the cluster committed; repeat the flag for more
    #[arg(long, value_name = "SEQ:HASH")]
    anchor: Vec<String>,
    /// What `conclave read -format=json sys/audit-anchors` said
    #[arg(long, value_name = "FILE", conflicts_with = "ask_cluster")]
    anchors: Option<PathBuf>,
    /// Ask the cluster for the heads it committed; takes a token with sudo on sys/audit-anchors
    #[arg(long)]
    ask_cluster: bool,
    /// The node whose log it is, where anchors of several are there
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// The device whose log it is, where anchors of several are there
    #[arg(long, value_name = "PATH")]
    device: Option<String>,
    /// The log is given from its very first line on: records missing before it are a fault
    #[arg(long)]
    from_start: bool,
    /// What stands before each line, as the device's option `prefix` says
    #[arg(long, value_name = "TEXT", conflicts_with = "any_prefix")]
    prefix: Option<String>,
    /// Anything may stand before a line, as collectors put it there
    #[arg(long)]
    any_prefix: bool,
    /// The files of one log, from the oldest to the newest
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Verify {
    /// Comes back only with a failure: the other program tells the rest.
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let known = self.known(context).await?;
        Err(sibling::replace_process(self.words(&known, format)))
    }

    /// The heads that the cluster committed, as far as they are asked for.
    async fn known(&self, context: &Context) -> Result<Vec<String>, Failure> {
        let document = match &self.anchors {
            Some(file) => read_document(file)?,
            None if self.ask_cluster => {
                let answer = context.api().await?.read(ANCHORS_PATH, &BTreeMap::new()).await?;
                let answer = answer.unwrap_or_default();
                Value::Object(answer.object().cloned().unwrap_or_default())
            }
            None => return Ok(Vec::new()),
        };
        let all = anchors::parse(&document)?;
        let (node, device) = (self.node.as_deref(), self.device.as_deref());
        Ok(anchors::choose(all, node, device)?.anchors)
    }

    fn words(&self, known: &[String], format: Format) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["audit", "verify"].map(OsString::from).into();
        let heads = self.anchor.iter().chain(known);
        words.extend(heads.map(|head| format!("--anchor={head}").into()));
        words.extend(self.from_start.then(|| "--from-start".into()));
        words.extend(self.prefix.iter().map(|prefix| format!("--prefix={prefix}").into()));
        words.extend(self.any_prefix.then(|| "--any-prefix".into()));
        words.push(sibling::format_word(format).into());
        words.push("--".into());
        words.extend(self.files.iter().map(OsString::from));
        words
    }
}

fn read_document(file: &Path) -> Result<Value, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::local(format!("{} cannot be read: {error}", file.display()))
    };
    let opened = File::open(file).map_err(|error| failed(&error))?;
    let mut text = String::new();
    opened.take(ANCHORS_BYTES_MAX).read_to_string(&mut text).map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&error))
}

const ANCHORS_PATH: &str = "sys/audit-anchors";
const ANCHORS_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sibling_is_asked_with_words_that_no_file_name_can_be() {
        let verify = Verify {
            anchor: vec!["1:ab".into()],
            anchors: None,
            ask_cluster: false,
            node: None,
            device: None,
            from_start: true,
            prefix: Some("p ".into()),
            any_prefix: false,
            files: vec!["--a".into(), "b".into()],
        };
        assert_eq!(
            verify.words(&["2:cd".into()], Format::Yaml),
            [
                "audit",
                "verify",
                "--anchor=1:ab",
                "--anchor=2:cd",
                "--from-start",
                "--prefix=p ",
                "--format=json",
                "--",
                "--a",
                "b"
            ]
        );
    }
}
