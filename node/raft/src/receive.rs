//! The receiving end of peer messages. Whatever a message lacks or claims, the worst it gets is
//! [`PeerError::Refused`].

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use conclave_ports::Elapsed;
use conclave_proto::v1;
use conclave_proto::v1::snapshot_part::Part;
use conclave_store::snapshot::{SnapshotError, SnapshotReader, SnapshotReceiver};
use futures::future::{Either, select};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};

use crate::convert::decode::Malformed;
use crate::convert::{decode, encode};
use crate::lack::rolled_back;
use crate::node::Node;
use crate::read_barrier::RoundError;
use crate::snapshot::StoredSnapshot;
use crate::types::{TypeConfig, Vote};
use crate::{PeerError, blocking};

/// A snapshot sender that is silent for this long has given up.
const SNAPSHOT_SILENCE_MAX: Duration = Duration::from_secs(30);

type Answer<T> = Result<T, PeerError>;
type Parts = BoxStream<'static, v1::SnapshotPart>;

impl<R: AsyncRuntime> Node<R> {
    pub(crate) fn receive_appends(
        &self,
        requests: BoxStream<'static, v1::AppendRequest>,
    ) -> BoxStream<'static, Answer<v1::AppendReply>> {
        let malformed = Arc::new(OnceLock::new());
        let decoded = self.decoded_appends(requests, malformed.clone());
        let node_id = self.config.node_id;
        let replies = self.raft.stream_append(decoded).map(move |result| {
            result
                .map(|result| encode::append_reply(&result))
                .map_err(|fatal| refused_by(node_id, &fatal))
        });
        // After the answers to what could be understood, say why the stream ends.
        let last = futures::stream::once(async move { malformed.get().copied() });
        let last = last.filter_map(move |error: Option<Malformed>| async move {
            error.map(|error| Err(refused_by(node_id, &error)))
        });
        replies.chain(last).boxed()
    }

    /// Ends at the first message that cannot be understood.
    fn decoded_appends(
        &self,
        requests: BoxStream<'static, v1::AppendRequest>,
        malformed: Arc<OnceLock<Malformed>>,
    ) -> impl Stream<Item = AppendEntriesRequest<TypeConfig<R>>> + Send + 'static {
        let (flags, clock, time) =
            (self.flags.clone(), self.ports.clock.clone(), self.time.clone());
        let node_id = self.config.node_id;
        requests.scan((), move |(), wire| {
            let leader_ms = wire.leader_ms;
            let request = not_from(node_id, wire.from).and_then(|()| decode::append_request(wire));
            let request = match request {
                Ok(request) => {
                    flags.hear(clock.monotonic());
                    time.hear(leader_ms);
                    Some(request)
                }
                Err(error) => {
                    let _ = malformed.set(error);
                    None
                }
            };
            std::future::ready(request)
        })
    }

    pub(crate) async fn receive_vote(&self, wire: v1::VoteRequest) -> Answer<v1::VoteReply> {
        let request = self.decoded_vote(&wire).map_err(|error| self.refused(&error))?;
        let log = self.log.state();
        if log.last.is_none() && log.purged.is_none() {
            // A voter has caught up once. This one forgot what it had, and for whom it voted.
            return Err(self.refused(&"it has no log, so it cannot be a voter"));
        }
        let reply = if wire.pre_vote {
            self.raft.pre_vote(request).await
        } else {
            self.raft.vote(request).await
        };
        let reply = reply.map_err(|error| self.refused(&error))?;
        if reply.vote_granted {
            self.flags.hear(self.ports.clock.monotonic());
        }
        Ok(v1::VoteReply {
            vote: Some(encode::vote(&reply.vote)),
            last_log_id: encode::log_id_option(reply.last_log_id.as_ref()),
            granted: reply.vote_granted,
        })
    }

    fn decoded_vote(
        &self,
        wire: &v1::VoteRequest,
    ) -> Result<VoteRequest<TypeConfig<R>>, Malformed> {
        not_from(self.config.node_id, wire.from)?;
        Ok(VoteRequest {
            vote: decode::vote_of_sender(wire.from, wire.vote.as_ref())?,
            last_log_id: decode::sane_log_id(wire.last_log_id.as_ref())?,
            leadership_transfer: wire.leadership_transfer,
        })
    }

    pub(crate) async fn receive_transfer(
        &self,
        wire: v1::TransferRequest,
    ) -> Answer<v1::TransferReply> {
        let decoded = || {
            not_from(self.config.node_id, wire.from)?;
            let from_leader = decode::vote_of_sender(wire.from, wire.from_leader.as_ref())?;
            let last = decode::sane_log_id(wire.last_log_id.as_ref())?;
            Ok::<_, Malformed>(TransferLeaderRequest::new(from_leader, wire.to, last))
        };
        let request = decoded().map_err(|error| self.refused(&error))?;
        let reply = self.raft.handle_transfer_leader(request).await;
        let reply = reply.map_err(|error| self.refused(&error))?;
        Ok(v1::TransferReply { accepted: reply.is_ok() })
    }

    /// Joins the next round of this node, if it leads.
    pub(crate) async fn receive_read_index(
        &self,
        _request: v1::ReadIndexRequest,
    ) -> Answer<v1::ReadIndexReply> {
        use v1::read_index_reply::Outcome;
        let outcome = match self.leading.join().await {
            Ok(point) => Outcome::Point(point),
            Err(RoundError::NotLeader) => {
                let leader = self.metrics.borrow_watched().current_leader;
                Outcome::NotLeader(leader.filter(|id| *id != self.config.node_id).unwrap_or(0))
            }
            Err(RoundError::Unavailable) => return Err(self.refused(&"no quorum answered")),
            Err(RoundError::Stopped(why)) => return Err(self.refused(&why)),
        };
        Ok(v1::ReadIndexReply { outcome: Some(outcome) })
    }

    pub(crate) async fn receive_status(
        &self,
        request: &v1::StatusRequest,
    ) -> Answer<v1::StatusReply> {
        if self.flags.stopping() {
            return Err(self.refused(&"it is stopping"));
        }
        self.must_hold(request).await?;
        let hash = match request.hash_index {
            0 => None,
            index => self.state.hash_at(index),
        };
        let applied = self.state.applied();
        let members = applied.membership.and_then(|stored| stored.membership).unwrap_or_default();
        let knows_caller = members.members.iter().any(|member| member.node_id == request.from);
        Ok(v1::StatusReply {
            node_id: self.config.node_id,
            sealed: self.flags.sealed(),
            last_log_id: self.log.state().last,
            applied_index: applied.log_id.map_or(0, |id| id.index),
            state_hash: hash.map(|hash| hash.0.to_vec().into()).unwrap_or_default(),
            checkpoint_index: self.state.checkpoint().map_or(0, |(index, _)| index),
            wall_ms: self.ports.clock.wall_ms(),
            cluster_ms: self.time.now().unwrap_or(0),
            own: Some(self.own()),
            epoch: applied.epoch.max(1),
            unfit: self.flags.unfit(),
            applied_hash: applied.state_hash.0.to_vec().into(),
            not_a_member: !knows_caller && !members.members.is_empty(),
        })
    }

    /// Ends this node where a peer saw more of it than there is. A node that was put back to before
    /// it knew anybody greeted nobody, so it is told while it runs.
    async fn must_hold(&self, request: &v1::StatusRequest) -> Answer<()> {
        let seen = request.seen.filter(|seen| seen.node_id == self.config.node_id);
        let Some(lack) = seen.and_then(|seen| self.on_disk().lack(&seen)) else { return Ok(()) };
        let why = rolled_back(request.from, &lack);
        tracing::error!("{why}");
        self.flags.roll_back();
        self.changes.bump();
        self.stop().await;
        Err(self.refused(&why))
    }

    /// Stores a snapshot whole, then lets Raft decide whether to take it.
    pub(crate) async fn receive_snapshot(&self, mut parts: Parts) -> Answer<v1::SnapshotReply> {
        let (vote, header) = self.snapshot_start(&mut parts).await?;
        let own = self.metrics.borrow_watched().vote;
        if own > vote {
            // The sender was deposed: tell it before it sends gigabytes.
            return Ok(v1::SnapshotReply { vote: Some(encode::vote(&own)) });
        }
        let Some(turn) = self.receiving.enter(vote).await else {
            return Err(self.refused(&"another snapshot is under way"));
        };
        let receiver = self.snapshots.receive(header).map_err(|error| self.refused(&error))?;
        let storing = std::pin::pin!(self.store_parts(receiver, parts));
        let reader = match select(std::pin::pin!(turn.replaced()), storing).await {
            Either::Left(((), _)) => return Err(self.refused(&"a newer leader sends a snapshot")),
            Either::Right((reader, _)) => reader?,
        };
        let index = reader.header().last_log_id.map_or(0, |id| id.index);
        tracing::info!(index, "snapshot received");
        let snapshot =
            StoredSnapshot::into_snapshot(reader).map_err(|error| self.refused(&error))?;
        let reply = self.raft.install_full_snapshot(vote, snapshot).await;
        let reply = reply.map_err(|error| self.refused(&error))?;
        Ok(v1::SnapshotReply { vote: Some(encode::vote(&reply.vote)) })
    }

    async fn snapshot_start(&self, parts: &mut Parts) -> Answer<(Vote, v1::SnapshotHeader)> {
        let Some(Part::Start(start)) = self.next_part(parts).await? else {
            return Err(self.refused(&"a snapshot begins with its header"));
        };
        let decoded = || {
            not_from(self.config.node_id, start.from)?;
            let vote = decode::vote_of_sender(start.from, start.vote.as_ref())?;
            let header = start.header.clone().ok_or(Malformed("no header"))?;
            decode::sane_log_id(header.last_log_id.as_ref())?;
            decode::snapshot_meta(&header)?;
            let ours = &self.config.cluster_id;
            if !ours.is_empty() && header.cluster_id != *ours {
                return Err(Malformed("a snapshot of another cluster"));
            }
            Ok((vote, header))
        };
        decoded().map_err(|error| self.refused(&error))
    }

    async fn store_parts(
        &self,
        mut receiver: SnapshotReceiver,
        mut parts: Parts,
    ) -> Answer<SnapshotReader> {
        while let Some(part) = self.next_part(&mut parts).await? {
            self.flags.hear(self.ports.clock.monotonic());
            let Part::Chunk(chunk) = part else {
                return Err(self.refused(&"a snapshot has one header"));
            };
            let pushed = blocking::run::<R, _>(move || {
                receiver.push(chunk)?;
                Ok::<_, SnapshotError>(receiver)
            });
            let pushed = pushed.await.map_err(|error| self.refused(&error))?;
            receiver = pushed.map_err(|error| self.refused(&error))?;
        }
        let finished = blocking::run::<R, _>(move || receiver.finish()).await;
        let finished = finished.map_err(|error| self.refused(&error))?;
        finished.map_err(|error| self.refused(&error))
    }

    async fn next_part(&self, parts: &mut Parts) -> Answer<Option<Part>> {
        match self.ports.within(SNAPSHOT_SILENCE_MAX, parts.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(v1::SnapshotPart { part: Some(part) })) => Ok(Some(part)),
            Ok(Some(v1::SnapshotPart { part: None })) => Err(self.refused(&"an empty part")),
            Err(Elapsed) => Err(self.refused(&"the sender fell silent")),
        }
    }

    fn refused(&self, why: &(impl ToString + ?Sized)) -> PeerError {
        refused_by(self.config.node_id, why)
    }
}

fn refused_by(node_id: u64, why: &(impl ToString + ?Sized)) -> PeerError {
    PeerError::Refused { node_id, reason: why.to_string() }
}

fn not_from(node_id: u64, from: u64) -> Result<(), Malformed> {
    if from == node_id { Err(Malformed("it claims to come from its receiver")) } else { Ok(()) }
}
