//! `sys/quotas`: how often an address may ask.

use conclave_mount::fields::{DurationMs, Flag, Object, TextList, present};
use conclave_mount::{BodyFields, Kind, word};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::canonical::is_plain;
use crate::mounts::AUTH_PREFIX;
use crate::quotas::{
    EXEMPT_PATHS_MAX, PathList, QUOTAS_MAX, QuotaRecord, QuotaTable, TEXT_BYTES_MAX, fold,
};
use crate::routes::Ask;
use crate::{Error, Response, routes};

/// Requests in an interval.
const RATE_MAX: f64 = 1e9;
const INTERVAL_MS_DEFAULT: u64 = 1000;
/// Of an interval and of a block: 30 days.
const INTERVAL_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

pub(super) fn list(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let table = QuotaTable::load(ask.tx)?;
    if table.quotas.is_empty() {
        return Err(Error::not_found());
    }
    let keys: Vec<&str> = table.quotas.iter().map(|quota| quota.name.as_str()).collect();
    Response::json(&json!({"keys": keys}))
}

pub(super) fn read(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let table = QuotaTable::load(ask.tx)?;
    let quota = table.quotas.iter().find(|quota| quota.name == ask.name());
    let quota = quota.ok_or_else(Error::not_found)?;
    Response::json(&json!({
        "block_interval": quota.block_ms / 1000,
        "inheritable": quota.inheritable,
        "interval": quota.interval_ms / 1000,
        "name": quota.name,
        "path": quota.path,
        "rate": quota.rate,
        "role": quota.role,
        "type": "rate-limit",
    }))
}

/// Writes a quota whole: what the body does not name is the default.
pub(super) fn write(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(body): Object<Body> = ask.request.parse()?;
    let quota = body.into_record(ask)?;
    let mut table = QuotaTable::load(ask.tx)?;
    let role = fold(&quota.role);
    let is_like = |other: &&QuotaRecord| other.path == quota.path && fold(&other.role) == role;
    let mut others = table.quotas.iter().filter(|other| other.name != quota.name);
    if let Some(other) = others.find(is_like) {
        return Err(Error::invalid(format!(
            "quota rule with similar properties exists under the name {:?}; change that one",
            other.name
        )));
    }
    table.quotas.retain(|other| other.name != quota.name);
    if table.quotas.len() >= QUOTAS_MAX {
        return Err(Error::invalid(format!("there may be {QUOTAS_MAX} quotas; remove some")));
    }
    let at = table.quotas.partition_point(|other| other.name < quota.name);
    table.quotas.insert(at, quota);
    table.store(ask.tx)?;
    Ok(Response::empty())
}

/// No error where it is not there.
pub(super) fn delete(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let mut table = QuotaTable::load(ask.tx)?;
    let before = table.quotas.len();
    table.quotas.retain(|quota| quota.name != ask.name());
    if table.quotas.len() < before {
        table.store(ask.tx)?;
    }
    Ok(Response::empty())
}

pub(super) fn read_config(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let table = QuotaTable::load(ask.tx)?;
    Response::json(&json!({
        "absolute_rate_limit_exempt_paths": [],
        "enable_rate_limit_audit_logging": false,
        "enable_rate_limit_response_headers": table.shows_headers,
        "rate_limit_exempt_paths": table.exempt_paths(),
    }))
}

pub(super) fn write_config(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(body): Object<ConfigBody> = ask.request.parse()?;
    let mut table = QuotaTable::load(ask.tx)?;
    if matches!(body.enable_rate_limit_audit_logging, Some(Flag(true))) {
        return Err(Error::invalid(
            "what a quota refuses is counted in the metrics and not in the audit log, which it \
             would flood; leave out 'enable_rate_limit_audit_logging'",
        ));
    }
    if let Some(Flag(shows)) = body.enable_rate_limit_response_headers {
        table.shows_headers = shows;
    }
    if let Some(TextList(paths)) = body.rate_limit_exempt_paths {
        let too_long = paths.iter().any(|path| path.len() > TEXT_BYTES_MAX || !is_plain(path));
        if paths.len() > EXEMPT_PATHS_MAX || too_long {
            return Err(Error::invalid(format!(
                "'rate_limit_exempt_paths' has at most {EXEMPT_PATHS_MAX} paths of \
                 {TEXT_BYTES_MAX} bytes; send fewer or shorter ones"
            )));
        }
        table.exempt_paths = Some(PathList { paths });
    }
    table.store(ask.tx)?;
    Ok(Response::empty())
}

pub(super) const QUOTAS: BodyFields = BodyFields::of::<ConfigBody>(&[
    word("enable_rate_limit_audit_logging", "Whether audit logs show what quotas refused."),
    word("enable_rate_limit_response_headers", "Whether answers tell how much of a quota is left."),
    word("rate_limit_exempt_paths", "The paths that no quota counts."),
]);

#[derive(Deserialize)]
struct ConfigBody {
    #[serde(default, deserialize_with = "present")]
    enable_rate_limit_audit_logging: Option<Flag>,
    #[serde(default, deserialize_with = "present")]
    enable_rate_limit_response_headers: Option<Flag>,
    #[serde(default, deserialize_with = "present")]
    rate_limit_exempt_paths: Option<TextList>,
}

pub(super) const QUOTA: BodyFields = BodyFields::of::<Body>(&[
    word("rate", "How many requests an interval may have.").required().holds(Kind::Number),
    word("interval", "The interval; a second where nothing is said."),
    word("block_interval", "How long an address is refused that asked too often."),
    word("path", "What is counted: a mount, or a path in one; everything where it is empty."),
    word("role", "Of logins of an auth method, those of this role alone."),
    word("inheritable", "Whether it holds for every namespace."),
    word("group_by", "What is counted apart: `ip`."),
    word("type", "`rate-limit`."),
]);

#[derive(Deserialize)]
struct Body {
    #[serde(default, deserialize_with = "present")]
    rate: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    interval: Option<DurationMs>,
    #[serde(default, deserialize_with = "present")]
    block_interval: Option<DurationMs>,
    #[serde(default, deserialize_with = "present")]
    path: Option<String>,
    #[serde(default, deserialize_with = "present")]
    role: Option<String>,
    #[serde(default, deserialize_with = "present")]
    inheritable: Option<Flag>,
    #[serde(default, deserialize_with = "present")]
    group_by: Option<String>,
    #[serde(rename = "type", default, deserialize_with = "present")]
    kind: Option<String>,
}

impl Body {
    fn into_record(self, ask: &mut Ask<'_>) -> Result<QuotaRecord, Error> {
        let name = ask.name().to_owned();
        let rate = self.rate.as_ref().and_then(number);
        let rate = rate.filter(|rate| (f64::MIN_POSITIVE..=RATE_MAX).contains(rate));
        let rate = rate.ok_or_else(|| {
            Error::invalid("'rate' is invalid; send how many requests an interval may have")
        })?;
        let is_other = |kind: &Option<String>, known: &[&str]| {
            kind.as_deref().is_some_and(|kind| !known.contains(&kind))
        };
        if is_other(&self.group_by, &["", "ip"]) || is_other(&self.kind, &["", "rate-limit"]) {
            return Err(Error::invalid(
                "requests are counted by address; leave out 'group_by' and 'type'",
            ));
        }
        let ms = |asked: Option<DurationMs>| asked.map_or(0, |DurationMs(ms)| ms);
        let (interval_ms, block_ms) = (ms(self.interval), ms(self.block_interval));
        let interval_ms = if interval_ms == 0 { INTERVAL_MS_DEFAULT } else { interval_ms };
        if interval_ms.max(block_ms) > INTERVAL_MS_MAX {
            return Err(Error::invalid("an interval is at most 30 days; shorten it"));
        }
        let role = self.role.unwrap_or_default();
        let path = path(ask, self.path.as_deref().unwrap_or_default(), &role)?;
        if [&name, &role].iter().any(|text| text.len() > TEXT_BYTES_MAX || !is_plain(text)) {
            return Err(Error::invalid(format!(
                "a name has at most {TEXT_BYTES_MAX} printable bytes; choose a shorter one"
            )));
        }
        let inheritable = inheritable(self.inheritable, &path)?;
        Ok(QuotaRecord { name, path, role, rate, interval_ms, block_ms, inheritable })
    }
}

/// A quota for everything is one for every namespace; any other stands for itself.
fn inheritable(asked: Option<Flag>, path: &str) -> Result<bool, Error> {
    match (asked, path.is_empty()) {
        (Some(Flag(false)), true) => {
            Err(Error::invalid("all global quotas must be inheritable; leave out 'inheritable'"))
        }
        (Some(Flag(true)), false) => Err(Error::invalid(
            "only namespace quotas can be configured as inheritable; leave out 'inheritable'",
        )),
        (_, is_global) => Ok(is_global),
    }
}

/// The path in the one spelling in which requests are compared with it. It lies in a mount, because
/// a quota that counts nothing would go unnoticed.
fn path(ask: &mut Ask<'_>, asked: &str, role: &str) -> Result<String, Error> {
    let invalid = || {
        Error::invalid(
            "invalid mount path; send the path of a mount, or one below it, perhaps with a '*' at \
             its end",
        )
    };
    let (stem, star) = match asked.strip_suffix('*') {
        Some(stem) => (stem, "*"),
        None => (asked.trim_end_matches('/'), ""),
    };
    if asked.is_empty() && role.is_empty() {
        return Ok(String::new());
    }
    let segments = stem.strip_suffix('/').unwrap_or(stem);
    if stem.len() > TEXT_BYTES_MAX || conclave_mount::path::check(segments).is_err() {
        return Err(invalid());
    }
    let table = ask.core.mounts.at(ask.tx)?;
    let with_slash = [stem, "/"].concat();
    let is_mount = star.is_empty()
        && (table.get(&with_slash).is_some() || BUILT_IN.contains(&with_slash.as_str()));
    let is_auth = is_mount && with_slash.starts_with(AUTH_PREFIX);
    if !role.is_empty() && !is_auth {
        return Err(Error::invalid(
            "a quota with a 'role' is about an auth method; send the path of one",
        ));
    }
    if is_mount {
        return Ok(with_slash);
    }
    if table.find(stem).is_none() && !routes::is_own(stem) {
        return Err(invalid());
    }
    Ok([stem, star].concat())
}

/// `5`, `0.5` or either as a string.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// What is no mount and looks like one.
const BUILT_IN: [&str; 3] = ["sys/", "auth/token/", "identity/"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, code};
    use crate::{ErrorCode, Operation};

    #[test]
    fn a_quota_is_written_read_listed_and_deleted() {
        let bench = Bench::new();
        let list = || bench.call(Operation::List, "sys/quotas/rate-limit", &json!({}));
        assert_eq!(code(list()), ErrorCode::NotFound);
        let body = json!({"rate": "2.5", "interval": "1m", "block_interval": 10, "path": "secret"});
        bench.write("sys/quotas/rate-limit/a", &body).unwrap();
        bench.write("sys/quotas/rate-limit/0", &json!({"rate": 10})).unwrap();
        assert_eq!(list().unwrap(), json!({"keys": ["0", "a"]}));
        let read = bench.read("sys/quotas/rate-limit/a").unwrap();
        assert_eq!(
            read,
            json!({"block_interval": 10, "inheritable": false, "interval": 60, "name": "a",
                   "path": "secret/", "rate": 2.5, "role": "", "type": "rate-limit"})
        );
        assert_eq!(bench.read("sys/quotas/rate-limit/0").unwrap()["inheritable"], true);
        let twice = bench.write("sys/quotas/rate-limit/b", &json!({"rate": 1, "path": "secret/"}));
        assert_eq!(code(twice), ErrorCode::InvalidRequest);
        bench.call(Operation::Delete, "sys/quotas/rate-limit/a", &json!({})).unwrap();
        bench.call(Operation::Delete, "sys/quotas/rate-limit/a", &json!({})).unwrap();
        assert_eq!(
            code(bench.call(Operation::Read, "sys/quotas/rate-limit/a", &json!({}))),
            ErrorCode::NotFound
        );
    }

    #[test]
    fn what_counts_nothing_or_cannot_be_counted_is_refused() {
        let bench = Bench::new();
        let bad = [
            json!({}),
            json!({"rate": 0}),
            json!({"rate": -1}),
            json!({"rate": "NaN"}),
            json!({"rate": "inf"}),
            json!({"rate": 1e10}),
            json!({"rate": [1]}),
            json!({"rate": null}),
            json!({"rate": 1, "path": null}),
            json!({"rate": 1, "role": null}),
            json!({"rate": 1, "path": "nowhere/"}),
            json!({"rate": 1, "path": "*"}),
            json!({"rate": 1, "path": "secret//x"}),
            json!({"rate": 1, "path": "secret/../x"}),
            json!({"rate": 1, "path": "secret/".to_owned() + &"x".repeat(300)}),
            json!({"rate": 1, "path": "secret/", "role": "r"}),
            json!({"rate": 1, "role": "r"}),
            json!({"rate": 1, "inheritable": false}),
            json!({"rate": 1, "path": "secret/", "inheritable": true}),
            json!({"rate": 1, "group_by": "entity_then_ip"}),
            json!({"rate": 1, "interval": "31d"}),
            json!({"rate": 1, "interval": -1}),
        ];
        for body in bad {
            let refused = bench.write("sys/quotas/rate-limit/a", &body);
            assert_eq!(code(refused), ErrorCode::InvalidRequest, "{body}");
        }
        for path in
            ["secret/data/x", "secret/data/*", "secret/da*", "sys/", "sys/mounts", "auth/token"]
        {
            bench.write("sys/quotas/rate-limit/a", &json!({"rate": 1, "path": path})).unwrap();
        }
        assert_eq!(bench.read("sys/quotas/rate-limit/a").unwrap()["path"], "auth/token/");
    }

    #[test]
    fn the_configuration_keeps_what_is_not_named() {
        let bench = Bench::new();
        let config = bench.read("sys/quotas/config").unwrap();
        assert_eq!(config["rate_limit_exempt_paths"].as_array().unwrap().len(), 7);
        bench
            .write("sys/quotas/config", &json!({"rate_limit_exempt_paths": "sys/mounts, sys/in*"}))
            .unwrap();
        bench
            .write("sys/quotas/config", &json!({"enable_rate_limit_response_headers": "true"}))
            .unwrap();
        let config = bench.read("sys/quotas/config").unwrap();
        assert_eq!(config["rate_limit_exempt_paths"], json!(["sys/mounts", "sys/in*"]));
        assert_eq!(config["enable_rate_limit_response_headers"], true);
        bench.write("sys/quotas/config", &json!({"rate_limit_exempt_paths": []})).unwrap();
        assert_eq!(bench.read("sys/quotas/config").unwrap()["rate_limit_exempt_paths"], json!([]));
        let audit = json!({"enable_rate_limit_audit_logging": true});
        assert_eq!(code(bench.write("sys/quotas/config", &audit)), ErrorCode::InvalidRequest);
    }
}
