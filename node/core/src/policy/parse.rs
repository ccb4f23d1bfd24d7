//! The text of a policy, HCL or JSON.
//!
//! Everything that is not understood is an error, a key written twice among it: a rule that says
//! something other than its author thinks must not be stored.

use conclave_hcl::{Body, Element, Item, Value};
use conclave_mount::parse_duration;

use super::capability::Capability;
use super::grant::Grant;
use super::list_filter::ListFilter;
use super::parameters::ParameterRules;
use super::pattern::Pattern;
use super::template::Template;
use super::written::{Policy, Position, ROOT, RULES_MAX, Rule, RulePath};

/// The deepest value in a list of parameters.
const VALUE_DEPTH_MAX: usize = 32;

/// What a rule may say.
const RULE_KEYS: [&str; 11] = [
    "comment",
    "policy",
    "capabilities",
    "allowed_parameters",
    "denied_parameters",
    "required_parameters",
    "min_wrapping_ttl",
    "max_wrapping_ttl",
    "pagination_limit",
    "expiration",
    "list_scan_response_keys_filter_path",
];

/// What is wrong with a policy. It repeats parts of the policy's text, which is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse policy: {message}")]
pub(crate) struct PolicyError {
    message: String,
}

type Result<T> = std::result::Result<T, PolicyError>;

impl Policy {
    /// Parses the text that is to be stored as `name`. A `name` in the text says nothing.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self> {
        if name == ROOT {
            return Err(error("the policy 'root' has no text; choose another name"));
        }
        let body = conclave_hcl::parse(text).map_err(|wrong| error(wrong.to_string()))?;
        known_keys(&body.items.iter().collect::<Vec<_>>(), &["name", "path"])?;
        let mut rules = Vec::new();
        for item in &body.items {
            match item.keys[0].text.as_str() {
                "path" => {
                    for stanza in stanzas(item)? {
                        rules.push(rule(&stanza)?);
                    }
                }
                _ => drop(string(item)?),
            }
        }
        if rules.len() > RULES_MAX {
            return Err(error(format!("it has more than {RULES_MAX} rules; split it")));
        }
        Ok(Self { name: name.into(), rules })
    }
}

/// `path "a" { … }`, and what it is in JSON.
struct Stanza<'a> {
    path: &'a str,
    position: Position,
    body: &'a Body,
}

/// The rules in one `path`: one in HCL, one for each member of the object in JSON, where objects may
/// stand in lists, too.
fn stanzas(item: &Item) -> Result<Vec<Stanza<'_>>> {
    match (item.keys.as_slice(), &item.value) {
        ([_, path], value) => {
            let body = |body| Stanza { path: &path.text, position: place(item), body };
            Ok(objects(value, place(item))?.into_iter().map(body).collect())
        }
        ([_], value) => {
            let mut found = Vec::new();
            for body in objects(value, place(item))? {
                for member in &body.items {
                    let [path] = member.keys.as_slice() else {
                        return Err(error_at("a path has one name", place(member)));
                    };
                    for body in objects(&member.value, place(member))? {
                        found.push(Stanza { path: &path.text, position: place(member), body });
                    }
                }
            }
            Ok(found)
        }
        _ => Err(error_at("a path has one name; write path \"NAME\" { … }", place(item))),
    }
}

fn objects(value: &Value, position: Position) -> Result<Vec<&Body>> {
    let wrong = || error_at("a path has a block; write path \"NAME\" { … }", position);
    match value {
        Value::Object(body) => Ok(vec![body]),
        Value::List(elements) => elements
            .iter()
            .map(|element| match &element.value {
                Value::Object(body) => Ok(body),
                _ => Err(wrong()),
            })
            .collect(),
        _ => Err(wrong()),
    }
}

fn rule(stanza: &Stanza<'_>) -> Result<Rule> {
    let (path, position) = (stanza.path, stanza.position);
    let within = |wrong: PolicyError| error(format!("path {path:?}: {}", wrong.message));
    let fields: Vec<&Item> = stanza.body.items.iter().collect();
    known_keys(&fields, &RULE_KEYS).map_err(within)?;
    let rule_path = match Template::new(path).map_err(|wrong| within(error_at(wrong, position)))? {
        Some(template) => RulePath::Template(template),
        None => {
            let pattern = Pattern::new(path).map_err(|wrong| within(error_at(wrong, position)))?;
            RulePath::Plain(pattern)
        }
    };
    let mut draft = Draft::default();
    for field in fields {
        draft.take(field).map_err(within)?;
    }
    let (grant, deny_hides_others) = draft.finish(position).map_err(within)?;
    let expires_ms = draft.expires_ms;
    Ok(Rule { path: rule_path, position, grant, deny_hides_others, expires_ms })
}

/// A rule while it is read.
#[derive(Default)]
struct Draft {
    words: Vec<Capability>,
    grant: Grant,
    expires_ms: Option<u64>,
}

impl Draft {
    fn take(&mut self, field: &Item) -> Result<()> {
        let grant = &mut self.grant;
        match field.keys[0].text.as_str() {
            "policy" => self.words.extend(old_style(field)?),
            "capabilities" => {
                for (word, position) in strings(field)? {
                    let capability = Capability::from_name(word);
                    self.words.push(capability.ok_or_else(|| {
                        error_at(format!("invalid capability {word:?}"), position)
                    })?);
                }
            }
            "allowed_parameters" => grant.allowed = parameters(field)?,
            "denied_parameters" => grant.denied = parameters(field)?,
            "required_parameters" => {
                strings(field)?.into_iter().for_each(|(name, _)| grant.require(name));
            }
            "min_wrapping_ttl" => grant.wrap_ttl_ms_min = duration_ms(field)?,
            "max_wrapping_ttl" => grant.wrap_ttl_ms_max = duration_ms(field)?,
            "pagination_limit" => grant.page_max = whole(field)?,
            "expiration" => self.expires_ms = Some(time_ms(field)?),
            "list_scan_response_keys_filter_path" => {
                let filter = ListFilter::new(string(field)?);
                grant.list_filter = Some(filter.map_err(|wrong| wrong_field(field, wrong))?);
            }
            _ => drop(string(field)?),
        }
        Ok(())
    }

    /// The grant, and whether `deny` stood beside others. One that denies has no conditions.
    fn finish(&mut self, position: Position) -> Result<(Grant, bool)> {
        let denies = self.words.contains(&Capability::Deny);
        let hides = denies && self.words.iter().any(|word| *word != Capability::Deny);
        let mut grant = std::mem::take(&mut self.grant);
        grant.capabilities = self.words.drain(..).collect();
        if let (Some(min), Some(max)) = (grant.wrap_ttl_ms_min, grant.wrap_ttl_ms_max)
            && max < min
        {
            let rule = "max_wrapping_ttl cannot be less than min_wrapping_ttl";
            return Err(error_at(rule, position));
        }
        if denies {
            return Ok((Grant::deny(), hides));
        }
        if grant.list_filter.is_some() && !grant.capabilities.contains(Capability::List) {
            let rule = "list_scan_response_keys_filter_path needs to be used on a path with the \
                        list capability";
            return Err(error_at(rule, position));
        }
        Ok((grant, false))
    }
}

/// What `policy = "…"` stood for before there were capabilities.
fn old_style(field: &Item) -> Result<Vec<Capability>> {
    use Capability::{Create, Delete, Deny, List, Read, Sudo, Update};
    Ok(match string(field)? {
        "deny" => vec![Deny],
        "read" => vec![Read, List],
        "write" => vec![Create, Read, Update, Delete, List],
        "sudo" => vec![Create, Read, Update, Delete, List, Sudo],
        other => return Err(error_at(format!("invalid policy {other:?}"), place(field))),
    })
}

/// `{ NAME = [VALUE, …] }`; several such blocks add up.
fn parameters(field: &Item) -> Result<ParameterRules> {
    let expected = "expected a block of lists; write { \"NAME\" = [] } to mean any value";
    let bodies = objects(&field.value, place(field)).map_err(|_| wrong_field(field, expected))?;
    let mut rules = ParameterRules::default();
    for item in bodies.iter().flat_map(|body| &body.items) {
        let ([name], Value::List(elements)) = (item.keys.as_slice(), &item.value) else {
            return Err(wrong_field(item, expected));
        };
        let values = elements.iter().map(|element| json(element, VALUE_DEPTH_MAX));
        rules.add(&name.text, &values.collect::<Result<Vec<_>>>()?);
    }
    Ok(rules)
}

fn json(element: &Element, depth: usize) -> Result<serde_json::Value> {
    let position = Position::from(element.position);
    if depth == 0 {
        return Err(error_at("a value is nested too deeply; flatten it", position));
    }
    json_value(&element.value, position, depth)
}

fn json_value(value: &Value, position: Position, depth: usize) -> Result<serde_json::Value> {
    Ok(match value {
        Value::String(text) => text.as_str().into(),
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => serde_json::Value::Number(
            serde_json::from_str(number.as_str())
                .map_err(|_| error_at("a number is out of range; write it as text", position))?,
        ),
        Value::List(elements) => {
            elements.iter().map(|element| json(element, depth - 1)).collect::<Result<_>>()?
        }
        Value::Object(body) => {
            let mut map = serde_json::Map::new();
            for item in &body.items {
                let [key] = item.keys.as_slice() else {
                    return Err(error_at("a value's key has one name", place(item)));
                };
                if depth == 1 {
                    return Err(error_at("a value is nested too deeply; flatten it", place(item)));
                }
                map.insert(key.text.clone(), json_value(&item.value, place(item), depth - 1)?);
            }
            map.into()
        }
    })
}

fn string(field: &Item) -> Result<&str> {
    match (&field.value, field.keys.as_slice()) {
        (Value::String(text), [_]) => Ok(text),
        _ => Err(wrong_field(field, "expected a string")),
    }
}

fn strings(field: &Item) -> Result<Vec<(&str, Position)>> {
    let wrong = || wrong_field(field, "expected a list of strings");
    let (Value::List(elements), [_]) = (&field.value, field.keys.as_slice()) else {
        return Err(wrong());
    };
    elements
        .iter()
        .map(|element| match &element.value {
            Value::String(text) => Ok((text.as_str(), element.position.into())),
            _ => Err(wrong()),
        })
        .collect()
}

/// A whole number; `None` for 0, which sets no limit.
fn whole(field: &Item) -> Result<Option<u64>> {
    let text = match (&field.value, field.keys.as_slice()) {
        (Value::Number(number), [_]) => number.as_str(),
        (Value::String(text), [_]) => text,
        _ => "",
    };
    let number: u64 = text
        .parse()
        .map_err(|_| wrong_field(field, "expected a whole number that is not negative"))?;
    Ok((number > 0).then_some(number))
}

/// Seconds, or a duration such as `1h30m`; `None` for 0, which sets no bound.
fn duration_ms(field: &Item) -> Result<Option<u64>> {
    let text = match (&field.value, field.keys.as_slice()) {
        (Value::Number(number), [_]) => number.as_str(),
        (Value::String(text), [_]) => text,
        _ => "",
    };
    let expected = "expected seconds or a duration such as \"1h30m\"";
    let ms = parse_duration(text).ok_or_else(|| wrong_field(field, expected))?;
    Ok((ms > 0).then_some(ms))
}

/// RFC 3339, or seconds since the epoch.
fn time_ms(field: &Item) -> Result<u64> {
    let seconds = match (&field.value, field.keys.as_slice()) {
        (Value::Number(number), [_]) => number.as_str().parse::<u64>().ok(),
        (Value::String(text), [_]) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => return Ok(u64::try_from(time.as_millisecond()).unwrap_or_default()),
            Err(_) => text.parse().ok(),
        },
        _ => None,
    };
    let expected = "invalid expiration time; write it like \"2030-01-02T15:04:05Z\"";
    seconds
        .and_then(|seconds| seconds.checked_mul(1000))
        .ok_or_else(|| error_at(expected, place(field)))
}

/// Refuses keys that are unknown or written twice, all of them at once.
fn known_keys(items: &[&Item], known: &[&str]) -> Result<()> {
    let mut wrong = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let key = item.keys[0].text.as_str();
        if !known.contains(&key) {
            wrong.push(error_at(format!("invalid key {key:?}"), place(item)).message);
        } else if key != "path" && items[..at].iter().any(|other| other.keys[0].text == key) {
            wrong.push(error_at(format!("duplicate key {key:?}"), place(item)).message);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(error(wrong.join("; "))) }
}

fn place(item: &Item) -> Position {
    item.keys.first().map_or(item.position, |key| key.position).into()
}

fn wrong_field(field: &Item, what: impl std::fmt::Display) -> PolicyError {
    error_at(format!("{}: {what}", field.keys[0].text), place(field))
}

fn error_at(what: impl std::fmt::Display, position: Position) -> PolicyError {
    error(format!("{what} on line {}, column {}", position.line, position.column))
}

fn error(message: impl Into<String>) -> PolicyError {
    PolicyError { message: message.into() }
}

impl From<conclave_hcl::Position> for Position {
    fn from(position: conclave_hcl::Position) -> Self {
        Self { line: position.line, column: position.column }
    }
}
