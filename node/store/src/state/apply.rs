//! The state machine: what an entry does.
//!
//! In this order: stamped time moves, due sessions end, the request id is looked at, the
//! conditions, the session change, the writes; then an executed request is remembered. Nothing
//! here reads a clock or a random source, so every replica comes to the same outcome and the same
//! state hash; an entry that this version does not understand whole stops the node.

use bytes::Bytes;
use prost::Message;

use super::changes::{Changes, Finished};
use super::limits::validate_sized;
use super::shared::{ApplyTurn, Shared};
use super::types::{Outcome, StateError};
use super::{session, tree};
use crate::v1::entry::Payload;
use crate::v1::{Command, Entry, LogId, StoredMembership};

impl Shared {
    /// Applies the entry after the last applied one.
    pub(crate) fn apply(&self, entry: &Entry) -> Result<Outcome, StateError> {
        let mut turn = self.apply_turn();
        if self.read().overlay.bytes() >= self.config.overlay_bytes_max {
            self.flush_inline()?;
        }
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
                self.apply_command(&mut turn, id, &command, bytes.len())
            }
        }
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
        let (now_ms, hash, count) = {
            let memory = self.read();
            let position = &memory.position;
            (position.stamped_ms.max(command.stamped_ms), position.hash, position.record_count)
        };
        let mut changes = Changes::new(self, id.index);
        let mut next_expiry_ms = session::sweep(&mut changes, turn.next_expiry_ms, now_ms)?;
        let outcome = if validate_sized(command, bytes).is_err() {
            Outcome::ConditionFailed
        } else {
            execute(&mut changes, command, now_ms)?
        };
        if command.session.is_some() {
            next_expiry_ms = 0;
        }
        let finished = changes.finish(hash, count);
        self.install(id, now_ms, finished);
        turn.next_expiry_ms = next_expiry_ms;
        Ok(outcome)
    }

    /// Makes an entry's changes visible, all at once.
    fn install(&self, id: LogId, stamped_ms: u64, finished: Finished) {
        let mut memory = self.write();
        if memory.undo.is_wanted() {
            let before = finished.changed.iter();
            let before = before.map(|(key, change)| (key, change.before.as_ref()));
            memory.undo.keep(id.index, before);
        }
        for (key, change) in finished.changed {
            memory.overlay.put(key, change.before.as_ref(), change.after);
        }
        memory.position.log_id = Some(id);
        memory.position.stamped_ms = stamped_ms;
        memory.position.hash = finished.hash;
        memory.position.record_count = finished.count;
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
