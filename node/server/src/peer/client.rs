//! The calling side: typed messages to peers over gRPC.
//!
//! Each peer has four HTTP/2 connections, opened when first used: replication; votes, heartbeats
//! and other small questions; snapshots; and clients' requests on their way to the leader. A full
//! pipe on one of them never delays a heartbeat on another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conclave_ports::{Clock, Ports};
use conclave_proto::v1;
use conclave_proto::v1::peer_client::PeerClient;
use conclave_proto::v1::restore_part::Part as RestorePart;
use conclave_raft::{PeerError, PeerTransport, SnapshotParts, Target};
use futures::future::{BoxFuture, Either, select};
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, Stream, StreamExt as _};
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::MESSAGE_BYTES_MAX;
use super::connect::lazy_channel;
use super::failure::{Failure, ForwardError};
use crate::tls::{Expect, NodeIdentity, SpkiPin};

/// [`PeerTransport`] over tonic, and the two calls to peers that are not Raft's.
pub struct TonicTransport {
    identity: Arc<NodeIdentity>,
    ports: Ports,
    peers: Mutex<BTreeMap<u64, Peer>>,
}

/// A peer's connections, good for this address and key only.
struct Peer {
    address: String,
    pin: SpkiPin,
    channels: Channels,
}

#[derive(Clone)]
struct Channels {
    replication: Channel,
    control: Channel,
    snapshot: Channel,
    forward: Channel,
}

impl TonicTransport {
    /// Connects with `identity`.
    #[must_use]
    pub fn new(identity: Arc<NodeIdentity>, ports: Ports) -> Arc<Self> {
        Arc::new(Self { identity, ports, peers: Mutex::default() })
    }

    /// Hands a client's request to `target`. It is sent once: [`ForwardError::Lost`] leaves open
    /// whether it was executed.
    pub fn forward(
        &self,
        target: &Target,
        request: v1::ForwardRequest,
        limit: Duration,
    ) -> BoxFuture<'static, Result<v1::ForwardReply, ForwardError>> {
        let node_id = target.node_id;
        let answer = self.call(
            target,
            limit,
            |channels| &channels.forward,
            move |mut client| async move { client.forward(request).await },
        );
        async move { answer.await.map_err(|failure| failure.into_forward_error(node_id)) }.boxed()
    }

    /// Hands a client's restore to `target`: its request, then the backup's bytes, for as long as
    /// they keep coming. It is sent once.
    pub fn restore(
        &self,
        target: &Target,
        request: v1::ForwardRequest,
        bytes: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<v1::ForwardReply, ForwardError>> {
        let node_id = target.node_id;
        let message = |part| v1::RestorePart { part: Some(part) };
        let begin = stream::iter([message(RestorePart::Request(request))]);
        let parts = begin.chain(bytes.map(move |data| message(RestorePart::Data(data)))).boxed();
        let answer = self.call(
            target,
            RESTORE_LIMIT,
            |channels| &channels.snapshot,
            |client| send_restore(client, parts),
        );
        async move { answer.await.map_err(|failure| failure.into_forward_error(node_id)) }.boxed()
    }

    /// Asks an unsealed leader for the root key.
    pub fn peer_unseal(
        &self,
        target: &Target,
        request: v1::PeerUnsealRequest,
    ) -> BoxFuture<'static, Result<v1::PeerUnsealReply, PeerError>> {
        self.ask(
            target,
            UNSEAL_LIMIT,
            |channels| &channels.forward,
            move |mut client| async move { client.peer_unseal(request).await },
        )
    }

    /// Closes the connections to everyone whose id is not in `members`.
    pub fn retain(&self, members: &[u64]) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|node_id, _| members.contains(node_id));
    }

    /// As [`Self::call`], with the failure as Raft sees it.
    fn ask<Reply, Call, Answer>(
        &self,
        target: &Target,
        limit: Duration,
        pick: fn(&Channels) -> &Channel,
        call: Call,
    ) -> BoxFuture<'static, Result<Reply, PeerError>>
    where
        Reply: Send + 'static,
        Call: FnOnce(PeerClient<Channel>) -> Answer + Send + 'static,
        Answer: Future<Output = Result<Response<Reply>, Status>> + Send + 'static,
    {
        let node_id = target.node_id;
        let answer = self.call(target, limit, pick, call);
        async move { answer.await.map_err(|failure| failure.into_peer_error(node_id)) }.boxed()
    }

    /// One request, one reply, within `limit`.
    fn call<Reply, Call, Answer>(
        &self,
        target: &Target,
        limit: Duration,
        pick: fn(&Channels) -> &Channel,
        call: Call,
    ) -> BoxFuture<'static, Result<Reply, Failure>>
    where
        Reply: Send + 'static,
        Call: FnOnce(PeerClient<Channel>) -> Answer + Send + 'static,
        Answer: Future<Output = Result<Response<Reply>, Status>> + Send + 'static,
    {
        let Some(channels) = self.channels(target) else {
            return std::future::ready(Err(Failure::NoPin)).boxed();
        };
        let answer = call(client(pick(&channels).clone()));
        let ports = self.ports.clone();
        async move {
            match ports.within(limit, answer).await {
                Ok(answer) => answer.map(Response::into_inner).map_err(Failure::Status),
                Err(_) => Err(Failure::Overdue),
            }
        }
        .boxed()
    }

    /// `None` where the membership has no key for it.
    fn channels(&self, target: &Target) -> Option<Channels> {
        let pin = SpkiPin::from_bytes(&target.member.spki_pin)?;
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(&target.node_id)
            && peer.pin == pin
            && peer.address == target.member.cluster_addr
        {
            return Some(peer.channels.clone());
        }
        let address = target.member.cluster_addr.clone();
        let channels = Channels::open(&self.identity, &address, pin);
        peers.insert(target.node_id, Peer { address, pin, channels: channels.clone() });
        Some(channels)
    }
}

impl Channels {
    fn open(identity: &Arc<NodeIdentity>, address: &str, pin: SpkiPin) -> Self {
        let channel = || lazy_channel(identity, address, Expect::Pin(pin));
        Self { replication: channel(), control: channel(), snapshot: channel(), forward: channel() }
    }
}

impl PeerTransport for TonicTransport {
    fn greet(
        &self,
        target: &Target,
        request: v1::GreetRequest,
    ) -> BoxFuture<'static, Result<v1::GreetReply, PeerError>> {
        self.ask(
            target,
            CONTROL_LIMIT,
            |channels| &channels.control,
            move |mut client| async move { client.greet(request).await },
        )
    }

    fn fetch_snapshot(
        &self,
        target: &Target,
        request: v1::FetchSnapshotRequest,
    ) -> BoxFuture<'static, Result<SnapshotParts, PeerError>> {
        let node_id = target.node_id;
        let opened = self.ask(
            target,
            REPLY_LIMIT,
            |channels| &channels.snapshot,
            move |mut client| async move { client.fetch_snapshot(request).await },
        );
        async move {
            let lost = move |status| Failure::Status(status).into_peer_error(node_id);
            Ok(opened.await?.map(move |part| part.map_err(lost)).boxed())
        }
        .boxed()
    }

    /// A stream that will hold one request at most is a heartbeat or a probe, and does not queue
    /// behind replication.
    fn append(
        &self,
        target: &Target,
        requests: BoxStream<'static, v1::AppendRequest>,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Result<v1::AppendReply, PeerError>>, PeerError>>
    {
        let Some(channels) = self.channels(target) else {
            let error = Failure::NoPin.into_peer_error(target.node_id);
            return std::future::ready(Err(error)).boxed();
        };
        let single = requests.size_hint().1.is_some_and(|most| most <= 1);
        let channel = if single { channels.control } else { channels.replication };
        open_append(target.node_id, channel, requests, self.ports.clone()).boxed()
    }

    fn vote(
        &self,
        target: &Target,
        request: v1::VoteRequest,
    ) -> BoxFuture<'static, Result<v1::VoteReply, PeerError>> {
        self.ask(
            target,
            CONTROL_LIMIT,
            |channels| &channels.control,
            move |mut client| async move { client.vote(request).await },
        )
    }

    fn snapshot(
        &self,
        target: &Target,
        parts: BoxStream<'static, v1::SnapshotPart>,
    ) -> BoxFuture<'static, Result<v1::SnapshotReply, PeerError>> {
        self.ask(
            target,
            SNAPSHOT_LIMIT,
            |channels| &channels.snapshot,
            |client| send_snapshot(client, parts),
        )
    }

    fn transfer(
        &self,
        target: &Target,
        request: v1::TransferRequest,
    ) -> BoxFuture<'static, Result<v1::TransferReply, PeerError>> {
        self.ask(
            target,
            CONTROL_LIMIT,
            |channels| &channels.control,
            move |mut client| async move { client.transfer_leader(request).await },
        )
    }

    fn read_index(
        &self,
        target: &Target,
        request: v1::ReadIndexRequest,
    ) -> BoxFuture<'static, Result<v1::ReadIndexReply, PeerError>> {
        self.ask(
            target,
            CONTROL_LIMIT,
            |channels| &channels.control,
            move |mut client| async move { client.read_index(request).await },
        )
    }

    fn status(
        &self,
        target: &Target,
        request: v1::StatusRequest,
    ) -> BoxFuture<'static, Result<v1::StatusReply, PeerError>> {
        self.ask(
            target,
            CONTROL_LIMIT,
            |channels| &channels.control,
            move |mut client| async move { client.status(request).await },
        )
    }
}

fn client(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

async fn open_append(
    node_id: u64,
    channel: Channel,
    requests: BoxStream<'static, v1::AppendRequest>,
    ports: Ports,
) -> Result<BoxStream<'static, Result<v1::AppendReply, PeerError>>, PeerError> {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let counted = requests
        .inspect(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        })
        .boxed();
    let opened = send_append(client(channel), counted);
    let replies = match ports.within(REPLY_LIMIT, opened).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Err(Failure::Status(status).into_peer_error(node_id)),
        Err(_) => return Err(Failure::Overdue.into_peer_error(node_id)),
    };
    let replies = Replies { node_id, replies, sent, received: 0, watch: None, clock: ports.clock };
    Ok(futures::stream::unfold(Some(replies), next_reply).boxed())
}

/// Generic over the stream, and boxed in here: rustc cannot prove that a future which holds a
/// `dyn Stream` across tonic's call is `Send`, but it can for an opaque `S`.
fn send_append<S>(
    mut client: PeerClient<Channel>,
    requests: S,
) -> BoxFuture<'static, Result<Response<Streaming<v1::AppendReply>>, Status>>
where
    S: Stream<Item = v1::AppendRequest> + Send + 'static,
{
    async move { client.append(requests).await }.boxed()
}

/// Generic and boxed for the same reason as [`send_append`].
fn send_snapshot<S>(
    mut client: PeerClient<Channel>,
    parts: S,
) -> BoxFuture<'static, Result<Response<v1::SnapshotReply>, Status>>
where
    S: Stream<Item = v1::SnapshotPart> + Send + 'static,
{
    async move { client.snapshot(parts).await }.boxed()
}

/// Generic and boxed for the same reason as [`send_append`].
fn send_restore<S>(
    mut client: PeerClient<Channel>,
    parts: S,
) -> BoxFuture<'static, Result<Response<v1::ForwardReply>, Status>>
where
    S: Stream<Item = v1::RestorePart> + Send + 'static,
{
    async move { client.restore(parts).await }.boxed()
}

/// The replies of an append stream. The stream itself has no time limit; but while replies are
/// due, one must come within [`REPLY_LIMIT`].
struct Replies {
    node_id: u64,
    replies: Streaming<v1::AppendReply>,
    sent: Arc<AtomicU64>,
    received: u64,
    watch: Option<Watch>,
    clock: Arc<dyn Clock>,
}

/// Fires `REPLY_LIMIT` after it was set; it kept what had been received then, and whether more was
/// due.
struct Watch {
    timer: BoxFuture<'static, ()>,
    received: u64,
    due: bool,
}

impl Replies {
    async fn next(&mut self) -> Option<Result<v1::AppendReply, PeerError>> {
        loop {
            let mut watch = self.watch.take().unwrap_or_else(|| self.set_watch());
            let message = std::pin::pin!(self.replies.message());
            let received = match select(message, &mut watch.timer).await {
                Either::Left((received, _)) => Some(received),
                Either::Right(_) => None,
            };
            match received {
                Some(received) => {
                    self.watch = Some(watch);
                    self.received += 1;
                    let node_id = self.node_id;
                    return received
                        .map_err(|status| Failure::Status(status).into_peer_error(node_id))
                        .transpose();
                }
                None if watch.due && watch.received == self.received => {
                    return Some(Err(PeerError::Unreachable {
                        node_id: self.node_id,
                        reason: "its acknowledgements are overdue".to_owned(),
                    }));
                }
                None => {}
            }
        }
    }

    fn set_watch(&self) -> Watch {
        Watch {
            timer: self.clock.sleep(REPLY_LIMIT),
            received: self.received,
            due: self.sent.load(Ordering::Relaxed) > self.received,
        }
    }
}

/// Ends after the first error.
async fn next_reply(
    replies: Option<Replies>,
) -> Option<(Result<v1::AppendReply, PeerError>, Option<Replies>)> {
    let mut replies = replies?;
    match replies.next().await? {
        Ok(reply) => Some((Ok(reply), Some(replies))),
        Err(error) => Some((Err(error), None)),
    }
}

/// A vote, a read point: Raft gives up earlier; this frees what it left behind.
const CONTROL_LIMIT: Duration = Duration::from_secs(5);
/// Longer than any stall of a healthy follower's disk.
const REPLY_LIMIT: Duration = Duration::from_secs(5);
/// A client on a slow line may send a large backup; keep-alive notices a dead peer long before.
const RESTORE_LIMIT: Duration = Duration::from_secs(24 * 3600);
const UNSEAL_LIMIT: Duration = Duration::from_secs(10);
/// Sending and installing; keep-alive notices a dead peer long before.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(3600);
