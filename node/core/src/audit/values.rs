//! Bodies without their values.
//!
//! ```text
//! {"a": 1, "b": ["x", null]}  →  {"a": "hmac-sha256:…", "b": ["hmac-sha256:…", null]}
//! ```
//!
//! A number is hashed as its shortest decimal text, a boolean as `true` or `false`, a string as its
//! UTF-8 bytes: what a person types into `sys/audit-hash` finds all three. What is no JSON, too deep
//! or has too many values becomes one hash of its bytes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::HashKey;
use super::object::write_text;

/// The deepest nesting that is written value by value. The doors let no deeper body in.
const DEPTH_MAX: usize = 66;

/// The most values of one body that are hashed one by one.
const VALUES_MAX: usize = 20_000;

/// How one body is written.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) key: &'a HashKey,
    /// Top-level fields whose scalars stay readable, and the elements of their arrays. Objects
    /// inside are hidden all the same.
    pub(super) readable: &'a [String],
    /// A list's names and their details become counts.
    pub(super) count_lists: bool,
    /// Everything stays readable.
    pub(super) raw: bool,
}

/// How a body was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Value by value.
    Values,
    /// As one hash, because of this.
    Whole(&'static str),
}

/// Writes a body, of which nothing else is known.
pub(super) fn write_body(body: &[u8], rules: Rules<'_>, out: &mut Vec<u8>) -> Form {
    let start = out.len();
    let mut state = State { out, rules, values: 0, fault: None };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let outcome = Value { state: &mut state, depth: 0, readable: rules.raw }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    let fault = state.fault.unwrap_or("not JSON");
    if outcome.is_ok() {
        return Form::Values;
    }
    out.truncate(start);
    write_whole(body, rules.key, out);
    Form::Whole(fault)
}

/// Writes an object with one hash of the whole body, so that `data` is an object in every line.
pub(super) fn write_whole(body: &[u8], key: &HashKey, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"body\":");
    key.write(body, out);
    out.push(b'}');
}

struct State<'s> {
    out: &'s mut Vec<u8>,
    rules: Rules<'s>,
    values: usize,
    fault: Option<&'static str>,
}

impl State<'_> {
    fn scalar<E: de::Error>(&mut self, text: &[u8], readable: bool) -> Result<(), E> {
        match readable {
            true => self.out.extend_from_slice(text),
            false => self.rules.key.write(text, self.out),
        }
        self.count()
    }

    fn count<E: de::Error>(&mut self) -> Result<(), E> {
        self.values += 1;
        if self.values > VALUES_MAX { Err(self.fail("too many values")) } else { Ok(()) }
    }

    fn fail<E: de::Error>(&mut self, fault: &'static str) -> E {
        self.fault = Some(fault);
        E::custom(fault)
    }
}

struct Value<'v, 's> {
    state: &'v mut State<'s>,
    depth: usize,
    readable: bool,
}

impl Value<'_, '_> {
    fn deeper<E: de::Error>(&mut self) -> Result<usize, E> {
        if self.depth >= DEPTH_MAX {
            return Err(self.state.fail("nested too deeply"));
        }
        self.state.count()?;
        Ok(self.depth + 1)
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.state.scalar(if value { b"true" } else { b"false" }, self.readable)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.state.scalar(value.to_string().as_bytes(), self.readable)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.state.scalar(value.to_string().as_bytes(), self.readable)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        let text = serde_json::Number::from_f64(value).map(|number| number.to_string());
        self.state.scalar(text.unwrap_or_else(|| "null".into()).as_bytes(), self.readable)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        if self.readable {
            write_text(value, self.state.out);
            return self.state.count();
        }
        self.state.scalar(value.as_bytes(), false)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.state.scalar(b"null", true)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        self.state.out.push(b'[');
        let mut empty = true;
        loop {
            let at = self.state.out.len();
            if !empty {
                self.state.out.push(b',');
            }
            let element = Value { state: &mut *self.state, depth, readable: self.readable };
            if access.next_element_seed(element)?.is_none() {
                self.state.out.truncate(at);
                break;
            }
            empty = false;
        }
        self.state.out.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        self.state.out.push(b'{');
        let mut empty = true;
        while let Some(Name(name)) = access.next_key()? {
            if !std::mem::take(&mut empty) {
                self.state.out.push(b',');
            }
            write_text(&name, self.state.out);
            self.state.out.push(b':');
            let rules = self.state.rules;
            let top = depth == 1;
            if top && rules.count_lists && LISTED.contains(&&*name) {
                access.next_value_seed(Counted(self.state))?;
                continue;
            }
            let readable = rules.raw || (top && rules.readable.iter().any(|key| *key == *name));
            access.next_value_seed(Value { state: &mut *self.state, depth, readable })?;
        }
        self.state.out.push(b'}');
        Ok(())
    }
}

/// Writes how many elements or fields there are; a scalar is written as elsewhere.
struct Counted<'v, 's>(&'v mut State<'s>);

impl<'de> DeserializeSeed<'de> for Counted<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let mut count = 0_u64;
        while access.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        self.0.scalar(count.to_string().as_bytes(), true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let mut count = 0_u64;
        while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            count += 1;
        }
        self.0.scalar(count.to_string().as_bytes(), true)
    }
}

/// A name of a field, borrowed where it holds no escapes.
struct Name<'n>(Cow<'n, str>);

impl<'de> de::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

/// Where an answer to LIST has its names, and what is told of each.
const LISTED: [&str; 2] = ["keys", "key_info"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::testing::{hashed, key};

    fn written(body: &str, change: impl FnOnce(&mut Rules<'_>)) -> (String, Form) {
        let key = key();
        let mut rules = Rules { key: &key, readable: &[], count_lists: false, raw: false };
        change(&mut rules);
        let mut out = Vec::new();
        let form = write_body(body.as_bytes(), rules, &mut out);
        (String::from_utf8(out).unwrap(), form)
    }

    #[test]
    fn every_scalar_is_hidden_and_every_name_is_readable() {
        let body = r#"{"s":"x","n":-5,"f":1.50,"b":true,"z":null,"o":{"i":[1,[2],{}],"é\"":""}}"#;
        let h = hashed;
        assert_eq!(
            written(body, |_| ()),
            (
                format!(
                    r#"{{"s":{},"n":{},"f":{},"b":{},"z":null,"o":{{"i":[{},[{}],{{}}],"é\"":{}}}}}"#,
                    h("x"),
                    h("-5"),
                    h("1.5"),
                    h("true"),
                    h("1"),
                    h("2"),
                    h("")
                ),
                Form::Values
            )
        );
    }

    #[test]
    fn named_fields_stay_readable_at_the_top_only() {
        let readable = ["a".to_owned()];
        let body = r#"{"a":["x",1,{"a":"y"}],"b":{"a":"z"}}"#;
        let key = key();
        let rules = Rules { key: &key, readable: &readable, count_lists: false, raw: false };
        let mut out = Vec::new();
        write_body(body.as_bytes(), rules, &mut out);
        let expected =
            format!(r#"{{"a":["x",1,{{"a":{}}}],"b":{{"a":{}}}}}"#, hashed("y"), hashed("z"));
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn lists_become_counts() {
        let body = r#"{"keys":["a","b"],"key_info":{"a":{}},"o":{"keys":["c"]}}"#;
        let expected = format!(r#"{{"keys":2,"key_info":1,"o":{{"keys":[{}]}}}}"#, hashed("c"));
        assert_eq!(written(body, |rules| rules.count_lists = true).0, expected);
    }

    #[test]
    fn row_049_what_is_deep_long_or_no_json_is_one_hash() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let many = format!("[{}1]", "1,".repeat(VALUES_MAX));
        let long_number = format!("{{\"n\":{}}}", "9".repeat(1 << 20));
        for (body, fault) in [
            (deep.as_str(), "nested too deeply"),
            (&many, "too many values"),
            (&long_number, "not JSON"),
            ("{\"password\":\"hunter2\"", "not JSON"),
            ("hunter2", "not JSON"),
            ("{} {}", "not JSON"),
            ("\u{0}", "not JSON"),
        ] {
            let (text, form) = written(body, |_| ());
            assert_eq!(form, Form::Whole(fault), "{}", &body[..body.len().min(40)]);
            assert_eq!(text, format!("{{\"body\":{}}}", hashed(body)));
            assert_eq!(written(body, |rules| rules.raw = true).0, text, "raw hides it, too");
        }
    }

    proptest! {
        #[test]
        fn row_055_any_bytes_yield_one_json_value_without_the_strings(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            secret in "[a-z]{12}",
        ) {
            let key = key();
            let rules = Rules { key: &key, readable: &[], count_lists: true, raw: false };
            let mut bytes = body;
            bytes.extend_from_slice(secret.as_bytes());
            for body in [bytes, format!("{{\"keys\":\"{secret}\",\"a\":[\"{secret}\"]}}").into_bytes()] {
                let mut out = Vec::new();
                write_body(&body, rules, &mut out);
                let text = String::from_utf8(out).unwrap();
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
                prop_assert!(!text.contains(&secret));
            }
        }
    }
}
