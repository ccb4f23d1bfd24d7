//! Numbers as they were written.

/// A number, exactly as it was written: `12`, `-0x1F`, `0755` (octal), `1.50`, `2e9`.
#[derive(Clone, PartialEq, Eq)]
pub struct Number {
    text: String,
}

impl Number {
    /// Wraps a text that the grammar took for a number.
    pub(crate) fn new(text: String) -> Self {
        Self { text }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole number, if it is one that fits. `1.0` and `1e3` are none.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        let digits = self.text.strip_prefix('-');
        let magnitude = magnitude(digits.unwrap_or(&self.text))?;
        match digits {
            Some(_) => 0_i64.checked_sub_unsigned(magnitude),
            None => i64::try_from(magnitude).ok(),
        }
    }

    /// The nearest double; `None` where it would be infinite, and for hexadecimal and octal numbers
    /// that [`Number::as_i64`] cannot hold.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "the nearest double is what is asked for")]
        if let Some(whole) = self.as_i64() {
            return Some(whole as f64);
        }
        let digits = self.text.trim_start_matches('-');
        let is_octal = digits.starts_with('0') && !digits.contains(['.', 'e', 'E']);
        if is_octal {
            return None;
        }
        self.text.parse().ok().filter(|number: &f64| number.is_finite())
    }
}

/// A number in a configuration may be a secret, too: a PIN.
impl std::fmt::Debug for Number {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a number")
    }
}

fn magnitude(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u64::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    }
}
