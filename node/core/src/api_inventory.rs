//! Which paths of the Vault API are served, held against a list of them, and which are not and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use conclave_mount::testing::Inline;
use conclave_mount::{Engine, MountOptions, Route};

use crate::{Operation, pattern, routes};

const INVENTORY: &str = include_str!("api_inventory.txt");
const NOT_THERE: &str = include_str!("api_not_there.txt");

/// What the node answers beside the core, in every state.
const OF_THE_NODE: [(&str, &str); 6] = [
    ("GH", "sys/health"),
    ("G", "sys/leader"),
    ("G", "sys/seal-status"),
    ("GP", "sys/init"),
    ("P", "sys/storage/raft/join"),
    ("P", "sys/unseal"),
];

type Entry = (char, &'static str);

/// The entries of a list with what stands after each.
fn entries(text: &'static str) -> BTreeMap<Entry, &'static str> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut entries = BTreeMap::new();
    for line in lines {
        let (operations, rest) = line.split_once(' ').expect("operations and a pattern");
        let (pattern, reason) = rest.split_once(": ").unwrap_or((rest, ""));
        for operation in operations.chars() {
            let before = entries.insert((operation, pattern), reason);
            assert_eq!(before, None, "{operation} {pattern} stands twice");
        }
    }
    entries
}

fn operation(letter: char) -> Option<Operation> {
    Some(match letter {
        'G' => Operation::Read,
        'P' => Operation::Write,
        'D' => Operation::Delete,
        'L' => Operation::List,
        'S' => Operation::Scan,
        'X' => Operation::Patch,
        'H' => return None,
        _ => panic!("{letter} is no operation"),
    })
}

/// A path that the pattern takes; whoever serves the pattern serves that.
fn sample(pattern: &str) -> String {
    let segment = |segment: &str| match segment.as_bytes()[0] {
        b':' => "x".to_owned(),
        b'*' => "x/y".to_owned(),
        _ => segment.to_owned(),
    };
    pattern.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// The engines by the names that the list has for them.
fn engine_routes() -> BTreeMap<&'static str, &'static [Route]> {
    let of = |engine: Arc<dyn Engine>, version: &str| {
        engine.routes(&MountOptions::from([("version".to_owned(), version.to_owned())]))
    };
    BTreeMap::from([
        ("kv1", of(Arc::new(conclave_engines::Kv::new()), "1")),
        ("kv2", of(Arc::new(conclave_engines::Kv::new()), "2")),
        ("cubbyhole", of(Arc::new(conclave_engines::Cubbyhole::new()), "")),
        ("userpass", of(Arc::new(conclave_auth::Userpass::new(Arc::new(Inline))), "")),
    ])
}

fn is_served((letter, pattern): Entry) -> bool {
    if OF_THE_NODE.iter().any(|(letters, path)| letters.contains(letter) && *path == pattern) {
        return true;
    }
    let Some(operation) = operation(letter) else { return false };
    let path = sample(pattern);
    if routes::is_own(&path) {
        return matches!(routes::find(&path, operation), Some(routes::Found::Route(_)));
    }
    let (kind, relative) = path.split_once('/').expect("a type and a pattern");
    let slash = if operation.lists() { "/" } else { "" };
    let relative = [relative, slash].concat();
    let engines = engine_routes();
    let routes = engines.get(kind).unwrap_or_else(|| panic!("{kind} is no engine of ours"));
    routes.iter().any(|route| {
        route.operations.contains(&operation) && pattern::matches(route.pattern, &relative)
    })
}

#[test]
fn what_is_not_served_stands_in_the_list_with_a_reason_and_nothing_else_does() {
    let (inventory, not_there) = (entries(INVENTORY), entries(NOT_THERE));
    for entry in inventory.keys() {
        let (served, listed) = (is_served(*entry), not_there.contains_key(entry));
        assert_ne!(served, listed, "{entry:?}: served {served}, listed as missing {listed}");
    }
    for (entry, reason) in &not_there {
        assert!(inventory.contains_key(entry), "{entry:?} is not in the inventory");
        assert!(reason.len() > 8, "{entry:?} has no reason");
    }
}
