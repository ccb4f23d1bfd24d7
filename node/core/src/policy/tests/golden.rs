//! Texts that people read: explanations, errors, warnings.

use std::sync::Arc;

use crate::policy::{
    Acl, Capability, Denial, Doubt, Explanation, IdentityView, Loss, Policy, PolicyError, Question,
    Warning,
};

fn parse(name: &str, text: &str) -> Arc<Policy> {
    Arc::new(Policy::parse(name, text).unwrap())
}

fn refused(text: &str) -> String {
    let wrong: PolicyError = Policy::parse("p", text).unwrap_err();
    wrong.to_string()
}

#[test]
fn an_explanation_names_the_winner_and_why_others_lost() {
    let dev = parse(
        "dev",
        "path \"secret/*\" { capabilities = [\"read\", \"list\"] }\n\
         path \"secret/data/app\" { capabilities = [\"list\"] }\n\
         path \"secret/+/app\" { capabilities = [\"read\"] }\n\
         path \"other/x\" { capabilities = [\"read\"] }\n",
    );
    let ops = parse("ops", "\n  path \"secret/data/app\" { capabilities = [\"update\"] }\n");
    let acl = Acl::compile(&[dev, ops], None, 0);
    let explanation: Explanation = acl.explain(&Question::new("secret/data/app", Capability::Read));
    assert_eq!(
        explanation.to_string(),
        "read secret/data/app: denied, the rule does not give 'read'; add it to its capabilities\n  \
         decided by path \"secret/data/app\" [list, update] (policy \"dev\" at 2:1) (policy \"ops\" \
         at 2:3)\n  \
         lost: path \"secret/*\" [list, read] (policy \"dev\" at 1:1): the deciding rule names \
         exactly this path\n  \
         lost: path \"secret/+/app\" [read] (policy \"dev\" at 3:1): the deciding rule names exactly \
         this path"
    );
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["lost"][0]["reason"], "not_exact");
    assert_eq!(json["decided_by"]["sources"][1]["line"], 2);
}

#[test]
fn each_reason_to_lose_has_its_name() {
    let cases = [
        ("a/b*", "a/+/c", Loss::EarlierWildcard),
        ("a/+/c", "a/*", Loss::Glob),
        ("a/+/c", "a/+/+", Loss::MoreSegments),
        ("a/+/c*", "a/+/*", Loss::Shorter),
        ("+/b/+", "+/+/c", Loss::SortsEarlier),
        ("a/b/c", "a/b/*", Loss::NotExact),
    ];
    for (winner, loser, reason) in cases {
        let text = format!(
            "path \"{winner}\" {{ policy = \"read\" }} path \"{loser}\" {{ policy = \"deny\" }}"
        );
        let text = text.replace("} path", "}\npath");
        let acl = Acl::compile(&[parse("p", &text)], None, 0);
        let explanation = acl.explain(&Question::new("a/b/c", Capability::Read));
        assert!(explanation.allowed, "{winner} {loser}");
        assert_eq!(explanation.lost.len(), 1, "{winner} {loser}");
        assert_eq!(explanation.lost[0].reason, reason, "{winner} {loser}");
    }
}

#[test]
fn a_template_that_refuses_is_explained() {
    let policy = parse(
        "team",
        "path \"kv/*\" { policy = \"write\" }\n\
         path \"kv/{{identity.entity.metadata.team}}/*\" { policy = \"deny\" }\n",
    );
    let acl = Acl::compile(&[policy], Some(&IdentityView::default()), 0);
    let explanation = acl.explain(&Question::new("kv/a", Capability::Read));
    assert_eq!(
        explanation.to_string(),
        "read kv/a: denied, a templated rule that may cover this path could not be rendered; the \
         caller's identity lacks a value that it names\n  \
         lost: path \"kv/*\" [create, delete, list, read, update] (policy \"team\" at 1:1): a \
         templated rule that could not be rendered refuses this path\n  \
         not rendered: path \"kv/{{identity.entity.metadata.team}}/*\" (policy \"team\" at 2:1): the \
         caller's identity lacks a value that it names; it refuses this path"
    );
}

#[test]
fn root_is_explained_and_cannot_be_written() {
    let acl = Acl::compile(&[Arc::new(Policy::root())], None, 0);
    let explanation = acl.explain(&Question::new("sys/seal", Capability::Update));
    assert_eq!(explanation.to_string(), "update sys/seal: allowed\n  decided by path \"*\" [root]");
    assert_eq!(acl.capabilities("any"), ["root"]);
    assert!(Policy::parse("root", "").is_err());
    assert_eq!(&*parse("p", "name = \"q\"").name, "p");
    let beside = [Arc::new(Policy::root()), parse("p", "")];
    let beside = Acl::compile(&beside, None, 0);
    let decision = beside.decide(&Question::new("a", Capability::Read));
    assert_eq!(decision.denied_because, Some(Denial::NoRule));
}

#[test]
fn errors_say_what_and_where() {
    let cases = [
        (
            "name = \"test\"\nbad = \"foo\"\nnope = \"yes\"",
            "failed to parse policy: invalid key \"bad\" on line 2, column 1; invalid key \"nope\" on \
             line 3, column 1",
        ),
        (
            "path \"/\" {\n  capabilities = [\"read\"]\n  capabilites = [\"read\"]\n}",
            "failed to parse policy: path \"/\": invalid key \"capabilites\" on line 3, column 3",
        ),
        (
            "path \"/\" {\n  policy = \"banana\"\n}",
            "failed to parse policy: path \"/\": invalid policy \"banana\" on line 2, column 3",
        ),
        (
            "path \"/\" {\n  capabilities = [\"read\", \"banana\"]\n}",
            "failed to parse policy: path \"/\": invalid capability \"banana\" on line 2, column 27",
        ),
        (
            "path \"/\" {\n  policy = \"read\"\n  min_wrapping_ttl = 400\n  max_wrapping_ttl = 200\n}",
            "failed to parse policy: path \"/\": max_wrapping_ttl cannot be less than \
             min_wrapping_ttl on line 1, column 1",
        ),
        (
            "path \"foo/+*\" {\n  capabilities = [\"read\"]\n}",
            "failed to parse policy: path \"foo/+*\": invalid use of wildcards ('+*' is forbidden) on \
             line 1, column 1",
        ),
        (
            "path \"a/{{b\" { policy = \"read\" }",
            "failed to parse policy: path \"a/{{b\": failed to validate policy templating: unbalanced \
             templating characters; write each '{{' with its '}}' on line 1, column 1",
        ),
        (
            "path \"a\" {\n  capabilities = \"read\"\n}",
            "failed to parse policy: path \"a\": capabilities: expected a list of strings on line 2, \
             column 3",
        ),
        (
            "path \"a\" {\n  allowed_parameters = { x = 1 }\n}",
            "failed to parse policy: path \"a\": x: expected a block of lists; write { \"NAME\" = [] } \
             to mean any value on line 2, column 26",
        ),
        (
            "path \"a\" {\n  expiration = \"soon\"\n}",
            "failed to parse policy: path \"a\": invalid expiration time; write it like \
             \"2030-01-02T15:04:05Z\" on line 2, column 3",
        ),
        (
            "path \"a\" {\n  capabilities = [\"read\"]\n  list_scan_response_keys_filter_path = \
             \"{{ .key }}\"\n}",
            "failed to parse policy: path \"a\": list_scan_response_keys_filter_path needs to be used \
             on a path with the list capability on line 1, column 1",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refused(text), expected, "{text}");
    }
    for text in ["{", "path \"a\" {", "name{}", "path = 1", "path \"a\" = 3", "[1]", "path {}x"] {
        assert!(refused(text).starts_with("failed to parse policy: "), "{text}");
    }
}

#[test]
fn warnings_say_what_is_doubtful() {
    let policy = parse(
        "p",
        "path \"foo/metadata/*\" { capabilities = [\"list\"] }\n\
         path \"foo/metadata/+/private/*\" { capabilities = [\"deny\", \"read\"] }\n\
         path \"a*b\" { capabilities = [\"read\"] }\n\
         path \"a/x+\" { capabilities = [\"read\"] }\n\
         path \"a*b\" { capabilities = [] }\n\
         path \"a/b/\" { capabilities = [\"read\"] }\n\
         path \"kv/data/x\" {\n  capabilities = [\"update\"]\n  denied_parameters = { \"pin\" = [] }\n}\n\
         path \"kv/{{identity.entity.ID}}\" { capabilities = [\"read\"] }\n",
    );
    let warnings: Vec<Warning> = policy.warnings();
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings[0].doubt, Doubt::Unreachable("foo/metadata/*".into()));
    assert_eq!(
        texts,
        [
            "2:1: path \"foo/metadata/+/private/*\": never decides, because \"foo/metadata/*\" covers \
             every path of it and goes first; narrow that one",
            "2:1: path \"foo/metadata/+/private/*\": 'deny' leaves the other capabilities without \
             effect; take either out",
            "3:1: path \"a*b\": a '*' that is not the last character stands only for itself; use '+' \
             for a segment",
            "4:1: path \"a/x+\": a '+' that is not a whole segment stands only for itself; give it a \
             segment of its own",
            "5:1: path \"a*b\": has a rule at 3:1, too; both are merged, so write one",
            "5:1: path \"a*b\": a '*' that is not the last character stands only for itself; use '+' \
             for a segment",
            "5:1: path \"a*b\": gives nothing and hides wider rules; name capabilities, or 'deny'",
            "6:1: path \"a/b/\": only LIST and SCAN have a slash at the end; take it away, or give \
             'list'",
            "7:1: path \"kv/data/x\": parameter rules see 'data' and 'options' of KV v2, not the \
             fields inside 'data'",
            "11:1: path \"kv/{{identity.entity.ID}}\": nothing is called 'identity.entity.ID' in \
             templates; correct the name",
        ]
    );
}
