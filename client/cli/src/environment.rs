//! Variables of the environment, by three families of names.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The variables as the process found them.
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process. What is not UTF-8 is left out.
    pub(crate) fn of_process() -> Self {
        let text = |word: std::ffi::OsString| word.into_string().ok();
        Self(
            std::env::vars_os()
                .filter_map(|(key, value)| Some((text(key)?, text(value)?)))
                .collect(),
        )
    }

    /// `CONCLAVE_<name>`, else `BAO_<name>`, else `VAULT_<name>`. An empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        FAMILIES.into_iter().find_map(|family| self.plain(&format!("{family}_{name}")))
    }

    /// Where the user's own files are.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.plain("HOME").map(PathBuf::from)
    }

    /// The full name of the variable that [`get`](Self::get) reads.
    pub(crate) fn name_of(&self, name: &str) -> Option<String> {
        let full = |family: &str| format!("{family}_{name}");
        FAMILIES.into_iter().map(full).find(|name| self.plain(name).is_some())
    }

    /// A variable of no family.
    pub(crate) fn plain(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    #[cfg(test)]
    pub(crate) fn of<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// Earlier ones win.
const FAMILIES: [&str; 3] = ["CONCLAVE", "BAO", "VAULT"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_name_wins_then_bao_then_vault() {
        let all = [("VAULT_ADDR", "v"), ("BAO_ADDR", "b"), ("CONCLAVE_ADDR", "c")];
        assert_eq!(Environment::of(all).get("ADDR"), Some("c"));
        assert_eq!(Environment::of([all[0], all[1]]).get("ADDR"), Some("b"));
        assert_eq!(Environment::of([all[0], ("BAO_ADDR", "")]).get("ADDR"), Some("v"));
        assert_eq!(Environment::of(all).get("TOKEN"), None);
        assert_eq!(Environment::of([all[0]]).name_of("ADDR").as_deref(), Some("VAULT_ADDR"));
        assert_eq!(Environment::of([("BAO_ADDR", "")]).name_of("ADDR"), None);
    }
}
