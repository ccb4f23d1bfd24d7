//! The state machine: what an entry does.
//!
//! In this order: stamped time moves, a restore left alone is given up, due sessions end, the request id is looked at, the
//! conditions, the session change, the writes; then an executed request is remembered. Nothing
//! here reads a clock or a random source, so every replica comes to the same outcome and the same
//! state hash; an entry that this version does not understand whole stops the node.

use bytes::Bytes;
use prost::Message;

use super::changes::{Changes, Finished};
use super::cluster::{ClusterStep, Effect, Replacement};
use super::key;
use super::limits::validate_sized;
use super::record::FORMAT;
use super::restore::UnderWay;
use super::shared::{ApplyTurn, Position, Shared};
use super::types::{Outcome, StateError};
use super::undo::Undo;
use super::{session, tree};
use crate::v1::cluster_change::Kind as ClusterKind;
use crate::v1::entry::Payload;
use crate::v1::{Command, Entry, LogId, StoredMembership};

impl Shared {
    /// Applies the entry after the last applied one.
    pub(crate) fn apply(&self, entry: &Entry) -> Result<Outcome, StateError> {
        let mut turn = self.apply_turn();
        self.make_room()?;
        let id = self.next_id(entry)?;
        let unknown = |what: &str| StateError::Unknown { index: id.index, what: what.into() };
        match &entry.payload {
            None => Err(unknown("its kind is not known")),
            Some(Payload::Blank(_)) => {
                self.advance(id, None);
                Ok(Outcome::Nothing)
            }
            Some(Payload::Membership(membership)) => {
                let membership = Some(membership.clone());
                self.advance(id, Some(StoredMembership { log_id: Some(id), membership }));
                Ok(Outcome::Nothing)
            }
            Some(Payload::Command(_)) if id.index == 0 => {
                Err(unknown("revision 0 stands for an absent row"))
            }
            Some(Payload::Command(bytes)) => {
                let command = decode(bytes).map_err(|what| unknown(&what))?;
                if restores_later_format(&command) {
                    return Err(unknown("it restores a backup of a later format"));
                }
                self.apply_command(&mut turn, id, &command, bytes.len())
            }
        }
    }

    /// Bounds what is held in memory, by work in proportion to what an entry adds.
    fn make_room(&self) -> Result<(), StateError> {
        let (is_batch, is_full, must_spill) = {
            let memory = self.read();
            let is_full = memory.overlay.bytes() >= self.config.overlay_bytes_max;
            let must_spill = memory.undo.is_nearly_full() && memory.undo.export().is_some();
            (memory.overlay.is_batch(), is_full, must_spill)
        };
        if is_batch {
            self.write().freeze();
        }
        if is_full {
            self.flush_inline()?;
        }
        if must_spill {
            self.spill_inline()?;
        }
        Ok(())
    }

    /// The id of an entry that follows the last applied one; the first may have any index.
    fn next_id(&self, entry: &Entry) -> Result<LogId, StateError> {
        let unknown = |index, what: String| StateError::Unknown { index, what };
        let id = entry.id.ok_or_else(|| unknown(0, "it has no log id".into()))?;
        match self.read().position.log_id.map(|last| last.index) {
            Some(last) if last.checked_add(1) != Some(id.index) => {
                Err(unknown(id.index, format!("entry {last} was applied last")))
            }
            _ => Ok(id),
        }
    }

    fn apply_command(
        &self,
        turn: &mut ApplyTurn,
        id: LogId,
        command: &Command,
        bytes: usize,
    ) -> Result<Outcome, StateError> {
        let (now_ms, hash, count, restore, scrubbed) = {
            let memory = self.read();
            let position = &memory.position;
            let now_ms = position.stamped_ms.max(command.stamped_ms);
            let restore = position.restore.clone().filter(|restore| !restore.has_lapsed(now_ms));
            let scrubbed = memory.scrub.as_ref().map(|round| round.cursor.clone());
            (now_ms, position.hash, position.record_count, restore, scrubbed)
        };
        let mut changes = Changes::new(self, id.index);
        let mut next_expiry_ms = session::sweep(&mut changes, turn.next_expiry_ms, now_ms)?;
        let mut effect = if validate_sized(command, bytes).is_err() {
            Effect::only(Outcome::ConditionFailed, restore)
        } else if let Some(change) = &command.cluster {
            let changes = &mut changes;
            ClusterStep { shared: self, changes, id, now_ms, restore }.run(change)?
        } else {
            Effect::only(execute(&mut changes, command, now_ms)?, restore)
        };
        if command.session.is_some() || effect.replacement.is_some() {
            next_expiry_ms = 0;
        }
        let outcome = effect.outcome.clone();
        match effect.replacement.take() {
            Some(replacement) => self.install_replacement(id, now_ms, replacement, &effect),
            None => {
                self.install(id, now_ms, changes.finish(hash, count, scrubbed.as_ref()), effect)
            }
        }
        turn.next_expiry_ms = next_expiry_ms;
        Ok(outcome)
    }

    /// Makes an entry's changes visible, all at once.
    fn install(&self, id: LogId, stamped_ms: u64, finished: Finished, effect: Effect) {
        let generation = |restore: &UnderWay| restore.as_ref().map(|restore| restore.generation());
        let before = generation(&self.read().position.restore);
        let given_up = before.filter(|before| generation(&effect.restore) != Some(*before));
        // Nothing of it may be deleted before metadata that does not name it is written.
        let _flusher = given_up.map(|_| self.flush_turn());
        let mut memory = self.write();
        if let Some(generation) = given_up {
            memory.staging.remove(&generation);
            memory.garbage = true;
        }
        if memory.undo.is_wanted() {
            let before = finished.changed.iter();
            let before = before.map(|(key, change)| (key, change.before.as_ref()));
            if memory.undo.keep(id.index, before) {
                memory.garbage = true;
            }
        }
        for (key, change) in finished.changed {
            memory.overlay.put(key, change.before.as_ref(), change.after);
        }
        memory.position.log_id = Some(id);
        memory.position.stamped_ms = stamped_ms;
        memory.position.hash = finished.hash;
        memory.position.record_count = finished.count;
        memory.position.restore = effect.restore;
        if let Some(round) = &mut memory.scrub {
            round.sum.plus(&finished.below);
        }
        if let Some(epoch) = effect.epoch {
            memory.position.epoch = epoch;
        }
        memory.unflushed = true;
        memory.remember_checkpoint();
    }

    /// Makes a staged generation the state, in one step. Its metadata is written by the next
    /// flush, and nothing of what it replaces is deleted before.
    fn install_replacement(
        &self,
        id: LogId,
        stamped_ms: u64,
        replacement: Replacement,
        effect: &Effect,
    ) {
        let Replacement { generation, hash, count, epochs } = replacement;
        let _flusher = self.flush_turn();
        let mut memory = self.write();
        let position = Position {
            log_id: Some(id),
            membership: memory.position.membership.take(),
            stamped_ms,
            hash,
            record_count: count,
            epoch: effect.epoch.unwrap_or_default(),
            restore: None,
        };
        memory.replace(generation, position, Undo::new(self.config.undo_bytes_max));
        memory.overlay.put(key::epoch(), None, Some(epochs));
        memory.unflushed = true;
        memory.remember_checkpoint();
    }

    /// Moves on over an entry that changes no record.
    fn advance(&self, id: LogId, membership: Option<StoredMembership>) {
        let mut memory = self.write();
        memory.position.log_id = Some(id);
        if membership.is_some() {
            memory.position.membership = membership;
        }
        memory.unflushed = true;
        memory.remember_checkpoint();
    }
}

/// A version that knows the format stages what this one cannot read.
fn restores_later_format(command: &Command) -> bool {
    let kind = command.cluster.as_ref().and_then(|change| change.kind.as_ref());
    let Some(ClusterKind::RestoreBegin(begin)) = kind else { return false };
    begin.header.as_ref().is_some_and(|header| header.format > FORMAT)
}

fn execute(
    changes: &mut Changes<'_>,
    command: &Command,
    now_ms: u64,
) -> Result<Outcome, StateError> {
    if let Some(request) = &command.request_id
        && let Some(outcome) = session::admit(changes, request, now_ms)?
    {
        return Ok(outcome);
    }
    for condition in &command.conditions {
        if !tree::holds(changes, condition)? {
            return Ok(Outcome::ConditionFailed);
        }
    }
    if let Some(change) = &command.session
        && let Some(outcome) = session::change(changes, change, now_ms)?
    {
        return Ok(outcome);
    }
    tree::write(changes, &command.writes)?;
    if let Some(request) = &command.request_id {
        session::remember(changes, request)?;
    }
    Ok(Outcome::Applied { revision: changes.revision() })
}

/// Decodes a command and nothing else: a field of a later version is skipped by the decoder, so
/// what was read would encode shorter than what was there.
fn decode(bytes: &Bytes) -> Result<Command, String> {
    let command = Command::decode(bytes.clone()).map_err(|error| error.to_string())?;
    if command.encoded_len() != bytes.len() {
        return Err("it has fields that are not known".into());
    }
    Ok(command)
}
