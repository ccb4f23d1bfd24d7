//! Keys, records and metadata as they lie in the engine.

use std::fmt::Write as _;

use super::*;
use crate::state::key as layout;
use crate::state::record::{GENERATION_FIRST, Record};

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    // The middle of a long value says nothing.
    let shown = if bytes.len() > 300 { &bytes[..24] } else { bytes };
    shown.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
    if shown.len() < bytes.len() {
        write!(text, "… ({} bytes)", bytes.len()).unwrap();
    }
    text
}

fn line(text: &mut String, name: &str, bytes: &[u8]) {
    writeln!(text, "{name}: {}", hex(bytes)).unwrap();
}

fn keys(text: &mut String) {
    let session = layout::SessionId([0x11; 16]);
    let flat = Key { segments: path("a/b"), flat: true };
    line(text, "row a", &layout::row(&key("a")).unwrap());
    line(text, "row a/b", &layout::row(&key("a/b")).unwrap());
    line(text, "flat row a/b", &layout::row(&flat).unwrap());
    line(text, "directory root", &layout::directory(&[]));
    line(text, "directory a", &layout::directory(&path("a")));
    line(text, "directory a/b", &layout::directory(&path("a/b")));
    line(text, "session", &session.record());
    line(text, "request", &session.request(0x0102));
    line(text, "expiry", &session.expiry(0x0304));
    line(text, "owner", &layout::owner(b"owner"));
}

fn records(text: &mut String) {
    for (name, value) in [("short", vec![0xab; 5]), ("long", vec![0xcd; 4_090])] {
        let mut pairs = Writes::new();
        let record = Record { revision: 0x0506, value: Bytes::from(value) };
        GENERATION_FIRST.write(&mut pairs, b"\x01key", None, Some(&record));
        for (at, value) in pairs {
            writeln!(text, "{name} record: {} = {}", hex(&at), hex(&value.unwrap())).unwrap();
        }
        let mut hash = SetHash::default();
        hash.add(b"\x01key", record.revision, &record.value);
        line(text, &format!("{name} record's hash"), &hash.value().0);
    }
}

/// What a state writes, as a whole.
fn engine(text: &mut String) {
    let store = Arc::new(MemoryEngine::new());
    let state = open(&store).unwrap();
    let mut command = writes(vec![put("a/b", "value")]);
    command.session = open_session(0x22, "owner", 60_000);
    command.stamped_ms = 1_000_000;
    run(&state, &command);
    run(&state, &Command { request_id: request(0x22, 7, 3, "print"), ..Command::default() });
    state.flush().unwrap();
    for (at, value) in store.range(&[0], &[255], 100).unwrap() {
        writeln!(text, "engine: {} = {}", hex(&at), hex(&value)).unwrap();
    }
    let (_, chunks) = chunks(&state);
    line(text, "chunk digest", &chunks[0].digest);
}

#[test]
fn layouts_are_as_they_were() {
    let mut text = String::new();
    keys(&mut text);
    records(&mut text);
    engine(&mut text);
    crate::golden::check_text("state.txt", &text);
}
