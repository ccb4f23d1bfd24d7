//! `subkeys/*path`: the shape of a version without its values.

use conclave_mount::fields::query_whole;
use conclave_mount::{EngineError, Request, Response, Storage};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::data::compose;
use super::merge::{DEPTH_MAX, fields};
use super::record::NameRecord;

/// Reads the keys of the version that `?version=` names, or of the newest, `?depth=` levels deep;
/// 0 stands for all. What is a value, or lies deeper, is null.
pub(super) fn read(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let number = query_whole(request, "version")?.unwrap_or(0);
    let depth = match query_whole(request, "depth")?.unwrap_or(0) {
        0 => DEPTH_MAX,
        depth => usize::try_from(depth).unwrap_or(DEPTH_MAX).min(DEPTH_MAX),
    };
    let record = NameRecord::load(storage, name)?.ok_or_else(EngineError::not_found)?;
    let version = record.version(number).ok_or_else(EngineError::not_found)?;
    if !version.is_readable(request.now_ms) {
        let data = compose("subkeys", b"null", &record, version)?;
        return Err(EngineError::not_found().with_data(data));
    }
    let data = record.data(storage, version.number)?;
    let data: &RawValue = serde_json::from_slice(&data)
        .map_err(|_| EngineError::internal("a version's data is no JSON"))?;
    let shape = Value::Object(shape(data, depth)).to_string();
    let data = compose("subkeys", shape.as_bytes(), &record, version)?;
    Ok(Response { data: Some(data), ..Response::default() })
}

fn shape(object: &RawValue, levels: usize) -> Map<String, Value> {
    let below = |value: &RawValue| match levels {
        ..=1 => Value::Null,
        _ => match shape(value, levels - 1) {
            shape if shape.is_empty() => Value::Null,
            shape => Value::Object(shape),
        },
    };
    fields(object).unwrap_or_default().into_iter().map(|(key, v)| (key, below(v))).collect()
}
