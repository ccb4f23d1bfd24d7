//! `conclaved audit`: looks at audit logs. It needs no cluster, no key and no data directory.

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use conclave_core::audit::{Expectation, Head, Prefix, Report, Verifier};
use serde_json::{Value, json};

/// `conclaved audit`
#[derive(clap::Subcommand)]
pub enum Command {
    /// Checks that no line of a log is missing or was changed. Ends with 0 where it is whole, with 2
    /// where it is not, with 1 where it cannot be read.
    Verify(Verify),
}

/// `conclaved audit verify`
#[derive(clap::Args)]
pub struct Verify {
    /// A head of this log that the cluster committed; may be given several times.
    #[arg(long, value_name = "SEQ:HASH")]
    anchor: Vec<Head>,
    /// The log is given from its very first line on: records missing before it are a fault.
    #[arg(long)]
    from_start: bool,
    /// What stands before each line, as the device's option `prefix` says.
    #[arg(long, value_name = "TEXT", default_value = "", conflicts_with = "any_prefix")]
    prefix: String,
    /// Anything may stand before a line, as collectors put it there.
    #[arg(long)]
    any_prefix: bool,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The files of one log, from the oldest to the newest.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
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
/// A file cannot be read.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Verify(arguments) = command;
    let format = arguments.format;
    let report = verify(arguments)?;
    let text = match format {
        Format::Table => table(&report),
        Format::Json => format!("{:#}\n", document(&report)),
    };
    std::io::stdout().write_all(text.as_bytes()).context("standard output")?;
    Ok(if report.fault.is_none() { ExitCode::SUCCESS } else { ExitCode::from(NOT_WHOLE) })
}

fn verify(arguments: Verify) -> anyhow::Result<Report> {
    let Verify { anchor, from_start, prefix, any_prefix, files, .. } = arguments;
    let prefix = if any_prefix { Prefix::Any } else { Prefix::Exactly(prefix) };
    let mut verifier = Verifier::new(Expectation { anchors: anchor, from_start, prefix });
    for file in files {
        let name = file.display().to_string();
        let mut log = open(&file).with_context(|| format!("{name} cannot be opened"))?;
        verifier.read(&name, &mut *log).with_context(|| format!("{name} cannot be read"))?;
    }
    Ok(verifier.finish())
}

/// A file that rotation has compressed is read as it is.
fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::with_capacity(READ_BYTES, File::open(path)?);
    if !file.fill_buf()?.starts_with(GZIP) {
        return Ok(Box::new(file));
    }
    let plain = flate2::bufread::MultiGzDecoder::new(file);
    Ok(Box::new(BufReader::with_capacity(READ_BYTES, plain)))
}

fn table(report: &Report) -> String {
    let result = match &report.fault {
        None => "whole".to_owned(),
        Some(fault) => format!("{}, line {}: {}", fault.file, fault.line, fault.kind),
    };
    let rows = [
        ("Result", result),
        ("Lines", report.lines.to_string()),
        ("Begins", begins(report)),
        ("Head", report.head.map_or_else(|| "-".to_owned(), |head| head.to_string())),
        ("Torn Lines", torn(report)),
        ("Unanchored", unanchored(report)),
    ];
    rows.map(|(name, value)| format!("{name:<12}{value}\n")).concat()
}

fn begins(report: &Report) -> String {
    match report.begins {
        0 => "the files hold no record".to_owned(),
        1 => "with record 1".to_owned(),
        seq => format!("with record {seq}; what was written before is not in these files"),
    }
}

fn torn(report: &Report) -> String {
    let end = match report.torn_end {
        true => ", and the end: the node ended while it wrote, unless somebody cut the file",
        false => "",
    };
    format!("{}{end}", report.torn)
}

fn unanchored(report: &Report) -> String {
    match report.unanchored_from {
        None => "nothing".to_owned(),
        Some(seq) => format!("from record {seq} on; give a newer head with --anchor"),
    }
}

fn document(report: &Report) -> Value {
    let fault = report.fault.as_ref().map(
        |fault| json!({"file": fault.file, "line": fault.line, "what": fault.kind.to_string()}),
    );
    json!({
        "whole": report.fault.is_none(),
        "fault": fault,
        "lines": report.lines,
        "begins": report.begins,
        "head": report.head.map(|head| head.to_string()),
        "torn_lines": report.torn,
        "torn_end": report.torn_end,
        "unanchored_from": report.unanchored_from,
    })
}

const NOT_WHOLE: u8 = 2;
const GZIP: &[u8] = &[0x1f, 0x8b];
const READ_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use conclave_core::audit::{Fault, FaultKind};

    use super::*;

    #[test]
    fn a_whole_log_is_shown_for_people() {
        let head = Head { seq: 9, hash: [0xab; 32] };
        let report = Report { lines: 9, begins: 1, head: Some(head), torn: 1, ..Report::default() };
        let expected = format!(
            "\
Result      whole
Lines       9
Begins      with record 1
Head        9:{}
Torn Lines  1
Unanchored  nothing
",
            "ab".repeat(32)
        );
        assert_eq!(table(&report), expected);
    }

    #[test]
    fn a_fault_is_named_with_its_place() {
        let kind = FaultKind::Missing { from: 4, to: 5 };
        let fault = Some(Fault { file: "a.log".into(), line: 3, kind });
        let report = Report {
            lines: 2,
            begins: 2,
            torn_end: true,
            unanchored_from: Some(2),
            fault,
            ..Report::default()
        };
        let text = table(&report);
        assert!(text.starts_with("Result      a.log, line 3: missing before it: records 4 to 5\n"));
        assert!(text.contains("Unanchored  from record 2 on; give a newer head with --anchor\n"));
        assert!(text.contains("with record 2; what was written before is not in these files"));
        let document = document(&report);
        assert_eq!(document["whole"], false);
        assert_eq!(document["fault"]["what"], "missing before it: records 4 to 5");
        assert_eq!(document["torn_end"], true);
    }

    #[test]
    fn plain_and_compressed_files_are_one_log() {
        let golden = include_str!("../../../core/src/audit/golden/lines.txt");
        let (first, rest) = golden.split_at(golden.find('\n').expect("it has lines") + 1);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let files = [directory.path().join("a.log.1.gz"), directory.path().join("a.log")];
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(first.as_bytes()).expect("memory takes it");
        std::fs::write(&files[0], packed.finish().expect("memory takes it")).expect("writable");
        std::fs::write(&files[1], rest).expect("writable");
        let arguments = |files: &[PathBuf]| Verify {
            anchor: Vec::new(),
            from_start: true,
            prefix: String::new(),
            any_prefix: false,
            format: Format::Table,
            files: files.to_vec(),
        };
        let report = verify(arguments(&files)).expect("readable");
        assert_eq!((report.lines, report.fault), (3, None));
        let report = verify(arguments(&files[1..])).expect("readable");
        assert_eq!(report.fault.expect("the first line is missing").line, 1);
        assert!(verify(arguments(&[directory.path().join("no")])).is_err());
    }
}
