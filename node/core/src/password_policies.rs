//! Stored password policies. They are handed to engines that make passwords for others.

use conclave_barrier::Transaction;
use prost::Message;

use crate::password_policy::PasswordPolicy;
use crate::{Error, errors, rows};

/// The longest text.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 10;

/// Names in one answer.
const NAMES_MAX: usize = 100_000;

/// Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
struct PasswordPolicyRecord {
    /// As it was written.
    #[prost(string, tag = "1")]
    text: String,
}

/// The text of the policy with this name.
pub(crate) fn text(tx: &mut Transaction, name: &str) -> Result<Option<String>, Error> {
    let row = tx.get(&rows::password_policy(name)).map_err(errors::from_barrier)?;
    let Some(row) = row else { return Ok(None) };
    let record = PasswordPolicyRecord::decode(row.value)
        .map_err(|error| Error::internal(format!("a password policy cannot be read: {error}")))?;
    Ok(Some(record.text))
}

/// The policy with this name, ready to make passwords.
pub(crate) fn load(tx: &mut Transaction, name: &str) -> Result<Option<PasswordPolicy>, Error> {
    let Some(text) = text(tx, name)? else { return Ok(None) };
    let policy = PasswordPolicy::parse(&text)
        .map_err(|error| Error::internal(format!("a stored policy does not parse: {error}")))?;
    Ok(Some(policy))
}

/// Stores a policy that was parsed and checked.
pub(crate) fn put(tx: &mut Transaction, name: &str, text: String) -> Result<(), Error> {
    let record = PasswordPolicyRecord { text };
    tx.put(&rows::password_policy(name), record.encode_to_vec().into())
        .map_err(errors::from_barrier)
}

/// No error where it is not there.
pub(crate) fn delete(tx: &mut Transaction, name: &str) -> Result<(), Error> {
    tx.delete(&rows::password_policy(name)).map_err(errors::from_barrier)
}

/// The names of all, sorted.
pub(crate) fn names(tx: &mut Transaction) -> Result<Vec<String>, Error> {
    let page = tx.list(&rows::password_policies(), None, NAMES_MAX);
    Ok(page.map_err(errors::from_barrier)?.names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout on disk.
    #[test]
    fn golden_layout() {
        let record = PasswordPolicyRecord { text: "t".into() };
        assert_eq!(hex::encode(record.encode_to_vec()), "0a0174");
    }
}
