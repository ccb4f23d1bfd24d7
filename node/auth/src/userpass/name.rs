//! Names of users.

use conclave_mount::EngineError;

const NAME_BYTES_MAX: usize = 128;

/// The one spelling of a user's name, or none: letters, digits and `_`, in between also `.`, `-`,
/// `+` and `@`. A space, a second slash or a letter that looks like another would make a second
/// user of the same person, without what policies and second factors say about the first.
pub(super) fn canonical(name: &str) -> Option<String> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let is_inner = |byte: &u8| is_word(byte) || b".-+@".contains(byte);
    let bytes = name.as_bytes();
    let fits = bytes.len() <= NAME_BYTES_MAX
        && bytes.first().is_some_and(is_word)
        && bytes.last().is_some_and(is_word)
        && bytes.iter().all(is_inner);
    fits.then(|| name.to_ascii_lowercase())
}

/// The same for those who manage users, who are told what is wrong. They write a name as it is kept:
/// their policies were asked about the name as they wrote it.
pub(super) fn check(name: &str) -> Result<String, EngineError> {
    canonical(name).filter(|canonical| canonical == name).ok_or_else(|| {
        EngineError::invalid(format!(
            "a user name has at most {NAME_BYTES_MAX} small letters (a-z), digits, '_', and between \
             them '.', '-', '+', '@'; choose such a one"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        for (name, expected) in [("anna", "anna"), ("ANNA", "anna"), ("A.b-c+d@E_1", "a.b-c+d@e_1")]
        {
            assert_eq!(canonical(name).as_deref(), Some(expected));
            assert_eq!(check(name).is_ok(), name == expected, "row 2: {name}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for name in ["", " anna", "anna ", "an na", "-a", "a.", "\u{e4}", "a\u{200b}", "a/b", &long]
        {
            assert_eq!(canonical(name), None, "{name:?}");
            assert!(check(name).is_err());
        }
    }
}
