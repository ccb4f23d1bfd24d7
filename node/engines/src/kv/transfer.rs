//! What `move/*path` and `copy/*path` have in common: which names become which, and whether the
//! caller may do that.
//!
//! The caller's policies were asked about `move/…` or `copy/…` alone; what happens to the names in
//! the body, and below the path, is asked here, name by name, about the same routes that would have
//! to be called otherwise.

use conclave_mount::fields::{Flag, Object, Whole, present};
use conclave_mount::{
    BodyFields, EngineError, ErrorCode, Operation, Request, Response, Rights, Storage, path, word,
};
use serde::{Deserialize, Serialize};

use super::data::CAS_MISMATCH;
use super::record::{NAMES, NameRecord};
use crate::listing::{self, Page};

/// Names that go in one change.
pub(super) const NAMES_MAX: usize = 1_000;
/// What a change may hold: a log entry takes a little more.
const BYTES_MAX: usize = 1 << 20;
/// What a row costs beside its name and value: its place twice, once as a condition.
const ROW_BYTES: usize = 350;

/// What becomes of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It goes.
    Move,
    /// It stays.
    Copy,
}

/// One name that becomes another.
pub(super) struct Step {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) record: NameRecord,
}

/// What is to be done, allowed and possible.
pub(super) fn plan(
    request: &Request,
    from: &str,
    kind: Kind,
    storage: &mut dyn Storage,
) -> Result<Vec<Step>, EngineError> {
    let Object(body): Object<Body> = request.parse()?;
    let to = body.to.as_deref().ok_or_else(|| {
        EngineError::invalid("'to' is missing; give the name that the secret is to have")
    })?;
    let recursive = body.recursive.is_some_and(|Flag(recursive)| recursive);
    check_names(from, to, recursive, body.cas.is_some())?;
    let rights = request.caller.rights.as_deref().ok_or_else(denied)?;
    let sources = match recursive {
        true => names_below(rights, from, storage)?,
        false => vec![from.to_owned()],
    };
    let mut steps = Vec::with_capacity(sources.len());
    for source in sources {
        let target = format!("{to}{}", &source[from.len()..]);
        // The target must be a name that a request can have: with the mount before it.
        path::check(&format!("{}metadata/{target}", request.mount.path)).map_err(|rule| {
            EngineError::invalid(format!("a name below 'to' could not be asked for: {rule}"))
        })?;
        check_rights(rights, kind, &source, &target)?;
        if let Some(record) = NameRecord::load(storage, &source)? {
            steps.push(Step { source, target, record });
        }
    }
    check_state(&steps, body.cas, storage)?;
    Ok(steps)
}

/// Nothing to do is a 404; what would be overwritten, or was changed meanwhile, is a mismatch.
fn check_state(
    steps: &[Step],
    cas: Option<Whole>,
    storage: &mut dyn Storage,
) -> Result<(), EngineError> {
    if steps.is_empty() {
        return Err(EngineError::not_found());
    }
    let mismatch = |message: &str| Err(EngineError::new(ErrorCode::CasMismatch, message));
    if cas.is_some_and(|Whole(expected)| expected != steps[0].record.current_version) {
        return mismatch(CAS_MISMATCH);
    }
    for step in steps {
        if NameRecord::load(storage, &step.target)?.is_some() {
            return mismatch(
                "a secret with a new name is there already; remove it or choose another name",
            );
        }
    }
    Ok(())
}

fn check_names(from: &str, to: &str, recursive: bool, cas: bool) -> Result<(), EngineError> {
    path::check(to).map_err(|rule| EngineError::invalid(format!("'to' is no name: {rule}")))?;
    let is_below = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
    };
    if from == to {
        return Err(EngineError::invalid("'to' is the name that the secret has; give another"));
    }
    if recursive && (is_below(from, to) || is_below(to, from)) {
        return Err(EngineError::invalid(
            "one of the two paths lies below the other; go by a path beside both",
        ));
    }
    if recursive && cas {
        return Err(EngineError::invalid("'cas' is about one secret; leave out 'recursive'"));
    }
    Ok(())
}

/// `from` and everything below it.
fn names_below(
    rights: &dyn Rights,
    from: &str,
    storage: &mut dyn Storage,
) -> Result<Vec<String>, EngineError> {
    if !rights.may(Operation::List, &format!("metadata/{from}/")) {
        return Err(denied());
    }
    let page = Page { after: None, limit: NAMES_MAX };
    let found = listing::scan(storage, &format!("{NAMES}/{from}"), &page, &|_| true)?;
    if found.more {
        return Err(EngineError::new(
            ErrorCode::TooLarge,
            format!("more than {NAMES_MAX} secrets lie below; take the directories one by one"),
        ));
    }
    let below = found.keys.into_iter().map(|key| format!("{from}/{key}"));
    let itself = NameRecord::load(storage, from)?.map(|_| from.to_owned());
    Ok(itself.into_iter().chain(below).collect())
}

/// Reading all of the source, deleting it where it goes, and making all of the target.
fn check_rights(
    rights: &dyn Rights,
    kind: Kind,
    source: &str,
    target: &str,
) -> Result<(), EngineError> {
    let (data, metadata) = (format!("data/{source}"), format!("metadata/{source}"));
    let allowed = rights.may(Operation::Read, &data)
        && rights.may(Operation::Read, &metadata)
        && (kind == Kind::Copy || rights.may(Operation::Delete, &metadata))
        && rights.may_create(&format!("data/{target}"))
        && rights.may_create(&format!("metadata/{target}"));
    if allowed { Ok(()) } else { Err(denied()) }
}

fn denied() -> EngineError {
    EngineError::new(ErrorCode::PermissionDenied, "permission denied")
}

/// What is left of a change's bound.
pub(super) struct Budget {
    bytes: usize,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { bytes: BYTES_MAX }
    }

    /// Takes what a row with this name and value costs.
    ///
    /// # Errors
    /// `TooLarge` where nothing is left.
    pub(super) fn spend(&mut self, name: &str, value_bytes: usize) -> Result<(), EngineError> {
        let bytes = ROW_BYTES + 3 * name.len() + value_bytes;
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| {
            EngineError::new(
                ErrorCode::TooLarge,
                format!("the change has more than {BYTES_MAX} bytes; take fewer secrets at once"),
            )
        })?;
        Ok(())
    }
}

/// How many names were moved or copied.
pub(super) fn answer(steps: usize) -> Result<Response, EngineError> {
    Response::json(&TransferView { names: steps })
}

pub(super) const TRANSFER: BodyFields = BodyFields::of::<Body>(&[
    word("to", "The new name, or where the names below the path go.").required(),
    word("recursive", "Whether all names below the path go."),
    word("cas", "The number that the newest version must have."),
]);

#[derive(Deserialize)]
struct Body {
    #[serde(default, deserialize_with = "present")]
    to: Option<String>,
    #[serde(default, deserialize_with = "present")]
    recursive: Option<Flag>,
    /// The source's current version.
    #[serde(default, deserialize_with = "present")]
    cas: Option<Whole>,
}

#[derive(Serialize)]
struct TransferView {
    names: usize,
}
