//! Two nodes over loopback: the transport, who may speak, joining, and hostile connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conclave_proto::v1;
use conclave_raft::{
    AddMember, Consensus, MembershipError, PeerError, PeerTransport, ProposeError, Proposed,
    RaftStatus, ReadError, Readiness, Target,
};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::system;
use crate::tls::{ClusterCa, NodeIdentity};

const CLUSTER: [u8; 16] = [7; 16];
const SERVER_ID: u64 = 1;

/// A consensus that answers with what it was asked.
#[derive(Default)]
struct Echo {
    /// Set: appends are read but never answered.
    mute: AtomicBool,
    snapshot_parts: Mutex<Vec<v1::SnapshotPart>>,
}

fn refused() -> PeerError {
    PeerError::Refused { node_id: SERVER_ID, reason: "out of order".to_owned() }
}

impl Consensus for Echo {
    fn bootstrap(&self, _member: v1::Member) -> BoxFuture<'_, Result<(), MembershipError>> {
        std::future::ready(Ok(())).boxed()
    }
    fn propose(&self, _command: v1::Command) -> BoxFuture<'_, Result<Proposed, ProposeError>> {
        std::future::ready(Err(ProposeError::NotLeader)).boxed()
    }
    fn read_barrier(&self) -> BoxFuture<'_, Result<v1::ReadPoint, ReadError>> {
        std::future::ready(Err(ReadError::Unavailable)).boxed()
    }
    fn write_point(&self) -> Option<v1::ReadPoint> {
        None
    }
    fn status(&self) -> RaftStatus {
        RaftStatus::default()
    }
    fn changed(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }
    fn add_member(&self, _add: AddMember) -> BoxFuture<'_, Result<(), MembershipError>> {
        std::future::ready(Ok(())).boxed()
    }
    fn admit_member(&self, _add: AddMember) -> BoxFuture<'_, Result<(), MembershipError>> {
        std::future::ready(Ok(())).boxed()
    }
    fn remove_member(&self, _node_id: u64) -> BoxFuture<'_, Result<(), MembershipError>> {
        std::future::ready(Ok(())).boxed()
    }
    fn promote_member(&self, _node_id: u64) -> BoxFuture<'_, Result<(), MembershipError>> {
        std::future::ready(Ok(())).boxed()
    }
    fn demote_member(&self, _node_id: u64) -> BoxFuture<'_, Result<(), MembershipError>> {
        std::future::ready(Ok(())).boxed()
    }
    fn transfer_leadership(&self) -> BoxFuture<'_, Result<(), MembershipError>> {
        std::future::ready(Ok(())).boxed()
    }
    fn set_readiness(&self, _readiness: Readiness) {}
    fn shutdown(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
    fn trigger_snapshot(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn on_append(
        &self,
        requests: BoxStream<'static, v1::AppendRequest>,
    ) -> BoxStream<'static, Result<v1::AppendReply, PeerError>> {
        if self.mute.load(Ordering::Relaxed) {
            return requests.filter_map(|_| std::future::ready(None)).boxed();
        }
        requests.map(|request| Ok(matched(request.prev))).boxed()
    }
    fn on_vote(&self, request: v1::VoteRequest) -> BoxFuture<'_, Result<v1::VoteReply, PeerError>> {
        let granted = request.pre_vote;
        let reply = v1::VoteReply { vote: request.vote, last_log_id: None, granted };
        std::future::ready(Ok(reply)).boxed()
    }
    fn on_snapshot(
        &self,
        mut parts: BoxStream<'static, v1::SnapshotPart>,
    ) -> BoxFuture<'_, Result<v1::SnapshotReply, PeerError>> {
        async move {
            while let Some(part) = parts.next().await {
                self.snapshot_parts.lock().expect("no panic").push(part);
            }
            Ok(v1::SnapshotReply { vote: None })
        }
        .boxed()
    }
    fn on_transfer(
        &self,
        _request: v1::TransferRequest,
    ) -> BoxFuture<'_, Result<v1::TransferReply, PeerError>> {
        std::future::ready(Err(refused())).boxed()
    }
    fn on_read_index(
        &self,
        _request: v1::ReadIndexRequest,
    ) -> BoxFuture<'_, Result<v1::ReadIndexReply, PeerError>> {
        let point = v1::ReadPoint { index: 42, leader_ms: 1 };
        let outcome = Some(v1::read_index_reply::Outcome::Point(point));
        std::future::ready(Ok(v1::ReadIndexReply { outcome })).boxed()
    }
    fn on_status(
        &self,
        _request: v1::StatusRequest,
    ) -> BoxFuture<'_, Result<v1::StatusReply, PeerError>> {
        let reply = v1::StatusReply { node_id: SERVER_ID, ..v1::StatusReply::default() };
        std::future::ready(Ok(reply)).boxed()
    }
}

fn matched(last: Option<v1::LogId>) -> v1::AppendReply {
    let matched = v1::Matched { last };
    v1::AppendReply { outcome: Some(v1::append_reply::Outcome::Matched(matched)) }
}

fn append(from: u64, index: u64) -> v1::AppendRequest {
    let prev = Some(v1::LogId { term: 1, leader_id: 1, index });
    v1::AppendRequest { from, prev, ..v1::AppendRequest::default() }
}

/// The server's node: directory and handler in one.
struct Host {
    members: Mutex<BTreeMap<SpkiPin, u64>>,
    removed: Mutex<Vec<u64>>,
    echo: Option<Arc<Echo>>,
    ca: ClusterCa,
    secret: Vec<u8>,
    leader: Mutex<Option<String>>,
    admitted: Mutex<Vec<v1::JoinRequest>>,
}

impl PeerDirectory for Host {
    fn member_by_pin(&self, pin: &SpkiPin) -> Option<u64> {
        self.members.lock().expect("no panic").get(pin).copied()
    }
    fn is_member(&self, node_id: u64) -> bool {
        self.members.lock().expect("no panic").values().any(|id| *id == node_id)
    }
    fn is_removed(&self, node_id: u64) -> bool {
        self.removed.lock().expect("no panic").contains(&node_id)
    }
}

impl PeerHandler for Host {
    fn consensus(&self) -> Option<Raft> {
        self.echo.clone().map(|echo| echo as Raft)
    }
    fn greet(&self, request: &v1::GreetRequest) -> Result<v1::GreetReply, Status> {
        Ok(v1::GreetReply { seen: request.own, epoch: 7, removed: false })
    }
    fn fetch_snapshot(&self, request: &v1::FetchSnapshotRequest) -> Result<SnapshotParts, Status> {
        let part = v1::SnapshotPart::default();
        let parts = vec![Ok(part); usize::try_from(request.reach_index).expect("small")];
        Ok(futures::stream::iter(parts).boxed())
    }
    fn forward(
        &self,
        request: v1::ForwardRequest,
    ) -> BoxFuture<'_, Result<v1::ForwardReply, Status>> {
        let reply = v1::ForwardReply { sealed: request.sealed };
        std::future::ready(Ok(reply)).boxed()
    }
    fn restore(
        &self,
        request: v1::ForwardRequest,
        mut parts: BoxStream<'static, std::io::Result<bytes::Bytes>>,
    ) -> BoxFuture<'_, Result<v1::ForwardReply, Status>> {
        async move {
            let mut bytes = request.sealed.to_vec();
            while let Some(part) = parts.next().await {
                bytes.extend_from_slice(&part.map_err(|error| Status::aborted(error.to_string()))?);
            }
            Ok(v1::ForwardReply { sealed: digest(&bytes) })
        }
        .boxed()
    }
    fn peer_unseal(
        &self,
        _request: v1::PeerUnsealRequest,
    ) -> BoxFuture<'_, Result<v1::PeerUnsealReply, Status>> {
        std::future::ready(Err(Status::permission_denied("the policy says no"))).boxed()
    }
    fn show_seal(&self) -> Result<conclave_barrier::SealRecord, JoinRefusal> {
        Ok(seal_record())
    }
    fn join_secret<'a>(
        &'a self,
        token_id: &'a [u8],
    ) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, JoinRefusal>> {
        let answer = if let Some(leader) = &*self.leader.lock().expect("no panic") {
            Err(JoinRefusal::NotLeader(Some(leader.clone())))
        } else if token_id.is_empty() || token_id == b"token" || token_id == b"seal" {
            Ok(Zeroizing::new(self.secret.clone()))
        } else {
            Err(JoinRefusal::UnknownToken)
        };
        std::future::ready(answer).boxed()
    }
    fn admit(&self, join: VerifiedJoin) -> BoxFuture<'_, Result<v1::JoinReply, JoinRefusal>> {
        let request = join.request().clone();
        let certificate = self.ca.sign(&request.csr, 9, &request.name, &CLUSTER).expect("signed");
        self.admitted.lock().expect("no panic").push(request);
        let reply = v1::JoinReply {
            node_id: 9,
            cluster_id: CLUSTER.to_vec().into(),
            certificate: certificate.into(),
            ca_certificate: self.ca.certificate_der().to_vec().into(),
            membership: None,
        };
        std::future::ready(Ok(reply)).boxed()
    }
}

fn seal_record() -> conclave_barrier::SealRecord {
    let recipient = conclave_barrier::Recipient {
        kind: "shamir".to_owned(),
        shares: 5,
        threshold: 3,
        wrapped_root_key: bytes::Bytes::from_static(b"wrapped"),
    };
    conclave_barrier::SealRecord {
        cluster_id: CLUSTER,
        cluster_name: "test".to_owned(),
        recipients: vec![recipient],
        revision: 7,
    }
}

fn digest(bytes: &[u8]) -> bytes::Bytes {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().to_vec().into()
}

fn make_identity(name: &str) -> Arc<NodeIdentity> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    NodeIdentity::load_or_make(directory.path(), name).expect("an identity")
}

/// An identity that the authority signed for `node_id`; its files are not needed afterwards.
fn make_signed_identity(name: &str, ca: &ClusterCa, node_id: u64) -> Arc<NodeIdentity> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let identity = NodeIdentity::load_or_make(directory.path(), name).expect("an identity");
    let csr = identity.make_csr(name).expect("a request");
    let certificate = ca.sign(&csr, node_id, name, &CLUSTER).expect("signed");
    identity.install(&certificate, ca.certificate_der()).expect("it fits");
    identity
}

/// A running peer port.
struct Running {
    address: SocketAddr,
    identity: Arc<NodeIdentity>,
    host: Arc<Host>,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<Result<(), PeerServerError>>,
}

fn host() -> Host {
    Host {
        members: Mutex::default(),
        removed: Mutex::default(),
        echo: Some(Arc::default()),
        ca: ClusterCa::make(&CLUSTER).expect("an authority"),
        secret: vec![5; 32],
        leader: Mutex::default(),
        admitted: Mutex::default(),
    }
}

async fn serve(host: Host) -> Running {
    serve_recorded(host, None).await
}

async fn serve_recorded(host: Host, recorder: Option<FrameRecorder>) -> Running {
    let identity = make_signed_identity("server", &host.ca, SERVER_ID);
    let host = Arc::new(host);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let ports = system::ports();
    let mut server = PeerServer::new(
        Arc::clone(&identity),
        Arc::clone(&host) as _,
        Arc::clone(&host) as _,
        ports.clone(),
    );
    if let Some(recorder) = recorder {
        server = server.danger_record(recorder);
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let (end, ended) = oneshot::channel();
    let run = async move {
        let result = server.run(listener, stopped.map(|_| ())).await;
        end.send(result).ok();
    };
    ports.spawn.spawn("test server", run.boxed());
    Running { address, identity, host, stop, ended }
}

impl Running {
    fn target(&self) -> Target {
        let member = v1::Member {
            node_id: SERVER_ID,
            name: "server".to_owned(),
            cluster_addr: self.address.to_string(),
            api_addr: String::new(),
            spki_pin: self.identity.pin().as_bytes().to_vec().into(),
            ..v1::Member::default()
        };
        Target { node_id: SERVER_ID, member }
    }

    /// A transport whose key is that of member `node_id`.
    fn member(&self, node_id: u64) -> Arc<TonicTransport> {
        let identity = make_identity("member");
        self.host.members.lock().expect("no panic").insert(identity.pin(), node_id);
        TonicTransport::new(identity, system::ports())
    }

    /// Makes it a follower that names its leader's address.
    fn point_to(&self, leader: SocketAddr) {
        *self.host.leader.lock().expect("no panic") = Some(leader.to_string());
    }

    fn echo(&self) -> &Echo {
        self.host.echo.as_ref().expect("it has one")
    }
}

async fn vote(
    transport: &TonicTransport,
    target: &Target,
    from: u64,
) -> Result<v1::VoteReply, PeerError> {
    let vote = Some(v1::Vote { term: 3, node_id: from, committed: false });
    let request = v1::VoteRequest { from, vote, pre_vote: true, ..v1::VoteRequest::default() };
    transport.vote(target, request).await
}

fn refusal(result: Result<impl Sized, PeerError>) -> String {
    match result {
        Err(PeerError::Refused { reason, .. }) => reason,
        Err(error) => panic!("expected a refusal, got {error}"),
        Ok(_) => panic!("expected a refusal"),
    }
}

/// What is said to a sender who is no member.
fn forward_refusal(result: Result<v1::ForwardReply, ForwardError>) -> String {
    match result {
        Err(ForwardError::Stranger { reason, .. }) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn every_call_makes_the_round_trip() {
    let server = serve(host()).await;
    let (transport, target) = (server.member(2), server.target());
    assert!(vote(&transport, &target, 2).await.expect("answered").granted);
    let read = transport.read_index(&target, v1::ReadIndexRequest { from: 2 }).await;
    assert!(matches!(
        read.expect("answered").outcome,
        Some(v1::read_index_reply::Outcome::Point(v1::ReadPoint { index: 42, .. }))
    ));
    let status =
        transport.status(&target, v1::StatusRequest { from: 2, ..Default::default() }).await;
    assert_eq!(status.expect("answered").node_id, SERVER_ID);
    let transfer = v1::TransferRequest { from: 2, ..v1::TransferRequest::default() };
    assert_eq!(refusal(transport.transfer(&target, transfer).await), "out of order");
    let sealed = bytes::Bytes::from(vec![1; 3 << 20]);
    let forward = v1::ForwardRequest { from: 2, sealed: sealed.clone() };
    let reply = transport.forward(&target, forward, Duration::from_secs(10)).await;
    assert_eq!(reply.expect("answered").sealed, sealed);
    let unseal = v1::PeerUnsealRequest { from: 2, ..Default::default() };
    assert_eq!(refusal(transport.peer_unseal(&target, unseal).await), "the policy says no");
}

#[tokio::test]
async fn appends_are_answered_in_order_while_the_stream_stays_open() {
    let server = serve(host()).await;
    let (transport, target) = (server.member(2), server.target());
    let (sender, requests) = tokio::sync::mpsc::channel(8);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests).boxed();
    let mut replies = transport.append(&target, requests).await.expect("it opens");
    for index in 1..=500 {
        sender.send(append(2, index)).await.expect("it is open");
        let expected = matched(append(2, index).prev);
        assert_eq!(replies.next().await.expect("a reply").expect("no error"), expected);
    }
    drop(sender);
    assert!(replies.next().await.is_none());
    // One request: a heartbeat, which travels on the control connection.
    let single = stream::iter([append(2, 7)]).boxed();
    let mut replies = transport.append(&target, single).await.expect("it opens");
    assert!(replies.next().await.expect("a reply").is_ok());
}

#[tokio::test]
async fn a_snapshot_arrives_whole() {
    let server = serve(host()).await;
    let (transport, target) = (server.member(2), server.target());
    let parts = snapshot_parts(2, 40);
    let reply = transport.snapshot(&target, stream::iter(parts.clone()).boxed()).await;
    reply.expect("installed");
    assert_eq!(*server.echo().snapshot_parts.lock().expect("no panic"), parts);
}

#[tokio::test]
async fn a_backup_arrives_whole_behind_its_request() {
    let server = serve(host()).await;
    let (transport, target) = (server.member(2), server.target());
    let parts: Vec<_> = (0..12).map(|n| bytes::Bytes::from(vec![n; 1 << 20])).collect();
    let request = v1::ForwardRequest { from: 2, sealed: vec![99; 40].into() };
    let reply = transport.restore(&target, request, stream::iter(parts.clone()).boxed()).await;
    let sent = [vec![99; 40], parts.concat()].concat();
    assert_eq!(reply.expect("answered").sealed, digest(&sent));
}

#[tokio::test]
async fn only_a_member_hands_over_a_backup() {
    let server = serve(host()).await;
    let target = server.target();
    let none = || stream::iter([bytes::Bytes::from_static(b"backup")]).boxed();
    let forward = |from| v1::ForwardRequest { from, ..v1::ForwardRequest::default() };
    let member = server.member(2);
    let reply = member.restore(&target, forward(3), none()).await;
    assert!(forward_refusal(reply).contains("the member it claims"));
    // Raft is spoken with whom the cluster's authority signed; requests come from members only.
    let identity = make_signed_identity("newcomer", &server.host.ca, 8);
    let newcomer = TonicTransport::new(identity, system::ports());
    assert!(
        forward_refusal(newcomer.restore(&target, forward(8), none()).await).contains("claims")
    );
    let stranger = TonicTransport::new(make_identity("stranger"), system::ports());
    assert!(
        forward_refusal(stranger.restore(&target, forward(2), none()).await).contains("claims")
    );
}

/// A start and `count` chunks of 256 KiB.
fn snapshot_parts(from: u64, count: u64) -> Vec<v1::SnapshotPart> {
    let start = v1::SnapshotStart { from, vote: None, header: None };
    let chunk = |number| {
        let record = v1::SnapshotRecord {
            key: vec![1].into(),
            revision: number,
            value: vec![2; 256 << 10].into(),
        };
        v1::snapshot_part::Part::Chunk(v1::SnapshotChunk {
            number,
            records: vec![record],
            digest: vec![].into(),
        })
    };
    let parts = std::iter::once(v1::snapshot_part::Part::Start(start)).chain((0..count).map(chunk));
    parts.map(|part| v1::SnapshotPart { part: Some(part) }).collect()
}

#[tokio::test]
async fn row_109_only_the_holder_of_a_members_key_speaks_as_that_member() {
    let server = serve(host()).await;
    let target = server.target();
    let member = server.member(2);
    assert!(refusal(vote(&member, &target, 3).await).contains("the member it claims"));
    let stranger = TonicTransport::new(make_identity("stranger"), system::ports());
    assert!(refusal(vote(&stranger, &target, 2).await).contains("the member it claims"));
    let forward = v1::ForwardRequest { from: 2, ..Default::default() };
    let reply = stranger.forward(&target, forward, Duration::from_secs(5)).await;
    assert!(forward_refusal(reply).contains("the member it claims"));
}

#[tokio::test]
async fn a_stream_ends_at_the_first_message_of_another_sender() {
    let server = serve(host()).await;
    let (transport, target) = (server.member(2), server.target());
    let requests = stream::iter([append(2, 1), append(3, 2), append(2, 3)]).boxed();
    let replies = transport.append(&target, requests).await.expect("it opens");
    let replies: Vec<_> = replies.collect().await;
    assert!(replies[0].is_ok());
    assert!(matches!(&replies[1], Err(PeerError::Refused { .. })), "{replies:?}");
    assert_eq!(replies.len(), 2);
    let headless = snapshot_parts(2, 2).split_off(1);
    let reply = transport.snapshot(&target, stream::iter(headless).boxed()).await;
    assert!(refusal(reply).contains("begins with its header"));
    let foreign = snapshot_parts(3, 1);
    let reply = transport.snapshot(&target, stream::iter(foreign).boxed()).await;
    assert!(refusal(reply).contains("the member it claims"));
    assert!(server.echo().snapshot_parts.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn a_node_the_cluster_let_in_may_speak_raft_until_it_is_removed() {
    let server = serve(host()).await;
    let target = server.target();
    let identity = make_signed_identity("newcomer", &server.host.ca, 8);
    let transport = TonicTransport::new(identity, system::ports());
    assert!(vote(&transport, &target, 8).await.expect("answered").granted);
    assert!(refusal(vote(&transport, &target, 7).await).contains("claims"));
    let forward = v1::ForwardRequest { from: 8, ..Default::default() };
    let reply = transport.forward(&target, forward, Duration::from_secs(5)).await;
    assert!(forward_refusal(reply).contains("claims"), "only known members forward");
    server.host.removed.lock().expect("no panic").push(8);
    assert!(refusal(vote(&transport, &target, 8).await).contains("claims"));
}

/// A leader calls on the node that it has just let in before that node knows it.
#[tokio::test]
async fn the_limits_of_a_stranger_end_where_it_is_none_any_more() {
    let server = serve(host()).await;
    let target = server.target();
    let identity = make_identity("leader");
    let transport = TonicTransport::new(Arc::clone(&identity), system::ports());
    let request = |bytes| v1::ForwardRequest { from: 2, sealed: vec![7; bytes].into() };
    let limit = Duration::from_secs(5);
    let early = transport.forward(&target, request(1), limit).await;
    assert!(forward_refusal(early).contains("claims"));
    let longer = transport.forward(&target, request(1 << 20), limit).await;
    assert!(longer.is_err(), "a stranger may not send this much");
    let early = transport.forward(&target, request(1), limit).await;
    assert!(forward_refusal(early).contains("claims"));
    server.host.members.lock().expect("no panic").insert(identity.pin(), 2);
    let reply = transport.forward(&target, request(1 << 20), limit).await.expect("answered");
    assert_eq!(reply.sealed.len(), 1 << 20);
}

/// A cluster that took another one's backup has that one's authority from then on.
#[tokio::test]
async fn a_node_of_another_cluster_under_the_same_authority_is_a_stranger() {
    let server = serve(host()).await;
    let target = server.target();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let identity = NodeIdentity::load_or_make(directory.path(), "other").expect("an identity");
    let csr = identity.make_csr("other").expect("a request");
    let ca = &server.host.ca;
    let certificate = ca.sign(&csr, 8, "other", &[6; 16]).expect("signed");
    identity.install(&certificate, ca.certificate_der()).expect("it fits");
    let transport = TonicTransport::new(identity, system::ports());
    assert!(refusal(vote(&transport, &target, 8).await).contains("claims"));
    let own = Some(v1::Seen { node_id: 8, ..v1::Seen::default() });
    let greeting = v1::GreetRequest { own, epoch: 1 };
    assert!(refusal(transport.greet(&target, greeting).await).contains("claims"));
}

#[tokio::test]
async fn a_removed_node_is_greeted_a_stranger_and_a_liar_are_not() {
    let server = serve(Host { echo: None, ..host() }).await;
    let target = server.target();
    server.host.removed.lock().expect("no panic").push(8);
    let greeting = |node_id| v1::GreetRequest {
        own: Some(v1::Seen { node_id, boot_counter: 4, ..v1::Seen::default() }),
        epoch: 1,
    };
    let identity = make_signed_identity("gone", &server.host.ca, 8);
    let removed = TonicTransport::new(identity, system::ports());
    let reply = removed.greet(&target, greeting(8)).await.expect("answered");
    assert_eq!((reply.seen.map(|seen| seen.boot_counter), reply.epoch), (Some(4), 7));
    assert!(refusal(removed.greet(&target, greeting(7)).await).contains("claims"));
    let fetch = v1::FetchSnapshotRequest { from: 8, reach_index: 3 };
    assert!(refusal(removed.fetch_snapshot(&target, fetch).await.map(drop)).contains("claims"));
    let stranger = TonicTransport::new(make_identity("nobody"), system::ports());
    assert!(refusal(stranger.greet(&target, greeting(8)).await).contains("claims"));
}

#[tokio::test]
async fn a_fetched_snapshot_arrives_part_by_part() {
    let server = serve(Host { echo: None, ..host() }).await;
    let (transport, target) = (server.member(2), server.target());
    let fetch = v1::FetchSnapshotRequest { from: 2, reach_index: 3 };
    let parts = transport.fetch_snapshot(&target, fetch).await.expect("answered");
    assert_eq!(parts.filter_map(|part| std::future::ready(part.ok())).count().await, 3);
}

#[tokio::test]
async fn a_node_without_raft_says_so() {
    let server = serve(Host { echo: None, ..host() }).await;
    let (transport, target) = (server.member(2), server.target());
    assert!(refusal(vote(&transport, &target, 2).await).contains("raft does not run"));
}

#[tokio::test]
async fn a_peer_with_another_key_is_unreachable_and_a_changed_pin_opens_new_connections() {
    let server = serve(host()).await;
    let transport = server.member(2);
    let mut wrong = server.target();
    wrong.member.spki_pin = vec![9; 32].into();
    let error = vote(&transport, &wrong, 2).await.expect_err("it is another key");
    assert!(matches!(error, PeerError::Unreachable { .. }), "{error}");
    assert!(vote(&transport, &server.target(), 2).await.is_ok());
    wrong.member.spki_pin = vec![].into();
    assert!(refusal(vote(&transport, &wrong, 2).await).contains("no key"));
}

#[tokio::test]
async fn an_absent_peer_is_unreachable_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let server = serve(host()).await;
    let (transport, mut target) = (server.member(2), server.target());
    target.member.cluster_addr = address.to_string();
    let error = vote(&transport, &target, 2).await.expect_err("nobody listens");
    let PeerError::Unreachable { reason, .. } = error else { panic!("{error}") };
    assert!(reason.to_lowercase().contains("refused"), "the cause is named: {reason}");
}

async fn forward(transport: &TonicTransport, target: &Target) -> Result<(), ForwardError> {
    let request = v1::ForwardRequest { from: 2, ..Default::default() };
    transport.forward(target, request, Duration::from_secs(5)).await.map(|_| ())
}

#[tokio::test]
async fn a_forward_that_met_a_closed_port_or_another_key_was_surely_not_sent() {
    let server = serve(host()).await;
    let (transport, target) = (server.member(2), server.target());
    let mut wrong = server.target();
    wrong.member.spki_pin = vec![9; 32].into();
    let sent = forward(&transport, &wrong).await;
    assert!(matches!(sent, Err(ForwardError::NotSent { .. })), "TLS: {sent:?}");
    wrong.member.spki_pin = vec![].into();
    let sent = forward(&transport, &wrong).await;
    assert!(matches!(sent, Err(ForwardError::NotSent { .. })), "no key: {sent:?}");
    forward(&transport, &target).await.expect("it is served");
    // A leader that is gone, seen over a connection that stood.
    server.stop.send(()).expect("it runs");
    server.ended.await.expect("it reports").expect("it ends well");
    let mut sent = forward(&transport, &target).await;
    if matches!(sent, Err(ForwardError::Lost { .. })) {
        // The old connection may take one request before it notices.
        sent = forward(&transport, &target).await;
    }
    let Err(ForwardError::NotSent { reason, .. }) = sent else { panic!("TCP: {sent:?}") };
    assert!(reason.to_lowercase().contains("refused"), "the cause is named: {reason}");
}

/// A port that accepts, proves the right key, and breaks the connection once a request came in.
#[tokio::test]
async fn a_forward_whose_connection_breaks_may_have_been_executed() {
    let ca = ClusterCa::make(&CLUSTER).expect("an authority");
    let identity = make_signed_identity("server", &ca, SERVER_ID);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let config = crate::tls::peer_server_config(&identity).expect("a configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(config);
    let accept = async move {
        let (tcp, _) = listener.accept().await.expect("somebody connects");
        let mut tls = acceptor.accept(tcp).await.expect("a handshake");
        let mut first = [0; 64];
        tls.read_exact(&mut first).await.expect("a request begins");
    };
    system::ports().spawn.spawn("test breaker", accept.boxed());
    let member = v1::Member {
        node_id: SERVER_ID,
        cluster_addr: address.to_string(),
        spki_pin: identity.pin().as_bytes().to_vec().into(),
        ..v1::Member::default()
    };
    let target = Target { node_id: SERVER_ID, member };
    let transport = TonicTransport::new(make_identity("member"), system::ports());
    let sent = forward(&transport, &target).await;
    assert!(matches!(sent, Err(ForwardError::Lost { .. })), "{sent:?}");
}

#[tokio::test]
async fn a_recording_holds_what_peers_say_above_tls() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("frames.bin");
    let recorder = FrameRecorder::open(&path).expect("writable");
    let server = serve_recorded(host(), Some(recorder)).await;
    let (transport, target) = (server.member(2), server.target());
    let request = v1::ForwardRequest { from: 2, sealed: b"said above TLS".to_vec().into() };
    transport.forward(&target, request, Duration::from_secs(5)).await.expect("it is served");
    let recorded = std::fs::read(&path).expect("it was recorded");
    let said = recorded.windows(14).filter(|window| window == b"said above TLS").count();
    assert_eq!(said, 2, "the request and the answer");
}

#[tokio::test]
async fn overdue_acknowledgements_end_a_stream_but_idling_does_not() {
    let server = serve(host()).await;
    let (transport, target) = (server.member(2), server.target());
    let (_idle, requests) = tokio::sync::mpsc::channel(8);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests).boxed();
    let mut idle = transport.append(&target, requests).await.expect("it opens");
    server.echo().mute.store(true, Ordering::Relaxed);
    let busy = stream::iter([append(2, 1), append(2, 2)]).chain(stream::pending()).boxed();
    let mut busy = transport.append(&target, busy).await.expect("it opens");
    let error = busy.next().await.expect("an end").expect_err("nothing was acknowledged");
    assert!(error.to_string().contains("overdue"), "{error}");
    assert!(busy.next().await.is_none());
    assert!(idle.next().now_or_never().is_none(), "an idle stream stays open");
}

#[tokio::test]
async fn row_052_garbage_and_silence_do_not_end_the_accept_loop() {
    let server = serve(host()).await;
    let target = server.target();
    let mut silent = Vec::new();
    for round in 0..40_u8 {
        let mut tcp = TcpStream::connect(server.address).await.expect("it accepts");
        match round % 4 {
            0 => silent.push(tcp),
            1 => tcp.write_all(&[round; 300]).await.expect("it takes bytes"),
            2 => tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("it takes bytes"),
            _ => tcp.set_zero_linger().expect("a reset instead of an end"),
        }
    }
    let mut garbage = TcpStream::connect(server.address).await.expect("it accepts");
    garbage.write_all(&[0xff; 64]).await.expect("it takes bytes");
    let mut rest = Vec::new();
    // An alert and the end, or a reset.
    garbage.read_to_end(&mut rest).await.ok();
    let transport = server.member(2);
    assert!(vote(&transport, &target, 2).await.expect("members are served").granted);
}

#[tokio::test]
async fn row_110_a_message_over_the_limit_is_refused_and_the_node_goes_on() {
    let server = serve(host()).await;
    let (transport, target) = (server.member(2), server.target());
    let sealed = vec![0; MESSAGE_BYTES_MAX + 1].into();
    let forward = v1::ForwardRequest { from: 2, sealed };
    let reply = transport.forward(&target, forward, Duration::from_secs(5)).await;
    assert!(reply.is_err());
    assert!(vote(&transport, &target, 2).await.is_ok());
}

#[tokio::test]
async fn stopping_ends_the_server_even_while_a_stream_is_open() {
    let server = serve(host()).await;
    let (transport, target) = (server.member(2), server.target());
    let open = stream::iter([append(2, 1)]).chain(stream::pending()).boxed();
    let mut replies = transport.append(&target, open).await.expect("it opens");
    assert!(replies.next().await.expect("a reply").is_ok());
    server.stop.send(()).expect("it runs");
    assert!(server.ended.await.expect("it reports").is_ok());
    assert!(TcpStream::connect(server.address).await.is_err(), "the port is closed");
}

fn joiner(server: &Running) -> JoinParams {
    JoinParams {
        identity: make_identity("joiner"),
        ports: system::ports(),
        addresses: vec![server.address.to_string()],
        token_id: Vec::new(),
        secret: Zeroizing::new(vec![5; 32]),
        name: "joiner".to_owned(),
        cluster_addr: "127.0.0.1:8201".to_owned(),
        api_addr: "https://127.0.0.1:8200".to_owned(),
        non_voter: true,
    }
}

async fn join_error(params: &JoinParams) -> JoinError {
    join(params).await.expect_err("it must be refused")
}

#[tokio::test]
async fn a_node_that_knows_the_secret_joins() {
    let server = serve(host()).await;
    for token_id in [&b""[..], b"token"] {
        let params = JoinParams { token_id: token_id.to_vec(), ..joiner(&server) };
        let reply = join(&params).await.expect("it is let in");
        assert_eq!(reply.node_id, 9);
        let admitted = server.host.admitted.lock().expect("no panic").pop().expect("one");
        assert_eq!((admitted.name.as_str(), admitted.non_voter), ("joiner", true));
        assert_eq!(admitted.token_id, token_id);
    }
}

#[tokio::test]
async fn a_cluster_that_does_not_know_the_secret_gets_no_proof() {
    let server = serve(host()).await;
    let params = JoinParams { secret: Zeroizing::new(vec![6; 32]), ..joiner(&server) };
    let error = join_error(&params).await;
    assert!(matches!(error, JoinError::NotTheCluster { .. }), "{error}");
    assert!(server.host.admitted.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn an_unknown_token_is_refused() {
    let server = serve(host()).await;
    let params = JoinParams { token_id: b"other".to_vec(), ..joiner(&server) };
    assert!(matches!(join_error(&params).await, JoinError::NotAccepted { .. }));
    let params = JoinParams { token_id: vec![1; 1000], ..joiner(&server) };
    assert!(matches!(join_error(&params).await, JoinError::NotAccepted { .. }));
}

#[tokio::test]
async fn names_and_addresses_are_checked_after_the_proof() {
    let server = serve(host()).await;
    for (params, word) in [
        (JoinParams { name: "a/b".to_owned(), ..joiner(&server) }, "name"),
        (JoinParams { cluster_addr: "0.0.0.0:1".to_owned(), ..joiner(&server) }, "cluster address"),
        (JoinParams { api_addr: "http://x".to_owned(), ..joiner(&server) }, "API address"),
    ] {
        let error = join_error(&params).await;
        assert!(
            matches!(&error, JoinError::Refused { reason, .. } if reason.contains(word)),
            "{error}"
        );
    }
    assert!(server.host.admitted.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn a_joiner_follows_to_the_leader_but_not_in_circles() {
    let leader = serve(host()).await;
    let follower = follower_of(leader.address).await;
    assert_eq!(join(&joiner(&follower)).await.expect("it follows").node_id, 9);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let dead = listener.local_addr().expect("it is bound");
    drop(listener);
    let lost = follower_of(dead).await;
    assert!(matches!(join_error(&joiner(&lost)).await, JoinError::Unreachable { .. }));
    let far = follower_of(follower.address).await;
    assert!(join(&joiner(&far)).await.is_ok(), "two hops are fine");
    let (one, other) = (follower_of(dead).await, follower_of(dead).await);
    one.point_to(other.address);
    other.point_to(one.address);
    assert!(matches!(join_error(&joiner(&one)).await, JoinError::NoLeader { .. }));
    // Another address helps where the first does not answer.
    let mut params = joiner(&leader);
    params.addresses.insert(0, dead.to_string());
    assert!(join(&params).await.is_ok());
    params.addresses.clear();
    assert!(matches!(join_error(&params).await, JoinError::NoAddress));
}

async fn follower_of(leader: SocketAddr) -> Running {
    let follower = serve(host()).await;
    follower.point_to(leader);
    follower
}

/// Speaks the handshake by hand, with one thing wrong.
mod tampered {
    use super::*;
    use crate::peer::connect::{dial, single_channel};
    use crate::peer::proof::{EXPORTER_BYTES, EXPORTER_LABEL, Session};
    use crate::tls::Expect;
    use conclave_proto::v1::join_client::JoinClient;
    use tonic::Code;
    use tonic::transport::Channel;

    struct Hand {
        client: JoinClient<Channel>,
        session: Session,
        identity: Arc<NodeIdentity>,
        nonce: [u8; 32],
        cluster_nonce: [u8; 32],
    }

    async fn hand(server: &Running) -> Hand {
        let identity = make_identity("joiner");
        let address = server.address.to_string();
        let tls = dial(Arc::clone(&identity), address, Expect::AnyoneWhoProvesLater).await;
        let tls = tls.expect("it connects");
        let exporter =
            tls.get_ref().1.export_keying_material([0; EXPORTER_BYTES], EXPORTER_LABEL, None);
        let session = Session {
            exporter: exporter.expect("it is complete"),
            cluster_pin: server.identity.pin(),
            joiner_pin: identity.pin(),
        };
        let mut client = JoinClient::new(single_channel(tls));
        let nonce = [1; 32];
        let hello = v1::JoinHello { token_id: Vec::new().into(), nonce: nonce.to_vec().into() };
        let challenge = client.hello(hello).await.expect("a challenge").into_inner();
        assert!(session.cluster_proof_is(&challenge.proof, &server.host.secret, &nonce));
        let cluster_nonce = challenge.nonce.as_ref().try_into().expect("32 bytes");
        Hand { client, session, identity, nonce, cluster_nonce }
    }

    impl Hand {
        fn request(&self, secret: &[u8]) -> v1::JoinRequest {
            let proof = self.session.node_proof(secret, &self.nonce, &self.cluster_nonce);
            v1::JoinRequest {
                proof: proof.to_vec().into(),
                nonce: self.nonce.to_vec().into(),
                name: "joiner".to_owned(),
                cluster_addr: "127.0.0.1:8201".to_owned(),
                api_addr: "https://127.0.0.1:8200".to_owned(),
                csr: self.identity.make_csr("joiner").expect("a request").into(),
                ..v1::JoinRequest::default()
            }
        }

        async fn code(&mut self, request: v1::JoinRequest) -> Code {
            match self.client.join(request).await {
                Ok(_) => Code::Ok,
                Err(status) => status.code(),
            }
        }
    }

    #[tokio::test]
    async fn a_proof_with_anything_changed_is_refused() {
        let server = serve(host()).await;
        let mut hand = hand(&server).await;
        let good = hand.request(&server.host.secret);
        let mut flipped = good.clone();
        let mut proof = flipped.proof.to_vec();
        proof[0] ^= 1;
        flipped.proof = proof.into();
        let wrong = [
            hand.request(&[6; 32]),
            flipped,
            v1::JoinRequest { nonce: vec![2; 32].into(), ..good.clone() },
            v1::JoinRequest { proof: Vec::new().into(), ..good.clone() },
            v1::JoinRequest { token_id: b"token".to_vec().into(), ..good.clone() },
        ];
        for request in wrong {
            assert_eq!(hand.code(request).await, Code::Unauthenticated);
        }
        let short = v1::JoinRequest { nonce: vec![2; 31].into(), ..good.clone() };
        assert_eq!(hand.code(short).await, Code::InvalidArgument);
        assert!(server.host.admitted.lock().expect("no panic").is_empty());
        assert_eq!(hand.code(good).await, Code::Ok);
    }

    #[tokio::test]
    async fn a_proof_is_of_no_use_on_another_connection() {
        let server = serve(host()).await;
        let first = hand(&server).await;
        let stolen = first.request(&server.host.secret);
        let mut second = hand(&server).await;
        assert_eq!(second.code(stolen).await, Code::Unauthenticated);
    }

    #[tokio::test]
    async fn another_nodes_certificate_request_is_refused() {
        let server = serve(host()).await;
        let mut hand = hand(&server).await;
        let csr = make_identity("other").make_csr("other").expect("a request");
        let request = v1::JoinRequest { csr: csr.into(), ..hand.request(&server.host.secret) };
        assert_eq!(hand.code(request).await, Code::InvalidArgument);
        assert!(server.host.admitted.lock().expect("no panic").is_empty());
    }
}
