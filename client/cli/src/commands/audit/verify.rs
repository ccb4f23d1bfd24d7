//! `conclave audit verify`: becomes the sibling program `conclaved`, which reads logs.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::commands::sibling;
use crate::output::Format;

/// Check that no line of a log is missing or was changed.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A head of this log that the cluster committed; repeat the flag for more
    #[arg(long, value_name = "SEQ:HASH")]
    anchor: Vec<String>,
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
    /// Comes back only if the program cannot be started.
    pub(crate) fn replace_process(&self, format: Format) -> Failure {
        sibling::replace_process(self.words(format))
    }

    fn words(&self, format: Format) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["audit", "verify"].map(OsString::from).into();
        words.extend(self.anchor.iter().map(|head| format!("--anchor={head}").into()));
        words.extend(self.from_start.then(|| "--from-start".into()));
        words.extend(self.prefix.iter().map(|prefix| format!("--prefix={prefix}").into()));
        words.extend(self.any_prefix.then(|| "--any-prefix".into()));
        words.push(sibling::format_word(format).into());
        words.push("--".into());
        words.extend(self.files.iter().map(OsString::from));
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sibling_is_asked_with_words_that_no_file_name_can_be() {
        let verify = Verify {
            anchor: vec!["1:ab".into()],
            from_start: true,
            prefix: Some("p ".into()),
            any_prefix: false,
            files: vec!["--a".into(), "b".into()],
        };
        assert_eq!(
            verify.words(Format::Yaml),
            [
                "audit",
                "verify",
                "--anchor=1:ab",
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
