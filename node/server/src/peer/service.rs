//! The `Peer` service: checks the sender of every message, then hands it on.

use std::io;
use std::sync::{Arc, OnceLock};

use conclave_proto::v1;
use conclave_proto::v1::peer_server::Peer;
use conclave_proto::v1::restore_part::Part as RestorePart;
use conclave_proto::v1::snapshot_part::Part;
use conclave_raft::{PeerError, Raft};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tonic::{Request, Response, Status, Streaming};

use super::PeerHandler;
use super::access::{Access, Caller, Kind};

pub(super) struct PeerService {
    pub(super) access: Arc<Access>,
    pub(super) handler: Arc<dyn PeerHandler>,
}

/// Why a stream ended early, for the answer that ends it. Set once, by the first bad message.
type Refusal = Arc<OnceLock<Status>>;

impl PeerService {
    fn raft(&self) -> Result<Raft, Status> {
        self.handler.consensus().ok_or_else(|| {
            Status::unavailable("raft does not run on this node; try again once it started")
        })
    }

    fn check<T>(&self, request: &Request<T>, from: u64, kind: Kind) -> Result<(), Status> {
        self.access.check(&caller_of(request)?, from, kind)
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn greet(
        &self,
        request: Request<v1::GreetRequest>,
    ) -> Result<Response<v1::GreetReply>, Status> {
        let from = request.get_ref().own.map_or(0, |own| own.node_id);
        self.check(&request, from, Kind::Greeting)?;
        self.handler.greet(request.get_ref()).map(Response::new)
    }

    type FetchSnapshotStream = BoxStream<'static, Result<v1::SnapshotPart, Status>>;

    async fn fetch_snapshot(
        &self,
        request: Request<v1::FetchSnapshotRequest>,
    ) -> Result<Response<Self::FetchSnapshotStream>, Status> {
        self.check(&request, request.get_ref().from, Kind::Raft)?;
        let parts = self.handler.fetch_snapshot(request.get_ref())?;
        Ok(Response::new(parts.map(|part| part.map_err(status_of)).boxed()))
    }

    async fn restore(
        &self,
        request: Request<Streaming<v1::RestorePart>>,
    ) -> Result<Response<v1::ForwardReply>, Status> {
        let caller = caller_of(&request)?;
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|message| message.part);
        let Some(RestorePart::Request(request)) = first else {
            return Err(Status::invalid_argument("a restore begins with its request"));
        };
        self.access.check(&caller, request.from, Kind::Member)?;
        let parts = parts.map(|message| match message {
            Ok(v1::RestorePart { part: Some(RestorePart::Data(data)) }) => Ok(data),
            Ok(_) => Err(io::Error::other("a message holds no data")),
            Err(status) => Err(io::Error::other(status.message().to_owned())),
        });
        self.handler.restore(request, parts.boxed()).await.map(Response::new)
    }

    type AppendStream = BoxStream<'static, Result<v1::AppendReply, Status>>;

    async fn append(
        &self,
        request: Request<Streaming<v1::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let caller = caller_of(&request)?;
        let raft = self.raft()?;
        let refusal = Refusal::default();
        let access = Arc::clone(&self.access);
        let requests = checked(request.into_inner(), Arc::clone(&refusal), move |message| {
            access.check(&caller, message.from, Kind::Raft)
        });
        let replies = raft.on_append(requests).map(|reply| reply.map_err(status_of));
        Ok(Response::new(replies.chain(last_word(refusal)).boxed()))
    }

    async fn vote(
        &self,
        request: Request<v1::VoteRequest>,
    ) -> Result<Response<v1::VoteReply>, Status> {
        self.check(&request, request.get_ref().from, Kind::Raft)?;
        let reply = self.raft()?.on_vote(request.into_inner()).await;
        reply.map(Response::new).map_err(status_of)
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotPart>>,
    ) -> Result<Response<v1::SnapshotReply>, Status> {
        let caller = caller_of(&request)?;
        let raft = self.raft()?;
        let refusal = Refusal::default();
        let access = Arc::clone(&self.access);
        let mut started = false;
        let parts = checked(request.into_inner(), Arc::clone(&refusal), move |part| {
            check_part(&access, &caller, &mut started, part)
        });
        let reply = raft.on_snapshot(parts).await;
        match refusal.get() {
            Some(status) => Err(status.clone()),
            None => reply.map(Response::new).map_err(status_of),
        }
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferRequest>,
    ) -> Result<Response<v1::TransferReply>, Status> {
        self.check(&request, request.get_ref().from, Kind::Raft)?;
        let reply = self.raft()?.on_transfer(request.into_inner()).await;
        reply.map(Response::new).map_err(status_of)
    }

    async fn read_index(
        &self,
        request: Request<v1::ReadIndexRequest>,
    ) -> Result<Response<v1::ReadIndexReply>, Status> {
        self.check(&request, request.get_ref().from, Kind::Raft)?;
        let reply = self.raft()?.on_read_index(request.into_inner()).await;
        reply.map(Response::new).map_err(status_of)
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusReply>, Status> {
        self.check(&request, request.get_ref().from, Kind::Raft)?;
        let reply = self.raft()?.on_status(request.into_inner()).await;
        reply.map(Response::new).map_err(status_of)
    }

    async fn forward(
        &self,
        request: Request<v1::ForwardRequest>,
    ) -> Result<Response<v1::ForwardReply>, Status> {
        self.check(&request, request.get_ref().from, Kind::Member)?;
        self.handler.forward(request.into_inner()).await.map(Response::new)
    }

    async fn peer_unseal(
        &self,
        request: Request<v1::PeerUnsealRequest>,
    ) -> Result<Response<v1::PeerUnsealReply>, Status> {
        self.check(&request, request.get_ref().from, Kind::Member)?;
        self.handler.peer_unseal(request.into_inner()).await.map(Response::new)
    }
}

/// What the listener found out about the connection that carries `request`.
pub(super) fn caller_of<T>(request: &Request<T>) -> Result<Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| Status::internal("the connection is unknown; this is a bug"))
}

/// A snapshot begins with its sender's name; nobody else may go on with it.
fn check_part(
    access: &Access,
    caller: &Caller,
    started: &mut bool,
    part: &v1::SnapshotPart,
) -> Result<(), Status> {
    match &part.part {
        Some(Part::Start(start)) => {
            *started = true;
            access.check(caller, start.from, Kind::Raft)
        }
        Some(Part::Chunk(_)) if *started => Ok(()),
        _ => Err(Status::invalid_argument("a snapshot begins with its header; send it first")),
    }
}

/// The messages of a stream up to the first that is undecodable or refused.
fn checked<M: Send + 'static>(
    messages: Streaming<M>,
    refusal: Refusal,
    check: impl FnMut(&M) -> Result<(), Status> + Send + 'static,
) -> BoxStream<'static, M> {
    stream::unfold((messages, refusal, check), next_checked).boxed()
}

async fn next_checked<M, C: FnMut(&M) -> Result<(), Status>>(
    (mut messages, refusal, mut check): (Streaming<M>, Refusal, C),
) -> Option<(M, (Streaming<M>, Refusal, C))> {
    let checked = match messages.message().await {
        Ok(None) => return None,
        Ok(Some(message)) => check(&message).map(|()| message),
        Err(status) => Err(status),
    };
    match checked {
        Ok(message) => Some((message, (messages, refusal, check))),
        Err(status) => {
            // Only the first reason counts, and nothing sets it twice.
            let _first = refusal.set(status);
            None
        }
    }
}

/// After the last reply: the refusal that ended the requests, if one did.
fn last_word(refusal: Refusal) -> BoxStream<'static, Result<v1::AppendReply, Status>> {
    stream::once(async move { refusal.get().cloned() })
        .filter_map(|status| std::future::ready(status.map(Err)))
        .boxed()
}

pub(super) fn status_of(error: PeerError) -> Status {
    match error {
        PeerError::Refused { reason, .. } => Status::unavailable(reason),
        PeerError::Unreachable { reason, .. } => Status::internal(reason),
    }
}
