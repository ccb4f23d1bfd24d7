//! The chain of one device's lines.
//!
//! ```text
//! line = text ‖ `,"hash":"` ‖ hex(hash) ‖ `"}`
//! text = `{…` ‖ `,"seq":` ‖ seq ‖ `,"prev":"` ‖ hex(hash of the line before)  ‖ `"`
//! hash = SHA-256(u8(|domain|) ‖ domain ‖ hash of the line before ‖ text)         (FIPS 180-4)
//! ```
//!
//! The first line has number 1 and follows 32 zero bytes. A device's prefix stands before the line
//! and is not hashed: collectors put their own there.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256};

/// Where a chain has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    /// The number of the newest line; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

impl Head {
    /// Before the first line.
    pub const START: Self = Self { seq: 0, hash: [0; 32] };
}

/// `SEQ:HASH`, as people hand it around.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex::encode(self.hash))
    }
}

/// A text is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not the head of an audit log; write the number, a colon and 64 hexadecimal digits"
)]
pub struct BadHead;

impl FromStr for Head {
    type Err = BadHead;

    fn from_str(text: &str) -> Result<Self, BadHead> {
        let (seq, hash) = text.split_once(':').ok_or(BadHead)?;
        let mut head = Self { seq: seq.parse().map_err(|_| BadHead)?, hash: [0; 32] };
        hex::decode_to_slice(hash, &mut head.hash).map_err(|_| BadHead)?;
        Ok(head)
    }
}

/// Ends a line that lacks its closing brace, and says where the chain is then. `line` may begin with
/// a prefix of so many bytes.
pub(super) fn close(line: &mut Vec<u8>, prefix_bytes: usize, head: Head) -> Head {
    let seq = head.seq + 1;
    line.extend_from_slice(SEQ);
    line.extend_from_slice(seq.to_string().as_bytes());
    line.extend_from_slice(PREV);
    line.extend_from_slice(hex::encode(head.hash).as_bytes());
    line.push(b'"');
    let hash = hash(&head.hash, &line[prefix_bytes..]);
    line.extend_from_slice(HASH);
    line.extend_from_slice(hex::encode(hash).as_bytes());
    line.extend_from_slice(END);
    line.push(b'\n');
    Head { seq, hash }
}

/// What a line adds besides its text: [`close`] makes it longer by at most this.
pub(super) const CLOSING_BYTES_MAX: usize = 192;

/// A line's place in the chain, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) head: Head,
    pub(super) prev: [u8; 32],
}

impl Link {
    /// Of a line without prefix and newline. `None` where it does not end as a line does or has
    /// another hash than it says.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let rest = line.strip_suffix(END)?;
        let (text, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
        let claimed = decode(digits)?;
        let text = text.strip_suffix(HASH)?;
        let rest = text.strip_suffix(b"\"")?;
        let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
        let prev = decode(digits)?;
        let rest = rest.strip_suffix(PREV)?;
        let from = rest.iter().rposition(|byte| !byte.is_ascii_digit())? + 1;
        let (rest, digits) = rest.split_at(from);
        let seq = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let plain = rest.ends_with(SEQ) && line.starts_with(b"{") && !digits.starts_with(b"0");
        (plain && hash(&prev, text) == claimed)
            .then_some(Self { head: Head { seq, hash: claimed }, prev })
    }

    /// Whether it comes right after `head`.
    pub(super) fn follows(&self, head: &Head) -> bool {
        head.seq.checked_add(1) == Some(self.head.seq) && self.prev == head.hash
    }
}

fn decode(digits: &[u8]) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(digits, &mut hash).ok()?;
    // One spelling: an upper-case digit is an edit.
    (!digits.iter().any(u8::is_ascii_uppercase)).then_some(hash)
}

fn hash(prev: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&[DOMAIN.len() as u8]);
    context.update(DOMAIN);
    context.update(prev);
    context.update(text);
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

const DOMAIN: &[u8] = b"conclave v1 audit chain";
const DIGITS: usize = 64;
const SEQ: &[u8] = b",\"seq\":";
const PREV: &[u8] = b",\"prev\":\"";
const HASH: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"}";

#[cfg(test)]
mod tests {
    use super::*;

    /// For ever: a change breaks every log that was written.
    #[test]
    fn golden_chain() {
        let mut lines = b"{\"type\":\"request\"".to_vec();
        let first = close(&mut lines, 0, Head::START);
        let mut second = b"@cee: {\"type\":\"response\"".to_vec();
        let head = close(&mut second, 6, first);
        lines.extend_from_slice(&second);
        let golden = include_str!("golden/chain.txt");
        assert_eq!(String::from_utf8(lines).unwrap(), golden);
        assert_eq!(head.to_string().parse(), Ok(head));
        let link = Link::of(second[6..].trim_ascii_end()).unwrap();
        assert!(link.follows(&first) && !link.follows(&head) && !link.follows(&Head::START));
    }

    #[test]
    fn no_other_bytes_are_a_link() {
        let mut line = b"{\"a\":1".to_vec();
        close(&mut line, 0, Head::START);
        line.pop();
        assert!(Link::of(&line).is_some());
        for at in 0..line.len() {
            for other in [line[at] ^ 1, line[at] ^ 0x20, b'"', 0] {
                let mut edited = line.clone();
                edited[at] = other;
                assert!(edited == line || Link::of(&edited).is_none(), "byte {at}");
            }
            assert!(Link::of(&line[at + 1..]).is_none() && Link::of(&line[..at]).is_none());
        }
    }

    #[test]
    fn heads_have_one_text() {
        let head = Head { seq: 7, hash: [0xab; 32] };
        assert_eq!(head.to_string(), format!("7:{}", "ab".repeat(32)));
        for bad in ["", "7", "7:", "x:00", "7:zz", "-1:00"] {
            assert_eq!(bad.parse::<Head>(), Err(BadHead));
        }
    }
}
