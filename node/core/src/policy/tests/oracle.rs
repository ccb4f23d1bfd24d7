//! The model: what the documentation says about policies, written down once more, naively.
//!
//! It knows nothing of the compiled matcher, of patterns or of grants, and shares no code with them.
//! A policy is a list of stanzas, a path is text, and every question looks at every stanza.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// `path "…" { … }`.
#[derive(Debug, Clone, Default)]
pub(super) struct Stanza {
    /// Which of the policies it stands in.
    pub(super) policy: usize,
    pub(super) path: String,
    pub(super) words: Vec<&'static str>,
    pub(super) allowed: Vec<(String, Vec<Value>)>,
    pub(super) denied: Vec<(String, Vec<Value>)>,
    pub(super) required: Vec<String>,
    pub(super) wrap_min_s: Option<u64>,
    pub(super) wrap_max_s: Option<u64>,
    pub(super) page_max: Option<u64>,
}

/// A request.
#[derive(Debug, Clone, Default)]
pub(super) struct Ask {
    pub(super) path: String,
    pub(super) word: &'static str,
    pub(super) protected: bool,
    pub(super) sent: Option<Map<String, Value>>,
    pub(super) wrap_s: Option<u64>,
    pub(super) limit: Option<Value>,
}

/// What the model says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ruling {
    pub(super) allowed: bool,
    pub(super) sudo: bool,
    /// The path of the stanzas that decided.
    pub(super) path: Option<String>,
    /// How many names a LIST shows, where that is not what was asked for.
    pub(super) page: Option<u64>,
    /// What the outcome hung on.
    pub(super) hung_on: &'static str,
    /// By which rule the deciding path was preferred to the next best.
    pub(super) preferred_by: &'static str,
}

/// Looks at everything.
pub(super) fn rule(stanzas: &[Stanza], ask: &Ask) -> Ruling {
    let lists = ask.word == "list" || ask.word == "scan";
    let Some((path, preferred_by)) = deciding_path(stanzas, &ask.path, lists) else {
        return Ruling {
            allowed: false,
            sudo: false,
            path: None,
            page: None,
            hung_on: "no rule",
            preferred_by: "no rule",
        };
    };
    let of_path: Vec<&Stanza> = stanzas.iter().filter(|s| s.path == path).collect();
    let denied = of_path.iter().any(|s| s.words.contains(&"deny"));
    let has = |word: &str| !denied && of_path.iter().any(|s| s.words.contains(&word));
    let (allowed, hung_on, page) = match () {
        () if denied => (false, "deny", None),
        () if !has(ask.word) => (false, "capability", None),
        () if ask.protected && !has("sudo") => (false, "sudo", None),
        () => conditions(&of_path, ask, lists),
    };
    Ruling { allowed, sudo: has("sudo"), path: Some(path), page, hung_on, preferred_by }
}

fn conditions(stanzas: &[&Stanza], ask: &Ask, lists: bool) -> (bool, &'static str, Option<u64>) {
    let least = |of: fn(&Stanza) -> Option<u64>| stanzas.iter().filter_map(|s| of(s)).min();
    let (min, max) = (least(|s| s.wrap_min_s), least(|s| s.wrap_max_s));
    if min.is_some() || max.is_some() {
        let wrapped =
            ask.wrap_s.is_some_and(|ttl| ttl >= min.unwrap_or(0) && ttl <= max.unwrap_or(u64::MAX));
        if !wrapped {
            return (false, "wrapping", None);
        }
    }
    let required: BTreeSet<String> =
        stanzas.iter().flat_map(|s| &s.required).map(|name| name.to_lowercase()).collect();
    if lists {
        let most = least(|s| s.page_max);
        return match (most, &ask.limit) {
            (None, Some(limit)) if limit == "max" => (true, "given", Some(0)),
            (None, _) => (true, "given", None),
            (Some(_), None) if required.contains("limit") => (false, "required", None),
            (Some(most), None) => (true, "paging", Some(most)),
            (Some(most), Some(limit)) if limit == "max" => (true, "paging", Some(most)),
            (Some(most), Some(limit)) => {
                let number = match limit {
                    Value::String(text) => text.parse::<i128>().ok(),
                    Value::Number(number) => number.to_string().parse::<i128>().ok(),
                    _ => None,
                };
                let fits = number.is_some_and(|number| number > 0 && number <= i128::from(most));
                (fits, if fits { "given" } else { "paging" }, None)
            }
        };
    }
    if ask.word == "delete" {
        return (true, "given", None);
    }
    let empty = Map::new();
    let sent = ask.sent.as_ref().unwrap_or(&empty);
    if required.iter().any(|name| !sent.contains_key(name)) {
        return (false, "required", None);
    }
    let denied: Vec<_> = stanzas.iter().flat_map(|s| &s.denied).collect();
    let allowed: Vec<_> = stanzas.iter().flat_map(|s| &s.allowed).collect();
    if !sent.is_empty() && denied.iter().any(|(name, _)| name == "*") {
        return (false, "denied", None);
    }
    for (name, value) in sent {
        if values_for(&denied, name)
            .is_some_and(|values| values.is_empty() || hits(value, &values, true))
        {
            return (false, "denied", None);
        }
    }
    for (name, value) in sent {
        let fits = match values_for(&allowed, name) {
            Some(values) => values.is_empty() || hits(value, &values, false),
            None => allowed.is_empty() || allowed.iter().any(|(name, _)| name == "*"),
        };
        if !fits {
            return (false, "allowed", None);
        }
    }
    (true, "given", None)
}

/// All values listed for a name, none where one of the lists is empty and so stands for any value.
fn values_for(rules: &[&(String, Vec<Value>)], name: &str) -> Option<Vec<Value>> {
    let lists: Vec<&Vec<Value>> = rules
        .iter()
        .filter(|(known, _)| known != "*" && known.to_lowercase() == name.to_lowercase())
        .map(|(_, values)| values)
        .collect();
    if lists.is_empty() {
        None
    } else if lists.iter().any(|list| list.is_empty()) {
        Some(Vec::new())
    } else {
        Some(lists.into_iter().flatten().cloned().collect())
    }
}

/// Whether a value is listed, or a part of it (`one`), or every part of it.
fn hits(value: &Value, listed: &[Value], one: bool) -> bool {
    let is_listed = |value: &Value| {
        listed.iter().any(|known| match (known, value) {
            (Value::String(glob), Value::String(text)) => text_fits(glob, text),
            _ => known == value,
        })
    };
    let split = |text: &str| -> Vec<Value> {
        text.split(',').map(|part| Value::from(part.trim())).collect()
    };
    if is_listed(value) {
        return true;
    }
    match value {
        Value::Array(parts) if one => parts.iter().any(|part| {
            is_listed(part) || part.as_str().is_some_and(|text| split(text).iter().any(is_listed))
        }),
        Value::Array(parts) => !parts.is_empty() && parts.iter().all(is_listed),
        Value::String(text) if one => split(text).iter().any(is_listed),
        Value::String(text) => text.contains(',') && split(text).iter().all(is_listed),
        _ => false,
    }
}

fn text_fits(glob: &str, text: &str) -> bool {
    if glob.chars().count() < 2 {
        return glob == text;
    }
    let body = glob.trim_start_matches('*').trim_end_matches('*');
    match (glob.starts_with('*'), glob.ends_with('*')) {
        (true, true) => text.contains(body),
        (true, false) => text.ends_with(body),
        (false, true) => text.starts_with(body),
        (false, false) => text == glob,
    }
}

/// The path that decides, and why it and not the next best one.
fn deciding_path(stanzas: &[Stanza], path: &str, lists: bool) -> Option<(String, &'static str)> {
    let bare = path.strip_suffix('/').unwrap_or(path);
    let spellings = if lists { vec![bare, path] } else { vec![path] };
    let denies = |path: &str| stanzas.iter().any(|s| s.path == path && s.words.contains(&"deny"));
    let exact: Vec<&str> = spellings
        .iter()
        .rev()
        .copied()
        .filter(|spelling| is_exact(spelling) && stanzas.iter().any(|s| s.path == *spelling))
        .collect();
    if let Some(found) = exact.iter().find(|path| denies(path)).or(exact.first()) {
        return Some(((*found).to_string(), "exact"));
    }
    let best: Vec<(String, &'static str)> =
        spellings.iter().filter_map(|spelling| best_wildcard(stanzas, spelling)).collect();
    best.iter().find(|(path, _)| denies(path)).or(best.first()).cloned()
}

fn best_wildcard(stanzas: &[Stanza], path: &str) -> Option<(String, &'static str)> {
    let matching: BTreeSet<&str> = stanzas
        .iter()
        .map(|stanza| stanza.path.as_str())
        .filter(|pattern| !is_exact(pattern) && fits(pattern, path))
        .collect();
    let mut matching: Vec<&str> = matching.into_iter().collect();
    matching.sort_by(|a, b| order(a, b).0);
    let best = matching.pop()?;
    let why = match matching.pop() {
        Some(next) => order(next, best).1,
        None => "only one",
    };
    Some((best.to_string(), why))
}

fn has_plus_segment(pattern: &str) -> bool {
    pattern == "+" || pattern.starts_with("+/") || pattern.contains("/+")
}

fn is_exact(pattern: &str) -> bool {
    !pattern.ends_with('*') && !has_plus_segment(pattern)
}

fn fits(pattern: &str, path: &str) -> bool {
    let open = pattern.ends_with('*');
    let pattern = pattern.strip_suffix('*').unwrap_or(pattern);
    if !has_plus_segment(pattern) {
        return if open { path.starts_with(pattern) } else { path == pattern };
    }
    let wanted: Vec<&str> = pattern.split('/').collect();
    let given: Vec<&str> = path.split('/').collect();
    if given.len() < wanted.len() || (!open && given.len() != wanted.len()) {
        return false;
    }
    wanted.iter().enumerate().all(|(at, want)| {
        let last = at + 1 == wanted.len();
        *want == "+" || *want == given[at] || (open && last && given[at].starts_with(want))
    })
}

/// The five rules: `Less` where `a` has the lower priority, and which of them said so.
fn order(a: &str, b: &str) -> (Ordering, &'static str) {
    let body = |pattern: &str| pattern.strip_suffix('*').unwrap_or(pattern).to_string();
    let first = |pattern: &str| {
        let body = body(pattern);
        if has_plus_segment(&body) { body.find('+').unwrap() } else { body.len() }
    };
    let plus = |pattern: &str| body(pattern).split('/').filter(|segment| *segment == "+").count();
    let plus_in = |pattern: &str| if has_plus_segment(pattern) { plus(pattern) } else { 0 };
    if first(a) != first(b) {
        return (first(a).cmp(&first(b)), "first wildcard");
    }
    match (a.ends_with('*'), b.ends_with('*')) {
        (true, false) => return (Ordering::Less, "glob"),
        (false, true) => return (Ordering::Greater, "glob"),
        _ => {}
    }
    if plus_in(a) != plus_in(b) {
        return (plus_in(b).cmp(&plus_in(a)), "segments");
    }
    if body(a).len() != body(b).len() {
        return (body(a).len().cmp(&body(b).len()), "length");
    }
    (body(a).cmp(&body(b)), "text")
}
