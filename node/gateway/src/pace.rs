//! Rate quotas at the doors: asked before a body is read, let alone parsed.

use std::net::IpAddr;

use conclave_core::Standing;
use conclave_proto::ErrorCode;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use crate::Service;
use crate::refusal::Refusal;

/// Counts a request for `path` and leaves in `standing` where its caller stands.
///
/// # Errors
/// `Busy` where it comes too soon.
pub(crate) fn check(
    service: &dyn Service,
    path: &str,
    client: Option<IpAddr>,
    standing: &mut Option<Standing>,
) -> Result<(), Refusal> {
    *standing = service.within_quota(path, client);
    if standing.is_none_or(|standing| standing.allowed) {
        return Ok(());
    }
    let message = format!("request path {path:?}: rate limit quota exceeded");
    Err(Refusal::new(ErrorCode::Busy, message))
}

/// Tells the caller what it may know of where it stands.
pub(crate) fn mark(standing: &Standing, headers: &mut HeaderMap) {
    if !standing.allowed {
        headers.insert(RETRY_AFTER, HeaderValue::from(standing.retry_after_s));
    }
    if standing.shown {
        headers.insert(LIMIT, HeaderValue::from(standing.limit));
        headers.insert(REMAINING, HeaderValue::from(standing.remaining));
        headers.insert(RESET, HeaderValue::from(standing.reset_s));
    }
}

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
