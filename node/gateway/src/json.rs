//! A bounded look at a JSON body before anything else sees it: it is one object, not too deep, not
//! too many values, no key twice. Nothing is kept.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::refusal::Refusal;

/// The deepest nesting of arrays and objects.
pub(crate) const DEPTH_MAX: usize = 64;

/// The most keys and values in one body, over all levels. Audit hashes each.
pub(crate) const VALUES_MAX: usize = 20_000;

/// Checks that `body` is empty or one JSON object within the bounds. The refusal names a place,
/// never what stood there.
pub(crate) fn check_object(body: &[u8]) -> Result<(), Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Err(Refusal::invalid("failed to parse JSON input: the body must be a JSON object"));
    }
    let mut scan = Scan { values: 0, fault: None };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let outcome = ValueSeed { scan: &mut scan, depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    outcome.map_err(|error| match scan.fault {
        Some(fault) => Refusal::invalid(format!("failed to parse JSON input: {fault}")),
        None => conclave_core::Error::from_json(&error).into(),
    })
}

struct Scan {
    values: usize,
    fault: Option<&'static str>,
}

impl Scan {
    fn fail<E: de::Error>(&mut self, fault: &'static str) -> E {
        self.fault = Some(fault);
        E::custom(fault)
    }

    fn count<E: de::Error>(&mut self) -> Result<(), E> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(self.fail("it holds too many values; send fewer at once"));
        }
        Ok(())
    }
}

struct ValueSeed<'s> {
    scan: &'s mut Scan,
    depth: usize,
}

impl ValueSeed<'_> {
    fn enter<E: de::Error>(&mut self) -> Result<(), E> {
        if self.depth >= DEPTH_MAX {
            return Err(self.scan.fail("it is nested too deeply; flatten it"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.scan.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<(), A::Error> {
        self.enter()?;
        let depth = self.depth + 1;
        while access.next_element_seed(ValueSeed { scan: &mut *self.scan, depth })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<(), A::Error> {
        self.enter()?;
        let depth = self.depth + 1;
        let mut keys = BTreeSet::new();
        while let Some(key) = access.next_key::<Key<'de>>()? {
            self.scan.count()?;
            if !keys.insert(key.0) {
                return Err(self.scan.fail("a key stands twice in one object; send it once"));
            }
            access.next_value_seed(ValueSeed { scan: &mut *self.scan, depth })?;
        }
        Ok(())
    }
}

/// A key, borrowed from the body where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &[u8]) -> String {
        check_object(body).expect_err("it is refused").message
    }

    #[test]
    fn objects_within_bounds_pass() {
        for body in ["", "  ", "{}", r#"{"a":[1,-2,3.5e7,"\u00e9",null,true,{"b":{}}]}"#] {
            assert!(check_object(body.as_bytes()).is_ok(), "{body}");
        }
        let many = format!("{{\"a\":[{}]}}", vec!["1"; VALUES_MAX - 3].join(","));
        assert!(check_object(many.as_bytes()).is_ok());
        let deep = format!("{}1{}", "{\"a\":".repeat(DEPTH_MAX), "}".repeat(DEPTH_MAX));
        assert!(check_object(deep.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["[]", "1", "null", "\"a\"", "a=b&c=d"] {
            assert!(refused(body.as_bytes()).contains("must be a JSON object"), "{body}");
        }
        for body in ["{", "{}{}", "{\"a\"}", "{\"a\":1e999}", "{'a':1}", "{\"a\":\"\u{1}\"}"] {
            assert!(refused(body.as_bytes()).contains("column"), "{body}");
        }
        assert!(refused(b"{\"a\":\"\xff\"}").contains("not valid JSON"));
    }

    #[test]
    fn row_049_deep_wide_and_doubled_json_is_refused() {
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(refused(deep.as_bytes()).contains("nested too deeply"));
        let objects = "{\"a\":".repeat(100_000);
        assert!(refused(objects.as_bytes()).contains("nested too deeply"));
        let wide = (0..1_000_000).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(",");
        assert!(refused(format!("{{{wide}}}").as_bytes()).contains("too many values"));
        assert!(refused(b"{\"a\":1,\"a\":2}").contains("twice"));
        assert!(refused(br#"{"a":1,"\u0061":2}"#).contains("twice"));
        assert!(refused(br#"{"d":{"a":1,"a":2}}"#).contains("twice"));
        let number = format!("{{\"a\":{}}}", "9".repeat(10 << 20));
        assert!(refused(number.as_bytes()).contains("column"));
    }

    /// What this thread has run so far, whatever else the machine does meanwhile.
    #[cfg(target_os = "linux")]
    fn cpu_ns() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn row_049_hostile_json_costs_less_than_100_ms() {
        let keys = (0..1_000_000).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(",");
        let bodies = [
            format!("{{\"a\":{}", "[".repeat(100_000)),
            "{\"a\":".repeat(100_000),
            format!("{{{keys}}}"),
            format!("{{\"a\":{}}}", "9".repeat(10 << 20)),
            format!("{{\"a\":[{}]}}", vec!["\"\\u0061\""; 1_000_000].join(",")),
        ];
        for body in bodies {
            let before = cpu_ns();
            refused(body.as_bytes());
            let spent_ms = (cpu_ns() - before) / 1_000_000;
            assert!(spent_ms < 100, "{spent_ms} ms for {:?}…", &body[..16]);
        }
    }

    #[test]
    fn row_071_a_refusal_never_quotes_the_body() {
        for body in ["{\"p\":\"canary", "{\"p\":canary}", "{\"canary\":1,\"canary\":2}", "canary"] {
            assert!(!refused(body.as_bytes()).contains("canary"), "{body}");
        }
    }
}
