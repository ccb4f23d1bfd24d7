//! Reads a log from its oldest line to its newest and names the first one that is not as it was
//! written.
//!
//! The chain alone shows every change but one: who may write the log can write all of it anew from
//! some line on. An anchor, a head that the cluster committed, ends that: up to the newest anchor the
//! log is what it was. What comes after it is the unanchored tail.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, Read as _};

use ring::digest::{Context, SHA256};

use super::chain::Link;
use super::marker::torn_before;
use super::{Head, LINE_BYTES_MAX, Torn};

/// The longest piece that is looked at as a line, prefix included.
const PIECE_BYTES_MAX: u64 = LINE_BYTES_MAX as u64 + (64 << 10);

/// What is known of a log beforehand.
#[derive(Debug, Clone, Default)]
pub struct Expectation {
    /// Heads that the cluster committed.
    pub anchors: Vec<Head>,
    /// The log is given from its very first line on.
    pub from_start: bool,
    /// What stands before each line.
    pub prefix: Prefix,
}

/// What stands before each line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prefix {
    /// This.
    Exactly(String),
    /// Whatever a collector put there.
    Any,
}

impl Default for Prefix {
    fn default() -> Self {
        Self::Exactly(String::new())
    }
}

impl Prefix {
    fn strip<'l>(&self, line: &'l [u8]) -> Option<&'l [u8]> {
        match self {
            Self::Exactly(prefix) => line.strip_prefix(prefix.as_bytes()),
            Self::Any => line.iter().position(|byte| *byte == b'{').map(|at| &line[at..]),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Lines that are as they were written, up to the fault.
    pub lines: u64,
    /// The number of the first line; 0 where there is none.
    pub begins: u64,
    /// The last line that is as it was written.
    pub head: Option<Head>,
    /// Lines that a crash tore, each named by the record that follows it.
    pub torn: u64,
    /// The log ends in a part of a line: of a node that ended while it wrote, unless it was cut.
    pub torn_end: bool,
    /// The number of the first line that no anchor covers; `None` where anchors cover all.
    pub unanchored_from: Option<u64>,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, as it was named.
    pub file: String,
    /// Its line, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub kind: FaultKind,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It is not what its own hash says, or no record at all.
    Edited,
    /// It is a record, but not the one that the next line follows.
    Replaced {
        /// Its number.
        seq: u64,
    },
    /// Before it, lines are missing.
    Missing {
        /// The first number that is missing.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// It stands before a line that was written earlier.
    Reordered {
        /// The number of that earlier line.
        seq: u64,
    },
    /// A line with its number stands before it.
    Duplicated {
        /// The number.
        seq: u64,
    },
    /// The log was written anew up to here: the anchor of this number knows another line.
    Rewritten {
        /// The number.
        seq: u64,
    },
    /// It says that a torn line stands before it, and there is none.
    TornLineMissing,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited => f.write_str("edited: it is not what was written"),
            Self::Replaced { seq } => {
                write!(f, "replaced: record {} does not follow this record {seq}", seq + 1)
            }
            Self::Missing { from, to } if from == to => {
                write!(f, "missing before it: record {from}")
            }
            Self::Missing { from, to } => write!(f, "missing before it: records {from} to {to}"),
            Self::Reordered { seq } => write!(f, "reordered: record {seq} belongs before it"),
            Self::Duplicated { seq } => write!(f, "duplicated: record {seq} stands before it, too"),
            Self::Rewritten { seq } => {
                write!(f, "rewritten: the anchor of record {seq} knows another line")
            }
            Self::TornLineMissing => f.write_str("missing before it: a torn line that it names"),
        }
    }
}

/// Checks one log that lies in one piece.
///
/// # Errors
/// It cannot be read.
pub fn verify(log: &mut dyn BufRead, expectation: Expectation) -> io::Result<Report> {
    let mut verifier = Verifier::new(expectation);
    verifier.read("log", log)?;
    Ok(verifier.finish())
}

/// Checks a log that lies in several files. Memory does not grow with the log.
pub struct Verifier {
    anchors: BTreeMap<u64, [u8; 32]>,
    prefix: Prefix,
    at: Position,
    last_line_at: Position,
    /// Where the chain is; before the first line `None`, unless the log begins with it.
    head: Option<Head>,
    garbage: Option<Garbage>,
    gap: Option<Gap>,
    report: Report,
}

#[derive(Debug, Clone, Default)]
struct Position {
    file: String,
    line: u64,
}

/// Pieces that are no lines: edited, or torn if the next line says so.
struct Garbage {
    at: Position,
    bytes: u64,
    hash: Context,
    newline: bool,
    ended: bool,
}

/// A line came too early. Whether the ones before it are missing shows at the end.
struct Gap {
    at: Position,
    from: u64,
    to: u64,
}

impl Verifier {
    /// A verifier that has read nothing.
    #[must_use]
    pub fn new(expectation: Expectation) -> Self {
        Self {
            anchors: expectation.anchors.iter().map(|head| (head.seq, head.hash)).collect(),
            prefix: expectation.prefix,
            at: Position::default(),
            last_line_at: Position::default(),
            head: expectation.from_start.then_some(Head::START),
            garbage: None,
            gap: None,
            report: Report::default(),
        }
    }

    /// Reads the next file; from the first fault on nothing more is looked at.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&mut self, name: &str, file: &mut dyn BufRead) -> io::Result<()> {
        self.at = Position { file: name.to_owned(), line: 0 };
        let mut piece = Vec::new();
        while self.report.fault.is_none() {
            piece.clear();
            if (&mut *file).take(PIECE_BYTES_MAX).read_until(b'\n', &mut piece)? == 0 {
                break;
            }
            self.at.line += 1;
            self.piece(&piece);
        }
        Ok(())
    }

    /// What was found.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.end();
        let anchored = self.anchors.last_key_value().map_or(0, |(seq, _)| *seq);
        let head = self.head.filter(|head| head.seq > anchored && self.report.lines > 0);
        self.report.unanchored_from = head.map(|_| (anchored + 1).max(self.report.begins));
        self.report.head = self.head.filter(|_| self.report.lines > 0);
        self.report
    }

    fn end(&mut self) {
        if self.report.fault.is_some() {
            return;
        }
        if let Some(Gap { at, from, to }) = self.gap.take() {
            return self.fault(at, FaultKind::Missing { from, to });
        }
        if let Some(garbage) = self.garbage.take() {
            if garbage.ended {
                return self.fault(garbage.at, FaultKind::Edited);
            }
            self.report.torn_end = true;
        }
        let newest = self.anchors.last_key_value().map_or(0, |(seq, _)| *seq);
        let found = self.head.map_or(0, |head| head.seq);
        if newest > found {
            let at = Position { line: self.at.line + 1, ..self.at.clone() };
            self.fault(at, FaultKind::Missing { from: found + 1, to: newest });
        }
    }

    fn piece(&mut self, piece: &[u8]) {
        let line = piece.strip_suffix(b"\n").unwrap_or(piece);
        let json = self.prefix.strip(line);
        match json.and_then(|json| Some((json, Link::of(json)?))) {
            Some((json, link)) => self.line(json, &link),
            None if self.gap.is_none() => self.garbage(line, line.len() < piece.len()),
            None => {}
        }
    }

    fn garbage(&mut self, line: &[u8], ended: bool) {
        let garbage = self.garbage.get_or_insert_with(|| Garbage {
            at: self.at.clone(),
            bytes: 0,
            hash: Context::new(&SHA256),
            newline: false,
            ended: false,
        });
        if std::mem::replace(&mut garbage.newline, ended) {
            garbage.hash.update(b"\n");
            garbage.bytes += 1;
        }
        garbage.hash.update(line);
        garbage.bytes += line.len() as u64;
        garbage.ended |= ended;
    }

    fn line(&mut self, json: &[u8], link: &Link) {
        if let Some(gap) = &self.gap {
            if link.head.seq == gap.from {
                let at = gap.at.clone();
                self.fault(at, FaultKind::Reordered { seq: link.head.seq });
            }
            return;
        }
        let torn = if is_of_device(json) { torn_before(json) } else { None };
        match (self.garbage.take(), torn) {
            (Some(garbage), torn) if torn != Some(garbage.torn()) => {
                return self.fault(garbage.at, FaultKind::Edited);
            }
            (None, Some(_)) if self.report.lines > 0 => {
                return self.fault(self.at.clone(), FaultKind::TornLineMissing);
            }
            (garbage, _) => self.report.torn += u64::from(garbage.is_some()),
        }
        match self.head {
            Some(head) if !link.follows(&head) => self.stray(link, head),
            None if self
                .anchors
                .get(&(link.head.seq - 1))
                .is_some_and(|hash| *hash != link.prev) =>
            {
                self.fault(self.at.clone(), FaultKind::Rewritten { seq: link.head.seq - 1 });
            }
            _ => self.accept(link),
        }
    }

    fn accept(&mut self, link: &Link) {
        if self.report.lines == 0 {
            self.report.begins = link.head.seq;
        }
        self.report.lines += 1;
        self.head = Some(link.head);
        self.last_line_at = self.at.clone();
        if self.anchors.get(&link.head.seq).is_some_and(|hash| *hash != link.head.hash) {
            self.fault(self.at.clone(), FaultKind::Rewritten { seq: link.head.seq });
        }
    }

    /// A line that does not come right after `head`.
    fn stray(&mut self, link: &Link, head: Head) {
        let (seq, at) = (link.head.seq, self.at.clone());
        if seq < self.report.begins {
            self.fault(self.last_line_at.clone(), FaultKind::Reordered { seq });
        } else if seq <= head.seq {
            self.fault(at, FaultKind::Duplicated { seq });
        } else if seq == head.seq + 1 && self.report.lines > 0 {
            self.fault(self.last_line_at.clone(), FaultKind::Replaced { seq: head.seq });
        } else if seq == head.seq + 1 {
            self.fault(at, FaultKind::Edited);
        } else {
            self.gap = Some(Gap { at, from: head.seq + 1, to: seq - 1 });
        }
    }

    fn fault(&mut self, at: Position, kind: FaultKind) {
        self.report.fault = Some(Fault { file: at.file, line: at.line, kind });
    }
}

impl Garbage {
    fn torn(&self) -> Torn {
        let sha256 = self.hash.clone().finish();
        Torn {
            bytes: self.bytes,
            sha256: sha256.as_ref().try_into().expect("SHA-256 has 32 bytes"),
        }
    }
}

/// Whether a line is a record of the device itself; cheaper than parsing every line.
fn is_of_device(json: &[u8]) -> bool {
    const TYPE: &[u8] = b",\"type\":\"device\",";
    json.get(..TYPE_WITHIN).unwrap_or(json).windows(TYPE.len()).any(|window| window == TYPE)
}

/// The type comes right after the time.
const TYPE_WITHIN: usize = 72;
