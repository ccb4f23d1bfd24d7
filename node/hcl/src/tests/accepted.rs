//! What is taken, and what it means.

use super::print;
use crate::parse;

/// The forms that a policy or a configuration is written in all over the world and that parsers of
/// HCL 2 mostly refuse.
const OLD_FORMS: [(&str, &str); 20] = [
    ("path \"a\" { capabilities = [\"read\"] }", r#"[path a]={[capabilities]=["read"]}"#),
    ("path \"a\"\n{\n  policy = \"read\"\n}", r#"[path a]={[policy]="read"}"#),
    ("a = 1 b = 2", "[a]=1 [b]=2"),
    ("path \"a\" {} path \"b\" {}", "[path a]={} [path b]={}"),
    ("\"a\" = 1", "[a]=1"),
    ("\"path\" \"a\" { x = 1 }", "[path a]={[x]=1}"),
    ("path \"a/${identity.name}/b\" {}", "[path a/${identity.name}/b]={}"),
    (r#"x = "${f("a", "b")}""#, r#"[x]="${f("a", "b")}""#),
    (r#"{"path": {"a": {"policy": "read"}}}"#, r#"[path]={[a]={[policy]="read"}}"#),
    ("path = { \"a\" = {} }", "[path]={[a]={}}"),
    ("a { b = 1, c = 2, }", "[a]={[b]=1 [c]=2}"),
    ("x = [1, 2,]", "[x]=[1 2]"),
    ("x = 0x1F y = 0755", "[x]=0x1F [y]=0755"),
    ("x = 1 x = 2", "[x]=1 [x]=2"),
    ("x\n=\n1", "[x]=1"),
    ("x = <<EOT\none\ntwo\nEOT\n", r#"[x]="one\ntwo\n""#),
    ("x = <<-EOT\n    one\n      two\n    EOT\n", r#"[x]="one\n  two\n""#),
    (r#"x = "\101\x42\u0043\U00000044""#, r#"[x]="ABCD""#),
    ("allowed { \"*\" = [] \"b\" = [[1], []] }", "[allowed]={[*]=[] [b]=[[1] []]}"),
    ("a.b-c_d = true // c\n# d\n/* e\n */ f = false", "[a.b-c_d]=true [f]=false"),
];

const HCL: &[(&str, &str)] = &[
    ("", ""),
    ("  \n\t\r\n", ""),
    ("# only a comment", ""),
    ("#\n//\n/**/", ""),
    ("/* a * b ** / # */ x = 1", "[x]=1"),
    ("x /* a */ = # b\n 1 // c", "[x]=1"),
    ("\u{feff}x = 1", "[x]=1"),
    ("x = 1\r\ny {\r\n}\r\n", "[x]=1 [y]={}"),
    ("x = <<A\r\none\r\ntwo\r\nA\r\n", r#"[x]="one\ntwo\n""#),
    ("x\r=\r1", "[x]=1"),
    ("a b c {}", "[a b c]={}"),
    ("a \"b\" c { d e { f = 1 } }", "[a b c]={[d e]={[f]=1}}"),
    ("a = {} b {}", "[a]={} [b]={}"),
    ("a = 1, b = 2,", "[a]=1 [b]=2"),
    ("a {}, b {}", "[a]={} [b]={}"),
    ("x = []", "[x]=[]"),
    ("x = [,,1,,2,,]", "[x]=[1 2]"),
    ("x = [\n  1, # one\n  2  # two\n]", "[x]=[1 2]"),
    ("x = [{ a = 1 }, { b = 2 }]", "[x]=[{[a]=1} {[b]=2}]"),
    ("x = [true, \"a\", 1.5, [false], {}]", r#"[x]=[true "a" 1.5 [false] {}]"#),
    ("x = [<<A\none\nA\n, \"two\"]", r#"[x]=["one\n" "two"]"#),
    ("x = 0 y = -1 z = -0x0a", "[x]=0 [y]=-1 [z]=-0x0a"),
    (
        "x = 1.5 y = .5 z = -2. w = 1e9 v = 1.5E-3 u = 2e+1",
        "[x]=1.5 [y]=.5 [z]=-2. [w]=1e9 [v]=1.5E-3 [u]=2e+1",
    ),
    ("x = 0159.25 y = 08e1", "[x]=0159.25 [y]=08e1"),
    ("x = 123456789012345678901234567890", "[x]=123456789012345678901234567890"),
    ("truex = true falsey = false", "[truex]=true [falsey]=false"),
    ("größe = \"ß\" 名 = \"前\" _a1 = 1", r#"[größe]="ß" [名]="前" [_a1]=1"#),
    (r#"x = "\a\b\f\n\r\t\v\\\"""#, r#"[x]="\u{7}\u{8}\u{c}\n\r\t\u{b}\\"""#),
    (r#"x = "\xc3\xa9 \303\251""#, r#"[x]="é é""#),
    (r#""a\"b" "c\td" {}"#, r#"[a"b c\td]={}"#),
    (r#"x = "$ $$ {} $a""#, r#"[x]="$ $$ {} $a""#),
    (r#"x = "a${b{c}d}e\n""#, r#"[x]="a${b{c}d}e\n""#),
    (r#"x = "${f(\"a\")}${g("{}")}""#, r#"[x]="${f("a")}${g("{}")}""#),
    (r#"x = "${a\n}""#, r#"[x]="${a\\n}""#),
    ("x = \"${a\nb}\"", r#"[x]="${a\nb}""#),
    ("x = \"$${a}\"", r#"[x]="$${a}""#),
    (r#"x = "\u0024{""#, r#"[x]="${""#),
    ("x = <<A\nA\n", r#"[x]="""#),
    ("x = <<A\nA", r#"[x]="""#),
    ("x = <<A\nAA\n A b\n\nA\ny = 1", r#"[x]="AA\n A b\n\n" [y]=1"#),
    ("x = <<A\n  one\n  A\n", r#"[x]="  one\n  ""#),
    ("x = <<-A\n  one\n\n  A\n", r#"[x]="  one\n\n""#),
    ("x = <<-A\none\n  A\n", r#"[x]="one\n""#),
    ("x = <<-A\n\tone\n\t\ttwo\n\tA\n", r#"[x]="one\n\ttwo\n""#),
    ("x = <<A\n\"${b}\" \\n # no comment\nA\n", r#"[x]=""${b}" \\n # no comment\n""#),
    ("x = <<Ä_1\none\nÄ_1\n", r#"[x]="one\n""#),
];

const JSON: &[(&str, &str)] = &[
    ("{}", ""),
    (" \n\u{a0}{ } \r\n", ""),
    ("\u{feff}{\"a\": 1}", "[a]=1"),
    (r#"{"a": 1, "a": 2, "b": {"a": 3}}"#, "[a]=1 [a]=2 [b]={[a]=3}"),
    (r#"{"a": [1, "b", true, false, null, [], {}]}"#, r#"[a]=[1 "b" true false "" [] {}]"#),
    (r#"{"a": [1,], "b": {"c": 1,},}"#, "[a]=[1] [b]={[c]=1}"),
    (r#"{"a": -0.5e+10, "b": 0, "c": 1E5}"#, "[a]=-0.5e+10 [b]=0 [c]=1E5"),
    (r#"{"a": "\"\\\/\b\f\n\r\t\u00e9"}"#, r#"[a]=""\\/\u{8}\u{c}\n\r\té""#),
    (r#"{"a": "\ud83d\ude00"}"#, r#"[a]="😀""#),
    (r#"{"a": "${b} 名"}"#, r#"[a]="${b} 名""#),
    (r#"{"": ""}"#, r#"[]="""#),
    (r#"{"path": [{"a": {}}, {"b": {}}]}"#, "[path]=[{[a]={}} {[b]={}}]"),
];

fn check(table: &[(&str, &str)]) {
    for (text, expected) in table {
        let body = parse(text).unwrap_or_else(|error| panic!("{text:?} is refused: {error}"));
        assert_eq!(print(&body), *expected, "{text:?}");
    }
}

#[test]
fn takes_the_forms_that_hcl_2_refuses() {
    check(&OLD_FORMS);
}

#[test]
fn takes_hcl() {
    check(HCL);
}

#[test]
fn takes_json() {
    check(JSON);
}
