//! The configured seal, and the static key.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use conclave_barrier::{BarrierError, NewRecipient, RootKey, SealKey, SealRecord, unwrap_root_key};
use conclave_memory::SecretKey;
use zeroize::Zeroizing;

use crate::error::SealError;

/// How the seal record names this kind of recipient.
const KIND: &str = "static";
const KEY_BYTES: usize = 32;
/// More than any spelling of a key takes.
const KEY_FILE_BYTES_MAX: usize = 1024;

/// How this node gets at the root key, as its configuration says.
pub enum SealConfig {
    /// By shares that people give.
    Shamir,
    /// A 32-byte key, base64 or hex, in a file or in an environment variable. A file may also hold
    /// the 32 bytes as they are. The file is looked at first.
    Static {
        /// Where the key stands.
        key_file: Option<PathBuf>,
        /// The variable that holds it.
        key_env: Option<String>,
    },
}

/// The recipient of the static key, for `Barrier::initialise`.
///
/// # Errors
/// `Provider` where the configuration names no static key or the key cannot be read. The text never
/// has any of the key.
pub fn static_recipient(config: &SealConfig) -> Result<NewRecipient, SealError> {
    let SealConfig::Static { key_file, key_env } = config else {
        return provider("the configured seal is not static; configure a key file or variable");
    };
    let key = read_key(key_file.as_deref(), key_env.as_deref())?;
    Ok(NewRecipient { kind: KIND.to_owned(), shares: 1, threshold: 1, key })
}

/// Opens the root key with the static key; None where the configuration or the record has none.
///
/// # Errors
/// `Provider` where the key cannot be read, or is not the key of any static recipient.
pub fn auto_unseal(config: &SealConfig, record: &SealRecord) -> Result<Option<RootKey>, SealError> {
    let SealConfig::Static { key_file, key_env } = config else {
        return Ok(None);
    };
    let recipients = record.recipients.iter().enumerate();
    let mut recipients = recipients.filter(|(_, recipient)| recipient.kind == KIND).peekable();
    if recipients.peek().is_none() {
        return Ok(None);
    }
    let key = read_key(key_file.as_deref(), key_env.as_deref())?;
    for (index, _) in recipients {
        match unwrap_root_key(record, index, &key) {
            Ok(root_key) => return Ok(Some(root_key)),
            Err(BarrierError::WrongKey) => {}
            Err(other) => return provider(&other.to_string()),
        }
    }
    provider("it is not the key this cluster was initialised with; configure the right one")
}

fn read_key(key_file: Option<&Path>, key_env: Option<&str>) -> Result<SealKey, SealError> {
    let (source, bytes) = match (key_file, key_env) {
        (Some(path), _) => {
            let source = format!("the key file {}", path.display());
            let bytes = read_file(path)
                .map_err(|error| SealError::Provider(format!("{source}: {}", error.kind())))?;
            (source, bytes)
        }
        (None, Some(name)) => {
            let source = format!("the variable {name}");
            let Some(value) = std::env::var_os(name) else {
                return provider(&format!("{source} is not set"));
            };
            (source, Zeroizing::new(value.into_encoded_bytes()))
        }
        (None, None) => return provider("neither a key file nor a variable is configured"),
    };
    let Some(key) = parse_key(&bytes) else {
        return provider(&format!("{source} does not hold 32 bytes as base64 or hex"));
    };
    Ok(SealKey::new(key))
}

/// At most [`KEY_FILE_BYTES_MAX`] bytes and one more, in a buffer that never grows.
fn read_file(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut file = std::fs::File::open(path)?;
    let mut bytes = Zeroizing::new(vec![0; KEY_FILE_BYTES_MAX + 1]);
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The key in one of its spellings. Thirty-two hex digits are not a raw key: they are half of one.
fn parse_key(bytes: &[u8]) -> Option<SecretKey<KEY_BYTES>> {
    if bytes.len() == KEY_BYTES && !bytes.iter().all(u8::is_ascii_hexdigit) {
        return secret_key(bytes);
    }
    let text = bytes.trim_ascii();
    let mut decoded = Zeroizing::new([0; KEY_BYTES]);
    if hex::decode_to_slice(text, decoded.as_mut_slice()).is_ok() {
        return secret_key(decoded.as_slice());
    }
    [STANDARD, URL_SAFE].iter().find_map(|alphabet| decode_base64(alphabet, text))
}

fn decode_base64(alphabet: &GeneralPurpose, text: &[u8]) -> Option<SecretKey<KEY_BYTES>> {
    // The decoder asks for room by its own estimate, which is above the exact size.
    let mut decoded = Zeroizing::new([0; KEY_FILE_BYTES_MAX]);
    let len = alphabet.decode_slice(text, decoded.as_mut_slice()).ok()?;
    secret_key(&decoded[..len])
}

fn secret_key(bytes: &[u8]) -> Option<SecretKey<KEY_BYTES>> {
    let bytes: &[u8; KEY_BYTES] = bytes.try_into().ok()?;
    Some(SecretKey::fill_with(|key| key.copy_from_slice(bytes)))
}

fn provider<T>(why: &str) -> Result<T, SealError> {
    Err(SealError::Provider(why.to_owned()))
}

const BASE64: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, BASE64);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, BASE64);

#[cfg(test)]
mod tests;
