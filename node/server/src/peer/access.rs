//! Who may say what on the peer port.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use tonic::Status;

use super::PeerDirectory;
use super::proof::{EXPORTER_BYTES, EXPORTER_LABEL};
use crate::tls::{NodeIdentity, SpkiPin, TlsError};

/// What is known of a connection, the same for all its requests.
#[derive(Clone)]
pub(super) struct Caller {
    /// The key that the caller proved to hold.
    pub(super) pin: SpkiPin,
    /// Names this TLS session; the same bytes at the other end.
    pub(super) exporter: [u8; EXPORTER_BYTES],
    /// For the log.
    pub(super) remote: SocketAddr,
    certificate: Arc<CertificateDer<'static>>,
    /// Whether the challenge of this session was answered by the seal: it is good for one answer.
    pub(super) seal_answered: Arc<AtomicBool>,
    /// The node id that the cluster's authority signed this certificate for, once looked at.
    signed_for: Arc<OnceLock<Option<u64>>>,
}

/// A kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Also from an id this node has not heard of yet: it may lag behind the membership.
    Raft,
    /// From members that this node knows, only.
    Member,
    /// From every node that the cluster ever let in, so that one that was removed is told.
    Greeting,
}

impl Caller {
    pub(super) fn of_session(
        session: &rustls::ServerConnection,
        remote: SocketAddr,
    ) -> Result<Self, TlsError> {
        let certificate = session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .ok_or_else(|| TlsError::Certificate("none was shown".to_owned()))?;
        let exporter = session
            .export_keying_material([0; EXPORTER_BYTES], EXPORTER_LABEL, None)
            .map_err(|error| TlsError::Configuration(error.to_string()))?;
        Ok(Self {
            pin: SpkiPin::of_certificate(certificate)?,
            exporter,
            remote,
            certificate: Arc::new(certificate.clone().into_owned()),
            seal_answered: Arc::default(),
            signed_for: Arc::default(),
        })
    }
}

/// Decides who may speak, from what this node knows.
pub(super) struct Access {
    directory: Arc<dyn PeerDirectory>,
    identity: Arc<NodeIdentity>,
}

impl Access {
    pub(super) fn new(directory: Arc<dyn PeerDirectory>, identity: Arc<NodeIdentity>) -> Self {
        Self { directory, identity }
    }

    /// Whether the connection is neither a member's nor that of a node the cluster let in once.
    pub(super) fn is_stranger(&self, caller: &Caller) -> bool {
        let let_in = |node_id| !self.directory.is_removed(node_id);
        self.directory.member_by_pin(&caller.pin).is_none()
            && !self.signed_for(caller).is_some_and(let_in)
    }

    /// Lets the message pass if its sender, `from`, is the one who holds the connection's key.
    pub(super) fn check(&self, caller: &Caller, from: u64, kind: Kind) -> Result<(), Status> {
        if self.may_speak(caller, from, kind) {
            return Ok(());
        }
        metrics::counter!("conclave_peer_refused_total").increment(1);
        tracing::debug!(remote = %caller.remote, pin = %caller.pin, from, "peer message refused");
        Err(Status::permission_denied(NOT_A_MEMBER))
    }

    fn may_speak(&self, caller: &Caller, from: u64, kind: Kind) -> bool {
        match self.directory.member_by_pin(&caller.pin) {
            Some(member) => member == from,
            None if kind == Kind::Member => false,
            None if kind == Kind::Greeting => self.signed_for(caller) == Some(from),
            None => {
                let unheard_of =
                    !self.directory.is_member(from) && !self.directory.is_removed(from);
                unheard_of && self.signed_for(caller) == Some(from)
            }
        }
    }

    /// Verified once for each connection, not for each message: it is a signature check.
    fn signed_for(&self, caller: &Caller) -> Option<u64> {
        if let Some(known) = caller.signed_for.get() {
            return *known;
        }
        // Without an authority there is nothing to remember yet.
        self.identity.authority()?;
        *caller.signed_for.get_or_init(|| self.identity.fellow(&caller.certificate))
    }
}

const NOT_A_MEMBER: &str =
    "the caller's key is not that of the member it claims to be; join the node to this cluster";
