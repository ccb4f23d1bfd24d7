use serde_json::{Value, json};

use super::*;
use crate::fields::Object;
use crate::testing::wrong_bodies;

fn apply(fields: &mut TokenFields, body: &str) -> Result<(), EngineError> {
    let Object(body): Object<TokenFieldsBody> =
        serde_json::from_str(body).map_err(|error| EngineError::from_json(&error))?;
    body.apply(fields)
}

fn view(fields: &TokenFields) -> Value {
    serde_json::to_value(fields.view()).unwrap()
}

fn full() -> TokenFields {
    let mut fields = TokenFields::default();
    let body = json!({
        "token_policies": "ops, Dev,ops",
        "token_ttl": "1h",
        "token_max_ttl": 7200,
        "token_period": "3600",
        "token_explicit_max_ttl": "1d",
        "token_num_uses": "3",
        "token_bound_cidrs": ["10.0.0.0/8", "192.0.2.1"],
        "token_no_default_policy": "true",
        "token_type": "service",
        "token_strictly_bind_ip": true,
    });
    apply(&mut fields, &body.to_string()).unwrap();
    fields
}

#[test]
fn every_field_comes_back_under_its_name() {
    let expected = json!({
        "token_bound_cidrs": ["10.0.0.0/8", "192.0.2.1"],
        "token_explicit_max_ttl": 86400,
        "token_max_ttl": 7200,
        "token_no_default_policy": true,
        "token_num_uses": 3,
        "token_period": 3600,
        "token_policies": ["dev", "ops"],
        "token_strictly_bind_ip": true,
        "token_ttl": 3600,
        "token_type": "service",
    });
    assert_eq!(view(&full()), expected);
    let nothing = view(&TokenFields::default());
    assert_eq!(nothing["token_type"], "default");
    assert_eq!(nothing["token_policies"], json!([]));
    assert_eq!(nothing.as_object().unwrap().len(), 10);
}

#[test]
fn what_is_not_named_stays() {
    let mut fields = full();
    apply(&mut fields, r#"{"token_ttl":60}"#).unwrap();
    let mut expected = full();
    expected.ttl_ms = 60_000;
    assert_eq!(fields, expected);
    apply(&mut fields, r#"{"token_policies":[],"token_bound_cidrs":""}"#).unwrap();
    assert!(fields.policies.is_empty() && fields.bound_cidrs.is_empty());
}

#[test]
fn what_does_not_fit_together_is_refused_in_known_words() {
    let cases = [
        (
            r#"{"token_ttl":2,"token_max_ttl":1}"#,
            "'token_ttl' cannot be greater than 'token_max_ttl'",
        ),
        (
            r#"{"token_type":"batch","token_period":1}"#,
            "'token_type' cannot be 'batch' when set to generate periodic tokens",
        ),
        (
            r#"{"token_type":"batch","token_num_uses":1}"#,
            "'token_type' cannot be 'batch' when set to generate tokens with limited use count",
        ),
    ];
    for (body, message) in cases {
        let error = apply(&mut TokenFields::default(), body).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::InvalidRequest, message));
    }
    let many = vec!["p"; POLICIES_MAX + 1];
    for body in [
        json!({"token_bound_cidrs": "10.0.0.0/33"}),
        json!({"token_type": "hvs"}),
        json!({"token_policies": many}),
        json!({"token_policies": ["p".repeat(TEXT_BYTES_MAX + 1)]}),
    ] {
        let error = apply(&mut TokenFields::default(), &body.to_string()).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest, "{body}");
    }
}

#[test]
fn a_login_carries_the_fields_and_keeps_to_the_networks() {
    let mut fields = full();
    let from = |text: &str| Some(text.parse().unwrap());
    let login = fields.login("anna", BTreeMap::new(), from("::ffff:10.1.2.3")).unwrap();
    assert_eq!(login.bound_cidrs, ["10.1.2.3"], "bound to the address of the login");
    assert_eq!((login.ttl_ms, login.num_uses, login.kind), (3_600_000, 3, TokenKind::Service));
    assert_eq!((login.alias.as_str(), login.display_name.as_str()), ("anna", "anna"));
    for outside in [from("11.0.0.1"), None] {
        let error = fields.login("anna", BTreeMap::new(), outside).unwrap_err();
        assert_eq!(error.code, ErrorCode::PermissionDenied);
    }
    fields.bound_cidrs.clear();
    assert!(fields.login("anna", BTreeMap::new(), None).is_err(), "nothing to bind it to");
    fields.strictly_bind_ip = false;
    assert!(fields.login("anna", BTreeMap::new(), None).unwrap().bound_cidrs.is_empty());
}

/// THREATS row 55: every field with every wrong type.
#[test]
fn row_055_wrong_types_are_refused_without_an_echo() {
    let fields = [
        "token_policies",
        "token_ttl",
        "token_max_ttl",
        "token_period",
        "token_explicit_max_ttl",
        "token_num_uses",
        "token_bound_cidrs",
        "token_no_default_policy",
        "token_type",
        "token_strictly_bind_ip",
    ];
    let bodies = wrong_bodies(&fields);
    let refused = bodies.iter().filter_map(|body| apply(&mut TokenFields::default(), body).err());
    let refused: Vec<_> = refused
        .inspect(|error| {
            assert_eq!(error.code, ErrorCode::InvalidRequest, "{error:?}");
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        })
        .collect();
    assert!(refused.len() > bodies.len() * 2 / 3, "{} of {}", refused.len(), bodies.len());
}

/// The layout on disk: a change here makes stored users unreadable.
#[test]
fn golden_layout() {
    let fields = TokenFields {
        policies: vec!["p".into()],
        ttl_ms: 1,
        max_ttl_ms: 2,
        period_ms: 3,
        explicit_max_ttl_ms: 4,
        num_uses: 5,
        bound_cidrs: vec!["c".into()],
        no_default_policy: true,
        kind: 2,
        strictly_bind_ip: true,
    };
    let bytes = fields.encode_to_vec();
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text, "0a01701001180220032804300 53a0163400148025001".replace(' ', ""));
    assert_eq!(TokenFields::decode(bytes.as_slice()), Ok(fields));
}
