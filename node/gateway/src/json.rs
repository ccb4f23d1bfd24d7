//! A bounded look at a JSON body before anything else sees it: it is one object, not too deep, not
//! too many values, no key twice, no string too long. Nothing is kept.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::config::JsonLimits;
use crate::refusal::Refusal;

/// Checks that `body` is empty or one JSON object within the bounds. The refusal names a place,
/// never what stood there.
pub(crate) fn check_object(body: &[u8], limits: &JsonLimits) -> Result<(), Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Err(Refusal::invalid("failed to parse JSON input: the body must be a JSON object"));
    }
    let mut scan = Scan { limits, values: 0, strings: 0, memory_bytes: 0, fault: None };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let outcome = ValueSeed { scan: &mut scan, depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    outcome.map_err(|error| match scan.fault {
        Some(fault) => Refusal::invalid(format!("failed to parse JSON input: {fault}")),
        None => conclave_core::Error::from_json(&error).into(),
    })
}

struct Scan<'l> {
    limits: &'l JsonLimits,
    values: usize,
    strings: usize,
    memory_bytes: usize,
    fault: Option<&'static str>,
}

impl Scan<'_> {
    fn fail<E: de::Error>(&mut self, fault: &'static str) -> E {
        self.fault = Some(fault);
        E::custom(fault)
    }

    /// Counts a key or value.
    fn count<E: de::Error>(&mut self) -> Result<(), E> {
        self.values += 1;
        if self.values > self.limits.values_max {
            return Err(self.fail("it holds too many values; send fewer at once"));
        }
        self.weigh(VALUE_BYTES)
    }

    /// Counts the text of a key or value.
    fn count_text<E: de::Error>(&mut self, text: &str) -> Result<(), E> {
        if text.len() > self.limits.string_bytes_max {
            return Err(self.fail("it holds a string that is too long; send shorter ones"));
        }
        self.strings += 1;
        if self.strings > self.limits.strings_max {
            return Err(self.fail("it holds too many strings; send fewer at once"));
        }
        self.weigh(text.len())
    }

    fn weigh<E: de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.memory_bytes = self.memory_bytes.saturating_add(bytes);
        if self.memory_bytes > self.limits.memory_bytes_max {
            return Err(self.fail("it takes too much memory; send less at once"));
        }
        Ok(())
    }
}

struct ValueSeed<'s, 'l> {
    scan: &'s mut Scan<'l>,
    depth: usize,
}

impl ValueSeed<'_, '_> {
    fn enter<E: de::Error>(&mut self) -> Result<(), E> {
        if self.depth >= self.scan.limits.depth_max {
            return Err(self.scan.fail("it is nested too deeply; flatten it"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.scan.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
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

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.scan.count_text(text)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<(), A::Error> {
        self.enter()?;
        let Self { scan, depth } = self;
        let mut elements = 0;
        while access.next_element_seed(ValueSeed { scan: &mut *scan, depth: depth + 1 })?.is_some()
        {
            elements += 1;
            if elements > scan.limits.array_elements_max {
                return Err(scan.fail("an array has too many elements; send fewer at once"));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<(), A::Error> {
        self.enter()?;
        let Self { scan, depth } = self;
        let mut keys = BTreeSet::new();
        while let Some(Key(key)) = access.next_key::<Key<'de>>()? {
            scan.count()?;
            scan.count_text(&key)?;
            if keys.len() >= scan.limits.object_entries_max {
                return Err(scan.fail("an object has too many keys; send fewer at once"));
            }
            if !keys.insert(key) {
                return Err(scan.fail("a key stands twice in one object; send it once"));
            }
            access.next_value_seed(ValueSeed { scan: &mut *scan, depth: depth + 1 })?;
        }
        Ok(())
    }
}

/// A key, borrowed from the body where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

/// What a key or value takes in memory beside its text.
const VALUE_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{JSON_DEPTH_MAX, JSON_VALUES_MAX};

    fn check(body: &str) -> Result<(), Refusal> {
        check_object(body.as_bytes(), &JsonLimits::default())
    }

    fn refused(body: &[u8]) -> String {
        check_object(body, &JsonLimits::default()).expect_err("it is refused").message
    }

    #[test]
    fn objects_within_bounds_pass() {
        for body in ["", "  ", "{}", r#"{"a":[1,-2,3.5e7,"\u00e9",null,true,{"b":{}}]}"#] {
            assert!(check(body).is_ok(), "{body}");
        }
        // The object, two keys and two arrays are values as well.
        let half = vec!["1"; (JSON_VALUES_MAX - 5) / 2].join(",");
        assert!(check(&format!("{{\"a\":[{half}],\"b\":[{half}]}}")).is_ok());
        let deep = format!("{}1{}", "{\"a\":".repeat(JSON_DEPTH_MAX), "}".repeat(JSON_DEPTH_MAX));
        assert!(check(&deep).is_ok());
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
        assert!(check(&long).is_ok());
    }

    /// A name of a limit and a change to it, a body that just passes, one that does not, and why.
    type Case = (&'static str, fn(&mut JsonLimits), &'static str, &'static str, &'static str);

    #[test]
    fn each_limit_holds_at_its_edge() {
        let cases: [Case; 7] = [
            ("depth", |l| l.depth_max = 2, r#"{"a":[1]}"#, r#"{"a":[[]]}"#, "nested too deeply"),
            (
                "text",
                |l| l.string_bytes_max = 3,
                r#"{"abc":"d\u0065f"}"#,
                r#"{"a":"bcde"}"#,
                "too long",
            ),
            ("key", |l| l.string_bytes_max = 3, r#"{"abc":1}"#, r#"{"abcd":1}"#, "too long"),
            (
                "keys",
                |l| l.object_entries_max = 1,
                r#"{"a":{"b":1}}"#,
                r#"{"a":1,"b":1}"#,
                "too many keys",
            ),
            (
                "array",
                |l| l.array_elements_max = 2,
                r#"{"a":[1,2]}"#,
                r#"{"a":[1,2,3]}"#,
                "elements",
            ),
            (
                "strings",
                |l| l.strings_max = 2,
                r#"{"a":"b"}"#,
                r#"{"a":["b","c"]}"#,
                "many strings",
            ),
            ("memory", |l| l.memory_bytes_max = 76, r#"{"a":"bcd"}"#, r#"{"a":"bcde"}"#, "memory"),
        ];
        for (name, change, passes, fails, why) in cases {
            let mut limits = JsonLimits::default();
            change(&mut limits);
            assert!(check_object(passes.as_bytes(), &limits).is_ok(), "{name}");
            let refusal = check_object(fails.as_bytes(), &limits).expect_err(name);
            assert!(refusal.message.contains(why), "{name}: {}", refusal.message);
        }
    }

    #[test]
    fn row_049_no_listener_lifts_the_fixed_bounds() {
        let all = usize::MAX;
        let lax = JsonLimits {
            depth_max: all,
            string_bytes_max: all,
            object_entries_max: all,
            array_elements_max: all,
            values_max: all,
            strings_max: all,
            memory_bytes_max: all,
        };
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        let wide = format!("{{\"a\":[{}]}}", vec!["1"; JSON_VALUES_MAX].join(","));
        for (body, why) in [(deep, "nested too deeply"), (wide, "too many values")] {
            let refusal = check_object(body.as_bytes(), &lax.bounded()).expect_err(why);
            assert!(refusal.message.contains(why), "{}", refusal.message);
        }
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
        let long = format!("{{\"a\":[{}]}}", vec!["1"; 10_001].join(","));
        assert!(refused(long.as_bytes()).contains("too many elements"));
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
