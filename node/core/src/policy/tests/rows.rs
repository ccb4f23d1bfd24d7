//! THREATS §1: what went wrong elsewhere, as far as policies alone can show it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::policy::{
    Acl, AliasView, Capability, GroupView, IdentityView, Page, PageLimit, Policy, Question,
};

fn acl(text: &str, caller: Option<&IdentityView>) -> Acl {
    Acl::compile(&[Arc::new(Policy::parse("p", text).unwrap())], caller, 0)
}

fn may(acl: &Acl, capability: Capability, path: &str) -> bool {
    acl.decide(&Question::new(path, capability)).allowed
}

fn with_scope(scope: &str) -> IdentityView {
    let metadata: BTreeMap<_, _> = [("scope".into(), scope.into())].into();
    let alias = AliasView { metadata: metadata.clone(), ..AliasView::default() };
    let group = GroupView { id: "g".into(), name: scope.into(), metadata: metadata.clone() };
    IdentityView {
        id: "e".into(),
        name: scope.into(),
        metadata,
        aliases: [("m".into(), alias)].into(),
        groups: vec![group],
    }
}

const SCOPES: [&str; 5] = [
    "identity.entity.metadata.scope",
    "identity.entity.name",
    "identity.entity.aliases.m.metadata.scope",
    "identity.groups.ids.g.name",
    "identity.groups.ids.g.metadata.scope",
];

/// Row 3: a rule that denies everything below a path denies listing the path. However it is spelled,
/// the canonical path of a LIST ends in a slash.
#[test]
fn row_003_list_does_not_slip_past_a_deny() {
    for deny in ["kv/metadata/p/*", "kv/+/p/*", "kv/metadata/p/", "kv/metadata/p", "kv/metadata/p*"]
    {
        let text = format!(
            "path \"kv/metadata/*\" {{ capabilities = [\"list\", \"scan\"] }}\n\
             path \"{deny}\" {{ capabilities = [\"deny\"] }}"
        );
        // The first rule goes before a '+' that stands further left; that is documented.
        let expected = deny == "kv/+/p/*";
        for capability in [Capability::List, Capability::Scan] {
            let allowed = may(&acl(&text, None), capability, "kv/metadata/p/");
            assert_eq!(allowed, expected, "{deny}");
        }
    }
}

/// Row 4: no limit gets around the policy's.
#[test]
fn row_004_page_limits_hold() {
    let acl = acl("path \"kv/*\" {\n capabilities = [\"list\"]\n pagination_limit = 10\n}", None);
    let ask = |limit| acl.decide(&Question { limit, ..Question::new("kv/", Capability::List) });
    for bad in [json!(0), json!("0"), json!(-1), json!("-1"), json!(1e30), json!("1e30"), json!(11)]
    {
        assert!(!ask(PageLimit::of(Some(&bad))).allowed, "{bad}");
    }
    for (open, page) in [(PageLimit::Absent, 10), (PageLimit::Max, 10)] {
        assert_eq!(ask(open).page, Page::AtMost(page));
    }
    assert!(ask(PageLimit::Count(10)).allowed);
}

/// Row 8: a value adds no segments.
#[test]
fn row_008_a_slash_in_a_value_grants_nothing() {
    for selector in SCOPES {
        let text = format!("path \"kv/data/{{{{{selector}}}}}/*\" {{ policy = \"write\" }}");
        assert!(may(&acl(&text, Some(&with_scope("edge"))), Capability::Read, "kv/data/edge/x"));
        for value in ["edge/core", "/edge", "..", "edge/", "edge\\core", "edge%2fcore"] {
            let acl = acl(&text, Some(&with_scope(value)));
            for path in ["kv/data/edge/core/x", "kv/data/edge/x", "kv/data/core/x"] {
                assert!(!may(&acl, Capability::Read, path), "{selector} {value} {path}");
            }
        }
    }
}

/// Row 9: a value widens no rule.
#[test]
fn row_009_wildcards_in_a_value_grant_nothing() {
    for selector in SCOPES {
        let text = format!("path \"kv/data/{{{{{selector}}}}}/*\" {{ policy = \"write\" }}");
        for value in ["*", "+", "a*", "+b", "\n", "a\0", "\u{202e}", "{{identity.entity.id}}"] {
            let acl = acl(&text, Some(&with_scope(value)));
            for path in ["kv/data/other/x", "kv/data/a/x", "kv/data/e/x"] {
                assert!(!may(&acl, Capability::Read, path), "{selector} {value:?} {path}");
            }
            assert_eq!(acl.capabilities("kv/data/other/x"), ["deny"]);
        }
    }
}

/// Row 10: a rule that denies does not go away with its template.
#[test]
fn row_010_a_failed_deny_refuses_everything() {
    for selector in SCOPES {
        let text = format!(
            "path \"kv/*\" {{ policy = \"write\" }}\n\
             path \"kv/data/{{{{{selector}}}}}/*\" {{ policy = \"deny\" }}"
        );
        let good = acl(&text, Some(&with_scope("mine")));
        assert!(may(&good, Capability::Read, "kv/data/other/x"));
        assert!(!may(&good, Capability::Read, "kv/data/mine/x"));
        for value in ["*", "a/b", "+"] {
            let acl = acl(&text, Some(&with_scope(value)));
            for path in ["kv/data/other/x", "kv/x", "sys/mounts"] {
                assert!(!may(&acl, Capability::Read, path), "{selector} {value} {path}");
            }
            assert!(!acl.shows_mount("kv/"));
        }
        let nobody = acl(&text, None);
        assert!(!may(&nobody, Capability::Read, "kv/data/other/x"), "it may have been denied");
        assert!(may(&nobody, Capability::Read, "kv/x"), "it cannot have been");
    }
}

/// Rows 11 and 16: an alias is that of its mount, and no other's metadata shows.
#[test]
fn row_011_each_mount_has_its_own_alias() {
    let mut caller = with_scope("first");
    let second = AliasView {
        name: "second".into(),
        metadata: [("only".into(), "here".into())].into(),
        ..AliasView::default()
    };
    caller.aliases.insert("n".into(), second);
    let text = "path \"kv/{{identity.entity.aliases.n.name}}/x\" { policy = \"read\" }\n\
                path \"kv/{{identity.entity.aliases.n.metadata.scope}}/y\" { policy = \"read\" }\n\
                path \"kv/{{identity.entity.aliases.m.metadata.only}}/z\" { policy = \"read\" }";
    let acl = acl(text, Some(&caller));
    assert!(may(&acl, Capability::Read, "kv/second/x"));
    for path in ["kv/first/x", "kv/first/y", "kv/here/z", "kv/second/y"] {
        assert!(!may(&acl, Capability::Read, path), "{path}");
    }
}

/// Row 105: neither case nor nesting nor lists get a value past the rules.
#[test]
fn row_105_parameters_are_judged_in_every_spelling() {
    let acl = acl(
        "path \"auth/token/create\" {\n  capabilities = [\"update\"]\n  denied_parameters = { \
         \"policies\" = [\"root\", \"admin*\"] }\n}",
        None,
    );
    let ask = |sent: serde_json::Value| {
        let parameters = sent.as_object();
        let question = Question::new("auth/token/create", Capability::Update);
        acl.decide(&Question { parameters, ..question }).allowed
    };
    for sent in [
        json!({"policies": "root"}),
        json!({"Policies": "root"}),
        json!({"policies": "dev", "POLICIES": ["x", "admin-2"]}),
        json!({"policies": "dev, root"}),
        json!({"policies": ["dev,root"]}),
    ] {
        assert!(!ask(sent.clone()), "{sent}");
    }
    assert!(ask(json!({"policies": ["dev"], "ttl": "1h"})));
}
