//! The frame of a backup: POSIX ustar headers, byte for byte as they are written here.
//!
//! ```text
//! header 512 bytes | content | zeros to the next multiple of 512 | … | 1024 zeros
//! ```
//!
//! A reader builds the header that it expects and compares; so there is no link, no second name, no
//! extension and no member more or less that two readers could take differently.

use std::io::{ErrorKind, Read};

use super::{BackupError, layout};

/// The members, in their order.
pub(super) const META: &str = "meta.json";
pub(super) const STATE: &str = "state.bin";
pub(super) const SUMS: &str = "SHA256SUMS";
pub(super) const SEALED: &str = "SHA256SUMS.sealed";

pub(super) const BLOCK_BYTES: usize = 512;
/// Two blocks of zeros end an archive.
pub(super) const END_BYTES: usize = 2 * BLOCK_BYTES;

type Header = [u8; BLOCK_BYTES];

/// The header of a plain file of its owner's only.
pub(super) fn header(name: &str, bytes: u64, mtime_seconds: u64) -> Header {
    let mut header = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, &number(bytes));
    put(136, &number(mtime_seconds));
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Eleven octal digits, or where they do not suffice (above 8 GiB), big-endian with the top bit set,
/// as GNU tar and its kin have it.
fn number(value: u64) -> [u8; 12] {
    let mut field = [0; 12];
    if value < 1 << 33 {
        field[..11].copy_from_slice(format!("{value:011o}").as_bytes());
    } else {
        field[0] = 0x80;
        field[4..].copy_from_slice(&value.to_be_bytes());
    }
    field
}

/// What [`number`] wrote.
fn parse_number(field: &[u8]) -> Option<u64> {
    if field.first() == Some(&0x80) {
        return Some(u64::from_be_bytes(field.get(4..12)?.try_into().ok()?));
    }
    let digits = std::str::from_utf8(field.get(..11)?).ok()?;
    u64::from_str_radix(digits, 8).ok()
}

/// Zeros after a content of this length.
pub(super) fn padding(bytes: u64) -> usize {
    let over = usize::try_from(bytes % BLOCK_BYTES as u64).expect("a remainder is small");
    if over == 0 { 0 } else { BLOCK_BYTES - over }
}

/// Reads the members in turn.
pub(super) struct Members<R> {
    inner: R,
    /// All members carry the first one's.
    mtime_seconds: Option<u64>,
}

impl<R: Read> Members<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, mtime_seconds: None }
    }

    /// The length of the next member, which must be `name`. Its content is to be read next.
    pub(super) fn begin(&mut self, name: &str, bytes_max: u64) -> Result<u64, BackupError> {
        let mut found = [0; BLOCK_BYTES];
        self.read_exact(&mut found)?;
        let bytes = parse_number(&found[124..136]);
        let mtime = self.mtime_seconds.or_else(|| parse_number(&found[136..148]));
        let (Some(bytes), Some(mtime)) = (bytes, mtime) else {
            return Err(layout(format!("{name} does not stand where it should")));
        };
        self.mtime_seconds = Some(mtime);
        if found != header(name, bytes, mtime) {
            return Err(layout(format!("{name} does not stand where it should")));
        }
        if bytes > bytes_max {
            return Err(layout(format!("{name} claims {bytes} bytes of at most {bytes_max}")));
        }
        Ok(bytes)
    }

    /// The next piece of a content of which `left` bytes are left.
    pub(super) fn read_some(&mut self, left: u64, buffer: &mut [u8]) -> Result<usize, BackupError> {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.read_exact(&mut buffer[..room])?;
        Ok(room)
    }

    /// Reads the zeros behind a content of this length.
    pub(super) fn finish(&mut self, bytes: u64) -> Result<(), BackupError> {
        self.read_zeros(padding(bytes))
    }

    /// A whole small member.
    pub(super) fn read_whole(
        &mut self,
        name: &str,
        bytes_max: u64,
    ) -> Result<Vec<u8>, BackupError> {
        let bytes = self.begin(name, bytes_max)?;
        let mut content = vec![0; usize::try_from(bytes).expect("a small bound was checked")];
        self.read_exact(&mut content)?;
        self.finish(bytes)?;
        Ok(content)
    }

    /// The end of the archive, and of what carries it.
    pub(super) fn end(mut self) -> Result<R, BackupError> {
        self.read_zeros(END_BYTES)?;
        match self.inner.read(&mut [0]) {
            Ok(0) => Ok(self.inner),
            Ok(_) => Err(layout("something follows its end")),
            Err(error) => Err(from_read(&error)),
        }
    }

    fn read_zeros(&mut self, count: usize) -> Result<(), BackupError> {
        let mut zeros = vec![0; count];
        self.read_exact(&mut zeros)?;
        if zeros.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        Err(layout("something stands where nothing should"))
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), BackupError> {
        self.inner.read_exact(buffer).map_err(|error| from_read(&error))
    }
}

/// The decoder's complaints about its input, and the end of it, are the file's fault.
pub(super) fn from_read(error: &std::io::Error) -> BackupError {
    match error.kind() {
        ErrorKind::UnexpectedEof => layout("it ends too early"),
        ErrorKind::InvalidInput | ErrorKind::InvalidData => layout("its compression is damaged"),
        kind => BackupError::Io(std::io::Error::new(kind, error.to_string())),
    }
}
