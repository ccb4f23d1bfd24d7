//! The one reading of a path. What is not byte-equal to its canonical form is refused, so that no
//! two spellings reach the core as different names for one thing.

/// Why a path is refused. The text is for the caller and never quotes the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathFault {
    #[error("the path holds a broken percent escape; send each % as %25")]
    Escape,
    #[error("the path is not UTF-8; encode it as UTF-8 before percent-encoding it")]
    Utf8,
    #[error("the path holds a control character; remove it")]
    Control,
    #[error("the path holds an encoded slash; names cannot hold slashes")]
    Slash,
    #[error("the path holds an empty segment; remove the doubled slash")]
    Empty,
    #[error("the path holds a dot segment; send the path it stands for")]
    Dots,
    #[error("the path is percent-encoded twice; encode it once")]
    DoubleEncoding,
    #[error("the path must begin with a slash")]
    Relative,
}

/// Decodes the path of a request line, as sent, into the path the core is given: percent-decoded
/// once, without its leading slash.
pub(crate) fn decode(raw: &str) -> Result<String, PathFault> {
    let raw = raw.strip_prefix('/').ok_or(PathFault::Relative)?;
    let mut path = String::with_capacity(raw.len());
    for (index, segment) in raw.split('/').enumerate() {
        if index > 0 {
            path.push('/');
        }
        let segment = percent_decode(segment)?;
        // Before joining, an encoded slash can still be told from a sent one.
        if segment.contains('/') {
            return Err(PathFault::Slash);
        }
        path.push_str(&segment);
    }
    check(&path)?;
    Ok(path)
}

/// Checks a path that was never percent-encoded, as gRPC carries it. A trailing slash is the
/// core's to judge: it means something for a LIST and at a mount.
pub(crate) fn check(path: &str) -> Result<(), PathFault> {
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_trailing_slash = segments.peek().is_none();
        if segment.is_empty() && !(is_trailing_slash || path.is_empty()) {
            return Err(PathFault::Empty);
        }
        check_segment(segment)?;
        check_double_encoding(segment)?;
    }
    Ok(())
}

fn check_segment(segment: &str) -> Result<(), PathFault> {
    if segment.chars().any(char::is_control) {
        return Err(PathFault::Control);
    }
    // Some systems read a backslash as a slash; what they would then see as dots is refused too.
    if segment.split('\\').any(|part| part == "." || part == "..") {
        return Err(PathFault::Dots);
    }
    Ok(())
}

/// Refuses a name that decoding once more would turn into something else than a clean name:
/// somebody between the client and here decodes once more than they should.
fn check_double_encoding(segment: &str) -> Result<(), PathFault> {
    if !segment.contains('%') {
        return Ok(());
    }
    // A name such as `100%` decodes no further, which is well.
    let Ok(again) = percent_decode(segment) else { return Ok(()) };
    if again.contains('/') || check_segment(&again).is_err() {
        return Err(PathFault::DoubleEncoding);
    }
    if again == segment { Ok(()) } else { check_double_encoding(&again) }
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

    fn encode_all(path: &str) -> String {
        let mut raw = String::from("/");
        for byte in path.bytes() {
            if byte == b'/' {
                raw.push('/');
            } else {
                raw.push_str(&format!("%{byte:02x}"));
            }
        }
        raw
    }

    #[test]
    fn row_001_dot_segments_are_refused_in_every_spelling() {
        for raw in [
            "/v1/kv/metadata/a/../b",
            "/v1/kv/metadata/a/%2e%2e/b",
            "/v1/kv/metadata/a/.%2E/b",
            "/v1/kv/metadata/a/..",
            "/v1/kv/./a",
            r"/v1/kv/\..\b",
            "/v1/kv/%5c..%5cb",
        ] {
            assert_eq!(decode(raw), Err(PathFault::Dots), "{raw}");
        }
        assert_eq!(decode("/v1/kv/..%2fb"), Err(PathFault::Slash));
        assert_eq!(decode("/v1/kv/%252e%252e/b"), Err(PathFault::DoubleEncoding));
        assert_eq!(decode("/v1/kv/%25252e%25252e/b"), Err(PathFault::DoubleEncoding));
    }

    #[test]
    fn row_005_decode_differentials_are_refused() {
        assert_eq!(decode("/v1/a%2Fb"), Err(PathFault::Slash));
        assert_eq!(decode("/v1/a%252Fb"), Err(PathFault::DoubleEncoding));
        assert_eq!(decode("/v1/a%00b"), Err(PathFault::Control));
        assert_eq!(decode("/v1/a%0d%0ab"), Err(PathFault::Control));
        assert_eq!(decode("/v1/%ff"), Err(PathFault::Utf8));
        assert_eq!(decode("/v1/%c0%ae"), Err(PathFault::Utf8));
        assert_eq!(decode("/v1/%zz"), Err(PathFault::Escape));
        assert_eq!(decode("/v1/a%2"), Err(PathFault::Escape));
        assert_eq!(decode("/v1/a%+1"), Err(PathFault::Escape));
    }

    #[test]
    fn row_006_doubled_slashes_are_refused() {
        for raw in ["/v1//sys/x", "/v1/kv//data/x", "//v1/kv", "/v1/kv//"] {
            assert_eq!(decode(raw), Err(PathFault::Empty), "{raw}");
        }
        assert_eq!(check("kv//data/x"), Err(PathFault::Empty));
        assert_eq!(check("/kv/data/x"), Err(PathFault::Empty));
    }

    #[test]
    fn plain_and_encoded_names_pass() {
        assert_eq!(decode("/v1/kv/data/a%20b").as_deref(), Ok("v1/kv/data/a b"));
        assert_eq!(decode("/v1/kv/data/100%25").as_deref(), Ok("v1/kv/data/100%"));
        assert_eq!(decode("/v1/kv/data/..a/b...").as_deref(), Ok("v1/kv/data/..a/b..."));
        assert_eq!(decode("/v1/kv/metadata/").as_deref(), Ok("v1/kv/metadata/"));
        assert_eq!(check(""), Ok(()));
    }

    proptest! {
        #[test]
        fn any_two_spellings_of_a_path_decode_to_the_same_or_are_refused(path in "[ -~é]{0,24}") {
            let raw = encode_all(&path);
            if let Ok(decoded) = decode(&raw) {
                prop_assert_eq!(&decoded, &path);
                prop_assert_eq!(check(&decoded), Ok(()));
            }
            prop_assert_eq!(decode(&raw).is_ok(), check(&path).is_ok());
        }

        #[test]
        fn what_decodes_is_canonical(raw in "/[a-c%2efF5c0\\\\./]{0,32}") {
            if let Ok(decoded) = decode(&raw) {
                prop_assert!(!decoded.contains("//"));
                prop_assert!(!decoded.split(['/', '\\']).any(|s| s == "." || s == ".."));
                prop_assert_eq!(decode(&encode_all(&decoded)), Ok(decoded.clone()));
            }
        }

        #[test]
        fn decoding_never_panics(raw in "\\PC{0,64}") {
            let _ = decode(&raw);
        }
    }
}
