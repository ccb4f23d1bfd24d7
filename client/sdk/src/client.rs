//! The client itself: one loop that every call goes through.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conclave_proto::ErrorCode;
use conclave_proto::v1::session_client::SessionClient;
use conclave_proto::v1::{RequestTag, SessionCloseRequest, SessionOpenRequest};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::address::Address;
use crate::cluster::{Cluster, Route};
use crate::config::{Config, ReadPreference, RetryLimits, Timeouts, Token};
use crate::error::Error;
use crate::kv::Kv;
use crate::logical::Logical;
use crate::operator::Operator;
use crate::retry::{Failure, Progress, Replay, Verdict, xorshift};
use crate::runtime;
use crate::session::{Next, Sessions, Ticket};

/// A client of one cluster. Clones share connections, session and knowledge of the leader.
///
/// ```no_run
/// # async fn example() -> Result<(), conclave_sdk::Error> {
/// use conclave_sdk::{Client, Config};
///
/// let config = Config::new(["https://10.0.0.1:8200", "https://10.0.0.2:8200"])
///     .with_ca_file("/etc/conclave/ca.pem")
///     .with_token(std::env::var("CONCLAVE_TOKEN").unwrap_or_default());
/// let client = Client::connect(config).await?;
///
/// let kv = client.kv("secret");
/// let written = kv.put("app/database", serde_json::json!({"password": "s3cr3t"}), None).await?;
/// let secret = kv.get("app/database", None).await?.expect("it was just written");
/// assert_eq!(secret.version, written.version);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) cluster: Arc<Cluster>,
    identity: Identity,
    timeouts: Timeouts,
    retry: RetryLimits,
    read_preference: ReadPreference,
    sessions: Option<Sessions>,
    seed: AtomicU64,
}

/// What every request carries.
#[derive(Clone)]
struct Identity {
    authorization: Option<MetadataValue<Ascii>>,
    namespace: String,
    namespace_header: Option<MetadataValue<Ascii>>,
}

impl Client {
    /// Makes a client, and asks the given nodes for leader and members if `config.discover` is
    /// set. Nodes that do not answer are no error: each connection is made when it is needed, and
    /// made again after a loss. Must be called inside a tokio runtime.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let identity = Identity::new(config.token.as_ref(), &config.namespace)?;
        let cluster = Arc::new(Cluster::new(&config)?);
        if config.discover {
            cluster.refresh().await;
            cluster.follow();
        }
        let sessions = (config.request_ids && config.token.is_some()).then(Sessions::new);
        let shared = Shared {
            cluster,
            identity,
            timeouts: config.timeouts,
            retry: config.retry,
            read_preference: config.read_preference,
            sessions,
            seed: AtomicU64::new(runtime::make_seed()),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The same cluster and connections, with another token. Request ids belong to a token, so the
    /// new client has a session of its own.
    pub fn with_token(&self, token: &Token) -> Result<Self, Error> {
        let shared = &self.shared;
        let seed = xorshift(shared.seed.load(Ordering::Relaxed));
        let shared = Shared {
            cluster: shared.cluster.clone(),
            identity: Identity::new(Some(token), &shared.identity.namespace)?,
            timeouts: shared.timeouts,
            retry: shared.retry,
            read_preference: shared.read_preference,
            sessions: shared.sessions.as_ref().map(|_| Sessions::new()),
            seed: AtomicU64::new(seed),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The same for what takes as long as it must: only a refusal or a lost connection ends it.
    pub(crate) fn patient(&self) -> Self {
        let shared = &self.shared;
        let seed = xorshift(shared.seed.load(Ordering::Relaxed));
        let timeouts = Timeouts { attempt: PATIENCE, request: PATIENCE, ..shared.timeouts };
        let shared = Shared {
            cluster: shared.cluster.clone(),
            identity: shared.identity.clone(),
            timeouts,
            retry: shared.retry,
            read_preference: shared.read_preference,
            sessions: None,
            seed: AtomicU64::new(seed),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Versioned secrets at the mount with this path.
    pub fn kv(&self, mount: impl Into<String>) -> Kv {
        Kv::new(self.clone(), mount.into())
    }

    /// Any operation on any path.
    pub fn logical(&self) -> Logical {
        Logical::new(self.clone())
    }

    /// The cluster's and its nodes' own affairs.
    pub fn operator(&self) -> Operator {
        Operator::new(self.clone())
    }

    /// The addresses in use now.
    pub fn addresses(&self) -> Vec<Address> {
        self.shared.cluster.addresses().0
    }

    /// The leader's address, where it is known.
    pub fn leader(&self) -> Option<Address> {
        self.shared.cluster.addresses().1
    }

    /// Asks the nodes for leader and members now.
    pub async fn refresh(&self) {
        self.shared.cluster.refresh().await;
    }

    /// Tells the cluster that this client's session is over, so that it need not remember answers
    /// until the session's time ends. A later write opens a new one.
    pub async fn close(&self) -> Result<(), Error> {
        let Some(session) = self.shared.sessions.as_ref().and_then(Sessions::take) else {
            return Ok(());
        };
        self.call(Route::Leader, Replay::Free, |channel| {
            let request = self.request(SessionCloseRequest { session: session.clone() });
            async move { SessionClient::new(channel).close(request).await }
        })
        .await?;
        Ok(())
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.shared.identity.namespace
    }

    pub(crate) fn read_route(&self) -> Route {
        match self.shared.read_preference {
            ReadPreference::Leader => Route::Leader,
            ReadPreference::Any => Route::Any,
        }
    }

    /// A gRPC request with token, namespace and time limit.
    pub(crate) fn request<M>(&self, message: M) -> Request<M> {
        let Shared { identity, timeouts, .. } = &*self.shared;
        let mut request = Request::new(message);
        request.set_timeout(timeouts.attempt);
        if let Some(authorization) = &identity.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        if let Some(namespace) = &identity.namespace_header {
            request.metadata_mut().insert(NAMESPACE_METADATA, namespace.clone());
        }
        request
    }

    /// A read.
    pub(crate) async fn read<T, F, A>(&self, attempt: F) -> Result<T, Error>
    where
        F: Fn(Channel) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        self.call(self.read_route(), Replay::Free, attempt).await
    }

    /// A write: with a request id wherever the client uses them.
    pub(crate) async fn write<T, F, A>(&self, attempt: F) -> Result<T, Error>
    where
        F: Fn(Channel, Option<RequestTag>) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let Some(sessions) = &self.shared.sessions else {
            return self.call(Route::Leader, Replay::Once, |channel| attempt(channel, None)).await;
        };
        let mut progress = self.progress(&Route::Leader, Replay::Tagged);
        loop {
            let ticket = self.ticket(sessions, &progress).await?;
            let tagged = |channel| attempt(channel, Some(ticket.tag()));
            match self.drive(&Route::Leader, &mut progress, tagged).await {
                Ok(answer) => return Ok(answer),
                Err(End::SessionUnknown) => sessions.forget(&ticket),
                Err(End::Failed(error)) => {
                    // The session itself may be what is wrong.
                    if matches!(error, Error::OutcomeUnknown { .. }) {
                        sessions.forget(&ticket);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// A request without an id.
    pub(crate) async fn call<T, F, A>(
        &self,
        route: Route,
        replay: Replay,
        attempt: F,
    ) -> Result<T, Error>
    where
        F: Fn(Channel) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let mut progress = self.progress(&route, replay);
        match self.drive(&route, &mut progress, attempt).await {
            Ok(answer) => Ok(answer),
            Err(End::Failed(error)) => Err(error),
            Err(End::SessionUnknown) => unreachable!("only tagged requests have a session"),
        }
    }

    /// Sends a request until it is answered, refused, or no longer safe or timely to send.
    async fn drive<T, F, A>(
        &self,
        route: &Route,
        progress: &mut Progress,
        attempt: F,
    ) -> Result<T, End>
    where
        F: Fn(Channel) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let cluster = &self.shared.cluster;
        loop {
            let now = runtime::now();
            let choice = cluster.choose(route, now).map_err(End::Failed)?;
            let limit = self.shared.timeouts.attempt.min(progress.time_left(now));
            let failure = match runtime::within(limit, attempt(choice.channel)).await {
                Some(Ok(answer)) => {
                    cluster.succeeded(&choice.address);
                    return Ok(answer.into_inner());
                }
                Some(Err(status)) => Failure::from(status),
                None => Failure::timed_out(limit),
            };
            let now = runtime::now();
            cluster.failed(&choice.address, &failure, now);
            match progress.after(&failure, cluster.node_count(), now) {
                Verdict::Again(pause) => runtime::sleep(pause).await,
                Verdict::NewSession => return Err(End::SessionUnknown),
                Verdict::Stop(error) => return Err(End::Failed(error)),
            }
        }
    }

    fn progress(&self, route: &Route, replay: Replay) -> Progress {
        let deadline = runtime::now() + self.shared.timeouts.request;
        let seed = self.shared.seed.fetch_add(SEED_STEP, Ordering::Relaxed);
        Progress::new(replay, self.limits(route), deadline, seed)
    }

    /// One node that was named by the caller is asked a few times only.
    fn limits(&self, route: &Route) -> RetryLimits {
        let mut limits = self.shared.retry;
        if let Route::Node(_) = route {
            limits.attempts_max = limits.attempts_max.min(NODE_ATTEMPTS_MAX);
        }
        limits
    }

    /// The next number in the session, which is opened where there is none.
    async fn ticket(&self, sessions: &Sessions, progress: &Progress) -> Result<Ticket, Error> {
        loop {
            match sessions.next(runtime::now()) {
                Next::Number(ticket) => return Ok(ticket),
                Next::Open => return self.open_session(sessions).await,
                Next::Wait if progress.time_left(runtime::now()).is_zero() => {
                    let message = "an older request of this client holds up the others".into();
                    return Err(Error::Refused { code: ErrorCode::Busy, message });
                }
                Next::Wait => runtime::sleep(WINDOW_PAUSE).await,
            }
        }
    }

    /// Opens a session, unless another request just did.
    async fn open_session(&self, sessions: &Sessions) -> Result<Ticket, Error> {
        let _opening = sessions.opening.acquire().await.expect("the semaphore is never closed");
        if let Next::Number(ticket) = sessions.next(runtime::now()) {
            return Ok(ticket);
        }
        // Short, because a client that goes away leaves it to the cluster, which bounds how many a
        // token may have; yet far longer than any request.
        let ttl = (self.shared.timeouts.request * 4).clamp(SESSION_TTL, SESSION_TTL_MAX);
        let ttl_ms = ttl.as_millis() as u64;
        let asked = runtime::now();
        // A session that is opened twice, because an answer was lost, ends unused by itself.
        let opened = self
            .call(Route::Leader, Replay::Free, |channel| {
                let request = self.request(SessionOpenRequest { ttl_ms });
                async move { SessionClient::new(channel).open(request).await }
            })
            .await?;
        Ok(sessions.install(opened, asked))
    }
}

/// Why [`Client::drive`] did not bring an answer.
enum End {
    SessionUnknown,
    Failed(Error),
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Identity {
    fn new(token: Option<&Token>, namespace: &str) -> Result<Self, Error> {
        let authorization = token.map(bearer).transpose()?;
        let namespace_header = (!namespace.is_empty())
            .then(|| MetadataValue::try_from(namespace))
            .transpose()
            .map_err(|_| Error::Config {
                message: "the namespace has characters that cannot be sent; correct it".into(),
            })?;
        Ok(Self { authorization, namespace: namespace.to_owned(), namespace_header })
    }
}

fn bearer(token: &Token) -> Result<MetadataValue<Ascii>, Error> {
    let mut value =
        MetadataValue::try_from(format!("Bearer {}", token.expose().trim())).map_err(|_| {
            Error::Config {
                message: "the token has characters that no token has; copy it again".into(),
            }
        })?;
    // Keeps it out of header compression tables and of tonic's own debug output.
    value.set_sensitive(true);
    Ok(value)
}

/// Where the typed services find the namespace.
const NAMESPACE_METADATA: &str = "x-vault-namespace";
/// The life that is asked for a session. Requests take new numbers during its first half.
const SESSION_TTL: Duration = Duration::from_secs(120);
/// Nodes refuse a longer one.
const SESSION_TTL_MAX: Duration = Duration::from_secs(3600);
/// Between two looks whether an older request has ended.
const WINDOW_PAUSE: Duration = Duration::from_millis(5);
/// How long a backup may take on its way.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// Attempts at a node that the caller named.
const NODE_ATTEMPTS_MAX: u32 = 3;
/// An odd number whose multiples differ in all their bits.
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;
