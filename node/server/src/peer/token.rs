//! What a joining node holds: a join token, or the secret in its `join_secret_file`.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::JoinError;

/// A join token: base64url of `{"v":1,"id":hex,"secret":hex,"addrs":[…]}`.
pub struct JoinToken {
    /// Names the token; not secret.
    pub id: Vec<u8>,
    /// What both sides prove to know.
    pub secret: Zeroizing<Vec<u8>>,
    /// Peer listeners to ask, in turn.
    pub addresses: Vec<String>,
}

#[derive(Deserialize)]
struct Json {
    v: u64,
    id: String,
    secret: String,
    addrs: Vec<String>,
}

impl JoinToken {
    /// Reads a token as `operator join-token` prints it.
    ///
    /// # Errors
    /// [`JoinError::Token`], which repeats nothing of it.
    pub fn decode(text: &str) -> Result<Self, JoinError> {
        let text = text.trim();
        if text.len() > TOKEN_BYTES_MAX {
            return Err(JoinError::Token("it is too long"));
        }
        let json = Zeroizing::new(
            URL_SAFE_NO_PAD
                .decode(text.trim_end_matches('='))
                .map_err(|_| JoinError::Token("it is not base64url"))?,
        );
        let json: Json =
            serde_json::from_slice(&json).map_err(|_| JoinError::Token("it is incomplete"))?;
        let secret = Zeroizing::new(json.secret);
        if json.v != 1 {
            return Err(JoinError::Token("it was made by another version"));
        }
        let id = hex::decode(&json.id).map_err(|_| JoinError::Token("its id is not hex"))?;
        let secret = hex::decode(&*secret)
            .map(Zeroizing::new)
            .map_err(|_| JoinError::Token("its secret is not hex"))?;
        if id.is_empty() || id.len() > TOKEN_ID_BYTES_MAX || secret.len() < SECRET_BYTES_MIN {
            return Err(JoinError::Token("it is incomplete"));
        }
        Ok(Self { id, secret, addresses: json.addrs })
    }
}

/// Reads the shared join secret. White space around it does not count.
///
/// # Errors
/// [`JoinError::SecretFile`] where the file cannot be read or holds less than 256 bits could be.
pub fn read_join_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, JoinError> {
    let unusable = |reason: String| JoinError::SecretFile { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map(Zeroizing::new).map_err(|e| unusable(e.to_string()))?;
    let secret = Zeroizing::new(bytes.trim_ascii().to_vec());
    if secret.len() < SECRET_TEXT_BYTES_MIN {
        return Err(unusable(format!("it has less than {SECRET_TEXT_BYTES_MIN} characters")));
    }
    Ok(secret)
}

/// An id longer than this is nobody's.
pub(super) const TOKEN_ID_BYTES_MAX: usize = 64;
const TOKEN_BYTES_MAX: usize = 16 * 1024;
const SECRET_BYTES_MIN: usize = 32;
/// 256 bits in base64 without padding.
const SECRET_TEXT_BYTES_MIN: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    #[test]
    fn a_token_decodes() {
        let secret = "ab".repeat(32);
        let text = encode(&format!(
            r#"{{"v":1,"id":"0102","secret":"{secret}","addrs":["n1:8201","n2:8201"]}}"#
        ));
        let token = JoinToken::decode(&format!("  {text}\n")).expect("it is valid");
        assert_eq!(token.id, [1, 2]);
        assert_eq!(token.secret.as_slice(), [0xab; 32]);
        assert_eq!(token.addresses, ["n1:8201", "n2:8201"]);
    }

    #[test]
    fn bad_tokens_are_refused_without_repeating_them() {
        let secret = "ab".repeat(32);
        let short = "ab".repeat(31);
        for text in [
            "%%%".to_owned(),
            encode("{}"),
            encode(&format!(r#"{{"v":2,"id":"01","secret":"{secret}","addrs":[]}}"#)),
            encode(&format!(r#"{{"v":1,"id":"","secret":"{secret}","addrs":[]}}"#)),
            encode(&format!(r#"{{"v":1,"id":"01","secret":"{short}","addrs":[]}}"#)),
            encode(&format!(r#"{{"v":1,"id":"zz","secret":"{secret}","addrs":[]}}"#)),
            "A".repeat(TOKEN_BYTES_MAX + 1),
        ] {
            let error = JoinToken::decode(&text).err().expect("it must be refused");
            assert!(!error.to_string().contains("abab"), "{error}");
        }
    }

    #[test]
    fn a_join_secret_needs_256_bits() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("join.key");
        std::fs::write(&path, format!("{}\n", "k".repeat(43))).expect("writable");
        assert_eq!(read_join_secret(&path).expect("long enough").len(), 43);
        std::fs::write(&path, format!("{}\n\n", "k".repeat(42))).expect("writable");
        assert!(read_join_secret(&path).is_err());
        assert!(read_join_secret(&directory.path().join("absent")).is_err());
    }
}
