//! Saving and restoring backups: who may, on which node, and how one goes through the log.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use conclave_barrier::Route;
use conclave_core::{Core, Error, ErrorCode, Request, Response};
use conclave_gateway::SnapshotBytes;
use conclave_ports::Ports;
use conclave_proto::v1;
use conclave_proto::v1::cluster_change::Kind;
use conclave_raft::{ProposeError, Proposed};
use conclave_store::snapshot::SnapshotReader;
use conclave_store::state::{CHUNK_DIGEST_FIRST, ChunkDigest, Outcome, derive_chunk_digest};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tonic::Status;

use super::dispatch::{leader_of, no_leader};
use super::forward::{open_reply, open_request, outcome_unknown, seal_reply, seal_request};
use super::init::{CA_CERTIFICATE, CA_KEY};
use super::peers::member_name;
use super::stream_end::StreamEnd;
use super::{Node, Running};
use crate::backup::{
    About, BackupError, BackupKey, BackupWriter, PublicKey, Spool, Verified, verify,
};
use crate::peer::ForwardError;
use crate::tls::ClusterCa;

/// Room and turns for backups.
pub(super) struct Backups {
    spool: Spool,
    saves: Arc<Semaphore>,
    restores: Semaphore,
}

impl Backups {
    pub(super) fn open(data_directory: &Path) -> io::Result<Self> {
        Ok(Self {
            spool: Spool::open(data_directory)?,
            saves: Arc::new(Semaphore::new(SAVES_MAX)),
            restores: Semaphore::new(1),
        })
    }

    /// One restore at a time: held for as long as it lasts.
    fn begin_restore(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.restores.try_acquire().map_err(|_| {
            Error::new(ErrorCode::Busy, "another restore is under way; try again when it ended")
        })
    }
}

impl Node {
    /// A backup of everything acknowledged before the call, made on this node.
    pub(super) async fn save_backup(&self, request: Request) -> Result<SnapshotBytes, Error> {
        let phase = self.phase();
        let (running, core) = phase.serving()?;
        let mut end = self.begin_stream(core, Arc::new(request)).await?;
        let revision = end.revision();
        let (writer, turn) = match self.begin_save(running, core, revision).await {
            Ok(begun) => begun,
            Err(error) => return Err(end.fail(error).await),
        };
        let pieces =
            stream::unfold((Some(writer), end, turn), |(writer, mut end, turn)| async move {
                let mut writer = writer?;
                let made = blocking(move || writer.next_piece().map(|piece| (piece, writer))).await;
                let failed = match made {
                    Ok((Some(piece), writer)) => {
                        return Some((Ok(piece), (Some(writer), end, turn)));
                    }
                    // Without the record of its end it must not look whole.
                    Ok((None, _)) => {
                        io::Error::other(end.reach(Ok(Response::empty())).await.err()?)
                    }
                    Err(error) => {
                        let told = Error::new(ErrorCode::Unavailable, "the backup broke off");
                        let _ = end.fail(told).await;
                        error
                    }
                };
                Some((Err(failed), (None, end, turn)))
            });
        Ok(pieces.boxed())
    }

    /// Lets the caller of a route that streams in.
    async fn begin_stream(&self, core: &Core, request: Arc<Request>) -> Result<StreamEnd, Error> {
        let admitted = core.admit(&request).await?;
        Ok(StreamEnd::new(admitted, request, self.ports.clone()))
    }

    async fn begin_save(
        &self,
        running: &Running,
        core: &Core,
        revision: u64,
    ) -> Result<(BackupWriter, OwnedSemaphorePermit), Error> {
        let turn = Arc::clone(&self.backups.saves).try_acquire_owned().map_err(|_| {
            Error::new(ErrorCode::Busy, "enough backups are being read from this node; try again")
        })?;
        Ok((self.begin_backup(running, core, revision).await?, turn))
    }

    async fn begin_backup(
        &self,
        running: &Running,
        core: &Core,
        revision: u64,
    ) -> Result<BackupWriter, Error> {
        let seed = core.cluster_secret(BACKUP_SEED)?;
        let key = seed.as_deref().and_then(|seed| BackupKey::from_seed(seed));
        let key = key.ok_or_else(|| Error::internal("the cluster has no key for its backups"))?;
        let state = running.state.clone();
        self.require_free_bytes(state.engine_bytes())?;
        debug_assert!(state.applied_id().is_some_and(|id| id.index >= revision));
        let about = About {
            cluster_id: running.cluster_id,
            cluster_name: self.seal_record(running)?.cluster_name,
            keyring_term: core.barrier().term(),
            now_ms: self.ports.clock.wall_ms(),
        };
        let dir = self.backups.spool.make_dir().map_err(from_io)?;
        let begin = move || {
            BackupWriter::begin(&state, about, key, dir)
                .map_err(|error| io::Error::other(error.to_string()))
        };
        blocking(begin).await.map_err(|error| Error::internal(error.to_string()))
    }

    /// Restores a backup from this node's client: here where this node leads, else on the leader.
    pub(super) async fn restore_backup(
        &self,
        request: Request,
        force: bool,
        bytes: SnapshotBytes,
    ) -> Result<Response, Error> {
        let phase = self.phase();
        let (running, core) = phase.serving()?;
        let mut end = self.begin_stream(core, Arc::new(request)).await?;
        let restored = self.restore_anywhere(running, core, end.request(), force, bytes).await;
        end.reach(restored).await
    }

    async fn restore_anywhere(
        &self,
        running: &Arc<Running>,
        core: &Core,
        request: &Request,
        force: bool,
        bytes: SnapshotBytes,
    ) -> Result<Response, Error> {
        if running.raft.status().is_leader {
            return self.restore_here(running, core, force, bytes).await;
        }
        let leader = leader_of(running).ok_or_else(no_leader)?;
        let sealer = core.barrier().peer_sealer();
        let route = Route { from: running.node_id, to: leader.node_id };
        let (message, id) = seal_request(sealer, route, request)?;
        // A backup that breaks off ends early on the other side too, where it is then not whole.
        let bytes = bytes.take_while(|part| std::future::ready(part.is_ok()));
        let bytes = bytes.filter_map(|part| std::future::ready(part.ok()));
        let small = bytes.flat_map(|part| stream::iter(split(part))).boxed();
        match self.transport.restore(&leader, message, small).await {
            Ok(reply) => open_reply(sealer, route.back(), id, &reply),
            Err(
                error @ (ForwardError::NotSent { .. }
                | ForwardError::Refused { .. }
                | ForwardError::Stranger { .. }),
            ) => {
                tracing::debug!(%error, "a restore was not forwarded");
                Err(no_leader())
            }
            Err(error @ ForwardError::Lost { .. }) => {
                tracing::debug!(%error, "a forwarded restore has no answer");
                Err(outcome_unknown())
            }
        }
    }

    /// Restores a backup that a member hands over, as leader.
    ///
    /// # Errors
    /// A refusal where nothing was executed: this node is sealed, or the request does not open.
    pub(super) async fn serve_restore(
        &self,
        request: v1::ForwardRequest,
        bytes: BoxStream<'static, io::Result<Bytes>>,
    ) -> Result<v1::ForwardReply, Status> {
        let phase = self.phase();
        let (running, core) =
            phase.serving().map_err(|error| Status::unavailable(error.to_string()))?;
        let sealer = core.barrier().peer_sealer();
        let route = Route { from: request.from, to: running.node_id };
        let (request, id) = open_request(sealer, route, &request.sealed)
            .map_err(|error| Status::permission_denied(error.to_string()))?;
        let served = match request {
            Ok(mut request) => {
                request.forwarded_from = member_name(running, route.from);
                let force = request.path.ends_with(FORCE_SUFFIX);
                match self.begin_stream(core, Arc::new(request)).await {
                    Ok(mut end) => {
                        let restored = self.restore_here(running, core, force, bytes).await;
                        end.reach(restored).await
                    }
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        seal_reply(sealer, route.back(), id, served)
            .map_err(|error| Status::internal(error.to_string()))
    }

    /// Takes the whole backup, verifies it, and only then proposes anything.
    async fn restore_here(
        &self,
        running: &Arc<Running>,
        core: &Core,
        force: bool,
        bytes: SnapshotBytes,
    ) -> Result<Response, Error> {
        let _turn = self.backups.begin_restore()?;
        let backup = self.take_in(bytes).await?;
        if !force {
            check_own(&backup, running, core)?;
        }
        // Each byte goes through the log, into the state beside the one in force, and with that into
        // the next snapshot.
        self.require_free_bytes(backup.manifest.state_bytes.saturating_mul(3))?;
        tracing::warn!(
            index = backup.manifest.index, signed_by = %backup.signed_by, force,
            "a backup is being restored"
        );
        let raft = running.raft.clone();
        let propose = move |command| {
            let raft = raft.clone();
            async move { raft.propose(command).await }.boxed()
        };
        let restore = Restore { propose: &propose, id: self.ports.random(), ports: &self.ports };
        let mut state = backup.state;
        let revision = restore.run(&mut state).await?;
        let epoch = running.state.applied().epoch;
        tracing::warn!(revision, epoch, "a backup was restored");
        // The message counts went back with the state. Who does not hold the restored keys seals
        // itself, and whoever unseals the leader then goes on here.
        if let Err(error) = core.maintain().await {
            tracing::warn!(%error, "no fresh data key was made after the restore yet");
        }
        let data = Bytes::from(format!("{{\"epoch\":{epoch}}}"));
        Ok(Response { data: Some(data), revision, ..Response::default() })
    }

    /// Writes the backup to disk and verifies it.
    async fn take_in(&self, mut bytes: SnapshotBytes) -> Result<Verified, Error> {
        let dir = self.backups.spool.make_dir().map_err(from_io)?;
        let path = dir.path().join("backup.tar.gz");
        let mut file = blocking(move || File::create_new(&path).map(|file| (file, path)))
            .await
            .map_err(from_io)?;
        let mut batch = BytesMut::new();
        loop {
            let part = bytes.next().await.transpose().map_err(from_upload)?;
            let ended = part.is_none();
            batch.extend_from_slice(&part.unwrap_or_default());
            if batch.len() >= BATCH_BYTES || ended {
                self.require_free_bytes(batch.len() as u64)?;
                let full = std::mem::take(&mut batch);
                file = blocking(move || file.0.write_all(&full).map(|()| file))
                    .await
                    .map_err(from_io)?;
            }
            if ended {
                break;
            }
        }
        let (_, path) = file;
        let verified = blocking(move || {
            Ok(File::open(path).map_err(BackupError::from).and_then(|file| verify(file, dir)))
        });
        verified.await.map_err(from_io)?.map_err(from_backup)
    }

    fn require_free_bytes(&self, bytes: u64) -> Result<(), Error> {
        let free = self.disk.free_bytes().map_err(from_io)?;
        if free > bytes.saturating_add(SPARE_BYTES) {
            return Ok(());
        }
        Err(disk_full(format!("{bytes} bytes are needed, {free} are free")))
    }

    /// After the restore of another cluster's backup the authority that signs joiners is that
    /// cluster's. A node takes a certificate of it for its own key, so that all know one authority.
    pub(super) fn follow_authority(&self, running: &Running, core: &Core) {
        let followed = || -> Result<(), Error> {
            let secret = |name| core.cluster_secret(name);
            let (Some(certificate), Some(key)) = (secret(CA_CERTIFICATE)?, secret(CA_KEY)?) else {
                return Ok(());
            };
            let known = self.tls.authority();
            if known.is_some_and(|known| known.as_der() == certificate.as_slice()) {
                return Ok(());
            }
            let ca = ClusterCa::from_parts(&certificate, key)
                .map_err(|error| Error::internal(error.to_string()))?;
            self.adopt_certificate(&ca, running.node_id, running.cluster_id)
        };
        if let Err(error) = followed() {
            let detail = error.internal.unwrap_or_default();
            tracing::warn!(detail, "this node has no certificate of the cluster's authority");
        }
    }
}

/// One restore on its way through the log.
struct Restore<'a> {
    propose: &'a Propose<'a>,
    id: [u8; 16],
    ports: &'a Ports,
}

/// Consensus, as a restore needs it.
type Propose<'a> = dyn Fn(v1::Command) -> Proposal + Send + Sync + 'a;
type Proposal = BoxFuture<'static, Result<Proposed, ProposeError>>;

impl Restore<'_> {
    /// Puts a verified state through the log. Returns the revision of the commit. Whatever fails
    /// before that was proposed has changed nothing.
    async fn run(&self, state: &mut SnapshotReader) -> Result<u64, Error> {
        let begin =
            v1::RestoreBegin { restore_id: self.id(), header: Some(state.header().clone()) };
        let staged = async {
            self.propose(Kind::RestoreBegin(begin)).await?;
            self.send_chunks(state).await
        };
        if let Err(error) = staged.await {
            self.abort().await;
            return Err(unless_unknown(error));
        }
        self.propose(Kind::RestoreCommit(v1::RestoreCommit { restore_id: self.id() })).await
    }

    fn id(&self) -> Bytes {
        Bytes::copy_from_slice(&self.id)
    }

    async fn propose(&self, kind: Kind) -> Result<u64, Error> {
        let proposal = self.enqueue(kind).await?;
        settle(proposal.await)
    }

    /// A few chunks at a time are on their way. They are queued in their order, and the log keeps it.
    async fn send_chunks(&self, state: &mut SnapshotReader) -> Result<(), Error> {
        let mut chunks = Chunks::new();
        let mut waiting: VecDeque<Proposal> = VecDeque::new();
        loop {
            let records = tokio::task::block_in_place(|| state.next_chunk());
            let records = records.map_err(|error| Error::internal(error.to_string()))?;
            let ended = records.is_none();
            for chunk in chunks.push(records.map(|chunk| chunk.records)) {
                if waiting.len() == CHUNKS_IN_FLIGHT_MAX
                    && let Some(oldest) = waiting.pop_front()
                {
                    settle(oldest.await)?;
                }
                let chunk = v1::RestoreChunk { restore_id: self.id(), chunk: Some(chunk) };
                waiting.push_back(self.enqueue(Kind::RestoreChunk(chunk)).await?);
            }
            if ended {
                break;
            }
        }
        for proposal in waiting {
            settle(proposal.await)?;
        }
        Ok(())
    }

    /// Queues a proposal before it returns; waits while the queue is full.
    async fn enqueue(&self, kind: Kind) -> Result<Proposal, Error> {
        let command = v1::Command {
            cluster: Some(v1::ClusterChange { kind: Some(kind) }),
            ..v1::Command::default()
        };
        for _ in 0..QUEUE_ATTEMPTS_MAX {
            let mut proposal = (self.propose)(command.clone());
            // What refuses at once was not queued.
            match futures::poll!(&mut proposal) {
                Poll::Ready(Err(ProposeError::Busy)) => {
                    self.ports.clock.sleep(QUEUE_PAUSE).await;
                }
                Poll::Ready(done) => return Ok(std::future::ready(done).boxed()),
                Poll::Pending => return Ok(proposal),
            }
        }
        Err(Error::new(ErrorCode::Busy, "too many requests wait; nothing changed, try again"))
    }

    /// What was staged ends by itself after a while, too.
    async fn abort(&self) {
        let abort = v1::RestoreAbort { restore_id: self.id() };
        if let Err(error) = self.propose(Kind::RestoreAbort(abort)).await {
            tracing::info!(error = error.message, "a failed restore was not ended at once");
        }
    }
}

/// Where an answer was lost before the commit was proposed, it is known what became of the restore.
fn unless_unknown(error: Error) -> Error {
    match error.code {
        ErrorCode::OutcomeUnknown => unchanged("an answer of the quorum was lost"),
        _ => error,
    }
}

fn unchanged(why: &str) -> Error {
    Error::new(ErrorCode::Unavailable, format!("{why}; nothing was restored, try again"))
}

/// What became of one of a restore's entries.
fn settle(proposed: Result<Proposed, ProposeError>) -> Result<u64, Error> {
    match proposed {
        Ok(Proposed { outcome: Outcome::Applied { .. } | Outcome::Nothing, revision }) => {
            Ok(revision)
        }
        Ok(_) => Err(unchanged("the restore was given up, or another one began")),
        Err(ProposeError::NotLeader) => Err(unchanged("another node leads now")),
        Err(ProposeError::Busy) => Err(unchanged("too many requests wait")),
        Err(ProposeError::Full) => Err(disk_full("no node that could lead has room".into())),
        Err(ProposeError::Unknown) => Err(Error::new(
            ErrorCode::OutcomeUnknown,
            "the restore may or may not have taken place; look at the epoch (`conclave operator members`)",
        )),
        Err(error) => Err(Error::internal(error.to_string())),
    }
}

/// Cuts a backup's records anew: a chunk of a file may be longer than an entry.
struct Chunks {
    number: u64,
    digest: ChunkDigest,
    records: Vec<v1::SnapshotRecord>,
    bytes: usize,
}

impl Chunks {
    fn new() -> Self {
        Self { number: 0, digest: CHUNK_DIGEST_FIRST, records: Vec::new(), bytes: 0 }
    }

    /// The chunks that these records complete; all that is left where there are no more.
    fn push(&mut self, records: Option<Vec<v1::SnapshotRecord>>) -> Vec<v1::SnapshotChunk> {
        let mut complete = Vec::new();
        let ended = records.is_none();
        for record in records.unwrap_or_default() {
            let bytes = record.encoded_len();
            if !self.records.is_empty() && self.bytes + bytes > CHUNK_BYTES_MAX {
                complete.push(self.close());
            }
            self.bytes += bytes;
            self.records.push(record);
        }
        if ended && !self.records.is_empty() {
            complete.push(self.close());
        }
        complete
    }

    fn close(&mut self) -> v1::SnapshotChunk {
        let records = std::mem::take(&mut self.records);
        self.bytes = 0;
        self.digest = derive_chunk_digest(&self.digest, &records);
        let number = self.number;
        self.number += 1;
        v1::SnapshotChunk { number, records, digest: Bytes::copy_from_slice(&self.digest) }
    }
}

/// Whether the backup is this cluster's own.
fn check_own(backup: &Verified, running: &Running, core: &Core) -> Result<(), Error> {
    if backup.manifest.cluster_id != hex::encode(running.cluster_id) {
        return Err(not_own("it is of another cluster"));
    }
    let own = core.cluster_secret(conclave_core::BACKUP_PUBLIC_KEY)?;
    let own = own.as_deref().and_then(|key| PublicKey::from_bytes(key));
    if own != Some(backup.signed_by) {
        return Err(not_own("it was not signed by this cluster's key"));
    }
    Ok(())
}

fn not_own(why: &str) -> Error {
    Error::invalid(format!(
        "the backup was refused and nothing changed: {why}; look at it with `conclave operator snapshot inspect`, and use -force only where you know where it is from"
    ))
}

/// Pieces that fit into a peer message.
fn split(mut part: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(1);
    while part.len() > BATCH_BYTES {
        pieces.push(part.split_to(BATCH_BYTES));
    }
    pieces.push(part);
    pieces
}

/// Runs what waits for the disk where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("a task that reads or writes a backup panicked")))
}

fn from_backup(error: BackupError) -> Error {
    match error {
        BackupError::Io(error) => from_io(error),
        other => Error::invalid(format!("the backup was refused and nothing changed: {other}")),
    }
}

fn from_upload(error: io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::FileTooLarge => ErrorCode::TooLarge,
        _ => ErrorCode::InvalidRequest,
    };
    Error::new(code, format!("the backup did not arrive whole and nothing changed: {error}"))
}

fn from_io(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => disk_full(error.to_string()),
        _ => Error::internal(format!("a backup cannot be read or written: {error}")),
    }
}

fn disk_full(why: String) -> Error {
    Error::new(ErrorCode::DiskFull, format!("there is no room for the backup: {why}; free space"))
}

/// The cluster secret that holds the seed of the backup key.
pub(super) const BACKUP_SEED: &str = "backup-seed";
/// Of the path that takes another cluster's backup.
const FORCE_SUFFIX: &str = "-force";
/// Backups that are being read from this node at once.
const SAVES_MAX: usize = 4;
const CHUNKS_IN_FLIGHT_MAX: usize = 4;
const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Written to disk, or sent to a peer, at once.
const BATCH_BYTES: usize = 1 << 20;
/// What a backup leaves free for the log.
const SPARE_BYTES: u64 = 64 << 20;
const QUEUE_ATTEMPTS_MAX: u32 = 1000;
const QUEUE_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests;
