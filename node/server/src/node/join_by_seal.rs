//! How a node joins by opening the cluster's seal: with the shares of its people, or its static key.
//!
//! Neither token nor join secret is needed, only the address of a member: that is Vault's way of
//! `retry_join`. The node learns what seals the cluster, takes shares as a sealed member does, proves
//! with the root key that it may join, and is unsealed with it once it has received the state.

use std::sync::MutexGuard;
use std::time::Duration;

use conclave_barrier::{RootKey, SealRecord};
use conclave_core::{Error, ErrorCode};
use conclave_gateway::NodeStatus;
use conclave_seal::auto_unseal;
use zeroize::Zeroizing;

use super::Node;
use super::join::Invitation;
use super::phase::{Phase, not_initialized};
use super::seal::from_seal_error;
use crate::peer::{JoinError, SEAL_ANSWER_ID, derive_seal_answer, join, seal_record_of};

/// A cluster that this node may join once its seal opens. Nothing of it is proven before.
pub(super) struct SealedInvitation {
    record: SealRecord,
    addresses: Vec<String>,
    non_voter: bool,
}

impl Node {
    /// Learns from the first of `addresses` that answers what seals its cluster.
    pub(super) async fn be_invited_by(
        &self,
        addresses: Vec<String>,
        non_voter: bool,
    ) -> Result<(), Error> {
        let mut last = Error::invalid("no address of a member is known; name one in the request");
        for address in &addresses {
            match seal_record_of(&self.tls, &self.ports, address).await {
                Ok(record) => {
                    self.keep_invitation(SealedInvitation { record, addresses, non_voter });
                    return Ok(());
                }
                Err(error) => last = Error::invalid(error.to_string()),
            }
        }
        Err(last)
    }

    /// Shares of another seal are of no use any more.
    fn keep_invitation(&self, fresh: SealedInvitation) {
        let mut kept = self.sealed_invitation();
        let same = kept.as_ref().is_some_and(|kept| kept.record == fresh.record);
        if !same {
            self.ceremony().reset();
            tracing::info!(
                cluster = fresh.record.cluster_name,
                "this node joins its cluster once it is unsealed"
            );
        }
        *kept = Some(fresh);
    }

    /// Asks the configured peers what seals their cluster, until this node has joined it, and joins
    /// where its own configuration opens the seal.
    pub(super) async fn wait_for_the_seal(&self) {
        let mut report_at = self.ports.clock.monotonic() + REPORT_INTERVAL;
        while matches!(self.phase(), Phase::Alone) && self.identities.load().is_none() {
            let peers = self.retry_join_addresses();
            let outcome =
                match self.be_invited_by(peers, self.config.storage.join_as_non_voter).await {
                    Ok(()) => self.answer_by_itself().await,
                    Err(error) => Err(error),
                };
            let now = self.ports.clock.monotonic();
            if let Err(error) = outcome
                && now >= report_at
            {
                report_at = now + REPORT_INTERVAL;
                tracing::warn!(%error, "not joined yet; this node keeps trying");
            }
            self.ports.clock.sleep(ASK_INTERVAL).await;
        }
    }

    /// Joins with the static key of the configuration, where it has one.
    async fn answer_by_itself(&self) -> Result<(), Error> {
        let _one = self.transition.lock().await;
        if !matches!(self.phase(), Phase::Alone) {
            return Ok(());
        }
        let opened = match self.sealed_invitation().as_ref() {
            Some(invitation) => auto_unseal(&self.seal, &invitation.record),
            None => return Ok(()),
        };
        match opened.map_err(from_seal_error)? {
            Some(root_key) => self.answer(root_key).await,
            None => Ok(()),
        }
    }

    /// Takes one share of the cluster that this node is to join; joins it once enough are there. The
    /// caller holds the transition lock.
    pub(super) async fn answer_with(
        &self,
        share: Zeroizing<Vec<u8>>,
        reset: bool,
    ) -> Result<NodeStatus, Error> {
        if reset {
            self.ceremony().reset();
            return Ok(self.node_status());
        }
        let record = self.sealed_invitation().as_ref().map(|invitation| invitation.record.clone());
        let record = record.ok_or_else(not_initialized)?;
        let root_key = self.ceremony().give(&record, share).map_err(from_seal_error)?;
        if let Some(root_key) = root_key {
            self.answer(root_key).await?;
        }
        Ok(self.node_status())
    }

    /// Proves to the cluster that this node can open its seal, and becomes a member. The caller holds
    /// the transition lock.
    async fn answer(&self, root_key: RootKey) -> Result<(), Error> {
        let Some((cluster_id, addresses, non_voter)) = self
            .sealed_invitation()
            .as_ref()
            .map(|kept| (kept.record.cluster_id, kept.addresses.clone(), kept.non_voter))
        else {
            return Err(not_initialized());
        };
        let proof = Invitation {
            addresses,
            token_id: SEAL_ANSWER_ID.to_vec(),
            secret: derive_seal_answer(&root_key, &cluster_id),
        };
        let mut last = not_initialized();
        for address in &proof.addresses {
            match join(&self.join_params(address, &proof, non_voter)).await {
                Ok(reply) if reply.cluster_id.as_ref() == cluster_id => {
                    // Used as soon as the state is there, by whoever looks after a sealed node.
                    *self.kept_root_key() = Some(root_key);
                    let joined = self.become_member(reply).await;
                    if joined.is_err() {
                        *self.kept_root_key() = None;
                    }
                    return joined;
                }
                Ok(_) => last = Error::internal("another cluster answered than was asked"),
                Err(error @ JoinError::NotAccepted { .. }) => {
                    last = Error::new(ErrorCode::PermissionDenied, error.to_string());
                }
                Err(error) => last = Error::new(ErrorCode::Unavailable, error.to_string()),
            }
        }
        Err(last)
    }

    /// What a node says of itself that waits for its shares: it is as sealed as its cluster's.
    pub(super) fn describe_invitation(&self, status: &mut NodeStatus) {
        let kept = self.sealed_invitation();
        let Some(SealedInvitation { record, .. }) = kept.as_ref() else { return };
        status.initialized = true;
        status.cluster_name.clone_from(&record.cluster_name);
        status.cluster_id = uuid::Uuid::from_bytes(record.cluster_id).hyphenated().to_string();
        if let Some(shamir) = record.recipients.iter().find(|one| one.kind == "shamir") {
            (status.shares, status.threshold) = (shamir.shares, shamir.threshold);
        }
        let progress = self.ceremony().progress();
        (status.progress, status.nonce) = (progress.given, progress.nonce);
    }

    /// The cluster that this node joins once it is unsealed, if there is one.
    pub(super) fn cluster_waited_for(&self) -> Option<String> {
        self.sealed_invitation().as_ref().map(|kept| kept.record.cluster_name.clone())
    }

    pub(super) fn forget_invitation(&self) {
        *self.sealed_invitation() = None;
    }

    fn sealed_invitation(&self) -> MutexGuard<'_, Option<SealedInvitation>> {
        self.sealed_invitation.lock().expect("no code panics while it holds this")
    }
}

/// Between two lines in the log that say why this node has not joined.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// How soon a new seal, after a rekey, is known here.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
