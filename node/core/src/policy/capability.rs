//! What a rule may give: the words of `capabilities = […]`.

use crate::Operation;

/// One capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Capability {
    /// Writing where nothing stands yet.
    Create,
    /// Deleting.
    Delete,
    /// Nothing at all, whatever else is said about the same path.
    Deny,
    /// Asking for the names below a path.
    List,
    /// Changing part of what stands.
    Patch,
    /// Reading.
    Read,
    /// Restoring from a loaded snapshot.
    Recover,
    /// Asking for all names below a path, at any depth.
    Scan,
    /// Following events.
    Subscribe,
    /// Using paths that are protected beyond their capability.
    Sudo,
    /// Writing over what stands.
    Update,
}

impl Capability {
    /// All of them, in the order in which `sys/capabilities` answers.
    pub(crate) const ALL: [Self; 11] = [
        Self::Create,
        Self::Delete,
        Self::Deny,
        Self::List,
        Self::Patch,
        Self::Read,
        Self::Recover,
        Self::Scan,
        Self::Subscribe,
        Self::Sudo,
        Self::Update,
    ];

    /// The word that policies use.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Deny => "deny",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Read => "read",
            Self::Recover => "recover",
            Self::Scan => "scan",
            Self::Subscribe => "subscribe",
            Self::Sudo => "sudo",
            Self::Update => "update",
        }
    }

    /// The capability with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.name() == name)
    }

    /// What `operation` needs. Whether something stands at the path already tells a write's
    /// `create` from its `update`; the engine's existence check knows.
    pub(crate) const fn of(operation: Operation, exists: bool) -> Self {
        match operation {
            Operation::Read => Self::Read,
            Operation::Write if exists => Self::Update,
            Operation::Write => Self::Create,
            Operation::List => Self::List,
            Operation::Delete => Self::Delete,
            Operation::Patch => Self::Patch,
            Operation::Scan => Self::Scan,
        }
    }

    /// Whether it asks for names below a path.
    pub(crate) const fn lists(self) -> bool {
        matches!(self, Self::List | Self::Scan)
    }

    /// Whether parameter rules apply: to what reads or writes the thing itself.
    pub(crate) const fn takes_parameters(self) -> bool {
        matches!(self, Self::Create | Self::Read | Self::Update | Self::Patch | Self::Recover)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Capabilities(u16);

impl Capabilities {
    /// Whether `capability` is in the set.
    pub(crate) const fn contains(self, capability: Capability) -> bool {
        self.0 & capability.bit() != 0
    }

    /// The set with `capability` in it.
    #[must_use]
    pub(crate) const fn with(self, capability: Capability) -> Self {
        Self(self.0 | capability.bit())
    }

    /// Everything that either gives; nothing but `deny` where one of them denies.
    #[must_use]
    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0).settled()
    }

    /// Nothing but `deny` where `deny` is in the set.
    #[must_use]
    pub(crate) const fn settled(self) -> Self {
        if self.contains(Capability::Deny) { Self(Capability::Deny.bit()) } else { self }
    }

    /// Whether it gives anything.
    pub(crate) const fn gives(self) -> bool {
        self.0 != 0 && !self.contains(Capability::Deny)
    }

    /// Whether the rule named no capability.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names, sorted.
    pub(crate) fn names(self) -> Vec<&'static str> {
        Capability::ALL.into_iter().filter(|c| self.contains(*c)).map(Capability::name).collect()
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        capabilities.into_iter().fold(Self::default(), Self::with).settled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_come_back() {
        assert!(Capability::ALL.windows(2).all(|two| two[0].name() < two[1].name()));
        for capability in Capability::ALL {
            assert_eq!(Capability::from_name(capability.name()), Some(capability));
        }
        assert_eq!(Capability::from_name("root"), None);
    }

    #[test]
    fn a_write_needs_what_fits_what_stands_there() {
        assert_eq!(Capability::of(Operation::Write, false), Capability::Create);
        assert_eq!(Capability::of(Operation::Write, true), Capability::Update);
        assert_eq!(Capability::of(Operation::Scan, true), Capability::Scan);
    }

    #[test]
    fn deny_leaves_nothing_else() {
        let read: Capabilities = [Capability::Read].into_iter().collect();
        let deny: Capabilities = [Capability::Sudo, Capability::Deny].into_iter().collect();
        assert_eq!(deny.names(), ["deny"]);
        assert_eq!(read.union(deny).names(), ["deny"]);
        assert!(read.gives() && !deny.gives() && !Capabilities::default().gives());
    }
}
