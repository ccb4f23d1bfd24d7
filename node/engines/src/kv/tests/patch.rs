use super::*;

fn patch(mount: &mut Mount, path: &str, body: &Value) -> Result<Value, EngineError> {
    mount.call(Operation::Patch, path, body)
}

#[test]
fn a_patch_writes_the_next_version() {
    let mut mount = mount();
    mount.write("data/app", &json!({"data": {"a": 1, "b": {"c": 2, "d": 3}}})).unwrap();
    let body = json!({"data": {"b": {"c": null}, "e": [4]}, "options": {"cas": 1}});
    let written = patch(&mut mount, "data/app", &body).unwrap();
    let expected = json!({
        "created_time": "2018-03-22T02:24:27.945Z",
        "custom_metadata": null,
        "deletion_time": "",
        "destroyed": false,
        "version": 2,
    });
    assert_eq!(written, expected);
    let read = mount.read("data/app", &[]).unwrap();
    assert_eq!(read["data"], json!({"a": 1, "b": {"d": 3}, "e": [4]}));
    assert_eq!(mount.read("data/app", &[("version", "1")]).unwrap()["data"]["a"], 1);
}

#[test]
fn what_is_not_there_cannot_be_patched() {
    let mut mount = mount();
    let body = json!({"data": {"a": 1}});
    let missing = patch(&mut mount, "data/app", &body).unwrap_err();
    assert_eq!((missing.code, missing.data), (ErrorCode::NotFound, None));
    mount.write("metadata/app", &json!({"max_versions": 3})).unwrap();
    assert_eq!(code(patch(&mut mount, "data/app", &body)), ErrorCode::NotFound);
    for gone in ["delete", "destroy"] {
        mount.put("app", 1).unwrap();
        let version = mount.read("metadata/app", &[]).unwrap()["current_version"].clone();
        mount.write(&format!("{gone}/app"), &json!({"versions": [version]})).unwrap();
        let error = patch(&mut mount, "data/app", &body).unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound, "{gone}");
        let data: Value = serde_json::from_slice(&error.data.unwrap()).unwrap();
        assert_eq!(data["version"], version);
        assert_eq!(data["destroyed"], gone == "destroy");
    }
}

#[test]
fn a_patch_keeps_to_check_and_set() {
    let mut mount = mount();
    mount.put("app", 1).unwrap();
    mount.write("config", &json!({"cas_required": true})).unwrap();
    let mut patched = |options: Value| {
        let body = json!({"data": {"value": 2}, "options": options});
        patch(&mut mount, "data/app", &body).map_err(|error| error.message)
    };
    assert_eq!(patched(json!({})), Err("check-and-set parameter required for this call".into()));
    assert_eq!(
        patched(json!({"cas": 2})),
        Err("check-and-set parameter did not match the current version".into())
    );
    assert_eq!(patched(json!({"cas": 1})).unwrap()["version"], 2);
    let none = patch(&mut mount, "data/app", &json!({})).unwrap_err();
    assert_eq!(none.message, "no data provided");
}

#[test]
fn a_patched_secret_has_a_size_too() {
    let mut mount = mount();
    let half = "x".repeat(600 << 10);
    mount.write("data/app", &json!({"data": {"a": half}})).unwrap();
    let error = patch(&mut mount, "data/app", &json!({"data": {"b": half}})).unwrap_err();
    assert_eq!(error.code, ErrorCode::TooLarge);
    assert_eq!(mount.read("metadata/app", &[]).unwrap()["current_version"], 1);
}

#[test]
fn metadata_is_patched_field_by_field() {
    let mut mount = mount();
    let settings = json!({
        "max_versions": 5,
        "cas_required": true,
        "delete_version_after": "1h",
        "custom_metadata": {"a": "1", "b": "2"},
    });
    mount.write("metadata/app", &settings).unwrap();
    let change = json!({"max_versions": null, "custom_metadata": {"a": null, "c": "3"}});
    assert_eq!(patch(&mut mount, "metadata/app", &change).unwrap(), Value::Null);
    let read = mount.read("metadata/app", &[]).unwrap();
    assert_eq!(read["custom_metadata"], json!({"b": "2", "c": "3"}));
    assert_eq!((&read["max_versions"], &read["cas_required"]), (&json!(0), &json!(true)));
    assert_eq!(read["delete_version_after"], "1h0m0s");
    let rest = json!({"custom_metadata": null, "cas_required": null, "delete_version_after": null});
    patch(&mut mount, "metadata/app", &rest).unwrap();
    let read = mount.read("metadata/app", &[]).unwrap();
    assert_eq!(read["custom_metadata"], Value::Null);
    assert_eq!(
        (&read["cas_required"], &read["delete_version_after"]),
        (&json!(false), &json!("0s"))
    );
    let missing = patch(&mut mount, "metadata/none", &json!({"max_versions": 1}));
    assert_eq!(code(missing), ErrorCode::NotFound);
}

#[test]
fn custom_metadata_is_bounded() {
    let mut mount = mount();
    mount.write("metadata/app", &json!({"custom_metadata": {"a": "1"}})).unwrap();
    let many: BTreeMap<_, _> = (0..64).map(|key| (key.to_string(), "1")).collect();
    for custom in [
        json!({"": "1"}),
        json!({"a": ""}),
        json!({"a": "\n"}),
        json!({"k".repeat(129): "1"}),
        json!({"k": "1".repeat(513)}),
        json!({"k": null, "l": 1}),
        json!(many),
    ] {
        let error = patch(&mut mount, "metadata/app", &json!({"custom_metadata": custom}));
        assert_eq!(code(error), ErrorCode::InvalidRequest, "{custom}");
    }
    let error = mount.write("metadata/app", &json!({"custom_metadata": {"": "1"}})).unwrap_err();
    assert!(error.message.starts_with("custom_metadata validation failed"));
}

#[test]
fn metadata_has_a_check_and_set_of_its_own() {
    let mismatch = "metadata check-and-set parameter does not match the current version";
    let required = "metadata check-and-set parameter required for this call";
    let mut mount = mount();
    mount.put("app", 1).unwrap();
    let version = |mount: &mut Mount| {
        mount.read("metadata/app", &[]).unwrap()["current_metadata_version"].clone()
    };
    assert_eq!(version(&mut mount), 0, "a write of data is none of metadata");
    let change = |cas: u64| json!({"metadata_cas": cas, "max_versions": 4});
    assert_eq!(mount.write("metadata/app", &change(1)).unwrap_err().message, mismatch);
    mount.write("metadata/app", &change(0)).unwrap();
    assert_eq!(version(&mut mount), 1);
    for body in [json!({}), json!({"metadata_cas": 99})] {
        mount.write("metadata/app", &body).unwrap();
        patch(&mut mount, "metadata/app", &body).unwrap();
    }
    assert_eq!(version(&mut mount), 1, "nothing to change is no change");
    patch(&mut mount, "metadata/app", &json!({"metadata_cas": 1, "metadata_cas_required": true}))
        .unwrap();
    let error = mount.write("metadata/app", &json!({"max_versions": 1})).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::CasMismatch, required));
    mount.put("app", 2).unwrap();
    mount.write("metadata/new", &json!({"metadata_cas": 0, "max_versions": 1})).unwrap();
    let wrong = json!({"metadata_cas": 1, "max_versions": 1});
    assert_eq!(mount.write("metadata/newer", &wrong).unwrap_err().message, mismatch);
    assert_eq!(code(mount.read("metadata/newer", &[])), ErrorCode::NotFound);
}

#[test]
fn what_the_mount_demands_is_said_as_a_warning() {
    let mut mount = mount();
    let demands = json!({"cas_required": true, "metadata_cas_required": true});
    mount.write("config", &demands).unwrap();
    let body = br#"{"cas_required":false,"metadata_cas_required":false,"metadata_cas":0}"#;
    let response = mount.call_raw(Operation::Write, "metadata/app", body, &[]).unwrap();
    let expected = ["cas_required", "metadata_cas_required"].map(|field| {
        format!(
            "\"{field}\" set to false, but is mandated by backend config. This value will be \
             ignored."
        )
    });
    assert_eq!(response.warnings, expected);
    let error = mount.write("metadata/app", &json!({"max_versions": 1})).unwrap_err();
    assert_eq!(error.message, "metadata check-and-set parameter required for this call");
}

#[test]
fn subkeys_show_no_value() {
    let mut mount = mount();
    let data = json!({"a": 1, "b": {"c": "x", "d": {"e": null}}, "f": [{"g": 1}], "h": {}});
    mount.write("data/app", &json!({"data": data})).unwrap();
    let mut subkeys = |depth: &str| mount.read("subkeys/app", &[("depth", depth)]).unwrap();
    let whole = json!({"a": null, "b": {"c": null, "d": {"e": null}}, "f": null, "h": null});
    let expected = json!({
        "subkeys": whole,
        "metadata": {
            "created_time": "2018-03-22T02:24:26.945Z",
            "custom_metadata": null,
            "deletion_time": "",
            "destroyed": false,
            "version": 1,
        },
    });
    assert_eq!(subkeys("0"), expected);
    assert_eq!(subkeys("18446744073709551615"), expected);
    let levels = [
        json!({"a": null, "b": null, "f": null, "h": null}),
        json!({"a": null, "b": {"c": null, "d": null}, "f": null, "h": null}),
    ];
    assert_eq!(subkeys("1")["subkeys"], levels[0]);
    assert_eq!(subkeys("2")["subkeys"], levels[1]);
    for depth in ["-1", "x", ""] {
        let answer = mount.read("subkeys/app", &[("depth", depth)]);
        assert_eq!(code(answer), ErrorCode::InvalidRequest);
    }
}

#[test]
fn subkeys_follow_versions_and_deletion() {
    let mut mount = mount();
    mount.write("data/app", &json!({"data": {"old": 1}})).unwrap();
    mount.write("data/app", &json!({"data": {"new": 1}})).unwrap();
    let old = mount.read("subkeys/app", &[("version", "1")]).unwrap();
    assert_eq!(old["subkeys"], json!({"old": null}));
    mount.call(Operation::Delete, "data/app", &json!({})).unwrap();
    let error = mount.read("subkeys/app", &[]).unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    let data: Value = serde_json::from_slice(&error.data.unwrap()).unwrap();
    assert_eq!((&data["subkeys"], &data["metadata"]["version"]), (&Value::Null, &json!(2)));
    for (name, version) in [("app", "7"), ("none", "1")] {
        let answer = mount.read(&format!("subkeys/{name}"), &[("version", version)]);
        assert_eq!(code(answer), ErrorCode::NotFound);
    }
}

/// THREATS row 49: what is nested without a bottom costs no stack.
#[test]
fn row_049_deep_secrets_are_shown_and_patched_without_recursion_without_a_bound() {
    let mut mount = mount();
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let body = format!("{{\"data\":{{\"a\":{deep}}}}}");
    let written = mount.call_raw(Operation::Write, "data/app", body.as_bytes(), &[]);
    if written.is_ok() {
        let shape = mount.call_raw(Operation::Read, "subkeys/app", b"", &[]).unwrap();
        assert!(shape.data.unwrap().len() < 2000);
        let patched = mount.call_raw(Operation::Patch, "data/app", body.as_bytes(), &[]);
        assert_eq!(patched.unwrap_err().code, ErrorCode::InvalidRequest);
    }
    let patch = br#"{"data":{"b":1}}"#;
    mount.put("other", 1).unwrap();
    mount.call_raw(Operation::Patch, "data/other", patch, &[]).unwrap();
}
