//! One block of the configuration: each key is taken once, and what nobody took is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use conclave_hcl::{Body, Item, Value};

use super::source::Source;
use super::{ConfigError, Place};

/// A block of the configuration, or all of its files together. Which keys it knows is what its
/// reader asked for.
pub(super) struct Section {
    at: String,
    start: Place,
    values: BTreeMap<String, Vec<Given>>,
    /// Where each key stands, also once it was taken.
    places: BTreeMap<String, Place>,
    known: BTreeSet<String>,
}

/// A value and where its key stands. A key that is given twice has two.
struct Given {
    value: Value,
    place: Place,
}

impl Section {
    /// All texts as one block: scalars and single blocks of a later one replace those of earlier
    /// ones, blocks that may be repeated add up.
    pub(super) fn root(texts: Vec<(Arc<Source>, Body)>, start: Place) -> Self {
        let mut root = Self::empty(String::new(), start);
        for (source, body) in texts {
            root.add(&source, body);
        }
        root
    }

    fn empty(at: String, start: Place) -> Self {
        let (values, places, known) = Default::default();
        Self { at, start, values, places, known }
    }

    /// `a "b" { … }` counts as `a { b { … } }`.
    fn add(&mut self, source: &Arc<Source>, body: Body) {
        for Item { mut keys, value, position } in body.items {
            let inner = keys.split_off(1);
            let Some(first) = keys.pop() else { continue };
            let value = match inner.first().map(|key| key.position) {
                None => value,
                Some(position) => {
                    Value::Object(Body { items: vec![Item { keys: inner, value, position }] })
                }
            };
            let place = Place::new(source, position);
            self.places.insert(first.text.clone(), place.clone());
            self.values.entry(first.text).or_default().push(Given { value, place });
        }
    }

    /// The whole dotted path of `key`; of the section itself for an empty one.
    pub(super) fn key(&self, key: &str) -> String {
        match (self.at.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.at.clone(),
            (false, false) => format!("{}.{key}", self.at),
        }
    }

    /// Where `key` stands; where the section begins for one that is not there.
    pub(super) fn place(&self, key: &str) -> Place {
        self.places.get(key).unwrap_or(&self.start).clone()
    }

    pub(super) fn wrong(&self, key: &str, expected: impl Into<String>) -> ConfigError {
        ConfigError::Wrong { place: self.place(key), key: self.key(key), expected: expected.into() }
    }

    /// A key that must be there is not, or is there with a slip of the pen.
    pub(super) fn missing(&self, key: &str, expected: &'static str) -> ConfigError {
        let is_slip =
            |other: &str, given: &Given| given.place.is_strict() && nearest(other, [key]).is_some();
        match self.left_over().find(|(other, given)| is_slip(other, given)) {
            Some((other, given)) => ConfigError::Unknown {
                place: given.place.clone(),
                key: self.key(other),
                nearest: Some(key.to_owned()),
            },
            None => {
                ConfigError::Missing { place: self.start.clone(), key: self.key(key), expected }
            }
        }
    }

    pub(super) fn unsupported(&self, key: &str, reason: &'static str) -> ConfigError {
        ConfigError::Unsupported { place: self.place(key), key: self.key(key), reason }
    }

    /// Everything that is given for `key`.
    fn take_all(&mut self, key: &str) -> Vec<Given> {
        self.known.insert(key.to_owned());
        self.values.remove(key).unwrap_or_default()
    }

    /// The one value of `key`. An empty string, and so JSON's `null`, is as good as absent.
    fn take(&mut self, key: &str) -> Result<Option<Value>, ConfigError> {
        let mut given = self.take_all(key);
        let Some(last) = given.pop() else { return Ok(None) };
        if let Some(first) = given.iter().find(|first| first.place.is_beside(&last.place))
            && last.place.is_strict()
        {
            return Err(ConfigError::Twice {
                place: last.place.clone(),
                key: self.key(key),
                first: first.place.clone(),
            });
        }
        Ok(Some(last.value).filter(|value| value.as_str() != Some("")))
    }

    pub(super) fn string(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.take(key)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a string")),
        }
    }

    /// A path; a relative one counts from the directory of its file.
    pub(super) fn path(&mut self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        let text = self.string(key)?;
        Ok(text.map(|text| self.place(key).base().join(text)))
    }

    /// A boolean, in quotes or not.
    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.take(key)? else { return Ok(None) };
        match as_boolean(&value) {
            Some(flag) => Ok(Some(flag)),
            None => Err(self.wrong(key, "true or false")),
        }
    }

    /// A whole number in `range`, in quotes or not.
    pub(super) fn integer(
        &mut self,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.take(key)? else { return Ok(None) };
        let number = match &value {
            Value::Number(number) => number.as_i64().and_then(|number| number.try_into().ok()),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self
                .wrong(key, format!("a whole number from {} to {}", range.start(), range.end()))),
        }
    }

    /// A duration: a number of seconds, or a string like `90s`, `500ms`, `1h30m`.
    pub(super) fn duration(&mut self, key: &str) -> Result<Option<Duration>, ConfigError> {
        let Some(value) = self.take(key)? else { return Ok(None) };
        let duration = match &value {
            Value::Number(number) => {
                number.as_i64().and_then(|seconds| seconds.try_into().ok()).map(Duration::from_secs)
            }
            Value::String(text) => parse_duration(text.trim()),
            _ => None,
        };
        match duration.filter(|duration| !duration.is_zero()) {
            Some(duration) => Ok(Some(duration)),
            None => Err(self.wrong(key, "a duration like \"90s\", \"500ms\", \"2m\" or \"1h\"")),
        }
    }

    /// A block that is there at most once; of a later text it replaces that of an earlier one.
    pub(super) fn section(&mut self, key: &str) -> Result<Option<Self>, ConfigError> {
        self.keep_latest(key);
        let mut found = self.sections(key)?;
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(self.wrong(key, "one object")),
        }
    }

    /// Forgets what earlier texts than the last one say of `key`.
    pub(super) fn keep_latest(&mut self, key: &str) {
        let Some(given) = self.values.get_mut(key) else { return };
        let Some(last) = given.last().map(|last| last.place.clone()) else { return };
        given.retain(|one| one.place.is_beside(&last));
    }

    /// Any number of blocks, or a list of them.
    pub(super) fn sections(&mut self, key: &str) -> Result<Vec<Self>, ConfigError> {
        let given = self.take_all(key);
        self.objects(key, given)
    }

    /// A block whose keys somebody else knows. A number is its text, so that octal digits stay.
    pub(super) fn values(
        &mut self,
        key: &str,
    ) -> Result<BTreeMap<String, serde_json::Value>, ConfigError> {
        let mut values = BTreeMap::new();
        for section in self.sections(key)? {
            for (name, mut given) in section.values {
                values.extend(given.pop().map(|given| (name, into_json(given.value))));
            }
        }
        Ok(values)
    }

    /// Whether one of these keys is there.
    pub(super) fn has_any(&mut self, keys: &[&str]) -> bool {
        self.known.extend(keys.iter().map(|key| (*key).to_owned()));
        keys.iter().any(|key| self.values.contains_key(*key))
    }

    /// Its keys as labels of blocks.
    pub(super) fn into_labelled(mut self) -> Result<Vec<(String, Self)>, ConfigError> {
        let mut blocks = Vec::new();
        for (label, given) in std::mem::take(&mut self.values) {
            let inner = self.objects(&label, given)?;
            blocks.extend(inner.into_iter().map(|section| (label.clone(), section)));
        }
        Ok(blocks)
    }

    /// Blocks with a label, `listener "tcp" { … }`, and each of the shapes that they have in JSON:
    /// `{"tcp": {…}}`, `{"tcp": [{…}, {…}]}` and `[{"tcp": {…}}, …]`.
    pub(super) fn labelled(&mut self, key: &str) -> Result<Vec<(String, Self)>, ConfigError> {
        let mut blocks = Vec::new();
        for outer in self.sections(key)? {
            blocks.extend(outer.into_labelled()?);
        }
        Ok(blocks)
    }

    /// Each of `given` is an object or a list of objects.
    fn objects(&self, key: &str, given: Vec<Given>) -> Result<Vec<Self>, ConfigError> {
        let mut bodies = Vec::new();
        for Given { value, place } in given {
            match value {
                Value::Object(body) => bodies.push((body, place)),
                Value::List(elements) => {
                    for element in elements {
                        let place = Place::new(place.source(), element.position);
                        let Value::Object(body) = element.value else {
                            return Err(self.wrong(key, OBJECTS));
                        };
                        bodies.push((body, place));
                    }
                }
                Value::String(text) if text.is_empty() => {}
                _ => return Err(self.wrong(key, OBJECTS)),
            }
        }
        let numbered = bodies.len() > 1;
        let sections = bodies.into_iter().enumerate().map(|(number, (body, place))| {
            let at = self.key(key);
            let at = if numbered { format!("{at}[{number}]") } else { at };
            let source = Arc::clone(place.source());
            let mut section = Self::empty(at, place);
            section.add(&source, body);
            section
        });
        Ok(sections.collect())
    }

    /// Accepts a key that has no effect here. Where it asks for something, and `why` says why that
    /// matters, the operator is told.
    pub(super) fn ignore(&mut self, key: &str, why: Option<&str>, warnings: &mut Vec<String>) {
        let given = self.take_all(key);
        let asks = |given: &Given| {
            given.value.as_str() != Some("") && as_boolean(&given.value) != Some(false)
        };
        if let (Some(why), true) = (why, given.iter().any(asks)) {
            warnings.push(format!("`{}` has no effect: {why}", self.key(key)));
        }
    }

    /// What nobody took, in the order of the text.
    fn left_over(&self) -> impl Iterator<Item = (&str, &Given)> {
        let mut left: Vec<_> = self
            .values
            .iter()
            .filter_map(|(key, given)| Some((key.as_str(), given.first()?)))
            .collect();
        left.sort_by_key(|(_, given)| given.place.position());
        left.into_iter()
    }

    /// Refuses the first key that nobody took; of a lenient text it warns about each.
    pub(super) fn finish(self, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
        for (key, given) in self.left_over() {
            let nearest = nearest(key, self.known.iter().map(String::as_str));
            let key = self.key(key);
            if given.place.is_strict() {
                let nearest = nearest.map(str::to_owned);
                return Err(ConfigError::Unknown { place: given.place.clone(), key, nearest });
            }
            warnings.push(match nearest {
                Some(nearest) => {
                    format!("unknown key `{key}` is ignored; did you mean `{nearest}`?")
                }
                None => format!("unknown key `{key}` is ignored"),
            });
        }
        Ok(())
    }
}

fn as_boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn into_json(value: Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.into(),
        Value::Number(number) => number.as_str().into(),
        Value::Bool(flag) => flag.into(),
        Value::List(elements) => elements.into_iter().map(|one| into_json(one.value)).collect(),
        Value::Object(_) => serde_json::json!({}),
    }
}

/// The name that is most like `key`, if one is.
fn nearest<'a>(key: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = |name: &&str| strsim::jaro_winkler(key, name) > LIKENESS_MIN;
    let likeness = |name: &&str| (strsim::jaro_winkler(key, name) * 1e6) as u32;
    names.into_iter().filter(close).max_by_key(likeness)
}

/// Numbers with units, the greatest first, as `1h30m`; a number alone counts seconds.
fn parse_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut sum = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..unit_at].parse().ok()?;
        let after = &rest[unit_at..];
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let part = match &after[..end] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            "d" => Duration::from_secs(number.checked_mul(86_400)?),
            _ => return None,
        };
        sum = sum.checked_add(part)?;
        rest = &after[end..];
    }
    (!text.is_empty()).then_some(sum)
}

const OBJECTS: &str = "an object or an array of objects";
/// `adress` and `address` are 0.96 alike, `node_name` and `node_id` 0.88, `ui` and `api_addr` 0.
const LIKENESS_MIN: f64 = 0.87;
