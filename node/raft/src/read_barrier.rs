//! ReadIndex, single-flight.
//!
//! A read is linearizable once this node applied an index that some leader confirmed, by a round
//! of heartbeats *begun after the read arrived*, to be at least the commit index. Confirming is
//! the expensive half and the same for everyone, so all reads that wait when a round starts share
//! it; a read that comes while a round is under way waits for the next one.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use conclave_ports::{Elapsed, Ports};
use conclave_proto::v1;
use futures::future::{BoxFuture, Either, FutureExt, select};
use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::{LinearizerOption, alias};
use tokio::sync::{mpsc, oneshot};

use crate::cluster_time::ClusterTime;
use crate::observe::{Leader, MetricsOf, leader};
use crate::types::{RaftOf, TypeConfig};
use crate::yielding::yield_once;
use crate::{PeerTransport, ReadError, Target};

/// Reads that may wait for a round; more are told that none is available.
const READS_WAITING_MAX: usize = 65_536;

/// A confirmed read point, or why there is none.
pub(crate) type Round = Result<v1::ReadPoint, RoundError>;

/// Why a round yielded nothing. All but `Stopped` may pass by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RoundError {
    /// The node that was asked does not lead.
    NotLeader,
    /// No quorum confirmed in time, or the leader could not be reached.
    Unavailable,
    /// Raft has ended.
    Stopped(String),
}

/// A queue of reads before a task that runs one round at a time.
#[derive(Clone)]
pub(crate) struct Rounds {
    queue: mpsc::Sender<oneshot::Sender<Round>>,
}

impl Rounds {
    pub(crate) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<Round>>) {
        let (queue, waiting) = mpsc::channel(READS_WAITING_MAX);
        (Self { queue }, waiting)
    }

    /// The outcome of the next round to start.
    pub(crate) async fn join(&self) -> Round {
        let (sender, receiver) = oneshot::channel();
        self.queue.try_send(sender).map_err(|_| RoundError::Unavailable)?;
        receiver.await.unwrap_or(Err(RoundError::Unavailable))
    }
}

/// Runs rounds while somebody waits, until the queue is closed.
pub(crate) async fn run_rounds(
    mut waiting: mpsc::Receiver<oneshot::Sender<Round>>,
    round: impl Fn() -> BoxFuture<'static, Round> + Send,
) {
    while let Some(first) = waiting.recv().await {
        // Reads that arrive at the same moment share this round.
        yield_once().await;
        let mut joined = vec![first];
        while let Ok(next) = waiting.try_recv() {
            joined.push(next);
        }
        metrics::counter!("conclave_raft_read_barrier_rounds_total").increment(1);
        let outcome = round().await;
        for reader in joined {
            // A reader that gave up no longer wants to know.
            drop(reader.send(outcome.clone()));
        }
    }
}

/// A round on the leader itself: a quorum confirms that it still leads.
pub(crate) async fn leader_round<R: AsyncRuntime>(
    raft: RaftOf<R>,
    time: Arc<ClusterTime>,
    ports: Ports,
    round_max: Duration,
) -> Round {
    let option = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(round_max);
    // openraft bounds the wait by itself; the outer bound covers a core that is stuck.
    match ports.within(round_max * 2, raft.get_read_linearizer(option)).await {
        Ok(Ok(linearizer)) => {
            // Without a time no lifetime can be judged, so nothing may be read either.
            let leader_ms = time.now().ok_or(RoundError::Unavailable)?;
            Ok(v1::ReadPoint { index: linearizer.read_log_id().index(), leader_ms })
        }
        Ok(Err(error)) => Err(refusal::<R>(error)),
        Err(Elapsed) => Err(RoundError::Unavailable),
    }
}

fn refusal<R: AsyncRuntime>(
    error: RaftError<TypeConfig<R>, LinearizableReadError<TypeConfig<R>>>,
) -> RoundError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(_)) => RoundError::NotLeader,
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => RoundError::Unavailable,
        RaftError::Fatal(fatal) => RoundError::Stopped(fatal.to_string()),
    }
}

/// What a round of this node, as reader, needs.
pub(crate) struct Reader<R: AsyncRuntime> {
    pub(crate) node_id: u64,
    pub(crate) metrics: alias::WatchReceiverOf<TypeConfig<R>, MetricsOf<R>>,
    /// Where rounds are run if this node leads.
    pub(crate) leading: Rounds,
    pub(crate) transport: Arc<dyn PeerTransport>,
    pub(crate) time: Arc<ClusterTime>,
    pub(crate) ports: Ports,
    pub(crate) round_max: Duration,
}

impl<R: AsyncRuntime> Reader<R> {
    /// One question to whoever leads, given up as soon as somebody else does.
    pub(crate) async fn round(self: Arc<Self>) -> Round {
        let (asked, answer) = match leader::<R>(&self.metrics, self.node_id) {
            Leader::Myself => (self.node_id, self.leading.join().boxed()),
            Leader::Peer(target) => (target.node_id, self.ask(target).boxed()),
            Leader::Unknown => return Err(RoundError::NotLeader),
        };
        match select(answer, pin!(self.deposed(asked))).await {
            Either::Left((round, _)) => round,
            Either::Right(((), _)) => Err(RoundError::NotLeader),
        }
    }

    async fn ask(&self, leader: Target) -> Round {
        let request = v1::ReadIndexRequest { from: self.node_id };
        let asked = self.transport.read_index(&leader, request);
        match self.ports.within(self.round_max, asked).await {
            Ok(Ok(reply)) => self.accept(reply),
            Ok(Err(_)) | Err(Elapsed) => Err(RoundError::Unavailable),
        }
    }

    /// Completes once `leader_id` leads no more: its answer would come late or never.
    async fn deposed(&self, leader_id: u64) {
        let mut metrics = self.metrics.clone();
        loop {
            let leads = match leader::<R>(&metrics, self.node_id) {
                Leader::Myself => leader_id == self.node_id,
                Leader::Peer(target) => leader_id == target.node_id,
                Leader::Unknown => false,
            };
            if !leads || metrics.changed().await.is_err() {
                return;
            }
        }
    }

    fn accept(&self, reply: v1::ReadIndexReply) -> Round {
        use v1::read_index_reply::Outcome;
        match reply.outcome {
            Some(Outcome::Point(point)) => {
                self.time.hear(point.leader_ms);
                Ok(point)
            }
            Some(Outcome::NotLeader(_)) => Err(RoundError::NotLeader),
            None => Err(RoundError::Unavailable),
        }
    }
}

/// Asks for rounds until one is confirmed. The caller bounds it.
pub(crate) async fn confirmed(
    rounds: &Rounds,
    ports: &Ports,
    pause: Duration,
) -> Result<v1::ReadPoint, ReadError> {
    loop {
        match rounds.join().await {
            Ok(point) => return Ok(point),
            Err(RoundError::Stopped(why)) => return Err(ReadError::Stopped(why)),
            Err(RoundError::NotLeader | RoundError::Unavailable) => ports.clock.sleep(pause).await,
        }
    }
}
