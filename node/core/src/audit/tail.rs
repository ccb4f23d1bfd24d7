//! The end of a log that exists: where its chain has come to, and what a crash left behind it.

use ring::digest::{SHA256, digest};

use super::chain::Link;
use super::{Head, LINE_BYTES_MAX};

/// How much of a log's end is read: a torn line and a whole one before it always fit.
pub const TAIL_BYTES_MAX: usize = 2 * LINE_BYTES_MAX + (64 << 10);

/// The end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Of its last whole line; `None` where it has none.
    pub head: Option<Head>,
    /// What comes after that line.
    pub ending: Ending,
}

/// What comes after the last whole line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing.
    Whole,
    /// Not even its newline.
    Unterminated,
    /// A part of a line, which stays.
    Torn {
        /// What it is.
        torn: Torn,
        /// Whether a newline ends it.
        terminated: bool,
    },
}

/// Bytes that are no record: of a line that was being written when the node or its disk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// How many, without a newline at their end.
    pub bytes: u64,
    /// `SHA-256(bytes)` (FIPS 180-4).
    pub sha256: [u8; 32],
}

impl Torn {
    /// Describes `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let sha256 = digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes");
        Self { bytes: bytes.len() as u64, sha256 }
    }
}

impl Tail {
    /// Of a log without a line.
    pub const EMPTY: Self = Self { head: None, ending: Ending::Whole };

    /// Of a log whose last bytes are `bytes`. What is no line of ours stays and is named by the next
    /// record: the file may have been there before the device was, or others may write to it, too.
    /// Only `verify` judges.
    #[must_use]
    pub fn read(bytes: &[u8], prefix: &str) -> Self {
        let mut end = bytes.len();
        while end > 0 {
            let start =
                bytes[..end - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let piece = &bytes[start..end];
            let line = piece.strip_suffix(b"\n").unwrap_or(piece);
            let link = line.strip_prefix(prefix.as_bytes()).and_then(Link::of);
            if let Some(link) = link {
                let terminated = line.len() < piece.len();
                let ending = ending(&bytes[end..], terminated);
                return Self { head: Some(link.head), ending };
            }
            end = start;
        }
        Self { head: None, ending: ending(bytes, true) }
    }
}

/// `after` the last whole line, which has its newline where `terminated`.
fn ending(after: &[u8], terminated: bool) -> Ending {
    match (after.is_empty(), terminated) {
        (true, true) => Ending::Whole,
        (true, false) => Ending::Unterminated,
        (false, _) => Ending::Torn { torn: Torn::of(after), terminated: after.ends_with(b"\n") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::close;

    fn log() -> (Vec<u8>, Head) {
        let mut first = b"{\"a\":1".to_vec();
        let head = close(&mut first, 0, Head::START);
        let mut second = b"{\"a\":2".to_vec();
        let head = close(&mut second, 0, head);
        ([first, second].concat(), head)
    }

    #[test]
    fn a_whole_log_goes_on_at_its_last_line() {
        let (log, head) = log();
        let tail = Tail { head: Some(head), ending: Ending::Whole };
        assert_eq!(Tail::read(&log, ""), tail);
        assert_eq!(Tail::read(&log[5..], ""), tail, "a part of it is enough");
        assert_eq!(Tail::read(b"", ""), Tail::EMPTY);
        let tail = Tail { head: Some(head), ending: Ending::Unterminated };
        assert_eq!(Tail::read(log.trim_ascii_end(), ""), tail);
    }

    #[test]
    fn whatever_a_crash_left_is_told() {
        let (log, head) = log();
        for torn in [&b"{"[..], b"{\"a\":3,\"seq\":3", b"\0\0\0", b"{\n{"] {
            let broken = [&log, torn].concat();
            let ending = Ending::Torn { torn: Torn::of(torn), terminated: false };
            assert_eq!(Tail::read(&broken, ""), Tail { head: Some(head), ending });
            let ended = [&broken, &b"\n"[..]].concat();
            let ending = Ending::Torn { torn: Torn::of(torn), terminated: true };
            assert_eq!(Tail::read(&ended, ""), Tail { head: Some(head), ending });
        }
    }

    #[test]
    fn what_others_wrote_is_no_record_and_is_named() {
        let ending = Ending::Torn { torn: Torn::of(b"x\ny"), terminated: true };
        assert_eq!(Tail::read(b"x\ny\n", ""), Tail { head: None, ending });
        let (log, _) = log();
        assert_eq!(Tail::read(&log, "@cee: ").head, None, "another prefix is another log");
    }
}
