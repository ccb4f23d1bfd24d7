//! One object of the configuration: each key is taken once, what is left over is warned about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::ConfigError;

/// An object of the configuration and where it stands.
pub(super) struct Section {
    at: String,
    values: Map<String, Value>,
    base: PathBuf,
}

impl Section {
    pub(super) fn root(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| ConfigError::Syntax { line: error.line(), column: error.column() })?;
        match value {
            Value::Object(values) => Ok(Self { at: String::new(), values, base: base.to_owned() }),
            _ => Err(ConfigError::Wrong {
                key: "(the whole file)".to_owned(),
                expected: "an object: {\"listener\": …, \"storage\": …}".to_owned(),
            }),
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

    pub(super) fn wrong(&self, key: &str, expected: impl Into<String>) -> ConfigError {
        ConfigError::Wrong { key: self.key(key), expected: expected.into() }
    }

    /// Takes a key; `null` is as good as absent.
    fn take(&mut self, key: &str) -> Option<Value> {
        self.values.remove(key).filter(|value| !value.is_null())
    }

    pub(super) fn string(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a string that is not empty")),
        }
    }

    /// A path; a relative one counts from the configuration's directory.
    pub(super) fn path(&mut self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        Ok(self.string(key)?.map(|text| self.base.join(text)))
    }

    /// A boolean; Vault's files often quote them.
    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" => Ok(Some(false)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// A whole number in `range`; Vault's files often quote them.
    pub(super) fn integer(
        &mut self,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self
                .wrong(key, format!("a whole number from {} to {}", range.start(), range.end()))),
        }
    }

    /// A duration: a number of seconds, or a string like `90s`, `500ms`, `2m`, `1h`.
    pub(super) fn duration(&mut self, key: &str) -> Result<Option<Duration>, ConfigError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let duration = match &value {
            Value::Number(number) => number.as_u64().map(Duration::from_secs),
            Value::String(text) => parse_duration(text),
            _ => None,
        };
        match duration.filter(|duration| !duration.is_zero()) {
            Some(duration) => Ok(Some(duration)),
            None => Err(self.wrong(key, "a duration like \"90s\", \"500ms\", \"2m\" or \"1h\"")),
        }
    }

    /// An object below this one; an array of one object is as good.
    pub(super) fn section(&mut self, key: &str) -> Result<Option<Self>, ConfigError> {
        let mut found = self.sections(key)?;
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(self.wrong(key, "one object")),
        }
    }

    /// Any number of objects below this one: an object, or an array of them.
    pub(super) fn sections(&mut self, key: &str) -> Result<Vec<Self>, ConfigError> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(value) => self.objects(key, value),
        }
    }

    /// An object whose keys somebody else knows.
    pub(super) fn values(&mut self, key: &str) -> Result<BTreeMap<String, Value>, ConfigError> {
        let mut values = BTreeMap::new();
        for section in self.sections(key)? {
            values.extend(section.values);
        }
        Ok(values)
    }

    /// Whether one of these keys is there.
    pub(super) fn has_any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.values.contains_key(*key))
    }

    /// Its keys as labels of blocks.
    pub(super) fn into_labelled(self) -> Result<Vec<(String, Self)>, ConfigError> {
        let mut blocks = Vec::new();
        for (label, value) in self.values.clone() {
            let inner = self.objects(&label, value)?;
            blocks.extend(inner.into_iter().map(|section| (label.clone(), section)));
        }
        Ok(blocks)
    }

    /// Blocks with a label, in each of the shapes that HCL turned into JSON has:
    /// `{"tcp": {…}}`, `{"tcp": [{…}, {…}]}` and `[{"tcp": {…}}, …]`.
    pub(super) fn labelled(&mut self, key: &str) -> Result<Vec<(String, Self)>, ConfigError> {
        let mut blocks = Vec::new();
        for mut outer in self.sections(key)? {
            for (label, value) in std::mem::take(&mut outer.values) {
                let inner = outer.objects(&label, value)?;
                blocks.extend(inner.into_iter().map(|section| (label.clone(), section)));
            }
        }
        Ok(blocks)
    }

    fn objects(&self, key: &str, value: Value) -> Result<Vec<Self>, ConfigError> {
        let (list, numbered) = match value {
            Value::Array(list) => (list, true),
            other => (vec![other], false),
        };
        let numbered = numbered && list.len() > 1;
        let mut sections = Vec::new();
        for (number, value) in list.into_iter().enumerate() {
            let Value::Object(values) = value else {
                return Err(self.wrong(key, "an object or an array of objects"));
            };
            let at = self.key(key);
            let at = if numbered { format!("{at}[{number}]") } else { at };
            sections.push(Self { at, values, base: self.base.clone() });
        }
        Ok(sections)
    }

    /// Warns about every key that nobody took.
    pub(super) fn finish(self, warnings: &mut Vec<String>) {
        for key in self.values.keys() {
            warnings.push(format!("unknown key `{}` is ignored", self.key(key)));
        }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}
