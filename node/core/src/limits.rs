//! What is checked before anything is parsed or looked up.

use crate::{Error, ErrorCode, Request, idempotency};

/// The largest body. A value in storage may have 1 MiB; a body is a little more than a value.
pub(crate) const BODY_BYTES_MAX: usize = (1 << 20) + (256 << 10);

/// Most bytes of query parameters.
const QUERY_BYTES_MAX: usize = 8 << 10;

/// Checks what needs no state.
pub(crate) fn check(request: &Request) -> Result<(), Error> {
    if !is_root_namespace(&request.namespace) {
        return Err(Error::new(
            ErrorCode::NotFound,
            "namespace not found; leave the namespace empty for the root namespace",
        ));
    }
    idempotency::check(request)?;
    let query_bytes: usize =
        request.query.iter().map(|(name, value)| name.len() + value.len()).sum();
    if query_bytes > QUERY_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the query has {query_bytes} bytes, the limit is {QUERY_BYTES_MAX}; send less"
        )));
    }
    check_body(&request.body)
}

/// Whether this is how clients name the only namespace there is.
pub fn is_root_namespace(namespace: &str) -> bool {
    matches!(namespace, "" | "/" | "root" | "root/")
}

/// Size alone: the doors let only JSON objects of fair shape through.
fn check_body(body: &[u8]) -> Result<(), Error> {
    if body.len() <= BODY_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::TooLarge,
        format!(
            "the body has {} bytes, the limit is {BODY_BYTES_MAX}; store less in one secret",
            body.len()
        ),
    ))
}
