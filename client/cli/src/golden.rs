//! Compares text with files under `tests/golden`; `UPDATE=1` writes them instead.

use std::path::Path;

/// Fails unless `text` is what the file with this name holds.
pub(crate) fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        let folder = path.parent().expect("a file has a folder");
        std::fs::create_dir_all(folder).expect("the folder can be made");
        std::fs::write(&path, text).expect("the file can be written");
        return;
    }
    let golden = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{name}: {error}; UPDATE=1 writes it"));
    assert!(golden == text, "{name} differs; UPDATE=1 rewrites it. It is now:\n{text}");
}
