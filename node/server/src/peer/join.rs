//! How a node becomes a member: the cluster proves first that it knows the secret, then the node.
//!
//! ```text
//! joiner                                              member (TLS 1.3, both pins known)
//!   Hello { token id, nonce }            ──→
//!                                        ←──  Challenge { cluster proof, nonce }
//!   verifies, or stops here
//!   Join { token id, node proof, CSR, … } ──→  verifies, and that the CSR's key is the session's
//!                                        ←──  JoinReply { id, certificate, authority, members }
//! ```
//!
//! A joiner never sends a proof to someone who has not proven to know the secret, so a stranger
//! that answers on a member's old address learns nothing and gets no node.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_ports::Ports;
use conclave_proto::v1;
use conclave_proto::v1::join_client::JoinClient;
use conclave_proto::v1::join_server::Join;
use rustls::pki_types::CertificateDer;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use zeroize::Zeroizing;

use super::access::Caller;
use super::connect::{CONNECT_TIMEOUT, dial, single_channel};
use super::proof::{EXPORTER_BYTES, EXPORTER_LABEL, Nonce, Session};
use super::seal_answer::{SEAL_ANSWER_ID, into_reply};
use super::service::caller_of;
use super::token::TOKEN_ID_BYTES_MAX;
use super::{JoinRefusal, PeerHandler};
use crate::config::{Address, ApiAddr, NodeName};
use crate::tls::{CaCertificate, Expect, NodeIdentity, SpkiPin, request_pin};

/// A request to join whose sender proved to know the secret, over a connection with the key that
/// is to be signed. Only this module makes one.
pub struct VerifiedJoin {
    request: v1::JoinRequest,
    pin: SpkiPin,
}

impl VerifiedJoin {
    /// Names and addresses are well-formed, the CSR's signature is right.
    #[must_use]
    pub fn request(&self) -> &v1::JoinRequest {
        &self.request
    }

    /// Of the key in the CSR.
    #[must_use]
    pub fn pin(&self) -> SpkiPin {
        self.pin
    }
}

/// The member's side.
pub(super) struct JoinService {
    pub(super) handler: Arc<dyn PeerHandler>,
    pub(super) pin: SpkiPin,
    /// Nonces are derived under it: see [`Session::derive_cluster_nonce`].
    pub(super) process_key: [u8; 32],
}

#[tonic::async_trait]
impl Join for JoinService {
    async fn show_seal(
        &self,
        _request: Request<v1::ShowSealRequest>,
    ) -> Result<Response<v1::ShowSealReply>, Status> {
        let record = self.handler.show_seal().map_err(refusal_status)?;
        Ok(Response::new(into_reply(record)))
    }

    async fn hello(
        &self,
        request: Request<v1::JoinHello>,
    ) -> Result<Response<v1::JoinChallenge>, Status> {
        let session = self.session(&caller_of(&request)?);
        let hello = request.into_inner();
        let nonce = nonce_of(&hello.nonce)?;
        let secret = self.secret(&hello.token_id).await?;
        Ok(Response::new(v1::JoinChallenge {
            proof: session.cluster_proof(&secret, &nonce).to_vec().into(),
            nonce: self.cluster_nonce(&session, &hello.token_id, &nonce).to_vec().into(),
        }))
    }

    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinReply>, Status> {
        let caller = caller_of(&request)?;
        let request = request.into_inner();
        let session = self.session(&caller);
        let nonce = nonce_of(&request.nonce)?;
        if request.token_id == SEAL_ANSWER_ID && caller.seal_answered.swap(true, Ordering::Relaxed)
        {
            return Err(Status::unauthenticated(
                "this challenge was answered before; ask for a new one over a new connection",
            ));
        }
        let secret = self.secret(&request.token_id).await?;
        let cluster_nonce = self.cluster_nonce(&session, &request.token_id, &nonce);
        if !session.node_proof_is(&request.proof, &secret, &nonce, &cluster_nonce) {
            tracing::warn!(remote = %caller.remote, "a node that tried to join did not know the secret");
            return Err(Status::unauthenticated("the proof is wrong; check the join secret"));
        }
        check_request(&request, caller.pin)?;
        let join = VerifiedJoin { request, pin: caller.pin };
        self.handler.admit(join).await.map(Response::new).map_err(refusal_status)
    }
}

impl JoinService {
    fn session(&self, caller: &Caller) -> Session {
        Session { exporter: caller.exporter, cluster_pin: self.pin, joiner_pin: caller.pin }
    }

    fn cluster_nonce(&self, session: &Session, token_id: &[u8], joiner: &Nonce) -> Nonce {
        session.derive_cluster_nonce(&self.process_key, token_id, joiner)
    }

    async fn secret(&self, token_id: &[u8]) -> Result<Zeroizing<Vec<u8>>, Status> {
        if token_id.len() > TOKEN_ID_BYTES_MAX {
            return Err(refusal_status(JoinRefusal::UnknownToken));
        }
        self.handler.join_secret(token_id).await.map_err(refusal_status)
    }
}

/// After the proof: what a node that knows the secret may still get wrong.
fn check_request(request: &v1::JoinRequest, pin: SpkiPin) -> Result<(), Status> {
    let invalid = |what: &str| Err(Status::invalid_argument(what.to_owned()));
    if NodeName::parse(&request.name).is_none() {
        return invalid("the node's name is not valid; use letters, digits, `-`, `_` or `.`");
    }
    let reachable = Address::parse(&request.cluster_addr).filter(|addr| !addr.is_unspecified());
    if reachable.is_none() {
        return invalid("the node's cluster address is not host:port; set `cluster_addr`");
    }
    if ApiAddr::parse(&request.api_addr).is_none() {
        return invalid("the node's API address is not an https URL; set `api_addr`");
    }
    match request_pin(&request.csr) {
        Ok(csr_pin) if csr_pin == pin => Ok(()),
        Ok(_) => invalid("the certificate request is for another key than the connection's"),
        Err(error) => invalid(&error.to_string()),
    }
}

fn nonce_of(bytes: &[u8]) -> Result<Nonce, Status> {
    bytes.try_into().map_err(|_| Status::invalid_argument("a nonce has 32 bytes"))
}

fn refusal_status(refusal: JoinRefusal) -> Status {
    match refusal {
        JoinRefusal::NotLeader(leader) => {
            let mut metadata = MetadataMap::new();
            if let Some(Ok(address)) = leader.map(|address| address.parse()) {
                metadata.insert(LEADER_KEY, address);
            }
            let text = "this node does not lead; ask the leader";
            Status::with_metadata(Code::FailedPrecondition, text, metadata)
        }
        JoinRefusal::UnknownToken => {
            Status::unauthenticated("the join token is unknown, used or too old")
        }
        JoinRefusal::NotReady(reason) => Status::unavailable(reason),
        JoinRefusal::Refused(reason) => Status::permission_denied(reason),
    }
}

/// What a joining node says of itself, and whom it asks.
pub struct JoinParams {
    /// Its key, and where its certificate goes.
    pub identity: Arc<NodeIdentity>,
    /// For nonces and time limits.
    pub ports: Ports,
    /// Peer listeners to ask, in turn, as `host:port`.
    pub addresses: Vec<String>,
    /// Of the join token; [`SEAL_ANSWER_ID`] with the seal's answer, empty with the shared join
    /// secret.
    pub token_id: Vec<u8>,
    /// The token's or the shared one.
    pub secret: Zeroizing<Vec<u8>>,
    /// Its name.
    pub name: String,
    /// Its peer listener, as `host:port`.
    pub cluster_addr: String,
    /// The URL of its public listener.
    pub api_addr: String,
    /// Join as a learner that never votes.
    pub non_voter: bool,
}

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A join token cannot be read.
    #[error(
        "the join token is not usable: {0}; make a new one with `conclave operator join-token`"
    )]
    Token(&'static str),
    /// The join secret cannot be read.
    #[error(
        "the join secret in {path} is not usable ({reason}); it must hold at least 256 random bits in hex or base64"
    )]
    SecretFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No address was given.
    #[error("there is no address to join; give one, or set `retry_join`")]
    NoAddress,
    /// Nobody answered there.
    #[error("{address} cannot be reached ({reason}); check the address, and that its node runs")]
    Unreachable {
        /// Whom.
        address: String,
        /// Why.
        reason: String,
    },
    /// The other side did not prove that it knows the secret.
    #[error(
        "the node at {address} does not know this join secret; check that both have the same, and that the address is a member's"
    )]
    NotTheCluster {
        /// Whom.
        address: String,
    },
    /// The other side did not accept the secret or token.
    #[error(
        "the node at {address} did not accept this node ({reason}); make a new join token, or check the join secret"
    )]
    NotAccepted {
        /// Whom.
        address: String,
        /// In its words.
        reason: String,
    },
    /// The other side will not let this node in.
    #[error("the node at {address} refused this node: {reason}")]
    Refused {
        /// Whom.
        address: String,
        /// In its words.
        reason: String,
    },
    /// The other side cannot let this node in now.
    #[error("the node at {address} cannot admit anyone now ({reason}); try again")]
    NotReady {
        /// Whom.
        address: String,
        /// In its words.
        reason: String,
    },
    /// The leader could not be found.
    #[error("{address} does not lead, and no leader was found; try again once one is elected")]
    NoLeader {
        /// The last one asked.
        address: String,
    },
    /// What the cluster answered cannot be right.
    #[error(
        "the node at {address} sent an answer that cannot be used ({reason}); check that it runs the same version"
    )]
    BadAnswer {
        /// Whom.
        address: String,
        /// Why.
        reason: String,
    },
    /// This node's own key failed.
    #[error(
        "this node's certificate request could not be made ({0}); check the files in its `tls` directory"
    )]
    OwnKey(String),
}

/// Joins: asks each address in turn, follows each to the leader, and checks the answer. The caller
/// keeps it, starts Raft with it and installs the certificate.
///
/// # Errors
/// The first [`JoinError`] that trying again elsewhere cannot mend, or else the last one.
pub async fn join(params: &JoinParams) -> Result<v1::JoinReply, JoinError> {
    let mut last = JoinError::NoAddress;
    for address in &params.addresses {
        match join_through(params, address).await {
            Ok(reply) => return Ok(reply),
            Err(error @ (JoinError::OwnKey(_) | JoinError::Refused { .. })) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// One address, and the leaders it and its successors name.
async fn join_through(params: &JoinParams, address: &str) -> Result<v1::JoinReply, JoinError> {
    let mut address = address.to_owned();
    for _hop in 0..=HOPS_MAX {
        match Attempt::connect(params, &address).await?.run().await? {
            Answer::Joined(reply) => return Ok(*reply),
            Answer::AskLeader(leader) => address = leader,
        }
    }
    Err(JoinError::NoLeader { address })
}

enum Answer {
    Joined(Box<v1::JoinReply>),
    AskLeader(String),
}

/// The handshake with one node, over one TLS session.
struct Attempt<'a> {
    params: &'a JoinParams,
    address: &'a str,
    session: Session,
    client: JoinClient<Channel>,
}

impl<'a> Attempt<'a> {
    async fn connect(params: &'a JoinParams, address: &'a str) -> Result<Self, JoinError> {
        let unreachable =
            |reason: String| JoinError::Unreachable { address: address.to_owned(), reason };
        let identity = Arc::clone(&params.identity);
        let dialled = dial(identity, address.to_owned(), Expect::AnyoneWhoProvesLater);
        let connection = params
            .ports
            .within(CONNECT_TIMEOUT * 3, dialled)
            .await
            .map_err(|_| unreachable("no answer in time".to_owned()))?
            .map_err(|error| unreachable(error.to_string()))?;
        let session = session_of(connection.get_ref().1, params.identity.pin())
            .ok_or_else(|| unreachable("it shows no certificate".to_owned()))?;
        let client = JoinClient::new(single_channel(connection));
        Ok(Self { params, address, session, client })
    }

    async fn run(mut self) -> Result<Answer, JoinError> {
        let nonce: Nonce = self.params.ports.random();
        let challenge = match self.hello(&nonce).await {
            Ok(challenge) => challenge,
            Err(status) => return self.other_than_joined(&status),
        };
        let cluster_nonce = self.verify(&challenge, &nonce)?;
        match self.prove(&nonce, &cluster_nonce).await? {
            Ok(reply) => self.check_reply(reply).map(|reply| Answer::Joined(Box::new(reply))),
            Err(status) => self.other_than_joined(&status),
        }
    }

    async fn hello(&mut self, nonce: &Nonce) -> Result<v1::JoinChallenge, Status> {
        let hello = v1::JoinHello {
            token_id: self.params.token_id.clone().into(),
            nonce: nonce.to_vec().into(),
        };
        let answer = self.params.ports.within(HELLO_LIMIT, self.client.hello(hello)).await;
        answer.map_err(|_| overdue())?.map(Response::into_inner)
    }

    /// Nothing more is said to a node that does not know the secret.
    fn verify(&self, challenge: &v1::JoinChallenge, nonce: &Nonce) -> Result<Nonce, JoinError> {
        let known = self.session.cluster_proof_is(&challenge.proof, &self.params.secret, nonce);
        match challenge.nonce.as_ref().try_into() {
            Ok(cluster_nonce) if known => Ok(cluster_nonce),
            _ => Err(JoinError::NotTheCluster { address: self.address.to_owned() }),
        }
    }

    async fn prove(
        &mut self,
        nonce: &Nonce,
        cluster_nonce: &Nonce,
    ) -> Result<Result<v1::JoinReply, Status>, JoinError> {
        let params = self.params;
        let csr = params
            .identity
            .make_csr(&params.name)
            .map_err(|error| JoinError::OwnKey(error.to_string()))?;
        let proof = self.session.node_proof(&params.secret, nonce, cluster_nonce);
        let request = v1::JoinRequest {
            token_id: params.token_id.clone().into(),
            proof: proof.to_vec().into(),
            nonce: nonce.to_vec().into(),
            name: params.name.clone(),
            cluster_addr: params.cluster_addr.clone(),
            api_addr: params.api_addr.clone(),
            csr: csr.into(),
            non_voter: params.non_voter,
        };
        let answer = params.ports.within(JOIN_LIMIT, self.client.join(request)).await;
        Ok(answer.unwrap_or_else(|_| Err(overdue())).map(Response::into_inner))
    }

    /// The certificate must be for this node's key and id, signed by the authority beside it.
    fn check_reply(&self, reply: v1::JoinReply) -> Result<v1::JoinReply, JoinError> {
        let bad =
            |reason: String| JoinError::BadAnswer { address: self.address.to_owned(), reason };
        let certificate = CertificateDer::from(reply.certificate.to_vec());
        let authority =
            CaCertificate::from_der(&reply.ca_certificate).map_err(|e| bad(e.to_string()))?;
        let signed_for = authority.node_id_of(&certificate).map_err(|e| bad(e.to_string()))?;
        let pin = SpkiPin::of_certificate(&certificate).map_err(|e| bad(e.to_string()))?;
        if signed_for != reply.node_id || pin != self.params.identity.pin() {
            return Err(bad("its certificate is another node's".to_owned()));
        }
        Ok(reply)
    }

    fn other_than_joined(&self, status: &Status) -> Result<Answer, JoinError> {
        let address = self.address.to_owned();
        let reason = status.message().to_owned();
        match status.code() {
            Code::FailedPrecondition => {
                let leader = status.metadata().get(LEADER_KEY).and_then(|v| v.to_str().ok());
                match leader.and_then(Address::parse) {
                    Some(leader) => Ok(Answer::AskLeader(leader.to_string())),
                    None => Err(JoinError::NoLeader { address }),
                }
            }
            Code::Unauthenticated => Err(JoinError::NotAccepted { address, reason }),
            Code::PermissionDenied | Code::InvalidArgument => {
                Err(JoinError::Refused { address, reason })
            }
            Code::Unavailable => Err(JoinError::NotReady { address, reason }),
            _ => Err(JoinError::Unreachable { address, reason }),
        }
    }
}

fn session_of(tls: &rustls::ClientConnection, joiner_pin: SpkiPin) -> Option<Session> {
    let certificate = tls.peer_certificates()?.first()?;
    let exporter = tls.export_keying_material([0; EXPORTER_BYTES], EXPORTER_LABEL, None).ok()?;
    Some(Session { exporter, cluster_pin: SpkiPin::of_certificate(certificate).ok()?, joiner_pin })
}

fn overdue() -> Status {
    Status::deadline_exceeded("no answer in time")
}

/// Metadata of a refusal: the leader's peer listener, as `host:port`.
const LEADER_KEY: &str = "conclave-leader";
const HOPS_MAX: usize = 3;
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// Allocating an id and changing the membership take two commits and a catch-up.
const JOIN_LIMIT: Duration = Duration::from_secs(30);
