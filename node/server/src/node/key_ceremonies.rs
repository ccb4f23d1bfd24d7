//! What holders of shares decide on the leader: a root token, new shares.
//!
//! What was given stands in this node's locked memory, for as long as it leads without a break and
//! is unsealed. Nothing of it is written anywhere; what a rekey brings about is one entry.

use conclave_barrier::{Barrier, SealRecord};
use conclave_core::key_ceremonies::{
    KeyCeremonies, RekeyPlan, RekeyProgress, RekeyStep, RootProgress, RootStep, ShareSet,
};
use conclave_core::{Error, ErrorCode};
use conclave_seal::{Attempts, RekeyStatus, Seat, Share};
use futures::future::BoxFuture;

use super::Node;
use super::dispatch::no_leader;
use super::forward::outcome_unknown;
use super::phase::Phase;
use super::seal::{from_barrier, from_seal_error};

impl KeyCeremonies for Node {
    fn are_open(&self) -> bool {
        self.config.vault_compat
    }

    fn root_step(&self, step: RootStep) -> Result<RootProgress, Error> {
        let (term, record) = self.chair()?;
        let seat = Seat { term, record: &record };
        let mut attempts = self.attempts();
        let mut granted = None;
        match step {
            RootStep::Look => {}
            RootStep::Start { otp } => {
                attempts.start_root(seat, otp).map_err(from_seal_error)?;
            }
            RootStep::Cancel { nonce } => {
                attempts.cancel_root(seat, nonce.as_deref()).map_err(from_seal_error)?;
            }
            RootStep::End { nonce } => attempts.end_root(&nonce),
            RootStep::Give { nonce, share } => {
                let step = attempts.give_to_root(seat, &nonce, share).map_err(from_seal_error)?;
                if let conclave_seal::RootStep::Granted(otp) = step {
                    granted = Some(otp);
                }
            }
        }
        let progress = attempts.root_progress(seat);
        let required = required(&record);
        // The shares that granted it are forgotten, and were enough.
        let given = if granted.is_some() { required } else { progress.given };
        Ok(RootProgress { nonce: progress.nonce, given, required, granted })
    }

    fn rekey_step(
        &self,
        set: ShareSet,
        step: RekeyStep,
    ) -> BoxFuture<'_, Result<RekeyProgress, Error>> {
        Box::pin(self.take_rekey_step(set, step))
    }
}

impl Node {
    async fn take_rekey_step(
        &self,
        set: ShareSet,
        step: RekeyStep,
    ) -> Result<RekeyProgress, Error> {
        let (term, record) = self.chair()?;
        if !matches!(step, RekeyStep::Look) {
            check_set(set, &record)?;
        }
        let seat = Seat { term, record: &record };
        let (taken, nonce) = self.give(seat, step)?;
        match taken {
            conclave_seal::RekeyStep::More => {
                let status = self.attempts().rekey_status(seat);
                Ok(progress(status, &record, Vec::new(), false))
            }
            conclave_seal::RekeyStep::Verify { shares, .. } => {
                let status = self.attempts().rekey_status(seat);
                Ok(progress(status, &record, shares, false))
            }
            conclave_seal::RekeyStep::Replace { recipient, revision } => {
                let phase = self.phase();
                let (_, core) = phase.serving()?;
                let status = self.attempts().rekey_status(seat);
                replace(core.barrier(), &recipient, revision).await?;
                let shares = self.attempts().end_rekey(&nonce);
                Ok(progress(status, &record, shares, true))
            }
        }
    }

    /// Does what needs no waiting; what is left to do, and the nonce of the attempt.
    fn give(
        &self,
        seat: Seat<'_>,
        step: RekeyStep,
    ) -> Result<(conclave_seal::RekeyStep, String), Error> {
        let mut attempts = self.attempts();
        let mut taken = Ok(conclave_seal::RekeyStep::More);
        match step {
            RekeyStep::Look => {}
            RekeyStep::Start(RekeyPlan { shares, threshold, verify }) => {
                let plan = conclave_seal::RekeyPlan { shares, threshold, verify };
                attempts.start_rekey(seat, plan).map_err(from_seal_error)?;
            }
            RekeyStep::Cancel { nonce } => {
                attempts.cancel_rekey(seat, nonce.as_deref()).map_err(from_seal_error)?;
            }
            RekeyStep::RestartVerification => {
                attempts.restart_verification(seat).map_err(from_seal_error)?;
            }
            RekeyStep::Give { nonce, share } => {
                taken = attempts.give_to_rekey(seat, &nonce, share);
            }
            RekeyStep::Verify { nonce, share } => {
                taken = attempts.give_to_verification(seat, &nonce, share);
            }
        }
        let nonce = attempts.rekey_status(seat).progress.nonce;
        Ok((taken.map_err(from_seal_error)?, nonce))
    }

    /// The leadership of this node, and the set of shares in force.
    fn chair(&self) -> Result<(u64, SealRecord), Error> {
        let phase = self.phase();
        let (running, _) = phase.serving()?;
        let status = running.raft.status();
        if !status.is_leader {
            return Err(no_leader());
        }
        Ok((status.term, self.seal_record(running)?))
    }

    /// What a node that is sealed does.
    pub(super) fn forget_attempts(&self) {
        self.attempts().forget();
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.attempts.lock().expect("no code panics while it holds the attempts")
    }

    /// Waits until this node has what the cluster decided before, where that can be told: shares
    /// that were replaced while it was away must not open it. Without a quorum it goes on with what
    /// it has: then nothing is served either.
    pub(super) async fn catch_up_with_the_seal(&self) {
        use conclave_barrier::ledger::Ledger as _;
        if let Phase::Sealed(running) = self.phase() {
            let newest = running.ledger.read_barrier();
            if self.ports.within(CATCH_UP_MAX, newest).await.is_err() {
                tracing::info!("a share is taken without a quorum to ask about the seal");
            }
        }
    }
}

/// Where nobody knows which set is in force, the last share may be given again.
async fn replace(
    barrier: &Barrier,
    recipient: &conclave_barrier::Recipient,
    revision: u64,
) -> Result<(), Error> {
    use conclave_barrier::BarrierError;
    use conclave_barrier::ledger::LedgerError;
    match barrier.replace_recipient(recipient, revision).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::invalid("the seal was changed meanwhile; start the rekey again")),
        Err(BarrierError::Ledger(LedgerError::OutcomeUnknown)) => Err(outcome_unknown()),
        Err(BarrierError::Ledger(LedgerError::NotLeader)) => Err(no_leader()),
        Err(BarrierError::Ledger(error)) => Err(Error::new(
            ErrorCode::Unavailable,
            format!("the old shares are in force still ({error}); send the last share again"),
        )),
        Err(error) => Err(from_barrier(error)),
    }
}

/// Where the nodes unseal by a key of their own, the shares are the recovery's.
fn check_set(set: ShareSet, record: &SealRecord) -> Result<(), Error> {
    let unseals_alone = record.recipients.iter().any(|recipient| recipient.kind != SHAMIR);
    match (set, unseals_alone) {
        (ShareSet::Unseal, false) | (ShareSet::Recovery, true) => Ok(()),
        (ShareSet::Unseal, true) => Err(Error::invalid(
            "the nodes unseal by a configured key; replace the shares by sys/rekey-recovery-key",
        )),
        (ShareSet::Recovery, false) => Err(Error::invalid(
            "this seal has no recovery shares; replace the unseal shares by sys/rekey",
        )),
    }
}

fn required(record: &SealRecord) -> u8 {
    let shares = record.recipients.iter().find(|recipient| recipient.kind == SHAMIR);
    shares.map_or(0, |recipient| recipient.threshold)
}

fn progress(
    status: RekeyStatus,
    record: &SealRecord,
    new_shares: Vec<Share>,
    replaced: bool,
) -> RekeyProgress {
    let conclave_seal::RekeyPlan { shares, threshold, verify } = status.plan;
    RekeyProgress {
        nonce: status.progress.nonce,
        given: status.progress.given,
        required: required(record),
        plan: RekeyPlan { shares, threshold, verify },
        verification_nonce: status.verification.nonce,
        verified: status.verification.given,
        new_shares,
        replaced,
    }
}

/// How the seal record names the recipient that shares open.
const SHAMIR: &str = "shamir";
/// A node that has a leader hears from it well within this.
const CATCH_UP_MAX: std::time::Duration = std::time::Duration::from_secs(2);
