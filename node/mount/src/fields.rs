//! Field types as lenient as clients expect (numbers as strings, comma-separated lists), and no
//! more than that: whatever does not say one thing clearly is refused, `null` included.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{EngineError, Request, duration::parse_duration};

/// A whole number that is not negative: `3` or `"3"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole(pub u64);

/// `true`, `false`, or either as a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag(pub bool);

/// Seconds as a number, or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationMs(pub u64);

/// `[1, "2"]`, `"1,2"` or `1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WholeList(pub Vec<u64>);

/// `["a", "b"]` or `"a,b"`; spaces around a name and empty names fall away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextList(pub Vec<String>);

/// An object of texts, whose values may be written as numbers and booleans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextMap(pub BTreeMap<String, String>);

/// A `T` written as a JSON object: derived structs alone would take an array as well.
#[derive(Debug, Default)]
pub struct Object<T>(pub T);

/// For optional fields that may be absent but not `null`; goes with `default`.
///
/// # Errors
/// Whatever `T` finds wrong.
pub fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// The whole number in the query parameter `name`.
///
/// # Errors
/// `InvalidRequest`, naming the parameter.
pub fn query_whole(request: &Request, name: &str) -> Result<Option<u64>, EngineError> {
    let Some(text) = request.query.get(name) else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(EngineError::invalid(format!("'{name}' must be a whole number"))),
    }
}

impl<'de> Deserialize<'de> for TextMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values: BTreeMap<String, Value> = BTreeMap::deserialize(deserializer)?;
        let text = |value: Value| match value {
            Value::String(text) => Ok(text),
            Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
            _ => Err(D::Error::custom("a value is no text, number or boolean")),
        };
        let pairs = values.into_iter().map(|(key, value)| Ok((key, text(value)?)));
        Ok(Self(pairs.collect::<Result<_, _>>()?))
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor).map(Whole)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WHOLE)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        text.parse().map_err(|_| E::custom("not a whole number"))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FlagVisitor).map(Flag)
    }
}

struct FlagVisitor;

impl Visitor<'_> for FlagVisitor {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FLAG)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<bool, E> {
        Ok(flag)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        text.parse().map_err(|_| E::custom("neither true nor false"))
    }
}

impl<'de> Deserialize<'de> for DurationMs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DurationVisitor).map(DurationMs)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DURATION)
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<u64, E> {
        seconds.checked_mul(1000).ok_or_else(|| E::custom("too long"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        parse_duration(text).ok_or_else(|| E::custom("not a duration"))
    }
}

impl<'de> Deserialize<'de> for WholeList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeListVisitor).map(WholeList)
    }
}

struct WholeListVisitor;

impl<'de> Visitor<'de> for WholeListVisitor {
    type Value = Vec<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WHOLE_LIST)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Vec<u64>, E> {
        Ok(vec![number])
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u64>, E> {
        let parse = |part: &str| part.trim().parse().map_err(|_| E::custom("not a whole number"));
        text.split(',').filter(|part| !part.trim().is_empty()).map(parse).collect()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u64>, A::Error> {
        let mut numbers = Vec::new();
        while let Some(Whole(number)) = seq.next_element()? {
            numbers.push(number);
        }
        Ok(numbers)
    }
}

impl<'de> Deserialize<'de> for TextList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextListVisitor).map(TextList)
    }
}

struct TextListVisitor;

impl<'de> Visitor<'de> for TextListVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TEXT_LIST)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<String>, E> {
        Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Into::into).collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = seq.next_element::<String>()? {
            let text = text.trim();
            if !text.is_empty() {
                texts.push(text.to_owned());
            }
        }
        Ok(texts)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Object)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

// What the types above expect, by which [`crate::BodyFields`] tells them apart.
pub(crate) const WHOLE: &str = "a whole number";
pub(crate) const FLAG: &str = "true or false";
pub(crate) const DURATION: &str = "seconds or a duration such as 1h30m";
pub(crate) const WHOLE_LIST: &str = "a list of whole numbers";
pub(crate) const TEXT_LIST: &str = "a list of strings";

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn numbers_may_be_strings_but_nothing_else() {
        assert_eq!(read("3"), Some(Whole(3)));
        assert_eq!(read("\"3\""), Some(Whole(3)));
        for text in ["null", "-1", "1.0", "1e3", "true", "[]", "{}", "\"\"", "\"x\"", "1e99"] {
            assert_eq!(read::<Whole>(text), None, "{text}");
        }
    }

    #[test]
    fn lists_may_be_comma_separated() {
        for text in ["[1,\"2\"]", "\"1,2\"", "\" 1 , 2 \"", "\"1,2,\""] {
            assert_eq!(read(text), Some(WholeList(vec![1, 2])), "{text}");
        }
        for text in ["null", "[null]", "[[1]]", "\"1;2\"", "{}", "-1"] {
            assert_eq!(read::<WholeList>(text), None, "{text}");
        }
    }

    #[test]
    fn texts_may_be_comma_separated() {
        let two = Some(TextList(vec!["a".into(), "b".into()]));
        for text in ["[\"a\",\" b \"]", "\"a,b\"", "\" a , b ,\"", "[\"a\",\"\",\"b\"]"] {
            assert_eq!(read::<TextList>(text), two, "{text}");
        }
        for text in ["1", "[1]", "[[\"a\"]]", "{}", "true"] {
            assert_eq!(read::<TextList>(text), None, "{text}");
        }
    }

    #[test]
    fn an_array_is_no_object() {
        #[derive(Debug, Deserialize)]
        struct Pair {
            #[serde(default)]
            left: u64,
        }
        assert_eq!(read::<Object<Pair>>("{\"left\":1}").map(|pair| pair.0.left), Some(1));
        assert!(read::<Object<Pair>>("[1]").is_none());
    }

    #[test]
    fn flags_and_durations() {
        assert_eq!(read("\"true\""), Some(Flag(true)));
        assert_eq!(read::<Flag>("1"), None);
        assert_eq!(read("\"1m\""), Some(DurationMs(60_000)));
        assert_eq!(read("30"), Some(DurationMs(30_000)));
        assert_eq!(read::<DurationMs>("18446744073709551615"), None);
    }
}
