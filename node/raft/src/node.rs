//! One node: openraft, the store and the transport, behind [`Consensus`].

use std::sync::Arc;
use std::time::Duration;

use conclave_ports::{Elapsed, Ports};
use conclave_proto::v1;
use conclave_store::log::Log;
use conclave_store::seen::SeenStore;
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::State;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::Semaphore;

use crate::cluster_time::ClusterTime;
use crate::flags::Flags;
use crate::holds::Holds;
use crate::lack::OnDisk;
use crate::observe::{self, MetricsReceiver};
use crate::progress::Progress;
use crate::propose::{ProposalQueue, encode_checked, frees_space, stopped};
use crate::read_barrier::{Rounds, confirmed};
use crate::receiving::Receiving;
use crate::types::RaftOf;
use crate::{
    AddMember, Consensus, MembershipError, PeerError, PeerTransport, ProposeError, Proposed,
    RaftConfig, RaftStatus, ReadError, Readiness,
};

/// `changed` completes after this long even if nothing changed.
const CHANGED_WAIT_MAX: Duration = Duration::from_secs(1);

/// What the tasks of a node share. They end once [`Flags::stopping`] is set.
pub(crate) struct Node<R: AsyncRuntime> {
    pub(crate) config: RaftConfig,
    pub(crate) raft: RaftOf<R>,
    pub(crate) metrics: MetricsReceiver<R>,
    pub(crate) log: Log,
    pub(crate) state: State,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) seen: SeenStore,
    pub(crate) boot_counter: u64,
    /// The newest term whose vote is on disk.
    pub(crate) vote_saved: Arc<Progress>,
    pub(crate) transport: Arc<dyn PeerTransport>,
    pub(crate) ports: Ports,
    pub(crate) flags: Arc<Flags>,
    pub(crate) time: Arc<ClusterTime>,
    /// The applied index.
    pub(crate) applied: Arc<Progress>,
    /// The epoch of what was applied.
    pub(crate) epoch: Arc<Progress>,
    /// Rises whenever `status` may have changed.
    pub(crate) changes: Arc<Progress>,
    pub(crate) proposals: ProposalQueue,
    /// Rounds of this node as leader.
    pub(crate) leading: Rounds,
    /// Rounds of this node as reader.
    pub(crate) reading: Rounds,
    /// Held by the one membership change of this node that is under way.
    pub(crate) changing: Semaphore,
    /// Whose snapshot is received.
    pub(crate) receiving: Receiving,
    /// What must not be cut from the log.
    pub(crate) holds: Arc<Holds>,
}

impl<R: AsyncRuntime> Node<R> {
    /// A quorum that answered longer ago than this may be gone.
    pub(crate) fn quorum_age_max(&self) -> Duration {
        self.config.election_timeout_max * 2
    }

    /// Sleeps, unless the node stops meanwhile: its tasks hold the disk.
    pub(crate) async fn pause(&self, duration: Duration) {
        let _ = self.ports.within(duration, self.flags.stopped()).await;
    }

    /// Lets openraft campaign only for a node that leads well, and tells who waits for a change.
    pub(crate) fn note_fitness(&self) {
        self.raft.runtime_config().elect(self.flags.fit());
        self.changes.bump();
    }

    /// Ends Raft and the tasks of this node.
    pub(crate) async fn stop(&self) {
        self.flags.stop();
        // The only error is that the core panicked, which the status already tells.
        drop(self.raft.shutdown().await);
        self.changes.bump();
    }

    /// What this node has on disk, whatever Raft makes of it.
    pub(crate) fn on_disk(&self) -> OnDisk<'_> {
        OnDisk {
            boot_counter: self.boot_counter,
            log: &self.log,
            state: &self.state,
            snapshots: &self.snapshots,
        }
    }

    fn stopped_because(&self) -> Option<&'static str> {
        if self.flags.quarantined() {
            Some(
                "its state differs from its peers', let it join again with an empty data directory",
            )
        } else if self.flags.fenced() {
            Some("the cluster goes on without this node, let it join again as a new one")
        } else if self.flags.rolled_back() {
            Some("its data directory went back in time, let it join again as a new one")
        } else if self.flags.stopping() {
            Some("it was shut down")
        } else {
            None
        }
    }

    async fn propose_timed(&self, mut command: v1::Command) -> Result<Proposed, ProposeError> {
        if let Some(why) = self.stopped_because() {
            return Err(stopped(why));
        }
        match self.flags.readiness() {
            Readiness::Ready => {}
            // A caretaker keeps the cluster going; what it commits for clients it could not audit.
            Readiness::Sealed => return Err(ProposeError::NotLeader),
            Readiness::Full if !self.is_leader() => return Err(ProposeError::NotLeader),
            Readiness::Full if frees_space(&command) => {}
            Readiness::Full => return Err(ProposeError::Full),
        }
        command.stamped_ms = self.stamp().await?;
        let command = encode_checked(&command)?;
        let started = self.ports.clock.monotonic();
        let elapsed = || self.ports.clock.monotonic().saturating_sub(started);
        let mut result = self.proposals.propose(command.clone()).await;
        // A new leader refuses until a quorum has answered it, a message there and back.
        while matches!(result, Err(ProposeError::NotLeader))
            && self.is_leader()
            && elapsed() < self.config.heartbeat * 2
        {
            self.ports.clock.sleep(self.config.heartbeat / 8).await;
            result = self.proposals.propose(command.clone()).await;
        }
        let took = elapsed();
        metrics::histogram!("conclave_raft_proposal_seconds").record(took.as_secs_f64());
        result
    }

    /// The time to stamp a command with. A new leader of a cluster that started as a whole has to
    /// ask for it first.
    async fn stamp(&self) -> Result<u64, ProposeError> {
        if self.is_leader() {
            // Elapsed is told by the missing time.
            let _ = self.ports.within(self.config.heartbeat * 2, self.time.known()).await;
        }
        self.time.now().ok_or(ProposeError::NotLeader)
    }

    async fn read_point(&self) -> Result<v1::ReadPoint, ReadError> {
        if let Some(why) = self.stopped_because() {
            return Err(ReadError::Stopped(why.to_owned()));
        }
        let reading = async {
            let pause = self.config.heartbeat / 4;
            let point = confirmed(&self.reading, &self.ports, pause).await?;
            self.applied.reached(point.index).await;
            Ok(point)
        };
        match self.ports.within(self.config.election_timeout_max, reading).await {
            Ok(result) => result,
            Err(Elapsed) => Err(ReadError::Unavailable),
        }
    }
}

impl<R: AsyncRuntime> Consensus for Node<R> {
    fn bootstrap(&self, member: v1::Member) -> BoxFuture<'_, Result<(), MembershipError>> {
        self.bootstrap_alone(member).boxed()
    }

    fn propose(&self, command: v1::Command) -> BoxFuture<'_, Result<Proposed, ProposeError>> {
        self.propose_timed(command).boxed()
    }

    fn read_barrier(&self) -> BoxFuture<'_, Result<v1::ReadPoint, ReadError>> {
        self.read_point().boxed()
    }

    fn write_point(&self) -> Option<v1::ReadPoint> {
        let leads = observe::leads::<R>(&self.metrics.borrow_watched(), self.config.heartbeat * 2);
        if !leads || self.stopped_because().is_some() {
            return None;
        }
        Some(v1::ReadPoint { index: self.applied.get(), leader_ms: self.time.now()? })
    }

    fn status(&self) -> RaftStatus {
        let mut status =
            observe::status::<R>(&self.metrics.borrow_watched(), self.quorum_age_max());
        status.quarantined = self.flags.quarantined();
        status.fenced = self.flags.fenced();
        status.rolled_back = self.flags.rolled_back();
        status.unfit = self.flags.unfit();
        status.epoch = self.epoch.get();
        status.applied_index = status.applied_index.max(self.applied.get());
        if self.flags.died() {
            let silent = || "its core ended without a word; the log says more".to_owned();
            status.fatal = Some(status.fatal.unwrap_or_else(silent));
            status.is_leader = false;
        }
        if self.flags.stopping() {
            // It ended because it was told to.
            status.fatal = None;
            status.is_leader = false;
        }
        status
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        // Taken now, not at the first poll: what happens in between is not missed.
        let seen = self.changes.get();
        async move {
            let risen = self.changes.reached(seen + 1);
            // Elapsed is as good an answer: something *may* have changed.
            let _ = self.ports.within(CHANGED_WAIT_MAX, risen).await;
        }
        .boxed()
    }

    fn add_member(&self, add: AddMember) -> BoxFuture<'_, Result<(), MembershipError>> {
        self.add(add).boxed()
    }

    fn admit_member(&self, add: AddMember) -> BoxFuture<'_, Result<(), MembershipError>> {
        self.admit(add).boxed()
    }

    fn remove_member(&self, node_id: u64) -> BoxFuture<'_, Result<(), MembershipError>> {
        self.remove(node_id).boxed()
    }

    fn promote_member(&self, node_id: u64) -> BoxFuture<'_, Result<(), MembershipError>> {
        self.promote(node_id).boxed()
    }

    fn demote_member(&self, node_id: u64) -> BoxFuture<'_, Result<(), MembershipError>> {
        self.demote(node_id).boxed()
    }

    fn transfer_leadership(&self) -> BoxFuture<'_, Result<(), MembershipError>> {
        self.transfer().boxed()
    }

    fn set_readiness(&self, readiness: Readiness) {
        self.flags.set_readiness(readiness);
        self.note_fitness();
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.stop().boxed()
    }

    fn trigger_snapshot(&self) -> BoxFuture<'_, ()> {
        // A Raft that has ended builds none; its end is reported by `status`.
        async { drop(self.raft.trigger().snapshot().await) }.boxed()
    }

    fn on_append(
        &self,
        requests: BoxStream<'static, v1::AppendRequest>,
    ) -> BoxStream<'static, Result<v1::AppendReply, PeerError>> {
        self.receive_appends(requests)
    }

    fn on_vote(&self, request: v1::VoteRequest) -> BoxFuture<'_, Result<v1::VoteReply, PeerError>> {
        self.receive_vote(request).boxed()
    }

    fn on_snapshot(
        &self,
        parts: BoxStream<'static, v1::SnapshotPart>,
    ) -> BoxFuture<'_, Result<v1::SnapshotReply, PeerError>> {
        self.receive_snapshot(parts).boxed()
    }

    fn on_transfer(
        &self,
        request: v1::TransferRequest,
    ) -> BoxFuture<'_, Result<v1::TransferReply, PeerError>> {
        self.receive_transfer(request).boxed()
    }

    fn on_read_index(
        &self,
        request: v1::ReadIndexRequest,
    ) -> BoxFuture<'_, Result<v1::ReadIndexReply, PeerError>> {
        self.receive_read_index(request).boxed()
    }

    fn on_status(
        &self,
        request: v1::StatusRequest,
    ) -> BoxFuture<'_, Result<v1::StatusReply, PeerError>> {
        async move { self.receive_status(&request).await }.boxed()
    }
}
