//! Decoding a path, once. What is canonical is for the core to say; only here can an encoded slash
//! still be told from a sent one.

/// Why a path does not decode. The text is for the caller and never quotes the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathFault {
    #[error("the path holds a broken percent escape; send each % as %25")]
    Escape,
    #[error("the path is not UTF-8; encode it as UTF-8 before percent-encoding it")]
    Utf8,
    #[error("the path holds an encoded slash; names cannot hold slashes")]
    Slash,
    #[error("the path must begin with a slash")]
    Relative,
}

/// Decodes the path of a request line, as sent: percent-decoded once, without its leading slash.
pub(crate) fn decode(raw: &str) -> Result<String, PathFault> {
    let raw = raw.strip_prefix('/').ok_or(PathFault::Relative)?;
    let decoded = percent_decode(raw)?;
    let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
    if slashes(&decoded) == slashes(raw) { Ok(decoded) } else { Err(PathFault::Slash) }
}

/// Percent-decodes `text` once.
pub(crate) fn percent_decode(text: &str) -> Result<String, PathFault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = rest.next().and_then(hex_digit).ok_or(PathFault::Escape)?;
            let low = rest.next().and_then(hex_digit).ok_or(PathFault::Escape)?;
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| PathFault::Utf8)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn row_005_what_decoders_disagree_about_is_refused() {
        for (raw, fault) in [
            ("/v1/a%2Fb", PathFault::Slash),
            ("/v1/kv/..%2fb", PathFault::Slash),
            ("/v1/%ff", PathFault::Utf8),
            ("/v1/%c0%ae", PathFault::Utf8),
            ("/v1/%zz", PathFault::Escape),
            ("/v1/a%2", PathFault::Escape),
            ("/v1/a%+1", PathFault::Escape),
            ("v1/a", PathFault::Relative),
        ] {
            assert_eq!(decode(raw), Err(fault), "{raw}");
        }
    }

    #[test]
    fn a_path_is_decoded_once() {
        assert_eq!(decode("/v1/kv/data/a%20b").as_deref(), Ok("v1/kv/data/a b"));
        assert_eq!(decode("/v1/kv/data/100%25").as_deref(), Ok("v1/kv/data/100%"));
        assert_eq!(decode("/v1/a%252Fb").as_deref(), Ok("v1/a%2Fb"));
        assert_eq!(decode("/v1/kv/metadata/").as_deref(), Ok("v1/kv/metadata/"));
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_path_decodes_to_it(path in "\\PC{0,24}", encoded: u64) {
            let mut raw = String::from("/");
            for (at, character) in path.chars().enumerate() {
                let mut bytes = [0; 4];
                let text = character.encode_utf8(&mut bytes);
                if character == '%' || (character != '/' && encoded >> at & 1 == 1) {
                    text.bytes().for_each(|byte| raw.push_str(&format!("%{byte:02x}")));
                } else {
                    raw.push(character);
                }
            }
            prop_assert_eq!(decode(&raw), Ok(path));
        }

        #[test]
        fn decoding_never_panics(raw in "\\PC{0,64}") {
            let _ = decode(&raw);
        }
    }
}
