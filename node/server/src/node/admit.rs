//! How the leader admits a node that proved it may join.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use conclave_core::{Core, Error, ErrorCode};
use conclave_proto::v1;
use conclave_raft::{AddMember, Target};

use super::init::{CA_CERTIFICATE, CA_KEY};
use super::{Node, Running};
use crate::peer::{SEAL_ANSWER_ID, VerifiedJoin};
use crate::tls::ClusterCa;

impl Node {
    /// Allocates an id through the log, signs the applicant's key and adds it as a learner that
    /// becomes a voter once it has caught up. A join token is used up by it.
    ///
    /// It is answered last: whoever holds an answer waits for the cluster for ever, so the cluster
    /// must know it whatever dies now. Where the answer is lost, the applicant asks again, and the
    /// member that nobody is gives way to it.
    pub(super) async fn admit_node(&self, applicant: VerifiedJoin) -> Result<v1::JoinReply, Error> {
        let phase = self.phase();
        let (running, core) = phase.serving()?;
        let _admission = Admission::begin(self.me(), &applicant.request().name)?;
        let old = self.dead_holder_of(running, &applicant.request().name).await?;
        let token_id = &applicant.request().token_id;
        if !token_id.is_empty() && token_id != SEAL_ANSWER_ID {
            core.consume_join_token(token_id).await?;
        }
        if let Some(old) = old {
            running.raft.remove_member(old).await.map_err(from_membership)?;
        }
        let node_id = allocate_id(running).await?;
        let (certificate, ca_certificate) = sign(core, &applicant, node_id, running.cluster_id)?;
        let member = v1::Member {
            node_id,
            name: applicant.request().name.clone(),
            cluster_addr: applicant.request().cluster_addr.clone(),
            api_addr: applicant.request().api_addr.clone(),
            spki_pin: applicant.pin().as_bytes().to_vec().into(),
            voter_wanted: !applicant.request().non_voter,
            approved: !token_id.is_empty(),
        };
        let (name, voter) = (member.name.clone(), member.voter_wanted);
        let add = AddMember { member: member.clone(), voter };
        running.raft.admit_member(add).await.map_err(from_membership)?;
        tracing::info!(name, node_id, voter, "a node has joined");
        let others = running.raft.status().members.into_iter().map(|view| view.member);
        let mut members: Vec<_> = others.filter(|other| other.node_id != node_id).collect();
        members.push(member);
        Ok(v1::JoinReply {
            node_id,
            cluster_id: running.cluster_id.to_vec().into(),
            certificate: certificate.into(),
            ca_certificate: ca_certificate.into(),
            membership: Some(v1::Membership { configs: Vec::new(), members }),
        })
    }

    /// The member that has this name, if it is dead: its id is to be removed for good. A name whose
    /// holder is alive is not replaced without an operator.
    async fn dead_holder_of(&self, running: &Running, name: &str) -> Result<Option<u64>, Error> {
        let members = running.raft.status().members;
        let Some(old) = members.into_iter().find(|view| view.member.name == name) else {
            return Ok(None);
        };
        let target = Target { node_id: old.member.node_id, member: old.member };
        // One lost packet or slow sync is not death.
        for _ in 0..ALIVE_CHECKS {
            let asked = v1::StatusRequest { from: running.node_id, ..Default::default() };
            let answer =
                conclave_raft::PeerTransport::status(self.transport.as_ref(), &target, asked);
            if matches!(self.ports.within(ALIVE_CHECK_MAX, answer).await, Ok(Ok(_))) {
                return Err(Error::invalid(format!(
                    "a member named {name} is alive; remove it first with `conclave operator remove-peer {name}`, or join under another name"
                )));
            }
            self.ports.clock.sleep(ALIVE_CHECK_PAUSE).await;
        }
        Ok(Some(target.node_id))
    }

    fn admitting(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.admitting.lock().expect("no code panics while it holds this")
    }
}

/// One node of a name is admitted at a time. Held until it is a member.
struct Admission {
    node: Arc<Node>,
    name: String,
}

impl Admission {
    fn begin(node: Arc<Node>, name: &str) -> Result<Self, Error> {
        if node.admitting().insert(name.to_owned()) {
            return Ok(Self { node, name: name.to_owned() });
        }
        Err(Error::new(
            ErrorCode::Unavailable,
            "a node of this name is being admitted; try again once it is a member",
        ))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.node.admitting().remove(&self.name);
    }
}

/// The index of an entry of its own: unique for ever.
async fn allocate_id(running: &Running) -> Result<u64, Error> {
    running
        .raft
        .propose(v1::Command::default())
        .await
        .map(|proposed| proposed.revision)
        .map_err(|error| Error::new(ErrorCode::Unavailable, error.to_string()))
}

fn sign(
    core: &Core,
    applicant: &VerifiedJoin,
    node_id: u64,
    cluster_id: [u8; 16],
) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let secret = |name| {
        core.cluster_secret(name)?
            .ok_or_else(|| Error::internal("the cluster has no certificate authority"))
    };
    let ca = ClusterCa::from_parts(&secret(CA_CERTIFICATE)?, secret(CA_KEY)?)
        .map_err(|e| Error::internal(e.to_string()))?;
    let certificate = ca
        .sign(&applicant.request().csr, node_id, &applicant.request().name, &cluster_id)
        .map_err(|e| Error::invalid(format!("the certificate request was refused: {e}")))?;
    Ok((certificate, ca.certificate_der().to_vec()))
}

pub(super) fn from_membership(error: conclave_raft::MembershipError) -> Error {
    use conclave_raft::MembershipError;
    match error {
        MembershipError::NotLeader => super::dispatch::no_leader(),
        MembershipError::Refused(why) => Error::invalid(why),
        MembershipError::Unavailable => {
            Error::new(ErrorCode::Unavailable, "no quorum answered in time; try again")
        }
    }
}

const ALIVE_CHECKS: u32 = 3;
const ALIVE_CHECK_MAX: Duration = Duration::from_secs(2);
const ALIVE_CHECK_PAUSE: Duration = Duration::from_millis(500);
