//! Passwords: `bcrypt(cost 10, salt, password)`, as Vault stores them (Provos and Mazières, 1999).
//!
//! bcrypt reads 72 bytes and stops at no zero byte: what is longer, or has one, would equal another
//! password, and is none here.

use std::str::FromStr;

use bcrypt::HashParts;
use conclave_mount::{EngineError, Workers, compute};
use zeroize::Zeroizing;

/// 2^10 rounds.
pub(super) const COST: u32 = 10;
/// What a hash that somebody imports may cost: each login with it costs as much.
const COSTS: std::ops::RangeInclusive<u32> = 4..=14;
const PASSWORD_BYTES_MAX: usize = 72;
/// Stands in for the hash of a user who is not there.
const NOBODYS: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

/// A password as it was sent.
pub(super) type Password = Zeroizing<String>;

/// A password that was given; one that is empty, or nothing but spaces, was not.
///
/// # Errors
/// `InvalidRequest` in the words that clients know.
pub(super) fn given(password: Option<Password>) -> Result<Password, EngineError> {
    password
        .filter(|password| !password.trim().is_empty())
        .ok_or_else(|| EngineError::invalid("missing password"))
}

/// The hash of a new password, under a salt that is used once.
///
/// # Errors
/// `InvalidRequest` where it is too long or has a zero byte; `Busy`.
pub(super) async fn make(
    workers: &dyn Workers,
    password: Password,
    salt: [u8; 16],
) -> Result<String, EngineError> {
    if !is_whole(&password) {
        return Err(EngineError::invalid(format!(
            "the password has more than {PASSWORD_BYTES_MAX} bytes or a zero byte; choose another"
        )));
    }
    let hash = move || bcrypt::hash_with_salt(password.as_bytes(), COST, salt);
    let parts = compute(workers, hash).await?;
    let parts = parts.map_err(|_| EngineError::internal("a password cannot be hashed"))?;
    Ok(parts.to_string())
}

/// Whether the password is the one of `hash`. Without a hash it is not, after as long a time.
///
/// `cost` is the highest of the mount. What a hash costs less than that is made up for: beside one of
/// cost c, one each of c, c + 1, … up to the highest, without which they add up to 2^highest rounds.
/// Else the time of a login would tell a user whose hash came from elsewhere from one who is not
/// there.
///
/// # Errors
/// `Busy`; `Internal` where the stored hash is none.
pub(super) async fn verify(
    workers: &dyn Workers,
    password: Password,
    hash: Option<String>,
    cost: u32,
) -> Result<bool, EngineError> {
    let known = hash.is_some() & is_whole(&password);
    let hash = hash.unwrap_or_else(|| nobodys(cost));
    let work = move || {
        let equal = bcrypt::verify(password.as_bytes(), &hash)?;
        for missing in missing(cost_of(&hash), cost) {
            // Its result is of no interest, and its time is.
            std::hint::black_box(bcrypt::verify(password.as_bytes(), &nobodys(missing))?);
        }
        Ok::<_, bcrypt::BcryptError>(equal)
    };
    let equal = compute(workers, work).await?;
    let equal = equal.map_err(|_| EngineError::internal("a stored password hash is damaged"))?;
    Ok(known & equal)
}

/// What is to be hashed beside a hash of this cost, so that it costs as much as the highest.
fn missing(cost: u32, highest: u32) -> std::ops::Range<u32> {
    cost..highest
}

/// What a hash costs; our own cost where it is none.
pub(super) fn cost_of(hash: &str) -> u32 {
    HashParts::from_str(hash).map_or(COST, |parts| parts.get_cost())
}

/// The hash of somebody who is not there.
fn nobodys(cost: u32) -> String {
    NOBODYS.replacen("$10$", &format!("${cost:02}$"), 1)
}

/// A hash that somebody made elsewhere.
///
/// # Errors
/// `InvalidRequest` where it is no hash of bcrypt, or one that costs too much.
pub(super) fn import(hash: &str) -> Result<String, EngineError> {
    let known = ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix));
    let parts = HashParts::from_str(hash).ok();
    match parts.filter(|parts| known && COSTS.contains(&parts.get_cost())) {
        Some(_) => Ok(hash.to_owned()),
        None => Err(EngineError::invalid(format!(
            "'password_hash' is no bcrypt hash of a cost from {} to {}; make one, or give \
             'password'",
            COSTS.start(),
            COSTS.end()
        ))),
    }
}

fn is_whole(password: &str) -> bool {
    password.len() <= PASSWORD_BYTES_MAX && !password.contains('\0')
}

#[cfg(test)]
mod tests {
    use conclave_mount::testing::Inline;
    use futures::FutureExt;

    use super::*;

    fn checks(password: &str, hash: &str) -> bool {
        let password = Zeroizing::new(password.to_owned());
        let hash = Some(hash.to_owned());
        verify(&Inline, password, hash, COST).now_or_never().unwrap().unwrap()
    }

    fn made(password: &str) -> Result<String, EngineError> {
        make(&Inline, Zeroizing::new(password.to_owned()), [7; 16]).now_or_never().unwrap()
    }

    /// Known answers that other implementations publish.
    #[test]
    fn known_answers() {
        let cases = [
            ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
            ("U*U*", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"),
            ("U*U*U", "$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"),
        ];
        for (password, hash) in cases {
            assert!(checks(password, hash), "{password}");
            assert!(!checks(&format!("{password}x"), hash), "{password}");
            assert_eq!(import(hash).unwrap(), hash);
        }
    }

    /// The form on disk: a change here locks everybody out.
    #[test]
    fn golden_hash() {
        let hash = made("correct horse").unwrap();
        assert_eq!(hash, "$2b$10$/uaF/uaF/uaF/uaF/uaF/ulvh3hbW2kjrYSdWI319nNX/L/2Ep1v2");
        assert!(checks("correct horse", &hash) && !checks("correct horsf", &hash));
    }

    /// THREATS row 23: nothing is cut off, and no hash is taken that is none.
    #[test]
    fn row_023_long_passwords_and_foreign_hashes() {
        let longest = "x".repeat(PASSWORD_BYTES_MAX);
        let hash = made(&longest).unwrap();
        assert!(checks(&longest, &hash));
        assert!(!checks(&format!("{longest}y"), &hash), "what is longer is another password");
        assert!(!checks(&"x".repeat(PASSWORD_BYTES_MAX - 1), &hash));
        for password in [format!("{longest}y"), "a\0a".into()] {
            assert!(made(&password).is_err());
        }
        let hash = made("a").unwrap();
        assert!(checks("a", &hash) && !checks("a\0a", &hash));
        let valid = NOBODYS;
        let wrong = [
            String::new(),
            valid[..59].to_owned(),
            format!("{valid}x"),
            valid.replacen("$2b$", "$2x$", 1),
            valid.replacen("$10$", "$15$", 1),
            valid.replacen("$10$", "$03$", 1),
            valid.replacen("$10$", "$xx$", 1),
            format!("{}\u{e4}", &valid[..58]),
            format!("$2b$1\u{e4}${}", &valid[8..]),
            valid.replace('N', "!"),
            "plain".into(),
        ];
        for hash in wrong {
            assert!(import(&hash).is_err(), "{hash}");
        }
        assert_eq!(import(valid).unwrap(), valid);
    }

    /// THREATS row 19: who is not there costs a whole hash, too.
    #[test]
    fn row_019_a_missing_user_costs_the_same_hash() {
        assert_eq!(HashParts::from_str(NOBODYS).unwrap().get_cost(), COST);
        let answer = verify(&Inline, Zeroizing::new("password".into()), None, COST);
        assert!(!answer.now_or_never().unwrap().unwrap());
    }

    /// THREATS row 19: nor does a hash from elsewhere cost another time.
    #[test]
    fn row_019_hashes_of_every_cost_take_as_long() {
        for highest in [COST, 12, *COSTS.end()] {
            for cost in *COSTS.start()..=highest {
                let rounds = |cost: u32| 1_u64 << cost;
                let all = rounds(cost) + missing(cost, highest).map(rounds).sum::<u64>();
                assert_eq!(all, rounds(highest));
                assert_eq!(cost_of(&nobodys(cost)), cost);
            }
        }
    }
}
