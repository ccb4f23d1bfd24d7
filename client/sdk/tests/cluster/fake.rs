//! Three in-process nodes that share one state and misbehave on request.
//!
//! They keep the contract that matters to a client: a request id is executed once, a number below
//! the low-water mark is forgotten, and an unknown session is refused.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use conclave_proto::ErrorCode;
use conclave_proto::v1::kv_server::{Kv, KvServer};
use conclave_proto::v1::operator_server::{Operator, OperatorServer};
use conclave_proto::v1::restore_snapshot_part::Part;
use conclave_proto::v1::session_server::{Session, SessionServer};
use conclave_proto::v1::*;
use conclave_sdk::{Client, Config};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

/// What a node does to a request instead of just answering it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Executes it and loses the answer.
    LoseReply,
    /// Does not execute it and loses it.
    LoseRequest,
    /// Answers with this error and executes nothing.
    Answer(ErrorCode),
    /// Forgets all sessions, then goes on.
    ForgetSessions,
    /// Executes it, forgets all sessions, and loses the answer.
    LoseReplyAndSessions,
    /// Never answers.
    Hang,
}

/// What all nodes share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) secrets: BTreeMap<String, (u64, bytes::Bytes)>,
    pub(crate) sessions: BTreeMap<Vec<u8>, BTreeMap<u64, Result<KvPutResponse, ErrorCode>>>,
    pub(crate) sessions_opened: u64,
    /// Executed writes, replays not counted.
    pub(crate) executed: u64,
    /// (node, what) of each request, discovery left out.
    pub(crate) calls: Vec<(usize, &'static str)>,
    pub(crate) tags: Vec<RequestTag>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) leader: Option<usize>,
    pub(crate) term: u64,
    pub(crate) addresses: Vec<String>,
    /// Applied to writes, whichever node gets them.
    pub(crate) write_faults: VecDeque<Fault>,
    /// A node's answer to everything.
    pub(crate) node_faults: BTreeMap<usize, Fault>,
    pub(crate) session_ttl_ms: u64,
    /// Loses one in this many replies, if not 0.
    pub(crate) lose_every: u64,
    pub(crate) writes_seen: u64,
    /// What is saved, and what a restore left.
    pub(crate) backup: Vec<u8>,
    /// Ends a save after its first piece.
    pub(crate) break_backups: bool,
    /// What members and backups were asked, in words.
    pub(crate) told: Vec<String>,
}

/// The nodes, and how to reach them.
pub(crate) struct Nodes {
    pub(crate) shared: Arc<Mutex<Shared>>,
    ca_pem: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Nodes {
    pub(crate) async fn start(count: usize) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let shared = Arc::new(Mutex::new(Shared {
            leader: Some(0),
            term: 1,
            session_ttl_ms: 60_000,
            ..Shared::default()
        }));
        let mut tasks = Vec::new();
        for number in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            shared.lock().expect("sound").addresses.push(format!("https://127.0.0.1:{port}"));
            let node = Node { number, shared: shared.clone() };
            tasks.push(tokio::spawn(serve(node, listener, acceptor(&certificate, &key))));
        }
        Self { shared, ca_pem: certificate.pem(), tasks }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no test panics while it holds the lock")
    }

    pub(crate) fn config(&self) -> Config {
        let first = self.lock().addresses[0].clone();
        Config::new([first]).with_ca_pem(self.ca_pem.clone()).with_token("hvs.test")
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.config()).await.expect("a valid configuration")
    }

    /// Ends a node: its connections break, new ones are refused.
    pub(crate) async fn stop(&mut self, number: usize) {
        self.tasks[number].abort();
        while !self.tasks[number].is_finished() {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn fault(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().write_faults.extend(faults);
    }
}

fn acceptor(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .expect("the key belongs to the certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(node: Node, listener: TcpListener, acceptor: TlsAcceptor) {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let incoming = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let accept = async move {
        loop {
            let Ok((tcp, _)) = listener.accept().await else { return };
            if let Ok(tls) = acceptor.accept(tcp).await
                && sender.send(Ok::<_, std::io::Error>(Io(tls))).await.is_err()
            {
                return;
            }
        }
    };
    let router = tonic::transport::Server::builder()
        .add_service(KvServer::new(node.clone()))
        .add_service(SessionServer::new(node.clone()))
        .add_service(OperatorServer::new(node));
    // Both end with the task that `stop` aborts; connections that tonic began live on, so each
    // request looks the node's fault up.
    tokio::select! {
        () = accept => {}
        _ = router.serve_with_incoming(incoming) => {}
    }
}

#[derive(Clone)]
struct Node {
    number: usize,
    shared: Arc<Mutex<Shared>>,
}

impl Node {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no node panics while it holds the lock")
    }

    /// What this node does to everything.
    async fn enter(&self, what: &'static str) -> Result<(), Status> {
        let fault = {
            let mut shared = self.lock();
            if what != "status" {
                shared.calls.push((self.number, what));
            }
            shared.node_faults.get(&self.number).copied()
        };
        match fault {
            None => Ok(()),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Answer(code)) if what != "status" => Err(refusal(code)),
            Some(Fault::Answer(_)) => Ok(()),
            Some(_) => Err(Status::unavailable("connection lost")),
        }
    }
}

impl Shared {
    /// Executes a put, or repeats its answer.
    fn execute(&mut self, message: &KvPutRequest) -> Result<KvPutResponse, Status> {
        let Some(tag) = &message.request_id else { return self.put(message).map_err(refusal) };
        self.tags.push(tag.clone());
        let Some(answers) = self.sessions.get_mut(&tag.session.to_vec()) else {
            return Err(refusal(ErrorCode::SessionUnknown));
        };
        answers.retain(|sequence, _| *sequence >= tag.low_water);
        if let Some(answer) = answers.get(&tag.sequence) {
            return answer.clone().map_err(refusal);
        }
        let answer = self.put(message);
        let answers = self.sessions.get_mut(&tag.session.to_vec()).expect("it was just there");
        answers.insert(tag.sequence, answer.clone());
        answer.map_err(refusal)
    }

    fn put(&mut self, message: &KvPutRequest) -> Result<KvPutResponse, ErrorCode> {
        let current = self.secrets.get(&message.path).map_or(0, |(version, _)| *version);
        if message.cas.is_some_and(|cas| cas != current) {
            return Err(ErrorCode::CasMismatch);
        }
        self.executed += 1;
        self.secrets.insert(message.path.clone(), (current + 1, message.data.clone()));
        Ok(KvPutResponse { version: current + 1, revision: self.executed, ..Default::default() })
    }

    fn next_write_fault(&mut self) -> Option<Fault> {
        self.writes_seen += 1;
        if self.lose_every != 0 && self.writes_seen.is_multiple_of(self.lose_every) {
            return Some(if self.writes_seen.is_multiple_of(2 * self.lose_every) {
                Fault::LoseRequest
            } else {
                Fault::LoseReply
            });
        }
        self.write_faults.pop_front()
    }
}

fn refusal(code: ErrorCode) -> Status {
    let mut status = Status::new(code.grpc_code(), format!("{code:?}"));
    let number = (code as u32).to_string().parse().expect("digits");
    status.metadata_mut().insert("conclave-error", number);
    status
}

fn lost() -> Status {
    Status::unavailable("connection lost")
}

#[tonic::async_trait]
impl Kv for Node {
    async fn put(&self, request: Request<KvPutRequest>) -> Result<Response<KvPutResponse>, Status> {
        self.enter("put").await?;
        for key in ["authorization", "x-vault-namespace", "grpc-timeout"] {
            if let Some(value) = request.metadata().get(key) {
                let value = value.to_str().unwrap_or("?").to_owned();
                self.lock().headers.push((key.to_owned(), value));
            }
        }
        let fault = self.lock().next_write_fault();
        if fault == Some(Fault::Hang) {
            return std::future::pending().await;
        }
        let mut shared = self.lock();
        match fault {
            Some(Fault::LoseRequest) => return Err(lost()),
            Some(Fault::Answer(code)) => return Err(refusal(code)),
            Some(Fault::ForgetSessions) => shared.sessions.clear(),
            _ => {}
        }
        let answer = shared.execute(request.get_ref());
        match fault {
            Some(Fault::LoseReply) => return Err(lost()),
            Some(Fault::LoseReplyAndSessions) => {
                shared.sessions.clear();
                return Err(lost());
            }
            _ => {}
        }
        answer.map(Response::new)
    }

    async fn get(&self, request: Request<KvGetRequest>) -> Result<Response<KvGetResponse>, Status> {
        self.enter("get").await?;
        let shared = self.lock();
        let (version, data) = shared
            .secrets
            .get(&request.get_ref().path)
            .cloned()
            .ok_or_else(|| refusal(ErrorCode::NotFound))?;
        Ok(Response::new(KvGetResponse { data, version, ..Default::default() }))
    }

    async fn list(
        &self,
        request: Request<KvListRequest>,
    ) -> Result<Response<KvListResponse>, Status> {
        self.enter("list").await?;
        let KvListRequest { after, limit, .. } = request.into_inner();
        let shared = self.lock();
        let behind = shared.secrets.keys().filter(|key| **key > after).cloned();
        let keys = behind.take(limit as usize).collect();
        Ok(Response::new(KvListResponse { keys, revision: 1 }))
    }

    async fn delete(
        &self,
        request: Request<KvDeleteRequest>,
    ) -> Result<Response<KvDeleteResponse>, Status> {
        self.enter("delete").await?;
        self.lock().secrets.remove(&request.get_ref().path);
        Ok(Response::new(KvDeleteResponse { revision: 1 }))
    }
}

#[tonic::async_trait]
impl Session for Node {
    async fn open(
        &self,
        _: Request<SessionOpenRequest>,
    ) -> Result<Response<SessionOpenResponse>, Status> {
        self.enter("open").await?;
        let mut shared = self.lock();
        shared.sessions_opened += 1;
        let session = format!("s{}", shared.sessions_opened).into_bytes();
        shared.sessions.insert(session.clone(), BTreeMap::new());
        let ttl_ms = shared.session_ttl_ms;
        Ok(Response::new(SessionOpenResponse { session: session.into(), ttl_ms }))
    }

    async fn close(
        &self,
        request: Request<SessionCloseRequest>,
    ) -> Result<Response<SessionCloseResponse>, Status> {
        self.enter("close").await?;
        self.lock().sessions.remove(&request.get_ref().session.to_vec());
        Ok(Response::new(SessionCloseResponse {}))
    }
}

#[tonic::async_trait]
impl Operator for Node {
    type SaveSnapshotStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<SnapshotBytes, Status>> + Send>>;

    async fn join_cluster(
        &self,
        request: Request<JoinClusterRequest>,
    ) -> Result<Response<JoinClusterResponse>, Status> {
        self.enter("join").await?;
        self.lock().told.push(request.into_inner().join_token);
        Ok(Response::new(JoinClusterResponse {}))
    }

    async fn promote_member(
        &self,
        request: Request<PromoteMemberRequest>,
    ) -> Result<Response<PromoteMemberResponse>, Status> {
        self.enter("promote").await?;
        self.lock().told.push(request.into_inner().server_id);
        Ok(Response::new(PromoteMemberResponse {}))
    }

    async fn demote_member(
        &self,
        request: Request<DemoteMemberRequest>,
    ) -> Result<Response<DemoteMemberResponse>, Status> {
        self.enter("demote").await?;
        self.lock().told.push(request.into_inner().server_id);
        Ok(Response::new(DemoteMemberResponse {}))
    }

    async fn save_snapshot(
        &self,
        _: Request<SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        self.enter("save").await?;
        let shared = self.lock();
        let piece = |data: &[u8]| Ok(SnapshotBytes { data: data.to_vec().into() });
        let mut pieces: Vec<_> = shared.backup.chunks(1000).map(piece).collect();
        if shared.break_backups {
            pieces.truncate(1);
            pieces.push(Err(refusal(ErrorCode::Internal)));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn restore_snapshot(
        &self,
        request: Request<tonic::Streaming<RestoreSnapshotPart>>,
    ) -> Result<Response<RestoreSnapshotResponse>, Status> {
        self.enter("restore").await?;
        if self.lock().next_write_fault().is_some() {
            return Err(refusal(ErrorCode::NoLeader));
        }
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|message| message.part);
        let Some(Part::Start(start)) = first else { return Err(refusal(ErrorCode::Internal)) };
        let mut backup = Vec::new();
        while let Some(RestoreSnapshotPart { part: Some(Part::Data(data)) }) =
            parts.message().await?
        {
            backup.extend_from_slice(&data);
        }
        let mut shared = self.lock();
        shared.backup = backup;
        shared.told.push(format!("restore {}", start.force));
        Ok(Response::new(RestoreSnapshotResponse { revision: 9, epoch: 2 }))
    }

    async fn status(
        &self,
        _: Request<NodeStatusRequest>,
    ) -> Result<Response<NodeStatusResponse>, Status> {
        self.enter("status").await?;
        let shared = self.lock();
        let leader_api_addr = shared.leader.map(|leader| shared.addresses[leader].clone());
        Ok(Response::new(NodeStatusResponse {
            initialized: true,
            node_id: self.number as u64 + 1,
            leader_id: shared.leader.map_or(0, |leader| leader as u64 + 1),
            leader_api_addr: leader_api_addr.unwrap_or_default(),
            term: shared.term,
            member_api_addrs: shared.addresses.clone(),
            ..Default::default()
        }))
    }

    async fn init(&self, _: Request<InitRequest>) -> Result<Response<InitResponse>, Status> {
        self.enter("init").await?;
        self.lock().executed += 1;
        Err(lost())
    }

    async fn unseal(
        &self,
        _: Request<UnsealRequest>,
    ) -> Result<Response<NodeStatusResponse>, Status> {
        self.enter("unseal").await?;
        Ok(Response::new(NodeStatusResponse::default()))
    }

    async fn seal(&self, _: Request<SealRequest>) -> Result<Response<SealResponse>, Status> {
        self.enter("seal").await?;
        Ok(Response::new(SealResponse {}))
    }

    async fn members(
        &self,
        _: Request<MembersRequest>,
    ) -> Result<Response<MembersResponse>, Status> {
        self.enter("members").await?;
        Ok(Response::new(MembersResponse::default()))
    }

    async fn create_join_token(
        &self,
        _: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<CreateJoinTokenResponse>, Status> {
        self.enter("create_join_token").await?;
        Ok(Response::new(CreateJoinTokenResponse::default()))
    }

    async fn remove_member(
        &self,
        _: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        self.enter("remove_member").await?;
        Ok(Response::new(RemoveMemberResponse {}))
    }

    async fn step_down(
        &self,
        _: Request<StepDownRequest>,
    ) -> Result<Response<StepDownResponse>, Status> {
        self.enter("step_down").await?;
        Ok(Response::new(StepDownResponse {}))
    }
}

/// A TLS stream as tonic's server takes it.
struct Io(TlsStream<TcpStream>);

impl Connected for Io {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
