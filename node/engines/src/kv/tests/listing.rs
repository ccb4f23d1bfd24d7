use std::sync::Arc;

use conclave_mount::testing::May;

use super::*;

fn filled(options: &[(&str, &str)]) -> Mount {
    let mut mount = Mount::new(Kv::new(), options);
    for name in ["a", "a/b", "a/c/d", "z"] {
        mount.put(name, 1).unwrap();
    }
    mount
}

#[test]
fn names_are_listed_by_directory() {
    let mut mount = filled(&[("version", "2")]);
    let mut list = |path: &str, query: &[(&str, &str)]| mount.names(Operation::List, path, query);
    let shown = |names: &[&str], more| {
        (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), more)
    };
    assert_eq!(list("metadata/", &[]).unwrap(), shown(&["a", "a/", "z"], false));
    assert_eq!(list("metadata/a/", &[]).unwrap(), shown(&["b", "c/"], false));
    assert_eq!(list("metadata/", &[("limit", "1")]).unwrap(), shown(&["a"], true));
    assert_eq!(list("metadata/", &[("after", "a/")]).unwrap(), shown(&["z"], false));
    assert_eq!(code(list("metadata/none/", &[])), ErrorCode::NotFound);
    for limit in ["0", "-1", "1e30", "", "100001"] {
        assert_eq!(code(list("metadata/", &[("limit", limit)])), ErrorCode::InvalidRequest);
    }
}

#[test]
fn a_scan_lists_everything_below() {
    let mut mount = filled(&[("version", "2")]);
    let mut scan =
        |path: &str, query: &[(&str, &str)]| mount.names(Operation::Scan, path, query).unwrap();
    assert_eq!(scan("metadata/", &[]).0, ["a", "a/b", "a/c/d", "z"]);
    assert_eq!(scan("metadata/a/", &[]).0, ["b", "c/d"]);
    let first = scan("metadata/", &[("limit", "2")]);
    assert_eq!(first, (vec!["a".to_owned(), "a/b".to_owned()], true));
    let rest = scan("metadata/", &[("limit", "2"), ("after", "a/b")]);
    assert_eq!(rest, (vec!["a/c/d".to_owned(), "z".to_owned()], false));
}

#[test]
fn details_come_with_the_names() {
    let mut mount = filled(&[("version", "2")]);
    mount.write("metadata/z", &json!({"custom_metadata": {"owner": "team"}})).unwrap();
    let listed = mount.call(Operation::List, "detailed-metadata/", &json!({})).unwrap();
    assert_eq!(listed["keys"], json!(["a", "a/", "z"]));
    let infos = listed["key_info"].as_object().unwrap();
    assert_eq!(infos.keys().collect::<Vec<_>>(), ["a", "z"], "a directory has no metadata");
    assert_eq!(infos["z"], mount.read("metadata/z", &[]).unwrap());
    let scanned = mount.call(Operation::Scan, "detailed-metadata/a/", &json!({})).unwrap();
    assert_eq!(scanned["keys"], json!(["b", "c/d"]));
    assert_eq!(scanned["key_info"]["c/d"], mount.read("metadata/a/c/d", &[]).unwrap());
    let limited = mount.names(Operation::List, "detailed-metadata/", &[("limit", "1")]);
    assert_eq!(limited.unwrap(), (vec!["a".to_owned()], true));
    let none = mount.names(Operation::List, "detailed-metadata/none/", &[]);
    assert_eq!(code(none), ErrorCode::NotFound);
    let above = mount.names(Operation::List, "detailed-metadata/", &[("limit", "1001")]);
    assert_eq!(code(above), ErrorCode::InvalidRequest);
}

#[test]
fn details_are_bounded_by_versions_too() {
    let mut mount = mount();
    mount.write("config", &json!({"max_versions": VERSIONS_MAX})).unwrap();
    let version = |number| VersionMetadata { number, ..VersionMetadata::default() };
    let record = NameRecord {
        object_id: Bytes::from_static(&[1; 15]),
        versions: (1..=VERSIONS_MAX).map(version).collect(),
        ..NameRecord::default()
    };
    for name in 0..20 {
        let row = record.encode_to_vec().into();
        mount.rows.rows.insert(format!("names/{name:02}"), row);
    }
    let (keys, more) = mount.names(Operation::List, "detailed-metadata/", &[]).unwrap();
    assert_eq!((keys.len(), more), (11, true));
}

#[test]
fn lists_show_only_what_may_be_read_where_the_mount_says_so() {
    let mut mount = filled(&[("version", "2"), ("list_filter", "true")]);
    let may = |operation: Option<Operation>, path: &str| match operation {
        Some(Operation::List) => path == "metadata/a/",
        Some(Operation::Read) => matches!(path, "data/a/b" | "metadata/a/c/d" | "data/z"),
        _ => false,
    };
    mount.caller.rights = Some(Arc::new(May(may)));
    let mut names = |operation, path: &str| mount.names(operation, path, &[]);
    assert_eq!(names(Operation::List, "metadata/").unwrap().0, ["a/", "z"]);
    assert_eq!(names(Operation::List, "metadata/a/").unwrap().0, ["b"]);
    assert_eq!(names(Operation::Scan, "metadata/").unwrap().0, ["a/b", "a/c/d", "z"]);
    assert_eq!(names(Operation::Scan, "detailed-metadata/").unwrap().0, ["a/b", "a/c/d", "z"]);
    mount.view.options.insert("list_filter".into(), "false".into());
    assert_eq!(mount.names(Operation::List, "metadata/", &[]).unwrap().0, ["a", "a/", "z"]);
}

#[test]
fn who_may_read_nothing_is_shown_nothing() {
    let mut mount = filled(&[("version", "2"), ("list_filter", "true")]);
    for nobody in [None, Some(Arc::new(May(|_: Option<Operation>, _: &str| false)) as _)] {
        mount.caller.rights = nobody;
        for operation in [Operation::List, Operation::Scan] {
            let error = mount.names(operation, "metadata/", &[]).unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (ErrorCode::NotFound, ""));
        }
    }
}
