//! Who did it. A name's record lists everybody whom one of its versions names, once; the versions
//! refer to that list, so that a history of one writer costs a few bytes a version.

use std::collections::BTreeMap;

use conclave_mount::Caller;
use prost::Message;
use serde::Serialize;

/// What a caller is called at most; the rest is cut off.
const NAME_BYTES_MAX: usize = 128;

/// Somebody. Tags are never reused.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Actor {
    /// As people call the token: `userpass-anna`.
    #[prost(string, tag = "1")]
    pub(super) name: String,
    /// Empty where no entity is behind the token.
    #[prost(string, tag = "2")]
    pub(super) entity_id: String,
}

/// A place in the list, from 1; 0 is nobody that is known.
pub(super) type ActorIndex = u32;

impl Actor {
    fn of(caller: &Caller) -> Option<Self> {
        let name = &caller.display_name;
        let name = &name[..name.floor_char_boundary(NAME_BYTES_MAX)];
        let known = !name.is_empty() || !caller.entity_id.is_empty();
        known.then(|| Self { name: name.to_owned(), entity_id: caller.entity_id.clone() })
    }
}

/// The place of `caller`, who is added where the list does not have it yet.
pub(super) fn note(actors: &mut Vec<Actor>, caller: &Caller) -> ActorIndex {
    let Some(actor) = Actor::of(caller) else { return 0 };
    let place = actors.iter().position(|known| *known == actor).unwrap_or_else(|| {
        actors.push(actor);
        actors.len() - 1
    });
    ActorIndex::try_from(place + 1).unwrap_or(0)
}

/// Drops everybody to whom none of `indices` refers, and corrects these.
pub(super) fn retain<'a>(
    actors: &mut Vec<Actor>,
    indices: impl Iterator<Item = &'a mut ActorIndex>,
) {
    let (mut kept, mut places) = (Vec::new(), BTreeMap::new());
    for index in indices {
        *index = match find(actors, *index) {
            None => 0,
            Some(actor) => *places.entry(*index).or_insert_with(|| {
                kept.push(actor.clone());
                ActorIndex::try_from(kept.len()).unwrap_or(0)
            }),
        };
    }
    *actors = kept;
}

/// Whom `index` stands for.
pub(super) fn find(actors: &[Actor], index: ActorIndex) -> Option<&Actor> {
    actors.get(usize::try_from(index).ok()?.checked_sub(1)?)
}

/// Somebody as clients see it.
#[derive(Serialize)]
pub(super) struct ActorView<'a> {
    actor: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_id: &'a str,
}

impl<'a> ActorView<'a> {
    /// None for nobody: the field is left out then.
    pub(super) fn new(actors: &'a [Actor], index: ActorIndex) -> Option<Self> {
        find(actors, index).map(|actor| Self { actor: &actor.name, client_id: &actor.entity_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> Caller {
        Caller { display_name: name.into(), ..Caller::default() }
    }

    #[test]
    fn everybody_is_listed_once_and_only_while_needed() {
        let mut actors = Vec::new();
        let mut indices: Vec<_> =
            ["a", "b", "a", "", "c"].iter().map(|name| note(&mut actors, &caller(name))).collect();
        assert_eq!(indices, [1, 2, 1, 0, 3]);
        indices.remove(1);
        retain(&mut actors, indices.iter_mut());
        let names: Vec<_> =
            indices.iter().map(|i| find(&actors, *i).map(|actor| actor.name.as_str())).collect();
        assert_eq!(names, [Some("a"), Some("a"), None, Some("c")]);
        assert_eq!(actors.len(), 2);
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let mut actors = Vec::new();
        note(&mut actors, &caller(&"\u{e4}".repeat(100).replacen('\u{e4}', "x", 1)));
        assert_eq!(actors[0].name.len(), 127);
    }
}
