//! What is stored about a user.

use conclave_mount::{EngineError, Storage, TokenFields};
use prost::Message;

use super::hash;

/// The highest cost of a hash that was ever stored here, where it is above our own. Tags are never
/// reused.
#[derive(Clone, PartialEq, Eq, Message)]
struct CostRecord {
    #[prost(uint32, tag = "1")]
    highest: u32,
}

/// Where it stands.
const COST_ROW: &str = "hash-cost";

/// What every login of the mount costs.
pub(super) fn cost(storage: &mut dyn Storage) -> Result<u32, EngineError> {
    let Some(entry) = storage.get(COST_ROW)? else { return Ok(hash::COST) };
    let record = CostRecord::decode(entry.value)
        .map_err(|error| EngineError::internal(format!("a cost cannot be read: {error}")))?;
    Ok(record.highest.max(hash::COST))
}

/// The directory of users.
pub(super) const USERS: &str = "users";

/// One user. It has no `Debug`: the hash is secret. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
#[prost(skip_debug)]
pub(super) struct UserRecord {
    /// `$2b$10$…`
    #[prost(string, tag = "1")]
    pub(super) password_hash: String,
    /// What a login yields.
    #[prost(message, required, tag = "2")]
    pub(super) token: TokenFields,
}

impl UserRecord {
    /// The user whose canonical name this is.
    pub(super) fn load(storage: &mut dyn Storage, name: &str) -> Result<Option<Self>, EngineError> {
        let Some(entry) = storage.get(&row(name))? else { return Ok(None) };
        let record = Self::decode(entry.value)
            .map_err(|error| EngineError::internal(format!("a user cannot be read: {error}")))?;
        Ok(Some(record))
    }

    /// The same for a change, which needs a user.
    pub(super) fn load_known(storage: &mut dyn Storage, name: &str) -> Result<Self, EngineError> {
        Self::load(storage, name)?
            .ok_or_else(|| EngineError::invalid("username does not exist; create the user first"))
    }

    pub(super) fn store(&self, storage: &mut dyn Storage, name: &str) -> Result<(), EngineError> {
        let highest = hash::cost_of(&self.password_hash);
        if highest > hash::COST && highest > cost(storage)? {
            storage.put(COST_ROW, CostRecord { highest }.encode_to_vec().into())?;
        }
        Ok(storage.put(&row(name), self.encode_to_vec().into())?)
    }

    pub(super) fn remove(storage: &mut dyn Storage, name: &str) -> Result<(), EngineError> {
        Ok(storage.delete(&row(name))?)
    }
}

fn row(name: &str) -> String {
    format!("{USERS}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout on disk: a change here locks everybody out.
    #[test]
    fn golden_layout() {
        let token = TokenFields { ttl_ms: 3, ..TokenFields::default() };
        let record = UserRecord { password_hash: "h".into(), token };
        assert_eq!(record.encode_to_vec(), [0x0a, 1, b'h', 0x12, 2, 0x10, 3]);
        assert_eq!(CostRecord { highest: 12 }.encode_to_vec(), [0x08, 12]);
    }
}
