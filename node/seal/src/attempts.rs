//! What holders of shares decide together on an unsealed cluster: a new root token, new shares.
//!
//! One attempt of each kind at a time. An attempt belongs to one leadership and to one set of
//! shares: where either has changed it is gone, and its holders begin again. What was given stands
//! in locked memory and nowhere else.

use std::sync::Arc;

use conclave_barrier::SealRecord;
use conclave_ports::Rng;
use zeroize::Zeroizing;

use crate::ceremony::{Progress, make_nonce};
use crate::error::{SealError, invalid};
use crate::given::{Given, shamir_recipient};
use crate::rekey_attempt::{RekeyAttempt, RekeyPlan, RekeyStatus, RekeyStep};
use crate::shamir::Share;

/// As of when something is asked: the leadership, and the set of shares in force.
#[derive(Clone, Copy)]
pub struct Seat<'a> {
    /// The consensus term in which this node leads.
    pub term: u64,
    /// Read behind a read barrier of that term.
    pub record: &'a SealRecord,
}

/// What became of a share for a root token.
pub enum RootStep {
    /// More are needed.
    More,
    /// Enough: a root token may be made, and is to be hidden by this one-time pad.
    Granted(Zeroizing<String>),
}

/// The attempts under way. Pure: no I/O, no clock.
pub struct Attempts {
    rng: Arc<dyn Rng>,
    term: u64,
    root: Option<RootAttempt>,
    rekey: Option<RekeyAttempt>,
}

struct RootAttempt {
    nonce: String,
    /// Of the seal record.
    revision: u64,
    otp: Zeroizing<String>,
    given: Given,
}

impl Attempts {
    /// None is under way.
    pub fn new(rng: Arc<dyn Rng>) -> Self {
        Self { rng, term: 0, root: None, rekey: None }
    }

    /// Forgets all of them. A node that is sealed does so.
    pub fn forget(&mut self) {
        (self.root, self.rekey) = (None, None);
    }

    fn take(&mut self, seat: Seat<'_>) {
        if self.term != seat.term {
            self.forget();
            self.term = seat.term;
        }
        self.root.take_if(|attempt| attempt.revision != seat.record.revision);
        self.rekey.take_if(|attempt| attempt.is_overtaken(seat.record));
    }

    /// How far the attempt at a root token is; an empty nonce where none is under way.
    pub fn root_progress(&mut self, seat: Seat<'_>) -> Progress {
        self.take(seat);
        let progress = |attempt: &RootAttempt| Progress {
            given: attempt.given.count(),
            nonce: attempt.nonce.clone(),
        };
        self.root.as_ref().map(progress).unwrap_or_default()
    }

    /// Begins to collect shares for a root token.
    ///
    /// # Errors
    /// `Invalid` where an attempt is under way or the cluster has no shares.
    pub fn start_root(
        &mut self,
        seat: Seat<'_>,
        otp: Zeroizing<String>,
    ) -> Result<Progress, SealError> {
        self.take(seat);
        shamir_recipient(seat.record)?;
        if self.root.is_some() {
            return invalid("root generation already in progress; finish it, or cancel it first");
        }
        let nonce = make_nonce(&*self.rng);
        let revision = seat.record.revision;
        self.root = Some(RootAttempt { nonce, revision, otp, given: Given::default() });
        Ok(self.root_progress(seat))
    }

    /// Ends the attempt at a root token, if there is one; with a nonce, only the one that has it.
    ///
    /// # Errors
    /// `Invalid` for the nonce of another attempt.
    pub fn cancel_root(&mut self, seat: Seat<'_>, nonce: Option<&str>) -> Result<(), SealError> {
        self.take(seat);
        if let (Some(attempt), Some(nonce)) = (&self.root, nonce) {
            check_nonce(&attempt.nonce, nonce)?;
        }
        self.root = None;
        Ok(())
    }

    /// Takes a share for a root token. The attempt stays until [`Self::end_root`], so that it can be
    /// granted again where the token could not be stored.
    ///
    /// # Errors
    /// `Invalid` for no attempt, another nonce, or a share that is malformed or was given; the
    /// attempt stays as it is. `WrongShares` where all of them together are not right, without a
    /// word on which is not; they are forgotten, and the attempt waits for the first share again.
    pub fn give_to_root(
        &mut self,
        seat: Seat<'_>,
        nonce: &str,
        share: Share,
    ) -> Result<RootStep, SealError> {
        self.take(seat);
        let (index, recipient) = shamir_recipient(seat.record)?;
        let Some(attempt) = &mut self.root else {
            return invalid("no root generation in progress; start one first");
        };
        check_nonce(&attempt.nonce, nonce)?;
        add_new(&mut attempt.given, share)?;
        if attempt.given.count() < recipient.threshold {
            return Ok(RootStep::More);
        }
        let opened = attempt.given.open(seat.record, index);
        attempt.given.clear();
        opened.map(|_| RootStep::Granted(attempt.otp.clone()))
    }

    /// Ends the attempt with this nonce: its token was made.
    pub fn end_root(&mut self, nonce: &str) {
        self.root.take_if(|attempt| attempt.nonce == nonce);
    }

    /// How far the attempt at new shares is.
    pub fn rekey_status(&mut self, seat: Seat<'_>) -> RekeyStatus {
        self.take(seat);
        self.rekey.as_ref().map(RekeyAttempt::status).unwrap_or_default()
    }

    /// Begins to collect shares for new ones.
    ///
    /// # Errors
    /// `Invalid` where an attempt is under way, the numbers are out of range or the cluster has no
    /// shares.
    pub fn start_rekey(
        &mut self,
        seat: Seat<'_>,
        plan: RekeyPlan,
    ) -> Result<RekeyStatus, SealError> {
        self.take(seat);
        shamir_recipient(seat.record)?;
        if self.rekey.is_some() {
            return invalid("rekey already in progress; finish it, or cancel it first");
        }
        self.rekey = Some(RekeyAttempt::new(&*self.rng, plan, seat.record.revision)?);
        Ok(self.rekey_status(seat))
    }

    /// Ends the attempt at new shares, if there is one; with a nonce, only the one that has it.
    ///
    /// # Errors
    /// `Invalid` for the nonce of another attempt.
    pub fn cancel_rekey(&mut self, seat: Seat<'_>, nonce: Option<&str>) -> Result<(), SealError> {
        self.take(seat);
        if let (Some(attempt), Some(nonce)) = (&self.rekey, nonce) {
            check_nonce(attempt.nonce(), nonce)?;
        }
        self.rekey = None;
        Ok(())
    }

    /// Takes a share of the set in force for new ones.
    ///
    /// # Errors
    /// As [`Self::give_to_root`].
    pub fn give_to_rekey(
        &mut self,
        seat: Seat<'_>,
        nonce: &str,
        share: Share,
    ) -> Result<RekeyStep, SealError> {
        self.take(seat);
        let attempt = self.rekey.as_mut().ok_or_else(no_rekey)?;
        check_nonce(attempt.nonce(), nonce)?;
        attempt.give(&*self.rng, seat.record, share)
    }

    /// Begins the verification of the new shares over, under another nonce.
    ///
    /// # Errors
    /// `Invalid` where nothing is to be verified.
    pub fn restart_verification(&mut self, seat: Seat<'_>) -> Result<RekeyStatus, SealError> {
        self.take(seat);
        let attempt = self.rekey.as_mut().ok_or_else(no_rekey)?;
        attempt.restart_verification(&*self.rng)?;
        Ok(attempt.status())
    }

    /// Takes one of the new shares, as proof that they have arrived.
    ///
    /// # Errors
    /// As [`Self::give_to_root`].
    pub fn give_to_verification(
        &mut self,
        seat: Seat<'_>,
        nonce: &str,
        share: Share,
    ) -> Result<RekeyStep, SealError> {
        self.take(seat);
        let attempt = self.rekey.as_mut().ok_or_else(no_rekey)?;
        attempt.verify(seat.record, nonce, share)
    }

    /// Ends the attempt whose new set is in force now, and gives the shares that are still to be
    /// handed out; none where they were before.
    pub fn end_rekey(&mut self, nonce: &str) -> Vec<Share> {
        let ended = self.rekey.take_if(|attempt| attempt.nonce() == nonce);
        ended.map(RekeyAttempt::into_shares).unwrap_or_default()
    }
}

/// Takes a share that was not given before.
pub(crate) fn add_new(given: &mut Given, share: Share) -> Result<(), SealError> {
    if given.add(share)? { Ok(()) } else { invalid("this share was given already; give another") }
}

/// Compares in constant time: who knows the nonce takes part.
pub(crate) fn check_nonce(nonce: &str, given: &str) -> Result<(), SealError> {
    let pairs = nonce.bytes().zip(given.bytes());
    let differ = pairs.fold(0, |differ, (a, b)| std::hint::black_box(differ | (a ^ b)));
    if nonce.len() == given.len() && differ == 0 {
        return Ok(());
    }
    invalid("incorrect nonce supplied; ask whoever started the attempt for its nonce")
}

fn no_rekey() -> SealError {
    SealError::Invalid("no rekey in progress; start one first".to_owned())
}

#[cfg(test)]
mod tests;
