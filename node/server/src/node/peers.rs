//! What other nodes may ask of this one, beyond consensus: forwarding, joining, peer unseal.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use conclave_barrier::{RootKey, Route, SealRecord};
use conclave_core::{Core, Error, ErrorCode, Response};
use conclave_memory::SecretKey;
use conclave_proto::v1;
use conclave_raft::{Raft, SnapshotParts};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde_json::json;
use tonic::Status;
use zeroize::Zeroizing;

use super::ceremony_log::fields;
use super::dispatch::leader_of;
use super::forward::{Forwarded, open_forwarded, outcome_unknown, seal_reply};
use super::phase::Phase;
use super::{Node, Running};
use crate::peer::{
    JoinRefusal, PeerDirectory, PeerHandler, SEAL_ANSWER_ID, UnsealKey, UnsealPlace, VerifiedJoin,
    derive_seal_answer, seal_root_key,
};
use crate::tls::SpkiPin;

impl PeerDirectory for Node {
    fn member_by_pin(&self, pin: &SpkiPin) -> Option<u64> {
        self.find_member(|member| member.spki_pin.as_ref() == pin.as_bytes())
    }

    fn is_member(&self, node_id: u64) -> bool {
        self.find_member(|member| member.node_id == node_id).is_some()
    }

    /// Ids are log indexes: one below the membership in force that is not in it was removed, or is
    /// about to be added and does not know it yet.
    fn is_removed(&self, node_id: u64) -> bool {
        let phase = self.phase();
        let Some(running) = phase.running() else { return false };
        node_id <= running.raft.status().membership_index && !self.is_member(node_id)
    }
}

impl PeerHandler for Node {
    fn consensus(&self) -> Option<Raft> {
        self.phase().running().map(|running| running.raft.clone())
    }

    fn greet(&self, request: &v1::GreetRequest) -> Result<v1::GreetReply, Status> {
        let phase = self.phase();
        let opened = phase.opened();
        // What a node that is out saw of others may be as wrong as the rest it has.
        opened.map(|opened| opened.greeter.on_greet(request)).ok_or_else(|| {
            Status::unavailable("this node takes no part in a cluster; ask another one")
        })
    }

    fn fetch_snapshot(&self, request: &v1::FetchSnapshotRequest) -> Result<SnapshotParts, Status> {
        let phase = self.phase();
        let opened = phase.opened().ok_or_else(|| {
            Status::unavailable("this node takes no part in a cluster; ask another one")
        })?;
        let parts = opened.greeter.on_fetch_snapshot(request);
        if parts.is_err()
            && let Some(running) = phase.running()
            && opened.greeter.owes_snapshot(request)
        {
            // Without effect while one is being built; the member asks again.
            let raft = running.raft.clone();
            let build = async move { raft.trigger_snapshot().await };
            self.ports.spawn.spawn("snapshot for a member", Box::pin(build));
        }
        parts.map_err(|error| Status::unavailable(error.to_string()))
    }

    fn forward(
        &self,
        request: v1::ForwardRequest,
    ) -> BoxFuture<'_, Result<v1::ForwardReply, Status>> {
        Box::pin(self.serve_forwarded(request))
    }

    fn restore(
        &self,
        request: v1::ForwardRequest,
        parts: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> BoxFuture<'_, Result<v1::ForwardReply, Status>> {
        Box::pin(self.serve_restore(request, parts))
    }

    fn peer_unseal(
        &self,
        request: v1::PeerUnsealRequest,
    ) -> BoxFuture<'_, Result<v1::PeerUnsealReply, Status>> {
        Box::pin(async move {
            self.give_root_key(request)
                .await
                .map_err(|error| Status::permission_denied(error.to_string()))
        })
    }

    fn show_seal(&self) -> Result<SealRecord, JoinRefusal> {
        let phase = self.phase();
        let Some(running) = phase.running() else {
            return match phase {
                Phase::Alone => Err(JoinRefusal::Refused("it belongs to no cluster".into())),
                _ => Err(JoinRefusal::NotReady("it takes no part in its cluster".into())),
            };
        };
        self.seal_record(running).map_err(|error| JoinRefusal::NotReady(error.to_string()))
    }

    fn join_secret<'a>(
        &'a self,
        token_id: &'a [u8],
    ) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, JoinRefusal>> {
        Box::pin(async move {
            let phase = self.phase();
            let (running, core) = match phase.serving() {
                Ok(serving) => serving,
                Err(error) if error.code == ErrorCode::NotInitialized => {
                    return Err(JoinRefusal::Refused("it belongs to no cluster".into()));
                }
                Err(error) => return Err(JoinRefusal::NotReady(error.to_string())),
            };
            if !running.raft.status().is_leader {
                let leader = leader_of(running).map(|target| target.member.cluster_addr);
                return Err(JoinRefusal::NotLeader(leader));
            }
            if token_id.is_empty() {
                return self.join_secret.clone().ok_or(JoinRefusal::UnknownToken);
            }
            if token_id == SEAL_ANSWER_ID {
                let root_key = core.barrier().root_key();
                return Ok(derive_seal_answer(root_key, &running.cluster_id));
            }
            core.join_token_secret(token_id).await.map_err(|_| JoinRefusal::UnknownToken)
        })
    }

    fn admit(&self, join: VerifiedJoin) -> BoxFuture<'_, Result<v1::JoinReply, JoinRefusal>> {
        Box::pin(async move { self.admit_logged(join).await.map_err(into_refusal) })
    }
}

impl Node {
    /// Serves a member's client as leader.
    ///
    /// # Errors
    /// A refusal where nothing was executed: this node is sealed, or the request does not open.
    async fn serve_forwarded(
        &self,
        request: v1::ForwardRequest,
    ) -> Result<v1::ForwardReply, Status> {
        let phase = self.phase();
        // The caller looks for a leader that can serve.
        let (running, core) =
            phase.serving().map_err(|error| Status::unavailable(error.to_string()))?;
        let sealer = core.barrier().peer_sealer();
        let route = Route { from: request.from, to: running.node_id };
        let (request, id) = open_forwarded(sealer, route, &request.sealed)
            .inspect_err(|error| tracing::warn!(%error, from = route.from, "a forwarded request"))
            .map_err(|error| Status::permission_denied(error.to_string()))?;
        let served = match request {
            Ok(Forwarded::Request(mut request)) => {
                request.forwarded_from = member_name(running, route.from);
                let answer = self.while_unsealed(core, core.handle(&request)).await;
                answer.unwrap_or_else(|| Err(outcome_unknown()))
            }
            Ok(Forwarded::AuditHeads(heads)) => {
                let node = member_name(running, route.from);
                core.anchor_audit(&node, &heads).await.map(|()| Response::empty())
            }
            Err(error) => Err(error),
        };
        // Not a refusal: the request was executed.
        seal_reply(sealer, route.back(), id, served)
            .map_err(|error| Status::internal(error.to_string()))
    }

    /// The first member that `wanted` picks, by the log or, before it says, by the join.
    fn find_member(&self, wanted: impl Fn(&v1::Member) -> bool) -> Option<u64> {
        let phase = self.phase();
        let running = phase.running()?;
        let members = running.raft.status().members;
        let by_log = members.iter().map(|view| &view.member).find(|member| wanted(member));
        match by_log {
            Some(member) => Some(member.node_id),
            // Once the log has let this node in, it knows more than the answer to the join did.
            None if members.iter().any(|view| view.member.node_id == running.node_id) => None,
            None => {
                self.known_members.load().iter().find(|m| wanted(m)).map(|member| member.node_id)
            }
        }
    }

    /// Admits a node that proved it may join; the audit log says whom, and by what.
    async fn admit_logged(&self, join: VerifiedJoin) -> Result<v1::JoinReply, Error> {
        let asked = join.request();
        let by = match asked.token_id.as_ref() {
            b"" => "join secret",
            SEAL_ANSWER_ID => "shares",
            _ => "join token",
        };
        let said = json!({
            "by": by, "name": asked.name, "cluster_addr": asked.cluster_addr,
            "api_addr": asked.api_addr, "non_voter": asked.non_voter,
        });
        let name = asked.name.clone();
        let trail = self.begin_ceremony_of(&name, "sys/storage/raft/join", said).await?;
        let admitted = self.admit_node(join).await;
        let told = |reply: &v1::JoinReply| fields(json!({"node_id": reply.node_id}));
        trail.end(admitted.as_ref().map(told)).await;
        admitted
    }

    /// Gives the root key to a member, once per boot of its, if this cluster's policy allows it.
    async fn give_root_key(
        &self,
        request: v1::PeerUnsealRequest,
    ) -> Result<v1::PeerUnsealReply, Error> {
        let phase = self.phase();
        let (running, core) = phase.serving()?;
        if !self.config.peer_unseal.allow {
            return Err(denied("peer unseal is not allowed by this cluster's configuration"));
        }
        // Behind a read barrier, so that a member removed elsewhere gets nothing.
        running
            .raft
            .read_barrier()
            .await
            .map_err(|e| Error::new(ErrorCode::Unavailable, format!("{e}; try again")))?;
        // It may have been sealed meanwhile.
        self.phase().serving()?;
        let members = running.raft.status().members;
        let Some(taker) = members.iter().find(|view| view.member.node_id == request.from) else {
            return Err(denied("only members are unsealed by peers"));
        };
        if !taker.member.approved && !self.config.peer_unseal.allow_join_secret_members {
            return Err(denied("peer unseal is for members that an operator let in by a token"));
        }
        let said = json!({"by": "peer unseal", "node_id": request.from});
        let trail = self.begin_ceremony_of(&taker.member.name, "sys/unseal", said).await?;
        let given = self.seal_root_key_for(&request, running, core);
        trail.end(given.as_ref().map(|_| fields(json!({"given": true})))).await;
        given
    }

    /// The root key for a member that may have it.
    fn seal_root_key_for(
        &self,
        request: &v1::PeerUnsealRequest,
        running: &Running,
        core: &Core,
    ) -> Result<v1::PeerUnsealReply, Error> {
        let place = unseal_place(running, request, running.node_id)?;
        let root_key = core.barrier().root_key();
        let reply = seal_root_key(&place, &request.hpke_public_key, root_key.danger_expose())
            .map_err(|error| Error::invalid(error.to_string()))?;
        self.allow_once(request.from, place.boot_id, &request.hpke_public_key)?;
        tracing::info!(node_id = request.from, "the root key was given to a member by peer unseal");
        Ok(reply)
    }

    /// One answer for each start of a member; to the same key again, since the answer may have been
    /// lost on its way.
    fn allow_once(&self, taker: u64, boot_id: [u8; 16], key: &[u8]) -> Result<(), Error> {
        let mut given = self.peer_unseals.lock().expect("no code panics while it holds this");
        match given.get(&taker) {
            Some((boot, before)) if *boot == boot_id && before != key => {
                Err(denied("this node was given the key once since it started"))
            }
            _ => {
                given.insert(taker, (boot_id, key.to_vec()));
                Ok(())
            }
        }
    }

    pub(super) fn unseal_key(&self) -> MutexGuard<'_, Option<Arc<UnsealKey>>> {
        self.unseal_key.lock().expect("no code panics while it holds this")
    }

    /// Asks the leader for the root key.
    pub(super) async fn fetch_root_key(&self, running: &Running) -> Option<RootKey> {
        let leader = leader_of(running)?;
        // Kept until this node is unsealed: the leader answers one key only, so whatever fails
        // from here on is tried again with the same.
        let key = {
            let mut slot = self.unseal_key();
            if slot.is_none() {
                *slot = UnsealKey::make().ok().map(Arc::new);
            }
            slot.clone()?
        };
        let request = v1::PeerUnsealRequest {
            from: running.node_id,
            boot_id: self.process_id.to_vec().into(),
            hpke_public_key: key.public().to_vec().into(),
        };
        let place = unseal_place(running, &request, leader.node_id).ok()?;
        let reply = match self.transport.peer_unseal(&leader, request).await {
            Ok(reply) => reply,
            Err(error) => {
                tracing::debug!(%error, "no root key from the leader yet");
                return None;
            }
        };
        let opened = key
            .open(&place, &reply)
            .inspect_err(|error| tracing::warn!(%error, "the leader's root key does not open"))
            .ok()?;
        let bytes: &[u8; 32] = opened.as_slice().try_into().ok()?;
        Some(RootKey::new(SecretKey::fill_with(|key| key.copy_from_slice(bytes))))
    }
}

fn unseal_place(
    running: &Running,
    request: &v1::PeerUnsealRequest,
    giver: u64,
) -> Result<UnsealPlace, Error> {
    let boot_id = request
        .boot_id
        .as_ref()
        .try_into()
        .map_err(|_| Error::invalid("the boot id has not 16 bytes"))?;
    Ok(UnsealPlace { cluster_id: running.cluster_id.to_vec(), boot_id, giver, taker: request.from })
}

/// The start and the key of each member that was given the root key last.
pub(super) type PeerUnseals = BTreeMap<u64, ([u8; 16], Vec<u8>)>;

fn denied(why: &str) -> Error {
    Error::new(ErrorCode::PermissionDenied, why)
}

fn into_refusal(error: Error) -> JoinRefusal {
    match error.code {
        ErrorCode::InvalidRequest | ErrorCode::PermissionDenied => {
            JoinRefusal::Refused(error.to_string())
        }
        _ => JoinRefusal::NotReady(error.to_string()),
    }
}

/// What the audit log calls a member.
pub(super) fn member_name(running: &Running, node_id: u64) -> String {
    let members = running.raft.status().members;
    let found = members.into_iter().find(|view| view.member.node_id == node_id);
    found.map_or_else(|| node_id.to_string(), |view| view.member.name)
}
