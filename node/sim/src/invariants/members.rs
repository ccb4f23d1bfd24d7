//! Who the members were, entry by entry.

use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::v1::{Member, Membership, StoredMembership};

use super::{Checked, holds};

const IDS: &str = "an id names one node for ever, and never comes back";
const NAMES: &str = "no two members share a name or a key";

/// Memberships that were applied, by the index of their entry.
#[derive(Default)]
pub(crate) struct Memberships {
    applied: BTreeMap<u64, Membership>,
    nodes: BTreeMap<u64, (String, Vec<u8>)>,
}

impl Memberships {
    /// Some node has this membership in force.
    pub(crate) fn applied(&mut self, stored: &StoredMembership) -> Checked {
        let index = stored.log_id.map_or(0, |id| id.index);
        let Some(membership) = &stored.membership else { return Ok(()) };
        if self.applied.contains_key(&index) {
            return Ok(());
        }
        let mut names = BTreeSet::new();
        let mut pins = BTreeSet::new();
        for Member { node_id, name, spki_pin, .. } in &membership.members {
            let fresh = names.insert(name.clone()) && pins.insert(spki_pin.clone());
            holds(fresh, NAMES, || format!("entry {index}: {name} stands twice"))?;
            let node = (name.clone(), spki_pin.to_vec());
            let known = self.nodes.entry(*node_id).or_insert_with(|| node.clone());
            holds(*known == node, IDS, || {
                format!("entry {index}: {node_id} was {} and is {name}", known.0)
            })?;
        }
        self.applied.insert(index, membership.clone());
        self.check_returns(index)
    }

    /// Every id of an entry stands in all of a row of memberships.
    fn check_returns(&self, index: u64) -> Checked {
        let mut gone = BTreeSet::new();
        let mut before = BTreeSet::new();
        for membership in self.applied.values() {
            let ids: BTreeSet<u64> = membership.members.iter().map(|it| it.node_id).collect();
            gone.extend(before.difference(&ids).copied());
            let back = ids.intersection(&gone).next().copied();
            holds(back.is_none(), IDS, || format!("entry {index}: {back:?} was removed before"))?;
            before = ids;
        }
        Ok(())
    }

    /// Who votes by the newest membership.
    pub(crate) fn voters(&self) -> BTreeSet<u64> {
        let newest = self.applied.last_key_value().map(|(_, membership)| membership);
        let sets = newest.iter().flat_map(|membership| &membership.configs);
        sets.flat_map(|set| set.node_ids.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use conclave_proto::v1::{LogId, VoterSet};

    use super::*;

    fn stored(index: u64, members: &[(u64, &str)]) -> StoredMembership {
        let node_ids = members.iter().map(|(id, _)| *id).collect();
        let members = members.iter().map(|(node_id, name)| Member {
            node_id: *node_id,
            name: (*name).to_owned(),
            spki_pin: name.as_bytes().to_vec().into(),
            ..Member::default()
        });
        let membership =
            Membership { configs: vec![VoterSet { node_ids }], members: members.collect() };
        StoredMembership {
            log_id: Some(LogId { term: 1, index, leader_id: 1 }),
            membership: Some(membership),
        }
    }

    #[test]
    fn an_id_that_comes_back_is_found() {
        let mut memberships = Memberships::default();
        memberships.applied(&stored(1, &[(1, "a"), (2, "b")])).unwrap();
        memberships.applied(&stored(7, &[(1, "a"), (2, "b")])).unwrap();
        memberships.applied(&stored(5, &[(1, "a")])).unwrap_err();
    }

    #[test]
    fn an_id_of_another_node_and_a_name_twice_are_found() {
        let mut memberships = Memberships::default();
        memberships.applied(&stored(1, &[(1, "a"), (2, "b")])).unwrap();
        assert_eq!(memberships.voters(), BTreeSet::from([1, 2]));
        let other = memberships.applied(&stored(3, &[(1, "a"), (2, "c")])).unwrap_err();
        assert_eq!(other.invariant, IDS);
        let twice = memberships.applied(&stored(4, &[(1, "a"), (4, "a")])).unwrap_err();
        assert_eq!(twice.invariant, NAMES);
    }
}
