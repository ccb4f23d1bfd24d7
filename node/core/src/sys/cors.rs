//! `sys/config/cors`: which web pages of other origins may call this API from a browser.
//!
//! The rules stand in one row. The door asks [`Core::cors`] for them before it looks at a token,
//! because a browser sends none with its question.

use std::sync::{Arc, PoisonError, RwLock};

use conclave_barrier::Transaction;
use conclave_mount::fields::{Flag, Object, TextList, present};
use conclave_mount::{BodyFields, word};
use prost::Message;
use serde::Deserialize;
use serde_json::json;

use crate::routes::Ask;
use crate::{Core, Error, Response, errors, rows};

/// Origins that can be named.
const ORIGINS_MAX: usize = 256;

/// The longest origin.
const ORIGIN_BYTES_MAX: usize = 512;

/// Headers that can be named beside the standard ones.
const HEADERS_MAX: usize = 128;

/// The longest name of a header.
const HEADER_BYTES_MAX: usize = 256;

/// Every origin.
const ANY: &str = "*";

/// What clients of this API send, so that nobody has to name it.
const STANDARD_HEADERS: [&str; 12] = [
    "Content-Type",
    "X-Requested-With",
    "X-Vault-AWS-IAM-Server-ID",
    "X-Vault-MFA",
    "X-Vault-No-Request-Forwarding",
    "X-Vault-Wrap-Format",
    "X-Vault-Wrap-TTL",
    "X-Vault-Policy-Override",
    "X-Vault-Namespace",
    "Authorization",
    "X-Vault-Token",
    "Idempotency-Key",
];

/// The rules as they are stored. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
struct CorsRecord {
    /// Never empty; `*` stands alone.
    #[prost(string, repeated, tag = "1")]
    origins: Vec<String>,
    /// Beside the standard ones.
    #[prost(string, repeated, tag = "2")]
    headers: Vec<String>,
}

/// Which origins may call, and with which headers. Without rules nobody may.
#[derive(Debug, Default)]
pub struct CorsRules {
    origins: Vec<String>,
    headers: Vec<String>,
}

impl CorsRules {
    fn new(record: CorsRecord) -> Self {
        let mut headers = STANDARD_HEADERS.map(str::to_owned).to_vec();
        for header in record.headers {
            if !headers.iter().any(|known| known.eq_ignore_ascii_case(&header)) {
                headers.push(header);
            }
        }
        Self { origins: record.origins, headers }
    }

    /// Whether there are any.
    pub fn are_enabled(&self) -> bool {
        !self.origins.is_empty()
    }

    /// Whether pages of this origin, as the browser names it, may call.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known == ANY || known == origin)
    }

    /// The headers that such a call may carry: valid names, each once.
    pub fn allowed_headers(&self) -> &[String] {
        &self.headers
    }
}

/// The rules as this node saw them last.
#[derive(Default)]
pub(crate) struct CorsCache {
    newest: RwLock<Seen>,
}

#[derive(Clone, Default)]
struct Seen {
    /// Epoch and revision of the view; none where nobody has looked yet.
    at: Option<(u64, u64)>,
    rules: Arc<CorsRules>,
}

impl Core {
    /// The rules in the newest view of this node. Never waits, for nothing but memory; rules that
    /// cannot be read allow nothing.
    pub fn cors(&self) -> Arc<CorsRules> {
        let view = self.barrier.ledger().view();
        let at = Some((view.epoch(), view.revision()));
        let cache = &self.cors.newest;
        let seen = cache.read().unwrap_or_else(PoisonError::into_inner).clone();
        if seen.at == at {
            return seen.rules;
        }
        let rules = match load(&mut self.barrier.transaction(view)) {
            Ok(record) => Arc::new(record.map(CorsRules::new).unwrap_or_default()),
            Err(error) => {
                tracing::error!(%error, "the rules for other origins cannot be read");
                return Arc::default();
            }
        };
        *cache.write().unwrap_or_else(PoisonError::into_inner) = Seen { at, rules: rules.clone() };
        rules
    }
}

pub(super) fn read(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Some(record) = load(ask.tx)? else { return Response::json(&json!({"enabled": false})) };
    let rules = CorsRules::new(record);
    Response::json(&json!({
        "enabled": true,
        "allowed_origins": rules.origins,
        "allowed_headers": rules.headers,
    }))
}

pub(super) fn write(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(body) = ask.request.parse::<Object<Body>>()?;
    if matches!(body.enable, Some(Flag(false))) {
        return delete(ask);
    }
    let TextList(origins) = body.allowed_origins.unwrap_or_default();
    let TextList(headers) = body.allowed_headers.unwrap_or_default();
    check_origins(&origins)?;
    check_headers(&headers)?;
    let record = CorsRecord { origins, headers };
    ask.tx.put(&rows::cors(), record.encode_to_vec().into()).map_err(errors::from_barrier)?;
    Ok(Response::empty())
}

pub(super) fn delete(ask: &mut Ask<'_>) -> Result<Response, Error> {
    ask.tx.delete(&rows::cors()).map_err(errors::from_barrier)?;
    Ok(Response::empty())
}

fn load(tx: &mut Transaction) -> Result<Option<CorsRecord>, Error> {
    let Some(row) = tx.get(&rows::cors()).map_err(errors::from_barrier)? else { return Ok(None) };
    CorsRecord::decode(row.value)
        .map(Some)
        .map_err(|error| Error::internal(format!("the rules of CORS cannot be read: {error}")))
}

fn check_origins(origins: &[String]) -> Result<(), Error> {
    if origins.is_empty() {
        return Err(Error::invalid("at least one origin or the wildcard must be provided"));
    }
    if origins.len() > 1 && origins.iter().any(|origin| origin == ANY) {
        return Err(Error::invalid(
            "to allow all origins the '*' must be the only value for allowed_origins",
        ));
    }
    let fits = |origin: &String| {
        origin.len() <= ORIGIN_BYTES_MAX && origin.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match origins.len() <= ORIGINS_MAX && origins.iter().all(fits) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "there may be {ORIGINS_MAX} origins of {ORIGIN_BYTES_MAX} bytes; write them as \
             browsers do: https://ui.example.com"
        ))),
    }
}

fn check_headers(headers: &[String]) -> Result<(), Error> {
    let fits = |header: &String| header.len() <= HEADER_BYTES_MAX && super::is_header_name(header);
    match headers.len() <= HEADERS_MAX && headers.iter().all(fits) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "there may be {HEADERS_MAX} headers of {HEADER_BYTES_MAX} letters, digits and hyphens"
        ))),
    }
}

pub(super) const CORS: BodyFields = BodyFields::of::<Body>(&[
    word("enable", "Whether pages of other origins may call."),
    word("enabled", "Another name of `enable`."),
    word("allowed_origins", "The origins, or `*` for all."),
    word("allowed_headers", "Headers that they may send beside the usual ones."),
]);

#[derive(Deserialize)]
struct Body {
    /// False is another way to take the rules away.
    #[serde(default, alias = "enabled", deserialize_with = "present")]
    enable: Option<Flag>,
    #[serde(default, deserialize_with = "present")]
    allowed_origins: Option<TextList>,
    #[serde(default, deserialize_with = "present")]
    allowed_headers: Option<TextList>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, code};
    use crate::{ErrorCode, Operation};

    const PATH: &str = "sys/config/cors";

    /// The layout on disk.
    #[test]
    fn golden_layout() {
        let record = CorsRecord { origins: vec!["o".into()], headers: vec!["h".into()] };
        assert_eq!(hex::encode(record.encode_to_vec()), "0a016f120168");
    }

    #[test]
    fn rules_are_written_read_applied_and_removed() {
        let bench = Bench::new();
        assert_eq!(bench.read(PATH).unwrap(), json!({"enabled": false}));
        assert!(!bench.core.cors().are_enabled() && !bench.core.cors().allows("https://a"));
        let rules = json!({
            "allowed_origins": "https://a, https://b",
            "allowed_headers": ["X-Own", "x-vault-token"],
        });
        bench.write(PATH, &rules).unwrap();
        let shown = bench.read(PATH).unwrap();
        assert_eq!(shown["enabled"], true);
        assert_eq!(shown["allowed_origins"], json!(["https://a", "https://b"]));
        let headers = shown["allowed_headers"].as_array().unwrap();
        assert_eq!(headers.len(), STANDARD_HEADERS.len() + 1, "each once");
        assert!(headers.contains(&json!("X-Own")) && headers.contains(&json!("X-Vault-Token")));
        let rules = bench.core.cors();
        assert!(rules.allows("https://a") && rules.allows("https://b"));
        for other in ["https://c", "https://a.example", "null", "", "*"] {
            assert!(!rules.allows(other), "{other}");
        }
        assert_eq!(rules.allowed_headers().len(), headers.len());
        assert!(bench.rival().cors().allows("https://a"), "every node has them");
        bench.call(Operation::Delete, PATH, &json!({})).unwrap();
        assert!(!bench.core.cors().are_enabled() && !bench.rival().cors().allows("https://a"));
        assert_eq!(bench.read(PATH).unwrap(), json!({"enabled": false}));
    }

    #[test]
    fn all_origins_stand_alone_and_can_be_taken_back() {
        let bench = Bench::new();
        bench.write(PATH, &json!({"allowed_origins": "*"})).unwrap();
        assert!(bench.core.cors().allows("https://anything.example"));
        bench.write(PATH, &json!({"enable": false})).unwrap();
        assert!(!bench.core.cors().allows("https://anything.example"));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let bench = Bench::new();
        for (body, said) in [
            (json!({}), "at least one origin"),
            (json!({"allowed_origins": []}), "at least one origin"),
            (json!({"allowed_origins": ["*", "https://a"]}), "must be the only value"),
            (json!({"allowed_origins": ["https://a\r\nx: y"]}), "as browsers do"),
            (json!({"allowed_origins": ["x".repeat(513)]}), "as browsers do"),
            (json!({"allowed_origins": "*", "allowed_headers": ["a b"]}), "letters, digits"),
            (json!({"allowed_origins": "*", "allowed_headers": ["a\r\nb"]}), "letters, digits"),
            (json!({"allowed_origins": {"a": 1}}), ""),
        ] {
            let error = bench.write(PATH, &body).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidRequest, "{body}");
            assert!(error.message.contains(said), "{body}: {}", error.message);
        }
        let many: Vec<_> = (0..=ORIGINS_MAX).map(|n| format!("https://{n}")).collect();
        let answer = bench.write(PATH, &json!({"allowed_origins": many}));
        assert_eq!(code(answer), ErrorCode::InvalidRequest);
        assert!(!bench.core.cors().are_enabled());
    }
}
