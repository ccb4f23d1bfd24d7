//! What tests of engines stand on: rows in memory, and a mount of one engine around them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use serde_json::Value;

use crate::{
    Access, BodyFields, Caller, Engine, EngineError, Entry, ErrorCode, Kind, ListPage, MountView,
    Operation, Request, Response, Rights, Storage, StorageError, Workers,
};

/// What [`Mount`]'s clock shows first: 2018-03-22T02:24:26.945Z.
pub const START_MS: u64 = 1_521_685_466_945;

/// Rows in memory, listed in the order that the real ones have.
#[derive(Default, Clone)]
pub struct MemoryStorage {
    /// By whole path.
    pub rows: BTreeMap<String, Bytes>,
    /// How many rows were asked for.
    pub reads: usize,
    /// How many directories were listed.
    pub lists: usize,
}

impl Storage for MemoryStorage {
    fn get(&mut self, path: &str) -> Result<Option<Entry>, StorageError> {
        self.reads += 1;
        check(path)?;
        let row = self.rows.get(path);
        Ok(row.map(|value| Entry { value: value.clone(), revision: 1 }))
    }

    fn put(&mut self, path: &str, value: Bytes) -> Result<(), StorageError> {
        check(path)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(StorageError::TooLarge { bytes: value.len(), bytes_max: VALUE_BYTES_MAX });
        }
        self.rows.insert(path.to_owned(), value);
        Ok(())
    }

    fn delete(&mut self, path: &str) -> Result<(), StorageError> {
        check(path)?;
        self.rows.remove(path);
        Ok(())
    }

    fn list(
        &mut self,
        path: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, StorageError> {
        self.lists += 1;
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        if !path.is_empty() {
            check(path)?;
        }
        let below = self.rows.range(prefix.clone()..).map(|(row, _)| row);
        let mut names: Vec<String> = Vec::new();
        for row in below.map_while(|row| row.strip_prefix(&prefix)) {
            names.push(match row.split_once('/') {
                Some((directory, _)) => format!("{directory}/"),
                None => row.to_owned(),
            });
        }
        names.sort();
        names.dedup();
        names.retain(|name| after.is_none_or(|after| name.as_str() > after));
        let more = names.len() > limit;
        names.truncate(limit);
        Ok(ListPage { names, more })
    }
}

fn check(path: &str) -> Result<(), StorageError> {
    let fits = |segment: &str| (1..=SEGMENT_BYTES_MAX).contains(&segment.len());
    match path.split('/').all(fits) {
        true => Ok(()),
        false => Err(StorageError::BadName("a segment is empty or too long".into())),
    }
}

/// A mount of one engine, and a clock that moves a second with each request. What an engine wrote
/// stays only where it returned `Ok`, as in the core.
pub struct Mount<E> {
    /// What is mounted.
    pub engine: E,
    /// Its rows.
    pub rows: MemoryStorage,
    /// What it may know of its mount.
    pub view: MountView,
    /// Who asks.
    pub caller: Caller,
    /// The time of the next request.
    pub now_ms: u64,
}

impl<E: Engine> Mount<E> {
    /// An empty mount with these options; its caller may do everything.
    pub fn new(engine: E, options: &[(&str, &str)]) -> Self {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let view = MountView {
            path: "mount/".into(),
            accessor: "kind_1a2b3c4d".into(),
            options,
            default_lease_ttl_ms: 2_764_800_000,
            max_lease_ttl_ms: 2_764_800_000,
        };
        let caller = Caller {
            accessor: "accessor".into(),
            token_id: "token".into(),
            rights: Some(Arc::new(May(|_: Option<Operation>, _: &str| true))),
            ..Caller::default()
        };
        Self { engine, rows: MemoryStorage::default(), view, caller, now_ms: START_MS }
    }

    /// The same with a caller whom people call `name`.
    #[must_use]
    pub fn called_by(mut self, name: &str) -> Self {
        self.caller.display_name = name.into();
        self
    }

    /// A request of this mount's caller.
    pub fn request(
        &self,
        operation: Operation,
        path: &str,
        body: &[u8],
        query: &[(&str, &str)],
    ) -> Request {
        let mut unique = [7; 16];
        unique[..8].copy_from_slice(&self.now_ms.to_be_bytes());
        Request {
            operation,
            path: path.to_owned(),
            body: Bytes::copy_from_slice(body),
            query: query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            now_ms: self.now_ms,
            unique,
            caller: self.caller.clone(),
            mount: Arc::new(self.view.clone()),
        }
    }

    /// Serves a request of bytes.
    ///
    /// # Errors
    /// The engine's.
    ///
    /// # Panics
    /// Where the engine waits for something, or writes in an operation that it says only reads.
    pub fn call_raw(
        &mut self,
        operation: Operation,
        path: &str,
        body: &[u8],
        query: &[(&str, &str)],
    ) -> Result<Response, EngineError> {
        let request = self.request(operation, path, body, query);
        self.now_ms += 1000;
        let mut rows = self.rows.clone();
        let answer = self
            .engine
            .handle(&request, &mut rows)
            .now_or_never()
            .expect("the engine waits for nothing");
        let access = self.engine.access(&self.view.options, operation, path);
        let kept = rows.rows == self.rows.rows;
        assert!(access == Access::Write || kept, "a read of {path} wrote");
        if answer.is_ok() {
            self.rows = rows;
        }
        answer
    }

    /// Serves a request of JSON; `null` where there is nothing to say.
    ///
    /// # Errors
    /// The engine's.
    ///
    /// # Panics
    /// As [`Mount::call_raw`], and where the answer is no JSON.
    pub fn call(
        &mut self,
        operation: Operation,
        path: &str,
        body: &Value,
    ) -> Result<Value, EngineError> {
        self.call_raw(operation, path, body.to_string().as_bytes(), &[]).map(|r| json(&r))
    }

    /// Reads, with query parameters.
    ///
    /// # Errors
    /// The engine's.
    pub fn read(&mut self, path: &str, query: &[(&str, &str)]) -> Result<Value, EngineError> {
        self.call_raw(Operation::Read, path, b"", query).map(|response| json(&response))
    }

    /// Writes.
    ///
    /// # Errors
    /// The engine's.
    pub fn write(&mut self, path: &str, body: &Value) -> Result<Value, EngineError> {
        self.call(Operation::Write, path, body)
    }

    /// The names that a LIST or SCAN shows, and whether more follow.
    ///
    /// # Errors
    /// The engine's.
    ///
    /// # Panics
    /// Where the answer has no `keys`.
    pub fn names(
        &mut self,
        operation: Operation,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<(Vec<String>, bool), EngineError> {
        let response = self.call_raw(operation, path, b"", query)?;
        let keys = json(&response)["keys"].clone();
        let keys = serde_json::from_value(keys).expect("an answer to LIST has keys");
        Ok((keys, !response.warnings.is_empty()))
    }

    /// What the engine says of a write at `path`.
    ///
    /// # Errors
    /// The engine's.
    pub fn exists(&mut self, path: &str) -> Result<bool, EngineError> {
        let request = self.request(Operation::Write, path, b"{}", &[]);
        self.engine.exists(&request, &mut self.rows)
    }
}

/// Holds a mount's routes against what the engine does: every field that they tell of is read by the
/// handler, every other is passed over, and a write `creates` where the engine says that nothing is
/// there.
///
/// # Panics
/// Where they differ.
pub fn check_routes<E: Engine>(mount: &mut Mount<E>) {
    for route in mount.engine.routes(&mount.view.options) {
        let name = route.pattern;
        let faults: Vec<_> = route.bodies.iter().flat_map(BodyFields::faults).collect();
        assert_eq!(faults, [""; 0], "{name}");
        let path = sample_path(route.pattern);
        if route.operations.contains(&Operation::Write) {
            let creates = mount.exists(&path).is_ok_and(|exists| !exists);
            assert_eq!(creates, route.creates, "{name}");
        }
        let fields: Vec<_> = route.bodies.iter().flat_map(BodyFields::fields).collect();
        for operation in route.operations {
            if !matches!(operation, Operation::Write | Operation::Patch) || fields.is_empty() {
                continue;
            }
            let unknown = mount.call_raw(*operation, &path, &with_nonsense("no-field"), &[]);
            let misread = unknown.is_err_and(|error| names_the_field(&error, "no-field"));
            assert!(!misread, "{name} reads what it does not tell of");
            for field in fields.iter().filter(|field| field.kind != Kind::Any) {
                let body = with_nonsense(field.name);
                let answer = mount.call_raw(*operation, &path, &body, &[]);
                let read = answer.is_err_and(|error| names_the_field(&error, field.name));
                assert!(read, "{name} does not read {}", field.name);
            }
        }
    }
}

/// A path that a pattern takes.
pub fn sample_path(pattern: &str) -> String {
    let segment = |segment: &str| match segment.starts_with([':', '*']) {
        true => "x".to_owned(),
        false => segment.to_owned(),
    };
    pattern.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// A body with a field that holds what no type reads.
pub fn with_nonsense(field: &str) -> Vec<u8> {
    format!("{{\"{field}\":[[{{}}]]}}").into_bytes()
}

/// Whether a refusal is about the value of this field.
pub fn names_the_field(error: &EngineError, field: &str) -> bool {
    let message = error.message.as_str();
    error.code == ErrorCode::InvalidRequest
        && (message.starts_with("failed to parse JSON") || message.contains(&format!("'{field}'")))
}

fn json(response: &Response) -> Value {
    let data = response.data.as_ref();
    data.map_or(Value::Null, |data| serde_json::from_slice(data).expect("an answer is JSON"))
}

/// Rights that a function decides about; it is asked without an operation about what is not there.
pub struct May<F>(pub F);

impl<F: Fn(Option<Operation>, &str) -> bool + Send + Sync> Rights for May<F> {
    fn may(&self, operation: Operation, path: &str) -> bool {
        self.0(Some(operation), path)
    }

    fn may_create(&self, path: &str) -> bool {
        self.0(None, path)
    }
}

/// Does the work in place: for tests and the simulation, where one thread is all there is.
#[derive(Debug, Default)]
pub struct Inline;

impl Workers for Inline {
    fn start(&self, work: Box<dyn FnOnce() + Send>) -> bool {
        work();
        true
    }
}

/// Bodies that give each of `fields` a value of each wrong type, and one that is not JSON at all.
/// Every one of them holds [`CANARY`], or no text.
pub fn wrong_bodies(fields: &[&str]) -> Vec<String> {
    let huge = format!("1{}", "0".repeat(400));
    let mut values = vec!["null", "-1", "18446744073709551615", "1.5", "true", "[]", "{}", &huge]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    values.extend([
        format!("\"{CANARY}\""),
        format!("[\"{CANARY}\"]"),
        format!("[[\"{CANARY}\"]]"),
        format!("{{\"{CANARY}\":\"{CANARY}\"}}"),
        format!("{{\"{CANARY}\":{{\"{CANARY}\":null}}}}"),
        format!("\"{}\"", CANARY.repeat(1000)),
    ]);
    let mut bodies = vec![format!("[\"{CANARY}\"]"), format!("\"{CANARY}\""), "{".into()];
    for field in fields {
        bodies.extend(values.iter().map(|value| format!("{{\"{field}\":{value}}}")));
        bodies.push(format!("{{\"{field}\":1,\"{field}\":\"{CANARY}\"}}"));
        bodies.push(format!("{{\"{field}\":\"{CANARY}"));
    }
    bodies
}

/// What must appear in no error.
pub const CANARY: &str = "canary-5d41402abc4b2a76";

const VALUE_BYTES_MAX: usize = (1 << 20) - 64;

const SEGMENT_BYTES_MAX: usize = 1023;
