//! Seconds as people read them: `768h`, `1h30m`, `45s`.

use serde_json::Value;

/// Hours, minutes and seconds; parts that are nought are left out behind the first.
pub(crate) fn in_words(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    if hours > 0 {
        text += &format!("{hours}h");
    }
    if minutes > 0 {
        text += &format!("{minutes}m");
    }
    if rest > 0 || text.is_empty() {
        text += &format!("{rest}s");
    }
    text
}

/// Whether the field's name says that its number is a time in seconds.
pub(crate) fn is_named_so(field: &str) -> bool {
    let ends = ["period", "ttl", "duration"];
    let is = |end: &str| {
        field.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    };
    ends.into_iter().any(is) || ["lease_max", "ttl_max"].contains(&field)
}

/// The field's value in words if it is a time.
pub(crate) fn of_field(field: &str, value: &Value) -> Option<String> {
    value.as_u64().filter(|_| is_named_so(field)).map(in_words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_short() {
        for (seconds, text) in [
            (0, "0s"),
            (45, "45s"),
            (60, "1m"),
            (90, "1m30s"),
            (3600, "1h"),
            (3601, "1h1s"),
            (5400, "1h30m"),
            (2_764_800, "768h"),
        ] {
            assert_eq!(in_words(seconds), text);
        }
    }

    #[test]
    fn only_fields_that_hold_times_are_changed() {
        for field in ["ttl", "token_ttl", "creation_ttl", "period", "lease_duration", "ttl_max"] {
            assert_eq!(of_field(field, &json!(60)).as_deref(), Some("1m"), "{field}");
        }
        assert_eq!(of_field("subttl", &json!(60)), None);
        assert_eq!(of_field("num_uses", &json!(60)), None);
        assert_eq!(of_field("ttl", &json!("60")), None);
    }
}
