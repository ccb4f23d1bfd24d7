//! `data/*path`: reading a version, writing and patching the next one.

use bytes::Bytes;
use conclave_mount::fields::{Object, Whole, present, query_whole};
use conclave_mount::{BodyFields, EngineError, ErrorCode, Kind, Request, Response, Storage, word};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::merge;
use super::record::{ConfigRecord, NameRecord, VersionMetadata};
use super::view::VersionView;

/// Reads the version that `?version=` names, or the newest.
pub(super) fn read(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let number = query_whole(request, "version")?.unwrap_or(0);
    let record = NameRecord::load(storage, name)?.ok_or_else(EngineError::not_found)?;
    let version = record.version(number).ok_or_else(EngineError::not_found)?;
    if !version.is_readable(request.now_ms) {
        let data = compose("data", b"null", &record, version)?;
        return Err(EngineError::not_found().with_data(data));
    }
    let data = record.data(storage, version.number)?;
    let data = compose("data", &data, &record, version)?;
    Ok(Response { data: Some(data), ..Response::default() })
}

/// Writes the next version.
pub(super) fn write(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let body = Body::parse(request)?;
    let config = ConfigRecord::load(storage)?;
    let mut record = NameRecord::load(storage, name)?
        .unwrap_or_else(|| NameRecord::new(&request.unique, request.now_ms));
    check_cas(body.cas, &config, &record)?;
    let data = Bytes::copy_from_slice(body.data.get().trim().as_bytes());
    let version = record.add_version(storage, &config, data, &request.caller, request.now_ms)?;
    record.store(storage, name)?;
    Response::json(&VersionView::new(&record, &version))
}

/// Writes the next version as a change of the newest, which must be readable.
pub(super) fn patch(
    request: &Request,
    name: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let body = Body::parse(request)?;
    let mut record = NameRecord::load(storage, name)?.ok_or_else(EngineError::not_found)?;
    let config = ConfigRecord::load(storage)?;
    check_cas(body.cas, &config, &record)?;
    let newest = *record.version(0).ok_or_else(EngineError::not_found)?;
    if !newest.is_readable(request.now_ms) {
        let metadata = Response::json(&VersionView::new(&record, &newest))?;
        return Err(EngineError::not_found().with_data(metadata.data.unwrap_or_default()));
    }
    let before = record.data(storage, newest.number)?;
    let data = merge::apply(&before, body.data)?;
    let version = record.add_version(storage, &config, data, &request.caller, request.now_ms)?;
    record.store(storage, name)?;
    Response::json(&VersionView::new(&record, &version))
}

/// A check-and-set that does not hold is told in the words that clients compare with.
fn check_cas(
    cas: Option<Cas>,
    config: &ConfigRecord,
    record: &NameRecord,
) -> Result<(), EngineError> {
    let message = match cas {
        Some(cas) if !cas.holds(record.current_version) => CAS_MISMATCH,
        None if config.cas_required || record.cas_required => {
            "check-and-set parameter required for this call"
        }
        _ => return Ok(()),
    };
    Err(EngineError::new(ErrorCode::CasMismatch, message))
}

/// `{"data": …, "metadata": {…}}`. The data was checked when it was written and goes out as the
/// bytes it came in, without being parsed again.
pub(super) fn compose(
    field: &str,
    data: &[u8],
    record: &NameRecord,
    version: &VersionMetadata,
) -> Result<Bytes, EngineError> {
    let metadata = serde_json::to_vec(&VersionView::new(record, version))
        .map_err(|_| EngineError::internal("version metadata cannot be written as JSON"))?;
    let field = field.as_bytes();
    let parts: [&[u8]; 7] = [b"{\"", field, b"\":", data, b",\"metadata\":", &metadata, b"}"];
    Ok(parts.concat().into())
}

/// What a write and a patch have in common.
struct Body<'a> {
    /// A JSON object.
    data: &'a RawValue,
    cas: Option<Cas>,
}

impl<'a> Body<'a> {
    fn parse(request: &'a Request) -> Result<Self, EngineError> {
        let Object(body): Object<WriteBody<'_>> = request.parse()?;
        let data = body.data.ok_or_else(|| EngineError::invalid("no data provided"))?;
        if !data.get().trim().starts_with('{') {
            return Err(EngineError::invalid("'data' must be a JSON object of names and values"));
        }
        Ok(Self { data, cas: body.options.and_then(|Object(options)| options.cas) })
    }
}

pub(super) const DATA: BodyFields = BodyFields::of::<WriteBody<'static>>(&[
    word("data", "The secret: names and values.").required().holds(Kind::Object),
    word("options", "`cas`: the version that must be the newest; 0 where there must be none."),
]);

#[derive(Deserialize)]
struct WriteBody<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    options: Option<Object<WriteOptions>>,
}

#[derive(Default, Deserialize)]
struct WriteOptions {
    /// `null` is refused: it must not read as "write whatever stands there".
    #[serde(default, deserialize_with = "present")]
    cas: Option<Cas>,
}

/// The version that a caller takes for the newest.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Cas {
    Version(Whole),
    /// A number, but of no version. Clients send -1 and expect to be told of a mismatch.
    Negative(i64),
}

impl Cas {
    fn holds(self, current: u64) -> bool {
        match self {
            Self::Version(Whole(expected)) => expected == current,
            Self::Negative(number) => u64::try_from(number) == Ok(current),
        }
    }
}

/// In the words that clients compare with.
pub(super) const CAS_MISMATCH: &str = "check-and-set parameter did not match the current version";
