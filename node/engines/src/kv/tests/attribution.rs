use super::*;

#[test]
fn metadata_tells_who_did_what() {
    let mut mount = mount().called_by("userpass-anna");
    mount.caller.entity_id = "entity-1".into();
    mount.put("app", 1).unwrap();
    mount.caller.display_name = "userpass-bert".into();
    mount.caller.entity_id.clear();
    mount.put("app", 2).unwrap();
    mount.write("delete/app", &json!({"versions": [1]})).unwrap();
    mount.write("destroy/app", &json!({"versions": [2]})).unwrap();
    let anna = json!({"actor": "userpass-anna", "client_id": "entity-1"});
    let bert = json!({"actor": "userpass-bert"});
    let metadata = mount.read("metadata/app", &[]).unwrap();
    let expected = json!({
        "1": {
            "created_by": anna,
            "created_time": "2018-03-22T02:24:26.945Z",
            "deleted_by": bert,
            "deletion_time": "2018-03-22T02:24:28.945Z",
            "destroyed": false,
        },
        "2": {
            "created_by": bert,
            "created_time": "2018-03-22T02:24:27.945Z",
            "deletion_time": "",
            "destroyed": true,
            "destroyed_by": bert,
        },
    });
    assert_eq!(metadata["versions"], expected);
    assert_eq!(metadata["last_updated_by"], bert);
    mount.write("undelete/app", &json!({"versions": [1]})).unwrap();
    let metadata = mount.read("metadata/app", &[]).unwrap();
    assert_eq!(metadata["versions"]["1"].get("deleted_by"), None);
    let text = mount.read("metadata/app", &[]).unwrap().to_string();
    assert!(!text.contains("accessor") && !text.contains("token"), "{text}");
}

#[test]
fn who_is_named_no_more_is_forgotten() {
    let mut mount = mount();
    mount.write("metadata/app", &json!({"max_versions": 2})).unwrap();
    for number in 0..50 {
        mount.caller.display_name = format!("user-{number}");
        mount.put("app", number).unwrap();
    }
    let record = NameRecord::decode(mount.rows.rows["names/app"].clone()).unwrap();
    let names: Vec<_> = record.actors.iter().map(|actor| actor.name.as_str()).collect();
    assert_eq!(names, ["user-48", "user-49"]);
}

#[test]
fn a_time_that_came_is_nobodys_deed() {
    let mut mount = mount().called_by("anna");
    mount.write("metadata/app", &json!({"delete_version_after": "1s"})).unwrap();
    mount.put("app", 1).unwrap();
    mount.now_ms += 5_000;
    mount.call(Operation::Delete, "data/app", &json!({})).unwrap();
    let version = mount.read("metadata/app", &[]).unwrap()["versions"]["1"].clone();
    assert_eq!(version.get("deleted_by"), None);
    assert_eq!(version["deletion_time"], "2018-03-22T02:24:28.945Z");
}
