//! Proposing commands: a bounded queue, and one task that hands Raft everything that waits.
//!
//! Many waiting commands travel in one message to openraft's core, one log entry each, so that a
//! revision is a log index.

use std::sync::Arc;

use bytes::Bytes;
use conclave_proto::v1;
use conclave_store::state::{COMMAND_BYTES_MAX, InvalidCommand, VALUE_BYTES_MAX, validate};
use futures::StreamExt;
use futures::stream::BoxStream;
use openraft::AsyncRuntime;
use openraft::errors::{ClientWriteError, Fatal};
use openraft::raft::WriteResult;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::types::{CommandBytes, RaftOf, TypeConfig};
use crate::yielding::yield_once;
use crate::{ProposeError, Proposed};

/// Commands handed to Raft at once.
const BATCH_COMMANDS_MAX: usize = 1024;
/// Bytes after which a batch takes no more commands.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// KiB of commands that were not answered yet; with more, proposing is refused as busy.
const WAITING_KIB_MAX: u32 = 256 * 1024;

/// A place among the commands that were not answered yet, by number and by size.
struct Slot {
    _command: OwnedSemaphorePermit,
    _kib: OwnedSemaphorePermit,
}

/// A command in the queue. The slot is held until the answer is known, so the bounds cover what
/// waits for the disk and the quorum, too.
pub(crate) struct Waiting {
    command: CommandBytes,
    answer: oneshot::Sender<Result<Proposed, ProposeError>>,
    _slot: Slot,
}

/// The sending side.
pub(crate) struct ProposalQueue {
    sender: mpsc::Sender<Waiting>,
    slots: Arc<Semaphore>,
    slots_max: usize,
    kib: Arc<Semaphore>,
}

impl ProposalQueue {
    pub(crate) fn new(waiting_commands_max: usize) -> (Self, mpsc::Receiver<Waiting>) {
        let slots_max = waiting_commands_max.clamp(1, Semaphore::MAX_PERMITS);
        let (sender, receiver) = mpsc::channel(slots_max);
        let slots = Arc::new(Semaphore::new(slots_max));
        let kib = Arc::new(Semaphore::new(WAITING_KIB_MAX as usize));
        (Self { sender, slots, slots_max, kib }, receiver)
    }

    /// Commands that were not answered yet.
    pub(crate) fn waiting(&self) -> usize {
        self.slots_max - self.slots.available_permits()
    }

    pub(crate) async fn propose(&self, command: Bytes) -> Result<Proposed, ProposeError> {
        let slot = self.take_slot(command.len())?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { command: CommandBytes(command), answer, _slot: slot };
        self.sender.try_send(waiting).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => ProposeError::Busy,
            mpsc::error::TrySendError::Closed(_) => stopped("it was shut down"),
        })?;
        // A proposer that vanished may have handed the command over before.
        answered.await.unwrap_or(Err(ProposeError::Unknown))
    }

    fn take_slot(&self, bytes: usize) -> Result<Slot, ProposeError> {
        let busy = |_| ProposeError::Busy;
        let kib = u32::try_from(bytes.div_ceil(1024)).map_err(|_| ProposeError::Busy)?;
        Ok(Slot {
            _command: self.slots.clone().try_acquire_owned().map_err(busy)?,
            _kib: self.kib.clone().try_acquire_many_owned(kib).map_err(busy)?,
        })
    }
}

/// Encodes a command, unless it breaks a limit.
///
/// The state machine refuses such a command as well, on every replica alike; here it is kept out
/// of the log, and its author learns why.
pub(crate) fn encode_checked(command: &v1::Command) -> Result<Bytes, ProposeError> {
    let too_large = |bytes, bytes_max| Err(ProposeError::TooLarge { bytes, bytes_max });
    match validate(command) {
        Ok(()) => {}
        Err(InvalidCommand::CommandTooLong { bytes }) => {
            return too_large(bytes, COMMAND_BYTES_MAX);
        }
        Err(InvalidCommand::ValueTooLong { bytes }) => return too_large(bytes, VALUE_BYTES_MAX),
        Err(error) => return Err(ProposeError::Invalid(error.to_string())),
    }
    Ok(command.encode_to_vec().into())
}

/// Whether a command only takes away, so that a node without disk space can afford it.
pub(crate) fn frees_space(command: &v1::Command) -> bool {
    use v1::cluster_change::Kind as Change;
    use v1::session_change::Kind as Session;
    let change = command.cluster.as_ref().and_then(|change| change.kind.as_ref());
    let session = command.session.as_ref().and_then(|change| change.kind.as_ref());
    matches!(change, None | Some(Change::Recovered(_) | Change::RestoreAbort(_)))
        && matches!(session, None | Some(Session::Close(_)))
        && command.writes.iter().all(|write| write.value.is_none())
}

/// Hands over what waits until the queue is closed.
pub(crate) async fn run_proposer<R: AsyncRuntime>(
    raft: RaftOf<R>,
    mut queue: mpsc::Receiver<Waiting>,
) {
    while let Some(first) = queue.recv().await {
        // Others that are about to propose get into the same batch.
        yield_once().await;
        let (commands, waiters) = collect(first, &mut queue);
        match raft.client_write_many(commands).await {
            Ok(results) => drop(R::spawn(answer_all::<R>(results, waiters))),
            Err(fatal) => {
                for waiter in waiters {
                    waiter.answer(Err(stopped(&fatal.to_string())));
                }
            }
        }
    }
}

/// What openraft says about one command.
type Written<R> = Result<WriteResult<TypeConfig<R>>, Fatal<TypeConfig<R>>>;

/// Whom to tell what became of a command.
struct Waiter {
    answer: oneshot::Sender<Result<Proposed, ProposeError>>,
    _slot: Slot,
}

impl Waiter {
    fn answer(self, result: Result<Proposed, ProposeError>) {
        // A caller that went away no longer wants to know.
        drop(self.answer.send(result));
    }
}

fn collect(
    first: Waiting,
    queue: &mut mpsc::Receiver<Waiting>,
) -> (Vec<CommandBytes>, Vec<Waiter>) {
    let (mut commands, mut waiters, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut next = Some(first);
    while let Some(Waiting { command, answer, _slot }) = next {
        bytes += command.0.len();
        commands.push(command);
        waiters.push(Waiter { answer, _slot });
        let full = commands.len() >= BATCH_COMMANDS_MAX || bytes >= BATCH_BYTES_MAX;
        next = if full { None } else { queue.try_recv().ok() };
    }
    (commands, waiters)
}

async fn answer_all<R: AsyncRuntime>(
    mut results: BoxStream<'static, Written<R>>,
    waiters: Vec<Waiter>,
) {
    for waiter in waiters {
        // A stream that ends early leaves the rest unanswered, that is: unknown. It panics where it
        // is asked again.
        let Some(result) = results.next().await else { return };
        waiter.answer(outcome::<R>(result));
    }
}

fn outcome<R: AsyncRuntime>(result: Written<R>) -> Result<Proposed, ProposeError> {
    match result {
        Ok(Ok(written)) => {
            Ok(Proposed { revision: written.log_id.index, outcome: written.response.0 })
        }
        // Refused before it was appended anywhere.
        Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(ProposeError::NotLeader),
        // Appended, then lost sight of: another leader may still commit it.
        Ok(Err(_)) | Err(_) => Err(ProposeError::Unknown),
    }
}

pub(crate) fn stopped(why: &str) -> ProposeError {
    ProposeError::Stopped(why.to_owned())
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use openraft::errors::ForwardToLeader;
    use openraft::impls::TokioRuntime;

    use super::*;

    #[tokio::test]
    async fn a_stream_that_ends_early_is_not_asked_again_and_leaves_the_rest_unknown() {
        let (queue, mut received) = ProposalQueue::new(3);
        let proposals = async {
            let one = || queue.propose(Bytes::from_static(b"command"));
            join_all([one(), one(), one()]).await
        };
        let answering = async {
            let first = received.recv().await.expect("the queue lives");
            yield_once().await;
            let (commands, waiters) = collect(first, &mut received);
            assert_eq!((commands.len(), waiters.len()), (3, 3));
            // As openraft's own: one answer, then the end, and a panic behind it.
            let results = futures::stream::unfold(true, |begins| async move {
                let refused = ClientWriteError::ForwardToLeader(ForwardToLeader::empty());
                let written: Written<TokioRuntime> = Ok(Err(refused));
                begins.then_some((written, false))
            });
            answer_all::<TokioRuntime>(results.boxed(), waiters).await;
        };
        let (answers, ()) = futures::future::join(proposals, answering).await;
        assert!(matches!(
            answers[..],
            [Err(ProposeError::NotLeader), Err(ProposeError::Unknown), Err(ProposeError::Unknown)]
        ));
    }
}
