//! The frame around a small file's body.
//!
//! ```text
//! offset 0   name, 7 bytes | format, an ASCII digit | checksum u32 | body, to the end of the file
//! ```
//!
//! The checksum is CRC-32 over name, format and body, little-endian, in every format to come: so a
//! newer format is told from a damaged byte.

use std::io;

use prost::Message;

use super::IdentityError;
use crate::disk::{Disk, read_all, write_atomically};

const BODY_AT: usize = 12;
/// The format of every small file that this program writes and knows.
const FORMAT: u8 = b'1';

/// A small file: where it is and how it begins.
pub(crate) struct Place {
    pub(crate) path: &'static str,
    pub(crate) name: [u8; 7],
}

impl Place {
    /// Replaces the file, durably.
    pub(crate) fn write(&self, disk: &dyn Disk, message: &impl Message) -> io::Result<()> {
        write_atomically(disk, self.path, &self.to_bytes(FORMAT, &message.encode_to_vec()))
    }

    /// Reads the file, None where there is none.
    pub(crate) fn read<M: Message + Default>(
        &self,
        disk: &dyn Disk,
    ) -> Result<Option<M>, IdentityError> {
        let bytes = match read_all(disk, self.path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(self.damaged("it is longer than any that was written"));
            }
            Err(error) => return Err(error.into()),
        };
        let body = bytes.get(BODY_AT..).ok_or_else(|| self.damaged("it is too short"))?;
        let format = bytes[7];
        if bytes[..7] != self.name || bytes[8..BODY_AT] != self.checksum(format, body) {
            return Err(self.damaged("it does not match its checksum"));
        }
        if format != FORMAT {
            return Err(IdentityError::NewerFile { file: self.path, found: format.into() });
        }
        M::decode(body).map(Some).map_err(|_| self.damaged("it does not decode"))
    }

    pub(crate) fn to_bytes(&self, format: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = self.name.to_vec();
        bytes.push(format);
        bytes.extend_from_slice(&self.checksum(format, body));
        bytes.extend_from_slice(body);
        bytes
    }

    fn checksum(&self, format: u8, body: &[u8]) -> [u8; 4] {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.name);
        hasher.update(&[format]);
        hasher.update(body);
        hasher.finalize().to_le_bytes()
    }

    fn damaged(&self, what: &'static str) -> IdentityError {
        IdentityError::Damaged { file: self.path, what }
    }
}
