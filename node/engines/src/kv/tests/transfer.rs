use std::sync::Arc;

use conclave_mount::testing::May;

use super::*;

fn filled() -> Mount {
    let mut mount = mount().called_by("anna");
    for value in 1..=3 {
        mount.put("a/x", value).unwrap();
    }
    mount.put("a", 9).unwrap();
    mount.put("a/d/y", 5).unwrap();
    mount.put("other", 7).unwrap();
    mount.write("delete/a/x", &json!({"versions": [2]})).unwrap();
    mount.write("metadata/a/x", &json!({"custom_metadata": {"k": "v"}})).unwrap();
    mount
}

fn history(mount: &mut Mount, name: &str) -> Value {
    let metadata = mount.read(&format!("metadata/{name}"), &[]).unwrap();
    json!([metadata["versions"], metadata["custom_metadata"], metadata["current_version"]])
}

#[test]
fn a_move_takes_the_history_along_and_rewrites_no_version() {
    let mut mount = filled();
    let before = history(&mut mount, "a/x");
    let versions: BTreeMap<_, _> = mount.rows.rows.clone();
    let moved = mount.write("move/a/x", &json!({"to": "b/new"})).unwrap();
    assert_eq!(moved, json!({"names": 1}));
    assert_eq!(history(&mut mount, "b/new"), before);
    assert_eq!(code(mount.read("metadata/a/x", &[])), ErrorCode::NotFound);
    assert_eq!((mount.value("b/new", "3"), mount.value("b/new", "1")), (Ok(3), Ok(1)));
    assert_eq!(mount.value("b/new", "2"), Err(ErrorCode::NotFound));
    let objects = |rows: &BTreeMap<String, Bytes>| {
        rows.iter().filter(|(path, _)| path.starts_with("objects/")).count()
    };
    assert_eq!(objects(&mount.rows.rows), objects(&versions));
    let kept = versions.iter().filter(|(path, _)| path.starts_with("objects/"));
    assert!(kept.into_iter().all(|(path, row)| mount.rows.rows.get(path) == Some(row)));
    mount.put("a/x", 1).unwrap();
    assert_eq!(mount.value("b/new", "1"), Ok(1), "the old name shares nothing with the new one");
}

#[test]
fn a_copy_has_a_history_of_its_own() {
    let mut mount = filled();
    let before = history(&mut mount, "a/x");
    assert_eq!(mount.write("copy/a/x", &json!({"to": "b"})).unwrap(), json!({"names": 1}));
    assert_eq!(history(&mut mount, "a/x"), before);
    assert_eq!(history(&mut mount, "b"), before);
    mount.write("undelete/b", &json!({"versions": [2]})).unwrap();
    assert_eq!(mount.value("b", "2"), Ok(2));
    assert_eq!(mount.value("a/x", "2"), Err(ErrorCode::NotFound));
    mount.call(Operation::Delete, "metadata/a/x", &json!({})).unwrap();
    assert_eq!(mount.value("b", "3"), Ok(3));
    mount.call(Operation::Delete, "metadata/b", &json!({})).unwrap();
    let left: Vec<_> = mount.rows.rows.keys().filter(|row| row.starts_with("names/")).collect();
    assert_eq!(left, ["names/a", "names/a/d/y", "names/other"]);
    assert_eq!(mount.rows.rows.len(), 6, "no version is left behind");
}

/// THREATS row 106: what was destroyed stays destroyed, under every name.
#[test]
fn row_106_destroyed_versions_come_back_under_no_name() {
    let mut mount = filled();
    mount.write("destroy/a/x", &json!({"versions": [1]})).unwrap();
    mount.write("copy/a/x", &json!({"to": "b"})).unwrap();
    mount.write("move/a/x", &json!({"to": "c"})).unwrap();
    for name in ["b", "c"] {
        mount.write(&format!("undelete/{name}"), &json!({"versions": [1, 2]})).unwrap();
        assert_eq!(mount.value(name, "1"), Err(ErrorCode::NotFound), "{name}");
        assert_eq!(mount.value(name, "2"), Ok(2), "{name}");
    }
}

#[test]
fn everything_below_goes_at_once() {
    for (verb, left) in [("move", vec!["other"]), ("copy", vec!["a", "a/d/y", "a/x", "other"])] {
        let mut mount = filled();
        let body = json!({"to": "b/c", "recursive": true});
        let answer = mount.write(&format!("{verb}/a"), &body).unwrap();
        assert_eq!(answer, json!({"names": 3}));
        assert_eq!(mount.value("b/c", "0"), Ok(9));
        assert_eq!(mount.value("b/c/d/y", "0"), Ok(5));
        assert_eq!(mount.value("b/c/x", "0"), Ok(3));
        let mut expected: Vec<_> = left.iter().map(|name| (*name).to_owned()).collect();
        expected.extend(["b/c", "b/c/d/y", "b/c/x"].map(str::to_owned));
        expected.sort();
        assert_eq!(mount.names(Operation::Scan, "metadata/", &[]).unwrap().0, expected);
        let objects: std::collections::BTreeSet<_> = mount
            .rows
            .rows
            .iter()
            .filter(|(path, _)| path.starts_with("names/"))
            .map(|(_, row)| NameRecord::decode(row.clone()).unwrap().object_id)
            .collect();
        assert_eq!(objects.len(), expected.len(), "every name has an object of its own");
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_half_done() {
    let mut mount = filled();
    mount.put("b/d/y", 1).unwrap();
    let before = mount.rows.rows.clone();
    let recursive = json!({"to": "b", "recursive": true});
    for verb in ["move", "copy"] {
        assert_eq!(code(mount.write(&format!("{verb}/a"), &recursive)), ErrorCode::CasMismatch);
        let body = json!({"to": "other"});
        assert_eq!(code(mount.write(&format!("{verb}/a"), &body)), ErrorCode::CasMismatch);
        let body = json!({"to": "new", "cas": 1});
        assert_eq!(code(mount.write(&format!("{verb}/a/x"), &body)), ErrorCode::CasMismatch);
        let body = json!({"to": "new"});
        assert_eq!(code(mount.write(&format!("{verb}/none"), &body)), ErrorCode::NotFound);
        let body = json!({"to": "new", "recursive": true});
        assert_eq!(code(mount.write(&format!("{verb}/none"), &body)), ErrorCode::NotFound);
    }
    assert!(mount.rows.rows == before);
    mount.write("move/a/x", &json!({"to": "new", "cas": "3"})).unwrap();
}

#[test]
fn names_that_no_request_could_have_are_refused() {
    let mut mount = filled();
    let deep = vec!["d"; 63].join("/");
    let mut bodies = vec![
        json!({}),
        json!({"to": "a/x"}),
        json!({"to": "a/x/below", "recursive": true}),
        json!({"to": "a", "recursive": true}),
        json!({"to": "new", "recursive": true, "cas": 3}),
        json!({"to": deep}),
    ];
    for to in ["", "/", "b/", "/b", "b//c", "..", "b/../c", "b\\c", "b%2fc", "b\u{200b}", "b\n"] {
        bodies.push(json!({ "to": to }));
    }
    for body in bodies {
        for verb in ["move", "copy"] {
            let answer = mount.write(&format!("{verb}/a/x"), &body);
            assert_eq!(code(answer), ErrorCode::InvalidRequest, "{verb} {body}");
        }
    }
}

/// THREATS row 1: the policy is asked about the names that are touched, as they will be stored.
#[test]
fn row_001_a_move_needs_what_its_parts_would_need() {
    type Part = (Option<Operation>, &'static str);
    let needed: [Part; 5] = [
        (Some(Operation::Read), "data/a/x"),
        (Some(Operation::Read), "metadata/a/x"),
        (Some(Operation::Delete), "metadata/a/x"),
        (None, "data/b"),
        (None, "metadata/b"),
    ];
    for missing in 0..=needed.len() {
        let may = move |operation: Option<Operation>, path: &str| {
            let place = needed.iter().position(|part| *part == (operation, path));
            place.is_some_and(|place| place != missing)
        };
        for (verb, fine) in [("move", missing == 5), ("copy", missing == 5 || missing == 2)] {
            let mut mount = filled();
            mount.caller.rights = Some(Arc::new(May(may)));
            let answer = mount.write(&format!("{verb}/a/x"), &json!({"to": "b"}));
            match fine {
                true => assert_eq!(answer.unwrap(), json!({"names": 1})),
                false => assert_eq!(code(answer), ErrorCode::PermissionDenied, "{verb} {missing}"),
            }
        }
    }
    let mut mount = filled();
    mount.caller.rights = None;
    for name in ["a/x", "none"] {
        let answer = mount.write(&format!("move/{name}"), &json!({"to": "b"}));
        assert_eq!(code(answer), ErrorCode::PermissionDenied, "what is there is not told");
    }
}

#[test]
fn below_a_path_every_name_is_asked_about() {
    let may = |operation: Option<Operation>, path: &str| {
        !(operation == Some(Operation::Read) && path == "data/a/d/y")
    };
    let mut mount = filled();
    mount.caller.rights = Some(Arc::new(May(may)));
    let before = mount.rows.rows.clone();
    let body = json!({"to": "b", "recursive": true});
    for verb in ["move", "copy"] {
        let answer = mount.write(&format!("{verb}/a"), &body);
        assert_eq!(code(answer), ErrorCode::PermissionDenied);
    }
    assert!(mount.rows.rows == before);
    let list = |operation: Option<Operation>, _: &str| operation != Some(Operation::List);
    mount.caller.rights = Some(Arc::new(May(list)));
    assert_eq!(code(mount.write("copy/a", &body)), ErrorCode::PermissionDenied);
}

#[test]
fn what_does_not_fit_into_one_entry_is_refused_whole() {
    let mut mount = mount();
    for name in ["big/a", "big/b"] {
        let data = json!({"data": {"value": "x".repeat(600 << 10)}});
        mount.write(&format!("data/{name}"), &data).unwrap();
    }
    let body = json!({"to": "new", "recursive": true});
    assert_eq!(code(mount.write("copy/big", &body)), ErrorCode::TooLarge);
    assert_eq!(mount.write("move/big", &body).unwrap(), json!({"names": 2}));
    for name in 0..=1_000 {
        mount.put(&format!("many/{name}"), 1).unwrap();
    }
    let body = json!({"to": "more", "recursive": true});
    assert_eq!(code(mount.write("move/many", &body)), ErrorCode::TooLarge);
    mount.call(Operation::Delete, "metadata/many/7", &json!({})).unwrap();
    assert_eq!(mount.write("move/many", &body).unwrap(), json!({"names": 1000}));
}
