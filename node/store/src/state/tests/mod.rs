//! The state machine against a naive model, on engines that fail, and under threads.

mod crash;
mod golden;
mod model;
mod pauses;
mod replace;
mod restore;
mod rules;
mod scrub;
mod sessions;
mod threads;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::*;
use crate::v1::{
    ChildrenCondition, Command, Condition, Key, KeyCondition, RequestId, SessionChange,
    SessionOpen, SnapshotChunk, Write, condition, entry, session_change,
};

const ROOMY: StateConfig = StateConfig {
    overlay_bytes_max: 64 << 20,
    undo_bytes_max: 64 << 20,
    checkpoint_entries: 1_024,
};

fn open(engine: &Arc<MemoryEngine>) -> Result<State, StateError> {
    State::open(Arc::clone(engine) as Arc<dyn StateEngine>, ROOMY)
}

fn fresh() -> State {
    open(&Arc::new(MemoryEngine::new())).unwrap()
}

fn path(text: &str) -> Vec<Bytes> {
    let segments = text.split('/').filter(|segment| !segment.is_empty());
    segments.map(|segment| Bytes::copy_from_slice(segment.as_bytes())).collect()
}

fn key(text: &str) -> Key {
    Key { segments: path(text), flat: false }
}

fn put(text: &str, value: impl Into<Bytes>) -> Write {
    Write { key: Some(key(text)), value: Some(value.into()) }
}

fn delete(text: &str) -> Write {
    Write { key: Some(key(text)), value: None }
}

fn if_key(key: Key, revision: u64) -> Condition {
    let row = KeyCondition { key: Some(key), revision };
    Condition { kind: Some(condition::Kind::Key(row)) }
}

fn if_children(segments: Vec<Bytes>, revision: u64) -> Condition {
    let children = ChildrenCondition { segments, revision };
    Condition { kind: Some(condition::Kind::Children(children)) }
}

fn writes(writes: Vec<Write>) -> Command {
    Command { writes, ..Command::default() }
}

fn session_id(number: u8) -> Bytes {
    Bytes::copy_from_slice(&[number; 16])
}

fn open_session(number: u8, owner: &str, ttl_ms: u64) -> Option<SessionChange> {
    let owner = Bytes::copy_from_slice(owner.as_bytes());
    let open = SessionOpen { session: session_id(number), owner, ttl_ms };
    Some(SessionChange { kind: Some(session_change::Kind::Open(open)) })
}

fn close_session(number: u8) -> Option<SessionChange> {
    Some(SessionChange { kind: Some(session_change::Kind::Close(session_id(number))) })
}

fn request(session: u8, sequence: u64, low_water: u64, fingerprint: &str) -> Option<RequestId> {
    Some(RequestId {
        session: session_id(session),
        sequence,
        low_water,
        fingerprint: Bytes::copy_from_slice(fingerprint.as_bytes()),
        reply: Bytes::from(format!("reply to {session}/{sequence}")),
    })
}

fn entry_at(index: u64, command: &Command) -> Entry {
    let payload = entry::Payload::Command(Bytes::from(command.encode_to_vec()));
    Entry { id: Some(LogId { term: 1, leader_id: 1, index }), payload: Some(payload) }
}

fn next_index(state: &State) -> u64 {
    state.applied_id().map_or(1, |id| id.index + 1)
}

/// Applies a command as the next entry.
fn run(state: &State, command: &Command) -> Outcome {
    state.apply(&entry_at(next_index(state), command)).unwrap()
}

fn children(view: &View, directory: &str) -> Vec<String> {
    let children = view.children(&path(directory), None, 1_000).unwrap();
    let name = |child: &Child| {
        let name = String::from_utf8_lossy(&child.name).into_owned();
        if child.directory { name + "/" } else { name }
    };
    children.iter().map(name).collect()
}

fn chunks(state: &State) -> (SnapshotHeader, Vec<SnapshotChunk>) {
    let mut export = state.export().unwrap();
    let mut chunks = Vec::new();
    while let Some(chunk) = export.next_chunk().unwrap() {
        chunks.push(chunk);
    }
    (export.header().clone(), chunks)
}

fn restore(state: &State, header: SnapshotHeader, chunks: Vec<SnapshotChunk>) {
    let mut import = state.import(header).unwrap();
    chunks.into_iter().for_each(|chunk| import.push(chunk).unwrap());
    import.finish().unwrap();
}

/// A small generator for tests that need the same numbers every time (xorshift64*).
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }
}
