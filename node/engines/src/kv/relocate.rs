//! `move/*path`: secrets under another name. Names point to objects, so that only names are
//! rewritten, whatever their history holds.

use conclave_mount::{EngineError, Request, Response, Storage};
use prost::Message;

use super::record::NameRecord;
use super::transfer::{self, Budget, Kind};

/// Moves the secret `from`, or it and all below it.
pub(super) fn names(
    request: &Request,
    from: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let steps = transfer::plan(request, from, Kind::Move, storage)?;
    let mut budget = Budget::new();
    let count = steps.len();
    for mut step in steps {
        budget.spend(&step.source, 0)?;
        budget.spend(&step.target, step.record.encoded_len())?;
        NameRecord::forget(storage, &step.source)?;
        step.record.touch(&request.caller, request.now_ms);
        step.record.store(storage, &step.target)?;
    }
    transfer::answer(count)
}
