//! Positions and the ways to read a body.

use crate::{Position, Value, parse};

fn at(line: u32, column: u32) -> Position {
    Position { line, column }
}

#[test]
fn every_part_knows_where_it_stands() {
    let text = "# ä\r\npath \"ä\" {\r\n  \"x\" = [1, \"b\",\n {}]\n}\nz = 1";
    let body = parse(text).unwrap();
    let [path, z] = body.items.as_slice() else { panic!("two items") };
    assert_eq!((path.position, z.position), (at(2, 1), at(6, 1)));
    assert_eq!((path.keys[0].position, path.keys[1].position), (at(2, 1), at(2, 6)));
    let x = path.value.as_object().unwrap().get("x").next().unwrap();
    assert_eq!(x.position, at(3, 3));
    let places: Vec<_> = x.value.as_list().unwrap().iter().map(|one| one.position).collect();
    assert_eq!(places, [at(3, 10), at(3, 13), at(4, 2)]);
}

#[test]
fn every_part_of_json_knows_where_it_stands() {
    let body = parse("{\n \"é\": {\"b\": [1,\n  {}]}}").unwrap();
    assert_eq!(body.items[0].position, at(2, 2));
    let b = &body.items[0].value.as_object().unwrap().items[0];
    assert_eq!((b.position, b.keys[0].position), (at(2, 8), at(2, 8)));
    let places: Vec<_> = b.value.as_list().unwrap().iter().map(|one| one.position).collect();
    assert_eq!(places, [at(2, 14), at(3, 3)]);
}

#[test]
fn after_strings_over_lines_the_lines_still_count() {
    let body = parse("a = <<A\n1\n2\nA\nb = \"${\n}\" c = 1").unwrap();
    let places: Vec<_> = body.items.iter().map(|item| item.position).collect();
    assert_eq!(places, [at(1, 1), at(5, 1), at(6, 4)]);
}

#[test]
fn a_body_gives_all_items_of_a_key_in_order() {
    let body = parse("a = 1 b = 2 a \"c\" {} \"a\" = 3").unwrap();
    let found: Vec<_> = body.get("a").map(|item| item.keys_text().join("/")).collect();
    assert_eq!(found, ["a", "a/c", "a"]);
    assert_eq!(body.get("c").count(), 0);
}

#[test]
fn a_value_is_read_as_its_own_kind_only() {
    let body = parse("a = \"1\" b = 1 c = true d = [] e = {}").unwrap();
    let kinds: Vec<_> = body.items.iter().map(|item| item.value.kind_name()).collect();
    assert_eq!(kinds, ["a string", "a number", "a boolean", "a list", "an object"]);
    let hits = |is: fn(&Value) -> bool| -> Vec<bool> {
        body.items.iter().map(|item| is(&item.value)).collect()
    };
    assert_eq!(hits(|value| value.as_str() == Some("1")), [true, false, false, false, false]);
    assert_eq!(hits(|value| value.as_i64() == Some(1)), [false, true, false, false, false]);
    assert_eq!(hits(|value| value.as_bool() == Some(true)), [false, false, true, false, false]);
    assert_eq!(hits(|value| value.as_list().is_some()), [false, false, false, true, false]);
    assert_eq!(hits(|value| value.as_object().is_some()), [false, false, false, false, true]);
}

#[test]
fn numbers_are_exact() {
    let table: [(&str, Option<i64>, Option<f64>); 18] = [
        ("0", Some(0), Some(0.0)),
        ("-0", Some(0), Some(0.0)),
        ("12", Some(12), Some(12.0)),
        ("0x1F", Some(31), Some(31.0)),
        ("-0XfF", Some(-255), Some(-255.0)),
        ("0755", Some(493), Some(493.0)),
        ("00", Some(0), Some(0.0)),
        ("9223372036854775807", Some(i64::MAX), Some(9_223_372_036_854_775_807.0)),
        ("9223372036854775808", None, Some(9_223_372_036_854_775_808.0)),
        ("-9223372036854775808", Some(i64::MIN), Some(-9_223_372_036_854_775_808.0)),
        ("-0x8000000000000001", None, None),
        ("1.50", None, Some(1.5)),
        ("1e3", None, Some(1000.0)),
        ("-0.5", None, Some(-0.5)),
        ("02000000000000000000000", None, None),
        ("09.5", None, Some(9.5)),
        ("2.", None, Some(2.0)),
        ("1e999", None, None),
    ];
    for (text, whole, float) in table {
        let body = parse(&format!("x = {text}")).unwrap();
        let Value::Number(number) = &body.items[0].value else { panic!("{text} is no number") };
        assert_eq!(number.as_str(), text);
        assert_eq!((number.as_i64(), number.as_f64()), (whole, float), "{text}");
    }
}
