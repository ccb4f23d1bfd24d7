//! Texts that are made to hurt. Each is refused where the bound is met, not after the whole of it.

use crate::{DEPTH_MAX, INPUT_BYTES_MAX, ITEMS_MAX, Position, parse};

fn refused_at(text: &str) -> (Position, String) {
    let error = parse(text).expect_err("beyond a bound");
    (error.position, error.message)
}

fn column(column: usize) -> Position {
    Position { line: 1, column: u32::try_from(column).unwrap() }
}

#[test]
fn depth_is_bounded_in_every_bracket() {
    for (open, width, first) in
        [("a {", 3, 3), ("a={", 3, 3), ("a=[", 3, 3), ("a = [{", 6, 5), ("{\"a\":", 5, 1)]
    {
        let text =
            if open == "a=[" { format!("a={}", "[".repeat(100_000)) } else { open.repeat(100_000) };
        let (position, message) = refused_at(&text);
        assert_eq!(message, "nested deeper than 64; flatten it", "{open}");
        let expected = match open {
            "a=[" => first + DEPTH_MAX,
            "a = [{" => first + DEPTH_MAX / 2 * width,
            _ => first + DEPTH_MAX * width,
        };
        assert_eq!(position, column(expected), "{open}");
    }
}

#[test]
fn the_deepest_text_is_taken() {
    let (open, close) = ("a {".repeat(DEPTH_MAX), "}".repeat(DEPTH_MAX));
    assert!(parse(&format!("{open}{close}")).is_ok());
    let (open, close) = ("[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    assert!(parse(&format!("a = {open}{close}")).is_ok());
    let (open, close) = ("[".repeat(DEPTH_MAX - 1), "]".repeat(DEPTH_MAX - 1));
    assert!(parse(&format!("{{\"a\":{open}{close}}}")).is_ok());
}

#[test]
fn what_was_left_is_not_counted_as_depth() {
    assert!(parse(&"a { b = [{}] }\n".repeat(10 * DEPTH_MAX)).is_ok());
    assert!(parse(&format!("{{\"a\":[{}]}}", "{},[],".repeat(10 * DEPTH_MAX))).is_ok());
}

#[test]
fn items_are_bounded_in_every_form() {
    let million = 1_000_000;
    for text in [
        "a=1\n".repeat(million),
        "a ".repeat(million),
        format!("a=[{}", "1,".repeat(million)),
        format!("{{\"a\":[{}", "1,".repeat(million)),
        format!("{{{}", "\"\":1,".repeat(million * 2 / 3)),
    ] {
        let (position, message) = refused_at(&text);
        assert_eq!(message, "more than 250000 keys and elements; split the text");
        let read = (position.line as usize - 1) * 4 + position.column as usize;
        assert!(read < 6 * (ITEMS_MAX + 2), "stopped at {position}");
    }
}

#[test]
fn a_text_that_is_too_long_is_not_read() {
    let (position, message) = refused_at(&"#".repeat(INPUT_BYTES_MAX + 1));
    assert_eq!(position, column(1));
    assert_eq!(message, "the text is longer than 4194304 bytes; split it");
    assert!(parse(&"#".repeat(INPUT_BYTES_MAX)).is_ok());
}

#[test]
fn commas_comments_and_openings_alone_are_linear() {
    let long = INPUT_BYTES_MAX / 4;
    assert!(parse(&format!("a=[{}]", ",".repeat(long))).is_ok());
    assert!(parse(&"/**/".repeat(long)).is_ok());
    assert!(parse(&format!("a = <<A\n{}A\n", " A \n".repeat(long - 4))).is_ok());
    assert!(parse(&format!("a = \"{}", "${".repeat(long))).is_err());
    assert!(parse(&format!("a = <<A\n{}", "\n".repeat(long))).is_err());
}
