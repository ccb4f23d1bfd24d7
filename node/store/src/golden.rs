//! Byte layouts that are for ever, kept as files in `tests/golden`: the reader of a diff decides.

use std::fmt::Write;
use std::path::Path;

/// As [`check_text`], with `bytes` in hexadecimal.
pub(crate) fn check(name: &str, bytes: &[u8]) {
    check_text(name, &hexadecimal(bytes));
}

/// Compares `shown` with the golden file `name`; with `UPDATE=1` in the environment writes it.
pub(crate) fn check_text(name: &str, shown: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("it has a directory")).unwrap();
        std::fs::write(&path, shown).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, golden, "{} differs; UPDATE=1 rewrites it", path.display());
}

/// Sixteen bytes a line, runs of zero lines left out.
fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, line) in bytes.chunks(16).enumerate() {
        if line.iter().all(|byte| *byte == 0) {
            continue;
        }
        write!(text, "{:08x} ", number * 16).unwrap();
        line.iter().for_each(|byte| write!(text, " {byte:02x}").unwrap());
        text.push('\n');
    }
    text
}
