//! Calls from web pages of other origins, as the cluster's rules for them say. A request that names
//! an origin is judged before anything else of it; without rules nothing here changes an answer.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Request, Response, StatusCode};

use super::json_answer;
use crate::Service;
use crate::refusal::Refusal;

/// What the rules say of where a request comes from.
pub(super) enum Origin {
    /// There are no rules, or no page of another origin sent it.
    Unjudged,
    Refused,
    Allowed(HeaderValue),
}

impl Origin {
    /// Of a request with these headers. An empty origin is none, two are none that a rule could name.
    pub(super) fn of(service: &dyn Service, headers: &HeaderMap) -> Self {
        let mut named = headers.get_all(ORIGIN).iter().filter(|origin| !origin.is_empty());
        let Some(origin) = named.next() else { return Self::Unjudged };
        let text = origin.to_str().ok().filter(|_| named.next().is_none());
        match (service.allows_origin(text.unwrap_or_default()), text) {
            (None, _) => Self::Unjudged,
            (Some(true), Some(_)) => Self::Allowed(origin.clone()),
            (Some(_), _) => Self::Refused,
        }
    }

    /// Refuses a request of a foreign page, and answers a browser that asks what it may send. None:
    /// the request goes on.
    pub(super) fn admit<B>(
        &self,
        service: &dyn Service,
        request: &Request<B>,
    ) -> Result<Option<Response<Bytes>>, Refusal> {
        match self {
            Self::Unjudged => Ok(None),
            // The text that clients of the Vault API look for.
            Self::Refused => Err(Refusal::denied("origin not allowed")),
            Self::Allowed(_) if request.method() == Method::OPTIONS => {
                let method = request.headers().get(ACCESS_CONTROL_REQUEST_METHOD);
                if !method.is_some_and(|method| METHODS.iter().any(|known| method == known)) {
                    return Err(Refusal::unsupported());
                }
                preflight(&service.allowed_headers()).map(Some)
            }
            Self::Allowed(_) => Ok(None),
        }
    }

    /// Tells the browser whose answer this is.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        if let Self::Allowed(origin) = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        if !matches!(self, Self::Unjudged) {
            headers.insert(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

/// What a page may send, for as long as the browser remembers it.
fn preflight(allowed_headers: &[String]) -> Result<Response<Bytes>, Refusal> {
    let names = HeaderValue::try_from(allowed_headers.join(","))
        .map_err(|_| Refusal::internal("the rules allow a header that has no valid name"))?;
    let methods = HeaderValue::try_from(METHODS.join(","))
        .map_err(|_| Refusal::internal("a method has no valid name"))?;
    let mut answer = json_answer(StatusCode::NO_CONTENT, Bytes::new());
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("300"));
    Ok(answer)
}

/// What a page may do.
const METHODS: [&str; 8] = ["DELETE", "GET", "OPTIONS", "POST", "PUT", "LIST", "PATCH", "SCAN"];
