//! What is checked before anything is parsed or looked up.

use crate::{Error, ErrorCode, Request};

/// The largest body. A value in storage may have 1 MiB; a body is a little more than a value.
pub(crate) const BODY_BYTES_MAX: usize = (1 << 20) + (256 << 10);

/// The deepest nesting of a body. Many JSON parsers give up at 128, and what was stored must be
/// readable by all of them.
const NESTING_MAX: usize = 100;

/// Most bytes of query parameters.
const QUERY_BYTES_MAX: usize = 8 << 10;

/// Checks what needs no state.
pub(crate) fn check(request: &Request) -> Result<(), Error> {
    if !request.namespace.is_empty() {
        return Err(Error::new(
            ErrorCode::NotFound,
            "namespace not found; leave the namespace empty for the root namespace",
        ));
    }
    if request.idempotency.as_ref().is_some_and(|id| id.low_water > id.sequence) {
        return Err(Error::invalid(
            "the request id's low-water mark is above its number; number requests upwards",
        ));
    }
    let query_bytes: usize =
        request.query.iter().map(|(name, value)| name.len() + value.len()).sum();
    if query_bytes > QUERY_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the query has {query_bytes} bytes, the limit is {QUERY_BYTES_MAX}; send less"
        )));
    }
    check_body(&request.body)
}

fn check_body(body: &[u8]) -> Result<(), Error> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Error::new(
            ErrorCode::TooLarge,
            format!(
                "the body has {} bytes, the limit is {BODY_BYTES_MAX}; store less in one secret",
                body.len()
            ),
        ));
    }
    let body = body.trim_ascii_start();
    if body.first().is_some_and(|first| *first != b'{') {
        return Err(Error::invalid("the body must be a JSON object"));
    }
    if nesting(body) > NESTING_MAX {
        return Err(Error::invalid(format!(
            "the body is nested deeper than {NESTING_MAX} levels; flatten it"
        )));
    }
    Ok(())
}

/// The deepest nesting of brackets outside strings. Exact for valid JSON; anything else fails in
/// the parser later.
fn nesting(body: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_counts_brackets_outside_strings() {
        assert_eq!(nesting(br#"{"a":[{"b":"[[[[\"{{{"}]}"#), 3);
        assert_eq!(nesting(b"]]]{"), 1);
    }

    #[test]
    fn only_shallow_objects_of_fair_size_pass() {
        assert!(check_body(b"").is_ok());
        assert!(check_body(b" {\"a\":1}").is_ok());
        for body in [&b"[1]"[..], b"null", b"x", b"\"{\""] {
            assert_eq!(check_body(body).unwrap_err().code, ErrorCode::InvalidRequest);
        }
        let deep = ["{\"a\":".repeat(101), "1".into(), "}".repeat(101)].concat();
        assert_eq!(check_body(deep.as_bytes()).unwrap_err().code, ErrorCode::InvalidRequest);
        let large = vec![b' '; BODY_BYTES_MAX + 1];
        assert_eq!(check_body(&large).unwrap_err().code, ErrorCode::TooLarge);
    }
}
