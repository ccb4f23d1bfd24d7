//! What ended tokens leave behind: their rows, their accessors, their cubbyholes. It opens nothing
//! any more, so it may stay as long as it likes; the leader takes it away in passes of small steps.
//!
//! ```text
//! pass:  tokens/…  ──piece by piece──▶  cubbyhole tokens/<token>/…  ──piece by piece──▶  end
//! ```
//!
//! What is kept:
//!
//! - Every step decides again, in the transaction that removes, so that whatever was decided before
//!   may be wrong, old, or another node's.
//! - A pass stands in the memory of the leader alone. One that a client asked for is a row until it
//!   has come to its end, so that the next leader begins it again.
//! - The row of a token that was revoked alone stays until a whole pass has begun after that: each
//!   child that such a pass meets becomes an orphan, and no new one can come.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use conclave_barrier::{Barrier, SurveyMark, Transaction};
use prost::Message;

use super::record::TokenRecord;
use super::{lives, store};
use crate::update::update;
use crate::{Core, Error, call, errors, mounts, rows, sweep};

/// Names that one step looks at: with its accessor, each may cost an entry two rows.
const PIECE_NAMES: usize = 128;

/// How long after the last pass the next one begins by itself.
const PASS_INTERVAL: Duration = Duration::from_secs(3600);

/// How far the sweep has come on this node.
#[derive(Default)]
pub(crate) struct TokenSweep {
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    /// When the next pass begins by itself; none before the first step.
    due: Option<Duration>,
    pass: Option<Pass>,
    /// Where the last pass that came to its end had begun.
    settled: Option<Began>,
}

#[derive(Clone)]
struct Pass {
    began: Began,
    place: Place,
    removed: u64,
}

/// A moment of this history.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Began {
    epoch: u64,
    revision: u64,
}

/// What was looked at last.
#[derive(Clone)]
enum Place {
    Tokens(Option<SurveyMark>),
    Cubbyholes(Option<SurveyMark>),
    End,
}

/// What is to be done about a row.
enum Verdict {
    Keep,
    Remove(TokenRecord),
    /// What it hung on was revoked alone.
    Orphan(TokenRecord),
}

/// Notes that somebody wants a pass, with the commit.
pub(crate) fn ask(tx: &mut Transaction) -> Result<(), Error> {
    tx.put(&rows::token_tidy(), bytes::Bytes::new()).map_err(errors::from_barrier)
}

/// One step of a pass, if one is under way, due or asked for.
pub(crate) async fn step(core: &Core) -> Result<(), Error> {
    let lock = || core.token_sweep.state.lock().unwrap_or_else(PoisonError::into_inner);
    let mut state = lock().clone();
    if state.begin(core)? {
        state.go_on(core).await?;
    }
    *lock() = state;
    Ok(())
}

impl State {
    /// Whether there is a pass to go on with.
    fn begin(&mut self, core: &Core) -> Result<bool, Error> {
        let mut tx = core.barrier.transaction(core.barrier.ledger().view());
        let now = Began { epoch: tx.view().epoch(), revision: tx.view().revision() };
        self.settled = self.settled.filter(|settled| settled.epoch == now.epoch);
        self.pass = self.pass.take().filter(|pass| pass.began.epoch == now.epoch);
        if self.pass.is_some() {
            return Ok(true);
        }
        let is_asked = tx.get(&rows::token_tidy()).map_err(errors::from_barrier)?.is_some();
        if self.is_due(core.ports.clock.monotonic()) || is_asked {
            self.pass = Some(Pass { began: now, place: Place::Tokens(None), removed: 0 });
        }
        Ok(self.pass.is_some())
    }

    fn is_due(&mut self, now: Duration) -> bool {
        now >= *self.due.get_or_insert(now + PASS_INTERVAL)
    }

    async fn go_on(&mut self, core: &Core) -> Result<(), Error> {
        let Some(pass) = &mut self.pass else { return Ok(()) };
        let settled = self.settled.map(|settled| settled.revision);
        let (removed, next) = match &pass.place {
            Place::Tokens(after) => sweep_tokens(core, after.as_ref(), settled).await?,
            Place::Cubbyholes(after) => sweep_cubbyholes(core, after.clone()).await?,
            Place::End => (0, Place::End),
        };
        pass.removed += removed;
        pass.place = next;
        if matches!(pass.place, Place::End) {
            conclude(core, pass).await?;
            self.settled = Some(pass.began);
            self.due = Some(core.ports.clock.monotonic() + PASS_INTERVAL);
            self.pass = None;
        }
        Ok(())
    }
}

/// What was asked for before the pass began is done.
async fn conclude(core: &Core, pass: &Pass) -> Result<(), Error> {
    tracing::info!(rows = pass.removed, "what ended tokens had left was swept");
    let mut tx = core.barrier.transaction(core.barrier.ledger().view());
    if tx.get(&rows::token_tidy()).map_err(errors::from_barrier)?.is_none() {
        return Ok(());
    }
    let began = pass.began.revision;
    update(&core.barrier, |tx, _| {
        let asked = tx.get(&rows::token_tidy()).map_err(errors::from_barrier)?;
        if asked.is_some_and(|row| row.revision <= began) {
            tx.delete(&rows::token_tidy()).map_err(errors::from_barrier)?;
        }
        Ok(())
    })
    .await
}

/// One piece of the tokens. `settled`: where the last whole pass began.
async fn sweep_tokens(
    core: &Core,
    after: Option<&SurveyMark>,
    settled: Option<u64>,
) -> Result<(u64, Place), Error> {
    let (mut tx, now_ms) = look(core).await?;
    let piece = tx.survey_piece(&rows::tokens(), after, PIECE_NAMES);
    let (names, end) = piece.map_err(errors::from_barrier)?;
    let mut found = Vec::new();
    for hash in names.iter().filter_map(|name| rows::decode_hash(name)) {
        if !matches!(judge(&mut tx, &hash, now_ms, settled)?, Verdict::Keep) {
            found.push(hash);
        }
    }
    drop(tx);
    let mut removed = 0;
    if !found.is_empty() {
        removed = update(&core.barrier, |tx, now_ms| {
            let mut removed = 0;
            for hash in &found {
                let verdict = judge(tx, hash, now_ms, settled)?;
                removed += execute(&core.barrier, tx, hash, verdict)?;
            }
            Ok(removed)
        })
        .await?;
    }
    let next = end.map_or(Place::Cubbyholes(None), |end| Place::Tokens(Some(end)));
    Ok((removed, next))
}

fn judge(
    tx: &mut Transaction,
    hash: &[u8; 32],
    now_ms: u64,
    settled: Option<u64>,
) -> Result<Verdict, Error> {
    let row = tx.get(&rows::token(hash)).map_err(errors::from_barrier)?;
    let Some(row) = row else { return Ok(Verdict::Keep) };
    let record = TokenRecord::decode(row.value)
        .map_err(|error| Error::internal(format!("a token cannot be read: {error}")))?;
    if record.revoked_alone {
        return Ok(match settled.is_some_and(|began| row.revision <= began) {
            true => Verdict::Remove(record),
            false => Verdict::Keep,
        });
    }
    if !lives(tx, &record, now_ms)? {
        return Ok(Verdict::Remove(record));
    }
    match hangs_on_one_revoked_alone(tx, &record)? {
        true => Ok(Verdict::Orphan(record)),
        false => Ok(Verdict::Keep),
    }
}

fn hangs_on_one_revoked_alone(tx: &mut Transaction, record: &TokenRecord) -> Result<bool, Error> {
    let Ok(parent) = <[u8; 32]>::try_from(record.parent.as_slice()) else { return Ok(false) };
    Ok(store::load(tx, &parent)?.is_some_and(|above| above.revoked_alone))
}

fn execute(
    barrier: &Barrier,
    tx: &mut Transaction,
    hash: &[u8; 32],
    verdict: Verdict,
) -> Result<u64, Error> {
    match verdict {
        Verdict::Keep => Ok(0),
        Verdict::Remove(record) => store::delete(barrier, tx, hash, &record).map(|()| 1),
        Verdict::Orphan(record) => {
            let record = TokenRecord { parent: Vec::new(), ..record };
            store::put(tx, hash, &record).map(|()| 0)
        }
    }
}

/// One piece of the cubbyholes, or as much of it as fits into one entry: then it is looked at again.
async fn sweep_cubbyholes(core: &Core, after: Option<SurveyMark>) -> Result<(u64, Place), Error> {
    let (mut tx, now_ms) = look(core).await?;
    let piece = tx.survey_piece(&mounts::cubbyholes(), after.as_ref(), PIECE_NAMES);
    let (names, end) = piece.map_err(errors::from_barrier)?;
    let mut found = Vec::new();
    for name in names.iter().filter_map(|name| name.strip_suffix('/')) {
        if !has_token(&mut tx, name, now_ms)? {
            found.push(name);
        }
    }
    drop(tx);
    let next = end.map_or(Place::End, |end| Place::Cubbyholes(Some(end)));
    if found.is_empty() {
        return Ok((0, next));
    }
    let (removed, is_whole) = update(&core.barrier, |tx, now_ms| {
        let mut rows = Vec::new();
        for name in &found {
            if !has_token(tx, name, now_ms)? {
                let mut directory = mounts::cubbyholes();
                directory.segments.push((*name).to_owned());
                sweep::collect(tx, &directory, &mut rows)?;
            }
        }
        for row in &rows {
            tx.delete(row).map_err(errors::from_barrier)?;
        }
        Ok((rows.len() as u64, rows.len() < sweep::ROWS_MAX))
    })
    .await?;
    Ok((removed, if is_whole { next } else { Place::Cubbyholes(after) }))
}

/// Takes away what an earlier token of the same text has kept.
pub(super) fn empty_cubbyhole(tx: &mut Transaction, hash: &[u8; 32]) -> Result<(), Error> {
    let (mut rows, mut directory) = (Vec::new(), mounts::cubbyholes());
    directory.segments.push(rows::encode(hash));
    sweep::collect(tx, &directory, &mut rows)?;
    if rows.len() >= sweep::ROWS_MAX {
        return Err(Error::invalid(
            "an earlier token with this ID has left too much; tidy tokens, or choose another",
        ));
    }
    rows.iter().try_for_each(|row| tx.delete(row)).map_err(errors::from_barrier)
}

/// Whether the token that a cubbyhole is named by lives.
fn has_token(tx: &mut Transaction, name: &str, now_ms: u64) -> Result<bool, Error> {
    let Some(hash) = rows::decode_hash(name) else { return Ok(true) };
    let Some(record) = store::load(tx, &hash)? else { return Ok(false) };
    lives(tx, &record, now_ms)
}

/// A view to look at, and the cluster's time. What is found there is decided again where it counts.
async fn look(core: &Core) -> Result<(Transaction, u64), Error> {
    let ledger = core.barrier.ledger();
    let point = ledger.read_barrier().await.map_err(errors::from_ledger)?;
    let tx = core.barrier.transaction(ledger.view());
    let now_ms = call::now_ms(&point, &tx);
    Ok((tx, now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_begins_by_itself_an_interval_after_the_first_step() {
        let mut state = State::default();
        let at = Duration::from_secs;
        assert!(!state.is_due(at(5)));
        assert!(!state.is_due(at(3604)));
        assert!(state.is_due(at(3605)));
    }
}
