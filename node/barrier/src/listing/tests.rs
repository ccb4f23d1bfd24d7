use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn directory(number: u8) -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(&[number])]
}

fn names(count: usize, letters: usize) -> Arc<Vec<String>> {
    Arc::new((0..count).map(|at| format!("{at:0letters$}")).collect())
}

#[test]
fn the_cache_answers_for_one_revision() {
    let mut cache = ListingCache::default();
    cache.put(&directory(1), 5, names(2, 1));
    assert_eq!(cache.get(&directory(1), 5).unwrap().len(), 2);
    assert!(cache.get(&directory(1), 4).is_none());
    assert!(cache.get(&directory(2), 5).is_none());
    // An old view lists after a new one.
    cache.put(&directory(1), 4, names(9, 1));
    assert_eq!(cache.get(&directory(1), 5).unwrap().len(), 2);
    cache.put(&directory(1), 6, names(3, 1));
    assert!(cache.get(&directory(1), 5).is_none());
    assert_eq!(cache.get(&directory(1), 6).unwrap().len(), 3);
    assert_eq!((cache.entries.len(), cache.uses.len()), (1, 1));
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_used() {
    let mut cache = ListingCache::default();
    // Each takes a fifth of the room.
    let names = names(LISTING_BYTES_MAX / 5 / 1000, 1000 - NAME_OVERHEAD_BYTES);
    for number in 0..20 {
        cache.put(&directory(number), 1, Arc::clone(&names));
        assert!(cache.get(&directory(0), 1).is_some(), "the one in use stays, after {number}");
        assert!(cache.bytes <= LISTING_BYTES_MAX);
    }
    assert!(cache.get(&directory(1), 1).is_none());
    assert!(cache.get(&directory(19), 1).is_some());
    for number in 0..20 {
        cache.remove(&directory(number));
    }
    assert_eq!((cache.bytes, cache.entries.len(), cache.uses.len()), (0, 0, 0));
}

proptest! {
    #[test]
    fn a_selection_is_the_sorted_slice(
        all in prop::collection::btree_set("[a-c]{1,3}/?", 0..30),
        order in any::<prop::sample::Index>(),
        after in prop::option::of("[a-c]{0,3}"),
        limit in 0_usize..12,
        own in 0_usize..4,
    ) {
        let after = after.as_deref();
        let mut shuffled: Vec<&String> = all.iter().collect();
        let by = order.index(shuffled.len().max(1));
        shuffled.rotate_left(by);
        let rest: BTreeSet<&String> =
            all.iter().filter(|name| after.is_none_or(|after| name.as_str() > after)).collect();
        let expected: Vec<&String> = rest.iter().copied().take(limit).collect();

        let mut streamed = Selection::new(after, limit);
        shuffled.iter().for_each(|name| streamed.push(name));
        let streamed = streamed.finish();
        prop_assert_eq!(streamed.names.iter().collect::<Vec<_>>(), expected.clone());
        prop_assert_eq!(streamed.more, rest.len() > limit);

        // Some names first, as own writes, the others in order.
        let (first, _) = shuffled.split_at(own.min(shuffled.len()));
        let mut merged = Selection::new(after, limit);
        first.iter().for_each(|name| merged.push(name));
        merged.push_sorted(
            all.iter().filter(|name| !first.contains(name)).map(String::as_str),
        );
        let merged = merged.finish();
        prop_assert_eq!(merged.names.iter().collect::<Vec<_>>(), expected);
        prop_assert_eq!(merged.more, rest.len() > limit);
    }
}
