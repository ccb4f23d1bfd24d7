//! `copy/*path`: secrets under a second name, with their whole history as it stands.

use conclave_mount::{EngineError, Request, Response, Storage};
use prost::Message;

use super::record::NameRecord;
use super::transfer::{self, Budget, Kind, Step};

/// Copies the secret `from`, or it and all below it.
pub(super) fn names(
    request: &Request,
    from: &str,
    storage: &mut dyn Storage,
) -> Result<Response, EngineError> {
    let steps = transfer::plan(request, from, Kind::Copy, storage)?;
    let mut budget = Budget::new();
    let count = steps.len();
    for (index, step) in (0_u16..).zip(steps) {
        let Step { target, record, .. } = step;
        let mut copy = record.clone();
        copy.separate(&request.unique, index);
        for version in record.versions.iter().filter(|version| !version.destroyed) {
            // A deleted version's data goes along: it can be undeleted there, too.
            let data = record.data(storage, version.number)?;
            budget.spend("", data.len())?;
            copy.put_data(storage, version.number, data)?;
        }
        budget.spend(&target, copy.encoded_len())?;
        store(request, copy, &target, storage)?;
    }
    transfer::answer(count)
}

fn store(
    request: &Request,
    mut copy: NameRecord,
    target: &str,
    storage: &mut dyn Storage,
) -> Result<(), EngineError> {
    copy.created_ms = request.now_ms;
    copy.touch(&request.caller, request.now_ms);
    copy.store(storage, target)
}
