//! What the request line and the headers say, read strictly: what could be read in two ways is
//! refused.

use std::collections::BTreeMap;

use conclave_core::{
    Idempotency, IdempotencyKey, KEY_NOT_KEPT, Operation, ReadLevel, Token, is_root_namespace,
};
use conclave_proto::ErrorCode;
use http::header::{self, HeaderMap};
use http::{Method, Uri};

use crate::config::TOKEN_BYTES_MAX;
use crate::path::percent_decode;
use crate::refusal::Refusal;

/// Query parameters, decoded.
pub(super) type Query = BTreeMap<String, String>;

/// What the method and `?list=` or `?scan=` ask for.
pub(super) fn operation(method: &Method, query: &mut Query) -> Result<Operation, Refusal> {
    match method.as_str() {
        "GET" => list_or_read(query),
        "LIST" => {
            query.remove("list");
            Ok(Operation::List)
        }
        "SCAN" => {
            query.remove("scan");
            Ok(Operation::Scan)
        }
        "PUT" | "POST" => Ok(Operation::Write),
        "DELETE" => Ok(Operation::Delete),
        "PATCH" => Ok(Operation::Patch),
        _ => Err(Refusal::unsupported()),
    }
}

fn list_or_read(query: &mut Query) -> Result<Operation, Refusal> {
    match (flag(query, "list")?, flag(query, "scan")?) {
        (false, false) => Ok(Operation::Read),
        (true, false) => Ok(Operation::List),
        (false, true) => Ok(Operation::Scan),
        (true, true) => Err(Refusal::invalid("list and scan exclude each other; send one")),
    }
}

fn flag(query: &mut Query, name: &str) -> Result<bool, Refusal> {
    match query.remove(name) {
        None => Ok(false),
        Some(value) if is_true(&value) => Ok(true),
        Some(value) if is_false(&value) => Ok(false),
        Some(_) => {
            Err(Refusal::invalid(format!("the query parameter {name} must be true or false")))
        }
    }
}

/// The spellings of a boolean that clients send.
pub(super) fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "True" | "TRUE")
}

fn is_false(value: &str) -> bool {
    matches!(value, "0" | "f" | "F" | "false" | "False" | "FALSE")
}

/// The fixed word for a method in metrics.
pub(super) fn method_label(method: &Method) -> &'static str {
    const LABELS: [&str; 9] =
        ["GET", "PUT", "POST", "DELETE", "LIST", "SCAN", "PATCH", "HEAD", "OPTIONS"];
    LABELS.into_iter().find(|label| *label == method.as_str()).unwrap_or("other")
}

/// The query's parameters. One that stands twice is refused: two readers could pick differently.
pub(super) fn query(uri: &Uri) -> Result<Query, Refusal> {
    let mut query = Query::new();
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if query.insert(query_decode(key)?, query_decode(value)?).is_some() {
            return Err(Refusal::invalid("a query parameter stands twice; send it once"));
        }
    }
    Ok(query)
}

fn query_decode(text: &str) -> Result<String, Refusal> {
    percent_decode(&text.replace('+', " ")).map_err(|_| {
        Refusal::invalid(
            "the query holds a broken percent escape, or is not UTF-8; encode it again",
        )
    })
}

/// The headers with these names, for the audit log. A value that is no text is left out.
pub(crate) fn audited(headers: &HeaderMap, names: Vec<String>) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for name in names {
        let values = headers.get_all(name.as_str()).iter();
        let texts = values.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
        let texts: Vec<_> = texts.map(str::to_owned).collect();
        if !texts.is_empty() {
            found.insert(name, texts);
        }
    }
    found
}

/// The token: `X-Vault-Token` first, else `Authorization: Bearer`.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<Token>, Refusal> {
    let text = match single(headers, "x-vault-token")? {
        Some(text) if !text.is_empty() => text,
        _ => single(headers, "authorization")?.and_then(bearer).unwrap_or_default(),
    };
    if text.len() > TOKEN_BYTES_MAX {
        let refusal = Refusal::invalid(format!("the token is above {TOKEN_BYTES_MAX} bytes"));
        return Err(refusal.with_http_status(431));
    }
    Ok((!text.is_empty()).then(|| Token::new(text.to_owned())))
}

/// The token of a bearer scheme. Other schemes are not ours and count as no token.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The namespace as sent; empty for the root.
pub(crate) fn namespace(headers: &HeaderMap) -> Result<&str, Refusal> {
    Ok(single(headers, "x-vault-namespace")?.unwrap_or_default())
}

/// Refuses a request to another namespace than the root: the node is of no namespace.
pub(super) fn require_root_namespace(headers: &HeaderMap) -> Result<(), Refusal> {
    if is_root_namespace(namespace(headers)?) {
        return Ok(());
    }
    Err(Refusal::invalid("operation only available in root namespace; leave out X-Vault-Namespace"))
}

/// Who asks for a wrapped answer relies on not seeing the secret itself.
pub(crate) fn refuse_wrapping(headers: &HeaderMap) -> Result<(), Refusal> {
    match single(headers, "x-vault-wrap-ttl")? {
        None | Some("" | "0" | "0s") => Ok(()),
        Some(_) => Err(Refusal::invalid(
            "response wrapping is not supported yet; leave out X-Vault-Wrap-TTL",
        )),
    }
}

/// The caller's key for a request that changes something; reads have no use for one.
pub(super) fn idempotency(
    headers: &HeaderMap,
    operation: Operation,
) -> Result<Option<Idempotency>, Refusal> {
    match operation {
        Operation::Read | Operation::List | Operation::Scan => return Ok(None),
        Operation::Write | Operation::Delete | Operation::Patch => {}
    }
    let Some(text) = single(headers, IDEMPOTENCY_KEY)? else { return Ok(None) };
    Ok(Some(Idempotency::Keyed(IdempotencyKey::new(text)?)))
}

/// Refuses a key where the node itself acts, which remembers none: who sends one relies on it.
pub(super) fn refuse_idempotency(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    let changes = [Method::PUT, Method::POST, Method::PATCH, Method::DELETE].contains(method);
    if changes && headers.contains_key(IDEMPOTENCY_KEY) {
        return Err(Refusal::invalid(KEY_NOT_KEPT));
    }
    Ok(())
}

/// The freshness that the caller asks for.
pub(super) fn read_level(headers: &HeaderMap) -> Result<ReadLevel, Refusal> {
    for name in ["x-conclave-revision", "x-vault-index"] {
        if let Some(text) = single(headers, name)?.filter(|text| !text.is_empty()) {
            let revision = text.parse().map_err(|_| {
                Refusal::invalid(format!("the header {name} must be a revision, in decimal"))
            })?;
            return Ok(ReadLevel::AtRevision(revision));
        }
    }
    Ok(ReadLevel::Linearizable)
}

/// A compressed body is refused: unpacking it would be work before any limit.
pub(super) fn require_identity_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    match single(headers, header::CONTENT_ENCODING.as_str())? {
        None => Ok(()),
        Some(encoding) if encoding.eq_ignore_ascii_case("identity") => Ok(()),
        Some(_) => Err(Refusal::new(
            ErrorCode::UnsupportedMediaType,
            "compressed bodies are not accepted; send the body as it is",
        )),
    }
}

/// A patch must say how it is to be merged.
pub(super) fn require_merge_patch(headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type = single(headers, header::CONTENT_TYPE.as_str())?.unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/merge-patch+json") {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::UnsupportedMediaType,
        "PATCH requires Content-Type application/merge-patch+json",
    ))
}

/// The header's value. Two of them are refused, as two readers could pick differently.
fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::invalid(format!("the header {name} stands twice; send it once")));
    }
    std::str::from_utf8(value.as_bytes())
        .map(|text| Some(text.trim()))
        .map_err(|_| Refusal::invalid(format!("the header {name} is not UTF-8")))
}

const IDEMPOTENCY_KEY: &str = "idempotency-key";
