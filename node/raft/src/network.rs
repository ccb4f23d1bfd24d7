//! openraft's network over [`PeerTransport`].
//!
//! openraft keeps three clients per peer (replication, heartbeats and votes, snapshots). They are
//! one type here, because the transport sorts messages onto connections by itself.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use conclave_ports::{Elapsed, Ports};
use conclave_proto::v1;
use conclave_store::log::Log;
use conclave_store::snapshot::SnapshotStore;
use futures::future::{BoxFuture, Either};
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, OptionalSend, RaftNetworkFactory};

use crate::cluster_time::ClusterTime;
use crate::convert::{decode, encode};
use crate::holds::{Begun, Holds};
use crate::snapshot::{Snapshot, StoredSnapshot, read_chunk};
use crate::types::{MemberInfo, TypeConfig, Vote};
use crate::{PeerError, PeerTransport, Target};

/// A snapshot of which the peer took no part for this long is given up. Long, because it also
/// covers what the peer does with it after the last part.
const SNAPSHOT_SILENCE_MAX: Duration = Duration::from_secs(120);

/// Makes clients.
pub(crate) struct Network<R> {
    /// This node.
    pub(crate) from: u64,
    pub(crate) transport: Arc<dyn PeerTransport>,
    pub(crate) log: Log,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) holds: Arc<Holds>,
    pub(crate) ports: Ports,
    pub(crate) time: Arc<ClusterTime>,
    pub(crate) retry: Retry,
    /// A stream that owes an answer for this long is given up.
    pub(crate) idle_max: Duration,
    pub(crate) runtime: PhantomData<fn() -> R>,
}

/// How long to wait before a peer is tried again; each wait is twice the last one.
#[derive(Clone, Copy)]
pub(crate) struct Retry {
    pub(crate) first: Duration,
    pub(crate) max: Duration,
}

impl Retry {
    fn delays(self) -> impl Iterator<Item = Duration> {
        std::iter::successors(Some(self.first), move |delay| Some((*delay * 2).min(self.max)))
    }

    /// Before the try after this many failures.
    fn delay_after(self, failures: u32) -> Duration {
        match failures {
            0 => Duration::ZERO,
            _ => self.first.saturating_mul(1 << (failures - 1).min(16)).min(self.max),
        }
    }
}

/// Talks to one peer.
pub(crate) struct Client<R> {
    from: u64,
    target: Target,
    transport: Arc<dyn PeerTransport>,
    log: Log,
    snapshots: SnapshotStore,
    holds: Arc<Holds>,
    ports: Ports,
    time: Arc<ClusterTime>,
    retry: Retry,
    /// Streams in a row that failed before they took a request.
    failures: Arc<AtomicU32>,
    idle_max: Duration,
    runtime: PhantomData<fn() -> R>,
}

type RpcResult<R, T> = Result<T, RPCError<TypeConfig<R>>>;

impl<R: AsyncRuntime> RaftNetworkFactory<TypeConfig<R>> for Network<R> {
    type Network = Client<R>;

    async fn new_client(&mut self, target: u64, node: &MemberInfo) -> Client<R> {
        Client {
            from: self.from,
            target: Target { node_id: target, member: encode::member(target, node) },
            transport: self.transport.clone(),
            log: self.log.clone(),
            snapshots: self.snapshots.clone(),
            holds: self.holds.clone(),
            ports: self.ports.clone(),
            time: self.time.clone(),
            retry: self.retry,
            failures: Arc::default(),
            idle_max: self.idle_max,
            runtime: PhantomData,
        }
    }
}

impl<R: AsyncRuntime> NetBackoff<TypeConfig<R>> for Client<R> {
    /// Before a request or a snapshot is sent again. A peer that comes back is found within one
    /// election timeout.
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(self.retry.delays()))
    }
}

impl<R: AsyncRuntime> NetStreamAppend<TypeConfig<R>> for Client<R> {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, RpcResult<R, BoxStream<'s, RpcResult<R, StreamAppendResult<TypeConfig<R>>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig<R>>> + OptionalSend + Unpin + 'static,
    {
        // A heartbeat is one message, comes at its own pace and is soon too late.
        let heartbeat = input.size_hint().1.is_some_and(|most| most <= 1);
        let standing = Standing::new(self.failures.clone());
        let requests = encoded_requests(self.from, input, standing.sent.clone(), self.time.clone());
        async move {
            if !heartbeat {
                self.wait_after_failures().await;
            }
            let opening = self.transport.append(&self.target, requests);
            let opened = match self.ports.within(self.idle_max, opening).await {
                Ok(opened) => opened.map_err(|error| unreachable::<R>(&error)),
                Err(Elapsed) => Err(silent::<R>(self.target.node_id)),
            };
            let replies = opened.inspect_err(|_| standing.failed())?;
            let (ports, idle_max) = (self.ports.clone(), self.idle_max);
            let node_id = self.target.node_id;
            let acks = Acks { replies, standing, received: 0, ports, idle_max, node_id };
            Ok(acks.into_results::<R>())
        }
        .boxed()
    }
}

/// How a stream to a peer fares.
struct Standing {
    sent: Arc<AtomicU64>,
    failures: Arc<AtomicU32>,
}

impl Standing {
    fn new(failures: Arc<AtomicU32>) -> Self {
        Self { sent: Arc::default(), failures }
    }

    /// openraft waits before it hands out the first request of a stream that follows an error.
    /// Where the stream fails earlier (nobody listens, or the peer refuses), nobody else waits.
    fn failed(&self) {
        if self.sent.load(Ordering::Acquire) == 0 {
            self.failures.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn answered(&self) {
        self.failures.store(0, Ordering::Release);
    }
}

/// Counts what goes out, so that the receiving half knows what is owed, and tells the time.
fn encoded_requests<R: AsyncRuntime>(
    from: u64,
    input: impl Stream<Item = AppendEntriesRequest<TypeConfig<R>>> + Send + 'static,
    sent: Arc<AtomicU64>,
    time: Arc<ClusterTime>,
) -> BoxStream<'static, v1::AppendRequest> {
    input
        .map(move |request| {
            sent.fetch_add(1, Ordering::AcqRel);
            let leader_ms = time.now().unwrap_or(0);
            v1::AppendRequest { leader_ms, ..encode::append_request(from, &request) }
        })
        .boxed()
}

/// The answers of one replication stream. openraft never times it out, so this does.
struct Acks {
    replies: BoxStream<'static, Result<v1::AppendReply, PeerError>>,
    standing: Standing,
    received: u64,
    ports: Ports,
    idle_max: Duration,
    node_id: u64,
}

impl Acks {
    fn into_results<R: AsyncRuntime>(
        self,
    ) -> BoxStream<'static, RpcResult<R, StreamAppendResult<TypeConfig<R>>>> {
        futures::stream::unfold(Some(self), |acks| async move {
            let mut acks = acks?;
            let result = acks.next::<R>().await?;
            // After an error or a refusal openraft opens a new stream.
            let rest = matches!(result, Ok(Ok(_))).then_some(acks);
            Some((result, rest))
        })
        .boxed()
    }

    async fn next<R: AsyncRuntime>(
        &mut self,
    ) -> Option<RpcResult<R, StreamAppendResult<TypeConfig<R>>>> {
        loop {
            let owed_before = self.owed();
            let idle = self.ports.clock.sleep(self.idle_max);
            match futures::future::select(self.replies.next(), idle).await {
                Either::Left((reply, _)) => return self.settle::<R>(reply),
                Either::Right(_) if owed_before => return Some(Err(silent::<R>(self.node_id))),
                Either::Right(_) => {}
            }
        }
    }

    fn settle<R: AsyncRuntime>(
        &mut self,
        reply: Option<Result<v1::AppendReply, PeerError>>,
    ) -> Option<RpcResult<R, StreamAppendResult<TypeConfig<R>>>> {
        match &reply {
            Some(Ok(_)) => {
                self.received += 1;
                self.standing.answered();
            }
            Some(Err(_)) | None => self.standing.failed(),
        }
        Some(decoded_reply::<R>(reply?, self.node_id))
    }

    fn owed(&self) -> bool {
        self.standing.sent.load(Ordering::Acquire) > self.received
    }
}

fn decoded_reply<R: AsyncRuntime>(
    reply: Result<v1::AppendReply, PeerError>,
    node_id: u64,
) -> RpcResult<R, StreamAppendResult<TypeConfig<R>>> {
    let reply = reply.map_err(|error| unreachable::<R>(&error))?;
    decode::append_reply(&reply).map_err(|error| garbled::<R>(node_id, &error))
}

impl<R: AsyncRuntime> NetVote<TypeConfig<R>> for Client<R> {
    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> RpcResult<R, VoteResponse<TypeConfig<R>>> {
        self.ask_for_vote(rpc, option, false).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> RpcResult<R, VoteResponse<TypeConfig<R>>> {
        self.ask_for_vote(rpc, option, true).await
    }
}

impl<R: AsyncRuntime> Client<R> {
    async fn wait_after_failures(&self) {
        let delay = self.retry.delay_after(self.failures.load(Ordering::Acquire));
        if !delay.is_zero() {
            self.ports.clock.sleep(delay).await;
        }
    }

    async fn ask_for_vote(
        &self,
        rpc: VoteRequest<TypeConfig<R>>,
        option: RPCOption,
        pre_vote: bool,
    ) -> RpcResult<R, VoteResponse<TypeConfig<R>>> {
        let request = v1::VoteRequest {
            from: self.from,
            vote: Some(encode::vote(&rpc.vote)),
            last_log_id: encode::log_id_option(rpc.last_log_id.as_ref()),
            pre_vote,
            leadership_transfer: rpc.leadership_transfer,
        };
        let reply = self.bounded(option, self.transport.vote(&self.target, request)).await?;
        let vote = reply.vote.as_ref().ok_or(decode::Malformed("no vote"));
        let vote = vote.map_err(|error| garbled::<R>(self.target.node_id, &error))?;
        Ok(VoteResponse {
            vote: decode::vote(vote),
            vote_granted: reply.granted,
            last_log_id: decode::log_id_option(reply.last_log_id.as_ref()),
        })
    }

    /// Waits for an answer no longer than openraft would.
    async fn bounded<T>(
        &self,
        option: RPCOption,
        answer: BoxFuture<'static, Result<T, PeerError>>,
    ) -> RpcResult<R, T> {
        match self.ports.within(option.hard_ttl(), answer).await {
            Ok(answer) => answer.map_err(|error| unreachable::<R>(&error)),
            Err(Elapsed) => Err(silent::<R>(self.target.node_id)),
        }
    }
}

impl<R: AsyncRuntime> Client<R> {
    /// Waits for the answer to a snapshot as long as the peer asks for parts, or installs them.
    async fn while_pulled(
        &self,
        mut sending: BoxFuture<'static, Result<v1::SnapshotReply, PeerError>>,
        pulled: Arc<AtomicU64>,
    ) -> RpcResult<R, v1::SnapshotReply> {
        loop {
            let before = pulled.load(Ordering::Acquire);
            match self.ports.within(SNAPSHOT_SILENCE_MAX, &mut sending).await {
                Ok(reply) => return reply.map_err(|error| unreachable::<R>(&error)),
                Err(Elapsed) if pulled.load(Ordering::Acquire) > before => {}
                Err(Elapsed) => return Err(silent::<R>(self.target.node_id)),
            }
        }
    }
}

impl<R: AsyncRuntime> NetTransferLeader<TypeConfig<R>> for Client<R> {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig<R>>,
        option: RPCOption,
    ) -> RpcResult<R, TransferLeaderResponse<TypeConfig<R>>> {
        let message = v1::TransferRequest {
            from: self.from,
            from_leader: Some(encode::vote(request.from_leader())),
            to: *request.to_node_id(),
            last_log_id: encode::log_id_option(request.last_log_id()),
        };
        let reply = self.bounded(option, self.transport.transfer(&self.target, message)).await?;
        if reply.accepted {
            return Ok(Ok(()));
        }
        let expected = request.last_log_id().copied();
        Ok(Err(TransferLeaderError::LogNotFlushed { expected, actual: None }))
    }
}

impl<R: AsyncRuntime> NetSnapshot<TypeConfig<R>> for Client<R> {
    type SnapshotData = StoredSnapshot;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig<R>>, StreamingError<TypeConfig<R>>> {
        // What follows it in the log is held for as long as this lives, and until it is caught up.
        let _held = self.holds.begin(
            self.target.node_id,
            Begun {
                last: snapshot.meta.last_log_id.map_or(0, |id| id.index),
                bytes: snapshot.snapshot.0.file_bytes().unwrap_or(0),
                written: self.log.figures().bytes,
            },
        );
        let pulled = Arc::new(AtomicU64::new(0));
        let store = self.snapshots.clone();
        let parts = snapshot_parts::<R>(self.from, &vote, snapshot.snapshot, store, pulled.clone());
        let sending = self.transport.snapshot(&self.target, parts);
        let sending = std::pin::pin!(self.while_pulled(sending, pulled));
        let reply = match futures::future::select(std::pin::pin!(cancel), sending).await {
            Either::Left((closed, _)) => return Err(closed.into()),
            Either::Right((reply, _)) => reply?,
        };
        let vote = reply.vote.as_ref().ok_or(decode::Malformed("no vote"));
        let vote = vote.map_err(|error| garbled::<R>(self.target.node_id, &error))?;
        Ok(SnapshotResponse::new(decode::vote(vote)))
    }
}

/// Reads the snapshot as the transport asks for more. A read error ends the stream early; the
/// receiver then misses records and refuses the whole, and the next try sends another snapshot.
fn snapshot_parts<R: AsyncRuntime>(
    from: u64,
    vote: &Vote,
    snapshot: StoredSnapshot,
    store: SnapshotStore,
    pulled: Arc<AtomicU64>,
) -> BoxStream<'static, v1::SnapshotPart> {
    use v1::snapshot_part::Part;
    let start = v1::SnapshotStart {
        from,
        vote: Some(encode::vote(vote)),
        header: Some(snapshot.0.header().clone()),
    };
    let chunks = futures::stream::unfold((snapshot.0, store), |(reader, store)| async move {
        match read_chunk::<R>(reader).await {
            Ok(read) => {
                let (chunk, reader) = read?;
                let part = v1::SnapshotPart { part: Some(Part::Chunk(chunk)) };
                Some((part, (reader, store)))
            }
            Err(error) => {
                tracing::error!(%error, "a stored snapshot cannot be read; the peer gets another");
                store.distrust();
                None
            }
        }
    });
    let start = v1::SnapshotPart { part: Some(Part::Start(start)) };
    let parts = futures::stream::iter([start]).chain(chunks);
    let counted = parts.map(move |part| {
        pulled.fetch_add(1, Ordering::AcqRel);
        part
    });
    counted.boxed()
}

fn unreachable<R: AsyncRuntime>(error: &PeerError) -> RPCError<TypeConfig<R>> {
    Unreachable::new(error).into()
}

fn garbled<R: AsyncRuntime>(node_id: u64, error: &decode::Malformed) -> RPCError<TypeConfig<R>> {
    NetworkError::from_string(format!("peer {node_id} sent a {error}")).into()
}

fn silent<R: AsyncRuntime>(node_id: u64) -> RPCError<TypeConfig<R>> {
    Unreachable::from_string(format!("peer {node_id} does not answer")).into()
}
