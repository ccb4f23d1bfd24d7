//! What is refused, and with which words.

use crate::parse;

const HCL: &[(&str, &str)] = &[
    ("x", "1:2: expected '=' or '{' after a key, found the end of the text"),
    ("x y z", "1:6: expected '=' or '{' after a key, found the end of the text"),
    ("x 1", "1:3: expected '=' or '{' after a key, found a number"),
    ("x : 1", "1:3: unexpected character ':'; quote it"),
    ("x =", "1:4: expected a value, found the end of the text"),
    ("x = =", "1:5: expected a value, found '='"),
    ("x = ,", "1:5: expected a value, found ','"),
    ("x = foo", "1:5: expected a value, found a bare word; put it in quotes"),
    ("a b = 1", "1:5: expected '{' after several keys, found '='; remove it or all keys but one"),
    ("= 1", "1:1: expected a key, found '='"),
    ("{ x = 1", "1:3: expected a key in quotes or '}', found something else"),
    ("x = 1\n}", "2:1: expected a key, found '}'"),
    ("x {\n  y = 1\n", "3:1: expected '}' for the '{' at 1:3, found the end"),
    ("x { {} }", "1:5: expected a key, found '{'"),
    ("x { , }", "1:5: expected a key, found ','"),
    ("x { y }", "1:7: expected '=' or '{' after a key, found '}'"),
    ("x = 1,, y = 2", "1:7: expected a key, found ','"),
    ("1 = 2", "1:1: expected a key, found a number"),
    ("true = 2", "1:1: expected a key, found a boolean"),
    ("<<A\nx\nA\n = 1", "1:1: expected a key, found a heredoc"),
    ("x = [1 2]", "1:8: expected ',' or ']' in a list, found a number"),
    ("x = [{} {}]", "1:9: expected ',' or ']' in a list, found '{'"),
    ("x = [1", "1:7: expected ']' for the '[' at 1:5, found the end"),
    ("x = [a]", "1:6: expected a value, found a bare word; put it in quotes"),
    ("x = [1}", "1:7: expected ',' or ']' in a list, found '}'"),
    ("x = [ y = 1 ]", "1:7: expected a value, found a bare word; put it in quotes"),
    ("x = \"a", "1:5: the string is not closed on its line; end it with '\"' or use a heredoc"),
    (
        "x = \"a\nb\"",
        "1:5: the string is not closed on its line; end it with '\"' or use a heredoc",
    ),
    ("x = \"a\\", "1:7: an unknown escape; write '\\\\' for a backslash"),
    (r#"x = "ä\d""#, "1:7: an unknown escape; write '\\\\' for a backslash"),
    (r#"x = "\'""#, "1:6: an unknown escape; write '\\\\' for a backslash"),
    (r#"x = "\12""#, "1:6: an octal escape has three digits, at most \\377"),
    (r#"x = "\777""#, "1:6: an octal escape has three digits, at most \\377"),
    (r#"x = "\xg0""#, "1:6: expected two hexadecimal digits after '\\x'"),
    (r#"x = "\u12""#, "1:6: expected four hexadecimal digits after '\\u'"),
    (r#"x = "\U1234567""#, "1:6: expected eight hexadecimal digits after '\\U'"),
    (r#"x = "\ud800""#, "1:6: the escape names no character; use its code point"),
    (r#"x = "\U00110000""#, "1:6: the escape names no character; use its code point"),
    (r#"x = "\xff""#, "1:5: the string's byte escapes are not UTF-8; write \\u escapes"),
    (r#"x = "${a""#, "1:6: '${' is not closed; end it with '}' or write \"\\u0024{\""),
    ("x = <A", "1:5: a lone '<'; a heredoc begins with '<<'"),
    ("x = <<\nA\n", "1:7: expected the heredoc's tag, a word such as EOT"),
    ("x = <<-\nA\n", "1:8: expected the heredoc's tag, a word such as EOT"),
    ("x = <<A b\nA\n", "1:8: expected a new line after the heredoc's tag"),
    ("x = <<A", "1:8: expected a new line after the heredoc's tag"),
    ("\nx = <<A\na\n", "2:5: the heredoc is not closed; end it with its tag on a line of its own"),
    ("x = <<A\na\nA b", "1:5: the heredoc is not closed; end it with its tag on a line of its own"),
    ("x = 1h", "1:6: expected the number to end here; quote what is more than a number"),
    ("x = 1.2.3", "1:8: expected the number to end here; quote what is more than a number"),
    ("x = 0x", "1:7: expected hexadecimal digits after '0x'"),
    ("x = 0xg", "1:7: expected hexadecimal digits after '0x'"),
    ("x = 0789", "1:5: a number that begins with 0 is octal and has no 8 or 9; drop the 0"),
    ("x = 1e", "1:7: expected the digits of an exponent"),
    ("x = 1e+a", "1:8: expected the digits of an exponent"),
    ("x = -", "1:5: unexpected character '-'; quote it"),
    ("x = -.5", "1:5: unexpected character '-'; quote it"),
    ("x = +1", "1:5: unexpected character '+'; quote it"),
    ("x = .", "1:5: unexpected character '.'; quote it"),
    ("x = 'a'", "1:5: unexpected character '\\''; quote it"),
    ("x = 1; y = 2", "1:6: unexpected character ';'; quote it"),
    ("x = 1\u{a0}", "1:6: unexpected character '\\u{a0}'; quote it"),
    ("x = 1 / 2", "1:7: a lone '/'; a comment begins with '//' or '/*'"),
    ("x = 1 /", "1:7: a lone '/'; a comment begins with '//' or '/*'"),
    ("x = 1\n /* a", "2:2: the comment is not closed; end it with '*/'"),
    ("x = /*/ 1", "1:5: the comment is not closed; end it with '*/'"),
    ("x = \"a\0\"", "1:7: a null character; remove it"),
    ("x = 1\n# a\0", "2:4: a null character; remove it"),
    ("größe = größe", "1:9: expected a value, found a bare word; put it in quotes"),
];

const JSON: &[(&str, &str)] = &[
    ("{", "1:2: expected a key in quotes or '}', found the end"),
    ("{,}", "1:2: expected a key in quotes or '}', found something else"),
    ("{a: 1}", "1:2: expected a key in quotes or '}', found something else"),
    ("{\"a\"}", "1:5: expected ':' after a key, found something else"),
    ("{\"a\" = 1}", "1:6: expected ':' after a key, found something else"),
    ("{\"a\":}", "1:6: expected a value, found something else"),
    ("{\"a\":\n", "2:1: expected a value, found the end"),
    ("{\"a\": b}", "1:7: expected a value, found a bare word; put it in quotes"),
    ("{\"a\": 1 \"b\": 2}", "1:9: expected ',' or '}' after a member, found something else"),
    ("{\"a\": 1,, \"b\": 2}", "1:9: expected a key in quotes or '}', found something else"),
    ("{\"a\": [1 2]}", "1:10: expected ',' or ']' after an element, found something else"),
    ("{\"a\": [1}", "1:9: expected ',' or ']' after an element, found something else"),
    ("{\"a\": [,]}", "1:8: expected a value, found something else"),
    ("{\"a\": [", "1:8: expected a value, found the end"),
    ("{\"a\": 1", "1:8: expected ',' or '}' after a member, found the end"),
    ("{\"a\": \"b", "1:7: the string is not closed; end it with '\"'"),
    ("{\"a\": \"b\nc\"}", "1:9: a control character in a string; write it as an escape"),
    ("{\"a\": \"\\v\"}", "1:8: an unknown escape; write '\\\\' for a backslash"),
    ("{\"a\": \"\\u12\"}", "1:8: expected the four digits of a character after '\\u'"),
    ("{\"a\": \"\\ud800x\"}", "1:8: expected the four digits of a character after '\\u'"),
    ("{\"a\": \"\\ud800\\u0041\"}", "1:8: expected the four digits of a character after '\\u'"),
    ("{\"a\": \"\\udc00\"}", "1:8: expected the four digits of a character after '\\u'"),
    ("{\"a\": 01}", "1:7: a JSON number has no leading 0; drop it"),
    ("{\"a\": -}", "1:8: expected a digit of the number, found something else"),
    ("{\"a\": 1.}", "1:9: expected a digit of the number, found something else"),
    ("{\"a\": 1e}", "1:9: expected a digit of the number, found something else"),
    ("{\"a\": 0x1}", "1:8: expected ',' or '}' after a member, found something else"),
    ("{\"a\": .5}", "1:7: expected a value, found something else"),
    ("{} {}", "1:4: expected the end of the text after the JSON object"),
    ("{}\nx = 1", "2:1: expected the end of the text after the JSON object"),
    ("{ // a\n}", "1:3: expected a key in quotes or '}', found something else"),
];

fn check(table: &[(&str, &str)]) {
    for (text, expected) in table {
        let error = parse(text).expect_err(text);
        assert_eq!(error.to_string(), *expected, "{text:?}");
    }
}

#[test]
fn says_what_is_wrong_with_hcl() {
    check(HCL);
}

#[test]
fn says_what_is_wrong_with_json() {
    check(JSON);
}

/// A password without quotes, or one whose text is broken, is in no message.
#[test]
fn repeats_no_value() {
    for text in [
        "pin = hunter2",
        "pin = \"hunter2",
        "pin = \"hunter2\\q\"",
        "pin = 12hunter2",
        "pin = <<hunter2 x\n",
        "pin = [\"a\" hunter2]",
        "{\"pin\": hunter2}",
        "{\"pin\": \"hunter2",
        "{\"pin\": \"a\" \"hunter2\"}",
    ] {
        let error = parse(text).expect_err(text);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    let body = parse("pin = \"hunter2\" pins = [4711, { a = \"hunter2\" }]").unwrap();
    let shown = format!("{body:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("4711"), "{shown}");
}
