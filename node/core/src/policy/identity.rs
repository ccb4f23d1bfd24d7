//! What templates may name of a caller.

use std::collections::BTreeMap;

/// An entity and its groups, as they stand in the namespace whose policies are evaluated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IdentityView {
    /// Its id.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its metadata.
    pub(crate) metadata: BTreeMap<String, String>,
    /// Its aliases by the accessor of their mount: each mount has its own, and none is the first.
    pub(crate) aliases: BTreeMap<String, AliasView>,
    /// The groups that it is in, directly or through others.
    pub(crate) groups: Vec<GroupView>,
}

/// An alias of an entity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AliasView {
    /// Its id.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// What the auth method said about it.
    pub(crate) metadata: BTreeMap<String, String>,
    /// What an operator said about it.
    pub(crate) custom_metadata: BTreeMap<String, String>,
}

/// A group that an entity is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GroupView {
    /// Its id.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its metadata.
    pub(crate) metadata: BTreeMap<String, String>,
}

impl IdentityView {
    /// The value that a template names, as in `identity.entity.metadata.team`. An empty value is
    /// none.
    pub(super) fn value(&self, selector: &str) -> Option<&str> {
        let value = if let Some(rest) = selector.strip_prefix("identity.entity.") {
            self.entity_value(rest)
        } else if let Some(rest) = selector.strip_prefix("identity.groups.") {
            self.group_value(rest)
        } else {
            None
        };
        value.map(String::as_str).filter(|value| !value.is_empty())
    }

    fn entity_value(&self, selector: &str) -> Option<&String> {
        if let Some(rest) = selector.strip_prefix("aliases.") {
            let (accessor, rest) = rest.split_once('.')?;
            return self.aliases.get(accessor)?.value(rest);
        }
        match selector {
            "id" => Some(&self.id),
            "name" => Some(&self.name),
            _ => self.metadata.get(selector.strip_prefix("metadata.")?),
        }
    }

    fn group_value(&self, selector: &str) -> Option<&String> {
        let (by, rest) = selector.split_once('.')?;
        let (key, rest) = rest.split_once('.')?;
        let group = match by {
            "ids" => self.groups.iter().find(|group| group.id == key),
            "names" => self.groups.iter().find(|group| group.name == key),
            _ => None,
        }?;
        match rest {
            "id" => Some(&group.id),
            "name" => Some(&group.name),
            _ => group.metadata.get(rest.strip_prefix("metadata.")?),
        }
    }
}

impl AliasView {
    fn value(&self, selector: &str) -> Option<&String> {
        match selector {
            "id" => Some(&self.id),
            "name" => Some(&self.name),
            _ => match selector.strip_prefix("metadata.") {
                Some(key) => self.metadata.get(key),
                None => self.custom_metadata.get(selector.strip_prefix("custom_metadata.")?),
            },
        }
    }
}
