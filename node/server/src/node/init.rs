//! `sys/init`: the first node of a cluster makes it.

use std::sync::Arc;
use std::time::Duration;

use conclave_barrier::ledger::Ledger;
use conclave_barrier::{NewBarrier, NewRecipient};
use conclave_core::{BACKUP_PUBLIC_KEY, Core, Error, ErrorCode};
use conclave_gateway::{InitRequest, InitResponse};
use conclave_proto::v1;
use conclave_seal::{SealConfig, Share, make_shamir, static_recipient};
use conclave_store::identity::Identity;
use serde_json::json;

use super::backup::BACKUP_SEED;
use super::ceremony_log::{fields, init_fields};
use super::phase::Phase;
use super::seal::{from_barrier, from_disk_error};
use super::{Node, Running};
use crate::backup::BackupKey;
use crate::tls::{ClusterCa, TlsError};

impl Node {
    /// Makes a cluster of this one node. Its records begin the logs that the configuration names.
    pub(super) async fn initialise(&self, request: InitRequest) -> Result<InitResponse, Error> {
        let trail = self.begin_ceremony("sys/init", init_fields(&request)).await?;
        let made = self.make_cluster(request).await;
        trail.end(made.as_ref().map(|made| fields(json!({"keys": made.keys.len()})))).await;
        made
    }

    /// Identity, consensus, barrier, core, certificate authority.
    async fn make_cluster(&self, request: InitRequest) -> Result<InitResponse, Error> {
        self.greeted().await;
        // Begun late, it would end after its caller had gone, and nobody would have the keys.
        let waiting = self.ports.within(INIT_WAIT_MAX, self.transition.lock());
        let _one = waiting.await.map_err(|_| {
            Error::new(
                ErrorCode::Unavailable,
                "this node is busy joining its configured peers; try again",
            )
        })?;
        let (recipients, shares) = self.make_recipients(request)?;
        let running = match self.phase() {
            Phase::Alone => {
                self.refuse_if_a_peer_is_initialised().await?;
                self.found_cluster().await?
            }
            Phase::Sealed(running) if self.is_half_founded(&running) => {
                self.refuse_if_a_peer_is_initialised().await?;
                running
            }
            Phase::Greeting(_)
            | Phase::Out(_)
            | Phase::Halted(_)
            | Phase::Sealed(_)
            | Phase::Unsealed(..) => {
                return Err(Error::invalid("Vault is already initialized"));
            }
        };
        self.lead_alone(&running).await?;
        let cluster_id = running.cluster_id;
        let ca = ClusterCa::make(&cluster_id).map_err(internal)?;
        let ledger: Arc<dyn Ledger> = running.ledger.clone();
        let name = &self.config.cluster_name;
        let new = NewBarrier::make(ledger, self.ports.clone(), cluster_id, name, recipients)
            .map_err(from_barrier)?;
        let backup_seed = BackupKey::make_seed(&self.ports);
        let backup_key = BackupKey::from_seed(&backup_seed).expect("a seed has 32 bytes");
        let secrets = vec![
            (CA_KEY.to_owned(), ca.key_der().clone()),
            (CA_CERTIFICATE.to_owned(), ca.certificate_der().to_vec().into()),
            (BACKUP_SEED.to_owned(), backup_seed),
            (BACKUP_PUBLIC_KEY.to_owned(), backup_key.public().as_bytes().to_vec().into()),
        ];
        // First what may fail harmlessly: after the entry nobody could be told the keys again.
        self.adopt_certificate(&ca, running.node_id, cluster_id)?;
        let (barrier, root_token) = Core::initialise(new, &self.ports, secrets).await?;
        self.serve_with(&running, barrier)?;
        Ok(InitResponse { keys: shares, root_token })
    }

    fn make_recipients(
        &self,
        request: InitRequest,
    ) -> Result<(Vec<NewRecipient>, Vec<Share>), Error> {
        let mut recipients = Vec::new();
        let mut shares = Vec::new();
        if matches!(self.seal, SealConfig::Static { .. }) {
            recipients.push(static_recipient(&self.seal).map_err(invalid)?);
        }
        if request.shares > 0 || recipients.is_empty() {
            let (recipient, made) =
                make_shamir(self.ports.rng.as_ref(), request.shares, request.threshold)
                    .map_err(invalid)?;
            recipients.push(recipient);
            shares = made;
        }
        Ok((recipients, shares))
    }

    /// Whether this node began to found a cluster and died before the one entry that initialises it:
    /// then nobody has a share or a token yet, and initialising may begin again.
    pub(super) fn is_half_founded(&self, running: &Running) -> bool {
        running.node_id == FIRST_NODE_ID
            && running.raft.status().members.len() <= 1
            && matches!(conclave_barrier::seal_record(running.ledger.view().as_ref()), Ok(None))
    }

    /// Writes the identity and starts consensus.
    async fn found_cluster(&self) -> Result<Arc<Running>, Error> {
        let identity = self.make_identity(self.ports.random(), FIRST_NODE_ID);
        self.identities.save(&identity).map_err(from_disk_error)?;
        let running = self.start_new(identity).await.map_err(|e| self.end_for(&e))?;
        // From here on the node belongs to a cluster, whatever happens next.
        self.set_phase(Phase::Sealed(running.clone()));
        Ok(running)
    }

    /// Makes this node the only voter, if it is not yet, and waits until it leads.
    async fn lead_alone(&self, running: &Running) -> Result<(), Error> {
        if running.raft.status().members.is_empty() {
            running
                .raft
                .bootstrap(self.founder())
                .await
                .map_err(|e| Error::internal(e.to_string()))?;
        }
        running.raft.set_readiness(conclave_raft::Readiness::Ready);
        let leads = async {
            while !running.raft.status().is_leader {
                running.raft.changed().await;
            }
        };
        self.ports.within(FIRST_ELECTION_MAX, leads).await.map_err(|_| {
            Error::new(
                ErrorCode::Unavailable,
                "the new cluster elected no leader; the node's log says why",
            )
        })
    }

    /// This node in that cluster.
    pub(super) fn make_identity(&self, cluster_id: [u8; 16], node_id: u64) -> Identity {
        Identity {
            cluster_id: cluster_id.to_vec().into(),
            node_id,
            node_name: self.config.storage.node_name.as_str().to_owned(),
            ..Identity::default()
        }
    }

    /// Takes a certificate of the cluster's authority for this node's key.
    pub(super) fn adopt_certificate(
        &self,
        ca: &ClusterCa,
        node_id: u64,
        cluster_id: [u8; 16],
    ) -> Result<(), Error> {
        let name = self.config.storage.node_name.as_str();
        let csr = self.tls.make_csr(name).map_err(internal)?;
        let certificate = ca.sign(&csr, node_id, name, &cluster_id).map_err(internal)?;
        self.tls.install(&certificate, ca.certificate_der()).map_err(internal)
    }

    /// This node as the first membership names it.
    fn founder(&self) -> v1::Member {
        v1::Member {
            node_id: FIRST_NODE_ID,
            name: self.config.storage.node_name.as_str().to_owned(),
            cluster_addr: self.config.cluster_addr.to_string(),
            api_addr: self.config.api_addr.to_string(),
            spki_pin: self.tls.pin().as_bytes().to_vec().into(),
            voter_wanted: true,
            approved: true,
        }
    }
}

fn internal(error: TlsError) -> Error {
    Error::internal(error.to_string())
}

fn invalid(error: conclave_seal::SealError) -> Error {
    Error::invalid(error.to_string())
}

/// The cluster secrets that hold the certificate authority.
pub(super) const CA_KEY: &str = "cluster-ca-key";
pub(super) const CA_CERTIFICATE: &str = "cluster-ca-certificate";

/// Log indexes of client entries begin above it, so that no allocated id can equal it.
const FIRST_NODE_ID: u64 = 1;
const INIT_WAIT_MAX: Duration = Duration::from_secs(5);
const FIRST_ELECTION_MAX: Duration = Duration::from_secs(10);
