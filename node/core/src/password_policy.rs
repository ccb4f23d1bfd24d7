//! What a generated password looks like, and generating one.
//!
//! ```text
//! length = 20
//! rule "charset" {
//!   charset   = "abcdefghijklmnopqrstuvwxyz"
//!   min-chars = 1
//! }
//! ```
//!
//! A password is drawn whole, each of its characters from all charsets together, until one keeps
//! every rule. So all passwords that keep the rules are equally likely, which they would not be if
//! each rule first put its own characters in. A policy that hardly any drawn password keeps, or that
//! leaves too few passwords, is refused when it is written: generating ends in bounded time.

use conclave_hcl::{Body, Item, Value};
use conclave_ports::Rng;
use zeroize::{Zeroize, Zeroizing};

use crate::{Error, ErrorCode};

const LENGTH_MIN: usize = 4;
const LENGTH_MAX: usize = 100;
const RULES_MAX: usize = 32;
const CHARSET_CHARS_MAX: usize = 4096;

/// The fewest passwords that a policy may leave, as a power of two.
const ENTROPY_BITS_MIN: f64 = 32.0;

/// How many are drawn to see how many keep the rules, and how many of those must.
const TRIALS: u32 = 2048;
const KEPT_MIN: u32 = 10;

/// Where [`KEPT_MIN`] of [`TRIALS`] keep the rules, so many fail about once in 10^34 times.
const ATTEMPTS_MAX: u32 = 16_384;

/// A policy, read and checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PasswordPolicy {
    length: usize,
    /// All charsets together: sorted, each once.
    chars: Vec<char>,
    /// For each character the rules that it counts for, as bits.
    rules: Vec<u32>,
    /// For each rule how many characters it asks for.
    minima: Vec<usize>,
}

/// What is wrong with a policy. It may repeat what stands in the text, which is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse password policy: {0}")]
pub(crate) struct PasswordPolicyError(String);

fn bad(message: impl Into<String>) -> PasswordPolicyError {
    PasswordPolicyError(message.into())
}

/// One rule as it is written.
struct Charset {
    chars: Vec<char>,
    min: usize,
}

impl PasswordPolicy {
    /// Reads HCL or JSON. Whatever is not understood is an error.
    pub(crate) fn parse(text: &str) -> Result<Self, PasswordPolicyError> {
        let body = conclave_hcl::parse(text).map_err(|error| bad(error.to_string()))?;
        let (mut length, mut charsets) = (None, Vec::new());
        for item in &body.items {
            match item.keys_text().as_slice() {
                ["length"] if length.is_none() => length = Some(whole(item, "length")?),
                ["rule", ..] => rules(item, &mut charsets)?,
                _ => return Err(not_understood(item)),
            }
        }
        let length =
            length.ok_or_else(|| bad("'length' is missing; write how long it is to be"))?;
        Self::new(length, charsets)
    }

    fn new(length: usize, charsets: Vec<Charset>) -> Result<Self, PasswordPolicyError> {
        if !(LENGTH_MIN..=LENGTH_MAX).contains(&length) {
            return Err(bad(format!("'length' must be from {LENGTH_MIN} to {LENGTH_MAX}")));
        }
        if charsets.is_empty() || charsets.len() > RULES_MAX {
            return Err(bad(format!("a policy has from 1 to {RULES_MAX} rules; write so many")));
        }
        let minima: Vec<usize> = charsets.iter().map(|charset| charset.min).collect();
        if minima.iter().any(|min| *min > length) {
            return Err(bad("a rule asks for more characters than the password has; lower it"));
        }
        let mut chars: Vec<char> =
            charsets.iter().flat_map(|set| set.chars.iter().copied()).collect();
        chars.sort_unstable();
        chars.dedup();
        let bits = |char: &char| {
            let counts = |set: &Charset| set.chars.binary_search(char).is_ok();
            (0..).zip(&charsets).fold(0, |bits, (at, set)| bits | (u32::from(counts(set)) << at))
        };
        let rules = chars.iter().map(bits).collect();
        Ok(Self { length, chars, rules, minima })
    }

    /// Whether passwords can be made by it in bounded time, and enough of them.
    pub(crate) fn check(&self, rng: &dyn Rng) -> Result<(), PasswordPolicyError> {
        let mut draws = Draws::new(rng, self.chars.len());
        let mut drawn = Vec::with_capacity(self.length);
        let keeps = |_: &u32| {
            self.draw(&mut draws, &mut drawn);
            self.keeps_rules(&drawn)
        };
        let kept = u32::try_from((0..TRIALS).filter(keeps).count()).unwrap_or(TRIALS);
        drawn.zeroize();
        if kept < KEPT_MIN {
            return Err(bad(
                "hardly any password keeps all rules; lower 'min-chars' or raise 'length'",
            ));
        }
        let bits = self.entropy_bits(f64::from(kept) / f64::from(TRIALS));
        if bits < ENTROPY_BITS_MIN {
            return Err(bad(format!(
                "there are only 2^{bits:.0} such passwords, and 2^{ENTROPY_BITS_MIN:.0} are the \
                 fewest; raise 'length' or allow more characters"
            )));
        }
        Ok(())
    }

    /// `log2` of how many passwords there are, of which this share keeps the rules.
    #[expect(clippy::cast_precision_loss, reason = "both figures are at most a few thousand")]
    fn entropy_bits(&self, kept: f64) -> f64 {
        (self.chars.len() as f64).log2() * self.length as f64 + kept.log2()
    }

    /// Makes a password.
    ///
    /// # Errors
    /// `Busy` in the case that never comes: none was found in bounded time.
    pub(crate) fn generate(&self, rng: &dyn Rng) -> Result<Zeroizing<String>, Error> {
        let mut draws = Draws::new(rng, self.chars.len());
        let mut drawn = Zeroizing::new(Vec::with_capacity(self.length));
        for _ in 0..ATTEMPTS_MAX {
            self.draw(&mut draws, &mut drawn);
            if self.keeps_rules(&drawn) {
                // Of its final size from the start: growing would leave copies behind.
                let mut password = Zeroizing::new(String::with_capacity(self.length * 4));
                drawn.iter().for_each(|at| password.push(self.chars[*at]));
                return Ok(password);
            }
        }
        Err(Error::new(ErrorCode::Busy, "no password was found that keeps all rules; try again"))
    }

    /// Draws a password as places in `chars`.
    fn draw(&self, draws: &mut Draws<'_>, drawn: &mut Vec<usize>) {
        drawn.clear();
        drawn.extend((0..self.length).map(|_| draws.next()));
    }

    fn keeps_rules(&self, drawn: &[usize]) -> bool {
        self.minima.iter().enumerate().all(|(rule, min)| {
            drawn.iter().filter(|at| self.rules[**at] & (1 << rule) != 0).count() >= *min
        })
    }
}

/// Uniform numbers below a bound. A random number of 16 bits that is above the last whole multiple
/// of the bound is thrown away: taking the rest of a division would favour the low ones.
struct Draws<'a> {
    rng: &'a dyn Rng,
    bound: u32,
    buffer: Zeroizing<[u8; 512]>,
    used: usize,
}

impl<'a> Draws<'a> {
    fn new(rng: &'a dyn Rng, bound: usize) -> Self {
        let bound = u32::try_from(bound).expect("charsets have few characters");
        Self { rng, bound, buffer: Zeroizing::new([0; 512]), used: 512 }
    }

    fn next(&mut self) -> usize {
        let limit = (1 << 16) / self.bound * self.bound;
        loop {
            if self.used == self.buffer.len() {
                self.rng.fill(&mut *self.buffer);
                self.used = 0;
            }
            let number = [self.buffer[self.used], self.buffer[self.used + 1]];
            self.used += 2;
            let number = u32::from(u16::from_be_bytes(number));
            if number < limit {
                return (number % self.bound) as usize;
            }
        }
    }
}

/// The rules of `rule "charset" {…}`, or of the same in JSON.
fn rules(item: &Item, charsets: &mut Vec<Charset>) -> Result<(), PasswordPolicyError> {
    match item.keys_text().as_slice() {
        [_, "charset"] => each(&item.value, &mut |body| {
            charsets.push(charset(body)?);
            Ok(())
        }),
        [_] => each(&item.value, &mut |body| {
            for inner in &body.items {
                if inner.keys_text() != ["charset"] {
                    return Err(not_understood(inner));
                }
                each(&inner.value, &mut |body| {
                    charsets.push(charset(body)?);
                    Ok(())
                })?;
            }
            Ok(())
        }),
        _ => Err(not_understood(item)),
    }
}

/// An object, or each of a list of them.
fn each(
    value: &Value,
    take: &mut dyn FnMut(&Body) -> Result<(), PasswordPolicyError>,
) -> Result<(), PasswordPolicyError> {
    if let Some(body) = value.as_object() {
        return take(body);
    }
    let list = value.as_list().ok_or_else(|| bad("a rule is a block; write it in braces"))?;
    for element in list {
        let body = element.value.as_object();
        take(body.ok_or_else(|| bad("a rule is a block; write it in braces"))?)?;
    }
    Ok(())
}

fn charset(body: &Body) -> Result<Charset, PasswordPolicyError> {
    let (mut chars, mut min) = (None, None);
    for item in &body.items {
        match item.keys_text().as_slice() {
            ["charset"] if chars.is_none() => {
                let text = item.value.as_str();
                chars = Some(text.ok_or_else(|| bad("'charset' must be a string"))?);
            }
            ["min-chars"] if min.is_none() => min = Some(whole(item, "min-chars")?),
            _ => return Err(not_understood(item)),
        }
    }
    let text = chars.ok_or_else(|| bad("a rule has no 'charset'; write its characters in it"))?;
    let mut chars: Vec<char> = text.chars().collect();
    let printable =
        |char: &char| !char.is_control() && crate::canonical::is_plain(&char.to_string());
    // A backslash is no part of a path, and of a password all the same.
    if chars.iter().any(|char| *char != '\\' && !printable(char)) {
        return Err(bad("a charset has a character that cannot be seen; leave it out"));
    }
    if chars.is_empty() || chars.len() > CHARSET_CHARS_MAX {
        return Err(bad(format!("a charset has from 1 to {CHARSET_CHARS_MAX} characters")));
    }
    chars.sort_unstable();
    chars.dedup();
    Ok(Charset { chars, min: min.unwrap_or_default() })
}

fn whole(item: &Item, name: &str) -> Result<usize, PasswordPolicyError> {
    let number = match &item.value {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64().and_then(|number| usize::try_from(number).ok()),
    };
    number.ok_or_else(|| bad(format!("'{name}' must be a whole number")))
}

fn not_understood(item: &Item) -> PasswordPolicyError {
    let (line, column) = (item.position.line, item.position.column);
    bad(format!(
        "{line}:{column}: {:?} is not understood here, or stands twice; remove it",
        item.keys_text().join(" ")
    ))
}

#[cfg(test)]
mod tests;
