//! Shamir's secret sharing, byte by byte.
//!
//! For each byte s of the secret a polynomial f of degree t − 1 over GF(2⁸) with f(0) = s and all
//! other coefficients uniform, zero included; a share is f(x) for one x of 1..=n (Shamir 1979).
//! Fewer than t shares fit every secret equally well, which a coefficient that is never zero would
//! break.
//!
//! ```text
//! share:  y for each byte of the secret │ x 1
//! ```
//!
//! The field is AES's, modulo x⁸ + x⁴ + x³ + x + 1. No table, branch or index depends on a secret.

use conclave_ports::Rng;
use zeroize::Zeroizing;

use crate::error::{SealError, invalid};

/// A share: `secret_len` bytes of y, then one byte of x.
pub type Share = Zeroizing<Vec<u8>>;

/// Splits `secret` into `shares`, any `threshold` of which give it back.
///
/// # Errors
/// `Invalid` unless 1 ≤ threshold ≤ shares and the secret has a byte; a threshold of 1 is for a
/// single share only, since several would be copies of the secret.
pub fn split(
    rng: &dyn Rng,
    secret: &[u8],
    shares: u8,
    threshold: u8,
) -> Result<Vec<Share>, SealError> {
    check_numbers(shares, threshold)?;
    if secret.is_empty() {
        return invalid("there is no secret to split");
    }
    // With room for x from the start: a buffer that grew would leave y behind.
    let share = || Zeroizing::new(Vec::with_capacity(secret.len() + 1));
    let mut split: Vec<Share> = (0..shares).map(|_| share()).collect();
    let mut coefficients = Zeroizing::new(vec![0; usize::from(threshold)]);
    for byte in secret {
        coefficients[0] = *byte;
        rng.fill(&mut coefficients[1..]);
        for (share, x) in split.iter_mut().zip(1..=shares) {
            share.push(evaluate(&coefficients, x));
        }
    }
    for (share, x) in split.iter_mut().zip(1..=shares) {
        share.push(x);
    }
    Ok(split)
}

/// Gives the secret that all of `shares` lie on, which is the one that was split if at least the
/// threshold of right shares is among them and no wrong one. Whether it is, a caller must check by
/// other means: any shares give some secret.
///
/// # Errors
/// `Invalid` for no shares, shares of different or too small a length, x = 0, or one x twice.
pub fn combine(shares: &[Share]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let shares: Vec<&[u8]> = shares.iter().map(|share| share.as_slice()).collect();
    combine_slices(&shares)
}

pub(crate) fn combine_slices(shares: &[&[u8]]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let xs = check_shares(shares)?;
    let mut secret = Zeroizing::new(vec![0; shares[0].len() - 1]);
    for (at, share) in shares.iter().enumerate() {
        let weight = weight_at_zero(&xs, at);
        for (byte, y) in secret.iter_mut().zip(*share) {
            *byte ^= multiply(*y, weight);
        }
    }
    Ok(secret)
}

pub(crate) fn check_numbers(shares: u8, threshold: u8) -> Result<(), SealError> {
    if shares == 0 || threshold == 0 {
        return invalid("shares and threshold are at least 1");
    }
    if threshold > shares {
        return invalid("the threshold cannot be above the number of shares; lower it");
    }
    if threshold == 1 && shares > 1 {
        return invalid("a threshold of 1 needs a single share, as all would be the key itself");
    }
    Ok(())
}

/// The x of each share.
fn check_shares(shares: &[&[u8]]) -> Result<Vec<u8>, SealError> {
    let Some(first) = shares.first() else {
        return invalid("there are no shares to combine");
    };
    if first.len() < 2 || shares.iter().any(|share| share.len() != first.len()) {
        return invalid("the shares have wrong or different lengths; give them as handed out");
    }
    let mut xs = Vec::with_capacity(shares.len());
    for share in shares {
        let x = share[share.len() - 1];
        if x == 0 {
            return invalid("a share is malformed; give it as handed out");
        }
        if xs.contains(&x) {
            return invalid("a share was given twice; give different ones");
        }
        xs.push(x);
    }
    Ok(xs)
}

/// `f(x) = c0 + c1·x + c2·x² + …`, by Horner's rule.
fn evaluate(coefficients: &[u8], x: u8) -> u8 {
    coefficients.iter().rev().fold(0, |sum, coefficient| multiply(sum, x) ^ coefficient)
}

/// Lagrange's basis at 0: `∏ xj / (xj − xi)` over all j ≠ i. The x are no secrets.
fn weight_at_zero(xs: &[u8], at: usize) -> u8 {
    let others = xs.iter().enumerate().filter(|(other, _)| *other != at);
    others.fold(1, |weight, (_, x)| multiply(weight, multiply(*x, invert(x ^ xs[at]))))
}

/// `a·b` in GF(2⁸): eight conditional additions, chosen by mask.
fn multiply(mut a: u8, b: u8) -> u8 {
    let mut product = 0;
    for bit in 0..8 {
        product ^= a & mask((b >> bit) & 1);
        a = (a << 1) ^ (0x1b & mask(a >> 7));
    }
    product
}

/// All ones for 1, all zeros for 0. `black_box` keeps the compiler from making it a branch again.
fn mask(bit: u8) -> u8 {
    std::hint::black_box(bit).wrapping_neg()
}

/// `a⁻¹ = a²⁵⁴` in GF(2⁸); 0 for 0.
fn invert(a: u8) -> u8 {
    // 254 = 0b1111_1110: the product of a², a⁴, … a¹²⁸.
    let (mut power, mut inverse) = (a, 1);
    for _ in 0..7 {
        power = multiply(power, power);
        inverse = multiply(inverse, power);
    }
    inverse
}

#[cfg(test)]
mod tests;
