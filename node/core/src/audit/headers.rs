//! Which headers of a client's request the log may hold.

use std::collections::BTreeMap;

/// An allow-list: a header that is not in it is left out of every line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderRules(BTreeMap<String, bool>);

impl HeaderRules {
    /// Lets a header in, `hmac`: with its values hidden. Case does not matter.
    pub fn allow(&mut self, name: &str, hmac: bool) {
        self.0.insert(name.to_ascii_lowercase(), hmac);
    }

    /// Keeps a header out again.
    pub fn forbid(&mut self, name: &str) {
        self.0.remove(&name.to_ascii_lowercase());
    }

    /// Whether the header's values are hidden; `None` where the header is kept out.
    #[must_use]
    pub fn hmac(&self, name: &str) -> Option<bool> {
        self.0.get(&name.to_ascii_lowercase()).copied()
    }

    /// Names in lower case, and whether their values are hidden.
    pub fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().map(|(name, hmac)| (name.as_str(), *hmac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_passes_whatever_its_case() {
        let mut rules = HeaderRules::default();
        rules.allow("X-Team", false);
        rules.allow("cookie", true);
        assert_eq!(rules.hmac("x-TEAM"), Some(false));
        assert_eq!(rules.hmac("Cookie"), Some(true));
        assert_eq!(rules.hmac("x-vault-token"), None);
        rules.forbid("COOKIE");
        assert_eq!(rules.iter().collect::<Vec<_>>(), [("x-team", false)]);
    }
}
