//! Times as clients read them.

use jiff::Timestamp;

/// `ms` since the Unix epoch as RFC 3339 in UTC; empty for 0, which stands for "never".
pub fn format_time(ms: u64) -> String {
    if ms == 0 {
        return String::new();
    }
    i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(format_time(0), "");
        assert_eq!(format_time(1_521_685_466_945), "2018-03-22T02:24:26.945Z");
        assert_eq!(format_time(1_521_685_466_000), "2018-03-22T02:24:26Z");
        assert!(format_time(u64::MAX).starts_with("9999-12-30"));
    }
}
