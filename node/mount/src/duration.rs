//! Durations as clients write and read them.

/// A duration as Go prints it: `0s`, `1h30m0s`, `1.5s`.
pub fn format_duration(ms: u64) -> String {
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let (seconds, fraction) = (ms / 1000 % 60, ms % 1000);
    let mut text = String::new();
    if hours > 0 {
        text.push_str(&format!("{hours}h"));
    }
    if hours > 0 || minutes > 0 {
        text.push_str(&format!("{minutes}m"));
    }
    text.push_str(&seconds.to_string());
    if fraction > 0 {
        text.push_str(format!(".{fraction:03}").trim_end_matches('0'));
    }
    text.push('s');
    text
}

/// Milliseconds of `90`, `90s`, `1h30m` or `7d`; whole numbers without a unit are seconds.
pub fn parse_duration(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<u64>() {
        return seconds.checked_mul(1000);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let amount: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        total = total.checked_add(amount.checked_mul(unit_ms(&rest[..letters])?)?)?;
        rest = &rest[letters..];
    }
    (!text.is_empty()).then_some(total)
}

fn unit_ms(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_go_prints_them() {
        let cases =
            [(0, "0s"), (1500, "1.5s"), (61_000, "1m1s"), (12_319_000, "3h25m19s"), (5, "0.005s")];
        for (ms, text) in cases {
            assert_eq!(format_duration(ms), text);
        }
    }

    #[test]
    fn durations_without_a_meaning_are_refused() {
        for text in ["", "h", "1x", "-1s", "1.5h", "1h 2m", "99999999999999999999", "1é"] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
        assert_eq!(parse_duration("7d"), Some(604_800_000));
        assert_eq!(parse_duration("90"), Some(90_000));
    }

    #[test]
    fn whole_seconds_come_back() {
        for seconds in [0, 1, 59, 60, 3599, 3600, 86_400, 1_000_000_007] {
            assert_eq!(parse_duration(&format_duration(seconds * 1000)), Some(seconds * 1000));
        }
    }
}
